//! Blobs whose digest is not known yet: hashed and written in one pass.
//!
//! The order is the same for every blob that becomes a file: write into
//! `incoming/`, sync the file, rename it into place, sync the folder, write the
//! record. A crash before the record leaves at worst an unnamed file, which the
//! same import overwrites.

use aws_lc_rs::digest as sha;
use bytes::Bytes;
use patchmesh_topology::digest::{Digest, Sha256};
use tempfile::NamedTempFile;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::blob::{BLOBS, BlobRecord, MANIFESTS, ManifestRecord, Place, SMALL_BLOB};
use super::disk::{Disk, Step};
use super::manifest::{MAX_BLOB_LENGTH, Manifest, ManifestBuilder, PIECE_LENGTH};
use super::partial::JOURNAL;
use super::{Error, Store};

/// The end of the name of a file that is being imported.
const IMPORT_SUFFIX: &str = ".import";

/// Parts of at most 1 MiB between the caller and the thread that writes.
const QUEUE: usize = 8;
const PART: usize = PIECE_LENGTH as usize;

/// Bytes after which free space is looked at again.
const SPACE_STEP: u64 = 16 << 20;

/// What an import does beside storing.
#[derive(Debug, Clone, Copy, Default)]
pub struct ImportOptions {
    /// Compute the SHA-256 too.
    pub sha256: bool,
    /// Fail as soon as more bytes than this come in.
    pub limit: Option<u64>,
}

/// A blob that was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imported {
    /// Its name.
    pub digest: Digest,
    /// Its bytes.
    pub length: u64,
    /// Its SHA-256, where it was asked for.
    pub sha256: Option<Sha256>,
}

impl Store {
    /// Starts to store a blob that comes in parts. Must be called within a
    /// tokio runtime, one of whose blocking threads it uses until it ends.
    #[must_use]
    pub fn import(&self, options: ImportOptions) -> BlobWriter {
        let (parts, mut queue) = mpsc::channel(QUEUE);
        let store = self.clone();
        let thread = tokio::task::spawn_blocking(move || {
            let mut import = Import::new(store, options);
            loop {
                match queue.blocking_recv() {
                    Some(Message::Part(bytes)) => import.write(&bytes)?,
                    Some(Message::End) => return import.finish(),
                    // The writer was dropped: so is what came in.
                    None => return Err(Error::Stopped),
                }
            }
        });
        BlobWriter { parts, thread: Some(thread) }
    }
}

/// Stores bytes from memory as a file.
pub(super) fn import_bytes(store: &Store, bytes: &[u8]) -> Result<Imported, Error> {
    let options = ImportOptions { limit: Some(bytes.len() as u64), ..ImportOptions::default() };
    let mut import = Import::new(store.clone(), options);
    import.write(bytes)?;
    import.finish()
}

enum Message {
    Part(Bytes),
    End,
}

/// Takes the parts of a blob. Dropping it before [`BlobWriter::finish`] removes
/// what was written.
#[derive(Debug)]
pub struct BlobWriter {
    parts: mpsc::Sender<Message>,
    /// Nothing once its outcome was told.
    thread: Option<JoinHandle<Result<Imported, Error>>>,
}

impl BlobWriter {
    /// Adds the next bytes; waits while the disk is behind.
    ///
    /// # Errors
    /// A full or failing disk, or more bytes than allowed. The import is over
    /// then and leaves nothing behind.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), Error> {
        while !bytes.is_empty() {
            let part = bytes.split_to(PART.min(bytes.len()));
            if self.parts.send(Message::Part(part)).await.is_err() {
                // The thread only leaves the queue with an error.
                return self.outcome().await.and(Err(Error::Stopped));
            }
        }
        Ok(())
    }

    /// Makes the blob durable and names it.
    ///
    /// # Errors
    /// Those of [`BlobWriter::write`].
    pub async fn finish(mut self) -> Result<Imported, Error> {
        // A thread that is gone has a better error than the closed channel.
        let _ = self.parts.send(Message::End).await;
        self.outcome().await
    }

    async fn outcome(&mut self) -> Result<Imported, Error> {
        let Some(thread) = self.thread.take() else { return Err(Error::Stopped) };
        match thread.await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_cancelled) => Err(Error::Stopped),
            },
        }
    }
}

/// The work of an import, on a thread that may block.
struct Import {
    store: Store,
    manifest: ManifestBuilder,
    sha256: Option<sha::Context>,
    limit: u64,
    sink: Sink,
    /// Length up to which there was room when it was looked at last.
    room: u64,
}

