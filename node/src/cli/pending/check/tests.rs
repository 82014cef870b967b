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

/// A release's decision on one revision.
fn of_release(approved: bool, version: u64) -> Approval {
    let decision = match approved {
        true => Decision::Approved(Rollout::default_for(Stage::Production).name),
        false => Decision::Declined,
    };
    Approval {
        decision,
        by: "user alice".to_owned(),
        at: Timestamp::UNIX_EPOCH,
        comment: "the release".to_owned(),
        rule: format!("baseline/bookworm@{version}"),
    }
}

#[test]
fn a_release_overturns_nothing_that_was_decided_by_name() {
    let name = "bookworm".parse().unwrap();
    let asked = Asked::of_release(&name, &[NEW.0.to_owned()], &[]);
    let (revision, other) = (NEW.0.parse().unwrap(), OLD.0.parse().unwrap());
    let group = NEW.1.parse().unwrap();
    let by_name = Approval { rule: String::new(), ..of_release(true, 1) };
    let declined = Approval { decision: Decision::Declined, ..by_name.clone() };
    let (in_it, left) = (of_release(true, 2), of_release(false, 2));
    let (first, earlier) = (of_release(true, 1), of_release(false, 1));
    let fits = |revision, before, after| {
        asked.fits(&Difference { revision, group: &group, before, after })
    };
    assert!(fits(&revision, None, Some(&in_it)));
    assert!(fits(&revision, Some(&earlier), Some(&in_it)), "it came back");
    assert!(fits(&other, Some(&first), Some(&left)), "it left");
    assert!(!fits(&other, None, Some(&in_it)), "not in the release");
    assert!(!fits(&revision, Some(&first), Some(&left)), "it has not left");
    assert!(!fits(&other, Some(&by_name), Some(&left)), "approved by name");
    assert!(!fits(&revision, Some(&declined), Some(&in_it)), "declined by name");
    assert!(!fits(&revision, None, Some(&by_name)), "under another mark");
    assert!(!fits(&revision, Some(&first), None), "forgotten");
}
