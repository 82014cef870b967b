//! What promotion asks for.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use crate::name::{PlatformName, SourceName};
use crate::revision::RevisionId;
use crate::rollout::gate::AtMost;
use crate::rule::{glob, is_glob};

/// The most requirements of a policy.
pub const MAX_REQUIREMENTS: usize = 128;

/// The longest soak: a year.
pub const MAX_SOAK: SignedDuration = SignedDuration::from_hours(365 * 24);

/// A platform on which what is promoted has to have passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The platform.
    pub platform: PlatformName,
    /// For what comes from these sources; none: from every source.
    pub sources: BTreeSet<SourceName>,
    /// For updates with names like this, with `*` and `?`; empty: every name.
    pub name_glob: String,
}

/// What validation's own machines have to say, by their signed reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Machines {
    /// Machines that have come to an end with it, at least.
    pub min_reported: u64,
    /// Machines that have it, at least.
    pub min_installed: u64,
    /// Machines that failed, at most.
    pub max_failed: Option<AtMost>,
}

/// What promotion asks for; no open failure on any platform goes without saying.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// Platforms.
    pub platforms: Vec<Requirement>,
    /// How long it is approved in validation, at least.
    pub soak: SignedDuration,
    /// Machines of validation's groups.
    pub machines: Machines,
}

/// Why a policy cannot be put in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// More than a policy can have.
    #[error("a policy has at most {MAX_REQUIREMENTS} platforms")]
    TooMany,
    /// The same twice.
    #[error("platform {0} is asked for twice for the same updates")]
    Twice(PlatformName),
    /// A pattern that no name fits, or too long.
    #[error("platform {0}: {1:?} is no pattern over names")]
    Glob(PlatformName, String),
    /// Longer than anybody waits, or back in time.
    #[error("a soak is at least 0 and at most 365 days")]
    Soak,
    /// A limit that limits nothing.
    #[error("max_failed needs a share, a count, or both")]
    NoLimit,
}

impl Requirement {
    /// Whether it is about a revision.
    #[must_use]
    pub fn is_for(&self, id: &RevisionId) -> bool {
        (self.sources.is_empty() || self.sources.contains(&id.update.source))
            && (self.name_glob.is_empty() || glob(&self.name_glob, &id.update.name))
    }
}

impl Policy {
    /// Refuses a policy that cannot be meant.
    ///
    /// # Errors
    /// See [`Rejection`].
    pub fn check(&self) -> Result<(), Rejection> {
        if self.platforms.len() > MAX_REQUIREMENTS {
            return Err(Rejection::TooMany);
        }
        for (index, one) in self.platforms.iter().enumerate() {
            if self.platforms[..index].contains(one) {
                return Err(Rejection::Twice(one.platform.clone()));
            }
            if !is_glob(&one.name_glob) {
                return Err(Rejection::Glob(one.platform.clone(), one.name_glob.clone()));
            }
        }
        if self.soak < SignedDuration::ZERO || self.soak > MAX_SOAK {
            return Err(Rejection::Soak);
        }
        let limit = self.machines.max_failed;
        if limit.is_some_and(|one| one.share.is_none() && one.count.is_none()) {
            return Err(Rejection::NoLimit);
        }
        Ok(())
    }

    /// The platforms on which a revision has to have passed.
    #[must_use]
    pub fn required(&self, id: &RevisionId) -> BTreeSet<&PlatformName> {
        let meant = self.platforms.iter().filter(|one| one.is_for(id));
        meant.map(|one| &one.platform).collect()
    }
}
