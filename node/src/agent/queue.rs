//! Events that no node is known to hold yet, durably.
//!
//! One file, a line each: first the queue's own name and when it was made, then
//! the events in their order, roll-ups of older ones where those were. An event is
//! synced before anything follows from it. What a node holds is forgotten by writing
//! the file anew, with the number that comes next, and so are events rolled up. A line
//! that a loss of power cut short was never relied on and is dropped. Numbers never
//! come twice in one queue; a queue that lost something begins again under another name. So
//! does one that was put back to an earlier state, with a snapshot of the machine: a node
//! holds numbers of it then that it has told nobody. For that the first of these numbers is
//! in the file before any event is told.
//!
//! A quarter of the room is kept free: when it is needed the oldest events are rolled
//! up, as [`patchmesh_topology::report::backlog`] says, those that came last only where
//! the others do not suffice.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use patchmesh_proto::convert;
use patchmesh_topology::report::MAX_MESSAGE;
use patchmesh_topology::report::backlog::{Backlog, Entry, Limits, Part, Told};
use patchmesh_topology::tally::{Outcome, Phase};
use serde::{Deserialize, Serialize};

use self::lines::Line;
use crate::durable;

mod lines;

/// The most events that wait, roll-ups as one each. Where last words alone are more
/// than that, the machine does nothing more that would have to be reported.
pub const MAX_EVENTS: usize = 8192;

/// How it is told. A batch of the longest events is far below its bound. An agent
/// with smaller `events` or `parts` could roll up what an older one has told.
pub(super) const LIMITS: Limits = Limits { events: 200, between: 64, parts: 4 };

/// Bytes of an event's texts at most: a batch of the longest events, in whatever script, is
/// within its bound with all that a machine says of itself.
const MAX_TEXT: usize = 960;

/// The largest file: every event at its longest.
const MAX_FILE: u64 = 64 << 20;

/// How soon after it began again a queue does not do so once more, whatever a node holds.
const AGAIN: SignedDuration = SignedDuration::from_hours(24);

/// What the file is called.
const FILE: &str = "events.jsonl";

/// Why the queue cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No random bytes.
    #[error("the system gives no randomness")]
    Random,
    /// No room.
    #[error("{0} events wait for a node to take them: nothing is done until one does")]
    Full(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    epoch: u64,
    began: Timestamp,
    /// The number of the first event that follows.
    first: u64,
    /// The first number that no node was told. Files of earlier agents lack it: all that is
    /// there may have been told.
    #[serde(default = "unknown")]
    untold: u64,
    /// Whether it goes on with what another one had.
    #[serde(default)]
    is_again: bool,
}

const fn unknown() -> u64 {
    u64::MAX
}

impl Head {
    /// Of a queue that begins now.
    fn new() -> Result<Self, Error> {
        let mut epoch = [0; 8];
        aws_lc_rs::rand::fill(&mut epoch).map_err(|_| Error::Random)?;
        let (epoch, began) = (u64::from_be_bytes(epoch), Timestamp::now());
        Ok(Self { epoch, began, first: 0, untold: 0, is_again: false })
    }

    /// Of a queue that begins now with what this one has, later than it by any clock.
    fn again(self) -> Result<Self, Error> {
        let new = Self::new()?;
        let after = self.began.checked_add(SignedDuration::from_nanos(1)).unwrap_or(self.began);
        Ok(Self { began: new.began.max(after), is_again: true, ..new })
    }
}

/// An event that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The revision.
    pub revision: String,
    /// Which step, by the number of the wire.
    pub phase: i32,
    /// How it went, likewise.
    pub outcome: i32,
    /// The installer's code.
    pub code: i64,
    /// For people.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

impl Event {
    /// An event of now; its message is cut to what fits.
    #[must_use]
    pub fn new(
        revision: &str,
        phase: Phase,
        outcome: Outcome,
        code: i64,
        message: &str,
        at: Timestamp,
    ) -> Self {
        let shown = message.chars().map(|c| if c.is_control() { ' ' } else { c });
        let mut message: String = shown.take(MAX_MESSAGE).collect();
        let room = MAX_TEXT.saturating_sub(revision.len());
        message.truncate(message.floor_char_boundary(room));
        Self {
            revision: revision.to_owned(),
            phase: patchmesh_proto::report::Phase::from(phase).into(),
            outcome: patchmesh_proto::report::Outcome::from(outcome).into(),
            code,
            message,
            at,
        }
    }
}

impl Told for Event {
    fn revision(&self) -> &str {
        &self.revision
    }

    fn step(&self) -> Option<(Phase, Outcome)> {
        Some((convert::phase(self.phase).ok()?, convert::outcome(self.outcome).ok()?))
    }

    fn at(&self) -> Timestamp {
        self.at
    }
}

/// How much waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Everything that happened, rolled up or not.
    pub events: u64,
    /// What of that is rolled up.
    pub rolled_up: u64,
}

