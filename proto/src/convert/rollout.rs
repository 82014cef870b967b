//! Plans.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use patchmesh_topology::link::hours::Hours;
use patchmesh_topology::node::UnknownWord;
use patchmesh_topology::rollout::brake::ask::MAX_ASKS;
use patchmesh_topology::rollout::deadline::Times;
use patchmesh_topology::rollout::gate::{AtLeast, AtMost, Gate, Unreachable};
use patchmesh_topology::rollout::geography::MAX_SITE_GROUPS;
use patchmesh_topology::rollout::go_ahead::MAX_GO_AHEADS;
use patchmesh_topology::rollout::{
    Control, Geographies, Limit, MAX_LIST, MAX_ROLLOUTS, MAX_WAVES, OnEmpty, Policy, Rollout,
    RolloutSet, Share, Wave, What,
};

use super::link::{hours, hours_to_wire};
use super::mesh::stage;
use super::{
    At, Error, Fault, at_most, each, names, optional_time, severity, sorted, time,
    timestamp_to_wire, word,
};
use crate::wire;

mod bounds;
mod state;
mod weight;

pub use bounds::{
    brake_ask, brake_ask_to_wire, exception, exception_to_wire, freeze, freeze_to_wire, go_ahead,
    go_ahead_to_wire, site_group, site_group_to_wire,
};

fn share(parts: u32) -> Result<Share, Error> {
    let parts = u16::try_from(parts).ok().and_then(Share::from_ten_thousandths);
    parts.ok_or_else(|| Fault::Range.into())
}

pub(super) fn duration(
    value: Option<prost_types::Duration>,
) -> Result<Option<SignedDuration>, Error> {
    let Some(value) = value else { return Ok(None) };
    if value.seconds < 0 || !(0..1_000_000_000).contains(&value.nanos) {
        return Err(Fault::Range.into());
    }
    Ok(Some(SignedDuration::new(value.seconds, value.nanos)))
}

pub(super) fn duration_to_wire(value: SignedDuration) -> prost_types::Duration {
    prost_types::Duration { seconds: value.as_secs(), nanos: value.subsec_nanos() }
}

impl TryFrom<wire::GateShare> for AtLeast {
    type Error = Error;

    fn try_from(value: wire::GateShare) -> Result<Self, Error> {
        Ok(Self { share: share(value.share).at("share")?, min_sample: value.min_sample })
    }
}

impl From<AtLeast> for wire::GateShare {
    fn from(least: AtLeast) -> Self {
        Self { share: least.share.ten_thousandths().into(), min_sample: least.min_sample }
    }
}

impl TryFrom<wire::GateLimit> for AtMost {
    type Error = Error;

    fn try_from(value: wire::GateLimit) -> Result<Self, Error> {
        let share = value.share.map(share).transpose().at("share")?;
        Ok(Self { share, count: value.count, min_sample: value.min_sample })
    }
}

impl From<AtMost> for wire::GateLimit {
    fn from(most: AtMost) -> Self {
        let share = most.share.map(|share| share.ten_thousandths().into());
        Self { share, count: most.count, min_sample: most.min_sample }
    }
}

impl TryFrom<wire::Gate> for Gate {
    type Error = Error;

    fn try_from(value: wire::Gate) -> Result<Self, Error> {
        let after = duration(value.unreachable_after).at("unreachable_after")?;
        let unreachable = match (value.unreachable.as_str(), after) {
            ("" | "block", None) => Unreachable::Block,
            ("ignore", Some(after)) => Unreachable::Ignore(after),
            ("fail", Some(after)) => Unreachable::Fail(after),
            _ => return Err(Fault::Contradiction("unreachable_after")).at("unreachable"),
        };
        Ok(Self {
            min_reached: value.min_reached.map(AtLeast::try_from).transpose().at("min_reached")?,
            min_success: value.min_success.map(AtLeast::try_from).transpose().at("min_success")?,
            max_failed: value.max_failed.map(AtMost::try_from).transpose().at("max_failed")?,
            soak: duration(value.soak).at("soak")?.unwrap_or_default(),
            operator: value.operator,
            unreachable,
            on_breach: word("action on breach", &value.on_breach)
                .at("on_breach")?
                .unwrap_or_default(),
        })
    }
}

impl From<&Gate> for wire::Gate {
    fn from(gate: &Gate) -> Self {
        let (unreachable, after) = match gate.unreachable {
            Unreachable::Block => ("block", None),
            Unreachable::Ignore(after) => ("ignore", Some(after)),
            Unreachable::Fail(after) => ("fail", Some(after)),
        };
        Self {
            min_reached: gate.min_reached.map(Into::into),
            min_success: gate.min_success.map(Into::into),
            max_failed: gate.max_failed.map(Into::into),
            soak: Some(duration_to_wire(gate.soak)),
            operator: gate.operator,
            unreachable: unreachable.to_owned(),
            unreachable_after: after.map(duration_to_wire),
            on_breach: gate.on_breach.to_string(),
        }
    }
}

