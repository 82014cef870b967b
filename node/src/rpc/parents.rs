//! Fallback parents: setting who stands in for a node's parent.

use patchmesh_proto::admin as wire;
use patchmesh_proto::admin::parents_server::Parents;
use patchmesh_topology::name::NodeName;
use patchmesh_topology::node::Mesh;
use tonic::{Request, Response, Status};

use super::context::Context;
use super::rights::check_site;
use super::status::field;
use crate::identity::peer::Peer;

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
impl Parents for Service {
    async fn set_fallback_parents(
        &self,
        request: Request<wire::SetFallbackParentsRequest>,
    ) -> Result<Response<wire::SetFallbackParentsResponse>, Status> {
        let peer = Peer::of(&request);
        // At any other node nothing is looked at.
        self.node.primary()?;
        let request = request.into_inner();
        let name: NodeName = request.node.parse().map_err(|error| field("node", &error))?;
        let parents: Vec<NodeName> = request
            .parents
            .iter()
            .map(|parent| parent.parse().map_err(|error| field("parents", &error)))
            .collect::<Result<_, _>>()?;
        // The site alone: a node that is not there is refused below.
        let mesh = self.node.generation().mesh.clone();
        if let Some(target) = mesh.node(&name) {
            check_site(&mesh, &peer, &target.site)?;
        }
        let set = move |mesh: &Mesh| mesh.set_fallback_parents(&name, parents);
        let generation = self.node.change_mesh(set).await?;
        Ok(Response::new(wire::SetFallbackParentsResponse { generation: generation.number }))
    }
}
