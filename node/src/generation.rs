//! One consistent, verified set of documents, decoded: what a node knows.
//!
//! A [`Generation`] is immutable and shared by `Arc`. A node is in exactly
//! one; [`Current`] holds it, swaps it whole, and tells those who watch.
//! What is in it has been checked against signed metadata before it was
//! built, by [`load`].

pub mod demand;
mod differences;
#[cfg(test)]
mod fuzz;
pub mod load;
pub mod past;
pub mod retention;
pub mod storage;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use patchmesh_proto::admin as wire;
use patchmesh_topology::advisory::AdvisorySet;
use patchmesh_topology::approval::{ApprovalSet, Decision};
use patchmesh_topology::assessment::{self, Assessments};
use patchmesh_topology::baseline::BaselineSet;
use patchmesh_topology::digest::{Digest, Sha256};
use patchmesh_topology::name::{GroupName, NodeName, RolloutName};
use patchmesh_topology::node::{Group, Mesh, Stage};
use patchmesh_topology::offer::{self, Offer};
use patchmesh_topology::promotion::Lab;
use patchmesh_topology::revision::{
    Binding, CatalogueEntry, DocumentRef, Revision, RevisionId, Severity,
};
use patchmesh_topology::revocation::Revocations;
use patchmesh_topology::rollout::deadline::{Facts, Weights};
use patchmesh_topology::rollout::{RolloutSet, WaveStateSet};
use patchmesh_topology::rule::Policy;
use patchmesh_topology::view::set::SetId;
use patchmesh_topology::view::{FullView, View, ViewKey, Withheld, of_group};
use tokio::sync::{Mutex, MutexGuard, watch};

use crate::signed::document::{self, Target};
use crate::store::Store;
use crate::tuf::RoleName;

/// Version and expiry of one signed role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleFact {
    /// The role's name.
    pub role: String,
    /// Its version.
    pub version: u64,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// A stage's decisions with the digest of their index document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approvals {
    /// The decisions.
    pub set: Arc<ApprovalSet>,
    /// BLAKE3 of the index document: equal digests, equal decisions.
    pub digest: Digest,
}

/// A stage's repository for stock clients and the document it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredView {
    /// The view document.
    pub document: DocumentRef,
    /// What it says, and what its pools hold.
    pub full: FullView,
}

impl StoredView {
    /// What the document says.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.full.view
    }

    /// Whether a file of `revision` is in it. Takes a look at every file.
    #[must_use]
    pub fn offers(&self, revision: &Revision) -> bool {
        let is_of = |sha256: &Sha256| revision.payloads.iter().any(|one| one.sha256 == *sha256);
        self.full.files().any(|(_, file)| is_of(&file.sha256))
    }
}

/// One consistent set of documents.
#[derive(Debug, Clone)]
pub struct Generation {
    /// The snapshot's version: names the generation.
    pub number: u64,
    /// The timestamp's version; grows also when nothing else changes.
    pub timestamp_version: u64,
    /// Every signed role, sorted by name.
    pub roles: Vec<RoleFact>,
    /// Every signed name.
    pub targets: BTreeMap<String, Target>,
    /// The tree and the groups.
    pub mesh: Arc<Mesh>,
    /// Every revision the mesh knows.
    pub catalogue: Arc<BTreeMap<RevisionId, CatalogueEntry>>,
    /// The catalogue's version.
    pub catalogue_version: u64,
    /// The bindings' version.
    pub bindings_version: u64,
    /// Payload → blob.
    pub bindings: Arc<BTreeMap<Sha256, Binding>>,
    /// Blob → length, of every bound payload.
    pub bound: Arc<HashMap<Digest, u64>>,
    /// Decisions by stage; every stage is present.
    pub approvals: BTreeMap<Stage, Arc<Approvals>>,
    /// What revisions mean; the others mean nothing known.
    pub assessments: Arc<Assessments>,
    /// The assessments' version.
    pub assessments_version: u64,
    /// What headquarters tells every branch.
    pub advisories: Arc<AdvisorySet>,
    /// Plans by name.
    pub rollouts: Arc<RolloutSet>,
    /// Where each plan stands.
    pub wave_states: Arc<WaveStateSet>,
    /// What deadlines hang on beside what vendors state, for machines that install at them.
    pub weights: Arc<Weights>,
    /// Machines that were shut out.
    pub revocations: Arc<Revocations>,
    /// Rules that approve by themselves.
    pub policy: Arc<Policy>,
    /// What the lab found, and what promotion asks for.
    pub lab: Arc<Lab>,
    /// What machines have; the packages stay in the store.
    pub baselines: Arc<BaselineSet>,
    /// The views' version.
    pub views_version: u64,
    /// Views of the stages that this node carries, of every set.
    pub views: BTreeMap<ViewKey, Arc<StoredView>>,
    /// The approved revisions of the stages that this node carries.
    pub revisions: Arc<BTreeMap<RevisionId, Arc<Revision>>>,
    /// What they call for.
    pub demand: demand::Demand,
}

