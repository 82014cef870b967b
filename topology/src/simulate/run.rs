//! The run itself, step by step: content arrives, installations end, the
//! planner is asked, machines begin.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::area::{Area, areas};
use super::cell::{Cell, cells, fraction};
use super::lines::Lines;
use super::outcome::{Carried, Event, Geography, Outcome};
use super::{Error, HOURLY, STEP, World};
use crate::link::zone::Zone;
use crate::name::{RolloutName, Site};
use crate::rollout::control::Order;
use crate::rollout::deadline::Deadline;
use crate::rollout::explain::Explanation;
use crate::rollout::explain::{Input, explain};
use crate::rollout::gate::{Counts, Obstacle};
use crate::rollout::measure::Measured;
use crate::rollout::plan::{Changed, Effect, Planner, Tallies, Tally, Transition};
use crate::rollout::{MAX_WAVES, Rollout, RolloutSet, Wave, WaveStates, first_of, freeze, window};

/// Runs a plan in a world, from its start on.
///
/// # Errors
/// What is wrong with the world.
pub fn simulate(world: &World, rollout: &Rollout) -> Result<Outcome, Error> {
    world.check()?;
    if rollout.waves.len() > MAX_WAVES {
        return Err(Error::Waves(rollout.waves.len()));
    }
    let mut plan = rollout.clone();
    let resolved = plan.resolve(&world.site_groups);
    resolved.map_err(|(wave, fault)| Error::Geographies(wave, fault))?;
    let mut run = Run::new(world, plan);
    run.round(&Changed::All, world.start);
    for step in 0..=world.steps() {
        let Some(now) = world.instant(step) else { break };
        run.step(step, now);
    }
    Ok(run.outcome())
}

struct Run<'a> {
    world: &'a World,
    name: RolloutName,
    set: RolloutSet,
    planner: Planner,
    tallies: Tallies,
    lines: Lines<'a>,
    cells: Vec<Cell<'a>>,
    /// The geography of each site.
    area: Vec<usize>,
    areas: Vec<Area>,
    /// The deadline of each group.
    deadlines: Vec<Option<Timestamp>>,
    /// Steps that an installation takes, by group.
    takes: Vec<usize>,
    /// Each zone once, and that of each site.
    zones: Vec<&'a Zone>,
    zone: Vec<usize>,
    /// Since when a wave waits for its operator alone.
    asked: BTreeMap<usize, Timestamp>,
    events: Vec<Event>,
    /// What is open has to be looked at again.
    is_stale: bool,
    now: Timestamp,
    end: Timestamp,
}

impl<'a> Run<'a> {
    fn new(world: &'a World, mut plan: Rollout) -> Self {
        if plan.control.order != Order::Run {
            plan.control.order = Order::Run;
            plan.control.started = Some(world.start);
            plan.control.at = world.start;
        }
        let cells = cells(world, &plan);
        let (zones, zone) = zones(world);
        let (areas, area) = areas(world, &cells);
        let deadline = |exposed| match plan.deadline.deadline(&world.facts, exposed) {
            Deadline::By(at) => Some(at),
            Deadline::NextUpgrade | Deadline::None => None,
        };
        let deadlines = world.groups.values().map(|group| deadline(group.exposed)).collect();
        let takes = world.groups.values().map(|group| {
            let seconds = u64::try_from(group.install.as_secs()).unwrap_or(0).max(1);
            let steps = seconds.div_ceil(STEP.as_secs().unsigned_abs());
            usize::try_from(steps).unwrap_or(usize::MAX / 2)
        });
        let (takes, lines, name) = (takes.collect(), Lines::new(world), plan.name.clone());
        let mut set = RolloutSet { freezes: world.freezes.clone(), ..RolloutSet::default() };
        let tallies = vec![Tally::default(); plan.waves.len()];
        set.rollouts.insert(name.clone(), plan);
        let mut run = Self {
            world,
            tallies: [(name.clone(), tallies)].into(),
            name,
            set,
            planner: Planner::new(WaveStates::new()),
            lines,
            cells,
            area,
            areas,
            deadlines,
            takes,
            zones,
            zone,
            asked: BTreeMap::new(),
            events: Vec::new(),
            is_stale: true,
            now: world.start,
            end: world.instant(world.steps()).unwrap_or(Timestamp::MAX),
        };
        for cell in 0..run.cells.len() {
            if run.cells[cell].first == cell {
                run.tell(cell);
            }
        }
        run.count_due();
        run
    }

