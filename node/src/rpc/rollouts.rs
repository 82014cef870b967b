//! Rollouts, freezes, exceptions and groups of sites. Each topic has its file; this one only
//! hands calls over.

mod bounds;
mod enter;
mod explain;
mod go_aheads;
mod ready;
mod subject;

pub(super) use bounds::change;

use patchmesh_proto::admin as wire;
use patchmesh_proto::admin::rollouts_server::Rollouts;
use tonic::{Request, Response, Status};

use super::context::Context;
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
impl Rollouts for Service {
    async fn check_rollout(
        &self,
        request: Request<wire::CheckRolloutRequest>,
    ) -> Result<Response<wire::CheckRolloutResponse>, Status> {
        enter::check(&self.node, request.into_inner()).await.map(Response::new)
    }

    async fn enter_rollout(
        &self,
        request: Request<wire::EnterRolloutRequest>,
    ) -> Result<Response<wire::EnterRolloutResponse>, Status> {
        let peer = Peer::of(&request);
        enter::enter(&self.node, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn order_rollout(
        &self,
        request: Request<wire::OrderRolloutRequest>,
    ) -> Result<Response<wire::OrderRolloutResponse>, Status> {
        let peer = Peer::of(&request);
        enter::order(&self.node, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn release_wave(
        &self,
        request: Request<wire::ReleaseWaveRequest>,
    ) -> Result<Response<wire::ReleaseWaveResponse>, Status> {
        enter::release(&self.node, request.into_inner()).await.map(Response::new)
    }

    async fn list_rollouts(
        &self,
        request: Request<wire::ListRolloutsRequest>,
    ) -> Result<Response<wire::ListRolloutsResponse>, Status> {
        explain::list(&self.node, &request.into_inner()).map(Response::new)
    }

    async fn explain_site(
        &self,
        request: Request<wire::ExplainSiteRequest>,
    ) -> Result<Response<wire::ExplainSiteResponse>, Status> {
        explain::site(&self.node, request.into_inner()).await.map(Response::new)
    }

    async fn add_freeze(
        &self,
        request: Request<wire::AddFreezeRequest>,
    ) -> Result<Response<wire::AddFreezeResponse>, Status> {
        bounds::add_freeze(&self.node, request.into_inner()).await.map(Response::new)
    }

    async fn remove_freeze(
        &self,
        request: Request<wire::RemoveFreezeRequest>,
    ) -> Result<Response<wire::RemoveFreezeResponse>, Status> {
        bounds::remove_freeze(&self.node, &request.into_inner()).await.map(Response::new)
    }

    async fn list_freezes(
        &self,
        _: Request<wire::ListFreezesRequest>,
    ) -> Result<Response<wire::ListFreezesResponse>, Status> {
        Ok(Response::new(bounds::freezes(&self.node)))
    }

    async fn add_exception(
        &self,
        request: Request<wire::AddExceptionRequest>,
    ) -> Result<Response<wire::AddExceptionResponse>, Status> {
        bounds::add_exception(&self.node, request.into_inner()).await.map(Response::new)
    }

    async fn remove_exception(
        &self,
        request: Request<wire::RemoveExceptionRequest>,
    ) -> Result<Response<wire::RemoveExceptionResponse>, Status> {
        bounds::remove_exception(&self.node, &request.into_inner()).await.map(Response::new)
    }

    async fn list_exceptions(
        &self,
        _: Request<wire::ListExceptionsRequest>,
    ) -> Result<Response<wire::ListExceptionsResponse>, Status> {
        Ok(Response::new(bounds::exceptions(&self.node)))
    }

    async fn set_site_group(
        &self,
        request: Request<wire::SetSiteGroupRequest>,
    ) -> Result<Response<wire::SetSiteGroupResponse>, Status> {
        bounds::set_site_group(&self.node, request.into_inner()).await.map(Response::new)
    }

    async fn remove_site_group(
        &self,
        request: Request<wire::RemoveSiteGroupRequest>,
    ) -> Result<Response<wire::RemoveSiteGroupResponse>, Status> {
        bounds::remove_site_group(&self.node, &request.into_inner()).await.map(Response::new)
    }

    async fn list_site_groups(
        &self,
        _: Request<wire::ListSiteGroupsRequest>,
    ) -> Result<Response<wire::ListSiteGroupsResponse>, Status> {
        Ok(Response::new(bounds::site_groups(&self.node)))
    }

    async fn give_go_ahead(
        &self,
        request: Request<wire::GiveGoAheadRequest>,
    ) -> Result<Response<wire::GiveGoAheadResponse>, Status> {
        let by = Peer::of(&request).to_string();
        go_aheads::give(&self.node, by, request.into_inner()).await.map(Response::new)
    }

    async fn withdraw_go_ahead(
        &self,
        request: Request<wire::WithdrawGoAheadRequest>,
    ) -> Result<Response<wire::WithdrawGoAheadResponse>, Status> {
        go_aheads::withdraw(&self.node, request.into_inner()).await.map(Response::new)
    }

    async fn list_go_aheads(
        &self,
        _: Request<wire::ListGoAheadsRequest>,
    ) -> Result<Response<wire::ListGoAheadsResponse>, Status> {
        Ok(Response::new(go_aheads::list(&self.node)))
    }
}
