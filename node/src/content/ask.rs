//! Asking one source for a blob or parts of it, with patience that ends.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use patchmesh_proto::replication::{GetManifestResponse, TransferResponse};
use tokio::time::timeout;
use tonic::{Code, Status};

use super::assemble::{Assembler, Deceit};
use super::{Error, Frame, Frames, PieceSource, Wanted};
use crate::store::{self, Manifest};

/// How long a source may send nothing. It may itself wait for its own parent.
pub(super) const SILENCE: Duration = Duration::from_secs(60);

/// The pieces of a blob of one piece.
const ONLY: Range<u64> = 0..1;

/// Whether this is no part of a piece, but word that one is held back for now.
pub(super) const fn is_note(frame: &TransferResponse) -> bool {
    !frame.held.is_empty()
}

/// One source asked about one blob.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) source: &'a Arc<dyn PieceSource>,
    pub(super) wanted: Wanted,
}

impl Ask<'_> {
    /// A blob of one piece: its name proves it, so no manifest is needed.
    pub(super) async fn single(self) -> Result<Bytes, Error> {
        let Wanted { digest, length, .. } = self.wanted;
        let manifest = Manifest::single(digest, length).map_err(store::Error::from)?;
        let mut assembler = Assembler::new(manifest.clone(), vec![ONLY]);
        let mut frames = self.pieces(&[ONLY], SILENCE).await?;
        loop {
            let frame = self.next(&mut frames, SILENCE).await?;
            if is_note(&frame) {
                continue;
            }
            let whole =
                assembler.push(frame.into_parts().0).map_err(|deceit| self.deceit(deceit))?;
            if let Some((piece, bytes)) = whole {
                manifest.verify_piece(piece, &bytes).map_err(|fault| self.deceit(fault.into()))?;
                return Ok(bytes);
            }
        }
    }

    /// The manifest, which proves itself.
    pub(super) async fn manifest(self) -> Result<Manifest, Error> {
        let Wanted { digest, length, .. } = self.wanted;
        let answer: GetManifestResponse =
            self.within(SILENCE, self.source.manifest(&digest)).await?;
        if answer.length != length {
            return Err(self.deceit(Deceit::Length { wanted: length, found: answer.length }));
        }
        Manifest::decode(digest, length, &answer.piece_values)
            .map_err(|fault| self.deceit(fault.into()))
    }

    pub(super) async fn pieces(
        self,
        ranges: &[Range<u64>],
        patience: Duration,
    ) -> Result<Frames, Error> {
        self.within(patience, self.source.pieces(self.wanted, ranges)).await
    }

    pub(super) async fn next(
        self,
        frames: &mut Frames,
        patience: Duration,
    ) -> Result<Frame, Error> {
        let frame = timeout(patience, frames.next()).await.map_err(|_| self.silent(patience))?;
        match frame {
            Some(frame) => frame.map_err(|status| self.failed(status)),
            None => Err(Error::Truncated { from: self.name(), digest: self.wanted.digest }),
        }
    }

    pub(super) fn deceit(self, source: Deceit) -> Error {
        Error::Deceit { from: self.name(), digest: self.wanted.digest, source: Box::new(source) }
    }

    async fn within<T>(
        self,
        patience: Duration,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Error> {
        timeout(patience, call)
            .await
            .map_err(|_| self.silent(patience))?
            .map_err(|status| self.failed(status))
    }

    fn name(self) -> String {
        self.source.name().to_owned()
    }

    pub(super) fn silent(self, after: Duration) -> Error {
        Error::Silent { from: self.name(), digest: self.wanted.digest, after }
    }

    fn failed(self, status: Status) -> Error {
        let (from, digest) = (self.name(), self.wanted.digest);
        match status.code() {
            Code::NotFound => Error::Absent { from, digest },
            _ => Error::Source { from, digest, source: Box::new(status) },
        }
    }
}
