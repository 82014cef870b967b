//! Which certificates of machines count at this node.
//!
//! A machine has one key. When it joins again with another, the CA's certificates for the
//! one before are good until they end: so a node remembers the latest certificate that it has
//! seen of each machine, and lets no other key in with an earlier one. Whom the primary
//! shut out, every node is told ([`Revocations`]).
//!
//! What machines signed with such a key is taken all the same where nodes pass it on: it is the
//! primary that says what it counts for.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jiff::{SignedDuration, Timestamp};
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::name::MachineName;
use patchmesh_topology::revocation::{self, Revocations};
use tokio::sync::watch;

use super::CLOCK_SKEW;
use super::ca::MACHINE_LIFETIME;
use super::peer::Refusal;
use crate::generation::Current;
use crate::store::{self, Store, Table, Tag};

/// The latest by machine.
static LATEST: Table<str, Record> = Table::new(Tag::MachineLatest, 1);

#[derive(Clone, PartialEq, prost::Message)]
struct Record {
    /// SHA-256 of the key's SubjectPublicKeyInfo.
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    /// When the certificate was issued, in seconds since 1970.
    #[prost(int64, tag = "2")]
    issued_at: i64,
}

/// A certificate of a machine, as far as it is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Latest {
    key: Sha256,
    /// In seconds since 1970, as certificates state it.
    issued_at: i64,
}

/// What a node knows of machines' certificates; cheap to clone.
#[derive(Debug, Clone)]
pub struct Machines(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    /// One for each machine whose certificate has not ended.
    latest: RwLock<HashMap<MachineName, Latest>>,
    shut_out: RwLock<Arc<Revocations>>,
    changes: watch::Sender<()>,
}

impl Machines {
    /// Goes on with what was seen before the node ended, but for what has ended by `now`.
    /// Blocks.
    ///
    /// # Errors
    /// A failing disk, or a damaged record.
    pub fn open(store: &Store, now: Timestamp) -> Result<Self, store::Error> {
        let (mut latest, mut ended) = (HashMap::new(), Vec::new());
        let oldest = (now - life()).as_second();
        store.for_each(&LATEST, |name, record| {
            let known = (name.parse::<MachineName>(), Sha256::try_from(record.key.as_slice()));
            match known {
                (Ok(machine), Ok(key)) if record.issued_at >= oldest => {
                    latest.insert(machine, Latest { key, issued_at: record.issued_at });
                }
                _ => ended.push(name),
            }
            Ok(true)
        })?;
        let mut transaction = store.transaction();
        for name in &ended {
            transaction.delete(&LATEST, name.as_str());
        }
        transaction.commit_relaxed()?;
        let latest = RwLock::new(latest);
        let (shut_out, changes) = (RwLock::default(), watch::Sender::default());
        Ok(Self(Arc::new(Inner { store: store.clone(), latest, shut_out, changes })))
    }

    /// Whether a certificate of a machine for `key`, issued at `issued_at`, counts here.
    ///
    /// # Errors
    /// [`Refusal::MachineRevoked`] or [`Refusal::MachineKey`].
    pub fn judge(
        &self,
        machine: &MachineName,
        key: Sha256,
        issued_at: Timestamp,
    ) -> Result<(), Refusal> {
        if let Some(at) = revocation::voids(&self.shut_out(), machine, issued_at) {
            return Err(Refusal::MachineRevoked { machine: machine.clone(), at });
        }
        let latest = self.latest().get(machine).copied();
        match latest.filter(|one| one.key != key && one.issued_at > issued_at.as_second()) {
            Some(one) => Err(Refusal::MachineKey {
                machine: machine.clone(),
                since: Timestamp::from_second(one.issued_at).unwrap_or_default(),
            }),
            None => Ok(()),
        }
    }

    /// Remembers a certificate of a machine, where it is the latest. A loss of power may undo
    /// it: then it is remembered when the machine connects again.
    ///
    /// # Errors
    /// A failing disk; it is remembered until the node ends.
    pub async fn see(
        &self,
        machine: &MachineName,
        key: Sha256,
        issued_at: Timestamp,
    ) -> Result<(), store::Error> {
        let seen = Latest { key, issued_at: issued_at.as_second() };
        let is_news =
            |known: Option<&Latest>| known.is_none_or(|known| known.issued_at < seen.issued_at);
        // Nearly always it is known already.
        if !is_news(self.latest().get(machine)) {
            return Ok(());
        }
        let before = {
            let mut latest = self.latest_mut();
            if !is_news(latest.get(machine)) {
                return Ok(());
            }
            latest.insert(machine.clone(), seen)
        };
        if before.is_some_and(|before| before.key != key) {
            tracing::info!(%machine, "a machine has another key; the one before is let in no more");
            self.0.changes.send_replace(());
        }
        let (name, record) = (machine.to_string(), Record::from(seen));
        let write = move |store: &Store| {
            let mut transaction = store.transaction();
            transaction.put(&LATEST, name.as_str(), &record);
            transaction.commit_relaxed()
        };
        self.0.store.run(write).await
    }

