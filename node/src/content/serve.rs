//! What child nodes, and nodes beside, ask of a node's blobs: the payload half of the replication
//! service. Who may call is decided before; these handlers check what is asked.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt, TryStreamExt};
use patchmesh_proto::replication::{
    GetBlobsRequest, GetBlobsResponse, GetManifestRequest, GetManifestResponse, TransferOpen,
    TransferRequest, TransferResponse,
};
use patchmesh_topology::digest::Digest;
use patchmesh_topology::link::Class;
use patchmesh_topology::name::NodeName;
use tokio::time::timeout;
use tonic::Status;

use super::parent::MAX_BLOBS;
use super::send::Sending;
use super::{Content, Error, Urgency, Wanted};
use crate::budget::Direction;
use crate::log::in_one_line;
use crate::store::manifest::piece_count;
use crate::store::{self, BlobReader, Manifest, Store};

/// How long a receiver may take to say what it wants.
const OPENING: Duration = Duration::from_secs(30);

/// Blobs opened at once: small ones are read then, so this bounds the memory of
/// a stream, and spares a thread's turn for each.
const OPEN_AT_ONCE: usize = 32;

/// Such sets opened ahead for one stream.
const OPEN_AHEAD: usize = 2;

/// Frames of pieces, in the order asked.
pub type FrameStream = BoxStream<'static, Result<TransferResponse, Status>>;

/// Parts of whole blobs, in the order asked.
pub type PartStream = BoxStream<'static, Result<GetBlobsResponse, Status>>;

/// Says the length of a payload that this node may relay, nothing for others.
type Offered = dyn Fn(&Digest) -> Option<u64> + Send + Sync;

/// Answers child nodes; cheap to clone.
#[derive(Clone)]
pub struct Server {
    content: Content,
    offered: Arc<Offered>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("content", &self.content).finish_non_exhaustive()
    }
}

impl Server {
    /// Serves what `content` holds, and relays what `offered` knows: the payloads
    /// bound in the generation that is served.
    pub fn new(
        content: Content,
        offered: impl Fn(&Digest) -> Option<u64> + Send + Sync + 'static,
    ) -> Self {
        Self { content, offered: Arc::new(offered) }
    }

    /// The manifest of a blob that is held or relayed.
    ///
    /// # Errors
    /// `NOT_FOUND` for blobs that are not offered, and those of a fetch.
    pub async fn get_manifest(
        &self,
        request: GetManifestRequest,
    ) -> Result<GetManifestResponse, Status> {
        let manifest = self.manifest(digest(&request.digest)?, request.held).await?;
        let piece_values = manifest.encode().into();
        Ok(GetManifestResponse { length: manifest.length(), piece_values })
    }

    async fn manifest(&self, digest: Digest, only_held: bool) -> Result<Manifest, Error> {
        let store = self.content.store();
        let known = store.run(move |store| store.manifest(&digest)).await?;
        if let Some(manifest) = known {
            return Ok(manifest);
        }
        let offered = (self.offered)(&digest).filter(|_| !only_held);
        let length = offered.ok_or(Error::NotOffered(digest))?;
        if piece_count(length) == 1 {
            return Ok(Manifest::single(digest, length).map_err(store::Error::from)?);
        }
        let wanted = Wanted::new(digest, length);
        let mut fetch = self.content.ensure(wanted, Urgency::Urgent);
        fetch.manifest(&self.content).await
    }

    /// Pieces of a blob that is held or relayed, each as soon as it is there and
    /// granted, to the node `peer`.
    ///
    /// # Errors
    /// `NOT_FOUND` for blobs that are not offered, `INVALID_ARGUMENT` for what is
    /// malformed or beyond the end, and those of a fetch.
    pub async fn transfer(
        &self,
        peer: &NodeName,
        requests: impl Stream<Item = Result<TransferRequest, Status>> + Send + 'static,
    ) -> Result<FrameStream, Status> {
        let mut requests = requests.boxed();
        let first = timeout(OPENING, requests.next())
            .await
            .map_err(|_| Status::deadline_exceeded("the transfer was not opened in time"))?
            .ok_or_else(|| Status::invalid_argument("a transfer without a word"))??;
        let open = first.open.clone();
        let open = open.ok_or_else(|| Status::invalid_argument("the first message opens none"))?;
        let TransferOpen { digest: name, class, direct, held } = open;
        let (digest, class) = (digest(&name)?, read_class(&class)?);
        let length = self.length(digest, held).await?;
        let wanted = Wanted::new(digest, length).with_class(class);
        let reader = if direct {
            self.content.open_relied(wanted).await?
        } else {
            self.content.open(wanted).await?
        };
        let pace = self.content.inner.budget.transfer(peer, Direction::Out, class);
        let sendings = &self.content.inner.sendings;
        let sending = Sending::new(reader, length, pace, sendings, first, requests)?;
        let frames = stream::try_unfold(sending, |mut sending| async move {
            Ok(sending.next().await?.map(|frame| (frame, sending)))
        });
        Ok(frames.boxed())
    }