/// Where a wave goes; the names are looked up when all of the set is there.
fn geographies(sites: Vec<String>, groups: Vec<String>) -> Result<Geographies, Error> {
    let groups = names("site_groups", groups)?;
    let sites = each("geographies", sites, |site| Ok(site.parse()?))?;
    Ok(Geographies::new(sites, groups))
}

fn limit(value: wire::WaveLimit) -> Result<Limit, Error> {
    let limit = Limit { sites: value.sites, machines: value.machines };
    if limit.is_none() { Err(Fault::Missing).at("sites or machines") } else { Ok(limit) }
}

impl TryFrom<wire::Wave> for Wave {
    type Error = Error;

    fn try_from(value: wire::Wave) -> Result<Self, Error> {
        if value.name.is_empty() {
            return Err(Fault::Missing).at("name");
        }
        at_most(&value.geographies, MAX_LIST).at("geographies")?;
        at_most(&value.site_groups, MAX_LIST).at("site_groups")?;
        at_most(&value.groups, MAX_LIST).at("groups")?;
        at_most(&value.windows, MAX_LIST).at("windows")?;
        at_most(&value.blackouts, MAX_LIST).at("blackouts")?;
        let groups = names("groups", value.groups)?;
        Ok(Self {
            name: value.name,
            geographies: geographies(value.geographies, value.site_groups)?,
            groups,
            share: match value.share {
                0 => Share::ALL,
                parts => share(parts).at("share")?,
            },
            not_before: optional_time(value.not_before).at("not_before")?,
            limit: value
                .max_concurrent
                .map(limit)
                .transpose()
                .at("max_concurrent")?
                .unwrap_or(Limit::NONE),
            windows: each("windows", value.windows, hours)?,
            blackouts: each("blackouts", value.blackouts, hours)?,
            gate: value.gate.map(Gate::try_from).transpose().at("gate")?.unwrap_or_default(),
            released: optional_time(value.released).at("released")?,
            on_empty: if value.skip_if_empty { OnEmpty::Skip } else { OnEmpty::Wait },
        })
    }
}

impl From<&Wave> for wire::Wave {
    fn from(wave: &Wave) -> Self {
        let hours = |hours: &[Hours]| hours.iter().copied().map(hours_to_wire).collect();
        Self {
            name: wave.name.clone(),
            geographies: wave.geographies.sites().iter().map(ToString::to_string).collect(),
            groups: wave.groups.iter().map(ToString::to_string).collect(),
            share: if wave.share == Share::ALL { 0 } else { wave.share.ten_thousandths().into() },
            not_before: wave.not_before.map(timestamp_to_wire),
            windows: hours(&wave.windows),
            blackouts: hours(&wave.blackouts),
            gate: Some((&wave.gate).into()),
            released: wave.released.map(timestamp_to_wire),
            skip_if_empty: wave.on_empty == OnEmpty::Skip,
            site_groups: wave.geographies.groups().iter().map(ToString::to_string).collect(),
            max_concurrent: (!wave.limit.is_none()).then_some(wire::WaveLimit {
                sites: wave.limit.sites,
                machines: wave.limit.machines,
            }),
        }
    }
}

impl TryFrom<wire::RolloutSubject> for What {
    type Error = Error;

    fn try_from(value: wire::RolloutSubject) -> Result<Self, Error> {
        let revisions: Vec<_> = each("revisions", value.revisions, |one| Ok(one.parse()?))?;
        Ok(Self {
            revisions: revisions.into_iter().collect::<BTreeSet<_>>(),
            severity: severity(value.severity).at("severity")?,
            products: value.products.into_iter().collect(),
        })
    }
}

impl From<&What> for wire::RolloutSubject {
    fn from(what: &What) -> Self {
        Self {
            revisions: what.revisions.iter().map(ToString::to_string).collect(),
            severity: what.severity.map_or(0, |one| wire::Severity::from(one).into()),
            products: what.products.iter().cloned().collect(),
        }
    }
}

impl TryFrom<wire::DeadlinePolicy> for Policy {
    type Error = Error;

    fn try_from(value: wire::DeadlinePolicy) -> Result<Self, Error> {
        match value.name.as_str() {
            "" | "severity-2004" => Ok(Self::Severity2004),
            "cisa-bod-26-04" => Ok(Self::CisaBod2604),
            "custom" => Ok(Self::Custom(Times {
                critical: duration(value.critical).at("critical")?,
                important: duration(value.important).at("important")?,
                moderate: duration(value.moderate).at("moderate")?,
                low: duration(value.low).at("low")?,
            })),
            _ => {
                let (kind, allowed) =
                    ("deadline policy", "severity-2004, cisa-bod-26-04 or custom");
                let source = UnknownWord { kind, text: value.name, allowed };
                Err(Fault::Text { kind, source }).at("name")
            }
        }
    }
}

impl From<&Policy> for wire::DeadlinePolicy {
    fn from(policy: &Policy) -> Self {
        let times = match policy {
            Policy::Custom(times) => *times,
            Policy::Severity2004 | Policy::CisaBod2604 => Times::default(),
        };
        Self {
            name: policy.to_string(),
            critical: times.critical.map(duration_to_wire),
            important: times.important.map(duration_to_wire),
            moderate: times.moderate.map(duration_to_wire),
            low: times.low.map(duration_to_wire),
        }
    }
}

