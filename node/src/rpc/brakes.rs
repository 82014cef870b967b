//! Brakes: pulling, releasing, listing.

use jiff::Timestamp;
use patchmesh_proto::admin as wire;
use patchmesh_proto::admin::brakes_server::Brakes;
use patchmesh_proto::convert::timestamp_to_wire;
use patchmesh_topology::name::{BrakeName, NodeName};
use patchmesh_topology::rollout::Brake;
use patchmesh_topology::rollout::brake::Rejection;
use tonic::{Code, Request, Response, Status};

use super::context::Context;
use super::rights::check_site;
use super::status::{field, internal};
use crate::brakes::Error;
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

    /// Refuses who does not administer this node's site.
    fn check<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let peer = Peer::of(request);
        let mesh = &self.node.generation().mesh;
        match mesh.node(&self.node.name) {
            Some(own) => check_site(mesh, &peer, &own.site),
            None => Err(Status::failed_precondition("this node is no member of the mesh")),
        }
    }

    fn list(&self) -> Vec<wire::NodeBrake> {
        let generation = self.node.generation();
        let site = |name: &NodeName| generation.mesh.node(name).map(|node| node.site.to_string());
        let own = self.node.brakes.to_wire(Timestamp::now()).into_iter();
        let mut brakes: Vec<wire::NodeBrake> = own
            .map(|brake| wire::NodeBrake {
                node: self.node.name.to_string(),
                site: site(&self.node.name).unwrap_or_default(),
                brake: Some(brake),
                heard_at: None,
            })
            .collect();
        for (name, heard) in self.node.statuses.all() {
            let (node, site) = (name.to_string(), site(&name).unwrap_or_default());
            let said = heard.status.brakes.into_iter();
            brakes.extend(said.map(|brake| wire::NodeBrake {
                node: node.clone(),
                site: site.clone(),
                brake: Some(brake),
                heard_at: Some(timestamp_to_wire(heard.at)),
            }));
        }
        brakes
    }
}

#[tonic::async_trait]
impl Brakes for Service {
    async fn pull_brake(
        &self,
        request: Request<wire::PullBrakeRequest>,
    ) -> Result<Response<wire::PullBrakeResponse>, Status> {
        self.check(&request)?;
        let by = Peer::of(&request).to_string();
        let mut brake = request.into_inner().brake.ok_or_else(|| field("brake", "is missing"))?;
        let now = Timestamp::now();
        brake.since = Some(timestamp_to_wire(now));
        let (name, brake) = <(BrakeName, Brake)>::try_from(brake)
            .map_err(|error| field(&format!("brake.{}", error.path()), error.fault()))?;
        self.node.brakes.pull(name, Brake { by, ..brake }).await.map_err(refused)?;
        Ok(Response::new(wire::PullBrakeResponse {}))
    }

    async fn release_brake(
        &self,
        request: Request<wire::ReleaseBrakeRequest>,
    ) -> Result<Response<wire::ReleaseBrakeResponse>, Status> {
        self.check(&request)?;
        let name = request.into_inner().name.parse().map_err(|error| field("name", &error))?;
        self.node.brakes.release(&name).await.map_err(refused)?;
        Ok(Response::new(wire::ReleaseBrakeResponse {}))
    }

    async fn list_brakes(
        &self,
        _: Request<wire::ListBrakesRequest>,
    ) -> Result<Response<wire::ListBrakesResponse>, Status> {
        Ok(Response::new(wire::ListBrakesResponse { brakes: self.list() }))
    }
}

fn refused(error: Error) -> Status {
    let rejection = match error {
        Error::Rejected(rejection) => rejection,
        Error::Store(error) => return internal(&error),
    };
    let code = match rejection {
        Rejection::Taken(_) => Code::AlreadyExists,
        Rejection::Unknown(_) => Code::NotFound,
        Rejection::Over(_) | Rejection::Reason => Code::InvalidArgument,
        Rejection::TooMany => Code::FailedPrecondition,
    };
    Status::new(code, rejection.to_string())
}
