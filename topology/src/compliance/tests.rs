use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::approval::{Approval, ApprovalSet, Decision};
use crate::name::{GroupName, MachineName};
use crate::node::mode::AtDeadline;
use crate::node::{Group, InstallMode, MachinePolicy, Stage};
use crate::offer::Offer;
use crate::report::UNREADABLE;
use crate::revision::{RevisionId, Severity};
use crate::rollout::deadline::Facts;
use crate::rollout::exception::{self, Exception, Subject};
use crate::rollout::{
    Action, Order, Progress, Rollout, RolloutSet, RolloutState, Share, Wave, WaveStates,
};
use crate::tally::{Area, Last, Machine, News, Outcome, Phase, Place, Position, Standing, Tallies};

mod machine;

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Everything was approved, and entered the catalogue, at 0.
fn at(hours: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + HOUR * i32::try_from(hours).unwrap()
}

fn revision(number: u8) -> RevisionId {
    format!("vendor:stable/app{number}@1").parse().unwrap()
}

fn place(site: &str) -> Place {
    Place { site: site.parse().unwrap(), group: "servers".parse().unwrap() }
}

fn name(text: &str) -> MachineName {
    text.parse().unwrap()
}

fn last(hours: i64, phase: Phase, outcome: Outcome) -> Last {
    let position = Position { began: at(0), epoch: 7, sequence: u64::try_from(hours).unwrap() };
    let standing = Standing::of(phase, outcome);
    Last { position, phase, standing, code: 9, is_looping: false, at: at(hours) }
}

fn machine(site: &str, seen: i64, words: Vec<(u8, Last)>) -> Machine {
    let mut machine = Machine::new(place(site));
    let words = words.into_iter().map(|(number, last)| (revision(number), last)).collect();
    machine.take(News { place: None, seen: Some(at(seen)), words });
    machine
}

fn needed() -> Last {
    last(1, Phase::Detection, Outcome::Pending)
}

fn found() -> Last {
    last(1, Phase::Detection, Outcome::Success)
}

/// Revisions 1 to 3 are approved: 1 by a plan that is open, 2 by one whose second
/// wave, `apac`, is not, 3 by one that goes to half of the machines. Deadlines are
/// a day after the beginning.
struct World {
    groups: BTreeMap<GroupName, Group>,
    approvals: ApprovalSet,
    plans: RolloutSet,
    states: WaveStates,
}

impl World {
    fn new() -> Self {
        let group: GroupName = "servers".parse().unwrap();
        let (stage, install_mode) = (Stage::Production, InstallMode::Automatic);
        let groups = [(
            group.clone(),
            Group {
                name: group.clone(),
                stage,
                install_mode,
                baseline: None,
                reboot_slots: None,
                policy: MachinePolicy::default(),
                at_deadline: AtDeadline::Wait,
                owner: String::new(),
            },
        )];
        let mut world = Self {
            groups: groups.into(),
            approvals: ApprovalSet::empty(stage),
            plans: RolloutSet::default(),
            states: WaveStates::new(),
        };
        let half = Wave { share: "50 %".parse::<Share>().unwrap(), ..Wave::plain("half", vec![]) };
        let regions = vec![
            Wave::plain("emea", vec!["emea".parse().unwrap()]),
            Wave::plain("apac", vec!["apac".parse().unwrap()]),
        ];
        let plans = [vec![Wave::plain("all", vec![])], regions, vec![half]];
        for (number, waves) in (1..).zip(plans) {
            let name: crate::name::RolloutName = format!("r{number}").parse().unwrap();
            let mut state = RolloutState::pending(waves.len());
            state.waves[0].progress = Progress::Open { since: at(0) };
            let plan = Rollout::running(name.clone(), stage, waves);
            world.plans.rollouts.insert(name.clone(), plan);
            world.states.insert(name.clone(), state);
            let approval = Approval {
                decision: Decision::Approved(name),
                by: "ada".to_owned(),
                at: at(0),
                comment: String::new(),
                rule: String::new(),
            };
            world.approvals.entries.insert((revision(number), group.clone()), approval);
        }
        world
    }