    fn plan(&self) -> &Rollout {
        &self.set.rollouts[&self.name]
    }

    /// One step: what ends by `now`, then what begins.
    fn step(&mut self, step: usize, now: Timestamp) {
        let before = std::mem::replace(&mut self.now, now);
        if step > 0 {
            self.lines.carry(before, now);
        }
        // As the daemon's timer does: whenever the planner wanted to be asked.
        while let Some(wake) = self.planner.wake().filter(|wake| *wake < now) {
            self.round(&Changed::Only(BTreeSet::new()), wake);
        }
        if self.end(step, now) {
            self.round(&Changed::Only([self.name.clone()].into()), now);
        } else if self.planner.wake().is_some_and(|wake| wake <= now) {
            self.round(&Changed::Only(BTreeSet::new()), now);
        }
        self.operate(now);
        let crossed = |freeze: &freeze::Freeze| {
            [freeze.from, freeze.until].iter().any(|bound| before < *bound && *bound <= now)
        };
        self.is_stale |= self.world.freezes.values().any(crossed);
        if std::mem::take(&mut self.is_stale) {
            self.look(now);
        }
        self.begin(step, now);
        if step.is_multiple_of(HOURLY) {
            self.areas.iter_mut().for_each(|area| area.note_hour());
        }
    }

    /// Ends installations. Says whether machines said something.
    fn end(&mut self, step: usize, now: Timestamp) -> bool {
        let mut heard = false;
        for index in 0..self.cells.len() {
            let cell = &mut self.cells[index];
            let Some((_, count)) = cell.busy.front().copied().filter(|(until, _)| *until <= step)
            else {
                continue;
            };
            cell.busy.pop_front();
            let Some(behaviour) = self.world.groups.get(cell.group) else { continue };
            let failed = cell.dice.of(count, fraction(behaviour.failed));
            cell.failed += failed;
            cell.installed += count - failed;
            let deadline = self.deadlines[cell.group_index];
            let met = deadline.is_some_and(|deadline| now <= deadline);
            let due = deadline.is_some_and(|deadline| deadline <= self.end);
            let (first, site) = (cell.first, cell.site);
            self.areas[self.area[site]].note(now, count - failed, failed, (met, due));
            heard = true;
            self.tell(first);
        }
        heard
    }

    /// Tells what the machines of a site and group said, to every wave.
    fn tell(&mut self, first: usize) {
        let (site, group) = (self.cells[first].site, self.cells[first].group);
        let theirs = self.cells[first..].iter().take_while(|cell| cell.first == first);
        let mut sums: BTreeMap<usize, Counts> = BTreeMap::new();
        for cell in theirs {
            let counts = cell.counts();
            for wave in bits(cell.waves) {
                *sums.entry(wave).or_default() += counts;
            }
        }
        let Some(tallies) = self.tallies.get_mut(&self.name) else { return };
        for (wave, counts) in sums {
            tallies[wave].set(self.world.sites[site].name.clone(), group.clone(), counts);
        }
    }

    /// Asks the planner, and keeps what it did.
    fn round(&mut self, changed: &Changed, at: Timestamp) {
        let effects = self.planner.round(&self.set, &self.tallies, changed, at);
        if effects.is_empty() {
            return;
        }
        self.is_stale = true;
        for effect in effects {
            self.keep(&effect, at);
        }
    }

