//! Decisions: what may be installed, in which stage, by which group.
//!
//! A decision ([`approve`], [`decline`], [`promote`]) is a pure step from one
//! approval set to the next. It holds for everything it names, or is refused
//! with every fault.

mod batch;
mod decide;
pub mod release;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use crate::name::{GroupName, RolloutName};
use crate::node::{Stage, UnknownWord};
use crate::revision::RevisionId;

pub use batch::{Step, batch};

pub use decide::{
    Change, FAULTS_SHOWN, Fault, MAX_COMMENT, Rejection, Request, approve, decline, is_plain,
    promote,
};

/// What an approver decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// May be installed, as the named rollout opens it.
    Approved(RolloutName),
    /// May not; the approval's comment says why.
    Declined,
}

/// One decision on one revision for one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// What was decided.
    pub decision: Decision,
    /// Who decided.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why; never empty on a decline.
    pub comment: String,
    /// The rule or baseline that decided, such as `rule/critical-fast` or
    /// `baseline/bookworm@3`; empty where a person named the revision.
    pub rule: String,
}

/// The decisions of a stage, by revision and then group.
pub type Approvals = BTreeMap<(RevisionId, GroupName), Approval>;

/// All decisions of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalSet {
    /// The stage.
    pub stage: Stage,
    /// Grows by one with every change.
    pub version: u64,
    /// The decisions.
    pub entries: Approvals,
}

impl ApprovalSet {
    /// A set without decisions.
    #[must_use]
    pub fn empty(stage: Stage) -> Self {
        Self { stage, version: 0, entries: Approvals::new() }
    }

    /// The decision on `revision` for `group`.
    #[must_use]
    pub fn get(&self, revision: &RevisionId, group: &GroupName) -> Option<&Approval> {
        self.entries.get(&(revision.clone(), group.clone()))
    }

    /// The decisions on `revision`, in order of groups.
    pub fn of<'a>(
        &'a self,
        revision: &'a RevisionId,
    ) -> impl Iterator<Item = (&'a GroupName, &'a Approval)> {
        self.entries
            .range((revision.clone(), GroupName::least())..)
            .take_while(move |((id, _), _)| id == revision)
            .map(|((_, group), approval)| (group, approval))
    }

    /// Whether `revision` is approved for some group.
    #[must_use]
    pub fn is_approved(&self, revision: &RevisionId) -> bool {
        self.of(revision).any(|(_, approval)| approval.is_approved())
    }

    /// The revisions that are approved for some group, each once.
    #[must_use]
    pub fn approved(&self) -> BTreeSet<&RevisionId> {
        let approved = self.entries.iter().filter(|(_, approval)| approval.is_approved());
        approved.map(|((revision, _), _)| revision).collect()
    }

    /// The revisions that each rollout opens for some group, each once.
    #[must_use]
    pub fn by_rollout(&self) -> BTreeMap<&RolloutName, BTreeSet<&RevisionId>> {
        let mut found: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for ((revision, _), approval) in &self.entries {
            if let Decision::Approved(rollout) = &approval.decision {
                found.entry(rollout).or_default().insert(revision);
            }
        }
        found
    }
}

impl Approval {
    /// Whether the revision may be installed.
    #[must_use]
    pub fn is_approved(&self) -> bool {
        matches!(self.decision, Decision::Approved(_))
    }
}

/// How a revision stands in a stage for a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UpdateState {
    /// Not decided.
    New,
    /// Approved, and all its payloads are bound.
    Approved,
    /// Declined.
    NotApproved,
    /// Not decided, and not the first revision of its update.
    Updated,
    /// Approved, but payloads are missing.
    TemporarilyUnavailable,
}

impl UpdateState {
    /// All states, in the order in which they are shown.
    pub const ALL: [Self; 5] =
        [Self::New, Self::Updated, Self::Approved, Self::TemporarilyUnavailable, Self::NotApproved];

    /// The word used in commands and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Approved => "approved",
            Self::NotApproved => "not-approved",
            Self::Updated => "updated",
            Self::TemporarilyUnavailable => "temporarily-unavailable",
        }
    }
}

impl fmt::Display for UpdateState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for UpdateState {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| UnknownWord {
            kind: "state",
            text: text.to_owned(),
            allowed: "new, updated, approved, temporarily-unavailable or not-approved",
        })
    }
}

/// How a revision stands: `decision` is what was decided on it in a stage for
/// a group, `ordinal` how many revisions of its update came before it, and
/// `is_available` whether all its payloads are bound.
#[must_use]
pub fn state_of(decision: Option<&Approval>, ordinal: u32, is_available: bool) -> UpdateState {
    match decision.map(|approval| &approval.decision) {
        Some(Decision::Approved(_)) if is_available => UpdateState::Approved,
        Some(Decision::Approved(_)) => UpdateState::TemporarilyUnavailable,
        Some(Decision::Declined) => UpdateState::NotApproved,
        None if ordinal == 0 => UpdateState::New,
        None => UpdateState::Updated,
    }
}

/// What differs between two approval sets for one revision and group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference<'a> {
    /// The revision.
    pub revision: &'a RevisionId,
    /// The group.
    pub group: &'a GroupName,
    /// What stood in the first set.
    pub before: Option<&'a Approval>,
    /// What stands in the second.
    pub after: Option<&'a Approval>,
}

/// Every decision that is not the same in `a` and `b`, in order.
#[must_use]
pub fn diff<'a>(a: &'a Approvals, b: &'a Approvals) -> Vec<Difference<'a>> {
    let keys: BTreeSet<_> = a.keys().chain(b.keys()).collect();
    keys.into_iter()
        .map(|key| Difference {
            revision: &key.0,
            group: &key.1,
            before: a.get(key),
            after: b.get(key),
        })
        .filter(|difference| difference.before != difference.after)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_follow_from_decision_order_and_content() {
        let approval = |decision| Approval {
            decision,
            by: "ada".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            comment: String::new(),
            rule: String::new(),
        };
        let approved = approval(Decision::Approved(RolloutName::default_for(Stage::Production)));
        assert_eq!(state_of(None, 0, false), UpdateState::New);
        assert_eq!(state_of(None, 3, true), UpdateState::Updated);
        assert_eq!(state_of(Some(&approved), 3, true), UpdateState::Approved);
        assert_eq!(state_of(Some(&approved), 0, false), UpdateState::TemporarilyUnavailable);
        assert_eq!(
            state_of(Some(&approval(Decision::Declined)), 0, true),
            UpdateState::NotApproved
        );
    }

    #[test]
    fn state_words_parse() {
        for state in UpdateState::ALL {
            assert_eq!(state.to_string().parse(), Ok(state));
        }
        assert!("fine".parse::<UpdateState>().is_err());
    }
}
