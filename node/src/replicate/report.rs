//! Passes this node's word, and what it heard from below, to the parent.
//!
//! A change is sent after [`SETTLE`]; without change the word is repeated
//! every [`REPEAT`], so that a parent that restarted hears it again.

use std::time::Duration;

use patchmesh_proto::replication::replication_client::ReplicationClient;
use patchmesh_proto::replication::{NodeStatus, ReportStatusRequest};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::status::Statuses;

/// Changes closer together than this go in one message.
const SETTLE: Duration = Duration::from_millis(50);
/// How often an unchanged word is repeated.
const REPEAT: Duration = Duration::from_secs(15);
/// How long the parent may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failure; the next message carries the newest word anyway.
const PAUSE: Duration = Duration::from_secs(1);

/// Where the node's own word comes from.
pub trait OwnWord: Send + Sync + 'static {
    /// The node's own word now.
    fn now(&self) -> NodeStatus;
    /// Resolves when it may have changed.
    fn changed(&self) -> impl Future<Output = ()> + Send;
}

/// Runs until cancelled.
pub async fn run(own: impl OwnWord, below: Statuses, channel: Channel, cancel: CancellationToken) {
    let mut client = ReplicationClient::new(channel);
    let mut changes = below.watch();
    loop {
        let mut nodes = vec![own.now()];
        nodes.extend(below.all().into_values().map(|heard| heard.status));
        let mut request = tonic::Request::new(ReportStatusRequest { nodes });
        request.set_timeout(TIMEOUT);
        let answer = tokio::select! {
            () = cancel.cancelled() => return,
            answer = client.report_status(request) => answer,
        };
        let wait = match answer {
            Ok(_) => REPEAT,
            Err(status) => {
                tracing::debug!(code = ?status.code(), message = status.message(), "status not reported");
                PAUSE
            }
        };
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(wait) => continue,
            () = own.changed() => {}
            Ok(()) = changes.changed() => {}
        }
        tokio::time::sleep(SETTLE).await;
    }
}
