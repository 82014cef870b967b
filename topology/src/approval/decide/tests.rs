//! Decisions, by example and by property.

use proptest::collection::{btree_set, vec};
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::approval::diff;
use crate::digest::Sha256;

fn mesh() -> Mesh {
    let url = "https://hq.example".to_owned();
    let (hq, site) = ("hq".parse().expect("a name"), "emea".parse().expect("a site"));
    let key = Sha256::from_bytes([0; 32]);
    Mesh::found("m".to_owned(), "Example".to_owned(), hq, site, url, key).expect("a mesh")
}

fn revision(number: u8) -> RevisionId {
    format!("deb:stable/p{number}@1").parse().expect("a revision")
}

fn group(text: &str) -> GroupName {
    text.parse().expect("a group")
}

fn request(revisions: impl IntoIterator<Item = u8>, groups: &[&str]) -> Request {
    Request {
        revisions: revisions.into_iter().map(revision).collect(),
        groups: groups.iter().map(|text| group(text)).collect(),
        by: "ada".to_owned(),
        at: Timestamp::UNIX_EPOCH,
        comment: "tested on the reference laptop".to_owned(),
        rule: String::new(),
    }
}

/// Revisions 0 to 9 are in the catalogue.
fn is_known(id: &RevisionId) -> bool {
    (0..10).any(|number| revision(number) == *id)
}

fn approve_in(set: &ApprovalSet, before: Option<&ApprovalSet>, request: &Request) -> Change {
    let rollout = RolloutName::default_for(set.stage);
    approve(set, before, &mesh(), is_known, &rollout, request).expect("a decision")
}

fn promote_from(
    validation: &ApprovalSet,
    production: &ApprovalSet,
    request: &Request,
) -> Result<Change, Rejection> {
    let rollout = RolloutName::default_for(Stage::Production);
    promote(validation, production, &mesh(), is_known, &rollout, request)
}

fn empty() -> (ApprovalSet, ApprovalSet) {
    (ApprovalSet::empty(Stage::Validation), ApprovalSet::empty(Stage::Production))
}

#[test]
fn an_update_goes_from_validation_to_production() {
    let (validation, production) = empty();
    let early = promote_from(&validation, &production, &request([1], &[])).expect_err("too early");
    assert_eq!(
        early.faults,
        [Fault::NotPromotable { revision: revision(1), before: Stage::Validation }]
    );
    let validation = approve_in(&validation, None, &request([1, 2], &[])).set;
    assert_eq!((validation.version, validation.entries.len()), (1, 2));
    let change = promote_from(&validation, &production, &request([1], &[])).expect("promoted");
    assert_eq!(change.set.entries.len(), 3, "for each production group");
    assert_eq!(change.revisions, [revision(1)].into());
}

#[test]
fn a_decision_that_stands_is_no_change() {
    let (validation, _) = empty();
    let first = approve_in(&validation, None, &request([1], &[])).set;
    let again = Request { by: "bob".to_owned(), ..request([1], &[]) };
    let second = approve_in(&first, None, &again);
    assert_eq!(second, Change { set: first.clone(), revisions: BTreeSet::new() });
    let more = approve_in(&first, None, &request([1, 2], &[]));
    assert_eq!((more.revisions.len(), more.set.version), (1, 2));
}

#[test]
fn promoting_everything_leaves_declines_alone() {
    let (validation, production) = empty();
    let validation = approve_in(&validation, None, &request([1, 2], &[])).set;
    let declined = decline(&production, &mesh(), is_known, &request([2], &["servers"]));
    let production = declined.expect("declined").set;
    let all = promote_from(&validation, &production, &request([], &[])).expect("promoted");
    assert_eq!(all.set.entries.len(), 6);
    let servers = all.set.get(&revision(2), &group("servers")).expect("a decision");
    assert_eq!(servers.decision, Decision::Declined);
    let named = promote_from(&validation, &all.set, &request([2], &["servers"])).expect("promoted");
    assert_eq!(named.revisions.len(), 1);
}

