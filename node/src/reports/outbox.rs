//! Batches that wait for the parent, durable.
//!
//! Three lanes: batches with a failure are passed on before all others, and those with a
//! roll-up by themselves, since a parent may not know them yet. What has
//! passed through is remembered as sets of numbers, so that a machine that sends
//! something again, or comes back from another branch, costs no second way up. Where
//! a parent is away for long the outbox fills; then machines are told to keep what
//! they have, which they do in queues of their own.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use patchmesh_proto::report::SignedBatch;
use patchmesh_topology::name::MachineName;
use patchmesh_topology::report::Batch;
use prost::Message;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::held::{Held, HeldRecord};
use super::intake::{Answer, Error};
use super::{MAX_BATCHES, MAX_REQUEST, queue};
use crate::identity::sealed::{Holder, Sealed};
use crate::store::{self, Store, Table, Tag};

/// Bytes of all batches that wait: days of a large branch's events.
pub const MAX_BYTES: u64 = 256 << 20;

/// Bytes of one machine's batches that wait: a machine alone cannot fill it.
pub const MAX_MACHINE_BYTES: u64 = 4 << 20;

/// Batches that wait, by place. Those of the urgent lane come first.
pub(super) static OUTBOX: Table<u64, SignedBatch> = Table::new(Tag::ReportOutbox, 1);

/// What has passed through, by machine and key: whoever has a key that a machine
/// had before must not spoil what is known of its present one.
static HELD: Table<str, HeldRecord> = Table::new(Tag::ReportHeld, 1);

/// Places of batches that are not urgent have this bit.
const PATIENT: u64 = 1 << 63;

/// Those of batches with a roll-up have this one as well.
const ROLLED_UP: u64 = 1 << 62;

/// What is passed on together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Batches with a failure.
    Urgent,
    /// All others.
    Patient,
    /// Batches with a roll-up. Where the parent does not know them they wait until it
    /// does, and nothing behind them.
    RolledUp,
}

impl Lane {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Urgent, Self::Patient, Self::RolledUp];

    /// Of a batch.
    fn of(batch: &Batch) -> Self {
        match &batch.rolled_up {
            Some(_) => Self::RolledUp,
            None if batch.is_urgent() => Self::Urgent,
            None => Self::Patient,
        }
    }

    const fn at(place: u64) -> Self {
        match (place & PATIENT, place & ROLLED_UP) {
            (0, _) => Self::Urgent,
            (_, 0) => Self::Patient,
            _ => Self::RolledUp,
        }
    }

    const fn start(self) -> u64 {
        match self {
            Self::Urgent => 0,
            Self::Patient => PATIENT,
            Self::RolledUp => PATIENT | ROLLED_UP,
        }
    }
}

/// Batches to be passed on, with their places.
pub type Portion = Vec<(u64, SignedBatch)>;

/// The handle; cheap to clone.
#[derive(Debug, Clone)]
pub struct Outbox {
    inner: Arc<Inner>,
    orders: mpsc::Sender<Order>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    waiting: Mutex<Waiting>,
    news: [Notify; Lane::ALL.len()],
}

#[derive(Debug)]
struct Order {
    batches: Vec<Sealed>,
    answer: oneshot::Sender<Result<Vec<Answer>, Error>>,
}

/// What waits, without its bytes.
#[derive(Debug, Default)]
struct Waiting {
    entries: BTreeMap<u64, Entry>,
    bytes: u64,
    of_machines: HashMap<MachineName, u64>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    bytes: u64,
    machine: Option<MachineName>,
}

impl Waiting {
    fn add(&mut self, place: u64, machine: Option<MachineName>, bytes: u64) {
        self.bytes += bytes;
        if let Some(machine) = &machine {
            *self.of_machines.entry(machine.clone()).or_default() += bytes;
        }
        self.entries.insert(place, Entry { bytes, machine });
        self.next = self.next.max((place & !(PATIENT | ROLLED_UP)) + 1);
    }

    fn remove(&mut self, place: u64) {
        let Some(entry) = self.entries.remove(&place) else { return };
        self.bytes -= entry.bytes;
        let Some(machine) = entry.machine else { return };
        if let Some(bytes) = self.of_machines.get_mut(&machine) {
            *bytes -= entry.bytes;
            if *bytes == 0 {
                self.of_machines.remove(&machine);
            }
        }
    }

