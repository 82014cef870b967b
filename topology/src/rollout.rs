//! Plans that open approvals, and how far each has come.
//!
//! What opens is always the plan, which operators sign, and the state, which
//! the primary signs, together. A plan without a state, or a state that its
//! plan does not allow, opens nothing ([`opening`]). [`plan`] decides what
//! happens next, [`explain`] says why, [`check`] what is wrong with a plan.

pub mod brake;
pub mod calendar;
pub mod check;
pub mod control;
pub mod deadline;
pub mod exception;
pub mod explain;
pub mod freeze;
pub mod gate;
pub mod geography;
pub mod go_ahead;
pub mod limit;
pub mod measure;
pub mod opening;
pub mod plan;
pub mod share;
pub mod state;
pub mod window;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::link::hours::Hours;
use crate::name::{GroupName, RolloutName, Site};
use crate::node::Stage;
use crate::revision::{RevisionId, Severity};

pub use brake::{Brake, Brakes};
pub use calendar::Cycle;
pub use control::{Control, Order};
pub use deadline::Policy;
pub use exception::{Exception, Exceptions};
pub use freeze::{Freeze, Freezes};
pub use gate::Gate;
pub use geography::{Geographies, SiteGroups};
pub use limit::{Admission, Admissions, Limit};
pub use opening::{Closed, Opening, Place};
pub use share::Share;
pub use state::{Progress, RolloutState, Stop, StopKind, WaveState, WaveStateSet, WaveStates};

/// The most waves of a plan.
pub const MAX_WAVES: usize = 64;

/// The most geographies, and likewise groups, windows and blackouts, of a wave.
pub const MAX_LIST: usize = 1000;

/// The most plans of a mesh.
pub const MAX_ROLLOUTS: usize = 1000;

/// The longest soak and the longest patience with the unreachable.
pub const MAX_WAIT: SignedDuration = SignedDuration::from_hours(365 * 24);

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wave {
    /// Its name, unique in the rollout.
    pub name: String,
    /// Where it opens.
    pub geographies: Geographies,
    /// For whom; empty means every group of the stage.
    pub groups: BTreeSet<GroupName>,
    /// For how many of their machines, chosen by a stable hash.
    pub share: Share,
    /// It does not open before.
    pub not_before: Option<Timestamp>,
    /// How many sites and machines it may be under way at, at once.
    pub limit: Limit,
    /// When its machines may install, by the clock of their site; none: at any
    /// time.
    pub windows: Vec<Hours>,
    /// When they must not.
    pub blackouts: Vec<Hours>,
    /// What has to hold here before the next wave opens.
    pub gate: Gate,
    /// When an operator let the next wave open, where the gate asks for one.
    pub released: Option<Timestamp>,
    /// What happens when it has no machines.
    pub on_empty: OnEmpty,
}

impl Wave {
    /// A wave that opens somewhere, for everybody there, without conditions.
    #[must_use]
    pub fn plain(name: &str, geographies: Vec<Site>) -> Self {
        Self {
            name: name.to_owned(),
            geographies: geographies.into(),
            groups: BTreeSet::new(),
            share: Share::ALL,
            not_before: None,
            limit: Limit::NONE,
            windows: Vec::new(),
            blackouts: Vec::new(),
            gate: Gate::default(),
            released: None,
            on_empty: OnEmpty::Wait,
        }
    }
}

/// What happens to a wave without machines: it has neither succeeded nor
/// failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum OnEmpty {
    /// It waits for machines, and is reported.
    #[default]
    Wait,
    /// It is passed over, and is reported.
    Skip,
}

/// What machines do with what a rollout opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Action {
    /// Install it.
    #[default]
    Install,
    /// Remove it.
    Remove,
}

/// How urgent a rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Priority {
    /// It keeps to the calendar and to freezes.
    #[default]
    Normal,
    /// It waits for no cycle, nor for freezes that spare what is urgent.
    Urgent,
}

/// Which revisions a plan is for. The approvals decide: they name the plan.
/// This is what a plan's approvals are made from when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct What {
    /// By name.
    pub revisions: BTreeSet<RevisionId>,
    /// Or all of at least this severity …
    pub severity: Option<Severity>,
    /// … for one of these products; empty: for any.
    pub products: BTreeSet<String>,
}

impl What {
    /// Whether it names nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it is about a revision of these products and this severity.
    #[must_use]
    pub fn fits(&self, id: &RevisionId, products: &[String], severity: Option<Severity>) -> bool {
        if self.revisions.contains(id) {
            return true;
        }
        let asks = self.severity.is_some() || !self.products.is_empty();
        let is_for = |product: &String| self.products.contains(product);
        asks && self.severity.is_none_or(|least| severity.is_some_and(|found| found >= least))
            && (self.products.is_empty() || products.iter().any(is_for))
    }
}

