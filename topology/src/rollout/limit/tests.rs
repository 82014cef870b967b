//! Turns, by property: at small sites, with machines that come and go.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::super::gate::Unreachable;
use super::super::plan::{Changed, Planner, Tallies, plan, step};
use super::super::{
    Closed, Freeze, Place, Progress, Rollout, RolloutSet, RolloutState, WaveStates,
};
use super::*;
use crate::name::RolloutName;
use crate::node::Stage;

const PLACES: [&str; 5] = ["emea/fr", "emea/de", "apac/jp", "apac/in", "amer"];

fn site(index: usize) -> Site {
    PLACES[index % PLACES.len()].parse().expect("a site")
}

fn name() -> RolloutName {
    "spring".parse().expect("a name")
}

fn at(hour: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1_000 + hour)
}

/// A plan with one wave that goes everywhere.
fn set(limit: Limit, unreachable: Unreachable, freeze: Option<(i64, i64)>) -> RolloutSet {
    let mut wave = Wave::plain("all", Vec::new());
    (wave.limit, wave.gate.unreachable) = (limit, unreachable);
    let rollout = Rollout::running(name(), Stage::Production, vec![wave]);
    let mut set = RolloutSet { rollouts: [(name(), rollout)].into(), ..RolloutSet::default() };
    if let Some((from, length)) = freeze {
        let (geographies, reason) = (vec!["emea".parse().expect("a site")], "a test".to_owned());
        let (from, until) = (at(from), at(from + length));
        let freeze = Freeze { geographies, from, until, reason, spares_urgent: false };
        set.freezes.insert("f".parse().expect("a name"), freeze);
    }
    set
}

fn sets() -> impl Strategy<Value = RolloutSet> {
    let limit = (option::of(1..4_u32), option::of(1..30_u64))
        .prop_filter("a limit", |(sites, machines)| sites.is_some() || machines.is_some())
        .prop_map(|(sites, machines)| Limit { sites, machines });
    let hours = SignedDuration::from_hours;
    let unreachable = prop_oneof![
        Just(Unreachable::Block),
        (0..20_i64).prop_map(move |after| Unreachable::Ignore(hours(after))),
    ];
    (limit, unreachable, option::of((0..30_i64, 1..20_i64)))
        .prop_map(|(limit, unreachable, freeze)| set(limit, unreachable, freeze))
}

/// What machines of a site say, hour by hour.
fn words() -> impl Strategy<Value = Vec<(usize, u64, u64)>> {
    vec((0..PLACES.len(), 0..12_u64, 0..=12_u64), 1..40)
}

/// The states after each word, and the planner's tallies then.
fn history(set: &RolloutSet, words: &[(usize, u64, u64)]) -> Vec<(Tallies, WaveStates, Timestamp)> {
    let (mut tallies, mut states) =
        (Tallies::from([(name(), vec![Tally::default()])]), WaveStates::new());
    let mut history = Vec::new();
    for (hour, (place, machines, reached)) in (0..).zip(words) {
        let reached = *reached.min(machines);
        let counts = Counts { machines: *machines, reached, installed: reached, failed: 0 };
        let group = "pcs".parse().expect("a group");
        tallies.get_mut(&name()).expect("a tally")[0].set(site(*place), group, counts);
        states = plan(set, &states, &tallies, at(hour)).0;
        history.push((tallies.clone(), states.clone(), at(hour)));
    }
    history
}

fn admitted(states: &WaveStates) -> &Admissions {
    &states[&name()].waves[0].admitted
}

fn opens(
    set: &RolloutSet,
    states: &WaveStates,
    site: &Site,
    now: Timestamp,
) -> Result<Timestamp, Closed> {
    let place = Place { site: Some(site), ..Place::default() };
    let opening = set.rollouts[&name()].opening(states, &set.freezes, place, now);
    opening.map(|opening| opening.since)
}