    fn offer(&self, hours: i64) -> Offer<'_> {
        Offer::new(&self.approvals, &self.plans, &self.states, at(hours))
    }

    fn removed(&self, hours: i64) -> BTreeSet<RevisionId> {
        self.offer(hours).removed().cloned().collect()
    }

    /// Rollout `r1` removes what it is for, approved at an hour.
    fn takes_back(&mut self, hours: i64) {
        self.plans.rollouts.get_mut(&"r1".parse().unwrap()).unwrap().action = Action::Remove;
        let key = (revision(1), "servers".parse().unwrap());
        self.approvals.entries.get_mut(&key).unwrap().at = at(hours);
    }

    fn demands(&self, hours: i64) -> Demands<'_> {
        let offer = self.offer(hours);
        let facts = |_: &RevisionId| Some(Facts::of(None, Some(Severity::Critical), at(0)));
        Demands::new(&self.groups, &self.plans, [offer], Box::new(facts), at(hours))
    }

    /// How the machine stands at an hour, and how many needs it has.
    fn judge(&self, hours: i64, machine: &Machine) -> (Verdict, usize, bool) {
        let mut register = Register::default();
        register.follow_removal_of(self.removed(hours));
        register.put(&name("pc"), machine, Told::default());
        let demands = self.demands(hours);
        let mut survey = Survey::new(&register, &demands, survey::STALE_AFTER);
        let look = |judged: Judged<'_>| {
            let withheld = judged.needs.iter().any(Need::is_withheld);
            (judged.verdict, judged.needs.len(), withheld)
        };
        survey.one(&name("pc"), look).unwrap()
    }
}

#[test]
fn who_lacks_something_has_grace_until_its_deadline_and_is_overdue_then() {
    let world = World::new();
    let lacking = machine("emea/fr", 100, vec![(1, needed())]);
    assert_eq!(world.judge(20, &lacking), (Verdict::Grace, 1, false));
    assert_eq!(world.judge(25, &lacking), (Verdict::Overdue, 1, false));
    for outcome in [Outcome::Failure, Outcome::Declined, Outcome::Cancelled] {
        let word = last(2, Phase::Installation, outcome);
        let failing = machine("emea/fr", 100, vec![(1, word)]);
        assert_eq!(world.judge(25, &failing).0, Verdict::Overdue, "{outcome}");
    }
    let done = machine("emea/fr", 100, vec![(1, last(2, Phase::Installation, Outcome::Success))]);
    assert_eq!(world.judge(25, &done), (Verdict::Compliant, 0, false));
    let other = machine("emea/fr", 100, vec![(9, needed())]);
    assert_eq!(world.judge(25, &other), (Verdict::Compliant, 0, false), "nobody approved it");
}

#[test]
fn who_is_silent_for_a_week_is_unknown_whatever_it_said() {
    let world = World::new();
    let done = machine("emea/fr", 1, vec![(1, last(1, Phase::Installation, Outcome::Success))]);
    assert_eq!(world.judge(7 * 24, &done).0, Verdict::Compliant);
    assert_eq!(world.judge(7 * 24 + 2, &done).0, Verdict::Unknown);
    assert_eq!(world.judge(1, &Machine::new(place("emea"))).0, Verdict::Unknown);
    let late = machine("emea/fr", 1, vec![(1, needed())]);
    assert_eq!(world.judge(7 * 24 + 2, &late), (Verdict::Unknown, 1, false));
}

#[test]
fn who_cannot_tell_what_is_on_it_is_unknown_whatever_it_said_and_says_so() {
    let world = World::new();
    let done = machine("emea/fr", 20, vec![(1, last(1, Phase::Installation, Outcome::Success))]);
    let late = machine("emea/fr", 20, vec![(1, needed())]);
    let told = Told { unreadable: true, ..Told::default() };
    let mut register = Register::default();
    for (key, one, told) in [
        ("done", &done, told),
        ("late", &late, told),
        ("mended", &done, Told::default()),
        ("silent", &Machine::new(place("emea")), Told::default()),
    ] {
        register.put(&name(key), one, told);
    }
    let demands = world.demands(25);
    let mut survey = Survey::new(&register, &demands, survey::STALE_AFTER);
    let mut found = Vec::new();
    survey.each(Scope::default(), |judged| {
        found.push((judged.name.to_string(), judged.verdict, judged.why_unknown()));
    });
    let blind = Some("it cannot tell what is on it".to_owned());
    let expected = [
        ("done", Verdict::Unknown, blind.clone()),
        ("late", Verdict::Unknown, blind),
        ("mended", Verdict::Compliant, None),
        ("silent", Verdict::Unknown, Some("it was never heard of".to_owned())),
    ];
    assert_eq!(found, expected.map(|(name, verdict, why)| (name.to_owned(), verdict, why)));
    let all: Census = census::by_place(&mut survey, Scope::default()).into_values().sum();
    assert_eq!((all.unknown, all.compliant, all.overdue), (3, 1, 0));
    let mut rows = census::ByRevision::new();
    census::lack_revisions(&mut survey, Scope::default(), &mut rows);
    assert_eq!(rows[&revision(1)].1.unknown, 1, "nor is it overdue by revision");
}

