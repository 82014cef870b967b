//! The sets of sites, by example and by property.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;

use super::*;
use crate::approval::{Approval, ApprovalSet};
use crate::node::Stage;
use crate::rollout::{
    Admission, Freeze, Limit, Progress, Rollout, RolloutSet, RolloutState, Wave, WaveStates,
};

const PLACES: [&str; 6] =
    ["emea/fr/paris", "emea/fr/lyon", "emea/de", "emea/frankfurt", "apac/jp", "amer"];

fn site(text: &str) -> Site {
    text.parse().expect("a site")
}

fn group(number: u8) -> GroupName {
    format!("g{number}").parse().expect("a group")
}

fn rollout(number: u8) -> RolloutName {
    format!("r{number}").parse().expect("a rollout")
}

fn revision(number: u8) -> RevisionId {
    format!("deb:stable/p{number}@1").parse().expect("a revision")
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

#[derive(Debug)]
struct World {
    approvals: ApprovalSet,
    plans: RolloutSet,
    states: WaveStates,
}

impl World {
    fn new() -> Self {
        let approvals = ApprovalSet::empty(Stage::Production);
        Self { approvals, plans: RolloutSet::default(), states: WaveStates::new() }
    }

    fn offer(&self, now: i64) -> Offer<'_> {
        Offer::new(&self.approvals, &self.plans, &self.states, at(now))
    }

    /// For the first group.
    fn approve_at(&mut self, number: u8, by: u8, second: i64) {
        self.approve(number, 0, by);
        let approval = self.approvals.entries.get_mut(&(revision(number), group(0)));
        approval.expect("approved").at = at(second);
    }

    fn approve(&mut self, number: u8, of: u8, by: u8) {
        let approval = Approval {
            decision: Decision::Approved(rollout(by)),
            by: "ada".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            comment: String::new(),
            rule: String::new(),
        };
        self.approvals.entries.insert((revision(number), group(of)), approval);
    }

    fn plan(&mut self, number: u8, waves: &[(&[&str], bool)]) -> &mut Rollout {
        let progress = |is_open| match is_open {
            true => Progress::Passed { since: Timestamp::UNIX_EPOCH, at: Timestamp::UNIX_EPOCH },
            false => Progress::Pending,
        };
        let mut state = RolloutState::pending(waves.len());
        for (wave, (_, is_open)) in state.waves.iter_mut().zip(waves) {
            wave.progress = progress(*is_open);
        }
        self.states.insert(rollout(number), state);
        let wave = |(index, (places, _)): (usize, &(&[&str], bool))| {
            let places = places.iter().map(|place| site(place)).collect();
            Wave::plain(&format!("w{index}"), places)
        };
        let waves = waves.iter().enumerate().map(wave).collect();
        let plan = Rollout::running(rollout(number), Stage::Production, waves);
        self.plans.rollouts.insert(rollout(number), plan);
        self.plans.rollouts.get_mut(&rollout(number)).expect("planned")
    }

    fn except(&mut self, scope: Scope, subject: Subject, since: i64, until: i64) {
        let name = format!("x{}", self.plans.exceptions.len()).parse().expect("a name");
        let text = || "printers".to_owned();
        let exception = Exception {
            scope,
            subject,
            reason: text(),
            workaround: text(),
            owner: text(),
            since: at(since),
            until: at(until),
        };
        self.plans.exceptions.insert(name, exception);
    }

    fn freeze(&mut self, place: &str, from: i64, until: i64) {
        let freeze = Freeze {
            geographies: vec![site(place)],
            from: at(from),
            until: at(until),
            reason: "end of year".to_owned(),
            spares_urgent: false,
        };
        self.plans.freezes.insert("eoy".parse().expect("a name"), freeze);
    }
}

/// The sets of the first group as `SITES: REVISIONS`, those of most sites first.
fn told(world: &World, places: &[Site]) -> Vec<String> {
    told_awaiting(world, places, &Awaiting::new())
}

