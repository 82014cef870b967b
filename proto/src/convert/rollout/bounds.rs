//! Freezes, exceptions, groups of sites, what headquarters asks of brakes, and what it lets
//! machines go ahead with.

use std::collections::BTreeSet;

use patchmesh_topology::name::{ExceptionName, FreezeName, Site, SiteGroupName};
use patchmesh_topology::rollout::brake::ask::{Ask, Whom};
use patchmesh_topology::rollout::exception::{Scope, Subject};
use patchmesh_topology::rollout::go_ahead::GoAhead;
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

/// Who is meant, by the name of a machine, a group or a site.
fn scope(named: [&String; 3]) -> Result<Scope, Error> {
    match named.map(String::as_str) {
        ["", "", ""] => Err(Fault::Missing).at("machine, group or site"),
        [machine, "", ""] => Ok(Scope::Machine(machine.parse().at("machine")?)),
        ["", group, ""] => Ok(Scope::Group(group.parse().at("group")?)),
        ["", "", site] => Ok(Scope::Site(site.parse().at("site")?)),
        _ => Err(Fault::Contradiction("another scope")).at("machine, group or site"),
    }
}

/// The names of a machine, a group and a site, of which two are empty.
fn scope_to_wire(scope: &Scope) -> [String; 3] {
    let mut named: [String; 3] = Default::default();
    match scope {
        Scope::Machine(name) => named[0] = name.to_string(),
        Scope::Group(name) => named[1] = name.to_string(),
        Scope::Site(site) => named[2] = site.to_string(),
    }
    named
}

/// What is meant, by the name of an update or a revision, or everything.
fn subject(named: [&String; 2]) -> Result<Subject, Error> {
    match named.map(String::as_str) {
        ["", ""] => Ok(Subject::All),
        [update, ""] => Ok(Subject::Update(update.parse().at("update")?)),
        ["", revision] => Ok(Subject::Revision(revision.parse().at("revision")?)),
        _ => Err(Fault::Contradiction("revision")).at("update"),
    }
}

/// The names of an update and a revision, of which one at least is empty.
fn subject_to_wire(subject: &Subject) -> [String; 2] {
    match subject {
        Subject::All => Default::default(),
        Subject::Update(update) => [update.to_string(), String::new()],
        Subject::Revision(revision) => [String::new(), revision.to_string()],
    }
}

/// What machines go ahead with.
///
/// # Errors
/// A field is wrong.
pub fn go_ahead(value: wire::GoAhead) -> Result<((Scope, Subject), GoAhead), Error> {
    let scope = scope([&value.machine, &value.group, &value.site])?;
    let subject = subject([&value.update, &value.revision])?;
    let (at, until) = (time(value.at).at("at")?, time(value.until).at("until")?);
    Ok(((scope, subject), GoAhead { by: value.by, at, until }))
}

/// What machines go ahead with, for the wire.
#[must_use]
pub fn go_ahead_to_wire(((scope, subject), one): (&(Scope, Subject), &GoAhead)) -> wire::GoAhead {
    let [machine, group, site] = scope_to_wire(scope);
    let [update, revision] = subject_to_wire(subject);
    let (at, until) = (Some(timestamp_to_wire(one.at)), Some(timestamp_to_wire(one.until)));
    wire::GoAhead { machine, group, site, update, revision, by: one.by.clone(), at, until }
}

/// An exception and its name.
///
/// # Errors
/// A field is wrong.
pub fn exception(value: wire::Exception) -> Result<(ExceptionName, Exception), Error> {
    let scope = scope([&value.machine, &value.group, &value.site])?;
    let subject = subject([&value.update, &value.revision])?;
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
    let [machine, group, site] = scope_to_wire(&one.scope);
    let [update, revision] = subject_to_wire(&one.subject);
    wire::Exception {
        name: name.to_string(),
        machine,
        group,
        site,
        update,
        revision,
        reason: one.reason.clone(),
        workaround: one.workaround.clone(),
        owner: one.owner.clone(),
        since: Some(timestamp_to_wire(one.since)),
        until: Some(timestamp_to_wire(one.until)),
    }
}
