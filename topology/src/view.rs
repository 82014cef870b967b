//! Views: what is open for a stage and group, as repositories for stock
//! clients. Paths are relative to the view and never leave it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::digest::Sha256;
use crate::name::GroupName;
use crate::node::Stage;
use crate::revision::{DocumentRef, Payload, Revision, RevisionId};

/// The longest path in a view, in bytes.
pub const MAX_PATH: usize = 1024;

/// The most revisions that are listed apart from what has settled. What is
/// opening is sent anew with every decision, and the rest as often as this is
/// full: a few ten kilobytes each time, and once in so many times all indices.
pub const MAX_OPENING: usize = 64;

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

/// Divides what a view offers: what has settled stays as it is, byte for byte,
/// and what came since is opening, until that is more than [`MAX_OPENING`].
///
/// `present` is the view that stands now. Everything settles anew as well when
/// something that had settled is offered no more, and when both parts would
/// have another file for one package, version and architecture.
#[must_use]
pub fn divide<'a>(
    offered: &[&'a Revision],
    present: Option<&FullView>,
) -> Pools<Vec<&'a Revision>> {
    let settled: HashSet<&Sha256> = present
        .into_iter()
        .flat_map(|full| full.pools.settled.values())
        .map(|file| &file.sha256)
        .collect();
    let is_settled = |revision: &Revision| {
        revision.payloads.iter().any(|payload| settled.contains(&payload.sha256))
    };
    let (old, new): (Vec<&Revision>, Vec<&Revision>) =
        offered.iter().copied().partition(|revision| is_settled(revision));
    let still: HashSet<&Sha256> = payloads(&old).map(|payload| &payload.sha256).collect();
    let stays = settled.iter().all(|sha256| still.contains(*sha256));
    if stays && new.len() <= MAX_OPENING && !have_twins(&old, &new) {
        Pools { settled: old, opening: new }
    } else {
        Pools { settled: offered.to_vec(), opening: Vec::new() }
    }
}

fn payloads<'a>(revisions: &[&'a Revision]) -> impl Iterator<Item = &'a Payload> {
    revisions.iter().flat_map(|revision| &revision.payloads)
}

/// Package, version and architecture.
fn name(of: &Payload) -> [&str; 3] {
    [&of.package, &of.version, &of.architecture]
}

/// Whether `new` has another file for a package that is in `old`.
fn have_twins(old: &[&Revision], new: &[&Revision]) -> bool {
    let known: HashMap<_, &Sha256> = payloads(new)
        .filter(|one| !one.control.is_empty())
        .map(|one| (name(one), &one.sha256))
        .collect();
    !known.is_empty()
        && payloads(old).any(|one| known.get(&name(one)).is_some_and(|file| **file != one.sha256))
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

    fn revision(id: &str, file: u8) -> Revision {
        let id: RevisionId = id.parse().unwrap();
        let payload = Payload {
            package: id.update.name.clone(),
            version: id.version.clone(),
            architecture: "amd64".to_owned(),
            component: String::new(),
            filename: "a.deb".to_owned(),
            length: 1,
            sha256: Sha256::from_bytes([file; 32]),
            control: "Package: a\n".to_owned(),
            language: String::new(),
        };
        Revision {
            title: String::new(),
            description: String::new(),
            architectures: Vec::new(),
            payloads: vec![payload],
            facts: crate::revision::Facts::default(),
            id,
        }
    }

    /// The view after `settled` has settled.
    fn present(settled: &[&Revision]) -> FullView {
        let file =
            |one: &Payload| (one.sha256.to_string(), PoolFile { sha256: one.sha256, length: 1 });
        let settled: Pool = payloads(settled).map(file).collect();
        let nothing = DocumentRef { digest: crate::digest::Digest::of(b""), length: 0 };
        let view = View {
            signed_at: Timestamp::UNIX_EPOCH,
            files: BTreeMap::new(),
            pools: Pools { settled: nothing, opening: nothing },
            withheld: BTreeMap::new(),
        };
        let pools = Pools { settled: Arc::new(settled), opening: Arc::default() };
        FullView { view: Arc::new(view), pools }
    }

    #[test]
    fn what_has_settled_stays_until_much_is_opening() {
        let old = [revision("s:a/a@1", 1), revision("s:a/b@1", 2)];
        let new: Vec<Revision> =
            (0..=MAX_OPENING).map(|n| revision(&format!("s:a/n{n}@1"), 10 + n as u8)).collect();
        let old: Vec<&Revision> = old.iter().collect();
        let full = present(&old);
        let mut offered = old.clone();
        offered.extend(&new[..MAX_OPENING]);
        let divided = divide(&offered, Some(&full));
        assert_eq!((divided.settled.len(), divided.opening.len()), (2, MAX_OPENING));
        assert_eq!(divide(&offered[..1], None).opening, offered[..1]);
        offered.push(&new[MAX_OPENING]);
        let divided = divide(&offered, Some(&full));
        assert_eq!((divided.settled, divided.opening.len()), (offered, 0));
    }

    #[test]
    fn all_settles_anew_when_something_goes_or_is_there_twice() {
        let (a, b) = (revision("s:a/a@1", 1), revision("s:a/b@1", 2));
        let (new, twin) = (revision("s:a/n@1", 3), revision("t:a/a@1", 4));
        let full = present(&[&a, &b]);
        assert_eq!(divide(&[&a, &b, &new], Some(&full)).opening, [&new]);
        // Withdrawn is withdrawn at once.
        assert_eq!(divide(&[&b, &new], Some(&full)).settled, [&b, &new]);
        assert_eq!(divide(&[&a, &b, &twin], Some(&full)).settled, [&a, &b, &twin]);
        // The same file once more is no other.
        let again = revision("t:a/a@1", 1);
        assert!(divide(&[&a, &b, &again], Some(&full)).opening.is_empty());
    }

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
