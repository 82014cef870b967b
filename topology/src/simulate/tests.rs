//! The simulator, by example and by property.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, proptest};

use super::cell::cells;
use super::*;
use crate::approval::{Approval, ApprovalSet, Decision};
use crate::link::profile::{Limits, Rule};
use crate::node::Stage;
use crate::offer::{Machine, Offer};
use crate::revision::{RevisionId, Severity};
use crate::rollout::gate::{AtLeast, AtMost, Gate, OnBreach, Unreachable};
use crate::rollout::plan::{Tallies, Tally, plan as plan_all};
use crate::rollout::{Freeze, Rollout, RolloutSet, Wave, WaveStates, freeze, share, window};

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn site(text: &str) -> Site {
    text.parse().expect("a site")
}

fn group(text: &str) -> GroupName {
    text.parse().expect("a group")
}

fn share(text: &str) -> Share {
    text.parse().expect("a share")
}

fn hours(text: &str) -> Hours {
    text.parse().expect("hours")
}

/// Machines that are always on and never fail.
fn always() -> Behaviour {
    Behaviour {
        online: Vec::new(),
        otherwise: Share::ALL,
        failed: Share::NONE,
        never: Share::NONE,
        install: SignedDuration::from_mins(20),
        exposed: false,
    }
}

fn place(name: &str, zone: &str, machines: u64) -> SimSite {
    let line = Profile { zone: zone.parse().expect("a zone"), ..Profile::default() };
    let machines = [(group("pcs"), machines)].into();
    SimSite { name: site(name), line, above: None, machines }
}

fn world(sites: Vec<SimSite>, pcs: Behaviour) -> World {
    let start = at("2026-12-01T08:00:00Z");
    let facts = Facts {
        severity: Some(Severity::Important),
        entered_at: start,
        exploited: false,
        automatable: false,
        total: false,
    };
    World {
        seed: 7,
        start,
        days: 10,
        release_after: None,
        bytes: 0,
        facts,
        depth: 1,
        groups: [(group("pcs"), pcs)].into(),
        sites,
        freezes: Freezes::new(),
        site_groups: SiteGroups::new(),
    }
}

fn rollout(waves: Vec<Wave>) -> Rollout {
    Rollout::running("spring".parse().expect("a name"), Stage::Production, waves)
}

fn run(world: &World, plan: &Rollout) -> Outcome {
    simulate(world, plan).expect("a world that can be simulated")
}

/// What happened, without what was said.
fn told(outcome: &Outcome) -> Vec<String> {
    let line = |event: &Event| {
        format!("{} {} {}", event.at, event.wave.as_deref().unwrap_or("all"), event.what)
    };
    outcome.events.iter().map(line).collect()
}

#[test]
fn a_plan_goes_its_way() {
    let mut waves = vec![Wave::plain("emea", vec![site("emea")]), Wave::plain("rest", vec![])];
    waves[0].gate = Gate {
        min_reached: Some(AtLeast { share: share("90 %"), min_sample: 20 }),
        soak: SignedDuration::from_hours(24),
        ..Gate::default()
    };
    let sites =
        vec![place("emea/paris", "Europe/Paris", 100), place("apac/tokyo", "Asia/Tokyo", 50)];
    let outcome = run(&world(sites, always()), &rollout(waves));
    assert_eq!(
        told(&outcome),
        [
            "2026-12-01T08:00:00Z emea opened",
            "2026-12-02T08:00:00Z emea passed",
            "2026-12-02T08:00:00Z rest opened",
            "2026-12-02T08:00:00Z rest passed",
        ]
    );
    let [apac, emea] = &outcome.geographies[..] else { panic!("two geographies") };
    assert_eq!((emea.counts.installed, apac.counts.installed), (100, 50));
    // It takes 20 minutes, told in steps of 15.
    assert_eq!(emea.finished, Some(at("2026-12-01T08:30:00Z")));
    assert_eq!(apac.first, Some(at("2026-12-02T08:30:00Z")));
    assert_eq!((emea.met, emea.missed), (100, 0), "within a month");
    assert_eq!(outcome.events[0].next[0], "to pass, it soaks until 2026-12-02T08:00:00Z");
    assert_eq!(emea.curve.len(), 10 * 24 + 1);
}

