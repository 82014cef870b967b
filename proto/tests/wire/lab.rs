//! The lab's document: through its bytes and back.

use jiff::{SignedDuration, Timestamp};
use patchmesh_proto::document::{decode, encode};
use patchmesh_proto::wire;
use patchmesh_topology::lab::{MAX_RESULTS, Outcome, Resolution, TestResult};
use patchmesh_topology::promotion::{Lab, Machines, Override, Policy, Requirement};
use patchmesh_topology::rollout::gate::AtMost;

fn policy() -> Policy {
    let one = |name: &str| Requirement {
        platform: name.parse().expect("a name"),
        sources: ["vendor".parse().expect("a name")].into(),
        name_glob: "app-*".to_owned(),
    };
    let max_failed = AtMost { share: "2.5 %".parse().ok(), count: Some(3), min_sample: 20 };
    Policy {
        platforms: vec![one("debian-12"), one("exchange-2019")],
        soak: SignedDuration::from_hours(72),
        machines: Machines { min_reported: 5, min_installed: 4, max_failed: Some(max_failed) },
    }
}

fn lab() -> Lab {
    let at = Timestamp::UNIX_EPOCH;
    let text = |text: &str| text.to_owned();
    let mut lab = Lab::default();
    lab.set_policy(Some(policy()), "user root", at);
    lab.set_policy(None, "user root", at);
    lab.set_policy(Some(policy()), "user eve", at);
    let subjects = ["vendor:stable/app@2", "baseline/bookworm@3"];
    for (subject, outcome) in subjects.into_iter().zip([Outcome::Fail, Outcome::Pass]) {
        let resolution = Resolution { reason: text("no disk"), by: text("user bob"), at };
        let (by, note) = (text("user ada"), text("no printing"));
        let resolution = (outcome == Outcome::Fail).then_some(resolution);
        let result = TestResult { at, outcome, by, note, resolution };
        let platform = "debian-12".parse().expect("a name");
        let subject = subject.parse().expect("a subject");
        lab.results.add(subject, platform, result, |_| false).expect("room");
    }
    let one = Override {
        revisions: ["vendor:stable/app@2".parse().expect("a revision")].into(),
        groups: ["servers".parse().expect("a name")].into(),
        reason: text("exploited"),
        asked_by: text("user ada"),
        asked_at: at,
        consented_by: text("user bob"),
        consented_at: at,
        lacks: vec![text("something")],
    };
    lab.enter(7, one).expect("two people");
    lab
}

#[test]
fn the_lab_comes_back_as_it_went() {
    for lab in [Lab::default(), lab()] {
        let bytes = encode(&wire::Lab::from(&lab));
        let message = decode::<wire::Lab>(&bytes).expect("a document");
        assert_eq!(Lab::try_from(message).expect("a lab"), lab);
    }
}

#[test]
fn what_is_wrong_is_refused_with_its_place() {
    let refused = |change: &dyn Fn(&mut wire::Lab)| {
        let mut message = wire::Lab::from(&lab());
        change(&mut message);
        Lab::try_from(message).expect_err("refused").path().to_owned()
    };
    assert_eq!(refused(&|one| one.results[1].outcome = "fine".to_owned()), "results[1].outcome");
    assert_eq!(refused(&|one| one.results[1].outcome.clear()), "results[1].outcome");
    assert_eq!(refused(&|one| one.results[0].subject = "app".to_owned()), "results[0].subject");
    assert_eq!(refused(&|one| one.results[0].platform.clear()), "results[0].platform");
    assert_eq!(refused(&|one| one.results[0].at = None), "results[0].at");
    assert_eq!(refused(&|one| one.overrides[0].revisions[0].clear()), "overrides[0].revisions[0]");
    let twice = |one: &mut wire::Lab| one.overrides.push(one.overrides[0].clone());
    assert_eq!(refused(&twice), "overrides[1]");
    let many = |one: &mut wire::Lab| {
        one.results = vec![one.results[0].clone(); MAX_RESULTS + 1];
    };
    assert_eq!(refused(&many), "results");
    let limit = |one: &mut wire::Lab| {
        let policy = one.policy.as_mut().expect("a policy");
        policy.machines.as_mut().expect("machines").max_failed = Some(wire::GateLimit::default());
    };
    assert_eq!(refused(&limit), "policy");
    let soak = |one: &mut wire::Lab| {
        let policy = one.policy.as_mut().expect("a policy");
        policy.soak = Some(prost_types::Duration { seconds: -1, nanos: 0 });
    };
    assert_eq!(refused(&soak), "policy.soak");
}
