//! Effective sets: what is open for a group where, and which sites share it.
//!
//! Stock clients are given views, and there is one for every distinct set of
//! revisions that is open for a group at some site: as many as there are
//! waves in flight, not as there are sites. [`sets`] finds them; a node asks
//! for its own site by the same function, so both always agree. What time alone
//! will open is found ahead ([`moments`]), so that its views can be signed
//! before a branch is cut off.
//!
//! What always holds: for every site given, exactly one set names it, and that
//! set is what [`Offer::open_revisions`] says of the group there, brakes apart:
//! those are a site's own. Where content has not arrived, it is that without
//! what is [`Awaited`], and the whole is coming.

mod moments;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use jiff::Timestamp;

use super::awaited::{self, Awaited, ByNode};
use crate::approval::{Approval, Decision};
use crate::digest::Digest;
use crate::name::{GroupName, RolloutName, Site};
use crate::node::{Membership, Mesh, Node, Stage};
use crate::offer::Offer;
use crate::revision::{RevisionId, UpdateId};
use crate::rollout::exception::{Scope, Subject};
use crate::rollout::{Exception, Wave, WaveState, brake};

pub use moments::{HORIZON, MAX_MOMENTS, moments};

/// What keeps the names of sets apart from other digests.
const DOMAIN: &str = "patchmesh v1 effective set";

/// The most sets that a group has views for. What is open at fewer sites than
/// that of the others is left out; such sites are served less than they could.
pub const MAX_SETS: usize = 256;

/// Names a set of revisions: equal names, equal sets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId(Digest);

impl SetId {
    /// Of a view that was made before views had sets: of what was open at every
    /// site. Comes before every other.
    pub const UNSTATED: Self = Self(Digest::from_bytes([0; 32]));

    /// Comes after every other.
    pub const LAST: Self = Self(Digest::from_bytes([0xff; 32]));

    /// The name of a set, given in order.
    #[must_use]
    pub fn of<'a>(revisions: impl IntoIterator<Item = &'a RevisionId>) -> Self {
        use fmt::Write as _;
        let mut hasher = blake3::Hasher::new_derive_key(DOMAIN);
        let mut text = String::new();
        for revision in revisions {
            text.clear();
            // Writing to a String cannot fail.
            let _ = write!(text, "{revision}");
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        Self(hasher.finalize().into())
    }

    /// The digest that it is.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.0
    }
}

impl From<Digest> for SetId {
    fn from(digest: Digest) -> Self {
        Self(digest)
    }
}

impl fmt::Display for SetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SetId({self})")
    }
}

/// What is open for a group at some sites.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective<'a> {
    /// Its name.
    pub id: SetId,
    /// The revisions, in order.
    pub revisions: Vec<&'a RevisionId>,
    /// Whether just this is open now.
    pub is_now: bool,
    /// Where it is; none: everywhere, asked for no site in particular.
    pub sites: Vec<&'a Site>,
    /// Where it will be, if only time passes or content arrives.
    pub coming: Option<Coming<'a>>,
}

/// Where a set will be open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coming<'a> {
    /// From when at the earliest; now where it waits for content alone.
    pub at: Timestamp,
    /// Where.
    pub sites: Vec<&'a Site>,
}