impl Generation {
    /// The decisions of a stage.
    #[must_use]
    pub fn approvals(&self, stage: Stage) -> Option<&Arc<Approvals>> {
        self.approvals.get(&stage)
    }

    /// What a node says of its approval sets.
    #[must_use]
    pub fn approval_set_statuses(&self) -> Vec<patchmesh_proto::replication::ApprovalSetStatus> {
        self.approvals
            .iter()
            .map(|(stage, approvals)| approval_set_status(*stage, approvals))
            .collect()
    }

    /// The payload blobs of approved revisions that can't wait, whoever holds
    /// them.
    #[must_use]
    pub fn pressing_payloads(&self) -> BTreeSet<Digest> {
        let pressing = self.assessments.iter().filter(|(_, one)| one.is_pressing());
        pressing
            .filter_map(|(id, _)| self.revisions.get(id))
            .flat_map(|revision| &revision.payloads)
            .filter_map(|payload| self.bindings.get(&payload.sha256))
            .map(|binding| binding.blob)
            .collect()
    }

    /// The length of a bound payload by its blob.
    #[must_use]
    pub fn payload_length(&self, blob: &Digest) -> Option<u64> {
        self.bound.get(blob).copied()
    }

    /// Whether every payload of an approved revision is bound.
    #[must_use]
    pub fn is_available(&self, revision: &RevisionId) -> bool {
        self.revisions.get(revision).is_some_and(|revision| self.binds(revision))
    }

    /// The revisions that each rollout opens for some group, by its stage.
    #[must_use]
    pub fn by_rollout(&self) -> BTreeMap<(Stage, &RolloutName), BTreeSet<&RevisionId>> {
        let sets = self.approvals.iter();
        let named = sets.flat_map(|(stage, approvals)| {
            let opened = approvals.set.by_rollout().into_iter();
            opened.map(|(rollout, revisions)| ((*stage, rollout), revisions))
        });
        named.collect()
    }

    /// How bad it is not to have a revision: as the company judges, else as the
    /// vendor states.
    #[must_use]
    pub fn severity(&self, revision: &Revision) -> Option<Severity> {
        assessment::effective(self.assessments.get(&revision.id), revision.facts.severity)
    }

    /// What the deadline of a revision hangs on; nothing where the catalogue has no
    /// such one.
    #[must_use]
    pub fn deadline_facts(&self, id: &RevisionId, severity: Option<Severity>) -> Option<Facts> {
        let entered_at = self.catalogue.get(id)?.entered_at;
        Some(Facts::of(self.assessments.get(id), severity, entered_at))
    }

    /// What is decided, planned and open in a stage at an instant, brakes apart.
    #[must_use]
    pub fn offer(&self, stage: Stage, now: Timestamp) -> Option<Offer<'_>> {
        let approvals = &self.approvals.get(&stage)?.set;
        Some(Offer::new(approvals, &self.rollouts, &self.wave_states.states, now))
    }

    /// The views of a group, as far as this node carries its stage.
    pub fn views_of(&self, group: &Group) -> impl Iterator<Item = (SetId, &Arc<StoredView>)> {
        of_group(&self.views, group.stage, &group.name)
    }

    /// Why nothing of an open revision is offered to a group anywhere, as far as
    /// this node carries the group's views.
    #[must_use]
    pub fn withheld(&self, group: &Group, revision: &RevisionId) -> Option<&str> {
        let whole = Withheld::whole(revision.clone());
        let reason = self.views_of(group).find_map(|(_, one)| one.view().withheld.get(&whole))?;
        // With waves in flight, what it needs may be open at some sites only.
        let mut others =
            self.views_of(group).filter(|(_, one)| !one.view().withheld.contains_key(&whole));
        let revision = self.revisions.get(revision);
        let is_elsewhere =
            revision.is_some_and(|revision| others.any(|(_, one)| one.offers(revision)));
        (!is_elsewhere).then_some(reason.as_str())
    }

    /// Whether every payload of `revision` that is fetched at all is bound.
    #[must_use]
    pub fn binds(&self, revision: &Revision) -> bool {
        let narrowed = self.mesh.narrowed(revision);
        let revision = narrowed.as_ref().unwrap_or(revision);
        offer::availability(revision, |payload| self.bindings.contains_key(payload)).is_available()
    }

    /// The metadata that makes it up: each role and the name of its file.
    #[must_use]
    pub fn metadata_files(&self) -> Vec<(RoleName, String)> {
        self.roles
            .iter()
            .filter_map(|fact| {
                let role = RoleName::new(fact.role.clone()).ok()?;
                let version = (role != RoleName::TIMESTAMP).then_some(fact.version);
                let file = role.file_name(version);
                Some((role, file))
            })
            .collect()
    }

    /// Whether `grace` has passed since the timestamp expired: a node that has
    /// learned nothing for so long no longer offers anything.
    #[must_use]
    pub fn is_beyond(&self, grace: Duration, now: Timestamp) -> bool {
        let timestamp = self.roles.iter().find(|one| one.role == "timestamp");
        let grace = SignedDuration::try_from(grace).unwrap_or(SignedDuration::MAX);
        timestamp.is_some_and(|one| now.duration_since(one.expires_at) > grace)
    }

    /// The armored key that a stage's repositories are signed with.
    #[must_use]
    pub fn repository_key(&self, stage: Stage) -> Option<&str> {
        self.mesh.repository_keys.get(&stage).map(String::as_str)
    }

    /// Revisions approved for some group of one of `stages`.
    #[must_use]
    pub fn approved_revisions(&self, stages: &BTreeSet<Stage>) -> BTreeSet<&RevisionId> {
        stages
            .iter()
            .filter_map(|stage| self.approvals.get(stage))
            .flat_map(|approvals| approvals.set.entries.iter())
            .filter(|(_, approval)| matches!(approval.decision, Decision::Approved(_)))
            .map(|((revision, _), _)| revision)
            .collect()
    }

    /// The stages that `node` has to carry: its own and those of its subtree.
    /// The primary carries all.
    #[must_use]
    pub fn carries(&self, node: &NodeName) -> BTreeSet<Stage> {
        carries(&self.mesh, node)
    }
}

