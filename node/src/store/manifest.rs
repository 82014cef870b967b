//! The manifest of a blob: its length and one BLAKE3 subtree value per piece.
//!
//! A piece is a 1 MiB aligned part of a blob. 1 MiB is a power of two, so each
//! piece is a whole subtree of the blob's BLAKE3 tree (section 2.1 of the
//! BLAKE3 paper) and the piece values fold to the very digest that names the
//! blob. Hence a piece proves itself, in any order and from any source.
//!
//! A [`Manifest`] can't be made but from bytes that were hashed here or from
//! values that were folded and compared: whoever holds one may trust it. A blob
//! of one piece needs no values, since its only piece is the root of the tree.

use std::ops::Range;
use std::sync::Arc;

use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use patchmesh_topology::digest::Digest;

/// Bytes of every piece but the last.
pub const PIECE_LENGTH: u64 = 1 << 20;

/// The longest blob. Its manifest has 2 MiB, which fits one gRPC message.
pub const MAX_BLOB_LENGTH: u64 = 64 << 30;

/// The value of a subtree that is not the root.
pub type PieceValue = [u8; 32];

/// What is wrong with a manifest or a piece.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The blob is longer than any that is stored.
    #[error("a blob of {0} bytes is longer than the {MAX_BLOB_LENGTH} that are allowed")]
    TooLong(u64),
    /// The values do not fit the length.
    #[error("the manifest of {digest} has {found} piece values where {wanted} are due")]
    Count {
        /// The blob.
        digest: Digest,
        /// Values that the length calls for.
        wanted: u64,
        /// Values, or bytes where they are not a multiple of 32.
        found: u64,
    },
    /// The values fold to another digest.
    #[error("the manifest said to be of {digest} folds to {found}")]
    Fold {
        /// The blob asked for.
        digest: Digest,
        /// What the values fold to.
        found: Digest,
    },
    /// A piece number beyond the end.
    #[error("the blob {digest} has {count} pieces, so no piece {piece}")]
    NoSuchPiece {
        /// The blob.
        digest: Digest,
        /// The number asked for.
        piece: u64,
        /// Pieces of the blob.
        count: u64,
    },
    /// A piece with too few or too many bytes.
    #[error("piece {piece} of {digest} has {found} bytes instead of {wanted}")]
    PieceLength {
        /// The blob.
        digest: Digest,
        /// The piece.
        piece: u64,
        /// Bytes it must have.
        wanted: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// A piece with wrong bytes.
    #[error("piece {piece} of {digest} has wrong bytes")]
    PieceValue {
        /// The blob.
        digest: Digest,
        /// The piece.
        piece: u64,
    },
}

/// The piece values of one blob, known to fold to its digest. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    digest: Digest,
    length: u64,
    /// Empty for a blob of one piece.
    values: Arc<[PieceValue]>,
}

impl Manifest {
    /// The manifest of a blob of at most one piece, which its digest is.
    ///
    /// # Errors
    /// [`Error::Count`] when the blob is longer than one piece.
    pub fn single(digest: Digest, length: u64) -> Result<Self, Error> {
        Self::from_values(digest, length, Vec::new())
    }

    /// Checks values from anywhere against the digest.
    ///
    /// # Errors
    /// When they are too many, too few, or fold to another digest.
    pub fn from_values(
        digest: Digest,
        length: u64,
        values: Vec<PieceValue>,
    ) -> Result<Self, Error> {
        let wanted = value_count(length)?;
        let found = values.len() as u64;
        if found != wanted {
            return Err(Error::Count { digest, wanted, found });
        }
        if let Some(root) = fold(&values)
            && root != digest
        {
            return Err(Error::Fold { digest, found: root });
        }
        Ok(Self { digest, length, values: values.into() })
    }

    /// Like [`Manifest::from_values`], from the values one after the other as
    /// they are stored and sent.
    ///
    /// # Errors
    /// The same.
    pub fn decode(digest: Digest, length: u64, bytes: &[u8]) -> Result<Self, Error> {
        let wanted = value_count(length)?;
        let (values, rest) = bytes.as_chunks::<32>();
        if !rest.is_empty() || values.len() as u64 != wanted {
            let found = if rest.is_empty() { values.len() } else { bytes.len() };
            return Err(Error::Count { digest, wanted, found: found as u64 });
        }
        Self::from_values(digest, length, values.to_vec())
    }

