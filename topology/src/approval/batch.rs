//! Several decisions of one stage as one change.

use std::collections::BTreeSet;

use super::{ApprovalSet, Change, Rejection, Request, approve, decline};
use crate::name::RolloutName;
use crate::node::Mesh;
use crate::revision::RevisionId;

/// One of several decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Approves.
    Approve(Request),
    /// Declines.
    Decline(Request),
}

/// Decides `steps` one after the other on `set`; all of it is one change with
/// one version, or refused. Steps without revisions are no fault.
///
/// # Errors
/// The faults of the first step that has any; nothing is decided then.
pub fn batch(
    set: &ApprovalSet,
    before: Option<&ApprovalSet>,
    mesh: &Mesh,
    is_known: impl Fn(&RevisionId) -> bool + Copy,
    rollout: &RolloutName,
    steps: &[Step],
) -> Result<Change, Rejection> {
    let mut whole = Change { set: set.clone(), revisions: BTreeSet::new() };
    for step in steps {
        let change = match step {
            Step::Approve(request) | Step::Decline(request) if request.revisions.is_empty() => {
                continue;
            }
            Step::Approve(request) => {
                approve(&whole.set, before, mesh, is_known, rollout, request)?
            }
            Step::Decline(request) => decline(&whole.set, mesh, is_known, request)?,
        };
        whole.set = change.set;
        whole.revisions.extend(change.revisions);
    }
    if !whole.revisions.is_empty() {
        whole.set.version = set.version.saturating_add(1);
    }
    Ok(whole)
}
