//! The parent's side of replication. Callers have proved which node they are
//! before a call arrives here.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use jiff::Timestamp;
use patchmesh_proto::convert::timestamp_to_wire;
use patchmesh_proto::replication as wire;
use patchmesh_proto::replication::replication_server::Replication;
use patchmesh_topology::name::NodeName;
use patchmesh_topology::share;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};

use crate::brakes::below::Below;
use crate::content;
use crate::generation::{Current, Generation, storage};
use crate::identity::peer::Peer;
use crate::replicate::followers::Followers;
use crate::replicate::status::Statuses;
use crate::rpc::blocking;
use crate::rpc::status::{field, internal};
use crate::store::Store;

/// A sign of life at least this often.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
/// The largest request of a child. Small, since a list of empty entries takes a
/// hundred times its bytes in memory; nodes split what is longer.
pub const MAX_REQUEST: usize = 256 << 10;
/// Longest metadata file name.
const MAX_FILE_NAME: usize = 256;

/// Serves children.
#[derive(Debug, Clone)]
pub struct Service {
    current: Current,
    store: Store,
    content: content::Server,
    statuses: Statuses,
    brakes: Below,
    followers: Followers,
    shutdown: tokio_util::sync::CancellationToken,
}

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Service {
    /// Serves what `current`, `store` and `content` hold.
    #[must_use]
    pub fn new(
        current: Current,
        store: Store,
        content: content::Server,
        statuses: Statuses,
        brakes: Below,
        shutdown: tokio_util::sync::CancellationToken,
    ) -> Self {
        let followers = Followers::default();
        Self { current, store, content, statuses, brakes, followers, shutdown }
    }
}

/// The calling node.
fn caller<T>(request: &Request<T>) -> Result<NodeName, Status> {
    match request.extensions().get::<Peer>() {
        Some(Peer::Node(name)) => Ok(name.clone()),
        _ => Err(Status::permission_denied("only nodes replicate")),
    }
}

fn notice(generation: &Generation, near: &[NodeName]) -> wire::WatchResponse {
    wire::WatchResponse {
        generation: generation.number,
        timestamp_version: generation.timestamp_version,
        now: Some(timestamp_to_wire(Timestamp::now())),
        near: near.iter().map(ToString::to_string).collect(),
    }
}

/// What a watcher is told next.
enum Event {
    Generation(std::sync::Arc<Generation>),
    Tick,
    /// A node came or went.
    Followers,
    Shutdown,
}

#[tonic::async_trait]
impl Replication for Service {
    type WatchStream = Streamed<wire::WatchResponse>;

    async fn watch(
        &self,
        request: Request<wire::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let caller = caller(&request)?;
        let current = self.current.clone();
        let ticks =
            tokio::time::interval_at(tokio::time::Instant::now() + SIGN_OF_LIFE, SIGN_OF_LIFE);
        let shutdown = self.shutdown.clone();
        let events = stream::select_all([
            WatchStream::new(current.watch()).map(Event::Generation).boxed(),
            tokio_stream::wrappers::IntervalStream::new(ticks).map(|_| Event::Tick).boxed(),
            WatchStream::from_changes(self.followers.watch()).map(|_| Event::Followers).boxed(),
            stream::once(shutdown.cancelled_owned()).map(|()| Event::Shutdown).boxed(),
        ]);
        let present = self.followers.enter(caller.clone());
        let followers = self.followers.clone();
        let messages = events.scan((present, Vec::new()), move |(_, told), event| {
            let is_news = !matches!(event, Event::Followers);
            let generation = match event {
                Event::Generation(generation) => generation,
                Event::Tick | Event::Followers => current.get(),
                Event::Shutdown => return std::future::ready(None),
            };
            // A node that was revoked or moved away meanwhile is told no more.
            let joined = generation.mesh.node(&caller).is_some_and(|node| node.is_joined());
            let near = share::beside(&generation.mesh, &followers.now(), &caller);
            let is_news = is_news || near != *told;
            *told = near;
            std::future::ready(joined.then(|| is_news.then(|| Ok(notice(&generation, told)))))
        });
        // Whoever comes or goes elsewhere is no news.
        let messages = messages.filter_map(std::future::ready);
        Ok(Response::new(messages.boxed()))
    }

    async fn get_metadata(
        &self,
        request: Request<wire::GetMetadataRequest>,
    ) -> Result<Response<wire::GetMetadataResponse>, Status> {
        let file = request.into_inner().file;
        if file.len() > MAX_FILE_NAME {
            return Err(field("file", "longer than any metadata file's name"));
        }
        let store = self.store.clone();
        let name = file.clone();
        let content = blocking(move || storage::metadata(&store, &name))
            .await?
            .ok_or_else(|| Status::not_found(format!("no metadata file {file:?}")))?;
        Ok(Response::new(wire::GetMetadataResponse { content }))
    }

    type GetBlobsStream = content::PartStream;

    async fn get_blobs(
        &self,
        request: Request<wire::GetBlobsRequest>,
    ) -> Result<Response<Self::GetBlobsStream>, Status> {
        let caller = caller(&request)?;
        self.content.get_blobs(&caller, request.get_ref()).map(Response::new)
    }

    async fn get_manifest(
        &self,
        request: Request<wire::GetManifestRequest>,
    ) -> Result<Response<wire::GetManifestResponse>, Status> {
        self.content.get_manifest(request.into_inner()).await.map(Response::new)
    }

    type TransferStream = content::FrameStream;

    async fn transfer(
        &self,
        request: Request<tonic::Streaming<wire::TransferRequest>>,
    ) -> Result<Response<Self::TransferStream>, Status> {
        let caller = caller(&request)?;
        self.content.transfer(&caller, request.into_inner()).await.map(Response::new)
    }

    async fn report_status(
        &self,
        request: Request<wire::ReportStatusRequest>,
    ) -> Result<Response<wire::ReportStatusResponse>, Status> {
        let caller = caller(&request)?;
        let generation = self.current.get();
        let names = self
            .statuses
            .accept(&generation.mesh, &caller, request.into_inner().nodes, Timestamp::now())
            .map_err(|error| Status::permission_denied(crate::log::in_one_line(&error)))?;
        let kept = self.brakes.keep(&generation.mesh, &names, &self.statuses).await;
        kept.map_err(|error| internal(&error))?;
        Ok(Response::new(wire::ReportStatusResponse {}))
    }
}
