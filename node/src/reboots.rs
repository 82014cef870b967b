//! The slots that machines of this node have while they restart.
//!
//! A slot is written before it is given, so that it holds after a restart of the
//! node too. It ends when its machine or an administrator says so, never by itself.

use std::num::NonZeroU16;
use std::sync::{Arc, Mutex as Memory, PoisonError};

use jiff::Timestamp;
use patchmesh_proto::admin as wire;
use patchmesh_proto::convert::{time, timestamp_to_wire};
use patchmesh_topology::name::{GroupName, MachineName};
use patchmesh_topology::reboot::slots::{self, Refused, Slot, Slots};
use tokio::sync::Mutex;

use crate::store::{self, Store, Table, Tag};

/// The slots by their machines.
static SLOTS: Table<str, wire::RebootSlot> = Table::new(Tag::RebootSlot, 1);

/// Why a machine gets no slot.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It may not have one now.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It could not be written.
    #[error("the store failed")]
    Store(#[from] store::Error),
}

/// The slots of this node; cheap to clone.
#[derive(Debug, Clone)]
pub struct Reboots {
    store: Store,
    held: Arc<Memory<Slots>>,
    /// One change at a time.
    turn: Arc<Mutex<()>>,
}

impl Reboots {
    /// Goes on with what was taken when the node ended. Blocks.
    ///
    /// # Errors
    /// The store's.
    pub fn open(store: &Store) -> Result<Self, store::Error> {
        let read = |(name, slot): (String, wire::RebootSlot)| {
            let (group, since) = (slot.group.parse().ok()?, time(slot.since).ok()?);
            Some((name.parse().ok()?, Slot { group, since }))
        };
        let held: Slots = store.scan(&SLOTS)?.into_iter().filter_map(read).collect();
        Ok(Self { store: store.clone(), held: Arc::new(Memory::new(held)), turn: Arc::default() })
    }

    /// What is taken.
    #[must_use]
    pub fn held(&self) -> Slots {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives a machine of a group a slot, or lets it keep the one that it has. Without
    /// a limit it needs none.
    ///
    /// # Errors
    /// See [`Error`]; it has none more than before then.
    pub async fn take(
        &self,
        machine: &MachineName,
        group: &GroupName,
        limit: Option<NonZeroU16>,
    ) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let taken = slots::take(&self.held(), machine, group, limit, Timestamp::now())?;
        let Some(slot) = taken else { return Ok(()) };
        let record = to_wire(machine, &slot);
        let write = move |store: &Store| store.put(&SLOTS, record.machine.as_str(), &record);
        self.store.run(write).await?;
        self.change(|held| held.insert(machine.clone(), slot));
        tracing::info!(%machine, %group, "a machine has a slot to restart");
        Ok(())
    }

    /// Takes a machine's slot away; whether it had one.
    ///
    /// # Errors
    /// The store's; it has it still then.
    pub async fn release(&self, machine: &MachineName) -> Result<bool, store::Error> {
        let _turn = self.turn.lock().await;
        if !self.held().contains_key(machine) {
            return Ok(false);
        }
        let key = machine.clone();
        self.store.run(move |store| store.delete(&SLOTS, key.as_str())).await?;
        self.change(|held| held.remove(machine));
        tracing::info!(%machine, "a machine's slot to restart is free again");
        Ok(true)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Slots) -> T) {
        change(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A slot for the wire and the store.
#[must_use]
pub fn to_wire(machine: &MachineName, slot: &Slot) -> wire::RebootSlot {
    wire::RebootSlot {
        machine: machine.to_string(),
        group: slot.group.to_string(),
        since: Some(timestamp_to_wire(slot.since)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::store::Mode;

    #[tokio::test]
    async fn a_slot_is_taken_after_a_restart_until_it_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let name = |text: &str| text.parse::<MachineName>().unwrap();
        let (group, one) = ("tills".parse().unwrap(), NonZeroU16::new(1));
        let store = Store::open(&path, Mode::Create).unwrap();
        let reboots = Reboots::open(&store).unwrap();
        reboots.take(&name("a"), &group, one).await.unwrap();
        let before = reboots.held();
        drop((store, reboots));

        let store = Store::open(&path, Mode::Existing).unwrap();
        let reboots = Reboots::open(&store).unwrap();
        assert_eq!(reboots.held(), before);
        let refused = reboots.take(&name("b"), &group, one).await.unwrap_err();
        assert!(matches!(refused, Error::Refused(Refused::Full { .. })), "{refused}");
        reboots.take(&name("a"), &group, one).await.unwrap();
        assert!(!reboots.release(&name("b")).await.unwrap());
        assert!(reboots.release(&name("a")).await.unwrap());
        reboots.take(&name("b"), &group, one).await.unwrap();
        drop((store, reboots));

        let store = Store::open(&path, Mode::Existing).unwrap();
        let left = Reboots::open(&store).unwrap().held();
        assert_eq!(left.keys().map(MachineName::as_str).collect::<Vec<_>>(), ["b"]);
    }
}