    /// Whether so many bytes of a machine find room.
    fn check(&self, machine: &MachineName, bytes: u64) -> Result<(), Error> {
        let theirs = self.of_machines.get(machine).copied().unwrap_or_default();
        if theirs + bytes > MAX_MACHINE_BYTES {
            let (machine, most) = (machine.clone(), MAX_MACHINE_BYTES);
            return Err(Error::MachineFull { machine, waiting: theirs, most });
        }
        if self.bytes + bytes > MAX_BYTES {
            return Err(Error::Full { waiting: self.bytes, most: MAX_BYTES });
        }
        Ok(())
    }
}

impl Outbox {
    /// Opens the outbox of a store, and starts the task that writes to it. Blocks.
    ///
    /// # Errors
    /// A failing disk, or a damaged record.
    pub fn open(
        store: &Store,
        tasks: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) -> Result<Self, store::Error> {
        let mut waiting = Waiting::default();
        store.for_each(&OUTBOX, |place, batch| {
            let bytes = batch.encoded_len() as u64;
            waiting.add(place, machine_of(&batch), bytes);
            Ok(true)
        })?;
        let waiting = Mutex::new(waiting);
        let inner = Arc::new(Inner { store: store.clone(), waiting, news: Default::default() });
        let keeper = inner.clone();
        let orders = queue::start(move |orders| keeper.keep(orders), tasks, stop.clone());
        Ok(Self { inner, orders })
    }

    /// Keeps batches until the parent has them. One answer for each.
    ///
    /// # Errors
    /// There is no room, or they cannot be written: none is kept.
    pub async fn take(&self, batches: Vec<Sealed>) -> Result<Vec<Answer>, Error> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(Order { batches, answer }).await.map_err(|_| Error::Stopped)?;
        answered.await.map_err(|_| Error::Stopped)?
    }

    /// What has passed through of a machine's events. Blocks.
    ///
    /// # Errors
    /// A failing disk.
    pub fn held(&self, holder: &Holder) -> Result<Held, store::Error> {
        self.inner.held(&held_key(holder))
    }

    /// Bytes that wait.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.inner.waiting().bytes
    }

    /// The next batches of a lane, at most `most` of them; waits for one.
    ///
    /// # Errors
    /// A failing disk.
    pub async fn next(&self, lane: Lane, most: usize) -> Result<Portion, store::Error> {
        loop {
            let news = self.inner.news[lane as usize].notified();
            let places = self.inner.waiting().first(lane, most.min(MAX_BATCHES));
            if !places.is_empty() {
                let read = move |store: &Store| {
                    let mut portion = Portion::new();
                    for place in places {
                        // What is not there was passed on meanwhile.
                        if let Some(batch) = store.get(&OUTBOX, &place)? {
                            portion.push((place, batch));
                        }
                    }
                    Ok::<_, store::Error>(portion)
                };
                return self.inner.store.run(read).await;
            }
            news.await;
        }
    }

    /// Forgets batches that the parent answered for. A loss of power may undo it:
    /// then they are passed on again, which does no harm.
    ///
    /// # Errors
    /// A failing disk.
    pub async fn done(&self, places: Vec<u64>) -> Result<(), store::Error> {
        let gone = places.clone();
        let forget = move |store: &Store| {
            let mut transaction = store.transaction();
            for place in &gone {
                transaction.delete(&OUTBOX, place);
            }
            transaction.commit_relaxed()
        };
        self.inner.store.run(forget).await?;
        let mut waiting = self.inner.waiting();
        places.into_iter().for_each(|place| waiting.remove(place));
        Ok(())
    }
}

impl Waiting {
    /// The first places of a lane, as many as fit a request.
    fn first(&self, lane: Lane, most: usize) -> Vec<u64> {
        let (mut bytes, mut places) = (0, Vec::new());
        let entries = self.entries.range(lane.start()..).take(most);
        for (place, entry) in entries.take_while(|(place, _)| Lane::at(**place) == lane) {
            // What repeated fields cost each is less than this.
            bytes += entry.bytes + 8;
            if bytes > MAX_REQUEST as u64 && !places.is_empty() {
                break;
            }
            places.push(*place);
        }
        places
    }
}

