//! Plans that open approvals, and how far each has come.
//!
//! What opens is always the plan and the state together. A plan without a
//! state, or a state that does not fit its plan, opens nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::name::{RolloutName, Site};
use crate::node::Stage;

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wave {
    /// Its name, unique in the rollout.
    pub name: String,
    /// Where it opens; empty means everywhere.
    pub geographies: Vec<Site>,
}

/// A plan. An approval names the rollout that opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// Its name.
    pub name: RolloutName,
    /// The stage whose approvals it opens.
    pub stage: Stage,
    /// Its steps, in order, at least one.
    pub waves: Vec<Wave>,
}

/// Plans by name.
pub type Rollouts = BTreeMap<RolloutName, Rollout>;

/// Every plan: what the `rollout` role signs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RolloutSet {
    /// Grows by one with every change.
    pub version: u64,
    /// The plans.
    pub rollouts: Rollouts,
}

/// Where a wave stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaveStatus {
    /// Not open yet.
    Pending,
    /// Open since.
    Open(Timestamp),
    /// Stopped; nothing new starts.
    Halted,
}

/// Where every rollout stands: one status per wave, in the plan's order.
pub type WaveStates = BTreeMap<RolloutName, Vec<WaveStatus>>;

/// Where every rollout stands: what the `wave-state` role signs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WaveStateSet {
    /// Grows by one with every change.
    pub version: u64,
    /// The states.
    pub states: WaveStates,
}

/// Why a rollout opens nothing at a site.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// The plan has no state yet, or one of another shape.
    #[error("rollout {0} has no state that fits its plan")]
    NoState(RolloutName),
    /// No wave goes there.
    #[error("no wave of rollout {rollout} goes to {}", place(.site.as_ref()))]
    NotCovered {
        /// The plan.
        rollout: RolloutName,
        /// Where; `None`: everywhere at once.
        site: Option<Site>,
    },
    /// The wave that goes there is not open yet.
    #[error("wave {wave} of rollout {rollout} is not open yet")]
    Pending {
        /// The plan.
        rollout: RolloutName,
        /// The first wave that goes there.
        wave: String,
    },
    /// The wave that goes there was stopped.
    #[error("wave {wave} of rollout {rollout} is halted")]
    Halted {
        /// The plan.
        rollout: RolloutName,
        /// The first stopped wave that goes there.
        wave: String,
    },
}

fn place(site: Option<&Site>) -> String {
    site.map_or_else(|| "every site".to_owned(), Site::to_string)
}

impl Wave {
    /// Whether it goes to `site`; `None`: to every site.
    #[must_use]
    pub fn covers(&self, site: Option<&Site>) -> bool {
        let goes_to = |site: &Site| self.geographies.iter().any(|place| site.is_within(place));
        self.geographies.is_empty() || site.is_some_and(goes_to)
    }
}

impl Rollout {
    /// The plan that opens everything everywhere at once: `default-STAGE`
    /// with the one wave `everywhere`.
    #[must_use]
    pub fn default_for(stage: Stage) -> Self {
        let waves = vec![Wave { name: "everywhere".to_owned(), geographies: Vec::new() }];
        Self { name: RolloutName::default_for(stage), stage, waves }
    }

    /// The state in which every wave is open since `at`.
    #[must_use]
    pub fn all_open(&self, at: Timestamp) -> Vec<WaveStatus> {
        vec![WaveStatus::Open(at); self.waves.len()]
    }

