//! What vendors release.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;

use crate::applicability::inventory::Format;
use crate::digest::{Digest, Sha256};
use crate::name::SourceName;
use crate::view::MAX_PATH;

pub mod facts;
pub mod place;

pub use facts::{Classification, Facts, Installer, InstallerKind, Reboot, Reference, Severity};
pub use place::Place;

/// Names one revision: `SOURCE:SUITE/NAME@VERSION`, with `#N` behind it for
/// the N-th content that a vendor released under one version (N ≥ 2).
///
/// Example: `debian-security:bookworm-security/openssl@3.0.15-1~deb12u1`.
///
/// Cheap to clone: every node keeps maps of all revisions, and each generation
/// has its own of those that changed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevisionId(Arc<RevisionParts>);

/// What a [`RevisionId`] is made of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevisionParts {
    /// The update that this is a revision of.
    pub update: UpdateId,
    /// The vendor's version, never empty.
    pub version: String,
    /// 1 for the first content under this version.
    pub release: u32,
}

impl Deref for RevisionId {
    type Target = RevisionParts;

    fn deref(&self) -> &RevisionParts {
        &self.0
    }
}

impl From<RevisionParts> for RevisionId {
    fn from(parts: RevisionParts) -> Self {
        Self(Arc::new(parts))
    }
}

impl fmt::Debug for RevisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names what a vendor releases again and again: `SOURCE:SUITE/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpdateId {
    /// Where it comes from.
    pub source: SourceName,
    /// The vendor's suite, such as `bookworm-security`.
    pub suite: String,
    /// The vendor's name for it; for apt the source package.
    pub name: String,
}

/// One vendor file of a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// Binary package name.
    pub package: String,
    /// The binary's own version; may differ from the revision's.
    pub version: String,
    /// `amd64`, `all`, …
    pub architecture: String,
    /// The vendor's component, such as `main`.
    pub component: String,
    /// The vendor's path of the file below the repository's base.
    pub filename: String,
    /// Bytes.
    pub length: u64,
    /// The vendor's own hash.
    pub sha256: Sha256,
    /// The vendor's index stanza, verbatim, without the fields that say where
    /// the file lies and what it hashes to (`Filename`, `Size`, hashes).
    pub control: String,
    /// The language that the file is for, as a BCP 47 tag; empty: every one.
    pub language: String,
    /// Where it goes, where it is put in the place of others.
    pub place: Option<Box<Place>>,
}

/// One version of something a vendor released. Never edited: a changed
/// re-release is another revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Its name.
    pub id: RevisionId,
    /// One line for people.
    pub title: String,
    /// A few lines for people.
    pub description: String,
    /// Architectures that its payloads have, sorted.
    pub architectures: Vec<String>,
    /// Its files, sorted by package, architecture and version.
    pub payloads: Vec<Payload>,
    /// What the vendor states beyond its files.
    pub facts: Facts,
}

/// What a catalogue knows of a revision without opening it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueEntry {
    /// The revision document.
    pub document: DocumentRef,
    /// When the mesh first saw it.
    pub entered_at: Timestamp,
    /// How many revisions of the same update came before it.
    pub ordinal: u32,
    /// [`Revision::fingerprint`]: tells a re-release from what is known
    /// without opening the document.
    pub fingerprint: Digest,
}

/// Names a document by what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentRef {
    /// BLAKE3 of the stored bytes.
    pub digest: Digest,
    /// Bytes.
    pub length: u64,
}

/// The proof that a vendor's payload is a blob of the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// The vendor's hash.
    pub sha256: Sha256,
    /// The blob.
    pub blob: Digest,
    /// Bytes.
    pub length: u64,
}

/// Why a text does not name a revision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text lacks a part.
    #[error("{0:?} is not a revision; write SOURCE:SUITE/NAME@VERSION as `update list` shows it")]
    Form(String),
    /// The source's name is none.
    #[error("revision {text:?} names no source")]
    Source {
        /// The text given.
        text: String,
        /// What is wrong with the source.
        source: crate::name::Error,
    },
    /// A part has a character that would make the name ambiguous.
    #[error(
        "{part} {text:?} of a revision is empty or has a blank, a control character or {forbidden}"
    )]
    Part {
        /// Which part.
        part: &'static str,
        /// The text given.
        text: String,
        /// What this part cannot have.
        forbidden: &'static str,
    },
    /// `#N` is not a number of at least 2.
    #[error("in revision {0:?}, what follows '#' must be a number from 2 up")]
    Release(String),
}

