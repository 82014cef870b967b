//! Several nodes as one source: each that should hold a blob is asked in turn.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use patchmesh_proto::replication::GetManifestResponse;
use patchmesh_topology::digest::Digest;
use tokio::time::timeout;
use tonic::Status;

use super::{Conduct, Frames, PieceSource, Small, Wanted};

/// How long one of them may think about it. One that does not hold the blob
/// yet would ask its own parent, which is us.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a batch of small ones may take: it is a few MiB, and the line thin.
const BATCH_PATIENCE: Duration = Duration::from_secs(120);

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

    async fn small(&self, wanted: &[Wanted]) -> Result<Vec<Small>, Status> {
        let mut last = Status::not_found("no node that was asked holds them");
        let holds = |blobs: &BTreeMap<Digest, u64>| {
            wanted.iter().filter(|one| blobs.contains_key(&one.digest)).count()
        };
        let mut holders: Vec<_> =
            self.holders.iter().map(|(source, blobs)| (holds(blobs), source)).collect();
        // Whoever should hold most of them; the others are asked one by one for
        // what lacks.
        holders.sort_by_key(|(count, _)| Reverse(*count));
        for (_, source) in holders.into_iter().filter(|(count, _)| *count > 0) {
            match timeout(BATCH_PATIENCE, source.small(wanted)).await {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(status)) => last = status,
                Err(_) => last = Status::deadline_exceeded("the node took too long"),
            }
        }
        Err(last)
    }

    fn judged(&self, conduct: Conduct) {
        self.holders.iter().for_each(|(source, _)| source.judged(conduct));
    }
}
