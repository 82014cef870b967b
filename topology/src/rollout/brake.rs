//! Brakes: what the administrators of a site hold back there.
//!
//! A brake can only close. Nobody above or below undoes it; it ends by itself
//! or by the hand of the site.

pub mod ask;

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use crate::name::{BrakeName, RolloutName};
use crate::revision::{RevisionId, UpdateId};

/// The most brakes of a site: all of them go upward with each of its words.
pub const MAX_BRAKES: usize = 8;

/// The longest reason, in bytes.
pub const MAX_REASON: usize = 500;

/// What is held.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Everything that is not open yet when the brake is pulled.
    All,
    /// What a rollout opens.
    Rollout(RolloutName),
    /// An update, whatever its revision.
    Update(UpdateId),
    /// One revision.
    Revision(RevisionId),
}

/// Something is held at a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brake {
    /// What.
    pub subject: Subject,
    /// Why.
    pub reason: String,
    /// Who pulled it.
    pub by: String,
    /// When.
    pub since: Timestamp,
    /// When it ends.
    pub until: Timestamp,
}

/// A site's brakes by name.
pub type Brakes = BTreeMap<BrakeName, Brake>;

/// No brakes.
pub static NONE: Brakes = Brakes::new();

/// Why a brake is not pulled or released.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The name is taken.
    #[error("there is a brake {0} already; release it first, or choose another name")]
    Taken(BrakeName),
    /// No such brake.
    #[error("there is no brake {0} here; `patchmesh brake list` shows those there are")]
    Unknown(BrakeName),
    /// It would be over already.
    #[error("a brake ends in the future; this one would have ended at {0}")]
    Over(Timestamp),
    /// Nobody would know why.
    #[error("say why, with --reason, in at most {MAX_REASON} bytes")]
    Reason,
    /// More than a site can have.
    #[error("this node has {MAX_BRAKES} brakes already; release some first")]
    TooMany,
}

/// Pulls a brake.
///
/// # Errors
/// See [`Rejection`].
pub fn pull(brakes: &mut Brakes, name: BrakeName, brake: Brake) -> Result<(), Rejection> {
    if brakes.contains_key(&name) {
        return Err(Rejection::Taken(name));
    }
    if brakes.len() >= MAX_BRAKES {
        return Err(Rejection::TooMany);
    }
    if brake.until <= brake.since {
        return Err(Rejection::Over(brake.until));
    }
    if brake.reason.trim().is_empty() || brake.reason.len() > MAX_REASON {
        return Err(Rejection::Reason);
    }
    brakes.insert(name, brake);
    Ok(())
}

impl Brake {
    /// Whether it holds back a revision that `rollout` opened here at `opened`.
    #[must_use]
    pub fn holds(
        &self,
        revision: &RevisionId,
        rollout: &RolloutName,
        opened: Timestamp,
        now: Timestamp,
    ) -> bool {
        let is_meant = match &self.subject {
            Subject::All => opened >= self.since,
            Subject::Rollout(name) => name == rollout,
            Subject::Update(update) => revision.update == *update,
            Subject::Revision(one) => revision == one,
        };
        is_meant && self.since <= now && now < self.until
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("everything"),
            Self::Rollout(name) => write!(f, "rollout {name}"),
            Self::Update(update) => write!(f, "{update}"),
            Self::Revision(revision) => write!(f, "{revision}"),
        }
    }
}
