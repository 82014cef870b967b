//! A child's store and what it learns from a primary, without a network.

use jiff::Timestamp;
use patchmesh_topology::name::NodeName;
use tempfile::TempDir;

use super::load::{self, Loaded, Staged};
use super::{Generation, storage};
use crate::store::{Mode, Store};
use crate::tuf::storage::MemoryStorage;
use crate::tuf::{Client, Fetch, Limits, TrustedMetadata, restore};

/// A store that holds nothing but the root to trust.
pub(crate) fn joined(primary: &Store) -> (TempDir, Store) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&folder.path().join("data"), Mode::Create).expect("a store");
    let root = storage::metadata(primary, "1.root.json").expect("read").expect("a root");
    storage::pin(&store, &root).expect("pinned");
    (folder, store)
}

/// What a child would verify now, from what it trusts already.
pub(crate) async fn refresh(primary: &Store, child: &Store) -> (MemoryStorage, TrustedMetadata) {
    let known = MemoryStorage::new(storage::trusted(child).expect("read"));
    let mut client = Client::new(Files(primary), known, Limits::default());
    let trusted = client.refresh_all(Timestamp::now()).await.expect("verified").clone();
    (client.into_storage(), trusted)
}

/// The primary's present metadata, verified.
pub(crate) fn trusted(primary: &Store) -> TrustedMetadata {
    let (metadata, at) = storage::current(primary).expect("read").expect("a generation");
    restore(&metadata, at, 64).expect("verified")
}

/// The documents of a generation that a child lacks, at hand for it.
pub(crate) fn staged(primary: &Store, child: &Store, trusted: &TrustedMetadata) -> Staged {
    let mut staged = Staged::new(child, Vec::new());
    while let Loaded::Lacking(lacking) = load::load(trusted, &hq(), &staged, None).expect("loaded")
    {
        for document in lacking {
            let bytes = primary.get_blob(&document.digest).expect("read").expect("held");
            staged.add(document, bytes);
        }
    }
    staged
}

/// Loads what must be whole.
pub(crate) fn whole(trusted: &TrustedMetadata, staged: &Staged) -> Generation {
    match load::load(trusted, &hq(), staged, None).expect("loaded") {
        Loaded::Whole(generation) => *generation,
        Loaded::Lacking(lacking) => panic!("{} documents lack", lacking.len()),
    }
}

/// Learns the primary's generation and switches to it at `now`.
pub(crate) async fn learn(primary: &Store, child: &Store, now: Timestamp) -> Generation {
    let (learned, trusted) = refresh(primary, child).await;
    let staged = staged(primary, child, &trusted);
    let generation = whole(&trusted, &staged);
    storage::commit(child, &generation, &learned, staged, Vec::new(), now).expect("committed");
    generation
}

/// What a restart finds: the generation on disk, verified and whole.
pub(crate) fn restart(child: &Store) -> Generation {
    let (metadata, at) = storage::current(child).expect("read").expect("a generation");
    let trusted = restore(&metadata, at, 64).expect("verified");
    whole(&trusted, &Staged::new(child, Vec::new()))
}

/// The node for which everything is loaded, since it carries all stages.
pub(crate) fn hq() -> NodeName {
    "hq".parse().expect("a name")
}

/// A primary's metadata as a repository.
struct Files<'a>(&'a Store);

impl Fetch for Files<'_> {
    type Error = crate::store::Error;

    async fn fetch(&self, file: &str, _: u64) -> Result<Option<Vec<u8>>, Self::Error> {
        Ok(storage::metadata(self.0, file)?.map(Into::into))
    }

    async fn fetch_target(&self, _: &str, _: u64) -> Result<Option<Vec<u8>>, Self::Error> {
        Ok(None)
    }
}
