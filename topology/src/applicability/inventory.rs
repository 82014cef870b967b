//! What is known of a machine.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use crate::debian::Relations;
use crate::digest::Sha256;
use crate::revision::RevisionId;
use crate::subscription::{EVERY_ARCHITECTURE, are_related};
use crate::{debian, rpm};

/// What is known of a machine: plain facts, gathered elsewhere. A list that is
/// empty says that nobody knows, but for packages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    /// The operating system, such as `debian`; empty where nobody knows.
    pub os: String,
    /// Its version, such as `12`; empty where it has none.
    pub os_version: String,
    /// As dpkg, rpm or the vendor write them; what the machine is built for comes first.
    pub architectures: Vec<String>,
    /// BCP 47 tags.
    pub languages: Vec<String>,
    /// Such as `debian-12` or `windows-11-23h2`, sorted.
    pub products: Vec<String>,
    /// Services that begin with the system, without `.service`, sorted.
    pub services: Vec<String>,
    /// Packages by name.
    pub packages: BTreeMap<String, Vec<Package>>,
    /// Files that somebody looked for, by path as a rule writes it.
    pub files: BTreeMap<String, FoundFile>,
    /// Files that were put in the place of others, by path, and for which revision last.
    pub placed: BTreeMap<String, RevisionId>,
    /// The registry; `None` on machines without one.
    pub registry: Option<Registry>,
    /// What the machine's administrator states of it, by name.
    pub facts: BTreeMap<String, String>,
    /// Whether it has to restart before something that was installed counts.
    pub reboot_needed: bool,
}

/// Values by key, then by name, of keys that somebody looked for. A key that is
/// not there has `None`.
pub type Registry = BTreeMap<String, Option<BTreeMap<String, String>>>;

/// Who manages a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// dpkg
    Deb,
    /// rpm
    Rpm,
}

/// A package that is on a machine, for one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Who manages it.
    pub format: Format,
    /// Its architecture, or `all` or `noarch`.
    pub architecture: String,
    /// Its version.
    pub version: String,
    /// What is wrong with it, in the manager's words, such as `half-configured`;
    /// empty where nothing is.
    pub fault: String,
    /// Whether the administrator keeps it as it is.
    pub held: bool,
    /// What it says of other packages; nothing is known of that but for dpkg's.
    pub relations: Relations,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundFile {
    /// Nothing.
    Absent,
    /// A file.
    Present {
        /// The version that it states, where it states one.
        version: Option<String>,
        /// Its content; `None` where that was not read.
        sha256: Option<Sha256>,
    },
    /// Nobody could look.
    Unreadable(String),
}

impl Format {
    /// As rules write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deb => "deb",
            Self::Rpm => "rpm",
        }
    }

    /// Compares versions as its packages are compared.
    #[must_use]
    pub fn compare(self, a: &str, b: &str) -> Ordering {
        match self {
            Self::Deb => debian::version::compare(a, b),
            Self::Rpm => rpm::version::compare(a, b),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Inventory {
    /// The instances of a package of one format.
    pub fn instances(&self, format: Format, name: &str) -> impl Iterator<Item = &Package> {
        let all = self.packages.get(name).map(Vec::as_slice).unwrap_or_default();
        all.iter().filter(move |one| one.format == format)
    }

    /// Whether what is built for an architecture is for the machine; so is all where
    /// it does not know its own.
    #[must_use]
    pub fn runs(&self, architecture: &str) -> bool {
        self.architectures.is_empty()
            || EVERY_ARCHITECTURE.contains(&architecture)
            || self.architectures.iter().any(|own| own == architecture)
    }

    /// Whether what is in a language is for the machine; so is all where it does not
    /// know its own.
    #[must_use]
    pub fn speaks(&self, language: &str) -> bool {
        self.languages.is_empty() || self.languages.iter().any(|own| are_related(own, language))
    }

    /// How many packages there are, each architecture for itself.
    #[must_use]
    pub fn package_count(&self) -> usize {
        self.packages.values().map(Vec::len).sum()
    }
}
