//! What is said in each state, word by word.

use jiff::SignedDuration;

use super::super::gate::{AtLeast, Gate};
use super::super::{Control, Freeze, Priority, Stop, WaveState};
use super::*;
use crate::node::Stage;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn now() -> Timestamp {
    at("2026-12-01T08:00:00Z")
}

fn site(text: &str) -> Site {
    text.parse().expect("a site")
}

/// Three waves: a pilot with a gate, one for a geography, one for the rest.
fn plan() -> Rollout {
    let mut pilot = Wave::plain("pilot", vec![site("emea/fr")]);
    pilot.gate = Gate {
        min_reached: Some(AtLeast { share: "90 %".parse().expect("a share"), min_sample: 20 }),
        soak: SignedDuration::from_hours(24),
        ..Gate::default()
    };
    let waves = vec![pilot, Wave::plain("emea", vec![site("emea")]), Wave::plain("rest", vec![])];
    Rollout::running("spring".parse().expect("a name"), Stage::Production, waves)
}

struct Case {
    plan: Rollout,
    state: Option<RolloutState>,
    tallies: Vec<Tally>,
    freezes: Freezes,
    unready: BTreeMap<Site, String>,
}

impl Case {
    /// The pilot is open since ten hours, and half of its 100 machines spoke.
    fn new() -> Self {
        let mut state = RolloutState::pending(3);
        state.waves[0].progress = Progress::Open { since: at("2026-11-30T22:00:00Z") };
        let mut tally = Tally::default();
        let counts = Counts { machines: 100, reached: 50, installed: 49, failed: 1 };
        tally.set(site("emea/fr/paris"), "pcs".parse().expect("a group"), counts);
        Self {
            plan: plan(),
            state: Some(state),
            tallies: vec![tally],
            freezes: Freezes::new(),
            unready: BTreeMap::new(),
        }
    }

    fn state(&mut self) -> &mut RolloutState {
        self.state.as_mut().expect("a state")
    }

    fn order(&mut self, order: Order, reason: &str) {
        let control = Control::planned("ada", at("2026-11-30T21:00:00Z"));
        let started = control.order(Order::Run, at("2026-11-30T22:00:00Z"), "ada", "");
        let control = started.expect("started");
        let ordered = control.order(order, at("2026-12-01T07:00:00Z"), "bob", reason);
        self.plan.control = ordered.expect("ordered");
    }

    fn freeze(&mut self, place: &str) {
        let freeze = Freeze {
            geographies: vec![site(place)],
            from: at("2026-11-30T00:00:00Z"),
            until: at("2026-12-09T00:00:00Z"),
            reason: "end of year".to_owned(),
            spares_urgent: true,
        };
        self.freezes.insert("year-end".parse().expect("a name"), freeze);
    }

    fn explain(&self) -> Explanation {
        let (tallies, freezes, unready) = (&self.tallies, &self.freezes, &self.unready);
        let input = Input { state: self.state.as_ref(), tallies, freezes, unready, now: now() };
        explain(&self.plan, input)
    }

    fn headline(&self) -> String {
        self.explain().headline
    }

    fn next(&self, wave: usize) -> Vec<String> {
        self.explain().waves[wave].next.clone()
    }

    fn says_nothing_of_waves(&self) -> bool {
        self.explain().waves.iter().all(|wave| wave.next.is_empty())
    }
}

fn stop(kind: StopKind) -> Stop {
    let reason = "wave pilot: 3.0 % (3 of 100) failed, and at most 2 % may".to_owned();
    Stop { kind, at: at("2026-12-01T06:00:00Z"), reason }
}

#[test]
fn what_stops_all_of_it() {
    let mut case = Case::new();
    case.plan.control = Control::planned("ada", now());
    assert_eq!(case.headline(), "spring waits for `patchmesh rollout start`");
    assert!(case.says_nothing_of_waves());
    case.order(Order::Halt, "breaks printing");
    assert_eq!(
        case.headline(),
        "spring was halted at 2026-12-01T07:00:00Z by bob: breaks printing; `patchmesh rollout resume spring` lets it go on"
    );
    assert!(case.says_nothing_of_waves());
    case.order(Order::Withdraw, "no good");
    assert_eq!(case.headline(), "spring was withdrawn at 2026-12-01T07:00:00Z by bob: no good");
    let mut case = Case::new();
    case.state().stop = Some(stop(StopKind::Halted));
    assert_eq!(
        case.headline(),
        "spring halted itself at 2026-12-01T06:00:00Z: wave pilot: 3.0 % (3 of 100) failed, and at most 2 % may; `patchmesh rollout resume spring` lets it go on"
    );
    assert!(case.says_nothing_of_waves());
    case.state().stop = Some(stop(StopKind::Withdrawn));
    assert!(case.headline().ends_with("; it does not come back"));
}

