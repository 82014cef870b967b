//! What is open, by example and by property.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};

use super::*;
use crate::rollout::{OnEmpty, Progress, RolloutState, Stop, StopKind, Wave};

const PLACES: [&str; 3] = ["emea/fr/paris", "emea/de", "apac/jp"];

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

fn approval(decision: Decision) -> Approval {
    let (by, comment) = ("ada".to_owned(), "breaks the printer".to_owned());
    Approval { decision, by, at: Timestamp::UNIX_EPOCH, comment, rule: String::new() }
}

#[derive(Debug, Clone)]
struct World {
    approvals: ApprovalSet,
    plans: RolloutSet,
    states: WaveStates,
}

/// Everything happens before.
fn now() -> Timestamp {
    Timestamp::from_second(1_000).expect("a time")
}

impl World {
    fn empty() -> Self {
        let approvals = ApprovalSet::empty(Stage::Production);
        Self { approvals, plans: RolloutSet::default(), states: WaveStates::new() }
    }

    fn offer(&self) -> Offer<'_> {
        Offer::new(&self.approvals, &self.plans, &self.states, now())
    }
}

fn worlds() -> impl Strategy<Value = World> {
    let decision = prop_oneof![
        Just(Decision::Declined),
        (0..4u8).prop_map(|number| Decision::Approved(rollout(number))),
    ];
    let approvals = vec((0..5u8, 0..2u8, decision), 0..10);
    let since = (0..100i64).prop_map(|second| Timestamp::from_second(second).expect("a time"));
    let progress = prop_oneof![
        Just(Progress::Pending),
        since.clone().prop_map(|since| Progress::Open { since }),
        since.clone().prop_map(|at| Progress::Passed { since: at, at }),
        since.prop_map(|at| Progress::Skipped { at }),
    ];
    let places = prop_oneof![Just(vec![]), Just(vec!["emea"]), Just(vec!["emea/de", "apac"])];
    let stop = prop_oneof![4 => Just(false), 1 => Just(true)];
    let wave = (places, progress, stop.clone());
    let plan = (any::<bool>(), vec(wave, 1..4), any::<bool>(), stop);
    (approvals, vec(plan, 0..4)).prop_map(|(approvals, plans)| {
        let mut world = World::empty();
        for (number, group_number, decision) in approvals {
            let key = (revision(number), group(group_number));
            world.approvals.entries.insert(key, approval(decision));
        }
        for (number, (is_production, waves, has_state, halted)) in (0..).zip(plans) {
            let stage = if is_production { Stage::Production } else { Stage::Validation };
            let stop = |kind| Stop { kind, at: now(), reason: "test".to_owned() };
            let mut state = RolloutState::pending(waves.len());
            state.stop = halted.then(|| stop(StopKind::Halted));
            let mut plan = Rollout::running(rollout(number), stage, Vec::new());
            for (index, (places, progress, paused)) in waves.into_iter().enumerate() {
                let places = places.into_iter().map(site).collect();
                let mut wave = Wave::plain(&format!("w{index}"), places);
                wave.on_empty = OnEmpty::Skip;
                plan.waves.push(wave);
                state.waves[index].progress = progress;
                state.waves[index].paused = paused.then(|| stop(StopKind::Paused));
            }
            if has_state {
                world.states.insert(plan.name.clone(), state);
            }
            world.plans.rollouts.insert(plan.name.clone(), plan);
        }
        world
    })
}

/// The definition, word by word.
fn is_open_by_definition(world: &World, id: &RevisionId, group: &GroupName, site: &Site) -> bool {
    let Some(Approval { decision: Decision::Approved(name), .. }) = world.approvals.get(id, group)
    else {
        return false;
    };
    let plan = world.plans.rollouts.get(name).filter(|plan| plan.stage == Stage::Production);
    let (Some(plan), Some(state)) = (plan, world.states.get(name)) else { return false };
    let mut done = Some(Timestamp::UNIX_EPOCH);
    let mut open = false;
    for (wave, of_wave) in plan.waves.iter().zip(&state.waves) {
        // In their order: a wave is open if all before it were done by then.
        let since = of_wave.progress.open_since();
        let in_order = since.zip(done).is_some_and(|(since, done)| since >= done);
        open |= in_order && of_wave.paused.is_none() && wave.covers(name, place_of(site));
        done = match of_wave.progress {
            Progress::Passed { at, .. } if in_order => Some(at),
            Progress::Skipped { at } => done.filter(|done| at >= *done).map(|_| at),
            _ => None,
        };
    }
    open && state.stop.is_none()
}

