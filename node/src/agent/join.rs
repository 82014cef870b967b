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
    /// Another machine is here.
    #[error(
        "{folder} is machine {machine}'s of mesh {mesh}; name another folder with --state, or remove this one to begin anew"
    )]
    Other {
        /// The agent's folder.
        folder: String,
        /// Whose it is.
        machine: String,
        /// Of which mesh.
        mesh: String,
    },
    /// The pinned root cannot be kept.
    #[error("cannot keep the mesh's root")]
    Root(#[source] std::io::Error),
}

/// Joins with a group's token under `name`. The key is made here and never
/// leaves; the certificate is kept last, so a joining that was cut short can be
/// done again. A machine may join again, under its name, when its certificate
/// ended or at another node: it keeps its key, its queue and what it remembers.
///
/// # Errors
/// A token that is of no use, a node that cannot be reached or refuses, or a
/// folder that holds another machine.
pub async fn run(state: &State, token: &str, name: &MachineName) -> Result<Joined, Error> {
    let token = MachineToken::decode(token).map_err(join::Error::from)?;
    let _lock = state.lock()?;
    match state.joined() {
        Ok(one) if one.mesh_id == token.mesh_id && one.machine == name.as_str() => {}
        Ok(Joined { machine, mesh_id: mesh, .. }) => {
            let folder = state.folder().display().to_string();
            return Err(Error::Other { folder, machine, mesh });
        }
        Err(state::Error::NotJoined(_)) => {}
        Err(error) => return Err(error.into()),
    }
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
    // The primary counts who joins from nothing, so it is told everything again.
    let mut memory = state.memory()?;
    memory.told.clear();
    memory.home = None;
    state.save_memory(&memory)?;
    answer.identity.save(&folder).map_err(state::Error::from)?;
    Ok(joined)
}
