//! Makes a mesh and its primary in a new data folder.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use patchmesh_topology::name::{NodeName, Site};

/// What a new mesh is to be.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// The data folder, new or empty.
    pub data: PathBuf,
    /// The company's name for its mesh.
    pub mesh_name: String,
    /// The primary's own name.
    pub node_name: NodeName,
    /// Where the primary stands.
    pub site: Site,
    /// Where other nodes and machines reach it, without a slash at its end.
    pub url: String,
    /// Where it will listen.
    pub listen: SocketAddr,
    /// Life of the primary's certificate.
    pub certificate_lifetime: Duration,
}

/// What was made.
#[derive(Debug, Clone)]
pub struct InitReport {
    /// The mesh's random identifier.
    pub mesh_id: String,
    /// The first generation.
    pub generation: u64,
}

/// Makes the mesh.
pub async fn run(options: InitOptions) -> Result<InitReport, super::Error> {
    let _ = options;
    Err(super::Error::Missing("init"))
}
