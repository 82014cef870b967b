use jiff::SignedDuration;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;
use crate::approval::{Approval, Decision};
use crate::lab::{Outcome, Resolution, Subject, TestResult};
use crate::name::{PlatformName, RolloutName};
use crate::node::Stage;
use crate::rollout::gate::AtMost;

fn at(hour: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hour)
}

fn app() -> RevisionId {
    "vendor:stable/app@2".parse().unwrap()
}

fn group() -> GroupName {
    "servers".parse().unwrap()
}

fn platform(name: &str) -> PlatformName {
    name.parse().unwrap()
}

fn require(name: &str) -> Requirement {
    Requirement { platform: platform(name), sources: BTreeSet::new(), name_glob: String::new() }
}

fn result(hour: i64, outcome: Outcome) -> TestResult {
    let note = "no printing".to_owned();
    TestResult { at: at(hour), outcome, by: "user ada".to_owned(), note, resolution: None }
}

fn approved(stage: Stage, hour: i64, rule: &str) -> ApprovalSet {
    let approval = Approval {
        decision: Decision::Approved(RolloutName::default_for(stage)),
        by: "user ada".to_owned(),
        at: at(hour),
        comment: String::new(),
        rule: rule.to_owned(),
    };
    let mut set = ApprovalSet::empty(stage);
    set.entries.insert((app(), group()), approval);
    set
}

/// A policy with everything, and evidence that meets it at hour 24.
fn whole() -> (Lab, Counts) {
    let limit = AtMost { share: "10 %".parse().ok(), count: Some(2), min_sample: 5 };
    let policy = Policy {
        platforms: vec![require("debian-12"), require("exchange-2019")],
        soak: SignedDuration::from_hours(24),
        machines: Machines { min_reported: 5, min_installed: 4, max_failed: Some(limit) },
    };
    policy.check().unwrap();
    let mut lab = Lab::default();
    lab.set_policy(Some(policy), "user root", at(0));
    for name in ["debian-12", "exchange-2019"] {
        let subject = Subject::Revision(app());
        let pass = result(1, Outcome::Pass);
        lab.results.add(subject, platform(name), pass, |_| false).unwrap();
    }
    (lab, Counts { machines: 12, reached: 10, installed: 10, failed: 0 })
}

fn said(lab: &Lab, counts: Counts, hour: i64) -> Vec<String> {
    let validation = approved(Stage::Validation, 0, "");
    let lacks = lacks(lab, &case(&validation, &app(), counts), at(hour));
    lacks.iter().map(ToString::to_string).collect()
}

#[test]
fn all_that_lacks_is_said_at_once_and_what_to_do() {
    let (mut lab, counts) = whole();
    assert_eq!(said(&lab, counts, 24), [""; 0]);
    lab.results = Results::default();
    let add = |lab: &mut Lab, name: &str, one| {
        lab.results.add(Subject::Revision(app()), platform(name), one, |_| false).unwrap();
    };
    add(&mut lab, "exchange-2019", result(2, Outcome::Fail));
    add(&mut lab, "till", result(3, Outcome::Blocked));
    add(&mut lab, "old-library", result(3, Outcome::Fail));
    let bad = Counts { machines: 12, reached: 4, installed: 1, failed: 3 };
    assert_eq!(
        said(&lab, bad, 2),
        [
            "it soaks in validation for 24h, until 1970-01-02T00:00:00Z; promote it then",
            "nobody recorded a result on platform debian-12; try it there, then `patchmesh lab \
             result add vendor:stable/app@2 --platform debian-12 --outcome pass`",
            "a failure is open on platform exchange-2019: fail by user ada at \
             1970-01-01T02:00:00Z: no printing; record a later pass, or `patchmesh lab result \
             resolve vendor:stable/app@2 --platform exchange-2019 --reason WHY`",
            "a failure is open on platform old-library: fail by user ada at \
             1970-01-01T03:00:00Z: no printing; record a later pass, or `patchmesh lab result \
             resolve vendor:stable/app@2 --platform old-library --reason WHY`",
            "4 of 12 validation machines reported an end, and 5 have to; wait for their reports",
            "1 of 12 validation machines have it, and 4 have to; install it on more of them",
            "of the validation machines that reported, 75.0 % (3 of 4) failed, and at most 2 \
             may; put those machines right, or decline it",
        ]
    );
}

