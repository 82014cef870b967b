//! One signed document: the name that leads to it, by the word of the role that
//! may sign it, and what its bytes say once they are those that were signed.

use std::sync::Arc;

use bytes::Bytes;
use patchmesh_proto::document::{self, Document};
use patchmesh_proto::{convert, set, wire};
use patchmesh_topology::digest::{Digest, Sha256};
use patchmesh_topology::node::Stage;
use patchmesh_topology::revision::{CatalogueEntry, Revision, RevisionId};

use crate::tuf::{self, Limits, TargetFile, TargetPath, TrustedMetadata};

/// Longest document, index files of views included. Documents are held in
/// memory until their generation is whole, so a signature must not promise
/// more than a node has; the largest distributions' indices have some 60 MiB.
pub(crate) const MAX_DOCUMENT: u64 = 256 << 20;

/// Why what is signed cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The metadata names no such target.
    #[error("the signed metadata names no {0}")]
    NoTarget(String),
    /// A target without the digest that names its document.
    #[error("the signed metadata gives no BLAKE3 digest for {0}")]
    NoDigest(String),
    /// It cannot be told which role a name is delegated to.
    #[error("the signed metadata does not say who may sign {name}")]
    Delegation {
        /// What it is.
        name: String,
        /// Why.
        source: Box<tuf::trusted::Error>,
    },
    /// A document that no node could keep.
    #[error("a document of {length} bytes is signed for; at most {MAX_DOCUMENT} are taken")]
    TooLong {
        /// Its length.
        length: u64,
    },
    /// A document's bytes are not those that were signed.
    #[error("document {0} is not the one that was signed")]
    Mismatch(String),
    /// A document cannot be understood.
    #[error("document {name} cannot be used")]
    Document {
        /// What it is.
        name: String,
        /// Why.
        source: document::Error,
    },
    /// A set cannot be understood.
    #[error("the set {name} cannot be used")]
    Set {
        /// What it is.
        name: String,
        /// Why.
        source: set::Error,
    },
    /// A document contradicts the model.
    #[error("document {name} is not valid")]
    Convert {
        /// What it is.
        name: String,
        /// Why.
        source: convert::Error,
    },
    /// An approval set stands under the name of another stage.
    #[error("the approval set of {0} is signed as that of another stage")]
    Stage(Stage),
    /// What keeps documents failed.
    #[error("the store failed")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A signed name and what it points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// As the TUF metadata states it.
    pub sha256: Sha256,
    /// The document.
    pub digest: Digest,
    /// Bytes.
    pub length: u64,
}

impl Target {
    /// What the metadata says of a file; `None` without both digests.
    #[must_use]
    pub fn of(file: &TargetFile) -> Option<Self> {
        Some(Self {
            sha256: file.hashes.file_prefix()?.parse().ok()?,
            digest: Digest::from_bytes(file.blake3()?),
            length: file.length,
        })
    }
}

/// The revision that a catalogue entry names, out of its document's bytes.
///
/// # Errors
/// A document that cannot be used or is of another revision.
pub fn revision(
    id: &RevisionId,
    entry: &CatalogueEntry,
    bytes: Option<Bytes>,
) -> Result<Option<Arc<Revision>>, Error> {
    let Some(bytes) = bytes else { return Ok(None) };
    let name = || format!("revision {id}");
    let revision: Revision = decode::<wire::Revision, _>(&name(), &bytes)?;
    if revision.id != *id || bytes.len() as u64 != entry.document.length {
        return Err(Error::Mismatch(name()));
    }
    Ok(Some(Arc::new(revision)))
}

/// A document's message as the model has it.
pub(crate) fn decode<W, M>(name: &str, bytes: &Bytes) -> Result<M, Error>
where
    W: Document,
    M: TryFrom<W, Error = convert::Error>,
{
    let message: W = document::decode(bytes)
        .map_err(|source| Error::Document { name: name.to_owned(), source })?;
    M::try_from(message).map_err(|source| Error::Convert { name: name.to_owned(), source })
}

/// What a signed name leads to, by the word of the role that it is delegated to.
/// What another role says of it does not count: else the theft of any key would
/// be the theft of all.
pub(crate) fn target(
    trusted: &TrustedMetadata,
    path: &TargetPath,
) -> Result<Option<Target>, Error> {
    let found = trusted
        .find(path, Limits::default().delegations)
        .map_err(|source| Error::Delegation { name: path.to_string(), source: Box::new(source) })?;
    let target = |(_, file)| Target::of(file).ok_or_else(|| Error::NoDigest(path.to_string()));
    found.map(target).transpose()
}
