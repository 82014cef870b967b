//! What nodes say has not arrived there: they are served views without it, so
//! that nothing else waits for the content of a plan.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use patchmesh_proto::convert::awaited;
use patchmesh_topology::view::awaited::{Awaited, ByNode};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::publisher::{Publisher, Worker};
use crate::replicate::status::Statuses;

/// For how many distinct things awaited there are views. What fewer nodes await
/// than those is left out: these are served what was open there before.
const MAX_DISTINCT: usize = 32;
/// Words of nodes that come closer together than this are looked at once.
const SETTLE: Duration = Duration::from_millis(500);

/// Follows what nodes say until the primary ends.
pub async fn follow(
    statuses: Statuses,
    known: watch::Sender<Arc<ByNode>>,
    publisher: Publisher,
    stop: CancellationToken,
) {
    let mut words = statuses.watch();
    words.mark_changed();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = words.changed() => if changed.is_err() { return },
        }
        let heard = statuses.all().into_iter();
        let heard = heard.map(|(name, heard)| (name, awaited(&heard.status.awaited)));
        let next = bounded(heard.filter(|(_, one)| !one.is_empty()).collect());
        let is_news = known.send_if_modified(|present| {
            let is_news = **present != next;
            if is_news {
                *present = Arc::new(next);
            }
            is_news
        });
        if is_news && publisher.alone(Worker::build_awaited).await.is_err() {
            return;
        }
        tokio::time::sleep(SETTLE).await;
    }
}

/// What most nodes await.
fn bounded(mut nodes: ByNode) -> ByNode {
    let mut counts: HashMap<&Awaited, usize> = HashMap::new();
    for awaited in nodes.values() {
        *counts.entry(awaited).or_default() += 1;
    }
    if counts.len() > MAX_DISTINCT {
        let mut most: Vec<(usize, &Awaited)> =
            counts.into_iter().map(|(awaited, count)| (count, awaited)).collect();
        most.sort_by(|one, other| other.cmp(one));
        let left_out = most.split_off(MAX_DISTINCT).into_iter();
        let left_out: Vec<Awaited> = left_out.map(|(_, one)| one.clone()).collect();
        tracing::warn!(
            built = MAX_DISTINCT,
            left_out = left_out.len(),
            "nodes await the content of many plans: some are served what was open before"
        );
        nodes.retain(|_, awaited| !left_out.contains(awaited));
    }
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_most_nodes_await_is_kept() {
        let awaits = |number: usize| {
            let rollout = format!("r{}", number % (MAX_DISTINCT + 1)).parse().expect("a name");
            Awaited::from_iter([(rollout, jiff::Timestamp::UNIX_EPOCH)])
        };
        // All twice but one of them.
        let count = 2 * (MAX_DISTINCT + 1) - 1;
        let nodes: ByNode = (0..count)
            .map(|number| (format!("n{number}").parse().expect("a name"), awaits(number)))
            .collect();
        let kept = bounded(nodes.clone());
        assert_eq!(kept.len(), count - 1);
        assert!(!kept.values().any(|one| *one == awaits(MAX_DISTINCT)));
        assert_eq!(bounded(kept.clone()), kept);
    }
}
