//! Fallback parents: setting who stands in for a node's parent.

use std::sync::Arc;

use patchmesh_proto::admin as wire;
use patchmesh_proto::admin::parents_server::Parents;
use patchmesh_topology::name::NodeName;
use patchmesh_topology::node::membership::Rejection;
use tonic::{Request, Response, Status};

use super::context::Context;
use super::rights::check_site;
use super::status::{field, published};
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
        let primary = self.node.primary()?;
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
        let publishing = primary.publisher.publish(move |draft| {
            let mesh = draft.mesh.set_fallback_parents(&name, parents)?;
            if mesh != *draft.mesh {
                draft.mesh = Arc::new(mesh);
            }
            Ok::<_, Rejection>(())
        });
        let ((), generation) = publishing.await.map_err(published)?;
        Ok(Response::new(wire::SetFallbackParentsResponse { generation: generation.number }))
    }
}
