//! A generation in the making: what the next one will say.
//!
//! A change works on a [`Draft`], which begins as the present generation and
//! shares all of it until something is written. What was not written keeps
//! its document and its role's signature.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use patchmesh_proto::document;
use patchmesh_topology::advisory::AdvisorySet;
use patchmesh_topology::approval::ApprovalSet;
use patchmesh_topology::assessment::Assessments;
use patchmesh_topology::baseline::BaselineSet;
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::node::{Mesh, Stage};
use patchmesh_topology::promotion::Lab;
use patchmesh_topology::revision::{Binding, CatalogueEntry, DocumentRef, RevisionId};
use patchmesh_topology::revocation::Revocations;
use patchmesh_topology::rollout::plan::{self, Effect, Tallies};
use patchmesh_topology::rollout::{Rollout, RolloutSet, WaveStateSet};
use patchmesh_topology::rule::Policy;
use patchmesh_topology::view::awaited::ByNode;
use prost::Message;

use super::machines::Machines;
use crate::generation::Generation;
use crate::generation::storage::Write;
use crate::store::{self, Store, Table};
use crate::tuf::paper::Paper;

mod promote;
mod weights;

/// What the next generation will say, and what is stored beside it in the
/// same transaction.
pub struct Draft {
    /// The moment of the change: the time that its documents carry.
    pub now: Timestamp,
    /// The tree and the groups.
    pub mesh: Arc<Mesh>,
    /// Every revision.
    pub catalogue: Arc<BTreeMap<RevisionId, CatalogueEntry>>,
    /// Payload → blob.
    pub bindings: Arc<BTreeMap<Sha256, Binding>>,
    /// Decisions.
    pub approvals: BTreeMap<Stage, Arc<ApprovalSet>>,
    /// What revisions mean.
    pub assessments: Arc<Assessments>,
    /// What headquarters tells every branch.
    pub advisories: Arc<AdvisorySet>,
    /// Plans.
    pub rollouts: Arc<RolloutSet>,
    /// Where the plans stand.
    pub wave_states: Arc<WaveStateSet>,
    /// Machines that were shut out.
    pub revocations: Arc<Revocations>,
    /// Rules that approve by themselves.
    pub policy: Arc<Policy>,
    /// What the lab found, and what promotion asks for.
    pub lab: Arc<Lab>,
    /// What machines have.
    pub baselines: Arc<BaselineSet>,
    /// What machines of validation said.
    pub machines: Machines,
    /// What has not arrived at nodes.
    pub awaited: Arc<ByNode>,
    documents: Vec<(DocumentRef, Bytes)>,
    writes: Vec<Write>,
    papers: Vec<Paper>,
    store: Store,
}

/// Which parts a change wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// The tree or the groups.
    pub mesh: bool,
    /// The catalogue.
    pub catalogue: bool,
    /// The bindings.
    pub bindings: bool,
    /// The decisions of validation.
    pub validation: bool,
    /// The decisions of production.
    pub production: bool,
    /// The assessments.
    pub assessments: bool,
    /// The advisories.
    pub advisories: bool,
    /// The plans.
    pub rollouts: bool,
    /// Where the plans stand.
    pub wave_states: bool,
    /// Who was shut out.
    pub revocations: bool,
    /// The rules.
    pub policy: bool,
    /// What the lab found, and what promotion asks for.
    pub lab: bool,
    /// What machines have.
    pub baselines: bool,
    /// The views, though nothing that they hang on was written.
    pub views: bool,
    /// Metadata that was signed elsewhere, such as new holders of a role.
    pub papers: bool,
}

impl Written {
    /// Every part, as for the first generation.
    pub const ALL: Self = Self {
        mesh: true,
        catalogue: true,
        bindings: true,
        validation: true,
        production: true,
        assessments: true,
        advisories: true,
        rollouts: true,
        wave_states: true,
        revocations: true,
        policy: true,
        lab: true,
        baselines: true,
        views: true,
        papers: false,
    };

