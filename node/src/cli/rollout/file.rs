//! The file in which a rollout is planned: TOML, with every field explained in
//! [`EXAMPLE`].

use std::collections::BTreeSet;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use patchmesh_topology::link::hours::Hours;
use patchmesh_topology::name::{GroupName, RolloutName, Site, SiteGroupName};
use patchmesh_topology::node::Stage;
use patchmesh_topology::revision::{RevisionId, Severity};
use patchmesh_topology::rollout::deadline::Times;
use patchmesh_topology::rollout::gate::{AtLeast, Gate, OnBreach, Unreachable};
use patchmesh_topology::rollout::{
    Action, Control, Cycle, Geographies, Limit, OnEmpty, Policy, Priority, Rollout, Share, Wave,
    What,
};
use serde::Deserialize;

use crate::cli::file::{self, Most, Text, Wait};
use crate::duration;

/// A plan to go on from.
pub(super) const EXAMPLE: &str = include_str!("example.toml");

/// What the file may say, and nothing else.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Text<RolloutName>,
    #[serde(default)]
    stage: Option<Text<Stage>>,
    #[serde(default)]
    action: Option<Text<Action>>,
    #[serde(default)]
    priority: Option<Text<Priority>>,
    #[serde(default)]
    deadline: Option<String>,
    #[serde(default)]
    deadline_times: Option<TimesFile>,
    #[serde(default)]
    cycle: Option<Text<Cycle>>,
    #[serde(default)]
    offline: bool,
    #[serde(default)]
    what: WhatFile,
    wave: Vec<WaveFile>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WhatFile {
    #[serde(default)]
    revisions: Vec<Text<RevisionId>>,
    #[serde(default)]
    severity: Option<Text<Severity>>,
    #[serde(default)]
    products: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TimesFile {
    critical: Option<Text<Wait>>,
    important: Option<Text<Wait>>,
    moderate: Option<Text<Wait>>,
    low: Option<Text<Wait>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WaveFile {
    name: String,
    #[serde(default)]
    geographies: Vec<Text<Where>>,
    #[serde(default)]
    groups: Vec<Text<GroupName>>,
    #[serde(default)]
    share: Option<Text<Share>>,
    #[serde(default)]
    not_before: Option<toml::value::Datetime>,
    #[serde(default)]
    max_concurrent: LimitFile,
    #[serde(default)]
    windows: Vec<Text<Hours>>,
    #[serde(default)]
    blackouts: Vec<Text<Hours>>,
    #[serde(default)]
    empty: Option<Text<OnEmpty>>,
    #[serde(default)]
    gate: GateFile,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitFile {
    sites: Option<u32>,
    machines: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct GateFile {
    #[serde(default)]
    min_reached: Option<LeastFile>,
    #[serde(default)]
    min_success: Option<LeastFile>,
    #[serde(default)]
    max_failed: Option<Most>,
    #[serde(default)]
    soak: Option<Text<Wait>>,
    #[serde(default)]
    operator: Option<Text<Required>>,
    #[serde(default)]
    unreachable: Option<Text<Patience>>,
    #[serde(default)]
    on_breach: Option<Text<OnBreach>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LeastFile {
    share: Text<Share>,
    #[serde(default)]
    min_sample: u64,
}

/// A geography, with or without `/**` at its end.
#[derive(Debug, Clone)]
pub(crate) struct Place(pub(crate) Site);

impl std::str::FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "**" {
            return Err("leave geographies out to mean every site".to_owned());
        }
        let path = text.strip_suffix("/**").unwrap_or(text);
        path.parse().map(Self).map_err(|error: patchmesh_topology::name::Error| error.to_string())
    }
}

/// A geography, or the name of a group of sites after `@`.
#[derive(Debug)]
enum Where {
    Site(Site),
    Group(SiteGroupName),
}

impl std::str::FromStr for Where {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix('@') {
            None => text.parse().map(|place: Place| Self::Site(place.0)),
            Some(name) => name
                .parse()
                .map(Self::Group)
                .map_err(|error: patchmesh_topology::name::Error| error.to_string()),
        }
    }
}

fn geographies(file: Vec<Text<Where>>) -> Geographies {
    let (mut sites, mut groups) = (Vec::new(), BTreeSet::new());
    for one in file {
        match one.0 {
            Where::Site(site) => sites.push(site),
            Where::Group(name) => drop(groups.insert(name)),
        }
    }
    Geographies::new(sites, groups)
}

/// `required`.
#[derive(Debug)]
struct Required;

impl std::str::FromStr for Required {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if text == "required" { Ok(Self) } else { Err("write `required`, or leave it out") }
    }
}

/// What becomes of the unreachable.
#[derive(Debug)]
struct Patience(Unreachable);

impl std::str::FromStr for Patience {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || {
            format!(
                "{text:?} is no rule; write `block`, `ignore after 72h` or `count as failed after 72h`"
            )
        };
        let after = |time: &str| -> Result<SignedDuration, String> {
            let wait: Wait = time.parse().map_err(|error: duration::Error| error.to_string())?;
            Ok(wait.0)
        };
        if text == "block" {
            return Ok(Self(Unreachable::Block));
        }
        if let Some(time) = text.strip_prefix("ignore after ") {
            return after(time).map(|after| Self(Unreachable::Ignore(after)));
        }
        let time = text.strip_prefix("count as failed after ").ok_or_else(form)?;
        after(time).map(|after| Self(Unreachable::Fail(after)))
    }
}

