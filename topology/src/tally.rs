//! How many machines have what: counts made from machines' own signed reports.
//!
//! A [`Machine`] is what is known of one machine now: where it is, when it last
//! spoke, and its last word on each revision. [`Tallies`] are the counts over
//! all of them, by revision, site and group, and for every [`cell`] that
//! somebody watches. Two things always hold:
//!
//! - The last word on a revision is the one with the greatest [`Position`],
//!   in whatever order words arrive and however often.
//! - Tallies that were changed word by word equal [`Tallies::recount`] over the
//!   machines as they are then.
//!
//! A machine counts once for a revision: one that failed and then succeeded
//! is installed and nothing else. Machines that never sign anything (those with
//! stock clients) are in no count at all.

pub mod cell;
pub mod machine;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;

pub use cell::{Cell, Selection};
pub use machine::{Last, Machine, News, Outcome, Phase, Position, Standing};

use crate::name::{GroupName, MachineName, Site};
use crate::revision::RevisionId;

/// Cells watched at a time: waves in flight, with much room.
pub const MAX_CELLS: usize = 4096;

/// How exactly [`Count::last`] is known.
const LAST_STEP: i64 = 60;

/// How exactly [`Tallies::seen_since`] knows when machines spoke.
const SEEN_STEP: i64 = 3600;

/// Where a machine counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Where it is.
    pub site: Site,
    /// What it is.
    pub group: GroupName,
}

/// Which places are asked about.
#[derive(Debug, Clone, Copy, Default)]
pub struct Area<'a> {
    /// This site and all below it; everywhere where there is none.
    pub site: Option<&'a Site>,
    /// This group; all where there is none.
    pub group: Option<&'a GroupName>,
}

impl Area<'_> {
    /// Whether a place is in it.
    #[must_use]
    pub fn contains(&self, place: &Place) -> bool {
        self.site.is_none_or(|site| place.site.is_within(site))
            && self.group.is_none_or(|group| place.group == *group)
    }

    /// Those of a map that are in it, found without a look at the others' sites.
    fn of<V>(self, map: &BTreeMap<Place, V>) -> impl Iterator<Item = (&Place, &V)> {
        let first = self.site.map(|site| Place { site: site.clone(), group: GroupName::least() });
        let text = self.site.map_or("", Site::as_str).to_owned();
        let from = match first {
            Some(place) => map.range(place..),
            None => map.range::<Place, _>(..),
        };
        from.take_while(move |(place, _)| place.site.as_str().starts_with(&text))
            .filter(move |(place, _)| self.contains(place))
    }
}

/// Counts of machines. `reached` is the sum of what follows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Those that have joined the mesh and were not shut out.
    pub known: u64,
    /// Those that said anything about this.
    pub reached: u64,
    /// Their last word: it is under way, or needed.
    pub pending: u64,
    /// It is installed; perhaps a restart is due.
    pub installed: u64,
    /// It was removed.
    pub removed: u64,
    /// It failed.
    pub failed: u64,
    /// Somebody at the machine declined or cancelled it.
    pub declined: u64,
    /// When the last of these words was said, by the machine's clock, to the
    /// minute.
    pub last: Option<Timestamp>,
}

impl std::iter::Sum for Count {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |mut sum, count| {
            sum += count;
            sum
        })
    }
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.known += other.known;
        self.reached += other.reached;
        self.pending += other.pending;
        self.installed += other.installed;
        self.removed += other.removed;
        self.failed += other.failed;
        self.declined += other.declined;
        self.last = self.last.max(other.last);
    }
}

/// The words of some machines about something, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Words {
    by_standing: [u64; Standing::ALL.len()],
    /// How many of them in each minute, so that the last one stays known when
    /// words are taken back.
    minutes: Steps,
    patched: Patched,
}

/// Machines that installed something themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Patched {
    /// How many.
    pub machines: u64,
    /// The sum of the moments, in seconds of Unix time.
    seconds: i128,
}

impl Patched {
    /// The time from a moment until they had it, summed up, in seconds.
    #[must_use]
    pub fn seconds_since(&self, from: Timestamp) -> i128 {
        self.seconds - i128::from(self.machines) * i128::from(from.as_second())
    }

    fn add(&mut self, last: &Last) {
        if last.is_patched() {
            self.machines += 1;
            self.seconds += i128::from(last.at.as_second());
        }
    }

    fn take_back(&mut self, last: &Last) {
        if last.is_patched() {
            self.machines = self.machines.saturating_sub(1);
            self.seconds -= i128::from(last.at.as_second());
        }
    }
}

