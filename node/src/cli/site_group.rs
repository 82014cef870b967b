//! `patchmesh site-group`: sites that waves of rollouts go to by one name.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use patchmesh_proto::{admin, wire};
use patchmesh_topology::name::{Site, SiteGroupName};
use serde::Serialize;

use super::output::{Answer, table};
use super::rollout::file::Place;
use super::{Context, grpc};

#[derive(Debug, Subcommand)]
pub(crate) enum SiteGroup {
    Set(Set),
    List(List),
    Remove(Remove),
}

/// Let a name stand for sites, in place of what it stood for
///
/// A wave with `geographies = ["@big-plants"]` goes to all of them. Plans that
/// name the group go to its new sites as soon as their wave is open there; what is
/// open at a site that is left out closes. Signed with the plans by operators.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh site-group set big-plants emea/fr/paris 'emea/de/**'

JSON:
  {\"site_group\", \"generation\"}")]
pub(crate) struct Set {
    /// Its name
    name: SiteGroupName,
    /// The sites, each with all below it
    #[arg(value_name = "SITE", required = true)]
    sites: Vec<Place>,
}

/// List the groups of sites
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh site-group list

JSON:
  {\"site_groups\": [{\"name\", \"sites\": [SITE]}]}")]
pub(crate) struct List {}

/// Forget a group of sites that no rollout names
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh site-group remove big-plants

JSON:
  as `site-group set`")]
pub(crate) struct Remove {
    /// Its name
    name: SiteGroupName,
}

#[derive(Debug, Serialize)]
struct Changed {
    site_group: String,
    generation: u64,
}

impl Answer for Changed {
    fn text(&self) -> String {
        format!("group of sites {}; generation {}\n", self.site_group, self.generation)
    }
}

#[derive(Debug, Serialize)]
struct Rows {
    site_groups: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    sites: Vec<String>,
}

impl Answer for Rows {
    fn text(&self) -> String {
        let row = |row: &Row| [row.name.clone(), row.sites.join(" ")];
        table(["group of sites", "sites"], self.site_groups.iter().map(row))
    }
}

impl SiteGroup {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut client = context.rollouts()?;
        match self {
            Self::Set(Set { name, sites }) => {
                let sites: BTreeSet<Site> = sites.into_iter().map(|place| place.0).collect();
                let sites = sites.iter().map(ToString::to_string).collect();
                let group = wire::SiteGroup { name: name.to_string(), sites };
                let request = admin::SetSiteGroupRequest { site_group: Some(group) };
                let response = client.set_site_group(request).await.map_err(grpc::failure)?;
                let generation = response.into_inner().generation;
                context.output.print(&Changed { site_group: name.to_string(), generation })
            }
            Self::Remove(Remove { name }) => {
                let request = admin::RemoveSiteGroupRequest { name: name.to_string() };
                let response = client.remove_site_group(request).await.map_err(grpc::failure)?;
                let generation = response.into_inner().generation;
                context.output.print(&Changed { site_group: name.to_string(), generation })
            }
            Self::List(List {}) => {
                let request = admin::ListSiteGroupsRequest {};
                let response = client.list_site_groups(request).await.map_err(grpc::failure)?;
                let row = |group: wire::SiteGroup| Row { name: group.name, sites: group.sites };
                let site_groups = response.into_inner().site_groups.into_iter().map(row).collect();
                context.output.print(&Rows { site_groups })
            }
        }
    }
}