    /// The wave that is open at `site` (`None`: at every site), and since
    /// when; of several the one that opened first.
    ///
    /// # Errors
    /// Why none is.
    pub fn opening<'a>(
        &'a self,
        states: &WaveStates,
        site: Option<&Site>,
    ) -> Result<(&'a Wave, Timestamp), Closed> {
        let statuses = states
            .get(&self.name)
            .filter(|statuses| statuses.len() == self.waves.len())
            .ok_or_else(|| Closed::NoState(self.name.clone()))?;
        let there = || self.waves.iter().zip(statuses).filter(|(wave, _)| wave.covers(site));
        let open = there().filter_map(|(wave, status)| match status {
            WaveStatus::Open(since) => Some((wave, *since)),
            WaveStatus::Pending | WaveStatus::Halted => None,
        });
        open.min_by_key(|(_, since)| *since).ok_or_else(|| {
            let rollout = self.name.clone();
            let halted = there().find(|(_, status)| **status == WaveStatus::Halted);
            match (halted, there().next()) {
                (Some((wave, _)), _) => Closed::Halted { rollout, wave: wave.name.clone() },
                (None, Some((wave, _))) => Closed::Pending { rollout, wave: wave.name.clone() },
                (None, None) => Closed::NotCovered { rollout, site: site.cloned() },
            }
        })
    }
}

/// Whether `rollout` opens its approvals at `site` (`None`: at every site).
#[must_use]
pub fn is_open(rollout: &Rollout, states: &WaveStates, site: Option<&Site>) -> bool {
    rollout.opening(states, site).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(text: &str) -> Site {
        text.parse().expect("a site")
    }

    fn plan() -> Rollout {
        let wave = |name: &str, places: &[&str]| Wave {
            name: name.to_owned(),
            geographies: places.iter().map(|place| site(place)).collect(),
        };
        Rollout {
            name: "spring".parse().expect("a name"),
            stage: Stage::Production,
            waves: vec![wave("pilot", &["emea/fr"]), wave("europe", &["emea"]), wave("rest", &[])],
        }
    }

    fn states(statuses: [WaveStatus; 3]) -> WaveStates {
        WaveStates::from([(plan().name, statuses.to_vec())])
    }

    #[test]
    fn opens_where_a_wave_that_goes_there_is_open() {
        use WaveStatus::{Halted, Open, Pending};
        let now = Timestamp::UNIX_EPOCH;
        let at = |statuses, place| is_open(&plan(), &states(statuses), Some(&site(place)));
        assert!(at([Open(now), Pending, Pending], "emea/fr/paris"));
        assert!(!at([Open(now), Pending, Pending], "emea/de"));
        assert!(at([Halted, Open(now), Pending], "emea/de"));
        assert!(!is_open(&plan(), &states([Open(now), Open(now), Pending]), None));
        assert!(is_open(&plan(), &states([Pending, Pending, Open(now)]), None));
    }

    #[test]
    fn says_why_it_is_closed() {
        use WaveStatus::{Halted, Pending};
        let why = |states: &WaveStates, place| {
            plan().opening(states, Some(&site(place))).map(|_| ()).expect_err("closed").to_string()
        };
        assert_eq!(
            why(&states([Pending; 3]), "emea/fr"),
            "wave pilot of rollout spring is not open yet"
        );
        assert_eq!(
            why(&states([Pending, Halted, Pending]), "emea/fr"),
            "wave europe of rollout spring is halted"
        );
        assert_eq!(
            why(&WaveStates::new(), "emea/fr"),
            "rollout spring has no state that fits its plan"
        );
        let short = WaveStates::from([(plan().name, vec![Pending])]);
        assert_eq!(why(&short, "apac"), "rollout spring has no state that fits its plan");
    }

    #[test]
    fn the_default_opens_everywhere() {
        let rollout = Rollout::default_for(Stage::Validation);
        assert_eq!(rollout.name.as_str(), "default-validation");
        let now = Timestamp::UNIX_EPOCH;
        let states = WaveStates::from([(rollout.name.clone(), rollout.all_open(now))]);
        assert_eq!(
            rollout.opening(&states, None).map(|(wave, _)| wave.name.as_str()),
            Ok("everywhere")
        );
        assert!(is_open(&rollout, &states, Some(&site("apac/jp"))));
    }
}
