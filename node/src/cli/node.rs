//! `patchmesh node`: changes of one node.

use clap::{Args, Subcommand};
use patchmesh_proto::admin;
use patchmesh_topology::name::NodeName;
use serde::Serialize;

use super::output::Answer;
use super::select::confirm_on_terminal;
use super::subscription::{Subscribed, Words};
use super::{Context, connect, grpc};

#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    Revoke(Revoke),
    Subscribe(Subscribe),
    Fallback(Fallback),
}

/// Shut a node out for good
///
/// Its certificate is refused from now on, everywhere. Nodes below it are cut
/// off with it until they join anew under another parent.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh node revoke lyon --comment 'stolen from the rack'

JSON:
  {\"name\", \"generation\", \"cut_off\": [NAME]}")]
pub(crate) struct Revoke {
    /// The node's name
    name: NodeName,
    /// Why
    #[arg(long, default_value = "", hide_default_value = true)]
    comment: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// Choose what a node carries of what is approved
///
/// Replaces what was chosen before. What it calls for now is fetched, what it
/// no longer calls for is released; decisions and views stay as they are. A
/// parent carries what any node below it takes, and passes on what it does not
/// carry when a machine asks for it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh node subscribe paris --product windows-11 --language fr --architecture x64
  patchmesh node subscribe paris --classification security,critical
  patchmesh node subscribe paris --everything

JSON:
  {\"name\", \"generation\", \"subscription\": SUBSCRIPTION as in `patchmesh source list`}")]
pub(crate) struct Subscribe {
    /// The node's name
    name: NodeName,
    #[command(flatten)]
    words: Words,
}

/// Choose who stands in for a node's parent
///
/// Replaces what was chosen before. While the parent does not answer the node
/// follows the first of these that does, and goes back when the parent is there
/// again. Each of them carries what the node needs, and may answer for it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh node fallback lyon marseille hq
  patchmesh node fallback lyon --none

JSON:
  {\"name\", \"generation\", \"fallback_parents\": [NAME]}")]
pub(crate) struct Fallback {
    /// The node's name
    name: NodeName,
    /// Who stands in, the first one first
    #[arg(required_unless_present = "none", value_name = "PARENT")]
    parents: Vec<NodeName>,
    /// Nobody
    #[arg(long, conflicts_with = "parents")]
    none: bool,
}

#[derive(Debug, Serialize)]
struct FallsBack {
    name: String,
    generation: u64,
    fallback_parents: Vec<String>,
}

impl Answer for FallsBack {
    fn text(&self) -> String {
        let Self { name, generation, fallback_parents } = self;
        if fallback_parents.is_empty() {
            return format!(
                "nobody stands in for the parent of {name} from generation {generation} on\n"
            );
        }
        let parents = fallback_parents.join(", then ");
        format!("{name} falls back to {parents} from generation {generation} on\n")
    }
}

#[derive(Debug, Serialize)]
struct Revoked {
    name: String,
    generation: u64,
    cut_off: Vec<String>,
}

impl Answer for Revoked {
    fn text(&self) -> String {
        let below = if self.cut_off.is_empty() {
            String::new()
        } else {
            format!("; cut off with it: {}", self.cut_off.join(", "))
        };
        format!("{} is shut out from generation {} on{below}\n", self.name, self.generation)
    }
}

impl Node {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Node::Revoke(command) => command.run(context).await,
            Node::Subscribe(command) => command.run(context).await,
            Node::Fallback(command) => command.run(context).await,
        }
    }
}

impl Revoke {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        if !self.yes {
            confirm_on_terminal(&format!("Shut out {} for good?", self.name))?;
        }
        let request =
            admin::RevokeNodeRequest { name: self.name.to_string(), comment: self.comment };
        let mut admin = context.admin()?;
        let response = admin.revoke_node(request).await.map_err(grpc::failure)?.into_inner();
        context.output.print(&Revoked {
            name: self.name.to_string(),
            generation: response.generation,
            cut_off: response.cut_off,
        })
    }
}

impl Fallback {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let (name, parents) = (self.name.to_string(), self.parents);
        let parents: Vec<String> = parents.iter().map(ToString::to_string).collect();
        let request =
            admin::SetFallbackParentsRequest { node: name.clone(), parents: parents.clone() };
        let mut client = connect::parents(&connect::Target::choose(&context.global)?)?;
        let response = client.set_fallback_parents(request).await.map_err(grpc::failure)?;
        let generation = response.into_inner().generation;
        context.output.print(&FallsBack { name, generation, fallback_parents: parents })
    }
}

impl Subscribe {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let subscription = self.words.to_wire()?;
        let name = self.name.to_string();
        let request =
            admin::SubscribeNodeRequest { name: name.clone(), subscription: subscription.clone() };
        let mut client = context.subscriptions()?;
        let response = client.subscribe_node(request).await.map_err(grpc::failure)?;
        let subscription = subscription.unwrap_or_default().into();
        let generation = response.into_inner().generation;
        context.output.print(&Subscribed { name, generation, subscription })
    }
}
