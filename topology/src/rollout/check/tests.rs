//! Every finding: a plan that has it, and one that has not.

use jiff::SignedDuration;

use super::super::gate::{AtLeast, AtMost, OnBreach, Unreachable};
use super::super::{Freeze, Gate, Geographies};
use super::*;
use crate::name::SiteGroupName;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn now() -> Timestamp {
    at("2026-12-01T08:00:00Z")
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

fn hours(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count)
}

fn world() -> World {
    let zone = |text: &str| text.parse::<Zone>().expect("a zone");
    let machines = [("emea/fr/paris", "pcs", 400), ("apac/jp/tokyo", "pcs", 100)];
    World {
        sites: [
            (site("emea/fr/paris"), zone("Europe/Paris")),
            (site("apac/jp/tokyo"), zone("Asia/Tokyo")),
        ]
        .into(),
        groups: [(group("pcs"), Stage::Production), (group("lab"), Stage::Validation)].into(),
        site_groups: SiteGroups::new(),
        freezes: Freezes::new(),
        machines: machines.map(|(place, name, count)| ((site(place), group(name)), count)).into(),
        deadline: Some(Deadline::By(at("2026-12-20T00:00:00Z"))),
    }
}

/// A plan in which there is nothing to find.
fn good() -> Rollout {
    let mut pilot = Wave::plain("pilot", vec![site("emea/fr")]);
    pilot.groups = [group("pcs")].into();
    pilot.share = share("10 %");
    pilot.not_before = Some(at("2026-12-02T08:00:00Z"));
    pilot.windows = vec!["22:00-06:00".parse().expect("hours")];
    pilot.blackouts = vec!["Fri 00:00-24:00".parse().expect("hours")];
    pilot.gate = Gate {
        min_reached: Some(AtLeast { share: share("90 %"), min_sample: 20 }),
        min_success: Some(AtLeast { share: share("95 %"), min_sample: 20 }),
        max_failed: Some(AtMost { share: Some(share("2 %")), count: Some(5), min_sample: 40 }),
        soak: hours(24),
        operator: true,
        unreachable: Unreachable::Ignore(hours(72)),
        on_breach: OnBreach::Halt,
    };
    let mut rest = Wave::plain("rest", vec![]);
    rest.not_before = Some(at("2026-12-05T08:00:00Z"));
    let name = "december".parse().expect("a name");
    let mut plan = Rollout::running(name, Stage::Production, vec![pilot, rest]);
    plan.control = super::super::Control::planned("ada", now());
    plan
}

fn said(change: impl FnOnce(&mut Rollout, &mut World)) -> Vec<String> {
    let (mut plan, mut world) = (good(), world());
    change(&mut plan, &mut world);
    check(&plan, &world, now()).iter().map(ToString::to_string).collect()
}

/// The changed plan has this finding, and nothing else.
#[track_caller]
fn finds(expected: &str, change: impl FnOnce(&mut Rollout, &mut World)) {
    let said = said(change);
    assert!(said.len() == 1 && said[0].contains(expected), "{expected:?} is not all of {said:#?}");
}

/// The changed plan has this finding among others.
#[track_caller]
fn finds_too(expected: &str, change: impl FnOnce(&mut Rollout, &mut World)) {
    let said = said(change);
    assert!(said.iter().any(|one| one.contains(expected)), "{expected:?} is not in {said:#?}");
}

