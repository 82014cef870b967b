//! The running mesh as a world to simulate a plan in: the very text that a person
//! would write, so that what is simulated can be read and changed.
//!
//! Sites, lines, freezes, groups of sites and counts of machines are the mesh's
//! own. How machines behave and what is rolled out it does not know: that is
//! assumed, and said to be.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use patchmesh_proto::{admin, convert, wire};
use patchmesh_topology::link::profile::Profile;
use patchmesh_topology::name::{NodeName, Site};

use crate::cli::exit::Exit;
use crate::cli::file::quoted;
use crate::cli::{Context, answer, connect, grpc};

/// Days that are watched unless the file says otherwise.
const DAYS: u16 = 30;

/// What was asked of the mesh.
#[derive(Debug, Default)]
pub(super) struct Mesh {
    nodes: Vec<wire::Node>,
    links: BTreeMap<NodeName, Profile>,
    /// Machines known, and those of them that spoke within a week, by site and
    /// group.
    machines: BTreeMap<(String, String), (u64, u64)>,
    freezes: Vec<wire::Freeze>,
    site_groups: Vec<wire::SiteGroup>,
}

/// A site of the world.
#[derive(Debug, Default)]
struct Place {
    zone: String,
    line: Option<String>,
    above: Option<String>,
    machines: BTreeMap<String, u64>,
}

/// Asks the node that the user means. Machines are known to the primary alone.
pub(super) async fn ask(context: &Context) -> anyhow::Result<Mesh> {
    let rows = context.admin()?.list_nodes(admin::ListNodesRequest {}).await;
    let nodes = rows.map_err(grpc::failure)?.into_inner().nodes;
    let mut links = connect::links(&connect::Target::choose(&context.global)?)?;
    let links = links.list_links(admin::ListLinksRequest {}).await.map_err(grpc::failure)?;
    let links = links.into_inner().links.into_iter().map(convert::link);
    let mut rollouts = context.rollouts()?;
    let freezes = rollouts.list_freezes(admin::ListFreezesRequest {}).await;
    let groups = rollouts.list_site_groups(admin::ListSiteGroupsRequest {}).await;
    let summary = admin::SummarizeReportsRequest::default();
    let summary = context.machines()?.summarize_reports(summary).await.map_err(grpc::failure)?;
    let summary = summary.into_inner();
    if summary.is_cut {
        return Err(Exit::Failed.error(format!(
            "machines report from more than {} places, which is more than one answer holds; describe the mesh in a file and give it with --world",
            summary.rows.len()
        )));
    }
    let count = |row: admin::SummaryRow| ((row.site, row.group), (row.known, row.seen_week));
    Ok(Mesh {
        nodes: nodes.into_iter().filter_map(|row| row.node).filter(takes_part).collect(),
        links: links.collect::<Result<_, _>>()?,
        machines: summary.rows.into_iter().filter(|row| row.known > 0).map(count).collect(),
        freezes: freezes.map_err(grpc::failure)?.into_inner().freezes,
        site_groups: groups.map_err(grpc::failure)?.into_inner().site_groups,
    })
}

fn takes_part(node: &wire::Node) -> bool {
    node.membership() != wire::Membership::Revoked
}

impl Mesh {
    /// What is known of it, in a line.
    pub(super) fn known(&self) -> String {
        let sites: BTreeSet<&str> = self.nodes.iter().map(|node| node.site.as_str()).collect();
        let machines: u64 = self.machines.values().map(|(known, _)| known).sum();
        format!(
            "this is the running mesh: {}, {} with a profile, {} that joined; how machines behave and what is rolled out is assumed (--describe prints all of it, to be changed and given with --world)",
            answer::counted(sites.len() as u64, "site"),
            answer::counted(self.links.len() as u64, "line"),
            answer::counted(machines, "machine")
        )
    }

    /// The world as a file, from `now` on, where a site lacks `size`.
    pub(super) fn describe(&self, size: &str, now: Timestamp) -> String {
        let start = now.round(jiff::Unit::Second).unwrap_or(now);
        let mut text = format!(
            "# The running mesh at {start}. Change it, then:\n\
             #   patchmesh rollout simulate PLAN --world THIS-FILE\n\
             # `patchmesh rollout simulate --example` explains every field.\n\n\
             seed = 1\nstart = {start}\ndays = {DAYS}\ndepth = 1\n\
             # Assumed: how long an operator takes to release a wave.\nrelease_after = \"4h\"\n"
        );
        self.say_site_groups(&mut text);
        let _ = write!(
            text,
            "\n# Assumed: what a site lacks of it, and what its deadline hangs on.\n\
             [update]\nsize = {}\nseverity = \"important\"\nentered = {start}\n",
            quoted(size)
        );
        let places = self.places();
        self.say_lines(&mut text, &places);
        self.say_groups(&mut text);
        for (site, place) in &places {
            say_site(&mut text, site, place);
        }
        self.say_freezes(&mut text, now);
        text
    }

