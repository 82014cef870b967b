//! The one connection to a node: gRPC, and HTTPS for what is open to all.

pub mod fleet_lock;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request as HttpRequest, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use patchmesh_proto::document::MAX_DOCUMENT;
use patchmesh_proto::identity::RenewRequest;
use patchmesh_proto::identity::identity_client::IdentityClient;
use patchmesh_proto::report::reports_client::ReportsClient;
use patchmesh_proto::report::{
    GetBrakesRequest, GetDocumentsRequest, OfferInventoryRequest, PutInventoryRequest,
    ReportRequest, ReportResponse, ReportRolledUpRequest, ReportRolledUpResponse, SignedBatch,
    WatchRequest, WatchResponse,
};
use patchmesh_topology::applicability::Inventory;
use patchmesh_topology::digest::Digest;
use patchmesh_topology::name::{MachineName, NodeName};
use patchmesh_topology::rollout::Brakes;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tower::{Service, ServiceExt};

use super::inventory::Listing;
use super::nearest;
use super::state::KnownNode;
use crate::identity::files::Identity;
use crate::identity::tls::{self, Credentials, Expected};
use crate::terminal::output::clean;
use crate::transport::address::NodeUrl;
use crate::transport::channel;
use crate::tuf::Fetch;

/// How long a node may take to answer, and how long a body may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a small file may take as a whole, also on the thinnest line: a node that keeps
/// its machines waiting is as good as none.
const SMALL_FILE: Duration = Duration::from_secs(120);

/// The longest answer with documents: one that is large, alone. A mesh document of
/// 10,000 nodes has some 4 MB.
const MAX_DOCUMENTS: usize = MAX_DOCUMENT + (1 << 20);

/// The longest reason why not that is read.
const MAX_REASON: usize = 1 << 10;

/// The longest answer of the reporting service.
const MAX_ANSWER: usize = 4 << 20;