    /// Whether the decisions of `stage` were written.
    #[must_use]
    pub const fn approvals(self, stage: Stage) -> bool {
        match stage {
            Stage::Validation => self.validation,
            Stage::Production => self.production,
        }
    }

    /// Whether a view may come out differently.
    #[must_use]
    pub const fn affects_views(self) -> bool {
        self.views
            || self.mesh
            || self.bindings
            || self.validation
            || self.production
            || self.rollouts
            || self.wave_states
            || self.baselines
    }

    /// Whether anything was written.
    #[must_use]
    pub fn any(self) -> bool {
        self != Self::default()
    }
}

impl Draft {
    /// Begins as `generation`.
    #[must_use]
    pub fn of(generation: &Generation, store: Store, now: Timestamp) -> Self {
        let approvals = generation
            .approvals
            .iter()
            .map(|(stage, approvals)| (*stage, approvals.set.clone()))
            .collect();
        Self {
            now,
            mesh: generation.mesh.clone(),
            catalogue: generation.catalogue.clone(),
            bindings: generation.bindings.clone(),
            approvals,
            assessments: generation.assessments.clone(),
            advisories: generation.advisories.clone(),
            rollouts: generation.rollouts.clone(),
            wave_states: generation.wave_states.clone(),
            revocations: generation.revocations.clone(),
            policy: generation.policy.clone(),
            lab: generation.lab.clone(),
            baselines: generation.baselines.clone(),
            machines: Machines::none(),
            awaited: Arc::default(),
            documents: Vec::new(),
            writes: Vec::new(),
            papers: Vec::new(),
            store,
        }
    }

    /// Begins with nothing but a tree.
    #[must_use]
    pub fn first(mesh: Mesh, store: Store, now: Timestamp) -> Self {
        let empty = |stage| Arc::new(ApprovalSet::empty(stage));
        Self {
            now,
            mesh: Arc::new(mesh),
            catalogue: Arc::default(),
            bindings: Arc::default(),
            approvals: Stage::ALL.into_iter().map(|stage| (stage, empty(stage))).collect(),
            assessments: Arc::default(),
            advisories: Arc::default(),
            rollouts: Arc::default(),
            wave_states: Arc::default(),
            revocations: Arc::default(),
            policy: Arc::default(),
            lab: Arc::default(),
            baselines: Arc::default(),
            machines: Machines::none(),
            awaited: Arc::default(),
            documents: Vec::new(),
            writes: Vec::new(),
            papers: Vec::new(),
            store,
        }
    }

    /// Stores a document with the generation and names it.
    pub fn add_document(&mut self, bytes: Bytes) -> DocumentRef {
        let document = document::reference(&bytes);
        self.documents.push((document, bytes));
        document
    }

    /// A document of this draft, or one that was stored before.
    ///
    /// # Errors
    /// The store's own.
    pub fn document(&self, name: &DocumentRef) -> Result<Option<Bytes>, store::Error> {
        match self.documents.iter().find(|(known, _)| known == name) {
            Some((_, bytes)) => Ok(Some(bytes.clone())),
            None => self.store.get_blob(&name.digest),
        }
    }

