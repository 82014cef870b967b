//! Compliance: how long the primary takes to judge every machine.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Result, ensure};
use jiff::{SignedDuration, Timestamp};
use patchmesh_topology::approval::{Approval, ApprovalSet, Decision};
use patchmesh_topology::compliance::survey::STALE_AFTER;
use patchmesh_topology::compliance::{Census, Demands, Register, Scope, Survey, Told, census};
use patchmesh_topology::name::{GroupName, MachineName, Site};
use patchmesh_topology::node::mode::AtDeadline;
use patchmesh_topology::node::{Group, InstallMode, MachinePolicy, Stage};
use patchmesh_topology::offer::Offer;
use patchmesh_topology::revision::{RevisionId, Severity};
use patchmesh_topology::rollout::deadline::Facts;
use patchmesh_topology::rollout::{Progress, Rollout, RolloutSet, RolloutState, Wave, WaveStates};
use patchmesh_topology::tally::{Last, Machine, News, Outcome, Phase, Place, Position, Standing};

use super::process::kib;
use super::statistics::median;
use super::{Measurement, Scale};

/// The bar.
const MILLISECONDS: f64 = 200.0;

const TURNS: usize = 20;

/// What is approved, and how many sites there are in each of five geographies.
const REVISIONS: usize = 200;
const SITES: usize = 100;
const GEOGRAPHIES: [&str; 5] = ["amer", "apac", "emea", "latam", "mea"];
const GROUPS: [&str; 3] = ["kiosks", "servers", "workstations"];

/// KiB of a process in which no row went before. What those gave back is used again, so that
/// what the register takes cannot be read off.
const FRESH: f64 = 65_536.0;

/// What each machine lacks: none, or up to so many.
const LACKS: usize = 5;

/// machines.4
pub(super) fn compliance(scale: Scale) -> Result<Vec<Measurement>> {
    let machines = scale.pick(1_000_000, 2_000);
    let world = World::new()?;
    let resident = || kib(std::process::id(), "VmRSS");
    let before = resident()?;
    let register = world.register(machines)?;
    let each = (resident()? - before) * 1024.0 / machines as f64;
    let mut turns = Vec::new();
    for _ in 0..TURNS {
        let begun = Instant::now();
        // What a question does: a copy of the register, all demands anew, rows by geography.
        let copy = register.clone();
        let demands = world.demands();
        let mut survey = Survey::new(&copy, &demands, STALE_AFTER);
        let places = census::by_place(&mut survey, Scope::default());
        let mut rows: BTreeMap<Site, Census> = BTreeMap::new();
        for (place, census) in places {
            *rows.entry(census::above(&place.site, 1)).or_default() += census;
        }
        turns.push(begun.elapsed().as_secs_f64() * 1000.0);
        let total: Census = rows.values().copied().sum();
        ensure!(rows.len() == GEOGRAPHIES.len(), "{} geographies", rows.len());
        ensure!(total.machines == machines as u64, "{} machines", total.machines);
        ensure!(total.overdue > 0 && total.compliant > 0 && total.unknown > 0, "{total:?}");
    }
    let sites = SITES * GEOGRAPHIES.len();
    let about = format!(
        "compliance of {machines} machines at {sites} sites by geography, {REVISIONS} revisions"
    );
    let measured = Measurement::new("machines.4", &about, median(&turns), "ms");
    let measured = measured.turns(TURNS).required_below(MILLISECONDS);
    let is_fresh = before < FRESH;
    Ok(vec![if is_fresh { measured.note(&format!("{each:.0} bytes each")) } else { measured }])
}

/// What is asked, and of whom.
struct World {
    groups: BTreeMap<GroupName, Group>,
    approvals: ApprovalSet,
    plans: RolloutSet,
    states: WaveStates,
    revisions: Vec<RevisionId>,
    now: Timestamp,
}

