//! `patchmesh machine token`: lets machines join a group.

use std::time::Duration;

use clap::Args;
use patchmesh_proto::admin;
use patchmesh_topology::name::{GroupName, NodeName};
use serde::Serialize;

use crate::cli::output::{Answer, fields};
use crate::cli::{Context, answer, grpc};
use crate::duration;

/// Make a token with which machines join a group
///
/// Each machine chooses its own name and makes its own key. The token lets in as many machines
/// as it says until it expires. It takes the place of no machine that is there already: for one that was
/// set up anew, make a new token.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh machine token workstations --uses 50
  patchmesh machine token servers --valid 2h --via paris

JSON:
  {\"group\", \"token\", \"uses\", \"expires_at\"}")]
pub(crate) struct Token {
    /// The group that they join
    group: GroupName,
    /// How many machines may join with it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    uses: u32,
    /// Life of the token
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = duration::parse)]
    valid: Duration,
    /// The node that they ask to join, and report to at first [default: the primary]
    #[arg(long, value_name = "NODE")]
    via: Option<NodeName>,
}

#[derive(Debug, Serialize)]
struct Made {
    group: String,
    token: String,
    uses: u32,
    expires_at: Option<String>,
}

impl Answer for Made {
    fn text(&self) -> String {
        fields([
            ("group", Some(self.group.clone())),
            ("uses", Some(self.uses.to_string())),
            ("expires", self.expires_at.clone()),
            ("token", Some(self.token.clone())),
        ])
    }
}

impl Token {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let request = admin::CreateMachineTokenRequest {
            group: self.group.to_string(),
            uses: self.uses,
            valid_seconds: self.valid.as_secs().max(1),
            via: self.via.map(|via| via.to_string()).unwrap_or_default(),
        };
        let response = context.machines()?.create_machine_token(request).await;
        let response = response.map_err(grpc::failure)?.into_inner();
        context.output.print(&Made {
            group: self.group.to_string(),
            token: response.token,
            uses: response.uses,
            expires_at: answer::time(response.expires_at.as_ref()),
        })
    }
}
