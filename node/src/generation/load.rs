//! From trusted metadata to a [`Generation`]: which documents it needs, and
//! what they say together.
//!
//! Loading is a pure function of the metadata and of the documents at hand.
//! Where documents lack it names them, all that are known of at once; the
//! caller fetches them and loads again. The same code runs at start-up, after
//! each synchronisation and on what the primary has just written.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use patchmesh_proto::document::{self, Document};
use patchmesh_proto::{convert, set, wire};
use patchmesh_topology::digest::{Digest, Sha256};
use patchmesh_topology::name::{GroupName, NodeName};
use patchmesh_topology::node::{Mesh, Stage};
use patchmesh_topology::revision::{Binding, CatalogueEntry, DocumentRef, Revision, RevisionId};
use patchmesh_topology::rollout::{RolloutSet, WaveStateSet};
use patchmesh_topology::view::{View, ViewSet};

use super::{Approvals, Generation, RoleFact, StoredView, Target, carries, names};
use crate::store::{self, Store};
use crate::tuf::{self, Limits, TrustedMetadata};

/// Longest document, index files of views included. Documents are held in
/// memory until their generation is whole, so a signature must not promise
/// more than a node has; the largest distributions' indices have some 60 MiB.
const MAX_DOCUMENT: u64 = 256 << 20;

/// Why a generation cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The metadata names no such target.
    #[error("the signed metadata names no {0}")]
    NoTarget(String),
    /// A target without the digest that names its document.
    #[error("the signed metadata gives no BLAKE3 digest for {0}")]
    NoDigest(String),
    /// It cannot be told which role a name is delegated to.
    #[error("the signed metadata does not say who may sign {name}")]
    Delegation {
        /// What it is.
        name: String,
        /// Why.
        source: Box<tuf::trusted::Error>,
    },
    /// A document that no node could keep.
    #[error("a document of {length} bytes is signed for; at most {MAX_DOCUMENT} are taken")]
    TooLong {
        /// Its length.
        length: u64,
    },
    /// A document's bytes are not those that were signed.
    #[error("document {0} is not the one that was signed")]
    Mismatch(String),
    /// A document cannot be understood.
    #[error("document {name} cannot be used")]
    Document {
        /// What it is.
        name: String,
        /// Why.
        source: document::Error,
    },
    /// A set cannot be understood.
    #[error("the set {name} cannot be used")]
    Set {
        /// What it is.
        name: String,
        /// Why.
        source: set::Error,
    },
    /// A document contradicts the model.
    #[error("document {name} is not valid")]
    Convert {
        /// What it is.
        name: String,
        /// Why.
        source: convert::Error,
    },
    /// An approval set stands under the name of another stage.
    #[error("the approval set of {0} is signed as that of another stage")]
    Stage(Stage),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] store::Error),
}

/// What loading came to.
#[derive(Debug)]
pub enum Loaded {
    /// Everything is there.
    Whole(Box<Generation>),
    /// These documents are needed first; there may be more behind them.
    Lacking(Vec<DocumentRef>),
}

/// The documents at hand: those fetched or written but not yet committed,
/// over those in the store.
#[derive(Debug)]
pub struct Staged {
    store: Store,
    documents: HashMap<Digest, (DocumentRef, Bytes)>,
}

impl Staged {
    /// `documents` over `store`.
    #[must_use]
    pub fn new(store: &Store, documents: Vec<(DocumentRef, Bytes)>) -> Self {
        let documents =
            documents.into_iter().map(|(name, bytes)| (name.digest, (name, bytes))).collect();
        Self { store: store.clone(), documents }
    }

    /// Adds a document whose bytes were checked against its name.
    pub fn add(&mut self, name: DocumentRef, bytes: Bytes) {
        self.documents.insert(name.digest, (name, bytes));
    }

    /// The documents that are not in the store yet.
    #[must_use]
    pub fn into_documents(self) -> Vec<(DocumentRef, Bytes)> {
        self.documents.into_values().collect()
    }

    fn get(&self, name: &DocumentRef) -> Result<Option<Bytes>, store::Error> {
        match self.documents.get(&name.digest) {
            Some((_, bytes)) => Ok(Some(bytes.clone())),
            None => self.store.get_blob(&name.digest),
        }
    }

    fn has(&self, name: &DocumentRef) -> Result<bool, store::Error> {
        Ok(self.documents.contains_key(&name.digest) || self.store.has(&name.digest)?)
    }
}

