//! The last synchronisations with the parent, for `status`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

/// How many are kept.
const KEPT: usize = 16;

/// One synchronisation with the parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synchronisation {
    /// When it ended.
    pub at: Timestamp,
    /// The generation before.
    pub from: u64,
    /// The generation after.
    pub to: u64,
    /// Bytes received.
    pub bytes: u64,
    /// Documents received.
    pub documents: u64,
    /// How long it took.
    pub took: Duration,
    /// Why it failed; empty when it did not.
    pub problem: String,
}

/// The last synchronisations, newest first; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct History {
    entries: Arc<Mutex<VecDeque<Synchronisation>>>,
}

impl History {
    /// Adds one and forgets the oldest.
    pub fn add(&self, one: Synchronisation) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.push_front(one);
        entries.truncate(KEPT);
    }

    /// All that are kept, newest first.
    #[must_use]
    pub fn all(&self) -> Vec<Synchronisation> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}
