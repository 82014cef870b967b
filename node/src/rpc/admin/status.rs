//! `GetStatus`: what this node is and how it is.

use jiff::Timestamp;
use patchmesh_proto::admin as wire;
use patchmesh_proto::convert::timestamp_to_wire;
use patchmesh_topology::node::Role;
use tonic::Status;

use crate::content::Shortage;
use crate::generation::Generation;
use crate::rpc::blocking;
use crate::rpc::context::Context;

/// A role that expires sooner than this is worth a warning.
const EXPIRY_WARNING: jiff::SignedDuration = jiff::SignedDuration::from_hours(72);

/// People need more time to come together.
const CEREMONY_NOTICE: jiff::SignedDuration = jiff::SignedDuration::from_hours(60 * 24);

pub(super) async fn get(node: &Context) -> Result<wire::GetStatusResponse, Status> {
    let generation = node.generation();
    let store = node.store.clone();
    let usage = blocking(move || store.totals()).await?;
    let this = generation.mesh.nodes.get(&node.name);
    Ok(wire::GetStatusResponse {
        mesh_id: generation.mesh.id.clone(),
        mesh_name: generation.mesh.name.clone(),
        node: this.map(Into::into),
        status: Some(node.own_status()),
        single_operator: node
            .primary
            .as_ref()
            .is_some_and(|primary| primary.publisher.is_single_operator()),
        roles: generation.roles.iter().map(crate::generation::RoleFact::to_wire).collect(),
        transfers: node.content.transfers(),
        synchronisations: node.history.all().iter().map(synchronisation).collect(),
        warnings: warnings(node, &generation, Timestamp::now()),
        blob_bytes: usage.bytes,
        blobs: usage.blobs,
        content_done_at: node.content.done_at().map(timestamp_to_wire),
        disk_shortage: node.content.shortage().map(shortage),
        scrub: Some(node.scrub.to_wire()),
        served_views: node.board.rows(),
        promotion: crate::rpc::lab::in_a_sentence(&generation),
        view_building: node.primary.as_ref().map(|one| one.publisher.views().to_wire()),
    })
}

fn shortage(one: Shortage) -> wire::DiskShortage {
    wire::DiskShortage {
        payloads: one.payloads,
        wanted_bytes: one.wanted,
        free_bytes: one.free,
        since: Some(timestamp_to_wire(one.since)),
    }
}

fn warnings(node: &Context, generation: &Generation, now: Timestamp) -> Vec<String> {
    let mut warnings = Vec::new();
    let condition = node.own.condition();
    if let Some(since) = condition.stale_since {
        warnings.push(format!(
            "nothing could be learned from the parent since {since}: {}",
            condition.problem
        ));
    }
    if generation.is_beyond(node.offline_grace, now) {
        warnings
            .push("cut off for longer than `offline_grace`: views are no longer served".to_owned());
    }
    let custody = node.primary.as_ref().map(|primary| primary.publisher.custody());
    for role in custody.iter().flat_map(|roles| roles.iter()) {
        let left = role.expires.duration_since(now);
        if !role.is_online && left < CEREMONY_NOTICE {
            warnings.push(format!(
                "what the role {} signed expires at {}: those who hold it have to sign it again ({})",
                role.role, role.expires, remedy(&role.role),
            ));
        }
    }
    for role in &generation.roles {
        // The online roles are signed again long before; theirs is a short life.
        let short = matches!(role.role.as_str(), "timestamp" | "snapshot");
        if role.expires_at <= now {
            warnings.push(format!("the role {} expired at {}", role.role, role.expires_at));
        } else if !short && role.expires_at.duration_since(now) < EXPIRY_WARNING {
            warnings.push(format!("the role {} expires at {}", role.role, role.expires_at));
        }
    }
    if let Some(primary) = &node.primary {
        if primary.publisher.is_single_operator() {
            warnings.push(
            "single operator: every role's key is kept on this node; whoever takes it over can sign anything"
                .to_owned(),
            );
        }
        warnings.extend(primary.payloads.problems());
    }
    let is_known = generation.mesh.nodes.get(&node.name);
    if is_known.is_none_or(|this| this.role != Role::Primary && this.parent.is_none()) {
        warnings.push(format!("the mesh document does not name node {}", node.name));
    }
    warnings
}

/// How a role that people hold is signed again.
fn remedy(role: &crate::tuf::RoleName) -> &'static str {
    match role.as_str() {
        "root" | "targets" => "`patchmesh root prepare --renew`",
        _ => "`patchmesh pending list`",
    }
}

fn synchronisation(one: &crate::replicate::history::Synchronisation) -> wire::Synchronisation {
    wire::Synchronisation {
        at: Some(timestamp_to_wire(one.at)),
        from_generation: one.from,
        to_generation: one.to,
        bytes: one.bytes,
        documents: one.documents,
        seconds: one.took.as_secs_f64(),
        problem: one.problem.clone(),
    }
}
