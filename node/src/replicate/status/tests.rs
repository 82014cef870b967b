//! Whose word counts, and which.

use jiff::SignedDuration;
use patchmesh_proto::convert::timestamp_to_wire;
use patchmesh_proto::replication::ApprovalSetStatus;
use patchmesh_topology::node::Membership;

use super::*;
use crate::identity::testing::TestMesh;

fn mesh() -> Mesh {
    TestMesh::new().mesh(&[
        ("hq", None, Membership::Invited),
        ("hub", Some("hq"), Membership::Invited),
        ("lyon", Some("hub"), Membership::Invited),
        ("nice", Some("hq"), Membership::Invited),
    ])
}

fn word(name: &str, generation: u64, at: Timestamp) -> NodeStatus {
    let at = Some(timestamp_to_wire(at));
    NodeStatus { name: name.to_owned(), generation, at, ..NodeStatus::default() }
}

fn name(name: &str) -> NodeName {
    name.parse().unwrap()
}

#[test]
fn a_node_speaks_for_its_own_subtree() {
    let (mesh, statuses, now) = (mesh(), Statuses::default(), Timestamp::now());
    let accept = |words| statuses.accept(&mesh, &name("hub"), words, now);
    accept(vec![word("hub", 1, now), word("lyon", 1, now)]).unwrap();
    let foreign = accept(vec![word("hub", 2, now), word("nice", 2, now)]);
    assert!(matches!(foreign, Err(Error::Foreign { .. })));
    assert_eq!(statuses.all()[&name("hub")].status.generation, 1, "all or nothing");
}

#[test]
fn a_clock_that_was_put_right_is_believed() {
    let (mesh, statuses, now) = (mesh(), Statuses::default(), Timestamp::now());
    let accept = |generation, at| {
        statuses.accept(&mesh, &name("hub"), vec![word("lyon", generation, at)], now).unwrap();
        statuses.all()[&name("lyon")].status.generation
    };
    assert_eq!(accept(5, now), 5);
    assert_eq!(accept(4, now - SignedDuration::from_secs(1)), 5, "an older word");
    assert_eq!(accept(6, now + SignedDuration::from_hours(24)), 6);
    assert_eq!(accept(7, now), 7, "the word before came from the future");
}

#[test]
fn a_node_cannot_fill_the_reports_of_those_above_it() {
    let (mesh, statuses, now) = (mesh(), Statuses::default(), Timestamp::now());
    let mut loud = word("lyon", 1, now);
    loud.problem = format!("\x1b[2J{}", "x".repeat(1 << 20));
    loud.approval_sets = vec![ApprovalSetStatus::default(); 1000];
    statuses.accept(&mesh, &name("lyon"), vec![loud], now).unwrap();
    let kept = statuses.all()[&name("lyon")].status.clone();
    assert_eq!(kept.problem.chars().count(), MAX_TEXT);
    assert!(!kept.problem.contains('\x1b'));
    assert_eq!(kept.approval_sets.len(), Stage::ALL.len());
}
