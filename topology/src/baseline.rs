//! Baselines: what machines have, or can get elsewhere.
//!
//! A baseline is a named list of packages with a history of snapshots. One
//! that was imported says what the machines of a group have installed; one
//! that follows a vendor's release says what that release had at a moment, and
//! a later snapshot shows as a [`diff`]. Snapshots never change.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::debian::field;
use crate::name::{BaselineName, SourceName};
use crate::revision::{DocumentRef, Revision, RevisionId};

/// Snapshots kept of one baseline; older ones are forgotten.
pub const MAX_SNAPSHOTS: usize = 16;

/// The most baselines of a mesh.
pub const MAX_BASELINES: usize = 64;

/// The most packages of one snapshot: Debian with several architectures.
pub const MAX_PACKAGES: usize = 250_000;

/// Where the packages of a baseline come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Installed on machines of the group.
    Installed,
    /// In a vendor's release, where machines may get them.
    Release {
        /// The source.
        source: SourceName,
        /// Its suite.
        suite: String,
    },
}

/// The packages at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// When.
    pub taken_at: Timestamp,
    /// Who took it.
    pub by: String,
    /// How many packages.
    pub packages: u64,
    /// The index of their documents.
    pub index: DocumentRef,
}

/// A named list of packages with its last snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    /// Where they come from.
    pub origin: Origin,
    /// Snapshots by version.
    pub snapshots: BTreeMap<u64, Snapshot>,
}

/// Every baseline: what the role `content` signs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BaselineSet {
    /// Grows by one with every change.
    pub version: u64,
    /// The baselines.
    pub baselines: BTreeMap<BaselineName, Baseline>,
}

/// Names a package of a baseline.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageId {
    /// Its name.
    pub name: String,
    /// `amd64`, `all`, …
    pub architecture: String,
    /// Its version.
    pub version: String,
}

/// What a package says of others, as the vendor wrote it; empty: nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Package {
    /// `Multi-Arch`.
    pub multi_arch: String,
    /// `Provides`.
    pub provides: String,
    /// `Pre-Depends` and `Depends` together; only of installed packages, whose
    /// needs an update must not break.
    pub depends: String,
    /// `Breaks`.
    pub breaks: String,
    /// `Conflicts`.
    pub conflicts: String,
    /// For a release: `NAME@VERSION[#N]` of the revision that brings it.
    pub revision: String,
}

/// The packages of a snapshot.
pub type Packages = BTreeMap<PackageId, Package>;

/// Why a baseline cannot change so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No such baseline.
    #[error("there is no baseline {0}; `patchmesh baseline list` shows those there are")]
    Unknown(BaselineName),
    /// The name stands for something else.
    #[error("baseline {0} exists and is of another origin; choose another name")]
    OtherOrigin(BaselineName),
    /// A group says that its machines have it.
    #[error("group {group} has the baseline {baseline}; give it another with `group set` first")]
    InUse {
        /// The baseline.
        baseline: BaselineName,
        /// The group.
        group: crate::name::GroupName,
    },
    /// More than a mesh can have.
    #[error("the mesh has {MAX_BASELINES} baselines already; remove one first")]
    TooMany,
}

impl Baseline {
    /// The last snapshot and its version.
    #[must_use]
    pub fn last(&self) -> Option<(u64, &Snapshot)> {
        self.snapshots.last_key_value().map(|(version, snapshot)| (*version, snapshot))
    }
}

impl Origin {
    /// The revision that brings a package of a release.
    #[must_use]
    pub fn revision(&self, package: &Package) -> Option<RevisionId> {
        let Self::Release { source, suite } = self else { return None };
        if package.revision.is_empty() {
            return None;
        }
        format!("{source}:{suite}/{}", package.revision).parse().ok()
    }
}

impl BaselineSet {
    /// The index documents of every snapshot.
    pub fn indices(&self) -> impl Iterator<Item = DocumentRef> + '_ {
        let snapshots = self.baselines.values().flat_map(|one| one.snapshots.values());
        snapshots.map(|snapshot| snapshot.index)
    }

    /// This set with another snapshot of `name`, and the snapshot's version.
    /// A snapshot with the packages of the last one is none: the version is
    /// the last one's.
    ///
    /// # Errors
    /// Why not.
    pub fn add(
        &self,
        name: &BaselineName,
        origin: Origin,
        snapshot: Snapshot,
    ) -> Result<(Self, u64), Rejection> {
        let mut next = self.clone();
        if !next.baselines.contains_key(name) && next.baselines.len() == MAX_BASELINES {
            return Err(Rejection::TooMany);
        }
        let fresh = Baseline { origin: origin.clone(), snapshots: BTreeMap::new() };
        let baseline = next.baselines.entry(name.clone()).or_insert(fresh);
        if baseline.origin != origin {
            return Err(Rejection::OtherOrigin(name.clone()));
        }
        let version = match baseline.last() {
            Some((version, last)) if last.index == snapshot.index => {
                return Ok((self.clone(), version));
            }
            last => last.map_or(0, |(version, _)| version) + 1,
        };
        baseline.snapshots.insert(version, snapshot);
        while baseline.snapshots.len() > MAX_SNAPSHOTS {
            baseline.snapshots.pop_first();
        }
        next.version += 1;
        Ok((next, version))
    }

    /// This set without `name`.
    ///
    /// # Errors
    /// Why not.
    pub fn remove(&self, name: &BaselineName, mesh: &crate::node::Mesh) -> Result<Self, Rejection> {
        let user = mesh.groups.values().find(|group| group.baseline.as_ref() == Some(name));
        if let Some(group) = user {
            let group = group.name.clone();
            return Err(Rejection::InUse { baseline: name.clone(), group });
        }
        let mut next = self.clone();
        next.baselines.remove(name).ok_or_else(|| Rejection::Unknown(name.clone()))?;
        next.version += 1;
        Ok(next)
    }
}

