//! Where pieces come from, as a fetch sees it.

use std::ops::Range;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use patchmesh_proto::replication::{GetManifestResponse, GetPiecesResponse};
use patchmesh_topology::digest::Digest;
use tonic::Status;

/// Frames of pieces as they come, not verified.
pub type Frames = BoxStream<'static, Result<GetPiecesResponse, Status>>;

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
    async fn pieces(&self, digest: &Digest, ranges: &[Range<u64>]) -> Result<Frames, Status>;

    /// Told when it sent what no honest source sends: its connection is to be
    /// dropped.
    fn distrust(&self);
}
