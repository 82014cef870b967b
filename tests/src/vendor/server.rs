//! A static web server on loopback that can misbehave, and that remembers what
//! it was asked.
//!
//! Answers conditional and range requests as a mirror would. A fault applies to
//! every path that ends with the text it was set for.

use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How much is sent at a time.
const CHUNK: usize = 64 * 1024;

/// What can be wrong with an answer.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Only the first bytes, as if that were all.
    Truncate(usize),
    /// The length is announced, but the connection ends after so many bytes.
    Cut(usize),
    /// The bit of one byte in the middle is turned over.
    Tamper,
    /// So many bytes a second.
    Slow(usize),
    /// The headers come, the rest never does.
    Hang,
    /// Zeros without end.
    Endless,
    /// Something else altogether.
    Replace(Bytes),
    /// This status and nothing else.
    Status(u16),
}

/// A request that was made.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The path.
    pub path: String,
    /// The status that it was answered with.
    pub status: u16,
    /// The `Range` header.
    pub range: Option<String>,
}

#[derive(Default)]
struct Shared {
    base: PathBuf,
    faults: Mutex<Vec<(String, Fault)>>,
    seen: Mutex<Vec<Seen>>,
}

/// The server; it stops when dropped.
pub struct Server {
    port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Serves `base` on a free port.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(base: &Path) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("no port on loopback")?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared { base: base.to_owned(), ..Shared::default() });
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let task = tokio::spawn(async move {
            // It ends with the task only.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { port, shared, task })
    }

    /// The base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on paths that end with `suffix` have this fault.
    pub fn break_path(&self, suffix: &str, fault: Fault) {
        let mut faults = self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.retain(|(known, _)| known != suffix);
        faults.push((suffix.to_owned(), fault));
    }

    /// From now on everything is well again.
    pub fn repair(&self) {
        self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// What was asked since the last call.
    #[must_use]
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let path = request.uri().path().to_owned();
    let response = respond(&shared, &path, request.headers()).await;
    let text = |name: HeaderName| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let seen = Seen { path, status: response.status().as_u16(), range: text(header::RANGE) };
    shared.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    response
}

async fn respond(shared: &Shared, path: &str, headers: &HeaderMap) -> Response {
    let fault = {
        let faults = shared.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.iter().find(|(suffix, _)| path.ends_with(suffix)).map(|(_, fault)| fault.clone())
    };
    if let Some(Fault::Status(status)) = fault {
        return StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT).into_response();
    }
    if let Some(Fault::Replace(bytes)) = fault {
        return bytes.into_response();
    }
    if let Some(Fault::Endless) = fault {
        let zeros =
            stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[0; CHUNK])));
        return Body::from_stream(zeros).into_response();
    }
    let Some(file) = locate(&shared.base, path) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let (Ok(content), Ok(modified)) = (
        tokio::fs::read(&file).await,
        std::fs::metadata(&file).and_then(|metadata| metadata.modified()),
    ) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    file_response(Bytes::from(content), modified, headers, fault)
}

fn locate(base: &Path, path: &str) -> Option<PathBuf> {
    let decoded = path.trim_start_matches('/').replace("%3a", ":").replace("%3A", ":");
    let relative = decoded.replace("%2b", "+").replace("%2B", "+").replace("%7e", "~");
    let relative = PathBuf::from(relative.replace("%7E", "~"));
    let inside = relative.components().all(|part| matches!(part, Component::Normal(_)));
    let served = relative.starts_with("dists") || relative.starts_with("pool");
    (inside && served).then(|| base.join(relative))
}

fn file_response(
    mut content: Bytes,
    modified: SystemTime,
    headers: &HeaderMap,
    fault: Option<Fault>,
) -> Response {
    let stamp = http_date(modified);
    let etag = format!("\"{}\"", blake3::hash(&content).to_hex());
    let asked = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if asked(header::IF_NONE_MATCH) == Some(&etag)
        || (asked(header::IF_NONE_MATCH).is_none()
            && asked(header::IF_MODIFIED_SINCE) == Some(&stamp))
    {
        return StatusCode::NOT_MODIFIED.into_response();
    }

    match fault {
        Some(Fault::Truncate(bytes)) => content.truncate(bytes),
        Some(Fault::Tamper) => {
            let mut changed = content.to_vec();
            let middle = changed.len() / 2;
            if let Some(byte) = changed.get_mut(middle) {
                *byte ^= 1;
            }
            content = changed.into();
        }
        _ => {}
    }

    let whole = content.len();
    let start = asked(header::RANGE).and_then(range_start).filter(|start| *start < whole);
    let part = content.slice(start.unwrap_or(0)..);
    let length = part.len();
    let mut response = body(part, fault).into_response();
    if let Some(start) = start {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        set(&mut response, header::CONTENT_RANGE, &format!("bytes {start}-{}/{whole}", whole - 1));
    }
    set(&mut response, header::CONTENT_LENGTH, &length.to_string());
    set(&mut response, header::LAST_MODIFIED, &stamp);
    set(&mut response, header::ETAG, &etag);
    set(&mut response, header::ACCEPT_RANGES, "bytes");
    response
}

fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// The start of `bytes=START-`; other forms are answered with the whole.
fn range_start(range: &str) -> Option<usize> {
    range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

fn body(content: Bytes, fault: Option<Fault>) -> Body {
    match fault {
        Some(Fault::Cut(bytes)) => {
            let start = content.slice(..bytes.min(content.len()));
            let broken = Err(std::io::Error::other("cut on purpose"));
            Body::from_stream(stream::iter([Ok(start), broken]))
        }
        Some(Fault::Hang) => Body::from_stream(stream::pending::<std::io::Result<Bytes>>()),
        Some(Fault::Slow(bytes_per_second)) => Body::from_stream(slowly(content, bytes_per_second)),
        _ => Body::from(content),
    }
}

/// Ten parts a second.
fn slowly(content: Bytes, bytes_per_second: usize) -> impl Stream<Item = std::io::Result<Bytes>> {
    let part = (bytes_per_second / 10).max(1);
    stream::unfold(content, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let next = rest.split_to(part.min(rest.len()));
        Some((Ok(next), rest))
    })
    .boxed()
}

fn http_date(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map(|stamp| stamp.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
        .unwrap_or_default()
}
