//! Fetches what the node is to hold, a few blobs at a time, and counts.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, pending};
use futures_util::stream::FuturesUnordered;
use patchmesh_topology::digest::Digest;
use tokio::time::{Instant, sleep_until};

use super::{Content, Error, Urgency, Wanted, Wish};
use crate::backoff::jittered;
use crate::log::in_one_line;
/// When a payload that failed is tried again; another source or another wish
/// comes sooner.
const RETRY: Duration = Duration::from_secs(60);

/// How much of what is wanted is held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Readiness {
    /// The generation whose wish was counted.
    pub generation: u64,
    /// Payloads wanted.
    pub payloads_wanted: u64,
    /// Those of them that are held.
    pub payloads_held: u64,
    /// Bytes wanted.
    pub bytes_wanted: u64,
    /// Those of them that are held.
    pub bytes_held: u64,
}

impl Readiness {
    /// Whether all that is wanted is held.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.payloads_held == self.payloads_wanted
    }

    fn add(&mut self, wanted: Wanted) {
        self.payloads_held += 1;
        self.bytes_held += wanted.length;
    }
}

type Ended = (Wanted, Result<(), Error>);

/// What is still to be fetched.
#[derive(Default)]
struct Work {
    queue: VecDeque<Wanted>,
    /// Wanted and not counted as held yet.
    missing: HashSet<Digest>,
    /// In `running`.
    active: HashSet<Digest>,
    running: FuturesUnordered<BoxFuture<'static, Ended>>,
    /// In the order in which they are due.
    failed: VecDeque<(Instant, Wanted)>,
}

pub(super) async fn run(content: Content) {
    let mut wishes = content.inner.wish.subscribe();
    wishes.mark_changed();
    let mut sources = content.inner.sources.clone();
    let mut work = Work::default();
    loop {
        if wishes.has_changed().unwrap_or(false) {
            let wish = wishes.borrow_and_update().clone();
            work.replace(&content, &wish).await;
        }
        work.start(&content);
        let retry = work.failed.front().map(|(due, _)| *due);
        tokio::select! {
            // The sender lives as long as `content`.
            _ = wishes.changed() => wishes.mark_changed(),
            Some((wanted, result)) = work.running.next() => work.ended(&content, wanted, result),
            Ok(()) = sources.changed() => work.retry(None),
            () = sleep_or_never(retry) => work.retry(Some(Instant::now())),
        }
    }
}

async fn sleep_or_never(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => pending().await,
    }
}

impl Work {
    /// Takes a new wish: counts what is held and queues the rest.
    async fn replace(&mut self, content: &Content, wish: &Wish) {
        let Wish { generation, wanted: asked } = wish.clone();
        let counted = content.store().run(move |store| {
            let mut readiness = Readiness { generation, ..Readiness::default() };
            let mut missing = VecDeque::new();
            let mut seen = HashSet::new();
            for wanted in asked.iter().filter(|wanted| seen.insert(wanted.digest)) {
                readiness.payloads_wanted += 1;
                readiness.bytes_wanted += wanted.length;
                if store.has(&wanted.digest)? {
                    readiness.add(*wanted);
                } else {
                    missing.push_back(*wanted);
                }
            }
            Ok::<_, Error>((readiness, missing))
        });
        match counted.await {
            Ok((readiness, missing)) => {
                content.inner.readiness.send_replace(readiness);
                self.missing = missing.iter().map(|wanted| wanted.digest).collect();
                self.queue = missing;
                self.failed.clear();
            }
            Err(error) => {
                tracing::error!(
                    error = in_one_line(&error),
                    "can't look up which payloads are held"
                );
            }
        }
    }

    /// Begins fetches while there is room.
    fn start(&mut self, content: &Content) {
        while self.active.len() < content.inner.background_fetches {
            let Some(wanted) = self.queue.pop_front() else { return };
            if self.active.insert(wanted.digest) {
                let mut fetch = content.ensure(wanted, Urgency::Background);
                self.running.push(Box::pin(async move { (wanted, fetch.held().await) }));
            }
        }
    }

    fn ended(&mut self, content: &Content, wanted: Wanted, result: Result<(), Error>) {
        self.active.remove(&wanted.digest);
        // It may have been begun for an earlier wish, or counted meanwhile.
        if !self.missing.contains(&wanted.digest) {
            return;
        }
        match result {
            Ok(()) => {
                self.missing.remove(&wanted.digest);
                content.inner.readiness.send_modify(|readiness| readiness.add(wanted));
            }
            // The fetch has told why.
            Err(_) => self.failed.push_back((Instant::now() + RETRY + jittered(RETRY) / 4, wanted)),
        }
    }

    /// Queues what failed and is due; all of it where no time is given.
    fn retry(&mut self, now: Option<Instant>) {
        while let Some((due, wanted)) = self.failed.front().copied() {
            if now.is_some_and(|now| due > now) {
                return;
            }
            self.queue.push_back(wanted);
            self.failed.pop_front();
        }
    }
}
