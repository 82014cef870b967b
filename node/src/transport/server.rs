//! The node's listeners: TLS for everyone, a unix socket for the host's own
//! administrator, plain HTTP for what is open to all where that is wanted.
//!
//! Each listener serves one router and puts a [`Peer`] into every request.
//! Handshakes and connections are bounded; a part of the connections is kept
//! for nodes and users, so that neither anonymous clients nor machines can shut the
//! mesh out, and no network can have all that is for those who have not said who they
//! are. When the token is cancelled a listener stops accepting, lets
//! requests end, and after [`Options::drain`] cuts what is left.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use patchmesh_topology::name::{MachineName, NodeName};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::connection::{Connection, Guest, Protocol};
use super::metered::{Meter, Metered};
use crate::identity::certificate::{Certificate, Subject};
use crate::identity::peer::Peer;
use crate::identity::places::{Place, Places};
use crate::identity::policy::PeerPolicy;

mod connection;
mod unix;

pub use unix::{bind_unix, serve_unix};

/// How long to rest when the system has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Connections of one machine at a time: it needs one, and a second while it moves.
const MAX_OF_A_MACHINE: usize = 4;

/// The part of the connections that those of one network can have which have not said who they
/// are, and of the places of strangers: so no single host takes them all. Many machines may
/// stand behind one address.
const PART_OF_A_NETWORK: usize = 4;

/// The part of the handshakes that each network has before it shares [`PART_OF_CROWDS`] of
/// them with others that have as many.
const PART_OF_EACH: usize = 8;

/// The part of the handshakes that networks with many of them share.
const PART_OF_CROWDS: usize = 2;

/// Files that are no connections: the store's, payloads under way, other nodes.
const OTHER_FILES: usize = 2048;

/// The most connections of a node, whatever the system lets it have.
const MOST_CONNECTIONS: usize = 131_072;

/// Why a listener cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken or not of this host.
    #[error("cannot listen on {address}: is another node running, and is the address this host's?")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Another process listens on the socket.
    #[error("another node listens on {}: stop it first", .0.display())]
    InUse(PathBuf),
    /// Something else is where the socket should be.
    #[error("{} is there and is no socket: move it away", .0.display())]
    NoSocket(PathBuf),
    /// A path that the system cannot bind.
    #[error(
        "the path {} has {length} characters, and a socket's has at most {max}: choose a data folder with a shorter path",
        path.display()
    )]
    LongPath {
        /// The path.
        path: PathBuf,
        /// Its bytes.
        length: usize,
        /// The most that the system takes.
        max: usize,
    },
    /// The socket cannot be made.
    #[error("cannot make the socket {}", path.display())]
    Socket {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The bounds of a listener.
#[derive(Debug, Clone)]
pub struct Options {
    /// Connections at a time; the rest wait in the system's queue. Well below
    /// the usual limit of file descriptors.
    pub max_connections: usize,
    /// Of those, how many only nodes and users can have.
    pub reserved_for_peers: usize,
    /// Of the others, how many those without a certificate can have.
    pub max_strangers: usize,
    /// TLS handshakes at a time: they cost processor time before anyone has
    /// proven anything.
    pub max_handshakes: usize,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long a client may take to send its first request, and each head.
    pub header_timeout: Duration,
    /// Requests at a time on one HTTP/2 connection of a node or a person.
    pub max_streams: u32,
    /// The same of a machine or of somebody unknown: each may make the node hold as much as
    /// the largest request.
    pub max_streams_of_others: u32,
    /// How long a request of a machine or of somebody unknown may take until its answer begins,
    /// whole with its body.
    pub request_timeout: Duration,
    /// How long requests may go on when the listener shuts down.
    pub drain: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            reserved_for_peers: 1024,
            max_strangers: 3072,
            max_handshakes: 256,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(30),
            max_streams: 256,
            max_streams_of_others: 8,
            request_timeout: Duration::from_secs(600),
            drain: Duration::from_secs(10),
        }
    }
}

