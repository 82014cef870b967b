//! Reading a payload whether it is held or still on its way.

use std::ops::Range;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use patchmesh_topology::digest::Digest;

use super::fetch::{Fetch, State};
use super::{Content, Error, Urgency, Wanted};
use crate::log::in_one_line;
use crate::store::BlobReader;
use crate::store::manifest::PIECE_LENGTH;

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
        let Wanted { digest, length: said, .. } = wanted;
        match self.held(digest).await? {
            Some(reader) if reader.length() == said => Ok(Reader::Held(reader)),
            Some(reader) => Err(Error::Length { digest, said, found: reader.length() }),
            None => {
                let fetch = self.ensure(wanted, Urgency::Urgent);
                Ok(Reader::Coming { content: self.clone(), fetch, pins: false })
            }
        }
    }

    /// Opens a blob for a node beside, which relies on this one: it is fetched
    /// only where this node is to have it anyway, and never from beside.
    pub(super) async fn open_relied(&self, wanted: Wanted) -> Result<Reader, Error> {
        let Wanted { digest, length: said, .. } = wanted;
        match self.held(digest).await? {
            Some(reader) if reader.length() == said => Ok(Reader::Held(reader)),
            Some(reader) => Err(Error::Length { digest, said, found: reader.length() }),
            None if self.wishes_for(&digest) => {
                // Its turn is not waited for: those here may wait for theirs.
                let fetch = self.ensure(wanted, Urgency::Background);
                Ok(Reader::Coming { content: self.clone(), fetch, pins: true })
            }
            None => Err(Error::NotOffered(digest)),
        }
    }

    /// Opens a blob if it is held. One whose file somebody deleted is forgotten,
    /// where there is a source to fetch it from again; elsewhere it stays known
    /// as missing.
    async fn held(&self, digest: Digest) -> Result<Option<BlobReader>, Error> {
        let has_source = self.inner.sources.borrow().is_some();
        let opened = self.store().run(move |store| match store.open_blob(&digest) {
            Err(error) if has_source && error.is_missing_file() => {
                tracing::error!(%digest, error = in_one_line(&error), "a blob's file is gone");
                store.remove_blob(&digest)?;
                Ok(None)
            }
            opened => opened,
        });
        Ok(opened.await?)
    }
}

/// Cuts a range where pieces end, so that each part needs one piece.
fn parts(range: Range<u64>) -> impl Iterator<Item = Range<u64>> + Send {
    let mut at = range.start;
    std::iter::from_fn(move || {
        let end = range.end.min((at / PIECE_LENGTH + 1) * PIECE_LENGTH);
        let part = at..end;
        at = end;
        (!part.is_empty()).then_some(part)
    })
}

/// A blob that can be read, at once or as it comes.
#[derive(Debug, Clone)]
pub(super) enum Reader {
    Held(BlobReader),
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
            Self::Held(reader) => Ok(reader.read(part.start, part.end - part.start).await?),
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

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "lists of ranges are what is tested")]
mod tests {
    use super::*;

    #[test]
    fn parts_end_where_pieces_end() {
        let cut = |range| parts(range).collect::<Vec<_>>();
        let piece = PIECE_LENGTH;
        assert_eq!(cut(0..0), []);
        assert_eq!(cut(5..7), [5..7]);
        assert_eq!(cut(0..piece), [0..piece]);
        assert_eq!(cut(5..2 * piece + 1), [5..piece, piece..2 * piece, 2 * piece..2 * piece + 1]);
    }
}
