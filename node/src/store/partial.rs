//! A blob that is being received, piece by piece and in any order.
//!
//! Each piece is verified before it is written and can be read at once, by
//! machines and child nodes alike. What survives a crash is told by a journal
//! record, which is written only after the pieces it lists were synced
//! ([`PartialBlob::checkpoint`]). The last steps are those of every blob: sync,
//! rename into place, sync the folder, write the record.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use patchmesh_topology::digest::Digest;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use tokio::sync::watch;

use super::blob::{BlobFile, MANIFESTS, ManifestRecord};
use super::folder::sync_folder;
use super::manifest::{Manifest, PIECE_LENGTH};
use super::piece_set::PieceSet;
use super::table::{Table, Tag};
use super::{Error, Store, import, off_thread};

/// Bytes that may be written before a checkpoint is due, hence fetched again
/// after a crash (together with as many that come in while it syncs).
const CHECKPOINT: u64 = 32 << 20;

/// The longest that written bytes wait for a checkpoint: on a thin line those
/// of [`CHECKPOINT`] are worth minutes.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(3);

pub(super) const JOURNAL: Table<Digest, JournalRecord> = Table::new(Tag::Journal, 1);

/// The durable pieces of a blob on its way.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct JournalRecord {
    #[prost(uint64, tag = "1")]
    pub(super) length: u64,
    /// One bit per piece, the lowest first.
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) pieces: Bytes,
}

/// A handle to a blob that is being received; cheap to clone. All handles to one
/// blob share its state.
#[derive(Debug, Clone)]
pub struct PartialBlob {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    store: Store,
    manifest: Manifest,
    file: BlobFile,
    state: Mutex<State>,
    /// Number of pieces that can be read.
    arrived: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    /// Verified and written.
    present: PieceSet,
    /// Bytes written since the last checkpoint began.
    unsynced: u64,
    /// When the last checkpoint began.
    checkpoint_at: Instant,
    syncing: bool,
    finished: bool,
}

impl Store {
    /// Starts to receive a blob, or goes on where it was left.
    ///
    /// # Errors
    /// A disk without room for the whole blob, or a failing one.
    pub fn partial(&self, manifest: &Manifest) -> Result<PartialBlob, Error> {
        let digest = manifest.digest();
        let mut partials = self.partials();
        if let Some(inner) = partials.get(&digest).and_then(Weak::upgrade) {
            return Ok(PartialBlob { inner });
        }
        let path = self.folder().partial(&digest);
        let (file, present) = match self.reopen(manifest, &path)? {
            Some(opened) => opened,
            None => self.reserve(manifest, &path)?,
        };
        let inner = Arc::new(Inner {
            store: self.clone(),
            manifest: manifest.clone(),
            file: BlobFile { file, path },
            arrived: watch::Sender::new(present.len()),
            state: Mutex::new(State {
                present,
                unsynced: 0,
                checkpoint_at: Instant::now(),
                syncing: false,
                finished: false,
            }),
        });
        partials.retain(|_, inner| inner.strong_count() > 0);
        partials.insert(digest, Arc::downgrade(&inner));
        Ok(PartialBlob { inner })
    }

    /// Goes on with a blob whose manifest is known from before, if there is one.
    ///
    /// # Errors
    /// Those of [`Store::partial`].
    pub fn resume(&self, digest: &Digest) -> Result<Option<PartialBlob>, Error> {
        if self.get(&JOURNAL, digest)?.is_none() {
            return Ok(None);
        }
        let Some(record) = self.get(&MANIFESTS, digest)? else { return Ok(None) };
        let manifest = Manifest::decode(*digest, record.length, &record.values)?;
        self.partial(&manifest).map(Some)
    }

    /// Blobs that were begun and are neither whole nor discarded.
    ///
    /// # Errors
    /// A failing disk.
    pub fn partial_blobs(&self) -> Result<Vec<Digest>, Error> {
        Ok(self.scan(&JOURNAL)?.into_iter().map(|(digest, _)| digest).collect())
    }

