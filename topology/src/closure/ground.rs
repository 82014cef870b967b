//! A baseline made ready for judging.

use std::collections::{BTreeMap, BTreeSet};

use crate::baseline::{Origin, Packages};
use crate::debian::{Relations, both};

/// A package of the baseline; relations as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) architecture: String,
    pub(super) relations: Relations,
}

/// What the machines of a group have, or can get elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ground {
    is_installed: bool,
    natives: BTreeSet<String>,
    packages: Vec<Standing>,
}

impl Ground {
    /// The packages of a snapshot. Of installed ones the most frequent
    /// architecture is the machines' own; of a release each is somebody's.
    #[must_use]
    pub fn new(origin: &Origin, packages: &Packages) -> Self {
        let is_installed = *origin == Origin::Installed;
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for id in packages.keys().filter(|id| id.architecture != "all") {
            *counts.entry(&id.architecture).or_default() += 1;
        }
        let natives = if is_installed {
            let most = counts.iter().max_by_key(|(_, count)| **count);
            most.map(|(name, _)| (*name).to_owned()).into_iter().collect()
        } else {
            counts.keys().map(|name| (*name).to_owned()).collect()
        };
        let packages = packages
            .iter()
            .map(|(id, package)| Standing {
                name: id.name.clone(),
                version: id.version.clone(),
                architecture: id.architecture.clone(),
                relations: Relations {
                    depends: package.depends.clone(),
                    negatives: both(&package.breaks, &package.conflicts),
                    provides: package.provides.clone(),
                    is_allowed: package.multi_arch == "allowed",
                },
            })
            .collect();
        Self { is_installed, natives, packages }
    }

    /// The architectures of machines that have these packages.
    pub fn natives(&self) -> impl Iterator<Item = &str> {
        self.natives.iter().map(String::as_str)
    }

    /// Whether machines have these packages, rather than can get them.
    pub(super) fn is_installed(&self) -> bool {
        self.is_installed
    }

    /// The packages that a machine of `architecture` has.
    pub(super) fn on<'a>(&'a self, architecture: &'a str) -> impl Iterator<Item = &'a Standing> {
        self.packages
            .iter()
            .filter(move |one| one.architecture == architecture || one.architecture == "all")
    }
}
