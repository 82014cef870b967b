//! Payloads: fetching them from above, handing them on below.
//!
//! [`Content`] holds what a node needs of payload blobs. It fetches those that
//! the node is to hold ([`Content::set_wanted`]) in the background, and at once
//! those that a machine or child node asks for. What always holds:
//!
//! - One fetch per blob, however many ask; small ones that nobody waits for
//!   come many at a time ([`small`]).
//! - Every piece is verified before it is written, handed on or served. A source
//!   that sends anything else is named, distrusted and asked again only after a
//!   wait; it can't make this node write more than the blob has room for.
//! - A piece is handed on as soon as it is verified, so depth costs a piece and
//!   not a blob.
//! - Nodes beside each other fetch a payload from above about once together
//!   ([`patchmesh_topology::share`]); what one of them is relied on for it gets
//!   from above, so that they never wait for each other in a circle.
//! - Nothing is fetched that the disk has no room for ([`room`]).
//! - What the disk has spoilt is not handed on, and comes again ([`mend`]).
//! - Each wait has a limit and each fetch a bounded number of attempts. What
//!   failed is recorded, and in the background tried again later.
//!
//! Documents do not come this way: they belong to a generation and are fetched
//! with it ([`parent::get_blobs`]), so that they never wait behind payloads.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use patchmesh_proto::admin;
use patchmesh_topology::digest::Digest;
use patchmesh_topology::link::Class;
use tokio::sync::{Semaphore, watch};

use crate::budget::Budget;
use crate::store::Store;

mod ask;
mod assemble;
mod background;
mod critical;
mod error;
mod fetch;
mod gather;
mod grant;
mod mend;
mod near;
pub mod parent;
mod read;
mod receive;
mod room;
mod send;
mod serve;
mod several;
mod shared;
mod small;
mod source;
mod transfers;
mod writer;

#[cfg(test)]
mod tests;

pub use assemble::Deceit;
pub use background::Readiness;
pub use error::Error;
pub use fetch::Fetch;
pub use grant::Intake;
pub use mend::Tally;
pub use near::Neighbour;
pub use parent::Parent;
pub use read::ByteStream;
pub use room::{Item, Shortage, Turns};
pub use serve::{FrameStream, PartStream, Server};
pub use several::{Holder, Several};
pub use source::{Conduct, Frame, Frames, PieceSource, Small};

use fetch::Running;
use transfers::Transfers;

/// Fetches at a time that someone waits for. More wait for their turn.
const URGENT_FETCHES: usize = 16;

/// Pieces that wait for the disk, of all blobs together: enough to keep it busy,
/// few enough for memory.
const MAX_WRITES: usize = 12;

/// Fetches that run or wait for their turn; more are refused.
const MAX_FETCHES: usize = 4096;

/// The source of a node's payloads, as it comes, changes and goes. A channel
/// whose sender is gone means that there is never one, as on the primary.
pub type Sources = watch::Receiver<Option<Arc<dyn PieceSource>>>;

/// A payload that the node is to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// Its name.
    pub digest: Digest,
    /// Its bytes.
    pub length: u64,
    /// How urgent it is between nodes.
    pub class: Class,
}

impl Wanted {
    /// A payload as urgent as any.
    #[must_use]
    pub const fn new(digest: Digest, length: u64) -> Self {
        Self { digest, length, class: Class::Normal }
    }

    /// The same of another class.
    #[must_use]
    pub const fn with_class(self, class: Class) -> Self {
        Self { class, ..self }
    }
}

/// The payloads that a generation calls for.
#[derive(Debug, Clone, Default)]
struct Wish {
    generation: u64,
    /// Each name once.
    wanted: Arc<[Wanted]>,
    names: Arc<HashSet<Digest>>,
    /// Grows when something wanted was lost: all is counted anew.
    losses: u64,
}

/// How soon a fetch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// At once: somebody waits.
    Urgent,
    /// The caller limits how many run at a time.
    Background,
}

/// A node's payloads; a handle that is cheap to clone.
#[derive(Clone)]
pub struct Content {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    sources: Sources,
    fetches: Mutex<HashMap<Digest, Running>>,
    near: near::Near,
    urgent: Semaphore,
    budget: Budget,
    /// Room for pieces that wait for the disk.
    writes: Arc<Semaphore>,
    transfers: Transfers,
    sendings: shared::Sharers,
    room: room::Room,
    mending: mend::Mending,
    wish: watch::Sender<Wish>,
    background_fetches: usize,
    readiness: watch::Sender<Readiness>,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Content").field(&self.inner.store).finish()
    }
}