/// What differs between two snapshots for one package and architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference<'a> {
    /// The package.
    pub name: &'a str,
    /// Its architecture.
    pub architecture: &'a str,
    /// Its versions in the first snapshot.
    pub before: BTreeSet<&'a str>,
    /// Its versions in the second.
    pub after: BTreeSet<&'a str>,
}

/// Every package whose versions are not the same in `a` and `b`, in order.
#[must_use]
pub fn diff<'a>(a: &'a Packages, b: &'a Packages) -> Vec<Difference<'a>> {
    type Versions<'a> = BTreeMap<(&'a str, &'a str), [BTreeSet<&'a str>; 2]>;
    let mut versions = Versions::new();
    for (side, packages) in [a, b].into_iter().enumerate() {
        for id in packages.keys() {
            let both = versions.entry((&id.name, &id.architecture)).or_default();
            both[side].insert(&id.version);
        }
    }
    versions
        .into_iter()
        .filter(|(_, [before, after])| before != after)
        .map(|((name, architecture), [before, after])| Difference {
            name,
            architecture,
            before,
            after,
        })
        .collect()
}

/// What a dpkg status file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// What is installed.
    pub packages: Packages,
    /// Stanzas of what is not.
    pub skipped: u64,
}

/// Why a text is no status of dpkg.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatusError {
    /// A stanza that lacks a field.
    #[error("paragraph {paragraph} of the status file has no {field}; is it /var/lib/dpkg/status?")]
    Field {
        /// Counted from 1.
        paragraph: usize,
        /// The field.
        field: &'static str,
    },
    /// Nothing is installed.
    #[error("the status file names no installed package; is it /var/lib/dpkg/status?")]
    Empty,
    /// More packages than any machine has.
    #[error("the status file names more than {MAX_PACKAGES} packages")]
    Many,
}

/// Reads the status file of dpkg.
///
/// # Errors
/// It is none.
pub fn read_status(text: &str) -> Result<Status, StatusError> {
    let mut status = Status::default();
    let stanzas = text.split("\n\n").map(str::trim_end).filter(|stanza| !stanza.trim().is_empty());
    for (index, stanza) in stanzas.enumerate() {
        let get = |name| field(stanza, name).unwrap_or_default();
        let need = |name| match field(stanza, name) {
            Some(value) if !value.is_empty() => Ok(value.to_owned()),
            _ => Err(StatusError::Field { paragraph: index + 1, field: name }),
        };
        let name = need("Package")?;
        if need("Status")?.split_whitespace().nth(2) != Some("installed") {
            status.skipped += 1;
            continue;
        }
        let id = PackageId { name, version: need("Version")?, architecture: need("Architecture")? };
        let package = Package {
            multi_arch: get("Multi-Arch").to_owned(),
            provides: get("Provides").to_owned(),
            depends: [get("Pre-Depends"), get("Depends")]
                .iter()
                .filter(|one| !one.is_empty())
                .copied()
                .collect::<Vec<_>>()
                .join(", "),
            breaks: get("Breaks").to_owned(),
            conflicts: get("Conflicts").to_owned(),
            revision: String::new(),
        };
        if status.packages.len() == MAX_PACKAGES {
            return Err(StatusError::Many);
        }
        status.packages.insert(id, package);
    }
    if status.packages.is_empty() { Err(StatusError::Empty) } else { Ok(status) }
}

