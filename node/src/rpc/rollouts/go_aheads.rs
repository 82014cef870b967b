//! What machines go ahead with since headquarters says so.

use jiff::Timestamp;
use patchmesh_proto::{admin as wire, convert, wire as document};
use patchmesh_topology::rollout::exception::{Scope, Subject};
use patchmesh_topology::rollout::go_ahead::{self, GoAhead, Rejection};
use tonic::{Code, Status};

use super::bounds::change;
use crate::rpc::context::Context;
use crate::rpc::known;
use crate::rpc::status::{Refusal, field};

type Said = ((Scope, Subject), GoAhead);

pub(super) async fn give(
    node: &Context,
    by: String,
    request: wire::GiveGoAheadRequest,
) -> Result<wire::GiveGoAheadResponse, Status> {
    let (key, one) = read(request.go_ahead)?;
    known::check_scope(&node.generation().mesh, node.primary()?, &key.0)?;
    let generation = change(node, move |set, mesh, at| match &key.0 {
        Scope::Group(group) if mesh.group(group).is_none() => {
            Err(Rejection::NoGroup(group.clone()))
        }
        _ => go_ahead::give(&mut set.go_aheads, key, GoAhead { by, at, until: one.until }),
    })
    .await?;
    Ok(wire::GiveGoAheadResponse { generation })
}

pub(super) async fn withdraw(
    node: &Context,
    request: wire::WithdrawGoAheadRequest,
) -> Result<wire::WithdrawGoAheadResponse, Status> {
    let now = Some(convert::timestamp_to_wire(Timestamp::now()));
    let named = request.go_ahead.map(|one| document::GoAhead { until: now, ..one });
    let (key, _) = read(named)?;
    let generation = change(node, |set, _, _| go_ahead::withdraw(&mut set.go_aheads, key)).await?;
    Ok(wire::WithdrawGoAheadResponse { generation })
}

pub(super) fn list(node: &Context) -> wire::ListGoAheadsResponse {
    let set = node.generation().rollouts.clone();
    let go_aheads = set.go_aheads.iter().map(convert::go_ahead_to_wire).collect();
    wire::ListGoAheadsResponse { go_aheads }
}

fn read(said: Option<document::GoAhead>) -> Result<Said, Status> {
    let said = said.ok_or_else(|| field("go_ahead", "is missing"))?;
    let at = Some(convert::timestamp_to_wire(Timestamp::now()));
    convert::go_ahead(document::GoAhead { at, ..said })
        .map_err(|error| field(&format!("go_ahead.{}", error.path()), error.fault()))
}

impl Refusal for Rejection {
    fn code(&self) -> Code {
        match self {
            Self::NoGroup(_) | Self::Unknown(..) => Code::NotFound,
            Self::Lasts(_) => Code::InvalidArgument,
            Self::TooMany => Code::FailedPrecondition,
        }
    }
}
