//! The mesh's certificate authority. `init` makes it on the primary, and only
//! the primary holds its key.
//!
//! Of a certificate request the CA takes the public key and nothing else:
//! every name in a certificate comes from the caller, who took it from the
//! mesh document or from a token.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::name::{GroupName, MachineName, NodeName, UserName};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
    SubjectPublicKeyInfo,
};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};
use time::OffsetDateTime;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::certificate::{self, Certificate, Subject};
use super::key::{self, Key};
use super::{CLOCK_SKEW, sha256};
use crate::transport::address::{Host, NodeUrl};

#[cfg(test)]
mod tests;

/// Life of the CA's own certificate.
const CA_LIFETIME: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);

/// Life of a node's certificate unless the settings say otherwise.
pub const NODE_LIFETIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Life of a user's certificate unless the settings say otherwise.
pub const USER_LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Life of a machine's certificate. A laptop may be away for months.
pub const MACHINE_LIFETIME: Duration = Duration::from_secs(180 * 24 * 60 * 60);

/// The largest certificate request that is read; ours have about 250 bytes.
pub const MAX_REQUEST: usize = 16 << 10;

/// The longest part of a distinguished name (X.520, ub-common-name).
const MAX_NAME_PART: usize = 64;

/// Why the CA did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No key could be made or read.
    #[error("the mesh's CA has no usable key")]
    Key(#[from] key::Error),
    /// The CA's own certificate could not be made.
    #[error("cannot make the CA's certificate")]
    Create(#[source] rcgen::Error),
    /// The CA's own certificate cannot be used.
    #[error("the CA's certificate cannot be used")]
    Certificate(#[source] rcgen::Error),
    /// Key and certificate do not belong together.
    #[error("the CA's key is not the one in its certificate")]
    Mismatch,
    /// A request that is none, or not signed by its key.
    #[error("the certificate request is not a PKCS#10 request signed by its own key")]
    Request(#[source] rcgen::Error),
    /// A request of impossible size.
    #[error("the certificate request has {0} bytes, at most {MAX_REQUEST} are read")]
    RequestSize(usize),
    /// A key of a kind that not every client accepts.
    #[error("the certificate request's key is not ECDSA P-256")]
    KeyKind,
    /// A certificate could not be made.
    #[error("cannot issue a certificate to {subject}")]
    Issue {
        /// To whom.
        subject: Subject,
        /// Why.
        source: rcgen::Error,
    },
    /// What was issued does not read back: a fault of this program.
    #[error("the certificate issued does not read back")]
    ReadBack(#[from] certificate::Error),
    /// The system gave no randomness.
    #[error("the system gave no random bytes")]
    Random,
    /// A time that certificates cannot state.
    #[error("{0} is out of a certificate's range")]
    Time(Timestamp),
}

/// The CA with its key.
pub struct Ca {
    mesh_id: String,
    certificate: CertificateDer<'static>,
    not_after: Timestamp,
    key_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A checked certificate request: a public key whose private half the sender
/// has.
#[derive(Debug, Clone)]
pub struct Request {
    key: SubjectPublicKeyInfo,
    /// SHA-256 of the key's SubjectPublicKeyInfo.
    pub spki_sha256: Sha256,
}

impl Request {
    /// Reads PKCS#10 DER and checks that its own key signed it.
    ///
    /// # Errors
    /// Where it is too large, no request, wrongly signed, or the key is not
    /// ECDSA P-256.
    pub fn parse(der: &[u8]) -> Result<Self, Error> {
        if der.len() > MAX_REQUEST {
            return Err(Error::RequestSize(der.len()));
        }
        let unreadable = || Error::Request(rcgen::Error::CouldNotParseCertificationRequest);
        CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der))
            .map_err(Error::Request)?;
        let (_, request) = X509CertificationRequest::from_der(der).map_err(|_| unreadable())?;
        let spki = request.certification_request_info.subject_pki.raw;
        let key = SubjectPublicKeyInfo::from_der(spki).map_err(|_| Error::KeyKind)?;
        if rcgen::PublicKeyData::algorithm(&key) != &rcgen::PKCS_ECDSA_P256_SHA256 {
            return Err(Error::KeyKind);
        }
        Ok(Self { key, spki_sha256: sha256(spki) })
    }
}

impl Ca {
    /// Makes a CA for a new mesh.
    ///
    /// # Errors
    /// Where the system gives no randomness, or `now` is out of range.
    pub fn create(mesh_id: &str, mesh_name: &str, now: Timestamp) -> Result<Self, Error> {
        let key = Key::generate()?;
        let key_pem = key.to_pem();
        let mut params = params(now, now + CA_LIFETIME)?;
        params.distinguished_name.push(DnType::OrganizationName, shorten(mesh_name));
        params
            .distinguished_name
            .push(DnType::CommonName, shorten(&format!("Patchmesh CA {mesh_id}")));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key.into_pair()).map_err(Error::Create)?;
        Self::assemble(mesh_id, certificate.der().clone(), key_pem)
    }

    /// The CA of `mesh_id` from its certificate and its key in PEM.
    ///
    /// # Errors
    /// Where they cannot be read or do not belong together.
    pub fn assemble(
        mesh_id: &str,
        certificate: CertificateDer<'static>,
        key_pem: String,
    ) -> Result<Self, Error> {
        let key = Key::from_pem(&key_pem)?;
        let unreadable = || Error::Certificate(rcgen::Error::CouldNotParseCertificate);
        let (_, x509) =
            x509_parser::parse_x509_certificate(&certificate).map_err(|_| unreadable())?;
        if sha256(x509.public_key().raw) != key.spki_sha256() {
            return Err(Error::Mismatch);
        }
        let not_after = Timestamp::from_second(x509.validity().not_after.timestamp())
            .map_err(|_| unreadable())?;
        let issuer =
            Issuer::from_ca_cert_der(&certificate, key.into_pair()).map_err(Error::Certificate)?;
        Ok(Self { mesh_id: mesh_id.to_owned(), certificate, not_after, key_pem, issuer })
    }

    /// The mesh that it certifies for.
    #[must_use]
    pub fn mesh_id(&self) -> &str {
        &self.mesh_id
    }

    /// Its certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// SHA-256 of its certificate's DER, as tokens state it.
    #[must_use]
    pub fn sha256(&self) -> Sha256 {
        sha256(&self.certificate)
    }

    /// Its key as PKCS#8 PEM: the secret of the whole mesh.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// A certificate for a node that is reached at `url`. It serves as server
    /// and as client, is backdated by [`CLOCK_SKEW`] and ends with the CA's at
    /// the latest.
    ///
    /// # Errors
    /// Where `now` is out of range or the system gives no randomness.
    pub fn issue_node(
        &self,
        request: &Request,
        name: &NodeName,
        url: &NodeUrl,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Certificate, Error> {
        let subject = Subject::Node(name.clone());
        let wrong = |source| Error::Issue { subject: subject.clone(), source };
        let host = match url.host() {
            Host::Ip(address) => SanType::IpAddress(address),
            Host::Name(name) => SanType::DnsName(name.try_into().map_err(wrong)?),
        };
        let usages = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(request, &subject, &[host], &usages, lifetime, now)
    }

    /// A certificate for a user, good as a client only.
    ///
    /// # Errors
    /// As for [`Ca::issue_node`].
    pub fn issue_user(
        &self,
        request: &Request,
        name: &UserName,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Certificate, Error> {
        let subject = Subject::User(name.clone());
        self.issue(request, &subject, &[], &[ExtendedKeyUsagePurpose::ClientAuth], lifetime, now)
    }

    /// A certificate for a machine, good as a client only.
    ///
    /// # Errors
    /// As for [`Ca::issue_node`].
    pub fn issue_machine(
        &self,
        request: &Request,
        name: &MachineName,
        group: &GroupName,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Certificate, Error> {
        let subject = Subject::Machine { name: name.clone(), group: group.clone() };
        self.issue(request, &subject, &[], &[ExtendedKeyUsagePurpose::ClientAuth], lifetime, now)
    }

    fn issue(
        &self,
        request: &Request,
        subject: &Subject,
        hosts: &[SanType],
        usages: &[ExtendedKeyUsagePurpose],
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Certificate, Error> {
        let wrong = |source| Error::Issue { subject: subject.clone(), source };
        let end = now.checked_add(lifetime).map_err(|_| Error::Time(now))?.min(self.not_after);
        let mut params = params(now, end)?;
        params.distinguished_name.push(DnType::CommonName, subject.name());
        let uri = subject.uri(&self.mesh_id).try_into().map_err(wrong)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.subject_alt_names.extend_from_slice(hosts);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages.to_vec();
        params.use_authority_key_identifier_extension = true;
        let issued = params.signed_by(&request.key, &self.issuer).map_err(wrong)?;
        Ok(Certificate::parse(issued.der())?)
    }
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca").field("mesh_id", &self.mesh_id).finish_non_exhaustive()
    }
}

/// What all certificates share. Serial numbers are random: a renewed
/// certificate has the same key, and clients refuse two certificates of one
/// issuer with the same number.
fn params(begin: Timestamp, end: Timestamp) -> Result<CertificateParams, Error> {
    let moment = |at: Timestamp| {
        OffsetDateTime::from_unix_timestamp(at.as_second()).map_err(|_| Error::Time(at))
    };
    let mut serial = [0u8; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| Error::Random)?;
    // Positive, and never shortened by a leading zero byte.
    serial[0] = (serial[0] & 0x3f) | 0x40;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = moment(begin.checked_sub(CLOCK_SKEW).map_err(|_| Error::Time(begin))?)?;
    params.not_after = moment(end)?;
    Ok(params)
}

fn shorten(text: &str) -> String {
    text.chars().take(MAX_NAME_PART).collect()
}
