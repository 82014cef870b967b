//! Makes generations, one after the other.
//!
//! One task owns the writing. A change is a function of the [`Draft`]; it
//! runs alone, so what it reads is still so when it is signed. Then the new
//! documents are written, the roles that changed are signed, and the outcome
//! is put through the very checks that a child makes before it is committed
//! in one transaction: a fault here is found before anybody else sees it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use patchmesh_topology::approval;
use patchmesh_topology::name::NodeName;
use patchmesh_topology::view::awaited::ByNode;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::draft::{Draft, Written};
use super::machines::Machines;
use super::pending;
use super::signing::Signing;
use super::views::{Tally, Views, lacks_views};
use super::writing::Writing;
use crate::generation::load::{self, Loaded, Staged};
use crate::generation::{Current, Generation, storage};
use crate::store::{self, Store};
use crate::tuf::key::KeyId;
use crate::tuf::repository::Custody;

/// Changes that may wait; callers beyond that wait for room.
const QUEUE: usize = 64;
/// How often signatures are looked at for renewal.
const TICK: Duration = Duration::from_secs(30);

/// Why nothing was published. `R` is the change's own refusal.
#[derive(Debug, thiserror::Error)]
pub enum Error<R: std::error::Error + 'static> {
    /// The change itself refused.
    #[error(transparent)]
    Refused(R),
    /// The change was fine, publishing it was not.
    #[error("the change could not be published; nothing was changed")]
    Failed(#[source] Arc<Fault>),
    /// The node is shutting down.
    #[error("the node is shutting down; nothing was changed")]
    Stopped,
}