impl fmt::Display for UpdateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.source, self.suite, self.name)
    }
}

impl fmt::Display for RevisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.update, self.version)?;
        if self.release > 1 { write!(f, "#{}", self.release) } else { Ok(()) }
    }
}

impl UpdateId {
    /// An update's name from its parts.
    ///
    /// # Errors
    /// [`Error::Part`] for a suite or name that could not be read back.
    pub fn new(source: SourceName, suite: &str, name: &str) -> Result<Self, Error> {
        check_part("suite", suite, "a '@'", |c| c == '@')?;
        check_part("name", name, "a '/' or '@'", |c| matches!(c, '/' | '@'))?;
        Ok(Self { source, suite: suite.to_owned(), name: name.to_owned() })
    }
}

impl FromStr for UpdateId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let form = || Error::Form(text.to_owned());
        let (source, path) = text.split_once(':').ok_or_else(form)?;
        let (suite, name) = path.rsplit_once('/').ok_or_else(form)?;
        let source =
            source.parse().map_err(|source| Error::Source { text: text.to_owned(), source })?;
        Self::new(source, suite, name)
    }
}

impl RevisionId {
    /// The name of the first content released under `version`.
    ///
    /// # Errors
    /// [`Error::Part`] for a version that could not be read back.
    pub fn new(update: UpdateId, version: &str) -> Result<Self, Error> {
        check_part("version", version, "a '@' or '#'", |c| matches!(c, '@' | '#'))?;
        Ok(RevisionParts { update, version: version.to_owned(), release: 1 }.into())
    }

    /// The name of another content released under the same version.
    #[must_use]
    pub fn with_release(&self, release: u32) -> Self {
        RevisionParts { release, ..RevisionParts::clone(self) }.into()
    }
}

impl FromStr for RevisionId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (update, tail) = text.rsplit_once('@').ok_or_else(|| Error::Form(text.to_owned()))?;
        let (version, release) = match tail.split_once('#') {
            None => (tail, 1),
            Some((version, digits)) => match digits.parse::<u32>() {
                Ok(number) if number >= 2 && number.to_string() == digits => (version, number),
                _ => return Err(Error::Release(text.to_owned())),
            },
        };
        let first = Self::new(update.parse()?, version)?;
        Ok(if release == 1 { first } else { first.with_release(release) })
    }
}

fn check_part(
    part: &'static str,
    text: &str,
    forbidden: &'static str,
    is_forbidden: impl Fn(char) -> bool,
) -> Result<(), Error> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || is_forbidden(c);
    if text.is_empty() || text.chars().any(bad) {
        return Err(Error::Part { part, text: text.to_owned(), forbidden });
    }
    Ok(())
}