/// Why a node did not give what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no TLS.
    #[error("cannot use TLS")]
    Tls(#[from] tls::Error),
    /// The URL cannot be used.
    #[error("cannot use the node's URL")]
    Url(#[source] channel::Error),
    /// It cannot be reached, or broke off.
    #[error("cannot ask {url}: {why}")]
    Unreachable {
        /// Whom.
        url: String,
        /// What happened.
        why: String,
    },
    /// It says no.
    #[error("{url} answered {status} for {path}{}{said}", if said.is_empty() { "" } else { ": " })]
    Status {
        /// Who.
        url: String,
        /// For what.
        path: String,
        /// Its answer.
        status: StatusCode,
        /// Why, in its words; empty where it does not say.
        said: String,
    },
    /// It sends more than there can be.
    #[error("{url} sends more than {most} bytes for {path}")]
    Long {
        /// Who.
        url: String,
        /// For what.
        path: String,
        /// The bound.
        most: u64,
    },
    /// No slot to restart.
    #[error("{node} says: {why}")]
    NoSlot {
        /// Who.
        node: NodeName,
        /// Its words.
        why: String,
    },
    /// A gRPC answer.
    #[error("{url} refused: {why}")]
    Refused {
        /// Who.
        url: String,
        /// Its words.
        why: String,
        /// As it came.
        source: Box<Status>,
    },
}

impl Error {
    /// Whether the node has no such call: it is older than that.
    #[must_use]
    pub fn is_unknown_call(&self) -> bool {
        matches!(self, Self::Refused { source, .. } if source.code() == Code::Unimplemented)
    }
}

/// What a node says to people, as a part of a line.
fn one_line(said: &[u8]) -> String {
    clean(String::from_utf8_lossy(said).trim())
}

/// A connection to a node, made when it is first needed.
#[derive(Debug, Clone)]
pub struct Link {
    node: NodeName,
    url: NodeUrl,
    channel: Channel,
    credentials: Arc<Credentials>,
}

impl Link {
    /// To the node of that name, which has to prove it.
    ///
    /// # Errors
    /// A certificate or URL that cannot be used.
    pub fn new(identity: &Identity, node: NodeName, url: NodeUrl) -> Result<Self, Error> {
        Self::with(Credentials::new(identity)?, identity, node, url)
    }

    /// To another node, with the same certificate, now and when it is renewed.
    ///
    /// # Errors
    /// As [`Link::new`].
    pub fn to(&self, identity: &Identity, node: NodeName, url: NodeUrl) -> Result<Self, Error> {
        Self::with(Arc::clone(&self.credentials), identity, node, url)
    }

    fn with(
        credentials: Arc<Credentials>,
        identity: &Identity,
        node: NodeName,
        url: NodeUrl,
    ) -> Result<Self, Error> {
        let expected = Expected::Node(node.clone());
        let tls = tls::client(identity.ca(), Some(Arc::clone(&credentials)), expected)?;
        let channel = channel::from_machine(&url, tls).map_err(Error::Url)?;
        Ok(Self { node, url, channel, credentials })
    }

    /// Whom it leads to.
    #[must_use]
    pub fn node(&self) -> &NodeName {
        &self.node
    }

    /// Where that is.
    #[must_use]
    pub fn url(&self) -> &NodeUrl {
        &self.url
    }

    /// The address that this machine has on its way there.
    pub async fn own_address(&self) -> Option<IpAddr> {
        nearest::address_towards(&self.url).await
    }

    /// Whether it leads to that node there.
    #[must_use]
    pub fn leads_to(&self, known: &KnownNode) -> bool {
        self.node.as_str() == known.node && self.url.as_str() == known.url
    }

    /// Whether both lead to the same node at the same place.
    #[must_use]
    pub fn is_as(&self, other: &Self) -> bool {
        self.node == other.node && self.url == other.url
    }

    /// Proves the machine with its renewed identity from the next connection on.
    ///
    /// # Errors
    /// A key that TLS cannot use.
    pub fn present(&self, identity: &Identity) -> Result<(), Error> {
        Ok(self.credentials.replace(identity)?)
    }

    /// A new certificate, in DER, for the key that signed the request.
    ///
    /// # Errors
    /// The node cannot be reached, or the mesh refuses.
    pub async fn renew(&self, machine: &MachineName, request: Vec<u8>) -> Result<Bytes, Error> {
        let request = RenewRequest {
            machine: machine.to_string(),
            certificate_request: request.into(),
            ..RenewRequest::default()
        };
        let answer = IdentityClient::new(self.channel.clone()).renew(limited(request)).await;
        Ok(answer.map_err(|status| self.refused(status))?.into_inner().certificate)
    }

    /// A file that is open to all, from `from` on. `None` where there is none.
    ///
    /// # Errors
    /// The node cannot be reached or says no.
    pub async fn open(&self, path: &str, from: u64) -> Result<Option<Response<Body>>, Error> {
        let unreachable = |why: String| Error::Unreachable { url: self.url.to_string(), why };
        let mut request = HttpRequest::get(path);
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        let request =
            request.body(Body::empty()).map_err(|error| unreachable(error.to_string()))?;
        let mut channel = self.channel.clone();
        let answer = async { channel.ready().await?.call(request).await };
        let response = timeout(PATIENCE, answer)
            .await
            .map_err(|_| unreachable(format!("no answer within {} s", PATIENCE.as_secs())))?
            .map_err(|error| unreachable(channel::explain(&Status::from_error(Box::new(error)))))?;
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(Some(response)),
            StatusCode::NOT_FOUND => Ok(None),
            status => {
                let body =
                    timeout(PATIENCE, Limited::new(response.into_body(), MAX_REASON).collect());
                let body = body.await.ok().and_then(Result::ok);
                let said = body.map(|body| one_line(&body.to_bytes())).unwrap_or_default();
                let (url, path) = (self.url.to_string(), path.to_owned());
                Err(Error::Status { url, path, status, said })
            }
        }
    }

    /// The next bytes of a body; `None` at its end.
    ///
    /// # Errors
    /// It broke off.
    pub async fn next(&self, body: &mut Body) -> Result<Option<Bytes>, Error> {
        let unreachable = |why: String| Error::Unreachable { url: self.url.to_string(), why };
        loop {
            let frame = timeout(PATIENCE, body.frame())
                .await
                .map_err(|_| unreachable(format!("silent for {} s", PATIENCE.as_secs())))?;
            match frame {
                None => return Ok(None),
                Some(Err(status)) => return Err(unreachable(channel::explain(&status))),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    /// A small file that is open to all, of at most `most` bytes, within two minutes.
    ///
    /// # Errors
    /// As [`Link::open`], or it is longer, or takes longer.
    pub async fn get(&self, path: &str, most: u64) -> Result<Option<Vec<u8>>, Error> {
        let late = |_| Error::Unreachable {
            url: self.url.to_string(),
            why: format!("{path} does not come within {} s", SMALL_FILE.as_secs()),
        };
        timeout(SMALL_FILE, self.get_whole(path, most)).await.map_err(late)?
    }

    async fn get_whole(&self, path: &str, most: u64) -> Result<Option<Vec<u8>>, Error> {
        let Some(response) = self.open(path, 0).await? else { return Ok(None) };
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(more) = self.next(&mut body).await? {
            if bytes.len() as u64 + more.len() as u64 > most {
                return Err(Error::Long { url: self.url.to_string(), path: path.to_owned(), most });
            }
            bytes.extend_from_slice(&more);
        }
        Ok(Some(bytes))
    }

    /// Documents by their digests, as many as come at once; empty where the node
    /// has none.
    ///
    /// # Errors
    /// The node cannot be reached or refuses.
    pub async fn documents(&self, digests: &[Digest]) -> Result<Vec<Bytes>, Error> {
        let digests = digests.iter().map(|one| one.as_bytes().to_vec().into()).collect();
        let mut client = self.reports().max_decoding_message_size(MAX_DOCUMENTS);
        let answer = client.get_documents(limited(GetDocumentsRequest { digests })).await;
        Ok(answer.map_err(|status| self.refused(status))?.into_inner().documents)
    }

    /// What the administrators of the node's site hold back, or those of another node's
    /// that is below it, as it heard. A node that is older than this says nothing of it.
    ///
    /// # Errors
    /// The node cannot be reached or refuses.
    pub async fn brakes(&self, of: Option<&NodeName>) -> Result<Brakes, Error> {
        let node = of.map(ToString::to_string).unwrap_or_default();
        let answer = match self.reports().get_brakes(limited(GetBrakesRequest { node })).await {
            Ok(answer) => answer.into_inner(),
            Err(status) if status.code() == Code::Unimplemented => return Ok(Brakes::new()),
            Err(status) => return Err(self.refused(status)),
        };
        // One that cannot be read is of a newer version, and cannot be kept to.
        Ok(answer.brakes.into_iter().filter_map(|one| one.try_into().ok()).collect())
    }

    /// The node's words, as they come; see [`super::wake`].
    ///
    /// # Errors
    /// The node cannot be reached or refuses.
    pub async fn watch(&self) -> Result<Streaming<WatchResponse>, Error> {
        let mut client = self.reports();
        let unreachable = |why: String| Error::Unreachable { url: self.url.to_string(), why };
        let answer = timeout(PATIENCE, client.watch(WatchRequest {}))
            .await
            .map_err(|_| unreachable(format!("no answer within {} s", PATIENCE.as_secs())))?;
        Ok(answer.map_err(|status| self.refused(status))?.into_inner())
    }

    /// Makes the node hold this inventory of that digest, which is sent where it does not yet. A node that
    /// is older than this is left alone.
    ///
    /// # Errors
    /// The node cannot be reached or refuses.
    pub async fn tell_inventory(
        &self,
        inventory: &Inventory,
        digest: &Digest,
    ) -> Result<(), Error> {
        let digest = digest.as_bytes().to_vec().into();
        match self.reports().offer_inventory(limited(OfferInventoryRequest { digest })).await {
            Ok(answer) if answer.get_ref().is_held => return Ok(()),
            Ok(_) => {}
            Err(status) if status.code() == Code::Unimplemented => return Ok(()),
            Err(status) => return Err(self.refused(status)),
        }
        let request = PutInventoryRequest { inventory: Some(Listing::from(inventory).into()) };
        let answer = self.reports().put_inventory(limited(request)).await;
        answer.map(drop).map_err(|status| self.refused(status))
    }

    /// Hands batches over and answers with what became of each, and what the node holds of
    /// the machine then; `has_roll_up` says whether one of them has a roll-up, which a node
    /// has to know.
    ///
    /// # Errors
    /// The node cannot be reached or did not take them, or knows no roll-ups
    /// ([`Error::is_unknown_call`]).
    pub async fn report(
        &self,
        batches: Vec<SignedBatch>,
        has_roll_up: bool,
    ) -> Result<ReportResponse, Error> {
        let mut reports = self.reports();
        let answer = if has_roll_up {
            let answer = reports.report_rolled_up(limited(ReportRolledUpRequest { batches })).await;
            answer.map(|answer| {
                let ReportRolledUpResponse { answers, held } = answer.into_inner();
                ReportResponse { answers, held }
            })
        } else {
            let answer = reports.report(limited(ReportRequest { batches })).await;
            answer.map(tonic::Response::into_inner)
        };
        answer.map_err(|status| self.refused(status))
    }

    fn reports(&self) -> ReportsClient<Channel> {
        ReportsClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    fn refused(&self, status: Status) -> Error {
        let (url, why) = (self.url.to_string(), channel::explain(&status));
        if channel::never_connected(&status) {
            return Error::Unreachable { url, why };
        }
        Error::Refused { url, why, source: Box::new(status) }
    }
}

fn limited<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(PATIENCE);
    request
}

impl Fetch for Link {
    type Error = Error;

    async fn fetch(&self, file: &str, max_length: u64) -> Result<Option<Vec<u8>>, Error> {
        self.get(&format!("/tuf/metadata/{file}"), max_length).await
    }

    async fn fetch_target(&self, path: &str, max_length: u64) -> Result<Option<Vec<u8>>, Error> {
        self.get(&format!("/tuf/targets/{path}"), max_length).await
    }
}
