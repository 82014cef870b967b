use jiff::SignedDuration;
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second)
}

fn result(second: i64, outcome: Outcome) -> TestResult {
    TestResult {
        at: at(second),
        outcome,
        by: "user ada".to_owned(),
        note: "seen".to_owned(),
        resolution: None,
    }
}

fn app() -> Subject {
    "vendor:stable/app@2".parse().unwrap()
}

fn platform() -> PlatformName {
    "debian-12".parse().unwrap()
}

fn never(_: &Subject) -> bool {
    false
}

fn of(results: &[TestResult]) -> Results {
    let mut all = Results::default();
    for one in results {
        all.add(app(), platform(), one.clone(), never).unwrap();
    }
    all
}

#[test]
fn a_failure_is_open_until_a_later_pass_or_a_reason() {
    use Outcome::{Blocked, Fail, Pass};
    let stands = |all: &Results| {
        let subjects = [app()];
        let standing = all.standing(&subjects, &platform());
        (standing.last.map(|(_, one)| one.outcome), standing.open.map(|(_, one)| one.at))
    };
    let mut all = of(&[result(1, Pass), result(2, Fail)]);
    assert_eq!(stands(&all), (Some(Fail), Some(at(2))));
    all.add(app(), platform(), result(3, Blocked), never).unwrap();
    assert_eq!(stands(&all), (Some(Blocked), Some(at(2))), "blocked closes nothing");
    let why = Resolution { reason: "no disk".to_owned(), by: "user bob".to_owned(), at: at(4) };
    all.resolve(&app(), &platform(), &why).unwrap();
    assert_eq!(stands(&all), (Some(Blocked), None), "and a reason is no pass");
    let again = all.resolve(&app(), &platform(), &why).unwrap_err();
    assert!(again.to_string().contains("no open failure on debian-12"), "{again}");
    all.add(app(), platform(), result(5, Pass), never).unwrap();
    assert_eq!(stands(&all), (Some(Pass), None));
    all.add(app(), platform(), result(5, Fail), never).unwrap();
    assert_eq!(stands(&all), (Some(Fail), Some(at(5))), "of one moment the worse counts");
    let silent = Resolution { reason: " ".to_owned(), ..why };
    assert_eq!(all.resolve(&app(), &platform(), &silent), Err(Rejection::NoReason));
}

#[test]
fn what_went_wrong_needs_a_note() {
    let mut all = Results::default();
    for outcome in [Outcome::Fail, Outcome::Blocked] {
        let silent = TestResult { note: " ".to_owned(), ..result(1, outcome) };
        assert_eq!(all.add(app(), platform(), silent, never), Err(Rejection::NoNote(outcome)));
    }
    let long = TestResult { note: "x".repeat(MAX_NOTE + 1), ..result(1, Outcome::Pass) };
    assert_eq!(all.add(app(), platform(), long, never), Err(Rejection::Note("note")));
    assert!(all.is_empty());
    let silent = TestResult { note: String::new(), ..result(1, Outcome::Pass) };
    all.add(app(), platform(), silent, never).unwrap();
    assert_eq!(all.len(), 1);
}

#[test]
fn a_release_is_found_by_its_mark() {
    let revision: RevisionId = "vendor:stable/app@2".parse().unwrap();
    let release: Subject = "baseline/bookworm@3".parse().unwrap();
    assert_eq!(release, Subject::Release("bookworm".parse().unwrap(), 3));
    assert_eq!(release.to_string(), "baseline/bookworm@3");
    assert_eq!(Subject::all_of(&revision, "baseline/bookworm@3"), [app(), release.clone()]);
    for mark in ["", "rule/fast", "override/7", "vendor:stable/other@1"] {
        assert_eq!(Subject::all_of(&revision, mark), [app()], "{mark}");
    }
    assert!("nothing".parse::<Subject>().is_err());
    // A pass of the release closes what failed in one of its revisions before.
    let mut all = of(&[result(1, Outcome::Fail)]);
    all.add(release.clone(), platform(), result(2, Outcome::Pass), never).unwrap();
    assert!(all.standing(&[app(), release.clone()], &platform()).open.is_none());
    assert!(all.standing(&[app()], &platform()).open.is_some());
    // And the other way round it says what failed.
    let failed = TestResult { note: "no".to_owned(), ..result(3, Outcome::Fail) };
    all.add(release.clone(), platform(), failed, never).unwrap();
    let subjects = [app(), release.clone()];
    let open = all.standing(&subjects, &platform()).open.unwrap();
    assert_eq!((open.0, open.1.at), (&release, at(3)));
}

#[test]
fn what_is_over_makes_room_and_what_is_not_does_not() {
    let numbered = |number: usize| -> Subject { format!("v:s/app@{number}").parse().unwrap() };
    let mut all = Results::default();
    for number in 0..MAX_RESULTS {
        let one = result(number as i64, Outcome::Pass);
        all.add(numbered(number), platform(), one, never).unwrap();
    }
    let next = result(1_000_000, Outcome::Pass);
    let full = all.add(numbered(MAX_RESULTS), platform(), next.clone(), never);
    assert_eq!(full, Err(Rejection::TooMany));
    assert_eq!(all.len(), MAX_RESULTS);
    let is_over = |one: &Subject| [numbered(7), numbered(9)].contains(one);
    all.add(numbered(MAX_RESULTS), platform(), next, is_over).unwrap();
    assert_eq!(all.len(), MAX_RESULTS);
    assert!(all.standing(&[numbered(7)], &platform()).last.is_none(), "it ended first");
    assert!(all.standing(&[numbered(9)], &platform()).last.is_some());
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![Just(Outcome::Pass), Just(Outcome::Blocked), Just(Outcome::Fail)]
}

fn history(most: usize) -> impl Strategy<Value = Vec<TestResult>> {
    let one = (0..20_i64, outcome(), any::<bool>()).prop_map(|(second, outcome, is_resolved)| {
        let (reason, by) = ("known".to_owned(), "user bob".to_owned());
        let resolution = Resolution { reason, by, at: at(second + 1) };
        let is_resolved = is_resolved && outcome == Outcome::Fail;
        TestResult { resolution: is_resolved.then_some(resolution), ..result(second, outcome) }
    });
    proptest::collection::vec(one, 0..most)
}

proptest! {
    /// The order in which results come does not matter, only when they are of.
    #[test]
    fn the_order_of_entry_does_not_matter(
        (results, shuffled) in history(MAX_HISTORY)
            .prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle()))
    ) {
        prop_assert_eq!(of(&results), of(&shuffled));
    }

    /// What is forgotten changes nothing of how a platform stands.
    #[test]
    fn forgetting_changes_no_standing(mut results in history(4 * MAX_HISTORY)) {
        results.sort();
        let all = of(&results);
        let subjects = [app()];
        let kept = all.standing(&subjects, &platform());
        let whole = standing(results.iter().map(|one| (&subjects[0], one)));
        prop_assert_eq!(kept.last, whole.last);
        prop_assert_eq!(kept.open, whole.open);
        assert!(all.len() <= MAX_HISTORY);
    }
}
