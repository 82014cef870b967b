//! Puts right what a crash left behind.
//!
//! - An import is gone: its bytes come again.
//! - A partial blob with a journal record stays and is resumed.
//! - A blob that was renamed into place but not recorded is verified where its
//!   journal does not vouch for it, and named; one that turns out not to be
//!   whole is taken back and resumed.
//! - A file without a journal record never had a durable piece and is removed.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use patchmesh_topology::digest::Digest;

use super::blob::{BlobFile, MANIFESTS};
use super::manifest::{Manifest, PIECE_LENGTH};
use super::partial::{JOURNAL, JournalRecord, journal};
use super::piece_set::PieceSet;
use super::{Error, Store, import};

/// Pieces that are verified at most before a node is up: what a crash may
/// leave unlisted. Of a blob that lacks more, the rest is fetched again.
const MAX_VERIFIED: usize = 64;

/// What becomes of a blob that turns out to be whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whole {
    IsNamed,
    IsTakenBack,
}

impl Store {
    pub(super) fn recover(&self) -> Result<(), Error> {
        super::checkpoint::remove_folder(&self.folder().checkpoint())?;
        let mut resumable = HashSet::new();
        for (digest, journal) in self.scan(&JOURNAL)? {
            let path = self.folder().partial(&digest);
            if self.has(&digest)? {
                // It came another way meanwhile.
                self.delete(&JOURNAL, &digest)?;
            } else if path.exists() || self.settle(&digest, &journal, Whole::IsNamed)? {
                resumable.insert(path);
            }
        }
        self.sweep(&resumable)
    }

    /// Takes back a blob that was renamed but could not be recorded, and that
    /// nobody works on any more.
    pub(super) fn take_back_unnamed(&self, digest: &Digest) -> Result<(), Error> {
        let _naming = self.naming(digest);
        if self.partials().get(digest).is_some_and(|inner| inner.strong_count() > 0) {
            return Ok(());
        }
        let Some(journal) = self.get(&JOURNAL, digest)? else { return Ok(()) };
        if !self.folder().partial(digest).exists() && !self.has(digest)? {
            self.settle(digest, &journal, Whole::IsTakenBack)?;
        }
        Ok(())
    }

    /// Decides about a journal record whose file is no longer in `incoming/`;
    /// whether it is there again.
    fn settle(&self, digest: &Digest, found: &JournalRecord, whole: Whole) -> Result<bool, Error> {
        let place = self.folder().blob(digest);
        let (Some(record), true) =
            (self.get(&MANIFESTS, digest)?, has_length(&place, found.length))
        else {
            self.delete(&JOURNAL, digest)?;
            return Ok(false);
        };
        let manifest = Manifest::decode(*digest, record.length, &record.values)?;
        let disk = self.folder().disk().clone();
        let file = disk.open(&place, true).map_err(|e| Error::io("open", &place, e))?;
        let file = BlobFile { file, path: place, disk };
        let mut present = PieceSet::decode(manifest.piece_count(), &found.pieces)
            .unwrap_or_else(|| PieceSet::new(manifest.piece_count()));
        for piece in present.missing().into_iter().flatten().take(MAX_VERIFIED) {
            let bytes = file.read(*digest, piece * PIECE_LENGTH, manifest.piece_length(piece)?);
            if bytes.is_ok_and(|bytes| manifest.verify_piece(piece, &bytes).is_ok()) {
                present.insert(piece);
            }
        }
        // What was just read may be in memory only, and so may the rename.
        file.disk.sync(&file.file, &file.path).map_err(|e| Error::io("sync", &file.path, e))?;
        if present.is_full() && whole == Whole::IsNamed {
            self.folder().sync_shard(digest)?;
            import::record(self, &manifest)?;
            tracing::info!(%digest, "named a blob that a crash had left unnamed");
            return Ok(false);
        }
        self.put(&JOURNAL, digest, &journal(&manifest, &present))?;
        self.folder().take_back(digest)?;
        tracing::info!(%digest, "took back a blob that was not named");
        Ok(true)
    }

    fn sweep(&self, keep: &HashSet<PathBuf>) -> Result<(), Error> {
        let folder = self.folder().incoming();
        let failed = |error| Error::io("list", &folder, error);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if !keep.contains(&path) {
                self.folder().remove(&path)?;
                tracing::info!(path = %path.display(), "removed what a crash had left behind");
            }
        }
        Ok(())
    }
}

fn has_length(path: &Path, length: u64) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == length)
}