    async fn length(&self, digest: Digest, only_held: bool) -> Result<u64, Error> {
        let held = self.content.store().run(move |store| store.length(&digest)).await?;
        let offered = || (self.offered)(&digest).filter(|_| !only_held);
        held.or_else(offered).ok_or(Error::NotOffered(digest))
    }

    /// Whole blobs that are held; those that are not are marked absent.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for too many or malformed digests, or an unknown class.
    pub fn get_blobs(
        &self,
        peer: &NodeName,
        request: &GetBlobsRequest,
    ) -> Result<PartStream, Status> {
        // Documents are what decisions travel with: they are counted, not held.
        let pace = if request.class.is_empty() {
            None
        } else {
            let class = read_class(&request.class)?;
            Some(self.content.inner.budget.transfer(peer, Direction::Out, class))
        };
        if request.digests.len() > MAX_BLOBS {
            return Err(Status::invalid_argument(format!("more than {MAX_BLOBS} digests")));
        }
        let digests: Vec<Digest> =
            request.digests.iter().map(|bytes| digest(bytes)).collect::<Result<_, _>>()?;
        let content = self.content.clone();
        let sets: Vec<Vec<Digest>> = digests.chunks(OPEN_AT_ONCE).map(<[_]>::to_vec).collect();
        let opened = stream::iter(sets).map(move |set| {
            let content = content.clone();
            async move {
                let open = move |store: &Store| {
                    let open = |digest| Ok((digest, Content::open_good(store, &digest)?));
                    set.into_iter().map(open).collect::<Result<Vec<_>, store::Error>>()
                };
                content.store().run(open).await
            }
        });
        let parts = opened
            .buffered(OPEN_AHEAD)
            .map_ok(|set| stream::iter(set.into_iter().map(Ok::<_, store::Error>)))
            .try_flatten()
            .map_ok(|(digest, reader)| whole_blob(digest, reader))
            .try_flatten();
        let parts = parts.map_err(|error| Status::from(Error::from(error)));
        let Some(pace) = pace else { return Ok(parts.boxed()) };
        let pace = Arc::new(pace);
        let paced = parts.and_then(move |part| {
            let pace = pace.clone();
            async move {
                pace.take(part.data.len() as u64).await;
                Ok(part)
            }
        });
        Ok(paced.boxed())
    }
}

/// The class that a receiver states; documents have their own ways.
fn read_class(word: &str) -> Result<Class, Status> {
    if word.is_empty() {
        return Ok(Class::Normal);
    }
    let class: Class = word.parse().map_err(|error: patchmesh_topology::node::UnknownWord| {
        Status::invalid_argument(error.to_string())
    })?;
    // No payload passes as what a decision travels with.
    Ok(class.max(Class::Critical))
}

/// The parts of one blob, or the word that it is absent.
fn whole_blob(
    digest: Digest,
    reader: Option<BlobReader>,
) -> BoxStream<'static, Result<GetBlobsResponse, store::Error>> {
    let name = Bytes::copy_from_slice(digest.as_bytes());
    let only = |absent| {
        let part =
            GetBlobsResponse { digest: name.clone(), absent, data: Bytes::new(), last: true };
        stream::iter([Ok(part)]).boxed()
    };
    let Some(reader) = reader else { return only(true) };
    let length = reader.length();
    if length == 0 {
        return only(false);
    }
    let mut sent = 0;
    let parts = reader.stream(0..length).map_ok(move |data| {
        sent += data.len() as u64;
        GetBlobsResponse { digest: name.clone(), absent: false, data, last: sent == length }
    });
    parts.boxed()
}

fn digest(bytes: &[u8]) -> Result<Digest, Status> {
    Digest::try_from(bytes).map_err(|error| Status::invalid_argument(error.to_string()))
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let text = in_one_line(&error);
        match error {
            Error::NotOffered(_) | Error::Absent { .. } => Self::not_found(text),
            Error::Range { .. } => Self::out_of_range(text),
            Error::Busy { .. } => Self::resource_exhausted(text),
            Error::NoSource { .. }
            | Error::Source { .. }
            | Error::Silent { .. }
            | Error::Truncated { .. }
            | Error::Deceit { .. }
            | Error::Stopped => Self::unavailable(text),
            Error::Length { .. } => Self::failed_precondition(text),
            Error::Store(error) if error.is_disk_full() => Self::resource_exhausted(text),
            // It comes again.
            Error::Store(error) if error.is_damage() => Self::unavailable(text),
            Error::Store(_) => Self::internal(text),
        }
    }
}
