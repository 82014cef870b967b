//! Trusting again what an earlier run trusted, without asking anybody.
//!
//! Expiry stops learning, not acting: a node that starts while it is cut off goes on with the documents it holds. It passes
//! the time at which it accepted them. Signatures, versions, lengths and digests are checked as ever.

use std::error::Error as StdError;

use jiff::Timestamp as Instant;

use super::name::RoleName;
use super::search::{TooManyDelegations, Walk};
use super::storage::Storage;
use super::trusted::{self, TrustedMetadata};

/// Why stored metadata is not trusted again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A document can't be loaded.
    #[error("stored metadata of role {role} can't be loaded")]
    Load {
        /// Whose metadata.
        role: RoleName,
        /// Why.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// A document is not stored.
    #[error("no metadata of role {role} is stored")]
    Missing {
        /// Whose metadata.
        role: RoleName,
    },
    /// A document does not pass the checks any more.
    #[error("stored metadata is not trusted")]
    Untrusted(#[from] trusted::Error),
    /// There are more delegations than may be visited.
    #[error("not every role can be visited")]
    TooManyDelegations(#[from] TooManyDelegations),
}

/// Loads all roles from `storage`, as of the time `at`, visiting no more than `limit` delegations.
pub fn restore<S: Storage>(
    storage: &S,
    at: Instant,
    limit: usize,
) -> Result<TrustedMetadata, Error> {
    let load = |role: &RoleName| {
        storage
            .load(role)
            .map_err(|source| Error::Load { role: role.clone(), source: source.into() })?
            .ok_or_else(|| Error::Missing { role: role.clone() })
    };
    let mut trusted = TrustedMetadata::bootstrap(&load(&RoleName::ROOT)?, at)?;
    trusted.update_timestamp(&load(&RoleName::TIMESTAMP)?)?;
    trusted.update_snapshot(&load(&RoleName::SNAPSHOT)?)?;
    let mut walk = Walk::new(limit);
    while let Some(edge) = walk.step(&trusted)? {
        if !trusted.confirm_targets(&edge.role, &edge.delegator)? {
            trusted.update_targets(&edge.role, &edge.delegator, &load(&edge.role)?)?;
        }
    }
    Ok(trusted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuf::fixture::{days, now};
    use crate::tuf::repository::{Repository, RoleKeys};
    use crate::tuf::storage::MemoryStorage;

    #[test]
    fn what_was_accepted_stays_good() {
        let documents =
            Repository::create(&RoleKeys::generate().unwrap(), now()).unwrap().documents;
        let stored = |skip: Option<usize>| {
            let kept = documents.iter().enumerate().filter(|(index, _)| Some(*index) != skip);
            MemoryStorage::new(
                kept.map(|(_, document)| (document.role.clone(), document.bytes.clone())),
            )
        };
        assert_eq!(restore(&stored(None), now(), 64).unwrap().snapshot_version(), Some(1));
        assert!(matches!(restore(&stored(None), days(30), 64), Err(Error::Untrusted(_))));
        for skip in 0..documents.len() {
            assert!(matches!(restore(&stored(Some(skip)), now(), 64), Err(Error::Missing { .. })));
        }
    }
}
