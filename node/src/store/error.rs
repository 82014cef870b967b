//! What can go wrong in the store, told so that a person knows what to do.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use patchmesh_topology::digest::Digest;

use super::manifest;

/// The error of whatever lies below, where its type is nobody's business.
type Source = Box<dyn std::error::Error + Send + Sync>;

/// What failed in the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process, or another handle in this one, has the folder open.
    #[error(
        "the data folder {} is in use by {}",
        path.display(),
        process.map_or_else(|| "another process".to_owned(), |id| format!("process {id}"))
    )]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Who has it, where that could be read.
        process: Option<u32>,
    },
    /// The folder holds something else.
    #[error(
        "{} is not a patchmesh data folder (it holds {}); choose an empty or new folder",
        path.display(),
        found.display()
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// One of the things in it.
        found: OsString,
    },
    /// There is nothing to open.
    #[error("there is no data folder at {}; `patchmesh init` or `patchmesh join` makes one", path.display())]
    Missing {
        /// The folder.
        path: PathBuf,
    },
    /// There is already a data folder where one was to be made.
    #[error("{} is a patchmesh data folder already; `patchmesh serve` uses it", path.display())]
    AlreadyExists {
        /// The folder.
        path: PathBuf,
    },
    /// A later version of the program wrote the folder.
    #[error(
        "the data folder {} has format {found}, this program knows formats up to {known}; use a newer patchmesh",
        path.display()
    )]
    NewerFormat {
        /// The folder.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// The marker is not readable.
    #[error("the marker {} is damaged; restore the folder from a backup", path.display())]
    Marker {
        /// The marker.
        path: PathBuf,
    },
    /// The disk does not let itself be written.
    #[error("can't {operation} {}: the disk or folder is read-only for this user", path.display())]
    ReadOnly {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        path: PathBuf,
    },
    /// No room.
    #[error(
        "the disk of {} is full{}{}",
        path.display(),
        wanted.map_or_else(String::new, |bytes| format!(": {bytes} bytes are wanted")),
        free.map_or_else(String::new, |bytes| format!(", {bytes} are free for payloads"))
    )]
    DiskFull {
        /// What was to be written.
        path: PathBuf,
        /// Bytes wanted, where known.
        wanted: Option<u64>,
        /// Bytes free beside the reserve for control data, where known.
        free: Option<u64>,
    },
    /// A file could not be used.
    #[error("can't {operation} {}", path.display())]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database could not be used.
    #[error("can't {operation} the database")]
    Database {
        /// What was attempted.
        operation: &'static str,
        /// Why.
        source: Source,
    },
    /// A record does not have the version that this program reads.
    #[error("a record of table {table} has version {found}, this program reads version {known}")]
    RecordVersion {
        /// The table.
        table: &'static str,
        /// The record's version.
        found: u8,
        /// The version known here.
        known: u8,
    },
    /// A record can't be read.
    #[error("a record of table {table} is damaged; restore the folder from a backup")]
    Record {
        /// The table.
        table: &'static str,
        /// Why, where there is more to say.
        source: Option<Source>,
    },
    /// A manifest or piece is wrong.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    /// A blob that this node does not hold.
    #[error("the blob {0} is not held here")]
    NotHeld(Digest),
    /// A blob that does not fit the use.
    #[error("the blob {digest} has {length} bytes, at most {limit} are allowed here")]
    TooLarge {
        /// The blob, or the digest of no bytes where it is not known yet.
        digest: Digest,
        /// Its bytes, or those seen so far.
        length: u64,
        /// The limit.
        limit: u64,
    },
    /// More bytes than the caller allowed came in.
    #[error("more than the {limit} bytes that were allowed came in")]
    TooMuch {
        /// The limit.
        limit: u64,
    },
    /// A stored blob is not what its name says.
    #[error("the stored blob {digest} is damaged{}", piece.map_or_else(String::new, |piece| format!(" in piece {piece}")))]
    Damaged {
        /// The blob.
        digest: Digest,
        /// The piece, where one is to blame.
        piece: Option<u64>,
    },
    /// A part of a blob that is not there, or not yet.
    #[error("bytes {start} to {end} of the blob {digest} are not there")]
    Range {
        /// The blob.
        digest: Digest,
        /// First byte asked for.
        start: u64,
        /// The byte after the last.
        end: u64,
    },
    /// A blob that was to be finished lacks pieces.
    #[error("the blob {digest} lacks {missing} of its pieces")]
    Incomplete {
        /// The blob.
        digest: Digest,
        /// Number of pieces that lack.
        missing: u64,
    },
    /// The program is shutting down.
    #[error("the store is shutting down")]
    Stopped,
}

/// The operation of reading a file.
pub(super) const READ: &str = "read";

/// The system's number for a failing disk.
const EIO: i32 = rustix::io::Errno::IO.raw_os_error();

const fn is_full(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// An error and those that caused it.
fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

impl Error {
    /// Tells a full or read-only disk from other failures.
    pub(super) fn io(operation: &'static str, path: &Path, source: std::io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            kind if is_full(kind) => Self::DiskFull { path, wanted: None, free: None },
            ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
                Self::ReadOnly { operation, path }
            }
            _ => Self::Io { operation, path, source },
        }
    }

    /// Whether a file is not there that ought to be.
    #[must_use]
    pub fn is_missing_file(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == ErrorKind::NotFound)
    }

    /// Whether stored bytes are not what they were, or cannot be read any more.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            // What a disk says of a sector that it has lost.
            Self::Io { operation, source, .. } => {
                *operation == READ && source.raw_os_error() == Some(EIO)
            }
            _ => false,
        }
    }

    /// The failure of a store that lies behind another one.
    #[must_use]
    pub fn behind<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        chain(error).find_map(|cause| {
            let shared = cause.downcast_ref::<std::sync::Arc<Self>>().map(AsRef::as_ref);
            shared.or_else(|| cause.downcast_ref())
        })
    }

    /// Whether a full disk lies behind a failure, of the store or of another file.
    #[must_use]
    pub fn is_full_behind(error: &(dyn std::error::Error + 'static)) -> bool {
        let is_full = |cause: &(dyn std::error::Error + 'static)| {
            cause.downcast_ref::<std::io::Error>().is_some_and(|error| is_full(error.kind()))
        };
        Self::behind(error).is_some_and(Self::is_disk_full) || chain(error).any(is_full)
    }

    /// Whether waiting for free space can help.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::DiskFull { .. })
    }
}