    fn keep(&mut self, effect: &Effect, at: Timestamp) {
        let (what, is_stop) = match &effect.what {
            Transition::Opened => ("opened".to_owned(), false),
            Transition::Passed => ("passed".to_owned(), false),
            Transition::Skipped => ("was passed over: it had no machines".to_owned(), false),
            Transition::Stopped(kind, breach) => (format!("{kind} itself: {breach}"), true),
            Transition::Resumed => ("goes on".to_owned(), false),
            Transition::LetIn(sites) => (format!("let in {}", first_of(sites)), false),
        };
        let index =
            self.plan().waves.iter().position(|wave| Some(&wave.name) == effect.wave.as_ref());
        let counts = index.and_then(|index| self.tallies[&self.name].get(index)).map(Tally::total);
        let next = match (&effect.what, index) {
            (Transition::Opened, Some(index)) => self.next(index, at),
            _ => Vec::new(),
        };
        let (wave, counts) = (effect.wave.clone(), counts.unwrap_or_default());
        self.events.push(Event { at, wave, what, is_stop, counts, next });
    }

    fn explained(&self, at: Timestamp) -> Explanation {
        let lacks = |index: &usize| self.lines.arrived[*index].is_none();
        let unready = (0..self.world.sites.len()).filter(lacks).map(|index| {
            let percent = self.lines.had[index] as f64 * 100.0 / self.world.bytes.max(1) as f64;
            (self.world.sites[index].name.clone(), format!("{percent:.0} % of it is"))
        });
        let unready: BTreeMap<Site, String> = unready.collect();
        let input = Input {
            state: self.planner.states().get(&self.name),
            tallies: &self.tallies[&self.name],
            freezes: &self.world.freezes,
            unready: &unready,
            now: at,
        };
        explain(self.plan(), input)
    }

    fn next(&self, wave: usize, at: Timestamp) -> Vec<String> {
        self.explained(at).waves.into_iter().nth(wave).map(|note| note.next).unwrap_or_default()
    }

    /// The operator releases what waits for that alone, in their own time.
    fn operate(&mut self, now: Timestamp) {
        for index in 0..self.plan().waves.len() {
            let wave = &self.plan().waves[index];
            if !wave.gate.operator || wave.released.is_some() || !self.waits(index, now) {
                continue;
            }
            let name = Some(wave.name.clone());
            let is_new = !self.asked.contains_key(&index);
            let since = *self.asked.entry(index).or_insert(now);
            let counts = self.tallies[&self.name][index].total();
            let mut note = |what: &str| {
                let (what, next) = (what.to_owned(), Vec::new());
                self.events.push(Event {
                    at: now,
                    wave: name.clone(),
                    what,
                    is_stop: false,
                    counts,
                    next,
                });
            };
            let Some(after) = self.world.release_after else {
                if is_new {
                    note("waits for an operator, and nobody releases it");
                }
                continue;
            };
            if now.duration_since(since) < after {
                continue;
            }
            note("was released by the operator");
            if let Some(plan) = self.set.rollouts.get_mut(&self.name) {
                plan.waves[index].released = Some(now);
            }
            self.round(&Changed::Only([self.name.clone()].into()), now);
        }
    }

    /// Whether a wave waits for its operator alone.
    fn waits(&self, index: usize, now: Timestamp) -> bool {
        let Some(state) = self.planner.states().get(&self.name) else { return false };
        let (plan, of_wave) = (self.plan(), &state.waves[index]);
        let (tally, freezes) = (&self.tallies[&self.name][index], &self.world.freezes);
        let measured = Measured::of(plan, index, of_wave, Some(tally), freezes, now);
        state.stop.is_none()
            && of_wave.paused.is_none()
            && of_wave.progress.done_at().is_none()
            && measured.is_some_and(|one| one.obstacles() == [Obstacle::Operator])
    }

    /// Looks what is open for whom.
    fn look(&mut self, now: Timestamp) {
        let (plan, states) = (&self.set.rollouts[&self.name], self.planner.states());
        for cell in &mut self.cells {
            if cell.waves == 0 || cell.waiting == 0 {
                continue;
            }
            let place = cell.place(self.world);
            let freezes = &self.world.freezes;
            if freezes.values().any(|one| one.holds(place.site, plan.priority, now)) {
                cell.opened = None;
                continue;
            }
            let opening = plan.opening(states, &self.world.freezes, place, now);
            let wave = opening.ok().and_then(|opening| {
                plan.waves.iter().position(|wave| wave.name == opening.wave.name)
            });
            cell.opened = wave;
        }
    }

