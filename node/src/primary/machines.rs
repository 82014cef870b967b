//! What the machines of validation said of revisions.

use std::collections::BTreeSet;

use patchmesh_topology::name::GroupName;
use patchmesh_topology::node::{Mesh, Stage};
use patchmesh_topology::revision::RevisionId;
use patchmesh_topology::rollout::Action;
use patchmesh_topology::rollout::gate::Counts;
use patchmesh_topology::tally::{Area, Count};

use super::rollouts::gate_counts;
use crate::reports::ledger::Ledger;

/// The ledger, where there is one: a mesh in the making has no machines.
#[derive(Debug, Clone)]
pub struct Machines(Option<Ledger>);

/// The machines of validation's groups.
#[derive(Debug)]
pub struct OfValidation<'a> {
    ledger: Option<&'a Ledger>,
    groups: BTreeSet<&'a GroupName>,
    known: u64,
}

impl Machines {
    /// No machines at all.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// Those of a ledger.
    #[must_use]
    pub const fn of(ledger: Ledger) -> Self {
        Self(Some(ledger))
    }

    /// Those in validation's groups.
    #[must_use]
    pub fn of_validation<'a>(&'a self, mesh: &'a Mesh) -> OfValidation<'a> {
        let groups: BTreeSet<&GroupName> =
            mesh.groups_of(Stage::Validation).map(|group| &group.name).collect();
        let known = self.0.as_ref().map_or(0, |ledger| {
            let area = |group| Area { group: Some(group), ..Area::default() };
            ledger.read(|tallies| groups.iter().map(|one| tallies.known(area(*one))).sum())
        });
        OfValidation { ledger: self.0.as_ref(), groups, known }
    }
}

impl OfValidation<'_> {
    /// What they said of a revision, each by its last word.
    #[must_use]
    pub fn counts(&self, revision: &RevisionId) -> Counts {
        let said: Count = self.ledger.map_or_else(Count::default, |ledger| {
            ledger.read(|tallies| {
                let said = tallies.said(revision);
                said.filter(|(place, _)| self.groups.contains(&place.group))
                    .map(|(_, count)| count)
                    .sum()
            })
        });
        gate_counts(Count { known: self.known, ..said }, Action::Install)
    }
}
