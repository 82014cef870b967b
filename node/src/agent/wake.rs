//! Being woken by the node: one stream, on which it says when it serves something
//! else. That the stream is gone and cannot be had again is heard as well: another node
//! may stand in.
//!
//! What a node says here decides nothing but when a round begins. One that is silent
//! leaves the machine to its own times, and one that wakes it without end gets
//! [`Pace`]'s few rounds.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use patchmesh_proto::report::WatchResponse;
use tokio::sync::watch;

use super::link::{self, Link};
use crate::log::in_one_line;

/// How long to wait before the node is asked again, at first and at most.
const FIRST_WAIT: Duration = Duration::from_secs(4);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// The longest time by which a round is put off, whatever the node says.
const LONGEST_WITHIN: Duration = Duration::from_secs(3600);

/// Rounds that words begin within [`PERIOD`], at most.
const ROUNDS: usize = 12;
const PERIOD: Duration = Duration::from_secs(600);

/// Failures to connect again after which the node counts as gone.
const GONE_AFTER: usize = 2;

/// Machines that lost their node turn to another one within this, each at a time of its
/// own.
const GONE_WITHIN: Duration = Duration::from_secs(60);

/// What is heard from the node that is listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Nothing yet.
    Nothing,
    /// Its newest word.
    Word(Word),
    /// It was there, and is not reached any more.
    Gone,
}

impl Heard {
    /// What the node serves, by its word.
    #[must_use]
    pub fn state(self) -> Option<u64> {
        match self {
            Self::Word(word) => Some(word.state),
            Self::Nothing | Self::Gone => None,
        }
    }

    /// Within which a round is to begin, where one is: not for what was looked at.
    #[must_use]
    pub fn within(self, looked_at: Option<u64>) -> Option<Duration> {
        match self {
            Self::Word(word) => {
                (word.has_moved || looked_at != Some(word.state)).then_some(word.within)
            }
            Self::Gone => Some(GONE_WITHIN),
            Self::Nothing => None,
        }
    }
}

/// The newest that the node said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// Names what the node serves.
    pub state: u64,
    /// Within which to come; each machine at a time of its own.
    pub within: Duration,
    /// Whether it is the first one since this machine has another address: another node
    /// may be nearer.
    pub has_moved: bool,
}

impl From<WatchResponse> for Word {
    fn from(said: WatchResponse) -> Self {
        let within = said.within.and_then(|within| Duration::try_from(within).ok());
        let within = within.unwrap_or_default().min(LONGEST_WITHIN);
        Self { state: said.state, within, has_moved: false }
    }
}

/// Listens for good, to whom the newest link leads, and connects again where the stream
/// ends. `part`, from 0 to 1, is the machine's own: machines that lost their node do not
/// come back all at once.
pub(super) async fn listen(
    mut links: watch::Receiver<Link>,
    part: f64,
    heard: watch::Sender<Heard>,
) {
    loop {
        let link = links.borrow_and_update().clone();
        tokio::select! {
            () = listen_to(&link, part, &heard) => {}
            changed = links.changed() => if changed.is_err() { return },
        }
    }
}

/// The same to one node.
async fn listen_to(link: &Link, part: f64, heard: &watch::Sender<Heard>) {
    let (mut wait, mut failures, mut was_there) = (FIRST_WAIT, 0, false);
    let mut address = None;
    loop {
        let now = link.own_address().await;
        let has_moved = address.is_some() && now.is_some() && address != now;
        address = now.or(address);
        let why = match hear(link, has_moved, heard).await {
            Ok(words) if words > 0 => {
                (wait, failures, was_there) = (FIRST_WAIT, 0, true);
                "the stream ended".to_owned()
            }
            // A node that takes the call and ends it goes on being asked patiently.
            Ok(_) => {
                failures += 1;
                "the stream ended at once".to_owned()
            }
            Err(error) => {
                failures += 1;
                in_one_line(&error)
            }
        };
        tracing::debug!(why, "the node wakes this machine no more");
        if was_there && failures >= GONE_AFTER {
            was_there = false;
            heard.send_replace(Heard::Gone);
        }
        tokio::time::sleep(wait.mul_f64(0.5 + part)).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// One stream to its end: how many words came.
async fn hear(
    link: &Link,
    has_moved: bool,
    heard: &watch::Sender<Heard>,
) -> Result<usize, link::Error> {
    let mut stream = link.watch().await?;
    let mut words = 0;
    while let Ok(Some(said)) = stream.message().await {
        let word = Word { has_moved: has_moved && words == 0, ..said.into() };
        words += 1;
        heard.send_replace(Heard::Word(word));
    }
    Ok(words)
}

/// How many rounds words may begin.
#[derive(Debug, Default)]
pub struct Pace(VecDeque<Instant>);

impl Pace {
    /// When the next round may begin at the earliest, if it is wanted at `at`.
    #[must_use]
    pub fn earliest(&self, at: Instant) -> Instant {
        match self.0.front() {
            Some(first) if self.0.len() >= ROUNDS => at.max(*first + PERIOD),
            _ => at,
        }
    }

    /// A round began.
    pub fn began(&mut self, at: Instant) {
        if self.0.len() >= ROUNDS {
            self.0.pop_front();
        }
        self.0.push_back(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_wakes_without_end_gets_a_few_rounds() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let mut at = start;
        for _ in 0..ROUNDS {
            assert_eq!(pace.earliest(at), at);
            pace.began(at);
            at += Duration::from_secs(1);
        }
        assert_eq!(pace.earliest(at), start + PERIOD);
        pace.began(start + PERIOD);
        assert_eq!(pace.earliest(at), start + PERIOD + Duration::from_secs(1));
        let later = start + PERIOD * 3;
        assert_eq!(pace.earliest(later), later);
    }

    #[test]
    fn what_was_looked_at_begins_nothing_and_a_node_that_is_gone_does() {
        let within = Duration::from_secs(5);
        let word = |has_moved| Heard::Word(Word { state: 7, within, has_moved });
        assert_eq!(word(true).within(Some(7)), Some(within));
        let word = word(false);
        assert_eq!(word.within(Some(7)), None);
        assert_eq!(word.within(Some(8)), Some(within));
        assert_eq!(word.within(None), Some(within));
        assert_eq!(Heard::Gone.within(Some(7)), Some(GONE_WITHIN));
        assert_eq!(Heard::Nothing.within(None), None);
        assert_eq!(Heard::Gone.state(), None);
    }

    #[test]
    fn a_time_that_is_none_is_bounded() {
        let said = |within| Word::from(WatchResponse { generation: 1, state: 2, within }).within;
        let seconds = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
        assert_eq!(said(None), Duration::ZERO);
        assert_eq!(said(seconds(-5, 0)), Duration::ZERO);
        assert_eq!(said(seconds(i64::MAX, i32::MIN)), LONGEST_WITHIN);
        assert_eq!(said(seconds(1, 500_000_000)), Duration::from_millis(1500));
    }
}
