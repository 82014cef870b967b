//! Reads the documents of a generation and collects those that lack, all that
//! are known of at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use patchmesh_proto::{set, wire};
use patchmesh_topology::advisory::AdvisorySet;
use patchmesh_topology::assessment::Assessments;
use patchmesh_topology::baseline::BaselineSet;
use patchmesh_topology::digest::{Digest, Sha256};
use patchmesh_topology::name::{GroupName, NodeName};
use patchmesh_topology::node::{Mesh, Stage};
use patchmesh_topology::revision::{Binding, CatalogueEntry, DocumentRef, Revision, RevisionId};
use patchmesh_topology::rollout::{RolloutSet, WaveStateSet};
use patchmesh_topology::rule::Policy;
use patchmesh_topology::view::{View, ViewSet};

use super::super::{Approvals, Generation, StoredView, Target, carries, names};
use super::{Error, Staged, decode, roles};
use crate::tuf::TrustedMetadata;

/// Collects what lacks while it reads what is there.
pub(super) struct Loader<'a> {
    staged: &'a Staged,
    previous: Option<&'a Generation>,
    targets: &'a BTreeMap<String, Target>,
    lacking: BTreeSet<DocumentRef>,
}

impl<'a> Loader<'a> {
    /// Reads what `targets` name, out of `staged` or `previous`.
    pub(super) fn new(
        staged: &'a Staged,
        previous: Option<&'a Generation>,
        targets: &'a BTreeMap<String, Target>,
    ) -> Self {
        Self { staged, previous, targets, lacking: BTreeSet::new() }
    }

    /// The documents that were looked for and not there.
    pub(super) fn into_lacking(self) -> Vec<DocumentRef> {
        self.lacking.into_iter().collect()
    }

    /// `None` when something lacks; the targets are left to the caller.
    pub(super) fn generation(
        &mut self,
        trusted: &TrustedMetadata,
        node: &NodeName,
    ) -> Result<Option<Generation>, Error> {
        // Every part is looked at before the first that lacks ends it.
        let mesh = self.part(names::TOPOLOGY, |one| one.mesh.clone(), Self::mesh)?;
        let catalogue =
            self.part(names::CATALOGUE, |one| one.catalogue.clone(), Self::catalogue)?;
        let bindings = self.part(names::BINDINGS, |one| one.bindings.clone(), Self::bindings)?;
        let catalogue_version = self.version(names::CATALOGUE, |one| one.catalogue_version)?;
        let bindings_version = self.version(names::BINDINGS, |one| one.bindings_version)?;
        let assessments =
            self.part(names::ASSESSMENTS, |one| one.assessments.clone(), Self::assessments)?;
        let assessments_version =
            self.version(names::ASSESSMENTS, |one| one.assessments_version)?;
        let advisories =
            self.part(names::ADVISORIES, |one| one.advisories.clone(), Self::advisories)?;
        let rollouts = self.part(names::ROLLOUTS, |one| one.rollouts.clone(), Self::rollouts)?;
        let wave_states =
            self.part(names::WAVE_STATES, |one| one.wave_states.clone(), Self::wave_states)?;
        let policy = self.optional(names::POLICY, |one| one.policy.clone(), Self::policy)?;
        let baselines =
            self.optional(names::BASELINES, |one| one.baselines.clone(), Self::baselines)?;
        let mut approvals = BTreeMap::new();
        for stage in Stage::ALL {
            let known = |one: &Generation| one.approvals.get(&stage).cloned();
            let read = |loader: &mut Self, name: &str, bytes| loader.approvals(stage, name, bytes);
            let found = self.part_or(names::approvals(stage), known, read)?;
            approvals.extend(found.map(|found| (stage, found)));
        }
        let view_set = self.read(names::VIEWS, |_, name, bytes| {
            decode::<wire::ViewSet, ViewSet>(name, &bytes).map(Some)
        })?;
        let (Some(mesh), Some(catalogue), Some(bindings)) = (mesh, catalogue, bindings) else {
            return Ok(None);
        };
        let (Some(rollouts), Some(wave_states), Some(view_set)) = (rollouts, wave_states, view_set)
        else {
            return Ok(None);
        };
        let (Some(assessments), Some(advisories)) = (assessments, advisories) else {
            return Ok(None);
        };
        let (Some(policy), Some(baselines)) = (policy, baselines) else { return Ok(None) };
        let mut generation = Generation {
            number: trusted.snapshot_version().unwrap_or_default(),
            timestamp_version: trusted.timestamp().map_or(0, |one| one.header.version()),
            roles: roles(trusted),
            targets: BTreeMap::new(),
            mesh,
            catalogue,
            catalogue_version,
            bindings_version,
            bound: match self.previous {
                Some(one) if Arc::ptr_eq(&one.bindings, &bindings) => one.bound.clone(),
                _ => Arc::new(bindings.values().map(|one| (one.blob, one.length)).collect()),
            },
            bindings,
            approvals,
            assessments,
            assessments_version,
            advisories,
            rollouts,
            wave_states,
            policy,
            baselines,
            views_version: view_set.version,
            views: BTreeMap::new(),
            revisions: BTreeMap::new(),
        };
        if generation.approvals.len() < Stage::ALL.len() {
            return Ok(None);
        }
        let carried = carries(&generation.mesh, node);
        generation.views = self.views(&view_set, &carried)?;
        generation.revisions = self.revisions(&generation, &carried)?;
        if generation.mesh.is_standby(node) {
            self.every_revision(&generation, node)?;
        }
        Ok(Some(generation))
    }

