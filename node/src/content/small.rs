//! Small payloads many at a time: one call, one synced write, one count for
//! hundreds of them.
//!
//! What always holds:
//!
//! - Each is verified against its name before it is stored; one that is bad or
//!   absent costs itself only and is left to a fetch of its own, which says
//!   what is wrong and where else it can be had.
//! - A batch is bounded in number and in bytes ([`MAX_COUNT`], [`MAX_BYTES`]),
//!   and so is what this node holds of batches in memory.
//! - A payload may come in a batch and to somebody who waits for it at once.
//!   It is written twice then, alike both times.

use std::collections::{HashSet, VecDeque};

use bytes::Bytes;
use patchmesh_topology::digest::Digest;
use tokio::time::sleep;
use tonic::Status;

use super::fetch::{ATTEMPTS, FIRST_WAIT, LONGEST_WAIT};
use super::{Conduct, Content, PieceSource, Small, Wanted};
use crate::backoff::jittered;
use crate::log::in_one_line;
use crate::store::{self, SMALL_BLOB};

/// Payloads of one batch at most; the service takes twice as many.
const MAX_COUNT: usize = 512;

/// Bytes of one batch at most: enough that a sync is worth its while, little
/// enough that two of them are no weight on a small host.
const MAX_BYTES: u64 = 8 << 20;

/// Batches under way at once: one is written while the next one comes.
pub(super) const AT_ONCE: usize = 2;

/// What became of a batch.
#[derive(Debug)]
pub(super) enum Outcome {
    /// These are held now; the others are to be fetched one by one.
    Stored(HashSet<Digest>),
    /// Nobody could be asked, or nothing be written.
    Failed,
    /// The disk has no room for them.
    HeldBack,
}

/// Whether a payload comes in batches.
pub(super) const fn is_small(wanted: &Wanted) -> bool {
    wanted.length <= SMALL_BLOB
}

/// Takes the next batch from the front of `queue`, without those that are
/// being fetched already.
pub(super) fn next(queue: &mut VecDeque<Wanted>, active: &HashSet<Digest>) -> Vec<Wanted> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while let Some(wanted) = queue.front().copied() {
        if batch.len() == MAX_COUNT || bytes + wanted.length > MAX_BYTES {
            break;
        }
        queue.pop_front();
        if !active.contains(&wanted.digest) {
            bytes += wanted.length;
            batch.push(wanted);
        }
    }
    batch
}

/// Fetches and stores a batch. It is tried as often as a fetch of one blob, then
/// waits for the next round of what failed.
pub(super) async fn fetch(content: &Content, batch: &[Wanted]) -> Outcome {
    let bytes = bytes_of(batch);
    match content.store().run(move |store| store.ensure_space(bytes)).await {
        Ok(()) => {}
        Err(error) => return not_stored(&error),
    }
    let mut wait = FIRST_WAIT;
    for attempt in 1..=ATTEMPTS {
        let source = content.inner.sources.borrow().clone();
        if let Some(source) = source {
            match ask(source.as_ref(), batch).await {
                Ok(good) => return store(content, good).await,
                Err(status) => tracing::info!(
                    payloads = batch.len(),
                    from = source.name(),
                    attempt,
                    error = in_one_line(&status),
                    "small payloads did not come",
                ),
            }
        }
        sleep(jittered(wait)).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
    Outcome::Failed
}

/// Those of a batch that came and are what their names say.
async fn ask(source: &dyn PieceSource, batch: &[Wanted]) -> Result<Vec<Bytes>, Status> {
    let found = source.small(batch).await?;
    let mut good = Vec::with_capacity(found.len());
    let mut bad = Vec::new();
    for small in found {
        match small {
            Small::Good(bytes) => good.push(bytes),
            Small::Bad(digest) => bad.push(digest),
            Small::Absent => {}
        }
    }
    if let Some(digest) = bad.first() {
        tracing::error!(
            %digest, bad = bad.len(), from = source.name(),
            "a source sent small payloads with other bytes than their names say",
        );
        source.judged(Conduct::Lied);
    }
    Ok(good)
}

/// Stores what came in one synced write.
async fn store(content: &Content, good: Vec<Bytes>) -> Outcome {
    let stored = content.store().run(move |store| {
        let mut transaction = store.transaction();
        let held = good
            .iter()
            .map(|bytes| transaction.put_blob(bytes))
            .collect::<Result<HashSet<Digest>, _>>()?;
        transaction.commit()?;
        Ok::<_, store::Error>(held)
    });
    match stored.await {
        Ok(held) => Outcome::Stored(held),
        Err(error) => not_stored(&error),
    }
}

/// Bytes of a batch.
pub(super) fn bytes_of(batch: &[Wanted]) -> u64 {
    batch.iter().map(|wanted| wanted.length).sum()
}

fn not_stored(error: &store::Error) -> Outcome {
    if error.is_disk_full() {
        return Outcome::HeldBack;
    }
    tracing::warn!(error = in_one_line(error), "small payloads could not be stored");
    Outcome::Failed
}
