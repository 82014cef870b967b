//! How many views there are, and what building them took.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use patchmesh_proto::admin as wire;
use patchmesh_proto::convert::timestamp_to_wire;
use patchmesh_topology::revision::DocumentRef;
use patchmesh_topology::view::ViewKey;

/// The views as they were written last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Distinct sets of every group.
    pub sets: u64,
    /// Distinct views, which groups and sets share.
    pub views: u64,
    /// The most sets that one group has.
    pub most: u64,
    /// How many of the views had to be built.
    pub built: u64,
    /// What finding and building them took.
    pub took: Duration,
    /// When that was; `None` before this process did so first.
    pub at: Option<Timestamp>,
}

impl Tally {
    pub(super) fn of(
        views: &BTreeMap<ViewKey, DocumentRef>,
        built: usize,
        took: Duration,
        at: Timestamp,
    ) -> Self {
        let documents: BTreeSet<&DocumentRef> = views.values().collect();
        let mut groups: BTreeMap<_, u64> = BTreeMap::new();
        for (stage, group, _) in views.keys() {
            *groups.entry((stage, group)).or_default() += 1;
        }
        let tally = Self {
            sets: views.len() as u64,
            views: documents.len() as u64,
            most: groups.into_values().max().unwrap_or_default(),
            built: built as u64,
            took,
            at: Some(at),
        };
        tracing::info!(
            sets = tally.sets,
            views = tally.views,
            built = tally.built,
            milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "views written"
        );
        tally
    }

    /// As `status` shows it.
    #[must_use]
    pub fn to_wire(self) -> wire::ViewBuilding {
        wire::ViewBuilding {
            sets: self.sets,
            views: self.views,
            most_sets: self.most,
            built: self.built,
            seconds: self.took.as_secs_f64(),
            at: self.at.map(timestamp_to_wire),
        }
    }
}
