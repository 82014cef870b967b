//! Networks: setting, removing, listing.

use patchmesh_proto::admin as wire;
use patchmesh_proto::admin::networks_server::Networks;
use patchmesh_proto::convert;
use patchmesh_topology::name::Site;
use patchmesh_topology::node::network::{Network, Rejection};
use patchmesh_topology::node::{Mesh, Stage};
use tonic::{Code, Request, Response, Status};

use super::context::Context;
use super::status::{Refusal, field};

/// How many nodes a network is listed with.
const SHOWN: usize = 16;

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
impl Networks for Service {
    async fn set_network(
        &self,
        request: Request<wire::SetNetworkRequest>,
    ) -> Result<Response<wire::SetNetworkResponse>, Status> {
        let network = request.into_inner().network;
        let network = network.ok_or_else(|| field("network", "is missing"))?;
        let (network, site) = convert::network(&network)
            .map_err(|error| field(&format!("network.{}", error.path()), error.fault()))?;
        let generation =
            self.node.change_mesh(move |mesh| mesh.set_network(network, site)).await?.number;
        Ok(Response::new(wire::SetNetworkResponse { generation }))
    }

    async fn remove_network(
        &self,
        request: Request<wire::RemoveNetworkRequest>,
    ) -> Result<Response<wire::RemoveNetworkResponse>, Status> {
        let network: Network =
            request.into_inner().prefix.parse().map_err(|error| field("prefix", &error))?;
        let generation =
            self.node.change_mesh(move |mesh| mesh.remove_network(network)).await?.number;
        Ok(Response::new(wire::RemoveNetworkResponse { generation }))
    }

    async fn list_networks(
        &self,
        _: Request<wire::ListNetworksRequest>,
    ) -> Result<Response<wire::ListNetworksResponse>, Status> {
        let mesh = self.node.generation().mesh.clone();
        let row = |(network, site)| wire::NetworkRow {
            network: Some(convert::network_to_wire(network, site)),
            validation: Some(nearest(&mesh, site, Stage::Validation)),
            production: Some(nearest(&mesh, site, Stage::Production)),
        };
        let networks = mesh.networks.iter().map(row).collect();
        Ok(Response::new(wire::ListNetworksResponse { networks }))
    }
}

fn nearest(mesh: &Mesh, site: &Site, stage: Stage) -> wire::NearestNodes {
    let found = mesh.nearest(site, stage);
    wire::NearestNodes {
        nodes: found.iter().take(SHOWN).map(|node| node.name.to_string()).collect(),
        count: u32::try_from(found.len()).unwrap_or(u32::MAX),
    }
}

impl Refusal for Rejection {
    fn code(&self) -> Code {
        match self {
            Self::Unknown(_) => Code::NotFound,
            Self::Invalid(_) => Code::FailedPrecondition,
        }
    }
}
