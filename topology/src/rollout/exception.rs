//! Exceptions: who does without what, why, and until when.
//!
//! An exception ends by itself: what cannot be patched is looked at again.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use crate::name::{ExceptionName, GroupName, MachineName, Site};
use crate::revision::{RevisionId, UpdateId};

/// The most exceptions of a mesh.
pub const MAX_EXCEPTIONS: usize = 10_000;

/// The longest reason, workaround or owner, in bytes.
pub const MAX_TEXT: usize = 2000;

/// Who does without.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// One machine, by its name.
    Machine(MachineName),
    /// A group, everywhere.
    Group(GroupName),
    /// A site, and all below it.
    Site(Site),
}

/// What they do without.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Everything.
    All,
    /// An update, whatever its revision.
    Update(UpdateId),
    /// One revision.
    Revision(RevisionId),
}

/// Somebody does without something for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// Who.
    pub scope: Scope,
    /// What.
    pub subject: Subject,
    /// Why.
    pub reason: String,
    /// What is done instead.
    pub workaround: String,
    /// Who answers for it.
    pub owner: String,
    /// When it was entered.
    pub since: Timestamp,
    /// When it ends.
    pub until: Timestamp,
}

/// Exceptions by name.
pub type Exceptions = BTreeMap<ExceptionName, Exception>;

/// Why an exception cannot be entered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The name is taken.
    #[error("there is an exception {0} already; end it first, or choose another name")]
    Taken(ExceptionName),
    /// No such exception.
    #[error("there is no exception {0}; `patchmesh exception list` shows those there are")]
    Unknown(ExceptionName),
    /// The mesh has no such group.
    #[error("there is no group {0}; `patchmesh group list` shows those there are")]
    NoGroup(GroupName),
    /// It would be over already.
    #[error("an exception ends in the future; this one would have ended at {0}")]
    Over(Timestamp),
    /// Something is not said.
    #[error("an exception needs {0}")]
    Missing(&'static str),
    /// A text is too long.
    #[error("{0} has more than {MAX_TEXT} bytes")]
    Long(&'static str),
    /// More than a mesh can have.
    #[error("the mesh has {MAX_EXCEPTIONS} exceptions already; end some first")]
    TooMany,
}

/// Enters an exception.
///
/// # Errors
/// See [`Rejection`].
pub fn add(
    exceptions: &mut Exceptions,
    name: ExceptionName,
    exception: Exception,
) -> Result<(), Rejection> {
    if exceptions.contains_key(&name) {
        return Err(Rejection::Taken(name));
    }
    if exceptions.len() >= MAX_EXCEPTIONS {
        return Err(Rejection::TooMany);
    }
    if exception.until <= exception.since {
        return Err(Rejection::Over(exception.until));
    }
    let texts = [
        ("a reason", &exception.reason),
        ("a workaround", &exception.workaround),
        ("an owner", &exception.owner),
    ];
    for (what, text) in texts {
        if text.trim().is_empty() {
            return Err(Rejection::Missing(what));
        }
        if text.len() > MAX_TEXT {
            return Err(Rejection::Long(what));
        }
    }
    exceptions.insert(name, exception);
    Ok(())
}

impl Scope {
    /// Whether a machine of a group at a site is meant; a machine that is `None` is none in
    /// particular, a site that is `None` is all of them.
    #[must_use]
    pub fn covers(
        &self,
        (machine, group, site): (Option<&MachineName>, &GroupName, Option<&Site>),
    ) -> bool {
        match self {
            Self::Machine(name) => machine == Some(name),
            Self::Group(name) => group == name,
            Self::Site(place) => site.is_none_or(|site| site.is_within(place)),
        }
    }
}

impl Subject {
    /// Whether a revision is meant.
    #[must_use]
    pub fn is_about(&self, revision: &RevisionId) -> bool {
        match self {
            Self::All => true,
            Self::Update(update) => revision.update == *update,
            Self::Revision(one) => revision == one,
        }
    }
}

impl Exception {
    /// Whether it holds for a machine of a group at a site; a machine that is
    /// `None` is none in particular, a site that is `None` is all of them.
    #[must_use]
    pub fn holds(
        &self,
        revision: &RevisionId,
        (machine, group, site): (Option<&MachineName>, &GroupName, Option<&Site>),
        at: Timestamp,
    ) -> bool {
        let is_in = self.scope.covers((machine, group, site));
        is_in && self.since <= at && at < self.until && self.subject.is_about(revision)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine(name) => write!(f, "machine {name}"),
            Self::Group(name) => write!(f, "group {name}"),
            Self::Site(site) => write!(f, "site {site}"),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("everything"),
            Self::Update(update) => write!(f, "{update}"),
            Self::Revision(revision) => write!(f, "{revision}"),
        }
    }
}
