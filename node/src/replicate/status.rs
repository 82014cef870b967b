//! What every node below this one last said of itself.
//!
//! Owned by [`Statuses`]; bounded by the number of nodes in the mesh
//! document, since nothing is kept of a node that is not in it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use patchmesh_proto::convert::{awaited, awaited_to_wire};
use patchmesh_proto::replication::NodeStatus;
use patchmesh_topology::alert::MAX_ALERTS;
use patchmesh_topology::digest::Digest;
use patchmesh_topology::name::NodeName;
use patchmesh_topology::node::{Mesh, Stage};
use patchmesh_topology::rollout::brake::MAX_BRAKES;
use tokio::sync::watch;

use crate::identity::CLOCK_SKEW;

/// Characters of a text that a node states; more are cut off. A parent passes on
/// what all nodes below it say in one message, so no node may fill it.
const MAX_TEXT: usize = 512;

/// A node's own word and when it was heard here.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// What it said.
    pub status: NodeStatus,
    /// By this node's clock.
    pub at: Timestamp,
}

/// Why a report was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A statement names no node.
    #[error("a status names no valid node")]
    Name(#[source] patchmesh_topology::name::Error),
    /// A statement about a node that the caller does not answer for.
    #[error("node {caller} may not speak for {about}, which is not below it")]
    Foreign {
        /// Who called.
        caller: NodeName,
        /// Whom the statement is about.
        about: NodeName,
    },
}

/// The statements heard; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Statuses {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    heard: Mutex<BTreeMap<NodeName, Heard>>,
    changes: watch::Sender<u64>,
}

impl Default for Inner {
    fn default() -> Self {
        Self { heard: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl Statuses {
    /// Takes what `caller` says of itself and of nodes below it: whom it spoke of.
    ///
    /// # Errors
    /// Refuses the whole report when one statement is not the caller's to make.
    pub fn accept(
        &self,
        mesh: &Mesh,
        caller: &NodeName,
        statements: Vec<NodeStatus>,
        now: Timestamp,
    ) -> Result<Vec<NodeName>, Error> {
        let mut accepted = Vec::with_capacity(statements.len());
        for status in statements {
            let name: NodeName = status.name.parse().map_err(Error::Name)?;
            if !mesh.is_within(&name, caller) {
                return Err(Error::Foreign { caller: caller.clone(), about: name });
            }
            accepted.push((name, Heard { status: tame(status), at: now }));
        }
        let names = accepted.iter().map(|(name, _)| name.clone()).collect();
        let mut heard = self.inner.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = false;
        for (name, new) in accepted {
            match heard.get(&name) {
                // A relayed older word never replaces a newer one. A word from
                // the future does not count as newer: that node's clock was
                // wrong, and may have been put right since.
                Some(old) if is_older(&new.status, &old.status, now) => {}
                old => {
                    changed |= old.is_none_or(|old| old.status != new.status);
                    heard.insert(name, new);
                }
            }
        }
        heard.retain(|name, _| mesh.nodes.contains_key(name));
        drop(heard);
        if changed {
            self.inner.changes.send_modify(|count| *count += 1);
        }
        Ok(names)
    }

    /// What a node last said.
    #[must_use]
    pub fn of(&self, name: &NodeName) -> Option<NodeStatus> {
        let heard = self.inner.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.get(name).map(|heard| heard.status.clone())
    }

    /// Everything heard, by node.
    #[must_use]
    pub fn all(&self) -> BTreeMap<NodeName, Heard> {
        self.inner.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Is told when a statement changed.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }
}

/// Whether `new` was stated before `old`, as far as their clocks can be believed.
fn is_older(new: &NodeStatus, old: &NodeStatus, now: Timestamp) -> bool {
    let latest = now.as_second().saturating_add(CLOCK_SKEW.as_secs() as i64);
    let old = stated_at(old);
    old > stated_at(new) && old.0 <= latest
}

/// A statement as it is kept: what it says in words bounded and fit for a
/// terminal, and no more approval sets than there are stages.
fn tame(mut status: NodeStatus) -> NodeStatus {
    for text in [&mut status.problem, &mut status.software] {
        *text = plain(text);
    }
    status.approval_sets.truncate(Stage::ALL.len());
    for set in &mut status.approval_sets {
        set.stage = plain(&set.stage);
        set.digest.truncate(size_of::<Digest>());
    }
    status.alerts.truncate(MAX_ALERTS);
    for alert in &mut status.alerts {
        alert.key = plain(&alert.key);
        alert.text = plain(&alert.text);
    }
    status.brakes.truncate(MAX_BRAKES);
    for brake in &mut status.brakes {
        let texts = [&mut brake.name, &mut brake.rollout, &mut brake.update, &mut brake.revision];
        for text in texts.into_iter().chain([&mut brake.reason, &mut brake.by]) {
            *text = plain(text);
        }
    }
    status.awaited = awaited_to_wire(&awaited(&status.awaited));
    status
}

fn plain(text: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(MAX_TEXT).map(printable).collect()
}

fn stated_at(status: &NodeStatus) -> (i64, i32) {
    status.at.map_or((0, 0), |at| (at.seconds, at.nanos))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