impl World {
    /// Two plans: one is open everywhere, the other goes geography by geography and is open in
    /// two of them.
    fn new() -> Result<Self> {
        let stage = Stage::Production;
        let now = Timestamp::from_second(1_800_000_000)?;
        let mut world = Self {
            groups: BTreeMap::new(),
            approvals: ApprovalSet::empty(stage),
            plans: RolloutSet::default(),
            states: WaveStates::new(),
            revisions: Vec::new(),
            now,
        };
        for name in GROUPS {
            let name: GroupName = name.parse()?;
            let (install_mode, owner) = (InstallMode::Automatic, String::new());
            let group = Group {
                name: name.clone(),
                stage,
                install_mode,
                baseline: None,
                owner,
                reboot_slots: None,
                policy: MachinePolicy::default(),
                at_deadline: AtDeadline::Wait,
            };
            world.groups.insert(name, group);
        }
        let open = Progress::Open { since: now - SignedDuration::from_hours(48) };
        let waves = GEOGRAPHIES.map(|name| Ok(Wave::plain(name, vec![name.parse()?])));
        let plans =
            [vec![Wave::plain("all", Vec::new())], waves.into_iter().collect::<Result<_>>()?];
        for (number, waves) in plans.into_iter().enumerate() {
            let mut state = RolloutState::pending(waves.len());
            state.waves.iter_mut().take(2).for_each(|wave| wave.progress = open);
            let plan = Rollout::running(format!("plan-{number}").parse()?, stage, waves);
            world.states.insert(plan.name.clone(), state);
            world.plans.rollouts.insert(plan.name.clone(), plan);
        }
        let rollouts: Vec<_> = world.plans.rollouts.keys().cloned().collect();
        for number in 0..REVISIONS {
            let revision: RevisionId =
                format!("vendor:stable/app-{number}@1.{number}-1").parse()?;
            for group in world.groups.keys() {
                let approval = Approval {
                    decision: Decision::Approved(rollouts[number % rollouts.len()].clone()),
                    by: "bench".to_owned(),
                    at: now - SignedDuration::from_hours(72),
                    comment: String::new(),
                    rule: String::new(),
                };
                world.approvals.entries.insert((revision.clone(), group.clone()), approval);
            }
            world.revisions.push(revision);
        }
        Ok(world)
    }

    fn demands(&self) -> Demands<'_> {
        let offer = Offer::new(&self.approvals, &self.plans, &self.states, self.now);
        let entered_at = self.now - SignedDuration::from_hours(80);
        let facts =
            move |_: &RevisionId| Some(Facts::of(None, Some(Severity::Critical), entered_at));
        Demands::new(&self.groups, &self.plans, [offer], Box::new(facts), self.now)
    }

    /// Machines that lack up to [`LACKS`] revisions, one in 50 of them silent.
    fn register(&self, machines: usize) -> Result<Register> {
        let mut places = Vec::new();
        for geography in GEOGRAPHIES {
            for number in 0..SITES {
                for group in GROUPS {
                    let site: Site =
                        format!("{geography}/country-{}/site-{number}", number / 10).parse()?;
                    places.push(Place { site, group: group.parse()? });
                }
            }
        }
        let mut register = Register::default();
        for number in 0..machines {
            let name: MachineName = format!("pc-{number:07}").parse()?;
            let mut machine = Machine::new(places[number % places.len()].clone());
            let lacks = (0..number % (LACKS + 1)).map(|lack| {
                let revision = &self.revisions[(number * 7 + lack * 31) % REVISIONS];
                (revision.clone(), self.needed(lack as u64))
            });
            let hours = if number.is_multiple_of(50) { 24 * 30 } else { 3 };
            let seen = self.now - SignedDuration::from_hours(hours);
            machine.take(News { place: None, seen: Some(seen), words: lacks.collect() });
            register.put(&name, &machine, Told::default());
        }
        Ok(register)
    }

    fn needed(&self, sequence: u64) -> Last {
        let (phase, outcome) = (Phase::Detection, Outcome::Pending);
        Last {
            position: Position { began: self.now, epoch: 1, sequence },
            phase,
            standing: Standing::of(phase, outcome),
            code: 0,
            is_looping: false,
            at: self.now,
        }
    }
}
