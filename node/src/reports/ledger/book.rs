//! The task that owns the ledger's tables.
//!
//! Orders that came together are drafted on what is known, written in one
//! transaction, then counted, then answered. When writing fails nothing has
//! happened.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use patchmesh_proto::convert::{self, timestamp_to_wire};
use patchmesh_topology::compliance::Register;
use patchmesh_topology::name::MachineName;
use patchmesh_topology::node::Mesh;
use patchmesh_topology::report::RollUp;
use patchmesh_topology::revision::RevisionId;
use patchmesh_topology::tally::{Last, Machine, News, Outcome, Place, Tallies};
use tokio::sync::{oneshot, watch};

use super::records::{
    FactRecord, GroupTokenRecord, MACHINES, MachineRecord, REVOKED, RevokedRecord, TOKENS,
    ToldRecord, WORDS, WordRecord, as_news, word_key, words_of,
};
use super::{Enrolled, MAX_MACHINES, Order, Refusal, WatchError, load, now};
use crate::generation::{Current, Generation};
use crate::identity::sealed::Sealed;
use crate::reports::held::Held;
use crate::reports::intake::{Answer, Error};
use crate::store::{self, Store};

/// What the task has.
pub(super) struct Book {
    store: Store,
    current: Current,
    counts: Counts,
    changes: watch::Sender<u64>,
    machines: u64,
}

/// What is counted in memory, and looked at by others.
pub(super) struct Counts {
    pub(super) tallies: Arc<RwLock<Tallies>>,
    pub(super) register: Arc<RwLock<Register>>,
}

/// Something that happens to the tallies once it is written.
pub(super) enum Step {
    Enter(Machine),
    Leave,
    News(News),
}

/// A machine in a draft.
pub(super) struct Known {
    /// As it will be written; nothing where there is no such machine.
    pub(super) record: Option<MachineRecord>,
    pub(super) revoked: Option<RevokedRecord>,
    pub(super) revocation_changed: bool,
    pub(super) changed: bool,
    /// As it will be counted; nothing where it will not.
    pub(super) machine: Option<Machine>,
    /// As it is counted.
    counted: Option<Machine>,
    pub(super) steps: Vec<Step>,
    /// What is counted with the present key, and with keys from before.
    pub(super) held: Held,
    pub(super) late: Held,
    words: BTreeMap<RevisionId, WordRecord>,
    gone: BTreeSet<RevisionId>,
    /// Revisions that it has words on, on the disk or in this draft.
    spoken: BTreeSet<RevisionId>,
}

/// Orders that are written together.
pub(super) struct Draft<'a> {
    pub(super) store: &'a Store,
    pub(super) mesh: Arc<Mesh>,
    generation: Arc<Generation>,
    pub(super) now: Timestamp,
    pub(super) machines: u64,
    pub(super) tokens: HashMap<String, GroupTokenRecord>,
    known: HashMap<MachineName, Known>,
}

/// An answer that waits for the write.
enum Pending {
    Batches(oneshot::Sender<Result<Vec<Answer>, Error>>, Result<Vec<Answer>, Error>),
    Enrolled(oneshot::Sender<Result<Enrolled, Refusal>>, Result<Enrolled, Refusal>),
    Done(oneshot::Sender<Result<(), Refusal>>, Result<(), Refusal>),
}

impl Pending {
    // Nobody waits any more where the caller has gone.
    fn send(self, written: &Result<(), Arc<store::Error>>) {
        let failed = || written.clone().err();
        match self {
            Self::Batches(to, answer) => {
                drop(to.send(failed().map_or(answer, |error| Err(error.into()))));
            }
            Self::Enrolled(to, answer) => {
                drop(to.send(failed().map_or(answer, |error| Err(error.into()))));
            }
            Self::Done(to, answer) => {
                drop(to.send(failed().map_or(answer, |error| Err(error.into()))));
            }
        }
    }
}

impl Book {
    /// Over `machines` machines.
    pub(super) const fn new(
        store: Store,
        current: Current,
        counts: Counts,
        changes: watch::Sender<u64>,
        machines: u64,
    ) -> Self {
        Self { store, current, counts, changes, machines }
    }

