//! Views: what is open for a stage and group, as repositories for stock
//! clients. Paths are relative to the view and never leave it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::digest::Sha256;
use crate::name::GroupName;
use crate::node::Stage;
use crate::revision::{DocumentRef, RevisionId};

/// The longest path in a view, in bytes.
pub const MAX_PATH: usize = 1024;

/// Every view by stage and group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ViewSet {
    /// Grows by one with every change.
    pub version: u64,
    /// The `view` documents; groups with the same content share one.
    pub views: BTreeMap<(Stage, GroupName), DocumentRef>,
}

/// One repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// When it was signed; never goes backwards for a stage and group.
    pub signed_at: Timestamp,
    /// Index files such as `dists/bookworm/InRelease`, as blobs.
    pub files: BTreeMap<String, DocumentRef>,
    /// The files that machines install; bindings lead from here to blobs.
    pub pool: BTreeMap<String, PoolFile>,
    /// What is open but not offered, since it could not be installed.
    pub withheld: BTreeMap<Withheld, String>,
}

/// What a view leaves out; the reason is filed under it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Withheld {
    /// The revision.
    pub revision: RevisionId,
    /// The package; empty: the whole revision.
    pub package: String,
    /// Its architecture; empty: the whole revision.
    pub architecture: String,
}

impl Withheld {
    /// What stands for a revision of which nothing is left; comes before its
    /// packages.
    #[must_use]
    pub fn whole(revision: RevisionId) -> Self {
        Self { revision, package: String::new(), architecture: String::new() }
    }
}

/// A file that machines install.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolFile {
    /// The vendor's hash.
    pub sha256: Sha256,
    /// Bytes.
    pub length: u64,
}

/// Whether `path` is relative, plain and stays inside its folder: steps
/// divided by single `/`, none of them `.` or `..`, no control characters and
/// no backslash.
#[must_use]
pub fn is_inner_path(path: &str) -> bool {
    path.len() <= MAX_PATH
        && path.split('/').all(|step| !matches!(step, "" | "." | ".."))
        && !path.chars().any(|c| c.is_control() || c == '\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        for path in ["InRelease", "pool/main/o/openssl/libssl3_3.0~1%2b2+b1_amd64.deb", "a/..b"] {
            assert!(is_inner_path(path), "{path:?}");
        }
        for path in ["", "/etc", "a//b", "a/", "../a", "a/../b", "./a", "a\\b", "a\nb"] {
            assert!(!is_inner_path(path), "{path:?}");
        }
    }
}
