//! Plans and how far they have come.

use patchmesh_topology::name::RolloutName;
use patchmesh_topology::rollout::{Rollout, RolloutSet, Wave, WaveStateSet, WaveStatus};

use super::mesh::stage;
use super::{At, Error, Fault, each, sorted, time, timestamp_to_wire};
use crate::wire;

impl TryFrom<wire::Wave> for Wave {
    type Error = Error;

    fn try_from(value: wire::Wave) -> Result<Self, Error> {
        if value.name.is_empty() {
            return Err(Fault::Missing).at("name");
        }
        let geographies = each("geographies", value.geographies, |site| Ok(site.parse()?))?;
        Ok(Self { name: value.name, geographies })
    }
}

impl From<&Wave> for wire::Wave {
    fn from(wave: &Wave) -> Self {
        let geographies = wave.geographies.iter().map(ToString::to_string).collect();
        Self { name: wave.name.clone(), geographies }
    }
}

impl TryFrom<wire::Rollout> for Rollout {
    type Error = Error;

    fn try_from(value: wire::Rollout) -> Result<Self, Error> {
        if value.waves.is_empty() {
            return Err(Fault::Missing).at("waves");
        }
        Ok(Self {
            name: value.name.parse().at("name")?,
            stage: stage(value.stage).at("stage")?,
            waves: each("waves", value.waves, Wave::try_from)?,
        })
    }
}

impl From<&Rollout> for wire::Rollout {
    fn from(rollout: &Rollout) -> Self {
        Self {
            name: rollout.name.to_string(),
            stage: wire::Stage::from(rollout.stage).into(),
            waves: rollout.waves.iter().map(wire::Wave::from).collect(),
        }
    }
}

impl TryFrom<wire::RolloutSet> for RolloutSet {
    type Error = Error;

    fn try_from(value: wire::RolloutSet) -> Result<Self, Error> {
        let rollouts = each("rollouts", value.rollouts, |rollout| {
            Rollout::try_from(rollout).map(|rollout| (rollout.name.clone(), rollout))
        })?;
        Ok(Self { version: value.version, rollouts: sorted("rollouts", rollouts)? })
    }
}

impl From<&RolloutSet> for wire::RolloutSet {
    fn from(set: &RolloutSet) -> Self {
        let rollouts = set.rollouts.values().map(wire::Rollout::from).collect();
        Self { version: set.version, rollouts }
    }
}

impl TryFrom<wire::WaveState> for WaveStatus {
    type Error = Error;

    fn try_from(value: wire::WaveState) -> Result<Self, Error> {
        let closed = |status| match value.since {
            None => Ok(status),
            Some(_) => Err(Fault::Contradiction("a wave that is not open")).at("since"),
        };
        match wire::WaveStatus::try_from(value.status) {
            Ok(wire::WaveStatus::Open) => time(value.since).at("since").map(Self::Open),
            Ok(wire::WaveStatus::Pending) => closed(Self::Pending),
            Ok(wire::WaveStatus::Halted) => closed(Self::Halted),
            Ok(wire::WaveStatus::Unspecified) => Err(Fault::Missing).at("status"),
            Err(_) => Err(Fault::Word { kind: "wave status", value: value.status }).at("status"),
        }
    }
}

impl From<&WaveStatus> for wire::WaveState {
    fn from(status: &WaveStatus) -> Self {
        let (status, since) = match status {
            WaveStatus::Pending => (wire::WaveStatus::Pending, None),
            WaveStatus::Open(since) => (wire::WaveStatus::Open, Some(timestamp_to_wire(*since))),
            WaveStatus::Halted => (wire::WaveStatus::Halted, None),
        };
        Self { status: status.into(), since }
    }
}

impl TryFrom<wire::WaveStates> for WaveStateSet {
    type Error = Error;

    fn try_from(value: wire::WaveStates) -> Result<Self, Error> {
        let states = each("rollouts", value.rollouts, |state| {
            let name: RolloutName = state.rollout.parse().at("rollout")?;
            Ok((name, each("waves", state.waves, WaveStatus::try_from)?))
        })?;
        Ok(Self { version: value.version, states: sorted("rollouts", states)? })
    }
}

impl From<&WaveStateSet> for wire::WaveStates {
    fn from(set: &WaveStateSet) -> Self {
        let state = |(name, waves): (&RolloutName, &Vec<WaveStatus>)| wire::RolloutState {
            rollout: name.to_string(),
            waves: waves.iter().map(wire::WaveState::from).collect(),
        };
        Self { version: set.version, rollouts: set.states.iter().map(state).collect() }
    }
}
