//! Decisions and the states that follow from them.

use patchmesh_topology::approval::{Approval, Decision, UpdateState};
use patchmesh_topology::name::GroupName;
use patchmesh_topology::revision::RevisionId;

use super::{At, Error, Fault, time, timestamp_to_wire};
use crate::{admin, wire};

impl TryFrom<wire::Approval> for ((RevisionId, GroupName), Approval) {
    type Error = Error;

    fn try_from(value: wire::Approval) -> Result<Self, Error> {
        let revision = value.revision.parse().at("revision")?;
        let group = value.group.parse().at("group")?;
        let approval = Approval {
            decision: decision(value.decision, &value.rollout)?,
            by: value.by,
            at: time(value.at).at("at")?,
            comment: value.comment,
            rule: value.rule,
        };
        Ok(((revision, group), approval))
    }
}

fn decision(value: i32, rollout: &str) -> Result<Decision, Error> {
    match wire::Decision::try_from(value) {
        Ok(wire::Decision::Approved) => rollout.parse().at("rollout").map(Decision::Approved),
        Ok(wire::Decision::Declined) if rollout.is_empty() => Ok(Decision::Declined),
        Ok(wire::Decision::Declined) => Err(Fault::Contradiction("a decline")).at("rollout"),
        Ok(wire::Decision::Unspecified) => Err(Fault::Missing).at("decision"),
        Err(_) => Err(Fault::Word { kind: "decision", value }).at("decision"),
    }
}

impl From<(&RevisionId, &GroupName, &Approval)> for wire::Approval {
    fn from((revision, group, approval): (&RevisionId, &GroupName, &Approval)) -> Self {
        let (decision, rollout) = match &approval.decision {
            Decision::Approved(rollout) => (wire::Decision::Approved, rollout.to_string()),
            Decision::Declined => (wire::Decision::Declined, String::new()),
        };
        Self {
            revision: revision.to_string(),
            group: group.to_string(),
            decision: decision.into(),
            rollout,
            by: approval.by.clone(),
            at: Some(timestamp_to_wire(approval.at)),
            comment: approval.comment.clone(),
            rule: approval.rule.clone(),
        }
    }
}

/// A state from a field's number; `None` for the unspecified.
///
/// # Errors
/// It stands for none.
pub fn update_state(value: i32) -> Result<Option<UpdateState>, Error> {
    match admin::UpdateState::try_from(value) {
        Ok(admin::UpdateState::Unspecified) => Ok(None),
        Ok(admin::UpdateState::New) => Ok(Some(UpdateState::New)),
        Ok(admin::UpdateState::Approved) => Ok(Some(UpdateState::Approved)),
        Ok(admin::UpdateState::NotApproved) => Ok(Some(UpdateState::NotApproved)),
        Ok(admin::UpdateState::Updated) => Ok(Some(UpdateState::Updated)),
        Ok(admin::UpdateState::TemporarilyUnavailable) => {
            Ok(Some(UpdateState::TemporarilyUnavailable))
        }
        Err(_) => Err(Fault::Word { kind: "state", value }.into()),
    }
}

impl From<UpdateState> for admin::UpdateState {
    fn from(state: UpdateState) -> Self {
        match state {
            UpdateState::New => Self::New,
            UpdateState::Approved => Self::Approved,
            UpdateState::NotApproved => Self::NotApproved,
            UpdateState::Updated => Self::Updated,
            UpdateState::TemporarilyUnavailable => Self::TemporarilyUnavailable,
        }
    }
}
