//! What is known of a machine, read from its own files, all below one root
//! folder: `/`, or a system that is unpacked elsewhere.
//!
//! What always holds: nothing outside the root is read, whatever links say; no
//! file is read beyond its bound; nothing is written. What is not there is left
//! out of the facts, and what is there and cannot be understood is an error. So is a
//! list of packages that lacks what has to be in it: that nothing is there is never
//! said of a machine whose list was lost.

mod dpkg;
mod files;
#[cfg(all(test, feature = "server"))]
mod fuzz;
pub mod listing;
pub(super) mod rooted;
pub(super) mod rpm;
mod services;
mod sessions;
mod stated;
mod system;

pub use listing::Listing;
pub use sessions::{boot, people};

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use patchmesh_topology::applicability::inventory::{Format, Inventory, Package};
use patchmesh_topology::applicability::rule::Rule;

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
    /// A list that names nothing, beside files of what was unpacked.
    #[error(
        "{} is empty or gone, though var/lib/dpkg/info has the files of packages: put it back, such as from /var/backups/dpkg.status.0", .0.display()
    )]
    Lost(PathBuf),
    /// A list in which its manager's own package was, and is not any more.
    #[error(
        "the list of {format} packages does not have {package} any more, which no machine with such packages is without: put the list back from a backup"
    )]
    NotWhole {
        /// Whose list.
        format: Format,
        /// The package.
        package: &'static str,
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

/// Packages that their managers come in: each list has its own, wherever one is worked with.
const MANAGERS: [(Format, &str); 2] = [(Format::Deb, "dpkg"), (Format::Rpm, "rpm")];

/// The formats, as rules write them, whose lists have their manager's own package. `known`
/// had it before.
///
/// # Errors
/// [`Error::NotWhole`] where one of `known` has it no more.
pub fn managers(
    inventory: &Inventory,
    known: &BTreeSet<String>,
) -> Result<BTreeSet<String>, Error> {
    let mut found = known.clone();
    for (format, package) in MANAGERS {
        if inventory.instances(format, package).next().is_some() {
            found.insert(format.to_string());
        } else if known.contains(format.as_str()) {
            return Err(Error::NotWhole { format, package });
        }
    }
    Ok(found)
}

/// What a machine that [`gather`] cannot describe says of itself all the same: its system and
/// what its administrator states, as far as these can be read. Blocks.
#[must_use]
pub fn besides(root: &Path) -> Inventory {
    let mut inventory = Inventory::default();
    if let Ok(root) = Root::open(root) {
        // Why the machine is not described is told already.
        let _ = system::release(&root, &mut inventory);
        let _ = stated::read(&root, &mut inventory);
    }
    inventory
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

#[cfg(test)]
mod tests;
