//! One attempt to receive a blob from one source.
//!
//! Two tasks share the work: this one takes frames from the network and puts
//! pieces together, a thread that may block verifies and writes them. A bounded
//! queue lies between. Checkpoints run beside both.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::assemble::{Assembler, Deceit};
use super::fetch::State;
use super::transfers::Transfer;
use super::{Content, Error, Frames, PieceSource, Wanted};
use crate::store::manifest::PIECE_LENGTH;
use crate::store::{self, Manifest, PartialBlob};

/// How long a source may send nothing. It may itself wait for its own parent.
const SILENCE: Duration = Duration::from_secs(60);

/// Pieces between the network and the disk.
const QUEUE: usize = 8;

/// Ranges asked for in one call. What lies beyond is asked for in the next.
const MAX_RANGES: usize = 512;

/// The pieces of a blob of one piece.
const ONLY: Range<u64> = 0..1;

/// Receives what lacks of a blob and stores it.
pub(super) async fn blob(
    content: &Content,
    source: &dyn PieceSource,
    wanted: Wanted,
    state: &watch::Sender<State>,
    transfer: &Transfer,
) -> Result<(), Error> {
    let attempt = Attempt { content, source, wanted, transfer };
    if wanted.length <= PIECE_LENGTH {
        return attempt.single().await;
    }
    let partial = attempt.begin().await?;
    transfer.set_received(partial.received());
    state.send_replace(State::Receiving(partial.clone()));
    while !partial.is_full() {
        attempt.pieces(&partial).await?;
    }
    off_thread(move || partial.finish().map_err(Error::from)).await
}

struct Attempt<'a> {
    content: &'a Content,
    source: &'a dyn PieceSource,
    wanted: Wanted,
    transfer: &'a Transfer,
}

impl Attempt<'_> {
    /// A blob of one piece: its name proves it, so no manifest is needed.
    async fn single(&self) -> Result<(), Error> {
        let manifest =
            Manifest::single(self.wanted.digest, self.wanted.length).map_err(store::Error::from)?;
        let mut assembler = Assembler::new(manifest.clone(), vec![ONLY]);
        let mut frames = self.ask(&[ONLY]).await?;
        while !assembler.is_done() {
            let frame = self.next(&mut frames).await?;
            let Some((piece, bytes)) = assembler.push(frame).map_err(|e| self.deceit(e))? else {
                continue;
            };
            manifest.verify_piece(piece, &bytes).map_err(|e| self.deceit(e.into()))?;
            let length = bytes.len() as u64;
            self.content.store().run(move |store| store.put_blob(&bytes)).await?;
            self.transfer.set_received(length);
        }
        Ok(())
    }

    /// The blob's state from before, or a new one once the source has told the
    /// manifest.
    async fn begin(&self) -> Result<PartialBlob, Error> {
        let Wanted { digest, length, .. } = self.wanted;
        let store = self.content.store();
        let resumed = store.run(move |store| store.resume(&digest)).await?;
        if let Some(partial) = resumed {
            let found = partial.manifest().length();
            return if found == length {
                Ok(partial)
            } else {
                Err(Error::Length { digest, said: length, found })
            };
        }
        let answer = self.within(self.source.manifest(&digest)).await?;
        if answer.length != length {
            return Err(self.deceit(Deceit::Length { wanted: length, found: answer.length }));
        }
        let manifest = Manifest::decode(digest, length, &answer.piece_values)
            .map_err(|e| self.deceit(e.into()))?;
        Ok(store.run(move |store| store.partial(&manifest)).await?)
    }

    /// Receives pieces that lack, as many as one call may ask for.
    async fn pieces(&self, partial: &PartialBlob) -> Result<(), Error> {
        let mut missing = partial.missing();
        missing.truncate(MAX_RANGES);
        let mut frames = self.ask(&missing).await?;
        let assembler = Assembler::new(partial.manifest().clone(), missing);
        let (pieces, writer) = spawn_writer(partial.clone());
        let mut checkpoints = Checkpoints { partial: partial.clone(), running: None };
        let received = self.forward(&mut frames, assembler, pieces, &mut checkpoints).await;
        // The queue is closed now; what is in it still gets written.
        let written = writer.await.map_err(|_| Error::Stopped)?.map_err(|e| self.judge(e));
        self.transfer.set_received(partial.received());
        let synced = if partial.is_full() {
            checkpoints.wait().await
        } else {
            // Whatever comes now, these pieces need not come again.
            checkpoints.last().await
        };
        written.and(received).and(synced)
    }

    /// Hands pieces to the writer until all have come or either side fails.
    async fn forward(
        &self,
        frames: &mut Frames,
        mut assembler: Assembler,
        pieces: mpsc::Sender<Queued>,
        checkpoints: &mut Checkpoints,
    ) -> Result<(), Error> {
        while !assembler.is_done() {
            let frame = self.next(frames).await?;
            let Some((piece, bytes)) = assembler.push(frame).map_err(|e| self.deceit(e))? else {
                continue;
            };
            let room = self.content.inner.writes.clone().acquire_owned().await;
            let _room = room.map_err(|_| Error::Stopped)?;
            if pieces.send(Queued { piece, bytes, _room }).await.is_err() {
                // The writer has a reason, which it tells itself.
                return Ok(());
            }
            self.transfer.set_received(checkpoints.partial.received());
            checkpoints.poll().await?;
        }
        Ok(())
    }

    async fn ask(&self, ranges: &[Range<u64>]) -> Result<Frames, Error> {
        self.within(self.source.pieces(self.wanted, ranges)).await
    }

    async fn next(
        &self,
        frames: &mut Frames,
    ) -> Result<patchmesh_proto::replication::TransferResponse, Error> {
        loop {
            let frame = timeout(SILENCE, frames.next()).await.map_err(|_| self.silent())?;
            let frame = match frame {
                Some(frame) => frame.map_err(|status| self.failed(status))?,
                None => {
                    return Err(Error::Truncated { from: self.name(), digest: self.wanted.digest });
                }
            };
            // No part of a piece, but word that one is held back for now.
            if frame.held.is_empty() {
                return Ok(frame);
            }
        }
    }

    async fn within<T>(&self, call: impl Future<Output = Result<T, Status>>) -> Result<T, Error> {
        timeout(SILENCE, call)
            .await
            .map_err(|_| self.silent())?
            .map_err(|status| self.failed(status))
    }

    fn name(&self) -> String {
        self.source.name().to_owned()
    }

    fn silent(&self) -> Error {
        Error::Silent { from: self.name(), digest: self.wanted.digest, after: SILENCE }
    }

    fn failed(&self, status: Status) -> Error {
        let (from, digest) = (self.name(), self.wanted.digest);
        match status.code() {
            Code::NotFound => Error::Absent { from, digest },
            _ => Error::Source { from, digest, source: Box::new(status) },
        }
    }

    fn deceit(&self, source: Deceit) -> Error {
        Error::Deceit { from: self.name(), digest: self.wanted.digest, source: Box::new(source) }
    }

    /// A piece that does not verify is the source's fault, the rest is ours.
    fn judge(&self, error: store::Error) -> Error {
        match error {
            store::Error::Manifest(error) => self.deceit(error.into()),
            error => error.into(),
        }
    }
}

