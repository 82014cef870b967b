//! `patchmesh user list`: everybody, and what they may do.

use clap::Args;
use patchmesh_proto::{admin, wire};
use patchmesh_topology::node::Membership;
use patchmesh_topology::person::User;
use serde::Serialize;

use crate::cli::exit::Exit;
use crate::cli::output::{Answer, table};
use crate::cli::{Context, grpc};
use crate::tuf::key::Key;

/// Everybody, and what they may do
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh user list

JSON:
  {\"users\": [{\"name\", \"membership\", \"roles\": [ROLE], \"key_id\"}]}")]
pub(crate) struct List {}

#[derive(Debug, Serialize)]
struct Users {
    users: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    membership: &'static str,
    roles: Vec<String>,
    /// Of the key that they sign decisions with.
    key_id: Option<String>,
}

impl Answer for Users {
    fn text(&self) -> String {
        let rows = self.users.iter().map(|user| {
            let key = user.key_id.as_deref().and_then(|id| id.get(..12)).unwrap_or("-");
            [user.name.clone(), user.membership.to_owned(), user.roles.join(", "), key.to_owned()]
        });
        table(["USER", "STATE", "ROLES", "SIGNING KEY"], rows)
    }
}

impl List {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut people = context.people()?;
        let response = people
            .list_users(admin::ListUsersRequest {})
            .await
            .map_err(grpc::failure)?
            .into_inner();
        let users = response.users.into_iter().map(row).collect::<anyhow::Result<_>>()?;
        context.output.print(&Users { users })
    }
}

fn row(user: wire::User) -> anyhow::Result<Row> {
    let user = User::try_from(user).map_err(|error| {
        Exit::BadData.error(format!("the node's answer makes no sense: {error}"))
    })?;
    let key_id = user.signing_key.and_then(|key| Key::ed25519(&key).id().ok());
    Ok(Row {
        name: user.name.to_string(),
        membership: match user.membership {
            Membership::Invited => "invited",
            Membership::Joined(_) => "joined",
            Membership::Revoked => "revoked",
        },
        roles: user.roles.iter().map(ToString::to_string).collect(),
        key_id: key_id.map(|id| id.to_string()),
    })
}