#[test]
fn content_comes_by_the_schedule_of_its_line_and_of_those_above() {
    let mut sites = vec![place("hub", "UTC", 10), place("hub/leaf", "UTC", 10)];
    // 1 Mbit/s from 20:00 to 04:00: 3.6 GB a night, so 5 GB take two nights.
    let night = Rule { hours: hours("20:00-04:00"), rate: "1Mbit/s".parse().expect("a rate") };
    sites[0].line.down = Limits { default: "2Mbit/s".parse().expect("a rate"), rules: vec![night] };
    sites[0].line.bulk = vec![hours("20:00-04:00")];
    sites[1].above = Some(0);
    let mut world = world(sites, always());
    world.bytes = 5_000_000_000;
    let outcome = run(&world, &rollout(vec![Wave::plain("all", vec![])]));
    // 8 h × 3,600 s × 125,000 B = 3.6 GB; 1.4 GB more take 3 h 6 min 40 s.
    let arrived = at("2026-12-02T23:15:00Z");
    assert_eq!(outcome.lines[0].arrived, Some(arrived));
    assert_eq!(outcome.lines[1].arrived, Some(arrived), "the line below is faster, not sooner");
    assert_eq!(outcome.geographies[0].first, Some(at("2026-12-02T23:45:00Z")));
    world.days = 1;
    let outcome = run(&world, &rollout(vec![Wave::plain("all", vec![])]));
    assert_eq!((outcome.lines[0].bytes, outcome.lines[0].arrived), (3_600_000_000, None));
    assert_eq!(outcome.geographies[0].without_content, 2);
    let said = &outcome.explanation.waves[0].next;
    assert_eq!(
        said[..],
        ["the content is not there yet at hub (72 % of it is), hub/leaf (72 % of it is)"]
    );
}

#[test]
fn machines_keep_to_windows_and_freezes() {
    let mut wave = Wave::plain("all", vec![]);
    wave.windows = vec![hours("22:00-06:00")];
    let mut world = world(vec![place("emea/paris", "Europe/Paris", 100)], always());
    let plan = rollout(vec![wave]);
    assert_eq!(run(&world, &plan).geographies[0].first, Some(at("2026-12-01T21:30:00Z")));
    let freeze = Freeze {
        geographies: vec![site("emea")],
        from: at("2026-12-01T00:00:00Z"),
        until: at("2026-12-05T00:00:00Z"),
        reason: "inventory".to_owned(),
        spares_urgent: true,
    };
    world.freezes.insert("inventory".parse().expect("a name"), freeze);
    assert_eq!(run(&world, &plan).geographies[0].first, Some(at("2026-12-05T00:30:00Z")));
}

#[test]
fn failures_stop_it_before_others_see_it() {
    let mut waves = vec![Wave::plain("emea", vec![site("emea")]), Wave::plain("rest", vec![])];
    waves[0].gate = Gate {
        min_reached: Some(AtLeast { share: share("90 %"), min_sample: 20 }),
        max_failed: Some(AtMost { share: Some(share("2 %")), count: None, min_sample: 50 }),
        on_breach: OnBreach::Halt,
        ..Gate::default()
    };
    let sites = vec![place("emea/paris", "UTC", 5000), place("apac/tokyo", "UTC", 50)];
    let slow = Behaviour { failed: share("6 %"), otherwise: share("10 %"), ..always() };
    let outcome = run(&world(sites, slow), &rollout(waves));
    let last = outcome.events.last().expect("events");
    assert!(last.is_stop && last.what.starts_with("halted itself"), "{last:?}");
    assert_eq!(outcome.geographies[0].counts.reached, 0, "apac never sees it");
    assert!(outcome.geographies[1].counts.machines > outcome.geographies[1].counts.reached);
    assert!(outcome.explanation.headline.contains("halted itself"));
}

#[test]
fn an_operator_releases_in_their_own_time_or_nobody_does() {
    let mut waves = vec![Wave::plain("emea", vec![site("emea")]), Wave::plain("rest", vec![])];
    waves[0].gate.operator = true;
    let sites = vec![place("emea/paris", "UTC", 10), place("apac/tokyo", "UTC", 10)];
    let mut world = world(sites, always());
    let plan = rollout(waves);
    let nobody = told(&run(&world, &plan));
    assert_eq!(
        nobody[1],
        "2026-12-01T08:00:00Z emea waits for an operator, and nobody releases it"
    );
    assert_eq!(nobody.len(), 2);
    world.release_after = Some(SignedDuration::from_hours(3));
    let said = told(&run(&world, &plan));
    assert_eq!(said[1], "2026-12-01T11:00:00Z emea was released by the operator");
    assert_eq!(said[3], "2026-12-01T11:00:00Z rest opened");
}

