//! The manifest: what it says, checked as far as that goes without the files.
//!
//! Every fault is collected with its line, so that a person mends a manifest in
//! one go. The fields are described in `docs/files-source.md`.

mod fields;
mod place;
mod read;

use jiff::Timestamp;
use patchmesh_topology::revision::{Facts, Payload, Reference, RevisionId};

pub(super) use read::{read, read_what_can_be};

/// The only format there is so far.
pub(super) const FORMAT: i64 = 1;

/// The suite of revisions whose manifest names none.
pub(super) const DEFAULT_SUITE: &str = "stable";

/// The architecture of files whose manifest names none: every one.
pub(super) const EVERY_ARCHITECTURE: &str = "all";

/// The most revisions of a manifest. A vendor that has more parts them.
pub(super) const MAX_REVISIONS: usize = 10_000;

/// The most files of a manifest.
pub(super) const MAX_PAYLOADS: usize = 100_000;

/// The most entries of one list.
pub(super) const MAX_LIST: usize = 1_000;

/// The longest name, version, product or other word, in bytes.
pub(super) const MAX_WORD: usize = 128;

/// The longest path of a file, in bytes.
pub(super) const MAX_FILE: usize = 400;

/// The longest title, in bytes.
pub(super) const MAX_TITLE: usize = 300;

/// The longest description, in bytes.
pub(super) const MAX_DESCRIPTION: usize = 16 << 10;

/// The longest argument of an installer, in bytes.
pub(super) const MAX_ARGUMENT: usize = 4096;

/// A manifest without faults, but for what the files themselves show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    /// Who made it, for people.
    pub(super) vendor: String,
    /// When it was released.
    pub(super) released: Option<Timestamp>,
    /// In the manifest's order.
    pub(super) revisions: Vec<Entry>,
}

/// A revision as the manifest states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where it begins.
    pub(super) line: usize,
    pub(super) id: RevisionId,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) architectures: Vec<String>,
    /// References sorted, as the model wants them.
    pub(super) facts: Facts,
    /// Each reference with its line.
    pub(super) references: Vec<Named>,
    pub(super) payloads: Vec<File>,
}

/// A reference and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) line: usize,
    pub(super) kind: Kind,
    pub(super) reference: Reference,
}

/// What a reference is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Supersedes,
    Prerequisite,
}

/// A file and where it is stated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) line: usize,
    pub(super) payload: Payload,
}
