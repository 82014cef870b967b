//! The open HTTP routes: views for stock clients, TUF metadata, content.
//!
//! ```text
//! /apt/STAGE/GROUP/…            apt repositories
//! /files/STAGE/GROUP/…          files that are no packages, and their index
//! /tuf/metadata/…, /tuf/targets/…
//! /content/blake3/HEX, /content/sha256/HEX
//! /keys/STAGE.asc, /ca.pem, /
//! /wutrack.bin?…                status of clients of the predecessor, see [`legacy()`]
//! /v1/pre-reboot, /v1/steady-state   for machines, see [`fleet_lock()`]
//! ```
//!
//! They need no certificate, since all that they serve proves itself; what is
//! about the mesh itself is refused here. Machines that prove who they are also get
//! payloads that are open at other sites: the node may stand in for theirs. A request passes four steps, each in
//! one place: [`path`] says what is wanted, [`resource`] finds it in one
//! snapshot, [`conditional`] judges the request's conditions, [`respond`] lets
//! the bytes flow.
//!
//! What always holds: only GET and HEAD; but for status, nothing is changed; nothing is looked up in a file system;
//! one request sees one snapshot; a body is whole or the connection breaks.

mod conditional;
mod fleet_lock;
mod legacy;
mod path;
mod refusal;
mod resource;
mod respond;
mod served;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Extension, Router};
use http::{HeaderMap, Method, Uri};

use refusal::Refusal;

use crate::identity::peer::Peer;

pub use fleet_lock::route as fleet_lock;
pub use legacy::route as legacy;
pub use served::{BlobRead, ByteStream, Served, Snapshot, Stored, Unavailable};

/// When a client should come back after a read failed here.
const RETRY: Duration = Duration::from_secs(10);

/// What the routes work on.
#[derive(Clone)]
struct Open {
    served: Arc<dyn Served>,
    blobs: Arc<dyn BlobRead>,
}

/// The open routes, without a fallback, so that they can be merged into the
/// router of the gRPC services or stand alone on a plain listener.
pub fn router(served: Arc<dyn Served>, blobs: Arc<dyn BlobRead>) -> Router {
    let paths = [
        "/",
        "/ca.pem",
        "/keys/{file}",
        "/apt",
        "/apt/",
        "/apt/{*path}",
        "/files",
        "/files/",
        "/files/{*path}",
        "/tuf/{*path}",
        "/content/{*path}",
    ];
    paths
        .into_iter()
        .fold(Router::new(), |router, path| router.route(path, any(answer)))
        .with_state(Open { served, blobs })
}

async fn answer(
    State(open): State<Open>,
    peer: Option<Extension<Peer>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let is_machine = peer.is_some_and(|Extension(peer)| matches!(peer, Peer::Machine(_)));
    match try_answer(&open, is_machine, &method, &uri, &headers).await {
        Ok(response) => response,
        Err(refusal) => {
            tracing::debug!(path = uri.path(), %refusal, "refused a request");
            refusal.into_response()
        }
    }
}

async fn try_answer(
    open: &Open,
    is_machine: bool,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(Refusal::Method);
    }
    let wanted = path::parse(uri.path())?;
    let resource = resource::resolve(&wanted, &*open.served.snapshot(), is_machine)?;
    respond::respond(method, headers, resource, &*open.blobs).await
}

#[cfg(test)]
mod tests;
