//! A blob that is being received, piece by piece and in any order.
//!
//! Each piece is verified before it is written and can be read at once, by
//! machines and child nodes alike. What survives a crash is told by a journal
//! record, which is written only after the pieces it lists were synced
//! ([`PartialBlob::checkpoint`]). The last steps are those of every blob: sync,
//! rename into place, sync the folder, write the record. What always holds:
//!
//! - The journal never lists a piece that is not durable.
//! - All blobs together have at most [`MAX_AT_RISK`] bytes that are written and
//!   not in a journal: a writer that would exceed it syncs first.
//! - After a failed sync, whatever was not in the journal is fetched again.

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use patchmesh_topology::digest::Digest;
use tokio::sync::watch;

use super::blob::{BlobFile, MANIFESTS, ManifestRecord};
use super::disk::Room;
use super::manifest::{Manifest, PIECE_LENGTH};
use super::piece_set::PieceSet;
use super::table::{Table, Tag};
use super::{Error, Store, import, off_thread};

/// Bytes of one blob that may be written before a checkpoint is due. Well below
/// [`MAX_AT_RISK`], so that pieces come in while it syncs.
const CHECKPOINT: u64 = 24 << 20;

/// The longest that written bytes wait for a checkpoint: on a thin line those
/// of [`CHECKPOINT`] are worth minutes.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(3);

/// Bytes of all blobs that may be written and not in a journal. With the pieces
/// between network and disk it stays below the 64 MiB that a crash may cost.
const MAX_AT_RISK: u64 = 48 << 20;

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
    /// Whether the disk keeps the room for what lacks.
    room: Room,
    state: Mutex<State>,
    /// Held by whoever syncs: one checkpoint or the end at a time.
    turn: Mutex<()>,
    /// Number of pieces that can be read.
    arrived: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    /// Verified and written.
    present: PieceSet,
    /// What the journal lists.
    durable: PieceSet,
    /// Bytes written since the last checkpoint began.
    unsynced: u64,
    /// Bytes that the checkpoint under way makes durable.
    syncing: u64,
    /// When the last checkpoint began.
    checkpoint_at: Instant,
    /// Failed syncs; a write that began before one counts for nothing.
    failures: u64,
    /// Whether the file is in its place.
    adopted: bool,
    finished: bool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.store.inner.at_risk.fetch_sub(state.unsynced + state.syncing, Ordering::Relaxed);
    }
}

