//! Machines judged by what is asked of them.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::Verdict;
use super::demand::{Demand, Demands, GroupDemand, Openness};
use super::register::{Entry, Lack, Register, Told};
use crate::name::{GroupName, MachineName, RolloutName, Site};
use crate::revision::{RevisionId, Severity};
use crate::rollout::Action;
use crate::rollout::deadline::Deadline;
use crate::tally::{Area, Place, Standing};

/// After so long without a word a machine is unknown, unless asked otherwise.
pub const STALE_AFTER: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Which places are asked about.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scope<'a> {
    /// In this area.
    pub area: Area<'a>,
    /// At exactly these sites; all where there are none.
    pub sites: Option<&'a BTreeSet<Site>>,
}

impl Scope<'_> {
    /// Whether a place is in it.
    #[must_use]
    pub fn contains(&self, place: &Place) -> bool {
        self.area.contains(place) && self.sites.is_none_or(|sites| sites.contains(&place.site))
    }
}

/// Something that is asked of a machine and not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need<'a> {
    /// What.
    pub revision: &'a RevisionId,
    /// Whether it is to have it, or to have it no more.
    pub action: Action,
    /// How bad that is.
    pub severity: Option<Severity>,
    /// By when it has to be done.
    pub due: Deadline,
    /// Whether it may do it now, windows apart.
    pub is_open: bool,
    /// Whether the deadline has passed.
    pub is_past: bool,
    /// Its last word.
    pub standing: Standing,
    /// Set where it was installed again and again without effect.
    pub is_looping: bool,
    /// The installer's code with that word.
    pub code: i64,
    /// When it was said, in seconds of Unix time by the machine's clock.
    pub at: i64,
}

impl Need<'_> {
    /// What it makes of a machine that is heard of.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        if self.is_open && self.is_past { Verdict::Overdue } else { Verdict::Grace }
    }

    /// Whether it is past its deadline and the plan has not opened it yet.
    #[must_use]
    pub const fn is_withheld(&self) -> bool {
        self.is_past && !self.is_open
    }
}

impl fmt::Display for Need<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (done, what) = match self.action {
            Action::Install => ("installed", "it"),
            Action::Remove => ("removed", "its removal"),
        };
        match (self.standing, self.is_looping, self.code) {
            (_, true, _) => write!(f, "it was {done} again and again without effect")?,
            (Standing::Failed, _, 0) => write!(f, "{what} failed")?,
            (Standing::Failed, _, code) => write!(f, "{what} failed with code {code}")?,
            (Standing::Declined, ..) => write!(f, "somebody at the machine declined {what}")?,
            _ if self.action == Action::Remove => f.write_str("it is to be removed")?,
            _ => f.write_str("it is needed")?,
        }
        match self.due {
            Deadline::By(at) if self.is_past => write!(f, ", was due by {at:.0}")?,
            Deadline::By(at) => write!(f, ", is due by {at:.0}")?,
            Deadline::NextUpgrade => write!(f, ", is due {}", self.due)?,
            Deadline::None => f.write_str(", has no deadline")?,
        }
        if !self.is_open {
            f.write_str(", and its plan has not opened it to this machine")?;
        }
        Ok(())
    }
}

/// A machine and how it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged<'a> {
    /// Its name.
    pub name: &'a MachineName,
    /// Where it is.
    pub place: &'a Place,
    /// The place's number in the register.
    pub(super) number: u32,
    /// When it last spoke.
    pub seen: Option<Timestamp>,
    /// What it says of itself.
    pub told: Told,
    /// How it stands.
    pub verdict: Verdict,
    /// What it lacks, by its last words, also where those are old.
    pub needs: &'a [Need<'a>],
}

impl Judged<'_> {
    /// Why it is unknown, for people; `None` where it is not.
    #[must_use]
    pub fn why_unknown(&self) -> Option<String> {
        (self.verdict == Verdict::Unknown).then(|| match self.seen {
            _ if self.told.unreadable => "it cannot tell what is on it".to_owned(),
            None => "it was never heard of".to_owned(),
            Some(seen) => format!("it was last heard of at {seen:.0}"),
        })
    }
}

/// Judges machines; keeps what it found out about demands.
pub struct Survey<'a> {
    register: &'a Register,
    demands: &'a Demands<'a>,
    /// Who was not heard of since is unknown.
    heard_since: Timestamp,
    asked: Asked<'a>,
}

/// What is asked by place and revision, found once each: what is the same for a group
/// once for it, and where a plan has come to once for a place. Few demands differ, so
/// a place costs four bytes for each revision that anybody lacks.
#[derive(Default)]
struct Asked<'a> {
    of_groups: HashMap<(u32, GroupName), Option<GroupDemand<'a>>>,
    open: HashMap<(RolloutName, u32), Option<Openness>>,
    different: Vec<Option<Demand>>,
    numbers: HashMap<Option<Demand>, u32>,
    /// By place, then by revision: the number of the demand and 1; 0 where it was not
    /// looked for yet.
    places: Vec<Vec<u32>>,
}

