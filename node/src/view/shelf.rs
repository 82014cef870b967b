//! What stays served of earlier views, so that a switch disturbs no client.
//!
//! apt reads `InRelease`, then indices by their hash, then packages that these
//! name; a switch may come anywhere between, or hours after the update. A shelf
//! has the current view and, of those before, the files whose path can only ever
//! mean one content: indices by hash and the pool. It grows by what changed, not
//! by the number of views.
//!
//! A client that asks for indices by their plain names (`Acquire::By-Hash "no"`,
//! some mirroring tools) may read an old `Release` and a new index. It notices
//! by the hash and has to try again; no server can know what it has read.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::revision::DocumentRef;
use patchmesh_topology::view::{FullView, PoolFile, View};

/// How long files of an earlier view stay served at least.
pub const KEEP_FOR: SignedDuration = SignedDuration::from_hours(24);

/// How many switches they outlast at least.
const KEEP_SWITCHES: u64 = 2;

/// The most files of earlier views, some 100 MiB of memory: several whole
/// distribution releases withdrawn at once. The oldest go first.
const MAX_RETIRED: usize = 500_000;

/// How many whole views before the current one are remembered, for when a brake
/// of the site holds what is in it.
const MAX_EARLIER: usize = 8;

/// A file of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum File {
    /// An index file.
    Index(DocumentRef),
    /// A file of the pool.
    Pool(PoolFile),
}

/// The current view of a stage and group, and what is left of those before.
#[derive(Debug, Clone)]
pub struct Shelf {
    current: FullView,
    /// Those before it, the last first.
    earlier: VecDeque<FullView>,
    retired: BTreeMap<Arc<str>, Retired>,
    /// Paths that had another content in the same second.
    undated: BTreeSet<Arc<str>>,
    switches: u64,
}

#[derive(Debug, Clone, Copy)]
struct Retired {
    file: File,
    at: Timestamp,
    switch: u64,
}

impl Shelf {
    /// A shelf with one view.
    #[must_use]
    pub fn new(view: FullView) -> Self {
        Self {
            current: view,
            earlier: VecDeque::new(),
            retired: BTreeMap::new(),
            undated: BTreeSet::new(),
            switches: 0,
        }
    }

    /// The shelf after a switch to `view` at `now`. Applied to stored generations
    /// from the oldest on, it makes the same shelf again after a restart.
    #[must_use]
    pub fn switch(&self, view: FullView, now: Timestamp) -> Self {
        let is_same = Arc::ptr_eq(&view.view, &self.current.view) || view == self.current;
        let switches = self.switches + u64::from(!is_same);
        let mut next = Self { current: view, switches, ..self.clone() };
        if !is_same {
            next.earlier.retain(|one| *one != next.current);
            next.earlier.push_front(self.current.clone());
            next.earlier.truncate(MAX_EARLIER);
        }
        next.retire(&self.current, now);
        next.undate(&self.current);
        next
    }

    /// The view that is open now.
    #[must_use]
    pub fn current(&self) -> &View {
        &self.current.view
    }

    /// The views that were served lately, the current one first.
    pub fn views(&self) -> impl Iterator<Item = &FullView> {
        [&self.current].into_iter().chain(&self.earlier)
    }

    /// The file at a path: of the current view, or else of an earlier one.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<File> {
        let index = self.current.view.files.get(path).copied().map(File::Index);
        index
            .or_else(|| self.current.file(path).copied().map(File::Pool))
            .or_else(|| self.retired.get(path).map(|retired| retired.file))
    }

    /// Whether the view's time tells this file from what stood at its path before.
    #[must_use]
    pub fn is_dated(&self, path: &str) -> bool {
        !self.undated.contains(path)
    }

    /// Index files of earlier views that are served still, so that nobody throws
    /// them away.
    pub fn retired_indices(&self) -> impl Iterator<Item = DocumentRef> + '_ {
        self.retired.values().filter_map(|retired| match retired.file {
            File::Index(blob) => Some(blob),
            File::Pool(_) => None,
        })
    }

    /// The payloads that this view and those before still promise to clients.
    pub fn payloads(&self) -> impl Iterator<Item = &Sha256> + '_ {
        let retired = self.retired.values().filter_map(|retired| match &retired.file {
            File::Index(_) => None,
            File::Pool(file) => Some(file),
        });
        self.current.files().map(|(_, file)| file).chain(retired).map(|file| &file.sha256)
    }

    fn retire(&mut self, old: &FullView, now: Timestamp) {
        let Self { current, retired, switches, .. } = self;
        let indices = old.view.files.iter().filter(|(path, _)| is_by_hash(path));
        let indices = indices.map(|(path, blob)| (path, File::Index(*blob)));
        // Most switches leave what settled as it is, and that is nearly all.
        let settled = (!Arc::ptr_eq(&old.pools.settled, &current.pools.settled))
            .then_some(&old.pools.settled);
        let pools = settled.into_iter().chain([&old.pools.opening]);
        let files = pools.flat_map(|pool| pool.iter());
        let files = files.map(|(path, file)| (path, File::Pool(*file)));
        let is_current =
            |path: &str| current.view.files.contains_key(path) || current.file(path).is_some();
        for (path, file) in indices.chain(files).filter(|(path, _)| !is_current(path)) {
            retired.insert(path.as_str().into(), Retired { file, at: now, switch: *switches });
        }
        retired.retain(|path, retired| {
            let recent = now.duration_since(retired.at) < KEEP_FOR
                || *switches - retired.switch < KEEP_SWITCHES;
            recent && !is_current(path)
        });
        if retired.len() > MAX_RETIRED {
            let mut ages: Vec<Timestamp> = retired.values().map(|retired| retired.at).collect();
            let excess = ages.len() - MAX_RETIRED;
            let (_, newest_to_go, _) = ages.select_nth_unstable(excess - 1);
            let newest_to_go = *newest_to_go;
            retired.retain(|_, retired| retired.at > newest_to_go);
        }
    }

    fn undate(&mut self, old: &FullView) {
        let (old, current) = (&old.view, &self.current.view);
        if old.signed_at.as_second() != current.signed_at.as_second() {
            self.undated.clear();
            return;
        }
        let changed = current.files.iter().filter(|(path, blob)| {
            !is_by_hash(path) && old.files.get(*path).is_some_and(|before| before != *blob)
        });
        let changed: Vec<Arc<str>> = changed.map(|(path, _)| path.as_str().into()).collect();
        self.undated.extend(changed);
    }
}

