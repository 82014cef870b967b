//! What a line of the file has: an event or a roll-up.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use patchmesh_proto::convert::{outcome, phase};
use patchmesh_proto::report as wire;
use patchmesh_topology::report::RollUp;
use patchmesh_topology::report::backlog::Entry;
use serde::{Deserialize, Serialize};

use super::Event;

/// A line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Line<'a> {
    Event(Cow<'a, Event>),
    RollUp(RolledUp),
}

/// A roll-up.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RolledUp {
    /// Start of each run, and the number behind its end.
    rolled_up: Vec<(u64, u64)>,
    /// Step and outcome, by the numbers of the wire, and how many.
    counts: Vec<(i32, i32, u64)>,
    since: Timestamp,
    until: Timestamp,
}

/// A line that this software does not understand.
#[derive(Debug)]
pub(super) struct Unread;

impl<'a> From<Entry<&'a Event>> for Line<'a> {
    fn from(entry: Entry<&'a Event>) -> Self {
        match entry {
            Entry::Event(event) => Self::Event(Cow::Borrowed(event)),
            Entry::RollUp(one) => Self::RollUp((&one).into()),
        }
    }
}

impl TryFrom<Line<'_>> for Entry<Event> {
    type Error = Unread;

    fn try_from(line: Line<'_>) -> Result<Self, Unread> {
        match line {
            Line::Event(event) => Ok(Self::Event(event.into_owned())),
            Line::RollUp(one) => Ok(Self::RollUp(one.try_into()?)),
        }
    }
}

impl From<&RollUp> for RolledUp {
    fn from(one: &RollUp) -> Self {
        let (since, until) = one.times();
        let count = |(&(phase, outcome), &events)| {
            (wire::Phase::from(phase).into(), wire::Outcome::from(outcome).into(), events)
        };
        Self {
            rolled_up: one.runs().runs().map(|run| (run.start, run.end)).collect(),
            counts: one.counts().iter().map(count).collect(),
            since,
            until,
        }
    }
}

impl TryFrom<RolledUp> for RollUp {
    type Error = Unread;

    fn try_from(one: RolledUp) -> Result<Self, Unread> {
        let runs: Vec<_> = one.rolled_up.iter().map(|(start, end)| *start..*end).collect();
        let count = |(step, went, events): (i32, i32, u64)| {
            Some(((phase(step).ok()?, outcome(went).ok()?), events))
        };
        let counts: Option<BTreeMap<_, _>> = one.counts.into_iter().map(count).collect();
        let counts = counts.ok_or(Unread)?;
        Self::new(&runs, counts, (one.since, one.until)).map_err(|_| Unread)
    }
}
