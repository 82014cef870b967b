//! Going on from what was counted comes to the same as counting all anew.

use patchmesh_topology::approval::Decision;

use super::*;
use crate::primary::draft::Draft;
use crate::primary::views::testing::{self, Company};

const BRANCH: &str = "paris";

async fn company() -> Company {
    let company = Company::start(&[(BRANCH, "emea/fr/paris")]).await;
    company.approve(&["one", "two"], "default-production").await;
    company
}

fn names() -> [NodeName; 2] {
    ["hq", BRANCH].map(|name| name.parse().unwrap())
}

/// Whether the generation goes on from what an earlier one called for.
fn goes_on(generation: &Generation) -> bool {
    generation.demand.0.since.lock().unwrap().is_some()
}

/// Asks a generation what it calls for, and counts it anew.
fn check(generation: &Generation) -> usize {
    for name in names() {
        let anew = generation.all_payloads(&name);
        let found = generation.demand.payloads(generation, &name);
        assert_eq!(found.wanted, anew.wanted);
        assert_eq!(found.unsubscribed, anew.unsubscribed);
        assert_eq!(found.unbound, anew.unbound);
    }
    let bound = generation.bindings.values().map(|one| (one.blob, one.length)).collect();
    assert_eq!(*generation.bound, bound);
    generation.wanted_payloads(&names()[0]).len()
}

/// Takes the bindings of a revision away and gives them back.
fn unbind(draft: &mut Draft, name: &str) {
    let payload = testing::revision(name).payloads[0].sha256;
    Arc::make_mut(&mut draft.bindings).remove(&payload);
}

fn bind(draft: &mut Draft, name: &str) {
    let payload = testing::revision(name).payloads.remove(0);
    let blob = Digest::of(payload.sha256.as_bytes());
    let binding = Binding { sha256: payload.sha256, blob, length: payload.length };
    Arc::make_mut(&mut draft.bindings).insert(payload.sha256, binding);
}

#[tokio::test]
async fn what_is_approved_and_then_bound_is_added() {
    let company = company().await;
    assert_eq!(check(&company.primary.current.get()), 2);
    let approved = company
        .change(|draft| {
            testing::approve(draft, &["three".to_owned()], "default-production");
            unbind(draft, "three");
        })
        .await;
    assert!(goes_on(&approved));
    assert_eq!(check(&approved), 2);
    let bound = company.change(|draft| bind(draft, "three")).await;
    assert!(goes_on(&bound));
    assert_eq!(check(&bound), 3);
}

#[tokio::test]
async fn generations_that_nobody_asked_are_caught_up_with() {
    let company = company().await;
    check(&company.primary.current.get());
    for name in ["three", "four"] {
        company
            .change(move |draft| {
                testing::approve(draft, &[name.to_owned()], "default-production");
                unbind(draft, name);
            })
            .await;
    }
    let last = company
        .change(|draft| {
            bind(draft, "three");
            bind(draft, "four");
        })
        .await;
    assert!(goes_on(&last));
    assert_eq!(check(&last), 4);
}

#[tokio::test]
async fn what_takes_something_back_is_counted_anew() {
    let company = company().await;
    check(&company.primary.current.get());
    let declined = company
        .change(|draft| {
            let mut set = draft.approvals(Stage::Production).as_ref().clone();
            set.version += 1;
            let one = testing::revision("one").id;
            for (_, approval) in set.entries.iter_mut().filter(|((id, _), _)| *id == one) {
                approval.decision = Decision::Declined;
                approval.comment = "breaks mail".to_owned();
            }
            draft.set_approvals(set);
        })
        .await;
    assert!(!goes_on(&declined));
    assert_eq!(check(&declined), 1);
    let lost = company.change(|draft| unbind(draft, "two")).await;
    assert_eq!(check(&lost), 0);
}
