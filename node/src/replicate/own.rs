//! This node's own word about itself: its generation, its approval sets, how
//! much of the content it has, and what is wrong.

use std::sync::Arc;

use jiff::Timestamp;
use patchmesh_proto::convert::{awaited_to_wire, timestamp_to_wire};
use patchmesh_proto::replication::NodeStatus;
use patchmesh_topology::name::NodeName;
use patchmesh_topology::view::awaited::Awaited;
use tokio::sync::watch;

use super::report::OwnWord;
use crate::alerts::Alerts;
use crate::brakes::Brakes;
use crate::content::{Content, Readiness};
use crate::generation::{Current, Generation};
use crate::identity::tls::Credentials;

/// What is wrong, as far as this node can tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// The last failure to learn from the parent; empty when the last try
    /// succeeded.
    pub problem: String,
    /// Since when nothing could be learned.
    pub stale_since: Option<Timestamp>,
}

/// Makes the node's own word; cheap to clone.
#[derive(Debug, Clone)]
pub struct OwnStatus {
    name: NodeName,
    current: Current,
    content: Content,
    alerts: Alerts,
    brakes: Brakes,
    awaited: watch::Receiver<Awaited>,
    condition: watch::Sender<Condition>,
    credentials: Arc<Credentials>,
}

impl OwnStatus {
    /// Speaks for `name`.
    #[must_use]
    pub fn new(
        name: NodeName,
        current: Current,
        content: Content,
        alerts: Alerts,
        brakes: Brakes,
        awaited: watch::Receiver<Awaited>,
        credentials: Arc<Credentials>,
    ) -> Self {
        Self {
            name,
            current,
            content,
            alerts,
            brakes,
            awaited,
            condition: watch::Sender::new(Condition::default()),
            credentials,
        }
    }

    /// Takes note of how the last try to learn from the parent went, and says
    /// whether that is news.
    pub fn set_condition(&self, condition: Condition) -> bool {
        self.condition.send_if_modified(|present| {
            let changed = *present != condition;
            *present = condition;
            changed
        })
    }

    /// How the last try to learn from the parent went.
    #[must_use]
    pub fn condition(&self) -> Condition {
        self.condition.borrow().clone()
    }

    /// The word, stated at `now`.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> NodeStatus {
        let generation = self.current.get();
        let readiness = self.readiness(&generation);
        let condition = self.condition();
        NodeStatus {
            name: self.name.to_string(),
            generation: generation.number,
            approval_sets: generation.approval_set_statuses(),
            payloads_wanted: readiness.payloads_wanted,
            payloads_held: readiness.payloads_held,
            bytes_wanted: readiness.bytes_wanted,
            bytes_held: readiness.bytes_held,
            at: Some(timestamp_to_wire(now)),
            stale_since: condition.stale_since.map(timestamp_to_wire),
            problem: condition.problem,
            software: env!("CARGO_PKG_VERSION").to_owned(),
            certificate_expires_at: Some(timestamp_to_wire(
                self.credentials.certificate().not_after,
            )),
            alerts: self.alerts.to_wire(),
            brakes: self.brakes.to_wire(now),
            awaited: awaited_to_wire(&self.awaited.borrow()),
        }
    }
}

impl OwnStatus {
    /// How much this generation calls for and how much of it is here. Until
    /// that was counted nothing is claimed to be here.
    fn readiness(&self, generation: &Generation) -> Readiness {
        let counted = *self.content.readiness().borrow();
        if counted.generation >= generation.number {
            return counted;
        }
        let wanted = generation.wanted_payloads(&self.name);
        Readiness {
            generation: generation.number,
            payloads_wanted: wanted.len() as u64,
            bytes_wanted: wanted.values().sum(),
            ..Readiness::default()
        }
    }
}

impl OwnWord for OwnStatus {
    fn now(&self) -> NodeStatus {
        self.at(Timestamp::now())
    }

    async fn changed(&self) {
        let mut generations = self.current.watch();
        let mut conditions = self.condition.subscribe();
        let mut readiness = self.content.readiness();
        let mut alerts = self.alerts.watch();
        let mut brakes = self.brakes.watch();
        let mut awaited = self.awaited.clone();
        awaited.mark_unchanged();
        // A sender that is gone means that the node shuts down: wait for that elsewhere.
        tokio::select! {
            Ok(()) = generations.changed() => {}
            Ok(()) = conditions.changed() => {}
            Ok(()) = readiness.changed() => {}
            Ok(()) = alerts.changed() => {}
            Ok(()) = brakes.changed() => {}
            Ok(()) = awaited.changed() => {}
            else => std::future::pending().await,
        }
    }
}
