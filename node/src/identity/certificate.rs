//! What a certificate of the mesh says, read from its DER.
//!
//! Reading checks the form alone. Who issued it is TLS's to check
//! ([`super::tls`]), whether its holder may take part [`super::peer`]'s.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::name::{self, GroupName, MachineName, NodeName, UserName};
use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{ASN1Time, X509Certificate};

use super::{CLOCK_SKEW, sha256};

/// What the URIs of this mesh begin with.
const SCHEME: &str = "patchmesh://";

/// Why a certificate is none of a mesh.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not X.509.
    #[error("it is not an X.509 certificate: {0}")]
    Form(String),
    /// No name of ours, or several.
    #[error("it has {0} names of the form {SCHEME}MESH/node/NAME, and needs exactly one")]
    Names(usize),
    /// A name of ours that cannot be read.
    #[error("{0:?} names no node, user or machine of a mesh")]
    Uri(String),
    /// The last part of the name is none.
    #[error("{uri:?} ends in no name")]
    Name {
        /// The URI.
        uri: String,
        /// What is wrong with the name.
        source: name::Error,
    },
    /// A date beyond what calendars here reach.
    #[error("it has a date out of range")]
    Date,
}

/// Whom a certificate names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A node.
    Node(NodeName),
    /// A user.
    User(UserName),
    /// A machine of a group.
    Machine {
        /// The machine.
        name: MachineName,
        /// Its group.
        group: GroupName,
    },
}

impl From<NodeName> for Subject {
    fn from(name: NodeName) -> Self {
        Self::Node(name)
    }
}

impl From<UserName> for Subject {
    fn from(name: UserName) -> Self {
        Self::User(name)
    }
}

impl Subject {
    /// The name alone, without what it names.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Subject::Node(name) => name.as_str(),
            Subject::User(name) => name.as_str(),
            Subject::Machine { name, .. } => name.as_str(),
        }
    }

    /// The URI that stands for it in certificates.
    #[must_use]
    pub fn uri(&self, mesh_id: &str) -> String {
        match self {
            Subject::Node(name) => format!("{SCHEME}{mesh_id}/node/{name}"),
            Subject::User(name) => format!("{SCHEME}{mesh_id}/user/{name}"),
            Subject::Machine { name, group } => {
                format!("{SCHEME}{mesh_id}/machine/{group}/{name}")
            }
        }
    }

    fn parse(uri: &str) -> Result<(String, Self), Error> {
        let form = || Error::Uri(uri.to_owned());
        let rest = uri.strip_prefix(SCHEME).ok_or_else(form)?;
        let (mesh_id, rest) = rest.split_once('/').ok_or_else(form)?;
        let (kind, name) = rest.split_once('/').ok_or_else(form)?;
        let wrong = |source| Error::Name { uri: uri.to_owned(), source };
        let subject = match kind {
            "node" => Subject::Node(name.parse().map_err(&wrong)?),
            "user" => Subject::User(name.parse().map_err(&wrong)?),
            "machine" => {
                let (group, name) = name.split_once('/').ok_or_else(form)?;
                let group = group.parse().map_err(&wrong)?;
                Subject::Machine { name: name.parse().map_err(&wrong)?, group }
            }
            _ => return Err(form()),
        };
        if mesh_id.is_empty() { Err(form()) } else { Ok((mesh_id.to_owned(), subject)) }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Node(name) => write!(f, "node {name}"),
            Subject::User(name) => write!(f, "user {name}"),
            Subject::Machine { name, group } => write!(f, "machine {name} of group {group}"),
        }
    }
}

/// A certificate of a mesh, as far as the mesh reads it.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate itself.
    pub der: CertificateDer<'static>,
    /// The mesh that it is of, by its own word.
    pub mesh_id: String,
    /// Whom it names.
    pub subject: Subject,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub spki_sha256: Sha256,
    /// First moment of its validity.
    pub not_before: Timestamp,
    /// Last moment of its validity.
    pub not_after: Timestamp,
}

