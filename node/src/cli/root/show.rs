//! `patchmesh root show`: who holds which role.

use clap::Args;
use patchmesh_proto::admin;
use serde::Serialize;

use crate::cli::output::{Answer, table};
use crate::cli::{Context, answer, grpc};

/// Who holds which signed role, and how many must sign
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh root show

JSON:
  {\"roles\": [{\"role\", \"version\", \"expires_at\", \"threshold\", \"online\",
   \"keys\": [{\"key_id\", \"user\", \"here\"}]}]}")]
pub(crate) struct Show {}

#[derive(Debug, Serialize)]
struct Roles {
    roles: Vec<Role>,
}

#[derive(Debug, Serialize)]
struct Role {
    role: String,
    version: u64,
    expires_at: Option<String>,
    threshold: u32,
    online: bool,
    keys: Vec<Key>,
}

#[derive(Debug, Serialize)]
struct Key {
    key_id: String,
    user: Option<String>,
    here: bool,
}

impl Answer for Roles {
    fn text(&self) -> String {
        let rows = self.roles.iter().map(|role| {
            let keys = role.keys.iter().map(|key| {
                let id = key.key_id.get(..12).unwrap_or(&key.key_id);
                let place = if key.here { ", on the primary" } else { "" };
                let name = key.user.as_deref().unwrap_or("key");
                format!("{name} ({id}{place})")
            });
            [
                role.role.clone(),
                format!("{} of {}", role.threshold, role.keys.len()),
                keys.collect::<Vec<_>>().join(", "),
                role.expires_at.clone().unwrap_or_default(),
            ]
        });
        table(["role", "signers", "keys", "expires"], rows)
    }
}

impl Show {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut client = context.roles()?;
        let request = admin::GetRolesRequest {};
        let response = client.get_roles(request).await.map_err(grpc::failure)?.into_inner();
        let roles = response.roles.into_iter().map(|role| Role {
            expires_at: answer::time(role.expires_at.as_ref()),
            role: role.role,
            version: role.version,
            threshold: role.threshold,
            online: role.online,
            keys: role
                .keys
                .into_iter()
                .map(|key| Key {
                    key_id: key.key_id,
                    user: (!key.user.is_empty()).then_some(key.user),
                    here: key.here,
                })
                .collect(),
        });
        context.output.print(&Roles { roles: roles.collect() })
    }
}
