//! Follows the fetching of approved payloads until all are bound or failed.

use std::collections::BTreeSet;

use patchmesh_proto::admin as wire;
use patchmesh_topology::revision::{Payload, RevisionId};
use tokio::sync::watch;

use crate::generation::{Current, Generation};
use crate::primary::payloads::Payloads;

/// Messages closer together than this are not worth sending.
const PACE: std::time::Duration = std::time::Duration::from_millis(100);

/// The revisions watched and what moves them.
pub(super) struct Availability {
    revisions: BTreeSet<RevisionId>,
    current: Current,
    payloads: Payloads,
    generations: watch::Receiver<std::sync::Arc<Generation>>,
    attempts: watch::Receiver<u64>,
    is_first: bool,
}

impl Availability {
    pub(super) fn new(
        current: Current,
        payloads: Payloads,
        revisions: BTreeSet<RevisionId>,
    ) -> Self {
        let (generations, attempts) = (current.watch(), payloads.watch());
        Self { revisions, current, payloads, generations, attempts, is_first: true }
    }

    /// The present state at once, then after each change.
    pub(super) async fn next(&mut self) -> wire::WatchAvailabilityResponse {
        if !std::mem::take(&mut self.is_first) {
            tokio::select! {
                _ = self.generations.changed() => {}
                _ = self.attempts.changed() => {}
            }
            tokio::time::sleep(PACE).await;
            self.generations.mark_unchanged();
            self.attempts.mark_unchanged();
        }
        self.look()
    }

    fn look(&self) -> wire::WatchAvailabilityResponse {
        let generation = self.current.get();
        let mut answer = wire::WatchAvailabilityResponse::default();
        let mut waiting = 0;
        let revisions = self.revisions.iter().filter_map(|id| generation.revisions.get(id));
        let payloads = revisions.flat_map(|revision| {
            let fetched = |payload: &&Payload| generation.mesh.is_fetched(revision, payload);
            revision.payloads.iter().filter(fetched)
        });
        for payload in payloads {
            answer.payloads_wanted += 1;
            answer.bytes_wanted += payload.length;
            if generation.bindings.contains_key(&payload.sha256) {
                answer.payloads_held += 1;
                answer.bytes_held += payload.length;
                continue;
            }
            match self.payloads.attempt(&payload.sha256) {
                Some(attempt) if !attempt.problem.is_empty() => {
                    answer.problems.push(format!("{}: {}", payload.package, attempt.problem));
                }
                attempt => {
                    waiting += 1;
                    answer.bytes_held +=
                        attempt.map_or(0, |attempt| attempt.received.min(payload.length));
                }
            }
        }
        answer.finished = waiting == 0;
        answer
    }
}