#[test]
fn the_picture_is_whole_and_has_no_marks_of_others() {
    let mut outcome = run(
        &world(vec![place("emea/paris", "UTC", 10)], always()),
        &rollout(vec![Wave::plain("a<&\"b", vec![])]),
    );
    let picture = svg(&outcome);
    assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
    assert!(picture.contains("a&lt;&amp;&quot;b") && !picture.contains("a<&"));
    // All have it after the first hour: up at once, then a level line to the end.
    assert!(picture.contains("L153.2 79.0L906.8 79.0L910.0 79.0L910.0 123.0Z"), "{picture}");
    outcome.geographies = vec![outcome.geographies[0].clone(); 70];
    assert!(svg(&outcome).contains("and 10 more geographies"));
}

#[test]
fn a_world_that_cannot_be_is_refused() {
    let plan = rollout(vec![Wave::plain("all", vec![])]);
    let fault = |change: &dyn Fn(&mut World)| {
        let sites = vec![place("emea/paris", "UTC", 10), place("apac/tokyo", "UTC", 10)];
        let mut world = world(sites, always());
        change(&mut world);
        simulate(&world, &plan).expect_err("refused")
    };
    assert_eq!(fault(&|world| world.days = 0), Error::Days(0));
    assert_eq!(fault(&|world| world.sites[0].above = Some(0)), Error::Above(site("emea/paris")));
    assert_eq!(
        fault(&|world| world.sites[1].name = site("emea/paris")),
        Error::Twice(site("emea/paris"))
    );
    assert!(matches!(fault(&|world| world.groups = BTreeMap::new()), Error::Group { .. }));
    let many = |world: &mut World| {
        world.sites[0].machines.insert(group("pcs"), u64::MAX);
    };
    assert_eq!(fault(&many), Error::Machines);
    assert_eq!(fault(&|world| world.start = Timestamp::MAX), Error::End);
    let sites = vec![place("emea/paris", "UTC", 10)];
    let long = rollout((0..65).map(|n| Wave::plain(&format!("w{n}"), vec![])).collect());
    assert_eq!(simulate(&world(sites, always()), &long), Err(Error::Waves(65)));
}

