//! Puts right what a crash left in `incoming/`.
//!
//! - An import is gone: its bytes come again.
//! - A partial blob with a journal record stays and is resumed.
//! - A blob that was renamed into place but not recorded had been synced before,
//!   so its record is written now.
//! - A file without a journal record never had a durable piece and is removed.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use patchmesh_topology::digest::Digest;

use super::blob::MANIFESTS;
use super::manifest::Manifest;
use super::partial::{JOURNAL, JournalRecord};
use super::{Error, Store, import};

impl Store {
    pub(super) fn recover(&self) -> Result<(), Error> {
        super::checkpoint::remove_folder(&self.folder().checkpoint())?;
        let mut resumable = HashSet::new();
        for (digest, journal) in self.scan(&JOURNAL)? {
            let path = self.folder().partial(&digest);
            if path.exists() {
                resumable.insert(path);
            } else {
                self.settle(&digest, &journal)?;
            }
        }
        self.sweep(&resumable)
    }

    /// Decides about a journal record whose file is no longer in `incoming/`.
    fn settle(&self, digest: &Digest, journal: &JournalRecord) -> Result<(), Error> {
        let in_place = is_file_of(&self.folder().blob(digest), journal.length);
        let manifest = self.get(&MANIFESTS, digest)?;
        match manifest {
            Some(record) if in_place => {
                let manifest = Manifest::decode(*digest, record.length, &record.values)?;
                import::record(self, &manifest)?;
                tracing::info!(%digest, "named a blob that a crash had left unnamed");
                Ok(())
            }
            _ => self.delete(&JOURNAL, digest),
        }
    }

    fn sweep(&self, keep: &HashSet<PathBuf>) -> Result<(), Error> {
        let folder = self.folder().incoming();
        let failed = |error| Error::io("list", &folder, error);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if !keep.contains(&path) {
                fs::remove_file(&path).map_err(|e| Error::io("remove", &path, e))?;
                tracing::info!(path = %path.display(), "removed what a crash had left behind");
            }
        }
        Ok(())
    }
}

fn is_file_of(path: &Path, length: u64) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == length)
}