    /// Does orders that came together.
    pub(super) fn keep(&mut self, orders: Vec<Order>) {
        let generation = self.current.get();
        let store = self.store.clone();
        let mut draft = Draft {
            store: &store,
            mesh: generation.mesh.clone(),
            generation,
            now: now(),
            machines: self.machines,
            tokens: HashMap::new(),
            known: HashMap::new(),
        };
        let (mut pending, mut watches, mut removals) = (Vec::new(), Vec::new(), Vec::new());
        for order in orders {
            pending.push(match order {
                Order::Batches(batches, to) => {
                    let taken: Result<Vec<Answer>, Arc<store::Error>> =
                        batches.iter().map(|sealed| draft.take(sealed)).collect();
                    Pending::Batches(to, taken.map_err(Error::from))
                }
                Order::Enrol(attempt, to) => Pending::Enrolled(to, draft.enrol(&attempt)),
                Order::Token(token, to) => Pending::Done(to, draft.make_token(*token)),
                Order::Revoke { machine, by, comment, answer } => {
                    Pending::Done(answer, draft.revoke(&machine, by, comment))
                }
                Order::Watch(selections, to) => {
                    watches.push((selections, to));
                    continue;
                }
                Order::FollowRemoval(revisions, to) => {
                    removals.push((revisions, to));
                    continue;
                }
            });
        }
        let written = draft.write().map_err(Arc::new);
        if written.is_ok() {
            self.machines = draft.machines;
            self.count(draft);
        }
        for one in pending {
            one.send(&written);
        }
        for (selections, to) in watches {
            drop(to.send(self.watch(selections)));
        }
        for (revisions, to) in removals {
            drop(to.send(self.follow_removal_of(revisions)));
        }
    }

    /// Changes the tallies by what was written.
    fn count(&self, draft: Draft<'_>) {
        let mut changed = false;
        let mut tallies = self.counts.tallies.write().unwrap_or_else(PoisonError::into_inner);
        let mut register = self.counts.register.write().unwrap_or_else(PoisonError::into_inner);
        for (name, known) in draft.known {
            if !known.steps.is_empty() {
                match (&known.machine, &known.record) {
                    (Some(machine), Some(record)) => register.put(&name, machine, record.says()),
                    _ => register.remove(&name),
                }
            }
            let mut counted = known.counted;
            for step in known.steps {
                changed = true;
                match step {
                    Step::Enter(machine) => {
                        tallies.enter(&name, &machine);
                        counted = Some(machine);
                    }
                    Step::Leave => {
                        if let Some(machine) = counted.take() {
                            tallies.leave(&name, &machine);
                        }
                    }
                    Step::News(news) => {
                        if let Some(machine) = &mut counted {
                            tallies.change(&name, machine, news);
                        }
                    }
                }
            }
        }
        drop((tallies, register));
        if changed {
            self.changes.send_modify(|count| *count += 1);
        }
    }

    fn watch(
        &self,
        selections: Vec<(String, patchmesh_topology::tally::Selection)>,
    ) -> Result<(), WatchError> {
        // Only this task changes what is counted, so nothing is missed meanwhile.
        let cells = load::cells(&self.store, selections).map_err(Arc::new)?;
        let mut tallies = self.counts.tallies.write().unwrap_or_else(PoisonError::into_inner);
        for (name, cell) in cells {
            tallies.watch(&name, cell)?;
        }
        drop(tallies);
        self.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Lets the register say who has these.
    fn follow_removal_of(&self, revisions: BTreeSet<RevisionId>) -> Result<(), WatchError> {
        // Only this task changes it; others look at the one from before meanwhile.
        let register = self.counts.register.read();
        let mut register = register.unwrap_or_else(PoisonError::into_inner).clone();
        if register.follows_removal_of(&revisions) {
            return Ok(());
        }
        let places = self.places_with(&revisions);
        register.follow_removal_of(revisions);
        load::again(&self.store, &places, &mut register).map_err(Arc::new)?;
        *self.counts.register.write().unwrap_or_else(PoisonError::into_inner) = register;
        Ok(())
    }

    /// Where any machine has one of these.
    fn places_with(&self, revisions: &BTreeSet<RevisionId>) -> BTreeSet<Place> {
        let tallies = self.counts.tallies.read().unwrap_or_else(PoisonError::into_inner);
        let said = revisions.iter().flat_map(|one| tallies.said(one));
        let has = said.filter(|(_, count)| count.installed > 0);
        has.map(|(place, _)| place.clone()).collect()
    }
}

impl Draft<'_> {
    /// What is known of a machine.
    pub(super) fn known(&mut self, name: &MachineName) -> Result<&mut Known, Arc<store::Error>> {
        if !self.known.contains_key(name) {
            let known = Known::read(self.store, name)?;
            self.known.insert(name.clone(), known);
        }
        // It was put there just now.
        self.known.get_mut(name).ok_or_else(|| Arc::new(store::Error::Stopped))
    }

