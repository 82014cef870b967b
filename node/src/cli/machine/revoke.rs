//! `patchmesh machine revoke`: shuts a machine out.

use clap::Args;
use patchmesh_proto::admin;
use patchmesh_topology::name::MachineName;
use serde::Serialize;

use crate::cli::output::Answer;
use crate::cli::{Context, grpc};

/// Shut a machine out: it counts no more, and what it reports is refused
///
/// A token made after this lets it join again.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh machine revoke pc-0815 --comment 'stolen from the train'

JSON:
  {\"machine\"}")]
pub(crate) struct Revoke {
    /// Its name
    name: MachineName,
    /// Why
    #[arg(long, default_value = "")]
    comment: String,
}

#[derive(Debug, Serialize)]
struct Revoked {
    machine: String,
}

impl Answer for Revoked {
    fn text(&self) -> String {
        format!("machine {} was shut out\n", self.machine)
    }
}

impl Revoke {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let machine = self.name.to_string();
        let request = admin::RevokeMachineRequest { name: machine.clone(), comment: self.comment };
        context.machines()?.revoke_machine(request).await.map_err(grpc::failure)?;
        context.output.print(&Revoked { machine })
    }
}