#[test]
fn a_rejection_lists_every_fault() {
    let (validation, _) = empty();
    let request = Request { comment: " ".to_owned(), ..request([1, 77], &["servers", "pilots"]) };
    let rejection = decline(&validation, &mesh(), is_known, &request).expect_err("a rejection");
    assert_eq!(
        rejection.faults,
        [
            Fault::UnknownRevision(revision(77)),
            Fault::UnknownGroup(group("pilots")),
            Fault::OtherStage {
                group: group("servers"),
                actual: Stage::Production,
                asked: Stage::Validation,
            },
            Fault::NoComment,
        ]
    );
    assert!(rejection.to_string().contains("group servers follows production, not validation; "));
}

#[test]
fn a_long_rejection_counts_the_rest() {
    let (validation, _) = empty();
    let rejection =
        decline(&validation, &mesh(), |_| false, &request(0..30, &[])).expect_err("a rejection");
    assert!(rejection.to_string().ends_with("; and 10 more"), "{rejection}");
}

#[test]
fn comments_are_bounded_and_plain() {
    let (validation, _) = empty();
    for comment in ["x".repeat(MAX_COMMENT + 1), "\u{1b}[2J".to_owned()] {
        let request = Request { comment, ..request([1], &[]) };
        let rejection = decline(&validation, &mesh(), is_known, &request).expect_err("refused");
        assert_eq!(rejection.faults, [Fault::Comment]);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Approve(BTreeSet<u8>),
    Decline(bool, BTreeSet<u8>),
    Promote(BTreeSet<u8>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..3u8, any::<bool>(), btree_set(0..12u8, 0..4));
    let step = step.prop_map(|(kind, in_production, revisions)| match kind {
        0 => Step::Approve(revisions),
        1 => Step::Decline(in_production, revisions),
        _ => Step::Promote(revisions),
    });
    vec(step, 0..30)
}

fn run(
    validation: &ApprovalSet,
    production: &ApprovalSet,
    step: &Step,
) -> Result<Change, Rejection> {
    let asked = |revisions: &BTreeSet<u8>| request(revisions.iter().copied(), &[]);
    match step {
        Step::Approve(revisions) => {
            let rollout = RolloutName::default_for(Stage::Validation);
            approve(validation, None, &mesh(), is_known, &rollout, &asked(revisions))
        }
        Step::Decline(true, revisions) => decline(production, &mesh(), is_known, &asked(revisions)),
        Step::Decline(false, revisions) => {
            decline(validation, &mesh(), is_known, &asked(revisions))
        }
        Step::Promote(revisions) => promote_from(validation, production, &asked(revisions)),
    }
}

proptest! {
    #[test]
    fn versions_count_changes_and_nothing_else(steps in steps()) {
        let (mut validation, mut production) = empty();
        for step in steps {
            let Ok(change) = run(&validation, &production, &step) else { continue };
            let before =
                if change.set.stage == Stage::Validation { &mut validation } else { &mut production };
            let differences = diff(&before.entries, &change.set.entries);
            let changed: BTreeSet<_> =
                differences.iter().map(|difference| difference.revision.clone()).collect();
            prop_assert_eq!(&changed, &change.revisions);
            prop_assert_eq!(change.set.version, before.version + u64::from(!changed.is_empty()));
            *before = change.set.clone();
            // Doing the same again changes nothing.
            let again = run(&validation, &production, &step).expect("allowed once, so again");
            prop_assert!(again.revisions.is_empty());
        }
    }

    #[test]
    fn nothing_enters_production_that_validation_did_not_approve(steps in steps()) {
        let (mut validation, mut production) = empty();
        let mut passed = BTreeSet::new();
        for step in steps {
            let Ok(change) = run(&validation, &production, &step) else { continue };
            passed.extend(validation.approved().into_iter().cloned());
            if change.set.stage == Stage::Validation {
                validation = change.set;
            } else {
                production = change.set;
            }
            prop_assert!(production.approved().into_iter().all(|revision| passed.contains(revision)));
        }
    }
}