#[test]
fn what_it_waits_for_before_it_begins() {
    let mut case = Case::new();
    case.state = None;
    case.order(Order::Run, "");
    case.plan.cycle = Some("second Tuesday + 3 days".parse().expect("a cycle"));
    assert_eq!(case.headline(), "spring begins at 2026-12-11T00:00:00Z (second Tuesday + 3 days)");
    case.plan.priority = Priority::Urgent;
    assert_eq!(case.headline(), "spring runs: 0 of 3 waves are open", "it waits for no cycle");
    case.plan.cycle = None;
    case.plan.control.started = Some(at("2026-12-01T09:00:00Z"));
    assert_eq!(case.headline(), "spring begins at 2026-12-01T09:00:00Z");
}

#[test]
fn what_it_says_while_it_runs() {
    let mut case = Case::new();
    assert_eq!(case.headline(), "spring runs: 1 of 3 waves are open");
    assert_eq!(case.explain().waves[0].counts.reached, 50);
    case.order(Order::Pause, "help desk");
    assert_eq!(
        case.headline(),
        "spring was paused at 2026-12-01T07:00:00Z by bob: help desk; what is open stays open, no further wave opens before `patchmesh rollout resume spring`"
    );
    assert!(case.next(1).contains(&"it does not open while the rollout is paused".to_owned()));
    let mut case = Case::new();
    case.state().waves[0].paused = Some(stop(StopKind::Paused));
    assert_eq!(case.headline(), "spring stands still: wave pilot is paused");
    let mut case = Case::new();
    let all = case.plan.all_open(now());
    case.state = Some(all);
    case.state().waves[2].progress = Progress::Passed { since: now(), at: now() };
    assert_eq!(case.headline(), "spring is complete");
    assert!(case.says_nothing_of_waves());
    // A state of another shape is none.
    case.state = Some(RolloutState::pending(2));
    assert_eq!(case.headline(), "spring runs: 0 of 3 waves are open");
}

#[test]
fn where_a_wave_stands() {
    let (since, done) = (at("2026-11-30T22:00:00Z"), at("2026-12-01T06:00:00Z"));
    let said = |progress| status(&WaveState::at(progress));
    assert_eq!(said(Progress::Pending), "pending");
    assert_eq!(said(Progress::Open { since }), "open since 2026-11-30T22:00:00Z");
    assert_eq!(
        said(Progress::Passed { since, at: done }),
        "open since 2026-11-30T22:00:00Z, passed at 2026-12-01T06:00:00Z"
    );
    assert_eq!(
        said(Progress::Skipped { at: done }),
        "passed over at 2026-12-01T06:00:00Z: it had no machines"
    );
    let mut paused = WaveState::at(Progress::Open { since });
    paused.paused = Some(stop(StopKind::Paused));
    assert_eq!(status(&paused), "paused at 2026-12-01T06:00:00Z, open since 2026-11-30T22:00:00Z");
}

#[test]
fn what_a_wave_needs_to_pass() {
    let mut case = Case::new();
    assert_eq!(
        case.next(0),
        [
            "to pass, it soaks until 2026-12-01T22:00:00Z",
            "to pass, reached are 50.0 % (50 of 100), and 90 % must be",
        ]
    );
    case.plan.waves[0].gate.operator = true;
    assert_eq!(
        case.next(0)[2],
        "to pass, an operator has to release it: `patchmesh rollout release spring pilot`"
    );
    case.tallies.clear();
    assert_eq!(
        case.next(0),
        ["to pass, it needs machines, and none are known: it waits for machines"]
    );
    case.plan.waves[0].on_empty = OnEmpty::Skip;
    assert_eq!(
        case.next(0),
        ["to pass, it needs machines, and none are known: they left after it opened"]
    );
    case.state().waves[0].progress = Progress::Skipped { at: now() };
    case.unready.insert(site("emea/fr/paris"), "until Tuesday".to_owned());
    assert_eq!(case.next(0), Vec::<String>::new());
}

