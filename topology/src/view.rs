//! Views: what is open for a stage and group, as repositories for stock
//! clients. Paths are relative to the view and never leave it.
//!
//! A group has a view for every distinct set of revisions that is open for it
//! somewhere ([`set`]); sites with equal sets share it. [`divide`] says how the
//! views of a group share what has settled, and [`choice`] which one a node
//! serves.

pub mod awaited;
pub mod choice;
mod divide;
pub mod set;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::digest::Sha256;
use crate::name::GroupName;
use crate::node::Stage;
use crate::revision::{DocumentRef, RevisionId};

pub use divide::divide;
use set::SetId;

/// The longest path in a view, in bytes.
pub const MAX_PATH: usize = 1024;

/// The most revisions that are listed apart from what has settled. What is
/// opening is sent anew with every decision, and the rest as often as this is
/// full: a few ten kilobytes each time, and once in so many times all indices.
pub const MAX_OPENING: usize = 64;

/// What a view is for: a stage and group, where just this set is open.
pub type ViewKey = (Stage, GroupName, SetId);

/// Every view by stage, group and set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ViewSet {
    /// Grows by one with every change.
    pub version: u64,
    /// The `view` documents; groups and sites with the same content share one.
    pub views: BTreeMap<ViewKey, DocumentRef>,
}

/// The views of one group, of all there are, in order of their sets.
pub fn of_group<'a, T>(
    views: &'a BTreeMap<ViewKey, T>,
    stage: Stage,
    group: &GroupName,
) -> impl Iterator<Item = (SetId, &'a T)> + use<'a, T> {
    let first = (stage, group.clone(), SetId::UNSTATED);
    let last = (stage, group.clone(), SetId::LAST);
    views.range(first..=last).map(|((_, _, set), view)| (*set, view))
}

/// One repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// When it was signed; never goes backwards for a stage and group at a site.
    pub signed_at: Timestamp,
    /// Index files such as `dists/bookworm/InRelease`, as blobs.
    pub files: BTreeMap<String, DocumentRef>,
    /// The files that machines install.
    pub pools: Pools<DocumentRef>,
    /// What is open but not offered, since it could not be installed.
    pub withheld: BTreeMap<Withheld, String>,
}

/// The two parts of what a view has: a change touches the small one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pools<T> {
    /// What has been open for long.
    pub settled: T,
    /// What was opened lately.
    pub opening: T,
}

/// The files of one part by their paths; bindings lead from here to blobs.
pub type Pool = BTreeMap<String, PoolFile>;

/// A view with the files of its pools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullView {
    /// The view.
    pub view: Arc<View>,
    /// What its pools hold; no path is in both.
    pub pools: Pools<Arc<Pool>>,
}

impl FullView {
    /// The file at a path of the pools.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&PoolFile> {
        self.pools.opening.get(path).or_else(|| self.pools.settled.get(path))
    }

    /// Every file of the pools.
    pub fn files(&self) -> impl Iterator<Item = (&String, &PoolFile)> {
        self.pools.settled.iter().chain(self.pools.opening.iter())
    }
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
