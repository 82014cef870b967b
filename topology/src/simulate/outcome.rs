//! What came of it.

use jiff::Timestamp;

use crate::name::{RolloutName, Site};
use crate::rollout::explain::Explanation;
use crate::rollout::gate::Counts;

/// What a plan did to a world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The plan.
    pub rollout: RolloutName,
    /// When it was started.
    pub start: Timestamp,
    /// Until when it was watched.
    pub end: Timestamp,
    /// Machines that it goes to, with what they said.
    pub total: Counts,
    /// Machines that no wave goes to.
    pub uncovered: u64,
    /// Geography by geography, by name.
    pub geographies: Vec<Geography>,
    /// Line by line, in the order of the sites.
    pub lines: Vec<Carried>,
    /// What happened, in its order.
    pub events: Vec<Event>,
    /// Why it stands where it stands in the end.
    pub explanation: Explanation,
}

/// What happened to the machines of a geography that a plan goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Geography {
    /// Where.
    pub place: Site,
    /// Its sites.
    pub sites: u64,
    /// Sites that lack content in the end.
    pub without_content: u64,
    /// Its machines, with what they said.
    pub counts: Counts,
    /// Machines that are never heard of.
    pub never: u64,
    /// When the first machine had it.
    pub first: Option<Timestamp>,
    /// When half of all machines had it.
    pub half: Option<Timestamp>,
    /// When 95 % of all machines had it.
    pub most: Option<Timestamp>,
    /// When all that can be reached had come to an end with it.
    pub finished: Option<Timestamp>,
    /// Machines that had it by their deadline.
    pub met: u64,
    /// Machines whose deadline passed without.
    pub missed: u64,
    /// Machines that had it, hour by hour from the start.
    pub curve: Vec<u64>,
}

/// What a line brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// The site that it leads to.
    pub site: Site,
    /// Bytes.
    pub bytes: u64,
    /// When all content was there.
    pub arrived: Option<Timestamp>,
}

/// Something happened to a wave or to the rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// The wave; `None`: the whole rollout.
    pub wave: Option<String>,
    /// What, in a few words.
    pub what: String,
    /// Whether it stopped.
    pub is_stop: bool,
    /// What the wave's machines had said by then.
    pub counts: Counts,
    /// What would have to happen next there, from the planner's own record.
    pub next: Vec<String>,
}
