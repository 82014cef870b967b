//! What nodes say has not arrived there: they are served views without it, so
//! that nothing else waits for the content of a plan.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use patchmesh_proto::convert::awaited;
use patchmesh_topology::view::awaited::{Awaited, ByNode};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::publisher::{Publisher, Worker};
use crate::replicate::status::Statuses;

/// For how many distinct things awaited there are views. What fewer nodes await
/// than those is left out: these are served what was open there before.
const MAX_DISTINCT: usize = 32;
/// A node that says nothing for so long is cut off: what it said last makes nobody
/// wait for it.
const FRESH: SignedDuration = SignedDuration::from_hours(1);
/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(60);
/// Words of nodes that come closer together than this are looked at once.
const SETTLE: Duration = Duration::from_millis(500);

/// Follows what nodes say until the primary ends: `known` is told of all of it,
/// `built` of what views are built for.
pub async fn follow(
    statuses: Statuses,
    known: watch::Sender<Arc<ByNode>>,
    built: watch::Sender<Arc<ByNode>>,
    publisher: Publisher,
    stop: CancellationToken,
) {
    let mut words = statuses.watch();
    words.mark_changed();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = words.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK) => {}
        }
        let now = Timestamp::now();
        let heard = statuses.all().into_iter();
        let fresh = heard.filter(|(_, one)| now.duration_since(one.at) < FRESH);
        let awaits = fresh.map(|(name, heard)| (name, awaited(&heard.status.awaited)));
        let next: ByNode = awaits.filter(|(_, one)| !one.is_empty()).collect();
        if **known.borrow() != next {
            let next = Arc::new(next);
            known.send_replace(next.clone());
            built.send_replace(bounded(next));
            if publisher.alone(Worker::build_awaited).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(SETTLE).await;
    }
}

/// What most nodes await, of no more distinct things than views are built for.
fn bounded(nodes: Arc<ByNode>) -> Arc<ByNode> {
    let mut counts: HashMap<&Awaited, usize> = HashMap::new();
    for awaited in nodes.values() {
        *counts.entry(awaited).or_default() += 1;
    }
    if counts.len() <= MAX_DISTINCT {
        return nodes;
    }
    let mut most: Vec<(usize, &Awaited)> =
        counts.into_iter().map(|(awaited, count)| (count, awaited)).collect();
    most.sort_by(|one, other| other.cmp(one));
    let left_out: HashSet<&Awaited> =
        most.split_off(MAX_DISTINCT).into_iter().map(|(_, one)| one).collect();
    tracing::warn!(
        built = MAX_DISTINCT,
        left_out = left_out.len(),
        "nodes await the content of many plans: some are served what was open before"
    );
    let kept = nodes.iter().filter(|(_, awaited)| !left_out.contains(awaited));
    Arc::new(kept.map(|(name, awaited)| (name.clone(), awaited.clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_most_nodes_await_is_kept() {
        let awaits = |number: usize| {
            let rollout = format!("r{}", number % (MAX_DISTINCT + 1)).parse().expect("a name");
            Awaited::from_iter([(rollout, Timestamp::UNIX_EPOCH)])
        };
        // All twice but one of them.
        let count = 2 * (MAX_DISTINCT + 1) - 1;
        let nodes: ByNode = (0..count)
            .map(|number| (format!("n{number}").parse().expect("a name"), awaits(number)))
            .collect();
        let kept = bounded(Arc::new(nodes));
        assert_eq!(kept.len(), count - 1);
        assert!(!kept.values().any(|one| *one == awaits(MAX_DISTINCT)));
        assert_eq!(bounded(kept.clone()), kept);
    }
}
