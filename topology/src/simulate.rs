//! What a plan would do to a mesh: days of it, in seconds.
//!
//! The very planner ([`Planner::round`]), openings, windows and freezes that
//! run in the mesh are asked here too; simulated are only lines that bring
//! content, machines that are switched on at some hours and install, and an
//! operator. Nothing is known of single machines: a [`cell`] counts those of a
//! group at a site that the same waves go to.
//!
//! What always holds: the same world, plan and seed come to the same outcome,
//! to the last machine; a change of the plan does not touch the luck of
//! machines that it is not about; and no machine installs what [`crate::offer`]
//! would not offer it then.
//!
//! [`Planner::round`]: crate::rollout::plan::Planner::round

mod area;
mod cell;
mod dice;
mod lines;
mod outcome;
mod run;
mod svg;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

pub use outcome::{Carried, Event, Geography, Outcome};
pub use run::simulate;
pub use svg::svg;

use crate::link::hours::Hours;
use crate::link::profile::Profile;
use crate::name::{GroupName, Site};
use crate::rollout::deadline::Facts;
use crate::rollout::geography::Unresolved;
use crate::rollout::{Freezes, MAX_WAVES, Share, SiteGroups};

/// Time goes in steps of so long.
pub const STEP: SignedDuration = SignedDuration::from_mins(15);

/// Steps of an hour.
const HOURLY: usize = 4;

/// The longest time that is simulated, in days.
pub const MAX_DAYS: u16 = 366;

/// The most sites.
pub const MAX_SITES: usize = 100_000;

/// The most machines, so that no sum overflows.
pub const MAX_MACHINES: u64 = 1_000_000_000;

/// A described mesh, and what is rolled out in it.
#[derive(Debug, Clone)]
pub struct World {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// When the rollout is started.
    pub start: Timestamp,
    /// How long it is watched.
    pub days: u16,
    /// How long an operator takes to release a wave whose gate asks for that
    /// alone; `None`: nobody does.
    pub release_after: Option<SignedDuration>,
    /// What is rolled out, in bytes, as far as sites don't have it.
    pub bytes: u64,
    /// What its deadline hangs on.
    pub facts: Facts,
    /// Steps of a site's path that make a geography of the outcome.
    pub depth: usize,
    /// How machines of a group behave.
    pub groups: BTreeMap<GroupName, Behaviour>,
    /// The sites, those above before those below.
    pub sites: Vec<SimSite>,
    /// Freezes of the mesh.
    pub freezes: Freezes,
    /// Sites that waves may go to by one name.
    pub site_groups: SiteGroups,
}

/// A site.
#[derive(Debug, Clone)]
pub struct SimSite {
    /// Its path.
    pub name: Site,
    /// The line that brings its content; its clock is the site's.
    pub line: Profile,
    /// The site that the line comes from, by its place among the sites; `None`:
    /// headquarters, which has all content.
    pub above: Option<usize>,
    /// Its machines.
    pub machines: BTreeMap<GroupName, u64>,
}

/// How machines of a group behave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behaviour {
    /// Of its machines, those that are on at some time in an hour, by the hours
    /// of the week at their site; the first that fit.
    pub online: Vec<(Hours, Share)>,
    /// The same at all other hours.
    pub otherwise: Share,
    /// Of those that install, so many fail.
    pub failed: Share,
    /// So many are never heard of.
    pub never: Share,
    /// How long installing takes, with its report.
    pub install: SignedDuration,
    /// Whether they can be reached from outside: some deadlines hang on that.
    pub exposed: bool,
}

/// Why a world cannot be simulated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing to see.
    #[error("it is watched for 1 to {MAX_DAYS} days, not for {0}")]
    Days(u16),
    /// A time beyond all calendars.
    #[error("its days end after the last that can be told")]
    End,
    /// More sites than anybody has.
    #[error("it has {0} sites; at most {MAX_SITES} are possible")]
    Sites(usize),
    /// More machines than anybody has.
    #[error("it has more than {MAX_MACHINES} machines")]
    Machines,
    /// More waves than a plan has.
    #[error("the plan has {0} waves; at most {MAX_WAVES} are possible")]
    Waves(usize),
    /// Content comes from a site that does not stand before it.
    #[error("site {0} gets its content from a site that does not stand before it")]
    Above(Site),
    /// Two sites of a name.
    #[error("there are two sites {0}")]
    Twice(Site),
    /// A wave goes to a group of sites that cannot be used.
    #[error("wave {0} cannot go where it says")]
    Geographies(String, #[source] Unresolved),
    /// Machines that nobody described.
    #[error("site {site} has machines of group {group}, which is not described")]
    Group {
        /// The site.
        site: Site,
        /// The group.
        group: GroupName,
    },
}

impl World {
    /// Whether it can be simulated.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), Error> {
        if !(1..=MAX_DAYS).contains(&self.days) {
            return Err(Error::Days(self.days));
        }
        if self.sites.len() > MAX_SITES {
            return Err(Error::Sites(self.sites.len()));
        }
        let (mut names, mut machines) = (std::collections::BTreeSet::new(), 0_u64);
        for (index, site) in self.sites.iter().enumerate() {
            if !names.insert(&site.name) {
                return Err(Error::Twice(site.name.clone()));
            }
            if site.above.is_some_and(|above| above >= index) {
                return Err(Error::Above(site.name.clone()));
            }
            for (group, count) in &site.machines {
                machines = machines.saturating_add(*count);
                if !self.groups.contains_key(group) {
                    return Err(Error::Group { site: site.name.clone(), group: group.clone() });
                }
            }
        }
        if machines > MAX_MACHINES {
            return Err(Error::Machines);
        }
        self.instant(self.steps()).map(|_| ()).ok_or(Error::End)
    }

    /// Steps until its end.
    fn steps(&self) -> usize {
        usize::from(self.days) * 24 * HOURLY
    }

    /// The instant of a step.
    fn instant(&self, step: usize) -> Option<Timestamp> {
        let after = STEP.checked_mul(i32::try_from(step).ok()?)?;
        self.start.checked_add(after).ok()
    }
}

impl Behaviour {
    /// The share of machines that are on in the hour that the clock shows.
    fn online(&self, wall: jiff::civil::DateTime) -> Share {
        let fits = |(hours, _): &&(Hours, Share)| hours.contain(wall);
        self.online.iter().find(fits).map_or(self.otherwise, |(_, share)| *share)
    }
}

#[cfg(test)]
mod tests;
