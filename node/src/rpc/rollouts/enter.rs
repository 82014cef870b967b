//! Plans: checking and entering them, and what operators order.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use patchmesh_proto::{admin as wire, wire as document};
use patchmesh_topology::approval::{self, FAULTS_SHOWN, Request};
use patchmesh_topology::name::{GroupName, RolloutName};
use patchmesh_topology::node::Stage;
use patchmesh_topology::revision::RevisionId;
use patchmesh_topology::rollout::check::{Finding, Grade, World, check as find};
use patchmesh_topology::rollout::control::{Order, Refused};
use patchmesh_topology::rollout::geography::Unresolved;
use patchmesh_topology::rollout::plan::Tallies;
use patchmesh_topology::rollout::{Control, MAX_ROLLOUTS, Rollout};
use patchmesh_topology::view::set;
use tonic::{Code, Status};

use super::{explain, subject};
use crate::generation::{Generation, load};
use crate::identity::peer::Peer;
use crate::primary::draft::Draft;
use crate::primary::rollouts::tell;
use crate::rpc::blocking;
use crate::rpc::context::{Context, Primary};
use crate::rpc::lab::lacking;
use crate::rpc::rights::check_stage;
use crate::rpc::status::{Refusal, field, published};
use crate::store::Store;

/// Why a plan is not entered, or an order not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Rejection {
    /// One of its name runs.
    #[error("rollout {0} was started already; plan another, or order this one")]
    Started(RolloutName),
    /// No such plan.
    #[error("there is no rollout {0}; `patchmesh rollout show` shows those there are")]
    Unknown(RolloutName),
    /// It has no such wave.
    #[error("rollout {0} has no wave {1:?}")]
    NoWave(RolloutName, String),
    /// Its gate asks for no operator.
    #[error("the gate of wave {0:?} asks for no operator")]
    NoOperator(String),
    /// The plan that opens all that nobody planned.
    #[error("{0} stands for every stage and cannot be ordered; decline what is not to be open")]
    Default(RolloutName),
    /// More than a mesh can have.
    #[error("the mesh has {MAX_ROLLOUTS} rollouts already; withdraw and forget some first")]
    TooMany,
    /// The order does not follow the last one.
    #[error("rollout {0} is not changed")]
    Order(RolloutName, #[source] Refused),
    /// It goes to groups of sites that are not there.
    #[error("rollout {0} cannot go where it says")]
    Geographies(RolloutName, #[source] Unresolved),
    /// What it is for cannot be approved.
    #[error("what it is for cannot be approved")]
    Approval(#[from] approval::Rejection),
}

impl Refusal for Rejection {
    fn code(&self) -> Code {
        match self {
            Self::Started(_) => Code::AlreadyExists,
            Self::Unknown(_) | Self::NoWave(..) => Code::NotFound,
            Self::Order(_, Refused::NoReason | Refused::LongReason) => Code::InvalidArgument,
            Self::Approval(rejection) => rejection.code(),
            Self::NoOperator(_)
            | Self::Default(_)
            | Self::TooMany
            | Self::Order(..)
            | Self::Geographies(..) => Code::FailedPrecondition,
        }
    }
}

fn read(rollout: Option<document::Rollout>) -> Result<Rollout, Status> {
    let rollout = rollout.ok_or_else(|| field("rollout", "is missing"))?;
    Rollout::try_from(rollout)
        .map_err(|error| field(&format!("rollout.{}", error.path()), error.fault()))
}

/// What is wrong with a plan, and the revisions that it is for. Blocks.
fn examine(
    generation: &Generation,
    store: &Store,
    rollout: &Rollout,
    machines: &Tallies,
) -> Result<(Vec<Finding>, BTreeSet<RevisionId>), load::Error> {
    let revisions = subject::revisions(generation, store, rollout)?;
    let (mesh, now) = (&generation.mesh, Timestamp::now());
    let mut world = World {
        groups: mesh.groups.values().map(|group| (group.name.clone(), group.stage)).collect(),
        site_groups: generation.rollouts.site_groups.clone(),
        freezes: generation.rollouts.freezes.clone(),
        deadline: subject::deadline(generation, rollout, &revisions, now),
        ..World::default()
    };
    for node in set::serving(mesh, rollout.stage) {
        world.sites.insert(node.site.clone(), mesh.link(&node.name).zone);
    }
    // Where machines of the stage are known, from whatever is counted.
    for tally in machines.values().flatten() {
        for (site, group, counts) in tally.cells().filter(|(_, _, counts)| counts.machines > 0) {
            let known = world.machines.entry((site.clone(), group.clone())).or_default();
            *known = counts.machines.max(*known);
        }
    }
    let mut findings = find(rollout, &world, now);
    if revisions.is_empty() && !rollout.what.is_empty() {
        let text = format!(
            "nothing that can be approved for {} is what it is for; approve by it with --rollout {}, or change [what]",
            rollout.stage, rollout.name
        );
        findings.push(Finding { grade: Grade::Warning, wave: None, text });
    }
    Ok((findings, revisions.into_keys().collect()))
}

fn to_wire(finding: Finding) -> wire::RolloutFinding {
    wire::RolloutFinding {
        is_error: finding.grade == Grade::Error,
        wave: finding.wave.unwrap_or_default(),
        text: finding.text,
    }
}

async fn examined(
    node: &Context,
    rollout: &Rollout,
) -> Result<(Vec<Finding>, BTreeSet<RevisionId>), Status> {
    let (generation, store, rollout) = (node.generation(), node.store.clone(), rollout.clone());
    let tallies = node.primary.as_ref().map(|primary| primary.rollouts.tallies());
    let (known, stage) = (generation.clone(), rollout.stage);
    let examining =
        blocking(move || examine(&generation, &store, &rollout, &tallies.unwrap_or_default()));
    let (mut findings, revisions) = examining.await?;
    if stage == Stage::Production {
        findings.extend(unproven(node, &known, &revisions));
    }
    Ok((findings, revisions))
}

/// What a plan cannot approve yet, for want of evidence.
fn unproven(
    node: &Context,
    generation: &Generation,
    revisions: &BTreeSet<RevisionId>,
) -> Vec<Finding> {
    let production = generation.approvals(Stage::Production);
    let is_new = |id: &&RevisionId| !production.is_some_and(|one| one.set.is_approved(id));
    let lacking = lacking(node, generation, revisions.iter().filter(is_new));
    let texts = lacking.into_iter().flat_map(|(revision, lacks)| {
        lacks.into_iter().map(move |lack| format!("{revision} cannot be promoted yet: {lack}"))
    });
    let finding = |text| Finding { grade: Grade::Warning, wave: None, text };
    texts.take(FAULTS_SHOWN).map(finding).collect()
}

pub(super) async fn check(
    node: &Context,
    request: wire::CheckRolloutRequest,
) -> Result<wire::CheckRolloutResponse, Status> {
    let rollout = read(request.rollout)?;
    let (findings, revisions) = examined(node, &rollout).await?;
    Ok(wire::CheckRolloutResponse {
        findings: findings.into_iter().map(to_wire).collect(),
        revisions: revisions.iter().map(ToString::to_string).collect(),
    })
}

pub(super) async fn enter(
    node: &Context,
    peer: &Peer,
    request: wire::EnterRolloutRequest,
) -> Result<wire::EnterRolloutResponse, Status> {
    let primary = node.primary()?;
    let mut rollout = read(request.rollout)?;
    let (findings, revisions) = examined(node, &rollout).await?;
    if let Some(error) = findings.iter().find(|finding| finding.grade == Grade::Error) {
        return Err(field("rollout", error));
    }
    rollout.waves.iter_mut().for_each(|wave| wave.released = None);
    let revisions = if request.start { revisions } else { BTreeSet::new() };
    may_approve(node, peer, &rollout, &revisions)?;
    let (by, approved) = (peer.to_string(), revisions.clone());
    let (generation, pending) = publish(primary, move |draft| {
        let name = rollout.name.clone();
        plan(draft, rollout, &by)?;
        if request.start {
            give(draft, &name, Order::Run, &by, "")?;
        }
        approve(draft, &name, &by, approved)
    })
    .await?;
    Ok(wire::EnterRolloutResponse {
        generation,
        warnings: findings.into_iter().map(to_wire).collect(),
        revisions: revisions.iter().map(ToString::to_string).collect(),
        pending,
    })
}

pub(super) async fn order(
    node: &Context,
    peer: &Peer,
    request: wire::OrderRolloutRequest,
) -> Result<wire::OrderRolloutResponse, Status> {
    let primary = node.primary()?;
    let order: Order = request.order.parse().map_err(|error| field("order", &error))?;
    let known = explain::find(&node.generation(), &request.name)?.clone();
    let starts = order == Order::Run && known.control.started.is_none();
    let revisions = if starts { examined(node, &known).await?.1 } else { BTreeSet::new() };
    may_approve(node, peer, &known, &revisions)?;
    let (by, approved) = (peer.to_string(), revisions.clone());
    let (generation, pending) = publish(primary, move |draft| {
        give(draft, &known.name, order, &by, &request.reason)?;
        approve(draft, &known.name, &by, approved)
    })
    .await?;
    Ok(wire::OrderRolloutResponse {
        generation,
        revisions: revisions.iter().map(ToString::to_string).collect(),
        pending,
    })
}

pub(super) async fn release(
    node: &Context,
    request: wire::ReleaseWaveRequest,
) -> Result<wire::ReleaseWaveResponse, Status> {
    let primary = node.primary()?;
    let name: RolloutName = request.name.parse().map_err(|error| field("name", &error))?;
    let releasing = move |draft: &mut Draft| {
        let now = draft.now;
        let rollout = rollout_of(draft, &name)?;
        let wave = rollout.waves.iter_mut().find(|wave| wave.name == request.wave);
        let wave = wave.ok_or_else(|| Rejection::NoWave(name, request.wave.clone()))?;
        if !wave.gate.operator {
            return Err(Rejection::NoOperator(request.wave));
        }
        wave.released.get_or_insert(now);
        Ok(())
    };
    let (generation, _) = publish(primary, releasing).await?;
    Ok(wire::ReleaseWaveResponse { generation })
}

/// Refuses approvals by somebody who is no approver of the stage.
fn may_approve(
    node: &Context,
    peer: &Peer,
    rollout: &Rollout,
    revisions: &BTreeSet<RevisionId>,
) -> Result<(), Status> {
    match revisions.is_empty() {
        true => Ok(()),
        false => check_stage(&node.generation().mesh, peer, rollout.stage),
    }
}

/// Publishes a change of plans; they go as far as they go at once.
async fn publish(
    primary: &Primary,
    change: impl FnOnce(&mut Draft) -> Result<(), Rejection> + Send + 'static,
) -> Result<(u64, Vec<u64>), Status> {
    let tallies = primary.rollouts.tallies();
    let publishing = primary.publisher.publish_noting(move |draft| {
        change(draft)?;
        Ok::<_, Rejection>(draft.advance(&tallies))
    });
    let (effects, generation, pending) = publishing.await.map_err(published)?;
    tell(&effects, generation.number);
    Ok((generation.number, pending))
}

/// Enters a plan in place of one that was not started.
fn plan(draft: &mut Draft, mut rollout: Rollout, by: &str) -> Result<(), Rejection> {
    if rollout.is_default() {
        return Err(Rejection::Default(rollout.name));
    }
    let known = &draft.rollouts.rollouts;
    match known.get(&rollout.name) {
        Some(known) if known.control.started.is_some() => {
            return Err(Rejection::Started(rollout.name));
        }
        None if known.len() >= MAX_ROLLOUTS => return Err(Rejection::TooMany),
        _ => {}
    }
    rollout.control = Control::planned(by, draft.now);
    let set = Arc::make_mut(&mut draft.rollouts);
    set.rollouts.insert(rollout.name.clone(), rollout);
    set.version += 1;
    set.resolve().map_err(|(name, fault)| Rejection::Geographies(name, fault))
}

/// A plan that is to be changed.
fn rollout_of<'a>(draft: &'a mut Draft, name: &RolloutName) -> Result<&'a mut Rollout, Rejection> {
    let set = Arc::make_mut(&mut draft.rollouts);
    set.version += 1;
    set.rollouts.get_mut(name).ok_or_else(|| Rejection::Unknown(name.clone()))
}

