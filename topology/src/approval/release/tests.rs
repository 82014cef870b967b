//! Releases over time, group by group.

use super::*;
use crate::approval::{Decision, batch};
use crate::name::RolloutName;
use crate::node::{Mesh, Stage};

fn mesh() -> Mesh {
    let url = "https://hq.example".to_owned();
    let (hq, site) = ("hq".parse().expect("a name"), "emea".parse().expect("a site"));
    let key = crate::digest::Sha256::from_bytes([0; 32]);
    Mesh::found("m".to_owned(), "Example".to_owned(), hq, site, url, key).expect("a mesh")
}

fn id(name: &str) -> RevisionId {
    format!("deb:stable/{name}@1").parse().expect("a revision")
}

fn ids(names: &[&str]) -> BTreeSet<RevisionId> {
    names.iter().map(|name| id(name)).collect()
}

fn groups(names: &[&str]) -> BTreeSet<GroupName> {
    names.iter().map(|name| name.parse().expect("a group")).collect()
}

const BOTH: [&str; 2] = ["servers", "workstations"];

fn asking() -> Asking<'static> {
    Asking { by: "ada", at: Timestamp::UNIX_EPOCH, comment: "the release" }
}

/// A decision on one revision for one group.
fn set_one(set: &mut ApprovalSet, name: &str, group: &str, approved: bool, rule: &str) {
    let decision = match approved {
        true => Decision::Approved(RolloutName::default_for(set.stage)),
        false => Decision::Declined,
    };
    let approval = Approval {
        decision,
        by: "eve".to_owned(),
        at: Timestamp::UNIX_EPOCH,
        comment: "by name".to_owned(),
        rule: rule.to_owned(),
    };
    set.entries.insert((id(name), group.parse().expect("a group")), approval);
}

/// The set after approving `names` as snapshot `version`.
fn after(set: &ApprovalSet, version: u64, names: &[&str]) -> (ApprovalSet, Outcome) {
    let (name, revisions) = ("bookworm".parse().expect("a name"), ids(names));
    let release = Release { name: &name, version, revisions: &revisions };
    let outcome = release.decide(set, None, &groups(&BOTH), asking());
    let rollout = RolloutName::default_for(set.stage);
    // What was in validation is of no matter here.
    let mut passed = ApprovalSet::empty(Stage::Validation);
    for name in ["a", "b", "c", "d"] {
        set_one(&mut passed, name, "lab", true, "");
    }
    let change = batch(set, Some(&passed), &mesh(), |_| true, &rollout, &outcome.steps);
    (change.expect("a change").set, outcome)
}

fn is_approved(set: &ApprovalSet, name: &str, group: &str) -> bool {
    let group: GroupName = group.parse().expect("a group");
    set.get(&id(name), &group).is_some_and(Approval::is_approved)
}

fn empty() -> ApprovalSet {
    ApprovalSet::empty(Stage::Production)
}

#[test]
fn a_later_snapshot_is_a_difference_and_the_same_one_none() {
    let (set, outcome) = after(&empty(), 1, &["a", "b"]);
    assert_eq!((set.version, set.entries.len()), (1, 4));
    assert_eq!(outcome.approved, ids(&["a", "b"]));
    assert!(set.entries.values().all(|one| one.rule == "baseline/bookworm@1"));
    let (again, outcome) = after(&set, 1, &["a", "b"]);
    assert_eq!((&again, outcome.approved.len() + outcome.left.len()), (&set, 0));
    let (next, outcome) = after(&set, 2, &["b", "c"]);
    assert_eq!((outcome.approved, outcome.left), (ids(&["c"]), ids(&["a"])));
    assert_eq!(next.version, 2, "one change");
    assert!(!is_approved(&next, "a", "servers") && is_approved(&next, "c", "workstations"));
    // What stands keeps its mark.
    let kept = next.get(&id("b"), &"servers".parse().expect("a group")).expect("b");
    assert_eq!(kept.rule, "baseline/bookworm@1");
    // It comes back with a later one: only the release had declined it.
    let (back, outcome) = after(&next, 3, &["a", "b", "c"]);
    assert_eq!(outcome.approved, ids(&["a"]));
    assert!(is_approved(&back, "a", "servers") && outcome.declined.is_empty());
}

#[test]
fn what_is_declined_by_name_for_one_group_is_approved_for_the_others() {
    let mut set = empty();
    set_one(&mut set, "a", "servers", false, "");
    let (set, outcome) = after(&set, 1, &["a", "b"]);
    assert_eq!((outcome.declined, outcome.approved), (ids(&["a"]), ids(&["a", "b"])));
    assert!(!is_approved(&set, "a", "servers") && is_approved(&set, "a", "workstations"));
}

#[test]
fn a_decline_by_name_does_not_make_the_others_leave() {
    let (mut set, _) = after(&empty(), 1, &["a", "b"]);
    set_one(&mut set, "a", "servers", false, "");
    let (next, outcome) = after(&set, 2, &["a", "b"]);
    assert_eq!((&next, outcome.left.len()), (&set, 0), "it is in the release still");
}

#[test]
fn what_left_stays_where_a_person_approved_it() {
    let (mut set, _) = after(&empty(), 1, &["a", "b"]);
    set_one(&mut set, "a", "servers", true, "");
    let (next, outcome) = after(&set, 2, &["b"]);
    assert_eq!(outcome.left, ids(&["a"]));
    assert!(is_approved(&next, "a", "servers") && !is_approved(&next, "a", "workstations"));
}

#[test]
fn another_baseline_is_left_alone() {
    let mut set = empty();
    set_one(&mut set, "d", "servers", true, "baseline/bookworm-updates@4");
    set_one(&mut set, "c", "servers", false, "baseline/bookworm-updates@4");
    let (next, outcome) = after(&set, 1, &["a", "c"]);
    assert!(is_approved(&next, "d", "servers"));
    assert_eq!(outcome.declined, ids(&["c"]), "declined by something else");
}

#[test]
fn what_validation_declined_by_name_is_left_out_and_what_it_never_saw_is_a_fault() {
    let mut validation = ApprovalSet::empty(Stage::Validation);
    set_one(&mut validation, "a", "lab", true, "baseline/bookworm@1");
    set_one(&mut validation, "b", "lab", false, "");
    let (name, revisions) = ("bookworm".parse().expect("a name"), ids(&["a", "b"]));
    let release = Release { name: &name, version: 1, revisions: &revisions };
    let outcome = release.decide(&empty(), Some(&validation), &groups(&BOTH), asking());
    assert_eq!((&outcome.approved, &outcome.declined), (&ids(&["a"]), &ids(&["b"])));
    let revisions = ids(&["a", "b", "c"]);
    let release = Release { name: &name, version: 1, revisions: &revisions };
    let outcome = release.decide(&empty(), Some(&validation), &groups(&BOTH), asking());
    let rollout = RolloutName::default_for(Stage::Production);
    let refused = batch(&empty(), Some(&validation), &mesh(), |_| true, &rollout, &outcome.steps);
    assert!(refused.expect_err("never seen").to_string().contains("c@1 is not approved in"));
}