/// The distinct sets of every group of a stage at `sites`, now and at some
/// `moments` to come, in order; those of the most sites first. Without sites:
/// what is open at every one. What is `awaiting` content at some of the sites is
/// left out there.
///
/// Takes time for the approvals once, and for the plans as often as the sites
/// differ in what plans say of them; not for sites times approvals.
#[must_use]
pub fn sets<'a>(
    offer: Offer<'a>,
    groups: impl IntoIterator<Item = &'a GroupName>,
    sites: &BTreeSet<&'a Site>,
    awaiting: &Awaiting<'a>,
    moments: &[Timestamp],
) -> BTreeMap<&'a GroupName, Vec<Effective<'a>>> {
    // A brake is a site's own, and not what views are built for.
    let offer = Offer { brakes: &brake::NONE, ..offer };
    let mut approved: BTreeMap<&'a GroupName, Approved<'a>> =
        groups.into_iter().map(|group| (group, Approved::default())).collect();
    let special = Special::of(offer);
    let steps = steps(awaiting);
    for ((revision, group), approval) in &offer.approvals.entries {
        if let (Decision::Approved(rollout), Some(approved)) =
            (&approval.decision, approved.get_mut(group))
        {
            let step = step(&steps, rollout, approval);
            approved.add(revision, Kind { rollout, step, special: special.of_revision(revision) });
        }
    }
    let alike = alike(offer, sites, awaiting);
    let found = |(group, approved): (&'a GroupName, Approved<'a>)| {
        (group, approved.sets(offer, group, &alike, moments))
    };
    approved.into_iter().map(found).collect()
}

/// Where there are nodes that serve a stage to machines.
#[must_use]
pub fn sites(mesh: &Mesh, stage: Stage) -> BTreeSet<&Site> {
    serving(mesh, stage).map(|node| &node.site).collect()
}

/// The nodes that serve a stage to machines, or will when they have joined.
pub fn serving(mesh: &Mesh, stage: Stage) -> impl Iterator<Item = &Node> {
    let takes_part = |node: &&Node| node.membership != Membership::Revoked;
    mesh.nodes.values().filter(move |node| node.stages.contains(&stage)).filter(takes_part)
}

/// What has not arrived at the nodes of sites; an empty one stands for a node that
/// has all. Sites that are not here have all.
pub type Awaiting<'a> = BTreeMap<&'a Site, BTreeSet<&'a Awaited>>;

/// What has not arrived at the nodes of a mesh that serve a stage.
#[must_use]
pub fn awaiting<'a>(mesh: &'a Mesh, stage: Stage, nodes: &'a ByNode) -> Awaiting<'a> {
    let mut awaiting = Awaiting::new();
    for node in serving(mesh, stage) {
        let lacks = nodes.get(&node.name).unwrap_or(&awaited::NOTHING);
        awaiting.entry(&node.site).or_default().insert(lacks);
    }
    awaiting.retain(|_, nodes| nodes.iter().any(|one| !one.is_empty()));
    awaiting
}

/// From when on plans are awaited somewhere.
type Steps<'a> = HashMap<&'a RolloutName, BTreeSet<Timestamp>>;

fn steps<'a>(awaiting: &Awaiting<'a>) -> Steps<'a> {
    let mut steps = Steps::new();
    for (rollout, from) in awaiting.values().flatten().flat_map(|one| one.iter()) {
        steps.entry(rollout).or_default().insert(from);
    }
    steps
}

/// The last step that an approval does not come before.
fn step(steps: &Steps<'_>, rollout: &RolloutName, approval: &Approval) -> Option<Timestamp> {
    steps.get(rollout)?.range(..=approval.at).next_back().copied()
}

/// What tells a site apart: the places named that it is in, its turns, and what
/// has not arrived there.
type Mark<'a> = (Vec<&'a str>, Vec<Option<Timestamp>>, &'a Awaited);

/// Sites that nothing tells apart.
struct Alike<'a> {
    sites: Vec<&'a Site>,
    awaited: &'a Awaited,
}

