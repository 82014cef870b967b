//! Builds the views again when something that they hang on has changed.
//!
//! There is one for every distinct set of revisions that is open for a group
//! at some site ([`set::sets`]), and sites with equal sets share it. What is
//! open is closed first: what something else replaces, or what could not be
//! installed on machines of the group's baseline, is not offered. Groups of a
//! stage with the same open revisions and baseline share a view as well.
//!
//! A view whose revisions are those of last time is kept, unless its signature
//! is due or a site comes to it from a view that was signed later: clients
//! refuse what is older than what they have ([`dates`]). What time alone will
//! open is signed ahead, dated at its opening, so that a branch that is cut off
//! has it.

mod dates;
mod tally;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use patchmesh_proto::document;
use patchmesh_proto::wire;
use patchmesh_topology::approval::ApprovalSet;
use patchmesh_topology::closure::{self, Ground, Offered};
use patchmesh_topology::digest::Digest;
use patchmesh_topology::name::{BaselineName, GroupName, Site, SourceName};
use patchmesh_topology::node::{Group, Stage};
use patchmesh_topology::offer::{Offer, availability};
use patchmesh_topology::revision::{DocumentRef, Revision, RevisionId};
use patchmesh_topology::subscription::Subscription;
use patchmesh_topology::supersedence::Entry;
use patchmesh_topology::view::awaited::ByNode;
use patchmesh_topology::view::set::{self, Effective, HORIZON, MAX_MOMENTS, MAX_SETS, SetId};
use patchmesh_topology::view::{FullView, Pools, ViewKey, ViewSet, divide, of_group};
use tokio::sync::watch;

use super::baselines::{self, Grounds};
use super::draft::Draft;
use super::writing::Writing;
use crate::generation::{Generation, StoredView, load};
use crate::openpgp::SigningKey;
use crate::signed::{self, names};
use crate::store::{self, Store};
use crate::tuf::layout::MeshRole;
use crate::view::{self, Dists, apt, files};

use dates::Dates;
pub use tally::Tally;

/// Why the views could not be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A stage whose repository key is not here.
    #[error("the repository key of stage {0} is not here")]
    NoKey(Stage),
    /// An approved revision's document is missing.
    #[error("the document of revision {0} is missing; run `patchmesh blob verify`")]
    Missing(RevisionId),
    /// A revision's document cannot be used.
    #[error("an approved revision cannot be read")]
    Revision(#[from] load::Error),
    /// Building or signing failed.
    #[error("the view of {stage} for {group} could not be built")]
    Build {
        /// The stage.
        stage: Stage,
        /// The group.
        group: GroupName,
        /// Why.
        source: apt::Error,
    },
    /// The index of files could not be added.
    #[error("the files of {stage} for {group} could not be listed")]
    Files {
        /// The stage.
        stage: Stage,
        /// The group.
        group: GroupName,
        /// Why.
        source: files::Error,
    },
    /// What machines have cannot be read.
    #[error("baseline {name} cannot be read")]
    Baseline {
        /// The baseline.
        name: BaselineName,
        /// Why.
        source: baselines::Error,
    },
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] store::Error),
}

/// What a view hangs on: the stage, the packages that machines have, and what
/// is open and available.
type Key = (Stage, Option<DocumentRef>, SetId);

/// Builds views and remembers what the last ones were built from.
#[derive(Debug)]
pub struct Views {
    builder: apt::Builder,
    keys: BTreeMap<Stage, SigningKey>,
    built: BTreeMap<Key, Built>,
    grounds: Grounds,
    /// What nodes awaited when they were built.
    awaited: Arc<ByNode>,
    /// What was fetched of the sources when they were built.
    fetched: BTreeMap<SourceName, Subscription>,
    tally: watch::Sender<Tally>,
    /// When there are more moments to sign ahead for than were looked at.
    again: Option<Timestamp>,
}

/// A view that was built.
#[derive(Debug, Clone, Copy)]
struct Built {
    document: DocumentRef,
    signed_at: Timestamp,
}

