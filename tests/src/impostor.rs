//! A node whose identity was stolen: a gRPC server with its certificate that
//! passes on what the primary says, and lies about some of it.
//!
//! Children take it for their parent, as they must: its certificate is good.
//! What it tells them has to be refused for what it is.

use std::collections::BTreeMap;
use std::future::ready;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use patchmesh_proto::replication::replication_client::ReplicationClient;
use patchmesh_proto::replication::replication_server::{Replication, ReplicationServer};
use patchmesh_proto::replication::{
    GetBlobsRequest, GetBlobsResponse, GetManifestRequest, GetManifestResponse, GetMetadataRequest,
    GetMetadataResponse, ReportStatusRequest, ReportStatusResponse, TransferRequest,
    TransferResponse, WatchRequest, WatchResponse,
};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use crate::cluster::Node;
use crate::tls;

/// What it does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misdeed {
    /// Nothing: it passes everything on.
    None,
    /// One bit of each signed file is turned over.
    AlteredMetadata,
    /// Signed files have no end.
    EndlessMetadata,
    /// It tells of the oldest timestamp that it remembers.
    Rollback,
    /// It answers with files that were signed with stolen keys.
    Forged,
    /// One bit of each document is turned over.
    AlteredDocuments,
    /// Documents have no end.
    EndlessDocuments,
    /// Documents end too early.
    ShortDocuments,
    /// One bit of each piece is turned over.
    AlteredPieces,
    /// Pieces are longer than they may be, without end.
    EndlessPieces,
}

/// The longest signed file that a liar sends in one message.
const ENDLESS_METADATA: usize = 3 << 20;

/// What an endless stream sends at a time.
const PART: usize = 64 << 10;

#[derive(Clone)]
struct Liar {
    truth: ReplicationClient<Channel>,
    shared: Arc<Shared>,
}

struct Shared {
    misdeed: Mutex<Misdeed>,
    /// The first content seen of each signed file.
    oldest: Mutex<BTreeMap<String, Bytes>>,
    /// Files signed with stolen keys.
    forged: Mutex<BTreeMap<String, Bytes>>,
}

