//! Passes this node's word, and what it heard from below, to the parent.
//!
//! A change is sent after [`SETTLE`]; without change the word is repeated
//! every [`REPEAT`], so that a parent that restarted hears it again. What does
//! not fit one request goes in several: a parent takes no large ones, and what
//! one node says must not keep others from being heard.
//!
//! Each is also a small round trip over the line, whatever else moves; what yields
//! on that line knows from it how long it is without a queue ([`Delays`]).

use std::sync::Arc;
use std::time::{Duration, Instant};

use patchmesh_proto::replication::replication_client::ReplicationClient;
use patchmesh_proto::replication::{NodeStatus, ReportStatusRequest};
use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::serve::MAX_REQUEST;
use super::status::Statuses;
use crate::budget::window::Delays;

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
///
/// `delays` are those of whoever the channel leads to at that moment.
pub async fn run(
    own: impl OwnWord,
    below: Statuses,
    channel: Channel,
    delays: impl Fn() -> Arc<Delays> + Send,
    cancel: CancellationToken,
) {
    let mut client = ReplicationClient::new(channel);
    let mut changes = below.watch();
    loop {
        let mut nodes = vec![own.now()];
        nodes.extend(below.all().into_values().map(|heard| heard.status));
        let answer = tokio::select! {
            () = cancel.cancelled() => return,
            answer = send(&mut client, requests(nodes), &delays) => answer,
        };
        let wait = match answer {
            Ok(()) => REPEAT,
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

async fn send(
    client: &mut ReplicationClient<Channel>,
    requests: Vec<ReportStatusRequest>,
    delays: &impl Fn() -> Arc<Delays>,
) -> Result<(), tonic::Status> {
    for request in requests {
        let mut request = tonic::Request::new(request);
        request.set_timeout(TIMEOUT);
        let (begun, before) = (Instant::now(), delays());
        client.report_status(request).await?;
        // Another one may be followed now: nobody knows who has answered.
        if Arc::ptr_eq(&before, &delays()) {
            let now = Instant::now();
            before.trip(now, now - begun);
        }
    }
    Ok(())
}

/// The statements in their order, in as few requests as a parent takes.
fn requests(nodes: Vec<NodeStatus>) -> Vec<ReportStatusRequest> {
    let mut requests: Vec<ReportStatusRequest> = Vec::new();
    let mut bytes = MAX_REQUEST;
    for node in nodes {
        let length = prost::length_delimiter_len(node.encoded_len()) + node.encoded_len() + 1;
        match requests.last_mut() {
            Some(request) if bytes + length <= MAX_REQUEST => {
                bytes += length;
                request.nodes.push(node);
            }
            _ => {
                bytes = length;
                requests.push(ReportStatusRequest { nodes: vec![node] });
            }
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_report_goes_in_several_requests() {
        let status = |number: usize| NodeStatus {
            name: format!("n{number}"),
            problem: "x".repeat(number % 9 * 1000),
            ..NodeStatus::default()
        };
        let nodes: Vec<NodeStatus> = (0..1000).map(status).collect();
        let requests = requests(nodes.clone());
        assert!((10..30).contains(&requests.len()), "{}", requests.len());
        assert!(requests.iter().all(|request| request.encoded_len() <= MAX_REQUEST));
        let said: Vec<NodeStatus> = requests.into_iter().flat_map(|one| one.nodes).collect();
        assert_eq!(said, nodes);
    }
}
