//! The planner, by property. Worlds are small and events many: what machines
//! say, what operators order, and time.

use jiff::SignedDuration;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::super::gate::{AtLeast, AtMost, Gate, Unreachable};
use super::super::measure::patience;
use super::super::{Control, Freeze, Place, Share, Wave};
use super::*;
use crate::node::Stage;

const WAVES: usize = 3;

fn name(number: usize) -> RolloutName {
    format!("r{number}").parse().expect("a name")
}

fn site(index: usize) -> Site {
    ["emea", "apac", "amer"][index % 3].parse().expect("a site")
}

fn group() -> GroupName {
    "servers".parse().expect("a group")
}

fn at(hour: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1_000 + hour)
}

fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

/// What happens, an hour after the event before.
#[derive(Debug, Clone)]
enum Event {
    /// Machines of a wave say something.
    Heard { rollout: usize, wave: usize, counts: Counts },
    /// Operators order something.
    Ordered(usize, Order),
    /// Operators release a wave.
    Released(usize, usize),
    /// Nothing.
    Waited(i64),
}

fn counts() -> impl Strategy<Value = Counts> {
    (0..40_u64, 0..=40_u64, 0..=40_u64).prop_map(|(machines, reached, failed)| {
        let reached = reached.min(machines);
        let failed = failed.min(reached);
        Counts { machines, reached, installed: reached - failed, failed }
    })
}

fn gates() -> impl Strategy<Value = Gate> {
    let share =
        || (0..=10_000_u16).prop_map(|parts| Share::from_ten_thousandths(parts).expect("a share"));
    let least = || {
        option::of(
            (share(), 0..9_u64).prop_map(|(share, min_sample)| AtLeast { share, min_sample }),
        )
    };
    let most =
        option::of((option::of(share()), option::of(0..5_u64), 0..9_u64)).prop_map(|limit| {
            limit.map(|(share, count, min_sample)| AtMost { share, count, min_sample })
        });
    let unreachable = prop_oneof![
        Just(Unreachable::Block),
        (0..9_i64).prop_map(|after| Unreachable::Ignore(hours(after))),
        (0..9_i64).prop_map(|after| Unreachable::Fail(hours(after))),
    ];
    let breach = prop_oneof![Just(OnBreach::Pause), Just(OnBreach::Halt), Just(OnBreach::Withdraw)];
    (least(), least(), most, 0..9_i64, any::<bool>(), unreachable, breach).prop_map(
        |(min_reached, min_success, max_failed, soak, operator, unreachable, on_breach)| Gate {
            min_reached,
            min_success,
            max_failed,
            soak: hours(soak),
            operator,
            unreachable,
            on_breach,
        },
    )
}

fn rollouts() -> impl Strategy<Value = RolloutSet> {
    let wave = (gates(), option::of(0..30_i64), any::<bool>());
    let freeze = (option::of(0..3_usize), 0..40_i64, 1..30_i64, any::<bool>());
    let plans = vec((vec(wave, WAVES), any::<bool>()), 1..3);
    (plans, vec(freeze, 0..3)).prop_map(|(plans, freezes)| {
        let mut set = RolloutSet::default();
        for (number, (place, from, length, spares_urgent)) in freezes.into_iter().enumerate() {
            let geographies = place.map(site).into_iter().collect();
            let (from, until) = (at(from), at(from + length));
            let reason = "a test".to_owned();
            let freeze = Freeze { geographies, from, until, reason, spares_urgent };
            set.freezes.insert(format!("f{number}").parse().expect("a name"), freeze);
        }
        for (number, (waves, offline)) in plans.into_iter().enumerate() {
            let waves = waves.into_iter().enumerate().map(|(index, (gate, not_before, skip))| {
                let mut wave = Wave::plain(&format!("w{index}"), vec![site(index)]);
                wave.gate = gate;
                wave.not_before = not_before.map(at);
                wave.on_empty = if skip { OnEmpty::Skip } else { OnEmpty::Wait };
                wave
            });
            let mut plan = Rollout::running(name(number), Stage::Production, waves.collect());
            plan.control = Control::planned("ada", at(0));
            plan.offline = offline;
            set.rollouts.insert(plan.name.clone(), plan);
        }
        set
    })
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let order = prop_oneof![
        5 => Just(Order::Run), 1 => Just(Order::Pause), 1 => Just(Order::Halt),
    ];
    let event = prop_oneof![
        6 => (0..2_usize, 0..WAVES, counts())
            .prop_map(|(rollout, wave, counts)| Event::Heard { rollout, wave, counts }),
        2 => (0..2_usize, order).prop_map(|(rollout, order)| Event::Ordered(rollout, order)),
        1 => (0..2_usize, 0..WAVES).prop_map(|(rollout, wave)| Event::Released(rollout, wave)),
        2 => (1..20_i64).prop_map(Event::Waited),
    ];
    vec(event, 0..40)
}

