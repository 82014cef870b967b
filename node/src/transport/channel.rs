//! gRPC channels to other nodes and to the node on this host.
//!
//! A channel connects when it is first used and again whenever it has to; each
//! connection resolves the name and presents the certificate of that moment.
//! What goes wrong is kept as an [`Error`] inside the status that a call
//! returns: [`explain`] digs it out.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{AlertDescription, ClientConfig};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use super::address::{Host, NodeUrl};
use super::ending::Ending;
use super::metered::{Meter, Metered};
use super::{
    CONNECTION_WINDOW, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT, MACHINE_FRAME, MACHINE_KEEP_ALIVE,
    MAX_FRAME, MAX_HEADERS, STREAM_WINDOW,
};
use crate::identity::tls::Fault;
use crate::log::in_one_line;

/// How long finding a host, reaching it and agreeing on TLS may take
/// together; enough for three lost packets on a slow line.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// How long one of several addresses of a host may take before the next one
/// is tried.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(5);

/// What this software calls itself.
const USER_AGENT: &str = concat!("patchmesh/", env!("CARGO_PKG_VERSION"));

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL has a form that HTTP does not.
    #[error("{0} cannot be used for gRPC")]
    Url(NodeUrl, #[source] tonic::transport::Error),
    /// The host name leads nowhere.
    #[error("cannot find host {host}: check the name and this host's DNS")]
    Resolve {
        /// The host.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// Nobody listens.
    #[error("{0} refuses connections: is the node running there?")]
    Refused(String),
    /// The host cannot be reached.
    #[error("cannot reach {address}")]
    Reach {
        /// Host and port.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// It took too long.
    #[error("{address} did not answer within {} s", after.as_secs())]
    TimedOut {
        /// Host and port.
        address: String,
        /// The time given.
        after: Duration,
    },
    /// Someone answers, but not who was meant.
    #[error("{address} is not to be trusted")]
    Untrusted {
        /// Host and port.
        address: String,
        /// What is wrong.
        source: Fault,
    },
    /// The other side speaks no TLS 1.3.
    #[error("{0} does not speak TLS 1.3: is that a node's port?")]
    NoTls(String),
    /// TLS failed otherwise.
    #[error("cannot agree on TLS with {address}")]
    Tls {
        /// Host and port.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// No node listens on the socket.
    #[error("no node runs here: nobody listens on {}; start one with `patchmesh serve`", .0.display())]
    NoNode(PathBuf),
    /// The socket is not for this user.
    #[error("only root and the user that runs the node may use {}", .0.display())]
    Forbidden(PathBuf),
    /// The socket cannot be used.
    #[error("cannot use {}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A channel to a node. The configuration says whom to expect there, and who
/// this process is.
///
/// # Errors
/// [`Error::Url`]; everything else shows when the channel is used.
pub fn to_node(url: &NodeUrl, tls: Arc<ClientConfig>) -> Result<Channel, Error> {
    to_metered_node(url, tls, None)
}

/// The same, counting what passes.
///
/// # Errors
/// As [`to_node`].
pub fn to_metered_node(
    url: &NodeUrl,
    tls: Arc<ClientConfig>,
    meter: Option<Arc<dyn Meter>>,
) -> Result<Channel, Error> {
    connecting(tuned(endpoint(url)?), url, tls, meter)
}

/// A machine's channel to its node: silent where nothing happens, for minutes.
///
/// # Errors
/// As [`to_node`].
pub fn from_machine(url: &NodeUrl, tls: Arc<ClientConfig>) -> Result<Channel, Error> {
    let endpoint = tuned(endpoint(url)?)
        .max_frame_size(MACHINE_FRAME)
        .http2_keep_alive_interval(MACHINE_KEEP_ALIVE);
    connecting(endpoint, url, tls, None)
}

fn endpoint(url: &NodeUrl) -> Result<Endpoint, Error> {
    Endpoint::from_shared(url.as_str().to_owned()).map_err(|source| Error::Url(url.clone(), source))
}

fn connecting(
    endpoint: Endpoint,
    url: &NodeUrl,
    tls: Arc<ClientConfig>,
    meter: Option<Arc<dyn Meter>>,
) -> Result<Channel, Error> {
    let url = url.clone();
    let connector = tower::service_fn(move |_: Uri| {
        let (url, tls, meter) = (url.clone(), Arc::clone(&tls), meter.clone());
        async move { dial(&url, tls, meter).await.map(TokioIo::new) }
    });
    Ok(endpoint.connect_with_connector_lazy(connector))
}

/// Where a connection leads to, and when it ends.
#[derive(Debug, Clone)]
pub struct Destination {
    /// The node's address.
    pub url: NodeUrl,
    /// Whom to expect there, and who this process is.
    pub tls: Arc<ClientConfig>,
    /// Counts what passes.
    pub meter: Option<Arc<dyn Meter>>,
    /// Ends the connection.
    pub end: CancellationToken,
}

/// A channel whose every connection leads where `destination` says then. Requests
/// are addressed to `first`, which no node looks at.
///
/// # Errors
/// As [`to_node`].
pub fn to_changing(
    first: &NodeUrl,
    destination: impl Fn() -> Destination + Send + Sync + 'static,
) -> Result<Channel, Error> {
    let endpoint = endpoint(first)?;
    let connector = tower::service_fn(move |_: Uri| {
        let Destination { url, tls, meter, end } = destination();
        async move {
            let connected = dial(&url, tls, meter).await?;
            Ok::<_, Error>(TokioIo::new(Ending::new(connected, end)))
        }
    });
    Ok(tuned(endpoint).connect_with_connector_lazy(connector))
}

/// A channel to the node on this host, by its unix socket.
#[must_use]
pub fn to_socket(path: &Path) -> Channel {
    let path = path.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { dial_socket(path).await.map(TokioIo::new) }
    });
    // The connector decides where to; the URI only fills the HTTP header.
    tuned(Endpoint::from_static("http://localhost")).connect_with_connector_lazy(connector)
}

/// What went wrong, for people: the whole story where it is about the
/// connection, else the message that the other side sent.
#[must_use]
pub fn explain(status: &tonic::Status) -> String {
    let mut cause: Option<&(dyn StdError + 'static)> = status.source();
    while let Some(error) = cause {
        if error.is::<Error>() {
            return in_one_line(error);
        }
        // A TLS alert that comes after the handshake reaches us as text only.
        let text = error.to_string();
        if let Some(alert) = text.split("received fatal alert: ").nth(1) {
            return match alert.trim() {
                "UnknownCA" | "DecryptError" | "BadCertificate" | "CertificateUnknown" => {
                    "the other side refused this certificate: it is of another mesh".to_owned()
                }
                other => format!("the other side refused the connection (TLS alert {other})"),
            };
        }
        cause = error.source();
    }
    status.message().to_owned()
}

/// Whether there was no connection at all, as opposed to an answer or to one
/// that broke.
#[must_use]
pub fn never_connected(status: &tonic::Status) -> bool {
    let mut cause: Option<&(dyn StdError + 'static)> = status.source();
    while let Some(error) = cause {
        if error.is::<Error>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn tuned(endpoint: Endpoint) -> Endpoint {
    let endpoint = endpoint
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .http2_max_header_list_size(MAX_HEADERS)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    // The name is plain ASCII, so it is a header value.
    endpoint.clone().user_agent(USER_AGENT).unwrap_or(endpoint)
}

async fn dial(
    url: &NodeUrl,
    tls: Arc<ClientConfig>,
    meter: Option<Arc<dyn Meter>>,
) -> Result<TlsStream<Metered<TcpStream>>, Error> {
    let attempt = async {
        let tcp = reach(url).await?;
        // Small messages matter more than full packets; failure only costs time.
        let _ = tcp.set_nodelay(true);
        TlsConnector::from(tls)
            .connect(url.server_name(), Metered::new(tcp, meter))
            .await
            .map_err(|error| tls_error(url.authority(), error))
    };
    timeout(CONNECT_TIMEOUT, attempt)
        .await
        .map_err(|_| Error::TimedOut { address: url.authority(), after: CONNECT_TIMEOUT })?
}

/// Connects to the first address that answers.
///
/// # Errors
/// A host that has none, or none that answers.
pub async fn reach(url: &NodeUrl) -> Result<TcpStream, Error> {
    let address = url.authority();
    let host = match url.host() {
        Host::Name(name) => name,
        Host::Ip(ip) => ip.to_string(),
    };
    let wrong = |source| Error::Resolve { host: host.clone(), source };
    let addresses = tokio::net::lookup_host((host.as_str(), url.port())).await.map_err(wrong)?;
    let mut last = None;
    for candidate in addresses {
        match timeout(ADDRESS_TIMEOUT, TcpStream::connect(candidate)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(source)) if source.kind() == io::ErrorKind::ConnectionRefused => {
                last = Some(Error::Refused(address.clone()));
            }
            Ok(Err(source)) => last = Some(Error::Reach { address: address.clone(), source }),
            Err(_) => {
                last = Some(Error::TimedOut { address: address.clone(), after: ADDRESS_TIMEOUT });
            }
        }
    }
    Err(last.unwrap_or_else(|| wrong(io::ErrorKind::NotFound.into())))
}

fn tls_error(address: String, error: io::Error) -> Error {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other))) => {
            match other.0.downcast_ref::<Fault>() {
                Some(fault) => Error::Untrusted { address, source: fault.clone() },
                None => Error::Tls { address, source: error },
            }
        }
        Some(
            rustls::Error::InvalidMessage(_)
            | rustls::Error::PeerIncompatible(_)
            | rustls::Error::AlertReceived(AlertDescription::ProtocolVersion),
        ) => Error::NoTls(address),
        _ => Error::Tls { address, source: error },
    }
}

async fn dial_socket(path: PathBuf) -> Result<UnixStream, Error> {
    UnixStream::connect(&path).await.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Error::NoNode(path),
        io::ErrorKind::PermissionDenied => Error::Forbidden(path),
        _ => Error::Socket { path, source },
    })
}