    /// The values one after the other; empty for a blob of one piece.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.values.as_flattened().to_vec()
    }

    /// The digest of the whole blob.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Bytes of the whole blob.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Number of pieces, at least one: an empty blob has one empty piece.
    #[must_use]
    pub fn piece_count(&self) -> u64 {
        piece_count(self.length)
    }

    /// Bytes of one piece.
    ///
    /// # Errors
    /// [`Error::NoSuchPiece`].
    pub fn piece_length(&self, piece: u64) -> Result<u64, Error> {
        let count = self.piece_count();
        if piece >= count {
            return Err(Error::NoSuchPiece { digest: self.digest, piece, count });
        }
        Ok(piece_length(self.length, piece))
    }

    /// Whether these are the bytes of this piece.
    ///
    /// # Errors
    /// A wrong number, length or value.
    pub fn verify_piece(&self, piece: u64, bytes: &[u8]) -> Result<(), Error> {
        let digest = self.digest;
        let wanted = self.piece_length(piece)?;
        let found = bytes.len() as u64;
        if wanted != found {
            return Err(Error::PieceLength { digest, piece, wanted, found });
        }
        let good = match usize::try_from(piece).ok().and_then(|index| self.values.get(index)) {
            Some(value) => *value == piece_value(piece, bytes),
            None => Digest::of(bytes) == digest,
        };
        if good { Ok(()) } else { Err(Error::PieceValue { digest, piece }) }
    }
}

/// Number of pieces of a blob of this length, at least one.
#[must_use]
pub fn piece_count(length: u64) -> u64 {
    length.div_ceil(PIECE_LENGTH).max(1)
}

/// Bytes of one piece of a blob of this length; 0 beyond its end.
#[must_use]
pub fn piece_length(length: u64, piece: u64) -> u64 {
    length.saturating_sub(piece.saturating_mul(PIECE_LENGTH)).min(PIECE_LENGTH)
}

/// Cuts a range where pieces end, so that each part needs one piece.
pub fn parts(range: Range<u64>) -> impl Iterator<Item = Range<u64>> + Send {
    let mut at = range.start;
    std::iter::from_fn(move || {
        let end = range.end.min((at / PIECE_LENGTH + 1) * PIECE_LENGTH);
        let part = at..end;
        at = end;
        (!part.is_empty()).then_some(part)
    })
}

/// Number of values in the manifest of a blob of this length.
fn value_count(length: u64) -> Result<u64, Error> {
    if length > MAX_BLOB_LENGTH {
        return Err(Error::TooLong(length));
    }
    Ok(match piece_count(length) {
        1 => 0,
        count => count,
    })
}

fn piece_value(piece: u64, bytes: &[u8]) -> PieceValue {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(piece * PIECE_LENGTH);
    hasher.update(bytes);
    hasher.finalize_non_root()
}

/// The root over two or more values; nothing where there are fewer.
fn fold(values: &[PieceValue]) -> Option<Digest> {
    if values.len() < 2 {
        return None;
    }
    let (left, right) = values.split_at(left_length(values.len()));
    let root = merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash);
    Some(Digest::from(root))
}

/// The value over one or more piece values, as deep as the logarithm of their
/// number.
fn subtree(values: &[PieceValue]) -> PieceValue {
    match values {
        [one] => *one,
        _ => {
            let (left, right) = values.split_at(left_length(values.len()));
            merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
        }
    }
}

/// The left part of a BLAKE3 tree is the largest power of two below the whole.
fn left_length(count: usize) -> usize {
    count.div_ceil(2).next_power_of_two()
}

/// Computes a manifest in one pass over the bytes: every byte is hashed once.
#[derive(Debug)]
pub struct ManifestBuilder {
    current: blake3::Hasher,
    /// Bytes in `current`; a full piece stays there until more bytes come,
    /// since only then it is known not to be the root.
    filled: u64,
    values: Vec<PieceValue>,
}

impl Default for ManifestBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl ManifestBuilder {
    /// Starts with no bytes.
    #[must_use]
    pub fn new() -> Self {
        Self { current: blake3::Hasher::new(), filled: 0, values: Vec::new() }
    }

