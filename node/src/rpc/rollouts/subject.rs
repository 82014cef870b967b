//! Which revisions a plan is for, of those that can be approved for its stage.

use std::collections::BTreeSet;

use patchmesh_topology::node::Stage;
use patchmesh_topology::revision::{RevisionId, Severity};
use patchmesh_topology::rollout::Rollout;
use patchmesh_topology::rollout::deadline::{Deadline, Facts};

use crate::generation::{Generation, load, read_revision};
use crate::store::Store;

/// Those named, and those that its query finds and nobody decided on for all
/// groups of the stage. Blocks: opens what is in question.
pub(super) fn revisions(
    generation: &Generation,
    store: &Store,
    rollout: &Rollout,
) -> Result<BTreeSet<RevisionId>, load::Error> {
    let what = &rollout.what;
    let mut found = what.revisions.clone();
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
        let severity = severity(generation, id, revision.facts.severity);
        if what.fits(id, &revision.facts.products, severity) {
            found.insert(id.clone());
        }
    }
    Ok(found)
}

/// As the company judges, else as the vendor states.
fn severity(
    generation: &Generation,
    id: &RevisionId,
    stated: Option<Severity>,
) -> Option<Severity> {
    let assessed = generation.assessments.get(id).and_then(|one| one.severity());
    assessed.map_or(stated, |(severity, _)| severity)
}

/// The first deadline of these revisions for an exposed machine. Blocks.
pub(super) fn deadline(
    generation: &Generation,
    store: &Store,
    rollout: &Rollout,
    revisions: &BTreeSet<RevisionId>,
) -> Result<Option<Deadline>, load::Error> {
    let mut first = None;
    for id in revisions {
        let Some(entry) = generation.catalogue.get(id) else { continue };
        let mut facts = Facts::of(generation.assessments.get(id), entry.entered_at);
        if facts.severity.is_none() {
            let revision = read_revision(generation, store, id)?;
            facts.severity = revision.and_then(|revision| revision.facts.severity);
        }
        let deadline = rollout.deadline.deadline(&facts, true);
        first = Some(first.map_or(deadline, |first: Deadline| first.min(deadline)));
    }
    Ok(first)
}
