//! Doing without evidence: one asks, another consents.

use patchmesh_proto::{admin as wire, convert};
use patchmesh_topology::name::UserName;
use patchmesh_topology::node::Stage;
use tonic::{Code, Status};

use crate::identity::peer::Peer;
use crate::log::in_one_line;
use crate::primary::overrides::{self, Error};
use crate::rpc::admin::decisions;
use crate::rpc::context::Context;
use crate::rpc::rights::check_stage;
use crate::rpc::signatures::{self, stopped};
use crate::rpc::status::{Refusal, internal};

/// Two people answer for an override, so both have names.
fn check_person(node: &Context, peer: &Peer) -> Result<UserName, Status> {
    check_stage(&node.generation().mesh, peer, Stage::Production)?;
    match peer {
        Peer::User(name) => Ok(name.clone()),
        _ => Err(Status::permission_denied(format!(
            "two people with names of their own answer for an override, and this came from {peer}; use your credentials: --node NAME"
        ))),
    }
}

pub(super) async fn ask(
    node: &Context,
    peer: &Peer,
    request: wire::AskOverrideRequest,
) -> Result<wire::AskOverrideResponse, Status> {
    let primary = node.primary()?;
    check_person(node, peer)?;
    let rollout = request.rollout;
    let asked = decisions::asked(&request.revisions, &request.groups, peer, request.reason)?;
    let asking = primary.publisher.alone(move |worker| overrides::ask(worker, &rollout, asked));
    let (pending, lacks) = asking.await.map_err(stopped)?.map_err(status)?;
    tracing::warn!(pending, by = %peer, "a promotion without evidence is asked for");
    Ok(wire::AskOverrideResponse { pending, lacks })
}

pub(super) async fn consent(
    node: &Context,
    peer: &Peer,
    request: &wire::ConsentOverrideRequest,
) -> Result<wire::ConsentOverrideResponse, Status> {
    let primary = node.primary()?;
    let (number, user) = (request.number, check_person(node, peer)?);
    let consenting =
        primary.publisher.alone(move |worker| overrides::consent(worker, number, user));
    let done = consenting.await.map_err(stopped)?.map_err(status)?;
    tracing::warn!(number, by = %peer, generation = done.generation, "promoted without evidence");
    Ok(wire::ConsentOverrideResponse {
        generation: done.generation,
        lacks: done.lacks,
        pending: done.pending,
    })
}

pub(super) fn list(node: &Context) -> wire::ListOverridesResponse {
    let lab = node.generation().lab.clone();
    let overrides = lab.overrides.iter().map(convert::override_to_wire).collect();
    wire::ListOverridesResponse { overrides }
}

fn status(error: Error) -> Status {
    let code = match error {
        Error::Pending(error) => return signatures::status(error),
        Error::Store(_) | Error::Publish(_) => return internal(&error),
        Error::Approval(ref rejection) => rejection.code(),
        Error::Rejected(patchmesh_topology::promotion::Rejection::Same(_)) => {
            Code::PermissionDenied
        }
        Error::Rejected(_) | Error::Many => Code::InvalidArgument,
        Error::Stopped => Code::Unavailable,
        Error::NothingLacks
        | Error::Stands
        | Error::NoOverride(_)
        | Error::Gone(_)
        | Error::Moved { .. } => Code::FailedPrecondition,
    };
    Status::new(code, in_one_line(&error))
}
