//! `patchmesh user invite`: a one-time token for a person.

use std::time::Duration;

use clap::Args;
use patchmesh_proto::{admin, wire};
use patchmesh_topology::name::{NodeName, Site, UserName};
use patchmesh_topology::person::UserRole;
use serde::Serialize;

use crate::cli::exit::Exit;
use crate::cli::output::{Answer, fields};
use crate::cli::{Context, answer, grpc};
use crate::duration;

/// The role that `--site` belongs to.
const SITE_ADMINISTRATOR: &str = "site-administrator";

/// Make a one-time token for a person
///
/// The token works once, expires, and is all that the person needs on their
/// own machine. Whoever holds it can join in their place, so hand it over
/// with care.
#[derive(Debug, Args)]
#[command(after_help = "\
Roles: administrator, security, approver:STAGE, operator,
site-administrator:SITE and auditor.

Examples:
  patchmesh user invite alice --role approver:production
  patchmesh user invite bob --role approver:validation --role operator --valid 2h
  patchmesh user invite carol --role site-administrator --site emea/fr --via paris

JSON:
  {\"name\", \"roles\": [ROLE], \"token\", \"expires_at\"}")]
pub(crate) struct Invite {
    /// The person's name, unique in the mesh
    name: UserName,
    /// What they may do, once for each role
    #[arg(long = "role", value_name = "ROLE", required = true)]
    roles: Vec<String>,
    /// The site of a site administrator
    #[arg(long)]
    site: Option<Site>,
    /// The node that they will ask to join [default: the primary]
    #[arg(long, value_name = "NODE")]
    via: Option<NodeName>,
    /// Life of the token
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration::parse)]
    valid: Duration,
}

#[derive(Debug, Serialize)]
struct Invited {
    name: String,
    roles: Vec<String>,
    token: String,
    expires_at: Option<String>,
}

impl Answer for Invited {
    fn text(&self) -> String {
        let facts = fields([
            ("user", Some(self.name.clone())),
            ("roles", Some(self.roles.join(", "))),
            ("expires", self.expires_at.clone()),
            ("token", Some(self.token.clone())),
        ]);
        format!(
            "{facts}\nNext, on the person's own machine:\n  patchmesh user join TOKEN --credentials FOLDER\n"
        )
    }
}

impl Invite {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let roles = roles(&self.roles, self.site.as_ref())?;
        let request = admin::InviteUserRequest {
            name: self.name.to_string(),
            roles: roles.iter().map(wire::UserRole::from).collect(),
            valid_seconds: self.valid.as_secs().max(1),
            via: self.via.map(|via| via.to_string()).unwrap_or_default(),
        };
        let mut people = context.people()?;
        let response = people.invite_user(request).await.map_err(grpc::failure)?.into_inner();
        context.output.print(&Invited {
            name: self.name.to_string(),
            roles: roles.iter().map(ToString::to_string).collect(),
            token: response.token,
            expires_at: answer::time(response.expires_at.as_ref()),
        })
    }
}

/// The roles named; a site administrator's site may stand apart.
fn roles(texts: &[String], site: Option<&Site>) -> anyhow::Result<Vec<UserRole>> {
    let wrong = |text: String| Exit::Usage.error(text);
    if site.is_some() && !texts.iter().any(|text| text == SITE_ADMINISTRATOR) {
        return Err(wrong(format!("--site goes with --role {SITE_ADMINISTRATOR}")));
    }
    texts
        .iter()
        .map(|text| match site {
            Some(site) if text == SITE_ADMINISTRATOR => {
                Ok(UserRole::SiteAdministrator(site.clone()))
            }
            _ => text
                .parse()
                .map_err(|error: patchmesh_topology::node::UnknownWord| wrong(error.to_string())),
        })
        .collect()
}
