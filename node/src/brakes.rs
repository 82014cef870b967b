//! What is held back at this node's site, by its own administrators.
//!
//! A brake is written before it holds, so that it holds after a restart too. It
//! is this node's alone: nothing that comes from above or below changes it.
//! Headquarters learns of it with the node's own word.

pub mod below;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use patchmesh_proto::replication as wire;
use patchmesh_topology::alert::Severity;
use patchmesh_topology::name::{BrakeName, NodeName};
use patchmesh_topology::rollout::brake::ask::asked;
use patchmesh_topology::rollout::brake::{self, Rejection};
use patchmesh_topology::rollout::{Brake, Brakes as Held};
use tokio::sync::{Mutex, watch};

use crate::alerts::Alerts;
use crate::generation::Generation;
use crate::store::{self, Store, Table, Tag};

/// The brakes by their names.
static BRAKES: Table<str, wire::Brake> = Table::new(Tag::Brake, 1);

/// Why a brake is not pulled or released.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It can't be.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// It could not be written.
    #[error("the store failed")]
    Store(#[from] store::Error),
}

/// The site's brakes; cheap to clone.
#[derive(Debug, Clone)]
pub struct Brakes {
    store: Store,
    held: watch::Sender<Arc<Held>>,
    /// One change at a time.
    turn: Arc<Mutex<()>>,
}

impl Brakes {
    /// Goes on with what was held when the node ended. Blocks.
    ///
    /// # Errors
    /// The store's.
    pub fn open(store: &Store) -> Result<Self, store::Error> {
        // One that a newer version wrote may say nothing here.
        let kept = store.scan(&BRAKES)?.into_iter().filter_map(|(_, one)| one.try_into().ok());
        let held = watch::Sender::new(Arc::new(kept.collect::<Held>()));
        Ok(Self { store: store.clone(), held, turn: Arc::default() })
    }

    /// What is held; some of it may have ended.
    #[must_use]
    pub fn held(&self) -> Arc<Held> {
        self.held.borrow().clone()
    }

    /// Is told when a brake is pulled or released.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Held>> {
        self.held.subscribe()
    }

    /// As it goes upward: what has not ended.
    #[must_use]
    pub fn to_wire(&self, now: Timestamp) -> Vec<wire::Brake> {
        let held = self.held();
        held.iter().filter(|(_, one)| now < one.until).map(wire::Brake::from).collect()
    }

    /// Holds something back from now on. What has ended makes room.
    ///
    /// # Errors
    /// See [`Error`]; nothing is held then.
    pub async fn pull(&self, name: BrakeName, brake: Brake) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let mut next = (*self.held()).clone();
        let ended: Vec<BrakeName> = next
            .iter()
            .filter(|(_, one)| one.until <= brake.since)
            .map(|(name, _)| name.clone())
            .collect();
        ended.iter().for_each(|name| drop(next.remove(name)));
        let record = wire::Brake::from((&name, &brake));
        brake::pull(&mut next, name.clone(), brake.clone())?;
        let write = move |store: &Store| {
            let mut transaction = store.transaction();
            for name in &ended {
                transaction.delete(&BRAKES, name.as_str());
            }
            transaction.put(&BRAKES, record.name.as_str(), &record);
            transaction.commit()
        };
        self.store.run(write).await?;
        self.held.send_replace(Arc::new(next));
        let Brake { subject, by, until, .. } = &brake;
        tracing::warn!(brake = %name, %subject, by, %until, "brake pulled");
        Ok(())
    }

    /// Lets go of it.
    ///
    /// # Errors
    /// See [`Error`]; it is held still then.
    pub async fn release(&self, name: &BrakeName) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let mut next = (*self.held()).clone();
        next.remove(name).ok_or_else(|| Rejection::Unknown(name.clone()))?;
        let key = name.clone();
        self.store.run(move |store| store.delete(&BRAKES, key.as_str())).await?;
        self.held.send_replace(Arc::new(next));
        tracing::info!(brake = %name, "brake released");
        Ok(())
    }
}

/// Begins the key of the alert of a brake that headquarters asks to end.
const ALERT: &str = "brake/";

/// Keeps an alert for each brake of the node `name` that headquarters asks to end.
pub fn tell(
    held: &Held,
    generation: &Generation,
    name: &NodeName,
    alerts: &Alerts,
    now: Timestamp,
) {
    let asks = &generation.rollouts.brake_asks;
    let site = generation.mesh.node(name).map(|node| &node.site);
    let asked = |(name_of, brake): (&BrakeName, &Brake)| {
        let ask = asked(asks, brake, name, site?).filter(|_| now < brake.until)?;
        let text = format!(
            "headquarters asks to end brake {name_of}: {} ({} at {:.0}); `patchmesh brake release {name_of}` does, and it holds until then",
            ask.reason, ask.by, ask.at
        );
        Some((name_of.to_string(), text))
    };
    let asked: BTreeMap<String, String> = held.iter().filter_map(asked).collect();
    for (brake, text) in &asked {
        alerts.raise(&format!("{ALERT}{brake}"), Severity::Warning, text);
    }
    alerts.clear_others(ALERT, |brake| asked.contains_key(brake));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use patchmesh_topology::rollout::brake::Subject;

    use super::*;
    use crate::store::Mode;

    fn brake(since: i64, until: i64) -> Brake {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (reason, by) = ("stocktaking".to_owned(), "ada".to_owned());
        Brake { subject: Subject::All, reason, by, since: at(since), until: at(until) }
    }

    #[tokio::test]
    async fn a_brake_holds_after_a_restart_until_it_is_released() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let name = |text: &str| text.parse::<BrakeName>().unwrap();
        let store = Store::open(&path, Mode::Create).unwrap();
        let brakes = Brakes::open(&store).unwrap();
        brakes.pull(name("a"), brake(0, 10)).await.unwrap();
        brakes.pull(name("b"), brake(0, 100)).await.unwrap();
        let taken = brakes.pull(name("b"), brake(0, 100)).await.unwrap_err();
        assert!(matches!(taken, Error::Rejected(Rejection::Taken(_))));
        drop((store, brakes));

        let store = Store::open(&path, Mode::Existing).unwrap();
        let brakes = Brakes::open(&store).unwrap();
        assert_eq!(brakes.held().len(), 2);
        // One has ended meanwhile and makes room.
        brakes.pull(name("c"), brake(20, 100)).await.unwrap();
        brakes.release(&name("b")).await.unwrap();
        assert!(brakes.release(&name("b")).await.is_err());
        drop((store, brakes));

        let store = Store::open(&path, Mode::Existing).unwrap();
        let left = Brakes::open(&store).unwrap().held();
        assert_eq!(left.keys().map(BrakeName::as_str).collect::<Vec<_>>(), ["c"]);
    }
}
