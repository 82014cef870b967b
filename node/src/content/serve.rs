//! What child nodes ask of a node's blobs: the payload half of the replication
//! service. Who may call is decided before; these handlers check what is asked.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use patchmesh_proto::replication::{
    GetBlobsRequest, GetBlobsResponse, GetManifestRequest, GetManifestResponse, GetPiecesRequest,
    GetPiecesResponse,
};
use patchmesh_topology::digest::Digest;
use tonic::Status;

use super::parent::MAX_BLOBS;
use super::read::Reader;
use super::{Content, Error, Urgency, Wanted};
use crate::log::in_one_line;
use crate::store::manifest::{PIECE_LENGTH, piece_count};
use crate::store::{self, BlobReader, Manifest, Store};

/// Ranges of one request.
const MAX_RANGES: usize = 1024;

/// Pieces read ahead for one stream, beside what HTTP/2 has in flight.
const READ_AHEAD: usize = 2;

/// Blobs opened at once: small ones are read then, so this bounds the memory of
/// a stream, and spares a thread's turn for each.
const OPEN_AT_ONCE: usize = 32;

/// Such sets opened ahead for one stream.
const OPEN_AHEAD: usize = 2;

/// Frames of pieces, in the order asked.
pub type FrameStream = BoxStream<'static, Result<GetPiecesResponse, Status>>;

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
        let manifest = self.manifest(digest(&request.digest)?).await?;
        let piece_values = manifest.encode().into();
        Ok(GetManifestResponse { length: manifest.length(), piece_values })
    }

    async fn manifest(&self, digest: Digest) -> Result<Manifest, Error> {
        let store = self.content.store();
        let known = store.run(move |store| store.manifest(&digest)).await?;
        if let Some(manifest) = known {
            return Ok(manifest);
        }
        let length = (self.offered)(&digest).ok_or(Error::NotOffered(digest))?;
        if piece_count(length) == 1 {
            return Ok(Manifest::single(digest, length).map_err(store::Error::from)?);
        }
        let mut fetch = self.content.ensure(Wanted { digest, length }, Urgency::Urgent);
        fetch.manifest(&self.content).await
    }

    /// Pieces of a blob that is held or relayed, each as soon as it is there.
    ///
    /// # Errors
    /// `NOT_FOUND` for blobs that are not offered, `INVALID_ARGUMENT` for ranges
    /// beyond the end, and those of a fetch.
    pub async fn get_pieces(&self, request: GetPiecesRequest) -> Result<FrameStream, Status> {
        let digest = digest(&request.digest)?;
        if request.ranges.len() > MAX_RANGES {
            return Err(Status::invalid_argument(format!("more than {MAX_RANGES} ranges")));
        }
        let length = self.length(digest).await?;
        let pieces = piece_count(length);
        let ranges: Vec<Range<u64>> = request.ranges.iter().map(|r| r.start..r.end).collect();
        if let Some(range) = ranges.iter().find(|range| range.end > pieces) {
            let text = format!("pieces {range:?} of a blob of {pieces} pieces");
            return Err(Status::invalid_argument(text));
        }
        let reader = self.content.open(Wanted { digest, length }).await?;
        let frames = stream::iter(ranges.into_iter().flatten())
            .map(move |piece| frame(reader.clone(), piece, length))
            .buffered(READ_AHEAD);
        Ok(frames.map_err(Status::from).boxed())
    }

    async fn length(&self, digest: Digest) -> Result<u64, Error> {
        let held = self.content.store().run(move |store| store.length(&digest)).await?;
        held.or_else(|| (self.offered)(&digest)).ok_or(Error::NotOffered(digest))
    }

    /// Whole blobs that are held; those that are not are marked absent.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for too many or malformed digests.
    pub fn get_blobs(&self, request: &GetBlobsRequest) -> Result<PartStream, Status> {
        if request.digests.len() > MAX_BLOBS {
            return Err(Status::invalid_argument(format!("more than {MAX_BLOBS} digests")));
        }
        let digests: Vec<Digest> =
            request.digests.iter().map(|bytes| digest(bytes)).collect::<Result<_, _>>()?;
        let store = self.content.store().clone();
        let sets: Vec<Vec<Digest>> = digests.chunks(OPEN_AT_ONCE).map(<[_]>::to_vec).collect();
        let opened = stream::iter(sets).map(move |set| {
            let store = store.clone();
            async move {
                let open = move |store: &Store| {
                    let open = |digest| Ok((digest, store.open_blob(&digest)?));
                    set.into_iter().map(open).collect::<Result<Vec<_>, store::Error>>()
                };
                store.run(open).await
            }
        });
        let parts = opened
            .buffered(OPEN_AHEAD)
            .map_ok(|set| stream::iter(set.into_iter().map(Ok::<_, store::Error>)))
            .try_flatten()
            .map_ok(|(digest, reader)| whole_blob(digest, reader))
            .try_flatten();
        Ok(parts.map_err(|error| Status::from(Error::from(error))).boxed())
    }
}

async fn frame(reader: Reader, piece: u64, length: u64) -> Result<GetPiecesResponse, Error> {
    let start = piece * PIECE_LENGTH;
    let data = reader.read(start..length.min(start + PIECE_LENGTH)).await?;
    Ok(GetPiecesResponse { piece, offset: 0, data })
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
            Error::Store(_) => Self::internal(text),
        }
    }
}