    /// Stores a record of the primary's own with the generation.
    pub fn put<V>(&mut self, table: &'static Table<str, V>, key: &str, value: V)
    where
        V: Message + Default + 'static,
    {
        let key = key.to_owned();
        self.writes.push(Box::new(move |transaction| {
            transaction.put(table, &key, &value);
        }));
    }

    /// Does more to the store with the generation, in the same transaction.
    pub fn write(&mut self, write: Write) {
        self.writes.push(write);
    }

    /// Reads a record of the primary's own, as it was before this change.
    ///
    /// # Errors
    /// The store's own.
    pub fn get<V: Message + Default>(
        &self,
        table: &Table<str, V>,
        key: &str,
    ) -> Result<Option<V>, store::Error> {
        self.store.get(table, key)
    }

    /// Stores a metadata file with the generation, as it was signed.
    pub fn add_metadata(&mut self, file: String, bytes: Bytes) {
        self.writes.push(Box::new(move |transaction| {
            transaction.put(&store::METADATA, &file, &bytes);
        }));
    }

    /// The decisions of `stage`.
    #[must_use]
    pub fn approvals(&self, stage: Stage) -> Arc<ApprovalSet> {
        self.approvals.get(&stage).cloned().unwrap_or_else(|| Arc::new(ApprovalSet::empty(stage)))
    }

    /// Plans `rollout` with all its waves open, unless a plan of its name is
    /// there already.
    pub fn plan(&mut self, rollout: Rollout) {
        if self.rollouts.rollouts.contains_key(&rollout.name) {
            return;
        }
        let states = Arc::make_mut(&mut self.wave_states);
        states.states.insert(rollout.name.clone(), rollout.all_open(self.now));
        states.version += 1;
        let plans = Arc::make_mut(&mut self.rollouts);
        plans.rollouts.insert(rollout.name.clone(), rollout);
        plans.version += 1;
    }

    /// Takes every rollout as far as it goes now, by what machines said.
    pub fn advance(&mut self, tallies: &Tallies) -> Vec<Effect> {
        let (states, effects) =
            plan::plan(&self.rollouts, &self.wave_states.states, tallies, self.now);
        if states != self.wave_states.states {
            let set = Arc::make_mut(&mut self.wave_states);
            set.states = states;
            set.version += 1;
        }
        effects
    }

    /// Replaces the decisions of a stage.
    pub fn set_approvals(&mut self, set: ApprovalSet) {
        self.approvals.insert(set.stage, Arc::new(set));
    }

    /// What was written since the draft began as `generation`: what is no
    /// longer shared with it.
    #[must_use]
    pub fn written_since(&self, generation: &Generation) -> Written {
        let decided = |stage| {
            let before = generation.approvals.get(&stage).map(|approvals| &approvals.set);
            match (self.approvals.get(&stage), before) {
                (Some(now), Some(before)) => !Arc::ptr_eq(now, before),
                (now, before) => now.is_some() || before.is_some(),
            }
        };
        Written {
            mesh: !Arc::ptr_eq(&self.mesh, &generation.mesh),
            catalogue: !Arc::ptr_eq(&self.catalogue, &generation.catalogue),
            bindings: !Arc::ptr_eq(&self.bindings, &generation.bindings),
            validation: decided(Stage::Validation),
            production: decided(Stage::Production),
            assessments: !Arc::ptr_eq(&self.assessments, &generation.assessments),
            advisories: !Arc::ptr_eq(&self.advisories, &generation.advisories),
            rollouts: !Arc::ptr_eq(&self.rollouts, &generation.rollouts),
            wave_states: !Arc::ptr_eq(&self.wave_states, &generation.wave_states),
            revocations: !Arc::ptr_eq(&self.revocations, &generation.revocations),
            policy: !Arc::ptr_eq(&self.policy, &generation.policy),
            lab: !Arc::ptr_eq(&self.lab, &generation.lab),
            baselines: !Arc::ptr_eq(&self.baselines, &generation.baselines),
            views: false,
            papers: !self.papers.is_empty(),
        }
    }

    /// Publishes metadata that was signed elsewhere along with the rest.
    pub fn adopt(&mut self, papers: Vec<Paper>) {
        self.papers.extend(papers);
    }

    /// Puts the decisions of a stage back to those of a generation.
    pub(super) fn restore_approvals(&mut self, stage: Stage, set: Arc<ApprovalSet>) {
        self.approvals.insert(stage, set);
    }

    /// Where records are read from.
    pub(super) const fn store(&self) -> &Store {
        &self.store
    }

    /// The metadata signed elsewhere.
    #[must_use]
    pub fn papers(&self) -> &[Paper] {
        &self.papers
    }

    /// Whether there is anything to store.
    #[must_use]
    pub fn has_records(&self) -> bool {
        !self.writes.is_empty()
    }

    /// The documents and records added, for the transaction.
    #[must_use]
    pub fn take_additions(&mut self) -> (Vec<(DocumentRef, Bytes)>, Vec<Write>) {
        (std::mem::take(&mut self.documents), std::mem::take(&mut self.writes))
    }
}
