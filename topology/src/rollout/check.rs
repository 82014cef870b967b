//! What is wrong with a plan, before it is started.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;

use super::deadline::Deadline;
use super::geography::Unresolved;
use super::limit::MAX_SITES;
use super::{
    Freezes, Limit, MAX_LIST, MAX_WAIT, MAX_WAVES, Rollout, RolloutState, Share, SiteGroups, Wave,
    first_of, freeze, window,
};
use crate::link::zone::Zone;
use crate::name::{GroupName, Site};
use crate::node::Stage;

/// The longest name of a wave, in characters.
pub const MAX_NAME: usize = 63;

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// It can be started, and may not do what is meant.
    Warning,
    /// It cannot be started.
    Error,
}

/// Something is wrong with a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How grave it is.
    pub grade: Grade,
    /// The wave; `None`: the whole plan.
    pub wave: Option<String>,
    /// What is wrong, and what to do.
    pub text: String,
}

/// The mesh as far as a plan is checked against it.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// Sites with machines, and their clocks.
    pub sites: BTreeMap<Site, Zone>,
    /// Groups and their stages.
    pub groups: BTreeMap<GroupName, Stage>,
    /// Sites that waves may go to by one name.
    pub site_groups: SiteGroups,
    /// When nothing opens.
    pub freezes: Freezes,
    /// Machines known by site and group; nothing where none are known at all.
    pub machines: BTreeMap<(Site, GroupName), u64>,
    /// The first deadline of what the plan opens.
    pub deadline: Option<Deadline>,
}

/// Checks a plan against a mesh. The gravest come first.
#[must_use]
pub fn check(rollout: &Rollout, world: &World, now: Timestamp) -> Vec<Finding> {
    let mut rollout = rollout.clone();
    let unresolved = resolve(&mut rollout, &world.site_groups);
    let mut checker = Checker { rollout: &rollout, world, now, findings: Vec::new() };
    for (index, fault) in unresolved {
        checker.find(Grade::Error, Some(index), fault.to_string());
    }
    checker.shape();
    for index in 0..rollout.waves.len() {
        checker.places(index);
        checker.gate(index);
        checker.limit(index);
        checker.windows(index);
    }
    checker.overlaps();
    checker.uncovered();
    checker.times();
    checker.findings.sort_by_key(|finding| std::cmp::Reverse(finding.grade));
    checker.findings
}

/// Looks up the groups of sites, and says which waves' cannot be.
fn resolve(rollout: &mut Rollout, known: &SiteGroups) -> Vec<(usize, Unresolved)> {
    let waves = rollout.waves.iter_mut().enumerate();
    waves
        .filter_map(|(index, wave)| Some((index, wave.geographies.resolve(known).err()?)))
        .collect()
}

impl World {
    /// The machines that a wave of a stage goes to, share apart, by their sites.
    fn theirs<'w>(&'w self, wave: &'w Wave, stage: Stage) -> impl Iterator<Item = (&'w Site, u64)> {
        let is_theirs = move |(site, group): &(Site, GroupName)| {
            wave.geographies.hold(Some(site))
                && (wave.groups.is_empty() || wave.groups.contains(group))
                && self.groups.get(group) == Some(&stage)
        };
        let theirs = self.machines.iter().filter(move |(place, _)| is_theirs(place));
        theirs.map(|((site, _), machines)| (site, *machines))
    }
}

struct Checker<'a> {
    rollout: &'a Rollout,
    world: &'a World,
    now: Timestamp,
    findings: Vec<Finding>,
}

