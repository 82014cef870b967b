//! What headquarters signed, fetched from a node and checked here: the node is
//! believed nothing.
//!
//! What always holds: every document is the one that a signed name leads to, by
//! the role that the name is delegated to; metadata never goes back; the mesh's
//! epoch never falls. So a node that was broken into can withhold, and no more.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use jiff::Timestamp;
use patchmesh_proto::{set, wire};
use patchmesh_topology::approval::{ApprovalSet, Decision};
use patchmesh_topology::digest::{Digest, Sha256};
use patchmesh_topology::name::GroupName;
use patchmesh_topology::node::Mesh;
use patchmesh_topology::revision::{Binding, CatalogueEntry, DocumentRef, Revision, RevisionId};
use patchmesh_topology::rollout::{RolloutSet, WaveStateSet};

use super::documents::{self, Documents};
use super::link::Link;
use crate::generation::{load, names};
use crate::tuf::{self, Client, FolderStorage, Limits, TargetPath, TrustedMetadata};

/// Why there is nothing to go by.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The metadata is not trusted, or cannot be had.
    #[error("cannot follow the mesh's signed metadata")]
    Tuf(#[source] Box<tuf::client::Error>),
    /// A document cannot be had.
    #[error("cannot have a signed document")]
    Document(#[from] documents::Error),
    /// What is signed cannot be used.
    #[error("what is signed cannot be used")]
    Load(#[source] Box<load::Error>),
    /// The mesh's document is of an earlier life of the primary.
    #[error(
        "the mesh document is of epoch {found}, and {known} was seen: it comes from a primary that was replaced"
    )]
    Epoch {
        /// Its epoch.
        found: u64,
        /// The greatest seen.
        known: u64,
    },
    /// The machine's group is not there.
    #[error("the mesh has no group {0}; join again with a token of another group")]
    Group(GroupName),
}

impl From<tuf::client::Error> for Error {
    fn from(error: tuf::client::Error) -> Self {
        Self::Tuf(Box::new(error))
    }
}

impl From<load::Error> for Error {
    fn from(error: load::Error) -> Self {
        Self::Load(Box::new(error))
    }
}

/// What is signed, as far as a machine of one group needs it.
#[derive(Debug)]
pub struct Chain {
    /// Version of the snapshot.
    pub number: u64,
    /// The tree and the groups.
    pub mesh: Mesh,
    /// The decisions of the group's stage.
    pub approvals: ApprovalSet,
    /// The plans.
    pub plans: RolloutSet,
    /// Where they stand.
    pub states: WaveStateSet,
    /// Which payloads are blobs of the mesh.
    pub bindings: BTreeMap<Sha256, Binding>,
    /// Entries of the revisions below.
    pub entries: BTreeMap<RevisionId, CatalogueEntry>,
    /// What is approved for the group.
    pub revisions: BTreeMap<RevisionId, Revision>,
}

/// Reads documents by their signed names.
struct Reader<'a> {
    trusted: &'a TrustedMetadata,
    link: &'a Link,
    documents: &'a Documents,
    used: RefCell<BTreeSet<Digest>>,
}

/// Follows the mesh to its newest state.
///
/// # Errors
/// What cannot be had or is not to be trusted; what was trusted before stays.
pub async fn follow(
    link: &Link,
    storage: FolderStorage,
    documents: &Documents,
    group: &GroupName,
    known_epoch: u64,
    now: Timestamp,
) -> Result<Chain, Error> {
    let mut client = Client::new(link.clone(), storage, Limits::default());
    let trusted = client.refresh_all(now).await?;
    let reader = Reader { trusted, link, documents, used: RefCell::default() };
    let mesh: Mesh = load::decode::<wire::Topology, Mesh>(
        names::TOPOLOGY,
        &reader.named(names::TOPOLOGY).await?,
    )?;
    if mesh.epoch < known_epoch {
        return Err(Error::Epoch { found: mesh.epoch, known: known_epoch });
    }
    let stage = mesh.groups.get(group).ok_or_else(|| Error::Group(group.clone()))?.stage;
    let name = names::approvals(stage);
    let approvals = reader.set(name, |index, lookup| set::read_approvals(index, lookup)).await?;
    if approvals.stage != stage {
        return Err(load::Error::Stage(stage).into());
    }
    let plans = reader.named(names::ROLLOUTS).await?;
    let plans = load::decode::<wire::RolloutSet, RolloutSet>(names::ROLLOUTS, &plans)?;
    let states = reader.named(names::WAVE_STATES).await?;
    let states = load::decode::<wire::WaveStates, WaveStateSet>(names::WAVE_STATES, &states)?;
    let bindings =
        reader.set(names::BINDINGS, |index, lookup| set::read_bindings(index, lookup)).await?;
    let mut entries =
        reader.set(names::CATALOGUE, |index, lookup| set::read_catalogue(index, lookup)).await?;
    let is_approved = |id: &RevisionId| {
        let approval = approvals.get(id, group);
        approval.is_some_and(|one| matches!(one.decision, Decision::Approved(_)))
    };
    entries.retain(|id, _| is_approved(id));
    let revisions = reader.revisions(&entries).await?;
    documents.prune(&reader.used.into_inner())?;
    let number = trusted.snapshot_version().unwrap_or_default();
    Ok(Chain { number, mesh, approvals, plans, states, bindings, entries, revisions })
}

impl Reader<'_> {
    /// The document that a signed name leads to.
    async fn named(&self, name: &str) -> Result<Bytes, Error> {
        let absent = || load::Error::NoTarget(name.to_owned());
        let path = TargetPath::new(name).map_err(|_| absent())?;
        let target = load::target(self.trusted, &path)?.ok_or_else(absent)?;
        let document = DocumentRef { digest: target.digest, length: target.length };
        let bytes = self.all(vec![document]).await?.remove(&target.digest);
        let bytes = bytes.ok_or(documents::Error::Absent(target.digest))?;
        // Both digests that are signed have to be the document's.
        if crate::identity::sha256(&bytes) != target.sha256 {
            return Err(load::Error::Mismatch(name.to_owned()).into());
        }
        Ok(bytes)
    }

    async fn all(&self, wanted: Vec<DocumentRef>) -> Result<HashMap<Digest, Bytes>, Error> {
        self.used.borrow_mut().extend(wanted.iter().map(|one| one.digest));
        Ok(self.documents.fetch(self.link, &wanted).await?)
    }

    async fn set<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Bytes, &dyn Fn(&DocumentRef) -> Option<Bytes>) -> Result<T, set::Error>,
    ) -> Result<T, Error> {
        let failed = |source| load::Error::Set { name: name.to_owned(), source };
        let index = self.named(name).await?;
        let parts = self.all(set::partitions(&index).map_err(failed)?).await?;
        let set = read(&index, &|document| parts.get(&document.digest).cloned());
        Ok(set.map_err(failed)?)
    }

    async fn revisions(
        &self,
        entries: &BTreeMap<RevisionId, CatalogueEntry>,
    ) -> Result<BTreeMap<RevisionId, Revision>, Error> {
        let wanted = entries.values().map(|entry| entry.document).collect();
        let mut documents = self.all(wanted).await?;
        let mut revisions = BTreeMap::new();
        for (id, entry) in entries {
            let bytes = documents.remove(&entry.document.digest);
            let revision = load::revision(id, entry, bytes)?
                .ok_or(documents::Error::Absent(entry.document.digest))?;
            revisions.insert(id.clone(), std::sync::Arc::unwrap_or_clone(revision));
        }
        Ok(revisions)
    }
}
