//! Orders to one task that owns what they change, done many at a time: all that
//! came while the last ones were done share the next write to the disk.

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Orders that wait. Each holds at most a request's bytes, so what waits is
/// bounded; who comes later waits at the door.
const MAX_WAITING: usize = 64;

/// Starts the task. `work` does some orders, off the async threads.
pub(super) fn start<O: Send + 'static>(
    mut work: impl FnMut(Vec<O>) + Send + 'static,
    tasks: &mut JoinSet<()>,
    stop: CancellationToken,
) -> mpsc::Sender<O> {
    let (sender, mut receiver) = mpsc::channel(MAX_WAITING);
    tasks.spawn(async move {
        loop {
            let mut orders = Vec::new();
            let count = tokio::select! {
                () = stop.cancelled() => return,
                count = receiver.recv_many(&mut orders, MAX_WAITING) => count,
            };
            if count == 0 {
                // Nobody is left to give any.
                stop.cancelled().await;
                return;
            }
            let done = tokio::task::spawn_blocking(move || {
                work(orders);
                work
            });
            match done.await {
                Ok(back) => work = back,
                // Ends the node, which starts again from what is on the disk.
                Err(error) => {
                    tracing::error!(%error, "the keeper of reports broke off");
                    return;
                }
            }
        }
    });
    sender
}