/// The sites that nothing tells apart; without sites one entry for all.
fn alike<'a>(
    offer: Offer<'a>,
    sites: &BTreeSet<&'a Site>,
    awaiting: &Awaiting<'a>,
) -> Vec<Alike<'a>> {
    let marks = marks(offer);
    let turns: Vec<_> = turns(offer).collect();
    // What was let in before now is the same, unless a freeze tells it apart.
    let same = offer.plans.freezes.is_empty().then_some(offer.now);
    let nothing = BTreeSet::from([&awaited::NOTHING]);
    let mut alike: BTreeMap<Mark<'_>, Vec<&Site>> = BTreeMap::new();
    for site in sites {
        let let_in = turns.iter().map(|(wave, state, since)| {
            let at = wave.admission(state, *since, Some(site)).ok()?;
            Some(same.map_or(at, |now| at.max(now)))
        });
        let (marks, let_in) = (marks_over(&marks, site), let_in.collect::<Vec<_>>());
        for awaited in awaiting.get(site).unwrap_or(&nothing) {
            let mark = (marks.clone(), let_in.clone(), *awaited);
            alike.entry(mark).or_default().push(site);
        }
    }
    if alike.is_empty() {
        return vec![Alike { sites: Vec::new(), awaited: &awaited::NOTHING }];
    }
    alike.into_iter().map(|((_, _, awaited), sites)| Alike { sites, awaited }).collect()
}

/// The open waves that let their sites in one after the other, and since when
/// they are open.
fn turns<'a>(offer: Offer<'a>) -> impl Iterator<Item = (&'a Wave, &'a WaveState, Timestamp)> {
    offer.plans.rollouts.values().flat_map(move |rollout| {
        let states = offer.states.get(&rollout.name).into_iter().flat_map(|state| &state.waves);
        let limited = rollout.waves.iter().zip(states).filter(|(wave, _)| !wave.limit.is_none());
        limited.filter_map(|(wave, state)| Some((wave, state, state.progress.open_since()?)))
    })
}

/// Every place that plans, freezes and exceptions name. Whatever is said of a
/// site is said by them.
fn marks(offer: Offer<'_>) -> BTreeSet<&str> {
    let waves = offer.plans.rollouts.values().flat_map(|rollout| &rollout.waves);
    let waves = waves.flat_map(|wave| wave.geographies.places());
    let freezes = offer.plans.freezes.values().flat_map(|freeze| &freeze.geographies);
    let exceptions = offer.plans.exceptions.values().filter_map(|one| match &one.scope {
        Scope::Site(site) => Some(site),
        Scope::Machine(_) | Scope::Group(_) => None,
    });
    waves.chain(freezes).chain(exceptions).map(Site::as_str).collect()
}

/// The places named that a site is in, from the outermost on.
fn marks_over<'a>(marks: &BTreeSet<&'a str>, site: &Site) -> Vec<&'a str> {
    let text = site.as_str();
    let ends = text.match_indices('/').map(|(end, _)| end).chain([text.len()]);
    ends.filter_map(|end| marks.get(&text[..end]).copied()).collect()
}

/// The updates about which some exception says something.
struct Special<'a>(HashSet<&'a UpdateId>);

impl<'a> Special<'a> {
    fn of(offer: Offer<'a>) -> Self {
        let update = |one: &'a Exception| match (&one.scope, &one.subject) {
            (Scope::Machine(_), _) | (_, Subject::All) => None,
            (_, Subject::Update(update)) => Some(update),
            (_, Subject::Revision(revision)) => Some(&revision.update),
        };
        Self(offer.plans.exceptions.values().filter_map(update).collect())
    }

    /// The revision, if there is an exception about it.
    fn of_revision<'r>(&self, revision: &'r RevisionId) -> Option<&'r RevisionId> {
        let is_special = !self.0.is_empty() && self.0.contains(&revision.update);
        is_special.then_some(revision)
    }
}

/// What decides where and when an approval is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Kind<'a> {
    rollout: &'a RolloutName,
    /// From when on it is awaited by those who await the most of it.
    step: Option<Timestamp>,
    /// The revision, where something is said about it alone.
    special: Option<&'a RevisionId>,
}

/// The approvals of a group.
#[derive(Default)]
struct Approved<'a> {
    /// Each with the place of its kind.
    revisions: Vec<(&'a RevisionId, usize)>,
    /// The kinds, and one approval of each: those of one kind are open at the
    /// same places at the same times.
    kinds: Vec<(Kind<'a>, &'a RevisionId)>,
    known: HashMap<Kind<'a>, usize>,
}