impl Options {
    /// With as many connections as this process may have open files, less what else
    /// it opens: each machine keeps one.
    #[must_use]
    pub fn for_machines() -> Self {
        let options = Self::default();
        let files = descriptors().saturating_sub(OTHER_FILES);
        let max_connections = files.clamp(options.max_connections, MOST_CONNECTIONS);
        Self { max_connections, ..options }
    }
}

/// How many files this process may have open. The system lets it raise that up to a
/// bound.
fn descriptors() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: before.maximum, maximum: before.maximum };
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => before.maximum,
        Err(_) => before.current,
    };
    now.map_or(usize::MAX, |now| usize::try_from(now).unwrap_or(usize::MAX))
}

/// Listens on a TCP address; port 0 takes any free one.
///
/// # Errors
/// [`Error::Bind`].
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Bind { address, source })
}

/// Says what counts the connections of a node.
pub type Meters = Arc<dyn Fn(&NodeName) -> Arc<dyn Meter> + Send + Sync>;

/// Serves `app` over TLS until `shutdown`.
pub async fn serve_tls(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    policy: Arc<PeerPolicy>,
    app: Router,
    options: Options,
    meters: Option<Meters>,
    shutdown: CancellationToken,
) {
    let limit = options.max_connections;
    let door = Arc::new(Door::new(tls, policy, app, options, meters, shutdown.clone()));
    serve_all(listener, limit, shutdown, |tcp| Arc::clone(&door).welcome(tcp)).await;
}

/// Serves `app` over plain HTTP/1.1 until `shutdown`. Everyone is
/// [`Peer::Anonymous`].
pub async fn serve_plain(
    listener: TcpListener,
    app: Router,
    options: Options,
    shutdown: CancellationToken,
) {
    let limit = options.max_connections;
    let connection = Connection {
        app,
        guest: Guest::Known(Peer::Anonymous),
        remote: Remote(Ipv4Addr::UNSPECIFIED.into()),
        protocol: Protocol::Http1,
        options,
        shutdown: shutdown.clone(),
    };
    let welcome = |tcp: TcpStream| {
        let remote = Remote::of(&tcp);
        Connection { remote, ..connection.clone() }.serve(tcp)
    };
    serve_all(listener, limit, shutdown, welcome).await;
}

/// The address that a request came from, for who answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remote(pub IpAddr);

impl Remote {
    /// That of a connection; the unspecified one when it has gone already.
    fn of(tcp: &TcpStream) -> Self {
        Self(tcp.peer_addr().map_or(Ipv4Addr::UNSPECIFIED.into(), |address| address.ip()))
    }

    /// What one host can have of addresses: one of IPv4, or 64 bits of IPv6.
    fn network(self) -> IpAddr {
        match self.0.to_canonical() {
            IpAddr::V6(address) => {
                let prefix = address.to_bits() & !u128::from(u64::MAX);
                Ipv6Addr::from_bits(prefix).into()
            }
            address => address,
        }
    }
}

/// A part of so many, at least one.
fn part(all: usize, part: usize) -> usize {
    (all / part).max(1)
}

/// Where connections come from.
trait Listener {
    type Io: Send + 'static;

    /// The next connection. Errors are about a connection that failed or about
    /// a lack of descriptors, never about the listener: so it goes on.
    fn next(&self) -> impl Future<Output = Self::Io> + Send;
}

impl Listener for TcpListener {
    type Io = TcpStream;

    async fn next(&self) -> TcpStream {
        loop {
            match self.accept().await {
                Ok((tcp, _)) => {
                    // Small answers matter more than full packets.
                    let _ = tcp.set_nodelay(true);
                    return tcp;
                }
                Err(error) => rest_after(&error).await,
            }
        }
    }
}

