//! Alerts: what is wrong here, and below here as far as it was heard.

use std::collections::BTreeMap;

use jiff::Timestamp;
use patchmesh_proto::admin as wire;
use patchmesh_proto::admin::alerts_server::Alerts;
use patchmesh_proto::convert::timestamp_to_wire;
use patchmesh_proto::replication;
use patchmesh_topology::name::NodeName;
use tonic::{Request, Response, Status};

use super::context::Context;

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
impl Alerts for Service {
    async fn list_alerts(
        &self,
        request: Request<wire::ListAlertsRequest>,
    ) -> Result<Response<wire::ListAlertsResponse>, Status> {
        let mut nodes: BTreeMap<NodeName, (Vec<replication::Alert>, Timestamp)> = BTreeMap::new();
        if request.into_inner().all_nodes {
            let heard = self.node.statuses.all().into_iter();
            nodes.extend(heard.map(|(name, word)| (name, (word.status.alerts, word.at))));
        }
        let own = (self.node.alerts.to_wire(), Timestamp::now());
        nodes.insert(self.node.name.clone(), own);
        let alerts = nodes.into_iter().flat_map(|(name, (alerts, at))| {
            alerts.into_iter().map(move |alert| wire::NodeAlert {
                node: name.to_string(),
                alert: Some(alert),
                heard_at: Some(timestamp_to_wire(at)),
            })
        });
        Ok(Response::new(wire::ListAlertsResponse { alerts: alerts.collect() }))
    }
}
