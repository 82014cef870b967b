//! Limits: at how many sites of a wave, and on how many machines there, it is
//! under way at once.
//!
//! Sites are let in one after the other, as the signed state says. A site is
//! under way from then until it has *finished*: until so many of its machines
//! came to an end as `min_reached` asks for (all, where it does not), or
//! patience with those that cannot be reached is over. Machines are limited by
//! the site and not one by one: stock clients can't be told apart, and those
//! that ask would all have to be told in the signed state. A site with more
//! machines than the limit is under way alone.
//!
//! Nodes look that no more sites are under way than the plan allows. How many
//! machines have finished is the primary's word, as it is with gates.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::gate::Counts;
use super::measure::patience_at;
use super::plan::Tally;
use super::{Freezes, OnEmpty, Priority, Rollout, Share, Wave, WaveState, freeze};
use crate::name::Site;

/// The most sites of a wave with a limit: each is named in the signed state.
pub const MAX_SITES: usize = 4096;

/// What may be under way at once; `None`: any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limit {
    /// Sites that were let in and have not finished.
    pub sites: Option<u32>,
    /// Machines at such sites that have not come to an end.
    pub machines: Option<u64>,
}

impl Limit {
    /// Anything may be.
    pub const NONE: Self = Self { sites: None, machines: None };

    /// Whether there is none.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }
}

/// A site was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// When.
    pub at: Timestamp,
    /// When it had finished; what has finished stays finished.
    pub finished: Option<Timestamp>,
}

/// The sites of a wave that were let in.
pub type Admissions = BTreeMap<Site, Admission>;

/// Why a site is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// Its turn has not come.
    Waits,
    /// It is said to be in, and the plan does not allow it.
    Unfounded(&'static str),
}

impl Wave {
    /// Since when a site is let in; `since`: when the wave opened.
    ///
    /// # Errors
    /// Why it is not.
    pub fn admission(
        &self,
        state: &WaveState,
        since: Timestamp,
        site: Option<&Site>,
    ) -> Result<Timestamp, Outside> {
        if self.limit.is_none() {
            return Ok(since);
        }
        let admitted = &state.admitted;
        let own = site.and_then(|site| admitted.get(site)).ok_or(Outside::Waits)?;
        if own.at < since {
            return Err(Outside::Unfounded("it was let in before the wave opened"));
        }
        // Of any sites under way together, the last let in came to the others.
        let with = |one: &&Admission| {
            one.at <= own.at && one.finished.is_none_or(|finished| finished > own.at)
        };
        let is_beyond = |most: u32| admitted.values().filter(with).nth(most as usize).is_some();
        if self.limit.sites.is_some_and(is_beyond) {
            return Err(Outside::Unfounded("more sites are under way than the plan allows"));
        }
        Ok(own.at)
    }
}

/// Whose turn it is in an open wave with a limit.
#[derive(Debug)]
pub struct Turns<'a> {
    wave: &'a Wave,
    priority: Priority,
    freezes: &'a Freezes,
    now: Timestamp,
    tally: &'a Tally,
    sites: BTreeMap<&'a Site, Counts>,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// The sites that are let in then.
    pub admitted: Admissions,
    /// Those that are so now for the first time, in their order.
    pub let_in: Vec<Site>,
    /// When time alone may change something again.
    pub wake: Option<Timestamp>,
}

impl<'a> Turns<'a> {
    /// Of a wave whose machines said so much; `None` where it has no limit.
    #[must_use]
    pub fn of(
        rollout: &'a Rollout,
        index: usize,
        tally: &'a Tally,
        freezes: &'a Freezes,
        now: Timestamp,
    ) -> Option<Self> {
        let (wave, priority) = (&rollout.waves[index], rollout.priority);
        if wave.limit.is_none() {
            return None;
        }
        let mut sites: BTreeMap<&Site, Counts> = BTreeMap::new();
        for (site, _, counts) in tally.cells() {
            *sites.entry(site).or_default() += counts;
        }
        Some(Self { wave, priority, freezes, now, tally, sites })
    }

    /// What the machines of a site said.
    #[must_use]
    pub fn counts(&self, site: &Site) -> Counts {
        self.sites.get(site).copied().unwrap_or_default()
    }