    /// Bytes so far.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.values.len() as u64 * PIECE_LENGTH + self.filled
    }

    /// Adds the next bytes, however many.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.filled == PIECE_LENGTH {
                self.next_piece();
            }
            let room = usize::try_from(PIECE_LENGTH - self.filled).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.current.update(now);
            self.filled += now.len() as u64;
            bytes = later;
        }
    }

    fn next_piece(&mut self) {
        self.values.push(self.current.finalize_non_root());
        // `reset` would keep the old offset.
        self.current = blake3::Hasher::new();
        self.current.set_input_offset(self.values.len() as u64 * PIECE_LENGTH);
        self.filled = 0;
    }

    /// The manifest of all the bytes.
    #[must_use]
    pub fn finish(mut self) -> Manifest {
        let length = self.length();
        if self.values.is_empty() {
            let digest = Digest::from(self.current.finalize());
            return Manifest { digest, length, values: Arc::default() };
        }
        self.values.push(self.current.finalize_non_root());
        let (left, right) = self.values.split_at(left_length(self.values.len()));
        let root = merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash);
        Manifest { digest: Digest::from(root), length, values: self.values.into() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
    use proptest::test_runner::Config;

    use super::*;

    const PIECE: usize = PIECE_LENGTH as usize;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|index| (index * 31 + index / 251) as u8).collect()
    }

    fn manifest_in_steps(bytes: &[u8], step: usize) -> Manifest {
        let mut builder = ManifestBuilder::new();
        bytes.chunks(step).for_each(|chunk| builder.update(chunk));
        assert_eq!(builder.length(), bytes.len() as u64);
        builder.finish()
    }

    fn check(length: usize, step: usize) {
        let bytes = bytes(length);
        let manifest = manifest_in_steps(&bytes, step);
        assert_eq!(manifest.digest(), Digest::of(&bytes), "length {length}");
        assert_eq!(manifest.length(), length as u64);
        let encoded = manifest.encode();
        let decoded = Manifest::decode(manifest.digest(), length as u64, &encoded);
        assert_eq!(decoded.as_ref(), Ok(&manifest));
        let pieces: Vec<&[u8]> =
            if bytes.is_empty() { vec![&[]] } else { bytes.chunks(PIECE).collect() };
        assert_eq!(pieces.len() as u64, manifest.piece_count());
        for (piece, part) in pieces.iter().enumerate() {
            assert_eq!(manifest.verify_piece(piece as u64, part), Ok(()));
        }
    }

    #[test]
    fn agrees_with_blake3_around_every_boundary() {
        for length in [0, 1, 1023, 1024, 1025, 2048, 65_535, 65_536, 65_537] {
            check(length, 1000);
        }
        for pieces in 1..=9 {
            for length in [pieces * PIECE - 1, pieces * PIECE, pieces * PIECE + 1] {
                check(length, PIECE);
                check(length, 300_007);
            }
        }
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let bytes = bytes(3 * PIECE + 5);
        let manifest = manifest_in_steps(&bytes, PIECE);
        let (digest, length, encoded) = (manifest.digest(), manifest.length(), manifest.encode());
        let count = |found| Err(Error::Count { digest, wanted: 4, found });
        assert_eq!(Manifest::decode(digest, length, &encoded[..96]), count(3));
        assert_eq!(Manifest::decode(digest, length, &encoded[..127]), count(127));
        assert_eq!(Manifest::decode(digest, length, &[]), count(0));
        assert!(matches!(
            Manifest::decode(Digest::of(b""), length, &encoded),
            Err(Error::Fold { .. })
        ));
        assert_eq!(Manifest::decode(digest, u64::MAX, &encoded), Err(Error::TooLong(u64::MAX)));
        assert_eq!(
            manifest.verify_piece(4, &[]),
            Err(Error::NoSuchPiece { digest, piece: 4, count: 4 })
        );
        assert_eq!(
            manifest.verify_piece(3, &bytes[..6]),
            Err(Error::PieceLength { digest, piece: 3, wanted: 5, found: 6 })
        );
        // The right bytes in the wrong place.
        assert_eq!(
            manifest.verify_piece(0, &bytes[PIECE..2 * PIECE]),
            Err(Error::PieceValue { digest, piece: 0 })
        );
    }

    proptest! {
        #![proptest_config(Config::with_cases(48))]

        #[test]
        fn any_length_and_step(length in 0..5 * PIECE, step in 1000..2 * PIECE) {
            let bytes = bytes(length);
            prop_assert_eq!(manifest_in_steps(&bytes, step).digest(), Digest::of(&bytes));
        }

        #[test]
        fn a_flipped_bit_of_a_piece_is_found(length in 1..3 * PIECE, at in any::<usize>(), bit in 0..8u8) {
            let mut bytes = bytes(length);
            let manifest = manifest_in_steps(&bytes, PIECE);
            let at = at % length;
            bytes[at] ^= 1 << bit;
            for (piece, part) in bytes.chunks(PIECE).enumerate() {
                let result = manifest.verify_piece(piece as u64, part);
                prop_assert_eq!(result.is_ok(), piece != at / PIECE);
            }
        }

        #[test]
        fn a_flipped_bit_of_the_manifest_is_found(
            length in PIECE + 1..4 * PIECE, at in any::<usize>(), bit in 0..8u8,
        ) {
            let manifest = manifest_in_steps(&bytes(length), PIECE);
            let mut encoded = manifest.encode();
            let at = at % encoded.len();
            encoded[at] ^= 1 << bit;
            let result = Manifest::decode(manifest.digest(), manifest.length(), &encoded);
            prop_assert!(matches!(result, Err(Error::Fold { .. })), "{result:?}");
        }
    }

    #[test]
    #[allow(clippy::single_range_in_vec_init, reason = "lists of ranges are what is tested")]
    fn parts_end_where_pieces_end() {
        let cut = |range| parts(range).collect::<Vec<_>>();
        let piece = PIECE_LENGTH;
        assert_eq!(cut(0..0), []);
        assert_eq!(cut(5..7), [5..7]);
        assert_eq!(cut(0..piece), [0..piece]);
        assert_eq!(cut(5..2 * piece + 1), [5..piece, piece..2 * piece, 2 * piece..2 * piece + 1]);
    }
}
