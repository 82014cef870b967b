//! Baselines as documents: reading their packages, and taking snapshots.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use patchmesh_proto::set;
use patchmesh_topology::baseline::{
    self, BaselineSet, MAX_PACKAGES, Origin, Packages, Rejection, Snapshot, packages_of,
};
use patchmesh_topology::closure::Ground;
use patchmesh_topology::name::{BaselineName, SourceName};
use patchmesh_topology::revision::{DocumentRef, RevisionId};

use super::draft::Draft;
use super::records;
use crate::generation::{Generation, load, read_revision};
use crate::store::{self, Store};

/// Why packages cannot be read or taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] store::Error),
    /// A snapshot whose documents are not here.
    #[error("a document of the baseline is missing; run `patchmesh blob verify`")]
    Missing,
    /// A snapshot that cannot be read.
    #[error("the packages of the baseline cannot be read")]
    Set(#[from] set::Error),
    /// A revision that cannot be read.
    #[error("a revision cannot be read back")]
    Load(#[from] load::Error),
    /// The source was never synchronised.
    #[error("nothing is known of source {0}; run `patchmesh source sync {0}` first")]
    Never(SourceName),
    /// The source has several suites, or another one.
    #[error("source {source_name} has the suites {found}; name one of them")]
    Suite {
        /// The source.
        source_name: SourceName,
        /// Its suites.
        found: String,
    },
    /// More packages than a baseline has.
    #[error("a baseline has at most {MAX_PACKAGES} packages, this would have {0}")]
    Many(usize),
    /// Nothing in it.
    #[error(
        "there is no package in it: a baseline lists packages that apt installs; other vendors' files are approved by name, or by a rule"
    )]
    Empty,
    /// The set refused.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// It cannot be understood.
    #[error(transparent)]
    Status(#[from] baseline::StatusError),
}

/// The packages of a snapshot, by `lookup` of documents.
///
/// # Errors
/// [`Error::Store`], [`Error::Missing`], [`Error::Set`].
pub fn read(
    index: &DocumentRef,
    lookup: impl Fn(&DocumentRef) -> Result<Option<Bytes>, store::Error>,
) -> Result<Packages, Error> {
    let index = lookup(index)?.ok_or(Error::Missing)?;
    let mut partitions = BTreeMap::new();
    for document in set::partitions(&index)? {
        partitions.insert(document, lookup(&document)?.ok_or(Error::Missing)?);
    }
    Ok(set::read_baseline(&index, |document| partitions.get(document).cloned())?)
}

/// The packages of a snapshot, out of the store.
///
/// # Errors
/// As [`read`].
pub fn read_stored(store: &Store, index: &DocumentRef) -> Result<Packages, Error> {
    read(index, |document| store.get_blob(&document.digest))
}

/// The last snapshots of baselines, made ready; each read once.
#[derive(Debug, Default)]
pub struct Grounds {
    read: BTreeMap<DocumentRef, Arc<Ground>>,
}

impl Grounds {
    /// What machines with `baseline` have; `None` where there is no such
    /// baseline.
    ///
    /// # Errors
    /// As [`read`].
    pub fn get(
        &mut self,
        baselines: &BaselineSet,
        name: &BaselineName,
        lookup: impl Fn(&DocumentRef) -> Result<Option<Bytes>, store::Error>,
    ) -> Result<Option<Arc<Ground>>, Error> {
        let Some(baseline) = baselines.baselines.get(name) else { return Ok(None) };
        let Some((_, snapshot)) = baseline.last() else { return Ok(None) };
        if let Some(known) = self.read.get(&snapshot.index) {
            return Ok(Some(known.clone()));
        }
        let packages = read(&snapshot.index, lookup)?;
        let ground = Arc::new(Ground::new(&baseline.origin, &packages));
        // Only present snapshots are asked for.
        let present: Vec<DocumentRef> =
            baselines.baselines.values().filter_map(|one| Some(one.last()?.1.index)).collect();
        self.read.retain(|index, _| present.contains(index));
        self.read.insert(snapshot.index, ground.clone());
        Ok(Some(ground))
    }
}

/// What taking a snapshot came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Taken {
    /// Its version.
    pub version: u64,
    /// Its packages.
    pub packages: u64,
    /// The last one has the same packages.
    pub unchanged: bool,
    /// Packages that the one before had not.
    pub added: u64,
    /// Packages that the one before had.
    pub removed: u64,
    /// Packages with another version.
    pub changed: u64,
}

/// Enters a snapshot into a draft.
///
/// # Errors
/// [`Error::Rejected`] among others; nothing was entered then.
pub fn enter(
    draft: &mut Draft,
    name: &BaselineName,
    origin: Origin,
    packages: &Packages,
    by: String,
) -> Result<Taken, Error> {
    // With nothing as its baseline a group could install next to nothing.
    if packages.is_empty() {
        return Err(Error::Empty);
    }
    let before = match draft.baselines.baselines.get(name).and_then(|one| one.last()) {
        Some((_, last)) => {
            let index = last.index;
            read(&index, |document| draft.document(document))?
        }
        None => Packages::new(),
    };
    let mut taken = Taken { packages: packages.len() as u64, ..Taken::default() };
    for difference in baseline::diff(&before, packages) {
        match (difference.before.is_empty(), difference.after.is_empty()) {
            (true, _) => taken.added += 1,
            (_, true) => taken.removed += 1,
            _ => taken.changed += 1,
        }
    }
    // The index carries no version of its own, so that equal packages are
    // known by its name.
    let cut = set::cut_baseline(packages, 0);
    let snapshot = Snapshot {
        taken_at: draft.now,
        by,
        packages: packages.len() as u64,
        index: cut.reference(),
    };
    let (next, version) = draft.baselines.add(name, origin, snapshot)?;
    taken.version = version;
    taken.unchanged = next == *draft.baselines;
    if !taken.unchanged {
        draft.add_document(cut.index);
        for (_, bytes) in cut.partitions {
            draft.add_document(bytes);
        }
        draft.baselines = Arc::new(next);
    }
    Ok(taken)
}

/// What a source's vendor had at the last synchronisation, in one suite.
///
/// # Errors
/// [`Error::Never`], [`Error::Suite`] among others.
pub fn of_release(
    generation: &Generation,
    store: &Store,
    source: &SourceName,
    suite: &str,
) -> Result<(Origin, Packages), Error> {
    let record = store.get(&records::RELEASES, source.as_str())?;
    let record = record.ok_or_else(|| Error::Never(source.clone()))?;
    let ids: Vec<RevisionId> = record.revisions.iter().filter_map(|one| one.parse().ok()).collect();
    let mut suites: Vec<&str> = ids.iter().map(|id| id.update.suite.as_str()).collect();
    suites.sort_unstable();
    suites.dedup();
    let suite = match (suites.as_slice(), suite) {
        ([], _) => return Err(Error::Never(source.clone())),
        ([only], "") => (*only).to_owned(),
        (all, asked) if all.contains(&asked) => asked.to_owned(),
        (all, _) => {
            let (source_name, found) = (source.clone(), all.join(", "));
            return Err(Error::Suite { source_name, found });
        }
    };
    let mut packages = Packages::new();
    for id in ids.iter().filter(|id| id.update.suite == suite) {
        if let Some(revision) = read_revision(generation, store, id)? {
            packages.extend(packages_of(&revision));
        }
    }
    if packages.len() > MAX_PACKAGES {
        return Err(Error::Many(packages.len()));
    }
    Ok((Origin::Release { source: source.clone(), suite }, packages))
}