/// Reads the file and checks everything that can be checked without the mesh.
pub(crate) fn read(path: &Path) -> anyhow::Result<Rollout> {
    file::read(path, parse)
}

fn parse(text: &str) -> Result<Rollout, String> {
    let file: File = file::fields(text)?;
    let waves = file.wave.into_iter().map(wave).collect::<Result<Vec<_>, _>>()?;
    Ok(Rollout {
        name: file.name.0,
        stage: file.stage.map_or(Stage::Production, |one| one.0),
        what: What {
            revisions: file.what.revisions.into_iter().map(|one| one.0).collect(),
            severity: file.what.severity.map(|one| one.0),
            products: file.what.products.into_iter().collect(),
        },
        action: file.action.map(|one| one.0).unwrap_or_default(),
        priority: file.priority.map(|one| one.0).unwrap_or_default(),
        deadline: policy(file.deadline.as_deref(), file.deadline_times)?,
        cycle: file.cycle.map(|one| one.0),
        offline: file.offline,
        waves,
        control: Control::planned("", Timestamp::UNIX_EPOCH),
    })
}

fn policy(name: Option<&str>, times: Option<TimesFile>) -> Result<Policy, String> {
    let wait = |time: Option<Text<Wait>>| time.map(|one| one.0.0);
    match (name.unwrap_or("severity-2004"), times) {
        ("severity-2004", None) => Ok(Policy::Severity2004),
        ("cisa-bod-26-04", None) => Ok(Policy::CisaBod2604),
        ("custom", Some(times)) => Ok(Policy::Custom(Times {
            critical: wait(times.critical),
            important: wait(times.important),
            moderate: wait(times.moderate),
            low: wait(times.low),
        })),
        ("custom", None) => Err("deadline custom needs [deadline_times]".to_owned()),
        (_, Some(_)) => Err("[deadline_times] goes with deadline = \"custom\" only".to_owned()),
        (name, None) => Err(format!(
            "deadline {name:?} is not known; write severity-2004, cisa-bod-26-04 or custom"
        )),
    }
}

fn wave(file: WaveFile) -> Result<Wave, String> {
    let instant = |time| file::instant(&format!("wave {}: not_before", file.name), &time);
    let not_before = file.not_before.map(instant).transpose()?;
    let groups: BTreeSet<GroupName> = file.groups.into_iter().map(|one| one.0).collect();
    Ok(Wave {
        geographies: geographies(file.geographies),
        groups,
        share: file.share.map_or(Share::ALL, |one| one.0),
        not_before,
        limit: Limit { sites: file.max_concurrent.sites, machines: file.max_concurrent.machines },
        windows: file.windows.into_iter().map(|one| one.0).collect(),
        blackouts: file.blackouts.into_iter().map(|one| one.0).collect(),
        gate: gate(&file.name, file.gate)?,
        released: None,
        on_empty: file.empty.map(|one| one.0).unwrap_or_default(),
        name: file.name,
    })
}

fn gate(wave: &str, file: GateFile) -> Result<Gate, String> {
    let least = |file: LeastFile| AtLeast { share: file.share.0, min_sample: file.min_sample };
    let limit = |most: Most| most.limit(&format!("wave {wave}"));
    let max_failed = file.max_failed.map(limit).transpose()?;
    Ok(Gate {
        min_reached: file.min_reached.map(least),
        min_success: file.min_success.map(least),
        max_failed,
        soak: file.soak.map(|one| one.0.0).unwrap_or_default(),
        operator: file.operator.is_some(),
        unreachable: file.unreachable.map(|one| one.0.0).unwrap_or_default(),
        on_breach: file.on_breach.map(|one| one.0).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_says_what_it_says() {
        let plan = parse(EXAMPLE).expect("a plan");
        assert_eq!(plan.waves.len(), 3);
        let pilot = &plan.waves[0];
        assert_eq!(pilot.geographies.sites()[0].as_str(), "emea/fr");
        assert_eq!(pilot.gate.soak, SignedDuration::from_hours(24));
        assert_eq!(pilot.share.to_string(), "5 %");
        assert!(pilot.gate.max_failed.is_some() && pilot.gate.min_reached.is_some());
        assert!(plan.waves[1].gate.operator);
        assert!(plan.waves[2].geographies.is_everywhere());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let said = |from: &str, to: &str| {
            assert!(EXAMPLE.contains(from), "{from}");
            parse(&EXAMPLE.replacen(from, to, 1)).expect_err("refused")
        };
        let number =
            |part: &str| EXAMPLE.lines().position(|line| line.contains(part)).expect("there") + 1;
        let place = format!("line {}", number("share = \"5 %\""));
        let share = said("share = \"5 %\"", "share = \"5\"");
        assert!(share.starts_with(&place) && share.contains("write percent"), "{share}");
        let unknown = said("soak =", "soack =");
        assert!(unknown.contains("soack"), "{unknown}");
        assert!(said("[\"emea/fr/**\"]", "[\"@Big\"]").contains("group of sites"));
        assert!(said("ignore after 72h", "forget").contains("count as failed after"));
        assert!(said("operator = \"required\"", "operator = \"no\"").contains("leave it out"));
        assert!(
            said("deadline = \"severity-2004\"", "deadline = \"soon\"").contains("cisa-bod-26-04")
        );
        let local = said("not_before = 2026-12-01T08:00:00Z", "not_before = 2026-12-01T08:00:00");
        assert!(local.contains("with its offset"), "{local}");
    }
}