    /// Until when a site that was let in waits for the unreachable; `None`: for
    /// ever, or until its content is there.
    #[must_use]
    pub fn patience(&self, site: &Site, at: Timestamp) -> Option<Timestamp> {
        let at = self.tally.reachable(site, at)?;
        patience_at(self.wave, self.priority, self.freezes, site, at)
    }

    fn is_over(&self, site: &Site, at: Timestamp) -> bool {
        self.patience(site, at).is_some_and(|until| until <= self.now)
    }

    fn has_finished(&self, site: &Site, at: Timestamp) -> bool {
        // The wave no longer goes there.
        let Some(&counts) = self.sites.get(site) else { return true };
        let share = self.wave.gate.min_reached.map_or(Share::ALL, |least| least.share);
        let is_skipped = counts.machines == 0 && self.wave.on_empty == OnEmpty::Skip;
        is_skipped || share.is_reached_by(counts.reached, counts.machines) || self.is_over(site, at)
    }

    /// The sites that were not let in, by name.
    pub fn outside<'s>(&'s self, admitted: &'s Admissions) -> impl Iterator<Item = &'a Site> + 's {
        self.sites.keys().copied().filter(|site| !admitted.contains_key(*site))
    }

    /// The same in the order in which they are let in: that of the plan's
    /// geographies, and of their names.
    #[must_use]
    pub fn waiting(&self, admitted: &Admissions) -> Vec<&'a Site> {
        let places = self.wave.geographies.places();
        let place = |site: &Site| places.iter().position(|place| site.is_within(place));
        let mut waiting: Vec<&Site> = self.outside(admitted).collect();
        // Stable: the names stay in order.
        waiting.sort_by_cached_key(|site| place(site));
        waiting
    }

    /// Lets in whose turn it is, if `may` be.
    #[must_use]
    pub fn next(&self, admitted: &Admissions, may: bool) -> Next {
        let mut next = Next { admitted: admitted.clone(), let_in: Vec::new(), wake: None };
        let (mut sites, mut machines) = (0_u32, 0_u64);
        for (site, one) in &mut next.admitted {
            if one.finished.is_none() && self.has_finished(site, one.at) {
                one.finished = Some(self.now);
            }
            if one.finished.is_none() {
                (sites, machines) = (sites + 1, machines.saturating_add(self.left(site)));
                soonest(&mut next.wake, self.patience(site, one.at));
            }
        }
        if !may {
            return next;
        }
        for site in self.waiting(admitted) {
            let opens = freeze::delayed(self.freezes, Some(site), self.priority, self.now).0;
            if opens > self.now {
                soonest(&mut next.wake, Some(opens));
                continue;
            }
            // Others go first meanwhile.
            if self.tally.reachable(site, self.now).is_none() {
                continue;
            }
            let left = self.left(site);
            let most = self.wave.limit;
            let fits = most.sites.is_none_or(|most| sites < most)
                && (sites == 0
                    || most.machines.is_none_or(|most| machines.saturating_add(left) <= most));
            if !fits || next.admitted.len() >= MAX_SITES {
                break;
            }
            let finished = self.has_finished(site, self.now).then_some(self.now);
            next.admitted.insert(site.clone(), Admission { at: self.now, finished });
            next.let_in.push(site.clone());
            if finished.is_none() {
                (sites, machines) = (sites + 1, machines.saturating_add(left));
                soonest(&mut next.wake, self.patience(site, self.now));
            }
        }
        next
    }

    /// Machines of a site that have not come to an end.
    #[must_use]
    pub fn left(&self, site: &Site) -> u64 {
        let counts = self.counts(site);
        counts.machines.saturating_sub(counts.reached)
    }

    /// What the machines of all sites said, with the rule for the unreachable
    /// applied at those where patience is over.
    #[must_use]
    pub fn applied(&self, admitted: &Admissions) -> Counts {
        let mut sum = Counts::default();
        for (site, counts) in &self.sites {
            let over = admitted.get(*site).is_some_and(|one| self.is_over(site, one.at));
            sum += self.wave.gate.applied(*counts, over);
        }
        sum
    }
}

fn soonest(wake: &mut Option<Timestamp>, at: Option<Timestamp>) {
    *wake = (*wake).into_iter().chain(at).min();
}

#[cfg(test)]
mod tests;
