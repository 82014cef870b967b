//! Backups of a primary: everything that is needed to be that node again.
//!
//! ```text
//! FOLDER/patchmesh-backups     marker and format version
//! FOLDER/lock                  locked while a backup is made or removed
//! FOLDER/objects/xx/HEX        files by BLAKE3 digest, each copied once
//! FOLDER/backups/N.json        backup N: its facts and its files; written last
//! ```
//!
//! A backup is a list of paths and digests over objects that all backups of
//! the folder share, so the next one copies only what is new: the database's
//! table files never change, and neither do blobs.
//!
//! What always holds:
//!
//! - A backup that is listed is whole: everything it names was synced before
//!   its own file was renamed into place.
//! - It is of one moment: the database is held still first, then the blobs
//!   that it names are copied, which never change.
//! - Nothing of a restore touches the target before every file of the backup
//!   was read and hashed again.
//! - Private keys are inside, so folders have mode 0700 and files 0600.
//!
//! Calls here block.

mod check;
mod create;
mod folder;
mod manifest;
mod restore;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

pub use check::{Fault, Listed, Report, list, verify};
pub use create::{Made, Options, Source, create};
pub use manifest::{Entry, Manifest};
pub use restore::{Restored, Target, restore};

use crate::store;

/// How far the work has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Files done.
    pub files_done: u64,
    /// Files in all.
    pub files_total: u64,
    /// Bytes done.
    pub bytes_done: u64,
    /// Bytes in all.
    pub bytes_total: u64,
    /// Bytes that were new to the folder.
    pub bytes_added: u64,
}

/// Is told of progress; answers whether to go on.
pub type Watcher<'a> = &'a mut dyn FnMut(Progress) -> bool;

/// Why a backup was not made, checked or restored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder holds no backups.
    #[error("{} holds no backups; `patchmesh backup create` makes them", .0.display())]
    NoFolder(PathBuf),
    /// The folder holds something else.
    #[error("{} holds other things (such as {found}); choose an empty or new folder for backups", path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// One of the things in it.
        found: String,
    },
    /// The folder would be lost together with what it is to save.
    #[error("{} lies in the data folder and would be lost with it; choose another folder, best on another disk", .0.display())]
    Inside(PathBuf),
    /// A later version of the program wrote it.
    #[error("{} has format {found}, this program knows {known}; use a newer patchmesh", path.display())]
    Newer {
        /// What was read.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest known here.
        known: u32,
    },
    /// Somebody else works with the folder.
    #[error("another backup is being made in {}; try again when it is done", .0.display())]
    Busy(PathBuf),
    /// The folder has no whole backup.
    #[error("no backup in {} is whole", .0.display())]
    None(PathBuf),
    /// There is no backup of that number.
    #[error("there is no backup {id} in {}; `patchmesh backup list` shows them", path.display())]
    Unknown {
        /// The folder.
        path: PathBuf,
        /// The number asked for.
        id: u64,
    },
    /// A file of a backup is not what it was.
    #[error("{} is damaged: {why}; nothing was restored: take another backup, or another copy of this one", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A file of the node that is not what its name says.
    #[error("{} is damaged; run `patchmesh blob verify`, then make the backup again", .0.display())]
    SourceDamaged(PathBuf),
    /// More files than any node has.
    #[error("{} holds more than {limit} files beside the node's own; move them elsewhere", path.display())]
    TooMany {
        /// The data folder.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// Whoever wanted it is gone.
    #[error("stopped before it was done")]
    Stopped,
    /// The store.
    #[error("the data folder cannot be used")]
    Store(#[from] store::Error),
    /// The mark of a restored folder.
    #[error("the restored folder cannot be marked")]
    Mark(#[from] crate::succession::mark::Error),
    /// A file or folder.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Error {
    fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { operation, path: path.to_owned(), source }
    }
}
