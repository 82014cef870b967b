//! Events that no node is known to hold yet, durably.
//!
//! One file, a line each: first the queue's own name and when it was made, then
//! the events in their order. An event is synced before anything follows from it.
//! What a node holds is forgotten by writing the file anew, with the number that
//! comes next. A line that a loss of power cut short was never relied on and
//! is dropped. Numbers never come twice in one queue; a queue that is lost begins
//! again under another name.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use patchmesh_topology::report::MAX_MESSAGE;
use patchmesh_topology::tally::{Outcome, Phase};
use serde::{Deserialize, Serialize};

use crate::durable;

/// The most events that wait. A machine that cannot report for so long does
/// nothing more that would have to be reported.
pub const MAX_EVENTS: usize = 8192;

/// The largest file: every event at its longest.
const MAX_FILE: u64 = 64 << 20;

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
    #[error("{MAX_EVENTS} events wait for a node to take them: nothing is done until one does")]
    Full,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    epoch: u64,
    began: Timestamp,
    /// The number of the first event that follows.
    first: u64,
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
        Self {
            revision: revision.to_owned(),
            phase: patchmesh_proto::report::Phase::from(phase).into(),
            outcome: patchmesh_proto::report::Outcome::from(outcome).into(),
            code,
            message: shown.take(MAX_MESSAGE).collect(),
            at,
        }
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
    events: Vec<Event>,
}

impl Queue {
    /// Opens the queue in `folder`, or begins one. Blocks.
    ///
    /// # Errors
    /// A failing disk.
    pub fn open(folder: PathBuf) -> Result<Self, Error> {
        let path = folder.join(FILE);
        let Some(bytes) = read(&path)? else { return Self::begin(path) };
        match parse(&bytes) {
            Some((head, events)) => Self::written(path, head, events),
            None => {
                tracing::warn!(file = %path.display(), "the queue was damaged; another one begins");
                Self::begin(path)
            }
        }
    }

