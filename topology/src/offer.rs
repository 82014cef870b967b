//! What is open to whom, and why the rest is not.
//!
//! A revision is open for a group at a site when all agree: its stage's
//! approval set approves it for the group, the rollout that the approval names
//! is planned for that stage, and a wave that goes to the site is open. This
//! module is the only place that puts the three together.

use jiff::Timestamp;

use crate::approval::{Approval, ApprovalSet, Decision};
use crate::digest::Sha256;
use crate::name::{GroupName, RolloutName, Site};
use crate::node::Stage;
use crate::revision::{Revision, RevisionId};
use crate::rollout::{Closed, Rollouts, WaveStates};

/// Why a revision is not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Nobody decided.
    #[error("not decided for {group} in {stage}")]
    Undecided {
        /// The group.
        group: GroupName,
        /// Its stage.
        stage: Stage,
    },
    /// Somebody declined it.
    #[error("declined by {by}: {comment}")]
    Declined {
        /// Who.
        by: String,
        /// Why.
        comment: String,
    },
    /// The approval names a plan that is not there.
    #[error("approved, but its rollout {0} is not planned")]
    NoRollout(RolloutName),
    /// The approval names a plan of another stage.
    #[error("approved in {approved}, but its rollout {rollout} is for {planned}")]
    OtherStage {
        /// The plan.
        rollout: RolloutName,
        /// Its stage.
        planned: Stage,
        /// The approval's stage.
        approved: Stage,
    },
    /// The plan has not opened there.
    #[error("approved, but not open there")]
    Closed(#[from] Closed),
}

/// The decisions, plans and states of one stage, to be asked together.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'a> {
    /// The stage's decisions.
    pub approvals: &'a ApprovalSet,
    /// The plans.
    pub rollouts: &'a Rollouts,
    /// How far they have come.
    pub states: &'a WaveStates,
}

impl<'a> Offer<'a> {
    /// Since when `revision` is open for `group` at `site` (`None`: at every
    /// site).
    ///
    /// # Errors
    /// Why it is not.
    pub fn of(
        &self,
        revision: &RevisionId,
        group: &GroupName,
        site: Option<&Site>,
    ) -> Result<Timestamp, Why> {
        match self.approvals.get(revision, group) {
            None => Err(Why::Undecided { group: group.clone(), stage: self.approvals.stage }),
            Some(approval) => self.opening(approval, site),
        }
    }

    /// The revisions open for `group` at `site` (`None`: at every site), in
    /// order.
    pub fn open_revisions(
        self,
        group: &'a GroupName,
        site: Option<&'a Site>,
    ) -> impl Iterator<Item = &'a RevisionId> {
        self.approvals
            .entries
            .iter()
            .filter(move |((_, approved), _)| approved == group)
            .filter(move |(_, approval)| self.opening(approval, site).is_ok())
            .map(|((revision, _), _)| revision)
    }

    fn opening(&self, approval: &Approval, site: Option<&Site>) -> Result<Timestamp, Why> {
        let name = match &approval.decision {
            Decision::Approved(rollout) => rollout,
            Decision::Declined => {
                let (by, comment) = (approval.by.clone(), approval.comment.clone());
                return Err(Why::Declined { by, comment });
            }
        };
        let rollout = self.rollouts.get(name).ok_or_else(|| Why::NoRollout(name.clone()))?;
        if rollout.stage != self.approvals.stage {
            return Err(Why::OtherStage {
                rollout: name.clone(),
                planned: rollout.stage,
                approved: self.approvals.stage,
            });
        }
        let (_, since) = rollout.opening(self.states, site)?;
        Ok(since.max(approval.at))
    }
}

/// Whether all payloads of a revision are blobs of the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Availability {
    /// They are.
    Available,
    /// These are not, in the revision's order.
    Missing(Vec<Sha256>),
}

impl Availability {
    /// Whether nothing is missing.
    #[must_use]
    pub fn is_available(&self) -> bool {
        *self == Self::Available
    }
}

/// Whether all payloads of `revision` are bound.
#[must_use]
pub fn availability(revision: &Revision, is_bound: impl Fn(&Sha256) -> bool) -> Availability {
    let unbound = |sha256: &Sha256| !is_bound(sha256);
    let missing: Vec<Sha256> =
        revision.payloads.iter().map(|payload| payload.sha256).filter(unbound).collect();
    if missing.is_empty() { Availability::Available } else { Availability::Missing(missing) }
}

#[cfg(test)]
mod tests;
