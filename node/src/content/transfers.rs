//! What is being transferred and what was, for `status`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use patchmesh_proto::admin;
use patchmesh_proto::convert::timestamp_to_wire;
use patchmesh_topology::link::Class;
use patchmesh_topology::link::gauge::Gauge;
use patchmesh_topology::link::queue::Hold;
use patchmesh_topology::link::rate::Rate;

use super::{Error, Wanted};
use crate::budget::Budget;
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
    active: BTreeMap<u64, Active>,
    begun: u64,
    /// Newest first.
    ended: VecDeque<admin::Transfer>,
}

/// One that is under way.
#[derive(Debug)]
struct Active {
    record: admin::Transfer,
    class: Class,
    begun: Instant,
    /// What came, since it began.
    gauge: Gauge,
    /// What the source says that it waits for.
    note: Option<Hold>,
}

impl Active {
    /// As it stands now.
    fn shown(&self, budget: &Budget) -> admin::Transfer {
        let mut record = self.record.clone();
        let rate = self.gauge.rate(self.begun.elapsed());
        let left = record.length.saturating_sub(record.received);
        let standing = budget.standing(&record.from, self.class, left, rate);
        let (hold, by) = match (standing.hold, self.note) {
            // Whoever sends nothing at all holds it back more.
            (_, Some(note)) => (Some(note), record.from.clone()),
            (hold, None) => (hold, standing.own),
        };
        record.bits_per_second = rate.and_then(Rate::bits).unwrap_or(0);
        record.held_by = if hold.is_some() { by } else { String::new() };
        record.held = hold.map(|hold| hold.as_str().to_owned()).unwrap_or_default();
        record.limit_bits_per_second = standing.limit.bits().unwrap_or(0);
        record.opens_at = standing.opens.map(timestamp_to_wire);
        record.done_at = standing.done.map(timestamp_to_wire);
        record
    }
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
            class: wanted.class.as_str().to_owned(),
            ..admin::Transfer::default()
        };
        let active = Active {
            record,
            class: wanted.class,
            begun: Instant::now(),
            gauge: Gauge::default(),
            note: None,
        };
        log.active.insert(id, active);
        Transfer { transfers: self.clone(), id }
    }

    pub(super) fn list(&self, budget: &Budget) -> Vec<admin::Transfer> {
        let log = self.log();
        let active = log.active.values().map(|active| active.shown(budget));
        active.chain(log.ended.iter().cloned()).collect()
    }

    /// Whether one is under way.
    pub(super) fn is_any_active(&self) -> bool {
        !self.log().active.is_empty()
    }

    /// Bytes that came of what is not whole, and how fast all of it comes.
    pub(super) fn under_way(&self) -> (u64, Option<Rate>) {
        let log = self.log();
        let received = log.active.values().map(|active| active.record.received).sum();
        let rates =
            log.active.values().filter_map(|active| active.gauge.rate(active.begun.elapsed()));
        let bits: u64 = rates.filter_map(Rate::bits).fold(0, u64::saturating_add);
        (received, (bits > 0).then(|| Rate::measured(bits / 8, Duration::from_secs(1))))
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

    /// A part has come; what the source may have said of waiting is over.
    pub(super) fn came(&self, bytes: u64) {
        self.update_active(|active| {
            active.gauge.count(bytes, active.begun.elapsed());
            active.note = None;
        });
    }

    /// The source says why nothing comes.
    pub(super) fn set_note(&self, word: &str) {
        self.update_active(|active| active.note = word.parse().ok());
    }

    pub(super) fn received(&self) -> u64 {
        self.transfers.log().active.get(&self.id).map_or(0, |active| active.record.received)
    }

    pub(super) fn end(self, problem: Option<&Error>) {
        let problem = problem.map(|error| in_one_line(error)).unwrap_or_default();
        self.update(|record| record.problem = problem);
    }

    fn update(&self, change: impl FnOnce(&mut admin::Transfer)) {
        self.update_active(|active| change(&mut active.record));
    }

    fn update_active(&self, change: impl FnOnce(&mut Active)) {
        if let Some(active) = self.transfers.log().active.get_mut(&self.id) {
            change(active);
        }
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        let mut log = self.transfers.log();
        if let Some(Active { mut record, .. }) = log.active.remove(&self.id) {
            record.ended_at = Some(SystemTime::now().into());
            log.ended.push_front(record);
            log.ended.truncate(ENDED);
        }
    }
}
