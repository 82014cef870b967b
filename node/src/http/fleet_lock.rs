//! FleetLock, version 1: machines ask before they restart, and say when they work
//! again.
//!
//! ```text
//! POST /v1/pre-reboot      200: the machine may restart
//! POST /v1/steady-state    200: it has no slot any more
//! fleet-lock-protocol: true
//! {"client_params": {"id": "MACHINE", "group": "GROUP"}}
//! ```
//!
//! A machine speaks for itself alone, by its certificate. A refusal is
//! `{"kind": "…", "value": "…"}`.

use std::sync::Arc;

use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use patchmesh_topology::name::{GroupName, MachineName};
use serde::{Deserialize, Serialize};

use crate::generation::Current;
use crate::identity::certificate::{Certificate, Subject};
use crate::log::in_one_line;
use crate::reboots::{Error, Reboots};

/// The longest request, in bytes; both names have 63 at most.
const MAX_BODY: usize = 4096;

/// Says that a request is meant for this protocol.
const HEADER: &str = "fleet-lock-protocol";

#[derive(Clone)]
struct Locks {
    reboots: Reboots,
    current: Current,
}

#[derive(Debug, Deserialize)]
struct Asked {
    client_params: Client,
}

#[derive(Debug, Deserialize)]
struct Client {
    id: String,
    group: String,
}

/// Why not, as the protocol says it.
#[derive(Debug, Serialize)]
struct Refusal {
    #[serde(skip)]
    status: StatusCode,
    kind: &'static str,
    value: String,
}

impl Refusal {
    fn new(status: StatusCode, kind: &'static str, value: impl Into<String>) -> Self {
        Self { status, kind, value: value.into() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.status;
        (status, [(header::CACHE_CONTROL, "no-store")], Json(self)).into_response()
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(refused) => {
                Self::new(StatusCode::CONFLICT, "no_slot", refused.to_string())
            }
            Error::Store(error) => failed(&error),
        }
    }
}

fn failed(error: &crate::store::Error) -> Refusal {
    let why = in_one_line(error);
    tracing::error!(why, "a slot to restart is not written");
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "store", why)
}

/// The routes, to be merged with those that a TLS listener serves.
pub fn route(reboots: Reboots, current: Current) -> Router {
    Router::new()
        .route("/v1/pre-reboot", post(pre_reboot))
        .route("/v1/steady-state", post(steady_state))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Locks { reboots, current })
}

async fn pre_reboot(
    State(locks): State<Locks>,
    certificate: Option<Extension<Arc<Certificate>>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Refusal> {
    let (machine, group) = asks(certificate, &headers, body)?;
    let mesh = locks.current.get().mesh.clone();
    let known = mesh.group(&group).ok_or_else(|| {
        let why = format!("this node's mesh document knows no group {group}");
        Refusal::new(StatusCode::FORBIDDEN, "unknown_group", why)
    })?;
    locks.reboots.take(&machine, &group, known.reboot_slots).await?;
    Ok(StatusCode::OK)
}

async fn steady_state(
    State(locks): State<Locks>,
    certificate: Option<Extension<Arc<Certificate>>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Refusal> {
    let (machine, _) = asks(certificate, &headers, body)?;
    locks.reboots.release(&machine).await.map_err(|error| failed(&error))?;
    Ok(StatusCode::OK)
}

/// Who asks, who has to be who they prove to be.
fn asks(
    certificate: Option<Extension<Arc<Certificate>>>,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(MachineName, GroupName), Refusal> {
    if headers.get(HEADER).is_none_or(|value| value != "true") {
        let why = format!("the header `{HEADER}: true` is missing");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "no_protocol", why));
    }
    let body = body.map_err(|rejection| {
        Refusal::new(rejection.status(), "bad_request", rejection.body_text())
    })?;
    let asked: Asked = serde_json::from_slice(&body).map_err(|error| {
        let why =
            format!("the body is not {{\"client_params\":{{\"id\":…,\"group\":…}}}}: {error}");
        Refusal::new(StatusCode::BAD_REQUEST, "bad_request", why)
    })?;
    let subject = certificate.as_ref().map(|Extension(certificate)| &certificate.subject);
    let Some(Subject::Machine { name, group }) = subject else {
        let why = "only a machine asks, with the certificate that it joined with";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "no_machine", why));
    };
    let Client { id, group: named } = asked.client_params;
    if id != name.as_str() || named != group.as_str() {
        let why = format!(
            "the certificate is of machine {name} of group {group}: id has to be {name:?} and group {group:?}"
        );
        return Err(Refusal::new(StatusCode::FORBIDDEN, "other_machine", why));
    }
    Ok((name.clone(), group.clone()))
}