/// The server; it stops when dropped.
pub struct Impostor {
    truth: ReplicationClient<Channel>,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Impostor {
    /// Takes the place of `node`, which must have been stopped, between its
    /// children and the node at `parent_url`.
    ///
    /// # Errors
    /// When the node's certificate cannot be read or its port is in use.
    pub async fn replace(node: &Node, parent_url: &str) -> Result<Self> {
        let certificate = tls::certificate_of(&node.data)?;
        let channel = tls::with_certificate(parent_url, &certificate).await?;
        let shared = Arc::new(Shared {
            misdeed: Mutex::new(Misdeed::None),
            oldest: Mutex::new(BTreeMap::new()),
            forged: Mutex::new(BTreeMap::new()),
        });
        let truth = ReplicationClient::new(channel).max_decoding_message_size(64 << 20);
        let liar = Liar { truth: truth.clone(), shared: shared.clone() };
        let acceptor = TlsAcceptor::from(tls::server(&certificate)?);
        let task = tokio::spawn(serve(listen(node.listen).await?, acceptor, liar));
        Ok(Self { truth, shared, task })
    }

    /// Follows the node at its parent's URL as the real one did, so that others of
    /// its site are told of it, until this is dropped.
    ///
    /// # Errors
    /// When the parent does not answer.
    pub async fn stay_connected(&self) -> Result<Streaming<WatchResponse>> {
        let mut truth = self.truth.clone();
        let mut told = truth.watch(WatchRequest {}).await?.into_inner();
        told.message().await?.context("the parent has nothing to say")?;
        Ok(told)
    }

    /// What it answers for `file` while it commits [`Misdeed::Forged`].
    pub fn forge(&self, file: &str, content: Bytes) {
        let mut forged = self.shared.forged.lock().unwrap_or_else(PoisonError::into_inner);
        forged.insert(file.to_owned(), content);
    }

    /// From now on it does this.
    pub fn commit(&self, misdeed: Misdeed) {
        *self.shared.misdeed.lock().unwrap_or_else(PoisonError::into_inner) = misdeed;
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("could not listen on {address}"))
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, liar: Liar) {
    let routes = tonic::service::Routes::new(ReplicationServer::new(liar));
    let service = TowerToHyperService::new(routes.prepare().into_axum_router());
    // Dropping the set with the task ends every connection.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let (acceptor, service) = (acceptor.clone(), service.clone());
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let builder = Builder::new(TokioExecutor::new());
            // A child that hangs up is what these tests are about.
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Liar {
    fn misdeed(&self) -> Misdeed {
        *self.shared.misdeed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forged(&self, file: &str) -> Option<Bytes> {
        let forged = self.shared.forged.lock().unwrap_or_else(PoisonError::into_inner);
        forged.get(file).cloned()
    }

    /// Remembers the first content of a file, and returns it.
    fn oldest(&self, file: &str, content: &Bytes) -> Bytes {
        let mut oldest = self.shared.oldest.lock().unwrap_or_else(PoisonError::into_inner);
        oldest.entry(file.to_owned()).or_insert_with(|| content.clone()).clone()
    }
}

/// The bytes with one bit turned over.
fn altered(content: &Bytes) -> Bytes {
    let mut content = content.to_vec();
    let middle = content.len() / 2;
    if let Some(byte) = content.get_mut(middle) {
        *byte ^= 1;
    }
    content.into()
}

#[tonic::async_trait]
impl Replication for Liar {
    type WatchStream = Answers<WatchResponse>;
    type GetBlobsStream = Answers<GetBlobsResponse>;
    type TransferStream = Answers<TransferResponse>;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let answers = self.truth.clone().watch(request.into_inner()).await?.into_inner();
        Ok(Response::new(answers.boxed()))
    }

    async fn get_metadata(
        &self,
        request: Request<GetMetadataRequest>,
    ) -> Result<Response<GetMetadataResponse>, Status> {
        let request = request.into_inner();
        let file = request.file.clone();
        if self.misdeed() == Misdeed::Forged
            && let Some(content) = self.forged(&file)
        {
            return Ok(Response::new(GetMetadataResponse { content }));
        }
        let mut answer = self.truth.clone().get_metadata(request).await?.into_inner();
        let oldest = self.oldest(&file, &answer.content);
        match self.misdeed() {
            Misdeed::AlteredMetadata => answer.content = altered(&answer.content),
            Misdeed::EndlessMetadata => answer.content = Bytes::from(vec![b' '; ENDLESS_METADATA]),
            Misdeed::Rollback => answer.content = oldest,
            _ => {}
        }
        Ok(Response::new(answer))
    }

    async fn get_blobs(
        &self,
        request: Request<GetBlobsRequest>,
    ) -> Result<Response<Self::GetBlobsStream>, Status> {
        let request = request.into_inner();
        let misdeed = self.misdeed();
        if misdeed == Misdeed::EndlessDocuments {
            let digest = request.digests.first().cloned().unwrap_or_default();
            return Ok(Response::new(endless_blob(digest).boxed()));
        }
        let answers = self.truth.clone().get_blobs(request).await?.into_inner();
        let answers = answers.map(move |answer| {
            answer.map(|mut answer| {
                match misdeed {
                    Misdeed::AlteredDocuments => answer.data = altered(&answer.data),
                    Misdeed::ShortDocuments => answer.data.truncate(answer.data.len() / 2),
                    _ => {}
                }
                answer
            })
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn get_manifest(
        &self,
        request: Request<GetManifestRequest>,
    ) -> Result<Response<GetManifestResponse>, Status> {
        self.truth.clone().get_manifest(request.into_inner()).await
    }

    async fn transfer(
        &self,
        request: Request<Streaming<TransferRequest>>,
    ) -> Result<Response<Self::TransferStream>, Status> {
        let mut requests = request.into_inner();
        let misdeed = self.misdeed();
        let first = requests.message().await?.unwrap_or_default();
        if misdeed == Misdeed::EndlessPieces {
            let piece = first.ranges.first().map_or(0, |range| range.start);
            return Ok(Response::new(endless_piece(piece).boxed()));
        }
        // A receiver that fails ends the transfer.
        let rest =
            requests.take_while(|said| ready(said.is_ok())).filter_map(|said| ready(said.ok()));
        let said = stream::iter([first]).chain(rest);
        let answers = self.truth.clone().transfer(said).await?.into_inner();
        let answers = answers.map(move |answer| {
            answer.map(|mut answer| {
                if misdeed == Misdeed::AlteredPieces {
                    answer.data = altered(&answer.data);
                }
                answer
            })
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn report_status(
        &self,
        request: Request<ReportStatusRequest>,
    ) -> Result<Response<ReportStatusResponse>, Status> {
        self.truth.clone().report_status(request.into_inner()).await
    }
}

fn endless_blob(digest: Bytes) -> impl Stream<Item = Result<GetBlobsResponse, Status>> + Send {
    stream::repeat_with(move || {
        let data = Bytes::from_static(&[0; PART]);
        Ok(GetBlobsResponse { digest: digest.clone(), absent: false, data, last: false })
    })
}

fn endless_piece(piece: u64) -> impl Stream<Item = Result<TransferResponse, Status>> + Send {
    let parts = stream::iter((0_u32..).step_by(PART));
    parts.map(move |offset| {
        Ok(TransferResponse {
            piece,
            offset,
            data: Bytes::from_static(&[0; PART]),
            ..TransferResponse::default()
        })
    })
}
