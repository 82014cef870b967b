//! Machines that are alike: of a group, at a site, in the same waves.
//!
//! Waves may go to a share of machines by a stable hash, and larger shares hold
//! the smaller ones. So the machines of a group at a site fall into a few
//! ranges of that hash, and all of a range are in the same waves. One name that
//! falls into a range stands for all of it wherever plans are asked.

use std::collections::{BTreeMap, VecDeque};

use super::World;
use super::dice::Dice;
use crate::name::{GroupName, MachineName};
use crate::rollout::gate::Counts;
use crate::rollout::{Place, Rollout, Share, share};

/// Names that are tried until one falls into a range. A range of one in ten
/// thousand is missed by all with a chance of e^-100.
const TRIES: u32 = 1_000_000;

/// Machines that are alike.
#[derive(Debug)]
pub(super) struct Cell<'a> {
    /// The site, by its place.
    pub(super) site: usize,
    /// The group.
    pub(super) group: &'a GroupName,
    /// The group, by its place among the world's.
    pub(super) group_index: usize,
    /// A name that stands for them.
    pub(super) name: MachineName,
    /// The waves that go to them, one bit each.
    pub(super) waves: u64,
    /// The first cell of this site and group.
    pub(super) first: usize,
    /// The wave that opened it for them; `None`: it is closed, or frozen.
    pub(super) opened: Option<usize>,
    /// Those that wait for it.
    pub(super) waiting: u64,
    /// Those that install: until which step, and how many.
    pub(super) busy: VecDeque<(usize, u64)>,
    /// Those that have it.
    pub(super) installed: u64,
    /// Those that failed.
    pub(super) failed: u64,
    /// Those that are never heard of.
    pub(super) never: u64,
    /// Their luck.
    pub(super) dice: Dice,
}

impl Cell<'_> {
    /// What they said so far.
    pub(super) fn counts(&self) -> Counts {
        let under_way: u64 = self.busy.iter().map(|(_, count)| count).sum();
        let reached = self.installed + self.failed;
        let machines = reached + under_way + self.waiting + self.never;
        Counts { machines, reached, installed: self.installed, failed: self.failed }
    }

    pub(super) fn place<'s>(&'s self, world: &'s World) -> Place<'s> {
        let site = Some(&world.sites[self.site].name);
        Place { site, group: Some(self.group), machine: Some(&self.name) }
    }
}

/// All machines of a world, by the waves of a plan; those of a site and group
/// stand together.
pub(super) fn cells<'a>(world: &'a World, rollout: &Rollout) -> Vec<Cell<'a>> {
    let mut names = BTreeMap::new();
    let mut cells: Vec<Cell<'a>> = Vec::new();
    let indices: BTreeMap<&GroupName, usize> =
        world.groups.keys().enumerate().map(|(index, group)| (group, index)).collect();
    for (site, at) in world.sites.iter().enumerate() {
        for (group, count) in at.machines.iter().filter(|(_, count)| **count > 0) {
            let (Some(behaviour), Some(group_index)) =
                (world.groups.get(group), indices.get(group))
            else {
                continue;
            };
            let mut luck = Dice::new(world.seed, &format!("{}\0{group}", at.name));
            let first = cells.len();
            let (mut low, mut cut, shift) = (0, 0, luck.unit());
            for high in shares(rollout) {
                // The same shift for every cut, so that the parts add up.
                let part = *count as f64 * f64::from(high) / f64::from(share::WHOLE);
                let until = ((part + shift).floor() as u64).clamp(cut, *count);
                let until = if high == share::WHOLE { *count } else { until };
                let (from, machines) = (low, until - cut);
                (low, cut) = (high, until);
                let name = names
                    .entry((from, high))
                    .or_insert_with(|| representative(rollout, from, high));
                let Some(name) = name.clone().filter(|_| machines > 0) else { continue };
                let never = luck.of(machines, fraction(behaviour.never));
                let dice = Dice::new(world.seed, &format!("{}\0{group}\0{high}", at.name));
                let mut cell = Cell {
                    site,
                    group,
                    group_index: *group_index,
                    name,
                    waves: 0,
                    first,
                    opened: None,
                    waiting: machines - never,
                    busy: VecDeque::new(),
                    installed: 0,
                    failed: 0,
                    never,
                    dice,
                };
                let covers = rollout
                    .waves
                    .iter()
                    .enumerate()
                    .filter(|(_, wave)| wave.covers(&rollout.name, cell.place(world)));
                cell.waves = covers.map(|(index, _)| 1_u64 << index).sum();
                cells.push(cell);
            }
        }
    }
    cells
}

/// Where the ranges of a plan end, the whole last.
fn shares(rollout: &Rollout) -> Vec<u16> {
    let mut shares: Vec<u16> =
        rollout.waves.iter().map(|wave| wave.share.ten_thousandths()).collect();
    shares.push(share::WHOLE);
    shares.retain(|share| *share > 0);
    shares.sort_unstable();
    shares.dedup();
    shares
}

fn representative(rollout: &Rollout, low: u16, high: u16) -> Option<MachineName> {
    (0..TRIES)
        .filter_map(|number| format!("machine-{number}").parse::<MachineName>().ok())
        .find(|name| (low..high).contains(&share::bucket(&rollout.name, name)))
}

/// A share as a chance.
pub(super) fn fraction(share: Share) -> f64 {
    f64::from(share.ten_thousandths()) / f64::from(share::WHOLE)
}
