//! Events of which only counts are left.

use std::collections::BTreeMap;
use std::ops::Range;

use jiff::Timestamp;

use super::MAX_EVENTS;
use crate::interval::Intervals;
use crate::tally::{Outcome, Phase};

/// Runs of a roll-up. Between two runs there is an event of its batch.
pub const MAX_RUNS: usize = MAX_EVENTS + 1;

/// Events of a roll-up: one a second for half a year.
pub const MAX_ROLLED_UP: u64 = 1 << 24;

/// Why something is no roll-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// No numbers, or in a form that another one of the same numbers has.
    #[error("has runs that are empty, touch or are out of order")]
    Runs,
    /// Too many.
    #[error("has more than {MAX_RUNS} runs or {MAX_ROLLED_UP} events")]
    Many,
    /// Events that are counted and not numbered, or the other way round.
    #[error("counts {counted} events, and its runs have {numbered}")]
    Counts {
        /// The sum of its counts; the greatest number where that is more.
        counted: u64,
        /// How many numbers it has.
        numbered: u64,
    },
    /// The last before the first.
    #[error("ends before it begins")]
    Times,
}

/// Events of which only this is left: their numbers, and how many there were of
/// each step and outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollUp {
    runs: Intervals,
    counts: BTreeMap<(Phase, Outcome), u64>,
    since: Timestamp,
    until: Timestamp,
}

impl RollUp {
    /// Of one event.
    #[must_use]
    pub fn of(number: u64, step: (Phase, Outcome), at: Timestamp) -> Self {
        let mut runs = Intervals::default();
        runs.insert(number..number.saturating_add(1));
        Self { runs, counts: BTreeMap::from([(step, 1)]), since: at, until: at }
    }

    /// Reads one that somebody else made.
    ///
    /// # Errors
    /// Why it is none.
    pub fn new(
        runs: &[Range<u64>],
        counts: BTreeMap<(Phase, Outcome), u64>,
        (since, until): (Timestamp, Timestamp),
    ) -> Result<Self, Malformed> {
        if runs.len() > MAX_RUNS {
            return Err(Malformed::Many);
        }
        let touches = runs.windows(2).any(|pair| pair[0].end >= pair[1].start);
        if runs.is_empty() || touches || runs.iter().any(Range::is_empty) {
            return Err(Malformed::Runs);
        }
        // They are in order and apart, so this is no more than the greatest number.
        let numbered = runs.iter().map(|run| run.end - run.start).sum();
        let counted = counts.values().fold(0u64, |sum, count| sum.saturating_add(*count));
        if counted != numbered || counts.values().any(|count| *count == 0) {
            return Err(Malformed::Counts { counted, numbered });
        }
        if numbered > MAX_ROLLED_UP {
            return Err(Malformed::Many);
        }
        if until < since {
            return Err(Malformed::Times);
        }
        Ok(Self { runs: Intervals::of(runs.iter().cloned()), counts, since, until })
    }

    /// Takes another one into this. They have no number in common.
    pub(super) fn absorb(&mut self, other: &Self) {
        for run in other.runs.runs() {
            self.runs.insert(run);
        }
        for (step, count) in &other.counts {
            *self.counts.entry(*step).or_default() += count;
        }
        self.since = self.since.min(other.since);
        self.until = self.until.max(other.until);
    }

    /// The same with numbers that are so much less. None is less than that.
    pub(super) fn lowered(self, by: u64) -> Self {
        let runs = self.runs.runs().map(|run| run.start - by..run.end - by);
        Self { runs: Intervals::of(runs), ..self }
    }

    /// The numbers.
    #[must_use]
    pub const fn runs(&self) -> &Intervals {
        &self.runs
    }

    /// From its first number to behind its last one; numbers between its runs are those
    /// of events that are there.
    #[must_use]
    pub fn span(&self) -> Range<u64> {
        let mut runs = self.runs.runs();
        let first = runs.next().unwrap_or_default();
        let last = runs.last().unwrap_or_else(|| first.clone());
        first.start..last.end
    }

    /// How many events of each step and outcome; none is 0.
    #[must_use]
    pub const fn counts(&self) -> &BTreeMap<(Phase, Outcome), u64> {
        &self.counts
    }

    /// How many events.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.runs.count()
    }

    /// When the first and the last of them happened, by the machine's clock.
    #[must_use]
    pub const fn times(&self) -> (Timestamp, Timestamp) {
        (self.since, self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: (Phase, Outcome) = (Phase::Installation, Outcome::Failure);
    const OTHER: (Phase, Outcome) = (Phase::Detection, Outcome::Pending);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn made(runs: &[Range<u64>], counts: &[((Phase, Outcome), u64)]) -> Result<RollUp, Malformed> {
        RollUp::new(runs, counts.iter().copied().collect(), (at(1), at(2)))
    }

    #[test]
    #[allow(clippy::single_range_in_vec_init)]
    fn what_does_not_add_up_is_refused() {
        let good = made(&[3..5, 7..8], &[(STEP, 2), (OTHER, 1)]).expect("a roll-up");
        assert_eq!((good.count(), good.span()), (3, 3..8));
        assert_eq!(made(&[], &[]), Err(Malformed::Runs));
        #[allow(clippy::reversed_empty_ranges)]
        let refused = made(&[9..5], &[(STEP, 1)]);
        assert_eq!(refused, Err(Malformed::Runs));
        assert_eq!(made(&[3..5, 5..6], &[(STEP, 3)]), Err(Malformed::Runs));
        assert_eq!(made(&[7..8, 3..5], &[(STEP, 3)]), Err(Malformed::Runs));
        assert_eq!(made(&[3..5], &[(STEP, 3)]), Err(Malformed::Counts { counted: 3, numbered: 2 }));
        let none = Err(Malformed::Counts { counted: 2, numbered: 2 });
        assert_eq!(made(&[3..5], &[(STEP, 2), (OTHER, 0)]), none);
        // Sums that are more than there can be, and as many as they say.
        assert!(made(&[0..u64::MAX], &[(STEP, u64::MAX), (OTHER, u64::MAX)]).is_err());
        assert!(made(&[0..1 << 60], &[(STEP, 1 << 60)]).is_err());
        let runs: Vec<Range<u64>> = (0..514).map(|n| n * 2..n * 2 + 1).collect();
        assert_eq!(made(&runs, &[(STEP, 514)]), Err(Malformed::Many));
        let late = RollUp::new(&[Range { start: 0, end: 1 }], [(STEP, 1)].into(), (at(2), at(1)));
        assert_eq!(late, Err(Malformed::Times));
    }

    #[test]
    fn two_become_one() {
        let mut one = made(&[3..5, 7..8], &[(STEP, 2), (OTHER, 1)]).expect("a roll-up");
        one.absorb(&RollUp::of(5, STEP, at(9)));
        one.absorb(&RollUp::of(6, STEP, at(0)));
        assert!(one.runs().runs().eq([Range { start: 3, end: 8 }]));
        assert_eq!(one.counts(), &BTreeMap::from([(STEP, 4), (OTHER, 1)]));
        assert_eq!(one.times(), (at(0), at(9)));
    }
}
