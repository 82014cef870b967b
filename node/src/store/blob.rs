//! Blobs that are held: finding, reading and removing them.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use patchmesh_topology::digest::Digest;
use tokio::sync::Semaphore;

use super::damage::Damage;
use super::database::{Order, Space};
use super::disk::Disk;
use super::error::READ;
use super::manifest::{Manifest, PIECE_LENGTH, parts};
use super::partial::{JOURNAL, journal};
use super::piece_set::PieceSet;
use super::table::{Table, Tag};
use super::{Error, Store, database, off_thread};

/// Blobs up to this length live in RocksDB: most documents and small packages,
/// for which a file each would cost more than it carries.
pub const SMALL_BLOB: u64 = 64 << 10;

/// Blobs up to this length may be read as a whole; larger ones are streamed.
const MAX_IN_MEMORY: u64 = 64 << 20;

pub(super) const BLOBS: Table<Digest, BlobRecord> = Table::new(Tag::Blob, 1);
pub(super) const MANIFESTS: Table<Digest, ManifestRecord> = Table::new(Tag::Manifest, 1);

/// A blob that is held.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct BlobRecord {
    #[prost(uint64, tag = "1")]
    pub(super) length: u64,
    #[prost(enumeration = "Place", tag = "2")]
    pub(super) place: i32,
}

/// Where a blob's bytes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(super) enum Place {
    Unspecified = 0,
    Database = 1,
    File = 2,
}

/// Piece values of a blob that lies in a file.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ManifestRecord {
    #[prost(uint64, tag = "1")]
    pub(super) length: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) values: Bytes,
}

impl From<&Manifest> for ManifestRecord {
    fn from(manifest: &Manifest) -> Self {
        Self { length: manifest.length(), values: manifest.encode().into() }
    }
}

/// A blob in a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Its name.
    pub digest: Digest,
    /// Its bytes.
    pub length: u64,
}

impl Store {
    /// Whether a blob is held, whole.
    ///
    /// # Errors
    /// A failing disk.
    pub fn has(&self, digest: &Digest) -> Result<bool, Error> {
        Ok(self.length(digest)?.is_some())
    }

    /// Bytes that payloads may take of the disk: without the reserve for control
    /// data, and without what is promised to blobs on their way. Blocks.
    ///
    /// # Errors
    /// A failing disk.
    pub fn room(&self) -> Result<u64, Error> {
        self.folder().room(self.promised())
    }

    /// Bytes that the disk still has to give before a blob is whole here: without
    /// those that it keeps room for already. Blocks.
    ///
    /// # Errors
    /// A failing disk.
    pub fn lacks_room_for(&self, digest: &Digest, length: u64) -> Result<u64, Error> {
        let is_begun = self.get(&JOURNAL, digest)?.is_some();
        let path = self.folder().partial(digest);
        // A file in blocks of 512 bytes; one that is sparse has yet to be filled.
        let taken =
            if is_begun { std::fs::metadata(&path).map_or(0, |m| m.blocks() * 512) } else { 0 };
        Ok(length.saturating_sub(taken))
    }

    /// Whether the disk has room for so many bytes of payload. Blocks.
    ///
    /// # Errors
    /// [`Error::DiskFull`], or a failing disk.
    pub fn ensure_space(&self, bytes: u64) -> Result<(), Error> {
        self.folder().ensure_space(bytes, self.promised())
    }

    /// The length of a blob that is held.
    ///
    /// # Errors
    /// A failing disk.
    pub fn length(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        Ok(self.get(&BLOBS, digest)?.map(|record| record.length))
    }

    /// All bytes of a blob, where it is held. For documents and the like.
    ///
    /// # Errors
    /// [`Error::TooLarge`] above 64 MiB, or a failing disk.
    pub fn get_blob(&self, digest: &Digest) -> Result<Option<Bytes>, Error> {
        let Some(reader) = self.open_blob(digest)? else { return Ok(None) };
        let length = reader.length();
        if length > MAX_IN_MEMORY {
            return Err(Error::TooLarge { digest: *digest, length, limit: MAX_IN_MEMORY });
        }
        reader.read_at(0, length).map(Some)
    }

