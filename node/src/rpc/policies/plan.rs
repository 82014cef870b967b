//! What an approval brings with it: dependencies, and what it supersedes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use patchmesh_proto::{admin as wire, convert};
use patchmesh_topology::approval::{Decision, Request, Step, batch};
use patchmesh_topology::closure::{Ground, Outcome, close};
use patchmesh_topology::debian::relation;
use patchmesh_topology::name::GroupName;
use patchmesh_topology::node::{Group, Stage};
use patchmesh_topology::revision::{Revision, RevisionId};
use patchmesh_topology::rollout::Rollout;
use patchmesh_topology::supersedence::{Entry, superseded};
use tonic::Status;

use crate::generation::{Generation, load, read_revision, withheld_for};
use crate::primary::baselines::{self, Grounds};
use crate::primary::packages::Packages;
use crate::rpc::admin::decisions::decide;
use crate::rpc::blocking;
use crate::rpc::context::Context;
use crate::rpc::status::field;
use crate::store::Store;

/// How deep dependencies of dependencies are followed.
const MAX_ROUNDS: usize = 64;
/// Revisions that one plan brings together at most.
const MAX_PLANNED: usize = 5_000;
/// The most gaps that one plan names.
const MAX_GAPS: usize = 1_000;
/// How retiring marks its decisions.
const RULE: &str = "supersedence";

/// What the catalogue brings, shared by all calls.
pub(super) type Known = Arc<Mutex<Packages>>;

/// Why a plan could not be made.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// A revision cannot be read.
    #[error("a revision cannot be read back")]
    Load(#[from] load::Error),
    /// A baseline cannot be read.
    #[error("a baseline cannot be read")]
    Baseline(#[from] baselines::Error),
}

/// What is asked, checked.
struct Asked {
    revisions: BTreeSet<RevisionId>,
    stage: Stage,
    groups: Vec<Group>,
}

impl Asked {
    fn read(
        generation: &Generation,
        revisions: &[String],
        stage: i32,
        groups: &[String],
    ) -> Result<Self, Status> {
        let stage = convert::stage(stage).map_err(|error| field("stage", &error))?;
        let revisions: BTreeSet<RevisionId> = revisions
            .iter()
            .map(|one| one.parse().map_err(|error| field("revisions", &error)))
            .collect::<Result<_, _>>()?;
        if let Some(unknown) = revisions.iter().find(|id| !generation.catalogue.contains_key(id)) {
            return Err(Status::not_found(format!(
                "revision {unknown} is not in the catalogue; `patchmesh update list` shows what is"
            )));
        }
        let named: BTreeSet<GroupName> = groups
            .iter()
            .map(|group| group.parse().map_err(|error| field("groups", &error)))
            .collect::<Result<_, _>>()?;
        if let Some(unknown) = named.iter().find(|name| !generation.mesh.groups.contains_key(*name))
        {
            return Err(Status::not_found(format!("there is no group {unknown}")));
        }
        let groups = generation.mesh.groups_of(stage);
        let groups =
            groups.filter(|group| named.is_empty() || named.contains(&group.name)).cloned();
        Ok(Self { revisions, stage, groups: groups.collect() })
    }
}

pub(super) async fn approval(
    node: &Context,
    known: Known,
    request: wire::PlanApprovalRequest,
) -> Result<wire::PlanApprovalResponse, Status> {
    node.primary()?;
    let generation = node.generation();
    let asked = Asked::read(&generation, &request.revisions, request.stage, &request.groups)?;
    let store = node.store.clone();
    blocking(move || plan(&generation, &store, &known, &asked)).await
}

fn plan(
    generation: &Generation,
    store: &Store,
    known: &Known,
    asked: &Asked,
) -> Result<wire::PlanApprovalResponse, Error> {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    let mut grounds = Grounds::default();
    let mut answer = wire::PlanApprovalResponse::default();
    let mut planned: BTreeMap<RevisionId, (Arc<Revision>, String)> = BTreeMap::new();
    let mut named = Vec::new();
    for id in &asked.revisions {
        named.extend(read_revision(generation, store, id)?);
    }
    answer.bytes = named.iter().map(|one| bytes(one)).sum();
    let mut replaced = BTreeMap::new();
    for group in &asked.groups {
        replaced.extend(replaced_for(generation, group, &named));
        let lookup =
            |document: &patchmesh_topology::revision::DocumentRef| store.get_blob(&document.digest);
        let ground = match &group.baseline {
            Some(name) => grounds.get(&generation.baselines, name, lookup)?,
            None => None,
        };
        let Some(ground) = ground else {
            answer.unchecked.push(group.name.to_string());
            continue;
        };
        // The first time this opens every revision of the catalogue.
        known.learn(generation, store)?;
        let work = Work { generation, store, known: &known, stage: asked.stage, group };
        let outcome = work.complete(&named, &ground, &mut planned)?;
        let about = |id: &RevisionId| asked.revisions.contains(id) || planned.contains_key(id);
        let gaps = outcome.withheld.iter().filter(|(one, _)| about(&one.revision));
        answer.gaps.extend(gaps.take(MAX_GAPS).map(|(one, reason)| wire::PlanGap {
            group: group.name.to_string(),
            revision: one.revision.to_string(),
            package: one.package.clone(),
            reason: withheld_for(reason, &group.name),
        }));
    }
    answer.dependencies = planned
        .into_iter()
        .map(|(id, (revision, reason))| wire::PlannedRevision {
            revision: id.to_string(),
            bytes: bytes(&revision),
            reason,
        })
        .collect();
    answer.superseded = replaced
        .into_iter()
        .map(|(old, new)| wire::Superseded { revision: old.to_string(), by: new.to_string() })
        .collect();
    Ok(answer)
}

/// One group's part of a plan.
struct Work<'a> {
    generation: &'a Generation,
    store: &'a Store,
    known: &'a Packages,
    stage: Stage,
    group: &'a Group,
}

