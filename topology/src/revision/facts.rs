//! What a vendor states of a revision beyond its files: what kind of update it
//! is, whom it concerns, what it replaces and how it is installed.
//!
//! Vendors of Debian packages state none of it, so all of it may be absent.
//! [`Revision::classification`](super::Revision::classification) and
//! [`Revision::supersedes`](super::Revision::supersedes) answer for every kind.

use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;

use super::{Error, RevisionId, UpdateId};
use crate::applicability::Detection;
use crate::node::UnknownWord;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $allowed:literal,
     $($(#[$word_doc:meta])* $word:ident = $text:literal),+ $(,)?) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$word_doc])* $word),+ }

        impl $name {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$word),+];

            /// The word used in manifests, commands and tables.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$word => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or_else(|| {
                    UnknownWord { kind: $kind, text: text.to_owned(), allowed: $allowed }
                })
            }
        }
    };
}

words! {
    /// What kind of update a revision is.
    Classification, "classification",
    "security, critical, rollup, service-pack, feature-pack, definition, driver, application, tool or update",
    /// Mends a vulnerability.
    Security = "security",
    /// Mends a critical fault that is no vulnerability.
    Critical = "critical",
    /// Many updates in one.
    Rollup = "rollup",
    /// All updates of a product up to a date.
    ServicePack = "service-pack",
    /// New functions.
    FeaturePack = "feature-pack",
    /// Data of a scanner, such as virus signatures.
    Definition = "definition",
    /// Makes a device work.
    Driver = "driver",
    /// A product of its own.
    Application = "application",
    /// Helps with a task.
    Tool = "tool",
    /// Anything else.
    Update = "update",
}

words! {
    /// How bad it is not to have a revision. The least comes first, so that
    /// "at least important" is a comparison.
    Severity, "severity", "critical, important, moderate or low",
    /// Hard to exploit, or little gained by it.
    Low = "low",
    /// Mitigated by defaults, or needs a person's help.
    Moderate = "moderate",
    /// Compromises data or availability.
    Important = "important",
    /// Exploited without a person's help: a worm could spread.
    Critical = "critical",
}

words! {
    /// Whether installing restarts the machine.
    Reboot, "reboot behaviour", "unknown, never, possible or required",
    /// Not stated.
    Unknown = "unknown",
    /// Never needed.
    Never = "never",
    /// Depends on the machine.
    Possible = "possible",
    /// Always needed.
    Required = "required",
}

words! {
    /// How the files of a revision are installed.
    InstallerKind, "kind of installer", "command, rpm or files",
    /// By a command of the vendor's.
    Command = "command",
    /// They are packages for rpm.
    Rpm = "rpm",
    /// They are put in the place of others, each at its path.
    Files = "files",
}

/// Names an update, or one version of it: `SOURCE:SUITE/NAME[@VERSION]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// The update.
    pub update: UpdateId,
    /// The version; `None` for every version. All releases (`#N`) of a
    /// version are meant.
    pub version: Option<String>,
}

impl Reference {
    /// Whether `revision` is meant.
    #[must_use]
    pub fn matches(&self, revision: &RevisionId) -> bool {
        self.update == revision.update
            && self.version.as_ref().is_none_or(|version| *version == revision.version)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            None => self.update.fmt(f),
            Some(version) => write!(f, "{}@{version}", self.update),
        }
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if !text.contains('@') {
            return Ok(Self { update: text.parse()?, version: None });
        }
        let id: RevisionId = text.parse()?;
        Ok(Self { update: id.update.clone(), version: Some(id.version.clone()) })
    }
}

/// How an installer is called, what its exit codes mean, and how to undo it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installer {
    /// What it is; what follows is for commands.
    pub kind: InstallerKind,
    /// The program and its arguments; `{payload}` stands for the path of the
    /// revision's file.
    pub install: Vec<String>,
    /// Likewise, to remove it; empty where it can't be removed.
    pub remove: Vec<String>,
    /// Exit codes that mean success; none: only 0.
    pub success: Vec<i32>,
    /// Exit codes that mean success, but restart the machine.
    pub reboot: Vec<i32>,
    /// Exit codes after which trying again later may help.
    pub retry: Vec<i32>,
    /// After this it is ended and has failed; `None`: the machine's own limit.
    pub time_limit: Option<SignedDuration>,
}