    /// Every site once, those above before those below.
    fn places(&self) -> Vec<(String, Place)> {
        let by_name: BTreeMap<&str, &wire::Node> =
            self.nodes.iter().map(|node| (node.name.as_str(), node)).collect();
        let above = |node: &wire::Node| by_name.get(node.parent.as_str()).copied();
        let depth = |node: &wire::Node| {
            let mut depth = 0;
            let mut at = above(node);
            while let Some(next) = at.filter(|_| depth <= self.nodes.len()) {
                (depth, at) = (depth + 1, above(next));
            }
            depth
        };
        let mut nodes: Vec<(usize, &wire::Node)> =
            self.nodes.iter().map(|node| (depth(node), node)).collect();
        nodes.sort_by_key(|(depth, node)| (*depth, &node.site, &node.name));
        let mut places: Vec<(String, Place)> = Vec::new();
        for (_, node) in nodes {
            if places.iter().any(|(site, _)| *site == node.site) {
                continue;
            }
            let profile = node.name.parse().ok().and_then(|name: NodeName| self.links.get(&name));
            // Headquarters has all content.
            let from = above(node).filter(|above| !above.parent.is_empty());
            let from = from.map(|above| above.site.clone()).filter(|site| *site != node.site);
            let zone = profile.map_or("UTC", |profile| profile.zone.name()).to_owned();
            let line = profile.map(|_| node.name.clone());
            let place = Place { zone, line, above: from, machines: BTreeMap::new() };
            places.push((node.site.clone(), place));
        }
        for ((site, group), (known, _)) in &self.machines {
            let at = places.iter().position(|(place, _)| place == site).unwrap_or_else(|| {
                // Machines elsewhere go to the nearest node above.
                places.push((site.clone(), below(&places, site)));
                places.len() - 1
            });
            places[at].1.machines.insert(group.clone(), *known);
        }
        places
    }

    fn say_lines(&self, text: &mut String, places: &[(String, Place)]) {
        for name in places.iter().filter_map(|(_, place)| place.line.as_ref()) {
            let Some(profile) = name.parse().ok().and_then(|name: NodeName| self.links.get(&name))
            else {
                continue;
            };
            let rules: Vec<String> = profile
                .down
                .rules
                .iter()
                .map(|rule| format!("{} {}", rule.hours, rule.rate))
                .collect();
            let bulk: Vec<String> = profile.bulk.iter().map(ToString::to_string).collect();
            let _ = write!(
                text,
                "\n[line.{}]\ndown = \"{}\"\nrules = {}\nbulk = {}\n",
                quoted(name),
                profile.down.default,
                list(&rules),
                list(&bulk)
            );
        }
    }

    fn say_groups(&self, text: &mut String) {
        let mut groups: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for ((_, group), (known, seen)) in &self.machines {
            let sum = groups.entry(group).or_default();
            *sum = (sum.0 + known, sum.1 + seen);
        }
        if groups.is_empty() {
            text.push_str("\n# No machine has joined: say how many there are at each site.\n");
            groups.insert("workstations", (0, 0));
        }
        for (group, (known, seen)) in groups {
            // Rounded up, so that a single silent machine is one.
            let silent = known.saturating_sub(seen).saturating_mul(10_000).div_ceil(known.max(1));
            let _ = write!(
                text,
                "\n# Assumed, but for `never`: those that did not speak for a week.\n\
                 [group.{}]\nonline = [\"Mon-Fri 08:00-18:00 80 %\", \"Mon-Fri 18:00-08:00 15 %\"]\n\
                 otherwise = \"3 %\"\nfailed = \"0.5 %\"\nnever = \"{}.{:02} %\"\n\
                 install = \"20m\"\nexposed = false\n",
                quoted(group),
                silent / 100,
                silent % 100
            );
        }
    }

    fn say_site_groups(&self, text: &mut String) {
        if !self.site_groups.is_empty() {
            text.push_str("\n[site_groups]\n");
        }
        for group in &self.site_groups {
            let _ = writeln!(text, "{} = {}", quoted(&group.name), list(&group.sites));
        }
    }

    fn say_freezes(&self, text: &mut String, now: Timestamp) {
        for freeze in self.freezes.iter().cloned() {
            let Ok((name, freeze)) = convert::freeze(freeze) else { continue };
            if freeze.until <= now + SignedDuration::from_mins(1) {
                continue;
            }
            let places: Vec<String> = freeze.geographies.iter().map(ToString::to_string).collect();
            let _ = write!(
                text,
                "\n[[freeze]]\nname = {}\ngeographies = {}\nfrom = {:.0}\nuntil = {:.0}\nreason = {}\nspares_urgent = {}\n",
                quoted(name.as_str()),
                list(&places),
                freeze.from,
                freeze.until,
                quoted(&freeze.reason),
                freeze.spares_urgent
            );
        }
    }
}

