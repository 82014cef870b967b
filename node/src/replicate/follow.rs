//! The child's side: learn what is new, verify it, switch.
//!
//! A child is told by the parent's watch stream, and asks by itself every
//! `poll_interval`. One synchronisation is: refresh the metadata (all of
//! TUF's checks), fetch the documents that the new generation needs and this
//! node lacks, decode them, commit everything in one transaction, switch. If
//! it fails anywhere the node stays in the generation it was in, which is
//! whole.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use patchmesh_proto::replication::replication_client::ReplicationClient;
use patchmesh_proto::replication::{WatchRequest, WatchResponse};
use patchmesh_topology::alert::Severity;
use patchmesh_topology::name::NodeName;
use patchmesh_topology::planned::Retries;
use patchmesh_topology::share::MAX_BESIDE;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::fetch::{self, Parent};
use super::history::{History, Synchronisation};
use super::own::{Condition, OwnStatus};
use super::parents::Parents;
use crate::alerts::Alerts;
use crate::backoff::jittered;
use crate::generation::load::{self, Loaded, Staged};
use crate::generation::{Current, Generation, storage};
use crate::log::in_one_line;
use crate::store::{self, Store};
use crate::tuf;
use crate::tuf::storage::MemoryStorage;

/// How many times documents lead to further documents: index, partition,
/// revision; view set, view, pool, partition. One more for good measure.
const MAX_DEPTH: usize = 6;
/// First pause after a failure; doubles up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause after a failure.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// A watch stream without a sign of life for this long is given up. The
/// parent sends one at least every 15 s.
const SILENCE: Duration = Duration::from_secs(45);
/// How long nothing may be had from a parent until another one is followed: longer
/// than a restart takes.
const AWAY: Duration = Duration::from_secs(10);
/// How often it is seen whether a parent that comes before is there again.
const BACK: Duration = Duration::from_secs(15);
/// How long it may take to answer then.
const ANSWER: Duration = Duration::from_secs(10);

/// The key of the alert that nothing can be learned from the parent.
const ALERT: &str = "parent";
/// The key of the alert that what the parent says cannot be stored.
const OWN: &str = "disk/decisions";
/// The key of the alert that another one stands in for the parent.
const FALLBACK: &str = "fallback";

