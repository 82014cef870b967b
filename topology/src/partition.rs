//! Cutting large sets into small documents.
//!
//! A key has a [`Place`]: the leading bits of its BLAKE3. A set whose entries
//! fit one document is one part; otherwise it is cut in two by the next bit of
//! the place, and so on. How a set is cut depends on its content alone, so two
//! nodes cut alike, and a change of one key touches only the parts that hold
//! it before and after: all others stay the documents they were.

use std::fmt;
use std::str::FromStr;

/// The longest prefix in bits. Entries that agree in so many bits stay in one
/// part however large it gets; nobody finds many such keys.
pub const MAX_DEPTH: u8 = 48;

/// Where a key belongs: the first 64 bits of its BLAKE3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(u64);

impl Place {
    /// The place of a key.
    #[must_use]
    pub fn of(key: &str) -> Self {
        let hash = blake3::hash(key.as_bytes());
        let leading = hash.as_bytes().iter().take(8);
        Self(leading.fold(0, |bits, byte| (bits << 8) | u64::from(*byte)))
    }
}

/// Leading bits that the places of a part have in common, most significant
/// first; written as `0` and `1`, the empty text for the only part.
///
/// Sorts as its text does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// The bits, left-aligned, zeros behind them.
    bits: u64,
    length: u8,
}

/// Why prefixes are none, or do not divide the places among them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Something else than up to [`MAX_DEPTH`] digits `0` and `1`.
    #[error("{0:?} is not a prefix of at most {MAX_DEPTH} digits 0 and 1")]
    Prefix(String),
    /// A place that no part covers, or that two do.
    #[error("part {index} has the prefix \"{prefix}\", which does not follow on the one before it")]
    Gap {
        /// The part, from 0.
        index: usize,
        /// Its prefix.
        prefix: Prefix,
    },
    /// The last parts are missing.
    #[error("the parts end before the last prefix")]
    End,
}

impl Prefix {
    /// The prefix of the only part.
    pub const ROOT: Self = Self { bits: 0, length: 0 };

    /// Whether `place` begins with this prefix.
    #[must_use]
    pub fn covers(self, place: Place) -> bool {
        self.length == 0 || (place.0 ^ self.bits) >> (64 - u32::from(self.length)) == 0
    }

    /// The two prefixes one bit longer; `None` at [`MAX_DEPTH`].
    #[must_use]
    fn halves(self) -> Option<[Self; 2]> {
        if self.length >= MAX_DEPTH {
            return None;
        }
        let length = self.length + 1;
        let bit = 1 << (64 - u32::from(length));
        Some([Self { bits: self.bits, length }, Self { bits: self.bits | bit, length }])
    }

    /// One past the last place, which may be past every place.
    fn end(self) -> u128 {
        u128::from(self.bits) + (1 << (64 - u32::from(self.length)))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (0..self.length).try_for_each(|bit| write!(f, "{}", (self.bits >> (63 - bit)) & 1))
    }
}

impl FromStr for Prefix {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let fault = || Error::Prefix(text.chars().take(usize::from(MAX_DEPTH)).collect());
        if text.len() > usize::from(MAX_DEPTH) {
            return Err(fault());
        }
        text.chars().try_fold(Self::ROOT, |prefix, digit| {
            let [zero, one] = prefix.halves().ok_or_else(fault)?;
            match digit {
                '0' => Ok(zero),
                '1' => Ok(one),
                _ => Err(fault()),
            }
        })
    }
}

/// Something to be put into a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item<T> {
    /// The place of its key. Items of one place stay together.
    pub place: Place,
    /// The bytes that it takes in a document.
    pub size: usize,
    /// The thing itself.
    pub value: T,
}

/// Items that go into one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part<T> {
    /// What their places have in common.
    pub prefix: Prefix,
    /// The items, in the order in which they were given.
    pub items: Vec<T>,
}

/// Cuts `items` into parts of at most `limit` bytes, sorted by prefix, which
/// together cover every place once. Larger is only a part that cannot be cut:
/// of one place, or at [`MAX_DEPTH`].
#[must_use]
pub fn cut<T>(items: Vec<Item<T>>, limit: usize) -> Vec<Part<T>> {
    let mut parts = Vec::new();
    cut_below(Prefix::ROOT, items, limit, &mut parts);
    parts
}

/// Calls itself to a depth of at most [`MAX_DEPTH`].
fn cut_below<T>(prefix: Prefix, items: Vec<Item<T>>, limit: usize, parts: &mut Vec<Part<T>>) {
    let fits = items.iter().map(|item| item.size).sum::<usize>() <= limit;
    let one_place = items.windows(2).all(|pair| pair[0].place == pair[1].place);
    match prefix.halves() {
        Some([zero, one]) if !fits && !one_place => {
            let (low, high) = items.into_iter().partition(|item| zero.covers(item.place));
            cut_below(zero, low, limit, parts);
            cut_below(one, high, limit, parts);
        }
        _ => {
            let items = items.into_iter().map(|item| item.value).collect();
            parts.push(Part { prefix, items });
        }
    }
}

