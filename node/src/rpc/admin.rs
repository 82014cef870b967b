//! The admin service: the only way in. Each topic has its file; this one
//! only hands calls over.
//!
//! Who may call what is decided before a call arrives here, by
//! [`super::rights`].

mod availability;
mod blobs;
pub(in crate::rpc) mod decisions;
mod machines;
mod nodes;
mod sources;
mod status;
mod updates;

use std::pin::Pin;

use futures_util::Stream;
use patchmesh_proto::admin as wire;
use patchmesh_proto::admin::admin_server::Admin;
use tonic::{Request, Response, Status};

use super::context::Context;
use crate::identity::peer::Peer;

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

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Who asked, for the record.
pub(super) fn caller<T>(request: &Request<T>) -> String {
    request
        .extensions()
        .get::<crate::identity::peer::Peer>()
        .map_or_else(|| "unknown".to_owned(), ToString::to_string)
}

#[tonic::async_trait]
impl Admin for Service {
    async fn get_status(
        &self,
        _request: Request<wire::GetStatusRequest>,
    ) -> Result<Response<wire::GetStatusResponse>, Status> {
        status::get(&self.node).await.map(Response::new)
    }

    async fn list_nodes(
        &self,
        _request: Request<wire::ListNodesRequest>,
    ) -> Result<Response<wire::ListNodesResponse>, Status> {
        Ok(Response::new(nodes::list(&self.node)))
    }

    async fn invite_node(
        &self,
        request: Request<wire::InviteNodeRequest>,
    ) -> Result<Response<wire::InviteNodeResponse>, Status> {
        let peer = Peer::of(&request);
        nodes::invite(&self.node, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn revoke_node(
        &self,
        request: Request<wire::RevokeNodeRequest>,
    ) -> Result<Response<wire::RevokeNodeResponse>, Status> {
        let peer = Peer::of(&request);
        nodes::revoke(&self.node, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn add_source(
        &self,
        request: Request<wire::AddSourceRequest>,
    ) -> Result<Response<wire::AddSourceResponse>, Status> {
        sources::add(&self.node, request.into_inner()).await.map(Response::new)
    }

    async fn list_sources(
        &self,
        _request: Request<wire::ListSourcesRequest>,
    ) -> Result<Response<wire::ListSourcesResponse>, Status> {
        sources::list(&self.node).await.map(Response::new)
    }

    type SyncSourceStream = Streamed<wire::SyncSourceResponse>;

    async fn sync_source(
        &self,
        request: Request<wire::SyncSourceRequest>,
    ) -> Result<Response<Self::SyncSourceStream>, Status> {
        sources::sync(&self.node, request.into_inner()).map(Response::new)
    }

    async fn list_updates(
        &self,
        request: Request<wire::ListUpdatesRequest>,
    ) -> Result<Response<wire::ListUpdatesResponse>, Status> {
        updates::list(&self.node, request.into_inner()).await.map(Response::new)
    }

    async fn get_update(
        &self,
        request: Request<wire::GetUpdateRequest>,
    ) -> Result<Response<wire::GetUpdateResponse>, Status> {
        updates::get(&self.node, &request.into_inner()).await.map(Response::new)
    }

    async fn approve(
        &self,
        request: Request<wire::ApproveRequest>,
    ) -> Result<Response<wire::DecideResponse>, Status> {
        let peer = Peer::of(&request);
        decisions::approve(&self.node, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn decline(
        &self,
        request: Request<wire::DeclineRequest>,
    ) -> Result<Response<wire::DecideResponse>, Status> {
        let peer = Peer::of(&request);
        decisions::decline(&self.node, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn promote(
        &self,
        request: Request<wire::PromoteRequest>,
    ) -> Result<Response<wire::DecideResponse>, Status> {
        let peer = Peer::of(&request);
        decisions::promote(&self.node, &peer, request.into_inner()).await.map(Response::new)
    }

    type WatchAvailabilityStream = Streamed<wire::WatchAvailabilityResponse>;

    async fn watch_availability(
        &self,
        request: Request<wire::WatchAvailabilityRequest>,
    ) -> Result<Response<Self::WatchAvailabilityStream>, Status> {
        decisions::watch_availability(&self.node, &request.into_inner()).map(Response::new)
    }

    async fn get_approval_set(
        &self,
        request: Request<wire::GetApprovalSetRequest>,
    ) -> Result<Response<wire::GetApprovalSetResponse>, Status> {
        decisions::get_set(&self.node, request.into_inner()).await.map(Response::new)
    }

    type VerifyBlobsStream = Streamed<wire::VerifyBlobsResponse>;

    async fn verify_blobs(
        &self,
        request: Request<wire::VerifyBlobsRequest>,
    ) -> Result<Response<Self::VerifyBlobsStream>, Status> {
        blobs::verify(&self.node, &request.into_inner()).map(Response::new)
    }

    async fn get_client_config(
        &self,
        request: Request<wire::GetClientConfigRequest>,
    ) -> Result<Response<wire::GetClientConfigResponse>, Status> {
        machines::client_config(&self.node, &request.into_inner()).map(Response::new)
    }
}
