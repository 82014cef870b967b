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
    /// Whether what is open is done now: the mode lets it, or a person asked for it.
    #[must_use]
    pub fn lets(&self, mode: InstallMode, revision: &RevisionId) -> bool {
        mode.installs() || self.names(revision)
    }

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
    fn a_mode_holds_until_a_person_says_so() {
        let revision: RevisionId = "vendor:stable/app@2".parse().unwrap();
        let other: RevisionId = "vendor:stable/tool@2".parse().unwrap();
        let named = Asked::These(BTreeSet::from([revision.clone()]));
        for mode in InstallMode::ALL {
            let by_itself = mode == InstallMode::Automatic;
            assert_eq!(Asked::Nothing.lets(mode, &revision), by_itself, "{mode}");
            assert!(Asked::All.lets(mode, &revision), "{mode}");
            assert!(named.lets(mode, &revision), "{mode}");
            assert_eq!(named.lets(mode, &other), by_itself, "{mode}");
        }
        let fetch: Vec<bool> = InstallMode::ALL.into_iter().map(InstallMode::downloads).collect();
        assert_eq!(fetch, [true, true, false]);
    }
}
