//! Brakes: pulling, releasing, listing, and asking a site to end them.

use jiff::Timestamp;
use patchmesh_proto::admin::brakes_server::Brakes;
use patchmesh_proto::convert::{self, timestamp_to_wire};
use patchmesh_proto::{admin as wire, replication, wire as document};
use patchmesh_topology::name::{BrakeName, NodeName, Site};
use patchmesh_topology::node::Mesh;
use patchmesh_topology::rollout::Brake;
use patchmesh_topology::rollout::brake::Rejection;
use patchmesh_topology::rollout::brake::ask::{self, Ask, Asks, Refused, Whom, asked};
use tonic::{Code, Request, Response, Status};

use super::context::Context;
use super::rollouts;
use super::status::{Refusal, field, internal};
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
        self.node.check_own_site(&Peer::of(request))
    }

    fn list(&self) -> Vec<wire::NodeBrake> {
        let generation = self.node.generation();
        let own = self.node.brakes.to_wire(Timestamp::now());
        let mut said = vec![(self.node.name.clone(), own, None)];
        for (name, heard) in self.node.statuses.all() {
            said.push((name, heard.status.brakes, Some(heard.at)));
        }
        let of_node =
            |(name, brakes, at): (NodeName, Vec<replication::Brake>, Option<Timestamp>)| {
                let site = generation.mesh.node(&name).map(|node| node.site.clone());
                let asks = &generation.rollouts.brake_asks;
                let brake = |brake: replication::Brake| wire::NodeBrake {
                    node: name.to_string(),
                    site: site.as_ref().map(ToString::to_string).unwrap_or_default(),
                    ask: site.as_ref().and_then(|site| asked_of(asks, &brake, &name, site)),
                    brake: Some(brake),
                    heard_at: at.map(timestamp_to_wire),
                };
                brakes.into_iter().map(brake).collect::<Vec<_>>()
            };
        said.into_iter().flat_map(of_node).collect()
    }

    /// Changes what is asked of whoever `target` names.
    async fn change<F>(&self, target: &str, change: F) -> Result<(u64, String), Status>
    where
        F: FnOnce(&mut Asks, Whom, Timestamp) -> Result<(), Refused> + Send + 'static,
    {
        let whom = whom(&self.node.generation().mesh, target)?;
        let text = whom.to_string();
        let changing =
            rollouts::change(&self.node, move |set, _, now| change(&mut set.brake_asks, whom, now));
        Ok((changing.await?, text))
    }
}

/// A node by its name, or a site where there are nodes.
fn whom(mesh: &Mesh, target: &str) -> Result<Whom, Status> {
    let node = target.parse::<NodeName>().ok().filter(|name| mesh.node(name).is_some());
    if let Some(name) = node {
        return Ok(Whom::Node(name));
    }
    let site: Site = target.parse().map_err(|error| field("target", &error))?;
    match mesh.nodes.values().any(|node| node.site.is_within(&site)) {
        true => Ok(Whom::Site(site)),
        false => Err(Status::not_found(format!(
            "there is neither a node {target} nor one at a site {target}; `patchmesh nodes` shows those there are"
        ))),
    }
}

fn asked_of(
    asks: &Asks,
    brake: &replication::Brake,
    node: &NodeName,
    site: &Site,
) -> Option<document::BrakeAsk> {
    // One that newer software pulled may say nothing here.
    let (_, brake) = <(BrakeName, Brake)>::try_from(brake.clone()).ok()?;
    let ask = asked(asks, &brake, node, site)?;
    Some(convert::brake_ask_to_wire((&Whom::Node(node.clone()), ask)))
}

impl Refusal for Refused {
    fn code(&self) -> Code {
        match self {
            Self::Reason => Code::InvalidArgument,
            Self::Unknown(_) => Code::NotFound,
            Self::TooMany => Code::FailedPrecondition,
        }
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

    async fn ask_brake(
        &self,
        request: Request<wire::AskBrakeRequest>,
    ) -> Result<Response<wire::AskBrakeResponse>, Status> {
        let by = Peer::of(&request).to_string();
        let wire::AskBrakeRequest { target, reason } = request.into_inner();
        let asking = |asks: &mut Asks, whom, at| ask::ask(asks, whom, Ask { reason, by, at });
        let (generation, whom) = self.change(&target, asking).await?;
        Ok(Response::new(wire::AskBrakeResponse { generation, whom }))
    }

    async fn withdraw_brake_ask(
        &self,
        request: Request<wire::WithdrawBrakeAskRequest>,
    ) -> Result<Response<wire::WithdrawBrakeAskResponse>, Status> {
        let target = request.into_inner().target;
        let withdrawing = |asks: &mut Asks, whom: Whom, _| ask::withdraw(asks, &whom);
        let (generation, whom) = self.change(&target, withdrawing).await?;
        Ok(Response::new(wire::WithdrawBrakeAskResponse { generation, whom }))
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
