//! Which of a machine's events somebody has: the numbers in each of its epochs.

use std::ops::Range;

use jiff::Timestamp;
use patchmesh_proto::convert::{time, timestamp_to_wire};
use patchmesh_proto::report as wire;
use patchmesh_topology::interval::Intervals;
use patchmesh_topology::report::{Batch, MAX_EPOCHS};

/// Runs of numbers in an epoch. Batches overtake each other on their way, by far
/// fewer than this.
pub const MAX_RUNS: usize = 4096;

/// Why events cannot be told from others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// One epoch that began at two moments.
    #[error("the epoch {epoch:016x} began at {first}, and now at {again}")]
    Began {
        /// Which.
        epoch: u64,
        /// As it was known.
        first: Timestamp,
        /// As the batch says.
        again: Timestamp,
    },
    /// An epoch of long ago.
    #[error("the epoch {0:016x} is older than the {MAX_EPOCHS} newest of this machine")]
    Old(u64),
    /// A roll-up of which a part is held: its counts cannot be told apart.
    #[error(
        "of {all} events that are rolled up in the epoch {epoch:016x} {known} are held already: a number that was told in one form is never told in another"
    )]
    Torn {
        /// Which.
        epoch: u64,
        /// How many the roll-up has.
        all: u64,
        /// How many of them are held.
        known: u64,
    },
    /// Numbers with too many gaps between them.
    #[error("the epoch {0:016x} would have more than {MAX_RUNS} gaps: send what is missing first")]
    Scattered(u64),
}

/// As it is stored.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EpochRecord {
    /// The epoch.
    #[prost(fixed64, tag = "1")]
    pub epoch: u64,
    /// When it began.
    #[prost(message, optional, tag = "2")]
    pub began: Option<prost_types::Timestamp>,
    /// Start and end of each run, in order.
    #[prost(uint64, repeated, tag = "3")]
    pub runs: Vec<u64>,
}

/// As a node stores it of each machine that it passed something on of.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HeldRecord {
    /// The epochs.
    #[prost(message, repeated, tag = "1")]
    pub epochs: Vec<EpochRecord>,
}

/// An epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    /// Drawn by the machine.
    pub epoch: u64,
    /// By its clock.
    pub began: Timestamp,
    /// The numbers.
    pub held: Intervals,
}

/// All epochs of a machine, those that began first in front.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    epochs: Vec<Epoch>,
}

impl Held {
    /// Whether all events of a batch are in it.
    #[must_use]
    pub fn covers(&self, batch: &Batch) -> bool {
        let epoch = self.epochs.iter().find(|one| one.epoch == batch.epoch);
        epoch.is_some_and(|one| one.held.covers(&batch.run()))
    }

    /// Whether a batch finds its epoch, or room for it.
    #[must_use]
    pub fn has_room_for(&self, batch: &Batch) -> bool {
        let is_known = self.epochs.iter().any(|one| one.epoch == batch.epoch);
        is_known || self.epochs.len() < MAX_EPOCHS
    }

    /// Adds the events of a batch; answers with the numbers that are new: all of its
    /// roll-up or none.
    ///
    /// # Errors
    /// Nothing changed then.
    pub fn insert(&mut self, batch: &Batch) -> Result<Vec<Range<u64>>, Error> {
        let known = self.epochs.iter().position(|one| one.epoch == batch.epoch);
        let at = match known {
            Some(at) if self.epochs[at].began != batch.began => {
                let (first, again) = (self.epochs[at].began, batch.began);
                return Err(Error::Began { epoch: batch.epoch, first, again });
            }
            Some(at) => at,
            None => self.begin(batch)?,
        };
        let held = &mut self.epochs[at].held;
        if let Some(one) = &batch.rolled_up {
            let all = one.count();
            let new: u64 = one.runs().runs().map(|run| length(held.gaps(run))).sum();
            if new != 0 && new != all {
                return Err(Error::Torn { epoch: batch.epoch, all, known: all - new });
            }
        }
        let run = batch.run();
        let new: Vec<Range<u64>> = held.gaps(run.clone()).collect();
        // Only at the bound is a copy needed to find out.
        if held.runs().len() >= MAX_RUNS {
            let mut larger = held.clone();
            larger.insert(run);
            if larger.runs().len() > MAX_RUNS {
                return Err(Error::Scattered(batch.epoch));
            }
            *held = larger;
        } else {
            held.insert(run);
        }
        Ok(new)
    }

