//! Groups, baselines, rules and plans. Each topic has its file; this one only
//! hands calls over.

pub(crate) mod automatic;
mod baselines;
mod groups;
mod plan;
mod release;
mod rules;

use patchmesh_proto::admin as wire;
use patchmesh_proto::admin::policies_server::Policies;
use patchmesh_proto::convert;
use tonic::{Request, Response, Status};

use super::admin::caller;
use super::context::Context;
use super::rights::check_stage;
use crate::identity::peer::Peer;

/// Implements the service over the node's parts.
#[derive(Debug, Clone)]
pub struct Service {
    node: Context,
    packages: plan::Known,
}

impl Service {
    /// Serves `node`.
    #[must_use]
    pub fn new(node: Context) -> Self {
        Self { node, packages: plan::Known::default() }
    }

    /// Refuses who may not decide in these stages, given as the wire numbers
    /// them; a number that stands for none is refused further on.
    fn check<T>(
        &self,
        request: &Request<T>,
        stages: impl IntoIterator<Item = i32>,
    ) -> Result<(), Status> {
        let peer = Peer::of(request);
        let stages = stages.into_iter().filter_map(|stage| convert::stage(stage).ok());
        let mesh = &self.node.generation().mesh;
        stages.into_iter().try_for_each(|stage| check_stage(mesh, &peer, stage))
    }

    /// The stages of a rule, or of every rule that is enabled.
    fn stages_of(&self, rule: &str) -> Vec<i32> {
        let policy = self.node.generation().policy.clone();
        let meant = policy.rules.values().filter(|one| match rule {
            "" => one.enabled,
            name => one.name.as_str() == name,
        });
        meant.map(|one| patchmesh_proto::wire::Stage::from(one.stage).into()).collect()
    }
}

#[tonic::async_trait]
impl Policies for Service {
    async fn list_groups(
        &self,
        _request: Request<wire::ListGroupsRequest>,
    ) -> Result<Response<wire::ListGroupsResponse>, Status> {
        Ok(Response::new(groups::list(&self.node)))
    }

    async fn add_group(
        &self,
        request: Request<wire::AddGroupRequest>,
    ) -> Result<Response<wire::AddGroupResponse>, Status> {
        groups::add(&self.node, request.into_inner()).await.map(Response::new)
    }

    async fn set_group(
        &self,
        request: Request<wire::SetGroupRequest>,
    ) -> Result<Response<wire::SetGroupResponse>, Status> {
        groups::set(&self.node, request.into_inner()).await.map(Response::new)
    }

    async fn remove_group(
        &self,
        request: Request<wire::RemoveGroupRequest>,
    ) -> Result<Response<wire::RemoveGroupResponse>, Status> {
        groups::remove(&self.node, &request.into_inner()).await.map(Response::new)
    }

    async fn list_baselines(
        &self,
        _request: Request<wire::ListBaselinesRequest>,
    ) -> Result<Response<wire::ListBaselinesResponse>, Status> {
        Ok(Response::new(baselines::list(&self.node)))
    }

    async fn import_baseline(
        &self,
        request: Request<wire::ImportBaselineRequest>,
    ) -> Result<Response<wire::TakeBaselineResponse>, Status> {
        let by = caller(&request);
        baselines::import(&self.node, by, request.into_inner()).await.map(Response::new)
    }

    async fn snapshot_baseline(
        &self,
        request: Request<wire::SnapshotBaselineRequest>,
    ) -> Result<Response<wire::TakeBaselineResponse>, Status> {
        let by = caller(&request);
        baselines::snapshot(&self.node, by, request.into_inner()).await.map(Response::new)
    }

    async fn get_baseline(
        &self,
        request: Request<wire::GetBaselineRequest>,
    ) -> Result<Response<wire::GetBaselineResponse>, Status> {
        baselines::get(&self.node, request.into_inner()).await.map(Response::new)
    }

    async fn diff_baseline(
        &self,
        request: Request<wire::DiffBaselineRequest>,
    ) -> Result<Response<wire::DiffBaselineResponse>, Status> {
        baselines::diff(&self.node, request.into_inner()).await.map(Response::new)
    }

    async fn remove_baseline(
        &self,
        request: Request<wire::RemoveBaselineRequest>,
    ) -> Result<Response<wire::RemoveBaselineResponse>, Status> {
        baselines::remove(&self.node, &request.into_inner()).await.map(Response::new)
    }

    async fn approve_baseline(
        &self,
        request: Request<wire::ApproveBaselineRequest>,
    ) -> Result<Response<wire::ApproveBaselineResponse>, Status> {
        self.check(&request, [request.get_ref().stage])?;
        let by = caller(&request);
        release::approve(&self.node, by, request.into_inner()).await.map(Response::new)
    }

    async fn list_rules(
        &self,
        _request: Request<wire::ListRulesRequest>,
    ) -> Result<Response<wire::ListRulesResponse>, Status> {
        Ok(Response::new(rules::list(&self.node)))
    }

    async fn add_rule(
        &self,
        request: Request<wire::AddRuleRequest>,
    ) -> Result<Response<wire::AddRuleResponse>, Status> {
        self.check(&request, request.get_ref().rule.iter().map(|rule| rule.stage))?;
        let by = caller(&request);
        rules::add(&self.node, by, request.into_inner()).await.map(Response::new)
    }

    async fn remove_rule(
        &self,
        request: Request<wire::RemoveRuleRequest>,
    ) -> Result<Response<wire::RemoveRuleResponse>, Status> {
        self.check(&request, self.stages_of(&request.get_ref().name))?;
        rules::remove(&self.node, &request.into_inner()).await.map(Response::new)
    }

    async fn enable_rule(
        &self,
        request: Request<wire::EnableRuleRequest>,
    ) -> Result<Response<wire::EnableRuleResponse>, Status> {
        self.check(&request, self.stages_of(&request.get_ref().name))?;
        rules::enable(&self.node, &request.into_inner()).await.map(Response::new)
    }

    async fn run_rules(
        &self,
        request: Request<wire::RunRulesRequest>,
    ) -> Result<Response<wire::RunRulesResponse>, Status> {
        self.check(&request, self.stages_of(&request.get_ref().name))?;
        rules::run(&self.node, &request.into_inner()).await.map(Response::new)
    }

    async fn plan_approval(
        &self,
        request: Request<wire::PlanApprovalRequest>,
    ) -> Result<Response<wire::PlanApprovalResponse>, Status> {
        plan::approval(&self.node, self.packages.clone(), request.into_inner())
            .await
            .map(Response::new)
    }

    async fn retire_superseded(
        &self,
        request: Request<wire::RetireSupersededRequest>,
    ) -> Result<Response<wire::DecideResponse>, Status> {
        self.check(&request, [request.get_ref().stage])?;
        let by = caller(&request);
        plan::retire(&self.node, by, request.into_inner()).await.map(Response::new)
    }
}
