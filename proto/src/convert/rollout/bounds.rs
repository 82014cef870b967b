//! Freezes, exceptions, groups of sites, and what headquarters asks of brakes.

use std::collections::BTreeSet;

use patchmesh_topology::name::{ExceptionName, FreezeName, Site, SiteGroupName};
use patchmesh_topology::rollout::brake::ask::{Ask, Whom};
use patchmesh_topology::rollout::exception::{Scope, Subject};
use patchmesh_topology::rollout::{Exception, Freeze, MAX_LIST};

use super::super::{At, Error, Fault, at_most, each, names, time, timestamp_to_wire};
use crate::wire;

/// A freeze and its name.
///
/// # Errors
/// A field is wrong.
pub fn freeze(value: wire::Freeze) -> Result<(FreezeName, Freeze), Error> {
    let name = value.name.parse().at("name")?;
    let freeze = Freeze {
        geographies: each("geographies", value.geographies, |site| Ok(site.parse()?))?,
        from: time(value.from).at("from")?,
        until: time(value.until).at("until")?,
        reason: value.reason,
        spares_urgent: value.spares_urgent,
    };
    Ok((name, freeze))
}

/// A freeze for the wire.
#[must_use]
pub fn freeze_to_wire((name, freeze): (&FreezeName, &Freeze)) -> wire::Freeze {
    wire::Freeze {
        name: name.to_string(),
        geographies: freeze.geographies.iter().map(ToString::to_string).collect(),
        from: Some(timestamp_to_wire(freeze.from)),
        until: Some(timestamp_to_wire(freeze.until)),
        reason: freeze.reason.clone(),
        spares_urgent: freeze.spares_urgent,
    }
}

/// A group of sites and its name.
///
/// # Errors
/// A field is wrong.
pub fn site_group(value: wire::SiteGroup) -> Result<(SiteGroupName, BTreeSet<Site>), Error> {
    let name = value.name.parse().at("name")?;
    at_most(&value.sites, MAX_LIST).at("sites")?;
    let sites = names("sites", value.sites)?;
    if sites.is_empty() { Err(Fault::Missing).at("sites") } else { Ok((name, sites)) }
}

/// A group of sites for the wire.
#[must_use]
pub fn site_group_to_wire((name, sites): (&SiteGroupName, &BTreeSet<Site>)) -> wire::SiteGroup {
    let sites = sites.iter().map(ToString::to_string).collect();
    wire::SiteGroup { name: name.to_string(), sites }
}

/// What is asked, and of whom.
///
/// # Errors
/// A field is wrong.
pub fn brake_ask(value: wire::BrakeAsk) -> Result<(Whom, Ask), Error> {
    let whom = match [value.node.as_str(), &value.site] {
        [node, ""] if !node.is_empty() => Whom::Node(node.parse().at("node")?),
        ["", site] if !site.is_empty() => Whom::Site(site.parse().at("site")?),
        ["", ""] => return Err(Fault::Missing).at("node or site"),
        _ => return Err(Fault::Contradiction("site")).at("node"),
    };
    Ok((whom, Ask { reason: value.reason, by: value.by, at: time(value.at).at("at")? }))
}

/// What is asked, for the wire.
#[must_use]
pub fn brake_ask_to_wire((whom, ask): (&Whom, &Ask)) -> wire::BrakeAsk {
    let (node, site) = match whom {
        Whom::Node(name) => (name.to_string(), String::new()),
        Whom::Site(site) => (String::new(), site.to_string()),
    };
    let (reason, by) = (ask.reason.clone(), ask.by.clone());
    wire::BrakeAsk { node, site, reason, by, at: Some(timestamp_to_wire(ask.at)) }
}

/// An exception and its name.
///
/// # Errors
/// A field is wrong.
pub fn exception(value: wire::Exception) -> Result<(ExceptionName, Exception), Error> {
    let scope = match [value.machine.as_str(), &value.group, &value.site] {
        [machine, "", ""] if !machine.is_empty() => Scope::Machine(machine.parse().at("machine")?),
        ["", group, ""] if !group.is_empty() => Scope::Group(group.parse().at("group")?),
        ["", "", site] if !site.is_empty() => Scope::Site(site.parse().at("site")?),
        ["", "", ""] => return Err(Fault::Missing).at("machine, group or site"),
        _ => return Err(Fault::Contradiction("another scope")).at("machine, group or site"),
    };
    let subject = match [value.update.as_str(), &value.revision] {
        ["", ""] => Subject::All,
        [update, ""] => Subject::Update(update.parse().at("update")?),
        ["", revision] => Subject::Revision(revision.parse().at("revision")?),
        _ => return Err(Fault::Contradiction("revision")).at("update"),
    };
    let exception = Exception {
        scope,
        subject,
        reason: value.reason,
        workaround: value.workaround,
        owner: value.owner,
        since: time(value.since).at("since")?,
        until: time(value.until).at("until")?,
    };
    Ok((value.name.parse().at("name")?, exception))
}

/// An exception for the wire.
#[must_use]
pub fn exception_to_wire((name, one): (&ExceptionName, &Exception)) -> wire::Exception {
    let mut value = wire::Exception {
        name: name.to_string(),
        reason: one.reason.clone(),
        workaround: one.workaround.clone(),
        owner: one.owner.clone(),
        since: Some(timestamp_to_wire(one.since)),
        until: Some(timestamp_to_wire(one.until)),
        ..wire::Exception::default()
    };
    match &one.scope {
        Scope::Machine(name) => value.machine = name.to_string(),
        Scope::Group(name) => value.group = name.to_string(),
        Scope::Site(site) => value.site = site.to_string(),
    }
    match &one.subject {
        Subject::All => {}
        Subject::Update(update) => value.update = update.to_string(),
        Subject::Revision(revision) => value.revision = revision.to_string(),
    }
    value
}
