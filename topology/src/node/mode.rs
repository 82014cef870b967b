//! What a group's machines do by themselves, and what they do when a person says so.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::{InstallMode, UnknownWord};
use crate::revision::RevisionId;

/// What a person at the machine asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Asked {
    /// Nothing: the machine acts by itself.
    #[default]
    Nothing,
    /// All that waits for a person.
    All,
    /// These of it.
    These(BTreeSet<RevisionId>),
}

/// What machines do with what is open to them and waits for a person, when its deadline has
/// passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum AtDeadline {
    /// It waits as before: servers are installed by hand, and compliance shows them as
    /// overdue.
    #[default]
    Wait,
    /// They install it by themselves.
    Install,
}

impl AtDeadline {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Wait, Self::Install];

    /// The word used in commands and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Install => "install",
        }
    }
}

impl fmt::Display for AtDeadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for AtDeadline {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL.into_iter().find(|one| one.as_str() == text).ok_or_else(|| UnknownWord {
            kind: "answer to a deadline",
            text: text.to_owned(),
            allowed: "install or wait",
        })
    }
}

impl Asked {
    /// Whether a person asked for it.
    #[must_use]
    pub fn names(&self, revision: &RevisionId) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::These(revisions) => revisions.contains(revision),
        }
    }
}

impl InstallMode {
    /// Whether machines install, and remove, by themselves.
    #[must_use]
    pub const fn installs(self) -> bool {
        matches!(self, Self::Automatic)
    }

    /// Whether machines fetch by themselves.
    #[must_use]
    pub const fn downloads(self) -> bool {
        matches!(self, Self::Automatic | Self::Manual)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn answers_to_deadlines_have_words() {
        for one in AtDeadline::ALL {
            assert_eq!(one.to_string().parse(), Ok(one));
        }
        assert_eq!(AtDeadline::default(), AtDeadline::Wait);
        let wrong = "later".parse::<AtDeadline>().unwrap_err().to_string();
        assert!(wrong.contains("install or wait"), "{wrong}");
    }

    #[test]
    fn a_person_asks_for_all_or_for_some() {
        let revision: RevisionId = "vendor:stable/app@2".parse().unwrap();
        let other: RevisionId = "vendor:stable/tool@2".parse().unwrap();
        let named = Asked::These(BTreeSet::from([revision.clone()]));
        assert!(!Asked::Nothing.names(&revision) && Asked::All.names(&revision));
        assert!(named.names(&revision) && !named.names(&other));
    }

    #[test]
    fn only_automatic_machines_install_and_only_those_that_tell_do_not_fetch() {
        let install: Vec<bool> = InstallMode::ALL.into_iter().map(InstallMode::installs).collect();
        assert_eq!(install, [true, false, false]);
        let fetch: Vec<bool> = InstallMode::ALL.into_iter().map(InstallMode::downloads).collect();
        assert_eq!(fetch, [true, true, false]);
    }
}
