//! Number and bytes of all blobs, counted again only after one came or went.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::blob::BLOBS;
use super::{Error, Store};

/// Number and bytes of all blobs that are held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Number of blobs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What was counted last.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// How often blobs came or went.
    changes: AtomicU64,
    /// With the number of changes before it was counted.
    last: Mutex<Option<(u64, Totals)>>,
}

impl Counted {
    /// A blob came or went: to be told after it did.
    pub(super) fn has_changed(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }
}

impl Store {
    /// Number and bytes of all blobs. Looks at each of them if one came or went
    /// since somebody asked last.
    ///
    /// # Errors
    /// A failing disk.
    pub fn totals(&self) -> Result<Totals, Error> {
        let counted = &self.inner.counted;
        // Whoever asks meanwhile waits, and counts nothing himself.
        let mut last = counted.last.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = counted.changes.load(Ordering::Acquire);
        if let Some((_, totals)) = last.filter(|(at, _)| *at == changes) {
            return Ok(totals);
        }
        let mut totals = Totals::default();
        self.for_each(&BLOBS, |_, record| {
            totals.blobs += 1;
            totals.bytes += record.length;
            Ok(true)
        })?;
        *last = Some((changes, totals));
        Ok(totals)
    }
}
