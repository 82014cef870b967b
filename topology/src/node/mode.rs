//! What a group's machines do by themselves, and what they do when a person says so.

use std::collections::BTreeSet;

use super::InstallMode;
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