/// Why a synchronisation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The metadata was not accepted or not to be had.
    #[error("the parent's metadata was not accepted")]
    Metadata(#[from] tuf::client::Error),
    /// A document was not to be had.
    #[error("a document could not be fetched")]
    Fetch(#[from] fetch::Error),
    /// The documents contradict each other or are of a newer kind.
    #[error("the parent's documents were not accepted")]
    Load(#[from] load::Error),
    /// Documents lead to documents without end.
    #[error("documents lead to further documents more than {MAX_DEPTH} times")]
    Depth,
    /// The store failed.
    #[error("the new generation could not be stored")]
    Store(#[from] store::Error),
    /// Somebody goes on signing who was replaced.
    #[error(
        "the parent signs under epoch {theirs}, here it is {ours}: it was replaced as the primary, or restored elsewhere since"
    )]
    Epoch {
        /// Its epoch.
        theirs: u64,
        /// The epoch here.
        ours: u64,
    },
    /// The watch stream ended.
    #[error("the parent ended its watch stream: {}", .0.message())]
    Watch(Box<tonic::Status>),
    /// The watch stream fell silent.
    #[error("the parent was silent for {} s", SILENCE.as_secs())]
    Silent,
    /// A worker thread ended abnormally.
    #[error("a worker thread ended abnormally")]
    Thread(#[from] tokio::task::JoinError),
}

impl Error {
    /// Whether this node's own disk is to blame, not the parent.
    fn is_own(&self) -> bool {
        store::Error::behind(self).is_some()
    }
}

/// What following needs.
#[derive(Debug, Clone)]
pub struct Follower {
    /// This node.
    pub name: NodeName,
    /// Its parent, and those that stand in for it.
    pub parents: Parents,
    /// Leads to the one that is followed.
    pub channel: Channel,
    /// Where generations go.
    pub store: Store,
    /// Told of every new generation.
    pub current: Current,
    /// Told how it goes.
    pub own: OwnStatus,
    /// The last synchronisations.
    pub history: History,
    /// Told when nothing could be learned for all retries.
    pub alerts: Alerts,
    /// How long that is. The parent is asked far more often than that.
    pub retries: Retries,
    /// How often to ask without being told.
    pub poll_interval: Duration,
    /// Told which nodes are beside this one, as the parent says.
    pub near: watch::Sender<BTreeSet<NodeName>>,
}

impl Follower {
    /// Runs until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        let (mut pause, mut failing) = (MIN_PAUSE, None);
        self.tell_of_fallback();
        loop {
            let started = Instant::now();
            let mut learned = false;
            let outcome = tokio::select! {
                () = cancel.cancelled() => return,
                outcome = self.watch(&mut learned) => outcome,
            };
            let error = match outcome {
                Ok(better) => {
                    self.follow(better);
                    (pause, failing) = (MIN_PAUSE, None);
                    continue;
                }
                Err(error) => error,
            };
            self.fault(&error);
            if started.elapsed() > MAX_PAUSE {
                pause = MIN_PAUSE;
            }
            if learned {
                failing = None;
            }
            if error.is_own() {
                // Another parent would not make room here.
                failing = None;
            } else if failing.get_or_insert_with(Instant::now).elapsed() >= AWAY
                && let Some(next) = self.parents.next()
            {
                self.follow(next);
                (pause, failing) = (MIN_PAUSE, None);
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(jittered(pause)) => {}
            }
            pause = (pause * 2).min(if self.parents.next().is_some() { AWAY } else { MAX_PAUSE });
        }
    }

    /// Follows another parent.
    fn follow(&self, place: usize) {
        let from = self.parents.current().name.clone();
        self.parents.follow(place);
        tracing::warn!(%from, to = %self.parents.current().name, "follows another parent");
        self.tell_of_fallback();
    }

    /// Tells a person while another one stands in for the parent.
    fn tell_of_fallback(&self) {
        if self.parents.at() == 0 {
            self.alerts.clear(FALLBACK);
            return;
        }
        let (first, now) = (&self.parents.way(0).name, &self.parents.current().name);
        let text = format!("{now} stands in for the parent {first}, which does not answer");
        self.alerts.raise(FALLBACK, Severity::Warning, &text);
    }

    /// Waits until one that comes before the one that is followed is there again
    /// and knows as much as this node.
    async fn better(&self) -> usize {
        loop {
            tokio::time::sleep(jittered(BACK)).await;
            let before = (0..self.parents.at()).filter(|place| !self.parents.is_shunned(*place));
            for place in before {
                if self.is_back(place).await {
                    return place;
                }
            }
        }
    }

    async fn is_back(&self, place: usize) -> bool {
        let Ok(channel) = self.parents.channel_to(place) else { return false };
        let asked = async {
            let mut client = ReplicationClient::new(channel);
            client.watch(WatchRequest {}).await?.into_inner().message().await
        };
        let known = self.current.get().timestamp_version;
        let answer = tokio::time::timeout(ANSWER, asked).await;
        matches!(answer, Ok(Ok(Some(answer))) if answer.timestamp_version >= known)
    }

    /// Follows the parent's watch stream until something fails, or until one that
    /// is to be followed rather is there again.
    async fn watch(&self, learned: &mut bool) -> Result<usize, Error> {
        let mut better = std::pin::pin!(self.better());
        let mut client = ReplicationClient::new(self.channel.clone());
        let ended = |status| Error::Watch(Box::new(status));
        let mut stream = tokio::time::timeout(SILENCE, client.watch(WatchRequest {}))
            .await
            .map_err(|_| Error::Silent)?
            .map_err(ended)?
            .into_inner();
        let mut poll = tokio::time::interval(self.poll_interval);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                place = &mut better, if self.parents.at() > 0 => return Ok(place),
                _ = poll.tick() => {
                    self.synchronise().await?;
                    *learned = true;
                }
                message = tokio::time::timeout(SILENCE, stream.message()) => {
                    let message = message
                        .map_err(|_| Error::Silent)?
                        .map_err(ended)?
                        .ok_or_else(|| ended(tonic::Status::unavailable("it shuts down")))?;
                    self.told(&message).await?;
                    *learned = true;
                }
            }
        }
    }

    async fn told(&self, message: &WatchResponse) -> Result<(), Error> {
        // A name that is none is no node's; more than a parent tells are not read.
        let near = message.near.iter().take(MAX_BESIDE);
        let near: BTreeSet<NodeName> = near.filter_map(|name| name.parse().ok()).collect();
        self.near.send_if_modified(|present| {
            let is_new = *present != near;
            *present = near;
            is_new
        });
        let here = self.current.get();
        if message.timestamp_version == here.timestamp_version {
            // That is no proof that what was wrong is mended: every stream
            // begins with a synchronisation, which tells.
            return Ok(());
        }
        self.synchronise().await
    }

    /// Learns what is new; one log line says what changed.
    async fn synchronise(&self) -> Result<(), Error> {
        let _turn = self.current.turn().await;
        let started = Instant::now();
        let before = self.current.get();
        let parent = Parent::new(self.parents.current().name.clone(), self.channel.clone());
        let outcome = learn(&self.store, &self.name, &parent, Some(&before)).await;
        let took = started.elapsed();
        let (documents, problem) = match &outcome {
            Ok(learned) => (learned.documents, String::new()),
            Err(error) => (0, in_one_line(error)),
        };
        if let Ok(Learned { generation: Some(generation), .. }) = &outcome {
            self.current.set(generation.clone());
        }
        let after = self.current.get();
        if after.timestamp_version != before.timestamp_version || !problem.is_empty() {
            self.history.add(Synchronisation {
                at: Timestamp::now(),
                from: before.number,
                to: after.number,
                bytes: parent.received(),
                documents,
                took,
                problem,
            });
        }
        outcome?;
        self.well();
        if after.number != before.number {
            tracing::info!(
                parent = %parent.name(),
                from = before.number,
                to = after.number,
                documents,
                bytes = parent.received(),
                milliseconds = took.as_millis() as u64,
                "synchronised"
            );
        }
        Ok(())
    }

    /// Notes that all is well; a transition is logged once.
    fn well(&self) {
        self.alerts.clear(ALERT);
        self.alerts.clear(OWN);
        if self.own.set_condition(Condition::default()) {
            tracing::info!(parent = %self.parents.current().name, "learning from the parent again");
        }
    }

    /// Notes a failure; a transition is logged once.
    fn fault(&self, error: &Error) {
        let problem = in_one_line(error);
        let condition = self.own.condition();
        let is_new = condition.problem != problem;
        let now = Timestamp::now();
        let stale_since = condition.stale_since.unwrap_or(now);
        if error.is_own() {
            let text = format!(
                "what is decided can't be stored here: {problem}. Make room or replace the disk; \
                 it goes on by itself"
            );
            self.alerts.raise(OWN, Severity::Critical, &text);
        } else if now.duration_since(stale_since) >= patience(self.retries) {
            let parent = &self.parents.current().name;
            let text = format!("nothing can be learned from {parent}: {problem}");
            self.alerts.raise(ALERT, Severity::Critical, &text);
        }
        self.own.set_condition(Condition { problem, stale_since: Some(stale_since) });
        if is_new {
            tracing::warn!(
                parent = %self.parents.current().name,
                error = error as &dyn std::error::Error,
                "cannot learn from the parent; going on with generation {}",
                self.current.get().number
            );
        }
    }
}

