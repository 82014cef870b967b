//! `patchmesh invite`: a one-time token for a new node.

use std::time::Duration;

use clap::Args;
use patchmesh_proto::{admin, wire};
use patchmesh_topology::name::{NodeName, Site};
use patchmesh_topology::node::{Role, Stage};
use serde::Serialize;

use super::output::{Answer, fields};
use super::{Context, answer, connect, grpc, stage};
use crate::duration;

/// Make a one-time token for a new node
///
/// The token works once, expires, and is all that the new host needs. Whoever
/// holds it can join in the node's place, so hand it over with care.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh invite lab --role validation --parent primary --site hq/lab
  patchmesh invite lyon --role branch --parent paris --site emea/fr/lyon --valid 2h
  patchmesh invite lyon --parent paris --fallback hq --site emea/fr/lyon

JSON:
  {\"name\", \"token\", \"expires_at\"}")]
pub(crate) struct Invite {
    /// The new node's name, unique in the mesh
    name: NodeName,
    /// What it is for: validation or branch
    #[arg(long, default_value_t = Role::Branch)]
    role: Role,
    /// The node that it pulls from
    #[arg(long, value_name = "NODE")]
    parent: NodeName,
    /// Where it stands, as a path
    #[arg(long)]
    site: Site,
    /// A stage to serve to its own machines, once for each [default: the role's own]
    #[arg(long = "stage", value_name = "STAGE")]
    stages: Vec<Stage>,
    /// A node that stands in while the parent is gone, once for each, in order
    #[arg(long = "fallback", value_name = "NODE")]
    fallback: Vec<NodeName>,
    /// Let it stand by for the primary, as `standby add` does
    #[arg(long)]
    standby: bool,
    /// Life of the token
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration::parse)]
    valid: Duration,
}

#[derive(Debug, Serialize)]
struct Invited {
    name: String,
    token: String,
    expires_at: Option<String>,
}

impl Answer for Invited {
    fn text(&self) -> String {
        let facts = fields([
            ("node", Some(self.name.clone())),
            ("expires", self.expires_at.clone()),
            ("token", Some(self.token.clone())),
        ]);
        format!(
            "{facts}\nNext, on the new host:\n  patchmesh join TOKEN --url https://HOST:8443\n  patchmesh serve\n"
        )
    }
}

impl Invite {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let request = admin::InviteNodeRequest {
            name: self.name.to_string(),
            role: match self.role {
                Role::Primary => wire::Role::Primary,
                Role::Validation => wire::Role::Validation,
                Role::Branch => wire::Role::Branch,
            }
            .into(),
            parent: self.parent.to_string(),
            site: self.site.to_string(),
            stages: self.stages.into_iter().map(|stage| stage::to_wire(stage).into()).collect(),
            valid_seconds: self.valid.as_secs().max(1),
        };
        let mut admin = context.admin()?;
        let response = admin.invite_node(request).await.map_err(grpc::failure)?.into_inner();
        if !self.fallback.is_empty() {
            let mut client = connect::parents(&connect::Target::choose(&context.global)?)?;
            let parents = self.fallback.iter().map(ToString::to_string).collect();
            let request = admin::SetFallbackParentsRequest { node: self.name.to_string(), parents };
            client.set_fallback_parents(request).await.map_err(grpc::failure)?;
        }
        if self.standby {
            let mut client = connect::standbys(&connect::Target::choose(&context.global)?)?;
            let request = admin::SetStandbyRequest { node: self.name.to_string(), standby: true };
            client.set_standby(request).await.map_err(grpc::failure)?;
        }
        context.output.print(&Invited {
            name: self.name.to_string(),
            token: response.token,
            expires_at: answer::time(response.expires_at.as_ref()),
        })
    }
}
