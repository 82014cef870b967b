//! What is known of a machine, read from its own files, all below one root
//! folder: `/`, or a system that is unpacked elsewhere.
//!
//! What always holds: nothing outside the root is read, whatever links say; no
//! file is read beyond its bound; nothing is written. What is not there is left
//! out of the facts, and what is there and cannot be understood is an error.

mod dpkg;
mod files;
#[cfg(all(test, feature = "server"))]
mod fuzz;
mod rooted;
mod rpm;
mod services;
mod sessions;
mod stated;
mod system;

pub use sessions::{boot, people};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use patchmesh_topology::applicability::inventory::{Inventory, Package};
use patchmesh_topology::applicability::rule::Rule;
use patchmesh_topology::digest::Digest;
use serde::Serialize;

use rooted::Root;

/// The most packages of a machine.
const MAX_PACKAGES: usize = 100_000;

/// Files such as os-release(5) have a few hundred bytes.
const MAX_SMALL: u64 = 64 << 10;

/// Why a machine cannot be described.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such folder.
    #[error("cannot use {} as the root of a machine", path.display())]
    Root {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file, below the root.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is longer than it may be.
    #[error("{} has more than {most} bytes, which no such file has", path.display())]
    Long {
        /// The file, below the root.
        path: PathBuf,
        /// The bound.
        most: u64,
    },
    /// A file cannot be understood.
    #[error("{}:{line}: {what}", path.display())]
    Content {
        /// The file, below the root.
        path: PathBuf,
        /// Where, counted from 1.
        line: usize,
        /// What is wrong, and what to do.
        what: String,
    },
    /// More packages than a machine has.
    #[error("{} lists more than {MAX_PACKAGES} packages", .0.display())]
    Many(PathBuf),
    /// There are rpm packages and nobody to ask for them.
    #[error("there is an rpm database, but `rpm` cannot be run: install the package rpm")]
    NoRpm(#[source] std::io::Error),
    /// rpm did not answer.
    #[error("`rpm -qa` failed: {0}")]
    Rpm(String),
    /// It took too long.
    #[error("`rpm -qa` did not end within {} s", .0.as_secs())]
    Slow(Duration),
}

/// Gathers what is known of the machine below `root`, and what `rules` ask of
/// files. Blocks, for some 20 ms and as long as it takes to read those files.
///
/// # Errors
/// What is there and cannot be read or understood.
pub fn gather<'a>(
    root: &Path,
    rules: impl IntoIterator<Item = &'a Rule>,
) -> Result<Inventory, Error> {
    let root = Root::open(root)?;
    let mut inventory =
        Inventory { reboot_needed: system::needs_reboot(&root), ..Inventory::default() };
    system::release(&root, &mut inventory)?;
    inventory.languages = system::languages(&root)?;
    dpkg::read(&root, &mut inventory)?;
    rpm::read(&root, &mut inventory)?;
    inventory.services = services::read(&root)?;
    stated::read(&root, &mut inventory)?;
    inventory.products.sort();
    inventory.products.dedup();
    for rule in rules {
        files::look(&root, rule, &mut inventory);
    }
    Ok(inventory)
}

/// Adds packages, as long as there are not too many.
fn add(
    inventory: &mut Inventory,
    packages: Vec<(String, Package)>,
    from: &Path,
) -> Result<(), Error> {
    if inventory.package_count() + packages.len() > MAX_PACKAGES {
        return Err(Error::Many(from.to_owned()));
    }
    for (name, package) in packages {
        inventory.packages.entry(name).or_default().push(package);
    }
    Ok(())
}

/// An inventory as it is printed and digested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// Such as `debian`.
    pub os: String,
    /// Such as `12`.
    pub os_version: String,
    /// What it is built for comes first.
    pub architectures: Vec<String>,
    /// BCP 47 tags.
    pub languages: Vec<String>,
    /// Such as `debian-12`.
    pub products: Vec<String>,
    /// What begins with the system.
    pub services: Vec<String>,
    /// By name, then as their manager has them.
    pub packages: Vec<ListedPackage>,
    /// What the machine's administrator states.
    pub facts: BTreeMap<String, String>,
    /// Whether it has to restart.
    pub reboot_needed: bool,
}

/// A package as it is printed and digested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedPackage {
    /// Its name.
    pub name: String,
    /// `deb` or `rpm`.
    pub format: &'static str,
    /// Its architecture.
    pub architecture: String,
    /// Its version.
    pub version: String,
    /// What is wrong with it; empty where nothing is.
    pub fault: String,
    /// Whether it is kept as it is.
    pub held: bool,
}

impl From<&Inventory> for Listing {
    fn from(inventory: &Inventory) -> Self {
        let listed = |(name, one): (&String, &Package)| ListedPackage {
            name: name.clone(),
            format: one.format.as_str(),
            architecture: one.architecture.clone(),
            version: one.version.clone(),
            fault: one.fault.clone(),
            held: one.held,
        };
        let packages = inventory
            .packages
            .iter()
            .flat_map(|(name, all)| all.iter().map(move |one| (name, one)));
        Self {
            os: inventory.os.clone(),
            os_version: inventory.os_version.clone(),
            architectures: inventory.architectures.clone(),
            languages: inventory.languages.clone(),
            products: inventory.products.clone(),
            services: inventory.services.clone(),
            packages: packages.map(listed).collect(),
            facts: inventory.facts.clone(),
            reboot_needed: inventory.reboot_needed,
        }
    }
}

impl Listing {
    /// A digest of all of it: equal digests, equal inventories.
    #[must_use]
    pub fn digest(&self) -> Digest {
        // Texts, numbers and lists always become JSON.
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
