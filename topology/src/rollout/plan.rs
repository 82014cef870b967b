//! What happens next with rollouts: the planner.
//!
//! [`step`] takes one rollout from its plan, its state, its tallies and the
//! time to its next state and the effects of that, and says when time alone
//! may change something again. Rollouts don't hang on each other, so
//! [`Planner`] looks again only at those about which something changed, and
//! comes to the same as [`plan`] for all of them.
//!
//! What has passed stays passed. What stopped goes on only by an operator's
//! later order. Only the state is remembered, so a planner that restarts
//! continues exactly.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::control::Order;
use super::gate::{Breach, Counts, OnBreach};
use super::limit::{Next, Turns};
use super::measure::Measured;
use super::state::MAX_REASON;
use super::{
    Freezes, OnEmpty, Progress, Rollout, RolloutSet, RolloutState, Stop, StopKind, WaveStates,
    freeze, later,
};
use crate::name::{GroupName, RolloutName, Site};

/// What machines of a wave said, by site and group. Never single machines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    cells: BTreeMap<(Site, GroupName), Counts>,
    total: Counts,
    arrivals: BTreeMap<Site, Arrival>,
}

/// When a site came to the content of a rollout, where that was not before the wave
/// could open there: its machines are not unreachable while they have to wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It has not.
    Awaited,
    /// Then.
    At(Timestamp),
}

/// Tallies of every rollout, one per wave; what is missing was not counted yet.
pub type Tallies = BTreeMap<RolloutName, Vec<Tally>>;

impl Tally {
    /// Replaces what the machines of a group at a site said.
    pub fn set(&mut self, site: Site, group: GroupName, counts: Counts) {
        let before = self.cells.insert((site, group), counts).unwrap_or_default();
        self.total += counts;
        self.total.machines -= before.machines;
        self.total.reached -= before.reached;
        self.total.installed -= before.installed;
        self.total.failed -= before.failed;
    }

    /// Takes note of a site where no machine of a group may be known.
    pub fn note(&mut self, site: Site, group: GroupName) {
        self.cells.entry((site, group)).or_default();
    }

    /// Takes note of when a site came to the content.
    pub fn arrived(&mut self, site: Site, arrival: Arrival) {
        self.arrivals.insert(site, arrival);
    }

    /// From when on machines of a site could be reached that opened at `opened`;
    /// `None`: they cannot yet.
    #[must_use]
    pub fn reachable(&self, site: &Site, opened: Timestamp) -> Option<Timestamp> {
        match self.arrivals.get(site) {
            None => Some(opened),
            Some(Arrival::Awaited) => None,
            Some(Arrival::At(at)) => Some(opened.max(*at)),
        }
    }

    /// Whether all content was there in time.
    #[must_use]
    pub fn is_all_there(&self) -> bool {
        self.arrivals.is_empty()
    }

    /// The sum of all.
    #[must_use]
    pub const fn total(&self) -> Counts {
        self.total
    }

    /// Every site and group.
    pub fn cells(&self) -> impl Iterator<Item = (&Site, &GroupName, Counts)> {
        self.cells.iter().map(|((site, group), counts)| (site, group, *counts))
    }
}

/// What a step did, to be published and told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// The rollout.
    pub rollout: RolloutName,
    /// Its wave; `None`: all of it.
    pub wave: Option<String>,
    /// What happened.
    pub what: Transition,
}

/// What happened to a wave or rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// A wave opened.
    Opened,
    /// A wave's gate was met.
    Passed,
    /// A wave was passed over, since it had no machines.
    Skipped,
    /// It stopped by itself.
    Stopped(StopKind, Breach),
    /// An operator resumed what had stopped by itself.
    Resumed,
    /// Sites were let in, in this order.
    LetIn(Vec<Site>),
}

/// The outcome of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The next state.
    pub state: RolloutState,
    /// What led there.
    pub effects: Vec<Effect>,
    /// When time alone may change something again.
    pub wake: Option<Timestamp>,
}

/// One rollout, looked at.
struct Stepper<'a> {
    rollout: &'a Rollout,
    freezes: &'a Freezes,
    tallies: &'a [Tally],
    now: Timestamp,
    step: Step,
}

/// Takes a rollout as far as it goes now.
#[must_use]
pub fn step(
    rollout: &Rollout,
    freezes: &Freezes,
    state: Option<&RolloutState>,
    tallies: &[Tally],
    now: Timestamp,
) -> Step {
    let fits = state.filter(|state| state.waves.len() == rollout.waves.len());
    let state = fits.cloned().unwrap_or_else(|| RolloutState::pending(rollout.waves.len()));
    let step = Step { state, effects: Vec::new(), wake: None };
    let mut stepper = Stepper { rollout, freezes, tallies, now, step };
    stepper.run();
    stepper.step
}

