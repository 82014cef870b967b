//! Fetches the vendor's payloads of what was approved (or of everything, for
//! a source that prefetches) and binds them.
//!
//! One task owns the work. It looks at every new generation for payloads
//! that are called for and not bound, fetches them a few at a time, and
//! publishes bindings in batches, so that approving a thousand revisions
//! makes a handful of generations. What fails is tried again with growing
//! pauses and shown in `status` until it succeeds. What the disk has no room for
//! is held back until it has ([`Content::claim_room`]); that is no failure.

pub(super) mod import;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::name::SourceName;
use patchmesh_topology::revision::{Binding, Payload, Revision, RevisionId};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::publisher::Publisher;
use super::sources::{Absent, Sources};
use crate::content::{Content, Item};
use crate::generation::{Current, Generation};
use crate::log::in_one_line;
use crate::source::Progress;
use crate::store::Error;

/// Payloads fetched at a time, over all sources: small ones wait for syncing
/// more than for the vendor, whose connections are bounded on their own.
const CONCURRENT: usize = 8;
/// Payloads, and bytes of them, that are fetched before the list is made anew, so
/// that what was approved last does not wait behind everything approved before.
const ROUND: usize = 4096;
const ROUND_BYTES: u64 = 256 << 20;
/// Bindings published at once at most.
const BATCH: usize = 4096;
/// A fetched payload waits for others at most this long before it is bound…
const GATHER: Duration = Duration::from_millis(500);
/// …or so many times as long as publishing the last batch took: a large mesh
/// spends a fifth of its time on publishing bindings, not all of it.
const GATHER_FACTOR: u32 = 4;
/// Pause before the first repetition; doubles up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause between repetitions.
const MAX_PAUSE: Duration = Duration::from_secs(30 * 60);

/// How one payload stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Bytes received so far.
    pub received: u64,
    /// Bytes of the whole.
    pub length: u64,
    /// Why the last try failed; empty while it has not.
    pub problem: String,
    /// How many tries failed.
    pub failures: u32,
}

#[derive(Debug)]
struct Board {
    attempts: Mutex<HashMap<Sha256, Attempt>>,
    changes: watch::Sender<u64>,
}

/// Handle of the fetching task; cheap to clone.
#[derive(Debug, Clone)]
pub struct Payloads {
    board: Arc<Board>,
}

impl Payloads {
    /// Starts the task; it ends when cancelled.
    #[must_use]
    pub fn start(
        current: Current,
        publisher: Publisher,
        sources: Sources,
        content: Content,
        tasks: &mut JoinSet<()>,
        cancel: CancellationToken,
    ) -> Self {
        let board = Arc::new(Board { attempts: Mutex::default(), changes: watch::Sender::new(0) });
        let worker = Worker {
            current,
            publisher,
            fetcher: Fetcher { sources, content, board: board.clone() },
            retry_at: HashMap::new(),
            held_back: HashSet::new(),
            publishing_took: Duration::ZERO,
            is_swept: false,
        };
        tasks.spawn(worker.run(cancel));
        Self { board }
    }

    /// How a payload that is not bound yet stands; `None` when nothing was
    /// tried.
    #[must_use]
    pub fn attempt(&self, payload: &Sha256) -> Option<Attempt> {
        self.board.lock().get(payload).cloned()
    }

    /// What could not be fetched, for people; at most ten lines.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let attempts = self.board.lock();
        attempts
            .values()
            .filter(|attempt| !attempt.problem.is_empty())
            .map(|attempt| format!("a payload could not be fetched: {}", attempt.problem))
            .take(10)
            .collect()
    }

    /// Is told when the standing of some payload changed.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.board.changes.subscribe()
    }
}

impl Board {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Sha256, Attempt>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, payload: Sha256, change: impl FnOnce(&mut Attempt)) {
        let mut attempts = self.lock();
        let attempt = attempts.entry(payload).or_insert_with(|| Attempt {
            received: 0,
            length: 0,
            problem: String::new(),
            failures: 0,
        });
        change(attempt);
        drop(attempts);
        self.changes.send_modify(|count| *count += 1);
    }

    /// Keeps only what is called for still.
    fn retain(&self, is_wanted: impl Fn(&Sha256) -> bool) {
        self.lock().retain(|sha256, _| is_wanted(sha256));
    }

    fn forget(&self, payloads: &[Sha256]) {
        let mut attempts = self.lock();
        for payload in payloads {
            attempts.remove(payload);
        }
        drop(attempts);
        self.changes.send_modify(|count| *count += 1);
    }
}

