//! What the open routes need from the rest of the node.
//!
//! [`Served`] hands out a [`Snapshot`] of the generations that are served; one
//! request asks one snapshot only, so it never sees half of a switch. [`BlobRead`]
//! gives bytes, from the disk or from the parent piece by piece.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use patchmesh_topology::digest::{Digest, Sha256};
use patchmesh_topology::name::GroupName;
use patchmesh_topology::node::Stage;
use patchmesh_topology::revision::{Binding, DocumentRef};

use crate::view::shelf::Shelf;

/// Where the current snapshot comes from.
pub trait Served: Send + Sync + 'static {
    /// What is served now. Cheap: it is called for every request.
    fn snapshot(&self) -> Arc<dyn Snapshot>;
}

/// Everything that the open routes serve at one moment.
///
/// Of earlier generations, what a client in mid-update may still ask for is found
/// for at least two switches and 24 hours: [`Shelf`] keeps views so, and metadata
/// and targets stay as long.
/// Lookups are in memory, or at least never wait.
pub trait Snapshot: Send + Sync {
    /// The stages and groups that this node has views for, sorted.
    fn groups(&self) -> Vec<(Stage, GroupName)>;

    /// The views of a stage and group; none if this node doesn't serve them.
    fn shelf(&self, stage: Stage, group: &str) -> Option<Arc<Shelf>>;

    /// The blob behind a vendor's hash.
    fn binding(&self, sha256: &Sha256) -> Option<Binding>;

    /// The blob behind the vendor's hash of a payload that everybody may read:
    /// one that a view served here promises. What is approved elsewhere only is
    /// not to be had here, nor can strangers make this node fetch it.
    fn open_payload(&self, sha256: &Sha256) -> Option<Binding>;

    /// The blob behind the vendor's hash of any payload that is held here whole, for
    /// machines.
    fn held_payload(&self, sha256: &Sha256) -> Option<Binding>;

    /// The length of a blob that everybody may read: an open payload, or a
    /// document that an open target leads to. Never one of the mesh's own.
    fn open_blob(&self, blob: &Digest) -> Option<u64>;

    /// A TUF metadata file by its name, such as `timestamp.json` or `3.root.json`.
    fn metadata(&self, file: &str) -> Option<Stored>;

    /// A TUF target by its path and the hash that its metadata states.
    fn target(&self, path: &str, sha256: &Sha256) -> Option<DocumentRef>;

    /// The mesh's CA certificate, PEM.
    fn ca(&self) -> Option<Bytes>;

    /// The OpenPGP certificate that a stage's views are signed with, armored.
    fn repository_key(&self, stage: Stage) -> Option<Bytes>;
}

/// Where a small file is kept.
#[derive(Debug, Clone)]
pub enum Stored {
    /// At hand.
    Bytes(Bytes),
    /// In a blob.
    Blob(DocumentRef),
}

/// The bytes of blobs.
#[async_trait]
pub trait BlobRead: Send + Sync + 'static {
    /// Reads a part of a blob, `range.end` at most its length. Bytes come as
    /// soon as there are some, also of a blob that is still on its way here.
    async fn read(&self, blob: DocumentRef, range: Range<u64>) -> Result<ByteStream, Unavailable>;
}

/// Bytes as they come; exactly as many as were asked for, or an error.
pub type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// Why a blob can't be had now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Unavailable {
    /// For the person at the client, such as "the parent does not answer".
    pub why: String,
    /// When to try again.
    pub retry_after: Duration,
}
