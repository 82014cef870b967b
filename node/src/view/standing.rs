//! Which view a node serves to each group, and whether it is the right one.
//!
//! A node asks its own documents what is open at its site, finds the view that
//! was made for just that, and looks into it before it serves it
//! ([`patchmesh_topology::view::choice`]). What always holds: no file of a view
//! served belongs to something that is not open here by approvals, plans and
//! states, whatever the primary's online key signs.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use patchmesh_proto::admin as wire;
use patchmesh_proto::convert::timestamp_to_wire;
use patchmesh_proto::wire as document;
use patchmesh_topology::alert::Severity;
use patchmesh_topology::digest::{Digest, Sha256};
use patchmesh_topology::name::{GroupName, NodeName, Site};
use patchmesh_topology::node::{Group, Node, Stage};
use patchmesh_topology::offer::Offer;
use patchmesh_topology::revision::RevisionId;
use patchmesh_topology::rollout::{Brakes, Priority, brake};
use patchmesh_topology::view::awaited::{self, Awaited};
use patchmesh_topology::view::choice::{Allowed, Fit, choose};
use patchmesh_topology::view::set::{Awaiting, Effective, SetId, moments, sets};
use patchmesh_topology::view::{FullView, View};

use crate::alerts::Alerts;
use crate::generation::Generation;

/// What alerts about views begin with.
const ALERT: &str = "view/";

/// Whom a view is served to.
pub type Audience = (Stage, GroupName);

/// The view that a group is served, if there is one that may be.
pub type Standings = BTreeMap<Audience, Option<Standing>>;

/// A view that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What is open here, without what is held back.
    wanted: SetId,
    /// The set that the view is of.
    set: SetId,
    /// Its document; `None` for one of an earlier generation.
    document: Option<Digest>,
    /// The view.
    pub full: FullView,
    fit: Fit,
    /// Whether something of what is open is held here.
    is_held: bool,
}

/// What is not served at a node though it is open there.
#[derive(Debug, Clone, Copy)]
pub struct Held<'a> {
    /// What its site's administrators hold back.
    pub brakes: &'a Brakes,
    /// What has not arrived.
    pub awaited: &'a Awaited,
}

/// Nothing is held back.
pub const NOTHING_HELD: Held<'static> = Held { brakes: &brake::NONE, awaited: &awaited::NOTHING };

/// What a node serves, for those who ask how it stands; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<ArcSwap<Vec<wire::ServedView>>>);

/// What the views of `generation` come to at a node.
///
/// What is `held` there is not served, but the newest view without it. `before` is what this came to last, and `earlier` the views
/// that an audience was served until now.
#[must_use]
pub fn standings<'a>(
    generation: &Generation,
    name: &NodeName,
    held: Held<'_>,
    before: &Standings,
    earlier: impl Fn(&Audience) -> Vec<&'a FullView>,
    now: Timestamp,
) -> Standings {
    let mut found = Standings::new();
    let Some(node) = generation.mesh.node(name) else { return found };
    for stage in &node.stages {
        let mut look = Look { generation, node, held, now, allowed: HashMap::new() };
        for (group, set) in look.sets(*stage) {
            let audience = (*stage, group.name.clone());
            let standing = look.at(group, &set, before.get(&audience), &earlier(&audience));
            found.insert(audience, standing);
        }
    }
    found
}

/// What a node may serve to each group, with nothing held back.
#[must_use]
pub fn allowed(
    generation: &Generation,
    name: &NodeName,
    now: Timestamp,
) -> BTreeMap<Audience, Arc<Allowed>> {
    let mut found = BTreeMap::new();
    let Some(node) = generation.mesh.node(name) else { return found };
    for stage in &node.stages {
        let held = NOTHING_HELD;
        let mut look = Look { generation, node, held, now, allowed: HashMap::new() };
        for (group, set) in look.sets(*stage) {
            found.insert((*stage, group.name.clone()), look.allowed(group, &set));
        }
    }
    found
}

