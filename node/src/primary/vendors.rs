//! Vendors as a source of payloads that are bound already: what the primary's disk
//! has lost or spoilt comes again from where it came first.
//!
//! A vendor knows nothing of pieces, so a payload is downloaded whole, beside the
//! blobs, and the pieces asked for are cut out of it. What always holds:
//!
//! - One download at a time, taken up where the one before was cut.
//! - It is checked against the vendor's hash here and against the digest of the
//!   blob by whoever takes the pieces.
//! - While it lasts, notes say that it is under way.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use patchmesh_proto::replication::{GetManifestResponse, TransferResponse};
use patchmesh_topology::digest::Digest;
use patchmesh_topology::name::SourceName;
use patchmesh_topology::revision::Payload;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::{Mutex, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::payloads::import;
use super::sources::{self, Sources};
use crate::content::{Conduct, Frame, Frames, PieceSource, Wanted};
use crate::generation::{Current, Generation};
use crate::log::in_one_line;
use crate::source::Progress;
use crate::store::manifest::{ManifestBuilder, PIECE_LENGTH, piece_count, piece_length};
use crate::store::{self, Store};

/// The name for people.
const NAME: &str = "the vendor";
/// How often it is said that a download is under way: far more often than a silent
/// source is given up.
const NOTE: Duration = Duration::from_secs(5);
/// The word of such a note.
const UNDER_WAY: &str = "vendor";
/// Pieces that wait for whoever takes them.
const AHEAD: usize = 2;

/// All vendors of the primary; cheap to clone.
#[derive(Debug, Clone)]
pub struct Vendors {
    current: Current,
    sources: Sources,
    store: Store,
    turn: Arc<Mutex<()>>,
}

impl Vendors {
    /// The vendors of what the generations of `current` bind.
    #[must_use]
    pub fn new(current: Current, sources: Sources, store: Store) -> Self {
        Self { current, sources, store, turn: Arc::default() }
    }

    /// Downloads the payload that this blob is, unless that was done already.
    async fn download(&self, blob: Digest) -> Result<(PathBuf, Payload), Status> {
        let _turn = self.turn.lock().await;
        let (generation, sources) = (self.current.get(), self.sources.clone());
        let found = tokio::task::spawn_blocking(move || vendor_of(&generation, &sources, &blob));
        let found = found.await.map_err(|_| Status::unavailable("the node ends"))?;
        let failed =
            |error: &(dyn std::error::Error + 'static)| Status::unavailable(in_one_line(error));
        let (name, payload) = found
            .map_err(|error| failed(&error))?
            .ok_or_else(|| Status::not_found("no source has released it"))?;
        let source = self.sources.source(&name).map_err(|error| failed(&error))?;
        let length = payload.length;
        let room = self.store.run(move |store| store.ensure_space(length)).await;
        room.map_err(|error: store::Error| Status::resource_exhausted(in_one_line(&error)))?;
        tracing::info!(package = payload.package, source = %name, "asking the vendor again");
        let done = import::download(&self.store, &source, &payload, &Progress::default()).await;
        Ok((done.map_err(|error| failed(&error))?, payload))
    }

    /// Sends the pieces of a blob, and notes until the first is there.
    async fn send(
        self,
        wanted: Wanted,
        ranges: Vec<Range<u64>>,
        frames: mpsc::Sender<Result<TransferResponse, Status>>,
    ) {
        let download = self.download(wanted.digest);
        tokio::pin!(download);
        let mut notes = tokio::time::interval(NOTE);
        let downloaded = loop {
            tokio::select! {
                downloaded = &mut download => break downloaded,
                _ = notes.tick() => {
                    let held = UNDER_WAY.to_owned();
                    let note = TransferResponse { held, ..TransferResponse::default() };
                    if frames.send(Ok(note)).await.is_err() {
                        return;
                    }
                }
            }
        };
        let sent = match downloaded {
            Ok((path, payload)) => {
                let sent = cut(&path, wanted.length, ranges, &frames).await;
                if let Ok(true) = sent {
                    import::bound(&self.store, &[payload.sha256]).await;
                }
                sent.map(drop)
            }
            Err(status) => Err(status),
        };
        if let Err(status) = sent {
            // Whoever listened may have gone.
            let _ = frames.send(Err(status)).await;
        }
    }
}

/// Sends pieces out of a file; whether all of them were taken.
async fn cut(
    path: &Path,
    length: u64,
    ranges: Vec<Range<u64>>,
    frames: &mpsc::Sender<Result<TransferResponse, Status>>,
) -> Result<bool, Status> {
    let failed = |error: std::io::Error| Status::unavailable(in_one_line(&error));
    let mut file = tokio::fs::File::open(path).await.map_err(failed)?;
    for piece in ranges.into_iter().flatten().take_while(|piece| *piece < piece_count(length)) {
        file.seek(std::io::SeekFrom::Start(piece * PIECE_LENGTH)).await.map_err(failed)?;
        // At most a piece, which fits.
        let mut data = vec![0; piece_length(length, piece) as usize];
        file.read_exact(&mut data).await.map_err(failed)?;
        let frame = TransferResponse { piece, data: data.into(), ..TransferResponse::default() };
        if frames.send(Ok(frame)).await.is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The source and the payload that a blob was made of.
fn vendor_of(
    generation: &Generation,
    sources: &Sources,
    blob: &Digest,
) -> Result<Option<(SourceName, Payload)>, sources::Error> {
    let bound = generation.bindings.values().find(|binding| binding.blob == *blob);
    let Some(sha256) = bound.map(|binding| binding.sha256) else { return Ok(None) };
    for (id, revision) in generation.revisions.iter() {
        if let Some(found) = revision.payloads.iter().find(|payload| payload.sha256 == sha256) {
            return Ok(Some((id.update.source.clone(), found.clone())));
        }
    }
    for source in sources.prefetching()? {
        for id in generation.catalogue.keys().filter(|id| id.update.source == source) {
            let Some(revision) = sources.revision(generation, id)? else { continue };
            if let Some(found) = revision.payloads.iter().find(|one| one.sha256 == sha256) {
                return Ok(Some((source, found.clone())));
            }
        }
    }
    Ok(None)
}

#[async_trait]
impl PieceSource for Vendors {
    fn name(&self) -> &str {
        NAME
    }

    async fn manifest(&self, digest: &Digest) -> Result<GetManifestResponse, Status> {
        let (path, _) = self.download(*digest).await?;
        let hashed = tokio::task::spawn_blocking(move || {
            let mut builder = ManifestBuilder::new();
            let mut file = std::fs::File::open(path)?;
            let mut part = vec![0; PIECE_LENGTH as usize];
            loop {
                match std::io::Read::read(&mut file, &mut part)? {
                    0 => return Ok::<_, std::io::Error>(builder.finish()),
                    read => builder.update(&part[..read]),
                }
            }
        });
        let manifest = hashed
            .await
            .map_err(|_| Status::unavailable("the node ends"))?
            .map_err(|error| Status::unavailable(in_one_line(&error)))?;
        let piece_values = Bytes::from(manifest.encode());
        Ok(GetManifestResponse { length: manifest.length(), piece_values })
    }

    async fn pieces(&self, wanted: Wanted, ranges: &[Range<u64>]) -> Result<Frames, Status> {
        let (frames, stream) = mpsc::channel(AHEAD);
        // It ends when nobody listens any more.
        tokio::spawn(self.clone().send(wanted, ranges.to_vec(), frames));
        Ok(ReceiverStream::new(stream).map_ok(Frame::from).boxed())
    }

    fn judged(&self, conduct: Conduct) {
        if conduct == Conduct::Lied {
            tracing::error!("a vendor's payload hashes as it is signed for and is another blob");
        }
    }
}
