//! Makes this host a node of a mesh.

use std::net::SocketAddr;
use std::path::PathBuf;

/// What is needed to join.
#[derive(Debug, Clone)]
pub struct JoinOptions {
    /// The data folder, new or empty.
    pub data: PathBuf,
    /// The token from `invite`, as text.
    pub token: String,
    /// Where children and machines reach the node, without a slash at its end.
    pub url: String,
    /// Where it will listen.
    pub listen: SocketAddr,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct JoinReport {
    /// The node's name, from the token.
    pub node: String,
    /// The mesh's identifier.
    pub mesh_id: String,
    /// The node that it pulls from.
    pub parent: String,
}

/// Joins.
pub async fn run(options: JoinOptions) -> Result<JoinReport, super::Error> {
    let _ = options;
    Err(super::Error::Missing("join"))
}
