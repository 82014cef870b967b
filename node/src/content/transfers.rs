//! What is being transferred and what was, for `status`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use patchmesh_proto::admin;

use super::{Error, Wanted};
use crate::log::in_one_line;

/// Transfers that ended and are still told.
const ENDED: usize = 100;

/// All transfers of a node; a handle that is cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Transfers {
    log: Arc<Mutex<Log>>,
}

#[derive(Debug, Default)]
struct Log {
    /// By the order in which they began.
    active: BTreeMap<u64, admin::Transfer>,
    begun: u64,
    /// Newest first.
    ended: VecDeque<admin::Transfer>,
}

impl Transfers {
    pub(super) fn begin(&self, wanted: Wanted) -> Transfer {
        let mut log = self.log();
        log.begun += 1;
        let id = log.begun;
        let record = admin::Transfer {
            digest: wanted.digest.as_bytes().to_vec().into(),
            length: wanted.length,
            started_at: Some(SystemTime::now().into()),
            ..admin::Transfer::default()
        };
        log.active.insert(id, record);
        Transfer { transfers: self.clone(), id }
    }

    pub(super) fn list(&self) -> Vec<admin::Transfer> {
        let log = self.log();
        log.active.values().chain(&log.ended).cloned().collect()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        // The log is whole after every statement, so a panic elsewhere does
        // not spoil it.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One transfer under way. Dropped without [`Transfer::end`], it was cut off.
#[derive(Debug)]
pub(super) struct Transfer {
    transfers: Transfers,
    id: u64,
}

impl Transfer {
    pub(super) fn set_source(&self, name: &str) {
        self.update(|record| name.clone_into(&mut record.from));
    }

    pub(super) fn set_received(&self, bytes: u64) {
        self.update(|record| record.received = bytes);
    }

    pub(super) fn received(&self) -> u64 {
        self.transfers.log().active.get(&self.id).map_or(0, |record| record.received)
    }

    pub(super) fn end(self, problem: Option<&Error>) {
        let problem = problem.map(|error| in_one_line(error)).unwrap_or_default();
        self.update(|record| record.problem = problem);
    }

    fn update(&self, change: impl FnOnce(&mut admin::Transfer)) {
        if let Some(record) = self.transfers.log().active.get_mut(&self.id) {
            change(record);
        }
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        let mut log = self.transfers.log();
        if let Some(mut record) = log.active.remove(&self.id) {
            record.ended_at = Some(SystemTime::now().into());
            log.ended.push_front(record);
            log.ended.truncate(ENDED);
        }
    }
}
