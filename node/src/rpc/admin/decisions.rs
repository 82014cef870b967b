//! Decisions: approving, declining, promoting, and reading them back.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use patchmesh_proto::{admin as wire, convert};
use patchmesh_topology::approval::{self, Change, Rejection, Request};
use patchmesh_topology::name::GroupName;
use patchmesh_topology::node::Stage;
use patchmesh_topology::promotion::{Lack, Lacking};
use patchmesh_topology::revision::RevisionId;
use tonic::Status;

use super::Streamed;
use super::availability::Availability;
use crate::generation::{Approvals, Generation, approval_set_status};
use crate::identity::peer::Peer;
use crate::primary::draft::Draft;
use crate::rpc::blocking;
use crate::rpc::context::{Context, Primary};
use crate::rpc::rights::check_stage;
use crate::rpc::status::{field, published};

/// Revisions that one call may decide.
const MAX_REVISIONS: usize = 50_000;
/// Revisions that lack evidence of which an answer says what.
const MAX_HELD: usize = 100;

pub(super) async fn approve(
    node: &Context,
    peer: &Peer,
    request: wire::ApproveRequest,
) -> Result<wire::DecideResponse, Status> {
    let primary = node.primary()?;
    let stage = convert::stage(request.stage).map_err(|error| field("stage", &error))?;
    check_stage(&node.generation().mesh, peer, stage)?;
    let (rollout, into_open) = (request.rollout, request.into_open_waves);
    let asked = asked(&request.revisions, &request.groups, peer, request.comment)?;
    decide(primary, move |draft| {
        let asked = Request { at: draft.now, ..asked };
        let set = draft.approvals(stage);
        let before = stage.before().map(|before| draft.approvals(before));
        let catalogue = draft.catalogue.clone();
        let rollout = draft.opened_by(stage, &rollout)?;
        let change = approval::approve(
            &set,
            before.as_deref(),
            &draft.mesh,
            |revision| catalogue.contains_key(revision),
            &rollout,
            &asked,
        )?;
        draft.check_open_waves(&rollout, &change, into_open)?;
        Ok(vec![change])
    })
    .await
}

pub(super) async fn decline(
    node: &Context,
    peer: &Peer,
    request: wire::DeclineRequest,
) -> Result<wire::DecideResponse, Status> {
    let primary = node.primary()?;
    let stages = match request.stage() {
        patchmesh_proto::wire::Stage::Unspecified => Stage::ALL.to_vec(),
        _ => vec![convert::stage(request.stage).map_err(|error| field("stage", &error))?],
    };
    for stage in &stages {
        check_stage(&node.generation().mesh, peer, *stage)?;
    }
    let asked = asked(&request.revisions, &request.groups, peer, request.comment)?;
    decide(primary, move |draft| {
        let asked = Request { at: draft.now, ..asked };
        let catalogue = draft.catalogue.clone();
        stages
            .iter()
            .filter_map(|stage| {
                groups_of(draft, *stage, stages.len() > 1, &asked).map(|asked| (stage, asked))
            })
            .map(|(stage, asked)| {
                let is_known = |revision: &RevisionId| catalogue.contains_key(revision);
                approval::decline(&draft.approvals(*stage), &draft.mesh, is_known, &asked)
            })
            .collect()
    })
    .await
}

/// When every stage is meant, each gets the groups that are its own.
fn groups_of(draft: &Draft, stage: Stage, every_stage: bool, asked: &Request) -> Option<Request> {
    if !every_stage || asked.groups.is_empty() {
        return Some(asked.clone());
    }
    let is_other =
        |group: &GroupName| draft.mesh.group(group).is_some_and(|group| group.stage != stage);
    let groups: BTreeSet<_> =
        asked.groups.iter().filter(|group| !is_other(group)).cloned().collect();
    (!groups.is_empty()).then(|| Request { groups, ..asked.clone() })
}

pub(super) async fn promote(
    node: &Context,
    peer: &Peer,
    request: wire::PromoteRequest,
) -> Result<wire::DecideResponse, Status> {
    let primary = node.primary()?;
    check_stage(&node.generation().mesh, peer, Stage::Production)?;
    let (rollout, into_open) = (request.rollout, request.into_open_waves);
    let asked = asked(&request.revisions, &request.groups, peer, request.comment)?;
    decide_holding(primary, move |draft| {
        let asked = Request { at: draft.now, ..asked };
        let rollout = draft.opened_by(Stage::Production, &rollout)?;
        let promote = |held: &Lacking| {
            approval::promote(
                &draft.approvals(Stage::Validation),
                &draft.approvals(Stage::Production),
                &draft.mesh,
                |revision| draft.catalogue.contains_key(revision) && !held.contains_key(revision),
                &rollout,
                &asked,
            )
        };
        let (mut change, mut held) = (promote(&Lacking::new())?, Lacking::new());
        // Of what nobody named, what lacks evidence waits until it has it.
        if asked.revisions.is_empty() {
            held = draft.lacking(&change.revisions);
            change = promote(&held)?;
        }
        draft.check_open_waves(&rollout, &change, into_open)?;
        Ok((vec![change], held))
    })
    .await
}

