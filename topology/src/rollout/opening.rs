//! What of a plan is open at a place: the state, as far as the plan allows it.
//!
//! Nodes and machines run this themselves. Whoever holds the primary's keys
//! can keep a wave closed; to open one they need what operators sign: the
//! start, the order of waves, their times, their soaks and releases.

use jiff::Timestamp;

use super::control::Order;
use super::limit::Outside;
use super::{Freezes, OnEmpty, Progress, Rollout, RolloutState, Share, StopKind, Wave, WaveStates};
use super::{freeze, later, state::WaveState};
use crate::name::{FreezeName, GroupName, MachineName, RolloutName, Site};

/// For whom something is asked. What is `None` stands for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place<'a> {
    /// Where.
    pub site: Option<&'a Site>,
    /// Which machines.
    pub group: Option<&'a GroupName>,
    /// One of them.
    pub machine: Option<&'a MachineName>,
}

/// What is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening<'a> {
    /// The wave that opened it: of several the one that did first.
    pub wave: &'a Wave,
    /// Since when.
    pub since: Timestamp,
}

/// Why a rollout opens nothing at a place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// The plan has no state yet, or one of another shape.
    #[error("rollout {0} has no state that fits its plan")]
    NoState(RolloutName),
    /// Nobody started it.
    #[error("rollout {0} is not started")]
    NotStarted(RolloutName),
    /// It waits for its cycle.
    #[error("rollout {rollout} begins at {at:.0}")]
    Cycle {
        /// The plan.
        rollout: RolloutName,
        /// When it begins.
        at: Timestamp,
    },
    /// Operators stopped it.
    #[error("rollout {rollout} was ordered to {order} by {by}: {reason}")]
    Ordered {
        /// The plan.
        rollout: RolloutName,
        /// The order.
        order: Order,
        /// Who gave it.
        by: String,
        /// Why.
        reason: String,
    },
    /// It stopped by itself.
    #[error("rollout {rollout} is {kind}: {reason}")]
    Stopped {
        /// The plan.
        rollout: RolloutName,
        /// How.
        kind: StopKind,
        /// Why.
        reason: String,
    },
    /// No wave goes there.
    #[error("no wave of rollout {rollout} goes to {place}")]
    NotCovered {
        /// The plan.
        rollout: RolloutName,
        /// Where, in words.
        place: String,
    },
    /// The wave that goes there is not open yet.
    #[error("wave {wave} of rollout {rollout} is not open yet")]
    Pending {
        /// The plan.
        rollout: RolloutName,
        /// The first wave that goes there.
        wave: String,
    },
    /// The wave that goes there opens later.
    #[error("wave {wave} of rollout {rollout} opens at {at:.0}")]
    Later {
        /// The plan.
        rollout: RolloutName,
        /// The wave.
        wave: String,
        /// When.
        at: Timestamp,
    },
    /// The wave that goes there was stopped.
    #[error("wave {wave} of rollout {rollout} is paused: {reason}")]
    Paused {
        /// The plan.
        rollout: RolloutName,
        /// The first stopped wave that goes there.
        wave: String,
        /// Why.
        reason: String,
    },
    /// Nothing opens there for some time.
    #[error("wave {wave} of rollout {rollout} opens at {at:.0}, after freeze {freeze}")]
    Frozen {
        /// The plan.
        rollout: RolloutName,
        /// The wave.
        wave: String,
        /// The freeze.
        freeze: FreezeName,
        /// When it opens.
        at: Timestamp,
    },
    /// The wave is open, and lets its sites in one after the other.
    #[error("{place} waits for its turn in wave {wave} of rollout {rollout}")]
    Turn {
        /// The plan.
        rollout: RolloutName,
        /// The wave.
        wave: String,
        /// Where, in words.
        place: String,
    },
    /// The state says what the plan does not allow.
    #[error("wave {wave} of rollout {rollout} is said to be open, but {why}")]
    Unfounded {
        /// The plan.
        rollout: RolloutName,
        /// The wave.
        wave: String,
        /// What does not fit.
        why: &'static str,
    },
}

impl Place<'_> {
    fn describe(&self) -> String {
        let site = self.site.map_or_else(|| "every site".to_owned(), ToString::to_string);
        match (self.machine, self.group) {
            (Some(machine), _) => format!("machine {machine} at {site}"),
            (None, Some(group)) => format!("{group} at {site}"),
            (None, None) => site,
        }
    }
}