/// Whether a path names its content by hash.
pub(crate) fn is_by_hash(path: &str) -> bool {
    path.contains("/by-hash/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::testing::full;
    use patchmesh_topology::digest::Digest;

    const INDEX: &str = "dists/a/settled/binary-amd64/by-hash/SHA256/1";

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + hours * 3600).unwrap()
    }

    fn view(signed_at: Timestamp, release: &str, paths: &[&str]) -> FullView {
        let blob = |text: &str| DocumentRef { digest: Digest::of(text.as_bytes()), length: 1 };
        let mut files = BTreeMap::from([("dists/a/InRelease".into(), blob(release))]);
        let mut pool = BTreeMap::new();
        for &path in paths {
            if path.starts_with("pool/") {
                let sha256 = Sha256::from_bytes(*Digest::of(path.as_bytes()).as_bytes());
                pool.insert(path.into(), PoolFile { sha256, length: 1 });
            } else {
                files.insert(path.into(), blob(path));
            }
        }
        full(signed_at, files, pool)
    }

    #[test]
    fn files_with_a_hash_stay_for_a_day_and_two_switches() {
        let shelf = Shelf::new(view(at(0), "1", &[INDEX, "pool/x"]));
        let shelf = shelf.switch(view(at(1), "2", &[]), at(1));
        assert!(matches!(shelf.file(INDEX), Some(File::Index(_))));
        assert!(matches!(shelf.file("pool/x"), Some(File::Pool(_))));
        assert_eq!(shelf.retired_indices().count(), 1);
        // Two days later it is still the generation before.
        let shelf = shelf.switch(view(at(48), "3", &[]), at(48));
        assert!(shelf.file(INDEX).is_some());
        // Many switches in one day drop nothing of that day.
        let mut busy = shelf.switch(view(at(49), "4", &["pool/y"]), at(49));
        assert!(busy.file(INDEX).is_none());
        for hour in 50..60 {
            busy = busy.switch(view(at(hour), &hour.to_string(), &[]), at(hour));
        }
        assert!(busy.file("pool/y").is_some());
        let later = busy.switch(view(at(90), "5", &[]), at(90));
        assert!(later.file("pool/y").is_none());
    }

    #[test]
    fn what_comes_back_is_current_again() {
        let shelf = Shelf::new(view(at(0), "1", &["pool/x"]));
        let shelf = shelf.switch(view(at(1), "2", &[]), at(1));
        let shelf = shelf.switch(view(at(2), "3", &["pool/x"]), at(2));
        assert!(shelf.retired.is_empty() && shelf.file("pool/x").is_some());
    }

    #[test]
    fn the_same_view_again_counts_as_no_switch() {
        let first = view(at(0), "1", &["pool/x"]);
        let second = view(at(1), "2", &[]);
        let mut shelf = Shelf::new(first).switch(second.clone(), at(1));
        for day in 2..9 {
            shelf = shelf.switch(second.clone(), at(day * 24));
        }
        assert!(shelf.file("pool/x").is_some());
    }

    #[test]
    fn the_views_before_are_remembered() {
        let views: Vec<FullView> =
            (0..20).map(|hour| view(at(hour), &hour.to_string(), &[])).collect();
        let mut shelf = Shelf::new(views[0].clone());
        for (hour, view) in (1..).zip(&views[1..]) {
            shelf = shelf.switch(view.clone(), at(hour));
        }
        let last: Vec<&FullView> = views.iter().rev().take(MAX_EARLIER + 1).collect();
        assert_eq!(shelf.views().collect::<Vec<_>>(), last);
        // Gone back to, one is the current one and no earlier one.
        let shelf = shelf.switch(views[17].clone(), at(21));
        assert_eq!(shelf.views().take(3).collect::<Vec<_>>(), [&views[17], &views[19], &views[18]]);
        assert_eq!(shelf.views().filter(|one| **one == views[17]).count(), 1);
    }

    #[test]
    fn a_second_with_two_contents_dates_neither() {
        let shelf = Shelf::new(view(at(0), "1", &[]));
        assert!(shelf.is_dated("dists/a/InRelease"));
        let shelf = shelf.switch(view(at(0), "2", &[]), at(0));
        assert!(!shelf.is_dated("dists/a/InRelease"));
        let shelf = shelf.switch(view(at(0), "2", &[INDEX]), at(0));
        assert!(!shelf.is_dated("dists/a/InRelease") && shelf.is_dated(INDEX));
        let shelf = shelf.switch(view(at(1), "3", &[]), at(1));
        assert!(shelf.is_dated("dists/a/InRelease"));
    }
}
