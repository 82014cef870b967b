//! Another node as a source, over gRPC: the parent, or one beside this node.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use patchmesh_proto::replication::replication_client::ReplicationClient;
use patchmesh_proto::replication::{
    GetBlobsRequest, GetBlobsResponse, GetManifestRequest, GetManifestResponse, PieceRange,
    TransferOpen, TransferRequest,
};
use patchmesh_topology::digest::Digest;
use patchmesh_topology::link::Class;
use patchmesh_topology::name::NodeName;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::grant::granted;
use super::{Conduct, Deceit, Error, Frames, Intake, PieceSource, Small, Wanted};
use crate::budget::window::{self, Delays};
use crate::budget::{Direction, Pace};

/// The largest message taken from a parent: a piece, or the manifest of the
/// longest blob, and a little around it.
const MAX_MESSAGE: usize = 3 << 20;

/// Documents asked for in one call; the service allows no more.
pub const MAX_BLOBS: usize = 1024;

/// Grants that wait for the network; more wait in their turn.
const REQUESTS: usize = 16;

/// How long a parent may send nothing of documents.
const SILENCE: Duration = Duration::from_secs(30);

/// A node to fetch from.
#[derive(Clone)]
pub struct Parent {
    name: NodeName,
    intake: Intake,
    /// How long its frames take.
    delays: Arc<Delays>,
    client: ReplicationClient<Channel>,
    /// Whether it is beside this node, and is relied on for what it is asked.
    is_beside: bool,
    /// Ends what comes from it when it is to be asked no more.
    stop: CancellationToken,
    /// It lied over this connection; what is good of it is no excuse.
    lied: Arc<AtomicBool>,
    on_conduct: Arc<dyn Fn(Conduct) + Send + Sync>,
}

impl fmt::Debug for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parent").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Parent {
    /// The parent `name` at the other end of a channel. `on_conduct` is told how
    /// it behaves; it drops the connection to a liar.
    #[must_use]
    pub fn new(
        name: NodeName,
        intake: Intake,
        channel: Channel,
        on_conduct: impl Fn(Conduct) + Send + Sync + 'static,
    ) -> Self {
        let client = ReplicationClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
        let on_conduct = Arc::new(on_conduct);
        let (is_beside, stop, lied) = (false, CancellationToken::new(), Arc::default());
        let delays = intake.budget.delays(&name);
        Self { name, intake, delays, client, is_beside, stop, lied, on_conduct }
    }

    /// The same as a node beside this one, until `stop`.
    #[must_use]
    pub fn beside(self, stop: CancellationToken) -> Self {
        Self { is_beside: true, intake: self.intake.for_beside(), stop, ..self }
    }

    fn open(&self, digest: &Digest, class: Class, held: bool) -> TransferOpen {
        let class = class.as_str().to_owned();
        TransferOpen { digest: wire(digest), class, direct: self.is_beside, held }
    }
}

#[async_trait]
impl PieceSource for Parent {
    fn name(&self) -> &str {
        self.name.as_str()
    }

    async fn manifest(&self, digest: &Digest) -> Result<GetManifestResponse, Status> {
        let request = GetManifestRequest { digest: wire(digest), held: self.is_beside };
        Ok(self.client.clone().get_manifest(request).await?.into_inner())
    }

    async fn pieces(&self, wanted: Wanted, ranges: &[Range<u64>]) -> Result<Frames, Status> {
        let Wanted { digest, length, class } = wanted;
        let open = self.open(&digest, class, false);
        let asked = ranges.iter().map(|r| PieceRange { start: r.start, end: r.end }).collect();
        let first = TransferRequest { open: Some(open), ranges: asked, grant: 0 };
        let (requests, heard) = mpsc::channel(REQUESTS);
        let said = ReceiverStream::new(heard);
        let said = stream::once(std::future::ready(first)).chain(said);
        let (mut client, stop) = (self.client.clone(), self.stop.clone());
        // The call returns when the other side answers, which is at once.
        let opening = async move {
            let frames = client.transfer(said).await?.into_inner();
            Ok(frames.take_until(stop.cancelled_owned()).boxed())
        };
        let pace = self.intake.budget.transfer(&self.name, Direction::In, class);
        let window = window::of(class, self.delays.clone());
        let pace = (pace, class);
        let what = (ranges, length);
        if self.is_beside {
            // It often has nothing yet, and what is granted counts against the limit.
            let opened = std::future::ready(Ok(opening.await?));
            return granted(&self.intake, pace, window, what, requests, opened).await;
        }
        granted(&self.intake, pace, window, what, requests, opening).await
    }

    async fn small(&self, wanted: &[Wanted]) -> Result<Vec<Small>, Status> {
        let Some(class) = wanted.iter().map(|one| one.class).min() else { return Ok(Vec::new()) };
        let pace = self.intake.budget.transfer(&self.name, Direction::In, class);
        let (mut found, mut rest) = (Vec::with_capacity(wanted.len()), wanted);
        while !rest.is_empty() {
            let (some, after) = rest.split_at(count_within(rest, pace.in_flight()));
            pace.take(some.iter().map(|one| one.length).sum()).await;
            match self.ask_small(some, class, &pace).await {
                Ok(more) => found.extend(more),
                // What came before is good.
                Err(_) if !found.is_empty() => break,
                Err(status) => return Err(status),
            }
            if found.len() + after.len() < wanted.len() {
                break;
            }
            rest = after;
        }
        Ok(found)
    }

