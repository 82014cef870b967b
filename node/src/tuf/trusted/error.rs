//! Why metadata was not trusted: one variant per check, so that an attack can be told from a mishap.

use jiff::Timestamp as Instant;

use super::super::envelope::{self, BelowThreshold};
use super::super::hashes;
use super::super::name::{RoleName, TargetPath};

/// Why metadata was not trusted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are not a metadata document of this role.
    #[error("metadata of role {role} can't be read")]
    Unreadable {
        /// Whose metadata.
        role: RoleName,
        /// Why.
        source: envelope::Error,
    },
    /// Too few of the right keys signed: wrong keys, arbitrary software, or a forged document.
    #[error("metadata of role {role} is not signed as {delegator} demands")]
    Unsigned {
        /// Whose metadata.
        role: RoleName,
        /// Whose word says who must sign.
        delegator: RoleName,
        /// How many signed.
        source: BelowThreshold,
    },
    /// Length or digest differ from what the referrer says: mix-and-match or endless data.
    #[error("metadata of role {role} is not the file that was announced")]
    Mismatch {
        /// Whose metadata.
        role: RoleName,
        /// What differs.
        source: hashes::Error,
    },
    /// The document has another version than it must have.
    #[error("metadata of role {role} has version {found}, expected {expected}")]
    Version {
        /// Whose metadata.
        role: RoleName,
        /// The version announced.
        expected: u64,
        /// The version found.
        found: u64,
    },
    /// An older version than one that was already trusted: a rollback attack.
    #[error("role {role} went back from version {trusted} to {offered}")]
    Rollback {
        /// Whose metadata.
        role: RoleName,
        /// The version trusted before.
        trusted: u64,
        /// The version offered.
        offered: u64,
    },
    /// A snapshot no longer lists a file that it did before.
    #[error("the new snapshot no longer lists {file}")]
    Removed {
        /// The file.
        file: String,
    },
    /// The document's time is over: a freeze attack, a repository that is not looked after, or a wrong clock.
    #[error("metadata of role {role} expired at {expires}; it is {now} by this host's clock")]
    Expired {
        /// Whose metadata.
        role: RoleName,
        /// When it expired.
        expires: Instant,
        /// The time given by the caller.
        now: Instant,
    },
    /// The role is delegated, but no version of it belongs to the snapshot.
    #[error("the snapshot does not list role {role}")]
    NotInSnapshot {
        /// The role.
        role: RoleName,
    },
    /// The delegator does not delegate to the role.
    #[error("{delegator} does not delegate to role {role}")]
    NotDelegated {
        /// The role.
        role: RoleName,
        /// Its supposed delegator.
        delegator: RoleName,
    },
    /// A step of the workflow was taken too early or too late.
    #[error("metadata of role {role} can't be updated now: {why}")]
    OutOfOrder {
        /// The role.
        role: RoleName,
        /// Which step is missing or done already.
        why: &'static str,
    },
    /// A search visited more roles than allowed.
    #[error("looking for {path} visits more than {limit} roles")]
    TooManyRoles {
        /// The target.
        path: TargetPath,
        /// The limit.
        limit: usize,
    },
}