/// What can go wrong while a generation is made.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It would promote what lacks the evidence that promotion asks for.
    #[error("what it promotes lacks evidence")]
    Unproven(#[source] approval::Rejection),
    /// Reading or committing.
    #[error("the store failed")]
    Store(#[from] store::Error),
    /// Signing.
    #[error("the metadata could not be signed")]
    Sign(#[from] super::signing::Error),
    /// Writing down what has to be signed elsewhere.
    #[error(
        "the decision needs signatures that are made elsewhere, and could not be kept for them"
    )]
    Pending(#[from] Box<super::pending::Error>),
    /// Building a view.
    #[error("a view could not be built")]
    View(#[from] super::views::Error),
    /// The outcome cannot be read back.
    #[error("the new generation cannot be read back")]
    Load(#[from] load::Error),
    /// A document that the outcome names was not written.
    #[error("the new generation names {0} documents that were not written")]
    Lacking(usize),
    /// A worker thread ended abnormally.
    #[error("the publishing thread ended abnormally")]
    Thread(#[from] tokio::task::JoinError),
}

type Job = Box<dyn FnOnce(&mut Worker) + Send>;

/// Handle of the publishing task; cheap to clone.
#[derive(Debug, Clone)]
pub struct Publisher {
    jobs: mpsc::Sender<Job>,
    custody: watch::Receiver<Arc<Vec<Custody>>>,
    views: watch::Receiver<Tally>,
}

/// The publishing task is gone.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the node is shutting down; nothing was changed")]
pub struct Stopped;

impl Publisher {
    /// Runs `job` alone, between changes.
    ///
    /// # Errors
    /// [`Stopped`]; whether the job ran is not known then.
    pub async fn alone<T, F>(&self, job: F) -> Result<T, Stopped>
    where
        T: Send + 'static,
        F: FnOnce(&mut Worker) -> T + Send + 'static,
    {
        let (answer, outcome) = oneshot::channel();
        let job: Job = Box::new(move |worker| {
            let _ = answer.send(job(worker));
        });
        self.jobs.send(job).await.map_err(|_| Stopped)?;
        outcome.await.map_err(|_| Stopped)
    }

    /// Who holds each role, and whether the keys are here.
    #[must_use]
    pub fn custody(&self) -> Arc<Vec<Custody>> {
        self.custody.borrow().clone()
    }

    /// How many views there are, and what building them took.
    #[must_use]
    pub fn views(&self) -> Tally {
        *self.views.borrow()
    }

    /// Whether the keys here are enough to sign for every role.
    #[must_use]
    pub fn is_single_operator(&self) -> bool {
        self.custody.borrow().iter().all(|role| role.is_online)
    }

    /// Runs `change` alone and publishes what it wrote. Returns its answer
    /// and the generation that says so; unchanged drafts publish nothing.
    ///
    /// # Errors
    /// See [`Error`]; in every case nothing was changed.
    pub async fn publish<T, R, F>(&self, change: F) -> Result<(T, Arc<Generation>), Error<R>>
    where
        T: Send + 'static,
        R: std::error::Error + Send + 'static,
        F: FnOnce(&mut Draft) -> Result<T, R> + Send + 'static,
    {
        let (answer, generation, _) = self.publish_noting(change).await?;
        Ok((answer, generation))
    }

    /// The same, and the numbers of what now waits for signatures that are
    /// made elsewhere ([`super::pending`]) instead of being in the generation.
    ///
    /// # Errors
    /// As for [`Publisher::publish`].
    pub async fn publish_noting<T, R, F>(
        &self,
        change: F,
    ) -> Result<(T, Arc<Generation>, Vec<u64>), Error<R>>
    where
        T: Send + 'static,
        R: std::error::Error + Send + 'static,
        F: FnOnce(&mut Draft) -> Result<T, R> + Send + 'static,
    {
        let (answer, outcome) = oneshot::channel();
        let job: Job = Box::new(move |worker| {
            let outcome = worker.change(change);
            let pended = worker.take_pended();
            let outcome = outcome.map(|(answer, generation)| (answer, generation, pended));
            // The caller may have gone away; what was decided stands all the same.
            let _ = answer.send(outcome);
        });
        self.jobs.send(job).await.map_err(|_| Error::Stopped)?;
        outcome.await.map_err(|_| Error::Stopped)?
    }
}

/// What a generation is made with.
#[derive(Debug)]
pub struct Press {
    /// Where generations and records go.
    pub store: Store,
    /// The roles' keys.
    pub signing: Signing,
    /// Builds repositories for stock clients.
    pub views: Views,
    /// This node.
    pub name: NodeName,
}

/// What the publishing task owns.
#[derive(Debug)]
pub struct Worker {
    /// Makes generations.
    pub press: Press,
    /// Told of every new generation.
    pub current: Current,
    /// What machines said, which promotion may ask for.
    machines: Machines,
    /// What nodes say has not arrived there, as far as views are built for it.
    awaited: watch::Receiver<Arc<ByNode>>,
    /// What the last change left waiting for signatures.
    pended: Vec<u64>,
}

impl Worker {
    /// A worker that goes on from the generation in `current`.
    #[must_use]
    pub fn new(press: Press, current: Current) -> Self {
        let awaited = watch::channel(Arc::default()).1;
        Self { press, current, machines: Machines::none(), awaited, pended: Vec::new() }
    }

    /// One that judges promotions by what these machines said, too.
    #[must_use]
    pub fn hearing(self, machines: Machines) -> Self {
        Self { machines, ..self }
    }

    /// One that builds views for nodes that await something, too.
    #[must_use]
    pub fn awaiting(self, awaited: watch::Receiver<Arc<ByNode>>) -> Self {
        Self { awaited, ..self }
    }

    /// Starts the task; it ends when cancelled, after the change under way.
    #[must_use]
    pub fn start(self, tasks: &mut JoinSet<()>, cancel: CancellationToken) -> Publisher {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (known, custody) = watch::channel(self.custody());
        let views = self.press.views.tally();
        tasks.spawn(self.run(queue, known, cancel));
        Publisher { jobs, custody, views }
    }

    fn custody(&self) -> Arc<Vec<Custody>> {
        Arc::new(self.press.signing.custody(Timestamp::now()))
    }

    async fn run(
        mut self,
        mut queue: mpsc::Receiver<Job>,
        known: watch::Sender<Arc<Vec<Custody>>>,
        cancel: CancellationToken,
    ) {
        let mut tick = tokio::time::interval(TICK);
        loop {
            let job: Job = tokio::select! {
                () = cancel.cancelled() => return,
                _ = tick.tick() => Box::new(Worker::renew),
                job = queue.recv() => match job {
                    Some(job) => job,
                    None => return,
                },
            };
            // Signing, compressing and RocksDB are work for a blocking thread.
            self = match tokio::task::spawn_blocking(move || {
                job(&mut self);
                self
            })
            .await
            {
                Ok(worker) => {
                    known.send_replace(worker.custody());
                    worker
                }
                Err(error) => {
                    tracing::error!(%error, "the publisher stopped: restart this node");
                    return;
                }
            };
        }
    }

    pub(super) fn change<T, R, F>(&mut self, change: F) -> Result<(T, Arc<Generation>), Error<R>>
    where
        R: std::error::Error + 'static,
        F: FnOnce(&mut Draft) -> Result<T, R>,
    {
        let generation = self.current.get();
        let mut draft = self.draft(Timestamp::now());
        let failed = |fault: Fault| Error::Failed(Arc::new(fault));
        let answer = change(&mut draft).map_err(Error::Refused)?;
        // Whichever way it comes, nothing enters production without evidence.
        let faults = draft.unpromotable(&generation);
        if !faults.is_empty() {
            return Err(failed(Fault::Unproven(approval::Rejection { faults })));
        }
        let written = draft.written_since(&generation);
        let pending = pending::withhold(&self.press.signing, &generation, &mut draft, written)
            .map_err(|error| failed(Box::new(error).into()))?;
        let written = draft.written_since(&generation);
        let published = self.write(&generation, draft, written).map_err(failed)?;
        self.pended = pending;
        if published.number != generation.number {
            self.look_at_pending();
        }
        Ok((answer, published))
    }

    /// A draft of the next generation, for a look at what it would say.
    pub(super) fn draft(&self, now: Timestamp) -> Draft {
        let mut draft = Draft::of(&self.current.get(), self.press.store.clone(), now);
        draft.machines = self.machines.clone();
        draft.awaited = self.awaited.borrow().clone();
        draft
    }

    /// What the last change left waiting for signatures.
    pub(super) fn take_pended(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.pended)
    }

    /// What waits for signatures may have to be prepared anew.
    fn look_at_pending(&self) {
        let now = Timestamp::now();
        let outcome =
            pending::refresh(self, now).and_then(|()| pending::ask_for_renewals(self, now));
        if let Err(error) = outcome {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "what waits for signatures could not be looked at"
            );
        }
    }

    /// The keys on this host that hold a role now.
    pub(super) fn held_keys(&self) -> BTreeSet<KeyId> {
        let custody = self.press.signing.custody(Timestamp::now());
        let ids = custody.iter().flat_map(|role| role.holders.keyids());
        ids.filter(|id| self.press.signing.keys().has(id)).cloned().collect()
    }

    /// Removes from this host the keys that held a role before and hold none
    /// any more: whoever finds one later can do nothing with it.
    pub(super) fn retire(&mut self, before: &BTreeSet<KeyId>) {
        let after = self.held_keys();
        for id in before.difference(&after) {
            match self.press.signing.keys_mut().remove(id) {
                Ok(()) => tracing::info!(key = id.short(), "key retired; its file is removed"),
                Err(error) => tracing::warn!(
                    key = id.short(),
                    error = &error as &dyn std::error::Error,
                    "a retired key's file could not be removed; remove it by hand"
                ),
            }
        }
    }

    fn write(
        &mut self,
        previous: &Arc<Generation>,
        mut draft: Draft,
        written: Written,
    ) -> Result<Arc<Generation>, Fault> {
        if !written.any() {
            if draft.has_records() {
                let (_, writes) = draft.take_additions();
                let mut transaction = self.press.store.transaction();
                writes.into_iter().for_each(|write| write(&mut transaction));
                transaction.commit()?;
            }
            return Ok(previous.clone());
        }
        let generation = self.press.publish(Some(previous.as_ref()), draft, written)?;
        self.current.set(generation.clone());
        tracing::info!(
            from = previous.number,
            to = generation.number,
            ?written,
            "generation published"
        );
        Ok(generation)
    }

    /// Signs again what comes near its expiry.
    fn renew(&mut self) {
        let now = Timestamp::now();
        self.look_at_pending();
        if let Err(error) = pending::publish_met(self) {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "what waits for signatures could not be read");
        }
        if let Err(error) = self.try_renew(now) {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "signatures not renewed; free disk space or check the keys"
            );
        }
    }

    fn try_renew(&mut self, now: Timestamp) -> Result<(), Fault> {
        let generation = self.current.get();
        let views_due = self.press.views.due(&generation, now);
        if !views_due && !self.press.signing.is_due(&generation, now) {
            return Ok(());
        }
        let draft = self.draft(now);
        let written = Written { views: views_due, ..Written::default() };
        let renewed = self.press.publish(Some(&generation), draft, written)?;
        self.current.set(renewed.clone());
        tracing::info!(
            generation = renewed.number,
            timestamp = renewed.timestamp_version,
            "signatures renewed"
        );
        Ok(())
    }

    /// Builds the views that nodes which await something lack.
    pub fn build_awaited(&mut self) {
        let (generation, draft) = (self.current.get(), self.draft(Timestamp::now()));
        if !lacks_views(&generation, &draft.awaited, draft.now) {
            return;
        }
        let written = Written { views: true, ..Written::default() };
        if let Err(error) = self.write(&generation, draft, written) {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "views for nodes that await content could not be built");
        }
    }
}

impl Press {
    /// Writes, signs, checks and commits. Blocks; needs a tokio runtime around it.
    ///
    /// # Errors
    /// See [`Fault`]; nothing has changed then.
    pub fn publish(
        &mut self,
        previous: Option<&Generation>,
        mut draft: Draft,
        written: Written,
    ) -> Result<Arc<Generation>, Fault> {
        let mut writing = Writing::of(previous, &draft, written);
        if written.affects_views() {
            self.views.write(previous, &draft, &self.store, &mut writing)?;
        }
        let (added, writes) = draft.take_additions();
        let mut staged = Staged::new(&self.store, added);
        let signed = self.signing.sign(writing, &mut staged, draft.now)?;
        let generation = match load::load(&signed.trusted, &self.name, &staged, previous)? {
            Loaded::Whole(generation) => Arc::new(*generation),
            Loaded::Lacking(lacking) => return Err(Fault::Lacking(lacking.len())),
        };
        storage::commit(&self.store, &generation, &signed.learned, staged, writes, draft.now)?;
        self.signing.accept(signed);
        Ok(generation)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