/// A mesh in which events happen.
#[derive(Debug, Clone)]
struct World {
    set: RolloutSet,
    tallies: Tallies,
    hour: i64,
}

impl World {
    fn new(set: RolloutSet) -> Self {
        Self { set, tallies: Tallies::new(), hour: 0 }
    }

    fn now(&self) -> Timestamp {
        at(self.hour)
    }

    /// Lets an event happen and says which rollouts it is about.
    fn happen(&mut self, event: &Event) -> BTreeSet<RolloutName> {
        self.hour += 1;
        let now = self.now();
        match event {
            Event::Heard { rollout, wave, counts } => {
                let tallies = self.tallies.entry(name(*rollout)).or_default();
                tallies.resize_with(WAVES, Tally::default);
                tallies[*wave].set(site(*wave), group(), *counts);
                [name(*rollout)].into()
            }
            Event::Ordered(rollout, order) => {
                if let Some(plan) = self.set.rollouts.get_mut(&name(*rollout))
                    && let Ok(control) = plan.control.order(*order, now, "ada", "a test")
                {
                    plan.control = control;
                }
                [name(*rollout)].into()
            }
            Event::Released(rollout, wave) => {
                if let Some(plan) = self.set.rollouts.get_mut(&name(*rollout)) {
                    plan.waves[*wave].released.get_or_insert(now);
                }
                [name(*rollout)].into()
            }
            Event::Waited(hours) => {
                self.hour += hours;
                BTreeSet::new()
            }
        }
    }

    fn plan(&self, states: &WaveStates) -> WaveStates {
        plan(&self.set, states, &self.tallies, self.now()).0
    }
}

/// The states after each event, each planned in full from the one before.
fn history(set: &RolloutSet, events: &[Event]) -> Vec<(World, WaveStates)> {
    let mut world = World::new(set.clone());
    let mut states = world.plan(&WaveStates::new());
    let mut history = vec![(world.clone(), states.clone())];
    for event in events {
        world.happen(event);
        states = world.plan(&states);
        history.push((world.clone(), states.clone()));
    }
    history
}

