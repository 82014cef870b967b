//! Builds the views again when something that they hang on has changed.
//!
//! What is open is closed first: what something else replaces, or what could
//! not be installed on machines of the group's baseline, is not offered.
//! Groups of a stage with the same open revisions and baseline share a view. A view whose
//! revisions are those of last time is kept, unless its signature is due.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use patchmesh_proto::document;
use patchmesh_proto::wire;
use patchmesh_topology::closure;
use patchmesh_topology::name::{BaselineName, GroupName, SourceName};
use patchmesh_topology::node::{Group, Stage};
use patchmesh_topology::offer::{Offer, availability};
use patchmesh_topology::revision::{DocumentRef, Revision, RevisionId};
use patchmesh_topology::subscription::Subscription;
use patchmesh_topology::supersedence::Entry;
use patchmesh_topology::view::{ViewSet, divide};

use super::baselines::{self, Grounds};
use super::draft::Draft;
use super::writing::Writing;
use crate::generation::{Generation, load, names};
use crate::openpgp::SigningKey;
use crate::store::{self, Store};
use crate::tuf::layout::MeshRole;
use crate::view::{self, Dists, apt, files};

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
type Key = (Stage, Option<DocumentRef>, Vec<RevisionId>);

/// Builds views and remembers what the last ones were built from.
#[derive(Debug)]
pub struct Views {
    builder: apt::Builder,
    keys: BTreeMap<Stage, SigningKey>,
    built: BTreeMap<Key, DocumentRef>,
    grounds: Grounds,
    /// What was fetched of the sources when they were built.
    fetched: BTreeMap<SourceName, Subscription>,
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
            fetched: BTreeMap::new(),
        }
    }

    /// Whether some view's signature has to be renewed.
    #[must_use]
    pub fn due(&self, generation: &Generation, now: Timestamp) -> bool {
        generation.views.values().any(|view| is_due(view.view().signed_at, now))
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
        let mut views = BTreeMap::new();
        let mut built = BTreeMap::new();
        if self.fetched != draft.mesh.source_subscriptions {
            self.fetched.clone_from(&draft.mesh.source_subscriptions);
            self.built.clear();
        }
        for group in draft.mesh.groups.values() {
            let (stage, name) = (group.stage, &group.name);
            let open = open(previous, draft, store, stage, name)?;
            let ids: Vec<RevisionId> = open.iter().map(|revision| revision.id.clone()).collect();
            let baseline =
                group.baseline.as_ref().and_then(|one| draft.baselines.baselines.get(one));
            let snapshot = baseline.and_then(|one| Some(one.last()?.1.index));
            let key = (stage, snapshot, ids);
            let kept =
                built.get(&key).copied().or_else(|| self.kept(previous, &key, name, draft.now));
            let document = match kept {
                Some(document) => document,
                None => self.build(previous, draft, group, &open, writing)?,
            };
            built.insert(key, document);
            views.insert((stage, name.clone()), document);
        }
        self.built = built;
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

    /// The present view of a group, if it says what it should and is not due.
    fn kept(
        &self,
        previous: Option<&Generation>,
        key: &Key,
        group: &GroupName,
        now: Timestamp,
    ) -> Option<DocumentRef> {
        let present = previous?.views.get(&(key.0, group.clone()))?;
        let built = self.built.get(key)?;
        (present.document == *built && !is_due(present.view().signed_at, now)).then_some(*built)
    }

    fn build(
        &mut self,
        previous: Option<&Generation>,
        draft: &Draft,
        of: &Group,
        open: &[Arc<Revision>],
        writing: &mut Writing,
    ) -> Result<DocumentRef, Error> {
        let (stage, group) = (of.stage, &of.name);
        let ground = match &of.baseline {
            Some(name) => self
                .grounds
                .get(&draft.baselines, name, |document| draft.document(document))
                .map_err(|source| Error::Baseline { name: name.clone(), source })?,
            None => None,
        };
        let entries: Vec<Entry<'_>> = open
            .iter()
            .map(|revision| {
                let ordinal = draft.catalogue.get(&revision.id).map_or(0, |one| one.ordinal);
                Entry { revision, ordinal }
            })
            .collect();
        let offered = closure::offered(&entries, ground.as_deref());
        let key = self.keys.get(&stage).ok_or(Error::NoKey(stage))?;
        let present = previous.and_then(|one| one.views.get(&(stage, group.clone())));
        let keep = present.map_or_else(Dists::new, |view| view::dists(&view.view().files));
        let divided = divide(&offered.revisions, present.map(|one| &one.full));
        let [settled, opening] = [divided.settled, divided.opening].map(Kinds::of);
        let input = apt::Input {
            mesh: &draft.mesh.name,
            stage,
            settled: &settled.packages,
            opening: &opening.packages,
            keep: &keep,
            hidden: &offered.outcome.hidden,
            now: draft.now,
            previous: present.map(|one| one.view().signed_at),
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
        Ok(document)
    }
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

fn is_due(signed_at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(signed_at) > apt::RESIGN_AFTER
}

/// The revisions that are open everywhere for a group and fully bound.
fn open(
    previous: Option<&Generation>,
    draft: &Draft,
    store: &Store,
    stage: Stage,
    group: &GroupName,
) -> Result<Vec<Arc<Revision>>, Error> {
    let approvals = draft.approvals(stage);
    let states = &draft.wave_states.states;
    let offer = Offer::new(&approvals, &draft.rollouts, states, draft.now);
    let mut open = Vec::new();
    for id in offer.open_revisions(group, None) {
        // What the catalogue does not know is not offered.
        let Some(entry) = draft.catalogue.get(id) else { continue };
        let known = previous.and_then(|one| one.revisions.get(id)).cloned();
        let revision = match known {
            Some(revision) => revision,
            None => load::revision(id, entry, store.get_blob(&entry.document.digest)?)?
                .ok_or_else(|| Error::Missing(id.clone()))?,
        };
        // Of what is not fetched at all nothing is offered.
        let revision = draft.mesh.narrowed(&revision).map_or(revision, Arc::new);
        if availability(&revision, |payload| draft.bindings.contains_key(payload)).is_available() {
            open.push(revision);
        }
    }
    Ok(open)
}