impl Work<'_> {
    /// Adds to `planned` until nothing is missing that the catalogue has.
    fn complete(
        &self,
        named: &[Arc<Revision>],
        ground: &Ground,
        planned: &mut BTreeMap<RevisionId, (Arc<Revision>, String)>,
    ) -> Result<Outcome, Error> {
        let approved = approved(self.generation, self.group);
        let mut rounds = 0;
        loop {
            let mut all: BTreeMap<&RevisionId, &Revision> =
                approved.iter().map(|one| (&one.id, one.as_ref())).collect();
            all.extend(named.iter().map(|one| (&one.id, one.as_ref())));
            all.extend(planned.iter().map(|(id, (one, _))| (id, one.as_ref())));
            let all: Vec<&Revision> = all.into_values().collect();
            let outcome = close(&all, ground);
            rounds += 1;
            if rounds > MAX_ROUNDS || planned.len() >= MAX_PLANNED {
                return Ok(outcome);
            }
            let is_ours =
                |id: &RevisionId| planned.contains_key(id) || named.iter().any(|one| one.id == *id);
            let mut more = BTreeMap::new();
            for missing in outcome.missing.iter().filter(|one| is_ours(&one.revision)) {
                let clauses = relation::parse(&missing.clause, &missing.architecture);
                let Some(clause) = clauses.unwrap_or_default().into_iter().next() else { continue };
                let rank = |id: &RevisionId| self.rank(id);
                let found = self.known.suitable(&clause, &missing.architecture, rank);
                let Some(id) = found.filter(|id| !is_ours(id)) else { continue };
                if let Some(revision) = read_revision(self.generation, self.store, id)? {
                    let reason =
                        format!("{} needs {}", missing.revision.update.name, missing.clause);
                    more.entry(id.clone()).or_insert((revision, reason));
                }
            }
            if more.is_empty() {
                return Ok(outcome);
            }
            planned.extend(more);
        }
    }

    /// What somebody declined is not brought in; what passed the stage before
    /// comes first.
    fn rank(&self, id: &RevisionId) -> Option<bool> {
        let set = |stage| self.generation.approvals(stage).map(|approvals| &approvals.set);
        let decision = set(self.stage)?.get(id, &self.group.name);
        if decision.is_some_and(|one| one.decision == Decision::Declined) {
            return None;
        }
        let before = self.stage.before();
        Some(before.is_none_or(|stage| set(stage).is_some_and(|set| set.is_approved(id))))
    }
}

