//! The sets of sites, by example and by property.

use jiff::Timestamp;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;
use crate::approval::{Approval, ApprovalSet};
use crate::node::Stage;
use crate::rollout::{Rollout, Rollouts, Wave, WaveStates, WaveStatus};

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

fn wave(index: usize, places: &[&str]) -> Wave {
    let geographies = places.iter().map(|place| site(place)).collect();
    Wave { name: format!("w{index}"), geographies }
}

#[derive(Debug)]
struct World {
    approvals: ApprovalSet,
    rollouts: Rollouts,
    states: WaveStates,
}

impl World {
    fn new() -> Self {
        Self {
            approvals: ApprovalSet::empty(Stage::Production),
            rollouts: Rollouts::new(),
            states: WaveStates::new(),
        }
    }

    fn offer(&self) -> Offer<'_> {
        Offer { approvals: &self.approvals, rollouts: &self.rollouts, states: &self.states }
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

    fn plan(&mut self, number: u8, waves: &[(&[&str], bool)]) {
        let status = |open| match open {
            true => WaveStatus::Open(Timestamp::UNIX_EPOCH),
            false => WaveStatus::Pending,
        };
        let name = rollout(number);
        self.states
            .insert(name.clone(), waves.iter().map(|(_, is_open)| status(*is_open)).collect());
        let waves = waves.iter().enumerate().map(|(index, (places, _))| wave(index, places));
        let plan = Rollout { name: name.clone(), stage: Stage::Production, waves: waves.collect() };
        self.rollouts.insert(name, plan);
    }
}

/// The sets of the first group as `SITES: REVISIONS`, those of most sites first.
fn told(world: &World, places: &[Site]) -> Vec<String> {
    let name = group(0);
    let sites: BTreeSet<&Site> = places.iter().collect();
    let found = sets(world.offer(), [&name], &sites);
    let text = |set: &Effective<'_>| {
        let sites: Vec<&str> = set.sites.iter().map(|site| site.as_str()).collect();
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
    let found = sets(world.offer(), [&other], &BTreeSet::new());
    assert_eq!(found[&other][0].id, SetId::of([]));
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

fn worlds() -> impl Strategy<Value = World> {
    let places = prop_oneof![
        Just(&[][..]),
        Just(&["emea"][..]),
        Just(&["emea/fr"][..]),
        Just(&["emea/de", "apac"][..]),
        Just(&["emea/fr/paris"][..]),
    ];
    let plan = vec((places, any::<bool>()), 1..4);
    (vec((0..9u8, 0..2u8, 0..5u8), 0..20), vec(plan, 0..4)).prop_map(|(approvals, plans)| {
        let mut world = World::new();
        for (number, of, by) in approvals {
            world.approve(number, of, by);
        }
        for (number, waves) in (0..).zip(plans) {
            world.plan(number, &waves);
        }
        world
    })
}

proptest! {
    #[test]
    fn every_site_has_the_set_that_is_open_there(world in worlds(), count in 1..=PLACES.len()) {
        let places: Vec<Site> = PLACES[..count].iter().map(|place| site(place)).collect();
        let sites: BTreeSet<&Site> = places.iter().collect();
        let groups = [group(0), group(1)];
        for (name, found) in sets(world.offer(), &groups, &sites) {
            let named: usize = found.iter().map(|set| set.sites.len()).sum();
            prop_assert_eq!(named, places.len());
            let ids: BTreeSet<SetId> = found.iter().map(|set| set.id).collect();
            prop_assert_eq!(ids.len(), found.len());
            prop_assert!(found.is_sorted_by_key(|set| std::cmp::Reverse(set.sites.len())));
            for set in &found {
                for place in &set.sites {
                    let open: Vec<_> = world.offer().open_revisions(name, Some(place)).collect();
                    prop_assert_eq!(&open, &set.revisions);
                    // A node that asks for itself alone finds the same.
                    let alone = sets(world.offer(), [name], &BTreeSet::from([*place]));
                    prop_assert_eq!(alone[name][0].id, set.id);
                }
            }
        }
    }
}