#[test]
fn what_becomes_of_the_silent() {
    let mut case = Case::new();
    case.plan.waves[0].gate.unreachable = Unreachable::Ignore(SignedDuration::from_hours(72));
    let last = |case: &Case| case.next(0).pop();
    assert_eq!(
        last(&case).as_deref(),
        Some("from 2026-12-03T22:00:00Z, those not reached (50) count no more")
    );
    case.plan.waves[0].gate.unreachable = Unreachable::Fail(SignedDuration::from_hours(8));
    case.state().waves[0].paused = Some(stop(StopKind::Paused));
    assert_eq!(
        case.next(0),
        [
            "it paused itself: wave pilot: 3.0 % (3 of 100) failed, and at most 2 % may; `patchmesh rollout resume spring` lets it go on",
            "since 2026-12-01T06:00:00Z, those not reached (50) count as failed",
        ]
    );
    // Once patience is over the gate is judged without them.
    let mut case = Case::new();
    case.plan.waves[0].gate.unreachable = Unreachable::Ignore(SignedDuration::from_hours(8));
    assert_eq!(case.next(0)[0], "to pass, it soaks until 2026-12-01T22:00:00Z");
    assert_eq!(case.next(0).len(), 2, "reached are all that count: {:?}", case.next(0));
    // In a freeze it does not begin.
    case.freeze("emea");
    assert!(
        case.next(0).contains(
            &"from 2026-12-09T08:00:00Z, those not reached (50) count no more".to_owned()
        )
    );
}

#[test]
fn what_a_wave_needs_to_open() {
    let mut case = Case::new();
    assert_eq!(case.next(1), ["wave pilot has to pass before"]);
    assert_eq!(case.next(2), ["wave emea has to pass before"]);
    case.plan.waves[1].not_before = Some(at("2026-12-05T08:00:00Z"));
    assert_eq!(
        case.next(1),
        ["wave pilot has to pass before", "it does not open before 2026-12-05T08:00:00Z"]
    );
    case.plan.waves[0].gate.min_reached = None;
    assert_eq!(
        case.next(1),
        ["wave pilot has to pass before", "by time alone it opens at 2026-12-05T08:00:00Z"]
    );
    // A paused wave holds those after it, though it had passed.
    let since = at("2026-11-29T22:00:00Z");
    case.state().waves[0].progress = Progress::Passed { since, at: at("2026-11-30T22:00:00Z") };
    case.state().waves[0].paused = Some(stop(StopKind::Paused));
    assert_eq!(case.next(1)[0], "wave pilot has to pass before");
}

#[test]
fn what_freezes_hold_back() {
    let mut case = Case::new();
    case.freeze("emea/fr");
    let line = "at emea/fr it opens at 2026-12-09T00:00:00Z, after freeze year-end".to_owned();
    assert!(case.next(0).contains(&line), "{:?}", case.next(0));
    case.plan.waves[0].gate.min_reached = None;
    let part = "at part of emea it opens at 2026-12-09T00:00:00Z, after freeze year-end".to_owned();
    assert!(case.next(1).contains(&part), "{:?}", case.next(1));
    let some = "at some sites it opens at 2026-12-09T00:00:00Z, after freeze year-end".to_owned();
    assert!(case.next(2).contains(&some), "{:?}", case.next(2));
    case.plan.priority = Priority::Urgent;
    assert!(!case.next(2).iter().any(|line| line.contains("freeze")));
}

#[test]
fn sites_that_lack_content() {
    let mut case = Case::new();
    for number in 0..7 {
        case.unready.insert(site(&format!("emea/de/{number}")), "until Tuesday".to_owned());
    }
    case.unready.insert(site("emea/fr/paris"), "until Friday".to_owned());
    assert_eq!(
        case.next(0).last().map(String::as_str),
        Some("the content is not there yet at emea/fr/paris (until Friday)")
    );
    let many = case.next(2).pop().expect("a line");
    assert!(many.starts_with("the content is not there yet at emea/de/0 (until Tuesday), "));
    assert!(many.ends_with("emea/de/4 (until Tuesday) and 3 more"), "{many}");
}