/// The packages of a revision, as a release has them.
pub fn packages_of(revision: &Revision) -> impl Iterator<Item = (PackageId, Package)> + '_ {
    let id = revision.id.to_string();
    let prefix = format!("{}:{}/", revision.id.update.source, revision.id.update.suite);
    let short = id.strip_prefix(&prefix).unwrap_or(&id).to_owned();
    let packages = revision.payloads.iter().filter(|payload| !payload.control.is_empty());
    packages.map(move |payload| {
        let get = |name| field(&payload.control, name).unwrap_or_default().to_owned();
        let id = PackageId {
            name: payload.package.clone(),
            version: payload.version.clone(),
            architecture: payload.architecture.clone(),
        };
        let package = Package {
            multi_arch: get("Multi-Arch"),
            provides: get("Provides"),
            depends: String::new(),
            breaks: get("Breaks"),
            conflicts: get("Conflicts"),
            revision: short.clone(),
        };
        (id, package)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::name::NodeName;
    use crate::node::Mesh;

    fn snapshot(text: &str) -> Snapshot {
        let index = DocumentRef { digest: Digest::of(text.as_bytes()), length: 1 };
        Snapshot { taken_at: Timestamp::UNIX_EPOCH, by: "ada".to_owned(), packages: 1, index }
    }

    fn name(text: &str) -> BaselineName {
        text.parse().expect("a name")
    }

    #[test]
    fn a_snapshot_of_the_same_packages_is_none() {
        let set = BaselineSet::default();
        let (set, one) = set.add(&name("b"), Origin::Installed, snapshot("x")).expect("added");
        let (same, again) = set.add(&name("b"), Origin::Installed, snapshot("x")).expect("added");
        assert_eq!((one, again, &same), (1, 1, &set));
        let (set, two) = set.add(&name("b"), Origin::Installed, snapshot("y")).expect("added");
        assert_eq!((two, set.version), (2, 2));
        let other = Origin::Release { source: "s".parse().expect("a name"), suite: "x".to_owned() };
        let refused = set.add(&name("b"), other, snapshot("z"));
        assert_eq!(refused, Err(Rejection::OtherOrigin(name("b"))));
    }

    #[test]
    fn old_snapshots_and_endless_baselines_are_bounded() {
        let mut set = BaselineSet::default();
        for number in 0..MAX_SNAPSHOTS + 3 {
            let text = number.to_string();
            set = set.add(&name("b"), Origin::Installed, snapshot(&text)).expect("added").0;
        }
        let baseline = &set.baselines[&name("b")];
        assert_eq!(baseline.snapshots.len(), MAX_SNAPSHOTS);
        assert_eq!(baseline.last().map(|(version, _)| version), Some(MAX_SNAPSHOTS as u64 + 3));
        for number in 1..MAX_BASELINES {
            let other = name(&format!("b{number}"));
            set = set.add(&other, Origin::Installed, snapshot("x")).expect("added").0;
        }
        let refused = set.add(&name("more"), Origin::Installed, snapshot("x"));
        assert_eq!(refused, Err(Rejection::TooMany));
    }

    #[test]
    fn what_a_group_has_is_not_removed() {
        let key = crate::digest::Sha256::from_bytes([1; 32]);
        let node: NodeName = "hq".parse().expect("a name");
        let site = "emea".parse().expect("a site");
        let url = "https://hq:1".to_owned();
        let mut mesh =
            Mesh::found("m".to_owned(), "M".to_owned(), node, site, url, key).expect("a mesh");
        let set = BaselineSet::default();
        let (set, _) = set.add(&name("b"), Origin::Installed, snapshot("x")).expect("added");
        assert!(set.remove(&name("b"), &mesh).expect("removed").baselines.is_empty());
        assert_eq!(set.remove(&name("c"), &mesh), Err(Rejection::Unknown(name("c"))));
        let group = mesh.groups.values_mut().next().expect("a group");
        group.baseline = Some(name("b"));
        assert!(matches!(set.remove(&name("b"), &mesh), Err(Rejection::InUse { .. })));
    }

    #[test]
    fn differences_are_by_package_and_architecture() {
        let packages = |list: &[(&str, &str)]| -> Packages {
            list.iter()
                .map(|(name, version)| {
                    let id = PackageId {
                        name: (*name).to_owned(),
                        architecture: "amd64".to_owned(),
                        version: (*version).to_owned(),
                    };
                    (id, Package::default())
                })
                .collect()
        };
        let (a, b) = (packages(&[("x", "1"), ("y", "1")]), packages(&[("x", "2"), ("y", "1")]));
        let found = diff(&a, &b);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name, found[0].before.len(), found[0].after.len()), ("x", 1, 1));
        assert!(diff(&a, &a).is_empty());
    }

    #[test]
    fn a_status_file_is_read_and_another_text_refused() {
        let text = "Package: a\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\
                    Depends: b,\n c\nPre-Depends: d\n\nPackage: gone\n\
                    Status: deinstall ok config-files\nVersion: 1\nArchitecture: all\n\n\n";
        let status = read_status(text).expect("a status");
        assert_eq!((status.packages.len(), status.skipped), (1, 1));
        let package = status.packages.values().next().expect("a package");
        assert_eq!(package.depends, "d, b,\n c");
        assert_eq!(read_status(""), Err(StatusError::Empty));
        let cut = &text[..40];
        let refused = read_status(cut);
        assert!(matches!(refused, Err(StatusError::Field { paragraph: 1, .. })), "{refused:?}");
        assert!(read_status("<html>no</html>").is_err());
    }
}
