//! Passes batches on to the parent as soon as they are here.
//!
//! A lane has one request under way; what comes meanwhile goes with the next one.
//! So a failure is with the parent after one round trip and one write to its disk,
//! and many small batches make few requests. When the parent cannot be reached the
//! batches stay, and it is asked again soon.

use std::time::Duration;

use patchmesh_proto::report::reports_client::ReportsClient;
use patchmesh_proto::report::{RelayRequest, Verdict};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::outbox::{Lane, Outbox, Portion};
use super::{MAX_BATCHES, MAX_REQUEST};
use crate::transport::channel;

/// How long the parent may take to answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Pauses after failures: the first one, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Runs one lane until `stop`.
pub async fn run(outbox: Outbox, lane: Lane, parent: Channel, stop: CancellationToken) {
    let client = ReportsClient::new(parent).max_decoding_message_size(MAX_REQUEST);
    let forwarder = Forwarder { outbox, lane, client };
    tokio::select! {
        () = forwarder.forward() => {}
        () = stop.cancelled() => {}
    }
}

struct Forwarder {
    outbox: Outbox,
    lane: Lane,
    client: ReportsClient<Channel>,
}

/// Why batches are still here.
enum Kept {
    /// The parent did not take them; it may do so later.
    Parent(Status),
    /// This node's disk failed.
    Store(crate::store::Error),
}

impl Forwarder {
    async fn forward(mut self) {
        let (mut pause, mut is_told) = (PAUSE.0, false);
        let mut most = MAX_BATCHES;
        loop {
            match self.pass_on(most).await {
                Ok(()) => {
                    if is_told {
                        tracing::info!(lane = ?self.lane, "the parent takes reports again");
                    }
                    (pause, is_told, most) = (PAUSE.0, false, MAX_BATCHES);
                    continue;
                }
                // One of them cannot be taken: find it.
                Err(Kept::Parent(status)) if status.code() == Code::InvalidArgument && most > 1 => {
                    most = 1;
                    continue;
                }
                Err(Kept::Parent(status)) if !is_told => {
                    let (reason, waiting) = (channel::explain(&status), self.outbox.bytes());
                    tracing::warn!(lane = ?self.lane, reason, waiting, "reports wait for the parent");
                    is_told = true;
                }
                Err(Kept::Parent(_)) => {}
                Err(Kept::Store(error)) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "reports that wait for the parent cannot be read");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Waits for batches and passes them on, once.
    async fn pass_on(&mut self, most: usize) -> Result<(), Kept> {
        let portion = self.outbox.next(self.lane, most).await.map_err(Kept::Store)?;
        let done = match self.relay(&portion).await {
            Ok(done) => done,
            Err(status) if status.code() == Code::InvalidArgument && portion.len() == 1 => {
                tracing::error!(
                    reason = status.message(),
                    "a machine's batch is lost: the parent cannot read it; is its software older than this node's?"
                );
                vec![portion[0].0]
            }
            Err(status) => return Err(Kept::Parent(status)),
        };
        self.outbox.done(done).await.map_err(Kept::Store)
    }

    /// Passes batches on; answers with the places of those that need not stay.
    async fn relay(&mut self, portion: &Portion) -> Result<Vec<u64>, Status> {
        let batches = portion.iter().map(|(_, batch)| batch.clone()).collect();
        let mut request = Request::new(RelayRequest { batches });
        request.set_timeout(TIMEOUT);
        let answers = self.client.relay(request).await?.into_inner().answers;
        if answers.len() != portion.len() {
            let text = format!("{} answers to {} batches", answers.len(), portion.len());
            return Err(Status::internal(text));
        }
        let mut done = Vec::with_capacity(portion.len());
        for ((place, _), answer) in portion.iter().zip(answers) {
            match answer.verdict() {
                Verdict::Held => done.push(*place),
                Verdict::Refused => {
                    tracing::warn!(reason = answer.reason, "a machine's batch was refused above");
                    done.push(*place);
                }
                Verdict::Unspecified => {}
            }
        }
        // An answer that says nothing must not make this a busy loop.
        if done.is_empty() && !portion.is_empty() {
            return Err(Status::internal("the parent said nothing about any batch"));
        }
        Ok(done)
    }
}
