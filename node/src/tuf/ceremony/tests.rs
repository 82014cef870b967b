//! Rotation and revocation of every role, followed by a client; and every lock-out refused.

use std::convert::Infallible;

use super::*;
use crate::tuf::envelope::{Envelope, Signature};
use crate::tuf::fixture::{days, now, path};
use crate::tuf::repository::{self, Changes, Due, Publication, Repository, RoleKeys, TargetEntry};
use crate::tuf::signing::SigningKey;
use crate::tuf::storage::{Document, MemoryStorage};
use crate::tuf::{Client, Fetch, Limits, client, restore, trusted};

/// A mesh's repository as it is served, and a client that follows it.
struct Mesh {
    keys: RoleKeys,
    folder: tempfile::TempDir,
    repository: Repository,
    served: BTreeMap<String, Vec<u8>>,
    client: MemoryStorage,
}

impl Fetch for &Mesh {
    type Error = Infallible;

    async fn fetch(&self, file: &str, _: u64) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.served.get(file).cloned())
    }

    async fn fetch_target(&self, _: &str, _: u64) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(None)
    }
}

impl Mesh {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = RoleKeys::generate().unwrap();
        keys.write_new(folder.path()).unwrap();
        let Publication { repository, documents } = Repository::create(&keys, now()).unwrap();
        let root = (RoleName::ROOT, documents[0].bytes.clone());
        let client = MemoryStorage::new([root]);
        let mut mesh = Self { keys, folder, repository, served: BTreeMap::new(), client };
        mesh.serve(&documents);
        mesh
    }

    fn serve(&mut self, documents: &[Document]) {
        self.served.extend(documents.iter().map(|one| (one.file_name(), one.bytes.clone())));
    }

    fn change(&self, role: RoleName, keys: &[&SigningKey], threshold: u32) -> Request {
        let keys = keys.iter().map(|key| key.public().clone()).collect();
        Request { change: Change::from([(role, Holding { keys, threshold })]), renew: false }
    }

    fn prepare(&self, request: &Request) -> Result<Vec<Paper>, Error> {
        prepare(self.repository.root(), self.repository.top(), request, now())
    }

    fn publish(
        &mut self,
        targets: &BTreeMap<MeshRole, Vec<TargetEntry>>,
        papers: &[Paper],
    ) -> Result<Vec<String>, repository::Error> {
        let changes = Changes { targets, papers };
        let publication = self.repository.publish_with(&self.keys, changes, now())?;
        let names = publication.documents.iter().map(Document::file_name).collect();
        self.serve(&publication.documents);
        self.repository = publication.repository;
        // Starting again must not make a difference.
        self.repository = Repository::open(&self.stored()).unwrap();
        Ok(names)
    }

    /// The newest file of every role, as a primary's store has it.
    fn stored(&self) -> MemoryStorage {
        let newest = |role: RoleName| {
            let file = match role.as_str() {
                "timestamp" => role.file_name(None),
                _ => {
                    let versions = (1..100).rev().map(|version| role.file_name(Some(version)));
                    versions.into_iter().find(|file| self.served.contains_key(file)).unwrap()
                }
            };
            (role, self.served[&file].clone())
        };
        MemoryStorage::new(roles().map(newest))
    }

    /// The client learns what is served, and starts again from what it kept.
    async fn follow(&mut self) -> Result<u64, client::Error> {
        let mut client = Client::new(&*self, self.client.clone(), Limits::default());
        let outcome = client.refresh_all(now()).await.map(|one| one.snapshot_version().unwrap());
        self.client = MemoryStorage::new(client.into_storage().current().clone());
        if outcome.is_ok() {
            let again = restore(&self.client, now(), 64).unwrap();
            assert_eq!(again.snapshot_version(), outcome.as_ref().ok().copied());
        }
        outcome
    }

    fn root_key(&self) -> SigningKey {
        SigningKey::read(&self.folder.path().join("root.pem")).unwrap()
    }
}

fn signed(mut papers: Vec<Paper>, keys: &[&SigningKey]) -> Vec<Paper> {
    for paper in &mut papers {
        for key in keys {
            paper.sign(key).unwrap();
        }
    }
    papers
}

fn decision(bytes: &[u8]) -> BTreeMap<MeshRole, Vec<TargetEntry>> {
    BTreeMap::from([(
        MeshRole::Production,
        vec![TargetEntry::of(path("approvals/production"), bytes)],
    )])
}

fn people<const N: usize>() -> [SigningKey; N] {
    std::array::from_fn(|_| SigningKey::generate().unwrap())
}

