//! People: inviting, listing, revoking.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use patchmesh_proto::admin as wire;
use patchmesh_proto::admin::people_server::People;
use patchmesh_proto::convert::{self, timestamp_to_wire};
use patchmesh_topology::name::{NodeName, UserName};
use patchmesh_topology::person::{Rejection, UserRole};
use tonic::{Request, Response, Status};

use super::context::Context;
use super::roles;
use super::status::{check_comment, field, published};
use crate::identity::peer::Peer;
use crate::primary::tokens;
use crate::tuf::key::Key;

/// The life of a token unless asked otherwise.
const TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(24);
/// The longest life of a token.
const TOKEN_LIFE_LIMIT: SignedDuration = SignedDuration::from_hours(24 * 30);

/// Implements the service over the node's parts.
#[derive(Debug, Clone)]
pub struct Service {
    node: Context,
}

impl Service {
    /// Serves `node`.
    #[must_use]
    pub const fn new(node: Context) -> Self {
        Self { node }
    }
}

#[tonic::async_trait]
impl People for Service {
    async fn invite_user(
        &self,
        request: Request<wire::InviteUserRequest>,
    ) -> Result<Response<wire::InviteUserResponse>, Status> {
        let by = Peer::of(&request);
        let request = request.into_inner();
        let primary = self.node.primary()?;
        let name: UserName = request.name.parse().map_err(|error| field("name", &error))?;
        let roles: BTreeSet<UserRole> =
            convert::user_roles(request.roles).map_err(|error| field("roles", &error))?;
        let via = (!request.via.is_empty())
            .then(|| request.via.parse::<NodeName>().map_err(|error| field("via", &error)))
            .transpose()?;
        let life = life(request.valid_seconds)?;
        let person = (name.clone(), roles);
        let token = tokens::invite_user(&primary.publisher, primary.ca_sha256, person, via, life)
            .await
            .map_err(published)?;
        tracing::info!(user = %name, %by, "user invited");
        Ok(Response::new(wire::InviteUserResponse {
            token: token.text,
            expires_at: Some(timestamp_to_wire(token.expires_at)),
        }))
    }

    async fn list_users(
        &self,
        _request: Request<wire::ListUsersRequest>,
    ) -> Result<Response<wire::ListUsersResponse>, Status> {
        let users = self.node.generation().mesh.users.values().map(Into::into).collect();
        Ok(Response::new(wire::ListUsersResponse { users }))
    }

    async fn revoke_user(
        &self,
        request: Request<wire::RevokeUserRequest>,
    ) -> Result<Response<wire::RevokeUserResponse>, Status> {
        let by = Peer::of(&request);
        let request = request.into_inner();
        let primary = self.node.primary()?;
        check_comment(&request.comment)?;
        let name: UserName = request.name.parse().map_err(|error| field("name", &error))?;
        let target = name.clone();
        let ((), generation) = primary
            .publisher
            .publish(move |draft| {
                draft.mesh = std::sync::Arc::new(draft.mesh.revoke_user(&target)?);
                Ok::<_, Rejection>(())
            })
            .await
            .map_err(published)?;
        tracing::warn!(user = %name, %by, comment = request.comment, "user revoked");
        let mut answer =
            wire::RevokeUserResponse { generation: generation.number, ..Default::default() };
        let key = generation.mesh.users.get(&name).and_then(|user| user.signing_key);
        if let Some(id) = key.and_then(|key| Key::ed25519(&key).id().ok()) {
            let comment = format!("{name} was revoked: {}", request.comment);
            roles::take_away(primary, id, by.to_string(), comment, &mut answer).await?;
        }
        Ok(Response::new(answer))
    }
}

fn life(seconds: u64) -> Result<SignedDuration, Status> {
    if seconds == 0 {
        return Ok(TOKEN_LIFE);
    }
    i64::try_from(seconds)
        .ok()
        .map(SignedDuration::from_secs)
        .filter(|life| *life <= TOKEN_LIFE_LIMIT)
        .ok_or_else(|| field("valid_seconds", "a token lives for at most 30 days"))
}
