//! When content is where: what lines carry step by step, by their schedules.
//!
//! A node passes on what it has while the rest still comes, so a site has what
//! its line brought, and never more than the site above it.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use super::{STEP, World};
use crate::link::Class;
use crate::link::profile::Profile;

/// What has arrived so far.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    world: &'a World,
    /// The different lines there are: what one brings in a step is looked up once.
    kinds: Vec<&'a Profile>,
    /// The kind of each site's line.
    kind: Vec<usize>,
    /// Bytes, by site.
    pub(super) had: Vec<u64>,
    /// When all of it was there, by site.
    pub(super) arrived: Vec<Option<Timestamp>>,
    missing: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(world: &'a World) -> Self {
        let mut kinds: Vec<&Profile> = Vec::new();
        let mut known = HashMap::<_, Vec<usize>>::new();
        let kind = world.sites.iter().map(|site| {
            // Not a map by profile: they are compared, not hashed.
            let alike = known.entry((site.line.zone.name(), site.line.down.default)).or_default();
            let found = alike.iter().copied().find(|kind| *kinds[*kind] == site.line);
            found.unwrap_or_else(|| {
                kinds.push(&site.line);
                alike.push(kinds.len() - 1);
                kinds.len() - 1
            })
        });
        let kind = kind.collect();
        let arrived = vec![(world.bytes == 0).then_some(world.start); world.sites.len()];
        let missing = arrived.iter().filter(|at| at.is_none()).count();
        Self { world, kinds, kind, had: vec![0; world.sites.len()], arrived, missing }
    }

    /// Lets lines carry for a step that ends at `now`. Says whether content
    /// arrived somewhere.
    pub(super) fn carry(&mut self, from: Timestamp, now: Timestamp) -> bool {
        if self.missing == 0 {
            return false;
        }
        let step = Duration::try_from(STEP).unwrap_or_default();
        let brings: Vec<u64> = self
            .kinds
            .iter()
            .map(|line| {
                let holds = line.at(from);
                let may = line.admits(Class::Normal, &holds);
                if may { holds.down.rate.bytes_in(step) } else { 0 }
            })
            .collect();
        let before = self.missing;
        for (index, site) in self.world.sites.iter().enumerate() {
            if self.arrived[index].is_some() {
                continue;
            }
            let above = site.above.map_or(self.world.bytes, |above| self.had[above]);
            let brought = self.had[index].saturating_add(brings[self.kind[index]]);
            self.had[index] = brought.min(above).max(self.had[index]);
            if self.had[index] == self.world.bytes {
                self.arrived[index] = Some(now);
                self.missing -= 1;
            }
        }
        self.missing < before
    }
}