/// Loads the generation that `trusted` signs, as far as `node` needs it.
/// What `previous` has under the same names is taken from there.
///
/// # Errors
/// What is signed but cannot be used. Documents that merely lack are not an
/// error but [`Loaded::Lacking`].
pub fn load(
    trusted: &TrustedMetadata,
    node: &NodeName,
    staged: &Staged,
    previous: Option<&Generation>,
) -> Result<Loaded, Error> {
    let targets = targets(trusted)?;
    let mut loader = Loader { staged, previous, targets: &targets, lacking: BTreeSet::new() };
    let generation = loader.generation(trusted, node)?;
    let lacking: Vec<DocumentRef> = loader.lacking.into_iter().collect();
    if let Some(long) = lacking.iter().find(|one| one.length > MAX_DOCUMENT) {
        return Err(Error::TooLong { length: long.length });
    }
    match generation {
        Some(generation) if lacking.is_empty() => {
            Ok(Loaded::Whole(Box::new(Generation { targets, ..generation })))
        }
        _ => Ok(Loaded::Lacking(lacking)),
    }
}

/// The revision that a catalogue entry names, out of its document's bytes.
///
/// # Errors
/// A document that cannot be used or is of another revision.
pub fn revision(
    id: &RevisionId,
    entry: &CatalogueEntry,
    bytes: Option<Bytes>,
) -> Result<Option<Arc<Revision>>, Error> {
    let Some(bytes) = bytes else { return Ok(None) };
    let name = || format!("revision {id}");
    let revision: Revision = decode::<wire::Revision, _>(&name(), &bytes)?;
    if revision.id != *id || bytes.len() as u64 != entry.document.length {
        return Err(Error::Mismatch(name()));
    }
    Ok(Some(Arc::new(revision)))
}

fn decode<W, M>(name: &str, bytes: &Bytes) -> Result<M, Error>
where
    W: Document,
    M: TryFrom<W, Error = convert::Error>,
{
    let message: W = document::decode(bytes)
        .map_err(|source| Error::Document { name: name.to_owned(), source })?;
    M::try_from(message).map_err(|source| Error::Convert { name: name.to_owned(), source })
}

/// What each signed name leads to, by the word of the role that it is
/// delegated to. What another role says of it does not count: else the theft of
/// any key would be the theft of all.
fn targets(trusted: &TrustedMetadata) -> Result<BTreeMap<String, Target>, Error> {
    let mut found = BTreeMap::new();
    for path in trusted.all_targets().flat_map(|(_, targets)| targets.targets.keys()) {
        if found.contains_key(path.as_str()) {
            continue;
        }
        let delegated = trusted.find(path, Limits::default().delegations);
        let Some((_, file)) = delegated.map_err(|source| Error::Delegation {
            name: path.to_string(),
            source: Box::new(source),
        })?
        else {
            continue;
        };
        let target = Target::of(file).ok_or_else(|| Error::NoDigest(path.to_string()))?;
        found.insert(path.to_string(), target);
    }
    Ok(found)
}

fn roles(trusted: &TrustedMetadata) -> Vec<RoleFact> {
    let fact = |role: &str, header: &crate::tuf::metadata::Header| RoleFact {
        role: role.to_owned(),
        version: header.version(),
        expires_at: header.expires(),
    };
    let mut roles = vec![fact("root", &trusted.root().header)];
    roles.extend(trusted.timestamp().map(|one| fact("timestamp", &one.header)));
    roles.extend(trusted.snapshot().map(|one| fact("snapshot", &one.header)));
    roles.extend(trusted.all_targets().map(|(role, one)| fact(role.as_str(), &one.header)));
    roles.sort_by(|a, b| a.role.cmp(&b.role));
    roles
}

/// Collects what lacks while it reads what is there.
struct Loader<'a> {
    staged: &'a Staged,
    previous: Option<&'a Generation>,
    targets: &'a BTreeMap<String, Target>,
    lacking: BTreeSet<DocumentRef>,
}