/// A view to be.
struct Wanted<'s> {
    /// What is open and available, in order.
    open: Vec<Arc<Revision>>,
    /// The sets of which that is left.
    sets: Vec<SetId>,
    /// When those that it takes the place of were signed.
    since: Option<Timestamp>,
    /// Whether it is open somewhere.
    is_now: bool,
    /// When it opens somewhere else, if only time passes or content arrives.
    opens: Option<Timestamp>,
    /// Where it is served.
    sites: BTreeSet<&'s Site>,
    /// Where it will be as soon as content has arrived.
    arriving: BTreeSet<&'s Site>,
}

impl<'s> Wanted<'s> {
    const fn of(open: Vec<Arc<Revision>>) -> Self {
        Self {
            open,
            sets: Vec::new(),
            since: None,
            is_now: false,
            opens: None,
            sites: BTreeSet::new(),
            arriving: BTreeSet::new(),
        }
    }

    /// Is wanted for this set too.
    fn add(&mut self, set: &Effective<'s>, group: &Group, dates: &Dates, now: Timestamp) {
        self.is_now |= set.is_now;
        if set.is_now {
            self.since = self.since.max(dates.before(&group.name, &set.sites));
            self.sites.extend(&set.sites);
        }
        let Some(coming) = &set.coming else { return };
        self.since = self.since.max(dates.before(&group.name, &coming.sites));
        self.opens = Some(self.opens.map_or(coming.at, |at| at.min(coming.at)));
        if coming.at <= now {
            self.arriving.extend(&coming.sites);
        }
    }

    /// The date for a view built now.
    fn date(&self, now: Timestamp) -> Timestamp {
        if self.is_now { now } else { self.opens.unwrap_or(now) }
    }
}

/// All that one writing of the views has to do with.
struct Round<'a> {
    previous: Option<&'a Generation>,
    draft: &'a Draft,
    store: &'a Store,
    /// The present views by their documents.
    standing: HashMap<Digest, &'a StoredView>,
    /// Revisions that were looked for, if they are available.
    revisions: HashMap<&'a RevisionId, Option<Arc<Revision>>>,
    built: BTreeMap<Key, Built>,
    views: BTreeMap<ViewKey, DocumentRef>,
    /// How many were built.
    count: usize,
}

impl Views {
    /// Signs with `keys`.
    #[must_use]
    pub fn new(keys: BTreeMap<Stage, SigningKey>) -> Self {
        Self {
            builder: apt::Builder::new(),
            keys,
            built: BTreeMap::new(),
            grounds: Grounds::default(),
            awaited: Arc::default(),
            fetched: BTreeMap::new(),
            tally: watch::Sender::new(Tally::default()),
            again: None,
        }
    }

    /// How many views there are, and what the last building took.
    #[must_use]
    pub fn tally(&self) -> watch::Receiver<Tally> {
        self.tally.subscribe()
    }

    /// Whether some view's signature has to be renewed.
    #[must_use]
    pub fn due(&self, generation: &Generation, now: Timestamp) -> bool {
        generation.views.values().any(|view| is_due(view.view().signed_at, now))
            || self.again.is_some_and(|again| again <= now)
    }

    /// Adds the view set, and those views that have to be built, to `writing`.
    ///
    /// # Errors
    /// See [`Error`]; nothing is remembered then.
    pub fn write(
        &mut self,
        previous: Option<&Generation>,
        draft: &Draft,
        store: &Store,
        writing: &mut Writing,
    ) -> Result<(), Error> {
        let begun = Instant::now();
        if self.fetched != draft.mesh.source_subscriptions {
            self.fetched.clone_from(&draft.mesh.source_subscriptions);
            self.built.clear();
        }
        let approvals: Vec<_> =
            Stage::ALL.into_iter().map(|stage| draft.approvals(stage)).collect();
        let mut round = Round::new(previous, draft, store);
        self.again = None;
        for set in &approvals {
            self.stage(&mut round, set, writing)?;
        }
        let Round { built, views, count, .. } = round;
        self.built = built;
        self.awaited = draft.awaited.clone();
        self.tally.send_replace(Tally::of(&views, count, begun.elapsed(), draft.now));
        let unchanged = previous.is_some_and(|one| {
            one.views.len() == views.len()
                && one.views.iter().all(|(key, view)| views.get(key) == Some(&view.document))
        });
        if !unchanged {
            let version = previous.map_or(0, |one| one.views_version) + 1;
            let set = wire::ViewSet::from(&ViewSet { version, views });
            writing.name(MeshRole::WaveState, names::VIEWS, &set);
        }
        Ok(())
    }