impl Stepper<'_> {
    fn run(&mut self) {
        self.resume();
        let order = self.rollout.control.order;
        if self.step.state.stop.is_some() || !matches!(order, Order::Run | Order::Pause) {
            return;
        }
        let Some(begins) = self.rollout.begins() else { return };
        if begins > self.now {
            return self.wake_at(begins);
        }
        // The waves in their order: one that passes now lets the next one open.
        let mut may_open = (order == Order::Run).then_some(begins);
        for (index, wave) in self.rollout.waves.iter().enumerate() {
            // What was not counted yet is neither empty nor done.
            let needs_counts = !wave.limit.is_none() || wave.on_empty == OnEmpty::Skip;
            if needs_counts && self.tallies.get(index).is_none() {
                return;
            }
            self.open(index, may_open);
            self.admit(index, order == Order::Run);
            self.judge(index);
            if self.step.state.stop.is_some() {
                self.step.wake = None;
                return;
            }
            let wave = &self.step.state.waves[index];
            let done = wave.progress.done_at().filter(|_| wave.paused.is_none());
            may_open = may_open.and(done);
        }
    }

    fn wake_at(&mut self, at: Timestamp) {
        if at > self.now {
            self.step.wake = Some(self.step.wake.map_or(at, |wake| wake.min(at)));
        }
    }

    fn note(&mut self, wave: Option<usize>, what: Transition) {
        let rollout = self.rollout.name.clone();
        let wave = wave.map(|index| self.rollout.waves[index].name.clone());
        self.step.effects.push(Effect { rollout, wave, what });
    }

    /// An order to run that is later than a stop ends it, and takes note of
    /// the failures that there are.
    fn resume(&mut self) {
        let control = &self.rollout.control;
        let ends = |stop: &Option<Stop>| {
            stop.as_ref().is_some_and(|stop| {
                control.order == Order::Run
                    && stop.kind != StopKind::Withdrawn
                    && control.at > stop.at
            })
        };
        let whole = ends(&self.step.state.stop);
        if whole {
            self.step.state.stop = None;
            self.note(None, Transition::Resumed);
        }
        for index in 0..self.rollout.waves.len() {
            let paused = ends(&self.step.state.waves[index].paused);
            if !whole && !paused {
                continue;
            }
            let failed = self.measured(index).map_or(0, |measured| measured.counts.failed);
            let wave = &mut self.step.state.waves[index];
            wave.acknowledged = failed;
            if paused {
                wave.paused = None;
                self.note(Some(index), Transition::Resumed);
            }
        }
    }

    fn measured(&self, index: usize) -> Option<Measured<'_>> {
        let (state, tally) = (&self.step.state.waves[index], self.tallies.get(index));
        Measured::of(self.rollout, index, state, tally, self.freezes, self.now)
    }

    /// Opens a wave whose time has come; `after`: when the one before it was
    /// done.
    fn open(&mut self, index: usize, after: Option<Timestamp>) {
        let (Some(after), wave) = (after, &self.rollout.waves[index]) else { return };
        if self.step.state.waves[index].progress != Progress::Pending {
            return;
        }
        let due = wave.not_before.map_or(after, |not_before| not_before.max(after));
        // Where nothing opens nothing soaks either.
        let due = freeze::first(
            self.freezes,
            wave.geographies.places(),
            self.rollout.priority,
            due.max(self.now),
        );
        if due > self.now {
            return self.wake_at(due);
        }
        let is_empty = self.tallies.get(index).is_none_or(|tally| tally.total().machines == 0);
        let (progress, what) = if is_empty && wave.on_empty == OnEmpty::Skip {
            (Progress::Skipped { at: self.now }, Transition::Skipped)
        } else {
            (Progress::Open { since: self.now }, Transition::Opened)
        };
        self.step.state.waves[index].progress = progress;
        self.note(Some(index), what);
    }

    /// Lets in the sites of an open wave whose turn it is, if `may` be.
    fn admit(&mut self, index: usize, may: bool) {
        let state = &self.step.state.waves[index];
        let may = may && state.paused.is_none();
        let tally = self.tallies.get(index).filter(|_| state.progress.open_since().is_some());
        let turns =
            tally.and_then(|one| Turns::of(self.rollout, index, one, self.freezes, self.now));
        let Some(turns) = turns else { return };
        let Next { admitted, let_in, wake } = turns.next(&state.admitted, may);
        if let Some(wake) = wake {
            self.wake_at(wake);
        }
        self.step.state.waves[index].admitted = admitted;
        if !let_in.is_empty() {
            self.note(Some(index), Transition::LetIn(let_in));
        }
    }

    /// Stops a wave whose machines fail, or lets it pass.
    fn judge(&mut self, index: usize) {
        let gate = &self.rollout.waves[index].gate;
        let Some(measured) = self.measured(index) else { return };
        let state = &self.step.state.waves[index];
        let breach = gate.breach(measured.counts, state.acknowledged);
        let (is_paused, progress) = (state.paused.is_some(), state.progress);
        let is_met = matches!(progress, Progress::Open { .. }) && measured.obstacles().is_empty();
        let until = measured.until;
        if let Some(until) = until {
            self.wake_at(until);
        }
        if is_paused {
            return;
        }
        if let Some(breach) = breach {
            return self.stop(index, gate.on_breach, breach);
        }
        let Progress::Open { since } = progress else { return };
        self.wake_at(later(since, gate.soak));
        if is_met {
            self.step.state.waves[index].progress = Progress::Passed { since, at: self.now };
            self.note(Some(index), Transition::Passed);
        }
    }

    fn stop(&mut self, index: usize, action: OnBreach, breach: Breach) {
        let kind = match action {
            OnBreach::Pause => StopKind::Paused,
            OnBreach::Halt => StopKind::Halted,
            OnBreach::Withdraw => StopKind::Withdrawn,
        };
        let mut reason = format!("wave {}: {breach}", self.rollout.waves[index].name);
        reason.truncate(reason.floor_char_boundary(MAX_REASON));
        // Later than the order that it answers, so that only another ends it.
        let at = self.now.max(self.rollout.control.at);
        let stop = Stop { kind, at, reason };
        if kind == StopKind::Paused {
            self.step.state.waves[index].paused = Some(stop);
            self.note(Some(index), Transition::Stopped(kind, breach));
        } else {
            self.step.state.stop = Some(stop);
            self.note(None, Transition::Stopped(kind, breach));
        }
    }
}