/// How long nothing may be learned before a person is told.
fn patience(retries: Retries) -> SignedDuration {
    retries.interval.saturating_mul(i32::try_from(retries.times).unwrap_or(i32::MAX))
}

/// What a synchronisation brought.
#[derive(Debug)]
pub struct Learned {
    /// The new generation, on disk already; `None` where nothing was new.
    pub generation: Option<Arc<Generation>>,
    /// How many documents came.
    pub documents: u64,
}

/// One synchronisation: refresh, fetch, decode, commit.
///
/// # Errors
/// See [`Error`]; the generation on disk is the one before then.
pub async fn learn(
    store: &Store,
    name: &NodeName,
    parent: &Parent,
    before: Option<&Arc<Generation>>,
) -> Result<Learned, Error> {
    let known = store.run(storage::trusted).await?;
    let now = Timestamp::now();
    let mut client = tuf::Client::new(parent, MemoryStorage::new(known), tuf::Limits::default());
    let refreshed = client.refresh_all(now).await.cloned();
    let learned = client.into_storage();
    let trusted = match refreshed {
        Ok(trusted) => trusted,
        Err(error) => {
            // What did verify guards against rollback from now on.
            store.run(move |store| storage::keep(store, &learned)).await?;
            return Err(error.into());
        }
    };
    let is_new = before.is_none_or(|before| {
        before.timestamp_version != trusted.timestamp().map_or(0, |one| one.header.version())
    });
    if !is_new {
        return Ok(Learned { generation: None, documents: 0 });
    }
    let gathered = gather(store, name, parent, before, trusted).await;
    let (generation, staged, documents) = match gathered {
        Ok(gathered) => gathered,
        Err(error) => {
            // So does what is signed although its documents are not to be had.
            store.run(move |store| storage::keep(store, &learned)).await?;
            return Err(error);
        }
    };
    let ours = before.map_or(0, |before| before.mesh.epoch);
    if generation.mesh.epoch < ours {
        // Nothing of it is kept: its versions would shut out whoever signs now.
        return Err(Error::Epoch { theirs: generation.mesh.epoch, ours });
    }
    let committed = generation.clone();
    store
        .run(move |store| storage::commit(store, &committed, &learned, staged, Vec::new(), now))
        .await?;
    Ok(Learned { generation: Some(generation), documents })
}