enum Sink {
    /// Until it is known to be more than a small blob.
    Memory(Vec<u8>),
    File(Draft),
}

/// A file without a name; removed when dropped.
struct Draft {
    file: NamedTempFile,
    /// Bytes that are to be written next, so that each write is a large one.
    waiting: Vec<u8>,
    /// Bytes that were written.
    written: u64,
}

impl Draft {
    fn write(&mut self, disk: &Disk, bytes: &[u8]) -> Result<(), Error> {
        if self.waiting.len() + bytes.len() > PART {
            self.flush(disk)?;
        }
        self.waiting.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self, disk: &Disk) -> Result<(), Error> {
        let path = self.file.path();
        disk.write(self.file.as_file(), path, &self.waiting, self.written)
            .map_err(|e| Error::io("write", path, e))?;
        self.written += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }
}

impl Import {
    fn new(store: Store, options: ImportOptions) -> Self {
        Self {
            store,
            manifest: ManifestBuilder::new(),
            sha256: options.sha256.then(|| sha::Context::new(&sha::SHA256)),
            limit: options.limit.unwrap_or(MAX_BLOB_LENGTH).min(MAX_BLOB_LENGTH),
            sink: Sink::Memory(Vec::new()),
            room: 0,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let length = self.manifest.length() + bytes.len() as u64;
        if length > self.limit {
            return Err(Error::TooMuch { limit: self.limit });
        }
        self.manifest.update(bytes);
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
        if let Sink::Memory(memory) = &mut self.sink {
            if length <= SMALL_BLOB {
                memory.extend_from_slice(bytes);
                return Ok(());
            }
            let memory = std::mem::take(memory);
            self.sink = self.spill()?;
            self.write_file(&memory, length)?;
        }
        self.write_file(bytes, length)
    }

    /// Goes on in a file.
    fn spill(&self) -> Result<Sink, Error> {
        let folder = self.store.folder().incoming();
        let disk = self.store.folder().disk();
        disk.step(Step::Make(&folder)).map_err(|e| Error::io("make a file in", &folder, e))?;
        let file = tempfile::Builder::new()
            .suffix(IMPORT_SUFFIX)
            .tempfile_in(&folder)
            .map_err(|e| Error::io("make a file in", &folder, e))?;
        Ok(Sink::File(Draft { file, waiting: Vec::with_capacity(PART), written: 0 }))
    }

    fn write_file(&mut self, bytes: &[u8], length: u64) -> Result<(), Error> {
        let Sink::File(file) = &mut self.sink else { return Ok(()) };
        if length > self.room {
            // No more than may still come.
            let step = SPACE_STEP.min(self.limit.saturating_sub(self.room));
            self.store.ensure_space(step)?;
            self.room += step.max(bytes.len() as u64);
        }
        file.write(self.store.folder().disk(), bytes)
    }

    fn finish(self) -> Result<Imported, Error> {
        let manifest = self.manifest.finish();
        let sha256 =
            self.sha256.and_then(|context| Sha256::try_from(context.finish().as_ref()).ok());
        let (digest, length) = (manifest.digest(), manifest.length());
        let imported = Imported { digest, length, sha256 };
        if self.store.has(&digest)? {
            return Ok(imported);
        }
        match self.sink {
            Sink::Memory(bytes) => {
                let mut transaction = self.store.transaction();
                transaction.put_blob(&bytes.into())?;
                transaction.commit()?;
            }
            Sink::File(mut draft) => {
                let disk = self.store.folder().disk();
                draft.flush(disk)?;
                let file = &draft.file;
                disk.sync(file.as_file(), file.path())
                    .map_err(|e| Error::io("sync", file.path(), e))?;
                let _naming = self.store.naming(&digest);
                // The temporary name is gone then, so dropping it removes nothing.
                self.store.folder().adopt(file.path(), &digest)?;
                record(&self.store, &manifest)?;
            }
        }
        Ok(imported)
    }
}

/// Names a blob whose file is in its place, durably. The caller holds
/// [`Store::naming`].
pub(super) fn record(store: &Store, manifest: &Manifest) -> Result<(), Error> {
    let digest = manifest.digest();
    let blob = BlobRecord { length: manifest.length(), place: Place::File.into() };
    let mut transaction = store.transaction();
    transaction.put(&BLOBS, &digest, &blob);
    transaction.put(&MANIFESTS, &digest, &ManifestRecord::from(manifest));
    transaction.delete(&JOURNAL, &digest);
    transaction.commit()
}
