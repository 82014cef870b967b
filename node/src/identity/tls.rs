//! TLS as the mesh speaks it: version 1.3 only, one cryptography provider,
//! no session resumption (every connection proves anew who it is).
//!
//! A server asks for a client certificate and takes none, one that the mesh's
//! CA issued, or refuses. It does *not* look at dates or names: a peer that is
//! refused for those is refused by [`super::peer`] with a reason it can read,
//! which a TLS alert cannot carry. A client checks everything about the
//! server: chain, dates, and that it is whom the client means.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::name::NodeName;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig, SignatureScheme};
use rustls_pki_types::CertificateDer;

use super::certificate::Certificate;
use super::files::Identity;

mod verify;

pub use verify::Fault;
pub(crate) use verify::check_issuer;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key cannot be used for TLS.
    #[error("the key of {subject} cannot be used for TLS")]
    Key {
        /// Whose key.
        subject: super::certificate::Subject,
        /// Why.
        source: rustls::Error,
    },
    /// The CA certificate cannot be used.
    #[error("the mesh's CA certificate cannot be used")]
    Ca(#[source] rustls::Error),
    /// A chain that does not hold.
    #[error("the certificate was not issued by this CA")]
    Chain(#[source] rustls::Error),
    /// The verifier could not be made.
    #[error("cannot check certificates with the mesh's CA")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
    /// The provider lacks TLS 1.3.
    #[error("the cryptography provider does not support TLS 1.3")]
    Version(#[source] rustls::Error),
}

/// Whom a client means to reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// This node, under whatever host name or address.
    Node(NodeName),
    /// Whichever node of the mesh has the host in the URL.
    Host,
}

/// What this process presents in TLS, as server and as client. A renewed
/// certificate takes its place with [`Credentials::replace`]; connections that
/// are open keep the one they were made with.
pub struct Credentials {
    current: ArcSwap<Current>,
}

struct Current {
    certificate: Certificate,
    certified: Arc<CertifiedKey>,
}

impl Current {
    fn new(identity: &Identity) -> Result<Self, Error> {
        let certificate = identity.certificate().clone();
        // The CA goes along, for hosts that join: they pin it by its digest.
        let chain = vec![certificate.der.clone(), identity.ca().clone()];
        let certified = CertifiedKey::from_der(chain, identity.key().to_der(), &provider())
            .map_err(|source| Error::Key { subject: certificate.subject.clone(), source })?;
        Ok(Self { certificate, certified: Arc::new(certified) })
    }
}

impl Credentials {
    /// Credentials from an identity.
    ///
    /// # Errors
    /// Where TLS cannot use the key.
    pub fn new(identity: &Identity) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Self { current: ArcSwap::from_pointee(Current::new(identity)?) }))
    }

    /// Presents another identity from the next connection on.
    ///
    /// # Errors
    /// Where TLS cannot use the key; the old identity stays.
    pub fn replace(&self, identity: &Identity) -> Result<(), Error> {
        self.current.store(Arc::new(Current::new(identity)?));
        Ok(())
    }

    /// The certificate presented now.
    #[must_use]
    pub fn certificate(&self) -> Certificate {
        self.current.load().certificate.clone()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.current.load().certificate.fmt(f)
    }
}

impl ResolvesServerCert for Credentials {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.load().certified))
    }
}

impl ResolvesClientCert for Credentials {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.load().certified))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The server's side: a client certificate is welcome but not needed.
///
/// # Errors
/// Where the CA certificate cannot be used.
pub fn server(
    ca: &CertificateDer<'static>,
    credentials: Arc<Credentials>,
) -> Result<Arc<ServerConfig>, Error> {
    let verifier = Arc::new(verify::AnyTime::new(ca)?);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(Error::Version)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(credentials);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// A gRPC client's side. Without credentials the client stays anonymous.
///
/// # Errors
/// Where the CA certificate cannot be used.
pub fn client(
    ca: &CertificateDer<'static>,
    credentials: Option<Arc<Credentials>>,
    expected: Expected,
) -> Result<Arc<ClientConfig>, Error> {
    client_with(Arc::new(verify::MeshServer::new(ca, expected)?), credentials)
}

/// The side of a host that joins: it knows the SHA-256 of the mesh's CA
/// certificate from its token and nothing else.
///
/// # Errors
/// Where the provider lacks TLS 1.3.
pub fn joining_client(ca_sha256: Sha256) -> Result<Arc<ClientConfig>, Error> {
    client_with(Arc::new(verify::PinnedServer::new(ca_sha256)), None)
}

fn client_with(
    verifier: Arc<dyn rustls::client::danger::ServerCertVerifier>,
    credentials: Option<Arc<Credentials>>,
) -> Result<Arc<ClientConfig>, Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(Error::Version)?
        // "Dangerous" since it replaces the web's rules; ours are stricter.
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match credentials {
        Some(credentials) => builder.with_client_cert_resolver(credentials),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The one cryptography provider.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
