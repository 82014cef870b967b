//! Tests of transfers: over gRPC on the loopback, and from scripted sources.

#![allow(clippy::unwrap_used)]

mod beside;
mod deceit;
mod full;
mod fuzz;
mod mend;
mod small;
mod transfer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use patchmesh_proto::replication::replication_client::ReplicationClient;
use patchmesh_proto::replication::replication_server::{Replication, ReplicationServer};
use patchmesh_proto::replication::{
    GetBlobsRequest, GetManifestRequest, GetManifestResponse, GetMetadataRequest,
    GetMetadataResponse, ReportStatusRequest, ReportStatusResponse, TransferRequest, WatchRequest,
    WatchResponse,
};
use patchmesh_topology::digest::Digest;
use patchmesh_topology::name::NodeName;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use super::serve::{FrameStream, PartStream};
use super::{Content, Intake, Parent, PieceSource, Server, Wanted};
use crate::budget::Budget;
use crate::store::manifest::PIECE_LENGTH;
use crate::store::{Mode, Store};

const PIECE: usize = PIECE_LENGTH as usize;

/// No step of a test takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

type SourceSender = watch::Sender<Option<Arc<dyn PieceSource>>>;

/// A node with payloads, and whatever parent the test gives it.
struct Node {
    content: Content,
    parent: SourceSender,
    /// Calls of `transfer` that were answered.
    asked: Arc<AtomicU64>,
    _folder: TempDir,
}

impl Node {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let store = Store::open(&folder.path().join("data"), Mode::Create).unwrap();
        let (parent, sources) = watch::channel(None);
        let content = Content::new(store, sources, 4, Budget::default());
        Self { content, parent, asked: Arc::default(), _folder: folder }
    }

    fn store(&self) -> &Store {
        self.content.store()
    }

    /// Listens on the loopback and offers `wanted` for relaying.
    async fn serve(&self, wanted: Vec<Wanted>) -> Listening {
        let offered = move |digest: &Digest| {
            wanted.iter().find(|wanted| wanted.digest == *digest).map(|wanted| wanted.length)
        };
        let server = Server::new(self.content.clone(), offered);
        let service = Service { server, asked: Arc::clone(&self.asked) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            tonic::transport::Server::builder()
                .initial_stream_window_size(32 << 20)
                .initial_connection_window_size(64 << 20)
                .add_service(ReplicationServer::new(service))
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        Listening { address, task }
    }

    fn set_parent(&self, parent: impl PieceSource + 'static) {
        self.parent.send_replace(Some(Arc::new(parent)));
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

/// A node's server; gone, with its connections, when dropped.
struct Listening {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listening {
    fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint
            .initial_stream_window_size(32 << 20)
            .initial_connection_window_size(64 << 20)
            .connect_lazy()
    }

    fn parent(&self, name: &str) -> Parent {
        Parent::new(name.parse().unwrap(), Intake::new(Budget::default()), self.channel(), |_| {})
    }

    fn client(&self) -> ReplicationClient<Channel> {
        ReplicationClient::new(self.channel())
    }
}

struct Service {
    server: Server,
    asked: Arc<AtomicU64>,
}

#[tonic::async_trait]
impl Replication for Service {
    type WatchStream = tokio_stream::Empty<Result<WatchResponse, Status>>;
    type GetBlobsStream = PartStream;
    type TransferStream = FrameStream;

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn get_metadata(
        &self,
        _: Request<GetMetadataRequest>,
    ) -> Result<Response<GetMetadataResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn get_blobs(
        &self,
        request: Request<GetBlobsRequest>,
    ) -> Result<Response<PartStream>, Status> {
        self.server.get_blobs(&"child".parse().unwrap(), request.get_ref()).map(Response::new)
    }

    async fn get_manifest(
        &self,
        request: Request<GetManifestRequest>,
    ) -> Result<Response<GetManifestResponse>, Status> {
        self.server.get_manifest(request.into_inner()).await.map(Response::new)
    }

    async fn transfer(
        &self,
        request: Request<tonic::Streaming<TransferRequest>>,
    ) -> Result<Response<FrameStream>, Status> {
        let child: NodeName = "child".parse().unwrap();
        let frames = self.server.transfer(&child, request.into_inner()).await?;
        self.asked.fetch_add(1, Ordering::Relaxed);
        Ok(Response::new(frames))
    }

    async fn report_status(
        &self,
        _: Request<ReportStatusRequest>,
    ) -> Result<Response<ReportStatusResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

/// Bytes that differ from piece to piece and by `seed`.
fn sample(seed: usize, length: usize) -> Bytes {
    let byte = |index: usize| (seed + index * 31 + index / 251 + (index >> 20)) as u8;
    (0..length).map(byte).collect::<Vec<_>>().into()
}

fn wanted(bytes: &[u8]) -> Wanted {
    Wanted::new(Digest::of(bytes), bytes.len() as u64)
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}