/// Reads what somebody asks to decide.
pub(in crate::rpc) fn asked(
    revisions: &[String],
    groups: &[String],
    peer: &Peer,
    comment: String,
) -> Result<Request, Status> {
    if revisions.len() > MAX_REVISIONS {
        return Err(field("revisions", &format!("at most {MAX_REVISIONS} a call")));
    }
    let revisions = parse_revisions(revisions)?;
    let groups = groups
        .iter()
        .map(|group| group.parse::<GroupName>().map_err(|error| field("groups", &error)))
        .collect::<Result<_, _>>()?;
    let by = peer.to_string();
    // The moment is that of the change, set when it runs.
    Ok(Request {
        revisions,
        groups,
        by,
        at: jiff::Timestamp::UNIX_EPOCH,
        comment,
        rule: String::new(),
    })
}

fn parse_revisions(revisions: &[String]) -> Result<BTreeSet<RevisionId>, Status> {
    revisions
        .iter()
        .map(|revision| revision.parse::<RevisionId>().map_err(|error| field("revisions", &error)))
        .collect()
}

/// Decides on all of it, or nothing.
pub(in crate::rpc) async fn decide(
    primary: &Primary,
    change: impl FnOnce(&mut Draft) -> Result<Vec<Change>, Rejection> + Send + 'static,
) -> Result<wire::DecideResponse, Status> {
    decide_holding(primary, |draft| Ok((change(draft)?, Lacking::new()))).await
}

/// Decides: the one way from a decision to a generation. The change says what it
/// left out, and why.
pub(in crate::rpc) async fn decide_holding(
    primary: &Primary,
    change: impl FnOnce(&mut Draft) -> Result<(Vec<Change>, Lacking), Rejection> + Send + 'static,
) -> Result<wire::DecideResponse, Status> {
    let ((changed, stages, held), generation, pending) = primary
        .publisher
        .publish_noting(move |draft| {
            let mut changed = BTreeSet::new();
            let mut stages = Vec::new();
            let (changes, held) = change(draft)?;
            for change in changes {
                if change.revisions.is_empty() {
                    continue;
                }
                stages.push(change.set.stage);
                changed.extend(change.revisions);
                draft.set_approvals(change.set);
            }
            Ok::<_, Rejection>((changed, stages, held))
        })
        .await
        .map_err(published)?;
    // What waits for signatures is not fetched before it has them.
    let is_approved = |revision: &RevisionId| {
        generation.approvals.values().any(|approvals| approvals.set.is_approved(revision))
    };
    let fetching = changed
        .iter()
        .filter(|revision| !generation.is_available(revision) && is_approved(revision));
    Ok(wire::DecideResponse {
        generation: generation.number,
        approval_sets: stages
            .iter()
            .filter_map(|stage| Some(approval_set_status(*stage, generation.approvals(*stage)?)))
            .collect(),
        changed: changed.len() as u64,
        fetching: fetching.map(ToString::to_string).collect(),
        pending,
        held_total: held.len() as u64,
        held: held.iter().take(MAX_HELD).map(held_to_wire).collect(),
    })
}

fn held_to_wire((revision, lacks): (&RevisionId, &Vec<Lack>)) -> wire::HeldRevision {
    let lacks = lacks.iter().map(ToString::to_string).collect();
    wire::HeldRevision { revision: revision.to_string(), lacks }
}

pub(super) fn watch_availability(
    node: &Context,
    request: &wire::WatchAvailabilityRequest,
) -> Result<Streamed<wire::WatchAvailabilityResponse>, Status> {
    let payloads = node.primary()?.payloads.clone();
    let revisions = parse_revisions(&request.revisions)?;
    let watched = Availability::new(node.current.clone(), payloads, revisions);
    let messages = stream::unfold(Some(watched), |watched| async move {
        let mut watched = watched?;
        let message = watched.next().await;
        let rest = (!message.finished).then_some(watched);
        Some((Ok(message), rest))
    });
    Ok(messages.boxed())
}

pub(super) async fn get_set(
    node: &Context,
    request: wire::GetApprovalSetRequest,
) -> Result<wire::GetApprovalSetResponse, Status> {
    let stage = convert::stage(request.stage).map_err(|error| field("stage", &error))?;
    let generation = node.generation();
    let approvals = find_set(node, &generation, stage, request.version).await?;
    Ok(wire::GetApprovalSetResponse {
        set: Some(approval_set_status(stage, &approvals)),
        approvals: approvals
            .set
            .entries
            .iter()
            .map(|((revision, group), approval)| (revision, group, approval).into())
            .collect(),
    })
}

async fn find_set(
    node: &Context,
    generation: &Arc<Generation>,
    stage: Stage,
    version: u64,
) -> Result<Arc<Approvals>, Status> {
    let present = generation
        .approvals(stage)
        .cloned()
        .ok_or_else(|| Status::not_found(format!("this node has no approval set of {stage}")))?;
    if version == 0 || present.set.version == version {
        return Ok(present);
    }
    let store = node.store.clone();
    blocking(move || crate::generation::past::approvals(&store, stage, version))
        .await?
        .map(Arc::new)
        .ok_or_else(|| {
            Status::not_found(format!(
                "version {version} of the approval set of {stage} is not kept here; the present one is {}",
                present.set.version
            ))
        })
}
