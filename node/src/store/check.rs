//! Blobs read again and hashed, piece by piece: what the disk has made of them.

use patchmesh_topology::digest::Digest;

use super::blob::Source;
use super::manifest::{Manifest, PIECE_LENGTH};
use super::{BlobReader, Error, Store};

/// How far a verification has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that were hashed.
    pub done: u64,
    /// Bytes of the blob.
    pub length: u64,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// The blob's bytes.
    pub length: u64,
    /// Its pieces.
    pub pieces: u64,
    /// The pieces that are wrong or can't be read.
    pub bad_pieces: Vec<u64>,
}

impl Verification {
    /// Whether every piece is as it should be.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.bad_pieces.is_empty()
    }
}

/// What is known of the pieces of a blob that are not named as bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// They were read just now and are good.
    Good,
    /// Nobody has looked.
    Unknown,
}

/// A blob that is being read again.
#[derive(Debug)]
pub struct Check {
    manifest: Manifest,
    /// Nothing where its bytes are gone.
    reader: Option<BlobReader>,
}

impl Store {
    /// Begins to read a blob again, where it is held.
    ///
    /// # Errors
    /// A failure other than of the blob's own bytes.
    pub fn check(&self, digest: &Digest) -> Result<Option<Check>, Error> {
        let Some(manifest) = self.manifest(digest)? else { return Ok(None) };
        let reader = match self.open_blob(digest) {
            Ok(Some(reader)) => Some(reader),
            // Being received, or removed meanwhile.
            Ok(None) => return Ok(None),
            Err(Error::Damaged { .. }) => None,
            Err(error) if error.is_missing_file() => None,
            Err(error) => return Err(error),
        };
        Ok(Some(Check { manifest, reader }))
    }

    /// Reads and hashes a blob again, piece by piece.
    ///
    /// # Errors
    /// [`Error::NotHeld`], or a failure other than of the blob's own bytes.
    pub fn verify_blob(
        &self,
        digest: &Digest,
        mut progress: impl FnMut(Progress),
    ) -> Result<Verification, Error> {
        let check = self.check(digest)?.ok_or(Error::NotHeld(*digest))?;
        let (length, pieces) = (check.length(), check.pieces());
        let mut bad_pieces = Vec::new();
        for piece in 0..pieces {
            if !check.is_good(piece) {
                bad_pieces.push(piece);
            }
            progress(Progress { done: length.min((piece + 1) * PIECE_LENGTH), length });
        }
        Ok(Verification { length, pieces, bad_pieces })
    }

    /// Takes its name from a blob, if some of these pieces are really bad; which are,
    /// none where it is not held. What keeps its place as good was read before.
    /// Small blobs keep their names: they are written anew over the bad bytes
    /// ([`Store::mend_small`]).
    ///
    /// # Errors
    /// A failing disk.
    pub fn unname_if_damaged(
        &self,
        digest: &Digest,
        suspects: &[u64],
        rest: Rest,
    ) -> Result<Vec<u64>, Error> {
        let Some(check) = self.check(digest)? else { return Ok(Vec::new()) };
        let pieces = check.pieces();
        let is_bad = |piece: &u64| *piece < pieces && !check.is_good(*piece);
        let is_gone = check.reader.is_none();
        let mut bad: Vec<u64> = suspects.iter().copied().filter(is_bad).collect();
        if is_gone || (!bad.is_empty() && rest == Rest::Unknown) {
            bad = (0..pieces).filter(|piece| bad.contains(piece) || is_bad(piece)).collect();
        }
        if !bad.is_empty() && !check.is_small() {
            self.unname_damaged(digest, &bad)?;
        }
        Ok(bad)
    }
}

impl Check {
    /// The blob's bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.manifest.length()
    }

    /// Its pieces.
    #[must_use]
    pub fn pieces(&self) -> u64 {
        self.manifest.piece_count()
    }

    fn is_small(&self) -> bool {
        self.length() <= super::SMALL_BLOB
    }

    /// Reads a piece from the disk itself and hashes it; whether it is as it should
    /// be. Blocks.
    #[must_use]
    pub fn is_good(&self, piece: u64) -> bool {
        let Some(reader) = &self.reader else { return false };
        let Ok(length) = self.manifest.piece_length(piece) else { return false };
        let at = piece * PIECE_LENGTH;
        match &reader.bytes {
            Source::Memory(bytes) => self.manifest.verify_piece(piece, bytes).is_ok(),
            Source::File(pieces) => {
                pieces.forget_cached(at, length);
                let is_good = pieces.piece(piece).is_ok();
                // What is read here nobody asked for: it is not to push out what is.
                pieces.forget_cached(at, length);
                is_good
            }
        }
    }
}