/// Checks that `prefixes` are sorted and cover every place exactly once.
///
/// # Errors
/// Where they do not.
pub fn check_cover(prefixes: impl IntoIterator<Item = Prefix>) -> Result<(), Error> {
    let mut next = 0;
    for (index, prefix) in prefixes.into_iter().enumerate() {
        if u128::from(prefix.bits) != next {
            return Err(Error::Gap { index, prefix });
        }
        next = prefix.end();
    }
    if next == Prefix::ROOT.end() { Ok(()) } else { Err(Error::End) }
}

/// Which of `prefixes`, sorted and without overlap, covers `place`.
#[must_use]
pub fn find(prefixes: &[Prefix], place: Place) -> Option<usize> {
    let after = prefixes.partition_point(|prefix| prefix.bits <= place.0);
    let index = after.checked_sub(1)?;
    prefixes[index].covers(place).then_some(index)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::btree_map;
    use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, proptest};

    use super::*;

    const LIMIT: usize = 100;

    type Sizes = BTreeMap<u16, usize>;

    fn sizes() -> impl Strategy<Value = Sizes> {
        btree_map(0..2000u16, 1..150usize, 0..60)
    }

    fn place(key: u16) -> Place {
        Place::of(&key.to_string())
    }

    fn cut_keys(sizes: impl IntoIterator<Item = (u16, usize)>) -> Vec<Part<u16>> {
        let item = |(key, size)| Item { place: place(key), size, value: key };
        cut(sizes.into_iter().map(item).collect(), LIMIT)
    }

    proptest! {
        #[test]
        fn parts_hold_everything_once_and_fit(sizes in sizes()) {
            let parts = cut_keys(sizes.clone());
            check_cover(parts.iter().map(|part| part.prefix)).expect("a cover");
            let mut keys: Vec<u16> = parts.iter().flat_map(|part| part.items.clone()).collect();
            keys.sort_unstable();
            prop_assert_eq!(keys, sizes.keys().copied().collect::<Vec<_>>());
            for part in &parts {
                let size: usize = part.items.iter().map(|key| sizes[key]).sum();
                prop_assert!(size <= LIMIT || part.items.len() == 1);
                prop_assert!(part.items.iter().all(|key| part.prefix.covers(place(*key))));
            }
        }

        #[test]
        fn the_cut_depends_on_the_content_alone(sizes in sizes()) {
            let mut backwards = cut_keys(sizes.clone().into_iter().rev());
            for part in &mut backwards {
                part.items.reverse();
            }
            prop_assert_eq!(cut_keys(sizes), backwards);
        }

        #[test]
        fn a_change_touches_only_the_parts_on_its_path(
            sizes in sizes(), key in 0..2000u16, size in 1..150usize,
        ) {
            let mut changed = sizes.clone();
            changed.insert(key, size);
            let (before, after) = (cut_keys(sizes), cut_keys(changed));
            // Whatever differs lies below the shortest prefix that covers the
            // key in either cut.
            let path = before.iter().chain(&after).map(|part| part.prefix)
                .filter(|prefix| prefix.covers(place(key)))
                .min_by_key(|prefix| prefix.length).expect("a cover");
            let elsewhere = |parts: &[Part<u16>]| {
                let out = |part: &&Part<u16>| !path.covers(Place(part.prefix.bits));
                parts.iter().filter(out).cloned().collect::<Vec<_>>()
            };
            prop_assert_eq!(elsewhere(&before), elsewhere(&after));
        }

        #[test]
        fn every_place_is_found(sizes in sizes(), key in 0..2000u16) {
            let parts = cut_keys(sizes);
            let prefixes: Vec<Prefix> = parts.iter().map(|part| part.prefix).collect();
            let index = find(&prefixes, place(key)).expect("covered");
            prop_assert!(prefixes[index].covers(place(key)));
        }

        #[test]
        fn prefixes_print_and_parse_and_sort_as_text(a in "[01]{0,48}", b in "[01]{0,48}") {
            let (first, second): (Prefix, Prefix) =
                (a.parse().expect("a prefix"), b.parse().expect("a prefix"));
            prop_assert_eq!(first.to_string(), a.clone());
            prop_assert_eq!(first.cmp(&second), a.cmp(&b));
        }
    }

    fn check(texts: &[&str]) -> Result<(), Error> {
        check_cover(texts.iter().map(|text| text.parse().expect("a prefix")))
    }

    #[test]
    fn refuses_what_is_no_cover() {
        assert_eq!(check(&[""]), Ok(()));
        assert_eq!(check(&["0", "10", "11"]), Ok(()));
        assert_eq!(check(&[]), Err(Error::End));
        assert_eq!(check(&["0", "10"]), Err(Error::End));
        for faulty in [&["1", "0"][..], &["0", "11"], &["0", "00", "1"], &["", "1"], &["0", "0"]] {
            assert!(matches!(check(faulty), Err(Error::Gap { .. })), "{faulty:?}");
        }
        assert!("2".parse::<Prefix>().is_err() && "0".repeat(49).parse::<Prefix>().is_err());
    }
}
