//! What the lab found, and what promotion asks for.

use jiff::SignedDuration;
use patchmesh_topology::lab::{MAX_RESULTS, Outcome, Resolution, Results, Subject, TestResult};
use patchmesh_topology::name::PlatformName;
use patchmesh_topology::promotion::{
    Lab, MAX_CHANGES, MAX_LACKS, MAX_OVERRIDES, Machines, Override, Policy, PolicyChange,
    Requirement, policy,
};

use super::rollout::{duration, duration_to_wire};
use super::{At, Error, Fault, at_most, each, sorted, time, timestamp_to_wire, word};
use crate::wire;

impl TryFrom<wire::Lab> for Lab {
    type Error = Error;

    fn try_from(value: wire::Lab) -> Result<Self, Error> {
        at_most(&value.changes, MAX_CHANGES).at("changes")?;
        at_most(&value.results, MAX_RESULTS).at("results")?;
        at_most(&value.overrides, MAX_OVERRIDES).at("overrides")?;
        let overrides =
            each("overrides", value.overrides, |one| Ok((one.number, Override::try_from(one)?)))?;
        Ok(Self {
            version: value.version,
            policy: value.policy.map(Policy::try_from).transpose().at("policy")?,
            changes: each("changes", value.changes, PolicyChange::try_from)?,
            results: each("results", value.results, result)?.into_iter().collect::<Results>(),
            overrides: sorted("overrides", overrides)?,
        })
    }
}

impl From<&Lab> for wire::Lab {
    fn from(lab: &Lab) -> Self {
        Self {
            version: lab.version,
            policy: lab.policy.as_ref().map(Into::into),
            changes: lab.changes.iter().map(Into::into).collect(),
            results: lab.results.iter().map(result_to_wire).collect(),
            overrides: lab.overrides.iter().map(override_to_wire).collect(),
        }
    }
}

impl TryFrom<wire::PromotionPolicy> for Policy {
    type Error = Error;

    fn try_from(value: wire::PromotionPolicy) -> Result<Self, Error> {
        at_most(&value.platforms, policy::MAX_REQUIREMENTS).at("platforms")?;
        let soak = duration(value.soak).at("soak")?;
        let machines = value.machines.map(Machines::try_from).transpose().at("machines")?;
        let policy = Self {
            platforms: each("platforms", value.platforms, Requirement::try_from)?,
            soak: soak.unwrap_or(SignedDuration::ZERO),
            machines: machines.unwrap_or_default(),
        };
        policy.check().map_err(Fault::Policy)?;
        Ok(policy)
    }
}

impl From<&Policy> for wire::PromotionPolicy {
    fn from(policy: &Policy) -> Self {
        Self {
            platforms: policy.platforms.iter().map(Into::into).collect(),
            soak: Some(duration_to_wire(policy.soak)),
            machines: Some(wire::MachineEvidence {
                min_reported: policy.machines.min_reported,
                min_installed: policy.machines.min_installed,
                max_failed: policy.machines.max_failed.map(Into::into),
            }),
        }
    }
}

impl TryFrom<wire::RequiredPlatform> for Requirement {
    type Error = Error;

    fn try_from(value: wire::RequiredPlatform) -> Result<Self, Error> {
        Ok(Self {
            platform: value.platform.parse().at("platform")?,
            sources: each("sources", value.sources, |one| Ok(one.parse()?))?.into_iter().collect(),
            name_glob: value.name_glob,
        })
    }
}

impl From<&Requirement> for wire::RequiredPlatform {
    fn from(one: &Requirement) -> Self {
        Self {
            platform: one.platform.to_string(),
            sources: one.sources.iter().map(ToString::to_string).collect(),
            name_glob: one.name_glob.clone(),
        }
    }
}

impl TryFrom<wire::MachineEvidence> for Machines {
    type Error = Error;

