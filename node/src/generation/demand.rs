//! The payloads that a generation calls for, found once for each generation; out
//! of those of the one before where only little was decided since.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use patchmesh_topology::digest::{Digest, Sha256};
use patchmesh_topology::name::NodeName;
use patchmesh_topology::node::Stage;
use patchmesh_topology::revision::{Binding, Revision, RevisionId};
use patchmesh_topology::subscription::Carried;

use super::differences::differences;
use super::{Approvals, Generation};

/// More changes than these are counted anew with all the others.
const MAX_CHANGES: usize = 4096;

/// The bound payloads of what is approved, as one node sees them.
#[derive(Debug, Clone, Default)]
struct Payloads {
    wanted: Arc<BTreeMap<Digest, u64>>,
    unsubscribed: Arc<BTreeSet<Digest>>,
    /// Approved, and some payload of theirs is not bound yet.
    unbound: Arc<BTreeSet<RevisionId>>,
}

/// What a generation calls for: found when somebody first asks.
#[derive(Debug, Clone, Default)]
pub struct Demand(Arc<Finding>);

#[derive(Debug, Default)]
struct Finding {
    found: OnceLock<(NodeName, Payloads)>,
    since: Mutex<Option<Since>>,
}

/// What an earlier generation called for, and what was decided since: nothing was
/// taken back, and the mesh is the same.
#[derive(Debug, Clone)]
struct Since {
    node: NodeName,
    payloads: Payloads,
    bindings: Arc<BTreeMap<Sha256, Binding>>,
    approved: BTreeSet<RevisionId>,
}

impl Demand {
    /// What `generation` calls for, where something else is said on the revisions
    /// `changed` than in the one `before`, and on no others.
    pub(super) fn after(
        before: &Generation,
        generation: &Generation,
        changed: BTreeSet<RevisionId>,
    ) -> Self {
        if generation.calls_for_as_much_as(before) {
            return before.demand.clone();
        }
        let may_add = Arc::ptr_eq(&before.mesh, &generation.mesh)
            && !changed.iter().any(|id| generation.takes_back(before, id));
        let since = before.demand.since(before).filter(|_| may_add).map(|mut since| {
            since.approved.extend(changed);
            since
        });
        let since = Mutex::new(since.filter(|one| one.approved.len() <= MAX_CHANGES));
        Self(Arc::new(Finding { found: OnceLock::new(), since }))
    }

    /// Where counting may go on from; `None` where nothing was counted yet.
    fn since(&self, of: &Generation) -> Option<Since> {
        match self.0.found.get() {
            Some((node, payloads)) => Some(Since {
                node: node.clone(),
                payloads: payloads.clone(),
                bindings: of.bindings.clone(),
                approved: BTreeSet::new(),
            }),
            None => self.0.since.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    fn payloads(&self, generation: &Generation, node: &NodeName) -> Payloads {
        let (of, found) = self.0.found.get_or_init(|| {
            let since = self.0.since.lock().unwrap_or_else(PoisonError::into_inner).take();
            let since = since.filter(|since| since.node == *node);
            let found = since.and_then(|since| generation.payloads_after(since, node));
            (node.clone(), found.unwrap_or_else(|| generation.all_payloads(node)))
        });
        // Nearly always a node asks for itself.
        if of == node { found.clone() } else { generation.all_payloads(node) }
    }
}

impl Payloads {
    fn add(
        &mut self,
        generation: &Generation,
        carried: &Carried,
        stage: Stage,
        revision: &Revision,
    ) {
        let is_whole = generation.binds(revision);
        if !is_whole && !self.unbound.contains(&revision.id) {
            Arc::make_mut(&mut self.unbound).insert(revision.id.clone());
        }
        for payload in &revision.payloads {
            let Some(binding) = generation.bindings.get(&payload.sha256) else { continue };
            if carried.takes(stage, revision, payload) {
                if is_whole {
                    self.want(binding);
                }
            } else if !self.wanted.contains_key(&binding.blob)
                && !self.unsubscribed.contains(&binding.blob)
            {
                Arc::make_mut(&mut self.unsubscribed).insert(binding.blob);
            }
        }
    }

    fn want(&mut self, binding: &Binding) {
        if !self.wanted.contains_key(&binding.blob) {
            Arc::make_mut(&mut self.wanted).insert(binding.blob, binding.length);
        }
        // One file may belong to several revisions.
        if self.unsubscribed.contains(&binding.blob) {
            Arc::make_mut(&mut self.unsubscribed).remove(&binding.blob);
        }
    }
}

impl Generation {
    /// The payload blobs that `node` has to hold: of every approved revision
    /// whose payloads are all bound, those that it or a node below it
    /// subscribed to. Sorted by digest.
    #[must_use]
    pub fn wanted_payloads(&self, node: &NodeName) -> Arc<BTreeMap<Digest, u64>> {
        self.demand.payloads(self, node).wanted
    }

    /// Payload blobs of approved revisions that `node` does not hold, since
    /// neither it nor a node below it subscribed to them.
    #[must_use]
    pub fn unsubscribed_payloads(&self, node: &NodeName) -> Arc<BTreeSet<Digest>> {
        self.demand.payloads(self, node).unsubscribed
    }

    /// Whether `other` shares everything that decides what is wanted.
    fn calls_for_as_much_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.mesh, &other.mesh)
            && Arc::ptr_eq(&self.bindings, &other.bindings)
            && Arc::ptr_eq(&self.revisions, &other.revisions)
            && self.approvals.iter().all(|(stage, approvals)| {
                other.approvals.get(stage).is_some_and(|one| Arc::ptr_eq(approvals, one))
            })
    }

    /// Whether less is said for a revision than `before`, or something else of it.
    fn takes_back(&self, before: &Self, id: &RevisionId) -> bool {
        let is_approved = |approvals: &Arc<Approvals>| approvals.set.is_approved(id);
        let mut stages = before.approvals.iter();
        let is_less = stages.any(|(stage, earlier)| {
            is_approved(earlier) && !self.approvals.get(stage).is_some_and(is_approved)
        });
        is_less || before.revisions.get(id).is_some_and(|one| self.revisions.get(id) != Some(one))
    }

    /// Takes a look at every approved revision.
    fn all_payloads(&self, node: &NodeName) -> Payloads {
        let mut payloads = Payloads::default();
        let carried = self.mesh.carried(node);
        for stage in self.carries(node) {
            let approved = self.approved_revisions(&[stage].into());
            for revision in approved.into_iter().filter_map(|id| self.revisions.get(id)) {
                payloads.add(self, &carried, stage, revision);
            }
        }
        payloads
    }

    /// Takes a look at what was decided or bound since; `None` where a binding is
    /// not what it was.
    fn payloads_after(&self, since: Since, node: &NodeName) -> Option<Payloads> {
        let Since { mut payloads, bindings, approved, .. } = since;
        let mut differing = differences(&bindings, &self.bindings);
        let is_same = Arc::ptr_eq(&bindings, &self.bindings);
        if !is_same && differing.any(|sha256| bindings.contains_key(sha256)) {
            return None;
        }
        let unbound = std::mem::take(&mut payloads.unbound);
        let carried = self.mesh.carried(node);
        for stage in self.carries(node) {
            let set = self.approvals.get(&stage).map(|approvals| &approvals.set);
            for id in unbound.union(&approved) {
                let is_approved = set.is_some_and(|set| set.is_approved(id));
                if let Some(revision) = self.revisions.get(id).filter(|_| is_approved) {
                    payloads.add(self, &carried, stage, revision);
                }
            }
        }
        Some(payloads)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
