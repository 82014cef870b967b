//! What wakes the machines that listen: a word whenever this node serves something
//! else to them.
//!
//! A word is a few numbers in one place that all streams share; who reads slowly
//! finds the newest and costs nothing meanwhile. Since all are told at once, the word
//! says within which time they may come.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt};
use patchmesh_proto::report as wire;
use patchmesh_topology::name::MachineName;
use patchmesh_topology::revision::RevisionId;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;

use crate::identity::places::Places;

/// Within which machines come where something can't wait.
const AT_ONCE: Duration = Duration::from_secs(1);

/// For how long after that a word says so: who connects again meanwhile is as late.
const PRESSES_FOR: Duration = Duration::from_secs(120);

/// What each machine that listens adds otherwise: fifty come in a second.
const EACH: Duration = Duration::from_millis(20);

/// The longest time that machines have.
const LONGEST: Duration = Duration::from_secs(600);

/// Streams of one machine at a time: it needs one, and has others while connections that
/// broke are not known to have.
pub const MAX_STREAMS: usize = 4;

/// What a node serves to machines, as far as it wakes them.
#[derive(Debug, Clone)]
pub struct Served {
    generation: u64,
    hasher: DefaultHasher,
    pressing: BTreeSet<RevisionId>,
}

impl Served {
    /// In a generation, with what of it can't wait.
    #[must_use]
    pub fn new(generation: u64, pressing: BTreeSet<RevisionId>) -> Self {
        Self { generation, hasher: DefaultHasher::new(), pressing }
    }

    /// Something on which it depends what machines may install.
    pub fn add(&mut self, what: &impl Hash) {
        what.hash(&mut self.hasher);
    }
}

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// The snapshot's version.
    pub generation: u64,
    /// Names what is served.
    pub state: u64,
    /// Within which machines may come.
    pub within: Duration,
}

impl From<Word> for wire::WatchResponse {
    fn from(word: Word) -> Self {
        // At most LONGEST.
        let within = prost_types::Duration::try_from(word.within).unwrap_or_default();
        Self { generation: word.generation, state: word.state, within: Some(within) }
    }
}

#[derive(Debug, Clone, Default)]
struct Last {
    generation: u64,
    state: u64,
    /// Nothing is known of it when the node starts.
    pressing: Option<BTreeSet<RevisionId>>,
    /// When something that can't wait was newly served.
    pressed: Option<Instant>,
}

/// Tells the machines that listen; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Wake {
    last: watch::Sender<Arc<Last>>,
    listening: Places<MachineName>,
}

impl Wake {
    /// Wakes all where this is something else than before.
    pub fn say(&self, served: Served) {
        let state = served.hasher.finish();
        self.last.send_if_modified(|last| {
            if last.state == state {
                return false;
            }
            let before = last.pressing.as_ref();
            let is_new = before.is_some_and(|before| !served.pressing.is_subset(before));
            let pressed = if is_new { Some(Instant::now()) } else { last.pressed };
            let (generation, pressing) = (served.generation, Some(served.pressing));
            *last = Arc::new(Last { generation, state, pressing, pressed });
            true
        });
    }

    /// The word of now, and the newest one after each change, without end; `None` where
    /// the machine has [`MAX_STREAMS`] of them.
    pub fn words(&self, machine: &MachineName) -> Option<impl Stream<Item = Word> + Send + use<>> {
        let place = self.listening.enter(machine, MAX_STREAMS)?;
        let (wake, last) = (self.clone(), self.last.subscribe());
        Some(WatchStream::new(last).map(move |last| {
            let _listens = &place;
            wake.word(&last)
        }))
    }

    fn word(&self, last: &Last) -> Word {
        let presses = last.pressed.is_some_and(|at| at.elapsed() < PRESSES_FOR);
        let listening = u32::try_from(self.listening.holders()).unwrap_or(u32::MAX);
        let within = if presses { AT_ONCE } else { (EACH * listening).clamp(AT_ONCE, LONGEST) };
        Word { generation: last.generation, state: last.state, within }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn name(text: &str) -> MachineName {
        text.parse().expect("a name")
    }

    fn served(generation: u64, what: &str, pressing: &[&str]) -> Served {
        let pressing = pressing.iter().map(|id| id.parse().expect("a revision"));
        let mut served = Served::new(generation, pressing.collect());
        served.add(&what);
        served
    }

    #[tokio::test]
    async fn who_reads_slowly_hears_the_newest_and_nothing_twice() {
        let wake = Wake::default();
        wake.say(served(1, "a", &[]));
        let mut words = std::pin::pin!(wake.words(&name("pc")).expect("a stream"));
        let first = words.next().await.expect("a word");
        assert_eq!(first.generation, 1);
        wake.say(served(2, "a", &[]));
        assert!(words.next().now_or_never().is_none(), "nothing that concerns machines");
        wake.say(served(3, "b", &[]));
        wake.say(served(4, "c", &[]));
        let second = words.next().await.expect("a word");
        assert_eq!(second.generation, 4);
        assert_ne!(second.state, first.state);
        assert!(words.next().now_or_never().is_none(), "no word between");
    }

    #[tokio::test]
    async fn what_cant_wait_is_told_so_and_the_rest_by_how_many_listen() {
        let wake = Wake::default();
        wake.say(served(1, "a", &["vendor:s/a@1"]));
        let pressed = |wake: &Wake| wake.last.borrow().pressed;
        assert_eq!(pressed(&wake), None, "served before the node started, for all it knows");
        let wake = Wake::default();
        wake.say(served(1, "a", &[]));
        let listens = |name| wake.words(&name).expect("a stream");
        let listeners: Vec<_> =
            (0..1000).map(|number| listens(name(&format!("pc-{number}")))).collect();
        let mut words = Box::pin(listens(name("pc")));
        assert_eq!(words.next().await.expect("a word").within, EACH * 1001);
        wake.say(served(2, "b", &["vendor:s/a@1"]));
        assert_eq!(words.next().await.expect("a word").within, AT_ONCE);
        let at = pressed(&wake);
        wake.say(served(3, "c", &["vendor:s/a@1"]));
        assert_eq!(pressed(&wake), at, "nothing new presses");
        assert_eq!(words.next().await.expect("a word").within, AT_ONCE, "it still does");
        drop(listeners);
        assert_eq!(wake.listening.holders(), 1);
        drop(words);
        assert_eq!(wake.listening.holders(), 0);
    }

    #[tokio::test]
    async fn a_machine_with_many_streams_makes_nobody_come_later() {
        let wake = Wake::default();
        wake.say(served(1, "a", &[]));
        let many: Vec<_> = (0..MAX_STREAMS).map(|_| wake.words(&name("loud"))).collect();
        assert!(many.iter().all(Option::is_some));
        assert!(wake.words(&name("loud")).is_none(), "no more of them");
        assert_eq!(wake.listening.holders(), 1, "it is one machine");
        drop(many);
        assert!(wake.words(&name("loud")).is_some());
    }
}