    /// Looks for the documents of all revisions, which whoever stands by for
    /// the primary keeps.
    fn every_revision(&mut self, generation: &Generation, node: &NodeName) -> Result<(), Error> {
        let had_all = self.previous.is_some_and(|one| {
            Arc::ptr_eq(&one.catalogue, &generation.catalogue) && one.mesh.is_standby(node)
        });
        if had_all {
            return Ok(());
        }
        for entry in generation.catalogue.values() {
            if !self.staged.has(&entry.document)? {
                self.lacking.insert(entry.document);
            }
        }
        Ok(())
    }

    /// The document of a target, read by `read`, or what the previous
    /// generation has of it when it did not change.
    fn part<T>(
        &mut self,
        name: &str,
        known: impl Fn(&Generation) -> Arc<T>,
        read: impl Fn(&mut Self, &str, Bytes) -> Result<Option<T>, Error>,
    ) -> Result<Option<Arc<T>>, Error> {
        self.part_or(name, |one| Some(known(one)), read)
    }

    /// As [`Loader::part`], for what is not signed before there is something
    /// to say: without the name it is empty.
    fn optional<T: Default>(
        &mut self,
        name: &str,
        known: impl Fn(&Generation) -> Arc<T>,
        read: impl Fn(&mut Self, &str, Bytes) -> Result<Option<T>, Error>,
    ) -> Result<Option<Arc<T>>, Error> {
        if !self.targets.contains_key(name) && self.unchanged(name).is_none() {
            return Ok(Some(Arc::default()));
        }
        self.part(name, known, read)
    }

    fn part_or<T>(
        &mut self,
        name: &str,
        known: impl Fn(&Generation) -> Option<Arc<T>>,
        read: impl Fn(&mut Self, &str, Bytes) -> Result<Option<T>, Error>,
    ) -> Result<Option<Arc<T>>, Error> {
        if let Some(known) = self.unchanged(name).and_then(known) {
            return Ok(Some(known));
        }
        Ok(self.read(name, read)?.map(Arc::new))
    }

    /// The version that an index states; 0 while it lacks.
    fn version(&mut self, name: &str, known: impl Fn(&Generation) -> u64) -> Result<u64, Error> {
        if let Some(same) = self.unchanged(name) {
            return Ok(known(same));
        }
        let version = self.read(name, |_, name, index| {
            let failed = |source| Error::Set { name: name.to_owned(), source };
            set::version(&index).map(Some).map_err(failed)
        })?;
        Ok(version.unwrap_or_default())
    }

