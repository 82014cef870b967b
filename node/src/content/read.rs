//! Reading a payload whether it is held or still on its way.

use std::ops::Range;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use patchmesh_topology::digest::Digest;

use super::fetch::{Fetch, State};
use super::{Content, Error, Urgency, Wanted};
use crate::log::in_one_line;
use crate::store::manifest::{PIECE_LENGTH, parts};
use crate::store::{self, BlobReader, Store};

/// The bytes of a range, in parts of at most 1 MiB.
pub type ByteStream = BoxStream<'static, Result<Bytes, Error>>;

/// Parts read ahead of whoever takes them, so that disk and network overlap.
const READ_AHEAD: usize = 2;

impl Content {
    /// The bytes of a range of a payload. One that is not held is fetched at
    /// once and handed on piece by piece. Returns when the first part is there,
    /// so that what fails before can still be answered as an error.
    ///
    /// # Errors
    /// A range beyond the end, a length that is not the blob's, or why the fetch
    /// failed.
    pub async fn read_through(
        &self,
        wanted: Wanted,
        range: Range<u64>,
    ) -> Result<ByteStream, Error> {
        let Wanted { digest, length, .. } = wanted;
        if range.start > range.end || range.end > length {
            return Err(Error::Range { digest, start: range.start, end: range.end, length });
        }
        let reader = self.open(wanted).await?;
        let mut parts = stream::iter(parts(range))
            .map(move |part| reader.clone().read(part))
            .buffered(READ_AHEAD)
            .boxed();
        Ok(match parts.try_next().await? {
            Some(first) => stream::iter([Ok(first)]).chain(parts).boxed(),
            None => parts,
        })
    }

    /// Opens a blob that is held, or begins to fetch it.
    pub(super) async fn open(&self, wanted: Wanted) -> Result<Reader, Error> {
        if let Some(held) = self.open_held(wanted).await? {
            return Ok(held);
        }
        let fetch = self.ensure(wanted, Urgency::Urgent);
        Ok(Reader::Coming { content: self.clone(), fetch, pins: false })
    }

    /// Opens a blob that is held, and of the length that was said.
    async fn open_held(&self, wanted: Wanted) -> Result<Option<Reader>, Error> {
        let Wanted { digest, length: said, .. } = wanted;
        match self.held(digest).await? {
            None => Ok(None),
            Some(reader) if reader.length() == said => {
                Ok(Some(Reader::Held { content: self.clone(), wanted, reader }))
            }
            Some(reader) => Err(Error::Length { digest, said, found: reader.length() }),
        }
    }

    /// Opens a blob for a node beside, which relies on this one: it is fetched
    /// only where this node is to have it anyway, and never from beside.
    pub(super) async fn open_relied(&self, wanted: Wanted) -> Result<Reader, Error> {
        if let Some(held) = self.open_held(wanted).await? {
            return Ok(held);
        }
        if !self.wishes_for(&wanted.digest) {
            return Err(Error::NotOffered(wanted.digest));
        }
        // Its turn is not waited for: those here may wait for theirs.
        let fetch = self.ensure(wanted, Urgency::Background);
        Ok(Reader::Coming { content: self.clone(), fetch, pins: true })
    }

    /// Opens a blob if it is held. One whose file somebody deleted, or that is
    /// damaged at first sight, comes again.
    async fn held(&self, digest: Digest) -> Result<Option<BlobReader>, Error> {
        let opened = self.store().run(move |store| store.open_blob(&digest)).await;
        match opened {
            Ok(Some(reader)) if !reader.is_good() => {
                self.report_damage(digest, vec![0]).await?;
                Err(store::Error::Damaged { digest, piece: None }.into())
            }
            Err(error) if error.is_missing_file() || error.is_damage() => {
                tracing::error!(%digest, error = in_one_line(&error), "a blob cannot be opened");
                self.report_damage(digest, vec![0]).await?;
                if self.store().run(move |store| store.has(&digest)).await? {
                    return Err(error.into());
                }
                Ok(None)
            }
            opened => Ok(opened?),
        }
    }

    /// Opens a blob that is held and not damaged at first sight; nothing for others.
    pub(super) fn open_good(
        store: &Store,
        digest: &Digest,
    ) -> Result<Option<BlobReader>, store::Error> {
        match store.open_blob(digest) {
            Ok(Some(reader)) if !reader.is_good() => {}
            Err(error) if error.is_missing_file() || error.is_damage() => {}
            opened => return opened,
        }
        store.note_damage(*digest, 0);
        Ok(None)
    }

    /// Reads a part of a held blob. Where the disk has spoilt its piece, that comes
    /// again, from above, and is waited for.
    async fn read_held(
        self,
        wanted: Wanted,
        reader: BlobReader,
        part: Range<u64>,
    ) -> Result<Bytes, Error> {
        let error = match reader.read(part.start, part.end - part.start).await {
            Ok(bytes) => return Ok(bytes),
            Err(error) => error,
        };
        if !error.is_damage() {
            return Err(error.into());
        }
        let digest = wanted.digest;
        self.report_damage(digest, vec![part.start / PIECE_LENGTH]).await?;
        match self.held(digest).await? {
            // It was mended meanwhile, or it is no more than one bad read.
            Some(reader) => Ok(reader.read(part.start, part.end - part.start).await?),
            None => {
                let fetch = self.ensure(wanted, Urgency::Background);
                fetch.pin(part.start / PIECE_LENGTH);
                read_coming(&self, fetch, part).await
            }
        }
    }
}

/// A blob that can be read, at once or as it comes.
#[derive(Debug, Clone)]
pub(super) enum Reader {
    Held {
        content: Content,
        wanted: Wanted,
        reader: BlobReader,
    },
    /// A read pins its piece where a node beside relies on this one.
    Coming {
        content: Content,
        fetch: Fetch,
        pins: bool,
    },
}

impl Reader {
    /// Reads a range within one piece, waiting for that piece.
    pub(super) async fn read(self, part: Range<u64>) -> Result<Bytes, Error> {
        match self {
            Self::Held { content, wanted, reader } => content.read_held(wanted, reader, part).await,
            Self::Coming { content, fetch, pins } => {
                if pins {
                    fetch.pin(part.start / PIECE_LENGTH);
                }
                read_coming(&content, fetch, part).await
            }
        }
    }
}

async fn read_coming(
    content: &Content,
    mut fetch: Fetch,
    part: Range<u64>,
) -> Result<Bytes, Error> {
    let piece = part.start / PIECE_LENGTH;
    let length = part.end - part.start;
    loop {
        match fetch.state() {
            State::Starting => fetch.changed().await?,
            State::Receiving(partial) => {
                tokio::select! {
                    biased;
                    () = partial.arrival(piece) => return Ok(partial.read(part.start, length).await?),
                    changed = fetch.changed() => changed?,
                }
            }
            State::Held => {
                let digest = fetch.digest();
                let reader = content.store().run(move |store| store.open_blob(&digest)).await?;
                let reader = reader.ok_or(Error::NotOffered(digest))?;
                return Ok(reader.read(part.start, length).await?);
            }
            State::Failed(error) => return Err(error),
        }
    }
}
