//! A set of pieces of one blob, as a bit each.

use std::ops::Range;

/// Pieces out of `0..count`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PieceSet {
    bits: Vec<u8>,
    count: u64,
    present: u64,
}

impl PieceSet {
    /// No pieces of `count`.
    pub(super) fn new(count: u64) -> Self {
        Self { bits: vec![0; byte_count(count)], count, present: 0 }
    }

    /// Reads what [`PieceSet::encode`] gave; nothing where it does not fit.
    pub(super) fn decode(count: u64, bits: &[u8]) -> Option<Self> {
        if bits.len() != byte_count(count) {
            return None;
        }
        let set = Self {
            bits: bits.to_vec(),
            count,
            present: bits.iter().map(|byte| u64::from(byte.count_ones())).sum(),
        };
        // No bits beyond the end.
        let within = (0..count).filter(|piece| set.contains(*piece)).count() as u64;
        (within == set.present).then_some(set)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        self.bits.clone()
    }

    pub(super) fn contains(&self, piece: u64) -> bool {
        piece < self.count && self.bits[byte(piece)] & bit(piece) != 0
    }

    /// Adds a piece; whether it is new. Pieces beyond the end are none.
    pub(super) fn insert(&mut self, piece: u64) -> bool {
        if piece >= self.count || self.contains(piece) {
            return false;
        }
        self.bits[byte(piece)] |= bit(piece);
        self.present += 1;
        true
    }

    pub(super) fn len(&self) -> u64 {
        self.present
    }

    pub(super) fn is_full(&self) -> bool {
        self.present == self.count
    }

    /// The pieces that are not in the set, in order.
    pub(super) fn missing(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for piece in (0..self.count).filter(|piece| !self.contains(*piece)) {
            match ranges.last_mut() {
                Some(range) if range.end == piece => range.end += 1,
                _ => ranges.push(piece..piece + 1),
            }
        }
        ranges
    }
}

/// Sets are made for blobs of bounded length, so the number of bytes fits.
fn byte_count(count: u64) -> usize {
    count.div_ceil(8) as usize
}

fn byte(piece: u64) -> usize {
    (piece / 8) as usize
}

fn bit(piece: u64) -> u8 {
    1 << (piece % 8)
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "lists of ranges are what is tested")]
mod tests {
    use super::*;

    #[test]
    fn inserts_lists_and_decodes() {
        let mut set = PieceSet::new(11);
        assert_eq!(set.missing(), [0..11]);
        for piece in [0, 3, 4, 10] {
            assert!(set.insert(piece));
            assert!(!set.insert(piece));
        }
        assert!(!set.insert(11));
        assert_eq!(set.missing(), [1..3, 5..10]);
        assert_eq!(PieceSet::decode(11, &set.encode()), Some(set.clone()));
        for piece in 0..11 {
            set.insert(piece);
        }
        assert!(set.is_full() && set.missing().is_empty());
    }

    #[test]
    fn refuses_bits_that_do_not_fit() {
        assert_eq!(PieceSet::decode(11, &[0; 3]), None);
        assert_eq!(PieceSet::decode(11, &[0, 0b1000]), None);
        assert!(PieceSet::decode(11, &[0xff, 0b111]).is_some_and(|set| set.is_full()));
    }
}