fn told_awaiting(world: &World, places: &[Site], awaiting: &Awaiting<'_>) -> Vec<String> {
    let name = group(0);
    let sites: BTreeSet<&Site> = places.iter().collect();
    let offer = world.offer(50);
    let moments: Vec<Timestamp> = moments(offer).into_iter().collect();
    let found = sets(offer, [&name], &sites, awaiting, &moments);
    let text = |set: &Effective<'_>| {
        let mut sites: Vec<String> = set.sites.iter().map(ToString::to_string).collect();
        if let Some(coming) = &set.coming {
            let from = coming.at.as_second();
            sites.extend(coming.sites.iter().map(|site| format!("{site}({from})")));
        }
        let names: Vec<&str> = set.revisions.iter().map(|one| one.update.name.as_str()).collect();
        format!("{}: {}", sites.join(" "), names.join(" "))
    };
    found[&name].iter().map(text).collect()
}

#[test]
fn a_wave_in_flight_makes_two_sets_whatever_the_number_of_sites() {
    let mut world = World::new();
    world.plan(0, &[(&[], true)]);
    world.plan(1, &[(&["emea/fr"], true), (&[], false)]);
    world.approve(1, 0, 0);
    world.approve(2, 0, 1);
    let places: Vec<Site> = PLACES.iter().map(|place| site(place)).collect();
    let expected = ["amer apac/jp emea/de emea/frankfurt: p1", "emea/fr/lyon emea/fr/paris: p1 p2"];
    assert_eq!(told(&world, &places), expected);
    // Open everywhere, it is one again; so it is for nobody in particular.
    world.plan(1, &[(&["emea/fr"], true), (&[], true)]);
    let told_now = told(&world, &places);
    assert!(told_now.len() == 1 && told_now[0].ends_with(": p1 p2"), "{told_now:?}");
    assert_eq!(told(&world, &[]), [": p1 p2"]);
    // A group without approvals has a set as well: the empty one.
    let other = group(7);
    let found = sets(world.offer(50), [&other], &BTreeSet::new(), &Awaiting::new(), &[]);
    assert_eq!(found[&other][0].id, SetId::of([]));
}

#[test]
fn what_has_not_arrived_is_left_out_there_and_is_coming() {
    let mut world = World::new();
    world.plan(0, &[(&[], true)]);
    world.plan(1, &[(&["emea"], true), (&[], false)]);
    world.approve(1, 0, 0);
    world.approve_at(2, 1, 10);
    world.approve_at(3, 1, 20);
    let places: Vec<Site> = PLACES[..3].iter().map(|place| site(place)).collect();
    let from = |second| Awaited::from_iter([(rollout(1), at(second))]);
    let (all, later) = (from(10), from(15));
    // A site of two nodes, one of which has all.
    let awaiting = Awaiting::from([
        (&places[0], [&all].into()),
        (&places[1], [&later, &awaited::NOTHING].into()),
    ]);
    let expected = [
        "emea/de emea/fr/lyon emea/fr/lyon(50) emea/fr/paris(50): p1 p2 p3",
        "emea/fr/lyon: p1 p2",
        "emea/fr/paris: p1",
    ];
    assert_eq!(told_awaiting(&world, &places, &awaiting), expected);
    // What no plan has opened makes no difference.
    world.plan(1, &[(&["emea"], false), (&[], false)]);
    let expected = ["emea/de emea/fr/lyon emea/fr/lyon emea/fr/paris: p1"];
    assert_eq!(told_awaiting(&world, &places, &awaiting), expected);
}

