//! Takes rollouts on: looks at them whenever a plan, a decision or a machine's
//! word changed, and when time alone may have changed something.
//!
//! What happens is decided by [`patchmesh_topology::rollout::plan`]. One task
//! looks; what it finds is worked out once more on the draft that is published,
//! so that nothing opens by a plan that was changed meanwhile. Nothing is
//! remembered but the signed states: who begins again goes on from them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use patchmesh_topology::alert::Severity;
use patchmesh_topology::name::Site;
use patchmesh_topology::rollout::plan::{Changed, Effect, Planner, Tallies, Transition};
use patchmesh_topology::rollout::{RolloutState, Stop};
use patchmesh_topology::view::awaited::ByNode;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::publisher::{self, Publisher};
use crate::alerts::Alerts;
use crate::generation::{Current, Generation};
use crate::log::in_one_line;
use crate::reports::ledger::Ledger;

mod arrivals;
mod counting;

use arrivals::Arrivals;
use counting::Counting;
pub(crate) use counting::gate_counts;

/// The longest sleep at a stretch: hosts are suspended and clocks are set.
const MAX_SLEEP: Duration = Duration::from_secs(30);
/// Pause after a failure to publish.
const PAUSE: Duration = Duration::from_secs(1);
/// Words of machines that come closer together than this are looked at once.
const SETTLE: Duration = Duration::from_millis(20);

/// Begins the key of the alert of a rollout that stopped by itself.
const ALERT: &str = "rollout/";

/// The handle; cheap to clone.
#[derive(Debug, Clone)]
pub struct Rollouts {
    publisher: Publisher,
    current: Current,
    ledger: Ledger,
    alerts: Alerts,
    awaited: watch::Receiver<Arc<ByNode>>,
    tallies: watch::Sender<Arc<Tallies>>,
}

/// Nothing refuses to go on.
#[derive(Debug, thiserror::Error)]
enum Never {}

impl Rollouts {
    /// Over a mesh's plans.
    #[must_use]
    pub fn new(
        publisher: Publisher,
        current: Current,
        ledger: Ledger,
        alerts: Alerts,
        awaited: watch::Receiver<Arc<ByNode>>,
    ) -> Self {
        Self { publisher, current, ledger, alerts, awaited, tallies: watch::Sender::default() }
    }

    /// What machines said, by rollout and wave.
    #[must_use]
    pub fn tallies(&self) -> Arc<Tallies> {
        self.tallies.borrow().clone()
    }

    /// Runs until stopped.
    pub async fn run(self, stop: CancellationToken) {
        let mut arrivals = match self.ledger.store().run(Arrivals::open).await {
            Ok(arrivals) => arrivals,
            Err(error) => {
                let error = in_one_line(&error);
                tracing::error!(error, "rollouts stand still: restart this node");
                return;
            }
        };
        let mut awaited = self.awaited.clone();
        let mut switches = self.current.watch();
        let mut words = self.ledger.changes();
        let mut counting = Counting::default();
        loop {
            let generation = switches.borrow_and_update().clone();
            words.borrow_and_update();
            if let Err(error) = counting.follow(&generation, &self.ledger).await {
                let error = in_one_line(&error);
                tracing::error!(error, "machines of some waves are not counted");
            }
            let nodes = awaited.borrow_and_update().clone();
            if let Err(error) = arrivals.follow(&generation, &nodes, Timestamp::now()).await {
                let error = in_one_line(&error);
                tracing::error!(error, "whose content has come cannot be noted");
            }
            let tallies = Arc::new(counting.tallies(&generation, &self.ledger, &arrivals));
            self.tallies.send_replace(tallies.clone());
            self.warn(&generation);
            let now = Timestamp::now();
            let (effects, wake) = look(&generation, &tallies, now);
            let mut wait = wake
                .map_or(MAX_SLEEP, |at| Duration::try_from(at.duration_since(now)).unwrap_or(PAUSE))
                .min(MAX_SLEEP);
            if effects && !self.advance().await {
                wait = PAUSE;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = switches.changed() => {}
                Ok(()) = awaited.changed() => {}
                Ok(()) = words.changed() => tokio::time::sleep(SETTLE).await,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Keeps an alert for each rollout that stopped by itself.
    fn warn(&self, generation: &Generation) {
        let states = &generation.wave_states.states;
        let stop = |state: &RolloutState| {
            let paused = state.waves.iter().find_map(|wave| wave.paused.clone());
            state.stop.clone().or(paused)
        };
        let stopped: BTreeMap<&str, Stop> =
            states.iter().filter_map(|(name, state)| Some((name.as_str(), stop(state)?))).collect();
        for (name, stop) in &stopped {
            let text = format!(
                "rollout {name} is {}: {}; `patchmesh rollout explain {name}` says more",
                stop.kind, stop.reason
            );
            self.alerts.raise(&format!("{ALERT}{name}"), Severity::Critical, &text);
        }
        self.alerts.clear_others(ALERT, |name| stopped.contains_key(name));
    }

    /// Publishes what happens now; says whether that went well.
    async fn advance(&self) -> bool {
        let tallies = self.tallies();
        let publishing =
            self.publisher.publish(move |draft| Ok::<_, Never>(draft.advance(&tallies)));
        match publishing.await {
            Ok((effects, generation)) => {
                tell(&effects, generation.number);
                true
            }
            Err(publisher::Error::Refused(never)) => match never {},
            Err(publisher::Error::Stopped) => false,
            Err(publisher::Error::Failed(fault)) => {
                let error = in_one_line(fault.as_ref());
                tracing::error!(
                    error,
                    "rollouts stand still: what they come to cannot be published"
                );
                false
            }
        }
    }
}

/// Whether something happens now, and when to look again.
fn look(generation: &Generation, tallies: &Tallies, now: Timestamp) -> (bool, Option<Timestamp>) {
    let mut planner = Planner::new(generation.wave_states.states.clone());
    planner.round(&generation.rollouts, tallies, &Changed::All, now);
    (*planner.states() != generation.wave_states.states, planner.wake())
}

/// A transition is logged once.
pub(crate) fn tell(effects: &[Effect], generation: u64) {
    for Effect { rollout, wave, what } in effects {
        let wave = wave.as_deref().unwrap_or("all");
        match what {
            Transition::Opened => tracing::info!(%rollout, wave, generation, "wave opened"),
            Transition::Passed => tracing::info!(%rollout, wave, generation, "wave passed"),
            Transition::Skipped => {
                tracing::info!(%rollout, wave, generation, "wave passed over: it has no machines");
            }
            Transition::Resumed => tracing::info!(%rollout, wave, generation, "resumed"),
            Transition::LetIn(sites) => {
                let first = sites.first().map(Site::as_str);
                tracing::info!(%rollout, wave, generation, sites = sites.len(), first, "let in");
            }
            Transition::Stopped(kind, breach) => {
                tracing::error!(%rollout, wave, generation, %kind, %breach, "stopped by itself");
            }
        }
    }
}
