//! Responses whose bytes flow as they come.
//!
//! What always holds: a body has exactly the length announced, or the
//! connection breaks; a client never takes a part for the whole.

use std::io;
use std::ops::Range;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, future, stream};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::conditional::{self, Validators, Verdict};
use super::refusal::Refusal;
use super::resource::Resource;
use super::served::{self, BlobRead, Stored};

/// One year, the customary "for ever".
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// Ask again each time; the validators make that cheap.
const ASK_AGAIN: &str = "no-cache";

/// Answers a GET or HEAD request for a file.
pub(super) async fn respond(
    method: &Method,
    headers: &HeaderMap,
    resource: Resource,
    blobs: &dyn BlobRead,
) -> Result<Response, Refusal> {
    let validators =
        Validators { etag: &resource.etag, modified: resource.modified, length: resource.length };
    let verdict = conditional::judge(method, headers, validators);
    let (status, range) = match verdict {
        Verdict::Whole => (StatusCode::OK, 0..resource.length),
        Verdict::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Verdict::NotModified => return Ok(describe(StatusCode::NOT_MODIFIED, &resource)),
        Verdict::PreconditionFailed => {
            return Ok(StatusCode::PRECONDITION_FAILED.into_response());
        }
        Verdict::Unsatisfiable => return Ok(unsatisfiable(&resource)),
    };
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        body(&resource, range.clone(), blobs).await?
    };
    let mut response = describe(status, &resource);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(resource.content_type));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    if status == StatusCode::PARTIAL_CONTENT {
        let part = format!("bytes {}-{}/{}", range.start, range.end - 1, resource.length);
        headers.extend(value(&part).map(|value| (header::CONTENT_RANGE, value)));
    }
    *response.body_mut() = body;
    Ok(response)
}

/// A response without a body that carries the file's validators.
fn describe(status: StatusCode, resource: &Resource) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let caching = if resource.immutable { FOR_EVER } else { ASK_AGAIN };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.extend(value(&resource.etag).map(|value| (header::ETAG, value)));
    let modified = resource.modified.and_then(|time| value(&httpdate::fmt_http_date(time)));
    headers.extend(modified.map(|value| (header::LAST_MODIFIED, value)));
    response
}

fn unsatisfiable(resource: &Resource) -> Response {
    let mut response = describe(StatusCode::RANGE_NOT_SATISFIABLE, resource);
    let whole = value(&format!("bytes */{}", resource.length));
    response.headers_mut().extend(whole.map(|value| (header::CONTENT_RANGE, value)));
    response
}

/// Digests, numbers and dates are always fit for a header.
fn value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}

async fn body(
    resource: &Resource,
    range: Range<u64>,
    blobs: &dyn BlobRead,
) -> Result<Body, Refusal> {
    if range.is_empty() {
        return Ok(Body::empty());
    }
    let blob = match &resource.bytes {
        Stored::Blob(blob) => *blob,
        Stored::Bytes(bytes) => return Ok(Body::from(slice(bytes, &range))),
    };
    let unavailable = |why: String, retry_after| Refusal::Unavailable { why, retry_after };
    let length = range.end - range.start;
    let mut stream = blobs.read(blob, range).await.map_err(|refused| {
        tracing::warn!(blob = %blob.digest, why = %refused.why, "a client asked for content that can't be had");
        unavailable(refused.why, refused.retry_after)
    })?;
    // The first bytes decide: after them the status can no longer change.
    match stream.next().await {
        Some(Ok(first)) => {
            let bytes = stream::once(future::ready(Ok(first))).chain(stream);
            Ok(Body::from_stream(exactly(length, Box::pin(bytes), blob.digest.short())))
        }
        Some(Err(error)) => Err(unavailable(error.to_string(), super::RETRY)),
        None => Err(unavailable("the content ended before it began".to_owned(), super::RETRY)),
    }
}

/// The range lies within the resource's length, which is that of the bytes.
fn slice(bytes: &Bytes, range: &Range<u64>) -> Bytes {
    let at = |offset: u64| usize::try_from(offset).unwrap_or(bytes.len()).min(bytes.len());
    bytes.slice(at(range.start)..at(range.end))
}

/// Turns a stream of any length into one of `length` bytes that ends in an
/// error where it has fewer or more; hyper then breaks the connection.
fn exactly(
    length: u64,
    stream: served::ByteStream,
    blob: String,
) -> impl Stream<Item = io::Result<Bytes>> {
    stream::unfold(Some((length, stream)), move |state| {
        let blob = blob.clone();
        async move {
            let (left, mut stream) = state?;
            let fault = match stream.next().await {
                Some(Ok(bytes)) if bytes.len() as u64 <= left => {
                    let left = left - bytes.len() as u64;
                    return Some((Ok(bytes), Some((left, stream))));
                }
                None if left == 0 => return None,
                Some(Ok(_)) => io::Error::other("the content is longer than announced"),
                None => io::Error::new(io::ErrorKind::UnexpectedEof, "the content ended early"),
                Some(Err(error)) => error,
            };
            tracing::warn!(%blob, left, %fault, "a transfer to a client broke off; it can resume");
            Some((Err(fault), None))
        }
    })
}