    /// How many events wait in a folder, which need not be there. Changes nothing.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn waiting_in(folder: &Path) -> Result<usize, Error> {
        let bytes = read(&folder.join(FILE))?.unwrap_or_default();
        Ok(parse(&bytes).map_or(0, |(_, events)| events.len()))
    }

    fn begin(path: PathBuf) -> Result<Self, Error> {
        let mut epoch = [0; 8];
        aws_lc_rs::rand::fill(&mut epoch).map_err(|_| Error::Random)?;
        let began = Timestamp::now();
        let head = Head { epoch: u64::from_be_bytes(epoch), began, first: 0 };
        Self::written(path, head, Vec::new())
    }

    /// A queue whose file has just this.
    fn written(path: PathBuf, head: Head, events: Vec<Event>) -> Result<Self, Error> {
        let failed = |source| Error::Write { path: path.clone(), source };
        let mut text = line(&head).map_err(failed)?;
        for event in &events {
            text.push_str(&line(event).map_err(failed)?);
        }
        durable::replace(&path, text.as_bytes(), durable::SECRET).map_err(failed)?;
        let file = OpenOptions::new().append(true).open(&path).map_err(failed)?;
        Ok(Self { path, file, length: text.len() as u64, head, events })
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

    /// The number of the first event that waits.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.head.first
    }

    /// What waits.
    #[must_use]
    pub fn waiting(&self) -> &[Event] {
        &self.events
    }

    /// How many more events there is room for.
    #[must_use]
    pub fn room(&self) -> usize {
        MAX_EVENTS.saturating_sub(self.events.len())
    }

    /// Takes events; they are durable when this returns. Blocks.
    ///
    /// # Errors
    /// No room, or a failing disk: none of them is taken then, as far as this
    /// process knows.
    pub fn push(&mut self, events: Vec<Event>) -> Result<(), Error> {
        if events.len() > self.room() {
            return Err(Error::Full);
        }
        let failed = |source| Error::Write { path: self.path.clone(), source };
        let mut text = String::new();
        for event in &events {
            text.push_str(&line(event).map_err(failed)?);
        }
        append(&mut self.file, self.length, text.as_bytes()).map_err(failed)?;
        self.length += text.len() as u64;
        self.events.extend(events);
        Ok(())
    }

    /// Forgets the first `count` events. Blocks.
    ///
    /// # Errors
    /// A failing disk; they are sent again then, which does no harm.
    pub fn forget(&mut self, count: usize) -> Result<(), Error> {
        let count = count.min(self.events.len());
        let head = Head { first: self.head.first + count as u64, ..self.head };
        let rest = self.events.split_off(count);
        *self = Self::written(self.path.clone(), head, rest)?;
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

/// Head and events; `None` without a head.
fn parse(bytes: &[u8]) -> Option<(Head, Vec<Event>)> {
    let mut lines =
        bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    let head = serde_json::from_slice(lines.next()?).ok()?;
    // After a line that was cut nothing follows.
    Some((head, lines.map_while(|line| serde_json::from_slice(line).ok()).collect()))
}

fn line(value: &impl Serialize) -> std::io::Result<String> {
    let mut text = serde_json::to_string(value)?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn event(number: i64) -> Event {
        let revision = "vendor:stable/app@1";
        let (phase, outcome) = (Phase::Installation, Outcome::Success);
        Event::new(revision, phase, outcome, number, "a\nb", Timestamp::UNIX_EPOCH)
    }

    fn codes(queue: &Queue) -> Vec<i64> {
        queue.waiting().iter().map(|event| event.code).collect()
    }

    #[test]
    fn what_was_pushed_is_there_again_and_numbers_go_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || Queue::open(folder.path().to_owned()).expect("a queue");
        let mut queue = open();
        queue.push((0..5).map(event).collect()).expect("taken");
        let epoch = queue.epoch();
        queue.forget(2).expect("forgotten");
        queue.push(vec![event(5)]).expect("taken");
        drop(queue);
        let queue = open();
        assert_eq!((queue.epoch(), queue.first(), codes(&queue)), (epoch, 2, vec![2, 3, 4, 5]));
        assert_eq!(queue.waiting()[0].message, "a b");
    }

    #[test]
    fn a_line_that_was_cut_is_dropped_and_a_damaged_head_begins_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || Queue::open(folder.path().to_owned()).expect("a queue");
        let mut queue = open();
        queue.push((0..3).map(event).collect()).expect("taken");
        let (epoch, path) = (queue.epoch(), queue.path.clone());
        let text = fs::read_to_string(&path).expect("text");
        fs::write(&path, &text[..text.len() - 4]).expect("cut");
        let mut queue = open();
        assert_eq!((queue.epoch(), codes(&queue)), (epoch, vec![0, 1]));
        queue.push(vec![event(9)]).expect("taken");
        assert_eq!(codes(&open()), [0, 1, 9]);
        let mut bytes = fs::read(&path).expect("bytes");
        bytes.extend_from_slice(b"\xff\xfe\n");
        fs::write(&path, bytes).expect("no text");
        assert_eq!(codes(&open()), [0, 1, 9]);
        fs::write(&path, "{}\n").expect("damaged");
        let queue = open();
        assert!(queue.epoch() != epoch && queue.waiting().is_empty() && queue.first() == 0);
    }

    #[test]
    fn what_was_written_in_part_does_not_hide_what_follows() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || Queue::open(folder.path().to_owned()).expect("a queue");
        let mut queue = open();
        queue.push(vec![event(0)]).expect("taken");
        // What a write leaves that a full disk broke off.
        let mut file = OpenOptions::new().append(true).open(&queue.path).expect("the file");
        file.write_all(b"{\"revision\":\"ven").expect("half a line");
        queue.push(vec![event(1)]).expect("taken");
        assert_eq!(codes(&open()), [0, 1]);
    }

    #[test]
    fn it_has_a_bound() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut queue = Queue::open(folder.path().to_owned()).expect("a queue");
        queue.push(vec![event(0); MAX_EVENTS]).expect("taken");
        assert!(matches!(queue.push(vec![event(1)]), Err(Error::Full)));
        queue.forget(1).expect("forgotten");
        queue.push(vec![event(1)]).expect("taken");
    }
}
