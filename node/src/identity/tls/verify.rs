//! How each side checks the other's certificate.
//!
//! Chains and signatures are webpki's work. Dates are checked here, since
//! clocks may differ a little: webpki then gets the nearest moment at which
//! the certificate is valid.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use patchmesh_topology::digest::Sha256;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{Error, Expected, provider};
use crate::identity::certificate::{self, Certificate, Subject, Validity};
use crate::identity::sha256;

/// What a client finds wrong with a server's certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Unreadable, or without a name of ours.
    #[error("its certificate is none of a mesh")]
    Foreign(#[source] certificate::Error),
    /// Issued by someone else.
    #[error("its certificate is of another mesh, or altered: this mesh's CA did not issue it")]
    OtherMesh,
    /// The CA that the token names is not in the chain.
    #[error("it is of another mesh than the token: its CA has another digest")]
    Pin,
    /// Expired.
    #[error(
        "its certificate ended at {end}, and here it is {now}: check the clocks of both hosts, else that node has to renew or join again"
    )]
    Expired {
        /// End of validity.
        end: Timestamp,
        /// This host's clock.
        now: Timestamp,
    },
    /// Not valid yet.
    #[error(
        "its certificate begins at {begin}, and here it is only {now}: check the clocks of both hosts"
    )]
    NotYetValid {
        /// Begin of validity.
        begin: Timestamp,
        /// This host's clock.
        now: Timestamp,
    },
    /// Someone else of the same mesh.
    #[error("it is {found}, not {expected}")]
    Name {
        /// Who it is.
        found: Subject,
        /// Who it should be.
        expected: Subject,
    },
    /// A user's or machine's certificate on a server.
    #[error("it is {0}, which is no node")]
    NoNode(Subject),
    /// A node of the mesh, but for another host name.
    #[error("it is {found}, whose certificate is not for host {host}")]
    Host {
        /// Who it is.
        found: Subject,
        /// The host asked for.
        host: String,
    },
}

impl From<Fault> for rustls::Error {
    fn from(fault: Fault) -> Self {
        let other = OtherError(Arc::new(fault));
        rustls::Error::InvalidCertificate(CertificateError::Other(other))
    }
}

/// Checks that `ca` issued `certificate`, whatever the time is.
pub(crate) fn check_issuer(
    certificate: &Certificate,
    ca: &CertificateDer<'static>,
) -> Result<(), Error> {
    AnyTime::new(ca)?
        .inner
        .verify_client_cert(&certificate.der, &[], unix(certificate.not_after))
        .map(|_| ())
        .map_err(Error::Chain)
}

fn roots(ca: &CertificateDer<'static>) -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone()).map_err(Error::Ca)?;
    Ok(Arc::new(roots))
}

fn unix(at: Timestamp) -> UnixTime {
    // Before 1970 no certificate of ours is valid.
    UnixTime::since_unix_epoch(Duration::from_secs(at.as_second().try_into().unwrap_or(0)))
}

fn jiff(at: UnixTime) -> Timestamp {
    i64::try_from(at.as_secs())
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or(Timestamp::MAX)
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    provider().signature_verification_algorithms
}

/// A server's check of clients: issued by the mesh's CA, at whatever time.
#[derive(Debug)]
pub(super) struct AnyTime {
    inner: Arc<dyn ClientCertVerifier>,
}

impl AnyTime {
    pub(super) fn new(ca: &CertificateDer<'static>) -> Result<Self, Error> {
        let inner = WebPkiClientVerifier::builder_with_provider(roots(ca)?, provider())
            .allow_unauthenticated()
            .build()
            .map_err(Error::Verifier)?;
        Ok(Self { inner })
    }
}

impl ClientCertVerifier for AnyTime {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let certificate = Certificate::parse(end_entity).map_err(Fault::Foreign)?;
        let at = unix(certificate.not_after);
        self.inner.verify_client_cert(end_entity, intermediates, at)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// A client's check of a node of its own mesh.
#[derive(Debug)]
pub(super) struct MeshServer {
    roots: Arc<RootCertStore>,
    expected: Expected,
}

impl MeshServer {
    pub(super) fn new(ca: &CertificateDer<'static>, expected: Expected) -> Result<Self, Error> {
        Ok(Self { roots: roots(ca)?, expected })
    }
}

/// A joining host's check of the node that its token names.
#[derive(Debug)]
pub(super) struct PinnedServer {
    ca_sha256: Sha256,
}

impl PinnedServer {
    pub(super) fn new(ca_sha256: Sha256) -> Self {
        Self { ca_sha256 }
    }
}

/// Checks a node's certificate: chain, dates, name.
fn check_server(
    roots: &RootCertStore,
    expected: &Expected,
    end_entity: &CertificateDer<'_>,
    host: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, rustls::Error> {
    let parsed = ParsedCertificate::try_from(end_entity)?;
    let certificate = Certificate::parse(end_entity).map_err(Fault::Foreign)?;
    let here = jiff(now);
    let moment =
        here.clamp(certificate.not_before, certificate.not_after.max(certificate.not_before));
    // First the chain: a stranger's dates and names mean nothing.
    let all = algorithms().all;
    verify_server_cert_signed_by_trust_anchor(&parsed, roots, &[], unix(moment), all).map_err(
        |error| match error {
            rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            ) => Fault::OtherMesh.into(),
            other => other,
        },
    )?;
    match certificate.validity(here) {
        Validity::Now => {}
        Validity::Over => {
            return Err(Fault::Expired { end: certificate.not_after, now: here }.into());
        }
        Validity::NotYet => {
            return Err(Fault::NotYetValid { begin: certificate.not_before, now: here }.into());
        }
    }
    let found = certificate.subject;
    match (expected, &found) {
        (_, Subject::User(_) | Subject::Machine { .. }) => Err(Fault::NoNode(found).into()),
        (Expected::Node(name), Subject::Node(is)) if name != is => {
            Err(Fault::Name { expected: Subject::Node(name.clone()), found }.into())
        }
        (Expected::Node(_), Subject::Node(_)) => Ok(ServerCertVerified::assertion()),
        (Expected::Host, Subject::Node(_)) => match verify_server_name(&parsed, host) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(_) => Err(Fault::Host { found, host: host.to_str().into_owned() }.into()),
        },
    }
}

impl ServerCertVerifier for MeshServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        check_server(&self.roots, &self.expected, end_entity, server_name, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

impl ServerCertVerifier for PinnedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let pinned = intermediates.iter().find(|der| sha256(der) == self.ca_sha256);
        let ca = pinned.ok_or(Fault::Pin)?.clone().into_owned();
        let mut roots = RootCertStore::empty();
        roots.add(ca)?;
        check_server(&roots, &Expected::Host, end_entity, server_name, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}