#[test]
fn a_resolved_failure_is_no_pass_where_one_is_required() {
    let (mut lab, counts) = whole();
    let why = Resolution { reason: "no disk".to_owned(), by: "user bob".to_owned(), at: at(6) };
    for name in ["debian-12", "till"] {
        let (subject, fail) = (Subject::Revision(app()), result(5, Outcome::Fail));
        lab.results.add(subject.clone(), platform(name), fail, |_| false).unwrap();
        lab.results.resolve(&subject, &platform(name), &why).unwrap();
    }
    let said = said(&lab, counts, 24);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("on platform debian-12 it did not pass: fail by user ada"));
    assert!(said[0].contains("resolved by user bob: no disk"), "{said:?}");
}

#[test]
fn a_release_passes_for_each_of_its_revisions() {
    let (mut lab, counts) = whole();
    let kept: Vec<_> =
        lab.results.iter().map(|(_, name, one)| (name.clone(), one.clone())).collect();
    let release: Subject = "baseline/bookworm@3".parse().unwrap();
    lab.results = kept.into_iter().map(|(name, one)| (release.clone(), name, one)).collect();
    let judged = |mark: &str| {
        let validation = approved(Stage::Validation, 0, mark);
        lacks(&lab, &case(&validation, &app(), counts), at(24)).len()
    };
    assert_eq!(judged("baseline/bookworm@3"), 0);
    assert_eq!(judged("baseline/bookworm@2"), 2, "another snapshot");
    assert_eq!(judged(""), 2, "approved by name");
}

#[test]
fn a_platform_is_asked_of_what_it_is_for() {
    let one = |source: &str, name_glob: &str| Requirement {
        sources: [source.parse().unwrap()].into(),
        name_glob: name_glob.to_owned(),
        ..require("exchange-2019")
    };
    assert!(one("vendor", "").is_for(&app()) && one("vendor", "a*").is_for(&app()));
    assert!(!one("other", "a*").is_for(&app()) && !one("vendor", "b*").is_for(&app()));
    let twice = Policy { platforms: vec![require("a"), require("a")], ..Policy::default() };
    assert_eq!(twice.check(), Err(policy::Rejection::Twice(platform("a"))));
    let limit = AtMost { share: None, count: None, min_sample: 0 };
    let machines = Machines { max_failed: Some(limit), ..Machines::default() };
    let nothing = Policy { machines, ..Policy::default() };
    assert_eq!(nothing.check(), Err(policy::Rejection::NoLimit));
}

fn overridden(asked_by: &str, consented_by: &str) -> Override {
    Override {
        revisions: [app()].into(),
        groups: [group()].into(),
        reason: "exploited".to_owned(),
        asked_by: asked_by.to_owned(),
        asked_at: at(1),
        consented_by: consented_by.to_owned(),
        consented_at: at(2),
        lacks: vec!["something".to_owned()],
    }
}

#[test]
fn two_people_answer_for_an_override() {
    let (mut lab, _) = whole();
    let alone = lab.enter(7, overridden("user ada", "user ada")).unwrap_err();
    assert_eq!(alone.to_string(), "user ada asked for it, so another person has to consent");
    let silent = Override { reason: " ".to_owned(), ..overridden("user ada", "user bob") };
    assert_eq!(lab.enter(7, silent), Err(Rejection::Reason));
    lab.enter(7, overridden("user ada", "user bob")).unwrap();
    assert!(lab.is_overridden(&app(), &mark(7)));
    let other: RevisionId = "vendor:stable/app@3".parse().unwrap();
    assert!(!lab.is_overridden(&other, &mark(7)), "it is for what it names");
    assert!(!lab.is_overridden(&app(), &mark(8)) && !lab.is_overridden(&app(), "rule/7"));
    for number in 8..=MAX_OVERRIDES as u64 + 20 {
        lab.enter(number, overridden("user ada", "user bob")).unwrap();
    }
    assert_eq!(lab.overrides.len(), MAX_OVERRIDES);
}

