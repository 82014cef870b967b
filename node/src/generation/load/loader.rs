//! Reads the documents of a generation and collects those that lack, all that
//! are known of at once.

use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use patchmesh_proto::set::{self, Before};
use patchmesh_proto::wire;
use patchmesh_topology::advisory::AdvisorySet;
use patchmesh_topology::assessment::Assessments;
use patchmesh_topology::baseline::BaselineSet;
use patchmesh_topology::digest::{Digest, Sha256};
use patchmesh_topology::name::NodeName;
use patchmesh_topology::node::{Mesh, Stage};
use patchmesh_topology::promotion::Lab;
use patchmesh_topology::revision::{Binding, CatalogueEntry, DocumentRef, RevisionId};
use patchmesh_topology::revocation::Revocations;
use patchmesh_topology::rollout::deadline::Weights;
use patchmesh_topology::rollout::{RolloutSet, WaveStateSet};
use patchmesh_topology::rule::Policy;
use patchmesh_topology::view::ViewSet;

use super::super::demand::Demand;
use super::super::differences::differences;
use super::super::{Approvals, Generation, carries};
use super::{Error, Staged, roles};
use crate::signed::document::{Target, decode};
use crate::signed::names;
use crate::tuf::TrustedMetadata;

/// Collects what lacks while it reads what is there.
pub(super) struct Loader<'a> {
    pub(super) staged: &'a Staged,
    pub(super) previous: Option<&'a Generation>,
    targets: &'a BTreeMap<String, Target>,
    pub(super) lacking: BTreeSet<DocumentRef>,
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
        let weights = self.optional(names::DEADLINES, |one| one.weights.clone(), Self::weights)?;
        let shut_out = |one: &Generation| one.revocations.clone();
        let revocations = self.optional(names::REVOCATIONS, shut_out, Self::revocations)?;
        let policy = self.optional(names::POLICY, |one| one.policy.clone(), Self::policy)?;
        let lab = self.optional(names::LAB, |one| one.lab.clone(), Self::lab)?;
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
        // Views lead far: they are not looked for after everything else.
        let views = match (&mesh, &view_set) {
            (Some(mesh), Some(set)) => Some(self.views(set, &carries(mesh, node))?),
            _ => None,
        };
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
        let (Some(policy), Some(baselines), Some(views)) = (policy, baselines, views) else {
            return Ok(None);
        };
        let (Some(lab), Some(weights), Some(revocations)) = (lab, weights, revocations) else {
            return Ok(None);
        };
        let mut generation = Generation {
            number: trusted.snapshot_version().unwrap_or_default(),
            timestamp_version: trusted.timestamp().map_or(0, |one| one.header.version()),
            roles: roles(trusted),
            targets: BTreeMap::new(),
            mesh,
            catalogue,
            catalogue_version,
            bindings_version,
            bound: bound(self.previous, &bindings),
            bindings,
            approvals,
            assessments,
            assessments_version,
            advisories,
            rollouts,
            wave_states,
            weights,
            revocations,
            policy,
            lab,
            baselines,
            views_version: view_set.version,
            views,
            revisions: Arc::default(),
            demand: Demand::default(),
        };
        if generation.approvals.len() < Stage::ALL.len() {
            return Ok(None);
        }
        let (revisions, changed) = self.revisions(&generation, node)?;
        generation.revisions = revisions;
        if let Some(previous) = self.previous {
            generation.demand = Demand::after(previous, &generation, changed);
        }
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
    fn part<T: Any + Send + Sync>(
        &mut self,
        name: &str,
        known: impl Fn(&Generation) -> Arc<T>,
        read: impl Fn(&mut Self, &str, Bytes) -> Result<Option<T>, Error>,
    ) -> Result<Option<Arc<T>>, Error> {
        self.part_or(name, |one| Some(known(one)), read)
    }

    /// As [`Loader::part`], for what is not signed before there is something
    /// to say: without the name it is empty.
    fn optional<T: Any + Default + Send + Sync>(
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

    fn part_or<T: Any + Send + Sync>(
        &mut self,
        name: &str,
        known: impl Fn(&Generation) -> Option<Arc<T>>,
        read: impl Fn(&mut Self, &str, Bytes) -> Result<Option<T>, Error>,
    ) -> Result<Option<Arc<T>>, Error> {
        if let Some(known) = self.unchanged(name).and_then(known) {
            return Ok(Some(known));
        }
        let Some(target) = self.targets.get(name) else {
            return Err(Error::NoTarget(name.to_owned()));
        };
        if let Some(known) = self.staged.known(name, &target.digest) {
            return Ok(Some(known));
        }
        let lacking = self.lacking.len();
        let read = self.read(name, read)?.map(Arc::new);
        // What leads to documents that lack is looked at again.
        if let Some(read) = read.as_ref().filter(|_| self.lacking.len() == lacking) {
            self.staged.keep(name, target.digest, read);
        }
        Ok(read)
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

    pub(super) fn get(&mut self, document: &DocumentRef) -> Result<Option<Bytes>, Error> {
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

    fn lab(&mut self, name: &str, bytes: Bytes) -> Result<Option<Lab>, Error> {
        decode::<wire::Lab, Lab>(name, &bytes).map(Some)
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

    /// A set out of its index and partitions, or `None` when some lack.
    pub(super) fn set<T>(
        &mut self,
        name: &str,
        index: &Bytes,
        read: impl FnOnce(&dyn Fn(&DocumentRef) -> Option<Bytes>) -> Result<T, set::Error>,
    ) -> Result<Option<T>, Error> {
        let failed = |source| Error::Set { name: name.to_owned(), source };
        let mut is_whole = true;
        for document in set::partitions(index).map_err(failed)? {
            if !self.staged.has(&document)? {
                self.lacking.insert(document);
                is_whole = false;
            }
        }
        if !is_whole {
            return Ok(None);
        }
        let fault = RefCell::new(None);
        let lookup = |document: &DocumentRef| match self.staged.get(document) {
            Ok(bytes) => bytes,
            Err(error) => {
                *fault.borrow_mut() = Some(error);
                None
            }
        };
        let outcome = read(&lookup);
        match fault.take() {
            Some(error) => Err(error.into()),
            None => outcome.map(Some).map_err(failed),
        }
    }

    /// The previous generation, with the index document that a name led to in it.
    fn before(&self, name: &str) -> Result<Option<(&'a Generation, Bytes)>, Error> {
        let Some(previous) = self.previous else { return Ok(None) };
        let Some(target) = previous.targets.get(name) else { return Ok(None) };
        let index = DocumentRef { digest: target.digest, length: target.length };
        Ok(self.staged.get(&index)?.map(|index| (previous, index)))
    }

    fn catalogue(
        &mut self,
        name: &str,
        index: Bytes,
    ) -> Result<Option<BTreeMap<RevisionId, CatalogueEntry>>, Error> {
        let old = self.before(name)?;
        let before = old.as_ref().map(|(one, index)| Before { index, contents: &*one.catalogue });
        self.set(name, &index, |lookup| set::read_catalogue_after(before, &index, lookup))
    }

    fn bindings(
        &mut self,
        name: &str,
        index: Bytes,
    ) -> Result<Option<BTreeMap<Sha256, Binding>>, Error> {
        let old = self.before(name)?;
        let before = old.as_ref().map(|(one, index)| Before { index, contents: &*one.bindings });
        self.set(name, &index, |lookup| set::read_bindings_after(before, &index, lookup))
    }

    fn assessments(&mut self, name: &str, index: Bytes) -> Result<Option<Assessments>, Error> {
        self.set(name, &index, |lookup| set::read_assessments(&index, lookup))
    }

    fn weights(&mut self, name: &str, index: Bytes) -> Result<Option<Weights>, Error> {
        self.set(name, &index, |lookup| set::read_weights(&index, lookup))
    }

    fn revocations(&mut self, name: &str, index: Bytes) -> Result<Option<Revocations>, Error> {
        self.set(name, &index, |lookup| set::read_revocations(&index, lookup))
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
        let old = self.before(name)?;
        let before = old.as_ref().and_then(|(one, index)| {
            Some(Before { index, contents: &one.approvals.get(&stage)?.set.entries })
        });
        let read = |lookup: &dyn Fn(&DocumentRef) -> Option<Bytes>| {
            set::read_approvals_after(before, &index, lookup)
        };
        let set = self.set(name, &index, read)?;
        let Some(set) = set else { return Ok(None) };
        if set.stage != stage {
            return Err(Error::Stage(stage));
        }
        Ok(Some(Approvals { set: Arc::new(set), digest: Digest::of(&index) }))
    }
}

/// The lengths of bound payloads by their blobs: those of the generation before,
/// but for what was bound since.
fn bound(
    previous: Option<&Generation>,
    bindings: &Arc<BTreeMap<Sha256, Binding>>,
) -> Arc<HashMap<Digest, u64>> {
    let Some(previous) = previous else {
        return Arc::new(bindings.values().map(|one| (one.blob, one.length)).collect());
    };
    if Arc::ptr_eq(&previous.bindings, bindings) {
        return previous.bound.clone();
    }
    let mut bound = HashMap::clone(&previous.bound);
    let differing: Vec<&Sha256> = differences(&previous.bindings, bindings).collect();
    // What is bound otherwise now goes first: a blob may have another hash.
    for gone in differing.iter().filter_map(|sha256| previous.bindings.get(sha256)) {
        bound.remove(&gone.blob);
    }
    let come = differing.iter().filter_map(|sha256| bindings.get(sha256));
    bound.extend(come.map(|one| (one.blob, one.length)));
    Arc::new(bound)
}
