//! `GET /quarantine/FORMAT?verdict=…&site=…&group=…`: machines to be kept apart, for
//! firewalls and other programs, with the certificate of a user.

use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use futures_util::TryStreamExt;
use http::{StatusCode, header};
use patchmesh_proto::admin as wire;
use tonic::{Code, Status};

use super::Service;
use crate::identity::peer::Peer;
use crate::quarantine::{Format, LISTED, List};
use crate::rpc::rights::{Guard, Right};
use crate::rpc::status::field;

/// The route, to be merged with those that a TLS listener serves.
pub fn route(service: Service, guard: Guard) -> Router {
    Router::new().route("/quarantine/{format}", get(answer)).with_state((service, guard))
}

async fn answer(
    State((service, guard)): State<(Service, Guard)>,
    Path(format): Path<String>,
    RawQuery(query): RawQuery,
    peer: Option<Extension<Peer>>,
) -> Response {
    let peer = peer.map_or(Peer::Anonymous, |Extension(peer)| peer);
    match list(&service, &guard, &peer, &format, query.as_deref().unwrap_or_default()).await {
        Ok((format, text)) => {
            let headers =
                [(header::CONTENT_TYPE, format.media_type()), (header::CACHE_CONTROL, "no-store")];
            (headers, text).into_response()
        }
        Err(status) => {
            (http_status(status.code()), format!("{}\n", status.message())).into_response()
        }
    }
}

async fn list(
    service: &Service,
    guard: &Guard,
    peer: &Peer,
    format: &str,
    query: &str,
) -> Result<(Format, String), Status> {
    guard.allow(Right::ReadBelow, "/quarantine", peer)?;
    let format: Format = format
        .parse()
        .map_err(|error: crate::quarantine::NoFormat| Status::not_found(error.to_string()))?;
    let mut machines = service.verdicts(peer, request(query)?).await?;
    let mut list = List::default();
    while let Some(machine) = machines.try_next().await? {
        list.push(machine);
    }
    let text = list.render(format).map_err(|error| Status::internal(error.to_string()))?;
    Ok((format, text))
}

/// What a query asks for.
fn request(query: &str) -> Result<wire::ListVerdictsRequest, Status> {
    let mut request = wire::ListVerdictsRequest::default();
    let mut scope = wire::ReportScope::default();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let value = value.into_owned();
        match &*name {
            "verdict" => request.verdicts.push(value),
            "site" => scope.site = value,
            "group" => scope.group = value,
            _ => return Err(field(&name, "there are only verdict, site and group")),
        }
    }
    if request.verdicts.is_empty() {
        request.verdicts = LISTED.iter().map(|verdict| verdict.as_str().to_owned()).collect();
    }
    request.scope = Some(scope);
    Ok(request)
}

const fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::InvalidArgument => StatusCode::BAD_REQUEST,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::Unavailable | Code::FailedPrecondition => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
