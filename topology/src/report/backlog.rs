//! What a machine has to tell and no node is known to hold: events, and roll-ups of
//! older ones.
//!
//! Every number from the first on is that of an event, or in the runs of one
//! roll-up. A backlog is told in [`Part`]s, from the front, each one a batch. What
//! always holds:
//!
//! - **The last word stays.** An event is rolled up only where a later one is about
//!   the same revision. So every revision that has been spoken about has its last
//!   word as an event.
//! - **What may have been told stays as it is.** A request takes none but the first
//!   [`Limits::parts`] parts, and what is in them is never rolled up, so a number
//!   that a node was told in one form is never told in another. Such a part leaves
//!   this front only when it is forgotten: pushing and rolling up change what is
//!   behind it alone, forgetting takes away what is before it.
//! - **Nothing is lost.** Numbers that are rolled up are in the runs of one roll-up,
//!   which counts each of them once.

use std::collections::HashSet;
use std::ops::Range;

use jiff::Timestamp;

use super::roll_up::{MAX_ROLLED_UP, RollUp};
use crate::tally::{Outcome, Phase};

/// The greatest number that a backlog which was written down goes to: nobody comes so
/// far, and numbers behind it do not end.
const MAX_NUMBER: u64 = u64::MAX / 2;

/// Events of a roll-up that is joined with others. Those between its runs may
/// still come to it.
const MAX_JOINED: u64 = MAX_ROLLED_UP / 2;

/// An event as far as it matters here.
pub trait Told {
    /// The revision that it is about.
    fn revision(&self) -> &str;
    /// The step and how it went; nothing where that is not known, which is never
    /// rolled up.
    fn step(&self) -> Option<(Phase, Outcome)>;
    /// When it happened.
    fn at(&self) -> Timestamp;
}

/// How a backlog is cut into parts.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Events of a part that has no roll-up.
    pub events: usize,
    /// Events between the runs of a roll-up.
    pub between: usize,
    /// Parts of a request. They may become more from one version of the software to
    /// the next, and never fewer: see above. The same holds for `events`.
    pub parts: usize,
}

/// Events and roll-ups, in the order of their numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlog<E> {
    first: u64,
    end: u64,
    events: Vec<(u64, E)>,
    roll_ups: Vec<RollUp>,
}

/// Numbers that follow each other and are told together.
#[derive(Debug)]
pub struct Part<'a, E> {
    /// The numbers, of events or rolled up.
    pub run: Range<u64>,
    /// What of them is rolled up.
    pub rolled_up: Option<&'a RollUp>,
    /// The others.
    pub events: &'a [(u64, E)],
}

/// An entry, in the order in which a backlog is written down and read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry<E> {
    /// An event: it has the next number that is in no run.
    Event(E),
    /// Begins with the next number.
    RollUp(RollUp),
}

impl<E> Backlog<E> {
    /// An empty one whose next number is `first`.
    #[must_use]
    pub const fn new(first: u64) -> Self {
        Self { first, end: first, events: Vec::new(), roll_ups: Vec::new() }
    }

    /// One that was written down; nothing where it does not hold together.
    pub fn read(first: u64, entries: impl IntoIterator<Item = Entry<E>>) -> Option<Self> {
        let mut backlog = Self::new(Some(first).filter(|first| *first <= MAX_NUMBER)?);
        for entry in entries {
            match entry {
                Entry::Event(event) => backlog.push(event),
                Entry::RollUp(one) => {
                    let span = one.span();
                    let is_next = span.start == backlog.end && span.start >= backlog.rolled_until();
                    if !is_next || span.end > MAX_NUMBER {
                        return None;
                    }
                    backlog.roll_ups.push(one);
                }
            }
            backlog.skip();
        }
        (backlog.end >= backlog.rolled_until()).then_some(backlog)
    }

    /// To be written down: each roll-up before the events between its runs.
    pub fn entries(&self) -> impl Iterator<Item = Entry<&E>> {
        let mut roll_ups = self.roll_ups.iter().peekable();
        let mut events = self.events.iter().peekable();
        std::iter::from_fn(move || {
            let next = events.peek().map_or(u64::MAX, |(number, _)| *number);
            match roll_ups.next_if(|one| one.span().start < next) {
                Some(one) => Some(Entry::RollUp(one.clone())),
                None => events.next().map(|(_, event)| Entry::Event(event)),
            }
        })
    }