    /// Opens a blob for reading, where it is held. The reader stays good when
    /// the blob is removed meanwhile.
    ///
    /// # Errors
    /// A failing disk, or a blob whose bytes are gone.
    pub fn open_blob(&self, digest: &Digest) -> Result<Option<BlobReader>, Error> {
        let Some(record) = self.get(&BLOBS, digest)? else { return Ok(None) };
        let bytes = match record.place() {
            Place::Database => Source::Memory(self.small_blob(digest)?),
            Place::File => {
                let path = self.folder().blob(digest);
                let disk = self.folder().disk().clone();
                let file = disk.open(&path, false).map_err(|e| Error::io("open", &path, e));
                let file = file.inspect_err(|error| {
                    if error.is_missing_file() {
                        self.note_damage(*digest, 0);
                    }
                })?;
                let manifest = self.manifest(digest)?.ok_or(Error::NotHeld(*digest))?;
                let file = BlobFile { file, path, disk };
                let (checking, damage) = (self.inner.checking.clone(), self.inner.damage.clone());
                Source::File(Arc::new(Pieces { file, manifest, checking, damage }))
            }
            Place::Unspecified => {
                return Err(Error::Record { table: Tag::Blob.name(), source: None });
            }
        };
        Ok(Some(BlobReader { digest: *digest, length: record.length, bytes }))
    }

    /// The manifest of a blob that is held or on its way.
    ///
    /// # Errors
    /// A failing disk or damaged record.
    pub fn manifest(&self, digest: &Digest) -> Result<Option<Manifest>, Error> {
        if let Some(record) = self.get(&MANIFESTS, digest)? {
            return Ok(Some(Manifest::decode(*digest, record.length, &record.values)?));
        }
        // Whatever has no record here has one piece, whose value is its name.
        let length = self.length(digest)?;
        length.map(|length| Manifest::single(*digest, length).map_err(Error::from)).transpose()
    }

    /// Every blob that is held, in the order of the digests.
    ///
    /// # Errors
    /// A failing disk.
    pub fn blobs(&self) -> Result<Vec<Held>, Error> {
        let mut held = Vec::new();
        self.for_each(&BLOBS, |digest, record| {
            held.push(Held { digest, length: record.length });
            Ok(true)
        })?;
        Ok(held)
    }

    /// The next blobs that are held, at most `count`, from `start` on in the order of
    /// the digests.
    ///
    /// # Errors
    /// A failing disk.
    pub fn blobs_from(&self, start: &Digest, count: usize) -> Result<Vec<Held>, Error> {
        let mut held = Vec::new();
        let (prefix, from) = (BLOBS.prefix(), BLOBS.key(start));
        self.database().scan_from(
            Space::Records,
            &prefix,
            &from,
            Order::Forward,
            |key, value| {
                let digest = BLOBS.decode_key(key)?;
                held.push(Held { digest, length: BLOBS.decode(value)?.length });
                Ok(held.len() < count)
            },
        )?;
        Ok(held)
    }

    /// Removes a blob; whether it was held. Nothing may name it any more.
    ///
    /// # Errors
    /// A failing disk.
    pub fn remove_blob(&self, digest: &Digest) -> Result<bool, Error> {
        let _naming = self.naming(digest);
        let Some(record) = self.get(&BLOBS, digest)? else { return Ok(false) };
        self.forget(digest, record.place())?;
        Ok(true)
    }