impl Store {
    /// Starts to receive a blob, or goes on where it was left.
    ///
    /// # Errors
    /// A disk without room for the whole blob, or a failing one.
    pub fn partial(&self, manifest: &Manifest) -> Result<PartialBlob, Error> {
        let digest = manifest.digest();
        self.take_back_unnamed(&digest)?;
        let mut partials = self.partials();
        if let Some(inner) = partials.get(&digest).and_then(Weak::upgrade) {
            return Ok(PartialBlob { inner });
        }
        let path = self.folder().partial(&digest);
        let promised = promised(&partials);
        let (file, present, room) = match self.reopen(manifest, &path)? {
            Some(opened) => opened,
            None => self.reserve(manifest, &path, promised)?,
        };
        let inner = Arc::new(Inner {
            store: self.clone(),
            manifest: manifest.clone(),
            file: BlobFile { file, path, disk: self.folder().disk().clone() },
            room,
            arrived: watch::Sender::new(present.len()),
            turn: Mutex::default(),
            state: Mutex::new(State {
                durable: present.clone(),
                present,
                unsynced: 0,
                syncing: 0,
                checkpoint_at: Instant::now(),
                failures: 0,
                adopted: false,
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
        let _naming = self.naming(digest);
        if self.get(&JOURNAL, digest)?.is_none() {
            return Ok(());
        }
        self.partials().remove(digest);
        let mut transaction = self.transaction();
        transaction.delete(&JOURNAL, digest);
        // A blob that came another way meanwhile needs it.
        if !self.has(digest)? {
            transaction.delete(&MANIFESTS, digest);
        }
        transaction.commit()?;
        self.folder().remove(&self.folder().partial(digest))
    }

    /// Bytes of blobs on their way that the disk does not keep room for.
    pub(super) fn promised(&self) -> u64 {
        promised(&self.partials())
    }

    /// Makes what was received of all blobs survive a crash. Blocks.
    fn checkpoint_all(&self) {
        let open: Vec<_> = self.partials().values().filter_map(Weak::upgrade).collect();
        for inner in open {
            let partial = PartialBlob { inner };
            if let Err(error) = partial.checkpoint() {
                // Whoever receives it is told by its own next checkpoint or piece.
                tracing::warn!(
                    digest = %partial.inner.manifest.digest(),
                    error = &error as &dyn std::error::Error,
                    "what was received could not be made durable; it is fetched again",
                );
            }
        }
    }

    fn reopen(
        &self,
        manifest: &Manifest,
        path: &Path,
    ) -> Result<Option<(File, PieceSet, Room)>, Error> {
        let Some(record) = self.get(&JOURNAL, &manifest.digest())? else { return Ok(None) };
        let present = PieceSet::decode(manifest.piece_count(), &record.pieces);
        let (Some(present), true) = (present, path.exists()) else { return Ok(None) };
        let disk = self.folder().disk();
        let file = disk.open(path, true).map_err(|e| Error::io("open", path, e))?;
        // The length of a new file is no more durable than its bytes.
        let room = disk
            .allocate(&file, path, manifest.length())
            .map_err(|e| Error::io("reserve room for", path, e))?;
        Ok(Some((file, present, room)))
    }

    /// Takes the room for the whole blob, so that it is not missing at its end.
    fn reserve(
        &self,
        manifest: &Manifest,
        path: &Path,
        promised: u64,
    ) -> Result<(File, PieceSet, Room), Error> {
        let length = manifest.length();
        self.folder().ensure_space(length, promised)?;
        let disk = self.folder().disk();
        let file = disk.make(path).map_err(|e| Error::io("make", path, e))?;
        let room = match disk.allocate(&file, path, length) {
            Ok(room) => room,
            Err(error) => {
                // The failure to tell is the first one.
                let _ = disk.remove(path);
                return Err(Error::io("reserve room for", path, error));
            }
        };
        // Before the journal: a record without a file would be a lie.
        self.folder().sync(&self.folder().incoming())?;
        let present = PieceSet::new(manifest.piece_count());
        let mut transaction = self.transaction();
        transaction.put(&MANIFESTS, &manifest.digest(), &ManifestRecord::from(manifest));
        transaction.put(&JOURNAL, &manifest.digest(), &journal(manifest, &present));
        // Nothing was received yet, so nothing is lost with it; the journal of
        // the first checkpoint makes both durable.
        transaction.commit_relaxed()?;
        Ok((file, present, room))
    }
}

/// Bytes that blobs on their way lack and the disk keeps no room for.
fn promised(partials: &std::collections::HashMap<Digest, Weak<Inner>>) -> u64 {
    let open = partials.values().filter_map(Weak::upgrade);
    open.filter(|inner| inner.room == Room::Promised)
        .map(|inner| inner.manifest.length().saturating_sub(PartialBlob { inner }.received()))
        .sum()
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

    /// Verifies and writes a piece; whether it was new. Blocks, also while too
    /// much waits to be made durable.
    ///
    /// # Errors
    /// [`Error::Manifest`] for bytes that are not this piece, or a failing disk.
    pub fn write_piece(&self, piece: u64, bytes: &[u8]) -> Result<bool, Error> {
        let inner = &self.inner;
        inner.manifest.verify_piece(piece, bytes)?;
        if self.has(piece) {
            return Ok(false);
        }
        let length = bytes.len() as u64;
        if inner.store.inner.at_risk.load(Ordering::Relaxed) + length > MAX_AT_RISK {
            inner.store.checkpoint_all();
        }
        let failures = self.state().failures;
        // Two writers of one piece write the same bytes.
        let file = &inner.file;
        let written = file.disk.write(&file.file, &file.path, bytes, piece * PIECE_LENGTH);
        written.map_err(|e| Error::io("write", &file.path, e))?;
        let new = self.mark(piece, length, failures);
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
        state.syncing == 0 && (state.unsynced >= CHECKPOINT || (waited && state.unsynced > 0))
    }

    /// Makes the pieces written so far survive a crash. Blocks, also while
    /// another checkpoint is under way; pieces may be written meanwhile.
    ///
    /// # Errors
    /// A full or failing disk. When the disk could not be synced, the pieces
    /// that were not durable count as missing again.
    pub fn checkpoint(&self) -> Result<(), Error> {
        let _turn = self.turn();
        let snapshot = {
            let mut state = self.state();
            if state.finished || state.unsynced == 0 {
                return Ok(());
            }
            state.checkpoint_at = Instant::now();
            state.syncing = std::mem::take(&mut state.unsynced);
            state.present.clone()
        };
        self.sync()?;
        let record = journal(&self.inner.manifest, &snapshot);
        let kept = self.inner.store.put(&JOURNAL, &self.inner.manifest.digest(), &record);
        let mut state = self.state();
        let bytes = std::mem::take(&mut state.syncing);
        if kept.is_ok() {
            state.durable = snapshot;
            self.inner.store.inner.at_risk.fetch_sub(bytes, Ordering::Relaxed);
        } else {
            // They are on the disk, and the next journal may say so.
            state.unsynced += bytes;
        }
        kept
    }

    /// Makes the whole blob durable and names it. Blocks.
    ///
    /// # Errors
    /// [`Error::Incomplete`], or a full or failing disk; see
    /// [`PartialBlob::checkpoint`] for what counts as missing then.
    pub fn finish(&self) -> Result<(), Error> {
        let inner = &self.inner;
        let digest = inner.manifest.digest();
        let _turn = self.turn();
        let adopted = {
            let mut state = self.state();
            if state.finished {
                return Ok(());
            }
            let missing = inner.manifest.piece_count() - state.present.len();
            if missing > 0 {
                return Err(Error::Incomplete { digest, missing });
            }
            state.syncing += std::mem::take(&mut state.unsynced);
            state.adopted
        };
        if !adopted {
            self.sync()?;
        }
        let _naming = inner.store.naming(&digest);
        if !adopted {
            inner.store.folder().adopt(&inner.file.path, &digest)?;
            self.state().adopted = true;
        }
        import::record(&inner.store, &inner.manifest)?;
        let bytes = {
            let mut state = self.state();
            state.finished = true;
            std::mem::take(&mut state.syncing)
        };
        inner.store.inner.at_risk.fetch_sub(bytes, Ordering::Relaxed);
        inner.store.partials().remove(&digest);
        Ok(())
    }

    fn mark(&self, piece: u64, bytes: u64, failures: u64) -> bool {
        let mut state = self.state();
        // A sync that failed meanwhile may have lost these bytes.
        let new = state.failures == failures && state.present.insert(piece);
        if new {
            state.unsynced += bytes;
            self.inner.store.inner.at_risk.fetch_add(bytes, Ordering::Relaxed);
        }
        new
    }

    /// Syncs the file. The turn is held.
    fn sync(&self) -> Result<(), Error> {
        let file = &self.inner.file;
        let synced = file.disk.sync(&file.file, &file.path);
        synced.map_err(|error| {
            // The system may have dropped what it could not write, and would
            // call the next sync a success all the same.
            let mut state = self.state();
            state.present = state.durable.clone();
            state.failures += 1;
            let bytes = std::mem::take(&mut state.syncing) + std::mem::take(&mut state.unsynced);
            self.inner.store.inner.at_risk.fetch_sub(bytes, Ordering::Relaxed);
            Error::io("sync", &file.path, error)
        })
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.inner.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole after every statement, so a panic elsewhere does
        // not spoil it.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn journal(manifest: &Manifest, pieces: &PieceSet) -> JournalRecord {
    JournalRecord { length: manifest.length(), pieces: pieces.encode().into() }
}