fn give(
    draft: &mut Draft,
    name: &RolloutName,
    order: Order,
    by: &str,
    reason: &str,
) -> Result<(), Rejection> {
    let now = draft.now;
    let rollout = rollout_of(draft, name)?;
    if rollout.is_default() {
        return Err(Rejection::Default(name.clone()));
    }
    let ordered = rollout.control.order(order, now, by, reason);
    rollout.control = ordered.map_err(|refused| Rejection::Order(name.clone(), refused))?;
    Ok(())
}

/// Approves what a plan is for, for the groups that its waves go to.
fn approve(
    draft: &mut Draft,
    name: &RolloutName,
    by: &str,
    revisions: BTreeSet<RevisionId>,
) -> Result<(), Rejection> {
    let rollout = draft.rollouts.rollouts.get(name).filter(|_| !revisions.is_empty());
    let Some(rollout) = rollout else { return Ok(()) };
    let stage = rollout.stage;
    let is_for_all = rollout.waves.iter().any(|wave| wave.groups.is_empty());
    let groups: BTreeSet<GroupName> = match is_for_all {
        true => BTreeSet::new(),
        false => rollout.waves.iter().flat_map(|wave| wave.groups.iter().cloned()).collect(),
    };
    let request = Request {
        revisions,
        groups,
        by: by.to_owned(),
        at: draft.now,
        comment: format!("by rollout {name}"),
        rule: String::new(),
    };
    let set = draft.approvals(stage);
    let before = stage.before().map(|before: Stage| draft.approvals(before));
    let catalogue = draft.catalogue.clone();
    let is_known = |revision: &RevisionId| catalogue.contains_key(revision);
    let change = approval::approve(&set, before.as_deref(), &draft.mesh, is_known, name, &request)?;
    if !change.revisions.is_empty() {
        draft.set_approvals(change.set);
    }
    Ok(())
}
