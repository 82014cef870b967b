//! Runs the rules that are enabled: whenever something changed that they hang
//! on, and when a delay is over.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use patchmesh_topology::rule::{Outcome, Rule};
use tokio_util::sync::CancellationToken;

use super::rules;
use crate::generation::Generation;
use crate::rpc::blocking;
use crate::rpc::context::Context;

/// Pause between two looks, so that a series of changes is looked at once.
const PAUSE: Duration = Duration::from_secs(2);
/// Longest time without a look at the clock: it may be set meanwhile.
const LONGEST: Duration = Duration::from_secs(60);

/// Runs until cancelled.
pub(crate) async fn run(node: Context, cancel: CancellationToken) {
    let mut switches = node.current.watch();
    let mut seen: Option<Arc<Generation>> = None;
    let mut due_at: Option<Timestamp> = None;
    loop {
        let generation = switches.borrow_and_update().clone();
        let is_due = due_at.is_some_and(|at| at <= Timestamp::now());
        if is_due || seen.as_ref().is_none_or(|one| concerns(one, &generation)) {
            due_at = look(&node, &generation).await;
            seen = Some(generation);
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            changed = switches.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LONGEST) => {}
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// Whether a rule could come to something else.
fn concerns(before: &Generation, after: &Generation) -> bool {
    let has_rules = after.policy.rules.values().any(|rule| rule.enabled);
    let same = Arc::ptr_eq(&before.policy, &after.policy)
        && Arc::ptr_eq(&before.catalogue, &after.catalogue)
        && Arc::ptr_eq(&before.lab, &after.lab)
        && Arc::ptr_eq(&before.mesh, &after.mesh)
        && Arc::ptr_eq(&before.assessments, &after.assessments)
        && before.approvals == after.approvals;
    has_rules && !same
}

/// Decides what is due; says when the next thing will be.
async fn look(node: &Context, generation: &Arc<Generation>) -> Option<Timestamp> {
    let rules: Vec<Rule> =
        generation.policy.rules.values().filter(|rule| rule.enabled).cloned().collect();
    node.primary.as_ref()?;
    if rules.is_empty() {
        return None;
    }
    let (known, store) = (generation.clone(), node.store.clone());
    let found = blocking(move || rules::outcomes(&known, &store, rules, Timestamp::now())).await;
    let found: Vec<(Rule, Outcome)> = match found {
        Ok(found) => found,
        Err(status) => {
            tracing::warn!(problem = status.message(), "rules could not be looked at");
            return Some(Timestamp::now());
        }
    };
    let waiting = found.iter().flat_map(|(_, outcome)| outcome.waiting.values());
    let next = waiting.map(|one| one.until).min();
    match rules::apply(node, found).await {
        Ok(None) => {}
        Ok(Some(decided)) => {
            if decided.changed > 0 || !decided.pending.is_empty() {
                let (revisions, generation) = (decided.changed, decided.generation);
                tracing::info!(revisions, generation, "rules decided");
            }
            // What lacks evidence may have it by the next look: machines report, and
            // time goes by.
            if decided.held_total > 0 {
                return Some(Timestamp::now());
            }
        }
        Err(status) => tracing::warn!(problem = status.message(), "rules could not decide"),
    }
    next
}
