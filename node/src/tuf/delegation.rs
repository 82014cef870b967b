//! Who may name which target paths.
//!
//! A targets role hands parts of the path space to other roles: by shell-style patterns, by prefixes of the path's
//! SHA-256, or evenly over a power of two of bins (`succinct_roles`, TAP 15). The order of delegations is their priority.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::key::{Key, KeyId};
use super::name::{RoleName, TargetPath};

mod pattern;
mod succinct;

pub use pattern::matches_pattern;
pub use succinct::SuccinctRoles;

/// Why a delegation makes no sense.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// A key id is listed twice for one role.
    #[error("key {0} is listed twice for one role")]
    DuplicateKey(KeyId),
    /// A delegated role has the name of a top-level role.
    #[error("delegated role {0} has the name of a top-level role")]
    TopLevelName(RoleName),
    /// A role is delegated twice by one delegator.
    #[error("role {0} is delegated twice")]
    DuplicateRole(RoleName),
    /// Neither or both ways to name paths are used.
    #[error("role {0} must have either paths or path_hash_prefixes")]
    Paths(RoleName),
    /// Neither or both kinds of delegation are used.
    #[error("delegations must have either roles or succinct_roles")]
    Kind,
    /// Bins are numbered with 1 to 32 bits.
    #[error("bit_length {0} of succinct_roles is not between 1 and 32")]
    BitLength(u32),
}

/// The keys that hold a role, and how many of them must sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawHolders", into = "RawHolders")]
pub struct Holders {
    keyids: Vec<KeyId>,
    threshold: NonZeroU32,
}

#[derive(Serialize, Deserialize)]
struct RawHolders {
    keyids: Vec<KeyId>,
    threshold: NonZeroU32,
}

impl Holders {
    /// States the holders of a role. No key may be listed twice.
    pub fn new(keyids: Vec<KeyId>, threshold: NonZeroU32) -> Result<Self, Error> {
        let mut seen = BTreeSet::new();
        match keyids.iter().find(|id| !seen.insert(*id)) {
            Some(twice) => Err(Error::DuplicateKey(twice.clone())),
            None => Ok(Self { keyids, threshold }),
        }
    }

    /// Keys that may sign for the role.
    pub fn keyids(&self) -> &[KeyId] {
        &self.keyids
    }

    /// How many of the keys must have signed.
    pub fn threshold(&self) -> NonZeroU32 {
        self.threshold
    }
}

impl TryFrom<RawHolders> for Holders {
    type Error = Error;

    fn try_from(raw: RawHolders) -> Result<Self, Error> {
        Self::new(raw.keyids, raw.threshold)
    }
}

impl From<Holders> for RawHolders {
    fn from(holders: Holders) -> Self {
        Self { keyids: holders.keyids, threshold: holders.threshold }
    }
}

/// The delegations of one targets role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawDelegations", into = "RawDelegations")]
pub struct Delegations {
    /// Public keys of all roles below.
    pub keys: BTreeMap<KeyId, Key>,
    /// The roles delegated to.
    pub roles: Roles,
}

/// The two ways of delegating.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Roles {
    /// Named roles, most trusted first.
    Named(Vec<DelegatedRole>),
    /// Bins by path digest; a search that enters a bin ends there.
    Succinct(SuccinctRoles),
}

#[derive(Serialize, Deserialize)]
struct RawDelegations {
    keys: BTreeMap<KeyId, Key>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    roles: Option<Vec<DelegatedRole>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    succinct_roles: Option<SuccinctRoles>,
}

impl TryFrom<RawDelegations> for Delegations {
    type Error = Error;

    fn try_from(raw: RawDelegations) -> Result<Self, Error> {
        let roles = match (raw.roles, raw.succinct_roles) {
            (Some(roles), None) => {
                let mut seen = BTreeSet::new();
                if let Some(twice) = roles.iter().find(|role| !seen.insert(&role.name)) {
                    return Err(Error::DuplicateRole(twice.name.clone()));
                }
                Roles::Named(roles)
            }
            (None, Some(bins)) => Roles::Succinct(bins),
            _ => return Err(Error::Kind),
        };
        Ok(Self { keys: raw.keys, roles })
    }
}

impl From<Delegations> for RawDelegations {
    fn from(delegations: Delegations) -> Self {
        let (roles, succinct_roles) = match delegations.roles {
            Roles::Named(roles) => (Some(roles), None),
            Roles::Succinct(bins) => (None, Some(bins)),
        };
        Self { keys: delegations.keys, roles, succinct_roles }
    }
}

impl Delegations {
    /// The holders of `role`, if it is delegated here.
    pub fn holders(&self, role: &RoleName) -> Option<&Holders> {
        match &self.roles {
            Roles::Named(roles) => {
                roles.iter().find(|known| known.name == *role).map(|known| &known.holders)
            }
            Roles::Succinct(bins) => bins.contains(role).then_some(&bins.holders),
        }
    }

