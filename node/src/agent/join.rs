//! How a host becomes a machine of the mesh.

use patchmesh_topology::name::MachineName;

use super::state::{self, Joined, State};
use crate::identity::join;
use crate::identity::machine_token::MachineToken;
use crate::tuf::{FolderStorage, RoleName, Storage};

/// Why it did not.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The mesh or the token say no.
    #[error(transparent)]
    Join(#[from] join::Error),
    /// The agent's folder cannot be used.
    #[error(transparent)]
    State(#[from] state::Error),
    /// The pinned root cannot be kept.
    #[error("cannot keep the mesh's root")]
    Root(#[source] std::io::Error),
}

/// Joins with a group's token under `name`. The key is made here and never
/// leaves; the certificate is kept last, so a joining that was cut short can be
/// done again.
///
/// # Errors
/// A token that is of no use, a node that cannot be reached or refuses, or a
/// folder that holds a machine already.
pub async fn run(state: &State, token: &str, name: &MachineName) -> Result<Joined, Error> {
    let token = MachineToken::decode(token).map_err(join::Error::from)?;
    let _lock = state.lock()?;
    let folder = state.identity_folder();
    let answer = join::join_machine(&token, name, &folder).await?;
    let mut trusted = FolderStorage::new(state.part("tuf")?);
    // Which version it is shows when it is read.
    trusted.persist(&RoleName::ROOT, 0, &answer.tuf_root).map_err(Error::Root)?;
    let joined = Joined {
        mesh_id: answer.mesh_id,
        machine: name.to_string(),
        group: token.group.to_string(),
        node: answer.parent.to_string(),
        node_url: answer.parent_url.to_string(),
    };
    state.save_joined(&joined)?;
    answer.identity.save(&folder).map_err(state::Error::from)?;
    Ok(joined)
}
