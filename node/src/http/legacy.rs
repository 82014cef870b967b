//! `GET /wutrack.bin?V=1&U=…`: how clients of the predecessor tell how they fare.
//!
//! The answer is empty, as theirs was. Whatever comes in is bounded and counted in
//! [`Legacy`], and nobody waits for a disk.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::{HeaderValue, Method, StatusCode, Uri, header};
use jiff::Timestamp;
use patchmesh_topology::legacy::PATH;

use super::refusal::Refusal;
use crate::legacy::{Legacy, Refused};
use crate::transport::server::Remote;

/// The route, to be merged with the others.
pub fn route(legacy: Legacy) -> Router {
    Router::new().route(PATH, any(answer)).with_state(legacy)
}

async fn answer(
    State(legacy): State<Legacy>,
    method: Method,
    uri: Uri,
    remote: axum::Extension<Remote>,
) -> Response {
    match take(&legacy, &method, &uri, *remote) {
        Ok(()) => {
            let unseen = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            (StatusCode::OK, [unseen]).into_response()
        }
        Err(refusal) => {
            tracing::debug!(path = uri.path(), %refusal, "refused a status");
            refusal.into_response()
        }
    }
}

fn take(legacy: &Legacy, method: &Method, uri: &Uri, remote: Remote) -> Result<(), Refusal> {
    if *method != Method::GET {
        return Err(Refusal::OnlyGet);
    }
    let query = uri.query().unwrap_or_default();
    legacy.take(remote.0, query, Timestamp::now()).map_err(|refused| match refused {
        Refused::Status(error) => Refusal::Status(error),
        Refused::TooMany { retry_after } => Refusal::TooMany { retry_after },
    })
}