/// A site without a node, below the nearest that has one.
fn below(places: &[(String, Place)], site: &str) -> Place {
    let above = |place: &str| match (site.parse::<Site>(), place.parse::<Site>()) {
        (Ok(site), Ok(place)) => site.is_within(&place),
        _ => false,
    };
    let nearest = places.iter().filter(|(place, _)| above(place));
    let nearest = nearest.max_by_key(|(place, _)| place.len());
    Place {
        zone: nearest.map_or("UTC", |(_, place)| &place.zone).to_owned(),
        line: None,
        above: nearest.map(|(place, _)| place.clone()),
        machines: BTreeMap::new(),
    }
}

fn say_site(text: &mut String, site: &str, place: &Place) {
    let _ = write!(text, "\n[[site]]\nname = {}\nzone = {}\n", quoted(site), quoted(&place.zone));
    for (field, value) in [("line", &place.line), ("above", &place.above)] {
        if let Some(value) = value {
            let _ = writeln!(text, "{field} = {}", quoted(value));
        }
    }
    let machines: Vec<String> = place
        .machines
        .iter()
        .map(|(group, count)| format!("{} = {count}", quoted(group)))
        .collect();
    if !machines.is_empty() {
        let _ = writeln!(text, "machines = {{ {} }}", machines.join(", "));
    }
}

fn list(all: &[String]) -> String {
    format!("[{}]", all.iter().map(|one| quoted(one)).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use patchmesh_topology::link::profile::Limits;

    use super::super::world;
    use super::*;

    fn node(name: &str, parent: &str, site: &str) -> wire::Node {
        let text = |text: &str| text.to_owned();
        wire::Node {
            name: text(name),
            parent: text(parent),
            site: text(site),
            ..Default::default()
        }
    }

    /// Headquarters, a hub with two nodes, a branch below it; machines at a site
    /// of their own as well.
    fn mesh() -> Mesh {
        let line = Profile {
            zone: "Europe/Paris".parse().expect("a zone"),
            down: Limits { default: "10Mbit/s".parse().expect("a rate"), rules: Vec::new() },
            bulk: vec!["18:00-08:00".parse().expect("hours")],
            ..Profile::default()
        };
        let machines = [("emea/fr/lyon", 40, 40), ("emea/fr/lyon/shop", 3, 1)];
        let at = |second| Some(prost_types::Timestamp { seconds: second, nanos: 0 });
        let freeze = |name: &str, until| wire::Freeze {
            name: name.to_owned(),
            geographies: vec!["emea".to_owned()],
            from: at(1_000),
            until: at(until),
            reason: "the \"fair\"".to_owned(),
            spares_urgent: true,
        };
        Mesh {
            nodes: vec![
                node("lyon", "hub", "emea/fr/lyon"),
                node("hub", "hq", "emea"),
                node("hub-2", "hq", "emea"),
                node("hq", "", "hq"),
            ],
            links: [("lyon".parse().expect("a name"), line)].into(),
            machines: machines
                .map(|(site, known, seen)| ((site.to_owned(), "tills".to_owned()), (known, seen)))
                .into(),
            freezes: vec![freeze("past", 2_000), freeze("fair", 9_000)],
            site_groups: vec![wire::SiteGroup {
                name: "shops".to_owned(),
                sites: vec!["emea/fr".to_owned()],
            }],
        }
    }

    #[test]
    fn what_is_known_is_described_and_can_be_read_again() {
        let now = Timestamp::from_second(5_000).expect("a time");
        let text = mesh().describe("5 MB", now);
        let world = world::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let sites: Vec<(&str, Option<usize>)> =
            world.sites.iter().map(|site| (site.name.as_str(), site.above)).collect();
        assert_eq!(
            sites,
            [
                ("hq", None),
                ("emea", None),
                ("emea/fr/lyon", Some(1)),
                ("emea/fr/lyon/shop", Some(2))
            ]
        );
        let lyon = &world.sites[2];
        assert_eq!(lyon.line.zone.name(), "Europe/Paris");
        assert_eq!(lyon.line.down.default.to_string(), "10Mbit/s");
        assert_eq!(lyon.line.bulk.len(), 1);
        assert_eq!(world.sites[3].line.zone.name(), "Europe/Paris");
        assert_eq!(lyon.machines.values().sum::<u64>(), 40);
        assert_eq!(world.bytes, 5_000_000);
        assert_eq!(world.freezes.len(), 1, "what has ended is left out");
        assert_eq!(
            world.freezes.values().next().map(|one| one.reason.as_str()),
            Some("the \"fair\"")
        );
        assert_eq!(world.site_groups.len(), 1);
        let tills = world.groups.values().next().expect("a group");
        assert_eq!(tills.never.to_string(), "4.66 %", "two of 43 did not speak for a week");
    }

    #[test]
    fn a_mesh_without_machines_can_be_described() {
        let mesh = Mesh { machines: BTreeMap::new(), ..mesh() };
        let text = mesh.describe("5 MB", Timestamp::from_second(5_000).expect("a time"));
        assert!(world::parse(&text).is_ok(), "{text}");
        assert!(mesh.known().contains("3 sites, 1 line with a profile, 0 machines"));
    }
}
