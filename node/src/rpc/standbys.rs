//! Standbys: making a node one, or no longer.

use patchmesh_proto::admin as wire;
use patchmesh_proto::admin::standbys_server::Standbys;
use patchmesh_topology::name::NodeName;
use patchmesh_topology::node::Mesh;
use tonic::{Request, Response, Status};

use super::context::Context;
use super::status::field;

/// Over the node's parts.
#[derive(Debug, Clone)]
pub struct Service {
    node: Context,
}

impl Service {
    /// Of this node.
    #[must_use]
    pub const fn new(node: Context) -> Self {
        Self { node }
    }
}

#[tonic::async_trait]
impl Standbys for Service {
    async fn set_standby(
        &self,
        request: Request<wire::SetStandbyRequest>,
    ) -> Result<Response<wire::SetStandbyResponse>, Status> {
        let request = request.into_inner();
        let name: NodeName = request.node.parse().map_err(|error| field("node", &error))?;
        let set = move |mesh: &Mesh| mesh.set_standby(&name, request.standby);
        let generation = self.node.change_mesh(set).await?;
        Ok(Response::new(wire::SetStandbyResponse {
            generation: generation.number,
            standbys: generation.mesh.standbys.iter().map(ToString::to_string).collect(),
        }))
    }
}
