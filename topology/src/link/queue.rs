//! Who goes next, of all who wait to move bytes one way between a node and
//! others.
//!
//! The tree is node → line → class → transfer. What always holds:
//!
//! - A line and the node keep their limits, whoever moves.
//! - On a line a less urgent class rests while a more urgent one moves, also where
//!   no limit is set. It goes on at once when nobody of that class is left, and
//!   soon when those that are move nothing.
//! - Where the node's own limit is what holds back, the more urgent goes first on
//!   whatever line, and lines share it evenly.
//! - Within a class of a line, transfers share evenly by bytes; who did not ask
//!   for a while has saved up nothing.
//! - A transfer waits for one thing at a time, so what waits is bounded by the
//!   transfers there are.
//!
//! Time is a duration since any start.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use super::Class;
use super::bucket::Bucket;
use super::gauge::Gauge;
use super::rate::Rate;
use crate::name::NodeName;
use crate::node::UnknownWord;

/// How long a class counts as moving after it moved last: longer than the pause
/// between two frames, shorter than a person waits.
pub const MOVING: Duration = Duration::from_millis(300);

/// How long a frame takes at most where there is a limit.
const FRAME_TIME: Duration = Duration::from_millis(50);

/// How much may be under way where there is a limit.
const IN_FLIGHT_TIME: Duration = Duration::from_millis(250);

/// The shortest frame: below it what surrounds it would be most of it.
const MIN_FRAME: u64 = 1 << 10;

/// The longest frame: one piece.
pub const MAX_FRAME: u64 = 1 << 20;

/// Names a transfer within its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u64);

/// What holds on a line for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Its limit.
    pub rate: Rate,
    /// Whether normal and background content may pass.
    pub bulk_open: bool,
    /// Whether critical content may pass.
    pub critical_open: bool,
    /// Within a site: the node's own limit is not about it.
    pub is_local: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Self { rate: Rate::UNLIMITED, bulk_open: true, critical_open: true, is_local: false }
    }
}

impl Terms {
    const fn admit(&self, class: Class) -> bool {
        match class {
            Class::Control => true,
            Class::Critical => self.critical_open,
            Class::Normal | Class::Background => self.bulk_open,
        }
    }
}

/// What a transfer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Its class may not pass at this hour.
    Closed,
    /// More urgent traffic on the same line.
    Urgent(Class),
    /// The line's limit, shared with those of its class.
    Line,
    /// The node's limit.
    Node,
}

impl Hold {
    /// The word used between nodes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Urgent(class) => class.as_str(),
            Self::Line => "line",
            Self::Node => "node",
        }
    }
}

impl FromStr for Hold {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "closed" => Ok(Self::Closed),
            "line" => Ok(Self::Line),
            "node" => Ok(Self::Node),
            class => class.parse().map(Self::Urgent),
        }
    }
}

#[derive(Debug, Default)]
struct Line {
    terms: Terms,
    bucket: Bucket,
    /// Bytes that the line has had, for evenness among lines.
    tag: u64,
    gauge: Gauge,
    classes: [Lane; 4],
}

/// One class of a line.
#[derive(Debug, Default)]
struct Lane {
    transfers: usize,
    moved: Option<Duration>,
    clock: u64,
}

#[derive(Debug)]
struct Transfer {
    line: NodeName,
    class: Class,
    /// Bytes that it has had, for evenness within its class.
    tag: u64,
    asks: Option<Ask>,
    held: Option<(Hold, Duration)>,
}

#[derive(Debug, Clone, Copy)]
struct Ask {
    bytes: u64,
    since: Duration,
    hold: Option<Hold>,
}

/// All who move bytes one way.
#[derive(Debug, Default)]
pub struct Queue {
    node: Bucket,
    clock: u64,
    lines: BTreeMap<NodeName, Line>,
    transfers: BTreeMap<Id, Transfer>,
    begun: u64,
}

/// When a transfer may go.
enum Turn {
    Now,
    At(Duration, Hold),
    /// Not before something else changes.
    Later(Hold),
}

impl Turn {
    const fn hold(&self) -> Option<Hold> {
        match self {
            Self::Now => None,
            Self::At(_, hold) | Self::Later(hold) => Some(*hold),
        }
    }
}

impl Queue {
    /// Changes the node's own limit.
    pub fn set_node(&mut self, rate: Rate, now: Duration) {
        self.node.set_rate(rate, now);
    }

    /// Changes what holds on a line.
    pub fn set_line(&mut self, line: &NodeName, terms: Terms, now: Duration) {
        let line = self.line(line);
        line.bucket.set_rate(terms.rate, now);
        line.terms = terms;
    }

    /// The lines that were ever used.
    pub fn lines(&self) -> impl Iterator<Item = &NodeName> {
        self.lines.keys()
    }

