//! Fetches what the node is to hold, a few blobs at a time and the small ones in
//! batches, and counts.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, pending};
use futures_util::stream::FuturesUnordered;
use patchmesh_topology::digest::Digest;
use tokio::time::{Instant, sleep_until};

use super::small::{self, Outcome};
use super::{Content, Error, Item, Urgency, Wanted, Wish};
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

/// What ended.
enum Ended {
    One(Wanted, Result<(), Error>),
    Batch(Vec<Wanted>, Outcome),
}

/// What is still to be fetched.
#[derive(Default)]
struct Work {
    queue: VecDeque<Wanted>,
    /// Those that come in batches.
    small: VecDeque<Wanted>,
    /// Wanted and not counted as held yet.
    missing: HashSet<Digest>,
    /// The wish that was counted last.
    counted: Wish,
    /// In `running`.
    active: HashSet<Digest>,
    /// How many of `running` are batches, and how many fetches of one.
    batches: usize,
    singles: usize,
    running: FuturesUnordered<BoxFuture<'static, Ended>>,
    /// In the order in which they are due.
    failed: VecDeque<(Instant, Wanted)>,
    /// Those that the disk had no room for.
    held_back: Vec<Wanted>,
}

pub(super) async fn run(content: Content) {
    let mut wishes = content.inner.wish.subscribe();
    wishes.mark_changed();
    let mut sources = content.inner.sources.clone();
    let mut room = content.room_turns();
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
            Some(ended) = work.running.next() => work.ended(&content, ended),
            Ok(()) = sources.changed() => work.retry(None),
            () = room.next() => work.try_held_back(),
            () = sleep_or_never(retry) => work.retry(Some(Instant::now())),
        }
    }
}

/// When what fails now is tried again.
fn next_round() -> Instant {
    Instant::now() + RETRY + jittered(RETRY) / 4
}

pub(super) async fn sleep_or_never(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => pending().await,
    }
}

impl Work {
    /// What is held for sure: it was wanted before and counted, and nothing was lost.
    fn known(&self, wish: &Wish) -> impl Fn(&Digest) -> bool + Send + use<> {
        let is_whole = wish.losses == self.counted.losses;
        let (names, missing) = (self.counted.names.clone(), self.missing.clone());
        move |digest| is_whole && names.contains(digest) && !missing.contains(digest)
    }

    /// Takes a new wish: counts what is held and queues the rest.
    async fn replace(&mut self, content: &Content, wish: &Wish) {
        let Wish { generation, wanted: asked, .. } = wish.clone();
        let is_known = self.known(wish);
        let counted = content.store().run(move |store| {
            let mut readiness = Readiness { generation, ..Readiness::default() };
            let mut missing = VecDeque::new();
            for wanted in asked.iter() {
                readiness.payloads_wanted += 1;
                readiness.bytes_wanted += wanted.length;
                if is_known(&wanted.digest) || store.has(&wanted.digest)? {
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
                self.counted = wish.clone();
                (self.small, self.queue) = missing.into_iter().partition(small::is_small);
                self.failed.clear();
                self.held_back.clear();
                content.retain_held_back(|item| match item {
                    Item::Blob(digest) => self.missing.contains(digest),
                    Item::Payload(_) => true,
                });
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
        while self.batches < small::AT_ONCE && !self.small.is_empty() {
            let batch = small::next(&mut self.small, &self.active);
            if batch.is_empty() {
                continue;
            }
            if !content.may_have_room(None, small::bytes_of(&batch)) {
                self.hold_back(content, batch);
                continue;
            }
            self.active.extend(batch.iter().map(|wanted| wanted.digest));
            self.batches += 1;
            let content = content.clone();
            self.running.push(Box::pin(async move {
                let outcome = small::fetch(&content, &batch).await;
                Ended::Batch(batch, outcome)
            }));
        }
        while self.singles < content.inner.background_fetches {
            let Some(wanted) = self.queue.pop_front() else { return };
            if !content.may_have_room(Some(Item::Blob(wanted.digest)), wanted.length) {
                self.hold_back(content, vec![wanted]);
                continue;
            }
            if self.active.insert(wanted.digest) {
                self.singles += 1;
                let mut fetch = content.ensure(wanted, Urgency::Background);
                self.running.push(Box::pin(async move { Ended::One(wanted, fetch.held().await) }));
            }
        }
    }

    fn ended(&mut self, content: &Content, ended: Ended) {
        match ended {
            Ended::One(wanted, result) => {
                self.singles -= 1;
                self.one_ended(content, wanted, result);
            }
            Ended::Batch(batch, outcome) => {
                self.batches -= 1;
                self.batch_ended(content, &batch, &outcome);
            }
        }
    }

    /// Counts what came of a batch, once for all of it.
    fn batch_ended(&mut self, content: &Content, batch: &[Wanted], outcome: &Outcome) {
        for wanted in batch {
            self.active.remove(&wanted.digest);
        }
        let missing: Vec<Wanted> =
            batch.iter().filter(|wanted| self.missing.contains(&wanted.digest)).copied().collect();
        match outcome {
            Outcome::Stored(held) => {
                let (held, left): (Vec<Wanted>, Vec<Wanted>) =
                    missing.into_iter().partition(|wanted| held.contains(&wanted.digest));
                for wanted in &held {
                    self.missing.remove(&wanted.digest);
                    content.has_stored(Item::Blob(wanted.digest));
                }
                content.inner.readiness.send_modify(|readiness| {
                    held.iter().for_each(|wanted| readiness.add(*wanted));
                });
                self.queue.extend(left);
            }
            Outcome::HeldBack => self.hold_back(content, missing),
            Outcome::Failed => {
                let due = next_round();
                self.failed.extend(missing.into_iter().map(|wanted| (due, wanted)));
            }
        }
    }

    fn one_ended(&mut self, content: &Content, wanted: Wanted, result: Result<(), Error>) {
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
            // It is held back there already.
            Err(Error::Store(error)) if error.is_disk_full() => self.held_back.push(wanted),
            // The fetch has told why.
            Err(_) => self.failed.push_back((next_round(), wanted)),
        }
    }

    /// Keeps what the disk has no room for until it has.
    fn hold_back(&mut self, content: &Content, wanted: Vec<Wanted>) {
        wanted.iter().for_each(|one| content.hold_back_too(*one));
        self.held_back.extend(wanted);
    }

    /// Queues what the disk had no room for.
    fn try_held_back(&mut self) {
        for wanted in std::mem::take(&mut self.held_back) {
            self.queue_again(wanted);
        }
    }

    fn queue_again(&mut self, wanted: Wanted) {
        let queue = if small::is_small(&wanted) { &mut self.small } else { &mut self.queue };
        queue.push_back(wanted);
    }

    /// Queues what failed and is due; all of it where no time is given.
    fn retry(&mut self, now: Option<Instant>) {
        while let Some((due, wanted)) = self.failed.front().copied() {
            if now.is_some_and(|now| due > now) {
                return;
            }
            self.queue_again(wanted);
            self.failed.pop_front();
        }
    }
}
