//! Baselines and their packages.

use patchmesh_topology::baseline::{Baseline, BaselineSet, Origin, Package, PackageId, Snapshot};

use super::{At, Error, Fault, each, reference, sorted, time, timestamp_to_wire};
use crate::wire;

impl TryFrom<wire::BaselineSet> for BaselineSet {
    type Error = Error;

    fn try_from(value: wire::BaselineSet) -> Result<Self, Error> {
        let baselines = each("baselines", value.baselines, |one| {
            Ok((one.name.parse().at("name")?, Baseline::try_from(one)?))
        })?;
        Ok(Self { version: value.version, baselines: sorted("baselines", baselines)? })
    }
}

impl From<&BaselineSet> for wire::BaselineSet {
    fn from(set: &BaselineSet) -> Self {
        let baselines = set.baselines.iter().map(|(name, baseline)| {
            let (source, suite) = match &baseline.origin {
                Origin::Installed => Default::default(),
                Origin::Release { source, suite } => (source.to_string(), suite.clone()),
            };
            let snapshots = baseline.snapshots.iter().map(wire::Snapshot::from).collect();
            wire::Baseline { name: name.to_string(), source, suite, snapshots }
        });
        Self { version: set.version, baselines: baselines.collect() }
    }
}

impl TryFrom<wire::Baseline> for Baseline {
    type Error = Error;

    fn try_from(value: wire::Baseline) -> Result<Self, Error> {
        let origin = match (value.source.as_str(), value.suite) {
            ("", suite) if suite.is_empty() => Origin::Installed,
            ("", _) => return Err(Fault::Contradiction("the absent source")).at("suite"),
            (source, suite) => Origin::Release { source: source.parse().at("source")?, suite },
        };
        let snapshots = each("snapshots", value.snapshots, |one| {
            let snapshot = Snapshot {
                taken_at: time(one.taken_at).at("taken_at")?,
                by: one.by,
                packages: one.packages,
                index: reference(one.index).at("index")?,
            };
            Ok((one.version, snapshot))
        })?;
        Ok(Self { origin, snapshots: sorted("snapshots", snapshots)? })
    }
}

impl From<(&u64, &Snapshot)> for wire::Snapshot {
    fn from((version, snapshot): (&u64, &Snapshot)) -> Self {
        Self {
            version: *version,
            taken_at: Some(timestamp_to_wire(snapshot.taken_at)),
            by: snapshot.by.clone(),
            packages: snapshot.packages,
            index: Some((&snapshot.index).into()),
        }
    }
}

impl TryFrom<wire::BaselinePackage> for (PackageId, Package) {
    type Error = Error;

    fn try_from(value: wire::BaselinePackage) -> Result<Self, Error> {
        for (field, text) in [
            ("package", &value.package),
            ("architecture", &value.architecture),
            ("version", &value.version),
        ] {
            if text.is_empty() {
                return Err(Fault::Missing).at(field);
            }
        }
        let id = PackageId {
            name: value.package,
            architecture: value.architecture,
            version: value.version,
        };
        let package = Package {
            multi_arch: value.multi_arch,
            provides: value.provides,
            depends: value.depends,
            breaks: value.breaks,
            conflicts: value.conflicts,
            revision: value.revision,
        };
        Ok((id, package))
    }
}

impl From<(&PackageId, &Package)> for wire::BaselinePackage {
    fn from((id, package): (&PackageId, &Package)) -> Self {
        Self {
            package: id.name.clone(),
            architecture: id.architecture.clone(),
            version: id.version.clone(),
            multi_arch: package.multi_arch.clone(),
            provides: package.provides.clone(),
            depends: package.depends.clone(),
            breaks: package.breaks.clone(),
            conflicts: package.conflicts.clone(),
            revision: package.revision.clone(),
        }
    }
}
