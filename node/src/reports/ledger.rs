//! The primary's ledger of machines: who joined, what each said last, and the
//! tallies of it all.
//!
//! One task owns the tables ([`book`]); everything that changes them is an order to
//! it, and orders that come together are written together. The tallies are kept in
//! memory, changed only after the disk has what changed them, and counted anew from
//! the disk when the node starts: so they never run ahead of what is durable, and
//! restarts change nothing.
//!
//! The planner of rollouts reads them here: [`Ledger::read`] and [`Ledger::changes`];
//! for waves it watches cells ([`Ledger::watch`]).

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::{SignedDuration, Timestamp};
use patchmesh_proto::convert;
use patchmesh_topology::compliance::Register;
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::name::{GroupName, MachineName, NodeName};
use patchmesh_topology::revision::RevisionId;
use patchmesh_topology::tally::{Selection, Tallies, cell};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::held::Held;
use super::intake::{Answer, Error};
use super::queue;
use crate::generation::Current;
use crate::identity::authority::Attempt;
use crate::identity::sealed::Sealed;
use crate::store::{self, Store};

mod book;
mod enrol;
mod load;
pub mod records;

#[cfg(test)]
mod tests;

pub use enrol::{Enrolled, Refusal};

/// Machines of a mesh.
pub const MAX_MACHINES: u64 = 1_000_000;

/// The handle; cheap to clone.
#[derive(Debug, Clone)]
pub struct Ledger {
    store: Store,
    tallies: Arc<RwLock<Tallies>>,
    register: Arc<RwLock<Register>>,
    changes: watch::Receiver<u64>,
    orders: mpsc::Sender<Order>,
}

/// What changes the ledger.
#[derive(Debug)]
enum Order {
    /// Batches to be counted.
    Batches(Vec<Sealed>, oneshot::Sender<Result<Vec<Answer>, Error>>),
    /// A machine wants to join.
    Enrol(Box<Attempt>, oneshot::Sender<Result<Enrolled, Refusal>>),
    /// A token is to be made.
    Token(Box<NewToken>, oneshot::Sender<Result<(), Refusal>>),
    /// A machine is to be shut out.
    Revoke { machine: MachineName, by: String, comment: String, answer: Done },
    /// Selections to be counted from now on.
    Watch(Vec<(String, Selection)>, oneshot::Sender<Result<(), WatchError>>),
    /// Revisions of which the register is to say who has them.
    FollowRemoval(BTreeSet<RevisionId>, oneshot::Sender<Result<(), WatchError>>),
}

type Done = oneshot::Sender<Result<(), Refusal>>;

/// A token as the ledger needs it.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Its name.
    pub id: String,
    /// The group.
    pub group: GroupName,
    /// Whom its holders ask.
    pub via: NodeName,
    /// SHA-256 of its secret.
    pub secret_sha256: Sha256,
    /// How long it is good.
    pub life: SignedDuration,
    /// How many machines it lets in.
    pub uses: u32,
    /// Who asked for it.
    pub by: String,
}

