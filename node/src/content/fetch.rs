//! One fetch of one blob: attempts until it is held, or until there have been
//! enough without progress.
//!
//! ```text
//! Starting ──► Receiving ──► Held
//!     └────────────┴───────► Failed
//! ```

use std::sync::Arc;
use std::time::Duration;

use patchmesh_topology::digest::Digest;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::near::{self, Pins};
use super::transfers::Transfer;
use super::{Conduct, Content, Error, Item, PieceSource, Sources, Urgency, Wanted, receive};
use crate::backoff::jittered;
use crate::log::in_one_line;
use crate::store::{Manifest, PartialBlob};

/// Attempts in a row that bring nothing new before a fetch fails: enough to
/// outlast a parent's restart, few enough that a reader gets its answer.
pub(super) const ATTEMPTS: u32 = 6;
/// The wait before the second attempt; it doubles from there.
pub(super) const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest wait between attempts.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How long a fetch waits for a parent to be connected.
const SOURCE_WAIT: Duration = Duration::from_secs(5);

/// How far a fetch has come, for all who wait for it.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// Waits for its turn, the source or the manifest.
    Starting,
    /// Pieces come in.
    Receiving(PartialBlob),
    /// The store holds the blob.
    Held,
    /// Given up.
    Failed(Error),
}

/// A fetch under way, as it is registered.
#[derive(Debug, Clone)]
pub(super) struct Running {
    pub(super) state: watch::Receiver<State>,
    pub(super) pins: Pins,
}

impl Running {
    pub(super) fn new() -> (watch::Sender<State>, Self) {
        let (sender, state) = watch::channel(State::Starting);
        (sender, Self { state, pins: Pins::default() })
    }
}

/// A blob that is being fetched, or was already there.
#[derive(Debug, Clone)]
pub struct Fetch {
    wanted: Wanted,
    state: watch::Receiver<State>,
    pins: Pins,
}

impl Fetch {
    pub(super) fn new(wanted: Wanted, Running { state, pins }: Running) -> Self {
        Self { wanted, state, pins }
    }

    /// A fetch that was never begun.
    pub(super) fn refused(wanted: Wanted, error: Error) -> Self {
        let (_, state) = watch::channel(State::Failed(error));
        Self { wanted, state, pins: Pins::default() }
    }

