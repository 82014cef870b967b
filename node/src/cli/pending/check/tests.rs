//! A primary that shows one thing and has another signed.

use jiff::Timestamp;
use patchmesh_proto::wire;
use patchmesh_topology::approval::{Approval, Decision};
use patchmesh_topology::rollout::Rollout;

use super::*;
use crate::tuf::repository::{Repository, RoleKeys, TargetEntry};
use crate::tuf::{TargetPath, layout::MeshRole};

fn set(version: u64, approved: &[(&str, &str)]) -> ApprovalSet {
    let entry = |(revision, group): &(&str, &str)| {
        let approval = Approval {
            decision: Decision::Approved(Rollout::default_for(Stage::Production).name),
            by: "user alice".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            comment: String::new(),
            rule: String::new(),
        };
        ((revision.parse().unwrap(), group.parse().unwrap()), approval)
    };
    let entries = approved.iter().map(entry).collect();
    ApprovalSet { stage: Stage::Production, version, entries }
}

/// What an honest primary shows of one more approval.
fn shown(after: &ApprovalSet, path: &str) -> admin::GetPendingResponse {
    let keys = RoleKeys::generate().unwrap();
    let now = Timestamp::now();
    let repository = Repository::create(&keys, now).unwrap().repository;
    let (before, after) = (set::cut_approvals(&set(1, &[OLD])), set::cut_approvals(after));
    let entry = TargetEntry::of(TargetPath::new(path).unwrap(), &after.index);
    let role =
        if path.ends_with("production") { MeshRole::Production } else { MeshRole::Validation };
    let paper = repository.draw_up(role, Some(&[entry]), now).unwrap();
    admin::GetPendingResponse {
        pending: Some(admin::Pending {
            id: 7,
            kind: admin::PendingKind::Decision.into(),
            state: admin::PendingState::Waiting.into(),
            stage: wire::Stage::Production.into(),
            ..Default::default()
        }),
        papers: vec![serde_json::to_vec(&paper).unwrap().into()],
        index: after.index,
        index_now: before.index,
        partitions: before
            .partitions
            .into_iter()
            .chain(after.partitions)
            .map(|(_, bytes)| bytes)
            .collect(),
    }
}

const OLD: (&str, &str) = ("vendor:stable/old@1", "servers");
const NEW: (&str, &str) = ("vendor:stable/new@1", "servers");
const PATH: &str = "approvals/production";

fn asked() -> Asked {
    Asked::of(&[NEW.0.to_owned()], &[], true)
}

fn refused(found: &admin::GetPendingResponse) -> String {
    let key = SigningKey::generate().unwrap();
    sign(found, &key, Some(&asked())).unwrap_err().to_string()
}

#[test]
fn what_was_asked_for_is_signed() {
    let key = SigningKey::generate().unwrap();
    let found = shown(&set(2, &[OLD, NEW]), PATH);
    let signed = sign(&found, &key, Some(&asked())).unwrap();
    assert_eq!(signed.signatures.len(), 1);
    assert!(signed.lines[0].ends_with(": 1"), "{:?}", signed.lines);
    assert!(signed.lines[1].contains("approve vendor:stable/new@1 for servers"));
    let paper: Paper = serde_json::from_slice(&found.papers[0]).unwrap();
    let message = paper.message().unwrap();
    key.public().verify(&message, &signed.signatures[0].signature).unwrap();
}

#[test]
fn what_nobody_asked_for_is_not_signed() {
    let more = shown(&set(2, &[OLD, NEW, ("vendor:stable/evil@1", "servers")]), PATH);
    assert!(refused(&more).contains("evil"), "{}", refused(&more));
    let fewer = shown(&set(2, &[NEW]), PATH);
    assert!(refused(&fewer).contains("forget vendor:stable/old@1"));
    // Shown one thing, to be signed another.
    let mut other = shown(&set(2, &[OLD, NEW]), PATH);
    other.papers = shown(&set(2, &[OLD, NEW, ("vendor:stable/evil@1", "servers")]), PATH).papers;
    assert!(refused(&other).contains("not those that would be signed"));
    // Another stage's role under this stage's name.
    let foreign = shown(&set(2, &[OLD, NEW]), "approvals/validation");
    assert!(refused(&foreign).contains("about the role validation"));
    // Parts of it kept back.
    let mut part = shown(&set(2, &[OLD, NEW]), PATH);
    part.partitions.clear();
    assert!(refused(&part).contains("absent"), "{}", refused(&part));
    let mut none = shown(&set(2, &[OLD, NEW]), PATH);
    none.papers.clear();
    assert!(refused(&none).contains("more than one role"));
}