impl Waiting {
    fn of(backlog: &Backlog<Event>) -> Self {
        Self { events: backlog.end() - backlog.first(), rolled_up: backlog.rolled_up() }
    }
}

/// The queue, opened.
#[derive(Debug)]
pub struct Queue {
    path: PathBuf,
    file: File,
    /// Bytes of the file that are whole lines.
    length: u64,
    head: Head,
    backlog: Backlog<Event>,
    /// [`MAX_EVENTS`], or less.
    bound: usize,
    /// Whether the file may be another one than what is there by its name.
    is_stale: bool,
    /// Whether something may be lost that was in it.
    is_damaged: bool,
}

impl Queue {
    /// Opens the queue in `folder`, or begins one. Blocks.
    ///
    /// # Errors
    /// A failing disk.
    pub fn open(folder: PathBuf) -> Result<Self, Error> {
        let path = folder.join(FILE);
        let Some(bytes) = read(&path)? else {
            return Ok(Self { is_damaged: true, ..Self::begin(path)? });
        };
        let Some((head, backlog)) = parse(&bytes) else {
            tracing::warn!(file = %path.display(), "the queue was damaged; another one begins");
            return Ok(Self { is_damaged: true, ..Self::begin(path)? });
        };
        let end = backlog.end();
        let mut queue = if head.untold <= end || head.untold == unknown() {
            let head = Head { untold: head.untold.min(end), ..head };
            Self::written(path, head, backlog, MAX_EVENTS)?
        } else {
            // Numbers of what was told would come again.
            let lost = head.untold - end;
            tracing::warn!(file = %path.display(), lost, "the queue was damaged; another one begins with what is left");
            let queue = Self::written(path, head.again()?, backlog.from_zero(), MAX_EVENTS)?;
            Self { is_damaged: true, ..queue }
        };
        queue.make_room(0)?;
        Ok(queue)
    }

    /// Whether it was damaged or not there when it was opened: something may be lost that was
    /// not told.
    #[must_use]
    pub const fn is_damaged(&self) -> bool {
        self.is_damaged
    }

