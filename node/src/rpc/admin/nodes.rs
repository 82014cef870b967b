//! Nodes: listing, inviting, revoking.

use jiff::{SignedDuration, Timestamp};
use patchmesh_proto::admin as wire;
use patchmesh_proto::convert::{self, timestamp_to_wire};
use patchmesh_topology::name::NodeName;
use patchmesh_topology::node::membership::{Invitation, Rejection};
use tonic::Status;

use crate::identity::peer::Peer;
use crate::primary::tokens;
use crate::replicate::status::Heard;
use crate::rpc::context::Context;
use crate::rpc::rights::check_site;
use crate::rpc::status::{check_comment, field, published};

/// The life of a token unless asked otherwise.
const TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(24);
/// The longest life of a token.
const TOKEN_LIFE_LIMIT: SignedDuration = SignedDuration::from_hours(24 * 30);

pub(super) fn list(node: &Context) -> wire::ListNodesResponse {
    let generation = node.generation();
    let mut heard = node.statuses.all();
    let now = Timestamp::now();
    heard.insert(node.name.clone(), Heard { status: node.own.at(now), at: now });
    let rows = generation.mesh.nodes.values().map(|one| {
        let word = heard.get(&one.name);
        let converged = word.is_some_and(|word| {
            word.status.generation == generation.number
                && word.status.approval_sets == generation.approval_set_statuses()
                && word.status.payloads_held == word.status.payloads_wanted
                && word.status.problem.is_empty()
        });
        wire::NodeRow {
            node: Some(one.into()),
            status: word.map(|word| word.status.clone()),
            converged,
            heard_at: word.map(|word| timestamp_to_wire(word.at)),
        }
    });
    wire::ListNodesResponse { nodes: rows.collect() }
}

pub(super) async fn invite(
    node: &Context,
    peer: &Peer,
    request: wire::InviteNodeRequest,
) -> Result<wire::InviteNodeResponse, Status> {
    let primary = node.primary()?;
    let valid = match request.valid_seconds {
        0 => TOKEN_LIFE,
        seconds => i64::try_from(seconds)
            .ok()
            .map(SignedDuration::from_secs)
            .filter(|life| *life <= TOKEN_LIFE_LIMIT)
            .ok_or_else(|| field("valid_seconds", "a token lives for at most 30 days"))?,
    };
    let invitation = Invitation {
        name: request.name.parse().map_err(|error| field("name", &error))?,
        role: convert::role(request.role).map_err(|error| field("role", &error))?,
        parent: request.parent.parse().map_err(|error| field("parent", &error))?,
        site: request.site.parse().map_err(|error| field("site", &error))?,
        stages: (!request.stages.is_empty())
            .then(|| convert::stages(request.stages.clone()))
            .transpose()
            .map_err(|error| field("stages", &error))?,
    };
    check_place(node, peer, &invitation)?;
    let token = tokens::invite(&primary.publisher, primary.ca_sha256, invitation, valid)
        .await
        .map_err(published)?;
    Ok(wire::InviteNodeResponse {
        token: token.text,
        expires_at: Some(timestamp_to_wire(token.expires_at)),
    })
}

/// A site administrator invites to their own site, below a node of it or below
/// the node that feeds it.
fn check_place(node: &Context, peer: &Peer, invitation: &Invitation) -> Result<(), Status> {
    check_site(&node.generation().mesh, peer, &invitation.site)
}

pub(super) async fn revoke(
    node: &Context,
    peer: &Peer,
    request: wire::RevokeNodeRequest,
) -> Result<wire::RevokeNodeResponse, Status> {
    let primary = node.primary()?;
    check_comment(&request.comment)?;
    let name: NodeName = request.name.parse().map_err(|error| field("name", &error))?;
    let mesh = node.generation().mesh.clone();
    // The site alone: a node that is not there is refused below.
    if let Some(target) = mesh.nodes.get(&name) {
        check_site(&mesh, peer, &target.site)?;
    }
    let (target, by) = (name.clone(), peer.to_string());
    let (cut_off, generation) = primary
        .publisher
        .publish(move |draft| {
            let below = draft.mesh.cut_off_by(&target);
            draft.mesh = std::sync::Arc::new(draft.mesh.revoke(&target)?);
            Ok::<_, Rejection>(below)
        })
        .await
        .map_err(published)?;
    tracing::warn!(node = %name, by, comment = request.comment, "node revoked");
    Ok(wire::RevokeNodeResponse {
        generation: generation.number,
        cut_off: cut_off.iter().map(NodeName::to_string).collect(),
    })
}
