//! What vendors release.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use crate::digest::{Digest, Sha256};
use crate::name::SourceName;

/// Names one revision: `SOURCE:SUITE/NAME@VERSION`, with `#N` behind it for
/// the N-th content that a vendor released under one version (N ≥ 2).
///
/// Example: `debian-security:bookworm-security/openssl@3.0.15-1~deb12u1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevisionId {
    /// The update that this is a revision of.
    pub update: UpdateId,
    /// The vendor's version, never empty.
    pub version: String,
    /// 1 for the first content under this version.
    pub release: u32,
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

impl FromStr for RevisionId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let form = || Error::Form(text.to_owned());
        let (source, rest) = text.split_once(':').ok_or_else(form)?;
        let (path, tail) = rest.rsplit_once('@').ok_or_else(form)?;
        let (suite, name) = path.rsplit_once('/').ok_or_else(form)?;
        let (version, release) = match tail.split_once('#') {
            None => (tail, 1),
            Some((version, digits)) => match digits.parse::<u32>() {
                Ok(number) if number >= 2 && number.to_string() == digits => (version, number),
                _ => return Err(Error::Release(text.to_owned())),
            },
        };
        if [suite, name, version].iter().any(|part| part.is_empty() || part.chars().any(char::is_whitespace)) {
            return Err(form());
        }
        Ok(RevisionId {
            update: UpdateId {
                source: source
                    .parse()
                    .map_err(|source| Error::Source { text: text.to_owned(), source })?,
                suite: suite.to_owned(),
                name: name.to_owned(),
            },
            version: version.to_owned(),
            release,
        })
    }
}
