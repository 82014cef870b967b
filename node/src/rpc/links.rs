//! Link profiles: setting, taking away, listing.

use patchmesh_proto::admin as wire;
use patchmesh_proto::admin::links_server::Links;
use patchmesh_proto::convert;
use patchmesh_topology::link::mesh::Rejection;
use patchmesh_topology::name::NodeName;
use tonic::{Code, Request, Response, Status};

use super::context::Context;
use super::status::{Refusal, field};

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
impl Links for Service {
    async fn set_link(
        &self,
        request: Request<wire::SetLinkRequest>,
    ) -> Result<Response<wire::SetLinkResponse>, Status> {
        let link = request.into_inner().link;
        let link = link.ok_or_else(|| field("link", "is missing"))?;
        let (node, profile) = convert::link(link)
            .map_err(|error| field(&format!("link.{}", error.path()), error.fault()))?;
        let generation =
            self.node.change_mesh(move |mesh| mesh.set_link(&node, profile)).await?.number;
        Ok(Response::new(wire::SetLinkResponse { generation }))
    }

    async fn unset_link(
        &self,
        request: Request<wire::UnsetLinkRequest>,
    ) -> Result<Response<wire::UnsetLinkResponse>, Status> {
        let node: NodeName =
            request.into_inner().node.parse().map_err(|error| field("node", &error))?;
        let generation = self.node.change_mesh(move |mesh| mesh.unset_link(&node)).await?.number;
        Ok(Response::new(wire::UnsetLinkResponse { generation }))
    }

    async fn list_links(
        &self,
        _: Request<wire::ListLinksRequest>,
    ) -> Result<Response<wire::ListLinksResponse>, Status> {
        let generation = self.node.generation();
        let links = generation.mesh.links.iter();
        let links = links.map(|(node, profile)| convert::link_to_wire(node, profile)).collect();
        Ok(Response::new(wire::ListLinksResponse { links }))
    }
}

impl Refusal for Rejection {
    fn code(&self) -> Code {
        match self {
            Self::NoNode(_) | Self::NoProfile(_) => Code::NotFound,
            Self::Primary(_) => Code::FailedPrecondition,
            Self::Profile(_) => Code::InvalidArgument,
        }
    }
}
