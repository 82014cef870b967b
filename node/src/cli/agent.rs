//! `patchmesh agent`: this machine, as a client of the mesh.

use clap::Subcommand;

use super::Context;

mod inventory;

#[derive(Debug, Subcommand)]
pub(crate) enum Agent {
    Inventory(inventory::Show),
}

impl Agent {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Inventory(command) => command.run(context).await,
        }
    }
}