#[test]
fn sites_that_cannot_have_their_turns_are_named() {
    use super::super::OnEmpty;
    let limited = |sites: Option<u32>, machines: Option<u64>| {
        move |plan: &mut Rollout, _: &mut World| plan.waves[0].limit = Limit { sites, machines }
    };
    assert_eq!(said(limited(Some(1), Some(400))), [""; 0]);
    finds(
        "error: wave pilot: a limit of 0 lets nothing begin; leave it out",
        limited(Some(0), None),
    );
    finds(
        "warning: wave pilot: each of emea/fr/paris has more than 399 machines and goes alone with all of them; give it waves with a share before",
        limited(None, Some(399)),
    );
    let silent = |plan: &mut Rollout, world: &mut World| {
        plan.waves[0].limit = Limit { sites: Some(1), machines: None };
        plan.waves[0].gate.unreachable = Unreachable::Block;
        world.sites.insert(site("emea/fr/lyon"), Zone::default());
    };
    let keeps = "warning: wave pilot: no machine reports at emea/fr/lyon, and such a site keeps its turn for ever; say what becomes of the unreachable, or empty = \"skip\"";
    assert!(said(silent).contains(&keeps.to_owned()), "{:?}", said(silent));
    let skipped = |plan: &mut Rollout, world: &mut World| {
        silent(plan, world);
        plan.waves[0].on_empty = OnEmpty::Skip;
    };
    assert!(!said(skipped).contains(&keeps.to_owned()));
}

#[test]
fn groups_of_sites_are_looked_up_first() {
    let plants = || "plants".parse::<SiteGroupName>().expect("a name");
    let named = |plan: &mut Rollout| {
        plan.waves[0].geographies = Geographies::new(Vec::new(), [plants()].into());
    };
    let unknown = "error: wave pilot: there is no group of sites plants; `patchmesh site-group list` shows those there are";
    assert!(said(|plan, _| named(plan)).contains(&unknown.to_owned()));
    let known = |plan: &mut Rollout, world: &mut World| {
        named(plan);
        world.site_groups = [(plants(), [site("emea/fr")].into())].into();
    };
    assert_eq!(said(known), [""; 0]);
    // What two waves open is found through names too.
    let twice = said(|plan, world| {
        known(plan, world);
        let again = Wave { name: "again".to_owned(), ..plan.waves[0].clone() };
        plan.waves.insert(1, again);
    });
    assert!(
        twice.iter().any(|text| text.contains("wave again: wave pilot opens all of it before")),
        "{twice:?}"
    );
}

#[test]
fn a_good_plan_has_no_findings() {
    assert_eq!(said(|_, _| {}), Vec::<String>::new());
    // Nor has one where no machines are known, or no deadline.
    assert!(said(|_, world| world.machines.clear()).is_empty());
    assert!(said(|_, world| world.deadline = Some(Deadline::NextUpgrade)).is_empty());
}

#[test]
fn its_shape() {
    finds_too("error: it has no waves; add a [[wave]]", |plan, _| plan.waves.clear());
    finds_too("error: it has 65 waves, and at most 64 are possible", |plan, _| {
        let more = (2..65).map(|n| Wave::plain(&format!("w{n}"), vec![]));
        plan.waves.extend(more);
    });
    let long = "x".repeat(64);
    for name in ["", "two words", long.as_str(), "a\u{7}"] {
        finds("a wave's name has 1 to 63 characters", |plan, _| plan.waves[0].name = name.into());
    }
    finds("error: wave pilot: another wave has its name", |plan, _| {
        plan.waves[1].name = "pilot".into();
    });
    finds("one of its lists has more than 1000 entries", |plan, _| {
        plan.waves[0].geographies = vec![site("emea/fr"); 1001].into();
    });
    finds("one of its lists has more than 1000 entries", |plan, _| {
        plan.waves[0].windows = vec!["22:00-06:00".parse().expect("hours"); 1001];
    });
}

