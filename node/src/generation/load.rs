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

use patchmesh_topology::name::NodeName;
use patchmesh_topology::revision::DocumentRef;

use super::{Generation, RoleFact};
use crate::signed::document::{MAX_DOCUMENT, Target, target};
use crate::store;
use crate::tuf::TrustedMetadata;

use loader::Loader;

pub use crate::signed::document::Error;
pub use staged::Staged;

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Store(error.into())
    }
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
