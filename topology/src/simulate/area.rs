//! What happened in a geography so far.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::World;
use super::cell::Cell;
use crate::name::Site;
use crate::rollout::gate::Counts;

/// A geography of the outcome.
pub(super) struct Area {
    pub(super) place: Site,
    pub(super) sites: u64,
    pub(super) machines: u64,
    pub(super) never: u64,
    pub(super) installed: u64,
    pub(super) failed: u64,
    pub(super) first: Option<Timestamp>,
    pub(super) half: Option<Timestamp>,
    pub(super) most: Option<Timestamp>,
    pub(super) finished: Option<Timestamp>,
    /// Machines with a deadline that the run sees, and those that met it.
    pub(super) due: u64,
    pub(super) due_met: u64,
    /// Machines that met theirs, seen or not.
    pub(super) met: u64,
    pub(super) curve: Vec<u64>,
}

impl Area {
    const fn new(place: Site) -> Self {
        Self {
            place,
            sites: 0,
            machines: 0,
            never: 0,
            installed: 0,
            failed: 0,
            first: None,
            half: None,
            most: None,
            finished: None,
            due: 0,
            due_met: 0,
            met: 0,
            curve: Vec::new(),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        let reached = self.installed + self.failed;
        let (machines, installed, failed) = (self.machines, self.installed, self.failed);
        Counts { machines, reached, installed, failed }
    }

    /// Machines came to an end with it.
    pub(super) fn note(
        &mut self,
        now: Timestamp,
        installed: u64,
        failed: u64,
        (met, due): (bool, bool),
    ) {
        self.installed += installed;
        self.failed += failed;
        if met {
            self.met += installed;
            self.due_met += if due { installed } else { 0 };
        }
        let have = |percent: u64| self.installed * 100 >= self.machines * percent;
        let reach = |at: &mut Option<Timestamp>, is_so: bool| {
            if is_so {
                at.get_or_insert(now);
            }
        };
        let (half, most) = (have(50), have(95));
        let finished = self.installed + self.failed + self.never >= self.machines;
        reach(&mut self.first, self.installed > 0);
        reach(&mut self.half, half);
        reach(&mut self.most, most);
        reach(&mut self.finished, finished);
    }
}

/// The geographies of the outcome, and the one of each site.
pub(super) fn areas(world: &World, cells: &[Cell<'_>]) -> (Vec<Area>, Vec<usize>) {
    let place = |site: &Site| -> Site {
        let steps: Vec<&str> = site.as_str().split('/').take(world.depth.max(1)).collect();
        // A site's first steps are a site.
        steps.join("/").parse().unwrap_or_else(|_| site.clone())
    };
    let places: Vec<Site> = world.sites.iter().map(|site| place(&site.name)).collect();
    let names: BTreeSet<&Site> = places.iter().collect();
    let index: BTreeMap<&Site, usize> = names.iter().copied().zip(0..).collect();
    let mut areas: Vec<Area> = names.into_iter().map(|place| Area::new(place.clone())).collect();
    let area: Vec<usize> = places.iter().map(|place| index[place]).collect();
    area.iter().for_each(|area| areas[*area].sites += 1);
    for cell in cells.iter().filter(|cell| cell.waves != 0) {
        let area = &mut areas[area[cell.site]];
        area.machines += cell.counts().machines;
        area.never += cell.never;
    }
    (areas, area)
}