    /// A transfer begins. It counts among those of its line until it leaves.
    pub fn join(&mut self, line: &NodeName, class: Class) -> Id {
        let id = Id(self.begun);
        self.begun += 1;
        let lane = self.line(line).lane(class);
        lane.transfers += 1;
        let (tag, line) = (lane.clock, line.clone());
        self.transfers.insert(id, Transfer { line, class, tag, asks: None, held: None });
        id
    }

    /// A transfer ends.
    pub fn leave(&mut self, id: Id) {
        if let Some(transfer) = self.transfers.remove(&id) {
            self.line(&transfer.line).lane(transfer.class).leave();
        }
    }

    /// A transfer becomes more or less urgent.
    pub fn reclass(&mut self, id: Id, class: Class) {
        let Some(transfer) = self.transfers.get_mut(&id) else { return };
        let (line, before) = (transfer.line.clone(), transfer.class);
        if before == class {
            return;
        }
        transfer.class = class;
        let line = self.line(&line);
        line.lane(before).leave();
        line.lane(class).transfers += 1;
        let clock = line.lane(class).clock;
        if let Some(transfer) = self.transfers.get_mut(&id) {
            transfer.tag = clock;
        }
    }

    /// A transfer wants to move bytes; what it wanted before is forgotten.
    pub fn ask(&mut self, id: Id, bytes: u64, now: Duration) {
        if let Some(transfer) = self.transfers.get_mut(&id) {
            transfer.asks = Some(Ask { bytes, since: now, hold: None });
        }
    }

    /// A transfer waits no longer. Says whether it still did.
    pub fn cancel(&mut self, id: Id) -> bool {
        self.transfers.get_mut(&id).is_some_and(|transfer| transfer.asks.take().is_some())
    }

    /// What was granted does not move after all.
    pub fn give_back(&mut self, id: Id, bytes: u64, now: Duration) {
        let Some(transfer) = self.transfers.get(&id) else { return };
        let Some(line) = self.lines.get_mut(&transfer.line) else { return };
        line.bucket.give_back(bytes, now);
        if !line.terms.is_local {
            self.node.give_back(bytes, now);
        }
    }

    /// Bytes passed on a line that nobody asked for.
    pub fn charge(&mut self, line: &NodeName, bytes: u64, now: Duration) {
        let line = self.line(line);
        line.bucket.charge(bytes, now);
        line.gauge.count(bytes, now);
        if !line.terms.is_local {
            self.node.charge(bytes, now);
        }
    }

    /// The next transfer that may go now, and how much of what it wants: a frame
    /// at most. It is charged. Ask until there is none.
    pub fn grant(&mut self, now: Duration) -> Option<(Id, u64)> {
        let mut best: Option<((Class, u64, u64, Id), Id)> = None;
        let mut holds = Vec::new();
        for (&id, transfer) in &self.transfers {
            let Some(ask) = transfer.asks else { continue };
            let turn = self.turn(transfer, now);
            if turn.hold() != ask.hold {
                holds.push((id, turn.hold()));
            }
            let Some(line) = self.lines.get(&transfer.line).filter(|_| turn.hold().is_none())
            else {
                continue;
            };
            let clock = line.classes[transfer.class as usize].clock;
            let rank = (transfer.class, line.tag.max(self.clock), transfer.tag.max(clock), id);
            if best.as_ref().is_none_or(|(other, _)| rank < *other) {
                best = Some((rank, id));
            }
        }
        for (id, hold) in holds {
            let asks = self.transfers.get_mut(&id).and_then(|transfer| transfer.asks.as_mut());
            if let (Some(ask), Some(hold)) = (asks, hold) {
                ask.hold = Some(hold);
            }
        }
        let (_, id) = best?;
        self.pass(id, now).map(|bytes| (id, bytes))
    }

    fn pass(&mut self, id: Id, now: Duration) -> Option<u64> {
        let frame = self.frame(&self.transfers.get(&id)?.line);
        let transfer = self.transfers.get_mut(&id)?;
        let ask = transfer.asks.take()?;
        let line = self.lines.get_mut(&transfer.line)?;
        let bytes = ask.bytes.min(frame);
        if let Some(hold) = ask.hold.filter(|_| now > ask.since) {
            transfer.held = Some((hold, now));
        }
        let lane = &mut line.classes[transfer.class as usize];
        lane.clock = transfer.tag.max(lane.clock);
        lane.moved = Some(now);
        transfer.tag = lane.clock + bytes;
        self.clock = line.tag.max(self.clock);
        line.tag = self.clock + bytes;
        line.bucket.take(bytes, now);
        line.gauge.count(bytes, now);
        if !line.terms.is_local {
            self.node.take(bytes, now);
        }
        Some(bytes)
    }

