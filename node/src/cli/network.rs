//! `patchmesh network`: where addresses are.

use clap::{Args, Subcommand};
use patchmesh_proto::{admin, wire};
use patchmesh_topology::name::Site;
use patchmesh_topology::node::network::Network as Prefix;
use serde::Serialize;

use super::output::{Answer, table};
use super::{Context, connect, grpc};

#[derive(Debug, Subcommand)]
pub(crate) enum Network {
    List(List),
    Set(Set),
    Remove(Remove),
}

/// List the networks, and which nodes would serve machines there
///
/// Those are the nodes of the site for the stage of a machine's group; where it
/// has none, those of the site that encloses it, and so on.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh network list

JSON:
  {\"networks\": [{\"network\", \"site\", \"production\": NODES, \"validation\": NODES}]}
  NODES: {\"nodes\": [NAME] (the first 16), \"count\"}")]
pub(crate) struct List {}

/// Say at which site the addresses of a network are
///
/// Where networks overlap, the longest prefix says it. Set again, a network is
/// somewhere else.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh network set 10.3.0.0/16 emea/fr/paris
  patchmesh network set 2001:db8:3::/48 emea/fr/paris

JSON:
  {\"network\", \"generation\"}")]
pub(crate) struct Set {
    /// The network: an address and the length of its prefix
    #[arg(value_name = "PREFIX")]
    network: Prefix,
    /// Where it is
    site: Site,
}

/// Remove a network: its addresses are nowhere, or where a shorter prefix says
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh network remove 10.3.0.0/16

JSON:
  {\"network\", \"generation\"}")]
pub(crate) struct Remove {
    /// The network: an address and the length of its prefix
    #[arg(value_name = "PREFIX")]
    network: Prefix,
}

#[derive(Debug, Serialize)]
struct Changed {
    network: String,
    generation: u64,
    #[serde(skip)]
    what: String,
}

impl Answer for Changed {
    fn text(&self) -> String {
        format!("Network {} {} from generation {} on.\n", self.network, self.what, self.generation)
    }
}

#[derive(Debug, Serialize)]
struct Networks {
    networks: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    network: String,
    site: String,
    production: Nodes,
    validation: Nodes,
}

#[derive(Debug, Serialize)]
struct Nodes {
    nodes: Vec<String>,
    count: u32,
}

impl From<Option<admin::NearestNodes>> for Nodes {
    fn from(nodes: Option<admin::NearestNodes>) -> Self {
        let admin::NearestNodes { nodes, count } = nodes.unwrap_or_default();
        Self { nodes, count }
    }
}

impl From<admin::NetworkRow> for Row {
    fn from(row: admin::NetworkRow) -> Self {
        let wire::Network { prefix, site } = row.network.unwrap_or_default();
        let (production, validation) = (row.production.into(), row.validation.into());
        Self { network: prefix, site, production, validation }
    }
}

impl Nodes {
    fn text(&self) -> String {
        let more = (self.count as usize).saturating_sub(self.nodes.len());
        match (self.nodes.as_slice(), more) {
            ([], _) => "none joined: machines there keep their own node".to_owned(),
            (nodes, 0) => nodes.join(", "),
            (nodes, more) => format!("{} and {more} more", nodes.join(", ")),
        }
    }
}

impl Answer for Networks {
    fn text(&self) -> String {
        if self.networks.is_empty() {
            return "No network is set: machines keep their own node.\n".to_owned();
        }
        table(
            ["network", "site", "production", "validation"],
            self.networks.iter().map(|row| {
                let (production, validation) = (row.production.text(), row.validation.text());
                [row.network.clone(), row.site.clone(), production, validation]
            }),
        )
    }
}

impl Network {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Network::List(List {}) => list(context).await,
            Network::Set(command) => command.run(context).await,
            Network::Remove(command) => command.run(context).await,
        }
    }
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let mut client = connect::networks(&connect::Target::choose(&context.global)?)?;
    let answer = client.list_networks(admin::ListNetworksRequest {}).await;
    let networks = answer.map_err(grpc::failure)?.into_inner().networks;
    context.output.print(&Networks { networks: networks.into_iter().map(Row::from).collect() })
}

impl Set {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let (prefix, site) = (self.network.to_string(), self.site.to_string());
        let network = Some(wire::Network { prefix: prefix.clone(), site: site.clone() });
        let mut client = connect::networks(&connect::Target::choose(&context.global)?)?;
        let answer = client.set_network(admin::SetNetworkRequest { network }).await;
        let generation = answer.map_err(grpc::failure)?.into_inner().generation;
        context.output.print(&Changed {
            network: prefix,
            generation,
            what: format!("is at {site}"),
        })
    }
}

impl Remove {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let prefix = self.network.to_string();
        let mut client = connect::networks(&connect::Target::choose(&context.global)?)?;
        let request = admin::RemoveNetworkRequest { prefix: prefix.clone() };
        let answer = client.remove_network(request).await;
        let generation = answer.map_err(grpc::failure)?.into_inner().generation;
        context.output.print(&Changed { network: prefix, generation, what: "is gone".to_owned() })
    }
}