/// The revisions that are approved for a group.
fn approved(generation: &Generation, group: &Group) -> Vec<Arc<Revision>> {
    let set = generation.approvals(group.stage).map(|approvals| &approvals.set);
    let entries = set.into_iter().flat_map(|set| set.entries.iter());
    entries
        .filter(|((_, name), approval)| *name == group.name && approval.is_approved())
        .filter_map(|((id, _), _)| generation.revisions.get(id).cloned())
        .collect()
}

/// What is approved for a group and replaced by `named`.
fn replaced_for(
    generation: &Generation,
    group: &Group,
    named: &[Arc<Revision>],
) -> BTreeMap<RevisionId, RevisionId> {
    let approved = approved(generation, group);
    let entry = |(id, revision)| {
        let ordinal = generation.catalogue.get(id).map_or(0, |one| one.ordinal);
        Entry { revision, ordinal }
    };
    let mut all: BTreeMap<&RevisionId, &Revision> =
        approved.iter().map(|one| (&one.id, one.as_ref())).collect();
    all.extend(named.iter().map(|one| (&one.id, one.as_ref())));
    let entries: Vec<Entry<'_>> = all.into_iter().map(entry).collect();
    let is_named = |id: &RevisionId| named.iter().any(|one| one.id == *id);
    superseded(&entries)
        .into_iter()
        .filter(|(old, new)| is_named(new) && !is_named(old))
        .map(|(old, new)| (old.clone(), new.clone()))
        .collect()
}

fn bytes(revision: &Revision) -> u64 {
    revision.payloads.iter().map(|payload| payload.length).sum()
}

pub(super) async fn retire(
    node: &Context,
    by: String,
    request: wire::RetireSupersededRequest,
) -> Result<wire::DecideResponse, Status> {
    let primary = node.primary()?;
    let generation = node.generation();
    let asked = Asked::read(&generation, &request.revisions, request.stage, &request.groups)?;
    let (store, stage) = (node.store.clone(), asked.stage);
    let known = generation.clone();
    let replaced = blocking(move || {
        let mut named = Vec::new();
        for id in &asked.revisions {
            named.extend(read_revision(&known, &store, id)?);
        }
        let mut replaced: BTreeMap<(RevisionId, BTreeSet<GroupName>), BTreeSet<RevisionId>> =
            BTreeMap::new();
        for group in &asked.groups {
            for (old, new) in replaced_for(&known, group, &named) {
                // What is not approved itself retires nothing.
                let set = known.approvals(stage).map(|approvals| &approvals.set);
                let decision = set.and_then(|set| set.get(&new, &group.name));
                if decision.is_some_and(|one| one.is_approved()) {
                    let groups = BTreeSet::from([group.name.clone()]);
                    replaced.entry((new, groups)).or_default().insert(old);
                }
            }
        }
        Ok::<_, load::Error>(replaced)
    })
    .await?;
    decide(primary, move |draft| {
        let steps: Vec<Step> = replaced
            .into_iter()
            .map(|((new, groups), revisions)| {
                Step::Decline(Request {
                    revisions,
                    groups,
                    by: by.clone(),
                    at: draft.now,
                    comment: format!("superseded by {new}"),
                    rule: RULE.to_owned(),
                })
            })
            .collect();
        let catalogue = draft.catalogue.clone();
        let is_known = |revision: &RevisionId| catalogue.contains_key(revision);
        let rollout = Rollout::default_for(stage);
        let set = draft.approvals(stage);
        Ok(vec![batch(&set, None, &draft.mesh, is_known, &rollout.name, &steps)?])
    })
    .await
}
