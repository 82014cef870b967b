//! What of plans has arrived at this node: what they open is served no sooner.

use std::collections::HashSet;
use std::sync::Arc;

use patchmesh_topology::name::NodeName;
use patchmesh_topology::node::Stage;
use patchmesh_topology::revision::RevisionId;
use patchmesh_topology::view::awaited::Awaited;

use crate::generation::Generation;
use crate::store::{self, Store};

/// What was looked for, and what of it is here; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Arrivals {
    arrived: Arc<HashSet<RevisionId>>,
    awaited: Awaited,
}

impl Arrivals {
    /// What has not arrived.
    #[must_use]
    pub const fn awaited(&self) -> &Awaited {
        &self.awaited
    }

    /// Looks at what `generation` calls for at the node `name`. What has arrived
    /// stays so while this is kept: what machines were offered is not taken back
    /// for a payload that is lost. Blocks.
    ///
    /// # Errors
    /// The store's.
    pub fn look(
        &self,
        generation: &Generation,
        name: &NodeName,
        store: &Store,
    ) -> Result<Self, store::Error> {
        let Some(node) = generation.mesh.node(name) else { return Ok(Self::default()) };
        // Most stages have no plan that anybody waits for.
        let waits = |stage: &Stage| {
            let mut plans = generation.rollouts.rollouts.values();
            plans.any(|plan| plan.stage == *stage && !plan.is_default())
        };
        let approvals = generation.approvals.iter();
        let approvals = approvals.filter(|(stage, _)| node.stages.contains(stage) && waits(stage));
        let mut arrived = self.arrived.clone();
        let mut fault = None;
        let awaited = Awaited::of(approvals.map(|(_, one)| one.set.as_ref()), |id| {
            if arrived.contains(id) || fault.is_some() {
                return true;
            }
            match has_arrived(generation, name, store, id) {
                Ok(true) => Arc::make_mut(&mut arrived).insert(id.clone()),
                Ok(false) => false,
                Err(error) => {
                    fault = Some(error);
                    false
                }
            }
        });
        if arrived.iter().any(|id| !generation.revisions.contains_key(id)) {
            Arc::make_mut(&mut arrived).retain(|id| generation.revisions.contains_key(id));
        }
        fault.map_or(Ok(Self { arrived, awaited }), Err)
    }
}

/// Whether every payload of a revision that the node is to hold is held.
fn has_arrived(
    generation: &Generation,
    name: &NodeName,
    store: &Store,
    id: &RevisionId,
) -> Result<bool, store::Error> {
    let Some(revision) = generation.revisions.get(id) else { return Ok(true) };
    let wanted = generation.wanted_payloads(name);
    for payload in &revision.payloads {
        let binding = generation.bindings.get(&payload.sha256);
        // What is bound to no blob is in no view, and what the node did not
        // subscribe to never comes.
        let blob = binding.map(|one| one.blob).filter(|blob| wanted.contains_key(blob));
        if let Some(blob) = blob
            && !store.has(&blob)?
        {
            return Ok(false);
        }
    }
    Ok(true)
}