/// Takes every rollout as far as it goes now; states of plans that are no more
/// are dropped.
#[must_use]
pub fn plan(
    set: &RolloutSet,
    states: &WaveStates,
    tallies: &Tallies,
    now: Timestamp,
) -> (WaveStates, Vec<Effect>) {
    let mut planner = Planner::new(states.clone());
    let effects = planner.round(set, tallies, &Changed::All, now);
    (planner.states, effects)
}

/// About which rollouts something changed: their plan, or what machines said. A
/// freeze that comes or goes is about all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// Perhaps all.
    All,
    /// These.
    Only(BTreeSet<RolloutName>),
}

/// Remembers when to look again at what.
#[derive(Debug, Clone, Default)]
pub struct Planner {
    states: WaveStates,
    wakes: BTreeMap<RolloutName, Timestamp>,
}

impl Planner {
    /// Goes on from `states`. Its first round has to look at all.
    #[must_use]
    pub const fn new(states: WaveStates) -> Self {
        Self { states, wakes: BTreeMap::new() }
    }

    /// Where every rollout stands.
    #[must_use]
    pub const fn states(&self) -> &WaveStates {
        &self.states
    }

    /// When time alone may change something again.
    #[must_use]
    pub fn wake(&self) -> Option<Timestamp> {
        self.wakes.values().min().copied()
    }

    /// Looks at what changed, and at that whose time has come.
    pub fn round(
        &mut self,
        set: &RolloutSet,
        tallies: &Tallies,
        changed: &Changed,
        now: Timestamp,
    ) -> Vec<Effect> {
        let names: BTreeSet<RolloutName> = match changed {
            Changed::All => {
                self.states.retain(|name, _| set.rollouts.contains_key(name));
                self.wakes.clear();
                set.rollouts.keys().cloned().collect()
            }
            Changed::Only(names) => names.iter().cloned().chain(self.due(now)).collect(),
        };
        let mut effects = Vec::new();
        for name in names {
            let Some(rollout) = set.rollouts.get(&name) else {
                self.states.remove(&name);
                self.wakes.remove(&name);
                continue;
            };
            let tallies = tallies.get(&name).map(Vec::as_slice).unwrap_or_default();
            let step = step(rollout, &set.freezes, self.states.get(&name), tallies, now);
            effects.extend(step.effects);
            match step.wake {
                Some(wake) => self.wakes.insert(name.clone(), wake),
                None => self.wakes.remove(&name),
            };
            self.states.insert(name, step.state);
        }
        effects
    }

    fn due(&self, now: Timestamp) -> impl Iterator<Item = RolloutName> {
        self.wakes.iter().filter(move |(_, wake)| **wake <= now).map(|(name, _)| name.clone())
    }
}

#[cfg(test)]
mod tests;
