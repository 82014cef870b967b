//! What is written here must be what clients accept.

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::*;
use crate::tuf::fixture::{days, now, path};
use crate::tuf::{Client, Fetch, Limits, MemoryStorage};

#[derive(Default)]
struct Served(BTreeMap<String, Vec<u8>>);

impl Served {
    fn add(&mut self, documents: &[Document]) {
        self.0.extend(
            documents.iter().map(|document| (document.file_name(), document.bytes.clone())),
        );
    }
}

impl Fetch for &Served {
    type Error = Infallible;

    async fn fetch(&self, file: &str, _max_length: u64) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.0.get(file).cloned())
    }

    async fn fetch_target(
        &self,
        path: &str,
        max_length: u64,
    ) -> Result<Option<Vec<u8>>, Infallible> {
        self.fetch(path, max_length).await
    }
}

fn stored(documents: &[Document]) -> MemoryStorage {
    let mut storage = MemoryStorage::default();
    for document in documents {
        storage.persist(&document.role, document.version, &document.bytes).unwrap();
    }
    storage
}

fn entry(name: &str, bytes: &[u8]) -> TargetEntry {
    TargetEntry::of(path(name), bytes)
}

#[tokio::test]
async fn a_client_follows_from_generation_to_generation() {
    let keys = RoleKeys::generate().unwrap();
    let first = Repository::create(&keys, now()).unwrap();
    let mut served = Served::default();
    served.add(&first.documents);
    let root = first.documents[0].bytes.clone();
    let storage = MemoryStorage::new([(RoleName::ROOT, root)]);
    let mut client = Client::new(&served, storage, Limits::default());
    let trusted = client.refresh_all(now()).await.unwrap();
    assert_eq!(trusted.snapshot_version(), Some(1));
    assert_eq!(trusted.all_targets().count(), 1 + MeshRole::ALL.len());
    let storage = client.into_storage();

    let repository = Repository::open(&stored(&first.documents)).unwrap();
    let set = b"approval set";
    let changes =
        BTreeMap::from([(MeshRole::Production, vec![entry("approvals/production", set)])]);
    let second = repository.publish(&keys, &changes, now()).unwrap();
    let names: Vec<_> = second.documents.iter().map(Document::file_name).collect();
    assert_eq!(names, ["2.production.json", "2.snapshot.json", "timestamp.json"]);
    served.add(&second.documents);

    let mut client = Client::new(&served, storage, Limits::default());
    let trusted = client.refresh_all(now()).await.unwrap();
    assert_eq!(trusted.snapshot_version(), Some(second.repository.generation()));
    let (role, file) = trusted.find(&path("approvals/production"), 8).unwrap().unwrap();
    assert_eq!(role, MeshRole::Production.name());
    assert_eq!(file.blake3(), Some(*blake3::hash(set).as_bytes()));
    file.verify(set).unwrap();
}

#[test]
fn a_role_names_only_its_own_paths() {
    let keys = RoleKeys::generate().unwrap();
    let repository = Repository::create(&keys, now()).unwrap().repository;
    let changes = BTreeMap::from([(MeshRole::Content, vec![entry("approvals/production", b"")])]);
    assert!(matches!(repository.publish(&keys, &changes, now()), Err(Error::ForeignPath { .. })));
}

#[test]
fn what_is_about_to_expire_is_signed_anew() {
    let keys = RoleKeys::generate().unwrap();
    let repository = Repository::create(&keys, now()).unwrap().repository;
    let later = |hours: i64| now() + SignedDuration::from_hours(hours);
    assert_eq!(repository.due(&keys, later(1)), Due::Nothing);
    assert_eq!(repository.due(&keys, later(17)), Due::Timestamp);
    assert_eq!(repository.due(&keys, days(5)), Due::Generation);

    let renewed = repository.renew_timestamp(&keys, later(17)).unwrap();
    assert_eq!(renewed.repository.due(&keys, later(18)), Due::Nothing);
    assert_eq!(renewed.repository.generation(), 1);
    assert_eq!(renewed.documents.len(), 1);

    let none = BTreeMap::new();
    assert_eq!(repository.publish(&keys, &none, days(5)).unwrap().documents.len(), 2);
    let renewed = repository.publish(&keys, &none, days(300)).unwrap();
    assert_eq!(renewed.documents.len(), MeshRole::ALL.len() + 4);
    assert_eq!(renewed.repository.due(&keys, days(300)), Due::Nothing);
}

#[test]
fn keys_kept_elsewhere_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let keys = RoleKeys::generate().unwrap();
    keys.write_new(folder.path()).unwrap();
    let repository = Repository::create(&keys, now()).unwrap().repository;
    let all = RoleKeys::read(folder.path()).unwrap();
    assert!(all.is_complete());

    std::fs::remove_file(folder.path().join("production.pem")).unwrap();
    let some = RoleKeys::read(folder.path()).unwrap();
    assert!(!some.is_complete());
    let changes = |role, name| BTreeMap::from([(role, vec![entry(name, b"")])]);
    repository.publish(&some, &changes(MeshRole::Mesh, "mesh/topology"), now()).unwrap();
    let refused =
        repository.publish(&some, &changes(MeshRole::Production, "approvals/production"), now());
    assert!(matches!(refused, Err(Error::NoKey { role }) if role == MeshRole::Production.name()));
}