impl Loader<'_> {
    /// `None` when something lacks; the targets are left to the caller.
    fn generation(
        &mut self,
        trusted: &TrustedMetadata,
        node: &NodeName,
    ) -> Result<Option<Generation>, Error> {
        // Every part is looked at before the first that lacks ends it.
        let mesh = self.part(names::TOPOLOGY, |one| one.mesh.clone(), Self::mesh)?;
        let catalogue =
            self.part(names::CATALOGUE, |one| one.catalogue.clone(), Self::catalogue)?;
        let bindings = self.part(names::BINDINGS, |one| one.bindings.clone(), Self::bindings)?;
        let catalogue_version = self.version(names::CATALOGUE, |one| one.catalogue_version)?;
        let bindings_version = self.version(names::BINDINGS, |one| one.bindings_version)?;
        let rollouts = self.part(names::ROLLOUTS, |one| one.rollouts.clone(), Self::rollouts)?;
        let wave_states =
            self.part(names::WAVE_STATES, |one| one.wave_states.clone(), Self::wave_states)?;
        let mut approvals = BTreeMap::new();
        for stage in Stage::ALL {
            let known = |one: &Generation| one.approvals.get(&stage).cloned();
            let read = |loader: &mut Self, name: &str, bytes| loader.approvals(stage, name, bytes);
            let found = self.part_or(names::approvals(stage), known, read)?;
            approvals.extend(found.map(|found| (stage, found)));
        }
        let view_set = self.read(names::VIEWS, |_, name, bytes| {
            decode::<wire::ViewSet, ViewSet>(name, &bytes).map(Some)
        })?;
        let (Some(mesh), Some(catalogue), Some(bindings)) = (mesh, catalogue, bindings) else {
            return Ok(None);
        };
        let (Some(rollouts), Some(wave_states), Some(view_set)) = (rollouts, wave_states, view_set)
        else {
            return Ok(None);
        };
        let mut generation = Generation {
            number: trusted.snapshot_version().unwrap_or_default(),
            timestamp_version: trusted.timestamp().map_or(0, |one| one.header.version()),
            roles: roles(trusted),
            targets: BTreeMap::new(),
            mesh,
            catalogue,
            catalogue_version,
            bindings_version,
            bound: match self.previous {
                Some(one) if Arc::ptr_eq(&one.bindings, &bindings) => one.bound.clone(),
                _ => Arc::new(bindings.values().map(|one| (one.blob, one.length)).collect()),
            },
            bindings,
            approvals,
            rollouts,
            wave_states,
            views_version: view_set.version,
            views: BTreeMap::new(),
            revisions: BTreeMap::new(),
        };
        if generation.approvals.len() < Stage::ALL.len() {
            return Ok(None);
        }
        let carried = carries(&generation.mesh, node);
        generation.views = self.views(&view_set, &carried)?;
        generation.revisions = self.revisions(&generation, &carried)?;
        Ok(Some(generation))
    }

    /// The document of a target, read by `read`, or what the previous
    /// generation has of it when it did not change.
    fn part<T>(
        &mut self,
        name: &str,
        known: impl Fn(&Generation) -> Arc<T>,
        read: impl Fn(&mut Self, &str, Bytes) -> Result<Option<T>, Error>,
    ) -> Result<Option<Arc<T>>, Error> {
        self.part_or(name, |one| Some(known(one)), read)
    }

    fn part_or<T>(
        &mut self,
        name: &str,
        known: impl Fn(&Generation) -> Option<Arc<T>>,
        read: impl Fn(&mut Self, &str, Bytes) -> Result<Option<T>, Error>,
    ) -> Result<Option<Arc<T>>, Error> {
        if let Some(known) = self.unchanged(name).and_then(known) {
            return Ok(Some(known));
        }
        Ok(self.read(name, read)?.map(Arc::new))
    }

    /// The version that an index states; 0 while it lacks.
    fn version(&mut self, name: &str, known: impl Fn(&Generation) -> u64) -> Result<u64, Error> {
        if let Some(same) = self.unchanged(name) {
            return Ok(known(same));
        }
        let version = self.read(name, |_, name, index| {
            let failed = |source| Error::Set { name: name.to_owned(), source };
            set::version(&index).map(Some).map_err(failed)
        })?;
        Ok(version.unwrap_or_default())
    }

    /// The previous generation, if a name leads to the same document there.
    fn unchanged(&self, name: &str) -> Option<&Generation> {
        self.previous.filter(|one| one.targets.get(name) == self.targets.get(name))
    }

    fn read<T>(
        &mut self,
        name: &str,
        read: impl Fn(&mut Self, &str, Bytes) -> Result<Option<T>, Error>,
    ) -> Result<Option<T>, Error> {
        let target = *self.targets.get(name).ok_or_else(|| Error::NoTarget(name.to_owned()))?;
        let document = DocumentRef { digest: target.digest, length: target.length };
        let Some(bytes) = self.get(&document)? else { return Ok(None) };
        // Signed twice over: by the digest that names it and by TUF's own.
        if crate::identity::sha256(&bytes) != target.sha256 || bytes.len() as u64 != target.length {
            return Err(Error::Mismatch(name.to_owned()));
        }
        read(self, name, bytes)
    }

    fn get(&mut self, document: &DocumentRef) -> Result<Option<Bytes>, Error> {
        let found = self.staged.get(document)?;
        if found.is_none() {
            self.lacking.insert(*document);
        }
        Ok(found)
    }

    fn mesh(&mut self, name: &str, bytes: Bytes) -> Result<Option<Mesh>, Error> {
        decode::<wire::Topology, Mesh>(name, &bytes).map(Some)
    }

    fn rollouts(&mut self, name: &str, bytes: Bytes) -> Result<Option<RolloutSet>, Error> {
        decode::<wire::RolloutSet, RolloutSet>(name, &bytes).map(Some)
    }

    fn wave_states(&mut self, name: &str, bytes: Bytes) -> Result<Option<WaveStateSet>, Error> {
        decode::<wire::WaveStates, WaveStateSet>(name, &bytes).map(Some)
    }

    /// The partitions of a set, or `None` when some lack.
    fn partitions(
        &mut self,
        name: &str,
        index: &Bytes,
    ) -> Result<Option<BTreeMap<Digest, Bytes>>, Error> {
        let failed = |source| Error::Set { name: name.to_owned(), source };
        let mut partitions = BTreeMap::new();
        let mut is_whole = true;
        for document in set::partitions(index).map_err(failed)? {
            match self.get(&document)? {
                Some(bytes) => drop(partitions.insert(document.digest, bytes)),
                None => is_whole = false,
            }
        }
        Ok(is_whole.then_some(partitions))
    }

    fn catalogue(
        &mut self,
        name: &str,
        index: Bytes,
    ) -> Result<Option<BTreeMap<RevisionId, CatalogueEntry>>, Error> {
        let Some(partitions) = self.partitions(name, &index)? else { return Ok(None) };
        set::read_catalogue(&index, |document| partitions.get(&document.digest).cloned())
            .map(Some)
            .map_err(|source| Error::Set { name: name.to_owned(), source })
    }

    fn bindings(
        &mut self,
        name: &str,
        index: Bytes,
    ) -> Result<Option<BTreeMap<Sha256, Binding>>, Error> {
        let Some(partitions) = self.partitions(name, &index)? else { return Ok(None) };
        set::read_bindings(&index, |document| partitions.get(&document.digest).cloned())
            .map(Some)
            .map_err(|source| Error::Set { name: name.to_owned(), source })
    }

    fn approvals(
        &mut self,
        stage: Stage,
        name: &str,
        index: Bytes,
    ) -> Result<Option<Approvals>, Error> {
        let Some(partitions) = self.partitions(name, &index)? else { return Ok(None) };
        let set = set::read_approvals(&index, |document| partitions.get(&document.digest).cloned())
            .map_err(|source| Error::Set { name: name.to_owned(), source })?;
        if set.stage != stage {
            return Err(Error::Stage(stage));
        }
        Ok(Some(Approvals { set: Arc::new(set), digest: Digest::of(&index) }))
    }

    /// The views of the stages carried, and their index files at hand.
    fn views(
        &mut self,
        views: &ViewSet,
        carried: &BTreeSet<Stage>,
    ) -> Result<BTreeMap<(Stage, GroupName), Arc<StoredView>>, Error> {
        let mut read: BTreeMap<Digest, Arc<StoredView>> = self
            .previous
            .into_iter()
            .flat_map(|one| one.views.values())
            .map(|view| (view.document.digest, view.clone()))
            .collect();
        let mut found = BTreeMap::new();
        for ((stage, group), document) in
            views.views.iter().filter(|((stage, _), _)| carried.contains(stage))
        {
            let view = match read.get(&document.digest) {
                Some(view) => view.clone(),
                None => {
                    let Some(view) = self.view(document, *stage, group)? else { continue };
                    read.insert(document.digest, view.clone());
                    view
                }
            };
            found.insert((*stage, group.clone()), view);
        }
        Ok(found)
    }

    fn view(
        &mut self,
        document: &DocumentRef,
        stage: Stage,
        group: &GroupName,
    ) -> Result<Option<Arc<StoredView>>, Error> {
        let Some(bytes) = self.get(document)? else { return Ok(None) };
        let name = format!("view of {stage} for {group}");
        let view = decode::<wire::View, View>(&name, &bytes)?;
        for file in view.files.values() {
            if !self.staged.has(file)? {
                self.lacking.insert(*file);
            }
        }
        Ok(Some(Arc::new(StoredView { document: *document, view: Arc::new(view) })))
    }

    /// The revisions that are approved in the stages carried.
    fn revisions(
        &mut self,
        generation: &Generation,
        carried: &BTreeSet<Stage>,
    ) -> Result<BTreeMap<RevisionId, Arc<Revision>>, Error> {
        let mut found = BTreeMap::new();
        for id in generation.approved_revisions(carried) {
            // What the catalogue does not know is not acted on.
            let Some(entry) = generation.catalogue.get(id) else { continue };
            let known = self.previous.and_then(|one| {
                let same = one.catalogue.get(id).is_some_and(|old| old.document == entry.document);
                one.revisions.get(id).filter(|_| same).cloned()
            });
            let revision = match known {
                Some(revision) => Some(revision),
                None => {
                    let bytes = self.get(&entry.document)?;
                    self::revision(id, entry, bytes)?
                }
            };
            found.extend(revision.map(|revision| (id.clone(), revision)));
        }
        Ok(found)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