/// Where a set is open, and will be.
#[derive(Default)]
struct Places<'a> {
    is_now: bool,
    sites: Vec<&'a Site>,
    coming: Option<Coming<'a>>,
}

impl<'a> Approved<'a> {
    fn add(&mut self, revision: &'a RevisionId, kind: Kind<'a>) {
        // Approvals that follow each other are nearly always of one kind.
        let last = self.revisions.last().map(|(_, place)| *place);
        let place = match last.filter(|place| self.kinds[*place].0 == kind) {
            Some(place) => place,
            None => *self.known.entry(kind).or_insert_with(|| {
                self.kinds.push((kind, revision));
                self.kinds.len() - 1
            }),
        };
        self.revisions.push((revision, place));
    }

    fn sets(
        &self,
        offer: Offer<'a>,
        group: &'a GroupName,
        alike: &[Alike<'a>],
        moments: &[Timestamp],
    ) -> Vec<Effective<'a>> {
        let timed: Vec<bool> =
            self.kinds.iter().map(|(kind, _)| moments::is_timed(offer, kind.rollout)).collect();
        let mut found: BTreeMap<Vec<bool>, Places<'a>> = BTreeMap::new();
        for Alike { sites, awaited } in alike {
            let site = sites.first().copied();
            let is_open = |offer: Offer<'a>, one: usize, awaited: &Awaited| {
                let (kind, revision) = self.kinds[one];
                let is_awaited = kind.step.is_some_and(|step| awaited.holds(kind.rollout, step));
                !is_awaited && offer.of(revision, group, site).is_ok()
            };
            let open = |awaited: &Awaited| -> Vec<bool> {
                (0..self.kinds.len()).map(|one| is_open(offer, one, awaited)).collect()
            };
            let now = open(awaited);
            let places = found.entry(now.clone()).or_default();
            places.is_now = true;
            places.sites.extend(sites);
            // What is awaited may arrive at any time.
            let mut stands = vec![(now, *awaited)];
            if !awaited.is_empty() {
                let whole = open(&awaited::NOTHING);
                if whole != stands[0].0 {
                    found.entry(whole.clone()).or_default().come(offer.now, sites);
                }
                stands.push((whole, &awaited::NOTHING));
            }
            for at in moments {
                let then = Offer { now: *at, ..offer };
                for (open, awaited) in &mut stands {
                    let next: Vec<bool> = (0..self.kinds.len())
                        .map(|one| if timed[one] { is_open(then, one, awaited) } else { open[one] })
                        .collect();
                    if next != *open {
                        found.entry(next.clone()).or_default().come(*at, sites);
                        *open = next;
                    }
                }
            }
        }
        let mut sets: Vec<_> =
            found.into_iter().map(|(open, places)| self.set(&open, places)).collect();
        let rank = |set: &Effective<'_>| (!set.is_now, std::cmp::Reverse(set.sites.len()), set.id);
        sets.sort_by_key(rank);
        sets
    }

    fn set(&self, is_open: &[bool], places: Places<'a>) -> Effective<'a> {
        let Places { is_now, mut sites, mut coming } = places;
        sites.sort_unstable();
        coming.iter_mut().for_each(|coming| coming.sites.sort_unstable());
        let open = self.revisions.iter().filter(|(_, kind)| is_open[*kind]);
        let revisions: Vec<_> = open.map(|(revision, _)| *revision).collect();
        let id = SetId::of(revisions.iter().copied());
        Effective { id, revisions, is_now, sites, coming }
    }
}

impl<'a> Places<'a> {
    fn come(&mut self, at: Timestamp, sites: &[&'a Site]) {
        let coming = self.coming.get_or_insert(Coming { at, sites: Vec::new() });
        coming.at = coming.at.min(at);
        coming.sites.extend(sites);
    }
}

#[cfg(test)]
mod tests;
