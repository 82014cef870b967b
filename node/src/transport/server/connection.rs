//! One connection, from its first request to its end.
//!
//! The peer is judged again for every request and whenever the mesh document
//! or the date gives a reason to: a refused peer gets the reason as the answer
//! to its next request, open streams of it are cut.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{Options, Remote};
use crate::identity::CLOCK_SKEW;
use crate::identity::certificate::{Certificate, Subject};
use crate::identity::peer::{Peer, Refusal};
use crate::identity::policy::PeerPolicy;
use crate::transport::{
    CONNECTION_WINDOW, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT, MACHINE_FRAME, MACHINE_KEEP_ALIVE,
    MACHINE_WINDOW, MAX_FRAME, MAX_HEADERS, STREAM_WINDOW,
};

/// How long a refused peer has to read why.
const REFUSAL_LINGER: Duration = Duration::from_secs(2);

/// Bytes of a refused request's body that are read, and thrown away.
const MAX_UNREAD: usize = 64 << 10;

/// How often the date is looked at at least: clocks get set.
const DATE_CHECK: Duration = Duration::from_secs(600);

/// Bytes of a HTTP/1.1 head that are read.
const MAX_HEAD: usize = 64 << 10;

/// Bytes that HTTP/2 holds back per stream for a slow reader.
const SEND_BUFFER: usize = 256 << 10;

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// Who is connected.
#[derive(Clone)]
pub(super) enum Guest {
    /// Someone whose standing does not change.
    Known(Peer),
    /// The holder of a certificate that this mesh's CA issued.
    Certified {
        /// The certificate.
        certificate: Arc<Certificate>,
        /// Whether they are let in.
        policy: Arc<PeerPolicy>,
    },
}

impl Guest {
    /// Whether it is a node or a person of the mesh.
    fn is_peer(&self) -> bool {
        match self {
            Self::Known(peer) => !matches!(peer, Peer::Anonymous | Peer::Machine(_)),
            Self::Certified { certificate, .. } => {
                !matches!(certificate.subject, Subject::Machine { .. })
            }
        }
    }

    fn is_machine(&self) -> bool {
        let Self::Certified { certificate, .. } = self else { return false };
        matches!(certificate.subject, Subject::Machine { .. })
    }

    fn admit(&self) -> Result<Peer, Refusal> {
        match self {
            Guest::Known(peer) => Ok(peer.clone()),
            Guest::Certified { certificate, policy } => policy.admit(certificate, Timestamp::now()),
        }
    }

    /// Returns when a guest who was let in no longer would be.
    async fn until_refused(&self) {
        let Guest::Certified { certificate, policy } = self else {
            return std::future::pending().await;
        };
        let mut changes = policy.changes(certificate);
        loop {
            let left = certificate.not_after.duration_since(Timestamp::now());
            let left = Duration::try_from(left).unwrap_or_default() + CLOCK_SKEW;
            let date = sleep(left.min(DATE_CHECK) + Duration::from_secs(1));
            tokio::select! {
                // An error means that the node is shutting down.
                changed = changes.next() => if changed.is_err() {
                    return std::future::pending().await;
                },
                () = date => {}
            }
            if self.admit().is_err() {
                return;
            }
        }
    }
}

/// Everything about a connection but its bytes.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) app: Router,
    pub(super) guest: Guest,
    pub(super) remote: Remote,
    pub(super) protocol: Protocol,
    pub(super) options: Options,
    pub(super) shutdown: CancellationToken,
}

/// What requests tell the connection's task.
#[derive(Default)]
struct Signals {
    /// A request came.
    used: AtomicBool,
    /// A request was refused because of the peer.
    refused: Notify,
}