    /// Takes over what another one has of a batch's epoch, as far as there is room for it.
    pub fn adopt(&mut self, batch: &Batch, other: &Self) {
        let is_its = |one: &&Epoch| one.epoch == batch.epoch && one.began == batch.began;
        let Some(theirs) = other.epochs.iter().find(is_its) else { return };
        let known = self.epochs.iter().position(|one| one.epoch == batch.epoch);
        let Ok(at) = known.map_or_else(|| self.begin(batch), Ok) else { return };
        for run in theirs.held.runs() {
            self.epochs[at].held.insert(run);
        }
    }

    /// Adds all that another one has. Where that is too much, its own epochs that began first
    /// go.
    pub fn absorb(&mut self, other: Self) {
        let (mut epochs, mut own) = (other.epochs, std::mem::take(&mut self.epochs));
        for one in &mut epochs {
            let Some(at) = own.iter().position(|known| known.epoch == one.epoch) else { continue };
            for run in own.remove(at).held.runs() {
                one.held.insert(run);
            }
        }
        let room = MAX_EPOCHS.saturating_sub(epochs.len());
        own.drain(..own.len().saturating_sub(room));
        epochs.append(&mut own);
        epochs.sort_by_key(|one| (one.began, one.epoch));
        self.epochs = epochs;
    }

    /// Makes room for an epoch; the one that began first goes when there are too
    /// many.
    fn begin(&mut self, batch: &Batch) -> Result<usize, Error> {
        let key = (batch.began, batch.epoch);
        let mut at = self.epochs.partition_point(|one| (one.began, one.epoch) < key);
        if self.epochs.len() >= MAX_EPOCHS {
            if at == 0 {
                return Err(Error::Old(batch.epoch));
            }
            self.epochs.remove(0);
            at -= 1;
        }
        let held = Intervals::default();
        self.epochs.insert(at, Epoch { epoch: batch.epoch, began: batch.began, held });
        Ok(at)
    }

    /// The epochs, those that began first in front.
    #[must_use]
    pub fn epochs(&self) -> &[Epoch] {
        &self.epochs
    }

    /// For the machine.
    #[must_use]
    pub fn to_wire(&self) -> Vec<wire::Held> {
        let run = |run: Range<u64>| wire::Run { start: run.start, end: run.end };
        let epoch =
            |one: &Epoch| wire::Held { epoch: one.epoch, runs: one.held.runs().map(run).collect() };
        self.epochs.iter().map(epoch).collect()
    }

    /// For the disk.
    #[must_use]
    pub fn to_records(&self) -> Vec<EpochRecord> {
        let record = |one: &Epoch| EpochRecord {
            epoch: one.epoch,
            began: Some(timestamp_to_wire(one.began)),
            runs: one.held.runs().flat_map(|run| [run.start, run.end]).collect(),
        };
        self.epochs.iter().map(record).collect()
    }

    /// From the disk, where only what this module wrote is.
    #[must_use]
    pub fn from_records(records: Vec<EpochRecord>) -> Self {
        let epoch = |record: EpochRecord| Epoch {
            epoch: record.epoch,
            began: time(record.began).unwrap_or_default(),
            held: Intervals::of(record.runs.chunks_exact(2).map(|run| run[0]..run[1])),
        };
        Self { epochs: records.into_iter().map(epoch).collect() }
    }
}

