//! Sets of numbers that come mostly in runs: which events of a machine are held.
//!
//! An [`Intervals`] holds half-open runs that neither touch nor overlap, so that
//! equal sets are equal values, and its size is the number of gaps, however many
//! numbers it holds.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of numbers as runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Intervals {
    /// First number of each run → the number after its last.
    runs: BTreeMap<u64, u64>,
}

impl Intervals {
    /// The set of these runs, in whatever order; empty ones are nothing.
    #[must_use]
    pub fn of(runs: impl IntoIterator<Item = Range<u64>>) -> Self {
        let mut set = Self::default();
        for run in runs {
            set.insert(run);
        }
        set
    }

    /// Adds a run; says how many of its numbers are new.
    pub fn insert(&mut self, run: Range<u64>) -> u64 {
        if run.is_empty() {
            return 0;
        }
        let (mut start, mut end, mut held) = (run.start, run.end, 0);
        // Every run that touches this one becomes part of it. Such runs end at
        // its start or later, and those come last before its end.
        while let Some((&first, &after)) = self.runs.range(..=end).next_back() {
            if after < start {
                break;
            }
            held += after.min(run.end).saturating_sub(first.max(run.start));
            (start, end) = (start.min(first), end.max(after));
            self.runs.remove(&first);
        }
        self.runs.insert(start, end);
        run.end - run.start - held
    }

    /// Whether a number is in the set.
    #[must_use]
    pub fn contains(&self, number: u64) -> bool {
        self.runs.range(..=number).next_back().is_some_and(|(_, after)| number < *after)
    }

    /// Whether a whole run is in the set.
    #[must_use]
    pub fn covers(&self, run: &Range<u64>) -> bool {
        let before = self.runs.range(..=run.start).next_back();
        run.is_empty() || before.is_some_and(|(_, after)| run.end <= *after)
    }

    /// What of a run is not in the set, in order.
    pub fn gaps(&self, within: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let before = self.runs.range(..=within.start).next_back();
        let mut from = before.map_or(within.start, |(_, after)| within.start.max(*after));
        let inside = self.runs.range(from..within.end.max(from));
        let ends = std::iter::once((within.end, u64::MAX));
        inside.map(|(first, after)| (*first, *after)).chain(ends).filter_map(
            move |(first, after)| {
                let gap = from..first;
                from = after;
                (!gap.is_empty()).then_some(gap)
            },
        )
    }

    /// How many numbers it holds.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.runs.iter().map(|(first, after)| after - first).sum()
    }

    /// The runs, in order.
    pub fn runs(&self) -> impl ExactSizeIterator<Item = Range<u64>> + '_ {
        self.runs.iter().map(|(first, after)| *first..*after)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn runs_that_touch_become_one() {
        let mut set = Intervals::default();
        assert_eq!(set.insert(0..10), 10);
        assert_eq!(set.insert(20..30), 10);
        assert_eq!(set.insert(5..8), 0);
        assert_eq!(set.insert(10..20), 10);
        assert!(set.runs().eq([Range { start: 0, end: 30 }]));
        assert!(set.covers(&(3..30)) && !set.covers(&(3..31)) && set.covers(&(99..99)));
        assert_eq!(set.insert(u64::MAX - 1..u64::MAX), 1);
        assert_eq!(set.insert(7..7), 0);
    }

    proptest! {
        #[test]
        fn it_is_a_set(runs in prop::collection::vec((0u64..60, 0u64..12), 0..40)) {
            let (mut set, mut model) = (Intervals::default(), BTreeSet::new());
            for (start, length) in runs {
                let before = model.len();
                model.extend(start..start + length);
                prop_assert_eq!(set.insert(start..start + length), (model.len() - before) as u64);
            }
            prop_assert_eq!(set.count(), model.len() as u64);
            for number in 0..80 {
                prop_assert_eq!(set.contains(number), model.contains(&number));
            }
            let runs: Vec<_> = set.runs().collect();
            prop_assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start));
            for start in 0..70 {
                let run = start..start + 4;
                let whole = run.clone().all(|number| model.contains(&number));
                prop_assert_eq!(set.covers(&run), whole);
                let missing: Vec<u64> = set.gaps(run.clone()).flatten().collect();
                let lacks: Vec<u64> = run.filter(|number| !model.contains(number)).collect();
                prop_assert_eq!(missing, lacks);
                prop_assert_eq!(set.gaps(start..start).count(), 0);
            }
            prop_assert_eq!(Intervals::of(set.runs()), set.clone());
        }
    }
}