    /// Forgets what was received of a blob that nobody wants any more.
    ///
    /// # Errors
    /// A failing disk.
    pub fn discard_partial(&self, digest: &Digest) -> Result<(), Error> {
        let mut partials = self.partials();
        if self.get(&JOURNAL, digest)?.is_none() {
            return Ok(());
        }
        partials.remove(digest);
        let mut transaction = self.transaction();
        transaction.delete(&JOURNAL, digest).delete(&MANIFESTS, digest);
        transaction.commit()?;
        let path = self.folder().partial(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Error::io("remove", &path, error))
            }
            _ => Ok(()),
        }
    }

    fn reopen(&self, manifest: &Manifest, path: &Path) -> Result<Option<(File, PieceSet)>, Error> {
        let Some(record) = self.get(&JOURNAL, &manifest.digest())? else { return Ok(None) };
        let present = PieceSet::decode(manifest.piece_count(), &record.pieces);
        let (Some(present), true) = (present, path.exists()) else { return Ok(None) };
        let file = OpenOptions::new().read(true).write(true).open(path);
        Ok(Some((file.map_err(|e| Error::io("open", path, e))?, present)))
    }

    /// Takes the room for the whole blob, so that it is not missing at its end.
    fn reserve(&self, manifest: &Manifest, path: &Path) -> Result<(File, PieceSet), Error> {
        let length = manifest.length();
        self.folder().ensure_space(length)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        let file = options.open(path).map_err(|e| Error::io("make", path, e))?;
        let reserved = match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, length) {
            // Not every file system can; then the length must do.
            Err(Errno::OPNOTSUPP | Errno::INVAL) => file.set_len(length),
            result => result.map_err(Into::into),
        };
        if let Err(error) = reserved {
            // The failure to tell is the first one.
            let _ = fs::remove_file(path);
            return Err(Error::io("reserve room for", path, error));
        }
        sync_folder(&self.folder().incoming())?;
        let present = PieceSet::new(manifest.piece_count());
        let mut transaction = self.transaction();
        transaction.put(&MANIFESTS, &manifest.digest(), &ManifestRecord::from(manifest));
        transaction.put(&JOURNAL, &manifest.digest(), &journal(manifest, &present));
        transaction.commit_relaxed()?;
        Ok((file, present))
    }
}

