//! What a machine reports: batches of events about revisions, in the order of
//! its queue. The bounds stand here; whoever reads a batch keeps to them.
//!
//! Where more happened than a machine keeps in detail, its oldest events become a
//! [`RollUp`], which is a part of a batch; [`backlog`] decides which.

use std::ops::Range;

use jiff::Timestamp;

pub use self::roll_up::RollUp;
use crate::interval::Intervals;
use crate::name::{MachineName, Site};
use crate::revision::RevisionId;
use crate::tally::{Last, Outcome, Phase, Position, Standing};

pub mod backlog;
pub mod roll_up;

/// Events of a batch.
pub const MAX_EVENTS: usize = 512;

/// Queues of a machine that are told apart, by their epochs. A machine begins another one
/// only when one was lost, or put back to an earlier state.
pub const MAX_EPOCHS: usize = 8;

/// Documents that a machine asks a node for at a time.
pub const MAX_DIGESTS: usize = 256;

/// Bytes of a batch as it is signed.
pub const MAX_BATCH: usize = 256 << 10;

/// Facts of a batch.
pub const MAX_FACTS: usize = 32;

/// Characters of a fact's name.
pub const MAX_FACT_NAME: usize = 64;

/// Characters of a fact's value.
pub const MAX_FACT_VALUE: usize = 256;

/// Characters of an event's message.
pub const MAX_MESSAGE: usize = 512;

/// How the message of a failure begins that is not tried again: it was installed
/// again and again without effect.
pub const LOOPING: &str = "looping:";

/// The fact of a machine that cannot tell what is on it; its value says why. Nothing that it
/// said before says how it stands now.
pub const UNREADABLE: &str = "unreadable";

/// What a machine did with a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// With which.
    pub revision: RevisionId,
    /// Which step.
    pub phase: Phase,
    /// How it went.
    pub outcome: Outcome,
    /// The installer's own code; 0 where there is none.
    pub code: i64,
    /// For people.
    pub message: String,
    /// When, by the machine's clock.
    pub at: Timestamp,
}

impl Event {
    /// Whether it was installed again and again without effect.
    #[must_use]
    pub fn is_looping(&self) -> bool {
        is_looping(self.outcome, &self.message)
    }
}

/// Whether an event that went so, with this message, tells of a revision that was
/// installed again and again without effect.
#[must_use]
pub fn is_looping(outcome: Outcome, message: &str) -> bool {
    outcome == Outcome::Failure && message.starts_with(LOOPING)
}

/// Events of one machine that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The mesh.
    pub mesh_id: String,
    /// Whose events.
    pub machine: MachineName,
    /// The machine's queue, drawn at random.
    pub epoch: u64,
    /// When the queue was made, by the machine's clock.
    pub began: Timestamp,
    /// Number of the first event.
    pub first: u64,
    /// The events. No number at all is a sign of life.
    pub events: Vec<Event>,
    /// Numbers between those of the events of which only counts are left. Reading
    /// checked that they are among the batch's own.
    pub rolled_up: Option<RollUp>,
    /// Where the machine is.
    pub site: Site,
    /// What it says of itself: name and value, sorted by name.
    pub facts: Vec<(String, String)>,
    /// When the batch was made, by the machine's clock.
    pub made_at: Timestamp,
}

impl Batch {
    /// The numbers of its events, rolled up or not. Reading checked that they end
    /// before the last number there is.
    #[must_use]
    pub fn run(&self) -> Range<u64> {
        let rolled_up = self.rolled_up.as_ref().map_or(0, RollUp::count);
        self.first..self.first.saturating_add(self.events.len() as u64).saturating_add(rolled_up)
    }

    /// Whether an event failed: such a batch is passed on before others.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        self.events.iter().any(|event| event.outcome == Outcome::Failure)
    }

    /// Its events with their numbers: those that are not rolled up.
    pub fn numbered(&self) -> impl Iterator<Item = (u64, &Event)> {
        let none = Intervals::default();
        let rolled_up = self.rolled_up.as_ref().map_or(&none, RollUp::runs);
        let runs: Vec<Range<u64>> = rolled_up.gaps(self.run()).collect();
        runs.into_iter().flatten().zip(&self.events)
    }

    /// What the event with this number says last.
    #[must_use]
    pub fn word(&self, sequence: u64, event: &Event) -> Last {
        Last {
            position: Position { began: self.began, epoch: self.epoch, sequence },
            phase: event.phase,
            standing: Standing::of(event.phase, event.outcome),
            code: event.code,
            is_looping: event.is_looping(),
            at: event.at,
        }
    }
}