/// When time alone may next change what a node serves.
#[must_use]
pub fn next_moment(
    generation: &Generation,
    name: &NodeName,
    brakes: &Brakes,
    now: Timestamp,
) -> Option<Timestamp> {
    let stages = &generation.mesh.node(name)?.stages;
    let offers = stages.iter().filter_map(|stage| generation.offer(*stage, now));
    offers.filter_map(|offer| moments(Offer { brakes, ..offer }).first().copied()).min()
}

/// What can't wait and is among the `payloads` that a node serves: known to be
/// exploited or critical, or of an urgent plan.
#[must_use]
pub fn pressing(
    generation: &Generation,
    name: &NodeName,
    payloads: &HashSet<&Sha256>,
) -> BTreeSet<RevisionId> {
    let stages = generation.mesh.node(name).map(|node| &node.stages);
    let of_plans = generation.by_rollout().into_iter().filter(|((stage, plan), _)| {
        let plan = generation.rollouts.rollouts.get(*plan);
        let is_urgent = plan.is_some_and(|plan| plan.priority == Priority::Urgent);
        is_urgent && stages.is_some_and(|stages| stages.contains(stage))
    });
    let assessed = generation.assessments.iter().filter(|(_, one)| one.is_pressing());
    let is_served = |id: &&RevisionId| {
        let revision = generation.revisions.get(id);
        revision.is_some_and(|one| one.payloads.iter().any(|one| payloads.contains(&one.sha256)))
    };
    let pressing = of_plans.flat_map(|(_, of_plan)| of_plan).chain(assessed.map(|(id, _)| id));
    pressing.filter(is_served).cloned().collect()
}

/// All that looking at the views of a stage has to do with.
struct Look<'g> {
    generation: &'g Generation,
    node: &'g Node,
    held: Held<'g>,
    now: Timestamp,
    /// What may be served, by what is open: most groups have the same.
    allowed: HashMap<SetId, Arc<Allowed>>,
}

impl<'g> Look<'g> {
    /// What is open for every group of a stage at the node's site.
    fn sets(&self, stage: Stage) -> Vec<(&'g Group, Effective<'g>)> {
        let groups: Vec<&Group> = self.generation.mesh.groups_of(stage).collect();
        let Some(offer) = self.generation.offer(stage, self.now) else { return Vec::new() };
        let site: BTreeSet<&Site> = [&self.node.site].into();
        let names = groups.iter().map(|group| &group.name);
        let awaiting = Awaiting::from([(&self.node.site, [self.held.awaited].into())]);
        let mut sets = sets(offer, names, &site, &awaiting, &[]);
        let of = |group: &'g Group| Some((group, sets.remove(&group.name)?.into_iter().next()?));
        groups.into_iter().filter_map(of).collect()
    }

    fn allowed(&mut self, group: &Group, set: &Effective<'_>) -> Arc<Allowed> {
        let revisions = &self.generation.revisions;
        let held = self.held(group, set);
        let find = || Allowed::new(&set.revisions, &held, |id| revisions.get(id).map(Arc::as_ref));
        if !held.is_empty() {
            return Arc::new(find());
        }
        self.allowed.entry(set.id).or_insert_with(|| Arc::new(find())).clone()
    }

    /// What the site's brakes hold of what is open.
    fn held(&self, group: &Group, set: &Effective<'_>) -> HashSet<RevisionId> {
        let offer = self.generation.offer(group.stage, self.now);
        let Some(offer) = offer.filter(|_| !self.held.brakes.is_empty()) else {
            return HashSet::new();
        };
        let offer = Offer { brakes: self.held.brakes, ..offer };
        let is_held = |id: &&&RevisionId| offer.of(id, &group.name, Some(&self.node.site)).is_err();
        set.revisions.iter().filter(is_held).map(|id| (*id).clone()).collect()
    }