impl Inner {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Counts are changed together, so a panic elsewhere does not spoil them.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self, key: &str) -> Result<Held, store::Error> {
        let record = self.store.get(&HELD, key)?.unwrap_or_default();
        Ok(Held::from_records(record.epochs))
    }

    /// Writes all orders that came together, in one step.
    fn keep(&self, orders: Vec<Order>) {
        let mut draft = Draft::new(self);
        let mut answers = Vec::with_capacity(orders.len());
        for Order { batches, answer } in orders {
            answers.push((answer, draft.take(&batches)));
        }
        let Draft { held, added, next: _, room: _, inner: _ } = draft;
        let mut transaction = self.store.transaction();
        for (key, held) in &held {
            let record = HeldRecord { epochs: held.to_records() };
            transaction.put(&HELD, key.as_str(), &record);
        }
        for (place, batch, _) in &added {
            transaction.put(&OUTBOX, place, batch);
        }
        let written = transaction.commit().map_err(|error| Error::Store(Arc::new(error)));
        if written.is_ok() {
            let mut waiting = self.waiting();
            let mut lanes = [false; Lane::ALL.len()];
            for (place, batch, machine) in added {
                lanes[Lane::at(place) as usize] = true;
                waiting.add(place, Some(machine), batch.encoded_len() as u64);
            }
            drop(waiting);
            for (lane, _) in Lane::ALL.iter().zip(lanes).filter(|(_, news)| *news) {
                self.news[*lane as usize].notify_one();
            }
        }
        for (answer, taken) in answers {
            // Nobody waits any more where the caller has gone.
            let _ = answer.send(taken.and_then(|taken| written.clone().map(|()| taken)));
        }
    }
}

/// What the orders of one step change.
struct Draft<'a> {
    inner: &'a Inner,
    /// By machine and key.
    held: HashMap<String, Held>,
    added: Vec<(u64, SignedBatch, MachineName)>,
    next: u64,
    room: Room,
}

/// Bytes that the step adds.
#[derive(Default, Clone)]
struct Room {
    all: u64,
    of_machines: HashMap<MachineName, u64>,
}

impl<'a> Draft<'a> {
    fn new(inner: &'a Inner) -> Self {
        let next = inner.waiting().next;
        Self { inner, held: HashMap::new(), added: Vec::new(), next, room: Room::default() }
    }

    /// Takes the batches of one order, or none of them.
    fn take(&mut self, batches: &[Sealed]) -> Result<Vec<Answer>, Error> {
        self.check_room(batches)?;
        let mut answers = Vec::with_capacity(batches.len());
        for sealed in batches {
            answers.push(self.take_one(sealed)?);
        }
        Ok(answers)
    }

    fn take_one(&mut self, sealed: &Sealed) -> Result<Answer, Error> {
        let machine = &sealed.batch.machine;
        let held = self.held_of(&sealed.holder)?;
        // A sign of life has no numbers, and is passed on each time.
        let is_known = !sealed.batch.run().is_empty() && held.covers(&sealed.batch);
        if is_known {
            return Ok(Answer::Held);
        }
        if let Err(error) = held.insert(&sealed.batch) {
            return Ok(Answer::Refused(error.to_string()));
        }
        let place = Lane::of(&sealed.batch).start() + self.next;
        self.next += 1;
        self.added.push((place, sealed.wire.clone(), machine.clone()));
        self.room.all += sealed.bytes();
        *self.room.of_machines.entry(machine.clone()).or_default() += sealed.bytes();
        Ok(Answer::Held)
    }

    fn held_of(&mut self, holder: &Holder) -> Result<&mut Held, Error> {
        let key = held_key(holder);
        if !self.held.contains_key(&key) {
            let held = self.inner.held(&key).map_err(Arc::new)?;
            self.held.insert(key.clone(), held);
        }
        self.held.get_mut(&key).ok_or(Error::Stopped)
    }

    /// Whether all of them find room if all of them are new.
    fn check_room(&self, batches: &[Sealed]) -> Result<(), Error> {
        let mut room = self.room.clone();
        let waiting = self.inner.waiting();
        for sealed in batches {
            let theirs = room.of_machines.entry(sealed.batch.machine.clone()).or_default();
            *theirs += sealed.bytes();
            room.all += sealed.bytes();
            waiting.check(&sealed.batch.machine, *theirs)?;
            if waiting.bytes + room.all > MAX_BYTES {
                return Err(Error::Full { waiting: waiting.bytes, most: MAX_BYTES });
            }
        }
        Ok(())
    }
}

/// Where it is kept what has passed through of a machine. Its name has no blank.
fn held_key(holder: &Holder) -> String {
    format!("{} {}", holder.name, holder.key)
}

/// Whose batch it is. What is in the outbox was checked on its way in, so it is
/// nobody's only where the disk has spoilt it.
fn machine_of(batch: &SignedBatch) -> Option<MachineName> {
    let batch = patchmesh_proto::report::Batch::decode(batch.batch.clone()).ok()?;
    batch.machine.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
