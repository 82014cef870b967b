//! Where a primary finds payloads again that it lost: nodes that a restored one
//! learned from, the nodes right below it, and last the vendors.
//!
//! Nothing that comes from any of them is believed before it is verified. One that
//! lied is not asked again while the node runs, and a person is told.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream;
use patchmesh_proto::replication::GetManifestResponse;
use patchmesh_topology::digest::Digest;
use patchmesh_topology::name::NodeName;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::near;
use crate::alerts::Alerts;
use crate::content::{self, Conduct, Frames, Intake, PieceSource, Several, Small, Wanted};
use crate::generation::Current;
use crate::log::in_one_line;
use crate::primary::vendors::Vendors;
use crate::succession::Ways;

/// Nodes below that are asked whether they hold a blob.
const MAX_ASKED: usize = 16;
/// How many of them at a time.
const AT_ONCE: usize = 4;
/// How long each may think about it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The sources of a primary.
pub(super) struct Elsewhere {
    pub(super) name: NodeName,
    pub(super) ways: Ways,
    pub(super) intake: Intake,
    pub(super) current: Current,
    pub(super) alerts: Alerts,
    /// Those that a restored primary learned from.
    pub(super) earlier: Option<Several>,
    pub(super) vendors: Vendors,
    pub(super) conduct: Mutex<Known>,
}

/// Who below was asked last, and who lied.
#[derive(Debug, Default)]
pub(super) struct Known {
    last: Option<NodeName>,
    liars: BTreeSet<NodeName>,
}

impl Elsewhere {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.conduct.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node right below that holds the whole blob.
    async fn below(&self, wanted: Wanted) -> Option<content::Parent> {
        let mesh = self.current.get();
        let liars = self.known().liars.clone();
        let children = mesh.mesh.nodes.values().filter(|node| {
            node.parent.as_ref() == Some(&self.name)
                && node.is_joined()
                && !liars.contains(&node.name)
        });
        let ways: Vec<content::Parent> = children
            .take(MAX_ASKED)
            .filter_map(|node| {
                let channel = self.ways.to(&node.name, &node.url).ok()?;
                let parent =
                    content::Parent::new(node.name.clone(), self.intake.clone(), channel, |_| {});
                Some(parent.beside(CancellationToken::new()))
            })
            .collect();
        let asked = stream::iter(ways).map(async |way| {
            let holds = matches!(timeout(PATIENCE, way.holds(wanted)).await, Ok(Ok(true)));
            holds.then_some(way)
        });
        let found = std::pin::pin!(asked.buffer_unordered(AT_ONCE).filter_map(std::future::ready))
            .next()
            .await?;
        self.known().last = found.name().parse().ok();
        Some(found)
    }
}

#[async_trait]
impl PieceSource for Elsewhere {
    fn name(&self) -> &str {
        "elsewhere"
    }

    async fn manifest(&self, digest: &Digest) -> Result<GetManifestResponse, Status> {
        if let Some(earlier) = &self.earlier
            && let Ok(found) = earlier.manifest(digest).await
        {
            return Ok(found);
        }
        let length = self.current.get().payload_length(digest).unwrap_or_default();
        if let Some(below) = self.below(Wanted::new(*digest, length)).await
            && let Ok(found) = below.manifest(digest).await
        {
            return Ok(found);
        }
        self.vendors.manifest(digest).await
    }

    async fn pieces(&self, wanted: Wanted, ranges: &[Range<u64>]) -> Result<Frames, Status> {
        if let Some(earlier) = &self.earlier
            && let Ok(found) = earlier.pieces(wanted, ranges).await
        {
            return Ok(found);
        }
        if let Some(below) = self.below(wanted).await {
            match below.pieces(wanted, ranges).await {
                Ok(found) => return Ok(found),
                Err(status) => tracing::info!(
                    node = below.name(),
                    error = in_one_line(&status),
                    "a node below could not send a blob back",
                ),
            }
        }
        self.vendors.pieces(wanted, ranges).await
    }

    async fn small(&self, wanted: &[Wanted]) -> Result<Vec<Small>, Status> {
        match &self.earlier {
            Some(earlier) => earlier.small(wanted).await,
            None => Ok(Vec::new()),
        }
    }

    fn judged(&self, conduct: Conduct) {
        if conduct != Conduct::Lied {
            return;
        }
        let mut known = self.known();
        if let Some(liar) = known.last.take() {
            near::tell(&self.alerts, &liar, conduct);
            known.liars.insert(liar);
        }
    }
}
