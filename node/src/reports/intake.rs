//! Where batches go at this node: into its outbox, or at the primary into the
//! ledger.

use std::time::Duration;

use patchmesh_proto::report::{self as wire, Verdict};
use patchmesh_topology::name::MachineName;

use super::held::Held;
use super::ledger::Ledger;
use super::outbox::Outbox;
use crate::identity::sealed::{Holder, Sealed};
use crate::store;

/// When to come again after there was no room.
pub const COME_AGAIN: Duration = Duration::from_secs(15);

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is held here, from now on or since before.
    Held,
    /// It will never be taken.
    Refused(String),
}

impl From<Answer> for wire::Answer {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Held => Self { verdict: Verdict::Held.into(), reason: String::new() },
            Answer::Refused(reason) => Self { verdict: Verdict::Refused.into(), reason },
        }
    }
}

/// Why batches were not taken, for now: whoever has them keeps them.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No room.
    #[error("{waiting} bytes of reports wait here for the parent, and at most {most} do")]
    Full {
        /// Bytes that wait.
        waiting: u64,
        /// The bound.
        most: u64,
    },
    /// No more room for this machine.
    #[error(
        "{waiting} bytes of reports of machine {machine} wait here for the parent, and at most {most} do"
    )]
    MachineFull {
        /// Whose.
        machine: MachineName,
        /// Bytes that wait.
        waiting: u64,
        /// The bound.
        most: u64,
    },
    /// The disk.
    #[error("the reports cannot be kept")]
    Store(#[from] std::sync::Arc<store::Error>),
    /// The node is about to end.
    #[error("the node is shutting down")]
    Stopped,
}

/// Where batches go.
#[derive(Debug, Clone)]
pub enum Intake {
    /// They wait for the parent.
    Outbox(Outbox),
    /// They are counted.
    Ledger(Ledger),
}

impl Intake {
    /// Takes checked batches; what is answered as held is durable. One answer for
    /// each.
    ///
    /// # Errors
    /// None of them was taken, as far as the caller can tell.
    pub async fn take(&self, batches: Vec<Sealed>) -> Result<Vec<Answer>, Error> {
        match self {
            Self::Outbox(outbox) => outbox.take(batches).await,
            Self::Ledger(ledger) => ledger.take(batches).await,
        }
    }

    /// What is known to be held of a machine's events. Blocks.
    ///
    /// # Errors
    /// A failing disk.
    pub fn held(&self, holder: &Holder) -> Result<Held, store::Error> {
        match self {
            Self::Outbox(outbox) => outbox.held(holder),
            Self::Ledger(ledger) => ledger.held(&holder.name),
        }
    }
}
