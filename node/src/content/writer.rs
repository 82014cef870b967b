//! Between the network and the disk: a thread verifies and writes what workers
//! put together, and checkpoints run beside it.

use bytes::Bytes;
use patchmesh_topology::share::Source;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;

use super::Error;
use crate::store::{self, PartialBlob, manifest};

/// Pieces between the network and the disk.
const QUEUE: usize = 8;

/// A piece on its way to the disk.
pub(super) struct Queued {
    pub(super) piece: u64,
    pub(super) bytes: Bytes,
    /// Who sent it.
    pub(super) from: Source,
    /// Given back when it was written.
    pub(super) _room: Vec<OwnedSemaphorePermit>,
}

/// What became of a piece.
pub(super) struct Verdict {
    pub(super) piece: u64,
    pub(super) from: Source,
    /// Nothing where it is good and written.
    pub(super) fault: Option<manifest::Error>,
}

pub(super) type Writer = JoinHandle<Result<(), store::Error>>;

/// Starts the thread. It ends when nothing more can come, or when the disk
/// fails; a piece that is false does not end it.
pub(super) fn spawn(
    partial: PartialBlob,
) -> (mpsc::Sender<Queued>, mpsc::Receiver<Verdict>, Writer) {
    let (sender, mut queue) = mpsc::channel::<Queued>(QUEUE);
    let (judge, verdicts) = mpsc::channel(QUEUE);
    let writer = tokio::task::spawn_blocking(move || {
        while let Some(Queued { piece, bytes, from, _room }) = queue.blocking_recv() {
            let fault = match partial.write_piece(piece, &bytes) {
                Ok(_) => None,
                Err(store::Error::Manifest(fault)) => Some(fault),
                Err(error) => return Err(error),
            };
            // Whoever listened may have given up; what came is kept all the same.
            let _ = judge.blocking_send(Verdict { piece, from, fault });
        }
        Ok(())
    });
    (sender, verdicts, writer)
}

/// Runs checkpoints beside the writer, one at a time.
pub(super) struct Checkpoints {
    partial: PartialBlob,
    running: Option<JoinHandle<Result<(), store::Error>>>,
}

impl Checkpoints {
    pub(super) const fn new(partial: PartialBlob) -> Self {
        Self { partial, running: None }
    }

    /// Starts one that is due; tells how the one before went.
    pub(super) async fn poll(&mut self) -> Result<(), Error> {
        if self.running.as_ref().is_some_and(JoinHandle::is_finished) {
            self.wait().await?;
        }
        if self.running.is_none() && self.partial.checkpoint_due() {
            let partial = self.partial.clone();
            self.running = Some(tokio::task::spawn_blocking(move || partial.checkpoint()));
        }
        Ok(())
    }

    /// Waits for the one under way; unless all pieces came, makes the last ones
    /// durable, so that they need not come again.
    pub(super) async fn end(&mut self) -> Result<(), Error> {
        self.wait().await?;
        if self.partial.is_full() {
            return Ok(());
        }
        let partial = self.partial.clone();
        off_thread(move || partial.checkpoint().map_err(Error::from)).await
    }

    async fn wait(&mut self) -> Result<(), Error> {
        match self.running.take() {
            Some(running) => Ok(running.await.map_err(|_| Error::Stopped)??),
            None => Ok(()),
        }
    }
}

pub(super) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Stopped)?
}