    /// Heeds who was shut out, as each generation says, until the node ends.
    pub async fn follow(self, current: Current) {
        let mut switches = current.watch();
        loop {
            let said = switches.borrow_and_update().revocations.clone();
            self.shut_out_all(said);
            if switches.changed().await.is_err() {
                return;
            }
        }
    }

    /// Lets these in no more, in place of those that were said before.
    pub fn shut_out_all(&self, said: Arc<Revocations>) {
        let mut shut_out = self.0.shut_out.write().unwrap_or_else(PoisonError::into_inner);
        let has_changed = **shut_out != *said;
        *shut_out = said;
        drop(shut_out);
        if has_changed {
            self.0.changes.send_replace(());
        }
    }

    /// Is told when somebody who was let in may no longer be.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changes.subscribe()
    }

    fn shut_out(&self) -> Arc<Revocations> {
        self.0.shut_out.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn latest(&self) -> RwLockReadGuard<'_, HashMap<MachineName, Latest>> {
        // Each change is one entry, so a panic elsewhere does not spoil them.
        self.0.latest.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn latest_mut(&self) -> RwLockWriteGuard<'_, HashMap<MachineName, Latest>> {
        self.0.latest.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For how long after it was issued a certificate of a machine may be let in.
#[must_use]
pub fn life() -> SignedDuration {
    SignedDuration::try_from(MACHINE_LIFETIME + 2 * CLOCK_SKEW).unwrap_or(SignedDuration::MAX)
}

impl From<Latest> for Record {
    fn from(latest: Latest) -> Self {
        Self { key: latest.key.as_bytes().to_vec(), issued_at: latest.issued_at }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::store::Mode;

    const DAY: i64 = 24 * 60 * 60;

    fn at(day: i64) -> Timestamp {
        Timestamp::from_second(day * DAY).unwrap()
    }

    fn key(byte: u8) -> Sha256 {
        Sha256::from_bytes([byte; 32])
    }

    #[tokio::test]
    async fn a_key_that_was_replaced_is_let_in_no_more_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let pc: MachineName = "pc-1".parse().unwrap();
        let store = Store::open(&path, Mode::Create).unwrap();
        let machines = Machines::open(&store, at(100)).unwrap();
        let reasons = |machines: &Machines, which: u8, day| {
            machines.judge(&pc, key(which), at(day)).map_err(|refusal| refusal.reason())
        };
        assert_eq!(reasons(&machines, 1, 100), Ok(()), "nothing is known of it");
        machines.see(&pc, key(1), at(100)).await.unwrap();
        machines.see(&pc, key(1), at(130)).await.unwrap();
        let mut changes = machines.changes();
        assert_eq!(reasons(&machines, 1, 100), Ok(()), "from before it was renewed");
        assert_eq!(reasons(&machines, 2, 129), Err("wrong-key"));
        assert!(!changes.has_changed().unwrap());

        machines.see(&pc, key(2), at(140)).await.unwrap();
        assert!(changes.has_changed().unwrap(), "who is connected is judged again");
        changes.mark_unchanged();
        assert_eq!(reasons(&machines, 1, 130), Err("wrong-key"));
        assert_eq!(reasons(&machines, 2, 140), Ok(()));
        // What is no news changes nothing.
        machines.see(&pc, key(1), at(135)).await.unwrap();
        assert_eq!(reasons(&machines, 2, 140), Ok(()));
        assert!(!changes.has_changed().unwrap());
        drop((machines, store));

        let store = Store::open(&path, Mode::Existing).unwrap();
        let machines = Machines::open(&store, at(141)).unwrap();
        assert_eq!(reasons(&machines, 1, 130), Err("wrong-key"));
        assert_eq!(reasons(&machines, 2, 140), Ok(()));
        let other = machines.judge(&"pc-2".parse().unwrap(), key(1), at(1));
        assert_eq!(other, Ok(()), "each machine for itself");
        drop(machines);
        let machines = Machines::open(&store, at(140) + life() + SignedDuration::from_secs(1));
        assert!(machines.unwrap().latest().is_empty(), "all before it have ended as well");
        assert!(store.scan(&LATEST).unwrap().is_empty());
    }

    #[test]
    fn who_was_shut_out_is_let_in_again_with_a_later_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("data"), Mode::Create).unwrap();
        let machines = Machines::open(&store, at(100)).unwrap();
        let pc: MachineName = "pc-1".parse().unwrap();
        let said = Arc::new(Revocations::from([(pc.clone(), at(110))]));
        let mut changes = machines.changes();
        machines.shut_out_all(said.clone());
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        machines.shut_out_all(said);
        assert!(!changes.has_changed().unwrap(), "it was said before");
        let refusal = machines.judge(&pc, key(1), at(105)).unwrap_err();
        assert_eq!(refusal, Refusal::MachineRevoked { machine: pc.clone(), at: at(110) });
        assert!(refusal.to_string().contains("patchmesh machine token"), "{refusal}");
        assert_eq!(machines.judge(&pc, key(2), at(111)), Ok(()));
    }
}
