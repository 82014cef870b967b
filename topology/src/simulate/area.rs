//! What happened in a geography so far.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::cell::Cell;
use super::{Geography, World};
use crate::name::Site;
use crate::rollout::gate::Counts;

/// A geography of the outcome, as far as it has come.
pub(super) struct Area {
    pub(super) geography: Geography,
    /// Machines with a deadline that the run sees, and those that met it.
    pub(super) due: u64,
    pub(super) due_met: u64,
}

impl Area {
    const fn new(place: Site) -> Self {
        let counts = Counts { machines: 0, reached: 0, installed: 0, failed: 0 };
        let geography = Geography {
            place,
            sites: 0,
            without_content: 0,
            counts,
            never: 0,
            first: None,
            half: None,
            most: None,
            finished: None,
            met: 0,
            missed: 0,
            curve: Vec::new(),
        };
        Self { geography, due: 0, due_met: 0 }
    }

    /// Another hour is over.
    pub(super) fn note_hour(&mut self) {
        self.geography.curve.push(self.geography.counts.installed);
    }

    /// Machines came to an end with it.
    pub(super) fn note(
        &mut self,
        now: Timestamp,
        installed: u64,
        failed: u64,
        (met, due): (bool, bool),
    ) {
        let one = &mut self.geography;
        one.counts.installed += installed;
        one.counts.failed += failed;
        one.counts.reached += installed + failed;
        if met {
            one.met += installed;
            self.due_met += if due { installed } else { 0 };
        }
        let Counts { machines, reached, installed, .. } = one.counts;
        let have = |percent: u64| installed * 100 >= machines * percent;
        let reach = |at: &mut Option<Timestamp>, is_so: bool| {
            if is_so {
                at.get_or_insert(now);
            }
        };
        reach(&mut one.first, installed > 0);
        reach(&mut one.half, have(50));
        reach(&mut one.most, have(95));
        reach(&mut one.finished, reached + one.never >= machines);
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
    area.iter().for_each(|area| areas[*area].geography.sites += 1);
    for cell in cells.iter().filter(|cell| cell.waves != 0) {
        let area = &mut areas[area[cell.site]].geography;
        area.counts.machines += cell.counts().machines;
        area.never += cell.never;
    }
    (areas, area)
}
