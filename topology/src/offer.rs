//! What is open to whom, and why the rest is not.
//!
//! A revision is open for a group at a site when all agree: its stage's
//! approval set approves it for the group, the rollout that the approval names
//! is planned for that stage, and a wave that goes to the site is open, as far
//! as the plan allows it. No exception and no brake may hold it. This module is
//! the only place that puts all that together; branches ask it for their
//! views, machines for themselves.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::approval::{Approval, ApprovalSet, Decision};
use crate::digest::Sha256;
use crate::link::zone::Zone;
use crate::name::{
    BrakeName, ExceptionName, FreezeName, GroupName, MachineName, RolloutName, Site,
};
use crate::node::Stage;
use crate::revision::{Revision, RevisionId};
use crate::rollout::{
    Action, Brakes, Closed, Opening, Place, Rollout, RolloutSet, WaveStates, brake, freeze, window,
};

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
    /// The rollout removes it.
    #[error("rollout {0} removes it")]
    Removed(RolloutName),
    /// Somebody does without it.
    #[error("exception {name} holds until {until:.0}: {reason}")]
    Excepted {
        /// The exception.
        name: ExceptionName,
        /// When it ends.
        until: Timestamp,
        /// Why it is made.
        reason: String,
    },
    /// The site holds it back.
    #[error("brake {name} of this site holds it until {until:.0}: {reason}")]
    Braked {
        /// The brake.
        name: BrakeName,
        /// When it ends.
        until: Timestamp,
        /// Why it was pulled.
        reason: String,
    },
}

/// The decisions, plans and states of one stage, to be asked together.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'a> {
    /// The stage's decisions.
    pub approvals: &'a ApprovalSet,
    /// The plans.
    pub plans: &'a RolloutSet,
    /// How far they have come.
    pub states: &'a WaveStates,
    /// The brakes of the site that is asked for.
    pub brakes: &'a Brakes,
    /// When.
    pub now: Timestamp,
}

/// A machine that asks for itself.
#[derive(Debug, Clone, Copy)]
pub struct Machine<'a> {
    /// Its name.
    pub name: &'a MachineName,
    /// Its group.
    pub group: &'a GroupName,
    /// Where it is.
    pub site: &'a Site,
    /// The site's time zone.
    pub zone: &'a Zone,
}

/// What a machine may do with a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// Install or remove it.
    pub action: Action,
    /// The rollout that opened it.
    pub rollout: RolloutName,
    /// Its wave.
    pub wave: String,
    /// Since when it is open.
    pub since: Timestamp,
    /// When the machine may act; `None`: at no time that can be seen.
    pub when: Option<Timestamp>,
    /// The freeze that it waits for.
    pub frozen: Option<FreezeName>,
}

impl<'a> Offer<'a> {
    /// Offers without brakes, as headquarters sees them.
    #[must_use]
    pub fn new(
        approvals: &'a ApprovalSet,
        plans: &'a RolloutSet,
        states: &'a WaveStates,
        now: Timestamp,
    ) -> Self {
        Self { approvals, plans, states, brakes: &brake::NONE, now }
    }

    /// Since when `revision` is open for `group` at `site` (`None`: at every
    /// site), for all of its machines.
    ///
    /// # Errors
    /// Why it is not.
    pub fn of(
        &self,
        revision: &RevisionId,
        group: &GroupName,
        site: Option<&Site>,
    ) -> Result<Timestamp, Why> {
        let place = Place { site, group: Some(group), machine: None };
        let (rollout, opening) = self.opening(revision, group, place)?;
        match rollout.action {
            Action::Install => Ok(opening.since),
            Action::Remove => Err(Why::Removed(rollout.name.clone())),
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
            .keys()
            .filter(move |(_, approved)| approved == group)
            .filter(move |(revision, _)| self.of(revision, group, site).is_ok())
            .map(|(revision, _)| revision)
    }

    /// The revisions that rollouts remove from machines of any group, opened or not.
    pub fn removed(self) -> impl Iterator<Item = &'a RevisionId> {
        let plans = self.plans.rollouts.values();
        let removes = |plan: &&Rollout| plan.action == Action::Remove;
        let removing: BTreeSet<&RolloutName> = plans.filter(removes).map(|one| &one.name).collect();
        let approvals = (!removing.is_empty()).then_some(&self.approvals.entries);
        approvals
            .into_iter()
            .flatten()
            .filter(move |(_, approval)| match &approval.decision {
                Decision::Approved(rollout) => removing.contains(rollout),
                Decision::Declined => false,
            })
            .map(|((revision, _), _)| revision)
    }

