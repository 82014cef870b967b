//! What counts of every machine, in memory: where it is, when it spoke, what it
//! lacks.
//!
//! A copy shares everything with its original until one of them is changed, and then
//! all but a few hundred machines; so whoever asks takes one and holds nobody up.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;

use super::pool::Pool;
use super::survey::Scope;
use crate::name::MachineName;
use crate::report::UNREADABLE;
use crate::revision::RevisionId;
use crate::tally::{Machine, Place, Standing};

/// Machines that are copied together when one of them changes.
const MAX_LEAF: usize = 512;

/// What is known of a machine beside its words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// It can be reached from outside, as its own administrator says.
    pub exposed: bool,
    /// A restart is due, as it says.
    pub reboot_needed: bool,
    /// It cannot tell what is on it, as it says.
    pub unreadable: bool,
    /// Where its node saw it.
    pub address: Option<IpAddr>,
}

impl Told {
    /// Of facts by name: `exposure` is `internet`, `reboot-needed` is `true`,
    /// [`UNREADABLE`] is anything. Others, and other values, say nothing.
    #[must_use]
    pub fn of<'a>(facts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut told = Self::default();
        for (name, value) in facts {
            match name {
                "exposure" => told.exposed = value == "internet",
                "reboot-needed" => told.reboot_needed = value == "true",
                UNREADABLE => told.unreadable = !value.is_empty(),
                _ => {}
            }
        }
        told
    }
}

/// Something that a machine lacks by its own last word, or has and is perhaps to lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lack {
    pub(super) revision: u32,
    /// Whether it has it.
    pub(super) is_there: bool,
    pub(super) standing: Standing,
    pub(super) is_looping: bool,
    pub(super) code: i64,
    /// When it said so, in seconds of Unix time.
    pub(super) at: i64,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) place: u32,
    pub(super) seen: Option<Timestamp>,
    pub(super) told: Told,
    pub(super) lacks: Box<[Lack]>,
}

/// Machines that follow each other, by name.
type Leaf = Vec<(MachineName, Entry)>;

/// Every machine that counts.
#[derive(Debug, Clone, Default)]
pub struct Register {
    /// In the order of their machines; each with a name that none of its own is before,
    /// but for the first.
    leaves: Vec<(MachineName, Arc<Leaf>)>,
    pub(super) places: Arc<Pool<Place>>,
    pub(super) revisions: Arc<Pool<RevisionId>>,
    /// What rollouts remove: that a machine has one of these is remembered too.
    removed: Arc<BTreeSet<RevisionId>>,
    machines: u64,
}

impl Register {
    /// Whether it is remembered of all of these who has them.
    #[must_use]
    pub fn follows_removal_of(&self, revisions: &BTreeSet<RevisionId>) -> bool {
        revisions.is_subset(&self.removed)
    }

    /// Remembers from now on who has these, which rollouts remove. Machines that have one that
    /// was not among them before have to be [put](Self::put) again.
    pub fn follow_removal_of(&mut self, revisions: BTreeSet<RevisionId>) {
        self.removed = Arc::new(revisions);
    }

    /// A machine is as it is here from now on.
    pub fn put(&mut self, name: &MachineName, machine: &Machine, told: Told) {
        let revisions = Arc::make_mut(&mut self.revisions);
        let lacks = machine.words().filter_map(|(revision, last)| {
            let is_lack = match last.standing {
                Standing::Declined | Standing::Pending | Standing::Failed => true,
                Standing::Installed => self.removed.contains(revision),
                Standing::Removed => false,
            };
            is_lack.then(|| Lack {
                revision: revisions.take(revision),
                is_there: last.is_there(),
                standing: last.standing,
                is_looping: last.is_looping,
                code: last.code,
                at: last.at.as_second(),
            })
        });
        let lacks = lacks.collect();
        let place = Arc::make_mut(&mut self.places).take(&machine.place);
        let entry = Entry { place, seen: machine.seen, told, lacks };
        match self.insert(name, entry) {
            Some(before) => self.release(&before),
            None => self.machines += 1,
        }
    }