#[test]
fn a_plan_that_is_late_is_no_fault_of_the_machine() {
    let world = World::new();
    let lacking = |site| machine(site, 30, vec![(2, needed())]);
    assert_eq!(world.judge(25, &lacking("emea/fr")), (Verdict::Overdue, 1, false));
    assert_eq!(world.judge(20, &lacking("apac/jp")), (Verdict::Grace, 1, false));
    assert_eq!(world.judge(25, &lacking("apac/jp")), (Verdict::Grace, 1, true));
    assert_eq!(
        world.judge(25, &lacking("amer")),
        (Verdict::Compliant, 0, false),
        "it goes elsewhere"
    );
}

#[test]
fn what_is_withdrawn_or_done_without_is_asked_of_nobody() {
    let mut world = World::new();
    let lacking = machine("emea/fr", 30, vec![(1, needed())]);
    let exception = |scope, until| Exception {
        scope,
        subject: Subject::All,
        reason: "r".to_owned(),
        workaround: "w".to_owned(),
        owner: "o".to_owned(),
        since: at(0),
        until: at(until),
    };
    let scopes = [
        exception::Scope::Machine(name("pc")),
        exception::Scope::Group("servers".parse().unwrap()),
        exception::Scope::Site("emea".parse().unwrap()),
    ];
    for scope in scopes {
        let key = "one".parse().unwrap();
        world.plans.exceptions.insert(key, exception(scope.clone(), 26));
        assert_eq!(world.judge(25, &lacking).0, Verdict::Compliant, "{scope}");
        assert_eq!(world.judge(26, &lacking).0, Verdict::Overdue, "{scope}: it is over");
    }
    let other = exception(exception::Scope::Machine(name("other")), 26);
    world.plans.exceptions.insert("one".parse().unwrap(), other);
    assert_eq!(world.judge(25, &lacking).0, Verdict::Overdue);
    let plan = world.plans.rollouts.get_mut(&"r1".parse().unwrap()).unwrap();
    plan.control.order = Order::Halt;
    assert_eq!(world.judge(25, &lacking), (Verdict::Grace, 1, true));
    let plan = world.plans.rollouts.get_mut(&"r1".parse().unwrap()).unwrap();
    plan.control.order = Order::Withdraw;
    assert_eq!(world.judge(25, &lacking), (Verdict::Compliant, 0, false));
}

#[test]
fn who_has_what_a_rollout_removes_lacks_its_removal() {
    let mut world = World::new();
    world.takes_back(50);
    let removal = |outcome| last(60, Phase::Removal, outcome);
    let judge = |hours, word| world.judge(hours, &machine("emea/fr", 70, vec![(1, word)]));
    for has in [found(), removal(Outcome::Pending), removal(Outcome::Failure)] {
        // The deadline counts from the approval of its removal.
        assert_eq!(judge(74, has), (Verdict::Grace, 1, false), "{has:?}");
        assert_eq!(judge(75, has), (Verdict::Overdue, 1, false), "{has:?}");
    }
    let failed = last(2, Phase::Installation, Outcome::Failure);
    for lacks in [removal(Outcome::Success), removal(Outcome::RebootRequired), needed(), failed] {
        assert_eq!(judge(75, lacks), (Verdict::Compliant, 0, false), "{lacks:?}");
    }
    // Asked to have it again, only who has it is done.
    world.plans.rollouts.get_mut(&"r1".parse().unwrap()).unwrap().action = Action::Install;
    let judge = |word| world.judge(75, &machine("emea/fr", 70, vec![(1, word)])).0;
    assert_eq!(judge(removal(Outcome::Failure)), Verdict::Compliant);
    assert_eq!(judge(needed()), Verdict::Overdue);
}