    /// Takes its name from a blob with bad pieces; whether it was held. The good
    /// pieces stay, and its manifest: the blob is one on its way again, and only the
    /// bad ones have to be fetched. A blob of one piece is removed.
    ///
    /// # Errors
    /// A failing disk.
    pub fn unname_damaged(&self, digest: &Digest, bad_pieces: &[u64]) -> Result<bool, Error> {
        let _naming = self.naming(digest);
        let Some(record) = self.get(&BLOBS, digest)? else { return Ok(false) };
        let manifest = self.manifest(digest)?.ok_or(Error::NotHeld(*digest))?;
        let mut good = PieceSet::new(manifest.piece_count());
        for piece in (0..manifest.piece_count()).filter(|piece| !bad_pieces.contains(piece)) {
            good.insert(piece);
        }
        if record.place() != Place::File || manifest.piece_count() == 1 {
            self.forget(digest, record.place())?;
            return Ok(true);
        }
        let is_there = self.folder().blob(digest).exists();
        if !is_there {
            good = PieceSet::new(manifest.piece_count());
        }
        // A crash in between leaves a file in its place that only a journal
        // names, which recovery takes back.
        let mut transaction = self.transaction();
        transaction.put(&JOURNAL, digest, &journal(&manifest, &good)).delete(&BLOBS, digest);
        transaction.commit()?;
        if is_there {
            self.folder().take_back(digest)?;
        }
        Ok(true)
    }

    /// Writes a small blob again that is held, over bytes that are bad.
    ///
    /// # Errors
    /// A full or failing disk.
    pub fn mend_small(&self, bytes: &Bytes) -> Result<(), Error> {
        let mut transaction = self.transaction();
        transaction.put_blob(bytes)?;
        transaction.commit()
    }

    /// Spoils a small blob as a disk may.
    #[cfg(test)]
    pub(crate) fn spoil_small(&self, digest: &Digest) -> Result<(), Error> {
        let mut bytes = self.small_blob(digest)?.to_vec();
        bytes[0] ^= 1;
        let mut transaction = self.transaction();
        transaction.put_small_unchecked(digest, bytes);
        transaction.commit()
    }

    fn forget(&self, digest: &Digest, place: Place) -> Result<(), Error> {
        // The record goes first: a file without a record is waste, a record
        // without a file would be a lie.
        let mut transaction = self.transaction();
        transaction.delete(&BLOBS, digest).delete(&MANIFESTS, digest);
        transaction.delete_small(digest);
        transaction.commit()?;
        match place {
            Place::File => self.folder().remove(&self.folder().blob(digest)),
            Place::Database | Place::Unspecified => Ok(()),
        }
    }

    fn small_blob(&self, digest: &Digest) -> Result<Bytes, Error> {
        let damaged = || {
            self.note_damage(*digest, 0);
            Error::Damaged { digest: *digest, piece: None }
        };
        let bytes = match self.database().get(Space::Blobs, digest.as_bytes()) {
            Err(error) if database::is_corruption(&error) => return Err(damaged()),
            found => found?.ok_or_else(damaged)?,
        };
        Ok(Bytes::copy_from_slice(&bytes))
    }
}

/// Reads a blob at any offset; cheap to clone.
#[derive(Debug, Clone)]
pub struct BlobReader {
    digest: Digest,
    length: u64,
    pub(super) bytes: Source,
}

#[derive(Debug, Clone)]
pub(super) enum Source {
    Memory(Bytes),
    File(Arc<Pieces>),
}

/// A file of which nothing is handed out that was not hashed.
#[derive(Debug)]
pub(super) struct Pieces {
    file: BlobFile,
    manifest: Manifest,
    checking: Arc<Semaphore>,
    damage: Arc<Damage>,
}

impl Pieces {
    /// Reads a piece whole; [`Error::Damaged`] where it is not what it was. Notes
    /// nothing of it.
    pub(super) fn piece(&self, piece: u64) -> Result<Bytes, Error> {
        let digest = self.manifest.digest();
        let length = self.manifest.piece_length(piece)?;
        let bytes = self.file.read(digest, piece * PIECE_LENGTH, length)?;
        match self.manifest.verify_piece(piece, &bytes) {
            Ok(()) => Ok(bytes),
            Err(_) => Err(Error::Damaged { digest, piece: Some(piece) }),
        }
    }

