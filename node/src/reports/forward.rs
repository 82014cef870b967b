//! Passes batches on to the parent as soon as they are here.
//!
//! A lane has one request under way; what comes meanwhile goes with the next one.
//! So a failure is with the parent after one round trip and one write to its disk,
//! and many small batches make few requests. When the parent cannot be reached the
//! batches stay, and it is asked again soon.

use std::time::Duration;

use patchmesh_proto::report::reports_client::ReportsClient;
use patchmesh_proto::report::{RelayRequest, RelayRolledUpRequest, Verdict};
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
        let answers = match self.lane {
            Lane::Urgent | Lane::Patient => {
                let request = limited(RelayRequest { batches });
                self.client.relay(request).await?.into_inner().answers
            }
            // A parent that would miscount it has no such call.
            Lane::RolledUp => {
                let request = limited(RelayRolledUpRequest { batches });
                self.client.relay_rolled_up(request).await?.into_inner().answers
            }
        };
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

fn limited<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(TIMEOUT);
    request
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic::service::Routes;
    use tonic::transport::{Endpoint, Server};

    use super::*;
    use crate::identity::testing::TestMesh;
    use crate::reports::testing::{Reporter, check};
    use crate::store::{Mode, Store};

    #[tokio::test]
    async fn a_roll_up_waits_for_a_parent_that_knows_it() {
        let (mesh, folder) = (TestMesh::new(), tempfile::tempdir().expect("a folder"));
        let store = Store::open(&folder.path().join("data"), Mode::Create).expect("a store");
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        let outbox = Outbox::open(&store, &mut tasks, &stop).expect("an outbox");
        let pc = Reporter::new(&mesh, "pc-1");
        let sealed = check(&mesh, pc.seal(&pc.rolled_up(0, 2, 9)));
        outbox.take(vec![sealed]).await.expect("taken");
        let waiting = outbox.bytes();
        // A parent that has none of the calls.
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let parent = Server::builder().add_routes(Routes::default());
        tasks.spawn(async move {
            drop(parent.serve_with_incoming(TcpListenerStream::new(listener)).await);
        });
        let channel = Endpoint::from_shared(url).expect("a url").connect_lazy();
        let client = ReportsClient::new(channel);
        let mut forwarder = Forwarder { outbox: outbox.clone(), lane: Lane::RolledUp, client };
        let Err(Kept::Parent(status)) = forwarder.pass_on(MAX_BATCHES).await else {
            panic!("it went to somebody who would miscount it");
        };
        assert_eq!(status.code(), Code::Unimplemented);
        assert_eq!(outbox.bytes(), waiting);
        assert_eq!(outbox.next(Lane::RolledUp, 9).await.expect("read").len(), 1);
        stop.cancel();
        tasks.shutdown().await;
    }
}
