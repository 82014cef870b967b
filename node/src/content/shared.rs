//! Memory that the transfers of one direction share, by how many there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::manifest::PIECE_LENGTH;

/// The least part of a piece when many share the memory.
const LEAST: u64 = 64 << 10;

/// How many transfers share; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Sharers(Arc<AtomicU64>);

impl Sharers {
    /// Whether there is one.
    pub(super) fn is_any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// One more, until what this returns is dropped.
    pub(super) fn begin(&self) -> Sharer {
        self.0.fetch_add(1, Ordering::Relaxed);
        Sharer(self.clone())
    }
}

/// One of those that share.
#[derive(Debug)]
pub(super) struct Sharer(Sharers);

impl Sharer {
    /// Its part of so many bytes, at most a piece.
    pub(super) fn part_of(&self, memory: u64) -> u64 {
        let count = self.0.0.load(Ordering::Relaxed).max(1);
        (memory / count).clamp(LEAST, PIECE_LENGTH)
    }
}

impl Drop for Sharer {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