/// A piece on its way to the disk.
struct Queued {
    piece: u64,
    bytes: Bytes,
    /// Given back when it was written.
    _room: OwnedSemaphorePermit,
}

type Writer = JoinHandle<Result<(), store::Error>>;

/// Starts the thread that verifies and writes.
fn spawn_writer(partial: PartialBlob) -> (mpsc::Sender<Queued>, Writer) {
    let (sender, mut queue) = mpsc::channel::<Queued>(QUEUE);
    let writer = tokio::task::spawn_blocking(move || {
        while let Some(Queued { piece, bytes, _room }) = queue.blocking_recv() {
            partial.write_piece(piece, &bytes)?;
        }
        Ok(())
    });
    (sender, writer)
}

/// Runs checkpoints beside the writer, one at a time.
struct Checkpoints {
    partial: PartialBlob,
    running: Option<JoinHandle<Result<(), store::Error>>>,
}

impl Checkpoints {
    /// Starts one that is due; tells how the one before went.
    async fn poll(&mut self) -> Result<(), Error> {
        if self.running.as_ref().is_some_and(JoinHandle::is_finished) {
            self.wait().await?;
        }
        if self.running.is_none() && self.partial.checkpoint_due() {
            let partial = self.partial.clone();
            self.running = Some(tokio::task::spawn_blocking(move || partial.checkpoint()));
        }
        Ok(())
    }

    async fn wait(&mut self) -> Result<(), Error> {
        match self.running.take() {
            Some(running) => Ok(running.await.map_err(|_| Error::Stopped)??),
            None => Ok(()),
        }
    }

    async fn last(&mut self) -> Result<(), Error> {
        self.wait().await?;
        let partial = self.partial.clone();
        off_thread(move || partial.checkpoint().map_err(Error::from)).await
    }
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Stopped)?
}