    /// How much waits in a folder, which need not be there. Changes nothing.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn waiting_in(folder: &Path) -> Result<Waiting, Error> {
        let bytes = read(&folder.join(FILE))?.unwrap_or_default();
        Ok(parse(&bytes).map_or_else(Waiting::default, |(_, backlog)| Waiting::of(&backlog)))
    }

    /// With room for fewer events than [`MAX_EVENTS`]. Blocks.
    ///
    /// # Errors
    /// A failing disk.
    pub fn with_bound(self, bound: usize) -> Result<Self, Error> {
        let mut queue = Self { bound: bound.min(MAX_EVENTS), ..self };
        queue.make_room(0)?;
        Ok(queue)
    }

    fn begin(path: PathBuf) -> Result<Self, Error> {
        Self::written(path, Head::new()?, Backlog::new(0), MAX_EVENTS)
    }

    /// Begins again under another name, with all that waits. Blocks.
    ///
    /// # Errors
    /// A failing disk; it is as it was then.
    pub fn begin_again(&mut self) -> Result<(), Error> {
        self.write(self.head.again()?, self.backlog.clone().from_zero())
    }

    /// Until when it does not begin again, whatever a node holds. Whoever lies about that
    /// could have a machine tell the same under name after name, and all would count.
    #[must_use]
    pub fn goes_on_until(&self, now: Timestamp) -> Option<Timestamp> {
        let is_young = now.duration_since(self.head.began).abs() < AGAIN;
        let until = (self.head.is_again && is_young).then(|| self.head.began.checked_add(AGAIN));
        until?.ok()
    }

    /// Whether there is something that no node was told.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.head.untold < self.backlog.end()
    }

    /// Whether it was put back, by the number behind the last one that a node holds of it.
    #[must_use]
    pub const fn is_put_back(&self, held_to: u64) -> bool {
        held_to > self.head.untold
    }

    /// Writes down that all that waits may be told from now on; of use where there is
    /// [news](Self::has_news). Blocks.
    ///
    /// # Errors
    /// A failing disk: it must not be told then.
    pub fn begin_to_tell(&mut self) -> Result<(), Error> {
        let head = Head { untold: self.backlog.end(), ..self.head };
        self.write(head, self.backlog.clone())
    }

    /// A queue whose file has just this.
    fn written(
        path: PathBuf,
        head: Head,
        backlog: Backlog<Event>,
        bound: usize,
    ) -> Result<Self, Error> {
        let failed = |source| Error::Write { path: path.clone(), source };
        let head = Head { first: backlog.first(), ..head };
        let mut text = line(&head).map_err(failed)?;
        for entry in backlog.entries() {
            text.push_str(&line(&Line::from(entry)).map_err(failed)?);
        }
        durable::replace(&path, text.as_bytes(), durable::SECRET).map_err(failed)?;
        let file = OpenOptions::new().append(true).open(&path).map_err(failed)?;
        let length = text.len() as u64;
        let (is_stale, is_damaged) = (false, false);
        Ok(Self { path, file, length, head, backlog, bound, is_stale, is_damaged })
    }

    /// The queue's name.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.head.epoch
    }

    /// When it was made.
    #[must_use]
    pub fn began(&self) -> Timestamp {
        self.head.began
    }

    /// The number of the first that waits.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.backlog.first()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.backlog.is_empty()
    }

    /// How much waits.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        Waiting::of(&self.backlog)
    }

    /// The events that wait, with their numbers.
    #[must_use]
    pub fn events(&self) -> &[(u64, Event)] {
        self.backlog.events()
    }

    /// What a request may take, a batch each. It stays as it is until it is forgotten.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_, Event>> {
        self.backlog.parts(LIMITS).take(LIMITS.parts)
    }

    /// How many more events there is room for.
    #[must_use]
    pub fn room(&self) -> usize {
        self.bound.saturating_sub(self.backlog.size())
    }

    /// Takes events; they are durable when this returns. Blocks.
    ///
    /// # Errors
    /// No room, or a failing disk: none of them is taken then, as far as this
    /// process knows.
    pub fn push(&mut self, events: Vec<Event>) -> Result<(), Error> {
        self.make_room(events.len())?;
        if events.len() > self.room() {
            return Err(Error::Full(self.backlog.events().len()));
        }
        if self.is_stale {
            self.write(self.head, self.backlog.clone())?;
        }
        let failed = |source| Error::Write { path: self.path.clone(), source };
        let mut text = String::new();
        for event in &events {
            text.push_str(&line(event).map_err(failed)?);
        }
        append(&mut self.file, self.length, text.as_bytes()).map_err(failed)?;
        self.length += text.len() as u64;
        events.into_iter().for_each(|event| self.backlog.push(event));
        Ok(())
    }

    /// Forgets all before a number, which is the end of a part. Blocks.
    ///
    /// # Errors
    /// A failing disk; they are sent again then, which does no harm.
    pub fn forget(&mut self, to: u64) -> Result<(), Error> {
        let mut rest = self.backlog.clone();
        rest.forget(to);
        self.write(self.head, rest)
    }

    /// Rolls up old events where there is no room for so many more and a quarter of all.
    fn make_room(&mut self, needed: usize) -> Result<(), Error> {
        let wanted = needed.max(self.bound / 4);
        for keep in [self.bound / 2, 0] {
            if self.room() >= wanted {
                return Ok(());
            }
            let frees = self.backlog.redundant(keep, LIMITS);
            let is_enough = self.room() + frees >= wanted;
            // The file is written anew for some events at a time, or for the last of them.
            let is_worth_it = frees >= self.bound / 16 || self.room() < needed;
            if frees > 0 && (is_enough || (keep == 0 && is_worth_it)) {
                let mut smaller = self.backlog.clone();
                smaller.roll_up(keep, LIMITS);
                self.write(self.head, smaller)?;
                let Waiting { events, rolled_up } = self.waiting();
                tracing::info!(events, rolled_up, "old events are rolled up");
            }
        }
        Ok(())
    }

    /// Writes the file anew, with this in it. Where that fails this has what it had, and the
    /// file that or this.
    fn write(&mut self, head: Head, backlog: Backlog<Event>) -> Result<(), Error> {
        match Self::written(self.path.clone(), head, backlog, self.bound) {
            Ok(written) => *self = Self { is_damaged: self.is_damaged, ..written },
            Err(error) => {
                self.is_stale = true;
                return Err(error);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
impl Queue {
    /// From now on the disk takes nothing more.
    pub(super) fn break_off(&mut self) {
        self.file = File::open(&self.path).expect("the file");
    }
}

/// Writes behind the first `length` bytes, all or nothing: half a line would hide
/// all that comes behind it.
fn append(file: &mut File, length: u64, bytes: &[u8]) -> std::io::Result<()> {
    // Where it could not be cut off when it failed, it is now.
    file.set_len(length)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_data());
    if written.is_err()
        && let Err(error) = file.set_len(length)
    {
        tracing::warn!(%error, "an event that was written in part is cut off next time");
    }
    written
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    durable::read(path, MAX_FILE).map_err(|source| Error::Read { path: path.to_owned(), source })
}

/// Head and what follows it; `None` without a head, or where numbers are missing.
fn parse(bytes: &[u8]) -> Option<(Head, Backlog<Event>)> {
    let mut lines =
        bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    let head: Head = serde_json::from_slice(lines.next()?).ok()?;
    // After a line that was cut nothing follows.
    let entries =
        lines.map_while(|line| Entry::try_from(serde_json::from_slice::<Line>(line).ok()?).ok());
    Some((head, Backlog::read(head.first, entries)?))
}

fn line(value: &impl Serialize) -> std::io::Result<String> {
    let mut text = serde_json::to_string(value)?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests;