    /// Counts one batch.
    fn take(&mut self, sealed: &Sealed) -> Result<Answer, Arc<store::Error>> {
        let (batch, holder) = (&sealed.batch, &sealed.holder);
        let (machines, received) = (self.machines, self.now);
        let known = self.known(&batch.machine)?;
        if let Some(revoked) = &known.revoked {
            let at = convert::time(revoked.at).unwrap_or_default();
            if holder.issued_at <= at {
                let name = &batch.machine;
                return Ok(Answer::Refused(format!("machine {name} was revoked at {at}")));
            }
        }
        let enrolled = known.record.as_ref().map(MachineRecord::enrolled);
        let is_key = known.record.as_ref().is_some_and(|one| one.key() == Some(holder.key));
        // The CA has let it in since: a primary that was restored from a backup, or
        // took another's place, does not remember it.
        let is_newer = enrolled.is_none_or(|at| holder.issued_at > at);
        if is_newer && (!is_key || known.revoked.is_some()) {
            if known.record.is_none() && machines >= MAX_MACHINES {
                return Ok(Answer::Refused(Refusal::TooMany.to_string()));
            }
            let record = MachineRecord {
                group: holder.group.to_string(),
                site: batch.site.to_string(),
                key: holder.key.as_bytes().to_vec(),
                enrolled_at: Some(timestamp_to_wire(holder.issued_at)),
                ..MachineRecord::default()
            };
            self.begin_anew(&batch.machine, record)?;
        }
        // What a key from before says happened, and says nothing about the machine now.
        let is_late = !is_key && !is_newer;
        let generation = self.generation.clone();
        let known = self.known(&batch.machine)?;
        // Nor may it push out what is known of others.
        if is_late && !known.late.has_room_for(batch) {
            return Ok(Answer::Refused("it is of a key that the machine had long ago".to_owned()));
        }
        let (held, others) = match is_late {
            true => (&mut known.late, &known.held),
            false => (&mut known.held, &known.late),
        };
        // A machine that joins again goes on with its queue.
        held.adopt(batch, others);
        let new = match held.insert(batch) {
            Ok(new) => new,
            Err(error) => return Ok(Answer::Refused(error.to_string())),
        };
        let is_new = |sequence: &u64| new.iter().any(|run| run.contains(sequence));
        // All of it is new, or nothing.
        if let Some(one) = batch.rolled_up.as_ref().filter(|one| is_new(&one.span().start)) {
            known.count_rolled_up(one, is_late);
        }
        let events = batch.numbered().filter(|(sequence, _)| is_new(sequence));
        let mut words = Vec::new();
        for (sequence, event) in events {
            known.count(event.outcome, is_late);
            if !is_late && generation.catalogue.contains_key(&event.revision) {
                let mut last = batch.word(sequence, event);
                // A clock that is ahead must not make a word the last one for ever.
                last.at = last.at.min(received);
                words.push((last, event));
            }
        }
        if !is_late {
            known.say(sealed, received, words);
        }
        known.changed = true;
        Ok(Answer::Held)
    }

    /// Writes everything in one step.
    fn write(&self) -> Result<(), store::Error> {
        let mut transaction = self.store.transaction();
        for (id, token) in &self.tokens {
            transaction.put(&TOKENS, id, token);
        }
        for (name, known) in &self.known {
            let name = name.as_str();
            if known.revocation_changed {
                match &known.revoked {
                    Some(revoked) => transaction.put(&REVOKED, name, revoked),
                    None => transaction.delete(&REVOKED, name),
                };
            }
            if !known.changed {
                continue;
            }
            for revision in &known.gone {
                transaction.delete(&WORDS, &word_key(name, revision));
            }
            for (revision, word) in &known.words {
                transaction.put(&WORDS, &word_key(name, revision), word);
            }
            if let Some(record) = &known.record {
                let (epochs, late_epochs) = (known.held.to_records(), known.late.to_records());
                let record = MachineRecord { epochs, late_epochs, ..record.clone() };
                transaction.put(&MACHINES, name, &record);
            }
        }
        transaction.commit()
    }
}