#[test]
fn changes_of_the_policy_are_kept_with_who_made_them() {
    let (mut lab, _) = whole();
    let version = lab.version;
    lab.set_policy(lab.policy.clone(), "user root", at(3));
    assert_eq!(lab.version, version, "nothing changed");
    for hour in 0..MAX_CHANGES as i64 {
        let soak = SignedDuration::from_hours(hour + 1);
        lab.set_policy(Some(Policy { soak, ..Policy::default() }), "user eve", at(hour));
    }
    lab.set_policy(None, "user root", at(99));
    assert_eq!((lab.changes.len(), &lab.policy), (MAX_CHANGES, &None));
    assert_eq!(lab.changes.last().map(|one| one.by.as_str()), Some("user root"));
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![Just(Outcome::Pass), Just(Outcome::Blocked), Just(Outcome::Fail)]
}

const NAMES: [&str; 3] = ["a", "b", "c"];

proptest! {
    /// Nothing is promoted that lacks what the policy asks for, said anew and in
    /// other words than the judge's; and what lacks nothing is never refused.
    #[test]
    fn nothing_enters_that_the_policy_lacks(
        required in proptest::collection::vec(any::<bool>(), 3),
        trials in proptest::collection::vec((0..3_usize, 0..50_i64, outcome()), 0..8),
        soak in 0..40_i64,
        now in 0..60_i64,
        machines in (0..9_u64, 0..9_u64, 0..4_u64),
        asked in (0..6_u64, 0..6_u64, proptest::option::of(0..3_u64)),
        was_approved in any::<bool>(),
        is_overridden in any::<bool>(),
    ) {
        let (installed, failed, silent) = machines;
        let (min_reported, min_installed, most) = asked;
        let max_failed = most.map(|count| AtMost { share: None, count: Some(count), min_sample: 0 });
        let named = NAMES.iter().zip(&required).filter(|(_, is)| **is);
        let policy = Policy {
            platforms: named.map(|(name, _)| require(name)).collect(),
            soak: SignedDuration::from_hours(soak),
            machines: Machines { min_reported, min_installed, max_failed },
        };
        let mut lab = Lab { policy: Some(policy), ..Lab::default() };
        for (name, hour, outcome) in &trials {
            let (subject, name) = (Subject::Revision(app()), platform(NAMES[*name]));
            lab.results.add(subject, name, result(*hour, *outcome), |_| false).unwrap();
        }
        let reached = installed + failed;
        let counts = Counts { machines: reached + silent, reached, installed, failed };
        let rule = if is_overridden { mark(7) } else { String::new() };
        if is_overridden {
            lab.enter(7, overridden("user ada", "user bob")).unwrap();
        }
        let before = match was_approved {
            true => approved(Stage::Production, 0, ""),
            false => ApprovalSet::empty(Stage::Production),
        };
        let after = approved(Stage::Production, now, &rule);
        let validation = approved(Stage::Validation, 0, "");
        let faults = refused(&lab, &validation, (&before, &after), |_| counts, at(now));

        // The same, by what the rules say.
        let latest = |name: usize| {
            trials.iter().filter(|one| one.0 == name).map(|one| (one.1, one.2)).max()
        };
        let last_pass = |name: usize| {
            let passes = trials.iter().filter(|one| one.0 == name && one.2 == Outcome::Pass);
            passes.map(|one| one.1).max()
        };
        let is_open = |name: usize| trials.iter().any(|one| {
            one.0 == name
                && one.2 == Outcome::Fail
                && last_pass(name).is_none_or(|pass| pass <= one.1)
        });
        let passed = |name: usize| latest(name).is_some_and(|one| one.1 == Outcome::Pass);
        let is_proven = (0..3).all(|name| !is_open(name) && (!required[name] || passed(name)))
            && now >= soak
            && reached >= min_reported
            && installed >= min_installed
            && most.is_none_or(|count| failed <= count);
        prop_assert_eq!(faults.is_empty(), is_proven || was_approved || is_overridden);

        // Without a policy nothing is asked.
        let free = Lab { policy: None, ..lab.clone() };
        prop_assert!(refused(&free, &validation, (&before, &after), |_| counts, at(now)).is_empty());
        // To withdraw needs no evidence.
        let gone = ApprovalSet::empty(Stage::Production);
        prop_assert!(refused(&lab, &validation, (&after, &gone), |_| counts, at(now)).is_empty());
    }
}