/// The stages that `node` has to carry in `mesh`; the primary and whoever
/// stands by for it carry all.
#[must_use]
pub fn carries(mesh: &Mesh, node: &NodeName) -> BTreeSet<Stage> {
    let is_primary = mesh
        .nodes
        .get(node)
        .is_some_and(|node| node.role == patchmesh_topology::node::Role::Primary);
    if is_primary || mesh.is_standby(node) { Stage::ALL.into() } else { mesh.carries(node) }
}

/// Why a view leaves something out, as told to somebody who asks for `group`.
/// Groups share views, so these name none.
#[must_use]
pub fn withheld_for(reason: &str, group: &GroupName) -> String {
    let for_group =
        if reason.ends_with("not approved") { format!(" for {group}") } else { String::new() };
    format!("{reason}{for_group}")
}

/// The status line of one approval set.
#[must_use]
pub fn approval_set_status(
    stage: Stage,
    approvals: &Approvals,
) -> patchmesh_proto::replication::ApprovalSetStatus {
    patchmesh_proto::replication::ApprovalSetStatus {
        stage: stage.to_string(),
        version: approvals.set.version,
        digest: approvals.digest.as_bytes().to_vec().into(),
    }
}

/// A revision's document; `None` where this node does not hold it, which at a
/// branch is so for what is not approved there.
///
/// # Errors
/// A document that cannot be used, or a failing store.
pub fn read_revision(
    generation: &Generation,
    store: &Store,
    id: &RevisionId,
) -> Result<Option<Arc<Revision>>, load::Error> {
    if let Some(revision) = generation.revisions.get(id) {
        return Ok(Some(revision.clone()));
    }
    let Some(entry) = generation.catalogue.get(id) else { return Ok(None) };
    document::revision(id, entry, store.get_blob(&entry.document.digest)?)
}

/// Holds the node's one generation; cheap to clone.
#[derive(Debug, Clone)]
pub struct Current {
    generation: watch::Sender<Arc<Generation>>,
    mesh: watch::Sender<Arc<Mesh>>,
    turn: Arc<Mutex<()>>,
}

impl Current {
    /// Starts in `generation`.
    #[must_use]
    pub fn new(generation: Arc<Generation>) -> Self {
        let mesh = watch::Sender::new(generation.mesh.clone());
        Self { generation: watch::Sender::new(generation), mesh, turn: Arc::default() }
    }

    /// The generation now.
    #[must_use]
    pub fn get(&self) -> Arc<Generation> {
        self.generation.borrow().clone()
    }

    /// Waits until nobody else learns a generation or removes what none leads
    /// to: what a new one finds in the store must not go before it is there.
    pub async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Switches. The caller has made it durable first.
    pub fn set(&self, generation: Arc<Generation>) {
        self.mesh.send_if_modified(|mesh| {
            let changed = !Arc::ptr_eq(mesh, &generation.mesh);
            mesh.clone_from(&generation.mesh);
            changed
        });
        self.generation.send_replace(generation);
    }

    /// Is told of every switch; intermediate ones may be skipped.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Generation>> {
        self.generation.subscribe()
    }

    /// Is told when the tree or the groups change.
    #[must_use]
    pub fn watch_mesh(&self) -> watch::Receiver<Arc<Mesh>> {
        self.mesh.subscribe()
    }
}

impl RoleFact {
    /// As `status` shows it.
    #[must_use]
    pub fn to_wire(&self) -> wire::RoleExpiry {
        wire::RoleExpiry {
            role: self.role.clone(),
            version: self.version,
            expires_at: Some(patchmesh_proto::convert::timestamp_to_wire(self.expires_at)),
        }
    }
}