#[test]
fn what_opens_later_is_coming_with_and_without_what_is_awaited() {
    let mut world = World::new();
    world.plan(0, &[(&[], true)]);
    let plan = world.plan(1, &[(&[], false)]);
    plan.offline = true;
    plan.waves[0].not_before = Some(at(100));
    plan.control.order = crate::rollout::control::Order::Run;
    world.approve_at(1, 1, 10);
    world.approve_at(2, 1, 20);
    let places = [site("amer")];
    let awaited = Awaited::from_iter([(rollout(1), at(20))]);
    let awaiting = Awaiting::from([(&places[0], [&awaited].into())]);
    let expected = ["amer: ", "amer(100): p1", "amer(100): p1 p2"];
    let mut told = told_awaiting(&world, &places, &awaiting);
    told.sort_by_key(String::len);
    assert_eq!(told, expected);
}

#[test]
fn what_is_awaited_is_found_by_plan() {
    let mut world = World::new();
    let approve = |world: &mut World, number, by: &str, second| {
        world.approve_at(number, 0, second);
        let approval = world.approvals.entries.get_mut(&(revision(number), group(0)));
        approval.expect("approved").decision = Decision::Approved(by.parse().expect("a name"));
    };
    approve(&mut world, 1, "default-production", 5);
    approve(&mut world, 2, "spring", 30);
    approve(&mut world, 3, "spring", 20);
    approve(&mut world, 4, "spring", 10);
    approve(&mut world, 5, "autumn", 40);
    let arrived = [revision(4), revision(5)];
    let found = Awaited::of([&world.approvals], |one| arrived.contains(one));
    let spring: RolloutName = "spring".parse().expect("a name");
    assert_eq!(found.iter().collect::<Vec<_>>(), [(&spring, at(20))]);
    assert!(found.holds(&spring, at(20)) && found.holds(&spring, at(30)));
    assert!(!found.holds(&spring, at(19)));
    // Of too many those that began last.
    let many = (0..=awaited::MAX_AWAITED as u8).map(|one| (rollout(one), at(one.into())));
    let many: Awaited = many.collect();
    assert_eq!(many.iter().count(), awaited::MAX_AWAITED);
    assert!(!many.holds(&rollout(0), at(100)) && many.holds(&rollout(1), at(100)));
}

#[test]
fn names_of_sets_do_not_run_together() {
    let ids = |names: &[&str]| -> Vec<RevisionId> {
        names.iter().map(|name| name.parse().expect("a revision")).collect()
    };
    let one = ids(&["a:b/c@1", "a:b/d@1"]);
    let other = ids(&["a:b/c@1", "a:b/e@1"]);
    assert_ne!(SetId::of(&one), SetId::of(&other));
    assert_ne!(SetId::of(&one), SetId::of(&one[..1]));
    assert_ne!(SetId::of([]), SetId::UNSTATED);
    // Fixed for good: it stands in signed documents.
    let known = "ed77b4324797fe98f8a3a67282bc60a6728d680cac643fb573f7b0914f0aea00";
    assert_eq!(SetId::of(&one).to_string(), known);
}

#[test]
fn what_time_alone_opens_is_seen_ahead() {
    let mut world = World::new();
    world.plan(0, &[(&[], true)]);
    let plan = world.plan(1, &[(&["emea"], true), (&[], false)]);
    plan.offline = true;
    plan.waves[1].not_before = Some(at(100));
    world.approve(1, 0, 0);
    world.approve(2, 0, 1);
    let places: Vec<Site> = PLACES[..5].iter().map(|place| site(place)).collect();
    let told_now = told(&world, &places);
    let expected =
        ["emea/de emea/fr/lyon emea/fr/paris emea/frankfurt apac/jp(100): p1 p2", "apac/jp: p1"];
    assert_eq!(told_now, expected);
    // A freeze puts it off, there alone.
    world.freeze("apac", 90, 120);
    assert_eq!(told(&world, &places)[0], expected[0].replace("100", "120"));
    // An exception ends by itself; the set is told by when it comes first.
    let everything = Subject::Update(revision(2).update.clone());
    world.except(Scope::Site(site("emea/fr/lyon")), everything, 0, 70);
    assert_eq!(
        told(&world, &places),
        [
            "emea/de emea/fr/paris emea/frankfurt apac/jp(70) emea/fr/lyon(70): p1 p2",
            "apac/jp emea/fr/lyon: p1",
        ]
    );
    // What waits for a gate or an operator is not seen.
    world.plan(1, &[(&["emea"], true), (&[], false)]);
    assert!(!told(&world, &places)[0].contains("apac"), "{:?}", told(&world, &places));
}