impl Wave {
    /// Whether it goes to a place: to all of it.
    #[must_use]
    pub fn covers(&self, rollout: &RolloutName, place: Place<'_>) -> bool {
        let is_there = self.geographies.hold(place.site);
        let is_theirs =
            self.groups.is_empty() || place.group.is_some_and(|group| self.groups.contains(group));
        let is_share = self.share == Share::ALL
            || place.machine.is_some_and(|machine| self.share.holds(rollout, machine));
        is_there && is_theirs && is_share
    }
}

impl Rollout {
    /// What is open at a place.
    ///
    /// # Errors
    /// Why nothing is.
    pub fn opening(
        &self,
        states: &WaveStates,
        freezes: &Freezes,
        place: Place<'_>,
        now: Timestamp,
    ) -> Result<Opening<'_>, Closed> {
        let state = self.state(states, now)?;
        let mut best: Option<Opening<'_>> = None;
        let mut why: Option<Closed> = None;
        for (index, wave) in self.waves.iter().enumerate() {
            if !wave.covers(&self.name, place) {
                continue;
            }
            match self.wave_opening(state, index, freezes, place, now) {
                Ok(since) if best.is_none_or(|best| since < best.since) => {
                    best = Some(Opening { wave, since });
                }
                Ok(_) => {}
                Err(closed) => {
                    why.get_or_insert(closed);
                }
            }
        }
        best.ok_or_else(|| {
            why.unwrap_or_else(|| Closed::NotCovered {
                rollout: self.name.clone(),
                place: place.describe(),
            })
        })
    }

    /// Its state, if it is running at all.
    fn state<'a>(
        &self,
        states: &'a WaveStates,
        now: Timestamp,
    ) -> Result<&'a RolloutState, Closed> {
        let rollout = || self.name.clone();
        let state = states
            .get(&self.name)
            .filter(|state| state.waves.len() == self.waves.len())
            .ok_or_else(|| Closed::NoState(rollout()))?;
        let begins = self.begins().ok_or_else(|| Closed::NotStarted(rollout()))?;
        match self.control.order {
            Order::Run | Order::Pause => {}
            Order::Wait => return Err(Closed::NotStarted(rollout())),
            order @ (Order::Halt | Order::Withdraw) => {
                let (by, reason) = (self.control.by.clone(), self.control.reason.clone());
                return Err(Closed::Ordered { rollout: rollout(), order, by, reason });
            }
        }
        if let Some(stop) = &state.stop {
            let (kind, reason) = (stop.kind, stop.reason.clone());
            return Err(Closed::Stopped { rollout: rollout(), kind, reason });
        }
        if begins > now {
            return Err(Closed::Cycle { rollout: rollout(), at: begins });
        }
        Ok(state)
    }

    /// Since when a wave is open at a site.
    fn wave_opening(
        &self,
        state: &RolloutState,
        index: usize,
        freezes: &Freezes,
        place: Place<'_>,
        now: Timestamp,
    ) -> Result<Timestamp, Closed> {
        let (rollout, wave) = (self.name.clone(), self.waves[index].name.clone());
        let of_wave = &state.waves[index];
        let since = match of_wave.progress.open_since() {
            Some(since) => match self.unfounded(state, index, since) {
                None => since,
                Some(why) => return Err(Closed::Unfounded { rollout, wave, why }),
            },
            None => match self.opens_alone(freezes, state, index) {
                Some(since) if since <= now => since,
                Some(at) => return Err(Closed::Later { rollout, wave, at }),
                None => return Err(pending(rollout, wave, of_wave)),
            },
        };
        if let Some(stop) = &of_wave.paused {
            return Err(Closed::Paused { rollout, wave, reason: stop.reason.clone() });
        }
        let since = match self.waves[index].admission(of_wave, since, place.site) {
            Ok(since) => since,
            Err(Outside::Unfounded(why)) => return Err(Closed::Unfounded { rollout, wave, why }),
            Err(Outside::Waits) => {
                let place = Place { machine: None, group: None, ..place }.describe();
                return Err(Closed::Turn { rollout, wave, place });
            }
        };
        let (opens, freeze) = freeze::delayed(freezes, place.site, self.priority, since);
        match freeze {
            Some(freeze) if opens > now => {
                Err(Closed::Frozen { rollout, wave, freeze: freeze.clone(), at: opens })
            }
            _ if opens > now => Err(Closed::Later { rollout, wave, at: opens }),
            _ => Ok(opens),
        }
    }

    /// What of the plan forbids that a wave is open since an instant.
    fn unfounded(
        &self,
        state: &RolloutState,
        index: usize,
        since: Timestamp,
    ) -> Option<&'static str> {
        let wave = &self.waves[index];
        if self.begins().is_none_or(|begins| since < begins) {
            return Some("the rollout had not begun");
        }
        if wave.not_before.is_some_and(|not_before| since < not_before) {
            return Some("its time had not come");
        }
        let (before, plan) = match index.checked_sub(1) {
            None => return None,
            Some(index) => (state.waves[index].progress, &self.waves[index]),
        };
        match before {
            Progress::Passed { since: opened, at } => {
                let soaked = later(opened, plan.gate.soak);
                if at < soaked {
                    Some("the wave before it had not soaked")
                } else if plan.gate.operator && plan.released.is_none() {
                    Some("no operator released the wave before it")
                } else if since < at {
                    Some("the wave before it had not passed")
                } else {
                    self.unfounded(state, index - 1, opened)
                }
            }
            Progress::Skipped { at } if plan.on_empty == OnEmpty::Skip => {
                if since < at {
                    Some("the wave before it had not been passed over")
                } else {
                    // It is passed over when it would have opened.
                    self.unfounded(state, index - 1, at)
                }
            }
            Progress::Skipped { .. } => Some("the wave before it may not be passed over"),
            Progress::Open { .. } | Progress::Pending => Some("the wave before it has not passed"),
        }
    }

    /// When a pending wave opens where nothing can be learned, if the plan
    /// allows it and only time decides.
    fn opens_alone(
        &self,
        freezes: &Freezes,
        state: &RolloutState,
        index: usize,
    ) -> Option<Timestamp> {
        // Whose turn it is, the primary alone says.
        let has_turns = !self.waves[index].limit.is_none();
        if !self.offline || self.control.order != Order::Run || has_turns {
            return None;
        }
        let due = self.due(freezes, state, index)?;
        // What it rests on has to be allowed as well.
        let is_begun = |before: &usize| state.waves[*before].progress != Progress::Pending;
        let unfounded =
            (0..index).rev().find(is_begun).and_then(|before| match state.waves[before].progress {
                Progress::Open { since } => self.unfounded(state, before, since),
                _ => self.unfounded(state, before + 1, due),
            });
        unfounded.is_none().then_some(due)
    }

    /// When a wave may open, if all that is open now passes as soon as time
    /// alone lets it; `None` where something else decides.
    #[must_use]
    pub fn due(&self, freezes: &Freezes, state: &RolloutState, index: usize) -> Option<Timestamp> {
        let (wave, of_wave) = (self.waves.get(index)?, state.waves.get(index)?);
        if let Some(since) = of_wave.progress.open_since() {
            return Some(since);
        }
        if state.waves.iter().take(index).any(|before| before.paused.is_some()) {
            return None;
        }
        let begins = self.begins()?;
        let before = match index.checked_sub(1) {
            None => begins,
            Some(before) => {
                let (plan, of_before) = (&self.waves[before], state.waves.get(before)?);
                match of_before.progress {
                    Progress::Passed { at, .. } | Progress::Skipped { at } => at,
                    _ if !plan.gate.is_time_alone() || !plan.limit.is_none() => return None,
                    _ => self.due(freezes, state, before)?.saturating_add(plan.gate.soak).ok()?,
                }
            }
        };
        let due = before.max(begins).max(wave.not_before.unwrap_or(begins));
        Some(freeze::first(freezes, wave.geographies.places(), self.priority, due))
    }
}

fn pending(rollout: RolloutName, wave: String, state: &WaveState) -> Closed {
    match &state.paused {
        Some(stop) => Closed::Paused { rollout, wave, reason: stop.reason.clone() },
        None => Closed::Pending { rollout, wave },
    }
}

#[cfg(test)]
mod tests;