impl TryFrom<wire::Control> for Control {
    type Error = Error;

    fn try_from(value: wire::Control) -> Result<Self, Error> {
        let order = word("order", &value.order).at("order")?;
        Ok(Self {
            order: order.ok_or(Fault::Missing).at("order")?,
            started: optional_time(value.started).at("started")?,
            at: time(value.at).at("at")?,
            by: value.by,
            reason: value.reason,
        })
    }
}

impl From<&Control> for wire::Control {
    fn from(control: &Control) -> Self {
        Self {
            order: control.order.to_string(),
            started: control.started.map(timestamp_to_wire),
            at: Some(timestamp_to_wire(control.at)),
            by: control.by.clone(),
            reason: control.reason.clone(),
        }
    }
}

impl TryFrom<wire::Rollout> for Rollout {
    type Error = Error;

    fn try_from(value: wire::Rollout) -> Result<Self, Error> {
        if value.waves.is_empty() {
            return Err(Fault::Missing).at("waves");
        }
        at_most(&value.waves, MAX_WAVES).at("waves")?;
        let cycle = (!value.cycle.is_empty()).then(|| value.cycle.parse());
        let control = value.control.map(Control::try_from).transpose().at("control")?;
        Ok(Self {
            name: value.name.parse().at("name")?,
            stage: stage(value.stage).at("stage")?,
            what: value.what.map(What::try_from).transpose().at("what")?.unwrap_or_default(),
            action: word("action", &value.action).at("action")?.unwrap_or_default(),
            priority: word("priority", &value.priority).at("priority")?.unwrap_or_default(),
            deadline: value
                .deadline
                .map(Policy::try_from)
                .transpose()
                .at("deadline")?
                .unwrap_or_default(),
            cycle: cycle.transpose().map_err(Fault::Cycle).at("cycle")?,
            offline: value.offline,
            waves: each("waves", value.waves, Wave::try_from)?,
            control: control.unwrap_or_else(Control::always),
        })
    }
}

impl From<&Rollout> for wire::Rollout {
    fn from(rollout: &Rollout) -> Self {
        Self {
            name: rollout.name.to_string(),
            stage: wire::Stage::from(rollout.stage).into(),
            waves: rollout.waves.iter().map(wire::Wave::from).collect(),
            what: Some((&rollout.what).into()),
            action: rollout.action.to_string(),
            priority: rollout.priority.to_string(),
            deadline: Some((&rollout.deadline).into()),
            cycle: rollout.cycle.map(|cycle| cycle.to_string()).unwrap_or_default(),
            offline: rollout.offline,
            control: Some((&rollout.control).into()),
        }
    }
}

impl TryFrom<wire::RolloutSet> for RolloutSet {
    type Error = Error;

    fn try_from(value: wire::RolloutSet) -> Result<Self, Error> {
        at_most(&value.rollouts, MAX_ROLLOUTS).at("rollouts")?;
        let rollouts = each("rollouts", value.rollouts, |rollout| {
            Rollout::try_from(rollout).map(|rollout| (rollout.name.clone(), rollout))
        })?;
        at_most(&value.site_groups, MAX_SITE_GROUPS).at("site_groups")?;
        at_most(&value.brake_asks, MAX_ASKS).at("brake_asks")?;
        at_most(&value.go_aheads, MAX_GO_AHEADS).at("go_aheads")?;
        let mut set = Self {
            version: value.version,
            brake_asks: sorted("brake_asks", each("brake_asks", value.brake_asks, brake_ask)?)?,
            go_aheads: sorted("go_aheads", each("go_aheads", value.go_aheads, go_ahead)?)?,
            rollouts: sorted("rollouts", rollouts)?,
            site_groups: sorted(
                "site_groups",
                each("site_groups", value.site_groups, site_group)?,
            )?,
            freezes: sorted("freezes", each("freezes", value.freezes, freeze)?)?,
            exceptions: sorted("exceptions", each("exceptions", value.exceptions, exception)?)?,
        };
        let resolved = set.resolve();
        resolved.map_err(|(name, fault)| Error::from(fault).below(name.as_str())).at("rollouts")?;
        Ok(set)
    }
}

impl From<&RolloutSet> for wire::RolloutSet {
    fn from(set: &RolloutSet) -> Self {
        Self {
            version: set.version,
            rollouts: set.rollouts.values().map(wire::Rollout::from).collect(),
            freezes: set.freezes.iter().map(freeze_to_wire).collect(),
            exceptions: set.exceptions.iter().map(exception_to_wire).collect(),
            site_groups: set.site_groups.iter().map(site_group_to_wire).collect(),
            brake_asks: set.brake_asks.iter().map(brake_ask_to_wire).collect(),
            go_aheads: set.go_aheads.iter().map(go_ahead_to_wire).collect(),
        }
    }
}