impl Words {
    fn add(&mut self, standing: Standing, at: Timestamp) {
        self.by_standing[standing as usize] += 1;
        self.minutes.add(at, LAST_STEP);
    }

    fn take_back(&mut self, standing: Standing, at: Timestamp) {
        let count = &mut self.by_standing[standing as usize];
        *count = count.saturating_sub(1);
        self.minutes.take_back(at, LAST_STEP);
    }

    fn is_empty(&self) -> bool {
        self.by_standing.iter().all(|count| *count == 0)
    }

    fn count(&self) -> Count {
        let of = |standing: Standing| self.by_standing[standing as usize];
        Count {
            known: 0,
            reached: self.by_standing.iter().sum(),
            pending: of(Standing::Pending),
            installed: of(Standing::Installed),
            removed: of(Standing::Removed),
            failed: of(Standing::Failed),
            declined: of(Standing::Declined),
            last: self.minutes.last(LAST_STEP),
        }
    }
}

/// Moments counted by steps of time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Steps(BTreeMap<i64, u64>);

impl Steps {
    fn add(&mut self, at: Timestamp, step: i64) {
        *self.0.entry(at.as_second().div_euclid(step)).or_default() += 1;
    }

    fn take_back(&mut self, at: Timestamp, step: i64) {
        let key = at.as_second().div_euclid(step);
        if let Some(count) = self.0.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&key);
            }
        }
    }

    fn last(&self, step: i64) -> Option<Timestamp> {
        let (key, _) = self.0.last_key_value()?;
        Timestamp::from_second(key.saturating_mul(step)).ok()
    }

    fn since(&self, at: Timestamp, step: i64) -> u64 {
        self.0.range(at.as_second().div_euclid(step)..).map(|(_, count)| count).sum()
    }
}

/// The machines of a place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Known {
    machines: u64,
    seen: Steps,
}

/// The counts over all machines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tallies {
    known: BTreeMap<Place, Known>,
    words: BTreeMap<RevisionId, BTreeMap<Place, Words>>,
    cells: cell::Cells,
}

