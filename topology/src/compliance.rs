//! Whether machines have what is asked of them, and since when they should.
//!
//! Three parts: the [`register`] has what counts of every machine, small enough
//! for a million of them in memory; [`demand`] says what the approvals, plans
//! and deadlines ask of a machine; [`survey`] judges one against the other.
//! What always holds:
//!
//! - A machine's [`Verdict`] comes from its own signed words and from nothing else.
//!   One that was not heard of for some time, or that cannot tell what is on it, is
//!   *unknown*, whatever it said before.
//! - *Overdue* is who lacks what was open to it when its deadline passed. Who lacks
//!   what is past its deadline and not open to it is in *grace*, and counted as
//!   withheld: the plan is late, not the machine.
//! - Who has what a rollout removes lacks its removal, by the same rules.
//! - What is declined, withdrawn, or done without by an exception is asked of nobody.

pub mod census;
pub mod demand;
mod pool;
pub mod register;
pub mod survey;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::fmt;
use std::str::FromStr;

pub use census::Census;
pub use demand::{Demand, Demands};
pub use register::{Register, Told};
pub use survey::{Judged, Need, Scope, Survey};

/// How a machine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It has everything that is asked of it.
    Compliant,
    /// It lacks something, and has time or has not been offered it.
    Grace,
    /// It lacks something that it could have had, past the deadline.
    Overdue,
    /// It was not heard of lately, or never, or cannot tell what is on it.
    Unknown,
}

impl Verdict {
    /// All of them, in their order.
    pub const ALL: [Self; 4] = [Self::Compliant, Self::Grace, Self::Overdue, Self::Unknown];

    /// The word used in commands and lists.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Compliant => "compliant",
            Self::Grace => "grace",
            Self::Overdue => "overdue",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that is no verdict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no verdict; there are compliant, grace, overdue and unknown")]
pub struct NoVerdict(String);

impl FromStr for Verdict {
    type Err = NoVerdict;

    fn from_str(text: &str) -> Result<Self, NoVerdict> {
        let found = Self::ALL.into_iter().find(|verdict| verdict.as_str() == text);
        found.ok_or_else(|| NoVerdict(text.to_owned()))
    }
}