#[tokio::test]
async fn every_role_is_rotated_and_a_client_follows() {
    let mut mesh = Mesh::new();
    mesh.follow().await.unwrap();
    let mut root_key = mesh.root_key();
    let none = BTreeMap::new();
    for (generation, role) in (2..).zip(roles().filter(|role| *role != RoleName::TARGETS)) {
        let folder = mesh.folder.path().to_owned();
        let new = mesh.keys.rotate(&role, &folder).unwrap();
        let change = Change::from([(role.clone(), Holding { keys: vec![new], threshold: 1 })]);
        let papers = mesh.prepare(&Request { change, renew: false }).unwrap();
        let mut signers = vec![&root_key];
        let rotated = repository::files_of(&role, &folder).unwrap().pop().unwrap();
        let rotated = SigningKey::read(&rotated).unwrap();
        if role == RoleName::ROOT {
            signers.push(&rotated);
        }
        let papers = signed(papers, &signers);
        mesh.publish(&none, &papers).unwrap_or_else(|error| panic!("{role}: {error}"));
        assert_eq!(mesh.follow().await.unwrap(), generation, "{role}");
        if role == RoleName::ROOT {
            root_key = rotated;
        }
        // The old key's file may go; what is left is enough to start with and to go on.
        let old = folder.join(format!("{role}.pem"));
        std::fs::remove_file(old).unwrap();
        mesh.keys = RoleKeys::read(&folder).unwrap();
        let custody = mesh.repository.custody(&mesh.keys, now());
        assert!(custody.iter().all(|one| one.is_online), "{role}: {custody:?}");
    }
    mesh.publish(&decision(b"set"), &[]).unwrap();
    mesh.follow().await.unwrap();
}

#[tokio::test]
async fn a_new_root_needs_the_old_holders_and_the_new() {
    let mut mesh = Mesh::new();
    let old = mesh.root_key();
    let [a, b, c] = people();
    let papers = mesh.prepare(&mesh.change(RoleName::ROOT, &[&a, &b, &c], 2)).unwrap();
    assert_eq!(papers.len(), 2, "whoever holds root holds top-level targets");
    let none = BTreeMap::new();
    for few in [&[&old][..], &[&a, &b], &[&old, &a]] {
        let refused = mesh.publish(&none, &signed(papers.clone(), few)).unwrap_err();
        assert!(matches!(refused, repository::Error::Unsigned { .. }), "{refused}");
    }
    mesh.follow().await.unwrap();
    let names = mesh.publish(&none, &signed(papers.clone(), &[&old, &a, &c])).unwrap();
    assert_eq!(names, ["2.root.json", "2.targets.json", "2.snapshot.json", "timestamp.json"]);
    mesh.follow().await.unwrap();
    let again = mesh.publish(&none, &signed(papers, &[&old, &a, &c])).unwrap_err();
    assert!(matches!(again, repository::Error::Stale { .. }));
    // A client that sleeps over two roots takes one after the other.
    let mut late = Mesh::new();
    late.client = MemoryStorage::new([(RoleName::ROOT, mesh.served["1.root.json"].clone())]);
    let renewed = mesh.prepare(&Request { renew: true, ..Request::default() }).unwrap();
    mesh.publish(&none, &signed(renewed, &[&b, &c])).unwrap();
    late.served.clone_from(&mesh.served);
    late.follow().await.unwrap();
}

