//! gRPC over TLS 1.3 for callers and servers that nodes do not expect.
//!
//! The other side's certificate is not checked here: these callers ask what a
//! node tells whoever comes along.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use hyper_util::rt::TokioIo;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

/// A certificate chain and its key.
pub struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Certificate {
    /// From a certificate and its PKCS#8 key, both in DER.
    #[must_use]
    pub fn new(certificate: Vec<u8>, key: Vec<u8>) -> Self {
        Self { chain: vec![certificate.into()], key: PrivateKeyDer::Pkcs8(key.into()) }
    }
}

/// The certificate in a node's data folder.
///
/// # Errors
/// When there is none.
pub fn certificate_of(data: &Path) -> Result<Certificate> {
    let folder = data.join("identity");
    let certificate = fs::read(folder.join("cert.pem")).context("no certificate")?;
    let chain = CertificateDer::pem_slice_iter(&certificate).collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(&fs::read(folder.join("key.pem"))?)?;
    Ok(Certificate { chain, key })
}

/// A channel without a certificate.
///
/// # Errors
/// When the node cannot be reached.
pub async fn anonymous(url: &str) -> Result<Channel> {
    connect(url, configuration()?.with_no_client_auth()).await
}

/// A channel with a certificate.
///
/// # Errors
/// When the node cannot be reached or shuts the door at once.
pub async fn with_certificate(url: &str, certificate: &Certificate) -> Result<Channel> {
    connect(url, client(certificate)?).await
}

/// What a client with this certificate does, whatever server it meets.
///
/// # Errors
/// When the certificate and key do not fit each other.
pub fn client(certificate: &Certificate) -> Result<ClientConfig> {
    let chain = certificate.chain.clone();
    Ok(configuration()?.with_client_auth_cert(chain, certificate.key.clone_key())?)
}

/// What a server with this certificate does, whoever comes.
///
/// # Errors
/// When the certificate and key do not fit each other.
pub fn server(certificate: &Certificate) -> Result<Arc<ServerConfig>> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(certificate.chain.clone(), certificate.key.clone_key())?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn configuration() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody)))
}

async fn connect(url: &str, mut config: ClientConfig) -> Result<Channel> {
    config.alpn_protocols = vec![b"h2".to_vec()];
    // Nodes hand out no tickets, and a thousand clients need no room for them.
    config.resumption = Resumption::disabled();
    let connector = TlsConnector::from(Arc::new(config));
    let endpoint = Endpoint::from_shared(url.to_owned())?;
    // The connection is encrypted already when it is handed over.
    let plain = url.replacen("https://", "http://", 1);
    let channel = Endpoint::from_shared(plain)?
        .connect_with_connector(tower::service_fn(move |uri: Uri| {
            let connector = connector.clone();
            async move {
                let host = uri.host().unwrap_or("127.0.0.1").to_owned();
                let stream =
                    TcpStream::connect((host.as_str(), uri.port_u16().unwrap_or(443))).await?;
                let name = ServerName::try_from(host).map_err(std::io::Error::other)?;
                connector.connect(name, stream).await.map(TokioIo::new)
            }
        }))
        .await
        .with_context(|| format!("could not connect to {}", endpoint.uri()))?;
    Ok(channel)
}

/// Takes any server for what it says it is.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("nodes speak TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