    /// The views of every group that follows one stage.
    fn stage<'a>(
        &mut self,
        round: &mut Round<'a>,
        approvals: &'a ApprovalSet,
        writing: &mut Writing,
    ) -> Result<(), Error> {
        let (stage, draft) = (approvals.stage, round.draft);
        let states = &draft.wave_states.states;
        let offer = Offer::new(approvals, &draft.rollouts, states, draft.now);
        let groups: Vec<&Group> = draft.mesh.groups_of(stage).collect();
        let sites = set::sites(&draft.mesh, stage);
        let ahead = self.ahead(offer);
        let awaiting = set::awaiting(&draft.mesh, stage, &draft.awaited);
        let names = groups.iter().map(|group| &group.name);
        let sets = set::sets(offer, names, &sites, &awaiting, &ahead);
        let dates = Dates::of(round.previous, &draft.mesh, (stage, draft.now), &self.awaited);
        for group in groups {
            let mut sets = sets.get(&group.name).map(Vec::as_slice).unwrap_or_default();
            if sets.len() > MAX_SETS {
                tracing::warn!(
                    %stage, group = %group.name, sets = sets.len(), built = MAX_SETS,
                    "too many waves are in flight: some sites are served less than is open there"
                );
                sets = &sets[..MAX_SETS];
            }
            self.group(round, group, sets, &dates, writing)?;
        }
        Ok(())
    }

    /// The moments for which views are signed ahead.
    fn ahead(&mut self, offer: Offer<'_>) -> Vec<Timestamp> {
        let end = offer.now.saturating_add(HORIZON).unwrap_or(Timestamp::MAX);
        let mut moments: Vec<Timestamp> =
            set::moments(offer).into_iter().take_while(|at| *at <= end).collect();
        if moments.len() > MAX_MOMENTS {
            moments.truncate(MAX_MOMENTS);
            let half = moments[MAX_MOMENTS / 2];
            self.again = Some(self.again.map_or(half, |again| again.min(half)));
        }
        moments
    }

    /// The views of one group: those that stand, and those that are built.
    fn group<'a>(
        &mut self,
        round: &mut Round<'a>,
        group: &'a Group,
        sets: &[Effective<'a>],
        dates: &Dates,
        writing: &mut Writing,
    ) -> Result<(), Error> {
        let mut wanted: BTreeMap<Key, Wanted<'_>> = BTreeMap::new();
        let snapshot = round.snapshot(group);
        for set in sets {
            let open = round.open(&set.revisions)?;
            // What is open is a part of the set, in its order.
            let id = match open.len() == set.revisions.len() {
                true => set.id,
                false => SetId::of(open.iter().map(|one| &one.id)),
            };
            let key = (group.stage, snapshot, id);
            let wanted = wanted.entry(key).or_insert(Wanted::of(open));
            wanted.sets.push(set.id);
            wanted.add(set, group, dates, round.draft.now);
        }
        let (mut staying, mut lacking) = (Vec::new(), Vec::new());
        for (key, wanted) in wanted {
            match self.kept(round, &key, &wanted) {
                Some(built) => staying.push((key, wanted, built)),
                None => lacking.push((key, wanted)),
            }
        }
        // A site that is given a new view goes on from it by itself when content
        // arrives: to one that is not older.
        loop {
            let renewed: BTreeSet<&Site> =
                lacking.iter().flat_map(|(_, wanted)| &wanted.sites).copied().collect();
            let is_older = |wanted: &Wanted<'_>| !wanted.arriving.is_disjoint(&renewed);
            let (older, rest): (Vec<_>, Vec<_>) =
                staying.into_iter().partition(|(_, wanted, _)| is_older(wanted));
            staying = rest;
            if older.is_empty() {
                break;
            }
            lacking.extend(older.into_iter().map(|(key, wanted, _)| (key, wanted)));
        }
        for (key, wanted, built) in &staying {
            round.name(group, *key, *built, &wanted.sets);
        }
        if lacking.is_empty() {
            return Ok(());
        }
        let staying = staying.iter();
        let staying: Vec<&FullView> = staying
            .filter_map(|(_, _, built)| round.standing.get(&built.document.digest))
            .map(|view| &view.full)
            .collect();
        for ((key, wanted), built) in
            lacking.iter().zip(self.build(round, group, &lacking, &staying, writing)?)
        {
            round.name(group, *key, built, &wanted.sets);
        }
        Ok(())
    }

    /// A view that says what it should, is not due, not older than those that it
    /// takes the place of, and not dated later than it opens.
    fn kept(&self, round: &Round<'_>, key: &Key, wanted: &Wanted<'_>) -> Option<Built> {
        let now = round.draft.now;
        let stands = |one: &&Built| round.standing.contains_key(&one.document.digest);
        let built = round.built.get(key).or_else(|| self.built.get(key).filter(stands))?;
        let opens = wanted.date(now);
        let is_old = is_due(built.signed_at, now) || Some(built.signed_at) < wanted.since;
        let is_late = built.signed_at.duration_since(opens) > apt::MAX_AHEAD;
        (!is_old && !is_late).then_some(*built)
    }

    /// Builds what a group lacks, each as its place in `lacking`.
    fn build(
        &mut self,
        round: &mut Round<'_>,
        group: &Group,
        lacking: &[(Key, Wanted<'_>)],
        staying: &[&FullView],
        writing: &mut Writing,
    ) -> Result<Vec<Built>, Error> {
        let draft = round.draft;
        let ground = self.ground(draft, group)?;
        let offered: Vec<Offered<'_>> = lacking
            .iter()
            .map(|(_, wanted)| closure::offered(&entries(draft, &wanted.open), ground.as_deref()))
            .collect();
        let present = round.present(group);
        let keep = view::dists(present.iter().flat_map(|one| one.view.files.keys()));
        let revisions: Vec<Vec<&Revision>> =
            offered.iter().map(|one| one.revisions.clone()).collect();
        let parts = divide(&revisions, &present, staying);
        let mut built = Vec::new();
        for (((_, wanted), offered), parts) in lacking.iter().zip(offered).zip(parts) {
            built.push(self.build_one(draft, group, (offered, parts), &keep, wanted, writing)?);
            round.count += 1;
        }
        Ok(built)
    }

    fn ground(&mut self, draft: &Draft, group: &Group) -> Result<Option<Arc<Ground>>, Error> {
        let Some(name) = &group.baseline else { return Ok(None) };
        self.grounds
            .get(&draft.baselines, name, |document| draft.document(document))
            .map_err(|source| Error::Baseline { name: name.clone(), source })
    }

    fn build_one(
        &mut self,
        draft: &Draft,
        of: &Group,
        (offered, parts): (Offered<'_>, Pools<Vec<&Revision>>),
        keep: &Dists,
        wanted: &Wanted<'_>,
        writing: &mut Writing,
    ) -> Result<Built, Error> {
        let (stage, group) = (of.stage, &of.name);
        let key = self.keys.get(&stage).ok_or(Error::NoKey(stage))?;
        let [settled, opening] = [parts.settled, parts.opening].map(Kinds::of);
        let input = apt::Input {
            mesh: &draft.mesh.name,
            stage,
            settled: &settled.packages,
            opening: &opening.packages,
            keep,
            hidden: &offered.outcome.hidden,
            now: draft.now,
            opens: wanted.date(draft.now),
            previous: wanted.since,
        };
        let mut built = self.builder.build(&input, key).map_err(|source| Error::Build {
            stage,
            group: group.clone(),
            source,
        })?;
        let index = files::Input {
            mesh: &draft.mesh.name,
            stage,
            settled: &settled.plain,
            opening: &opening.plain,
            now: draft.now,
        };
        files::add(&index, key, &mut built).map_err(|source| Error::Files {
            stage,
            group: group.clone(),
            source,
        })?;
        for left_out in &built.left_out {
            tracing::warn!(%stage, %group, %left_out, "a payload is left out of the view");
        }
        let (view, documents) = built.finish(offered.outcome.withheld);
        writing.documents.extend(documents);
        let bytes = document::encode(&wire::View::from(&view));
        let document = document::reference(&bytes);
        writing.documents.push((document, bytes));
        Ok(Built { document, signed_at: view.signed_at })
    }
}

impl<'a> Round<'a> {
    fn new(previous: Option<&'a Generation>, draft: &'a Draft, store: &'a Store) -> Self {
        let views = previous.into_iter().flat_map(|one| one.views.values());
        Self {
            previous,
            draft,
            store,
            standing: views.map(|view| (view.document.digest, view.as_ref())).collect(),
            revisions: HashMap::new(),
            built: BTreeMap::new(),
            views: BTreeMap::new(),
            count: 0,
        }
    }

    /// The packages that machines of a group have.
    fn snapshot(&self, group: &Group) -> Option<DocumentRef> {
        let baseline = self.draft.baselines.baselines.get(group.baseline.as_ref()?)?;
        Some(baseline.last()?.1.index)
    }

    /// A group's views as they stand.
    fn present(&self, group: &Group) -> Vec<&'a FullView> {
        let views = self.previous.map(|one| &one.views);
        let of = views.into_iter().flat_map(|views| of_group(views, group.stage, &group.name));
        of.map(|(_, view)| &view.full).collect()
    }

    fn name(&mut self, group: &Group, key: Key, built: Built, sets: &[SetId]) {
        self.built.insert(key, built);
        for set in sets {
            self.views.insert((group.stage, group.name.clone(), *set), built.document);
        }
    }

    /// Those of some revisions that are fully bound.
    fn open(&mut self, ids: &[&'a RevisionId]) -> Result<Vec<Arc<Revision>>, Error> {
        let mut open = Vec::with_capacity(ids.len());
        for id in ids {
            let revision = match self.revisions.get(id) {
                Some(known) => known.clone(),
                None => {
                    let found = self.available(id)?;
                    self.revisions.insert(id, found.clone());
                    found
                }
            };
            open.extend(revision);
        }
        Ok(open)
    }

    /// A revision as far as it is fetched, if all of that is bound.
    fn available(&self, id: &RevisionId) -> Result<Option<Arc<Revision>>, Error> {
        // What the catalogue does not know is not offered.
        let Some(entry) = self.draft.catalogue.get(id) else { return Ok(None) };
        let known = self.previous.and_then(|one| one.revisions.get(id)).cloned();
        let revision = match known {
            Some(revision) => revision,
            None => {
                signed::document::revision(id, entry, self.store.get_blob(&entry.document.digest)?)?
                    .ok_or_else(|| Error::Missing(id.clone()))?
            }
        };
        // Of what is not fetched at all nothing is offered.
        let revision = self.draft.mesh.narrowed(&revision).map_or(revision, Arc::new);
        let is_bound = |payload: &_| self.draft.bindings.contains_key(payload);
        Ok(availability(&revision, is_bound).is_available().then_some(revision))
    }
}

fn entries<'r>(draft: &Draft, open: &'r [Arc<Revision>]) -> Vec<Entry<'r>> {
    let ordinal = |id| draft.catalogue.get(id).map_or(0, |one| one.ordinal);
    open.iter().map(|revision| Entry { revision, ordinal: ordinal(&revision.id) }).collect()
}