proptest! {
    #[test]
    fn never_more_is_under_way_than_the_plan_allows(set in sets(), words in words()) {
        let limit = set.rollouts[&name()].waves[0].limit;
        let mut before = Admissions::new();
        for (tallies, states, now) in history(&set, &words) {
            let now_in = admitted(&states);
            let under_way: Vec<&Site> =
                now_in.iter().filter(|(_, one)| one.finished.is_none()).map(|(site, _)| site).collect();
            prop_assert!(limit.sites.is_none_or(|most| under_way.len() <= most as usize));
            let tally = &tallies[&name()][0];
            let left = |site: &&Site| -> u64 {
                let theirs = tally.cells().filter(|(at, _, _)| at == site);
                theirs.map(|(_, _, counts)| counts.machines - counts.reached).sum()
            };
            // Who is let in fits at that moment; machines may join a site later.
            let is_new = now_in.keys().any(|site| !before.contains_key(site));
            let fits = limit.machines.is_none_or(|most| under_way.iter().map(left).sum::<u64>() <= most);
            let joined = under_way.iter().any(|site| before.contains_key(*site));
            prop_assert!(!is_new || fits || under_way.len() <= 1 || joined, "{:?}", now_in);
            // What was let in stays, and what has finished stays finished.
            for (site, one) in &before {
                let still = now_in.get(site).expect("stays");
                prop_assert_eq!(still.at, one.at);
                prop_assert!(one.finished.is_none() || still.finished == one.finished);
            }
            for (site, one) in now_in.iter().filter(|(site, _)| !before.contains_key(*site)) {
                prop_assert_eq!(one.at, now);
                let frozen = set.freezes.values().any(|one| one.holds(Some(site), Priority::Normal, now));
                prop_assert!(!frozen, "{} was let in though frozen", site);
            }
            before = now_in.clone();
        }
    }

    #[test]
    fn nodes_open_those_let_in_and_no_others(set in sets(), words in words()) {
        for (_, states, now) in history(&set, &words) {
            for place in 0..PLACES.len() {
                let (site, freezes) = (site(place), &set.freezes);
                let let_in = admitted(&states).get(&site);
                let since = let_in.map(|one| freeze::delayed(freezes, Some(&site), Priority::Normal, one.at).0);
                prop_assert_eq!(opens(&set, &states, &site, now).ok(), since.filter(|since| *since <= now));
            }
            let everywhere = Place::default();
            let plan = &set.rollouts[&name()];
            prop_assert!(plan.opening(&states, &set.freezes, everywhere, now).is_err());
        }
    }

    #[test]
    fn whatever_the_online_key_signs_no_more_sites_are_under_way(
        most in 1..4_u32,
        said in btree_map(0..PLACES.len(), (0..9_i64, option::of(0..9_i64)), 0..6),
    ) {
        let set = set(Limit { sites: Some(most), machines: None }, Unreachable::Block, None);
        let mut state = RolloutState::pending(1);
        state.waves[0].progress = Progress::Open { since: at(2) };
        state.waves[0].admitted = said
            .iter()
            .map(|(place, (hour, finished))| {
                (site(*place), Admission { at: at(*hour), finished: finished.map(at) })
            })
            .collect();
        let states = WaveStates::from([(name(), state)]);
        for hour in 0..9 {
            let is_open = |(site, one): &(&Site, &Admission)| {
                let under_way = one.finished.is_none_or(|finished| finished > at(hour));
                under_way && opens(&set, &states, site, at(hour)).is_ok()
            };
            let open = admitted(&states).iter().filter(is_open).count();
            prop_assert!(open <= most as usize, "{} at {}", open, hour);
        }
    }

    #[test]
    fn looking_at_what_changed_equals_looking_at_all(set in sets(), words in words(), cut in any::<usize>()) {
        let history = history(&set, &words);
        let mut planner = Planner::new(WaveStates::new());
        for (number, (tallies, states, now)) in history.iter().enumerate() {
            if number == cut % history.len() {
                // Only the state is kept.
                planner = Planner::new(planner.states().clone());
                planner.round(&set, tallies, &Changed::All, *now);
            } else {
                planner.round(&set, tallies, &Changed::Only([name()].into()), *now);
            }
            prop_assert_eq!(planner.states(), states);
            let (again, effects) = plan(&set, states, tallies, *now);
            prop_assert_eq!(&again, states);
            prop_assert!(effects.is_empty(), "{:?}", effects);
        }
    }

    #[test]
    fn all_have_their_turn_when_nobody_is_waited_for_for_ever(words in words()) {
        let patient = Unreachable::Ignore(SignedDuration::from_hours(3));
        let set = set(Limit { sites: Some(1), machines: Some(1) }, patient, None);
        let history = history(&set, &words);
        let (tallies, states, mut now) = history.last().cloned().expect("a word");
        let mut planner = Planner::new(states);
        planner.round(&set, &tallies, &Changed::All, now);
        while let Some(wake) = planner.wake() {
            prop_assert!(wake > now);
            now = wake;
            planner.round(&set, &tallies, &Changed::Only(BTreeSet::new()), now);
        }
        let known: BTreeSet<&Site> = tallies[&name()][0].cells().map(|(site, _, _)| site).collect();
        prop_assert_eq!(admitted(planner.states()).keys().collect::<BTreeSet<_>>(), known);
        prop_assert!(planner.states()[&name()].is_complete());
    }
}