    async fn holds(&self, wanted: Wanted) -> Result<bool, Status> {
        let open = Some(self.open(&wanted.digest, wanted.class, true));
        let request = TransferRequest { open, ..TransferRequest::default() };
        // It asks for nothing, so it ends when it has been answered.
        match self.client.clone().transfer(stream::iter([request])).await {
            Ok(_) => Ok(true),
            Err(status) if status.code() == Code::NotFound => Ok(false),
            Err(status) => Err(status),
        }
    }

    fn judged(&self, conduct: Conduct) {
        let lied = self.lied.fetch_or(conduct == Conduct::Lied, Ordering::Relaxed);
        if conduct == Conduct::Lied || !lied {
            (self.on_conduct)(conduct);
        }
    }
}

impl Parent {
    /// Small blobs in one call, which the budget has let in.
    async fn ask_small(
        &self,
        wanted: &[Wanted],
        class: Class,
        pace: &Pace,
    ) -> Result<Vec<Small>, Status> {
        let digests = wanted.iter().map(|wanted| wire(&wanted.digest)).collect();
        let request = GetBlobsRequest { digests, class: class.as_str().to_owned() };
        let mut stream = self.client.clone().get_blobs(request).await?.into_inner();
        let mut found = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            match next_blob(self.name.as_str(), &mut stream, *wanted).await {
                Ok(Some(bytes)) => {
                    pace.came(bytes.len() as u64);
                    found.push(Small::Good(bytes));
                }
                Ok(None) => found.push(Small::Absent),
                Err(Error::Deceit { source, .. }) => {
                    found.push(Small::Bad(wanted.digest));
                    // Where the next one begins is known only after a whole one.
                    if !matches!(*source, Deceit::Bytes) {
                        break;
                    }
                }
                // What came before is good.
                Err(Error::Source { source, .. }) if found.is_empty() => return Err(*source),
                Err(_) => break,
            }
        }
        Ok(found)
    }
}

/// How many of these are `bytes` together: at least one.
fn count_within(wanted: &[Wanted], bytes: u64) -> usize {
    let mut left = bytes;
    let fits = |one: &&Wanted| left.checked_sub(one.length).inspect(|rest| left = *rest).is_some();
    wanted.iter().take_while(fits).count().max(1)
}

/// Fetches whole blobs, verified, in the order asked; nothing for those that the
/// parent does not hold. At most [`MAX_BLOBS`], and only ones that fit in memory
/// together.
///
/// # Errors
/// A parent that fails, falls silent, ends too early, or sends anything but what
/// was asked for; the last is [`Error::Deceit`], after which its connection is to
/// be dropped.
pub async fn get_blobs(
    name: &str,
    client: &ReplicationClient<Channel>,
    wanted: &[Wanted],
) -> Result<Vec<Option<Bytes>>, Error> {
    let digests = wanted.iter().map(|wanted| wire(&wanted.digest)).collect();
    let mut client = client.clone().max_decoding_message_size(MAX_MESSAGE);
    let call = async {
        let mut stream =
            client.get_blobs(GetBlobsRequest { digests, class: String::new() }).await?.into_inner();
        let mut blobs = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            blobs.push(next_blob(name, &mut stream, *wanted).await);
            if matches!(blobs.last(), Some(Err(_))) {
                break;
            }
        }
        Ok::<_, Status>(blobs)
    };
    let digest = wanted.first().map_or_else(|| Digest::of(b""), |wanted| wanted.digest);
    let failed = |status| Error::Source { from: name.to_owned(), digest, source: Box::new(status) };
    call.await.map_err(failed)?.into_iter().collect()
}

/// Puts the parts of one blob together; takes no more than its length.
pub(super) async fn next_blob(
    name: &str,
    stream: &mut (impl Stream<Item = Result<GetBlobsResponse, Status>> + Unpin),
    wanted: Wanted,
) -> Result<Option<Bytes>, Error> {
    let Wanted { digest, length, .. } = wanted;
    let from = || name.to_owned();
    let deceit = |source| Error::Deceit { from: from(), digest, source: Box::new(source) };
    let mut bytes = BytesMut::new();
    loop {
        let part = timeout(SILENCE, stream.next())
            .await
            .map_err(|_| Error::Silent { from: from(), digest, after: SILENCE })?
            .ok_or_else(|| Error::Truncated { from: from(), digest })?
            .map_err(|status| Error::Source { from: from(), digest, source: Box::new(status) })?;
        if part.digest != digest.as_bytes().as_slice() {
            return Err(deceit(Deceit::Other));
        }
        if part.absent {
            return Ok(None);
        }
        let found = bytes.len() as u64 + part.data.len() as u64;
        // Empty parts without an end could come for ever.
        if found > length || (part.data.is_empty() && !part.last) {
            return Err(deceit(Deceit::Length { wanted: length, found }));
        }
        bytes.extend_from_slice(&part.data);
        if part.last {
            let good = found == length && Digest::of(&bytes) == digest;
            return if good { Ok(Some(bytes.freeze())) } else { Err(deceit(Deceit::Bytes)) };
        }
    }
}

fn wire(digest: &Digest) -> Bytes {
    Bytes::copy_from_slice(digest.as_bytes())
}
