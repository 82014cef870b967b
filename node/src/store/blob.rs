//! Blobs that are held: finding, reading, verifying and removing them.

use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::try_unfold;
use patchmesh_topology::digest::Digest;

use super::database::Space;
use super::disk::Disk;
use super::manifest::{Manifest, PIECE_LENGTH};
use super::partial::{JOURNAL, journal};
use super::piece_set::PieceSet;
use super::table::{Table, Tag};
use super::{Error, Store, off_thread};

/// Blobs up to this length live in RocksDB: most documents and small packages,
/// for which a file each would cost more than it carries.
pub const SMALL_BLOB: u64 = 64 << 10;

/// Blobs up to this length may be read as a whole; larger ones are streamed.
const MAX_IN_MEMORY: u64 = 64 << 20;

/// Bytes of one read of a stream: few calls, little memory.
const READ_LENGTH: u64 = PIECE_LENGTH;

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

/// Number and bytes of all blobs that are held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Number of blobs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// How far a verification has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that were hashed.
    pub done: u64,
    /// Bytes of the blob.
    pub length: u64,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// The blob's bytes.
    pub length: u64,
    /// Its pieces.
    pub pieces: u64,
    /// The pieces that are wrong or can't be read.
    pub bad_pieces: Vec<u64>,
}

impl Verification {
    /// Whether every piece is as it should be.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.bad_pieces.is_empty()
    }
}

impl Store {
    /// Whether a blob is held, whole.
    ///
    /// # Errors
    /// A failing disk.
    pub fn has(&self, digest: &Digest) -> Result<bool, Error> {
        Ok(self.length(digest)?.is_some())
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
                let file = disk.open(&path, false).map_err(|e| Error::io("open", &path, e))?;
                Source::File(Arc::new(BlobFile { file, path, disk }))
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

    /// Number and bytes of all blobs, counted anew.
    ///
    /// # Errors
    /// A failing disk.
    pub fn totals(&self) -> Result<Totals, Error> {
        let mut totals = Totals::default();
        self.for_each(&BLOBS, |_, record| {
            totals.blobs += 1;
            totals.bytes += record.length;
            Ok(true)
        })?;
        Ok(totals)
    }

    /// Reads and hashes a blob again, piece by piece.
    ///
    /// # Errors
    /// [`Error::NotHeld`], or a failure other than of the blob's own bytes.
    pub fn verify_blob(
        &self,
        digest: &Digest,
        mut progress: impl FnMut(Progress),
    ) -> Result<Verification, Error> {
        let manifest = self.manifest(digest)?.ok_or(Error::NotHeld(*digest))?;
        let length = manifest.length();
        let reader = match self.open_blob(digest) {
            Ok(reader) => Some(reader.ok_or(Error::NotHeld(*digest))?),
            Err(Error::Damaged { .. }) => None,
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let mut bad_pieces = Vec::new();
        for piece in 0..manifest.piece_count() {
            let bytes = match &reader {
                Some(reader) => reader.read_at(piece * PIECE_LENGTH, manifest.piece_length(piece)?),
                None => Err(Error::NotHeld(*digest)),
            };
            if !bytes.is_ok_and(|bytes| manifest.verify_piece(piece, &bytes).is_ok()) {
                bad_pieces.push(piece);
            }
            progress(Progress { done: length.min((piece + 1) * PIECE_LENGTH), length });
        }
        Ok(Verification { length, pieces: manifest.piece_count(), bad_pieces })
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
    /// pieces stay: the blob is one on its way again, and only the bad ones have
    /// to be fetched. A blob without good pieces is removed.
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
        if record.place() != Place::File || good.len() == 0 || !self.folder().blob(digest).exists()
        {
            self.forget(digest, record.place())?;
            return Ok(true);
        }
        // A crash in between leaves a file in its place that only a journal
        // names, which recovery takes back.
        let mut transaction = self.transaction();
        transaction.put(&JOURNAL, digest, &journal(&manifest, &good)).delete(&BLOBS, digest);
        transaction.commit()?;
        self.folder().take_back(digest)?;
        Ok(true)
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
        let bytes = self.database().get(Space::Blobs, digest.as_bytes())?;
        let bytes = bytes.ok_or(Error::Damaged { digest: *digest, piece: None })?;
        Ok(Bytes::copy_from_slice(&bytes))
    }
}

/// Reads a blob at any offset; cheap to clone.
#[derive(Debug, Clone)]
pub struct BlobReader {
    digest: Digest,
    length: u64,
    bytes: Source,
}

#[derive(Debug, Clone)]
enum Source {
    Memory(Bytes),
    File(Arc<BlobFile>),
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

    /// Reads `length` bytes from `offset` on. Blocks.
    ///
    /// # Errors
    /// [`Error::Range`] beyond the end, [`Error::Damaged`] when the file is too
    /// short, or a failing disk.
    pub fn read_at(&self, offset: u64, length: u64) -> Result<Bytes, Error> {
        let end = offset.saturating_add(length);
        if end > self.length {
            return Err(Error::Range { digest: self.digest, start: offset, end });
        }
        match &self.bytes {
            // The range was checked and memory is addressed by usize.
            Source::Memory(bytes) => Ok(bytes.slice(offset as usize..end as usize)),
            Source::File(file) => file.read(self.digest, offset, length),
        }
    }

    /// The same off the async threads.
    ///
    /// # Errors
    /// The same.
    pub async fn read(&self, offset: u64, length: u64) -> Result<Bytes, Error> {
        if let Source::Memory(_) = self.bytes {
            return self.read_at(offset, length);
        }
        let reader = self.clone();
        off_thread(move || reader.read_at(offset, length)).await
    }

    /// The bytes of a range, in parts of at most 1 MiB.
    pub fn stream(
        self,
        range: Range<u64>,
    ) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
        try_unfold((self, range), |(reader, range)| async move {
            if range.is_empty() {
                return Ok(None);
            }
            let length = READ_LENGTH.min(range.end - range.start);
            let bytes = reader.read(range.start, length).await?;
            Ok(Some((bytes, (reader, range.start + length..range.end))))
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
                Err(error) => return Err(Error::io("read", &self.path, error)),
            }
        }
        // The vector may have had more room than was asked for.
        bytes.truncate(wanted);
        Ok(bytes.into())
    }
}