    fn insert(&mut self, name: &MachineName, entry: Entry) -> Option<Entry> {
        if self.leaves.is_empty() {
            self.leaves.push((name.clone(), Arc::default()));
        }
        let at = self.leaf(name);
        let leaf = Arc::make_mut(&mut self.leaves[at].1);
        match leaf.binary_search_by(|(one, _)| one.cmp(name)) {
            Ok(found) => return Some(std::mem::replace(&mut leaf[found].1, entry)),
            Err(place) => leaf.insert(place, (name.clone(), entry)),
        }
        if leaf.len() > MAX_LEAF {
            let rest = leaf.split_off(MAX_LEAF / 2);
            let first = rest[0].0.clone();
            self.leaves.insert(at + 1, (first, Arc::new(rest)));
        }
        None
    }

    /// The leaf where a machine is, if it is anywhere.
    fn leaf(&self, name: &MachineName) -> usize {
        self.leaves.partition_point(|(first, _)| first <= name).saturating_sub(1)
    }

    /// A machine counts no more.
    pub fn remove(&mut self, name: &MachineName) {
        let at = self.leaf(name);
        let Some((_, leaf)) = self.leaves.get_mut(at) else { return };
        let Ok(found) = leaf.binary_search_by(|(one, _)| one.cmp(name)) else { return };
        let leaf = Arc::make_mut(leaf);
        let (_, before) = leaf.remove(found);
        if leaf.is_empty() {
            self.leaves.remove(at);
        }
        self.release(&before);
        self.machines -= 1;
    }

    /// How many machines there are.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.machines
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.machines == 0
    }

    /// Where a machine is; nothing where there is none of that name.
    #[must_use]
    pub fn place(&self, name: &MachineName) -> Option<&Place> {
        let (_, entry) = self.get(name)?;
        self.places.get(entry.place)
    }

    pub(super) fn get(&self, name: &MachineName) -> Option<(&MachineName, &Entry)> {
        let (_, leaf) = self.leaves.get(self.leaf(name))?;
        let found = leaf.binary_search_by(|(one, _)| one.cmp(name)).ok()?;
        let (name, entry) = &leaf[found];
        Some((name, entry))
    }

    /// Those of a scope, by name.
    pub(super) fn within(
        &self,
        scope: Scope<'_>,
    ) -> impl Iterator<Item = (&MachineName, &Place, &Entry)> {
        let places: Vec<Option<&Place>> =
            self.places.values().map(|place| place.filter(|place| scope.contains(place))).collect();
        let entries = self.leaves.iter().flat_map(|(_, leaf)| leaf.iter());
        entries.filter_map(move |(name, entry)| Some((name, places[entry.place as usize]?, entry)))
    }

    /// Machines of a scope that lack any of these revisions by their last word, by
    /// name. Whether that is asked of them does not matter.
    pub fn lacking(
        &self,
        revisions: &BTreeSet<RevisionId>,
        scope: Scope<'_>,
    ) -> impl Iterator<Item = (&MachineName, &Place)> {
        let wanted: Vec<bool> = self
            .revisions
            .values()
            .map(|revision| revision.is_some_and(|one| revisions.contains(one)))
            .collect();
        self.within(scope)
            .filter(move |(_, _, entry)| {
                let is_lack = |lack: &Lack| !lack.is_there && wanted[lack.revision as usize];
                entry.lacks.iter().any(is_lack)
            })
            .map(|(name, place, _)| (name, place))
    }

    fn release(&mut self, entry: &Entry) {
        Arc::make_mut(&mut self.places).release(entry.place);
        let revisions = Arc::make_mut(&mut self.revisions);
        entry.lacks.iter().for_each(|lack| revisions.release(lack.revision));
    }
}
