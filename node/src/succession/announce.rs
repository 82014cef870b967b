//! Telling nodes where the primary is, and being told.
//!
//! A node finds its parent at the URL in its mesh document. When the primary
//! has moved that leads nowhere, so the primary calls its children instead.
//! Being called proves nothing: the node learns from there as it learns from
//! any parent, with all checks, and then knows the new URL from the signed
//! document.

use std::collections::BTreeSet;
use std::time::Duration;

use patchmesh_proto::replication as wire;
use patchmesh_proto::replication::succession_client::SuccessionClient;
use patchmesh_proto::replication::succession_server::Succession;
use patchmesh_topology::name::NodeName;
use patchmesh_topology::node::Node;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::Ways;
use crate::generation::Current;
use crate::identity::peer::Peer;
use crate::log::in_one_line;
use crate::replicate::fetch::Parent;
use crate::replicate::follow;
use crate::replicate::status::Statuses;
use crate::rpc::status::field;
use crate::store::Store;
use crate::transport::channel;

/// First pause between rounds of calls; doubles.
const MIN_PAUSE: Duration = Duration::from_secs(2);
/// Longest such pause.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// How long a node may take to learn what it was told of.
const PATIENCE: Duration = Duration::from_secs(60);

/// Calls the nodes directly below until each has been heard of, then looks
/// now and then for new silence.
pub async fn run(
    ways: Ways,
    own: NodeName,
    current: Current,
    statuses: Statuses,
    cancel: CancellationToken,
) {
    let (mut pause, mut told) = (MIN_PAUSE, BTreeSet::new());
    loop {
        let generation = current.get();
        let heard = statuses.all();
        let silent: Vec<Node> = generation
            .mesh
            .children(&own)
            .filter(|node| node.is_joined())
            .filter(|node| !heard.contains_key(&node.name))
            .cloned()
            .collect();
        let url = generation.mesh.node(&own).map(|this| this.url.clone()).unwrap_or_default();
        for node in silent {
            let called = tokio::select! {
                () = cancel.cancelled() => return,
                called = call(&ways, &node, &url) => called,
            };
            match called {
                Ok(answer) => tracing::info!(
                    node = %node.name,
                    generation = answer.generation,
                    "a node was told where the primary is"
                ),
                Err(problem) => {
                    let is_first = told.insert(node.name.clone());
                    if is_first {
                        tracing::warn!(
                            node = %node.name,
                            problem,
                            "a node cannot be told where the primary is; it is called again"
                        );
                    }
                }
            }
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

async fn call(ways: &Ways, node: &Node, url: &str) -> Result<wire::AnnounceResponse, String> {
    let channel = ways.to(&node.name, &node.url).map_err(|error| in_one_line(&error))?;
    let mut request = Request::new(wire::AnnounceRequest { url: url.to_owned() });
    request.set_timeout(PATIENCE);
    let answer = SuccessionClient::new(channel).announce(request).await;
    answer.map(Response::into_inner).map_err(|status| channel::explain(&status))
}

/// Listens to such calls.
#[derive(Debug, Clone)]
pub struct Service {
    ways: Ways,
    own: NodeName,
    store: Store,
    current: Current,
}

impl Service {
    /// At this node.
    #[must_use]
    pub const fn new(ways: Ways, own: NodeName, store: Store, current: Current) -> Self {
        Self { ways, own, store, current }
    }
}

#[tonic::async_trait]
impl Succession for Service {
    async fn announce(
        &self,
        request: Request<wire::AnnounceRequest>,
    ) -> Result<Response<wire::AnnounceResponse>, Status> {
        let Peer::Node(caller) = Peer::of(&request) else {
            return Err(Status::permission_denied("only nodes announce themselves"));
        };
        let this = self.current.get().mesh.node(&self.own).cloned();
        if this.is_none_or(|this| this.parent.is_none()) {
            return Err(Status::failed_precondition("this node is the primary and follows nobody"));
        }
        let url = request.into_inner().url;
        let channel =
            self.ways.to(&caller, &url).map_err(|error| field("url", &in_one_line(&error)))?;
        let learned = tokio::time::timeout(
            PATIENCE,
            self.learn(&caller, Parent::new(caller.clone(), channel)),
        );
        learned
            .await
            .map_err(|_| Status::aborted("it takes too long to learn from there; call again"))??;
        let generation = self.current.get();
        Ok(Response::new(wire::AnnounceResponse {
            generation: generation.number,
            timestamp_version: generation.timestamp_version,
        }))
    }
}

impl Service {
    async fn learn(&self, caller: &NodeName, way: Parent) -> Result<(), Status> {
        let _turn = self.current.turn().await;
        let before = self.current.get();
        let learned = follow::learn(&self.store, &self.own, &way, Some(&before))
            .await
            .map_err(|error| Status::unavailable(in_one_line(&error)))?;
        if let Some(generation) = learned.generation {
            tracing::info!(
                from = %caller,
                before = before.number,
                generation = generation.number,
                epoch = generation.mesh.epoch,
                "learned from a node that announced itself"
            );
            self.current.set(generation);
        }
        Ok(())
    }
}
