//! What revisions mean: feeds, judgements, the watch list, advisories.

mod advisories;
mod feeds;
mod read;

use patchmesh_proto::admin as wire;
use patchmesh_proto::admin::assessments_server::Assessments;
use patchmesh_proto::wire as document;
use patchmesh_topology::assessment::Risk;
use patchmesh_topology::revision::RevisionId;
use tonic::{Code, Request, Response, Status, Streaming};

use super::admin::caller;
use super::context::{Context, Primary};
use super::status::{Refusal, field, published};
use crate::assess::book::{self, Asked};

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

    fn primary(&self) -> Result<&Primary, Status> {
        self.node.primary()
    }
}

#[tonic::async_trait]
impl Assessments for Service {
    async fn import_feed(
        &self,
        request: Request<Streaming<wire::ImportFeedRequest>>,
    ) -> Result<Response<wire::ImportFeedResponse>, Status> {
        let book = self.primary()?.feeds.book();
        feeds::import(book, request.into_inner()).await.map(Response::new)
    }

    async fn fetch_feed(
        &self,
        request: Request<wire::FetchFeedRequest>,
    ) -> Result<Response<wire::FetchFeedResponse>, Status> {
        feeds::fetch(&self.primary()?.feeds, request.into_inner()).await.map(Response::new)
    }

    async fn add_feed(
        &self,
        request: Request<wire::AddFeedRequest>,
    ) -> Result<Response<wire::AddFeedResponse>, Status> {
        feeds::add(&self.primary()?.feeds, request.into_inner()).await.map(Response::new)
    }

    async fn list_feeds(
        &self,
        _request: Request<wire::ListFeedsRequest>,
    ) -> Result<Response<wire::ListFeedsResponse>, Status> {
        feeds::list(&self.primary()?.feeds).await.map(Response::new)
    }

    async fn remove_feed(
        &self,
        request: Request<wire::RemoveFeedRequest>,
    ) -> Result<Response<wire::RemoveFeedResponse>, Status> {
        feeds::remove(&self.primary()?.feeds, &request.into_inner()).await.map(Response::new)
    }

    async fn refresh_feeds(
        &self,
        request: Request<wire::RefreshFeedsRequest>,
    ) -> Result<Response<wire::RefreshFeedsResponse>, Status> {
        feeds::refresh(&self.primary()?.feeds, &request.into_inner()).await.map(Response::new)
    }

    async fn judge(
        &self,
        request: Request<wire::JudgeRequest>,
    ) -> Result<Response<wire::JudgeResponse>, Status> {
        let by = caller(&request);
        let asked = asked(request.into_inner(), by)?;
        let book = self.primary()?.feeds.book();
        let generation = book.judge(asked).await.map_err(published)?;
        Ok(Response::new(wire::JudgeResponse { generation }))
    }

    async fn get_assessment(
        &self,
        request: Request<wire::GetAssessmentRequest>,
    ) -> Result<Response<wire::GetAssessmentResponse>, Status> {
        read::get(&self.node, &request.into_inner()).await.map(Response::new)
    }

    async fn list_watched(
        &self,
        request: Request<wire::ListWatchedRequest>,
    ) -> Result<Response<wire::ListWatchedResponse>, Status> {
        read::watched(&self.node, request.into_inner()).await.map(Response::new)
    }

    async fn publish_advisory(
        &self,
        request: Request<wire::PublishAdvisoryRequest>,
    ) -> Result<Response<wire::PublishAdvisoryResponse>, Status> {
        let by = caller(&request);
        let publisher = &self.primary()?.publisher;
        advisories::publish(publisher, by, request.into_inner()).await.map(Response::new)
    }

    async fn withdraw_advisory(
        &self,
        request: Request<wire::WithdrawAdvisoryRequest>,
    ) -> Result<Response<wire::WithdrawAdvisoryResponse>, Status> {
        let by = caller(&request);
        let publisher = &self.primary()?.publisher;
        advisories::withdraw(publisher, by, request.into_inner()).await.map(Response::new)
    }

    async fn list_advisories(
        &self,
        request: Request<wire::ListAdvisoriesRequest>,
    ) -> Result<Response<wire::ListAdvisoriesResponse>, Status> {
        Ok(Response::new(advisories::list(&self.node, &request.into_inner())))
    }

    async fn get_advisory(
        &self,
        request: Request<wire::GetAdvisoryRequest>,
    ) -> Result<Response<wire::GetAdvisoryResponse>, Status> {
        advisories::get(&self.node, &request.into_inner()).await.map(Response::new)
    }
}

fn asked(request: wire::JudgeRequest, by: String) -> Result<Asked, Status> {
    let revision: RevisionId =
        request.revision.parse().map_err(|error| field("revision", &error))?;
    if request.clear {
        return Ok(Asked { revision, judgement: None, by });
    }
    let risk = match request.risk() {
        document::Risk::Unspecified => return Err(field("risk", "is missing")),
        document::Risk::NotApplicable => Risk::NotApplicable,
        document::Risk::None => Risk::None,
        document::Risk::Low => Risk::Low,
        document::Risk::Moderate => Risk::Moderate,
        document::Risk::Important => Risk::Important,
        document::Risk::Critical => Risk::Critical,
    };
    // Whatever text is given is one of the two.
    let exposure = Some(request.exposure).filter(|text| !text.is_empty());
    let exposure = exposure.and_then(|text| text.parse().ok());
    Ok(Asked { revision, judgement: Some((risk, exposure, request.note)), by })
}

impl Refusal for book::Refusal {
    fn code(&self) -> Code {
        match self {
            Self::Smaller { .. } | Self::Full => Code::FailedPrecondition,
            Self::UnknownRevision(_) => Code::NotFound,
            Self::Note | Self::Exposure => Code::InvalidArgument,
            Self::Store(_) | Self::Load(_) => Code::Internal,
        }
    }
}
