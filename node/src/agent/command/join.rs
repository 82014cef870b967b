//! `patchmesh agent join`.

use clap::Args;
use patchmesh_topology::name::MachineName;
use serde::Serialize;

use super::Folder;
use crate::agent::join;
use crate::terminal::output::{Answer, Output, fields};
use crate::terminal::token::read_token;

/// Make this computer a machine of the mesh, with a group's token
///
/// The machine's key is made here and never leaves. The mesh's root is pinned:
/// from then on nothing counts that headquarters did not sign. A machine joins
/// again, under its name, when its certificate ended or at another node; what it
/// did and has not reported yet is kept.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh agent join pm1.CiQ3ZDYw --name pc-0815
  patchmesh agent join - --name pc-0815 < token.txt

JSON:
  {\"machine\", \"group\", \"mesh_id\", \"node\", \"url\", \"state\"}")]
pub(crate) struct Join {
    /// The token from `machine token`, or - to read it from standard input
    token: String,
    /// The machine's name, which no other machine of the mesh has
    #[arg(long, value_name = "NAME")]
    name: MachineName,
    #[command(flatten)]
    folder: Folder,
}

#[derive(Debug, Serialize)]
struct Joined {
    machine: String,
    group: String,
    mesh_id: String,
    node: String,
    url: String,
    state: String,
}

impl Answer for Joined {
    fn text(&self) -> String {
        let facts = fields([
            ("machine", Some(format!("{} of group {}", self.machine, self.group))),
            ("mesh", Some(self.mesh_id.clone())),
            ("node", Some(format!("{} at {}", self.node, self.url))),
            ("state", Some(self.state.clone())),
        ]);
        format!("{facts}\nNext: patchmesh agent run --once\n")
    }
}

impl Join {
    pub(crate) async fn run(self, output: Output) -> anyhow::Result<()> {
        let state = self.folder.state();
        let joined = join::run(&state, &read_token(self.token)?, &self.name).await?;
        output.print(&Joined {
            machine: joined.machine,
            group: joined.group,
            mesh_id: joined.mesh_id,
            node: joined.node,
            url: joined.node_url,
            state: state.folder().display().to_string(),
        })
    }
}