    fn at(
        &mut self,
        group: &Group,
        set: &Effective<'_>,
        before: Option<&Option<Standing>>,
        earlier: &[&FullView],
    ) -> Option<Standing> {
        let own = self.generation.views.get(&(group.stage, group.name.clone(), set.id));
        let own = own.map(|view| view.document.digest);
        // What was looked into already is still what is open.
        let known = before.and_then(Option::as_ref).filter(|known| {
            let is_same = known.wanted == set.id && known.document == own;
            is_same && known.fit == Fit::Own && self.held.brakes.is_empty()
        });
        if let Some(known) = known {
            return Some(known.clone());
        }
        let views: Vec<_> =
            self.generation.views_of(group).map(|(set, view)| (set, &view.full)).collect();
        let allowed = self.allowed(group, set);
        let choice = choose(allowed.set, &views, earlier, self.now, |full| allowed.allows(full))?;
        let key = (group.stage, group.name.clone(), choice.set);
        let stored = self.generation.views.get(&key).filter(|one| one.full == *choice.full);
        Some(Standing {
            wanted: allowed.set,
            set: choice.set,
            document: stored.map(|one| one.document.digest),
            full: choice.full.clone(),
            fit: choice.fit,
            is_held: allowed.set != set.id || !self.held.awaited.is_empty(),
        })
    }
}

impl Standing {
    /// What is open here, and what is served of it.
    #[must_use]
    pub const fn sets(&self) -> (SetId, SetId) {
        (self.wanted, self.set)
    }

    fn view(&self) -> &View {
        &self.full.view
    }
}

/// Raises what is wrong with what is served, and takes back what is so no more.
pub fn tell(standings: &Standings, alerts: &Alerts) {
    let name = |(stage, group): &Audience| format!("{stage}/{group}");
    let mut wrong = BTreeMap::new();
    for (audience, standing) in standings {
        let (stage, group) = audience;
        let what = match standing.as_ref().map(|one| one.fit) {
            Some(Fit::Own | Fit::Unstated) => continue,
            // As its administrators want it, or until its content is here.
            Some(Fit::Less) if standing.as_ref().is_some_and(|one| one.is_held) => continue,
            Some(Fit::Less) => {
                let text = format!(
                    "machines of {group} in {stage} are served less than is open at this site: there is no view of all of it yet"
                );
                (Severity::Warning, text)
            }
            Some(Fit::Refused) => {
                let text = format!(
                    "the view of {stage} for {group} has files that are not open at this site, so an earlier one is served; find out who used the primary's keys"
                );
                (Severity::Critical, text)
            }
            None => {
                let text = format!(
                    "machines of {group} in {stage} are served nothing: every view has something that is not open at this site or that a brake holds; see `patchmesh brake list`, and `patchmesh status` at the primary"
                );
                (Severity::Critical, text)
            }
        };
        wrong.insert(name(audience), what);
    }
    for (key, (severity, text)) in &wrong {
        alerts.raise(&format!("{ALERT}{key}"), *severity, text);
    }
    alerts.clear_others(ALERT, |key| wrong.contains_key(key));
}

impl Board {
    /// Shows what is served now.
    pub fn show(&self, standings: &Standings) {
        self.0.store(Arc::new(standings.iter().map(row).collect()));
    }

    /// What is served now, by stage and group.
    #[must_use]
    pub fn rows(&self) -> Vec<wire::ServedView> {
        self.0.load().as_ref().clone()
    }
}

fn row(((stage, group), standing): (&Audience, &Option<Standing>)) -> wire::ServedView {
    let fit = match standing.as_ref().map(|one| one.fit) {
        None => wire::ViewFit::None,
        Some(Fit::Own) => wire::ViewFit::Own,
        Some(Fit::Unstated) => wire::ViewFit::Unstated,
        Some(Fit::Less) => wire::ViewFit::Less,
        Some(Fit::Refused) => wire::ViewFit::Refused,
    };
    wire::ServedView {
        stage: document::Stage::from(*stage).into(),
        group: group.to_string(),
        set: standing
            .iter()
            .map(|one| one.set.digest().as_bytes().to_vec())
            .next()
            .unwrap_or_default()
            .into(),
        signed_at: standing.as_ref().map(|one| timestamp_to_wire(one.view().signed_at)),
        fit: fit.into(),
    }
}

#[cfg(test)]
mod tests;
