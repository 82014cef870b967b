//! What reads have found damaged, for whoever mends it.
//!
//! Whatever reads a blob finds out, also where it can do nothing about it, such as
//! the loading of a generation. It is noted here, bounded: what does not fit is
//! found again by the next read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use patchmesh_topology::digest::Digest;
use tokio::sync::Notify;

use super::Store;

/// Blobs that are noted at most.
const MAX_BLOBS: usize = 1024;
/// Pieces of each that are.
const MAX_PIECES: usize = 64;

/// Damaged blobs with the pieces that readers met.
#[derive(Debug, Default)]
pub(super) struct Damage {
    met: Mutex<BTreeMap<Digest, BTreeSet<u64>>>,
    news: Notify,
}

impl Damage {
    pub(super) fn note(&self, digest: Digest, piece: u64) {
        let mut met = self.met();
        if met.len() < MAX_BLOBS || met.contains_key(&digest) {
            let pieces = met.entry(digest).or_default();
            if pieces.len() < MAX_PIECES {
                pieces.insert(piece);
            }
        }
        drop(met);
        self.news.notify_one();
    }

    fn take(&self) -> Option<(Digest, Vec<u64>)> {
        let (digest, pieces) = self.met().pop_first()?;
        Some((digest, pieces.into_iter().collect()))
    }

    fn met(&self) -> MutexGuard<'_, BTreeMap<Digest, BTreeSet<u64>>> {
        // The map is whole after every statement, so a panic elsewhere does
        // not spoil it.
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Waits for a blob that somebody read and that seems to be damaged; with the
    /// pieces that were met. For one caller.
    pub async fn damage_met(&self) -> (Digest, Vec<u64>) {
        loop {
            if let Some(met) = self.inner.damage.take() {
                return met;
            }
            self.inner.damage.news.notified().await;
        }
    }

    /// Notes that a blob seems to be damaged.
    pub fn note_damage(&self, digest: Digest, piece: u64) {
        self.inner.damage.note(digest, piece);
    }
}