impl Tallies {
    /// The counts over these machines, found from nothing, with no cells.
    #[must_use]
    pub fn recount<'a>(machines: impl IntoIterator<Item = (&'a MachineName, &'a Machine)>) -> Self {
        let mut tallies = Self::default();
        for (name, machine) in machines {
            tallies.enter(name, machine);
        }
        tallies
    }

    /// A machine has joined, or is counted again.
    pub fn enter(&mut self, name: &MachineName, machine: &Machine) {
        self.add_place(machine);
        for (revision, last) in machine.words() {
            self.add_word(&machine.place, revision, last);
        }
        self.cells.enter(name, machine);
    }

    /// A machine is counted no more. It must be as it was when it was counted.
    pub fn leave(&mut self, name: &MachineName, machine: &Machine) {
        self.take_back_place(machine);
        for (revision, last) in machine.words() {
            self.take_back_word(&machine.place, revision, last);
        }
        self.cells.leave(name, machine);
    }

    /// A counted machine has news. Says which of its words are its last ones on
    /// their revisions now.
    pub fn change(&mut self, name: &MachineName, machine: &mut Machine, news: News) -> Vec<bool> {
        let moves = news.place.as_ref().is_some_and(|place| *place != machine.place);
        if moves {
            // Seldom: everything of the machine counts elsewhere from now on.
            self.leave(name, machine);
            let taken = machine.take(news);
            self.enter(name, machine);
            return taken;
        }
        let cells = self.cells.before(name, machine, &news);
        self.take_back_place(machine);
        let News { place: _, seen, words } = news;
        machine.take(News { place: None, seen, words: Vec::new() });
        self.add_place(machine);
        let mut taken = Vec::with_capacity(words.len());
        for (revision, last) in words {
            let old = machine.last(&revision).copied();
            let is_last = machine.say(revision.clone(), last);
            if is_last {
                if let Some(old) = old {
                    self.take_back_word(&machine.place, &revision, &old);
                }
                self.add_word(&machine.place, &revision, &last);
            }
            taken.push(is_last);
        }
        self.cells.after(machine, cells);
        taken
    }

    /// What the machines of an area said about these revisions, by place. A machine
    /// counts once for *each* revision; a [`Cell`] counts it once for all. `known`
    /// is the number of machines.
    #[must_use]
    pub fn by_place<'a>(
        &'a self,
        revisions: impl IntoIterator<Item = &'a RevisionId>,
        area: Area<'_>,
    ) -> BTreeMap<&'a Place, Count> {
        let known = |known: &Known| Count { known: known.machines, ..Count::default() };
        let mut counts: BTreeMap<_, _> =
            area.of(&self.known).map(|(place, at)| (place, known(at))).collect();
        let words = revisions.into_iter().filter_map(|revision| self.words.get(revision));
        for (place, words) in words.flat_map(|places| area.of(places)) {
            *counts.entry(place).or_default() += words.count();
        }
        counts
    }

    /// What machines said about one revision, by the places where any did; without
    /// how many machines there are.
    pub fn said(&self, revision: &RevisionId) -> impl Iterator<Item = (&Place, Count)> {
        let places = self.words.get(revision).into_iter().flatten();
        places.map(|(place, words)| (place, words.count()))
    }

    /// The machines of some places that installed a revision themselves.
    pub fn patched(&self, revision: &RevisionId, within: impl Fn(&Place) -> bool) -> Patched {
        let places = self.words.get(revision).into_iter().flatten();
        places.filter(|(place, _)| within(place)).fold(Patched::default(), |sum, (_, words)| {
            Patched {
                machines: sum.machines + words.patched.machines,
                seconds: sum.seconds + words.patched.seconds,
            }
        })
    }

    /// As [`Tallies::by_place`], of the whole area.
    #[must_use]
    pub fn counts<'a>(
        &'a self,
        revisions: impl IntoIterator<Item = &'a RevisionId>,
        area: Area<'_>,
    ) -> Count {
        self.by_place(revisions, area).into_values().sum()
    }

    /// The machines of one place that have spoken since, give or take an hour.
    #[must_use]
    pub fn seen_at_since(&self, place: &Place, since: Timestamp) -> u64 {
        self.known.get(place).map_or(0, |known| known.seen.since(since, SEEN_STEP))
    }

    /// The machines of an area.
    #[must_use]
    pub fn known(&self, area: Area<'_>) -> u64 {
        area.of(&self.known).map(|(_, known)| known.machines).sum()
    }

    /// The machines of an area that have spoken since, give or take an hour.
    #[must_use]
    pub fn seen_since(&self, area: Area<'_>, since: Timestamp) -> u64 {
        area.of(&self.known).map(|(_, known)| known.seen.since(since, SEEN_STEP)).sum()
    }

    /// The revisions that any machine has spoken about.
    pub fn revisions(&self) -> impl Iterator<Item = &RevisionId> {
        self.words.keys()
    }

    /// Keeps a cell under a name from now on, in place of what was kept under it
    /// before. All machines that are counted must have been added to it.
    ///
    /// # Errors
    /// When there are [`MAX_CELLS`] others; nothing changed then.
    pub fn watch(&mut self, name: &str, cell: Cell) -> Result<(), cell::TooMany> {
        self.cells.watch(name, cell)
    }

    /// Watches it no more.
    pub fn unwatch(&mut self, name: &str) {
        self.cells.unwatch(name);
    }

    /// What is watched under a name.
    #[must_use]
    pub fn cell(&self, name: &str) -> Option<&Cell> {
        self.cells.get(name)
    }

    fn add_place(&mut self, machine: &Machine) {
        let known = self.known.entry(machine.place.clone()).or_default();
        known.machines += 1;
        if let Some(seen) = machine.seen {
            known.seen.add(seen, SEEN_STEP);
        }
    }

    fn take_back_place(&mut self, machine: &Machine) {
        let Some(known) = self.known.get_mut(&machine.place) else { return };
        known.machines = known.machines.saturating_sub(1);
        if let Some(seen) = machine.seen {
            known.seen.take_back(seen, SEEN_STEP);
        }
        if known.machines == 0 {
            self.known.remove(&machine.place);
        }
    }

    fn add_word(&mut self, place: &Place, revision: &RevisionId, last: &Last) {
        let places = self.words.entry(revision.clone()).or_default();
        let words = places.entry(place.clone()).or_default();
        words.add(last.standing, last.at);
        words.patched.add(last);
    }

    fn take_back_word(&mut self, place: &Place, revision: &RevisionId, last: &Last) {
        let Some(places) = self.words.get_mut(revision) else { return };
        let Some(words) = places.get_mut(place) else { return };
        words.take_back(last.standing, last.at);
        words.patched.take_back(last);
        if words.is_empty() {
            places.remove(place);
        }
        if places.is_empty() {
            self.words.remove(revision);
        }
    }
}