#[tokio::test]
async fn a_stage_goes_to_people_who_sign_elsewhere() {
    let mut mesh = Mesh::new();
    let root = mesh.root_key();
    let [a, b, c] = people();
    let role = MeshRole::Production;
    let papers = mesh.prepare(&mesh.change(role.name(), &[&a, &b, &c], 2)).unwrap();
    assert_eq!(
        papers.iter().map(|one| one.role().clone()).collect::<Vec<_>>(),
        [RoleName::TARGETS]
    );
    assert_eq!(mesh.repository.unsettled_by(&papers).unwrap(), [role]);
    let mut papers = signed(papers, &[&root]);
    let none = BTreeMap::new();
    let refused = mesh.publish(&none, &papers).unwrap_err();
    assert!(matches!(refused, repository::Error::NoKey { .. }), "{refused}");
    papers.extend(signed(vec![mesh.repository.draw_up(role, None, now()).unwrap()], &[&a, &b]));
    mesh.publish(&none, &papers).unwrap();
    mesh.follow().await.unwrap();

    // The primary alone can't decide any more, and doesn't try to when the year is over.
    let refused = mesh.publish(&decision(b"set"), &[]).unwrap_err();
    assert!(matches!(refused, repository::Error::NoKey { .. }));
    assert_eq!(mesh.repository.due(&mesh.keys, days(300)), Due::Generation);
    let later = mesh.repository.publish(&mesh.keys, &none, days(300)).unwrap();
    assert_eq!(later.repository.due(&mesh.keys, days(300)), Due::Nothing);
    let custody = later.repository.custody(&mesh.keys, days(300));
    let due: Vec<_> = custody.iter().filter(|one| one.is_due).collect();
    assert_eq!(due.len(), 1);
    assert!(due[0].role == role.name() && !due[0].is_online);

    let changes = decision(b"set");
    let paper = mesh.repository.draw_up(role, Some(&changes[&role]), now()).unwrap();
    let one = signed(vec![paper.clone()], &[&c]);
    assert!(matches!(mesh.publish(&changes, &one), Err(repository::Error::Unsigned { .. })));
    let two = signed(vec![paper.clone()], &[&c, &a]);
    // Those two signed this decision and no other.
    let other = decision(b"another set");
    assert!(matches!(mesh.publish(&other, &two), Err(repository::Error::Stale { .. })));
    mesh.publish(&changes, &two).unwrap();
    mesh.follow().await.unwrap();
}

#[tokio::test]
async fn what_a_revoked_person_signs_counts_no_more() {
    let mut mesh = Mesh::new();
    let root = mesh.root_key();
    let [a, b, c] = people();
    let role = MeshRole::Production;
    let none = BTreeMap::new();
    let give = |mesh: &mut Mesh, keys: &[&SigningKey], signers: &[&SigningKey]| {
        let papers = mesh.prepare(&mesh.change(role.name(), keys, 2)).unwrap();
        let unsettled = mesh.repository.unsettled_by(&papers).unwrap();
        let mut papers = signed(papers, &[&root]);
        for role in unsettled {
            papers
                .extend(signed(vec![mesh.repository.draw_up(role, None, now()).unwrap()], signers));
        }
        mesh.publish(&none, &papers).unwrap()
    };
    give(&mut mesh, &[&a, &b, &c], &[&a, &b]);
    mesh.follow().await.unwrap();
    // `a` goes: what `a` and `b` signed is not enough any more, so `b` and `c` sign it again.
    let names = give(&mut mesh, &[&b, &c], &[&b, &c]);
    assert!(names.contains(&"3.production.json".to_owned()), "{names:?}");
    mesh.follow().await.unwrap();
    let changes = decision(b"set");
    let paper = mesh.repository.draw_up(role, Some(&changes[&role]), now()).unwrap();
    let authority = mesh.repository.authority(&role.name()).unwrap();
    let message = paper.message().unwrap();
    let mut by_a = paper.clone();
    by_a.add(Signature::of(&a, &message), authority).unwrap_err();
    let stolen = signed(vec![paper.clone()], &[&a, &b]);
    assert!(matches!(mesh.publish(&changes, &stolen), Err(repository::Error::Unsigned { .. })));
    mesh.publish(&changes, &signed(vec![paper], &[&b, &c])).unwrap();
    // `c` goes too: `b` and `d` hold it; nothing is left of what no longer counts.
    let [d] = people();
    give(&mut mesh, &[&b, &d], &[&b, &d]);
    mesh.follow().await.unwrap();
}

