//! The lab: results, what promotion asks of them, and doing without. Each topic
//! has its file; this one only hands calls over.

mod evidence;
mod overrides;
mod policy;
mod results;

use patchmesh_proto::admin as wire;
use patchmesh_proto::admin::lab_server::Lab;
use tonic::{Request, Response, Status};

use super::context::Context;
use crate::identity::peer::Peer;

pub(in crate::rpc) use evidence::lacking;
pub(in crate::rpc) use policy::in_a_sentence;

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
impl Lab for Service {
    async fn add_lab_results(
        &self,
        request: Request<wire::AddLabResultsRequest>,
    ) -> Result<Response<wire::AddLabResultsResponse>, Status> {
        let peer = Peer::of(&request);
        results::add(&self.node, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn resolve_lab_failures(
        &self,
        request: Request<wire::ResolveLabFailuresRequest>,
    ) -> Result<Response<wire::ResolveLabFailuresResponse>, Status> {
        let peer = Peer::of(&request);
        results::resolve(&self.node, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn list_lab_results(
        &self,
        request: Request<wire::ListLabResultsRequest>,
    ) -> Result<Response<wire::ListLabResultsResponse>, Status> {
        results::list(&self.node, &request.into_inner()).map(Response::new)
    }

    async fn get_evidence(
        &self,
        request: Request<wire::GetEvidenceRequest>,
    ) -> Result<Response<wire::GetEvidenceResponse>, Status> {
        evidence::get(&self.node, &request.into_inner()).map(Response::new)
    }

    async fn get_promotion_policy(
        &self,
        _: Request<wire::GetPromotionPolicyRequest>,
    ) -> Result<Response<wire::GetPromotionPolicyResponse>, Status> {
        Ok(Response::new(policy::get(&self.node)))
    }

    async fn set_promotion_policy(
        &self,
        request: Request<wire::SetPromotionPolicyRequest>,
    ) -> Result<Response<wire::SetPromotionPolicyResponse>, Status> {
        let peer = Peer::of(&request);
        policy::set(&self.node, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn ask_override(
        &self,
        request: Request<wire::AskOverrideRequest>,
    ) -> Result<Response<wire::AskOverrideResponse>, Status> {
        let peer = Peer::of(&request);
        overrides::ask(&self.node, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn consent_override(
        &self,
        request: Request<wire::ConsentOverrideRequest>,
    ) -> Result<Response<wire::ConsentOverrideResponse>, Status> {
        let peer = Peer::of(&request);
        overrides::consent(&self.node, &peer, &request.into_inner()).await.map(Response::new)
    }

    async fn list_overrides(
        &self,
        _: Request<wire::ListOverridesRequest>,
    ) -> Result<Response<wire::ListOverridesResponse>, Status> {
        Ok(Response::new(overrides::list(&self.node)))
    }
}