/// Worlds of two geographies, with lines, windows, freezes and failures.
fn worlds() -> impl Strategy<Value = (World, Rollout)> {
    let wave = (0..3_usize, 1..=10_000_u16, 0..40_i64, any::<bool>(), any::<bool>());
    let machines = vec(0..200_u64, 3);
    (any::<u64>(), vec(wave, 1..4), machines, 0..3_000_u16, 0..3_000_u16, any::<bool>()).prop_map(
        |(seed, waves, machines, failed, never, is_frozen)| {
            let zones = ["Europe/Paris", "Asia/Tokyo", "America/Chicago"];
            let names = ["emea/paris", "apac/tokyo", "amer/austin"];
            let sites = names.iter().zip(zones).zip(machines);
            let sites = sites.map(|((name, zone), machines)| place(name, zone, machines)).collect();
            let part = |parts| Share::from_ten_thousandths(parts).expect("a share");
            let pcs = Behaviour {
                online: vec![(hours("Mon-Fri 08:00-18:00"), share("70 %"))],
                otherwise: share("10 %"),
                failed: part(failed),
                never: part(never),
                ..always()
            };
            let mut world = World { seed, days: 6, bytes: 1_000_000_000, ..world(sites, pcs) };
            world.sites[0].line.down.default = "1Mbit/s".parse().expect("a rate");
            if is_frozen {
                let freeze = Freeze {
                    geographies: vec![site("emea")],
                    from: at("2026-12-02T00:00:00Z"),
                    until: at("2026-12-03T12:00:00Z"),
                    reason: "inventory".to_owned(),
                    spares_urgent: true,
                };
                world.freezes.insert("inventory".parse().expect("a name"), freeze);
            }
            let waves = waves.into_iter().enumerate().map(
                |(index, (place, parts, soak, has_window, stops))| {
                    let places =
                        if place == 0 { vec![] } else { vec![site(["emea", "apac"][place - 1])] };
                    let mut wave = Wave::plain(&format!("w{index}"), places);
                    wave.share = part(parts);
                    if has_window {
                        wave.windows = vec![hours("22:00-06:00")];
                    }
                    wave.gate = Gate {
                        soak: SignedDuration::from_hours(soak),
                        min_reached: Some(AtLeast { share: share("30 %"), min_sample: 1 }),
                        max_failed: stops.then_some(AtMost {
                            share: Some(share("20 %")),
                            count: None,
                            min_sample: 10,
                        }),
                        unreachable: Unreachable::Ignore(SignedDuration::from_hours(48)),
                        ..Gate::default()
                    };
                    wave
                },
            );
            (world, rollout(waves.collect()))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_same_comes_to_the_same((world, plan) in worlds()) {
        prop_assert_eq!(run(&world, &plan), run(&world, &plan));
    }

    #[test]
    fn no_machine_is_lost_or_counted_twice((world, plan) in worlds()) {
        let machines: u64 = world.sites.iter().flat_map(|site| site.machines.values()).sum();
        let outcome = run(&world, &plan);
        prop_assert_eq!(outcome.total.machines + outcome.uncovered, machines);
        for one in &outcome.geographies {
            prop_assert_eq!(one.counts.reached, one.counts.installed + one.counts.failed);
            prop_assert!(one.counts.reached + one.never <= one.counts.machines);
            prop_assert!(one.curve.is_sorted(), "nobody loses what they have");
            prop_assert_eq!(*one.curve.last().expect("a curve"), one.counts.installed);
        }
    }

    /// The run asks openings, windows and freezes apart, for speed. Put together
    /// they are what a machine is offered.
    #[test]
    fn nothing_begins_that_is_not_offered((world, plan) in worlds(), hour in 0..140_i64) {
        let now = world.start + SignedDuration::from_hours(hour);
        let mut plans = RolloutSet { freezes: world.freezes.clone(), ..RolloutSet::default() };
        plans.rollouts.insert(plan.name.clone(), plan.clone());
        let tallies: Tallies = [(plan.name.clone(), vec![Tally::default(); plan.waves.len()])].into();
        let states = plan_all(&plans, &WaveStates::new(), &tallies, world.start).0;
        let mut approvals = ApprovalSet::empty(Stage::Production);
        let revision: RevisionId = "deb:stable/openssl@2".parse().expect("a revision");
        let decision = Decision::Approved(plan.name.clone());
        let (by, comment, rule) = ("ada".to_owned(), String::new(), String::new());
        let approval = Approval { decision, by, at: world.start, comment, rule };
        approvals.entries.insert((revision.clone(), group("pcs")), approval);
        let offer = Offer::new(&approvals, &plans, &states, now);
        for cell in cells(&world, &plan) {
            let place = cell.place(&world);
            let at = &world.sites[cell.site];
            let opening = plan.opening(&states, &world.freezes, place, now);
            let begins = opening.is_ok_and(|opening| {
                window::is_open(&opening.wave.windows, &opening.wave.blackouts, &at.line.zone, now)
                    && freeze::delayed(&world.freezes, Some(&at.name), plan.priority, now).0 == now
            });
            let machine = Machine { name: &cell.name, group: cell.group, site: &at.name, zone: &at.line.zone };
            let offered = offer.machine(&revision, machine);
            prop_assert_eq!(begins, offered.is_ok_and(|offered| offered.when == Some(now)));
        }
    }

    #[test]
    fn a_name_stands_for_its_range((world, plan) in worlds()) {
        for cell in cells(&world, &plan) {
            let bucket = share::bucket(&plan.name, &cell.name);
            let waves = plan.waves.iter().enumerate().filter(|(_, wave)| {
                let place = wave.geographies.hold(Some(&world.sites[cell.site].name));
                place && bucket < wave.share.ten_thousandths()
            });
            prop_assert_eq!(cell.waves, waves.map(|(index, _)| 1_u64 << index).sum::<u64>());
        }
    }
}