impl Checker<'_> {
    fn find(&mut self, grade: Grade, wave: Option<usize>, text: impl Into<String>) {
        let wave = wave.map(|index| self.rollout.waves[index].name.clone());
        self.findings.push(Finding { grade, wave, text: text.into() });
    }

    fn shape(&mut self) {
        let waves = &self.rollout.waves;
        if waves.is_empty() {
            self.find(Grade::Error, None, "it has no waves; add a [[wave]] with a name");
        }
        if waves.len() > MAX_WAVES {
            let text =
                format!("it has {} waves, and at most {MAX_WAVES} are possible", waves.len());
            self.find(Grade::Error, None, text);
        }
        let mut names = BTreeSet::new();
        for (index, wave) in waves.iter().enumerate() {
            let bad = |c: char| c.is_control() || c.is_whitespace();
            let length = wave.name.chars().count();
            if length == 0 || length > MAX_NAME || wave.name.chars().any(bad) {
                let text = format!("a wave's name has 1 to {MAX_NAME} characters without blanks");
                self.find(Grade::Error, Some(index), text);
            }
            if !names.insert(&wave.name) {
                self.find(Grade::Error, Some(index), "another wave has its name; rename one");
            }
            let longest = [
                wave.geographies.sites().len(),
                wave.geographies.groups().len(),
                wave.groups.len(),
                wave.windows.len(),
                wave.blackouts.len(),
            ];
            if longest.iter().any(|length| *length > MAX_LIST) {
                let text = format!("one of its lists has more than {MAX_LIST} entries");
                self.find(Grade::Error, Some(index), text);
            }
        }
    }

    fn places(&mut self, index: usize) {
        let wave = &self.rollout.waves[index];
        for group in &wave.groups {
            match self.world.groups.get(group) {
                None => {
                    let text = format!(
                        "there is no group {group}; `patchmesh group list` shows those there are"
                    );
                    self.find(Grade::Error, Some(index), text);
                }
                Some(stage) if *stage != self.rollout.stage => {
                    let text = format!(
                        "group {group} follows {stage}, and the rollout is for {}",
                        self.rollout.stage
                    );
                    self.find(Grade::Error, Some(index), text);
                }
                Some(_) => {}
            }
        }
        for place in wave.geographies.places() {
            if !self.world.sites.keys().any(|site| site.is_within(place)) {
                let text = format!("no site of the mesh lies in {place}");
                self.find(Grade::Warning, Some(index), text);
            }
        }
        if wave.share == Share::NONE {
            self.find(Grade::Error, Some(index), "a share of 0 % has no machines; leave it out");
        }
    }

    fn gate(&mut self, index: usize) {
        let gate = &self.rollout.waves[index].gate;
        let machines = self.machines(index);
        if gate.soak > MAX_WAIT || gate.soak.is_negative() {
            self.find(Grade::Error, Some(index), "a soak lasts from 0 to 365 days");
        }
        if let Some(after) = gate.unreachable.patience()
            && (after > MAX_WAIT || after.is_negative())
        {
            self.find(
                Grade::Error,
                Some(index),
                "the patience with unreachable machines lasts from 0 to 365 days",
            );
        }
        for (condition, least) in
            [("min_reached", gate.min_reached), ("min_success", gate.min_success)]
        {
            let Some(least) = least else { continue };
            if let Some(machines) = machines.filter(|machines| *machines < least.min_sample) {
                let text = format!(
                    "its gate can never pass: {condition} is judged on {} machines, and {machines} are known there",
                    least.min_sample
                );
                self.find(Grade::Warning, Some(index), text);
            }
        }
        if let (Some(least), Some(most)) = (gate.min_success, gate.max_failed)
            && let Some(share) = most.share
            && least.share.ten_thousandths() + share.ten_thousandths()
                > Share::ALL.ten_thousandths()
        {
            let text = format!(
                "with some failures it neither passes nor stops: min_success {} asks for fewer than max_failed {share} lets go on; lower one of them",
                least.share
            );
            self.find(Grade::Warning, Some(index), text);
        }
        if let (Some(most), Some(machines)) = (gate.max_failed, machines)
            && most.share.is_some()
            && most.count.is_none()
            && machines < most.min_sample
        {
            let text = format!(
                "failures never stop it: max_failed is judged on {} machines, and {machines} are known there; lower min_sample or add a count",
                most.min_sample
            );
            self.find(Grade::Warning, Some(index), text);
        }
        if gate.min_reached.is_some_and(|least| least.share == Share::ALL)
            && gate.unreachable == super::gate::Unreachable::Block
        {
            let text = "its gate asks for every machine, and a single one that is switched off keeps it closed; \
                        lower min_reached or say what becomes of the unreachable";
            self.find(Grade::Warning, Some(index), text);
        }
    }

    /// Whether its sites can have their turns.
    fn limit(&mut self, index: usize) {
        let wave = &self.rollout.waves[index];
        if wave.limit.is_none() {
            return;
        }
        if wave.limit.sites == Some(0) || wave.limit.machines == Some(0) {
            self.find(Grade::Error, Some(index), "a limit of 0 lets nothing begin; leave it out");
        }
        let all = self.world.sites.keys().filter(|site| wave.geographies.hold(Some(site)));
        let mut sites: BTreeMap<&Site, u64> = all.map(|site| (site, 0)).collect();
        for (site, machines) in self.world.theirs(wave, self.rollout.stage) {
            *sites.entry(site).or_default() += machines;
        }
        if sites.len() > MAX_SITES {
            let text = format!(
                "it has {} sites, and a wave with max_concurrent has at most {MAX_SITES}; make several of it",
                sites.len()
            );
            self.find(Grade::Error, Some(index), text);
        }
        if self.world.machines.is_empty() {
            return;
        }
        let named = |wanted: &dyn Fn(u64) -> bool| -> Vec<String> {
            let found = sites.iter().filter(|(_, machines)| wanted(**machines));
            found.map(|(site, _)| site.to_string()).collect()
        };
        let silent = named(&|machines| machines == 0);
        if !silent.is_empty()
            && wave.gate.unreachable == super::gate::Unreachable::Block
            && wave.on_empty == super::OnEmpty::Wait
        {
            let text = format!(
                "no machine reports at {}, and such a site keeps its turn for ever; say what becomes of the unreachable, or empty = \"skip\"",
                first_of(&silent)
            );
            self.find(Grade::Warning, Some(index), text);
        }
        let Some(most) = wave.limit.machines else { return };
        let large = named(&|machines| machines > most);
        if !large.is_empty() {
            let text = format!(
                "each of {} has more than {most} machines and goes alone with all of them; give it waves with a share before",
                first_of(&large)
            );
            self.find(Grade::Warning, Some(index), text);
        }
    }

    /// Machines that a wave goes to, where some are known.
    fn machines(&self, index: usize) -> Option<u64> {
        let wave = &self.rollout.waves[index];
        if self.world.machines.is_empty() {
            return None;
        }
        let all: u64 =
            self.world.theirs(wave, self.rollout.stage).map(|(_, machines)| machines).sum();
        let share = u64::from(wave.share.ten_thousandths());
        Some(all.saturating_mul(share).div_ceil(u64::from(Share::ALL.ten_thousandths())))
    }

    fn windows(&mut self, index: usize) {
        let wave = &self.rollout.waves[index];
        if wave.windows.is_empty() && wave.blackouts.is_empty() {
            return;
        }
        let mut zones: BTreeMap<String, Zone> = BTreeMap::new();
        for (site, zone) in &self.world.sites {
            if wave.geographies.hold(Some(site)) {
                zones.entry(zone.to_string()).or_insert_with(|| zone.clone());
            }
        }
        if zones.is_empty() {
            zones.insert("UTC".to_owned(), Zone::default());
        }
        let never: Vec<String> = zones
            .iter()
            .filter(|(_, zone)| {
                window::next(&wave.windows, &wave.blackouts, zone, self.now).is_none()
            })
            .map(|(name, _)| name.clone())
            .collect();
        if !never.is_empty() {
            let text = format!(
                "its windows never open in two weeks from now in {}: its blackouts cover them, or a clock is moved over them",
                first_of(&never)
            );
            self.find(Grade::Error, Some(index), text);
        }
    }

    fn overlaps(&mut self) {
        let waves = &self.rollout.waves;
        for (later, wave) in waves.iter().enumerate() {
            let covers = |before: &Wave| {
                let everywhere = before.geographies.is_everywhere();
                let is_there = |place: &Site| before.geographies.hold(Some(place));
                let places = !wave.geographies.is_everywhere()
                    && wave.geographies.places().iter().all(is_there);
                let groups = before.groups.is_empty()
                    || !wave.groups.is_empty() && wave.groups.is_subset(&before.groups);
                (everywhere || places) && groups && before.share >= wave.share
            };
            if let Some(before) = waves[..later].iter().find(|before| covers(before)) {
                let text = format!(
                    "wave {} opens all of it before; remove one, or change where they go",
                    before.name
                );
                self.find(Grade::Warning, Some(later), text);
            }
        }
    }

    fn uncovered(&mut self) {
        let waves = &self.rollout.waves;
        let in_none = |site: &&Site| !waves.iter().any(|wave| wave.geographies.hold(Some(site)));
        let sites: Vec<String> =
            self.world.sites.keys().filter(in_none).map(ToString::to_string).collect();
        if !sites.is_empty() {
            let text = format!(
                "{} sites are in no wave and never get it: {}",
                sites.len(),
                first_of(&sites)
            );
            self.find(Grade::Warning, None, text);
        }
        let stage = self.rollout.stage;
        let ours = self.world.groups.iter().filter(|(_, follows)| **follows == stage);
        let in_none = |group: &&GroupName| {
            !waves.iter().any(|wave| wave.groups.is_empty() || wave.groups.contains(*group))
        };
        let groups: Vec<String> =
            ours.map(|(group, _)| group).filter(in_none).map(ToString::to_string).collect();
        if !groups.is_empty() && !waves.is_empty() {
            let text = format!(
                "{} groups are in no wave and never get it: {}",
                groups.len(),
                first_of(&groups)
            );
            self.find(Grade::Warning, None, text);
        }
        let partly: Vec<&Wave> = waves.iter().filter(|wave| wave.share != Share::ALL).collect();
        if !partly.is_empty() && !waves.iter().any(|wave| wave.share == Share::ALL) {
            let text = "every wave goes to a share of the machines only; the others, and all stock clients, never get it";
            self.find(Grade::Warning, None, text);
        }
    }

    /// The earliest moments, as if every gate were met when its soak is over.
    fn times(&mut self) {
        let waves = &self.rollout.waves;
        let mut plan = self.rollout.clone();
        let started = plan.control.started.unwrap_or(self.now);
        plan.control.started = Some(started);
        for wave in &mut plan.waves {
            let soak = wave.gate.soak;
            wave.gate = super::Gate { soak, ..super::Gate::default() };
            wave.limit = Limit::NONE;
        }
        let state = RolloutState::pending(waves.len());
        for (index, wave) in waves.iter().enumerate() {
            let freezes = &self.world.freezes;
            let (Some(unfrozen), Some(due)) =
                (plan.due(&Freezes::new(), &state, index), plan.due(freezes, &state, index))
            else {
                continue;
            };
            if let Some(not_before) =
                wave.not_before.filter(|not_before| *not_before < unfrozen && index > 0)
            {
                let text = format!(
                    "its not_before {not_before} has no effect: the waves before it take until {unfrozen} at least"
                );
                self.find(Grade::Warning, Some(index), text);
            }
            let places = freeze::places(wave.geographies.places());
            let last = |at: Timestamp| {
                let opens =
                    places.clone().map(|place| freeze::last(freezes, place, plan.priority, at));
                opens.max_by_key(|(at, _)| *at).unwrap_or((at, None))
            };
            let ((at, partly), (_, wholly)) = (last(due), last(unfrozen));
            let frozen = partly.or(wholly);
            if let Some(name) = frozen {
                let text = format!("it opens at {at} in part of its places, after freeze {name}");
                self.find(Grade::Warning, Some(index), text);
            }
            if let Some(Deadline::By(deadline)) = self.world.deadline
                && at >= deadline
            {
                let text = format!(
                    "it cannot meet its deadline {deadline} ({}): it opens at {at} at the earliest",
                    plan.deadline
                );
                self.find(Grade::Warning, Some(index), text);
            }
        }
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.wave {
            Some(wave) => write!(f, "{}: wave {wave}: {}", self.grade, self.text),
            None => write!(f, "{}: {}", self.grade, self.text),
        }
    }
}

#[cfg(test)]
mod tests;