/// The revisions of a part by what they are for.
struct Kinds<'a> {
    packages: Vec<&'a Revision>,
    plain: Vec<&'a Revision>,
}

impl<'a> Kinds<'a> {
    fn of(revisions: Vec<&'a Revision>) -> Self {
        let (packages, plain) =
            revisions.into_iter().partition(|revision: &&Revision| revision.has_packages());
        Self { packages, plain }
    }
}

/// Whether some node that awaits something lacks the view of what is open there
/// without that.
#[must_use]
pub fn lacks_views(generation: &Generation, awaited: &ByNode, now: Timestamp) -> bool {
    Stage::ALL.into_iter().any(|stage| {
        let Some(offer) = generation.offer(stage, now) else { return false };
        let awaiting = set::awaiting(&generation.mesh, stage, awaited);
        let sites: BTreeSet<&Site> = awaiting.keys().copied().collect();
        let groups = generation.mesh.groups_of(stage).map(|group| &group.name);
        let sets = if sites.is_empty() {
            BTreeMap::new()
        } else {
            set::sets(offer, groups, &sites, &awaiting, &[])
        };
        sets.into_iter().any(|(group, sets)| {
            let is_there = |set: &Effective<'_>| {
                generation.views.contains_key(&(stage, group.clone(), set.id))
            };
            sets.iter().take(MAX_SETS).any(|set| set.is_now && !is_there(set))
        })
    })
}

fn is_due(signed_at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(signed_at) > apt::RESIGN_AFTER
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
