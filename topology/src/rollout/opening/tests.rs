//! What the state may open, and what only the plan may.

use jiff::SignedDuration;

use super::*;
use crate::node::Stage;
use crate::rollout::{Control, Freeze, Stop};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn site(text: &str) -> Site {
    text.parse().expect("a site")
}

/// Three waves, the first with a soak of ten seconds, all by operators.
fn plan() -> Rollout {
    let mut waves = vec![
        Wave::plain("pilot", vec![site("emea/fr")]),
        Wave::plain("europe", vec![site("emea")]),
        Wave::plain("rest", Vec::new()),
    ];
    waves[0].gate.soak = SignedDuration::from_secs(10);
    let mut plan = Rollout::running("spring".parse().expect("a name"), Stage::Production, waves);
    plan.control =
        Control::planned("ada", at(0)).order(Order::Run, at(100), "ada", "").expect("run");
    plan
}

fn states(progress: [Progress; 3]) -> WaveStates {
    let waves = progress.into_iter().map(WaveState::at).collect();
    WaveStates::from([(plan().name, RolloutState { stop: None, waves })])
}

fn ask(plan: &Rollout, states: &WaveStates, place: &str, now: i64) -> Result<Timestamp, String> {
    let site = site(place);
    let place = Place { site: Some(&site), ..Place::default() };
    let opening = plan.opening(states, &Freezes::new(), place, at(now));
    opening.map(|opening| opening.since).map_err(|closed| closed.to_string())
}

const PENDING: Progress = Progress::Pending;

fn open(second: i64) -> Progress {
    Progress::Open { since: at(second) }
}

fn passed(second: i64, passed: i64) -> Progress {
    Progress::Passed { since: at(second), at: at(passed) }
}

#[test]
fn a_wave_opens_its_places_only() {
    let states = states([passed(100, 110), open(120), PENDING]);
    assert_eq!(ask(&plan(), &states, "emea/fr/paris", 200), Ok(at(100)));
    assert_eq!(ask(&plan(), &states, "emea/de", 200), Ok(at(120)));
    let rest = ask(&plan(), &states, "apac", 200);
    assert_eq!(rest, Err("wave rest of rollout spring is not open yet".to_owned()));
}

#[test]
fn the_state_opens_nothing_that_the_plan_does_not_allow() {
    let why = |progress, place| ask(&plan(), &states(progress), place, 200).expect_err("closed");
    let said = |wave: &str, why: &str| {
        format!("wave {wave} of rollout spring is said to be open, but {why}")
    };
    assert_eq!(
        why([open(99), PENDING, PENDING], "emea/fr"),
        said("pilot", "the rollout had not begun")
    );
    let order = [open(100), open(120), PENDING];
    assert_eq!(why(order, "emea/de"), said("europe", "the wave before it has not passed"));
    let soak = [passed(100, 109), open(120), PENDING];
    assert_eq!(why(soak, "emea/de"), said("europe", "the wave before it had not soaked"));
    let early = [passed(100, 130), open(120), PENDING];
    assert_eq!(why(early, "emea/de"), said("europe", "the wave before it had not passed"));
    let skipped = [Progress::Skipped { at: at(101) }, open(120), PENDING];
    assert_eq!(
        why(skipped, "emea/de"),
        said("europe", "the wave before it may not be passed over")
    );
    let mut skips = plan();
    skips.waves[0].on_empty = OnEmpty::Skip;
    skips.waves[1].on_empty = OnEmpty::Skip;
    let over = |second| Progress::Skipped { at: at(second) };
    let allowed = states([over(101), over(102), open(102)]);
    assert_eq!(ask(&skips, &allowed, "apac", 200), Ok(at(102)));
    for (progress, because) in [
        ([over(101), over(102), open(101)], "the wave before it had not been passed over"),
        ([PENDING, over(102), open(103)], "the wave before it has not passed"),
        ([over(99), over(102), open(103)], "the rollout had not begun"),
        ([over(103), over(102), open(104)], "the wave before it had not been passed over"),
    ] {
        let why = ask(&skips, &states(progress), "apac", 200).expect_err("closed");
        assert_eq!(why, said("rest", because));
    }
    // What rests on what is unfounded is unfounded too.
    let deep = [passed(100, 105), passed(110, 111), open(112)];
    assert_eq!(why(deep, "apac"), said("rest", "the wave before it had not soaked"));
    let future = ask(&plan(), &states([open(300), PENDING, PENDING]), "emea/fr", 200);
    assert_eq!(future, Err(format!("wave pilot of rollout spring opens at {}", at(300))));
}

