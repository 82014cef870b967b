//! Plans that open approvals, and how far each has come.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::name::{RolloutName, Site};
use crate::node::Stage;

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wave {
    /// Its name, unique in the rollout.
    pub name: String,
    /// Where it opens; empty means everywhere.
    pub geographies: Vec<Site>,
}

/// A plan. An approval names the rollout that opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// Its name.
    pub name: RolloutName,
    /// The stage whose approvals it opens.
    pub stage: Stage,
    /// Its steps, in order, at least one.
    pub waves: Vec<Wave>,
}

/// Where a wave stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaveStatus {
    /// Not open yet.
    Pending,
    /// Open since.
    Open(Timestamp),
    /// Stopped; nothing new starts.
    Halted,
}

/// Where every rollout stands: one status per wave, in the plan's order.
pub type WaveStates = BTreeMap<RolloutName, Vec<WaveStatus>>;