/// How many numbers runs have.
fn length(runs: impl Iterator<Item = Range<u64>>) -> u64 {
    runs.map(|run| run.end - run.start).sum()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use patchmesh_topology::report::RollUp;

    use super::*;

    fn batch(epoch: u64, began: i64, run: Range<u64>) -> Batch {
        let at = Timestamp::from_second(1_800_000_000 + began).unwrap();
        let event = patchmesh_topology::report::Event {
            revision: "vendor:stable/app@1".parse().unwrap(),
            phase: patchmesh_topology::tally::Phase::Download,
            outcome: patchmesh_topology::tally::Outcome::Success,
            code: 0,
            message: String::new(),
            at,
        };
        Batch {
            mesh_id: "m".to_owned(),
            machine: "pc".parse().unwrap(),
            epoch,
            began: at,
            first: run.start,
            events: vec![event; (run.end - run.start) as usize],
            site: "emea".parse().unwrap(),
            facts: Vec::new(),
            made_at: at,
            rolled_up: None,
        }
    }

    /// Of which the first so many are rolled up.
    fn rolled(run: Range<u64>, rolled_up: u64) -> Batch {
        let mut batch = batch(1, 0, run.start + rolled_up..run.end);
        let step =
            (patchmesh_topology::tally::Phase::Reboot, patchmesh_topology::tally::Outcome::Success);
        let runs = [Range { start: run.start, end: run.start + rolled_up }];
        let times = (batch.began, batch.began);
        batch.rolled_up = Some(RollUp::new(&runs, [(step, rolled_up)].into(), times).unwrap());
        batch.first = run.start;
        batch
    }

    #[test]
    fn a_roll_up_is_new_as_a_whole_or_not_at_all() {
        let mut held = Held::default();
        held.insert(&batch(1, 0, 0..5)).unwrap();
        let torn = Error::Torn { epoch: 1, all: 4, known: 2 };
        let before = held.clone();
        assert_eq!(held.insert(&rolled(3..9, 4)), Err(torn));
        assert_eq!(held, before, "nothing changed");
        // Events beside it may be known, and some of them new.
        assert_eq!(held.insert(&rolled(5..11, 4)).unwrap(), [Range { start: 5, end: 11 }]);
        assert_eq!(held.insert(&rolled(5..13, 4)).unwrap(), [Range { start: 11, end: 13 }]);
        assert_eq!(held.insert(&batch(1, 0, 4..9)).unwrap(), []);
        assert!(held.covers(&rolled(5..13, 4)) && !held.covers(&rolled(5..14, 4)));
    }

    #[test]
    fn each_number_is_new_once() {
        let mut held = Held::default();
        assert_eq!(held.insert(&batch(1, 0, 0..5)).unwrap(), [Range { start: 0, end: 5 }]);
        assert_eq!(held.insert(&batch(1, 0, 8..10)).unwrap(), [Range { start: 8, end: 10 }]);
        assert_eq!(held.insert(&batch(1, 0, 3..12)).unwrap(), [5..8, 10..12]);
        assert_eq!(held.insert(&batch(1, 0, 3..12)).unwrap(), []);
        assert_eq!(held.insert(&batch(1, 0, 20..20)).unwrap(), []);
        assert!(held.covers(&batch(1, 0, 0..12)) && !held.covers(&batch(2, 0, 0..1)));
        // Another epoch has numbers of its own.
        assert_eq!(held.insert(&batch(2, 1, 0..2)).unwrap(), [Range { start: 0, end: 2 }]);
        assert!(matches!(held.insert(&batch(2, 9, 0..2)), Err(Error::Began { .. })));
        assert_eq!(Held::from_records(held.to_records()), held);
    }

    #[test]
    fn epochs_and_gaps_are_bounded() {
        let mut held = Held::default();
        for epoch in 1..=20 {
            held.insert(&batch(epoch, epoch as i64, 0..1)).unwrap();
        }
        assert_eq!(held.epochs().len(), MAX_EPOCHS);
        assert_eq!(held.insert(&batch(5, 5, 1..2)), Err(Error::Old(5)));
        held.insert(&batch(99, 17, 0..1)).unwrap();
        let began: Vec<i64> = held.epochs().iter().map(|one| one.began.as_second()).collect();
        assert!(began.is_sorted() && held.epochs().len() == MAX_EPOCHS);
        for run in 0..MAX_RUNS as u64 {
            held.insert(&batch(30, 30, run * 3..run * 3 + 1)).unwrap();
        }
        let refused = held.insert(&batch(30, 30, 90_000..90_001));
        assert_eq!(refused, Err(Error::Scattered(30)));
        // What closes a gap is welcome still.
        held.insert(&batch(30, 30, 1..3)).unwrap();
        held.insert(&batch(30, 30, 90_000..90_001)).unwrap();
    }
}