/// A plan whose waves have a limit, the second of them everywhere too.
fn limited(on_empty: OnEmpty) -> Rollout {
    let limit = Limit { sites: Some(1), machines: None };
    let wave = |name| Wave { limit, on_empty, ..Wave::plain(name, Vec::new()) };
    Rollout::running(name(), Stage::Production, vec![wave("first"), wave("second")])
}

fn stepped(
    rollout: &Rollout,
    state: Option<&RolloutState>,
    tallies: &[Tally],
    hour: i64,
) -> RolloutState {
    step(rollout, &Freezes::new(), state, tallies, at(hour)).state
}

/// A plan that was started this moment is looked at before its machines are counted.
#[test]
fn what_was_not_counted_yet_is_neither_empty_nor_done() {
    for on_empty in [OnEmpty::Wait, OnEmpty::Skip] {
        let rollout = limited(on_empty);
        let state = stepped(&rollout, None, &[], 0);
        assert_eq!(state, RolloutState::pending(2));
        let tally = said(&[(0, 10, 0), (1, 10, 0)]);
        let counted = stepped(&rollout, Some(&state), &[tally.clone(), tally], 1);
        assert_eq!(counted.waves[0].progress, Progress::Open { since: at(1) });
        assert_eq!(counted.waves[0].admitted.len(), 1);
        assert_eq!(counted.waves[1].progress, Progress::Pending);
        // A primary that begins again takes nobody for done.
        assert_eq!(stepped(&rollout, Some(&counted), &[], 2), counted);
    }
}

/// Nobody waits for a site that was taken out of the wave.
#[test]
fn a_site_that_the_wave_goes_to_no_more_ends_its_turn() {
    let rollout = limited(OnEmpty::Wait);
    let both = said(&[(0, 10, 0), (1, 10, 0)]);
    let state = stepped(&rollout, None, &[both.clone(), both], 0);
    let [first] = state.waves[0].admitted.keys().collect::<Vec<_>>()[..] else {
        panic!("{state:?}")
    };
    let other = usize::from(*first == site(0));
    let rest = said(&[(other, 10, 0)]);
    let state = stepped(&rollout, Some(&state), &[rest.clone(), rest], 1);
    let under_way: Vec<&Site> = state.waves[0]
        .admitted
        .iter()
        .filter(|(_, one)| one.finished.is_none())
        .map(|(site, _)| site)
        .collect();
    assert_eq!(under_way, [&site(other)]);
}

/// What the machines of sites said: how many there are, and how many came to an end.
fn said(words: &[(usize, u64, u64)]) -> Tally {
    let mut tally = Tally::default();
    for (place, machines, reached) in words {
        let counts =
            Counts { machines: *machines, reached: *reached, installed: *reached, failed: 0 };
        tally.set(site(*place), "pcs".parse().expect("a group"), counts);
    }
    tally
}