    /// The previous generation, if a name leads to the same document there.
    fn unchanged(&self, name: &str) -> Option<&'a Generation> {
        self.previous.filter(|one| one.targets.get(name) == self.targets.get(name))
    }

    fn read<T>(
        &mut self,
        name: &str,
        read: impl Fn(&mut Self, &str, Bytes) -> Result<Option<T>, Error>,
    ) -> Result<Option<T>, Error> {
        let target = *self.targets.get(name).ok_or_else(|| Error::NoTarget(name.to_owned()))?;
        let document = DocumentRef { digest: target.digest, length: target.length };
        let Some(bytes) = self.get(&document)? else { return Ok(None) };
        // Signed twice over: by the digest that names it and by TUF's own.
        if crate::identity::sha256(&bytes) != target.sha256 || bytes.len() as u64 != target.length {
            return Err(Error::Mismatch(name.to_owned()));
        }
        read(self, name, bytes)
    }

    fn get(&mut self, document: &DocumentRef) -> Result<Option<Bytes>, Error> {
        let found = self.staged.get(document)?;
        if found.is_none() {
            self.lacking.insert(*document);
        }
        Ok(found)
    }

    fn mesh(&mut self, name: &str, bytes: Bytes) -> Result<Option<Mesh>, Error> {
        decode::<wire::Topology, Mesh>(name, &bytes).map(Some)
    }

    fn rollouts(&mut self, name: &str, bytes: Bytes) -> Result<Option<RolloutSet>, Error> {
        decode::<wire::RolloutSet, RolloutSet>(name, &bytes).map(Some)
    }

    fn wave_states(&mut self, name: &str, bytes: Bytes) -> Result<Option<WaveStateSet>, Error> {
        decode::<wire::WaveStates, WaveStateSet>(name, &bytes).map(Some)
    }

    fn policy(&mut self, name: &str, bytes: Bytes) -> Result<Option<Policy>, Error> {
        decode::<wire::Policy, Policy>(name, &bytes).map(Some)
    }

    /// The baselines. Their packages only have to be at hand: they are read
    /// where they are asked for.
    fn baselines(&mut self, name: &str, bytes: Bytes) -> Result<Option<BaselineSet>, Error> {
        let set = decode::<wire::BaselineSet, BaselineSet>(name, &bytes)?;
        let failed = |source| Error::Set { name: name.to_owned(), source };
        for index in set.indices() {
            let Some(index) = self.get(&index)? else { continue };
            for partition in set::partitions(&index).map_err(failed)? {
                if !self.staged.has(&partition)? {
                    self.lacking.insert(partition);
                }
            }
        }
        Ok(Some(set))
    }

    /// The partitions of a set, or `None` when some lack.
    fn partitions(
        &mut self,
        name: &str,
        index: &Bytes,
    ) -> Result<Option<BTreeMap<Digest, Bytes>>, Error> {
        let failed = |source| Error::Set { name: name.to_owned(), source };
        let mut partitions = BTreeMap::new();
        let mut is_whole = true;
        for document in set::partitions(index).map_err(failed)? {
            match self.get(&document)? {
                Some(bytes) => drop(partitions.insert(document.digest, bytes)),
                None => is_whole = false,
            }
        }
        Ok(is_whole.then_some(partitions))
    }

    /// A set out of its index and partitions, or `None` when some lack.
    fn set<T>(
        &mut self,
        name: &str,
        index: &Bytes,
        read: impl Fn(&dyn Fn(&DocumentRef) -> Option<Bytes>) -> Result<T, set::Error>,
    ) -> Result<Option<T>, Error> {
        let Some(partitions) = self.partitions(name, index)? else { return Ok(None) };
        let lookup = |document: &DocumentRef| partitions.get(&document.digest).cloned();
        read(&lookup).map(Some).map_err(|source| Error::Set { name: name.to_owned(), source })
    }

    fn catalogue(
        &mut self,
        name: &str,
        index: Bytes,
    ) -> Result<Option<BTreeMap<RevisionId, CatalogueEntry>>, Error> {
        self.set(name, &index, |lookup| set::read_catalogue(&index, lookup))
    }

    fn bindings(
        &mut self,
        name: &str,
        index: Bytes,
    ) -> Result<Option<BTreeMap<Sha256, Binding>>, Error> {
        self.set(name, &index, |lookup| set::read_bindings(&index, lookup))
    }

    fn assessments(&mut self, name: &str, index: Bytes) -> Result<Option<Assessments>, Error> {
        self.set(name, &index, |lookup| set::read_assessments(&index, lookup))
    }

    /// The advisories, with the document of every version at hand.
    fn advisories(&mut self, name: &str, bytes: Bytes) -> Result<Option<AdvisorySet>, Error> {
        let set = decode::<wire::AdvisoryIndex, AdvisorySet>(name, &bytes)?;
        let mut is_whole = true;
        for document in set.entries.values().flat_map(|entry| &entry.versions) {
            if !self.staged.has(document)? {
                self.lacking.insert(*document);
                is_whole = false;
            }
        }
        Ok(is_whole.then_some(set))
    }

    fn approvals(
        &mut self,
        stage: Stage,
        name: &str,
        index: Bytes,
    ) -> Result<Option<Approvals>, Error> {
        let set = self.set(name, &index, |lookup| set::read_approvals(&index, lookup))?;
        let Some(set) = set else { return Ok(None) };
        if set.stage != stage {
            return Err(Error::Stage(stage));
        }
        Ok(Some(Approvals { set: Arc::new(set), digest: Digest::of(&index) }))
    }

    /// The views of the stages carried, and their index files at hand.
    fn views(
        &mut self,
        views: &ViewSet,
        carried: &BTreeSet<Stage>,
    ) -> Result<BTreeMap<(Stage, GroupName), Arc<StoredView>>, Error> {
        let mut read: BTreeMap<Digest, Arc<StoredView>> = self
            .previous
            .into_iter()
            .flat_map(|one| one.views.values())
            .map(|view| (view.document.digest, view.clone()))
            .collect();
        let mut found = BTreeMap::new();
        for ((stage, group), document) in
            views.views.iter().filter(|((stage, _), _)| carried.contains(stage))
        {
            let view = match read.get(&document.digest) {
                Some(view) => view.clone(),
                None => {
                    let Some(view) = self.view(document, *stage, group)? else { continue };
                    read.insert(document.digest, view.clone());
                    view
                }
            };
            found.insert((*stage, group.clone()), view);
        }
        Ok(found)
    }

    fn view(
        &mut self,
        document: &DocumentRef,
        stage: Stage,
        group: &GroupName,
    ) -> Result<Option<Arc<StoredView>>, Error> {
        let Some(bytes) = self.get(document)? else { return Ok(None) };
        let name = format!("view of {stage} for {group}");
        let view = decode::<wire::View, View>(&name, &bytes)?;
        for file in view.files.values() {
            if !self.staged.has(file)? {
                self.lacking.insert(*file);
            }
        }
        Ok(Some(Arc::new(StoredView { document: *document, view: Arc::new(view) })))
    }

    /// The revisions that are approved in the stages carried.
    fn revisions(
        &mut self,
        generation: &Generation,
        carried: &BTreeSet<Stage>,
    ) -> Result<BTreeMap<RevisionId, Arc<Revision>>, Error> {
        let mut found = BTreeMap::new();
        for id in generation.approved_revisions(carried) {
            // What the catalogue does not know is not acted on.
            let Some(entry) = generation.catalogue.get(id) else { continue };
            let known = self.previous.and_then(|one| {
                let same = one.catalogue.get(id).is_some_and(|old| old.document == entry.document);
                one.revisions.get(id).filter(|_| same).cloned()
            });
            let revision = match known {
                Some(revision) => Some(revision),
                None => {
                    let bytes = self.get(&entry.document)?;
                    super::revision(id, entry, bytes)?
                }
            };
            found.extend(revision.map(|revision| (id.clone(), revision)));
        }
        Ok(found)
    }
}
