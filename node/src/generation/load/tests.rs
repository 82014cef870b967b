//! What loading refuses, and that it asks for all it lacks.

use std::num::NonZeroU64;

use bytes::Bytes;
use jiff::Timestamp;
use patchmesh_proto::document;
use patchmesh_topology::approval::ApprovalSet;
use patchmesh_topology::digest::Digest;
use patchmesh_topology::node::Stage;

use super::*;
use crate::generation::testing::{hq, joined, trusted, whole};
use crate::primary::testing::TestPrimary;
use crate::signed::names;
use crate::tuf::envelope::{Envelope, sign};
use crate::tuf::layout::MeshRole;
use crate::tuf::metadata::{Kind, MetaFile, Snapshot, Targets, Timestamp as Stamp};
use crate::tuf::storage::MemoryStorage;
use crate::tuf::{self, RoleName, TargetPath, restore};

fn lacking(trusted: &TrustedMetadata, staged: &Staged) -> Vec<DocumentRef> {
    match load(trusted, &hq(), staged, None).expect("loaded") {
        Loaded::Lacking(lacking) => lacking,
        Loaded::Whole(_) => Vec::new(),
    }
}

#[tokio::test]
async fn what_lacks_is_named_until_nothing_does() {
    let primary = TestPrimary::start().await;
    let (_folder, child) = joined(&primary.store);
    let trusted = trusted(&primary.store);
    let mut staged = Staged::new(&child, Vec::new());
    let first = lacking(&trusted, &staged);
    // The signed names, of which empty sets of a kind may share a document.
    assert!((4..=12).contains(&first.len()), "{first:?}");
    let mut rounds = 0;
    loop {
        let wanted = lacking(&trusted, &staged);
        if wanted.is_empty() {
            break;
        }
        rounds += 1;
        assert!(rounds < 5, "{wanted:?}");
        for document in wanted {
            let bytes = primary.store.get_blob(&document.digest).unwrap().unwrap();
            staged.add(document, bytes);
        }
    }
    assert_eq!(whole(&trusted, &staged).number, primary.current.get().number);
}

#[tokio::test]
async fn other_bytes_than_those_signed_are_refused() {
    let primary = TestPrimary::start().await;
    let trusted = trusted(&primary.store);
    let target = primary.current.get().targets[names::TOPOLOGY];
    let mut staged = Staged::new(&primary.store, Vec::new());
    let wrong = Bytes::from(vec![0; usize::try_from(target.length).unwrap()]);
    staged.add(DocumentRef { digest: target.digest, length: target.length }, wrong);
    let refused = load(&trusted, &hq(), &staged, None);
    assert!(
        matches!(&refused, Err(Error::Mismatch(name)) if name == names::TOPOLOGY),
        "{refused:?}"
    );
}

#[tokio::test]
async fn the_set_of_another_stage_is_refused() {
    let primary = TestPrimary::start().await;
    let index = patchmesh_proto::set::cut_approvals(&ApprovalSet::empty(Stage::Validation)).index;
    let name = names::approvals(Stage::Production);
    let mut forged = Forged::of(&primary);
    forged.rename(MeshRole::Production, name, &index);
    let mut staged = Staged::new(&primary.store, Vec::new());
    staged.add(document::reference(&index), index);
    let refused = load(&forged.trusted(), &hq(), &staged, None);
    assert!(matches!(refused, Err(Error::Stage(Stage::Production))), "{refused:?}");
}

/// Whoever has the key of one role can name the paths of another in it; no TUF
/// client would look there, and neither do nodes.
#[tokio::test]
async fn a_stolen_key_speaks_for_its_own_role_only() {
    let primary = TestPrimary::start().await;
    let before = primary.current.get();
    let name = names::approvals(Stage::Production);
    for role in MeshRole::ALL.into_iter().filter(|role| *role != MeshRole::Production) {
        let mut forged = Forged::of(&primary);
        forged.rename(role, name, b"everything is approved");
        let loaded = whole(&forged.trusted(), &Staged::new(&primary.store, Vec::new()));
        assert_eq!(loaded.targets[name], before.targets[name], "stolen: {role}");
    }
}

#[tokio::test]
async fn nobody_is_made_to_hold_an_endless_document() {
    let primary = TestPrimary::start().await;
    let mut forged = Forged::of(&primary);
    forged.rename_as(MeshRole::Content, names::CATALOGUE, b"short", MAX_DOCUMENT + 1);
    let refused = load(&forged.trusted(), &hq(), &Staged::new(&primary.store, Vec::new()), None);
    assert!(matches!(refused, Err(Error::TooLong { .. })), "{refused:?}");
}

/// A repository signed with stolen keys.
struct Forged<'a> {
    primary: &'a TestPrimary,
    files: BTreeMap<RoleName, Vec<u8>>,
}

impl<'a> Forged<'a> {
    fn of(primary: &'a TestPrimary) -> Self {
        let files = crate::generation::storage::trusted(&primary.store).expect("read");
        Self { primary, files }
    }

    /// Makes `role` say that `path` leads to `bytes`.
    fn rename(&mut self, role: MeshRole, path: &str, bytes: &[u8]) {
        self.rename_as(role, path, bytes, bytes.len() as u64);
    }

    fn rename_as(&mut self, role: MeshRole, path: &str, bytes: &[u8], length: u64) {
        let role = role.name();
        let mut targets: Targets = self.read(&role);
        let blake3 = Digest::of(bytes).to_string();
        let file = tuf::TargetFile {
            length,
            hashes: crate::tuf::hashes::Hashes::of(bytes),
            custom: Some(serde_json::json!({ crate::tuf::layout::BLAKE3: blake3 })),
        };
        targets.targets.insert(TargetPath::new(path).expect("a path"), file);
        let announced = self.sign(&role, &targets);
        let mut snapshot: Snapshot = self.read(&RoleName::SNAPSHOT);
        snapshot.meta.insert(format!("{role}.json"), announced);
        let announced = self.sign(&RoleName::SNAPSHOT, &snapshot);
        let mut timestamp: Stamp = self.read(&RoleName::TIMESTAMP);
        timestamp.meta.snapshot = announced;
        self.sign(&RoleName::TIMESTAMP, &timestamp);
    }

    fn trusted(&self) -> TrustedMetadata {
        let files = MemoryStorage::new(self.files.clone());
        restore(&files, Timestamp::now(), 64).expect("verified")
    }

    fn read<T: Kind>(&self, role: &RoleName) -> T {
        Envelope::parse(&self.files[role]).expect("metadata").into_signed()
    }

    fn sign<T: Kind>(&mut self, role: &RoleName, document: &T) -> MetaFile {
        let bytes = sign(document, &[&self.primary.role_key(role)]).expect("signed");
        let version = NonZeroU64::new(document.header().version()).expect("a version");
        let announced = MetaFile::of(version, &bytes);
        self.files.insert(role.clone(), bytes);
        announced
    }
}