proptest! {
    #[test]
    fn looking_at_what_changed_equals_looking_at_all(set in rollouts(), events in events()) {
        let mut world = World::new(set.clone());
        let mut planner = Planner::new(WaveStates::new());
        planner.round(&world.set, &world.tallies, &Changed::All, world.now());
        for (event, (_, full)) in events.iter().zip(history(&set, &events).iter().skip(1)) {
            let changed = world.happen(event);
            planner.round(&world.set, &world.tallies, &Changed::Only(changed), world.now());
            prop_assert_eq!(planner.states(), full);
        }
    }

    #[test]
    fn planning_again_changes_nothing(set in rollouts(), events in events()) {
        for (world, states) in history(&set, &events) {
            let (again, effects) = plan(&world.set, &states, &world.tallies, world.now());
            prop_assert_eq!(&again, &states);
            prop_assert!(effects.is_empty(), "{:?}", effects);
        }
    }

    #[test]
    fn a_planner_that_restarts_continues_exactly(set in rollouts(), events in events(), cut in 0..40_usize) {
        let history = history(&set, &events);
        let cut = cut.min(events.len());
        // Only the state is kept.
        let (mut world, mut states) = history[cut].clone();
        for (event, (_, expected)) in events[cut..].iter().zip(&history[cut + 1..]) {
            world.happen(event);
            states = world.plan(&states);
            prop_assert_eq!(&states, expected);
        }
    }

    #[test]
    fn no_wave_opens_before_its_gate_and_time(set in rollouts(), events in events()) {
        for pair in history(&set, &events).windows(2) {
            let [(_, before), (world, after)] = pair else { continue };
            let now = world.now();
            for (name, plan) in &world.set.rollouts {
                for (index, wave) in plan.waves.iter().enumerate() {
                    let (was, is) = (before[name].waves[index].progress, after[name].waves[index].progress);
                    let opened = was.open_since().is_none() && is.open_since().is_some();
                    if !opened {
                        continue;
                    }
                    prop_assert_eq!(plan.control.order, Order::Run);
                    prop_assert!(wave.not_before.is_none_or(|not_before| not_before <= now));
                    let first = freeze::first(&world.set.freezes, wave.geographies.places(), plan.priority, now);
                    prop_assert_eq!(first, now, "not while nothing opens anywhere it goes");
                    let Some(earlier) = index.checked_sub(1) else { continue };
                    let done = after[name].waves[earlier].progress;
                    let on_time = match done {
                        Progress::Passed { since, at } => {
                            at <= now && since + plan.waves[earlier].gate.soak <= at
                        }
                        Progress::Skipped { at } => at <= now && plan.waves[earlier].on_empty == OnEmpty::Skip,
                        _ => false,
                    };
                    prop_assert!(on_time, "{:?}", done);
                    let gate = plan.waves[earlier].gate;
                    let skipped = matches!(done, Progress::Skipped { .. });
                    let released = plan.waves[earlier].released.is_some();
                    prop_assert!(!gate.operator || released || skipped);
                }
            }
        }
    }

    #[test]
    fn what_has_passed_stays_passed_and_what_is_open_open(set in rollouts(), events in events()) {
        for pair in history(&set, &events).windows(2) {
            let [(_, before), (_, after)] = pair else { continue };
            for (name, state) in before {
                for (was, is) in state.waves.iter().zip(&after[name].waves) {
                    let stays = match was.progress {
                        Progress::Pending => true,
                        Progress::Open { since } => is.progress.open_since() == Some(since),
                        done => is.progress == done,
                    };
                    prop_assert!(stays, "{:?} became {:?}", was, is);
                }
            }
        }
    }

    #[test]
    fn what_stopped_goes_on_by_a_later_order_alone(set in rollouts(), events in events()) {
        for pair in history(&set, &events).windows(2) {
            let [(_, before), (world, after)] = pair else { continue };
            for (name, state) in before {
                let control = &world.set.rollouts[name].control;
                let resumed = |stop: &Stop| control.order == Order::Run && control.at > stop.at;
                if let Some(stop) = &state.stop && !resumed(stop) {
                    prop_assert_eq!(&after[name], state, "nothing moves in what is stopped");
                }
                for (was, is) in state.waves.iter().zip(&after[name].waves) {
                    if let Some(stop) = &was.paused && !resumed(stop) {
                        prop_assert_eq!(is.paused.as_ref(), Some(stop));
                    }
                }
            }
        }
    }

    #[test]
    fn nodes_open_what_the_planner_opened_and_no_more(set in rollouts(), events in events()) {
        for (world, states) in history(&set, &events) {
            let now = world.now();
            for (name, plan) in &world.set.rollouts {
                for (index, wave) in plan.waves.iter().enumerate() {
                    let site = site(index);
                    let place = Place { site: Some(&site), group: None, machine: None };
                    let opening = plan.opening(&states, &world.set.freezes, place, now);
                    let state = &states[name];
                    let orders = matches!(plan.control.order, Order::Run | Order::Pause);
                    let said = state.waves[index].progress.open_since().filter(|_| {
                        orders && state.stop.is_none() && state.waves[index].paused.is_none()
                    });
                    let delayed = |since| {
                        freeze::delayed(&world.set.freezes, Some(&site), plan.priority, since).0
                    };
                    let said = said.map(delayed).filter(|since| *since <= now);
                    match (opening, said) {
                        (Ok(opening), Some(said)) => prop_assert_eq!(opening.since, said),
                        (Ok(opening), None) => {
                            // Only by time alone, and only where the plan lets it.
                            prop_assert!(plan.offline && opening.since <= now);
                            let gates = plan.waves[..index].iter().zip(&state.waves);
                            let alone = gates.into_iter().all(|(wave, state)| {
                                state.progress.done_at().is_some() || wave.gate.is_time_alone()
                            });
                            prop_assert!(alone, "{}", wave.name);
                        }
                        (Err(closed), said) => prop_assert!(said.is_none(), "{closed}"),
                    }
                }
            }
        }
    }

    #[test]
    fn no_patience_runs_out_in_a_freeze(set in rollouts(), opened in 0..40_i64) {
        for plan in set.rollouts.values() {
            for wave in &plan.waves {
                let since = at(opened);
                let Some(until) = patience(wave, plan.priority, &set.freezes, since) else {
                    prop_assert_eq!(wave.gate.unreachable, Unreachable::Block);
                    continue;
                };
                let waits = wave.gate.unreachable.patience().unwrap_or_default();
                prop_assert!(until >= since + waits);
                for freeze in set.freezes.values() {
                    for place in wave.geographies.places() {
                        prop_assert!(!freeze.holds(Some(place), plan.priority, until));
                    }
                }
                if set.freezes.is_empty() {
                    prop_assert_eq!(until, since + waits);
                }
            }
        }
    }

    #[test]
    fn the_total_is_the_sum(sets in vec((0..3_usize, counts()), 0..20)) {
        let mut tally = Tally::default();
        for (index, counts) in sets {
            tally.set(site(index), group(), counts);
        }
        let mut sum = Counts::default();
        tally.cells().for_each(|(_, _, counts)| sum += counts);
        prop_assert_eq!(sum, tally.total());
    }
}
