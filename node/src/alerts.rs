//! What is wrong at this node, until it is put right.
//!
//! [`Alerts`] is a handle that any part of the node can hold: who finds that
//! something is wrong raises an alert under a key that names the cause, and
//! takes it back when the cause is gone. What always holds:
//!
//! - It stays until then, over restarts too: [`Alerts::keep`] writes what
//!   changed to the store.
//! - It is logged once when it is raised and once when it is solved.
//! - It is bounded ([`patchmesh_topology::alert::MAX_ALERTS`]), and goes upward
//!   with the node's own word, so that headquarters sees its whole mesh.
//!
//! Keys begin with what they are about: `parent`, `source/NAME`, `disk`.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use patchmesh_proto::replication as wire;
use patchmesh_topology::alert::{self, Raised, Severity};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::log::in_one_line;
use crate::store::{self, Store, Table, Tag};

/// How long after a failure the alerts are written again.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(10);

/// The alerts by their keys.
static ALERTS: Table<str, wire::Alert> = Table::new(Tag::Alert, 1);

/// What is wrong at this node; cheap to clone.
#[derive(Debug, Clone)]
pub struct Alerts {
    present: watch::Sender<Arc<alert::Alerts>>,
    kept: Arc<BTreeMap<String, wire::Alert>>,
}

impl Alerts {
    /// Goes on with what was wrong when the node ended. Blocks.
    ///
    /// # Errors
    /// The store's.
    pub fn open(store: &Store) -> Result<Self, store::Error> {
        let kept: BTreeMap<String, wire::Alert> = store.scan(&ALERTS)?.into_iter().collect();
        // One that a newer version wrote may say nothing here.
        let known = kept.values().filter_map(|one| one.clone().try_into().ok());
        let present = watch::Sender::new(Arc::new(alert::Alerts::of(known)));
        Ok(Self { present, kept: Arc::new(kept) })
    }

    /// Says that something is wrong. Raising what is raised already only
    /// changes its words.
    pub fn raise(&self, key: &str, severity: Severity, text: &str) {
        let mut outcome = Raised::Same;
        self.present.send_if_modified(|present| {
            outcome = Arc::make_mut(present).raise(key, severity, text, Timestamp::now());
            matches!(outcome, Raised::New | Raised::Changed)
        });
        match (outcome, severity) {
            (Raised::New, Severity::Critical) => {
                tracing::error!(alert = key, "alert raised: {text}");
            }
            (Raised::New, Severity::Warning) => tracing::warn!(alert = key, "alert raised: {text}"),
            (Raised::Refused, _) => {
                tracing::error!(alert = key, "too many alerts to raise one more: {text}");
            }
            (Raised::Changed | Raised::Same, _) => {}
        }
    }

    /// Says that what this key names is wrong no more.
    pub fn clear(&self, key: &str) {
        let mut solved = None;
        self.present.send_if_modified(|present| {
            // Most calls find nothing to take back.
            if present.get(key).is_some() {
                solved = Arc::make_mut(present).clear(key);
            }
            solved.is_some()
        });
        if let Some(alert) = solved {
            let lasted = Timestamp::now().duration_since(alert.since);
            tracing::info!(alert = key, seconds = lasted.as_secs(), "alert solved");
        }
    }

    /// Takes back every alert whose key begins with `prefix` and for which
    /// `stays` answers `false`: what it was about is there no more.
    pub fn clear_others(&self, prefix: &str, stays: impl Fn(&str) -> bool) {
        let present = self.present.borrow().clone();
        let keys = present.iter().map(|(key, _)| key);
        let gone = keys.filter(|key| key.strip_prefix(prefix).is_some_and(|rest| !stays(rest)));
        gone.for_each(|key| self.clear(key));
    }

    /// What is wrong now.
    #[must_use]
    pub fn present(&self) -> Arc<alert::Alerts> {
        self.present.borrow().clone()
    }

    /// As it goes over the wire.
    #[must_use]
    pub fn to_wire(&self) -> Vec<wire::Alert> {
        self.present().iter().map(wire::Alert::from).collect()
    }

    /// Is told when something goes wrong or is put right.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<alert::Alerts>> {
        self.present.subscribe()
    }

    /// Writes what changes to the store, until stopped.
    pub async fn keep(self, store: Store, stop: CancellationToken) {
        let mut changes = self.watch();
        changes.mark_changed();
        let mut kept = (*self.kept).clone();
        loop {
            let is_last = tokio::select! {
                changed = changes.changed() => changed.is_err(),
                () = stop.cancelled() => true,
            };
            changes.borrow_and_update();
            let now: BTreeMap<String, wire::Alert> =
                self.to_wire().into_iter().map(|one| (one.key.clone(), one)).collect();
            match write(&store, &kept, &now).await {
                Ok(()) => kept = now,
                Err(error) if !is_last => {
                    tracing::warn!(error = in_one_line(&error), "alerts could not be kept");
                    tokio::time::sleep(PAUSE).await;
                    changes.mark_changed();
                }
                Err(_) => {}
            }
            if is_last {
                return;
            }
        }
    }
}

/// Writes what differs.
async fn write(
    store: &Store,
    before: &BTreeMap<String, wire::Alert>,
    now: &BTreeMap<String, wire::Alert>,
) -> Result<(), store::Error> {
    let gone: Vec<String> = before.keys().filter(|key| !now.contains_key(*key)).cloned().collect();
    let new: Vec<wire::Alert> = now
        .iter()
        .filter(|(key, one)| before.get(*key) != Some(*one))
        .map(|(_, one)| one.clone())
        .collect();
    if gone.is_empty() && new.is_empty() {
        return Ok(());
    }
    store
        .run(move |store| {
            let mut transaction = store.transaction();
            for key in &gone {
                transaction.delete(&ALERTS, key.as_str());
            }
            for one in &new {
                transaction.put(&ALERTS, one.key.as_str(), one);
            }
            transaction.commit()
        })
        .await
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::store::Mode;

    fn open(folder: &tempfile::TempDir, mode: Mode) -> (Store, Alerts) {
        let store = Store::open(folder.path().join("data").as_path(), mode).unwrap();
        let alerts = Alerts::open(&store).unwrap();
        (store, alerts)
    }

    #[tokio::test]
    async fn what_is_wrong_is_wrong_after_a_restart_until_it_is_solved() {
        let folder = tempfile::tempdir().unwrap();
        let (store, alerts) = open(&folder, Mode::Create);
        let stop = CancellationToken::new();
        let keeping = tokio::spawn(alerts.clone().keep(store.clone(), stop.clone()));
        alerts.raise("disk", Severity::Critical, "full");
        alerts.raise("source/a", Severity::Warning, "down");
        alerts.raise("source/b", Severity::Warning, "down");
        alerts.clear("source/a");
        stop.cancel();
        keeping.await.unwrap();
        let before = alerts.present();
        drop((store, alerts));

        let (store, alerts) = open(&folder, Mode::Existing);
        assert_eq!(alerts.present(), before);
        let keys: Vec<String> = alerts.to_wire().into_iter().map(|one| one.key).collect();
        assert_eq!(keys, ["disk", "source/b"]);
        // The source was removed meanwhile.
        alerts.clear_others("source/", |name| name == "c");
        alerts.clear("disk");
        let stop = CancellationToken::new();
        stop.cancel();
        alerts.clone().keep(store.clone(), stop).await;
        drop((store, alerts));

        let (_store, alerts) = open(&folder, Mode::Existing);
        assert!(alerts.present().is_empty());
    }
}
