//! The approved revisions of a generation: those of the one before, but for what
//! was decided since.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use patchmesh_topology::name::NodeName;
use patchmesh_topology::node::Stage;
use patchmesh_topology::revision::{Revision, RevisionId};

use super::super::differences::differences;
use super::super::{Generation, carries};
use super::Error;
use super::loader::Loader;
use crate::signed::document;

type Revisions = BTreeMap<RevisionId, Arc<Revision>>;

impl Loader<'_> {
    /// The revisions that are approved in the stages that `node` carries, and
    /// those on which something else is said than in the generation before.
    pub(super) fn revisions(
        &mut self,
        generation: &Generation,
        node: &NodeName,
    ) -> Result<(Arc<Revisions>, BTreeSet<RevisionId>), Error> {
        let carried = carries(&generation.mesh, node);
        let Some(previous) = self.previous.filter(|one| carries(&one.mesh, node) == carried) else {
            let mut found = Revisions::new();
            for id in generation.approved_revisions(&carried) {
                found.extend(self.revision(generation, id)?);
            }
            let all = found.keys().cloned().collect();
            return Ok((Arc::new(found), all));
        };
        let changed = changed(previous, generation, &carried);
        if changed.is_empty() {
            return Ok((previous.revisions.clone(), BTreeSet::new()));
        }
        let mut found = Revisions::clone(&previous.revisions);
        for id in &changed {
            found.remove(*id);
            if is_approved(generation, &carried, id) {
                found.extend(self.revision(generation, id)?);
            }
        }
        Ok((Arc::new(found), changed.into_iter().cloned().collect()))
    }

    fn revision(
        &mut self,
        generation: &Generation,
        id: &RevisionId,
    ) -> Result<Option<(RevisionId, Arc<Revision>)>, Error> {
        // What the catalogue does not know is not acted on.
        let Some(entry) = generation.catalogue.get(id) else { return Ok(None) };
        let bytes = self.get(&entry.document)?;
        Ok(document::revision(id, entry, bytes)?.map(|revision| (id.clone(), revision)))
    }
}

/// The revisions on which something else is said than before.
fn changed<'a>(
    before: &'a Generation,
    after: &'a Generation,
    carried: &BTreeSet<Stage>,
) -> BTreeSet<&'a RevisionId> {
    let mut changed = BTreeSet::new();
    for stage in carried {
        let sets = before.approvals.get(stage).zip(after.approvals.get(stage));
        if let Some((before, after)) = sets.filter(|(one, other)| !Arc::ptr_eq(one, other)) {
            let keys = differences(&before.set.entries, &after.set.entries);
            changed.extend(keys.map(|(revision, _)| revision));
        }
    }
    if !Arc::ptr_eq(&before.catalogue, &after.catalogue) {
        changed.extend(differences(&before.catalogue, &after.catalogue));
    }
    changed
}

fn is_approved(generation: &Generation, carried: &BTreeSet<Stage>, id: &RevisionId) -> bool {
    let mut sets = carried.iter().filter_map(|stage| generation.approvals.get(stage));
    sets.any(|approvals| approvals.set.is_approved(id))
}