impl Default for Installer {
    fn default() -> Self {
        Self {
            kind: InstallerKind::Command,
            install: Vec::new(),
            remove: Vec::new(),
            success: Vec::new(),
            reboot: Vec::new(),
            retry: Vec::new(),
            time_limit: None,
        }
    }
}

/// What a vendor states of a revision beyond its files. Every list is sorted
/// and has nothing twice, but an installer's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What kind of update it is.
    pub classification: Option<Classification>,
    /// The vendor's own rating.
    pub severity: Option<Severity>,
    /// Products that it is for, such as `windows-11-23h2`; none: not stated.
    pub products: Vec<String>,
    /// Languages that it is for, as BCP 47 tags; none: every language.
    pub languages: Vec<String>,
    /// Vulnerabilities that it mends, such as `CVE-2024-21338`.
    pub cves: Vec<String>,
    /// The vendor's articles about it, such as `KB5034441`.
    pub articles: Vec<String>,
    /// What it contains or replaces.
    pub supersedes: Vec<Reference>,
    /// What has to be installed before.
    pub prerequisites: Vec<Reference>,
    /// How it is installed, where that isn't plain from the file.
    pub installer: Option<Installer>,
    /// Whether installing restarts the machine.
    pub reboot: Reboot,
    /// Set where nobody signed what the vendor states.
    pub unsigned: bool,
    /// How to tell whether it is needed and installed, where that isn't plain
    /// from its packages.
    pub detection: Option<Detection>,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            classification: None,
            severity: None,
            products: Vec::new(),
            languages: Vec::new(),
            cves: Vec::new(),
            articles: Vec::new(),
            supersedes: Vec::new(),
            prerequisites: Vec::new(),
            installer: None,
            reboot: Reboot::Unknown,
            unsigned: false,
            detection: None,
        }
    }
}

impl Facts {
    /// Whether nothing is stated.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Every statement as texts in a fixed order, for the fingerprint. Lists
    /// carry their own lengths, so that no two statements look alike.
    pub(super) fn texts(&self) -> Vec<Vec<String>> {
        let Self {
            classification,
            severity,
            products,
            languages,
            cves,
            articles,
            supersedes,
            prerequisites,
            installer,
            reboot,
            unsigned,
            detection,
        } = self;
        let word = |word: Option<&'static str>| word.map(str::to_owned).into_iter().collect();
        let names = |list: &[Reference]| list.iter().map(ToString::to_string).collect();
        let mut texts: Vec<Vec<String>> = vec![
            word(classification.map(Classification::as_str)),
            word(severity.map(Severity::as_str)),
            products.clone(),
            languages.clone(),
            cves.clone(),
            articles.clone(),
            names(supersedes),
            names(prerequisites),
            vec![reboot.to_string()],
            vec![unsigned.to_string()],
        ];
        if let Some(installer) = installer {
            let codes = |codes: &[i32]| codes.iter().map(ToString::to_string).collect();
            texts.extend([
                installer.install.clone(),
                installer.remove.clone(),
                codes(&installer.success),
                codes(&installer.reboot),
                codes(&installer.retry),
                installer.time_limit.iter().map(|one| one.as_millis().to_string()).collect(),
            ]);
            // Commands keep the digest that they always had.
            if installer.kind != InstallerKind::Command {
                texts.push(vec!["kind".to_owned(), installer.kind.to_string()]);
            }
        }
        if let Some(Detection { applies, installed }) = detection {
            let applies = applies.iter().map(ToString::to_string);
            let installed = installed.as_ref().map(ToString::to_string).unwrap_or_default();
            texts.push(std::iter::once(installed).chain(applies).collect());
        }
        texts
    }
}
