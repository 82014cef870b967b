//! The approved revisions of a generation: those of the one before, but for what
//! was decided since.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use patchmesh_topology::name::NodeName;
use patchmesh_topology::node::Stage;
use patchmesh_topology::revision::{Revision, RevisionId};

use super::super::{Generation, carries};
use super::Error;
use super::loader::Loader;

type Revisions = BTreeMap<RevisionId, Arc<Revision>>;

impl Loader<'_> {
    /// The revisions that are approved in the stages that `node` carries.
    pub(super) fn revisions(
        &mut self,
        generation: &Generation,
        node: &NodeName,
    ) -> Result<Arc<Revisions>, Error> {
        let carried = carries(&generation.mesh, node);
        let Some(previous) = self.previous.filter(|one| carries(&one.mesh, node) == carried) else {
            let mut found = Revisions::new();
            for id in generation.approved_revisions(&carried) {
                found.extend(self.revision(generation, id)?);
            }
            return Ok(Arc::new(found));
        };
        let changed = changed(previous, generation, &carried);
        if changed.is_empty() {
            return Ok(previous.revisions.clone());
        }
        let mut found = Revisions::clone(&previous.revisions);
        for id in changed {
            found.remove(id);
            if is_approved(generation, &carried, id) {
                found.extend(self.revision(generation, id)?);
            }
        }
        Ok(Arc::new(found))
    }

    fn revision(
        &mut self,
        generation: &Generation,
        id: &RevisionId,
    ) -> Result<Option<(RevisionId, Arc<Revision>)>, Error> {
        // What the catalogue does not know is not acted on.
        let Some(entry) = generation.catalogue.get(id) else { return Ok(None) };
        let bytes = self.get(&entry.document)?;
        Ok(super::revision(id, entry, bytes)?.map(|revision| (id.clone(), revision)))
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

/// The keys that only one of two maps has, or that have another value in each.
fn differences<'a, K: Ord, V: PartialEq>(
    one: &'a BTreeMap<K, V>,
    other: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = &'a K> {
    let (mut left, mut right) = (one.iter().peekable(), other.iter().peekable());
    std::iter::from_fn(move || {
        loop {
            let order = match (left.peek(), right.peek()) {
                (None, None) => return None,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((one, _)), Some((other, _))) => one.cmp(other),
            };
            match order {
                std::cmp::Ordering::Less => return left.next().map(|(key, _)| key),
                std::cmp::Ordering::Greater => return right.next().map(|(key, _)| key),
                std::cmp::Ordering::Equal => {
                    let ((key, one), (_, other)) = left.next().zip(right.next())?;
                    if one != other {
                        return Some(key);
                    }
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_what_is_not_the_same_in_both() {
        let one = BTreeMap::from([(1, 'a'), (2, 'b'), (4, 'd'), (9, 'x')]);
        let other = BTreeMap::from([(2, 'b'), (3, 'c'), (4, 'e')]);
        assert_eq!(differences(&one, &other).collect::<Vec<_>>(), [&1, &3, &4, &9]);
        assert_eq!(differences(&one, &one).count(), 0);
        assert_eq!(differences(&one, &BTreeMap::new()).count(), 4);
    }
}