#[test]
fn where_it_goes_and_to_whom() {
    finds_too("error: wave pilot: there is no group ghosts", |plan, _| {
        plan.waves[0].groups = [group("ghosts")].into();
    });
    finds_too(
        "error: wave pilot: group lab follows validation, and the rollout is for",
        |plan, _| {
            plan.waves[0].groups = [group("lab"), group("pcs")].into();
        },
    );
    finds("warning: wave pilot: no site of the mesh lies in emea/de", |plan, _| {
        plan.waves[0].geographies = vec![site("emea/fr"), site("emea/de")].into();
    });
    finds_too("error: wave pilot: a share of 0 % has no machines", |plan, _| {
        plan.waves[0].share = Share::NONE;
    });
    finds("warning: 1 sites are in no wave and never get it: apac/jp/tokyo", |plan, _| {
        plan.waves[1].geographies = vec![site("emea")].into();
    });
    finds("and 2 more", |plan, world| {
        plan.waves[1].geographies = vec![site("emea"), site("apac/jp")].into();
        for number in 0..7 {
            world.sites.insert(site(&format!("amer/{number}")), Zone::default());
        }
    });
    finds("1 groups are in no wave and never get it: servers", |plan, world| {
        plan.waves[1].groups = [group("pcs")].into();
        world.groups.insert(group("servers"), Stage::Production);
    });
    finds("every wave goes to a share of the machines only", |plan, _| {
        plan.waves[1].share = share("50 %");
    });
}

#[test]
fn waves_that_open_what_is_open() {
    finds("warning: wave rest: wave pilot opens all of it before", |plan, _| {
        plan.waves[0].geographies = Vec::new().into();
        plan.waves[0].groups.clear();
        plan.waves[0].share = Share::ALL;
    });
    finds("warning: wave third: wave rest opens all of it before", |plan, _| {
        plan.waves.push(Wave::plain("third", vec![site("apac/jp")]));
    });
    // A wider place, another group or a larger share is something more.
    let more: [fn(&mut Wave); 3] = [
        |wave| wave.geographies = vec![site("emea")].into(),
        |wave| wave.groups = [group("pcs"), group("servers")].into(),
        |wave| wave.share = share("20 %"),
    ];
    for change in more {
        let said = said(|plan, world| {
            world.groups.insert(group("servers"), Stage::Production);
            let mut second = plan.waves[0].clone();
            (second.name, second.not_before) = ("second".to_owned(), None);
            change(&mut second);
            plan.waves.insert(1, second);
        });
        assert_eq!(said, Vec::<String>::new());
    }
}

#[test]
fn gates_that_can_not_do_what_is_meant() {
    finds("error: wave pilot: a soak lasts from 0 to 365 days", |plan, _| {
        plan.waves[0].gate.soak = hours(-1);
    });
    finds_too("a soak lasts from 0 to 365 days", |plan, _| {
        plan.waves[0].gate.soak = hours(365 * 24 + 1);
    });
    for rule in [Unreachable::Ignore(hours(-1)), Unreachable::Fail(hours(365 * 24 + 1))] {
        finds("the patience with unreachable machines lasts from 0 to 365 days", |plan, _| {
            plan.waves[0].gate.unreachable = rule;
        });
    }
    // 10 % of 400 machines in emea are 40.
    finds(
        "its gate can never pass: min_reached is judged on 41 machines, and 40 are",
        |plan, _| {
            plan.waves[0].gate.min_reached = Some(AtLeast { share: share("90 %"), min_sample: 41 });
        },
    );
    finds(
        "its gate can never pass: min_success is judged on 41 machines, and 40 are",
        |plan, _| {
            plan.waves[0].gate.min_success = Some(AtLeast { share: share("95 %"), min_sample: 41 });
        },
    );
    finds("failures never stop it: max_failed is judged on 41 machines, and 40 are", |plan, _| {
        let limit = AtMost { share: Some(share("2 %")), count: None, min_sample: 41 };
        plan.waves[0].gate.max_failed = Some(limit);
    });
    finds("with some failures it neither passes nor stops: min_success 95 %", |plan, _| {
        let limit = AtMost { share: Some(share("6 %")), count: None, min_sample: 40 };
        plan.waves[0].gate.max_failed = Some(limit);
    });
    let just = said(|plan, _| {
        let limit = AtMost { share: Some(share("5 %")), count: None, min_sample: 40 };
        plan.waves[0].gate.max_failed = Some(limit);
    });
    assert_eq!(just, Vec::<String>::new());
    let every = AtLeast { share: Share::ALL, min_sample: 20 };
    finds("its gate asks for every machine, and a single one that is switched off", |plan, _| {
        plan.waves[0].gate.min_reached = Some(every);
        plan.waves[0].gate.unreachable = Unreachable::Block;
    });
    assert!(said(|plan, _| plan.waves[0].gate.min_reached = Some(every)).is_empty());
}