impl<'a> Asked<'a> {
    fn get(
        &mut self,
        demands: &Demands<'a>,
        revisions: usize,
        (number, revision): (u32, &RevisionId),
        (at, place): (u32, &Place),
    ) -> Option<Demand> {
        if self.places.len() <= at as usize {
            self.places.resize(at as usize + 1, Vec::new());
        }
        let row = &mut self.places[at as usize];
        if row.is_empty() {
            row.resize(revisions, 0);
        }
        let known = row[number as usize];
        if known > 0 {
            return self.different[known as usize - 1];
        }
        let demand = self.find(demands, (number, revision), (at, place));
        let slot = *self.numbers.entry(demand).or_insert_with(|| {
            self.different.push(demand);
            // There are no more than numbers of places and revisions.
            u32::try_from(self.different.len()).unwrap_or(u32::MAX)
        });
        self.places[at as usize][number as usize] = slot;
        demand
    }

    fn find(
        &mut self,
        demands: &Demands<'a>,
        (number, revision): (u32, &RevisionId),
        (at, place): (u32, &Place),
    ) -> Option<Demand> {
        let of_group = self.of_groups.entry((number, place.group.clone()));
        let of_group = of_group.or_insert_with(|| demands.of_group(revision, &place.group));
        let of_group = of_group.as_ref()?;
        let open = self.open.entry((of_group.plan.name.clone(), at));
        let openness = (*open.or_insert_with(|| demands.openness(of_group, place)))?;
        (!demands.is_without(revision, place)).then(|| of_group.with(openness))
    }
}

impl<'a> Survey<'a> {
    /// Of a register's machines. Who was silent for longer than `stale_after` is
    /// unknown.
    #[must_use]
    pub fn new(
        register: &'a Register,
        demands: &'a Demands<'a>,
        stale_after: SignedDuration,
    ) -> Self {
        let heard_since = demands.now().checked_sub(stale_after).unwrap_or(Timestamp::MIN);
        Self { register, demands, heard_since, asked: Asked::default() }
    }

    /// What machines are asked.
    #[must_use]
    pub const fn demands(&self) -> &'a Demands<'a> {
        self.demands
    }

    /// Judges one machine; `None` where there is none of that name.
    pub fn one<T>(&mut self, name: &MachineName, look: impl FnOnce(Judged<'_>) -> T) -> Option<T> {
        let (name, entry) = self.register.get(name)?;
        let place = self.register.places.get(entry.place)?;
        let mut needs = Vec::new();
        self.needs(name, place, entry, &mut needs);
        Some(look(self.judged(name, place, entry, &needs)))
    }

    /// Judges all machines of a scope, by name.
    pub fn each(&mut self, scope: Scope<'_>, mut visit: impl FnMut(Judged<'_>)) {
        let register = self.register;
        let mut needs = Vec::new();
        for (name, place, entry) in register.within(scope) {
            needs.clear();
            self.needs(name, place, entry, &mut needs);
            visit(self.judged(name, place, entry, &needs));
        }
    }

    fn judged<'b>(
        &self,
        name: &'b MachineName,
        place: &'b Place,
        entry: &Entry,
        needs: &'b [Need<'b>],
    ) -> Judged<'b> {
        let is_heard = entry.seen.is_some_and(|seen| seen >= self.heard_since);
        let verdict = match is_heard && !entry.told.unreadable {
            true => needs.iter().map(Need::verdict).max().unwrap_or(Verdict::Compliant),
            false => Verdict::Unknown,
        };
        Judged {
            name,
            place,
            number: entry.place,
            seen: entry.seen,
            told: entry.told,
            verdict,
            needs,
        }
    }

    fn needs(
        &mut self,
        name: &MachineName,
        place: &Place,
        entry: &Entry,
        needs: &mut Vec<Need<'a>>,
    ) {
        for lack in &entry.lacks {
            let Some(revision) = self.register.revisions.get(lack.revision) else { continue };
            let demand = self.asked.get(
                self.demands,
                self.register.revisions.len(),
                (lack.revision, revision),
                (entry.place, place),
            );
            // What is there lacks nothing but its removal.
            let is_not_done = |demand: &Demand| lack.is_there == (demand.action == Action::Remove);
            let Some(demand) = demand.filter(is_not_done) else { continue };
            let Some(is_open) = self.demands.on(&demand, revision, place, name) else { continue };
            let due = demand.due(entry.told.exposed);
            let is_past = due.is_past(self.demands.now());
            let severity = demand.severity;
            let Lack { standing, is_looping, code, at, .. } = *lack;
            needs.push(Need {
                revision,
                action: demand.action,
                severity,
                due,
                is_open,
                is_past,
                standing,
                is_looping,
                code,
                at,
            });
        }
    }
}
