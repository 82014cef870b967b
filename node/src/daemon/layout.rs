//! What lies where in a data folder, beside what the store owns.

use std::path::{Path, PathBuf};

/// The places of a data folder.
#[derive(Debug, Clone)]
pub struct Layout {
    data: PathBuf,
}

impl Layout {
    /// Of this data folder.
    #[must_use]
    pub fn new(data: &Path) -> Self {
        Self { data: data.to_owned() }
    }

    /// The folder itself.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Key, certificate and CA of the node; on the primary the CA's key too.
    #[must_use]
    pub fn identity(&self) -> PathBuf {
        self.data.join("identity")
    }

    /// The private keys of the signed roles, on the primary.
    #[must_use]
    pub fn role_keys(&self) -> PathBuf {
        self.data.join("keys")
    }

    /// The private key of a stage's repositories, on the primary.
    #[must_use]
    pub fn repository_key(&self, stage: patchmesh_topology::node::Stage) -> PathBuf {
        self.role_keys().join(format!("repository-{stage}.asc"))
    }

    /// The administrator's credentials, made by `init`.
    #[must_use]
    pub fn admin(&self) -> PathBuf {
        self.data.join("admin")
    }

    /// Vendors' indices.
    #[must_use]
    pub fn source_cache(&self) -> PathBuf {
        self.data.join("sources")
    }

    /// Where the local administrator's commands come in.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.data.join("admin.sock")
    }
}