    /// Roles to which `path` is delegated, most trusted first, each with whether a search ends in it.
    pub fn roles_for(&self, path: &TargetPath) -> Vec<(RoleName, bool)> {
        match &self.roles {
            Roles::Named(roles) => roles
                .iter()
                .filter(|role| role.paths.contains(path))
                .map(|role| (role.name.clone(), role.terminating))
                .collect(),
            Roles::Succinct(bins) => vec![(bins.bin_of(path), true)],
        }
    }

    /// The names of the first `limit` delegated roles, most trusted first.
    pub fn names(&self, limit: usize) -> Vec<RoleName> {
        match &self.roles {
            Roles::Named(roles) => roles.iter().take(limit).map(|role| role.name.clone()).collect(),
            Roles::Succinct(bins) => {
                (0..bins.count()).take(limit).map(|bin| bins.name_of(bin)).collect()
            }
        }
    }
}

/// A role by name and the paths it may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawDelegatedRole", into = "RawDelegatedRole")]
pub struct DelegatedRole {
    /// Its name; never that of a top-level role.
    pub name: RoleName,
    /// Who holds it.
    pub holders: Holders,
    /// Whether a search for one of its paths ends with it.
    pub terminating: bool,
    /// Which paths it may use.
    pub paths: PathSet,
}

#[derive(Serialize, Deserialize)]
struct RawDelegatedRole {
    name: RoleName,
    keyids: Vec<KeyId>,
    threshold: NonZeroU32,
    terminating: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    paths: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path_hash_prefixes: Option<Vec<String>>,
}

impl TryFrom<RawDelegatedRole> for DelegatedRole {
    type Error = Error;

    fn try_from(raw: RawDelegatedRole) -> Result<Self, Error> {
        if raw.name.is_top_level() {
            return Err(Error::TopLevelName(raw.name));
        }
        let paths = match (raw.paths, raw.path_hash_prefixes) {
            (Some(patterns), None) => PathSet::Patterns(patterns),
            (None, Some(prefixes)) => PathSet::HashPrefixes(prefixes),
            _ => return Err(Error::Paths(raw.name)),
        };
        let holders = Holders::new(raw.keyids, raw.threshold)?;
        Ok(Self { name: raw.name, holders, terminating: raw.terminating, paths })
    }
}

impl From<DelegatedRole> for RawDelegatedRole {
    fn from(role: DelegatedRole) -> Self {
        let (paths, path_hash_prefixes) = match role.paths {
            PathSet::Patterns(patterns) => (Some(patterns), None),
            PathSet::HashPrefixes(prefixes) => (None, Some(prefixes)),
        };
        Self {
            name: role.name,
            keyids: role.holders.keyids,
            threshold: role.holders.threshold,
            terminating: role.terminating,
            paths,
            path_hash_prefixes,
        }
    }
}

/// A set of target paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathSet {
    /// Shell-style patterns, see [`matches_pattern`].
    Patterns(Vec<String>),
    /// Hexadecimal prefixes of the SHA-256 of the path.
    HashPrefixes(Vec<String>),
}

impl PathSet {
    /// Whether `path` belongs to the set.
    pub fn contains(&self, path: &TargetPath) -> bool {
        match self {
            Self::Patterns(patterns) => {
                patterns.iter().any(|pattern| matches_pattern(pattern, path.as_str()))
            }
            Self::HashPrefixes(prefixes) => {
                let digest = hex::encode(digest(&SHA256, path.as_str().as_bytes()));
                prefixes.iter().any(|prefix| digest.starts_with(prefix.as_str()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuf::fixture::path;
    use serde_json::json;

    #[test]
    fn hash_prefixes_select_by_digest() {
        let set = PathSet::HashPrefixes(vec!["00".into(), "ca97".into()]);
        assert!(set.contains(&path("a")));
        assert!(!set.contains(&path("b")));
    }

    #[test]
    fn senseless_delegations_are_refused() {
        let role = json!({"name": "a", "keyids": [], "threshold": 1, "terminating": false, "paths": ["*"]});
        let with = |field: &str, value: serde_json::Value| {
            let mut role = role.clone();
            role[field] = value;
            serde_json::from_value::<DelegatedRole>(role).map_err(|error| error.to_string())
        };
        with("name", json!("b")).unwrap();
        for (field, value, message) in [
            ("name", json!(""), "must not be empty"),
            ("name", json!("root"), "top-level"),
            ("threshold", json!(0), "nonzero"),
            ("keyids", json!(["x", "x"]), "listed twice"),
            ("path_hash_prefixes", json!([]), "either paths or path_hash_prefixes"),
        ] {
            let error = with(field, value).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
        let twice = json!({"keys": {}, "roles": [role, role]});
        assert!(
            serde_json::from_value::<Delegations>(twice)
                .unwrap_err()
                .to_string()
                .contains("delegated twice")
        );
        let neither = json!({"keys": {}});
        assert!(
            serde_json::from_value::<Delegations>(neither)
                .unwrap_err()
                .to_string()
                .contains("either roles")
        );
    }
}