fn worlds() -> impl Strategy<Value = World> {
    let places = prop_oneof![
        Just(&[][..]),
        Just(&["emea"][..]),
        Just(&["emea/fr"][..]),
        Just(&["emea/de", "apac"][..]),
        Just(&["emea/fr/paris"][..]),
    ];
    let time = || 0..200i64;
    let wave = (places, any::<bool>(), option::of(time()), any::<bool>());
    let turns = option::of(vec((0..PLACES.len(), 0..40i64), 0..4));
    let plan = (vec(wave, 1..4), any::<bool>(), turns);
    let scope = prop_oneof![
        (0..2u8).prop_map(|number| Scope::Group(group(number))),
        select(&PLACES[..]).prop_map(|place| Scope::Site(site(place))),
        Just(Scope::Site(site("emea/fr"))),
    ];
    let subject = prop_oneof![
        Just(Subject::All),
        (0..9u8).prop_map(|number| Subject::Update(revision(number).update.clone())),
        (0..9u8).prop_map(|number| Subject::Revision(revision(number))),
    ];
    let exception = (scope, subject, time(), time());
    let freeze = (select(vec!["emea", "emea/fr", "apac"]), time(), time());
    let approvals = vec((0..9u8, 0..2u8, 0..5u8), 0..20);
    let worlds = (approvals, vec(plan, 0..4), vec(exception, 0..3), option::of(freeze));
    worlds.prop_map(|(approvals, plans, exceptions, freeze)| {
        let mut world = World::new();
        for (number, of, by) in approvals {
            world.approve(number, of, by);
        }
        for (number, (waves, offline, turns)) in (0..).zip(plans) {
            let open: Vec<_> =
                waves.iter().map(|(places, is_open, ..)| (*places, *is_open)).collect();
            let plan = world.plan(number, &open);
            plan.offline = offline;
            for (wave, (.., not_before, is_for_one)) in plan.waves.iter_mut().zip(waves) {
                wave.not_before = not_before.map(at);
                wave.groups = is_for_one.then(|| group(0)).into_iter().collect();
            }
            // Its first wave lets some sites in, by their turns.
            if let Some(turns) = turns {
                plan.waves[0].limit = Limit { sites: Some(2), machines: None };
                let let_in = |(place, second): (usize, i64)| {
                    let finished = (second % 2 == 0).then(|| at(second + 5));
                    (site(PLACES[place]), Admission { at: at(second), finished })
                };
                let state = world.states.get_mut(&rollout(number)).expect("a state");
                state.waves[0].admitted = turns.into_iter().map(let_in).collect();
            }
        }
        for (scope, subject, since, until) in exceptions {
            world.except(scope, subject, since, until);
        }
        if let Some((place, from, until)) = freeze {
            world.freeze(place, from, until);
        }
        world
    })
}

