//! How a generation is kept: documents as blobs, metadata under the names by
//! which it is served, and for each role what was trusted last.
//!
//! A switch is one transaction. Metadata that became trusted although its
//! generation could not be had is kept apart: it guards against rollback, but
//! a node serves only what belongs to the generation that it is in.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use patchmesh_topology::digest::Digest;
use patchmesh_topology::revision::DocumentRef;

use super::Generation;
use super::load::Staged;
use crate::signed::names;
use crate::store::{self, GENERATIONS, GenerationRecord, METADATA, Store, Table, Tag, Transaction};
use crate::tuf::RoleName;
use crate::tuf::envelope::Envelope;
use crate::tuf::metadata::Targets;
use crate::tuf::storage::MemoryStorage;

/// The metadata trusted last, by role.
static TRUSTED: Table<str, Bytes> = Table::new(Tag::Trusted, 1);

/// A write that goes into the transaction of a switch.
pub type Write = Box<dyn FnOnce(&mut Transaction) + Send>;

/// What was trusted last, by role: where the next refresh begins.
///
/// # Errors
/// The store's.
pub fn trusted(store: &Store) -> Result<BTreeMap<RoleName, Vec<u8>>, store::Error> {
    let known = store.scan(&TRUSTED)?.into_iter();
    Ok(known
        .filter_map(|(role, bytes)| Some((RoleName::new(role).ok()?, bytes.to_vec())))
        .collect())
}

/// A metadata file by the name under which it is served, such as
/// `7.snapshot.json`.
///
/// # Errors
/// The store's.
pub fn metadata(store: &Store, file: &str) -> Result<Option<Bytes>, store::Error> {
    store.get(&METADATA, file)
}

/// Pins the root that everything else is trusted from.
///
/// # Errors
/// The store's.
pub fn pin(store: &Store, root: &[u8]) -> Result<(), store::Error> {
    store.put(&TRUSTED, RoleName::ROOT.as_str(), &Bytes::copy_from_slice(root))
}

/// Keeps what became trusted, without serving it.
///
/// # Errors
/// The store's; nothing is kept then.
pub fn keep(store: &Store, learned: &MemoryStorage) -> Result<(), store::Error> {
    let mut transaction = store.transaction();
    put_trusted(&mut transaction, learned);
    transaction.commit()
}

/// Switches on disk: everything that makes up `generation`, in one step.
///
/// # Errors
/// The store's; the generation on disk is the old one then.
pub fn commit(
    store: &Store,
    generation: &Generation,
    learned: &MemoryStorage,
    staged: Staged,
    writes: Vec<Write>,
    now: Timestamp,
) -> Result<(), store::Error> {
    let mut transaction = store.transaction();
    for (name, bytes) in staged.into_documents() {
        // Much of what is made anew comes out as it was.
        if !store.has(&name.digest)? {
            transaction.put_blob(&bytes)?;
        }
    }
    put_trusted(&mut transaction, learned);
    let files = generation.metadata_files();
    for (role, file) in &files {
        if let Some(bytes) = learned.current().get(role) {
            transaction.put(&METADATA, file, &Bytes::from(bytes.clone()));
        }
    }
    let views = generation.targets.get(names::VIEWS);
    let record = GenerationRecord {
        switched_at_millis: now.as_millisecond(),
        metadata: files.into_iter().map(|(_, file)| file).collect(),
        documents: views.map(|one| one.digest.as_bytes().to_vec().into()).into_iter().collect(),
    };
    // Numbers only go back when thieves had pushed them up and the keys that
    // they stole were replaced: what they made is not where a restart begins.
    for (number, _) in store.scan(&GENERATIONS)? {
        if number > generation.number {
            transaction.delete(&GENERATIONS, &number);
        }
    }
    transaction.put(&GENERATIONS, &generation.number, &record);
    writes.into_iter().for_each(|write| write(&mut transaction));
    transaction.commit()
}

/// The metadata of the generation on disk, and when the node switched to it.
///
/// # Errors
/// The store's.
pub fn current(store: &Store) -> Result<Option<(MemoryStorage, Timestamp)>, store::Error> {
    let Some((_, record)) = store.last(&GENERATIONS)? else { return Ok(None) };
    let mut current = BTreeMap::new();
    for file in &record.metadata {
        if let (Some(role), Some(bytes)) = (role_of(file), metadata(store, file)?) {
            current.insert(role, bytes.to_vec());
        }
    }
    Ok(Some((MemoryStorage::new(current), switched_at(&record))))
}

/// When the node switched to a generation.
pub(super) fn switched_at(record: &GenerationRecord) -> Timestamp {
    // A time that is out of range was never written here.
    Timestamp::from_millisecond(record.switched_at_millis).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The documents that a role's metadata, verified when it was kept, names;
/// none for metadata that names no documents.
pub(super) fn named_by(metadata: &[u8]) -> Vec<(String, DocumentRef)> {
    let Ok(envelope) = Envelope::<Targets>::parse(metadata) else { return Vec::new() };
    let targets = &envelope.signed().targets;
    targets
        .iter()
        .filter_map(|(path, file)| {
            let digest = Digest::from_bytes(file.blake3()?);
            Some((path.to_string(), DocumentRef { digest, length: file.length }))
        })
        .collect()
}

/// `snapshot` of `7.snapshot.json`. The names of a mesh's roles have no dots.
fn role_of(file: &str) -> Option<RoleName> {
    let stem = file.strip_suffix(".json")?;
    RoleName::new(stem.split_once('.').map_or(stem, |(_, role)| role)).ok()
}

fn put_trusted(transaction: &mut Transaction, learned: &MemoryStorage) {
    for (role, bytes) in learned.current() {
        transaction.put(&TRUSTED, role.as_str(), &Bytes::from(bytes.clone()));
    }
    // Roots have their version in their name, and clients need each of them.
    for root in learned.written().iter().filter(|one| one.role == RoleName::ROOT) {
        transaction.put(&METADATA, &root.file_name(), &Bytes::from(root.bytes.clone()));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