fn place_of(site: &Site) -> Place<'_> {
    Place { site: Some(site), group: None, machine: None }
}

proptest! {
    #[test]
    fn open_is_what_all_three_agree_on(world in worlds()) {
        for place in PLACES.map(site) {
            for group in [group(0), group(1)] {
                let open: BTreeSet<_> =
                    world.offer().open_revisions(&group, Some(&place)).cloned().collect();
                for id in (0..5).map(revision) {
                    let expected = is_open_by_definition(&world, &id, &group, &place);
                    prop_assert_eq!(open.contains(&id), expected);
                    prop_assert_eq!(world.offer().of(&id, &group, Some(&place)).is_ok(), expected);
                }
            }
        }
    }

    #[test]
    fn what_is_open_everywhere_is_open_at_each_place(world in worlds()) {
        for group in [group(0), group(1)] {
            let everywhere: BTreeSet<_> = world.offer().open_revisions(&group, None).collect();
            for place in PLACES.map(site) {
                let there: BTreeSet<_> =
                    world.offer().open_revisions(&group, Some(&place)).collect();
                prop_assert_eq!(everywhere.difference(&there).count(), 0);
            }
        }
    }
}

#[test]
fn says_why_not() {
    let mut world = World::empty();
    let why = |world: &World| {
        let error = world.offer().of(&revision(1), &group(1), None).expect_err("not open");
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        format!("{error}{}", source.unwrap_or_default())
    };
    let key = (revision(1), group(1));
    assert_eq!(why(&world), "not decided for g1 in production");
    world.approvals.entries.insert(key.clone(), approval(Decision::Declined));
    assert_eq!(why(&world), "declined by ada: breaks the printer");
    let name = RolloutName::default_for(Stage::Production);
    world.approvals.entries.insert(key, approval(Decision::Approved(name.clone())));
    assert_eq!(why(&world), "approved, but its rollout default-production is not planned");
    world.plans.rollouts.insert(name.clone(), Rollout::default_for(Stage::Validation));
    assert!(why(&world).ends_with("is for validation"), "{}", why(&world));
    let plan = Rollout::default_for(Stage::Production);
    let opened = Timestamp::from_second(5).expect("a time");
    world.states.insert(name.clone(), RolloutState::pending(1));
    world.plans.rollouts.insert(name.clone(), plan.clone());
    assert_eq!(
        why(&world),
        "approved, but not open there: wave everywhere of rollout default-production is not open yet"
    );
    world.states.insert(name, plan.all_open(opened));
    assert_eq!(world.offer().of(&revision(1), &group(1), None), Ok(opened));
}

#[test]
fn availability_names_what_is_missing() {
    let payload = |number: u8| crate::revision::Payload {
        package: format!("p{number}"),
        version: "1".to_owned(),
        architecture: "all".to_owned(),
        component: "main".to_owned(),
        filename: format!("pool/p{number}.deb"),
        length: 1,
        sha256: Sha256::from_bytes([number; 32]),
        control: String::new(),
        language: String::new(),
        place: None,
    };
    let revision = Revision {
        id: revision(1),
        title: String::new(),
        description: String::new(),
        architectures: vec!["all".to_owned()],
        payloads: vec![payload(1), payload(2)],
        facts: crate::revision::Facts::default(),
    };
    assert!(availability(&revision, |_| true).is_available());
    let missing = availability(&revision, |sha256| *sha256 == Sha256::from_bytes([1; 32]));
    assert_eq!(missing, Availability::Missing(vec![Sha256::from_bytes([2; 32])]));
}
