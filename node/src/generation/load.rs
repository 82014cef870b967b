//! From trusted metadata to a [`Generation`]: which documents it needs, and
//! what they say together.
//!
//! Loading is a pure function of the metadata and of the documents at hand.
//! Where documents lack it names them, all that are known of at once; the
//! caller fetches them and loads again. The same code runs at start-up, after
//! each synchronisation and on what the primary has just written.

mod loader;
mod revisions;
mod staged;
mod views;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use patchmesh_proto::document::{self, Document};
use patchmesh_proto::{convert, set, wire};
use patchmesh_topology::name::NodeName;
use patchmesh_topology::node::Stage;
use patchmesh_topology::revision::{CatalogueEntry, DocumentRef, Revision, RevisionId};

use super::{Generation, RoleFact, Target};
use crate::store;
use crate::tuf::{self, Limits, TargetPath, TrustedMetadata};

use loader::Loader;

pub use staged::Staged;

/// Longest document, index files of views included. Documents are held in
/// memory until their generation is whole, so a signature must not promise
/// more than a node has; the largest distributions' indices have some 60 MiB.
const MAX_DOCUMENT: u64 = 256 << 20;

/// Why a generation cannot be loaded.
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
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] store::Error),
}

/// What loading came to.
#[derive(Debug)]
pub enum Loaded {
    /// Everything is there.
    Whole(Box<Generation>),
    /// These documents are needed first; there may be more behind them.
    Lacking(Vec<DocumentRef>),
}

/// Loads the generation that `trusted` signs, as far as `node` needs it.
/// What `previous` has under the same names is taken from there.
///
/// # Errors
/// What is signed but cannot be used. Documents that merely lack are not an
/// error but [`Loaded::Lacking`].
pub fn load(
    trusted: &TrustedMetadata,
    node: &NodeName,
    staged: &Staged,
    previous: Option<&Generation>,
) -> Result<Loaded, Error> {
    let targets = targets(trusted)?;
    let mut loader = Loader::new(staged, previous, &targets);
    let generation = loader.generation(trusted, node)?;
    let lacking = loader.into_lacking();
    if let Some(long) = lacking.iter().find(|one| one.length > MAX_DOCUMENT) {
        return Err(Error::TooLong { length: long.length });
    }
    match generation {
        Some(generation) if lacking.is_empty() => {
            Ok(Loaded::Whole(Box::new(Generation { targets, ..generation })))
        }
        _ => Ok(Loaded::Lacking(lacking)),
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

/// What each signed name leads to.
fn targets(trusted: &TrustedMetadata) -> Result<BTreeMap<String, Target>, Error> {
    let mut found = BTreeMap::new();
    for path in trusted.all_targets().flat_map(|(_, targets)| targets.targets.keys()) {
        if found.contains_key(path.as_str()) {
            continue;
        }
        if let Some(target) = target(trusted, path)? {
            found.insert(path.to_string(), target);
        }
    }
    Ok(found)
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

fn roles(trusted: &TrustedMetadata) -> Vec<RoleFact> {
    let fact = |role: &str, header: &crate::tuf::metadata::Header| RoleFact {
        role: role.to_owned(),
        version: header.version(),
        expires_at: header.expires(),
    };
    let mut roles = vec![fact("root", &trusted.root().header)];
    roles.extend(trusted.timestamp().map(|one| fact("timestamp", &one.header)));
    roles.extend(trusted.snapshot().map(|one| fact("snapshot", &one.header)));
    roles.extend(trusted.all_targets().map(|(role, one)| fact(role.as_str(), &one.header)));
    roles.sort_by(|a, b| a.role.cmp(&b.role));
    roles
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
