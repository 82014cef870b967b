//! `patchmesh user revoke`: shuts a person out.

use clap::Args;
use patchmesh_proto::admin;
use patchmesh_topology::name::UserName;
use serde::Serialize;

use crate::cli::output::Answer;
use crate::cli::select::confirm_on_terminal;
use crate::cli::{Context, grpc};

/// Shut a person out for good
///
/// Their certificate and their signatures are refused at once. If their key
/// holds a role, the root key has to take it away: with that key on the
/// primary this happens along with it, else it needs `root prepare`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh user revoke alice --comment 'left the company'

JSON:
  {\"name\", \"generation\", \"holds\": [ROLE], \"pending\", \"problem\"}")]
pub(crate) struct Revoke {
    /// The person's name
    name: UserName,
    /// Why
    #[arg(long, default_value = "", hide_default_value = true)]
    comment: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

#[derive(Debug, Serialize)]
struct Revoked {
    name: String,
    generation: u64,
    holds: Vec<String>,
    pending: Option<u64>,
    problem: Option<String>,
}

impl Answer for Revoked {
    fn text(&self) -> String {
        let mut text =
            format!("{} is shut out from generation {} on\n", self.name, self.generation);
        if !self.holds.is_empty() {
            text += &format!("Their key still holds: {}\n", self.holds.join(", "));
        }
        if let Some(problem) = &self.problem {
            text += &format!("The key could not be taken away yet: {problem}\n");
        }
        if let Some(id) = self.pending {
            text += &format!("Waiting for signatures: patchmesh pending show {id}\n");
        }
        text
    }
}

impl Revoke {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        if !self.yes {
            confirm_on_terminal(&format!("Shut out {} for good?", self.name))?;
        }
        let request =
            admin::RevokeUserRequest { name: self.name.to_string(), comment: self.comment };
        let mut people = context.people()?;
        let response = people.revoke_user(request).await.map_err(grpc::failure)?.into_inner();
        context.output.print(&Revoked {
            name: self.name.to_string(),
            generation: response.generation,
            holds: response.holds,
            pending: (response.pending != 0).then_some(response.pending),
            problem: (!response.problem.is_empty()).then_some(response.problem),
        })
    }
}