    fn try_from(value: wire::MachineEvidence) -> Result<Self, Error> {
        let (min_reported, min_installed) = (value.min_reported, value.min_installed);
        let max_failed = value.max_failed.map(TryInto::try_into).transpose().at("max_failed")?;
        Ok(Self { min_reported, min_installed, max_failed })
    }
}

impl TryFrom<wire::PolicyChange> for PolicyChange {
    type Error = Error;

    fn try_from(value: wire::PolicyChange) -> Result<Self, Error> {
        Ok(Self {
            by: value.by,
            at: time(value.at).at("at")?,
            policy: value.policy.map(Policy::try_from).transpose().at("policy")?,
        })
    }
}

impl From<&PolicyChange> for wire::PolicyChange {
    fn from(change: &PolicyChange) -> Self {
        Self {
            by: change.by.clone(),
            at: Some(timestamp_to_wire(change.at)),
            policy: change.policy.as_ref().map(Into::into),
        }
    }
}

/// One result, of what and where.
fn result(value: wire::LabResult) -> Result<(Subject, PlatformName, TestResult), Error> {
    let resolution = value.resolution.map(|one| {
        let (reason, by, at) = (one.reason, one.by, time(one.at).at("at")?);
        Ok::<_, Error>(Resolution { reason, by, at })
    });
    let result = TestResult {
        at: time(value.at).at("at")?,
        outcome: outcome(&value.outcome).at("outcome")?,
        by: value.by,
        note: value.note,
        resolution: resolution.transpose().at("resolution")?,
    };
    let subject = value.subject.parse().map_err(Fault::Subject).at("subject")?;
    Ok((subject, value.platform.parse().at("platform")?, result))
}

/// How a trial went, by its word.
///
/// # Errors
/// It is missing, or no such word.
pub fn outcome(text: &str) -> Result<Outcome, Error> {
    word("outcome", text)?.ok_or_else(|| Fault::Missing.into())
}

/// A result for the wire.
#[must_use]
pub fn result_to_wire(
    (subject, platform, result): (&Subject, &PlatformName, &TestResult),
) -> wire::LabResult {
    wire::LabResult {
        subject: subject.to_string(),
        platform: platform.to_string(),
        outcome: result.outcome.to_string(),
        note: result.note.clone(),
        by: result.by.clone(),
        at: Some(timestamp_to_wire(result.at)),
        resolution: result.resolution.as_ref().map(|one| wire::LabResolution {
            reason: one.reason.clone(),
            by: one.by.clone(),
            at: Some(timestamp_to_wire(one.at)),
        }),
    }
}

impl TryFrom<wire::PromotionOverride> for Override {
    type Error = Error;

    fn try_from(value: wire::PromotionOverride) -> Result<Self, Error> {
        at_most(&value.lacks, MAX_LACKS).at("lacks")?;
        let revisions = each("revisions", value.revisions, |one| Ok(one.parse()?))?;
        Ok(Self {
            revisions: revisions.into_iter().collect(),
            groups: each("groups", value.groups, |one| Ok(one.parse()?))?.into_iter().collect(),
            reason: value.reason,
            asked_by: value.asked_by,
            asked_at: time(value.asked_at).at("asked_at")?,
            consented_by: value.consented_by,
            consented_at: time(value.consented_at).at("consented_at")?,
            lacks: value.lacks,
        })
    }
}

/// An override for the wire.
#[must_use]
pub fn override_to_wire((number, one): (&u64, &Override)) -> wire::PromotionOverride {
    wire::PromotionOverride {
        number: *number,
        revisions: one.revisions.iter().map(ToString::to_string).collect(),
        groups: one.groups.iter().map(ToString::to_string).collect(),
        reason: one.reason.clone(),
        asked_by: one.asked_by.clone(),
        asked_at: Some(timestamp_to_wire(one.asked_at)),
        consented_by: one.consented_by.clone(),
        consented_at: Some(timestamp_to_wire(one.consented_at)),
        lacks: one.lacks.clone(),
    }
}
