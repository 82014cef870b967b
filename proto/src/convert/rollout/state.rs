//! How far plans have come.

use patchmesh_topology::name::{RolloutName, Site};
use patchmesh_topology::rollout::limit::MAX_SITES;
use patchmesh_topology::rollout::{
    Admission, Progress, RolloutState, Stop, StopKind, WaveState, WaveStateSet,
};

use super::super::{
    At, Error, Fault, at_most, each, optional_time, sorted, time, timestamp_to_wire, word,
};
use crate::wire;

impl TryFrom<wire::Stop> for Stop {
    type Error = Error;

    fn try_from(value: wire::Stop) -> Result<Self, Error> {
        let kind: Option<StopKind> = word("stop", &value.kind).at("kind")?;
        let kind = kind.ok_or(Fault::Missing).at("kind")?;
        Ok(Self { kind, at: time(value.at).at("at")?, reason: value.reason })
    }
}

impl From<&Stop> for wire::Stop {
    fn from(stop: &Stop) -> Self {
        let at = Some(timestamp_to_wire(stop.at));
        Self { kind: stop.kind.to_string(), at, reason: stop.reason.clone() }
    }
}

fn progress(value: &wire::WaveState) -> Result<Progress, Error> {
    let (since, done) = (value.since.is_some(), value.done.is_some());
    let since = |wanted: bool| match wanted == since {
        true => Ok(()),
        false => Err(Fault::Contradiction("the status")).at("since"),
    };
    let done = |wanted: bool| match wanted == done {
        true => Ok(()),
        false => Err(Fault::Contradiction("the status")).at("done"),
    };
    let (opened, finished) = (|| time(value.since).at("since"), || time(value.done).at("done"));
    let status = wire::WaveStatus::try_from(value.status)
        .map_err(|_| Fault::Word { kind: "wave status", value: value.status })
        .at("status")?;
    match status {
        wire::WaveStatus::Unspecified => Err(Fault::Missing).at("status"),
        // Up to format 1; no primary ever wrote one that had been open.
        wire::WaveStatus::Pending | wire::WaveStatus::Halted => {
            since(false).and(done(false)).map(|()| Progress::Pending)
        }
        wire::WaveStatus::Open => {
            since(true).and(done(false))?;
            Ok(Progress::Open { since: opened()? })
        }
        wire::WaveStatus::Passed => {
            since(true).and(done(true))?;
            Ok(Progress::Passed { since: opened()?, at: finished()? })
        }
        wire::WaveStatus::Skipped => {
            since(false).and(done(true))?;
            Ok(Progress::Skipped { at: finished()? })
        }
    }
}

fn admission(value: wire::Admission) -> Result<(Site, Admission), Error> {
    let at = time(value.at).at("at")?;
    let finished = optional_time(value.finished).at("finished")?;
    if finished.is_some_and(|finished| finished < at) {
        return Err(Fault::Contradiction("at")).at("finished");
    }
    Ok((value.site.parse().at("site")?, Admission { at, finished }))
}

fn admission_to_wire((site, one): (&Site, &Admission)) -> wire::Admission {
    wire::Admission {
        site: site.to_string(),
        at: Some(timestamp_to_wire(one.at)),
        finished: one.finished.map(timestamp_to_wire),
    }
}

impl TryFrom<wire::WaveState> for WaveState {
    type Error = Error;

    fn try_from(value: wire::WaveState) -> Result<Self, Error> {
        let progress = progress(&value)?;
        let paused = value.paused.map(Stop::try_from).transpose().at("paused")?;
        at_most(&value.admitted, MAX_SITES).at("admitted")?;
        let admitted = sorted("admitted", each("admitted", value.admitted, admission)?)?;
        Ok(Self { progress, paused, acknowledged: value.acknowledged, admitted })
    }
}

impl From<&WaveState> for wire::WaveState {
    fn from(state: &WaveState) -> Self {
        let (status, since, done) = match state.progress {
            Progress::Pending => (wire::WaveStatus::Pending, None, None),
            Progress::Open { since } => (wire::WaveStatus::Open, Some(since), None),
            Progress::Passed { since, at } => (wire::WaveStatus::Passed, Some(since), Some(at)),
            Progress::Skipped { at } => (wire::WaveStatus::Skipped, None, Some(at)),
        };
        Self {
            status: status.into(),
            since: since.map(timestamp_to_wire),
            done: done.map(timestamp_to_wire),
            paused: state.paused.as_ref().map(Into::into),
            acknowledged: state.acknowledged,
            admitted: state.admitted.iter().map(admission_to_wire).collect(),
        }
    }
}

impl TryFrom<wire::WaveStates> for WaveStateSet {
    type Error = Error;

    fn try_from(value: wire::WaveStates) -> Result<Self, Error> {
        let states = each("rollouts", value.rollouts, |state| {
            let name: RolloutName = state.rollout.parse().at("rollout")?;
            let stop = state.stop.map(Stop::try_from).transpose().at("stop")?;
            let waves = each("waves", state.waves, WaveState::try_from)?;
            Ok((name, RolloutState { stop, waves }))
        })?;
        Ok(Self { version: value.version, states: sorted("rollouts", states)? })
    }
}

impl From<(&RolloutName, &RolloutState)> for wire::RolloutState {
    fn from((name, state): (&RolloutName, &RolloutState)) -> Self {
        Self {
            rollout: name.to_string(),
            waves: state.waves.iter().map(wire::WaveState::from).collect(),
            stop: state.stop.as_ref().map(Into::into),
        }
    }
}

impl From<&WaveStateSet> for wire::WaveStates {
    fn from(set: &WaveStateSet) -> Self {
        let rollouts = set.states.iter().map(wire::RolloutState::from).collect();
        Self { version: set.version, rollouts }
    }
}