    /// What a machine may do with `revision`, and when.
    ///
    /// # Errors
    /// Why nothing.
    pub fn machine(&self, revision: &RevisionId, machine: Machine<'_>) -> Result<Offered, Why> {
        let Machine { name, group, site, zone } = machine;
        let place = Place { site: Some(site), group: Some(group), machine: Some(name) };
        let (rollout, opening) = self.opening(revision, group, place)?;
        let (from, frozen) =
            freeze::delayed(&self.plans.freezes, Some(site), rollout.priority, self.now);
        let wave = opening.wave;
        Ok(Offered {
            action: rollout.action,
            rollout: rollout.name.clone(),
            wave: wave.name.clone(),
            since: opening.since,
            when: window::next(&wave.windows, &wave.blackouts, zone, from),
            frozen: frozen.cloned(),
        })
    }

    /// The plan by which `revision` is approved for `group`, open or not.
    ///
    /// # Errors
    /// Why there is none.
    pub fn plan(&self, revision: &RevisionId, group: &GroupName) -> Result<&'a Rollout, Why> {
        self.rollout(self.approval(revision, group)?)
    }

    fn approval(&self, revision: &RevisionId, group: &GroupName) -> Result<&'a Approval, Why> {
        let undecided = || Why::Undecided { group: group.clone(), stage: self.approvals.stage };
        self.approvals.get(revision, group).ok_or_else(undecided)
    }

    fn opening(
        &self,
        revision: &RevisionId,
        group: &GroupName,
        place: Place<'_>,
    ) -> Result<(&'a Rollout, Opening<'a>), Why> {
        let approval = self.approval(revision, group)?;
        let rollout = self.rollout(approval)?;
        let mut opening = rollout.opening(self.states, &self.plans.freezes, place, self.now)?;
        opening.since = opening.since.max(approval.at);
        self.unhindered(revision, group, place, &rollout.name, opening.since)?;
        Ok((rollout, opening))
    }

    fn rollout(&self, approval: &Approval) -> Result<&'a Rollout, Why> {
        let name = match &approval.decision {
            Decision::Approved(rollout) => rollout,
            Decision::Declined => {
                let (by, comment) = (approval.by.clone(), approval.comment.clone());
                return Err(Why::Declined { by, comment });
            }
        };
        let rollout = self.plans.rollouts.get(name).ok_or_else(|| Why::NoRollout(name.clone()))?;
        if rollout.stage != self.approvals.stage {
            return Err(Why::OtherStage {
                rollout: name.clone(),
                planned: rollout.stage,
                approved: self.approvals.stage,
            });
        }
        Ok(rollout)
    }

    /// Neither an exception nor a brake holds it.
    fn unhindered(
        &self,
        revision: &RevisionId,
        group: &GroupName,
        place: Place<'_>,
        rollout: &RolloutName,
        opened: Timestamp,
    ) -> Result<(), Why> {
        let whose = (place.machine, group, place.site);
        let exception =
            self.plans.exceptions.iter().find(|(_, one)| one.holds(revision, whose, self.now));
        if let Some((name, exception)) = exception {
            let (until, reason) = (exception.until, exception.reason.clone());
            return Err(Why::Excepted { name: name.clone(), until, reason });
        }
        let brake =
            self.brakes.iter().find(|(_, brake)| brake.holds(revision, rollout, opened, self.now));
        if let Some((name, brake)) = brake {
            let (until, reason) = (brake.until, brake.reason.clone());
            return Err(Why::Braked { name: name.clone(), until, reason });
        }
        Ok(())
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
