//! What deadlines hang on.

use patchmesh_topology::revision::RevisionId;
use patchmesh_topology::rollout::deadline::Weight;

use super::super::{At, Error, severity};
use crate::wire;

impl TryFrom<wire::DeadlineWeight> for (RevisionId, Weight) {
    type Error = Error;

    fn try_from(value: wire::DeadlineWeight) -> Result<Self, Error> {
        let weight = Weight {
            severity: value.severity.map(severity).transpose().at("severity")?,
            exploited: value.exploited,
            automatable: value.automatable,
            total: value.total,
        };
        Ok((value.revision.parse().at("revision")?, weight))
    }
}

impl From<(&RevisionId, &Weight)> for wire::DeadlineWeight {
    fn from((revision, weight): (&RevisionId, &Weight)) -> Self {
        let Weight { severity, exploited, automatable, total } = *weight;
        let severity = severity.map(|one| one.map_or(wire::Severity::Unspecified, Into::into));
        Self {
            revision: revision.to_string(),
            severity: severity.map(Into::into),
            exploited,
            automatable,
            total,
        }
    }
}
