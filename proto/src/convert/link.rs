//! Link profiles.

use patchmesh_topology::link::Class;
use patchmesh_topology::link::hours::Hours;
use patchmesh_topology::link::profile::{Limits, Profile, Rule};
use patchmesh_topology::link::rate::Rate;
use patchmesh_topology::name::NodeName;

use super::{At, Error, Fault, each, sorted};
use crate::wire;

/// A profile and the node that it is about; not validated.
///
/// # Errors
/// A field that no profile has.
pub fn link(value: wire::Link) -> Result<(NodeName, Profile), Error> {
    let node = value.node.parse().at("node")?;
    let zone = if value.zone.is_empty() { "UTC" } else { &value.zone };
    let bulk = each("bulk", value.bulk, hours)?;
    let ahead = match value.ahead.as_str() {
        "" => Class::Normal,
        word => {
            let fault = |source| Fault::Text { kind: "class of traffic", source };
            word.parse().map_err(fault).at("ahead")?
        }
    };
    let profile = Profile {
        zone: zone.parse().map_err(Fault::Zone).at("zone")?,
        down: limits(value.down).at("down")?,
        up: limits(value.up).at("up")?,
        bulk,
        critical_waits: value.critical_waits,
        ahead,
    };
    Ok((node, profile))
}

fn limits(value: Option<wire::LinkLimits>) -> Result<Limits, Error> {
    let value = value.unwrap_or_default();
    let rules = each("rules", value.rules, |rule| {
        let hours = rule.hours.ok_or(Fault::Missing).at("hours")?;
        Ok(Rule { hours: self::hours(hours).at("hours")?, rate: rate(rule.bits_per_second)? })
    })?;
    Ok(Limits { default: rate(value.bits_per_second)?, rules })
}

fn rate(bits: u64) -> Result<Rate, Error> {
    Rate::from_bits(bits).map_err(Fault::Rate).at("bits_per_second")
}

pub(super) fn hours(value: wire::LinkHours) -> Result<Hours, Error> {
    let minute = |value: u32| u16::try_from(value).map_err(|_| Fault::Range);
    let days = u8::try_from(value.days).map_err(|_| Fault::Range).at("days")?;
    let (from, to) = (minute(value.from).at("from")?, minute(value.to).at("to")?);
    Ok(Hours::new(days, from, to).map_err(Fault::Hours)?)
}

/// The profiles of a mesh.
pub(super) fn links<C: FromIterator<(NodeName, Profile)>>(
    values: Vec<wire::Link>,
) -> Result<C, Error> {
    sorted("links", each("links", values, link)?)
}

/// A profile for the wire.
#[must_use]
pub fn link_to_wire(node: &NodeName, profile: &Profile) -> wire::Link {
    wire::Link {
        node: node.to_string(),
        zone: profile.zone.name().to_owned(),
        down: Some(limits_to_wire(&profile.down)),
        up: Some(limits_to_wire(&profile.up)),
        bulk: profile.bulk.iter().copied().map(hours_to_wire).collect(),
        critical_waits: profile.critical_waits,
        ahead: profile.ahead.as_str().to_owned(),
    }
}

fn limits_to_wire(limits: &Limits) -> wire::LinkLimits {
    let rule = |rule: &Rule| wire::LinkRule {
        hours: Some(hours_to_wire(rule.hours)),
        bits_per_second: rule.rate.bits().unwrap_or(0),
    };
    wire::LinkLimits {
        bits_per_second: limits.default.bits().unwrap_or(0),
        rules: limits.rules.iter().map(rule).collect(),
    }
}

pub(super) fn hours_to_wire(hours: Hours) -> wire::LinkHours {
    wire::LinkHours { days: hours.days().into(), from: hours.from().into(), to: hours.to().into() }
}