proptest! {
    #[test]
    fn every_site_has_the_set_that_is_open_there(
        world in worlds(),
        now in 0..200i64,
        count in 1..=PLACES.len(),
    ) {
        let places: Vec<Site> = PLACES[..count].iter().map(|place| site(place)).collect();
        let sites: BTreeSet<&Site> = places.iter().collect();
        let groups = [group(0), group(1)];
        let offer = world.offer(now);
        for (name, found) in sets(offer, &groups, &sites, &Awaiting::new(), &[]) {
            let named: usize = found.iter().map(|set| set.sites.len()).sum();
            prop_assert_eq!(named, places.len());
            let ids: BTreeSet<SetId> = found.iter().map(|set| set.id).collect();
            prop_assert_eq!(ids.len(), found.len());
            prop_assert!(found.is_sorted_by_key(|set| std::cmp::Reverse(set.sites.len())));
            for set in &found {
                for place in &set.sites {
                    let open: Vec<_> = offer.open_revisions(name, Some(place)).collect();
                    prop_assert_eq!(&open, &set.revisions);
                    // A node that asks for itself alone finds the same.
                    let alone = sets(offer, [name], &BTreeSet::from([*place]), &Awaiting::new(), &[]);
                    prop_assert_eq!(alone[name][0].id, set.id);
                }
            }
        }
    }

    #[test]
    fn what_is_awaited_at_a_site_is_left_out_there_alone(
        world in worlds(),
        times in vec(0..4i64, 9),
        awaits in vec(option::of((0..4u8, 0..4i64)), PLACES.len()),
        now in 0..200i64,
    ) {
        let mut world = world;
        for (number, time) in (0..).zip(times) {
            for of in 0..2 {
                let approval = world.approvals.entries.get_mut(&(revision(number), group(of)));
                approval.into_iter().for_each(|approval| approval.at = at(time));
            }
        }
        let places: Vec<Site> = PLACES.iter().map(|place| site(place)).collect();
        let sites: BTreeSet<&Site> = places.iter().collect();
        let lacks = |one: Option<(u8, i64)>| {
            one.into_iter().map(|(number, from)| (rollout(number), at(from))).collect::<Awaited>()
        };
        let lacks: Vec<Awaited> = awaits.into_iter().map(lacks).collect();
        let awaiting: Awaiting<'_> =
            places.iter().zip(&lacks).map(|(place, one)| (place, [one].into())).collect();
        let (offer, name) = (world.offer(now), group(0));
        let found = &sets(offer, [&name], &sites, &awaiting, &[])[&name];
        for (place, lacks) in places.iter().zip(&lacks) {
            let open: Vec<_> = offer.open_revisions(&name, Some(place)).collect();
            let has_arrived = |id: &&RevisionId| {
                let approval = offer.approvals.get(id, &name).expect("approved");
                let Decision::Approved(rollout) = &approval.decision else { return false };
                !lacks.holds(rollout, approval.at)
            };
            let served: Vec<_> = open.iter().copied().filter(has_arrived).collect();
            let own: Vec<_> = found.iter().filter(|set| set.sites.contains(&place)).collect();
            prop_assert_eq!(own.len(), 1);
            prop_assert_eq!(&own[0].revisions, &served);
            let whole = found.iter().find(|set| set.revisions == open).expect("the whole");
            let is_coming = whole.coming.iter().any(|one| one.at == at(now) && one.sites.contains(&place));
            prop_assert!(is_coming || served == open, "{}: {:?}", place, whole);
        }
    }

    #[test]
    fn whatever_time_opens_is_among_what_is_coming(world in worlds(), later in 51..200i64) {
        let places: Vec<Site> = PLACES.iter().map(|place| site(place)).collect();
        let sites: BTreeSet<&Site> = places.iter().collect();
        let name = group(0);
        let offer = world.offer(50);
        let moments: Vec<Timestamp> = moments(offer).into_iter().collect();
        let found = sets(offer, [&name], &sites, &Awaiting::new(), &moments);
        for set in &sets(world.offer(later), [&name], &sites, &Awaiting::new(), &[])[&name] {
            let known = found[&name].iter().find(|one| one.id == set.id);
            prop_assert!(known.is_some(), "at {later}: {set:?}");
            for (place, known) in set.sites.iter().zip(known.iter().cycle()) {
                let is_coming = known.coming.iter().any(|one| {
                    one.sites.contains(place) && one.at <= at(later)
                });
                prop_assert!(known.sites.contains(place) || is_coming, "{place}: {known:?}");
            }
        }
    }
}
