//! How far plans have come: what the primary signs, and all that the planner
//! remembers.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Admissions, words};
use crate::name::RolloutName;

/// The longest reason of a stop, in bytes.
pub const MAX_REASON: usize = 1000;

/// How far a wave has come. What has passed stays passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// Not open yet.
    Pending,
    /// Open.
    Open {
        /// Since when.
        since: Timestamp,
    },
    /// Open, and its gate was met: the next one may open.
    Passed {
        /// Since when it is open.
        since: Timestamp,
        /// When its gate was met.
        at: Timestamp,
    },
    /// Passed over, since it had no machines.
    Skipped {
        /// When.
        at: Timestamp,
    },
}

impl Progress {
    /// Since when it is open.
    #[must_use]
    pub const fn open_since(self) -> Option<Timestamp> {
        match self {
            Self::Open { since } | Self::Passed { since, .. } => Some(since),
            Self::Pending | Self::Skipped { .. } => None,
        }
    }

    /// When the next wave could open.
    #[must_use]
    pub const fn done_at(self) -> Option<Timestamp> {
        match self {
            Self::Passed { at, .. } | Self::Skipped { at } => Some(at),
            Self::Pending | Self::Open { .. } => None,
        }
    }
}

/// How something was stopped by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopKind {
    /// A wave: nothing new starts in it, and none opens after it.
    Paused,
    /// The rollout: nothing new starts anywhere.
    Halted,
    /// The rollout, for good: what it opened is offered no more.
    Withdrawn,
}

words!(
    StopKind,
    "stop",
    "paused, halted or withdrawn",
    Paused = "paused",
    Halted = "halted",
    Withdrawn = "withdrawn"
);

/// Something was stopped by itself, until an operator resumes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// How.
    pub kind: StopKind,
    /// When.
    pub at: Timestamp,
    /// Why, in a sentence.
    pub reason: String,
}

/// Where a wave stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaveState {
    /// How far it has come.
    pub progress: Progress,
    /// Set while it is paused.
    pub paused: Option<Stop>,
    /// Failures that an operator knew of when resuming: only further ones
    /// count against the gate.
    pub acknowledged: u64,
    /// The sites that were let in, where the wave has a limit.
    pub admitted: Admissions,
}

impl WaveState {
    /// A wave that has come so far.
    #[must_use]
    pub const fn at(progress: Progress) -> Self {
        Self { progress, paused: None, acknowledged: 0, admitted: Admissions::new() }
    }
}

/// Where a rollout stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutState {
    /// Set while all of it is stopped.
    pub stop: Option<Stop>,
    /// One per wave, in the plan's order.
    pub waves: Vec<WaveState>,
}

impl RolloutState {
    /// Nothing has begun.
    #[must_use]
    pub fn pending(waves: usize) -> Self {
        Self { stop: None, waves: vec![WaveState::at(Progress::Pending); waves] }
    }

    /// Whether every wave has passed or was passed over.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.waves.iter().all(|wave| wave.progress.done_at().is_some())
    }
}

/// Where every rollout stands.
pub type WaveStates = BTreeMap<RolloutName, RolloutState>;

/// Where every rollout stands: what the `wave-state` role signs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WaveStateSet {
    /// Grows by one with every change.
    pub version: u64,
    /// The states.
    pub states: WaveStates,
}