impl Known {
    fn read(store: &Store, name: &MachineName) -> Result<Self, store::Error> {
        let record = store.get(&MACHINES, name.as_str())?;
        let revoked = store.get(&REVOKED, name.as_str())?;
        let words = if record.is_some() { words_of(store, name)? } else { BTreeMap::new() };
        let machine = record.as_ref().filter(|_| revoked.is_none()).and_then(|record| {
            let mut machine = record.bare()?;
            machine.take(as_news(&words));
            Some(machine)
        });
        let (epochs, late_epochs) = record
            .as_ref()
            .map(|record| (record.epochs.clone(), record.late_epochs.clone()))
            .unwrap_or_default();
        Ok(Self {
            record,
            revoked,
            revocation_changed: false,
            changed: false,
            counted: machine.clone(),
            machine,
            steps: Vec::new(),
            held: Held::from_records(epochs),
            late: Held::from_records(late_epochs),
            spoken: words.into_keys().collect(),
            words: BTreeMap::new(),
            gone: BTreeSet::new(),
        })
    }

    /// Its words are of an earlier machine.
    pub(super) fn forget_words(&mut self) {
        self.words.clear();
        self.gone.append(&mut self.spoken);
    }

    fn count(&mut self, outcome: Outcome, is_late: bool) {
        let Some(record) = &mut self.record else { return };
        if is_late {
            record.late += 1;
            return;
        }
        record.outcomes.resize(Outcome::ALL.len(), 0);
        record.outcomes[outcome as usize] += 1;
    }

    /// Counts what only the numbers are known of.
    fn count_rolled_up(&mut self, one: &RollUp, is_late: bool) {
        let Some(record) = &mut self.record else { return };
        record.rolled_up = record.rolled_up.saturating_add(one.count());
        if is_late {
            record.late = record.late.saturating_add(one.count());
            return;
        }
        record.outcomes.resize(Outcome::ALL.len(), 0);
        for ((_, outcome), events) in one.counts() {
            let count = &mut record.outcomes[*outcome as usize];
            *count = count.saturating_add(*events);
        }
    }

    /// Takes what a batch says about the machine now.
    fn say(
        &mut self,
        sealed: &Sealed,
        received: Timestamp,
        words: Vec<(Last, &patchmesh_topology::report::Event)>,
    ) {
        let batch = &sealed.batch;
        let (Some(record), Some(machine)) = (&mut self.record, &mut self.machine) else { return };
        let told = (batch.began, batch.epoch, batch.made_at);
        let is_newest = record.told.as_ref().is_none_or(|last| order(last) < told);
        let mut news = News::default();
        if is_newest {
            record.told = Some(ToldRecord {
                began: Some(timestamp_to_wire(batch.began)),
                epoch: batch.epoch,
                made_at: Some(timestamp_to_wire(batch.made_at)),
            });
            record.site = batch.site.to_string();
            record.seen_from = sealed.seen_from.map(|one| one.to_string()).unwrap_or_default();
            let fact = |(name, value): &(String, String)| FactRecord {
                name: name.clone(),
                value: value.clone(),
            };
            record.facts = batch.facts.iter().map(fact).collect();
            let group = machine.place.group.clone();
            news.place = Some(Place { site: batch.site.clone(), group });
        }
        let seen = batch.made_at.min(received);
        if machine.seen.is_none_or(|last| last < seen) {
            record.seen_at = Some(timestamp_to_wire(seen));
            news.seen = Some(seen);
        }
        for (last, event) in words {
            news.words.push((event.revision.clone(), last));
            if machine.say(event.revision.clone(), last) {
                self.words.insert(event.revision.clone(), WordRecord::new(event, &last));
                self.spoken.insert(event.revision.clone());
                self.gone.remove(&event.revision);
            }
        }
        machine.take(News { place: news.place.clone(), seen: news.seen, words: Vec::new() });
        self.steps.push(Step::News(news));
    }
}

fn order(told: &ToldRecord) -> (Timestamp, u64, Timestamp) {
    let time = |at| convert::time(at).unwrap_or_default();
    (time(told.began), told.epoch, time(told.made_at))
}
