//! Effective sets: what is open for a group where, and which sites share it.
//!
//! Stock clients are given views, and there is one for every distinct set of
//! revisions that is open for a group at some site: as many as there are
//! waves in flight, not as there are sites. [`sets`] finds them; a node asks
//! for its own site by the same function, so both always agree.
//!
//! What always holds: for every site given, exactly one set names it, and that
//! set is what [`Offer::open_revisions`] says of the group there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use crate::approval::Decision;
use crate::digest::Digest;
use crate::name::{GroupName, RolloutName, Site};
use crate::offer::Offer;
use crate::revision::RevisionId;

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
    /// Where just this is open; none: what is open everywhere, asked for no
    /// site in particular.
    pub sites: Vec<&'a Site>,
}

/// The distinct sets of every group of a stage at `sites`, those of the most
/// sites first. Without sites: what is open at every one, as one set.
///
/// Takes time for the approvals once, and for the plans as often as the sites
/// differ in what plans say of them; not for sites times approvals.
#[must_use]
pub fn sets<'a>(
    offer: Offer<'a>,
    groups: impl IntoIterator<Item = &'a GroupName>,
    sites: &BTreeSet<&'a Site>,
) -> BTreeMap<&'a GroupName, Vec<Effective<'a>>> {
    let mut approved: BTreeMap<&'a GroupName, Approved<'a>> =
        groups.into_iter().map(|group| (group, Approved::default())).collect();
    for ((revision, group), approval) in &offer.approvals.entries {
        if let (Decision::Approved(rollout), Some(approved)) =
            (&approval.decision, approved.get_mut(group))
        {
            approved.add(revision, rollout);
        }
    }
    let alike = alike(offer, sites);
    let found = |(group, approved): (&'a GroupName, Approved<'a>)| {
        (group, approved.sets(offer, group, &alike))
    };
    approved.into_iter().map(found).collect()
}

/// The sites that plans cannot tell apart; without sites one entry for all.
fn alike<'a>(offer: Offer<'a>, sites: &BTreeSet<&'a Site>) -> Vec<Vec<&'a Site>> {
    let marks = marks(offer);
    let mut alike: BTreeMap<Vec<&str>, Vec<&Site>> = BTreeMap::new();
    for site in sites {
        alike.entry(marks_over(&marks, site)).or_default().push(site);
    }
    if alike.is_empty() { vec![Vec::new()] } else { alike.into_values().collect() }
}

/// Every place that a plan names. Whatever is said of a site is said by them.
fn marks(offer: Offer<'_>) -> BTreeSet<&str> {
    let waves = offer.rollouts.values().flat_map(|rollout| &rollout.waves);
    waves.flat_map(|wave| &wave.geographies).map(Site::as_str).collect()
}

/// The places named that a site is in, from the outermost on.
fn marks_over<'a>(marks: &BTreeSet<&'a str>, site: &Site) -> Vec<&'a str> {
    let text = site.as_str();
    let ends = text.match_indices('/').map(|(end, _)| end).chain([text.len()]);
    ends.filter_map(|end| marks.get(&text[..end]).copied()).collect()
}

/// The approvals of a group.
#[derive(Default)]
struct Approved<'a> {
    /// Each with its kind.
    revisions: Vec<(&'a RevisionId, usize)>,
    /// One approval of each kind: what is of one kind is open at the same
    /// places.
    kinds: Vec<&'a RevisionId>,
    known: HashMap<&'a RolloutName, usize>,
}

impl<'a> Approved<'a> {
    fn add(&mut self, revision: &'a RevisionId, rollout: &'a RolloutName) {
        let Self { revisions, kinds, known } = self;
        let kind = *known.entry(rollout).or_insert_with(|| {
            kinds.push(revision);
            kinds.len() - 1
        });
        revisions.push((revision, kind));
    }

    fn sets(
        &self,
        offer: Offer<'a>,
        group: &'a GroupName,
        alike: &[Vec<&'a Site>],
    ) -> Vec<Effective<'a>> {
        let mut places: BTreeMap<Vec<bool>, Vec<&'a Site>> = BTreeMap::new();
        for sites in alike {
            let first = sites.first().copied();
            let is_open = |kind: &&'a RevisionId| offer.of(kind, group, first).is_ok();
            places.entry(self.kinds.iter().map(is_open).collect()).or_default().extend(sites);
        }
        let mut sets: Vec<Effective<'a>> = places
            .into_iter()
            .map(|(is_open, mut sites)| {
                sites.sort_unstable();
                let open = self.revisions.iter().filter(|(_, kind)| is_open[*kind]);
                let revisions: Vec<_> = open.map(|(revision, _)| *revision).collect();
                Effective { id: SetId::of(revisions.iter().copied()), revisions, sites }
            })
            .collect();
        sets.sort_by(|a, b| (b.sites.len(), a.id).cmp(&(a.sites.len(), b.id)));
        sets
    }
}

#[cfg(test)]
mod tests;