    /// See [`Disk::forget_cached`].
    pub(super) fn forget_cached(&self, at: u64, length: u64) {
        self.file.disk.forget_cached(&self.file.file, at, length);
    }

    /// Reads a range that lies within the blob.
    fn read(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let pieces = range.start / PIECE_LENGTH..range.end.div_ceil(PIECE_LENGTH);
        let mut found = BytesMut::new();
        for piece in pieces.clone() {
            let begin = piece * PIECE_LENGTH;
            let bytes = self.piece(piece).inspect_err(|error| {
                if error.is_damage() {
                    self.damage.note(self.manifest.digest(), piece);
                }
            })?;
            let from = range.start.saturating_sub(begin);
            let to = (range.end - begin).min(bytes.len() as u64);
            if pieces.end - pieces.start == 1 && to - from == bytes.len() as u64 {
                return Ok(bytes);
            }
            // Copied: a part that waits for a slow line is not to hold its piece. Within
            // a piece, so these fit.
            found.extend_from_slice(&bytes[from as usize..to as usize]);
        }
        Ok(found.freeze())
    }
}

#[derive(Debug)]
pub(super) struct BlobFile {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) disk: Disk,
}

impl BlobReader {
    /// The blob's name.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The blob's bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Whether a small blob is what its name says; others are hashed when read.
    #[must_use]
    pub fn is_good(&self) -> bool {
        match &self.bytes {
            Source::Memory(bytes) => Digest::of(bytes) == self.digest,
            Source::File(_) => true,
        }
    }

    /// Reads `length` bytes from `offset` on. Blocks.
    ///
    /// # Errors
    /// [`Error::Range`] beyond the end, [`Error::Damaged`] when a piece that they
    /// lie in is not what it was, or a failing disk.
    pub fn read_at(&self, offset: u64, length: u64) -> Result<Bytes, Error> {
        let end = offset.saturating_add(length);
        if end > self.length {
            return Err(Error::Range { digest: self.digest, start: offset, end });
        }
        match &self.bytes {
            // The range was checked and memory is addressed by usize.
            Source::Memory(bytes) => Ok(bytes.slice(offset as usize..end as usize)),
            Source::File(file) => file.read(offset..end),
        }
    }

    /// The same off the async threads.
    ///
    /// # Errors
    /// The same.
    pub async fn read(&self, offset: u64, length: u64) -> Result<Bytes, Error> {
        let Source::File(file) = &self.bytes else { return self.read_at(offset, length) };
        let is_part = !offset.is_multiple_of(PIECE_LENGTH) || length < PIECE_LENGTH;
        // The semaphore is never closed.
        let room = if is_part { file.checking.clone().acquire_owned().await.ok() } else { None };
        let reader = self.clone();
        off_thread(move || {
            let _room = room;
            reader.read_at(offset, length)
        })
        .await
    }

    /// The bytes of a range, in parts that end where pieces do: each piece is
    /// hashed whole to hand out any part of it.
    pub fn stream(
        self,
        range: Range<u64>,
    ) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
        stream::iter(parts(range)).then(move |part| {
            let reader = self.clone();
            async move { reader.read(part.start, part.end - part.start).await }
        })
    }
}

impl BlobFile {
    /// Reads exactly `length` bytes, into memory that was not cleared before.
    pub(super) fn read(&self, digest: Digest, offset: u64, length: u64) -> Result<Bytes, Error> {
        let wanted = usize::try_from(length).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(wanted);
        while bytes.len() < wanted {
            let at = offset + bytes.len() as u64;
            match self.disk.read(&self.file, &self.path, &mut bytes, at) {
                Ok(0) => {
                    return Err(Error::Damaged { digest, piece: Some(at / PIECE_LENGTH) });
                }
                Ok(_) => {}
                Err(error) => return Err(Error::io(READ, &self.path, error)),
            }
        }
        // The vector may have had more room than was asked for.
        bytes.truncate(wanted);
        Ok(bytes.into())
    }
}
