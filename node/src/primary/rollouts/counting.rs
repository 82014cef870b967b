//! What machines said of each wave, counted by the ledger.
//!
//! Every wave of a rollout that was started is a selection of machines that the
//! ledger watches. It is told anew only when it changed: counting a selection
//! from the start reads every machine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use patchmesh_topology::name::{GroupName, MachineName, RolloutName, Site};
use patchmesh_topology::node::Stage;
use patchmesh_topology::revision::RevisionId;
use patchmesh_topology::rollout::control::Order;
use patchmesh_topology::rollout::gate::Counts;
use patchmesh_topology::rollout::plan::{Tallies, Tally};
use patchmesh_topology::rollout::{Action, Rollout, Share, Wave as Planned};
use patchmesh_topology::tally::{Cell, Count, Selection};
use patchmesh_topology::view::set;

use super::arrivals::Arrivals;
use crate::generation::Generation;
use crate::reports::ledger::{Ledger, WatchError};

/// Which machines a wave is for, and about what they are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wave {
    rollout: RolloutName,
    revisions: Arc<BTreeSet<RevisionId>>,
    geographies: Vec<Site>,
    groups: BTreeSet<GroupName>,
    share: Share,
}

/// The selections that the ledger watches for us.
#[derive(Debug, Default)]
pub(super) struct Counting {
    watched: BTreeMap<String, Wave>,
    /// Where the sites of waves with a limit have their turn, whether their machines
    /// report or not.
    turns: BTreeMap<String, Vec<(Site, GroupName)>>,
    /// The number of the generation that they are of.
    followed: Option<u64>,
}

impl Counting {
    /// Lets the ledger count the waves of a generation.
    ///
    /// # Errors
    /// It can't; nothing is watched anew then.
    pub(super) async fn follow(
        &mut self,
        generation: &Generation,
        ledger: &Ledger,
    ) -> Result<(), WatchError> {
        if self.followed == Some(generation.number) {
            return Ok(());
        }
        self.turns = turns(generation);
        let wanted = waves(generation);
        let gone: Vec<&str> = self
            .watched
            .keys()
            .filter(|name| !wanted.contains_key(*name))
            .map(String::as_str)
            .collect();
        ledger.unwatch(gone);
        self.watched.retain(|name, _| wanted.contains_key(name));
        let changed = wanted.iter().filter(|(name, wave)| self.watched.get(*name) != Some(*wave));
        let selections: Vec<(String, Selection)> =
            changed.map(|(name, wave)| (name.clone(), wave.selection())).collect();
        if !selections.is_empty() {
            ledger.watch(selections).await?;
        }
        self.watched = wanted;
        self.followed = Some(generation.number);
        Ok(())
    }

    /// What machines said, by rollout and wave.
    pub(super) fn tallies(
        &self,
        generation: &Generation,
        ledger: &Ledger,
        arrivals: &Arrivals,
    ) -> Tallies {
        let rollouts = started(generation);
        ledger.read(|known| {
            let of = |rollout: &Rollout| {
                let tally = |index| {
                    let name = name(&rollout.name, index);
                    let cell = known.cell(&name);
                    let mut tally =
                        cell.map(|cell| tally(cell, rollout.action)).unwrap_or_default();
                    for (site, group) in self.turns.get(&name).into_iter().flatten() {
                        tally.note(site.clone(), group.clone());
                    }
                    for (site, arrival) in arrivals.of(&rollout.name) {
                        tally.arrived(site.clone(), arrival);
                    }
                    tally
                };
                (0..rollout.waves.len()).map(tally).collect()
            };
            rollouts.map(|rollout| (rollout.name.clone(), of(rollout))).collect()
        })
    }
}

impl Wave {
    fn selection(&self) -> Selection {
        let (rollout, share) = (self.rollout.clone(), self.share);
        let accepts = move |machine: &MachineName| share.holds(&rollout, machine);
        Selection {
            revisions: (*self.revisions).clone(),
            geographies: self.geographies.clone(),
            groups: self.groups.clone(),
            accepts: (self.share != Share::ALL).then(|| Arc::new(accepts) as _),
        }
    }
}

/// What a cell counts, as gates look at it.
fn tally(cell: &Cell, action: Action) -> Tally {
    let mut tally = Tally::default();
    for (place, count) in cell.places() {
        tally.set(place.site.clone(), place.group.clone(), gate_counts(count, action));
    }
    tally
}

/// Counts of machines, as gates look at them.
pub(crate) fn gate_counts(count: Count, action: Action) -> Counts {
    let has = match action {
        Action::Install => count.installed,
        Action::Remove => count.removed,
    };
    Counts {
        machines: count.known,
        // What is under way is no end.
        reached: count.reached.saturating_sub(count.pending),
        installed: has,
        failed: count.failed,
    }
}

/// The places of waves with a limit, by the names of their selections.
fn turns(generation: &Generation) -> BTreeMap<String, Vec<(Site, GroupName)>> {
    let mut turns = BTreeMap::new();
    for rollout in started(generation) {
        for (index, wave) in rollout.waves.iter().enumerate() {
            if !wave.limit.is_none() {
                turns.insert(name(&rollout.name, index), places(generation, rollout.stage, wave));
            }
        }
    }
    turns
}

/// The sites that a wave goes to, each with one of its groups.
fn places(generation: &Generation, stage: Stage, wave: &Planned) -> Vec<(Site, GroupName)> {
    let theirs = |name: &&GroupName| wave.groups.is_empty() || wave.groups.contains(*name);
    let mut groups = generation.mesh.groups_of(stage).map(|group| &group.name).filter(theirs);
    let Some(group) = groups.next() else { return Vec::new() };
    let sites = set::sites(&generation.mesh, stage).into_iter();
    let sites = sites.filter(|site| wave.geographies.hold(Some(site)));
    sites.map(|site| (site.clone(), group.clone())).collect()
}

fn name(rollout: &RolloutName, wave: usize) -> String {
    format!("rollout/{rollout}/{wave}")
}

/// The rollouts whose machines are counted.
pub(super) fn started(generation: &Generation) -> impl Iterator<Item = &Rollout> {
    generation.rollouts.rollouts.values().filter(|rollout| {
        let control = &rollout.control;
        let runs = control.started.is_some() && control.order != Order::Withdraw;
        runs && !rollout.is_default()
    })
}

/// The waves of a generation by the names of their selections.
fn waves(generation: &Generation) -> BTreeMap<String, Wave> {
    let opened = generation.by_rollout();
    let mut waves = BTreeMap::new();
    for rollout in started(generation) {
        let revisions = opened.get(&(rollout.stage, &rollout.name));
        let revisions = revisions.into_iter().flatten().copied().cloned();
        let revisions = Arc::new(revisions.collect::<BTreeSet<_>>());
        let all = || generation.mesh.groups_of(rollout.stage).map(|group| group.name.clone());
        for (index, wave) in rollout.waves.iter().enumerate() {
            let groups = if wave.groups.is_empty() { all().collect() } else { wave.groups.clone() };
            let counted = Wave {
                rollout: rollout.name.clone(),
                revisions: revisions.clone(),
                geographies: wave.geographies.places().to_vec(),
                groups,
                share: wave.share,
            };
            waves.insert(name(&rollout.name, index), counted);
        }
    }
    waves
}
