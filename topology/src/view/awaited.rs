//! Content first: what plans open is served where its content has arrived.
//!
//! Each node says what of its plans has not arrived there ([`Awaited`]), and
//! serves its machines without it. The primary builds views without it as well
//! ([`super::set::sets`]), so that nothing else waits along.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::approval::{ApprovalSet, Decision};
use crate::name::{NodeName, RolloutName};
use crate::revision::RevisionId;

/// Of how many plans a node says what has not arrived. What the others open is
/// served all the same, and passed on from above.
pub const MAX_AWAITED: usize = 32;

/// What of plans has not arrived at a node: of each plan named, all that was
/// approved from an instant on.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Awaited(BTreeMap<RolloutName, Timestamp>);

/// What is awaited at nodes; at those that are not here nothing is.
pub type ByNode = BTreeMap<NodeName, Awaited>;

/// Nothing is awaited.
pub static NOTHING: Awaited = Awaited(BTreeMap::new());

impl Awaited {
    /// What of `approvals` has not arrived, where `has_arrived` says so of
    /// revisions. Of more plans than [`MAX_AWAITED`] those begun last.
    ///
    /// What is approved without a plan of its own is wanted at once, and nobody
    /// waits for it.
    pub fn of<'a>(
        approvals: impl IntoIterator<Item = &'a ApprovalSet>,
        mut has_arrived: impl FnMut(&'a RevisionId) -> bool,
    ) -> Self {
        let mut found: BTreeMap<RolloutName, Timestamp> = BTreeMap::new();
        for set in approvals {
            let default = RolloutName::default_for(set.stage);
            for ((revision, _), approval) in &set.entries {
                let Decision::Approved(rollout) = &approval.decision else { continue };
                if *rollout == default {
                    continue;
                }
                let known = found.get(rollout);
                if known.is_some_and(|from| *from <= approval.at) || has_arrived(revision) {
                    continue;
                }
                found.insert(rollout.clone(), approval.at);
            }
        }
        Self::from_iter(found)
    }

    /// From when on what a plan's approvals are for is awaited.
    #[must_use]
    pub fn from(&self, rollout: &RolloutName) -> Option<Timestamp> {
        self.0.get(rollout).copied()
    }

    /// Whether what `rollout` opens by an approval of this time is awaited.
    #[must_use]
    pub fn holds(&self, rollout: &RolloutName, approved: Timestamp) -> bool {
        self.from(rollout).is_some_and(|from| from <= approved)
    }

    /// Whether nothing is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The plans in order, and from when on.
    pub fn iter(&self) -> impl Iterator<Item = (&RolloutName, Timestamp)> {
        self.0.iter().map(|(rollout, from)| (rollout, *from))
    }
}

impl FromIterator<(RolloutName, Timestamp)> for Awaited {
    fn from_iter<I: IntoIterator<Item = (RolloutName, Timestamp)>>(all: I) -> Self {
        let mut all: Vec<_> = all.into_iter().collect();
        if all.len() > MAX_AWAITED {
            all.sort_by(|one, other| (other.1, &other.0).cmp(&(one.1, &one.0)));
            all.truncate(MAX_AWAITED);
        }
        Self(all.into_iter().collect())
    }
}