    /// Lets machines begin that are on in this step and may.
    fn begin(&mut self, step: usize, now: Timestamp) {
        let plan = &self.set.rollouts[&self.name];
        let walls: Vec<_> = self.zones.iter().map(|zone| zone.wall(now)).collect();
        // Of four chances in an hour each is a quarter: 1 - (1 - p)^(1/4).
        let chance = |online: f64| 1.0 - (1.0 - online).sqrt().sqrt();
        let groups: Vec<_> = self.world.groups.values().collect();
        let chances: Vec<Vec<f64>> = walls
            .iter()
            .map(|wall| groups.iter().map(|one| chance(fraction(one.online(*wall)))).collect())
            .collect();
        let windows: Vec<Vec<bool>> = self
            .zones
            .iter()
            .map(|zone| {
                let is_open =
                    |wave: &Wave| window::is_open(&wave.windows, &wave.blackouts, zone, now);
                plan.waves.iter().map(is_open).collect()
            })
            .collect();
        for cell in &mut self.cells {
            let Some(wave) = cell.opened.filter(|_| cell.waiting > 0) else { continue };
            let zone = self.zone[cell.site];
            let is_there = self.lines.arrived[cell.site].is_some();
            if !is_there || !windows[zone][wave] {
                continue;
            }
            let begun = cell.dice.of(cell.waiting, chances[zone][cell.group_index]);
            if begun > 0 {
                cell.waiting -= begun;
                cell.busy.push_back((step + self.takes[cell.group_index], begun));
            }
        }
    }

    /// Machines whose deadline the run sees.
    fn count_due(&mut self) {
        for cell in self.cells.iter().filter(|cell| cell.waves != 0) {
            if self.deadlines[cell.group_index].is_some_and(|deadline| deadline <= self.end) {
                self.areas[self.area[cell.site]].due += cell.counts().machines;
            }
        }
    }

    fn outcome(self) -> Outcome {
        let explanation = self.explained(self.now);
        let mut lacking = vec![0_u64; self.areas.len()];
        for (site, area) in self.area.iter().enumerate() {
            lacking[*area] += u64::from(self.lines.arrived[site].is_none());
        }
        let mut total = Counts::default();
        let geographies = self.areas.into_iter().zip(lacking).map(|(area, without_content)| {
            total += area.geography.counts;
            let missed = area.due.saturating_sub(area.due_met);
            Geography { without_content, missed, ..area.geography }
        });
        let geographies = geographies.collect();
        let uncovered = self.cells.iter().filter(|cell| cell.waves == 0);
        let sites = self.world.sites.iter().zip(self.lines.had).zip(self.lines.arrived);
        let carried = |((site, bytes), arrived): ((&super::SimSite, u64), Option<Timestamp>)| {
            Carried { site: site.name.clone(), bytes, arrived }
        };
        Outcome {
            rollout: self.name,
            start: self.world.start,
            end: self.now,
            total,
            uncovered: uncovered.map(|cell| cell.counts().machines).sum(),
            geographies,
            lines: sites.map(carried).collect(),
            events: self.events,
            explanation,
        }
    }
}

/// The waves of a bit set.
fn bits(waves: u64) -> impl Iterator<Item = usize> {
    (0..64).filter(move |wave| waves >> wave & 1 == 1)
}

/// Each zone once, and the one of each site.
fn zones(world: &World) -> (Vec<&Zone>, Vec<usize>) {
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    let mut zones = Vec::new();
    let of = world.sites.iter().map(|site| {
        *known.entry(site.line.zone.name()).or_insert_with(|| {
            zones.push(&site.line.zone);
            zones.len() - 1
        })
    });
    let of = of.collect();
    (zones, of)
}