/// Where a moment lies in a certificate's validity, clock skew allowed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// Within.
    Now,
    /// Before it begins.
    NotYet,
    /// After its end.
    Over,
}

impl Certificate {
    /// Reads a certificate from DER.
    ///
    /// # Errors
    /// Where it is no X.509 certificate or does not name exactly one node, user
    /// or machine.
    pub fn parse(der: &[u8]) -> Result<Self, Error> {
        let form = |error: &dyn fmt::Display| Error::Form(error.to_string());
        let (rest, x509) =
            x509_parser::parse_x509_certificate(der).map_err(|error| form(&error))?;
        if !rest.is_empty() {
            return Err(Error::Form(format!("{} bytes follow it", rest.len())));
        }
        let (mesh_id, subject) = Subject::parse(&our_name(&x509)?)?;
        Ok(Self {
            der: CertificateDer::from(der.to_vec()),
            mesh_id,
            subject,
            spki_sha256: sha256(x509.public_key().raw),
            not_before: timestamp(x509.validity().not_before)?,
            not_after: timestamp(x509.validity().not_after)?,
        })
    }

    /// Whether the certificate is valid at `now`, give or take [`CLOCK_SKEW`].
    #[must_use]
    pub fn validity(&self, now: Timestamp) -> Validity {
        let skew = SignedDuration::from_secs(CLOCK_SKEW.as_secs().cast_signed());
        if now.duration_since(self.not_after) > skew {
            Validity::Over
        } else if self.not_before.duration_since(now) > skew {
            Validity::NotYet
        } else {
            Validity::Now
        }
    }
}

impl Certificate {
    /// Its public key as it stands in it: for ECDSA a point of the curve.
    ///
    /// # Errors
    /// Where it is no certificate, which reading it has ruled out.
    pub fn public_key(&self) -> Result<Vec<u8>, Error> {
        let (_, x509) = x509_parser::parse_x509_certificate(&self.der)
            .map_err(|error| Error::Form(error.to_string()))?;
        Ok(x509.public_key().subject_public_key.data.to_vec())
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("mesh_id", &self.mesh_id)
            .field("subject", &self.subject)
            .field("spki_sha256", &self.spki_sha256)
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

fn our_name(x509: &X509Certificate<'_>) -> Result<String, Error> {
    let names = x509.subject_alternative_name().map_err(|error| Error::Form(error.to_string()))?;
    let mut ours =
        names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
            GeneralName::URI(uri) if uri.starts_with(SCHEME) => Some((*uri).to_owned()),
            _ => None,
        });
    match (ours.next(), ours.count()) {
        (Some(name), 0) => Ok(name),
        (None, _) => Err(Error::Names(0)),
        (Some(_), more) => Err(Error::Names(more + 1)),
    }
}

fn timestamp(time: ASN1Time) -> Result<Timestamp, Error> {
    Timestamp::from_second(time.timestamp()).map_err(|_| Error::Date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        let node = Subject::Node("lyon".parse().expect("a name"));
        assert_eq!(Subject::parse(&node.uri("m1")), Ok(("m1".to_owned(), node)));
        let machine = Subject::Machine {
            name: "pc-1".parse().expect("a name"),
            group: "workstations".parse().expect("a name"),
        };
        assert_eq!(machine.uri("m1"), "patchmesh://m1/machine/workstations/pc-1");
        assert_eq!(Subject::parse(&machine.uri("m1")), Ok(("m1".to_owned(), machine)));
        for uri in [
            "patchmesh://m1/machine/pc-1",
            "patchmesh://m1/machine/workstations/pc-1/x",
            "https://m1/node/lyon",
            "patchmesh://m1/node",
            "patchmesh:///node/lyon",
            "patchmesh://m1/robot/lyon",
            "patchmesh://m1/node/Lyon",
            "patchmesh://m1/node/lyon/x",
        ] {
            assert!(Subject::parse(uri).is_err(), "{uri}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        assert!(matches!(Certificate::parse(b"hello"), Err(Error::Form(_))));
        assert!(matches!(Certificate::parse(&[]), Err(Error::Form(_))));
    }
}