/// Serves every connection in a task of its own, at most `limit` at a time,
/// until `shutdown`; then waits for those that are left.
async fn serve_all<L, F>(
    listener: L,
    limit: usize,
    shutdown: CancellationToken,
    welcome: impl Fn(L::Io) -> F,
) where
    L: Listener,
    F: Future<Output = ()> + Send + 'static,
{
    let tasks = TaskTracker::new();
    let connections = Arc::new(Semaphore::new(limit));
    loop {
        let permit = tokio::select! {
            permit = Arc::clone(&connections).acquire_owned() => permit,
            () = shutdown.cancelled() => break,
        };
        // The semaphore is never closed.
        let Ok(permit) = permit else { break };
        // In a box, since a task has room for what it captures and again for what it awaits.
        let served = tokio::select! {
            io = listener.next() => Box::pin(welcome(io)),
            () = shutdown.cancelled() => break,
        };
        tasks.spawn(async move {
            served.await;
            drop(permit);
        });
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// Goes on after an error of `accept`, at once or after a pause.
async fn rest_after(error: &io::Error) {
    if !is_transient(error) {
        tracing::warn!(%error, "cannot accept connections for a moment");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// Whether an error of `accept` concerns only a client that went away.
fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// What every TLS connection goes through before its first request.
struct Door {
    acceptor: TlsAcceptor,
    policy: Arc<PeerPolicy>,
    app: Router,
    /// Connections of those without a certificate, and of machines.
    guests: Arc<Semaphore>,
    /// Those without one, among them.
    strangers: Arc<Semaphore>,
    /// The same, by where they come from.
    strangers_of: Places<IpAddr>,
    machines: Places<MachineName>,
    /// Those that have not said who they are, by where they come from.
    arriving: Places<IpAddr>,
    handshakes: Semaphore,
    /// Those of networks with many of them.
    crowds: Semaphore,
    options: Options,
    meters: Option<Meters>,
    shutdown: CancellationToken,
}

/// The places of a connection: that of a guest, those of a stranger, that of a machine.
type Held = (
    Option<OwnedSemaphorePermit>,
    Option<(OwnedSemaphorePermit, Place<IpAddr>)>,
    Option<Place<MachineName>>,
);

impl Door {
    fn new(
        tls: Arc<ServerConfig>,
        policy: Arc<PeerPolicy>,
        app: Router,
        options: Options,
        meters: Option<Meters>,
        shutdown: CancellationToken,
    ) -> Self {
        let guests = options.max_connections.saturating_sub(options.reserved_for_peers);
        Self {
            acceptor: TlsAcceptor::from(tls),
            policy,
            app,
            guests: Arc::new(Semaphore::new(guests)),
            strangers: Arc::new(Semaphore::new(options.max_strangers)),
            strangers_of: Places::default(),
            machines: Places::default(),
            arriving: Places::default(),
            handshakes: Semaphore::new(options.max_handshakes),
            crowds: Semaphore::new(part(options.max_handshakes, PART_OF_CROWDS)),
            options,
            meters,
            shutdown,
        }
    }

    async fn welcome(self: Arc<Self>, tcp: TcpStream) {
        let remote = Remote::of(&tcp);
        // In boxes: what a handshake needs goes with it, and thousands of machines do
        // nothing after it.
        let tls = tokio::select! {
            tls = Box::pin(self.handshake(tcp, remote)) => tls,
            () = self.shutdown.cancelled() => return,
        };
        let served = match tls {
            Ok(tls) => Box::pin(self.serve(tls, remote)).await,
            Err(error) => Err(error),
        };
        if let Err(error) = served {
            self.report(remote, &error);
        }
    }

    async fn handshake(
        &self,
        tcp: TcpStream,
        remote: Remote,
    ) -> io::Result<Box<TlsStream<Metered<TcpStream>>>> {
        let most = part(self.options.max_connections, PART_OF_A_NETWORK);
        let arriving = self.arriving.enter(&remote.network(), most);
        let arriving = arriving.ok_or_else(|| io::Error::other("too many clients of a network"))?;
        let is_crowd = arriving.number() > part(self.options.max_handshakes, PART_OF_EACH);
        let attempt = async {
            // The semaphores are never closed.
            let _crowd = match is_crowd {
                true => Some(self.crowds.acquire().await.map_err(io::Error::other)?),
                false => None,
            };
            let _permit = self.handshakes.acquire().await.map_err(io::Error::other)?;
            self.acceptor.accept(Metered::new(tcp, None)).await.map(Box::new)
        };
        timeout(self.options.handshake_timeout, attempt).await?
    }

    async fn serve(
        &self,
        mut tls: Box<TlsStream<Metered<TcpStream>>>,
        remote: Remote,
    ) -> io::Result<()> {
        let (_, session) = tls.get_ref();
        let protocol = match session.alpn_protocol() {
            Some(b"h2") => Protocol::Http2,
            _ => Protocol::Http1,
        };
        let offered = session.peer_certificates().and_then(<[_]>::first);
        let certificate = offered.map(|der| Certificate::parse(der)).transpose();
        let certificate = certificate.map_err(io::Error::other)?.map(Arc::new);
        let subject = certificate.as_ref().map(|one| &one.subject);
        if let (Some(Subject::Node(name)), Some(meters)) = (subject, &self.meters) {
            tls.get_mut().0.set_meter(meters(name));
        }
        let known = match &certificate {
            Some(one) if self.policy.greet(one).await => Some(&one.subject),
            _ => None,
        };
        let _held = self.enter(known, remote)?;
        let guest = match certificate {
            Some(certificate) => Guest::Certified { certificate, policy: Arc::clone(&self.policy) },
            None => Guest::Known(Peer::Anonymous),
        };
        let connection = Connection {
            app: self.app.clone(),
            guest,
            remote,
            protocol,
            options: self.options.clone(),
            shutdown: self.shutdown.clone(),
        };
        connection.serve(tls).await;
        Ok(())
    }

    /// What a connection holds for as long as it lasts. Whoever is not let in is a stranger,
    /// also with a certificate that names a machine: so nobody holds the places of another.
    fn enter(&self, known: Option<&Subject>, remote: Remote) -> io::Result<Held> {
        let full = |_| io::Error::other("too many clients without a certificate, or machines");
        let take = |room: &Arc<Semaphore>| Arc::clone(room).try_acquire_owned().map_err(full);
        let many = |whose| io::Error::other(format!("too many connections of one {whose}"));
        match known {
            Some(Subject::Node(_) | Subject::User(_)) => Ok((None, None, None)),
            Some(Subject::Machine { name, .. }) => {
                let place = self.machines.enter(name, MAX_OF_A_MACHINE);
                let place = place.ok_or_else(|| many("machine"))?;
                Ok((Some(take(&self.guests)?), None, Some(place)))
            }
            None => {
                let most = part(self.options.max_strangers, PART_OF_A_NETWORK);
                let place = self.strangers_of.enter(&remote.network(), most);
                let place = place.ok_or_else(|| many("network"))?;
                let stranger = (take(&self.strangers)?, place);
                Ok((Some(take(&self.guests)?), Some(stranger), None))
            }
        }
    }

    /// A client that goes away is nobody's concern; one that TLS refuses may
    /// be a stranger or a host whose set-up is wrong.
    fn report(&self, remote: Remote, error: &io::Error) {
        let host = remote.0.to_string();
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(reason)) => {
                let text = format!("its certificate is not of this mesh ({reason})");
                self.policy.report_handshake(&host, "unknown-ca", &text);
            }
            Some(tls) => tracing::debug!(peer = host, error = %tls, "TLS handshake failed"),
            None => tracing::debug!(peer = host, %error, "connection failed"),
        }
    }
}