/// Fetches the documents that lack until the generation is whole.
async fn gather(
    store: &Store,
    name: &NodeName,
    parent: &Parent,
    before: Option<&Arc<Generation>>,
    trusted: tuf::TrustedMetadata,
) -> Result<(Arc<Generation>, Staged, u64), Error> {
    let mut staged = Staged::new(store, Vec::new());
    let mut documents = 0;
    for _ in 0..MAX_DEPTH {
        let (name, trusted, before) = (name.clone(), trusted.clone(), before.cloned());
        let (loaded, given_back) = tokio::task::spawn_blocking(move || {
            (load::load(&trusted, &name, &staged, before.as_deref()), staged)
        })
        .await?;
        staged = given_back;
        match loaded? {
            Loaded::Whole(generation) => return Ok((Arc::new(*generation), staged, documents)),
            Loaded::Lacking(wanted) => {
                documents += wanted.len() as u64;
                parent.documents(&wanted, |document, bytes| staged.add(document, bytes)).await?;
            }
        }
    }
    Err(Error::Depth)
}

impl tuf::Fetch for &Parent {
    type Error = fetch::Error;

    async fn fetch(&self, file: &str, max_length: u64) -> Result<Option<Vec<u8>>, fetch::Error> {
        Ok(self.metadata(file, max_length).await?.map(Into::into))
    }

    /// Nodes fetch documents by BLAKE3, not by target name.
    async fn fetch_target(&self, _: &str, _: u64) -> Result<Option<Vec<u8>>, fetch::Error> {
        Ok(None)
    }
}