/// Why a selection is not watched, or it is not known who has a revision.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WatchError {
    /// There are too many.
    #[error(transparent)]
    TooMany(#[from] cell::TooMany),
    /// The machines could not be counted.
    #[error("the machines cannot be read")]
    Store(#[from] Arc<store::Error>),
    /// The node is about to end.
    #[error("the node is shutting down")]
    Stopped,
}

impl Ledger {
    /// Counts what is on the disk, and starts the task that owns it. Blocks for
    /// some seconds where there are a million machines.
    ///
    /// # Errors
    /// A failing disk, or a damaged record.
    pub fn open(
        store: &Store,
        current: Current,
        tasks: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) -> Result<Self, store::Error> {
        let load::Counted { tallies, register, machines } = load::all(store)?;
        let (tallies, register) = (Arc::new(RwLock::new(tallies)), Arc::new(RwLock::new(register)));
        let (sender, changes) = watch::channel(0);
        let counts = book::Counts { tallies: tallies.clone(), register: register.clone() };
        let mut book = book::Book::new(store.clone(), current, counts, sender, machines);
        let orders = queue::start(move |orders| book.keep(orders), tasks, stop.clone());
        Ok(Self { store: store.clone(), tallies, register, changes, orders })
    }

    /// Looks at the tallies. What `look` does is to be short: counting waits for it.
    pub fn read<T>(&self, look: impl FnOnce(&Tallies) -> T) -> T {
        // A panic elsewhere ends the task that changes them, and with it the node.
        look(&self.tallies.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The tallies of this moment. A copy costs some milliseconds where many sites
    /// report about many revisions; [`Ledger::read`] does not.
    #[must_use]
    pub fn tallies(&self) -> Tallies {
        self.read(Clone::clone)
    }

    /// All machines as they are at this moment. Cheap, and nobody waits for it.
    #[must_use]
    pub fn register(&self) -> Register {
        self.register.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// As [`Ledger::register`], and it says who has any of these revisions, which rollouts
    /// remove. All machines are read once where that was not asked of one of them before.
    ///
    /// # Errors
    /// The machines cannot be read.
    pub async fn register_of(&self, removed: BTreeSet<RevisionId>) -> Result<Register, WatchError> {
        let register = self.register();
        if register.follows_removal_of(&removed) {
            return Ok(register);
        }
        let (answer, answered) = oneshot::channel();
        let order = Order::FollowRemoval(removed, answer);
        self.orders.send(order).await.map_err(|_| WatchError::Stopped)?;
        answered.await.map_err(|_| WatchError::Stopped)??;
        Ok(self.register())
    }

    /// Is told when the tallies have changed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// Counts these selections from now on, each under its name, in place of what
    /// had the name before. All machines are read once for them together.
    ///
    /// # Errors
    /// There are too many, or the machines cannot be read.
    pub async fn watch(&self, selections: Vec<(String, Selection)>) -> Result<(), WatchError> {
        let (answer, answered) = oneshot::channel();
        let order = Order::Watch(selections, answer);
        self.orders.send(order).await.map_err(|_| WatchError::Stopped)?;
        answered.await.map_err(|_| WatchError::Stopped)?
    }

    /// Counts these no more.
    pub fn unwatch<'a>(&self, names: impl IntoIterator<Item = &'a str>) {
        let mut tallies = self.tallies.write().unwrap_or_else(PoisonError::into_inner);
        names.into_iter().for_each(|name| tallies.unwatch(name));
    }

    /// Counts batches; what is answered as held is durable. One answer for each.
    ///
    /// # Errors
    /// They cannot be written: none is counted.
    pub async fn take(&self, batches: Vec<Sealed>) -> Result<Vec<Answer>, Error> {
        let (answer, answered) = oneshot::channel();
        let order = Order::Batches(batches, answer);
        self.orders.send(order).await.map_err(|_| Error::Stopped)?;
        answered.await.map_err(|_| Error::Stopped)?
    }

    /// Lets a machine in, against its group's token.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub async fn enrol(&self, attempt: Attempt) -> Result<Enrolled, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.ask(Order::Enrol(Box::new(attempt), answer), answered).await
    }

    /// Enters a token.
    ///
    /// # Errors
    /// No such group, or a failing disk.
    pub async fn make_token(&self, token: NewToken) -> Result<(), Refusal> {
        let (answer, answered) = oneshot::channel();
        self.ask(Order::Token(Box::new(token), answer), answered).await
    }

    /// Shuts a machine out. Its words count no more, and nothing that it says.
    ///
    /// # Errors
    /// No such machine, or a failing disk.
    pub async fn revoke(
        &self,
        machine: MachineName,
        by: String,
        comment: String,
    ) -> Result<(), Refusal> {
        let (answer, answered) = oneshot::channel();
        self.ask(Order::Revoke { machine, by, comment, answer }, answered).await
    }

    async fn ask<T>(
        &self,
        order: Order,
        answered: oneshot::Receiver<Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        self.orders.send(order).await.map_err(|_| Refusal::Stopped)?;
        answered.await.map_err(|_| Refusal::Stopped)?
    }

    /// Which of a machine's events are counted. Blocks.
    ///
    /// # Errors
    /// A failing disk.
    pub fn held(&self, machine: &MachineName) -> Result<Held, store::Error> {
        let record = self.store.get(&records::MACHINES, machine.as_str())?;
        Ok(Held::from_records(record.unwrap_or_default().epochs))
    }

    /// The group and key of a machine that may take part. Blocks.
    ///
    /// # Errors
    /// A failing disk.
    pub fn member(
        &self,
        machine: &MachineName,
    ) -> Result<Option<(GroupName, Sha256)>, store::Error> {
        if self.store.get(&records::REVOKED, machine.as_str())?.is_some() {
            return Ok(None);
        }
        let record = self.store.get(&records::MACHINES, machine.as_str())?;
        Ok(record.and_then(|record| Some((record.group.parse().ok()?, record.key()?))))
    }

    /// The machines that are shut out, and since when. Blocks.
    ///
    /// # Errors
    /// A failing disk.
    pub fn revoked(&self) -> Result<Vec<(MachineName, Timestamp)>, store::Error> {
        let revoked = self.store.scan(&records::REVOKED)?.into_iter();
        let known = revoked.filter_map(|(name, record)| {
            Some((name.parse().ok()?, convert::time(record.at).ok()?))
        });
        Ok(known.collect())
    }

    /// Where its tables are.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }
}

/// The moment now, to the second where times are compared with certificates'.
fn now() -> Timestamp {
    Timestamp::now()
}
