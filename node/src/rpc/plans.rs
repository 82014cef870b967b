//! Plans: when sources are synchronised by themselves.

use patchmesh_proto::admin as wire;
use patchmesh_proto::admin::plans_server::Plans;
use patchmesh_proto::convert::timestamp_to_wire;
use patchmesh_topology::name::SourceName;
use tonic::{Request, Response, Status};

use super::context::Context;
use super::status::{field, internal};
use crate::log::in_one_line;
use crate::primary::planned::Error;
use crate::primary::records::PlanRecord;

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
impl Plans for Service {
    async fn plan_source(
        &self,
        request: Request<wire::PlanSourceRequest>,
    ) -> Result<Response<wire::PlanSourceResponse>, Status> {
        let plans = &self.node.primary()?.plans;
        let request = request.into_inner();
        let name: SourceName = request.name.parse().map_err(|error| field("name", &error))?;
        if let Some(plan) = request.plan {
            if plan.every_seconds > 0 && !plan.at.is_empty() {
                return Err(field("plan", "an interval or a time of day, not both"));
            }
            let zone = if plan.zone.is_empty() { "UTC".to_owned() } else { plan.zone };
            let record = PlanRecord {
                every_seconds: plan.every_seconds,
                at: plan.at,
                zone,
                ..PlanRecord::default()
            };
            plans.set(&name, record).await.map_err(status)?;
        }
        let standing = plans.standing(&name).await.map_err(status)?;
        let answer = standing.map_or_else(wire::PlanSourceResponse::default, |standing| {
            wire::PlanSourceResponse {
                plan: standing.plan.to_string(),
                due: Some(timestamp_to_wire(standing.due)),
                failures: standing.failures,
            }
        });
        Ok(Response::new(answer))
    }
}

fn status(error: Error) -> Status {
    match &error {
        Error::Plan(why) => field("plan", why),
        Error::Unknown(_) => Status::not_found(in_one_line(&error)),
        Error::Store(_) => internal(&error),
    }
}
