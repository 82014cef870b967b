//! `patchmesh report inventory MACHINE`: what is on a machine.

use clap::Args;
use patchmesh_proto::admin;
use patchmesh_topology::name::MachineName;
use serde::Serialize;

use crate::agent::command::inventory::Shown;
use crate::agent::inventory::Listing;
use crate::cli::output::{Answer, fields};
use crate::cli::{Context, answer, grpc};

/// Show what is on a machine, as it told the node that it reports to
///
/// An agent sends its inventory whenever something in it changed, and the node keeps the last one.
/// It goes no further up: name a machine's node with --node. Whether it is the newest shows by its
/// digest, which `patchmesh machine show` has among the machine's facts.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh report inventory pc-0815 --node paris

JSON:
  {\"machine\", \"at\"} and as `patchmesh agent inventory --help`")]
pub(crate) struct Inventory {
    /// Its name
    machine: MachineName,
}

#[derive(Debug, Serialize)]
struct Told {
    machine: String,
    at: Option<String>,
    #[serde(flatten)]
    shown: Shown,
}

impl Answer for Told {
    fn text(&self) -> String {
        let head = fields([("machine", Some(self.machine.clone())), ("told at", self.at.clone())]);
        head + &self.shown.text()
    }
}

impl Inventory {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let request = admin::GetInventoryRequest { name: self.machine.to_string() };
        let response = context.machines()?.get_inventory(request).await.map_err(grpc::failure)?;
        let response = response.into_inner();
        let listing = Listing::try_from(response.inventory.unwrap_or_default())?;
        context.output.print(&Told {
            machine: self.machine.to_string(),
            at: answer::time(response.at.as_ref()),
            shown: Shown::from(listing),
        })
    }
}
