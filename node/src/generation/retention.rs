//! What may be forgotten: bounds what a node keeps over the years.
//!
//! The generations of the last 24 hours, and at least the last two, stay
//! served; the primary keeps every document for ever. Of everything else a
//! node removes the records, the metadata files and the blobs that no kept
//! generation leads to.
//!
//! What a node no longer subscribes to goes at once ([`release`]): a change of
//! subscription is meant to make room. Everything else waits for the rounds.
//!
//! In the rounds, a blob goes only when two rounds in a row found nothing that leads to it,
//! so that what is being received or written just now is never taken away.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use patchmesh_proto::{document, references, wire};
use patchmesh_topology::digest::{Digest, Sha256};
use patchmesh_topology::name::NodeName;
use tokio_util::sync::CancellationToken;

use super::{Current, Generation, storage};
use crate::store::{self, GENERATIONS, GenerationRecord, METADATA, Store};
use crate::view::shelf::KEEP_FOR;

/// How many generations stay served however old they are.
pub const KEEP_AT_LEAST: usize = 2;
/// Pause between rounds.
const INTERVAL: Duration = Duration::from_secs(60 * 60);

/// What a round removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Generations no longer served.
    pub generations: u64,
    /// Metadata files.
    pub metadata: u64,
    /// Blobs.
    pub blobs: u64,
    /// Bytes of those blobs.
    pub bytes: u64,
}

/// Runs a round now and then until cancelled. Not for the primary.
pub async fn run(store: Store, name: NodeName, current: Current, cancel: CancellationToken) {
    let mut unused = HashSet::new();
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        let _turn = current.turn().await;
        let (generation, name) = (current.get(), name.clone());
        let before = std::mem::take(&mut unused);
        let outcome = store
            .run(move |store| round(store, &generation, &name, &before, Timestamp::now()))
            .await;
        match outcome {
            Ok((removed, next)) => {
                unused = next;
                if removed != Removed::default() {
                    tracing::info!(
                        generations = removed.generations,
                        metadata = removed.metadata,
                        blobs = removed.blobs,
                        bytes = removed.bytes,
                        "removed what is no longer served"
                    );
                }
            }
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "nothing could be removed; tried again in an hour"
            ),
        }
    }
}

/// Removes what no generation kept leads to and what was in `unused` already.
/// Returns what nothing leads to now, for the next round.
///
/// # Errors
/// The store's; what was removed before stays removed.
pub fn round(
    store: &Store,
    present: &Generation,
    name: &NodeName,
    unused: &HashSet<Digest>,
    now: Timestamp,
) -> Result<(Removed, HashSet<Digest>), store::Error> {
    let (kept, old) = divide(store.scan(&GENERATIONS)?, present.number, now);
    let mut removed = forget(store, &kept, &old)?;
    let used = reachable(store, &kept, present, name)?;
    let mut next = HashSet::new();
    for blob in store.blobs()? {
        if used.contains(&blob.digest) {
            continue;
        }
        if unused.contains(&blob.digest) {
            if store.remove_blob(&blob.digest)? {
                removed.blobs += 1;
                removed.bytes += blob.length;
            }
        } else {
            next.insert(blob.digest);
        }
    }
    Ok((removed, next))
}

/// Removes the payloads of approved revisions that neither `name` nor a node
/// below it subscribes to. Those who read one just now read it to its end.
///
/// # Errors
/// The store's; what was removed before stays removed.
pub fn release(
    store: &Store,
    present: &Generation,
    name: &NodeName,
) -> Result<Removed, store::Error> {
    let documents: HashSet<Digest> = present.targets.values().map(|one| one.digest).collect();
    let mut removed = Removed::default();
    for digest in present.unsubscribed_payloads(name).iter() {
        if documents.contains(digest) || !store.remove_blob(digest)? {
            continue;
        }
        removed.blobs += 1;
        removed.bytes += present.payload_length(digest).unwrap_or_default();
    }
    Ok(removed)
}

type Records = BTreeMap<u64, GenerationRecord>;

/// Which generations stay served, and which do not.
fn divide(
    records: Vec<(u64, GenerationRecord)>,
    present: u64,
    now: Timestamp,
) -> (Records, Records) {
    let count = records.len();
    let numbered = records.into_iter().enumerate();
    let (kept, old): (Vec<_>, Vec<_>) = numbered.partition(|(index, (number, record))| {
        *number >= present || stays_served(count - index, record, now)
    });
    let records = |part: Vec<(usize, (u64, GenerationRecord))>| {
        part.into_iter().map(|(_, one)| one).collect()
    };
    (records(kept), records(old))
}

/// Whether a generation is served still; `age` counts the generations from it
/// to the present one, both included.
pub(super) fn stays_served(age: usize, record: &GenerationRecord, now: Timestamp) -> bool {
    age <= KEEP_AT_LEAST || now.duration_since(storage::switched_at(record)) < KEEP_FOR
}

/// Removes the records of old generations and the metadata that only they had.
fn forget(store: &Store, kept: &Records, old: &Records) -> Result<Removed, store::Error> {
    let needed: HashSet<&String> = kept.values().flat_map(|one| &one.metadata).collect();
    let files: BTreeSet<&String> =
        old.values().flat_map(|one| &one.metadata).filter(|file| !needed.contains(file)).collect();
    let mut transaction = store.transaction();
    let mut removed = Removed { generations: old.len() as u64, ..Removed::default() };
    for number in old.keys() {
        transaction.delete(&GENERATIONS, number);
    }
    // A client goes from root to root, so each of them stays.
    for file in files.into_iter().filter(|file| !file.ends_with(".root.json")) {
        transaction.delete(&METADATA, file);
        removed.metadata += 1;
    }
    transaction.commit()?;
    Ok(removed)
}

/// Every blob that a kept generation leads to at this node.
fn reachable(
    store: &Store,
    kept: &Records,
    present: &Generation,
    name: &NodeName,
) -> Result<HashSet<Digest>, store::Error> {
    let mut used: HashSet<Digest> = present.wanted_payloads(name).keys().copied().collect();
    let unsubscribed = present.unsubscribed_payloads(name);
    let mut waiting: Vec<Digest> = present.targets.values().map(|target| target.digest).collect();
    let files: BTreeSet<&String> = kept.values().flat_map(|one| &one.metadata).collect();
    for file in files {
        if let Some(bytes) = store.get(&METADATA, file)? {
            waiting.extend(storage::named_by(&bytes).into_iter().map(|(_, one)| one.digest));
        }
    }
    while let Some(digest) = waiting.pop() {
        if !used.insert(digest) {
            continue;
        }
        // What this node does not carry, it does not hold.
        let Some(bytes) = store.get_blob(&digest)? else { continue };
        let Ok(found) = references::references(&bytes) else { continue };
        waiting.extend(found.documents.iter().map(|one| one.digest));
        used.extend(found.blobs.iter().map(|one| one.digest));
        // Views are the same everywhere; what this node did not subscribe to, and
        // relayed when somebody asked, is not kept for their sake.
        used.extend(pool(&bytes, present).into_iter().filter(|one| !unsubscribed.contains(one)));
    }
    Ok(used)
}

/// The payloads that a view still promises to clients in mid-update.
fn pool(bytes: &bytes::Bytes, present: &Generation) -> Vec<Digest> {
    let Ok(pool) = document::decode::<wire::PoolPartition>(bytes) else { return Vec::new() };
    let hashes = pool.files.iter().filter_map(|file| Sha256::try_from(file.sha256.as_ref()).ok());
    let bound = hashes.filter_map(|sha256| present.bindings.get(&sha256));
    bound.map(|binding| binding.blob).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
