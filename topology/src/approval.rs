//! Decisions: what may be installed, in which stage, by which group.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::name::{GroupName, RolloutName};
use crate::node::Stage;
use crate::revision::RevisionId;

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
}

/// All decisions of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalSet {
    /// The stage.
    pub stage: Stage,
    /// Grows by one with every change.
    pub version: u64,
    /// The decisions, by revision and then group.
    pub entries: BTreeMap<(RevisionId, GroupName), Approval>,
}
