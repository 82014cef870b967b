//! Which revisions a plan is for, of those that can be approved for its stage.

use std::collections::BTreeMap;

use jiff::Timestamp;
use patchmesh_topology::approval::Decision;
use patchmesh_topology::node::Stage;
use patchmesh_topology::revision::{RevisionId, Severity};
use patchmesh_topology::rollout::Rollout;
use patchmesh_topology::rollout::deadline::Deadline;

use crate::generation::{Generation, load, read_revision};
use crate::store::Store;

/// Revisions, and how bad it is not to have them.
pub(super) type Subject = BTreeMap<RevisionId, Option<Severity>>;

/// Those named, and those that its query finds and nobody decided on for all
/// groups of the stage. Blocks: opens what is in question.
pub(super) fn revisions(
    generation: &Generation,
    store: &Store,
    rollout: &Rollout,
) -> Result<Subject, load::Error> {
    let what = &rollout.what;
    let mut found = Subject::new();
    for id in &what.revisions {
        let revision = read_revision(generation, store, id)?;
        found.insert(id.clone(), revision.and_then(|revision| generation.severity(&revision)));
    }
    if what.severity.is_none() && what.products.is_empty() {
        return Ok(found);
    }
    let set = |stage: Stage| generation.approvals(stage).map(|approvals| approvals.set.as_ref());
    let decided = set(rollout.stage);
    let groups: Vec<_> = generation.mesh.groups_of(rollout.stage).collect();
    let is_decided = |id: &RevisionId| {
        decided.is_some_and(|set| groups.iter().all(|group| set.get(id, &group.name).is_some()))
    };
    let candidates: Vec<&RevisionId> = match rollout.stage.before().map(set) {
        None => generation.catalogue.keys().collect(),
        Some(before) => before.map(|set| set.approved().into_iter().collect()).unwrap_or_default(),
    };
    for id in candidates.into_iter().filter(|id| !is_decided(id)) {
        let Some(revision) = read_revision(generation, store, id)? else { continue };
        let severity = generation.severity(&revision);
        if what.fits(id, &revision.facts.products, severity) {
            found.insert(id.clone(), severity);
        }
    }
    Ok(found)
}

/// The first deadline of these revisions for an exposed machine. What is not approved by
/// the plan yet is taken to be so at `now`.
pub(super) fn deadline(
    generation: &Generation,
    rollout: &Rollout,
    revisions: &Subject,
    now: Timestamp,
) -> Option<Deadline> {
    let by_plan = Decision::Approved(rollout.name.clone());
    let approved_at = |id: &RevisionId| {
        let set = &generation.approvals(rollout.stage)?.set;
        let groups = generation.mesh.groups_of(rollout.stage);
        let approvals = groups.filter_map(|group| set.get(id, &group.name));
        approvals.filter(|one| one.decision == by_plan).map(|one| one.at).min()
    };
    let deadlines = revisions.iter().filter_map(|(id, severity)| {
        let facts = generation.deadline_facts(id, *severity)?;
        let facts = rollout.facts(facts, approved_at(id).unwrap_or(now));
        Some(rollout.deadline.deadline(&facts, true))
    });
    deadlines.min()
}