#[tokio::test]
async fn whoever_stole_the_online_keys_cannot_hold_the_mesh_back() {
    let mut mesh = Mesh::new();
    let none = BTreeMap::new();
    mesh.follow().await.unwrap();
    // The thief pushes the versions to the end, so that nothing newer can come.
    let thief =
        |role: &str| SigningKey::read(&mesh.folder.path().join(format!("{role}.pem"))).unwrap();
    let last = NonZeroU64::new(i64::MAX as u64).unwrap();
    let honest = Envelope::<crate::tuf::Snapshot>::parse(&mesh.served["1.snapshot.json"]).unwrap();
    let mut snapshot = honest.into_signed();
    snapshot.header = Header::new::<crate::tuf::Snapshot>(last, days(7));
    let snapshot = envelope::sign(&snapshot, &[&thief("snapshot")]).unwrap();
    let meta =
        crate::tuf::metadata::TimestampMeta { snapshot: crate::tuf::MetaFile::of(last, &snapshot) };
    let header = Header::new::<crate::tuf::Timestamp>(last, days(1));
    let timestamp = crate::tuf::Timestamp { header, meta };
    let timestamp = envelope::sign(&timestamp, &[&thief("timestamp")]).unwrap();
    let honest = mesh.served.clone();
    mesh.served.insert(format!("{last}.snapshot.json"), snapshot);
    mesh.served.insert("timestamp.json".into(), timestamp);
    assert_eq!(mesh.follow().await.unwrap(), last.get());
    mesh.served = honest;
    mesh.publish(&none, &[]).unwrap();
    assert!(matches!(
        mesh.follow().await.unwrap_err(),
        client::Error::Untrusted(trusted::Error::Rollback { .. })
    ));

    // New keys for both: what the stolen ones signed counts no more, and the primary's own count goes on.
    let folder = mesh.folder.path().to_owned();
    let mut change = Change::new();
    for role in [RoleName::SNAPSHOT, RoleName::TIMESTAMP] {
        let key = mesh.keys.rotate(&role, &folder).unwrap();
        change.insert(role, Holding { keys: vec![key], threshold: 1 });
    }
    let papers = mesh.prepare(&Request { change, renew: false }).unwrap();
    let papers = signed(papers, &[&mesh.root_key()]);
    mesh.publish(&none, &papers).unwrap();
    assert_eq!(mesh.follow().await.unwrap(), 3);
    mesh.publish(&decision(b"set"), &[]).unwrap();
    assert_eq!(mesh.follow().await.unwrap(), 4);
}

#[test]
fn a_change_that_locks_everybody_out_is_refused() {
    let mesh = Mesh::new();
    let [a, b] = people();
    let try_it = |role: &RoleName, keys: &[&SigningKey], threshold| {
        mesh.prepare(&mesh.change(role.clone(), keys, threshold)).map(|papers| papers.len())
    };
    for role in roles() {
        let refused = |keys: &[&SigningKey], threshold| try_it(&role, keys, threshold).unwrap_err();
        assert!(matches!(refused(&[], 1), Error::NoKey(_)));
        assert!(matches!(refused(&[&a, &b], 0), Error::ThresholdZero(_)));
        assert!(matches!(refused(&[&a, &b], 3), Error::ThresholdTooHigh { .. }));
        assert!(matches!(refused(&[&a, &a], 2), Error::KeyTwice { .. }));
        let many: Vec<_> = std::iter::repeat_with(people::<1>).take(MAX_KEYS + 1).collect();
        let many: Vec<_> = many.iter().map(|[key]| key).collect();
        assert!(matches!(refused(&many, 1), Error::TooManyKeys(_)));
        try_it(&role, &[&a, &b], 2).unwrap();
    }
    // A key that no signature could ever be checked with is no key.
    for public in ["", "abcd", "not hexadecimal"] {
        let key: Key = serde_json::from_value(serde_json::json!({
            "keytype": "ed25519", "scheme": "ed25519", "keyval": { "public": public }
        }))
        .unwrap();
        let holding = Holding { keys: vec![key], threshold: 1 };
        let change = Change::from([(MeshRole::Production.name(), holding)]);
        let refused = mesh.prepare(&Request { change, renew: false }).unwrap_err();
        assert!(matches!(refused, Error::BadKey { .. }), "{refused}");
    }
    let unknown = mesh.change(RoleName::new("emperor").unwrap(), &[&a], 1);
    assert!(matches!(mesh.prepare(&unknown), Err(Error::UnknownRole(_))));
    let same = Change::from([(
        RoleName::ROOT,
        holding(mesh.repository.root(), mesh.repository.top(), &RoleName::ROOT).unwrap(),
    )]);
    let same = Request { change: same, renew: false };
    assert!(matches!(mesh.prepare(&same), Err(Error::Nothing)));
}

#[tokio::test]
async fn root_and_targets_are_renewed_while_their_key_is_here() {
    let mut mesh = Mesh::new();
    mesh.follow().await.unwrap();
    assert_eq!(mesh.repository.due(&mesh.keys, days(300)), Due::Generation);
    let renewed = mesh.repository.publish(&mesh.keys, &BTreeMap::new(), days(300)).unwrap();
    let names: Vec<_> = renewed.documents.iter().map(Document::file_name).collect();
    assert!(names.contains(&"2.root.json".to_owned()), "{names:?}");
    assert!(names.contains(&"2.targets.json".to_owned()), "{names:?}");
    mesh.serve(&renewed.documents);
    let mut client = Client::new(&mesh, mesh.client.clone(), Limits::default());
    client.refresh_all(days(300)).await.unwrap();
    let custody = renewed.repository.custody(&mesh.keys, days(300));
    assert!(custody.iter().all(|one| !one.is_due), "{custody:?}");
}