    /// Waits until the blob is held.
    ///
    /// # Errors
    /// Why the fetch failed.
    pub async fn held(&mut self) -> Result<(), Error> {
        let end = |state: &State| matches!(state, State::Held | State::Failed(_));
        match self.wait_for(end).await? {
            State::Failed(error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Waits until the blob's manifest is known, which is before its pieces.
    ///
    /// # Errors
    /// Why the fetch failed.
    pub(super) async fn manifest(&mut self, content: &Content) -> Result<Manifest, Error> {
        let digest = self.wanted.digest;
        match self.wait_for(|state| !matches!(state, State::Starting)).await? {
            State::Receiving(partial) => Ok(partial.manifest().clone()),
            State::Failed(error) => Err(error),
            State::Starting | State::Held => {
                let manifest = content.store().run(move |store| store.manifest(&digest)).await?;
                manifest.ok_or(Error::NotOffered(digest))
            }
        }
    }

    /// Says that a node beside relies on this one for a piece, which is therefore
    /// fetched from above.
    pub(super) fn pin(&self, piece: u64) {
        self.pins.add(piece);
    }

    pub(super) fn digest(&self) -> Digest {
        self.wanted.digest
    }

    /// The state now; the next [`Fetch::changed`] waits for another.
    pub(super) fn state(&mut self) -> State {
        self.state.borrow_and_update().clone()
    }

    pub(super) async fn changed(&mut self) -> Result<(), Error> {
        self.state.changed().await.map_err(|_| Error::Stopped)
    }

    async fn wait_for(&mut self, is: impl FnMut(&State) -> bool) -> Result<State, Error> {
        Ok(self.state.wait_for(is).await.map_err(|_| Error::Stopped)?.clone())
    }
}

/// Runs a fetch to its end on the runtime.
pub(super) fn spawn(
    content: Content,
    wanted: Wanted,
    urgency: Urgency,
    state: watch::Sender<State>,
    pins: Pins,
) {
    tokio::spawn(async move {
        let registered = Registered { content: &content, digest: wanted.digest };
        let result = run(&content, wanted, urgency, &state, &pins).await;
        // Whoever asks from now on finds the blob held, or begins anew.
        drop(registered);
        state.send_replace(match result {
            Ok(()) => State::Held,
            Err(error) => State::Failed(error),
        });
    });
}

/// The entry among the fetches under way, removed also by a panic.
struct Registered<'a> {
    content: &'a Content,
    digest: Digest,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.content.fetches().remove(&self.digest);
    }
}

async fn run(
    content: &Content,
    wanted: Wanted,
    urgency: Urgency,
    state: &watch::Sender<State>,
    pins: &Pins,
) -> Result<(), Error> {
    let _turn = match urgency {
        Urgency::Urgent => Some(content.inner.urgent.acquire().await.map_err(|_| Error::Stopped)?),
        Urgency::Background => None,
    };
    let digest = wanted.digest;
    if content.store().run(move |store| store.has(&digest)).await? {
        return Ok(());
    }
    content.claim_for(wanted).await?;
    let transfer = content.inner.transfers.begin(wanted);
    let result = fetch(content, wanted, state, pins, &transfer).await;
    match &result {
        Ok(()) => content.has_stored(Item::Blob(digest)),
        Err(Error::Store(error)) if error.is_disk_full() => {
            // It had room a moment ago: somebody else has taken it.
            let left = wanted.length.saturating_sub(transfer.received());
            content.hold_back(Item::Blob(digest), left, content.wishes_for(&digest), 0);
        }
        Err(error) => {
            tracing::warn!(%digest, error = in_one_line(error), "gave up on a payload for now");
        }
    }
    transfer.end(result.as_ref().err());
    result
}

/// Attempts until one succeeds. Progress starts the count again; it ends all the
/// same, since a blob has so many pieces.
async fn fetch(
    content: &Content,
    wanted: Wanted,
    state: &watch::Sender<State>,
    pins: &Pins,
    transfer: &Transfer,
) -> Result<(), Error> {
    let mut above = content.inner.sources.clone();
    let mut attempt = 1;
    loop {
        let before = transfer.received();
        let source = current(&mut above).await;
        let sources = near::Sources::now(content, source.clone());
        if sources.is_empty() {
            return Err(near::nobody(wanted.digest));
        }
        transfer.set_source(&sources.to_string());
        let attempted = receive::blob(content, sources, wanted, state, pins, transfer).await;
        let Err(error) = attempted else { return Ok(()) };
        let liar = source.filter(|source| error.is_deceit_of(source.name()));
        let deceived = liar.is_some();
        if let Some(liar) = liar {
            tracing::error!(
                digest = %wanted.digest, from = liar.name(), error = in_one_line(&error),
                "a source sent what it must not; its connection is dropped",
            );
            liar.judged(Conduct::Lied);
        }
        if transfer.received() > before {
            attempt = 1;
        }
        if !error.is_worth_another_attempt() || attempt >= ATTEMPTS {
            return Err(error);
        }
        tracing::info!(digest = %wanted.digest, attempt, error = in_one_line(&error), "trying again");
        if deceived {
            // A new connection to the same liar does not shorten this wait.
            sleep(wait_after(attempt)).await;
        } else {
            pause(wait_after(attempt), &mut above).await;
        }
        attempt += 1;
    }
}

/// The node above, once there is one.
async fn current(sources: &mut Sources) -> Option<Arc<dyn PieceSource>> {
    let connected = timeout(SOURCE_WAIT, sources.wait_for(Option::is_some)).await;
    connected.ok().and_then(Result::ok).and_then(|source| source.clone())
}

/// The wait before the next attempt; another source cuts it short.
async fn pause(wait: Duration, sources: &mut Sources) {
    tokio::select! {
        () = sleep(wait) => {}
        changed = sources.changed() => {
            if changed.is_err() {
                // No other source will ever come.
                sleep(wait).await;
            }
        }
    }
}

fn wait_after(attempt: u32) -> Duration {
    jittered(FIRST_WAIT.saturating_mul(1 << attempt.min(16)).min(LONGEST_WAIT) / 2)
}
