//! Subscriptions: what nodes carry and what is fetched from sources.

use std::sync::Arc;

use patchmesh_proto::admin as wire;
use patchmesh_proto::admin::subscriptions_server::Subscriptions;
use patchmesh_proto::wire as document;
use patchmesh_topology::name::{NodeName, SourceName};
use patchmesh_topology::subscription::{Rejection, Subscription};
use tonic::{Code, Request, Response, Status};

use super::blocking;
use super::context::Context;
use super::status::{Refusal, field, published};
use crate::primary::draft::Draft;

/// Implements the service over the node's parts.
#[derive(Debug, Clone)]
pub struct Service {
    node: Context,
}

impl Service {
    /// Serves `node`.
    #[must_use]
    pub const fn new(node: Context) -> Self {
        Self { node }
    }
}

#[tonic::async_trait]
impl Subscriptions for Service {
    async fn subscribe_node(
        &self,
        request: Request<wire::SubscribeNodeRequest>,
    ) -> Result<Response<wire::SubscribeNodeResponse>, Status> {
        let request = request.into_inner();
        let primary = self.node.primary()?;
        let name: NodeName = request.name.parse().map_err(|error| field("name", &error))?;
        let subscription = read(request.subscription)?;
        let ((), generation) = primary
            .publisher
            .publish(move |draft: &mut Draft| {
                let mesh = draft.mesh.subscribe_node(&name, subscription)?;
                replace(draft, mesh);
                Ok::<_, Rejection>(())
            })
            .await
            .map_err(published)?;
        Ok(Response::new(wire::SubscribeNodeResponse { generation: generation.number }))
    }

    async fn subscribe_source(
        &self,
        request: Request<wire::SubscribeSourceRequest>,
    ) -> Result<Response<wire::SubscribeSourceResponse>, Status> {
        let request = request.into_inner();
        let primary = self.node.primary()?;
        let name: SourceName = request.name.parse().map_err(|error| field("name", &error))?;
        let (sources, wanted) = (primary.sources.clone(), name.clone());
        if !blocking(move || sources.is_known(&wanted)).await? {
            return Err(Status::not_found(format!(
                "there is no source {name}; `patchmesh source list` shows those there are"
            )));
        }
        let subscription = read(request.subscription)?;
        let ((), generation) = primary
            .publisher
            .publish(move |draft: &mut Draft| {
                let mesh = draft.mesh.subscribe_source(&name, subscription)?;
                replace(draft, mesh);
                Ok::<_, Rejection>(())
            })
            .await
            .map_err(published)?;
        Ok(Response::new(wire::SubscribeSourceResponse { generation: generation.number }))
    }
}

/// What changes nothing makes no generation.
fn replace(draft: &mut Draft, mesh: patchmesh_topology::node::Mesh) {
    if *draft.mesh != mesh {
        draft.mesh = Arc::new(mesh);
    }
}

fn read(subscription: Option<document::Subscription>) -> Result<Subscription, Status> {
    match subscription {
        None => Ok(Subscription::default()),
        Some(one) => Subscription::try_from(one).map_err(|error| field("subscription", &error)),
    }
}

impl Refusal for Rejection {
    fn code(&self) -> Code {
        match self {
            Self::NoNode(_) => Code::NotFound,
            Self::Primary(_) => Code::FailedPrecondition,
            Self::Words(_) => Code::InvalidArgument,
        }
    }
}