#[test]
fn a_removal_says_so_in_words_and_counts_in_its_revisions_row() {
    let mut world = World::new();
    world.takes_back(50);
    let words = [
        (found(), Some("it is to be removed, was due by 1970-01-04T02:00:00Z")),
        (
            last(60, Phase::Removal, Outcome::Failure),
            Some("its removal failed with code 9, was due by 1970-01-04T02:00:00Z"),
        ),
        (last(60, Phase::Removal, Outcome::Success), None),
        (needed(), None),
    ];
    let (mut register, mut machines) = (Register::default(), BTreeMap::new());
    for (number, (word, _)) in (0..).zip(words) {
        let one = machine("emea/fr", 70, vec![(1, word)]);
        register.put(&name(&format!("pc-{number}")), &one, Told::default());
        machines.insert(name(&format!("pc-{number}")), one);
    }
    let removed = world.removed(75);
    assert_eq!(removed, [revision(1)].into());
    assert!(!register.follows_removal_of(&removed));
    register.follow_removal_of(removed.clone());
    assert!(register.follows_removal_of(&removed));
    for (name, machine) in &machines {
        register.put(name, machine, Told::default());
    }
    let demands = world.demands(75);
    let mut survey = Survey::new(&register, &demands, survey::STALE_AFTER);
    for (number, (_, said)) in (0..).zip(words) {
        let name = name(&format!("pc-{number}"));
        let first = |judged: Judged<'_>| judged.needs.first().map(ToString::to_string);
        assert_eq!(survey.one(&name, first).unwrap().as_deref(), said);
    }
    let tallies = Tallies::recount(&machines);
    let mut rows = census::has_revisions(&demands, &tallies, Scope::default(), |_| None);
    census::lack_revisions(&mut survey, Scope::default(), &mut rows);
    let (_, row) = rows[&revision(1)];
    assert_eq!((row.machines, row.compliant, row.overdue), (3, 1, 2));
    // Who has it does not lack what it mends.
    let lacking: Vec<_> = register.lacking(&removed, Scope::default()).collect();
    assert_eq!(lacking.len(), 1, "{lacking:?}");
}

#[test]
fn a_share_asks_those_machines_that_it_chooses() {
    let world = World::new();
    let mut register = Register::default();
    for number in 0..200 {
        let one = machine("emea", 30, vec![(3, needed())]);
        register.put(&name(&format!("pc-{number}")), &one, Told::default());
    }
    let demands = world.demands(25);
    let mut survey = Survey::new(&register, &demands, survey::STALE_AFTER);
    let share: Share = "50 %".parse().unwrap();
    survey.each(Scope::default(), |judged| {
        let is_chosen = share.holds(&"r3".parse().unwrap(), judged.name);
        let expected = if is_chosen { Verdict::Overdue } else { Verdict::Compliant };
        assert_eq!(judged.verdict, expected, "{}", judged.name);
    });
    let counts = census::by_place(&mut survey, Scope::default());
    let all: Census = counts.into_values().sum();
    assert_eq!((all.machines, all.overdue + all.compliant), (200, 200));
    assert!((60..140).contains(&all.overdue), "{}", all.overdue);
}

#[test]
fn what_a_machine_says_of_itself_is_read_and_nonsense_says_nothing() {
    let told = Told::of([("exposure", "internet"), ("reboot-needed", "true")]);
    assert!(told.exposed && told.reboot_needed && !told.unreadable);
    assert!(Told::of([(UNREADABLE, "cannot read it")]).unreadable);
    assert!(!Told::of([(UNREADABLE, "")]).unreadable);
    // What it says of its address is its own word alone, and might name another's.
    let told = Told::of([("exposure", "lan"), ("reboot-needed", "yes"), ("address", "::1")]);
    assert_eq!(told, Told::default());
}

#[test]
fn of_each_update_the_newest_revision_counts() {
    let old: RevisionId = "vendor:stable/app1@1".parse().unwrap();
    let new: RevisionId = "vendor:stable/app1@2".parse().unwrap();
    let rows: BTreeMap<_, _> = [(old.clone(), 'a'), (new.clone(), 'b'), (revision(2), 'c')].into();
    let ordinal = |id: &RevisionId| if *id == old { 9 } else { 3 };
    let newest = census::newest(rows, ordinal);
    assert_eq!(newest.into_values().collect::<String>(), "ac");
}

