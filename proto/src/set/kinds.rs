//! The sets that are cut: what keys them and what their entries are.

use jiff::Timestamp;
use patchmesh_topology::approval::Approval;
use patchmesh_topology::assessment::Assessment;
use patchmesh_topology::baseline::{Package, PackageId};
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::name::{GroupName, MachineName};
use patchmesh_topology::revision::{Binding, CatalogueEntry, RevisionId};
use patchmesh_topology::rollout::deadline::Weight;
use patchmesh_topology::view::PoolFile;

use super::Kind;
use crate::{convert, wire};

/// The partition of a kind, a message that has nothing but `entries`.
macro_rules! entries {
    ($partition:ident) => {
        type Partition = wire::$partition;

        fn join(entries: Vec<Self::Entry>) -> wire::$partition {
            wire::$partition { entries }
        }

        fn split(partition: wire::$partition) -> Vec<Self::Entry> {
            partition.entries
        }
    };
}

/// Every revision, by its id.
pub(super) enum Catalogue {}

impl Kind for Catalogue {
    type Key = RevisionId;
    type Value = CatalogueEntry;
    type Entry = wire::CatalogueEntry;

    fn partition_key(key: &RevisionId) -> String {
        key.to_string()
    }

    fn to_entry(key: &RevisionId, value: &CatalogueEntry) -> wire::CatalogueEntry {
        (key, value).into()
    }

    fn from_entry(
        entry: wire::CatalogueEntry,
    ) -> Result<(RevisionId, CatalogueEntry), convert::Error> {
        entry.try_into()
    }

    entries!(CataloguePartition);
}

/// Every binding, by the vendor's hash.
pub(super) enum Bindings {}

impl Kind for Bindings {
    type Key = Sha256;
    type Value = Binding;
    type Entry = wire::Binding;

    fn partition_key(key: &Sha256) -> String {
        key.to_string()
    }

    fn to_entry(_: &Sha256, value: &Binding) -> wire::Binding {
        value.into()
    }

    fn from_entry(entry: wire::Binding) -> Result<(Sha256, Binding), convert::Error> {
        Binding::try_from(entry).map(|binding| (binding.sha256, binding))
    }

    entries!(BindingPartition);
}

/// The files of a view's pool, by their paths. Those of one folder share a
/// partition.
pub(super) enum Pools {}

impl Kind for Pools {
    type Key = String;
    type Value = PoolFile;
    type Partition = wire::PoolPartition;
    type Entry = wire::PoolFile;

    fn partition_key(path: &String) -> String {
        path.rsplit_once('/').map_or(path.as_str(), |(folder, _)| folder).to_owned()
    }

    fn to_entry(path: &String, value: &PoolFile) -> wire::PoolFile {
        (path, value).into()
    }

    fn from_entry(entry: wire::PoolFile) -> Result<(String, PoolFile), convert::Error> {
        entry.try_into()
    }

    fn join(files: Vec<wire::PoolFile>) -> wire::PoolPartition {
        wire::PoolPartition { files }
    }

    fn split(partition: wire::PoolPartition) -> Vec<wire::PoolFile> {
        partition.files
    }
}

/// The decisions of a stage. All those on one revision share a partition.
pub(super) enum Approvals {}

impl Kind for Approvals {
    type Key = (RevisionId, GroupName);
    type Value = Approval;
    type Entry = wire::Approval;

    fn partition_key((revision, _): &(RevisionId, GroupName)) -> String {
        revision.to_string()
    }

    fn to_entry((revision, group): &(RevisionId, GroupName), value: &Approval) -> wire::Approval {
        (revision, group, value).into()
    }

    fn from_entry(
        entry: wire::Approval,
    ) -> Result<((RevisionId, GroupName), Approval), convert::Error> {
        entry.try_into()
    }

    entries!(ApprovalPartition);
}

/// What revisions mean, by their ids.
pub(super) enum Assessments {}

impl Kind for Assessments {
    type Key = RevisionId;
    type Value = Assessment;
    type Entry = wire::Assessment;

    fn partition_key(key: &RevisionId) -> String {
        key.to_string()
    }

    fn to_entry(key: &RevisionId, value: &Assessment) -> wire::Assessment {
        (key, value).into()
    }

    fn from_entry(entry: wire::Assessment) -> Result<(RevisionId, Assessment), convert::Error> {
        entry.try_into()
    }

    entries!(AssessmentPartition);
}

/// What deadlines hang on, by revision.
pub(super) enum Weights {}

impl Kind for Weights {
    type Key = RevisionId;
    type Value = Weight;
    type Entry = wire::DeadlineWeight;

    fn partition_key(key: &RevisionId) -> String {
        key.to_string()
    }

    fn to_entry(key: &RevisionId, value: &Weight) -> wire::DeadlineWeight {
        (key, value).into()
    }

    fn from_entry(entry: wire::DeadlineWeight) -> Result<(RevisionId, Weight), convert::Error> {
        entry.try_into()
    }

    entries!(DeadlineWeightPartition);
}

/// Machines that were shut out, by their names.
pub(super) enum Revocations {}

impl Kind for Revocations {
    type Key = MachineName;
    type Value = Timestamp;
    type Entry = wire::Revocation;

    fn partition_key(key: &MachineName) -> String {
        key.to_string()
    }

    fn to_entry(key: &MachineName, value: &Timestamp) -> wire::Revocation {
        wire::Revocation { machine: key.to_string(), at: Some(convert::timestamp_to_wire(*value)) }
    }

    fn from_entry(entry: wire::Revocation) -> Result<(MachineName, Timestamp), convert::Error> {
        entry.try_into()
    }

    entries!(RevocationPartition);
}

/// The packages of a baseline. All versions of a name share a partition.
pub(super) enum Baseline {}

impl Kind for Baseline {
    type Key = PackageId;
    type Value = Package;
    type Entry = wire::BaselinePackage;

    fn partition_key(key: &PackageId) -> String {
        key.name.clone()
    }

    fn to_entry(key: &PackageId, value: &Package) -> wire::BaselinePackage {
        (key, value).into()
    }

    fn from_entry(entry: wire::BaselinePackage) -> Result<(PackageId, Package), convert::Error> {
        entry.try_into()
    }

    entries!(BaselinePartition);
}
