//! Where pieces come from, as a fetch sees it.

use std::ops::{Deref, DerefMut, Range};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use patchmesh_proto::replication::{GetManifestResponse, TransferResponse};
use patchmesh_topology::digest::Digest;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;

use super::Wanted;

/// Frames of pieces as they come, not verified.
pub type Frames = BoxStream<'static, Result<Frame, Status>>;

/// A frame, and the room in memory of the piece that it completes: whoever takes
/// the piece over keeps it until the piece is written, so that what waits for the
/// disk counts among what may come.
#[derive(Debug)]
pub struct Frame {
    message: TransferResponse,
    room: Vec<OwnedSemaphorePermit>,
}

impl Frame {
    /// With the room that is no longer needed for what is still to come.
    pub(super) const fn new(message: TransferResponse, room: Vec<OwnedSemaphorePermit>) -> Self {
        Self { message, room }
    }

    /// The frame and its room.
    pub(super) fn into_parts(self) -> (TransferResponse, Vec<OwnedSemaphorePermit>) {
        (self.message, self.room)
    }
}

impl From<TransferResponse> for Frame {
    fn from(message: TransferResponse) -> Self {
        Self { message, room: Vec::new() }
    }
}

impl Deref for Frame {
    type Target = TransferResponse;

    fn deref(&self) -> &TransferResponse {
        &self.message
    }
}

impl DerefMut for Frame {
    fn deref_mut(&mut self) -> &mut TransferResponse {
        &mut self.message
    }
}

/// What came of one of many small blobs.
#[derive(Debug, Clone)]
pub enum Small {
    /// Its bytes, verified.
    Good(Bytes),
    /// The source does not hold it.
    Absent,
    /// What came are not the bytes of its name.
    Bad(Digest),
}

/// How a source behaves, as its pieces show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduct {
    /// It sent what no honest source sends: its connection is to be dropped.
    Lied,
    /// What it sent proved itself.
    Honest,
}

/// A node to fetch from. Nothing it says is believed before it is verified.
#[async_trait]
pub trait PieceSource: Send + Sync {
    /// Its name, for people.
    fn name(&self) -> &str;

    /// The manifest of a blob.
    ///
    /// # Errors
    /// `NOT_FOUND` when it can't offer the blob.
    async fn manifest(&self, digest: &Digest) -> Result<GetManifestResponse, Status>;

    /// Pieces of a blob in the order asked.
    ///
    /// # Errors
    /// `NOT_FOUND` when it can't offer the blob.
    async fn pieces(&self, wanted: Wanted, ranges: &[Range<u64>]) -> Result<Frames, Status>;

    /// Many small blobs in one call, verified, in the order asked. Fewer than
    /// were asked for where the source sends no more of them so.
    ///
    /// # Errors
    /// A source that cannot be reached.
    async fn small(&self, _wanted: &[Wanted]) -> Result<Vec<Small>, Status> {
        Ok(Vec::new())
    }

    /// Whether it holds the whole blob, so that nothing has to be fetched for it.
    ///
    /// # Errors
    /// A source that cannot be reached.
    async fn holds(&self, _wanted: Wanted) -> Result<bool, Status> {
        Ok(false)
    }

    /// Told how it behaved.
    fn judged(&self, conduct: Conduct);
}