/// A machine joins, is counted anew, or leaves.
type Change = (u8, Option<(u8, i64, Vec<(u8, u8)>)>);

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let words = vec((1..5u8, 0..Outcome::ALL.len() as u8), 0..4);
    vec((0..6u8, proptest::option::weighted(0.8, (0..3u8, 0..300i64, words))), 0..40)
}

proptest! {
    /// The register counts what machines are now, whatever they were before, and a
    /// copy stays as it was.
    #[test]
    fn a_register_has_machines_as_they_are_and_a_copy_as_they_were(changes in changes()) {
        let world = World::new();
        let demands = world.demands(200);
        let (mut register, mut machines) = (Register::default(), BTreeMap::new());
        let mut tallies_of_copy = None;
        for (index, (number, change)) in changes.iter().enumerate() {
            let key = name(&format!("pc-{number}"));
            match change {
                None => {
                    register.remove(&key);
                    machines.remove(&key);
                }
                Some((site, seen, words)) => {
                    let words = words.iter().map(|(revision, outcome)| {
                        (*revision, last(1, Phase::Installation, Outcome::ALL[*outcome as usize]))
                    });
                    let site = ["emea/fr", "apac", "amer"][*site as usize];
                    let one = machine(site, *seen, words.collect());
                    register.put(&key, &one, Told::default());
                    machines.insert(key, one);
                }
            }
            if index == changes.len() / 2 {
                let copy = register.clone();
                let counted = count(&copy, &demands);
                tallies_of_copy = Some((copy, counted));
            }
        }
        let mut fresh = Register::default();
        for (key, one) in &machines {
            fresh.put(key, one, Told::default());
        }
        prop_assert_eq!(register.len(), machines.len() as u64);
        prop_assert_eq!(count(&register, &demands), count(&fresh, &demands));
        let verdicts: Census = count(&register, &demands).into_values().sum();
        let Census { machines: all, compliant, grace, overdue, unknown, .. } = verdicts;
        prop_assert_eq!(all, compliant + grace + overdue + unknown);
        let tallies = Tallies::recount(&machines);
        let mut survey = Survey::new(&register, &demands, survey::STALE_AFTER);
        let mut rows = census::has_revisions(&demands, &tallies, Scope::default(), |_| None);
        census::lack_revisions(&mut survey, Scope::default(), &mut rows);
        for (revision, (_, row)) in rows {
            let counted = tallies.counts([&revision], Area::default());
            prop_assert!(row.machines <= counted.reached, "{revision}");
        }
        if let Some((copy, counted)) = tallies_of_copy {
            prop_assert_eq!(count(&copy, &demands), counted);
        }
    }
}

fn count(register: &Register, demands: &Demands<'_>) -> BTreeMap<Place, Census> {
    let mut survey = Survey::new(register, demands, survey::STALE_AFTER);
    census::by_place(&mut survey, Scope::default())
}

#[test]
fn many_machines_come_in_any_order_and_are_told_by_name() {
    let world = World::new();
    let demands = world.demands(25);
    let mut register = Register::default();
    let names: Vec<MachineName> =
        (0..3000).map(|number| name(&format!("pc-{number:04}"))).collect();
    let shuffled = || (0..names.len()).map(|index| &names[index * 1009 % names.len()]);
    for one in shuffled() {
        register.put(one, &machine("emea/fr", 24, vec![(1, needed())]), Told::default());
    }
    let mut told = Vec::new();
    let mut survey = Survey::new(&register, &demands, survey::STALE_AFTER);
    survey.each(Scope::default(), |judged| told.push(judged.name.clone()));
    assert_eq!(told, names);
    assert!(names.iter().all(|one| survey.one(one, |judged| judged.needs.len()) == Some(1)));
    let wanted = [revision(1)].into();
    assert_eq!(register.lacking(&wanted, Scope::default()).count(), names.len());
    for one in shuffled() {
        register.remove(one);
        assert_eq!(register.place(one), None);
    }
    assert!(register.is_empty());
    assert_eq!(register.lacking(&wanted, Scope::default()).count(), 0);
}
