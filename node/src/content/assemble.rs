//! Frames become pieces, or the source is told off.
//!
//! Pure: knows what was asked for, takes frames, gives whole pieces. Holds at
//! most one piece in memory, whatever comes.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use patchmesh_proto::replication::TransferResponse;

use crate::store::manifest::{self, Manifest};

/// What no honest source sends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Deceit {
    /// Wrong bytes, or a manifest that does not fit.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    /// A blob or document with other bytes than its name says.
    #[error("the bytes are not those of its name")]
    Bytes,
    /// A part of a blob that was not due.
    #[error("it sent a part of another blob")]
    Other,
    /// A manifest of another length than the signed one.
    #[error("it states {found} bytes, where {wanted} are signed for")]
    Length {
        /// The length that is signed for.
        wanted: u64,
        /// The length that it states.
        found: u64,
    },
    /// A piece that was not asked for, or not now.
    #[error("it sent piece {found}, where {wanted:?} was due")]
    Unasked {
        /// The piece that is due; nothing after the last.
        wanted: Option<u64>,
        /// The piece that came.
        found: u64,
    },
    /// A frame that does not continue the piece.
    #[error("it sent {length} bytes at offset {offset} of piece {piece}, which are not due")]
    Frame {
        /// The piece.
        piece: u64,
        /// Offset of the frame.
        offset: u32,
        /// Its bytes.
        length: usize,
    },
}

/// Puts the pieces of one answer together.
#[derive(Debug)]
pub(super) struct Assembler {
    manifest: Manifest,
    /// Pieces that are due, in the order asked for.
    due: VecDeque<Range<u64>>,
    /// The part of the first of them that has come.
    begun: BytesMut,
}

impl Assembler {
    pub(super) fn new(manifest: Manifest, asked: Vec<Range<u64>>) -> Self {
        let due = asked.into_iter().filter(|range| !range.is_empty()).collect();
        Self { manifest, due, begun: BytesMut::new() }
    }

    /// Whether all that was asked for has come.
    pub(super) fn is_done(&self) -> bool {
        self.due.is_empty()
    }

    /// Takes a frame; gives the piece that it completes, not verified yet.
    pub(super) fn push(&mut self, frame: TransferResponse) -> Result<Option<(u64, Bytes)>, Deceit> {
        let TransferResponse { piece, offset, data, .. } = frame;
        let wanted = self.due.front().map(|range| range.start);
        if wanted != Some(piece) {
            return Err(Deceit::Unasked { wanted, found: piece });
        }
        let length = self.manifest.piece_length(piece)?;
        let end = self.begun.len() as u64 + data.len() as u64;
        let continues = u64::from(offset) == self.begun.len() as u64;
        // An empty frame is only right for the only piece of an empty blob;
        // else they could come for ever.
        if !continues || end > length || (data.is_empty() && length > 0) {
            return Err(Deceit::Frame { piece, offset, length: data.len() });
        }
        if end < length {
            if self.begun.is_empty() {
                self.begun.reserve(usize::try_from(length).unwrap_or(0));
            }
            self.begun.extend_from_slice(&data);
            return Ok(None);
        }
        let bytes = if self.begun.is_empty() {
            data
        } else {
            self.begun.extend_from_slice(&data);
            // Taken whole: what `split` left behind would keep the piece's memory
            // until the next one begins.
            std::mem::take(&mut self.begun).freeze()
        };
        self.advance();
        Ok(Some((piece, bytes)))
    }

    fn advance(&mut self) {
        if let Some(range) = self.due.front_mut() {
            range.start += 1;
            if range.is_empty() {
                self.due.pop_front();
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "lists of ranges are what is tested")]
mod tests {
    use super::*;
    use crate::store::manifest::{ManifestBuilder, PIECE_LENGTH};

    const PIECE: usize = PIECE_LENGTH as usize;

    fn assembler(length: usize, asked: Vec<Range<u64>>) -> Assembler {
        let mut builder = ManifestBuilder::new();
        builder.update(&vec![7; length]);
        Assembler::new(builder.finish(), asked)
    }

    fn frame(piece: u64, offset: usize, length: usize) -> TransferResponse {
        let data = vec![7; length].into();
        TransferResponse {
            piece,
            offset: offset as u32,
            data,
            sent_at: 0,
            held: String::new(),
            waited: 0,
        }
    }

    #[test]
    fn frames_become_pieces() {
        let mut assembler = assembler(3 * PIECE + 5, vec![1..2, 2..2, 3..4]);
        assert_eq!(assembler.push(frame(1, 0, 100)), Ok(None));
        let (piece, bytes) = assembler.push(frame(1, 100, PIECE - 100)).unwrap().unwrap();
        assert_eq!((piece, bytes.len()), (1, PIECE));
        assert!(!assembler.is_done());
        assert!(assembler.push(frame(3, 0, 5)).unwrap().is_some());
        assert!(assembler.is_done());
        let late = assembler.push(frame(4, 0, 1));
        assert_eq!(late, Err(Deceit::Unasked { wanted: None, found: 4 }));
    }

    #[test]
    fn an_empty_blob_has_an_empty_piece() {
        let mut assembler = assembler(0, vec![0..1]);
        assert_eq!(assembler.push(frame(0, 0, 0)), Ok(Some((0, Bytes::new()))));
        assert!(assembler.is_done());
    }

    #[test]
    fn whatever_is_not_due_is_deceit() {
        let start = || {
            let mut assembler = assembler(2 * PIECE, vec![0..2]);
            assembler.push(frame(0, 0, 10)).unwrap();
            assembler
        };
        assert!(matches!(start().push(frame(1, 0, 10)), Err(Deceit::Unasked { .. })));
        for (offset, length) in [(0, 10), (11, 10), (9, 10), (10, 0), (10, PIECE)] {
            let result = start().push(frame(0, offset, length));
            assert!(matches!(result, Err(Deceit::Frame { .. })), "{offset} {length}");
        }
        // Asking for more than there is does not bring it.
        let mut beyond = assembler(5, vec![1..2]);
        assert!(matches!(beyond.push(frame(1, 0, 5)), Err(Deceit::Manifest(_))));
    }
}