impl PartialBlob {
    /// The blob's manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.inner.manifest
    }

    /// The pieces that lack, in order.
    #[must_use]
    pub fn missing(&self) -> Vec<Range<u64>> {
        self.state().present.missing()
    }

    /// Bytes that were received, verified and written.
    #[must_use]
    pub fn received(&self) -> u64 {
        let state = self.state();
        let count = self.inner.manifest.piece_count();
        let full = state.present.len() * PIECE_LENGTH;
        // The last piece may be short.
        let rest = count * PIECE_LENGTH - self.inner.manifest.length();
        if state.present.contains(count - 1) { full - rest } else { full }
    }

    /// Verifies and writes a piece; whether it was new. Blocks.
    ///
    /// # Errors
    /// [`Error::Manifest`] for bytes that are not this piece, or a failing disk.
    pub fn write_piece(&self, piece: u64, bytes: &[u8]) -> Result<bool, Error> {
        let inner = &self.inner;
        inner.manifest.verify_piece(piece, bytes)?;
        if self.has(piece) {
            return Ok(false);
        }
        // Two writers of one piece write the same bytes.
        let written = inner.file.file.write_all_at(bytes, piece * PIECE_LENGTH);
        written.map_err(|e| Error::io("write", &inner.file.path, e))?;
        let new = self.mark(piece, bytes.len() as u64);
        if new {
            // Not under the lock of the state: those who wait take it inside
            // the channel's.
            inner.arrived.send_modify(|pieces| *pieces += 1);
        }
        Ok(new)
    }

    /// Whether a piece can be read.
    #[must_use]
    pub fn has(&self, piece: u64) -> bool {
        self.state().present.contains(piece)
    }

    /// Whether all pieces can be read.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.state().present.is_full()
    }

    /// Waits until a piece can be read. Never ends when it never comes: the
    /// caller knows who fetches and when that has failed.
    pub async fn arrival(&self, piece: u64) {
        let mut arrived = self.inner.arrived.subscribe();
        // This handle owns the sender, so the channel can't be closed.
        let _ = arrived.wait_for(|_| self.has(piece)).await;
    }

    /// Reads a part of the blob that lies within pieces that have arrived.
    ///
    /// # Errors
    /// [`Error::Range`] where pieces lack, or a failing disk.
    pub async fn read(&self, offset: u64, length: u64) -> Result<Bytes, Error> {
        let digest = self.inner.manifest.digest();
        let end = offset.saturating_add(length);
        let mut pieces = offset / PIECE_LENGTH..end.div_ceil(PIECE_LENGTH);
        if end > self.inner.manifest.length() || !pieces.all(|piece| self.has(piece)) {
            return Err(Error::Range { digest, start: offset, end });
        }
        let inner = Arc::clone(&self.inner);
        off_thread(move || inner.file.read(digest, offset, length)).await
    }

    /// Whether enough was written, or time has passed, since the last checkpoint.
    #[must_use]
    pub fn checkpoint_due(&self) -> bool {
        let state = self.state();
        let waited = state.checkpoint_at.elapsed() >= CHECKPOINT_INTERVAL;
        !state.syncing && (state.unsynced >= CHECKPOINT || (waited && state.unsynced > 0))
    }

    /// Makes the pieces written so far survive a crash. Blocks; pieces may be
    /// written meanwhile.
    ///
    /// # Errors
    /// A full or failing disk.
    pub fn checkpoint(&self) -> Result<(), Error> {
        let (snapshot, bytes) = {
            let mut state = self.state();
            if state.syncing || state.finished || state.unsynced == 0 {
                return Ok(());
            }
            state.syncing = true;
            state.checkpoint_at = Instant::now();
            (state.present.clone(), std::mem::take(&mut state.unsynced))
        };
        let result = self.sync().and_then(|()| {
            let record = journal(&self.inner.manifest, &snapshot);
            self.inner.store.put(&JOURNAL, &self.inner.manifest.digest(), &record)
        });
        let mut state = self.state();
        state.syncing = false;
        if result.is_err() {
            state.unsynced += bytes;
        }
        result
    }

    /// Makes the whole blob durable and names it. Blocks. No checkpoint may be
    /// under way.
    ///
    /// # Errors
    /// [`Error::Incomplete`], or a full or failing disk.
    pub fn finish(&self) -> Result<(), Error> {
        let inner = &self.inner;
        let digest = inner.manifest.digest();
        {
            let state = self.state();
            if state.finished {
                return Ok(());
            }
            let missing = inner.manifest.piece_count() - state.present.len();
            if missing > 0 {
                return Err(Error::Incomplete { digest, missing });
            }
        }
        self.sync()?;
        let mut partials = inner.store.partials();
        if inner.file.path.exists() {
            inner.store.folder().adopt(&inner.file.path, &digest)?;
        }
        import::record(&inner.store, &inner.manifest)?;
        self.state().finished = true;
        partials.remove(&digest);
        Ok(())
    }

    fn mark(&self, piece: u64, bytes: u64) -> bool {
        let mut state = self.state();
        let new = state.present.insert(piece);
        if new {
            state.unsynced += bytes;
        }
        new
    }

    fn sync(&self) -> Result<(), Error> {
        let file = &self.inner.file;
        file.file.sync_data().map_err(|e| Error::io("sync", &file.path, e))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole after every statement, so a panic elsewhere does
        // not spoil it.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn journal(manifest: &Manifest, pieces: &PieceSet) -> JournalRecord {
    JournalRecord { length: manifest.length(), pieces: pieces.encode().into() }
}