#[test]
fn windows_that_never_open() {
    finds(
        "error: wave pilot: its windows never open in two weeks from now in Europe/Paris",
        |plan, _| {
            plan.waves[0].blackouts = vec!["00:00-24:00".parse().expect("hours")];
        },
    );
    // A Sunday's window in the hour that Paris leaves out, which Tokyo has: it
    // comes a week later, so it is found.
    let said = check(
        &{
            let mut plan = good();
            plan.waves[0].windows = vec!["Sun 02:15-02:45".parse().expect("hours")];
            plan.waves[0].not_before = None;
            plan.waves[1].not_before = None;
            plan
        },
        &World { deadline: None, ..world() },
        at("2026-03-28T12:00:00Z"),
    );
    assert!(said.is_empty(), "{said:?}");
    // Without sites UTC stands for them.
    finds_too("never open in two weeks from now in UTC", |plan, world| {
        plan.waves[0].blackouts = vec!["00:00-24:00".parse().expect("hours")];
        world.sites.clear();
    });
}

#[test]
fn times_that_do_not_fit() {
    finds(
        "wave rest: its not_before 2026-12-03T07:00:00Z has no effect: the waves before it take until 2026-12-03T08:00:00Z",
        |plan, _| {
            plan.waves[1].not_before = Some(at("2026-12-03T07:00:00Z"));
        },
    );
    finds(
        "wave rest: it cannot meet its deadline 2026-12-05T08:00:00Z (severity-2004): it opens at",
        |_, world| {
            world.deadline = Some(Deadline::By(at("2026-12-05T08:00:00Z")));
        },
    );
    let freeze = |place: Option<&str>, from: &str, until: &str| Freeze {
        geographies: place.map(site).into_iter().collect(),
        from: at(from),
        until: at(until),
        reason: "end of year".to_owned(),
        spares_urgent: true,
    };
    let name = || "year-end".parse().expect("a name");
    let part = || freeze(Some("apac"), "2026-12-05T00:00:00Z", "2026-12-07T00:00:00Z");
    finds(
        "wave rest: it opens at 2026-12-07T00:00:00Z in part of its places, after freeze year-end",
        |_, world| {
            world.freezes.insert(name(), part());
        },
    );
    let urgent = said(|plan, world| {
        world.freezes.insert(name(), part());
        plan.priority = super::super::Priority::Urgent;
    });
    assert_eq!(urgent, Vec::<String>::new());
    // A freeze on all of a wave moves those behind it too.
    let said = said(|plan, world| {
        let all = freeze(None, "2026-12-02T00:00:00Z", "2026-12-21T00:00:00Z");
        world.freezes.insert(name(), all);
        plan.waves[1].not_before = None;
    });
    let expected = [
        "warning: wave pilot: it opens at 2026-12-21T00:00:00Z in part of its places, after freeze year-end",
        "warning: wave pilot: it cannot meet its deadline 2026-12-20T00:00:00Z (severity-2004): it opens at 2026-12-21T00:00:00Z at the earliest",
        "warning: wave rest: it opens at 2026-12-22T00:00:00Z in part of its places, after freeze year-end",
        "warning: wave rest: it cannot meet its deadline 2026-12-20T00:00:00Z (severity-2004): it opens at 2026-12-22T00:00:00Z at the earliest",
    ];
    assert_eq!(said, expected);
}

#[test]
fn the_gravest_come_first() {
    let found = said(|plan, _| {
        plan.waves[1].share = share("50 %");
        plan.waves[1].gate.soak = hours(-1);
    });
    assert!(found[0].starts_with("error: wave rest: a soak"), "{found:?}");
    assert!(found[1].starts_with("warning: every wave"), "{found:?}");
}
