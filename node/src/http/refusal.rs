//! Answers other than the file asked for, in words that help.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use patchmesh_topology::node::UnknownWord;
use patchmesh_topology::{digest, legacy};

/// Why a request gets no file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("this path cannot be read: {0}")]
    Path(&'static str),
    #[error("the path has more than {0} bytes")]
    TooLong(usize),
    #[error("this path names no digest")]
    Digest(#[source] digest::Error),
    #[error("this path names no stage")]
    Stage(#[source] UnknownWord),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Closed(&'static str),
    #[error("only GET and HEAD are answered here")]
    Method,
    #[error("only GET is answered here")]
    OnlyGet,
    #[error("this is no status of a client")]
    Status(#[source] legacy::Error),
    #[error("too much status comes from this address, or from all together")]
    TooMany { retry_after: Duration },
    #[error("the file can't be had now: {why}")]
    Unavailable { why: String, retry_after: Duration },
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Path(_) | Self::Status(_) => StatusCode::BAD_REQUEST,
            Self::TooLong(_) => StatusCode::URI_TOO_LONG,
            Self::Digest(_) | Self::Stage(_) | Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Closed(_) => StatusCode::FORBIDDEN,
            Self::Method | Self::OnlyGet => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let text = match std::error::Error::source(&self) {
            Some(source) => format!("{self}: {source}\n"),
            None => format!("{self}\n"),
        };
        let mut response = (self.status(), text).into_response();
        let headers = response.headers_mut();
        // A proxy that remembered a refusal would hide what is opened a moment later.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        match self {
            Self::Method => {
                headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            }
            Self::OnlyGet => {
                headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
            }
            Self::Unavailable { retry_after, .. } | Self::TooMany { retry_after } => {
                let seconds = retry_after.as_secs().max(1);
                headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            _ => {}
        }
        response
    }
}