    /// When [`Queue::grant`] has something to grant next, unless anything changes
    /// before.
    #[must_use]
    pub fn wake(&self, now: Duration) -> Option<Duration> {
        let waiting = self.transfers.values().filter(|transfer| transfer.asks.is_some());
        let at = waiting.filter_map(|transfer| match self.turn(transfer, now) {
            Turn::Now => Some(now),
            Turn::At(at, _) => Some(at),
            Turn::Later(_) => None,
        });
        at.min()
    }

    /// What a transfer waits for, or waited for within the last moments.
    #[must_use]
    pub fn held(&self, id: Id, now: Duration) -> Option<Hold> {
        let transfer = self.transfers.get(&id)?;
        let waits = transfer.asks.and_then(|_| self.turn(transfer, now).hold());
        if waits.is_some() {
            return waits;
        }
        let line = self.lines.get(&transfer.line)?;
        let recent = MOVING.max(line.bucket.rate().time_of(MIN_FRAME) * 2);
        transfer.held.filter(|(_, at)| now.saturating_sub(*at) <= recent).map(|(hold, _)| hold)
    }

    /// What holds back the transfers of a class on a line: they share evenly, so
    /// it is the same for all.
    #[must_use]
    pub fn held_on(&self, line: &NodeName, class: Class, now: Duration) -> Option<Hold> {
        let of =
            |(_, transfer): &(&Id, &Transfer)| transfer.line == *line && transfer.class == class;
        self.transfers.iter().filter(of).find_map(|(id, _)| self.held(*id, now))
    }

    /// The node's own limit.
    #[must_use]
    pub const fn node_limit(&self) -> Rate {
        self.node.rate()
    }

    /// What passes on a line, over the last seconds.
    #[must_use]
    pub fn rate_of(&self, line: &NodeName, now: Duration) -> Option<Rate> {
        self.lines.get(line)?.gauge.rate(now)
    }

    /// The limit that a transfer on a line is under, the node's included.
    #[must_use]
    pub fn limit_of(&self, line: &NodeName) -> Rate {
        let line = self.lines.get(line);
        let rate = line.map_or(Rate::UNLIMITED, |line| line.bucket.rate());
        if line.is_some_and(|line| line.terms.is_local) { rate } else { rate.min(self.node.rate()) }
    }

    /// The longest frame that is right on a line now.
    #[must_use]
    pub fn frame(&self, line: &NodeName) -> u64 {
        self.limit_of(line).bytes_in(FRAME_TIME).clamp(MIN_FRAME, MAX_FRAME)
    }

    /// How much each transfer on a line may have under way; everything where
    /// nothing limits.
    #[must_use]
    pub fn window(&self, line: &NodeName) -> u64 {
        let lanes = self.lines.get(line).map(|line| &line.classes);
        let transfers: usize = lanes.into_iter().flatten().map(|lane| lane.transfers).sum();
        let window = self.limit_of(line).bytes_in(IN_FLIGHT_TIME);
        if window == u64::MAX { window } else { (window / transfers.max(1) as u64).max(MIN_FRAME) }
    }

    fn turn(&self, transfer: &Transfer, now: Duration) -> Turn {
        let Some(line) = self.lines.get(&transfer.line) else { return Turn::Later(Hold::Line) };
        if !line.terms.admit(transfer.class) {
            return Turn::Later(Hold::Closed);
        }
        for class in Class::ALL.into_iter().take_while(|class| *class < transfer.class) {
            let lane = &line.classes[class as usize];
            if lane.transfers == 0 || !line.terms.admit(class) {
                continue;
            }
            let waits = |other: &Transfer| {
                other.class == class && other.asks.is_some() && other.line == transfer.line
            };
            if self.transfers.values().any(waits) {
                return Turn::Later(Hold::Urgent(class));
            }
            if let Some(until) = lane.moved.map(|moved| moved + MOVING).filter(|at| *at > now) {
                return Turn::At(until, Hold::Urgent(class));
            }
        }
        let line_ready = line.bucket.ready_at(now);
        let node_ready = if line.terms.is_local { now } else { self.node.ready_at(now) };
        match (line_ready > now, node_ready > line_ready) {
            (_, true) => Turn::At(node_ready, Hold::Node),
            (true, false) => Turn::At(line_ready, Hold::Line),
            (false, false) => Turn::Now,
        }
    }

    fn line(&mut self, line: &NodeName) -> &mut Line {
        if !self.lines.contains_key(line) {
            // Who was away has saved up nothing.
            let fresh = Line { tag: self.clock, ..Line::default() };
            self.lines.insert(line.clone(), fresh);
        }
        self.lines.entry(line.clone()).or_default()
    }
}

impl Line {
    const fn lane(&mut self, class: Class) -> &mut Lane {
        &mut self.classes[class as usize]
    }
}

impl Lane {
    fn leave(&mut self) {
        self.transfers = self.transfers.saturating_sub(1);
        if self.transfers == 0 {
            self.moved = None;
        }
    }
}

#[cfg(test)]
mod tests;
