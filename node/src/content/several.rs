//! Several nodes as one source: each that should hold a blob is asked in turn.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use patchmesh_proto::replication::GetManifestResponse;
use patchmesh_topology::digest::Digest;
use tokio::time::timeout;
use tonic::Status;

use super::{Frames, PieceSource, Wanted};

/// How long one of them may think about it. One that does not hold the blob
/// yet would ask its own parent, which is us.
const PATIENCE: Duration = Duration::from_secs(10);

/// One of them, and the blobs that it should hold.
pub type Holder = (Arc<dyn PieceSource>, Arc<BTreeMap<Digest, u64>>);

/// Sources in the order in which they are asked.
pub struct Several {
    holders: Vec<Holder>,
    name: String,
}

impl Several {
    /// All of these.
    #[must_use]
    pub fn new(holders: Vec<Holder>) -> Self {
        let names: Vec<&str> = holders.iter().map(|(source, _)| source.name()).collect();
        let name = names.join(", ");
        Self { holders, name }
    }

    fn holding(&self, digest: &Digest) -> impl Iterator<Item = &Arc<dyn PieceSource>> {
        let held = self.holders.iter().filter(|(_, blobs)| blobs.contains_key(digest));
        held.map(|(source, _)| source)
    }
}

#[async_trait]
impl PieceSource for Several {
    fn name(&self) -> &str {
        &self.name
    }

    async fn manifest(&self, digest: &Digest) -> Result<GetManifestResponse, Status> {
        let mut last = Status::not_found("no node that was asked holds it");
        for source in self.holding(digest) {
            match timeout(PATIENCE, source.manifest(digest)).await {
                Ok(Ok(manifest)) => return Ok(manifest),
                Ok(Err(status)) => last = status,
                Err(_) => last = Status::deadline_exceeded("the node took too long"),
            }
        }
        Err(last)
    }

    async fn pieces(&self, wanted: Wanted, ranges: &[Range<u64>]) -> Result<Frames, Status> {
        let mut last = Status::not_found("no node that was asked holds it");
        for source in self.holding(&wanted.digest) {
            // Whoever has no manifest of it would have to fetch it first.
            match timeout(PATIENCE, source.manifest(&wanted.digest)).await {
                Ok(Ok(_)) => match source.pieces(wanted, ranges).await {
                    Ok(frames) => return Ok(frames),
                    Err(status) => last = status,
                },
                Ok(Err(status)) => last = status,
                Err(_) => last = Status::deadline_exceeded("the node took too long"),
            }
        }
        Err(last)
    }

    fn distrust(&self) {
        self.holders.iter().for_each(|(source, _)| source.distrust());
    }
}