#[test]
fn a_gate_of_an_operator_takes_an_operator() {
    let mut plan = plan();
    plan.waves[0].gate.operator = true;
    let states = states([passed(100, 110), open(120), PENDING]);
    let why = ask(&plan, &states, "emea/de", 200).expect_err("closed");
    assert!(why.ends_with("no operator released the wave before it"), "{why}");
    plan.waves[0].released = Some(at(115));
    assert_eq!(ask(&plan, &states, "emea/de", 200), Ok(at(120)));
}

#[test]
fn orders_and_stops_close() {
    let states_of = states([passed(100, 110), open(120), PENDING]);
    for order in [Order::Halt, Order::Withdraw] {
        let mut plan = plan();
        plan.control = plan.control.order(order, at(150), "bob", "breaks mail").expect("ordered");
        let why = ask(&plan, &states_of, "emea/fr", 200).expect_err("closed");
        assert_eq!(why, format!("rollout spring was ordered to {order} by bob: breaks mail"));
    }
    let mut paused = plan();
    paused.control = paused.control.order(Order::Pause, at(150), "bob", "wait").expect("ordered");
    assert_eq!(ask(&paused, &states_of, "emea/de", 200), Ok(at(120)), "what is open stays open");
    let mut stopped = states_of.clone();
    let state = stopped.get_mut(&plan().name).expect("a state");
    let stop = |kind| Some(Stop { kind, at: at(150), reason: "3 of 9".to_owned() });
    state.waves[1].paused = stop(StopKind::Paused);
    assert_eq!(ask(&plan(), &stopped, "emea/fr", 200), Ok(at(100)), "another wave");
    let why = ask(&plan(), &stopped, "emea/de", 200);
    assert_eq!(why, Err("wave europe of rollout spring is paused: 3 of 9".to_owned()));
    let state = stopped.get_mut(&plan().name).expect("a state");
    state.stop = stop(StopKind::Halted);
    let why = ask(&plan(), &stopped, "emea/fr", 200);
    assert_eq!(why, Err("rollout spring is halted: 3 of 9".to_owned()));
}

#[test]
fn time_alone_opens_where_the_plan_lets_it() {
    let mut plan = plan();
    let begun = states([open(100), PENDING, PENDING]);
    assert!(ask(&plan, &begun, "emea/de", 200).is_err());
    plan.offline = true;
    assert_eq!(
        ask(&plan, &begun, "emea/de", 109),
        Err(format!("wave europe of rollout spring opens at {}", at(110)))
    );
    assert_eq!(ask(&plan, &begun, "emea/de", 110), Ok(at(110)));
    assert_eq!(ask(&plan, &begun, "apac", 110), Ok(at(110)));
    plan.waves[1].gate.operator = true;
    assert_eq!(ask(&plan, &begun, "emea/de", 110), Ok(at(110)));
    assert!(ask(&plan, &begun, "apac", 999).is_err(), "a gate is no time");
    plan.waves[1].gate.operator = false;
    // What is said to have happened before has to be allowed, here too.
    let skipped = [Progress::Skipped { at: at(101) }, PENDING, PENDING];
    let soaked = [passed(100, 109), PENDING, PENDING];
    let begun_early = [open(99), PENDING, PENDING];
    let jumped = [PENDING, open(105), PENDING];
    for forged in [skipped, soaked, begun_early, jumped] {
        assert!(ask(&plan, &states(forged), "apac", 999).is_err(), "{forged:?}");
    }
    assert!(ask(&plan, &states([passed(100, 110), PENDING, PENDING]), "apac", 999).is_ok());
    let mut paused = begun.clone();
    let stop = Stop { kind: StopKind::Paused, at: at(105), reason: "x".to_owned() };
    paused.get_mut(&plan.name).expect("a state").waves[0].paused = Some(stop);
    assert!(ask(&plan, &paused, "emea/de", 999).is_err());
}

#[test]
fn a_freeze_delays_what_would_open_within() {
    let site = site("emea/fr/paris");
    let freeze = Freeze {
        geographies: vec!["emea".parse().expect("a site")],
        from: at(95),
        until: at(150),
        reason: "year's end".to_owned(),
        spares_urgent: true,
    };
    let freezes = Freezes::from([("year-end".parse().expect("a name"), freeze)]);
    let place = Place { site: Some(&site), ..Place::default() };
    let states = states([passed(100, 110), PENDING, PENDING]);
    let ask = |plan: &Rollout, now| {
        plan.opening(&states, &freezes, place, at(now)).map(|opening| opening.since)
    };
    let frozen = ask(&plan(), 149).expect_err("frozen").to_string();
    assert!(frozen.ends_with("after freeze year-end"), "{frozen}");
    assert_eq!(ask(&plan(), 150), Ok(at(150)));
    let urgent = Rollout { priority: crate::rollout::Priority::Urgent, ..plan() };
    assert_eq!(ask(&urgent, 120), Ok(at(100)));
}
