use proptest::prelude::{prop_assert_eq, proptest};

use super::*;
use crate::digest::Sha256;
use crate::name::RolloutName;
use crate::revision::Facts;

fn mesh() -> Mesh {
    let (node, site) = ("hq".parse().expect("a name"), "emea".parse().expect("a site"));
    let key = Sha256::from_bytes([1; 32]);
    let url = "https://hq:1".to_owned();
    Mesh::found("m".to_owned(), "M".to_owned(), node, site, url, key).expect("a mesh")
}

fn revision(id: &str, severity: Option<Severity>, product: &str) -> Revision {
    Revision {
        id: id.parse().expect("a revision"),
        title: String::new(),
        description: String::new(),
        architectures: Vec::new(),
        payloads: Vec::new(),
        facts: Facts { severity, products: vec![product.to_owned()], ..Facts::default() },
    }
}

fn rule(stage: Stage) -> Rule {
    Rule {
        name: "fast".parse().expect("a name"),
        stage,
        groups: BTreeSet::new(),
        classifications: BTreeSet::from([Classification::Security]),
        severity: None,
        products: BTreeSet::new(),
        sources: BTreeSet::new(),
        name_glob: String::new(),
        delay: SignedDuration::from_hours(48),
        enabled: true,
        by: "ada".to_owned(),
        at: Timestamp::UNIX_EPOCH,
    }
}

fn hours(hours: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours)
}

fn approval(at: Timestamp, decision: Decision) -> Approval {
    let (by, comment, rule) = ("ada".to_owned(), String::new(), String::new());
    Approval { decision, by, at, comment, rule }
}

fn approved() -> Decision {
    Decision::Approved(RolloutName::default_for(Stage::Validation))
}

#[test]
fn every_condition_has_to_fit() {
    let security = revision("deb:s-security/openssl@1", Some(Severity::Important), "os");
    let other = revision("deb:s/openssl@1", Some(Severity::Important), "os");
    let base = rule(Stage::Validation);
    let fits = |rule: &Rule, revision: &Revision| rule.fits(revision, revision.facts.severity);
    assert!(fits(&base, &security) && !fits(&base, &other));
    let severe = |least| Rule { severity: Some(least), ..base.clone() };
    assert!(fits(&severe(Severity::Moderate), &security));
    assert!(!fits(&severe(Severity::Critical), &security));
    assert!(!severe(Severity::Low).fits(&security, None), "not rated is not severe");
    let product = |name: &str| Rule { products: [name.to_owned()].into(), ..base.clone() };
    assert!(fits(&product("os"), &security) && !fits(&product("office"), &security));
    let source =
        |name: &str| Rule { sources: [name.parse().expect("a name")].into(), ..base.clone() };
    assert!(fits(&source("deb"), &security) && !fits(&source("rpm"), &security));
    let named = |glob: &str| Rule { name_glob: glob.to_owned(), ..base.clone() };
    assert!(fits(&named("open*"), &security) && !fits(&named("linux-*"), &security));
}

#[test]
fn validation_waits_from_entry_and_production_from_validation() {
    let mesh = mesh();
    let id: RevisionId = "deb:s-security/a@1".parse().expect("a revision");
    let mut validation = ApprovalSet::empty(Stage::Validation);
    let production = ApprovalSet::empty(Stage::Production);
    let run = |rule: &Rule, set: &ApprovalSet, before: Option<&ApprovalSet>, now| {
        let state = State { mesh: &mesh, approvals: set, before, now };
        evaluate(rule, state, [(&id, hours(10))])
    };
    let early = run(&rule(Stage::Validation), &validation, None, hours(57));
    let waiting = &early.waiting[&id];
    assert_eq!((early.due.len(), waiting.until, waiting.groups.len()), (0, hours(58), 1));
    let due = run(&rule(Stage::Validation), &validation, None, hours(58));
    assert_eq!(due.due.values().next(), Some(&BTreeSet::from([id.clone()])));
    let second = rule(Stage::Production);
    let nothing = run(&second, &production, Some(&validation), hours(5000));
    assert_eq!(nothing, Outcome::default(), "not approved in validation");
    let lab: GroupName = "lab".parse().expect("a name");
    validation.entries.insert((id.clone(), lab.clone()), approval(hours(100), approved()));
    let waits = run(&second, &production, Some(&validation), hours(147));
    let waiting = &waits.waiting[&id];
    assert_eq!((waiting.until, waiting.groups.len()), (hours(148), 3));
    let due = run(&second, &production, Some(&validation), hours(148));
    let groups = due.due.keys().next().expect("due");
    assert_eq!(groups.len(), 3, "every group of production: {groups:?}");
    validation.entries.insert((id.clone(), lab), approval(hours(100), Decision::Declined));
    let declined = run(&second, &production, Some(&validation), hours(148));
    assert_eq!(declined, Outcome::default());
}