impl Revision {
    /// A digest of all that the vendor stated, the release number left out:
    /// equal for two revisions if and only if nothing changed between them.
    /// The catalogue keeps it, so how it is computed never changes.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        let Revision { id, title, description, architectures, payloads, facts } = self;
        let RevisionParts { update, version, release: _ } = &**id;
        let mut hasher = blake3::Hasher::new_derive_key("patchmesh revision fingerprint v1");
        for text in
            [update.source.as_str(), &update.suite, &update.name, version, title, description]
        {
            absorb(&mut hasher, text.as_bytes());
        }
        absorb_count(&mut hasher, architectures.len());
        for architecture in architectures {
            absorb(&mut hasher, architecture.as_bytes());
        }
        absorb_count(&mut hasher, payloads.len());
        for payload in payloads {
            payload.absorb_into(&mut hasher);
        }
        // Revisions without such statements keep the digest that they always had.
        if !facts.is_empty() {
            absorb(&mut hasher, b"facts");
            let texts = facts.texts();
            absorb_count(&mut hasher, texts.len());
            for list in texts {
                absorb_count(&mut hasher, list.len());
                list.iter().for_each(|text| absorb(&mut hasher, text.as_bytes()));
            }
        }
        if payloads.iter().any(|payload| !payload.language.is_empty()) {
            absorb(&mut hasher, b"languages");
            payloads.iter().for_each(|payload| absorb(&mut hasher, payload.language.as_bytes()));
        }
        if payloads.iter().any(|payload| payload.place.is_some()) {
            absorb(&mut hasher, b"places");
            for payload in payloads {
                let texts = payload.place.as_ref().map(|place| place.texts());
                absorb_count(&mut hasher, usize::from(texts.is_some()));
                texts.iter().flatten().for_each(|text| absorb(&mut hasher, text.as_bytes()));
            }
        }
        hasher.finalize().into()
    }

    /// What kind of update it is: as the vendor states it, else by what its
    /// suite is called (`bookworm-security`).
    #[must_use]
    pub fn classification(&self) -> Classification {
        let suite = &self.id.update.suite;
        let is_security = suite.ends_with("-security") || suite.contains("-security/");
        self.facts.classification.unwrap_or(if is_security {
            Classification::Security
        } else {
            Classification::Update
        })
    }

    /// Whether it has packages for a repository, rather than plain files.
    #[must_use]
    pub fn has_packages(&self) -> bool {
        self.payloads.iter().any(|payload| !payload.control.is_empty())
    }

    /// Who manages its files where they are packages.
    #[must_use]
    pub fn format(&self) -> Option<Format> {
        let kind = self.facts.installer.as_ref().map(|one| one.kind);
        match kind {
            _ if self.has_packages() => Some(Format::Deb),
            Some(InstallerKind::Rpm) => Some(Format::Rpm),
            Some(InstallerKind::Command | InstallerKind::Files) | None => None,
        }
    }

    /// Whether its files are put in the place of others.
    #[must_use]
    pub fn is_placed(&self) -> bool {
        self.facts.installer.as_ref().is_some_and(|one| one.kind == InstallerKind::Files)
    }

    /// Whether it states that it contains or replaces `other`.
    #[must_use]
    pub fn supersedes(&self, other: &RevisionId) -> bool {
        self.id != *other && self.facts.supersedes.iter().any(|one| one.matches(other))
    }
}

impl Payload {
    /// By what payloads of a revision are sorted.
    #[must_use]
    pub fn sort_key(&self) -> (&str, &str, &str) {
        (&self.package, &self.architecture, &self.version)
    }

    /// The vendor's name of the file: the last step of its path.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.filename.rsplit('/').next().unwrap_or(&self.filename)
    }

    /// Whether the vendor's path stays below the repository's base. Vendors
    /// may write `./` in front and double a `/`; those lead nowhere else.
    #[must_use]
    pub fn has_inner_filename(&self) -> bool {
        let path = &self.filename;
        let leads_out = path.starts_with('/') || path.split('/').any(|step| step == "..");
        let is_garbled = path.chars().any(|c| c.is_control() || c == '\\');
        !path.is_empty() && path.len() <= MAX_PATH && !leads_out && !is_garbled
    }

    fn absorb_into(&self, hasher: &mut blake3::Hasher) {
        let Payload {
            package,
            version,
            architecture,
            component,
            filename,
            length,
            sha256,
            control,
            // Absorbed beside the facts: see the revision's fingerprint.
            language: _,
            place: _,
        } = self;
        for text in [package, version, architecture, component, filename, control] {
            absorb(hasher, text.as_bytes());
        }
        hasher.update(&length.to_le_bytes());
        hasher.update(sha256.as_bytes());
    }
}

/// Length first, so that no two lists of texts look alike.
fn absorb(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    absorb_count(hasher, bytes.len());
    hasher.update(bytes);
}

fn absorb_count(hasher: &mut blake3::Hasher, count: usize) {
    hasher.update(&(count as u64).to_le_bytes());
}

#[cfg(test)]
mod tests;
