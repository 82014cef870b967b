//! A bounded number of statuses, and who they came from.
//!
//! Two things always hold: no more than [`MAX_KEPT`] are kept, and what was dropped
//! for it is counted; and who sends the most loses first, so that nobody drives out
//! what others sent while they have more themselves.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};

use jiff::Timestamp;

/// Statuses that are kept.
pub const MAX_KEPT: usize = 8192;

/// A status as it came.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Line {
    /// Who sent it, or what the log says of that.
    pub address: IpAddr,
    /// When it came, or what the log says of that.
    pub at: Timestamp,
    /// The query; at most [`MAX_QUERY`](super::MAX_QUERY) bytes.
    pub query: String,
    /// Whether it was read from a log.
    pub imported: bool,
}

/// What becomes of the statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Taken, ever.
    pub taken: u64,
    /// Of these dropped since, to make room.
    pub dropped: u64,
    /// Refused because too many came.
    pub refused: u64,
}

/// The statuses, by number in the order in which they came.
#[derive(Debug, Default)]
pub struct Book {
    lines: BTreeMap<u64, Line>,
    /// The numbers of each neighbourhood.
    of: BTreeMap<IpAddr, BTreeSet<u64>>,
    /// How many each neighbourhood has, and its first one.
    largest: BTreeSet<(usize, Reverse<u64>)>,
    /// Of the lines that are kept.
    known: HashSet<u64>,
    hasher: RandomState,
    next: u64,
    /// What becomes of them.
    pub counts: Counts,
}

/// Addresses that one client can have at will count as one: the /64 of version 6.
#[must_use]
pub fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(one) => IpAddr::V6(Ipv6Addr::from_bits(one.to_bits() >> 64 << 64)),
        other => other,
    }
}

impl Book {
    /// Takes a status; `false` for one that is kept already.
    pub fn take(&mut self, line: Line) -> bool {
        let is_new = self.put(self.next, line);
        self.counts.taken += u64::from(is_new);
        is_new
    }

    /// Puts one back that was kept under this number before.
    pub fn put(&mut self, number: u64, line: Line) -> bool {
        self.next = self.next.max(number.saturating_add(1));
        if self.lines.contains_key(&number) || !self.known.insert(self.hasher.hash_one(&line)) {
            return false;
        }
        self.change(neighbourhood(line.address), |numbers| numbers.insert(number));
        self.lines.insert(number, line);
        if self.lines.len() > MAX_KEPT {
            self.drop_one();
        }
        true
    }

    /// Everything that is kept, in the order in which it came.
    pub fn lines(&self) -> impl ExactSizeIterator<Item = (u64, &Line)> {
        self.lines.iter().map(|(number, line)| (*number, line))
    }

    /// Whether one is kept.
    #[must_use]
    pub fn has(&self, number: u64) -> bool {
        self.lines.contains_key(&number)
    }

    /// Drops the first one of whoever has the most.
    fn drop_one(&mut self) {
        let Some((_, Reverse(first))) = self.largest.last().copied() else { return };
        let Some(line) = self.lines.remove(&first) else { return };
        self.known.remove(&self.hasher.hash_one(&line));
        self.change(neighbourhood(line.address), |numbers| numbers.remove(&first));
        self.counts.dropped += 1;
    }

    fn change(&mut self, who: IpAddr, how: impl FnOnce(&mut BTreeSet<u64>) -> bool) {
        let numbers = self.of.entry(who).or_default();
        let rank = |numbers: &BTreeSet<u64>| Some((numbers.len(), Reverse(*numbers.first()?)));
        if let Some(before) = rank(numbers) {
            self.largest.remove(&before);
        }
        how(numbers);
        match rank(numbers) {
            Some(after) => drop(self.largest.insert(after)),
            None => drop(self.of.remove(&who)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(address: u8, second: i64) -> Line {
        let at = Timestamp::from_second(second).expect("a time");
        let address = IpAddr::from([10, 0, 0, address]);
        Line { address, at, query: "V=1".to_owned(), imported: false }
    }

    #[test]
    fn who_sends_the_most_loses_first() {
        let mut book = Book::default();
        for second in 0..10 {
            assert!(book.take(line(1, second)));
        }
        for second in 0..3 * MAX_KEPT as i64 {
            assert!(book.take(line(2, second)));
        }
        let of = |book: &Book, one: u8| {
            book.lines().filter(|(_, line)| line.address == IpAddr::from([10, 0, 0, one])).count()
        };
        assert_eq!((of(&book, 1), of(&book, 2)), (10, MAX_KEPT - 10));
        let taken = 10 + 3 * MAX_KEPT as u64;
        assert_eq!(book.counts, Counts { taken, dropped: taken - MAX_KEPT as u64, refused: 0 });
        // Of those the first ones.
        assert_eq!(book.lines().last().map(|(number, _)| number), Some(taken - 1));
        assert!(!book.take(line(1, 5)), "it is kept already");
    }

    proptest! {
        /// What is kept and what was dropped is what was taken, the first go first,
        /// and it is the same after it was put back.
        #[test]
        fn nothing_is_lost_uncounted(sent in proptest::collection::vec((0..4_u8, 0..40_i64), 0..200)) {
            let mut book = Book::default();
            let mut taken = 0;
            for (address, second) in sent {
                taken += u64::from(book.take(line(address, second)));
                if book.lines.len() > 20 {
                    let most = book.of.values().map(BTreeSet::len).max();
                    let before = book.of.clone();
                    book.drop_one();
                    let lost = before.iter().find(|(who, all)| book.of.get(*who) != Some(*all));
                    prop_assert_eq!(lost.map(|(_, all)| all.len()), most);
                }
            }
            prop_assert_eq!(book.counts.taken, taken);
            prop_assert_eq!(book.lines.len() as u64 + book.counts.dropped, taken);
            prop_assert_eq!(book.known.len(), book.lines.len());
            prop_assert_eq!(book.of.values().map(BTreeSet::len).sum::<usize>(), book.lines.len());
            prop_assert_eq!(book.largest.len(), book.of.len());
            let mut again = Book::default();
            for (number, line) in book.lines() {
                prop_assert!(again.put(number, line.clone()));
            }
            prop_assert_eq!(again.lines, book.lines);
            prop_assert_eq!(again.largest, book.largest);
        }
    }
}