/// A plan. An approval names the rollout that opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// Its name.
    pub name: RolloutName,
    /// The stage whose approvals it opens.
    pub stage: Stage,
    /// What it is for.
    pub what: What,
    /// What machines do with it.
    pub action: Action,
    /// How urgent it is.
    pub priority: Priority,
    /// By when machines have to have it.
    pub deadline: Policy,
    /// The cycle that it begins with; `None`: as soon as it is started.
    pub cycle: Option<Cycle>,
    /// Whether waves that depend on time alone open at a branch that is cut
    /// off.
    pub offline: bool,
    /// Its steps, in order, at least one.
    pub waves: Vec<Wave>,
    /// What operators want of it.
    pub control: Control,
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
    /// When nothing opens, and where.
    pub freezes: Freezes,
    /// Who does without what.
    pub exceptions: Exceptions,
    /// Which sites are asked to end their brakes.
    pub brake_asks: brake::ask::Asks,
    /// What goes at machines since headquarters says so.
    pub go_aheads: go_ahead::GoAheads,
    /// Sites that waves go to by one name. Every name of a plan is here, and
    /// looked up there: see [`RolloutSet::resolve`].
    pub site_groups: SiteGroups,
}

impl Rollout {
    /// The plan that opens everything everywhere at once: `default-STAGE`
    /// with the one wave `everywhere`.
    #[must_use]
    pub fn default_for(stage: Stage) -> Self {
        Self::running(
            RolloutName::default_for(stage),
            stage,
            vec![Wave::plain("everywhere", vec![])],
        )
    }

    /// A plan without conditions of its own that runs since ever.
    #[must_use]
    pub fn running(name: RolloutName, stage: Stage, waves: Vec<Wave>) -> Self {
        Self {
            name,
            stage,
            what: What::default(),
            action: Action::default(),
            priority: Priority::default(),
            deadline: Policy::default(),
            cycle: None,
            offline: false,
            waves,
            control: Control::always(),
        }
    }

    /// What its deadline for a revision hangs on, of which `facts` are known and which was
    /// approved at a moment. What it removes may have been in the catalogue for years: that
    /// is asked from the approval on.
    #[must_use]
    pub fn facts(&self, facts: deadline::Facts, approved_at: Timestamp) -> deadline::Facts {
        match self.action {
            Action::Install => facts,
            Action::Remove => deadline::Facts { entered_at: approved_at, ..facts },
        }
    }

    /// Whether it is one of those that stand for every stage.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.name == RolloutName::default_for(self.stage)
    }

    /// When its first wave may open: when it was started, or with the cycle
    /// after that; `None` before it is started.
    #[must_use]
    pub fn begins(&self) -> Option<Timestamp> {
        let started = self.control.started?;
        match (self.priority, &self.cycle) {
            (Priority::Normal, Some(cycle)) => Some(cycle.next(started)),
            _ => Some(started),
        }
    }

    /// The state in which every wave is open since `at`, and has passed: for
    /// plans without conditions, of which the planner has nothing to say.
    #[must_use]
    pub fn all_open(&self, at: Timestamp) -> RolloutState {
        let passed = WaveState::at(Progress::Passed { since: at, at });
        RolloutState { stop: None, waves: vec![passed; self.waves.len()] }
    }
}

/// An instant and a time after it; the end of time where there is none.
fn later(at: Timestamp, after: SignedDuration) -> Timestamp {
    at.saturating_add(after).unwrap_or(Timestamp::MAX)
}

/// How many of many a sentence names.
const NAMED: usize = 5;

/// The first few of many, and how many more there are.
pub(crate) fn first_of<T: ToString>(all: &[T]) -> String {
    let named = all.iter().take(NAMED).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

macro_rules! words {
    ($type:ident, $kind:literal, $allowed:literal, $($variant:ident = $word:literal),+) => {
        impl $type {
            /// Every one of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word used in commands, files and tables.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $type {
            type Err = crate::node::UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let (kind, allowed) = ($kind, $allowed);
                Self::ALL.iter().copied().find(|one| one.as_str() == text).ok_or_else(|| {
                    crate::node::UnknownWord { kind, text: text.to_owned(), allowed }
                })
            }
        }
    };
}
pub(crate) use words;

words!(OnEmpty, "rule for empty waves", "wait or skip", Wait = "wait", Skip = "skip");
words!(Action, "action", "install or remove", Install = "install", Remove = "remove");
words!(Priority, "priority", "normal or urgent", Normal = "normal", Urgent = "urgent");
