//! When the views were signed that sites are served now.
//!
//! Clients refuse a repository that is older than the one they have. So a view
//! that a site comes to must not be older than the one that it had, whichever
//! set that was of.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use patchmesh_topology::name::{GroupName, Site};
use patchmesh_topology::node::{Mesh, Stage};
use patchmesh_topology::view::awaited::ByNode;
use patchmesh_topology::view::of_group;
use patchmesh_topology::view::set::{self, SetId};

use crate::generation::Generation;
use crate::view::apt;

/// The dates of the present views of one stage, by group.
#[derive(Debug, Default)]
pub(super) struct Dates(BTreeMap<GroupName, OfGroup>);

/// The dates of one group's views.
#[derive(Debug, Default)]
struct OfGroup {
    /// The last of all.
    last: Option<Timestamp>,
    /// By the site as it is now; empty where all sites share one view.
    sites: HashMap<Site, Timestamp>,
}

impl Dates {
    /// The dates of the views of `previous` that are served at `now`, where
    /// `awaited` was awaited; `mesh` is what comes after it.
    pub(super) fn of(
        previous: Option<&Generation>,
        mesh: &Mesh,
        (stage, now): (Stage, Timestamp),
        awaited: &ByNode,
    ) -> Self {
        let Some(previous) = previous else { return Self::default() };
        let mut dates = Self::default();
        let mut several = Vec::new();
        for group in previous.mesh.groups_of(stage) {
            let views: Vec<Timestamp> = of_group(&previous.views, stage, &group.name)
                .map(|(_, view)| view.view().signed_at)
                .collect();
            // What is signed ahead has reached nobody.
            let served = views.iter().filter(|at| at.duration_since(now) <= apt::MAX_AHEAD);
            let of = OfGroup { last: served.max().copied(), sites: HashMap::new() };
            dates.0.insert(group.name.clone(), of);
            if views.len() > 1 {
                several.push(&group.name);
            }
        }
        if !several.is_empty() {
            dates.by_site(previous, mesh, (stage, now), awaited, &several);
        }
        dates
    }

    /// Finds out which of several views each site has.
    fn by_site(
        &mut self,
        previous: &Generation,
        mesh: &Mesh,
        (stage, now): (Stage, Timestamp),
        awaited: &ByNode,
        several: &[&GroupName],
    ) {
        let Some(offer) = previous.offer(stage, now) else { return };
        let before = set::sites(&previous.mesh, stage);
        let awaiting = set::awaiting(&previous.mesh, stage, awaited);
        for (group, sets) in set::sets(offer, several.iter().copied(), &before, &awaiting, &[]) {
            let mut had: HashMap<&Site, Timestamp> = HashMap::new();
            for set in &sets {
                let view = |set| previous.views.get(&(stage, group.clone(), set));
                let Some(view) = view(set.id).or_else(|| view(SetId::UNSTATED)) else { continue };
                for site in &set.sites {
                    let latest = had.entry(site).or_insert(view.view().signed_at);
                    *latest = (*latest).max(view.view().signed_at);
                }
            }
            let Some(of) = self.0.get_mut(group) else { continue };
            for node in set::serving(mesh, stage) {
                // Its machines come along when a node moves.
                let before =
                    previous.mesh.nodes.get(&node.name).map_or(&node.site, |one| &one.site);
                let Some(date) = had.get(before) else { continue };
                let latest = of.sites.entry(node.site.clone()).or_insert(*date);
                *latest = (*latest).max(*date);
            }
        }
    }

    /// The date before which a view for these sites must not be.
    pub(super) fn before(&self, group: &GroupName, sites: &[&Site]) -> Option<Timestamp> {
        let of = self.0.get(group)?;
        if of.sites.is_empty() || sites.is_empty() {
            return of.last;
        }
        sites.iter().filter_map(|site| of.sites.get(*site)).max().copied()
    }
}