impl Connection {
    /// Serves until the peer leaves, is refused, or the listener shuts down.
    pub(super) async fn serve<I>(self, io: I)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let signals = Arc::new(Signals::default());
        let service = service_fn({
            let (app, guest, remote) = (self.app.clone(), self.guest.clone(), self.remote);
            let signals = Arc::clone(&signals);
            let within = (!self.guest.is_peer()).then_some(self.options.request_timeout);
            move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(remote);
                answer(app.clone(), guest.clone(), Arc::clone(&signals), within, request)
            }
        });
        let mut builder = builder(self.protocol, &self.options);
        if !self.guest.is_peer() {
            builder.http2().max_concurrent_streams(self.options.max_streams_of_others);
        }
        if self.guest.is_machine() {
            builder
                .http2()
                .initial_stream_window_size(MACHINE_WINDOW)
                .initial_connection_window_size(MACHINE_WINDOW)
                .max_frame_size(MACHINE_FRAME)
                .keep_alive_interval(MACHINE_KEEP_ALIVE);
        }
        let mut served = pin!(builder.serve_connection(TokioIo::new(io), service));
        let mut refused = pin!(self.guest.until_refused());
        let first_request = Instant::now() + self.options.header_timeout;
        let mut end: Option<Instant> = None;
        let mut waiting = true;
        loop {
            tokio::select! {
                ended = served.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "connection ended");
                    }
                    return;
                }
                () = &mut refused => return,
                () = signals.refused.notified() => {
                    close(served.as_mut(), &mut end, REFUSAL_LINGER);
                }
                () = self.shutdown.cancelled(), if end.is_none() => {
                    close(served.as_mut(), &mut end, self.options.drain);
                }
                () = sleep_until(first_request), if waiting => {
                    waiting = false;
                    if !signals.used.load(Ordering::Relaxed) {
                        return;
                    }
                }
                () = sleep_until(end.unwrap_or(first_request)), if end.is_some() => return,
            }
        }
    }
}

type Served<'a, I, S> = auto::Connection<'a, TokioIo<I>, S, TokioExecutor>;

/// Lets requests end, until a deadline that is only ever drawn nearer.
fn close<I, S>(served: Pin<&mut Served<'_, I, S>>, end: &mut Option<Instant>, linger: Duration)
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    S: hyper::service::Service<Request<Incoming>, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    let deadline = Instant::now() + linger;
    *end = Some(end.map_or(deadline, |end| end.min(deadline)));
    served.graceful_shutdown();
}

fn builder(protocol: Protocol, options: &Options) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(options.header_timeout)
        .max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_send_buf_size(SEND_BUFFER)
        .max_concurrent_streams(options.max_streams)
        .max_header_list_size(MAX_HEADERS)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    match protocol {
        Protocol::Http1 => builder.http1_only(),
        Protocol::Http2 => builder.http2_only(),
    }
}

/// The answer to a request. Where that has to begin `within` a time and does not, what was
/// done for it ends.
async fn answer(
    app: Router,
    guest: Guest,
    signals: Arc<Signals>,
    within: Option<Duration>,
    mut request: Request<Incoming>,
) -> Result<Response, Infallible> {
    signals.used.store(true, Ordering::Relaxed);
    let is_grpc = is_grpc(&request);
    match guest.admit() {
        Ok(peer) => {
            request.extensions_mut().insert(peer);
            if let Guest::Certified { certificate, .. } = guest {
                request.extensions_mut().insert(certificate);
            }
            let answered = app.oneshot(request.map(Body::new));
            let Some(within) = within else { return answered.await };
            timeout(within, answered).await.unwrap_or_else(|_| Ok(too_slow(is_grpc, within)))
        }
        Err(refusal) => {
            // Some clients of HTTP read no answer before they have sent all of theirs.
            if !is_grpc {
                let rest = Limited::new(request.into_body(), MAX_UNREAD).collect();
                let _ = timeout(REFUSAL_LINGER, rest).await;
            }
            signals.refused.notify_one();
            Ok(refuse(is_grpc, &refusal))
        }
    }
}

fn is_grpc(request: &Request<Incoming>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// The refusal in the words of whoever asked.
fn refuse(is_grpc: bool, refusal: &Refusal) -> Response {
    if is_grpc {
        tonic::Status::permission_denied(refusal.to_string()).into_http()
    } else {
        (StatusCode::FORBIDDEN, format!("{refusal}\n")).into_response()
    }
}

/// That a request took too long, in the words of whoever asked.
fn too_slow(is_grpc: bool, within: Duration) -> Response {
    let text = format!("the request was not whole, or not answered, within {within:?}");
    if is_grpc {
        tonic::Status::deadline_exceeded(text).into_http()
    } else {
        (StatusCode::REQUEST_TIMEOUT, format!("{text}\n")).into_response()
    }
}