/// Fetches single payloads.
#[derive(Debug, Clone)]
struct Fetcher {
    sources: Sources,
    content: Content,
    board: Arc<Board>,
}

/// A payload that is called for and not bound.
#[derive(Debug, Clone)]
struct Wanted {
    source: SourceName,
    payload: Payload,
}

impl Fetcher {
    /// Fetches one payload, or tells when it is to be tried again.
    async fn fetch(self, wanted: Wanted) -> (Sha256, Result<Binding, Again>) {
        let sha256 = wanted.payload.sha256;
        let length = wanted.payload.length;
        self.board.update(sha256, |attempt| {
            attempt.length = length;
            attempt.received = 0;
        });
        let outcome = match self.try_fetch(&wanted).await {
            Ok(binding) => {
                self.content.has_stored(Item::Payload(sha256));
                self.board.update(sha256, |attempt| {
                    attempt.received = length;
                    attempt.problem.clear();
                });
                Ok(binding)
            }
            Err(error) if Error::is_full_behind(&error) => {
                // One that was found to be too large is noted with its bytes already.
                if !matches!(error, import::Error::HeldBack(_)) {
                    let left = import::lacks(self.content.store(), &wanted.payload).await;
                    self.content.hold_back(Item::Payload(sha256), left, true, 0);
                }
                let problem = in_one_line(&error);
                self.board.update(sha256, |attempt| attempt.problem = problem);
                Err(Again::WhenThereIsRoom)
            }
            Err(error) => {
                let problem = in_one_line(&error);
                tracing::warn!(package = wanted.payload.package, problem, "payload not fetched");
                let mut failures = 0;
                self.board.update(sha256, |attempt| {
                    attempt.problem = problem;
                    attempt.failures += 1;
                    failures = attempt.failures;
                });
                Err(Again::After(pause(failures)))
            }
        };
        (sha256, outcome)
    }

    async fn try_fetch(&self, wanted: &Wanted) -> Result<Binding, import::Error> {
        let source = self.sources.source(&wanted.source)?;
        let (board, sha256) = (self.board.clone(), wanted.payload.sha256);
        let progress = Progress::new(move |step| {
            board.update(sha256, |attempt| attempt.received = step.bytes);
        });
        import::run(&self.content, &source, &wanted.payload, &progress).await
    }
}

/// When a payload is tried again that could not be fetched.
#[derive(Debug, Clone, Copy)]
enum Again {
    After(Duration),
    WhenThereIsRoom,
}

struct Worker {
    current: Current,
    publisher: Publisher,
    fetcher: Fetcher,
    retry_at: HashMap<Sha256, Instant>,
    /// Those that the disk has no room for.
    held_back: HashSet<Sha256>,
    publishing_took: Duration,
    is_swept: bool,
}

impl Worker {
    async fn run(mut self, cancel: CancellationToken) {
        let mut generations = self.current.watch();
        let mut room = self.fetcher.content.room_turns();
        loop {
            generations.mark_unchanged();
            let due = tokio::select! {
                () = cancel.cancelled() => return,
                due = self.due() => due,
            };
            if due.is_empty() {
                tokio::select! {
                    () = cancel.cancelled() => return,
                    Ok(()) = generations.changed() => {}
                    () = room.next() => self.held_back.clear(),
                    () = until(self.retry_at.values().min().copied()) => {}
                }
                continue;
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                () = self.round(due) => {}
            }
        }
    }

    /// Fetches what is due and binds it batch by batch.
    async fn round(&mut self, due: Vec<Wanted>) {
        let fetcher = self.fetcher.clone();
        let fetched = stream::iter(due)
            .map(move |wanted| fetcher.clone().fetch(wanted))
            .buffer_unordered(CONCURRENT);
        let gather = GATHER.max(self.publishing_took * GATHER_FACTOR);
        let fetched = tokio_stream::StreamExt::chunks_timeout(fetched, BATCH, gather);
        tokio::pin!(fetched);
        while let Some(batch) = fetched.next().await {
            let mut bindings = Vec::with_capacity(batch.len());
            for (sha256, outcome) in batch {
                match outcome {
                    Ok(binding) => {
                        self.retry_at.remove(&sha256);
                        bindings.push(binding);
                    }
                    Err(Again::After(pause)) => {
                        self.retry_at.insert(sha256, Instant::now() + pause);
                    }
                    Err(Again::WhenThereIsRoom) => {
                        self.held_back.insert(sha256);
                    }
                }
            }
            self.bind(bindings).await;
        }
    }

