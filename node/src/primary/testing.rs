//! A primary in a temporary folder, for the tests of this crate: a new mesh
//! with all its keys, and a publisher that runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::node::{Mesh, Stage};
use patchmesh_topology::view::awaited::ByNode;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::draft::{Draft, Written};
use super::publisher::{Press, Publisher, Worker};
use super::signing::Signing;
use super::views::Views;
use crate::generation::Current;
use crate::openpgp::SigningKey;
use crate::store::{Mode, Store};
use crate::tuf::repository::RoleKeys;
use crate::tuf::{RoleName, signing};

/// The primary `hq` of a mesh without nodes below it.
pub(crate) struct TestPrimary {
    pub(crate) store: Store,
    pub(crate) current: Current,
    pub(crate) publisher: Publisher,
    pub(crate) awaited: watch::Sender<Arc<ByNode>>,
    folder: TempDir,
    _tasks: JoinSet<()>,
}

impl TestPrimary {
    /// Founds a mesh and starts its publisher.
    pub(crate) async fn start() -> Self {
        let (folder, worker) = found().await;
        let (store, current) = (worker.press.store.clone(), worker.current.clone());
        let mut tasks = JoinSet::new();
        let awaited = watch::Sender::default();
        let worker = worker.awaiting(awaited.subscribe());
        let publisher = worker.start(&mut tasks, CancellationToken::new());
        Self { store, current, publisher, awaited, folder, _tasks: tasks }
    }

    /// The private key of a signed role, as whoever steals it has it.
    pub(crate) fn role_key(&self, role: &RoleName) -> signing::SigningKey {
        let file = keys(&self.folder).join(format!("{role}.pem"));
        signing::SigningKey::read(&file).expect("the role's key")
    }
}

/// A mesh that was just founded, and what publishes for it.
pub(crate) async fn found() -> (TempDir, Worker) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(keys(&folder)).expect("a folder for keys");
    let store = Store::open(&folder.path().join("data"), Mode::Create).expect("a store");
    RoleKeys::generate().expect("keys").write_new(&keys(&folder)).expect("written");
    let now = Timestamp::now();
    let mut press = Press {
        store: store.clone(),
        signing: Signing::first(RoleKeys::read(&keys(&folder)).expect("keys")),
        views: Views::new(repository_keys(now)),
        name: "hq".parse().expect("a name"),
    };
    let draft = Draft::first(mesh(), store, now);
    let worker = tokio::task::spawn_blocking(move || {
        let generation = press.publish(None, draft, Written::ALL).expect("published");
        Worker::new(press, Current::new(generation))
    });
    (folder, worker.await.expect("no panic"))
}

fn keys(folder: &TempDir) -> PathBuf {
    folder.path().join("keys")
}

fn repository_keys(now: Timestamp) -> BTreeMap<Stage, SigningKey> {
    let key = |stage: Stage| SigningKey::generate(&stage.to_string(), now).expect("a key");
    Stage::ALL.into_iter().map(|stage| (stage, key(stage))).collect()
}

fn mesh() -> Mesh {
    let site = "emea".parse().expect("a site");
    let name = "hq".parse().expect("a name");
    let url = "https://127.0.0.1:1".to_owned();
    let key = Sha256::from_bytes([7; 32]);
    Mesh::found("m1".to_owned(), "Test".to_owned(), name, site, url, key).expect("a mesh")
}