    /// The number of the first that waits.
    #[must_use]
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// The number that comes next.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// Whether nothing waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.first == self.end
    }

    /// The events with their numbers.
    #[must_use]
    pub fn events(&self) -> &[(u64, E)] {
        &self.events
    }

    /// The roll-ups.
    #[must_use]
    pub fn roll_ups(&self) -> &[RollUp] {
        &self.roll_ups
    }

    /// How many events are rolled up.
    #[must_use]
    pub fn rolled_up(&self) -> u64 {
        self.roll_ups.iter().map(RollUp::count).sum()
    }

    /// What it takes to keep it: events and roll-ups. A roll-up has no more runs than
    /// events between them, and one.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.events.len() + self.roll_ups.len()
    }

    /// Takes an event, which has the next number.
    pub fn push(&mut self, event: E) {
        self.events.push((self.end, event));
        self.end += 1;
    }

    /// Forgets all before a number, which is the end of a part.
    pub fn forget(&mut self, to: u64) {
        let to = to.clamp(self.first, self.end);
        self.events.drain(..self.events.partition_point(|(number, _)| *number < to));
        self.roll_ups.drain(..self.roll_ups.partition_point(|one| one.span().start < to));
        self.first = to;
    }

    /// The same with numbers from 0 on, for another queue: what was told of these numbers
    /// says nothing about it.
    #[must_use]
    pub fn from_zero(self) -> Self {
        let by = self.first;
        let events = self.events.into_iter().map(|(number, event)| (number - by, event));
        let roll_ups = self.roll_ups.into_iter().map(|one| one.lowered(by));
        Self {
            first: 0,
            end: self.end - by,
            events: events.collect(),
            roll_ups: roll_ups.collect(),
        }
    }

    /// The parts, from the front on: a roll-up with the events between its runs, or
    /// events up to the next roll-up.
    pub fn parts(&self, limits: Limits) -> impl Iterator<Item = Part<'_, E>> {
        let (mut next, mut events, mut roll_ups) =
            (self.first, &self.events[..], self.roll_ups.iter().peekable());
        std::iter::from_fn(move || {
            if next == self.end {
                return None;
            }
            let start = roll_ups.peek().map_or(self.end, |one| one.span().start);
            let rolled_up = roll_ups.next_if(|_| start == next);
            let end = match rolled_up {
                Some(one) => one.span().end,
                None => start.min(next + limits.events as u64),
            };
            let (part, rest) = events.split_at(events.partition_point(|(number, _)| *number < end));
            let run = next..end;
            (next, events) = (end, rest);
            Some(Part { run, rolled_up, events: part })
        })
    }

    /// The number behind what a request may take: what is before it stays as it is.
    #[must_use]
    pub fn front(&self, limits: Limits) -> u64 {
        self.parts(limits).take(limits.parts).last().map_or(self.first, |part| part.run.end)
    }

    /// Behind the last number that is rolled up.
    fn rolled_until(&self) -> u64 {
        self.roll_ups.last().map_or(self.first, |one| one.span().end)
    }

    /// Goes on behind the run that the next number is in.
    fn skip(&mut self) {
        if let Some(last) = self.roll_ups.last().filter(|last| self.end < last.span().end) {
            let span = last.span();
            let next = last.runs().gaps(self.end..span.end).next();
            self.end = next.map_or(span.end, |gap| gap.start);
        }
    }
}

impl<E: Told> Backlog<E> {
    /// How many events [`Backlog::roll_up`] would roll up.
    #[must_use]
    pub fn redundant(&self, keep: usize, limits: Limits) -> usize {
        self.which_go(keep, limits).into_iter().flatten().count()
    }

    /// Rolls up what is behind the front and not among the last `keep` events, where a
    /// later event is about the same revision. Says how many events went.
    pub fn roll_up(&mut self, keep: usize, limits: Limits) -> usize {
        let front = self.front(limits);
        let mut goes = self.which_go(keep, limits).into_iter();
        let mut gone: Vec<RollUp> = Vec::new();
        self.events.retain(|(number, event)| {
            let step = goes.next().flatten();
            gone.extend(step.map(|step| RollUp::of(*number, step, event.at())));
            step.is_none()
        });
        let count = gone.len();
        if count > 0 {
            let behind = self.roll_ups.partition_point(|one| one.span().start < front);
            gone.extend(self.roll_ups.drain(behind..));
            gone.sort_unstable_by_key(|one| one.span().start);
            self.join(gone, limits);
        }
        count
    }

    /// For each event its step if it goes.
    fn which_go(&self, keep: usize, limits: Limits) -> Vec<Option<(Phase, Outcome)>> {
        let front = self.front(limits);
        let candidates = self.events.len().saturating_sub(keep);
        let mut spoken = HashSet::new();
        let mut goes = vec![None; self.events.len()];
        for (place, (number, event)) in self.events.iter().enumerate().rev() {
            let is_last = spoken.insert(event.revision());
            if !is_last && place < candidates && *number >= front {
                goes[place] = event.step();
            }
        }
        goes
    }

    /// Adds roll-ups, in the order in which they begin, behind those that are there;
    /// joined as far as they may be.
    fn join(&mut self, roll_ups: Vec<RollUp>, limits: Limits) {
        let events = &self.events;
        let between = |run: Range<u64>| {
            let place = |number| events.partition_point(|(other, _)| *other < number);
            place(run.end) - place(run.start)
        };
        let mut open: Option<RollUp> = None;
        for one in roll_ups {
            let Some(last) = &mut open else {
                open = Some(one);
                continue;
            };
            let (span, next) = (last.span(), one.span());
            // What was an event between its runs is within it already.
            let is_within = next.start < span.end;
            let fits = between(span.start..next.end) <= limits.between
                && last.count() + one.count() <= MAX_JOINED;
            if is_within || fits {
                last.absorb(&one);
            } else {
                self.roll_ups.extend(open.replace(one));
            }
        }
        self.roll_ups.extend(open);
    }
}

#[cfg(test)]
mod tests;