    async fn bind(&mut self, bindings: Vec<Binding>) {
        if bindings.is_empty() {
            return;
        }
        let bound: Vec<Sha256> = bindings.iter().map(|binding| binding.sha256).collect();
        let started = Instant::now();
        let published = self
            .publisher
            .publish(move |draft| {
                let new = bindings.into_iter().map(|binding| (binding.sha256, binding));
                Arc::make_mut(&mut draft.bindings).extend(new);
                Ok::<_, Absent>(())
            })
            .await;
        self.publishing_took = started.elapsed();
        match published {
            Ok(_) => {
                self.fetcher.board.forget(&bound);
                import::bound(self.fetcher.content.store(), &bound).await;
            }
            // The downloads are kept, so the vendor is not asked again.
            Err(error) => {
                let again = Instant::now() + MIN_PAUSE;
                self.retry_at.extend(bound.into_iter().map(|sha256| (sha256, again)));
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "payloads fetched but not bound; they are tried again"
                );
            }
        }
    }

    /// Payloads that are called for, not bound, and not waiting for their
    /// next try: at most a round of them.
    async fn due(&mut self) -> Vec<Wanted> {
        let generation = self.current.get();
        let sources = self.fetcher.sources.clone();
        let looked = tokio::task::spawn_blocking(move || wanted(&generation, &sources)).await;
        let wanted = match looked {
            Ok(Ok(wanted)) => wanted,
            Ok(Err(error)) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "cannot tell which payloads lack"
                );
                tokio::time::sleep(MIN_PAUSE).await;
                return Vec::new();
            }
            Err(_) => return Vec::new(),
        };
        self.retry_at.retain(|sha256, _| wanted.contains_key(sha256));
        self.held_back.retain(|sha256| wanted.contains_key(sha256));
        self.fetcher.content.retain_held_back(|item| match item {
            Item::Payload(sha256) => wanted.contains_key(sha256),
            Item::Blob(_) => true,
        });
        self.fetcher.board.retain(|sha256| wanted.contains_key(sha256));
        if !std::mem::replace(&mut self.is_swept, true) {
            let wanted = wanted.keys().copied().collect();
            import::sweep(self.fetcher.content.store(), &wanted).await;
        }
        let now = Instant::now();
        let waits = |sha256: &Sha256| {
            self.held_back.contains(sha256) || self.retry_at.get(sha256).is_some_and(|at| *at > now)
        };
        let due = wanted.into_iter().filter(|(sha256, _)| !waits(sha256)).map(|(_, one)| one);
        let mut bytes = 0_u64;
        due.take(ROUND)
            .take_while(|one| {
                let is_first = bytes == 0;
                bytes = bytes.saturating_add(one.payload.length);
                is_first || bytes <= ROUND_BYTES
            })
            .collect()
    }
}

/// Payloads that the generation calls for and that are not bound: those of
/// approved revisions, and all of sources that prefetch.
fn wanted(
    generation: &Generation,
    sources: &Sources,
) -> Result<BTreeMap<Sha256, Wanted>, super::sources::Error> {
    let mut wanted = BTreeMap::new();
    for (id, revision) in generation.revisions.iter() {
        add_unbound(generation, id, revision, &mut wanted);
    }
    for source in sources.prefetching()? {
        for id in generation.catalogue.keys().filter(|id| id.update.source == source) {
            if !generation.revisions.contains_key(id)
                && let Some(revision) = sources.revision(generation, id)?
            {
                add_unbound(generation, id, &revision, &mut wanted);
            }
        }
    }
    Ok(wanted)
}

fn add_unbound(
    generation: &Generation,
    id: &RevisionId,
    revision: &Revision,
    wanted: &mut BTreeMap<Sha256, Wanted>,
) {
    for payload in &revision.payloads {
        if !generation.bindings.contains_key(&payload.sha256)
            && generation.mesh.is_fetched(revision, payload)
        {
            let one = Wanted { source: id.update.source.clone(), payload: payload.clone() };
            wanted.insert(payload.sha256, one);
        }
    }
}

fn pause(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    (MIN_PAUSE * (1 << doublings)).min(MAX_PAUSE)
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