#[test]
fn what_was_decided_stands() {
    let mesh = mesh();
    let id: RevisionId = "deb:s-security/a@1".parse().expect("a revision");
    let mut set = ApprovalSet::empty(Stage::Validation);
    let lab: GroupName = "lab".parse().expect("a name");
    set.entries.insert((id.clone(), lab), approval(hours(1), Decision::Declined));
    let state = State { mesh: &mesh, approvals: &set, before: None, now: hours(9999) };
    let outcome = evaluate(&rule(Stage::Validation), state, [(&id, hours(0))]);
    assert_eq!(outcome, Outcome::default());
}

#[test]
fn a_policy_refuses_what_could_not_be_meant() {
    let mesh = mesh();
    let policy = Policy::default().add(rule(Stage::Validation), &mesh).expect("added");
    assert_eq!((policy.version, policy.rules.len()), (1, 1));
    let refused = |change: fn(&mut Rule)| {
        let mut rule = Rule { name: "other".parse().expect("a name"), ..rule(Stage::Validation) };
        change(&mut rule);
        policy.add(rule, &mesh).expect_err("refused")
    };
    let taken = policy.add(rule(Stage::Validation), &mesh);
    assert!(matches!(taken, Err(Rejection::Taken(_))));
    assert!(matches!(
        refused(|rule| rule.groups = ["nobody".parse().expect("a name")].into()),
        Rejection::UnknownGroup(_)
    ));
    assert!(matches!(
        refused(|rule| rule.groups = ["servers".parse().expect("a name")].into()),
        Rejection::OtherStage { .. }
    ));
    assert_eq!(refused(|rule| rule.delay = -SignedDuration::from_secs(1)), Rejection::Delay);
    assert_eq!(refused(|rule| rule.name_glob = "a b".to_owned()), Rejection::Glob);
    assert!(matches!(refused(|rule| rule.classifications.clear()), Rejection::NoCondition(_)));
    let name: RuleName = "fast".parse().expect("a name");
    let off = policy.enable(&name, false).expect("changed");
    assert_eq!((off.version, off.rules[&name].enabled), (2, false));
    assert_eq!(off.enable(&name, false).expect("as it was").version, 2);
    assert!(off.remove(&name).expect("removed").rules.is_empty());
    let unknown: RuleName = "none".parse().expect("a name");
    assert!(matches!(policy.remove(&unknown), Err(Rejection::Unknown(_))));
}

#[test]
fn patterns_fit_whole_names() {
    for (pattern, text, fits) in [
        ("*", "", true),
        ("linux-*", "linux-image", true),
        ("linux-*", "alinux-image", false),
        ("*ssl", "openssl", true),
        ("*ssl", "openssl3", false),
        ("a?c", "abc", true),
        ("a?c", "ac", false),
        ("*a*b*", "xxaxxbxx", true),
        ("", "x", false),
    ] {
        assert_eq!(glob(pattern, text), fits, "{pattern} {text}");
    }
}

proptest! {
    #[test]
    fn a_pattern_fits_as_one_tried_letter_by_letter(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
        fn slow(pattern: &[u8], text: &[u8]) -> bool {
            match (pattern.split_first(), text.split_first()) {
                (None, None) => true,
                (Some((b'*', rest)), None) => slow(rest, text),
                (Some((b'*', rest)), Some((_, tail))) => slow(rest, text) || slow(pattern, tail),
                (Some((b'?', rest)), Some((_, tail))) => slow(rest, tail),
                (Some((p, rest)), Some((t, tail))) => p == t && slow(rest, tail),
                _ => false,
            }
        }
        prop_assert_eq!(glob(&pattern, &text), slow(pattern.as_bytes(), text.as_bytes()));
    }
}
