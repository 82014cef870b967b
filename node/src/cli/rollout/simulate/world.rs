//! The file that describes a mesh to simulate a plan in: TOML, with every field
//! explained in [`EXAMPLE`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::str::FromStr;

use patchmesh_topology::link::hours::Hours;
use patchmesh_topology::link::profile::{Limits, Profile, Rule};
use patchmesh_topology::link::rate::Rate;
use patchmesh_topology::link::zone::Zone;
use patchmesh_topology::name::{FreezeName, GroupName, Site, SiteGroupName};
use patchmesh_topology::revision::Severity;
use patchmesh_topology::rollout::deadline::Facts;
use patchmesh_topology::rollout::{Freeze, Freezes, Share, SiteGroups, freeze};
use patchmesh_topology::simulate::{Behaviour, MAX_SITES, SimSite, World};
use serde::Deserialize;

use crate::cli::file::{self, Text, Wait, instant};
use crate::cli::rollout::file::Place;

/// A mesh to go on from.
pub(super) const EXAMPLE: &str = include_str!("world.toml");

/// What the file may say, and nothing else.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    seed: u64,
    start: toml::value::Datetime,
    days: u16,
    #[serde(default = "one")]
    depth: usize,
    #[serde(default)]
    release_after: Option<Text<Wait>>,
    update: UpdateFile,
    #[serde(default)]
    line: BTreeMap<String, LineFile>,
    group: BTreeMap<String, GroupFile>,
    site: Vec<SiteFile>,
    #[serde(default)]
    freeze: Vec<FreezeFile>,
    #[serde(default)]
    site_groups: BTreeMap<String, Vec<Text<Place>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateFile {
    size: Text<Size>,
    #[serde(default)]
    severity: Option<Text<Severity>>,
    #[serde(default)]
    entered: Option<toml::value::Datetime>,
    #[serde(default)]
    exploited: bool,
    #[serde(default)]
    automatable: bool,
    #[serde(default)]
    total: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LineFile {
    down: Text<Rate>,
    #[serde(default)]
    rules: Vec<Text<HoursAnd<Rate>>>,
    #[serde(default)]
    bulk: Vec<Text<Hours>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupFile {
    online: Vec<Text<HoursAnd<Share>>>,
    otherwise: Text<Share>,
    failed: Text<Share>,
    never: Text<Share>,
    install: Text<Wait>,
    #[serde(default)]
    exposed: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SiteFile {
    name: Text<Site>,
    zone: Text<Zone>,
    #[serde(default)]
    line: Option<String>,
    #[serde(default)]
    above: Option<Text<Site>>,
    #[serde(default)]
    count: Option<usize>,
    #[serde(default)]
    machines: BTreeMap<String, u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FreezeFile {
    name: Text<FreezeName>,
    #[serde(default)]
    geographies: Vec<Text<Site>>,
    from: toml::value::Datetime,
    until: toml::value::Datetime,
    reason: String,
    #[serde(default)]
    spares_urgent: bool,
}

const fn one() -> usize {
    1
}

/// Bytes, such as `350 MB`.
#[derive(Debug, Clone, Copy)]
struct Size(u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const UNITS: [(&str, u64); 7] = [
            ("KiB", 1 << 10),
            ("MiB", 1 << 20),
            ("GiB", 1 << 30),
            ("kB", 1_000),
            ("MB", 1_000_000),
            ("GB", 1_000_000_000),
            ("B", 1),
        ];
        let form = || {
            format!("{text:?} is no size; write a whole number and a unit, such as 350 MB or 2 GiB")
        };
        let unit = UNITS.iter().find_map(|(name, bytes)| Some((text.strip_suffix(name)?, *bytes)));
        let (number, bytes) = unit.ok_or_else(form)?;
        let number: u64 = number.trim().parse().map_err(|_| form())?;
        number.checked_mul(bytes).map(Self).ok_or_else(form)
    }
}

/// Hours, and what holds then: `Mon-Fri 08:00-18:00 80 %`.
#[derive(Debug, Clone, Copy)]
struct HoursAnd<T> {
    hours: Hours,
    value: T,
}

impl<T: FromStr> FromStr for HoursAnd<T>
where
    T::Err: std::fmt::Display,
{
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The times are the first word with a colon.
        let times = text.split_whitespace().find(|word| word.contains(':'));
        let times = times.ok_or_else(|| {
            format!("{text:?} names no hours; write them first, such as `Mon-Fri 08:00-18:00 80 %`")
        })?;
        let place = text.find(times).unwrap_or(0) + times.len();
        let (hours, value) = text.split_at(place);
        let hours = hours.trim().parse::<Hours>().map_err(|error| error.to_string())?;
        let value = value.trim().parse::<T>().map_err(|error| error.to_string())?;
        Ok(Self { hours, value })
    }
}

/// Reads the file and checks everything in it.
pub(super) fn read(path: &Path) -> anyhow::Result<World> {
    file::read(path, parse)
}

pub(super) fn parse(text: &str) -> Result<World, String> {
    let file: File = file::fields(text)?;
    let start = instant("start", &file.start)?;
    let entered_at = match &file.update.entered {
        Some(entered) => instant("entered", entered)?,
        None => start,
    };
    let facts = Facts {
        severity: file.update.severity.map(|one| one.0),
        entered_at,
        exploited: file.update.exploited,
        automatable: file.update.automatable,
        total: file.update.total,
    };
    let groups = file.group.into_iter().map(group).collect::<Result<_, _>>()?;
    let world = World {
        seed: file.seed,
        start,
        days: file.days,
        release_after: file.release_after.map(|one| one.0.0),
        bytes: file.update.size.0.0,
        facts,
        depth: file.depth,
        groups,
        sites: sites(&file.site, &file.line)?,
        freezes: freezes(file.freeze)?,
        site_groups: site_groups(file.site_groups)?,
    };
    world.check().map_err(|error| error.to_string())?;
    Ok(world)
}

fn group((name, file): (String, GroupFile)) -> Result<(GroupName, Behaviour), String> {
    let name = name.parse::<GroupName>().map_err(|error| error.to_string())?;
    let online = file.online.into_iter().map(|one| (one.0.hours, one.0.value)).collect();
    let behaviour = Behaviour {
        online,
        otherwise: file.otherwise.0,
        failed: file.failed.0,
        never: file.never.0,
        install: file.install.0.0,
        exposed: file.exposed,
    };
    Ok((name, behaviour))
}

fn line(site: &Site, zone: &Zone, file: &LineFile) -> Result<Profile, String> {
    let rules = file.rules.iter().map(|one| Rule { hours: one.0.hours, rate: one.0.value });
    let profile = Profile {
        zone: zone.clone(),
        down: Limits { default: file.down.0, rules: rules.collect() },
        bulk: file.bulk.iter().map(|one| one.0).collect(),
        ..Profile::default()
    };
    profile.validate().map_err(|error| format!("the line of site {site}: {error}"))?;
    Ok(profile)
}

fn sites(files: &[SiteFile], lines: &BTreeMap<String, LineFile>) -> Result<Vec<SimSite>, String> {
    let mut sites: Vec<SimSite> = Vec::new();
    let mut places: BTreeMap<Site, usize> = BTreeMap::new();
    for file in files {
        let (name, zone) = (&file.name.0, &file.zone.0);
        let profile = match &file.line {
            None => Profile { zone: zone.clone(), ..Profile::default() },
            Some(kind) => {
                let known = lines.get(kind).ok_or_else(|| {
                    format!("site {name}: there is no line {kind:?}; describe it as [line.{kind}]")
                })?;
                line(name, zone, known)?
            }
        };
        let above =
            match &file.above {
                None => None,
                Some(above) => Some(*places.get(&above.0).ok_or_else(|| {
                    format!("site {name}: there is no site {} before it", above.0)
                })?),
            };
        let machines = file.machines.iter().map(|(group, count)| {
            let group =
                group.parse::<GroupName>().map_err(|error| format!("site {name}: {error}"))?;
            Ok((group, *count))
        });
        let machines = machines.collect::<Result<BTreeMap<GroupName, u64>, String>>()?;
        let count = file.count.unwrap_or(1);
        if count > MAX_SITES.saturating_sub(sites.len()) {
            return Err(format!("site {name}: the mesh has at most {MAX_SITES} sites"));
        }
        for number in 1..=count {
            let name = match file.count {
                None => name.clone(),
                Some(_) => format!("{name}-{number}")
                    .parse::<Site>()
                    .map_err(|error| format!("site {name}: {error}"))?,
            };
            places.insert(name.clone(), sites.len());
            let line = profile.clone();
            sites.push(SimSite { name, line, above, machines: machines.clone() });
        }
    }
    Ok(sites)
}

fn site_groups(files: BTreeMap<String, Vec<Text<Place>>>) -> Result<SiteGroups, String> {
    let group = |(name, sites): (String, Vec<Text<Place>>)| {
        let name = name.parse::<SiteGroupName>().map_err(|error| error.to_string())?;
        let sites: BTreeSet<Site> = sites.into_iter().map(|place| place.0.0).collect();
        match sites.is_empty() {
            true => Err(format!("group of sites {name} has no sites")),
            false => Ok((name, sites)),
        }
    };
    files.into_iter().map(group).collect()
}

fn freezes(files: Vec<FreezeFile>) -> Result<Freezes, String> {
    let mut freezes = Freezes::new();
    for file in files {
        let one = Freeze {
            geographies: file.geographies.into_iter().map(|one| one.0).collect(),
            from: instant("from", &file.from)?,
            until: instant("until", &file.until)?,
            reason: file.reason,
            spares_urgent: file.spares_urgent,
        };
        freeze::add(&mut freezes, file.name.0, one).map_err(|error| error.to_string())?;
    }
    Ok(freezes)
}

#[cfg(test)]
mod tests {
    use patchmesh_topology::simulate::simulate;

    use super::*;
    use crate::cli::rollout::file as plan;

    fn said(from: &str, to: &str) -> String {
        assert!(EXAMPLE.contains(from), "{from}");
        parse(&EXAMPLE.replacen(from, to, 1)).expect_err("refused")
    }

    #[test]
    fn the_example_says_what_it_says_and_can_be_simulated() {
        let world = parse(EXAMPLE).expect("a world");
        assert_eq!(world.sites.len(), 1 + 60 + 1 + 40 + 1 + 20);
        let paris = &world.sites[1];
        assert_eq!((paris.name.as_str(), paris.above), ("emea/fr/office-1", Some(0)));
        assert_eq!(paris.line.bulk.len(), 1);
        assert_eq!(world.freezes.len(), 1);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("plan.toml");
        std::fs::write(&path, plan::EXAMPLE).expect("a file");
        let rollout = plan::read(&path).expect("a plan");
        let outcome = simulate(&world, &rollout).expect("an outcome");
        assert!(outcome.total.installed > 0, "{:?}", outcome.explanation);
        assert_eq!(outcome.geographies.len(), 3);
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(said("size = \"350 MB\"", "size = \"350\"").contains("such as 350 MB"));
        assert!(said("days = 30", "days = 0").contains("1 to 366 days"));
        assert!(
            said("line = \"office\"", "line = \"offise\"").contains("there is no line \"offise\"")
        );
        assert!(
            said("above = \"emea/hub\"", "above = \"emea/hab\"")
                .contains("no site emea/hab before")
        );
        assert!(said("Mon-Fri 08:00-18:00 80 %", "always 80 %").contains("names no hours"));
        assert!(said("release_after", "release_before").contains("release_before"));
        let count = said("count = 60", "count = 1000000");
        assert!(count.contains("at most 100000 sites"), "{count}");
        let local = said("start = 2026-12-01T08:00:00Z", "start = 2026-12-01T08:00:00");
        assert!(local.contains("with its offset"), "{local}");
    }
}