impl Content {
    /// Payloads of this store, fetched from `sources` and sent as `budget`
    /// allows. [`Content::run`] must run for those in the background.
    #[must_use]
    pub fn new(store: Store, sources: Sources, background_fetches: usize, budget: Budget) -> Self {
        let inner = Inner {
            store,
            sources,
            fetches: Mutex::default(),
            near: near::Near::default(),
            urgent: Semaphore::new(URGENT_FETCHES),
            budget,
            writes: Arc::new(Semaphore::new(MAX_WRITES)),
            transfers: Transfers::default(),
            sendings: shared::Sharers::default(),
            room: room::Room::default(),
            mending: mend::Mending::default(),
            wish: watch::Sender::default(),
            background_fetches,
            readiness: watch::Sender::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The store that holds the payloads.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Fetches wanted payloads until the future is dropped. What was begun goes
    /// on where it was left after a restart.
    pub async fn run(&self) {
        background::run(self.clone()).await;
    }

    /// States which payloads `generation` calls for, in the order in which they
    /// are to be fetched within their class, and counts anew what it holds. What
    /// is critical is begun at once, beside what runs. Must be called within a
    /// tokio runtime.
    pub fn set_wanted(&self, generation: u64, mut wanted: Vec<Wanted>) {
        // Stable: the order within a class stays.
        wanted.sort_by_key(|one| one.class);
        let mut names = HashSet::with_capacity(wanted.len());
        wanted.retain(|one| names.insert(one.digest));
        let end = wanted.partition_point(|one| one.class <= Class::Critical);
        if end > 0 {
            tokio::spawn(critical::begin(self.clone(), wanted[..end].to_vec()));
        }
        self.inner.wish.send_modify(|wish| {
            wish.generation = generation;
            wish.wanted = wanted.into();
            wish.names = Arc::new(names);
        });
    }

    /// Whether the node is to hold this payload.
    fn wishes_for(&self, digest: &Digest) -> bool {
        self.inner.wish.borrow().names.contains(digest)
    }

    /// How much of what is wanted is held; changes as blobs arrive. Counted by
    /// [`Content::run`].
    #[must_use]
    pub fn readiness(&self) -> watch::Receiver<Readiness> {
        self.inner.readiness.subscribe()
    }

    /// Transfers under way, then those that ended last, newest first.
    #[must_use]
    pub fn transfers(&self) -> Vec<admin::Transfer> {
        self.inner.transfers.list(&self.inner.budget)
    }

    /// Whether payloads come or go at this moment.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        self.inner.transfers.is_any_active() || self.inner.sendings.is_any()
    }

    /// When all that is wanted will be held, given the schedule of the line;
    /// `None` when it is, or nothing can be said, as while the disk is full.
    #[must_use]
    pub fn done_at(&self) -> Option<Timestamp> {
        let readiness = *self.inner.readiness.borrow();
        let (received, rate) = self.inner.transfers.under_way();
        let left = readiness.bytes_wanted.saturating_sub(readiness.bytes_held);
        if left == 0 || self.shortage().is_some() {
            return None;
        }
        // From above, whoever that is.
        let left = left.saturating_sub(received);
        self.inner.budget.standing("", Class::Normal, left, rate).done
    }

    /// Makes sure that a blob is held or being fetched. Must be called within a
    /// tokio runtime, on which the fetch runs to its end even when nobody waits
    /// for it any more.
    #[must_use]
    pub fn ensure(&self, wanted: Wanted, urgency: Urgency) -> Fetch {
        let mut fetches = self.fetches();
        if let Some(running) = fetches.get(&wanted.digest) {
            return Fetch::new(wanted, running.clone());
        }
        if fetches.len() >= MAX_FETCHES {
            return Fetch::refused(wanted, Error::Busy { fetches: MAX_FETCHES });
        }
        let (sender, running) = Running::new();
        fetches.insert(wanted.digest, running.clone());
        drop(fetches);
        fetch::spawn(self.clone(), wanted, urgency, sender, running.pins.clone());
        Fetch::new(wanted, running)
    }

    fn fetches(&self) -> MutexGuard<'_, HashMap<Digest, Running>> {
        // The map is whole after every statement, so a panic elsewhere does
        // not spoil it.
        self.inner.fetches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
