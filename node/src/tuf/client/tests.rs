//! The workflow against repositories that are honest, broken and hostile.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Mutex;

use super::*;
use crate::tuf::envelope::sign;
use crate::tuf::fixture::{Keys, days, meta, now, path, role};
use crate::tuf::metadata::Targets;
use crate::tuf::storage::MemoryStorage;

/// Files by name, and what was asked for.
#[derive(Default)]
struct Server {
    files: BTreeMap<String, Vec<u8>>,
    asked: Mutex<Vec<String>>,
}

impl Server {
    fn put(&mut self, name: impl Into<String>, bytes: &[u8]) {
        self.files.insert(name.into(), bytes.to_vec());
    }

    /// Publishes targets roles, the first of them top-level, all in version `version`.
    fn publish(&mut self, keys: &Keys, version: u64, roles: &[(&str, Targets)]) {
        let mut listed = Vec::new();
        for (name, targets) in roles {
            let key = if *name == "targets" { &keys.targets } else { &keys.delegated };
            let bytes = sign(targets, &[key]).unwrap();
            self.put(role(name).file_name(Some(version)), &bytes);
            listed.push((*name, meta(version, &bytes)));
        }
        let snapshot = keys.sign_snapshot(version, days(7), &listed);
        self.put(format!("{version}.snapshot.json"), &snapshot);
        self.put(
            "timestamp.json",
            &keys.sign_timestamp(version, days(1), meta(version, &snapshot)),
        );
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl Fetch for &Server {
    type Error = Infallible;

    async fn fetch(&self, file: &str, _max_length: u64) -> Result<Option<Vec<u8>>, Infallible> {
        self.asked.lock().unwrap().push(file.to_owned());
        Ok(self.files.get(file).cloned())
    }

    async fn fetch_target(
        &self,
        path: &str,
        max_length: u64,
    ) -> Result<Option<Vec<u8>>, Infallible> {
        self.fetch(path, max_length).await
    }
}

fn storage(keys: &Keys) -> MemoryStorage {
    MemoryStorage::new([(RoleName::ROOT, keys.sign_root(1, days(300)))])
}

fn client(server: &Server, storage: MemoryStorage) -> Client<&Server, MemoryStorage> {
    Client::new(server, storage, Limits { delegations: 5, root_rotations: 3, ..Limits::default() })
}

fn written(client: Client<&Server, MemoryStorage>) -> Vec<String> {
    client.into_storage().written().iter().map(|document| document.file_name()).collect()
}

#[tokio::test]
async fn only_what_is_new_is_fetched_and_written() {
    let keys = Keys::new();
    let mut server = Server::default();
    server.publish(&keys, 1, &[("targets", keys.targets(1, &[("a", b"a")], &[]))]);

    let mut first = client(&server, storage(&keys));
    first.refresh(now()).await.unwrap();
    let all = ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"];
    assert_eq!(server.asked(), all);
    let stored = first.into_storage();
    assert_eq!(
        stored.written().iter().map(|document| document.file_name()).collect::<Vec<_>>(),
        all[1..]
    );

    let mut second = client(&server, MemoryStorage::new(stored.current().clone()));
    second.refresh(now()).await.unwrap();
    assert_eq!(server.asked(), all[..2]);
    assert!(written(second).is_empty());
}

#[tokio::test]
async fn every_root_in_between_is_kept() {
    let keys = Keys::new();
    let mut server = Server::default();
    server.publish(&keys, 1, &[("targets", keys.targets(1, &[], &[]))]);
    for version in 2..=6 {
        server.put(format!("{version}.root.json"), &keys.sign_root(version, days(300)));
    }
    let mut client = client(&server, storage(&keys));
    assert_eq!(
        client.refresh(now()).await.unwrap().root().header.version(),
        4,
        "rotations are bounded"
    );
    assert_eq!(
        client.refresh(now()).await.unwrap().root().header.version(),
        6,
        "the next refresh goes on"
    );
    assert_eq!(written(client)[..3], ["2.root.json", "3.root.json", "4.root.json"]);
}

#[tokio::test]
async fn without_a_root_nothing_is_asked() {
    let server = Server::default();
    let mut client = client(&server, MemoryStorage::default());
    assert!(matches!(client.refresh(now()).await, Err(Error::NoTrustedRoot)));
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn endless_data_is_cut_off() {
    let keys = Keys::new();
    let mut server = Server::default();
    server.publish(&keys, 1, &[("targets", keys.targets(1, &[("a", b"a")], &[]))]);
    server.put("2.root.json", &vec![b' '; 512_001]);
    let refused = client(&server, storage(&keys)).refresh(now()).await.unwrap_err();
    assert!(matches!(refused, Error::TooLong { max_length: 512_000, .. }), "{refused}");

    server.files.remove("2.root.json");
    let honest = server.files["1.targets.json"].clone();
    server.put("1.targets.json", &[honest.as_slice(), b" "].concat());
    let refused = client(&server, storage(&keys)).refresh(now()).await.unwrap_err();
    assert!(
        matches!(refused, Error::TooLong { max_length, .. } if max_length == honest.len() as u64),
        "{refused}"
    );
}

#[tokio::test]
async fn a_failure_keeps_what_was_trusted_before_it() {
    let keys = Keys::new();
    let mut server = Server::default();
    server.publish(&keys, 1, &[("targets", keys.targets(1, &[], &[]))]);
    server.files.remove("1.targets.json");
    let mut client = client(&server, storage(&keys));
    assert!(matches!(client.refresh(now()).await, Err(Error::Missing { .. })));
    assert!(client.trusted().is_none());
    assert!(matches!(client.targetinfo(&path("a")).await, Err(Error::NotRefreshed)));
    assert_eq!(written(client), ["timestamp.json", "1.snapshot.json"]);
}

#[tokio::test]
async fn targets_are_found_in_the_order_of_trust() {
    let keys = Keys::new();
    let mut server = Server::default();
    server.publish(
        &keys,
        1,
        &[
            ("targets", keys.targets(1, &[], &[("a", "x/*"), ("b", "*/*")])),
            ("a", keys.targets(1, &[("x/1", b"of a")], &[])),
            ("b", keys.targets(1, &[("x/1", b"of b"), ("x/2", b"two"), ("y/1", b"of b")], &[])),
        ],
    );
    let mut client = client(&server, storage(&keys));
    client.refresh(now()).await.unwrap();
    server.asked();
    let found = client.targetinfo(&path("x/1")).await.unwrap().unwrap();
    found.verify(b"of a").unwrap();
    assert_eq!(server.asked(), ["1.a.json"]);
    client.targetinfo(&path("x/2")).await.unwrap().unwrap();
    assert_eq!(server.asked(), ["1.b.json"]);
    assert!(client.targetinfo(&path("nowhere")).await.unwrap().is_none());
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn delegations_are_bounded() {
    let keys = Keys::new();
    let mut server = Server::default();
    let names: Vec<String> = (0..6).map(|number| format!("r{number}")).collect();
    let mut roles = vec![("targets", keys.targets(1, &[], &[("r0", "*")]))];
    for (number, name) in names.iter().enumerate() {
        let next = names.get(number + 1).map(|next| (next.as_str(), "*"));
        roles.push((name, keys.targets(1, &[], next.as_slice())));
    }
    server.publish(&keys, 1, &roles);
    let mut client = client(&server, storage(&keys));
    client.refresh(now()).await.unwrap();
    let refused = client.targetinfo(&path("x")).await.unwrap_err();
    assert!(
        matches!(refused, Error::Untrusted(trusted::Error::TooManyRoles { limit: 5, .. })),
        "{refused}"
    );
    assert!(matches!(client.refresh_all(now()).await, Err(Error::TooManyDelegations(_))));
}

#[tokio::test]
async fn all_roles_are_loaded_and_cycles_end() {
    let keys = Keys::new();
    let mut server = Server::default();
    server.publish(
        &keys,
        1,
        &[
            ("targets", keys.targets(1, &[], &[("a", "*"), ("b", "*")])),
            ("a", keys.targets(1, &[], &[("b", "*")])),
            ("b", keys.targets(1, &[("x", b"x")], &[("a", "*")])),
        ],
    );
    let mut client = client(&server, storage(&keys));
    let trusted = client.refresh_all(now()).await.unwrap();
    assert_eq!(trusted.all_targets().count(), 3);
    assert_eq!(trusted.find(&path("x"), 5).unwrap().unwrap().0, role("b"));
}

#[tokio::test]
async fn a_download_is_the_file_that_was_named() {
    let keys = Keys::new();
    let mut server = Server::default();
    server.publish(&keys, 1, &[("targets", keys.targets(1, &[("d/a", b"content")], &[]))]);
    let digest = hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"content"));
    let file = format!("d/{digest}.a");
    for (served, expected) in [
        (None, "missing"),
        (Some(b"content".as_slice()), ""),
        (Some(b"contenT".as_slice()), "not the file"),
        (Some(b"conten".as_slice()), "not the file"),
        (Some(b"content and much more".as_slice()), "longer than 7 bytes"),
    ] {
        server.files.remove(&file);
        if let Some(bytes) = served {
            server.put(file.clone(), bytes);
        }
        let mut client = client(&server, storage(&keys));
        client.refresh(now()).await.unwrap();
        let info = client.targetinfo(&path("d/a")).await.unwrap().unwrap();
        match client.download(&path("d/a"), &info).await {
            Ok(bytes) => assert_eq!((bytes.as_slice(), expected), (b"content".as_slice(), "")),
            Err(error) => {
                assert!(!expected.is_empty() && error.to_string().contains(expected), "{error}")
            }
        }
    }
}

#[tokio::test]
async fn a_refresh_can_run_on_any_thread() {
    fn assert_send<T: Send>(future: T) -> T {
        future
    }
    let server = Server::default();
    let mut client = client(&server, MemoryStorage::default());
    assert!(assert_send(client.refresh_all(now())).await.is_err());
    assert!(assert_send(client.targetinfo(&path("a"))).await.is_err());
}
