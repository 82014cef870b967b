//! Changing who holds the roles of a mesh.
//!
//! Given what is published and the holders asked for, [`prepare`] writes the next root and the next top-level targets,
//! unsigned: [`Paper`]s, which are signed wherever the keys are. Nothing here reads a key, a clock or a disk.
//!
//! What always holds of what comes out: every role has at least as many different keys, each of a kind that can be
//! checked, as its threshold asks for. A change after which nobody could sign any more is refused before it is written.

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU32, NonZeroU64};

use jiff::Timestamp as Instant;

use super::delegation::{self, Delegations, Holders, Roles};
use super::envelope::{self, Authority};
use super::key::{self, Key, KeyId};
use super::layout::{MeshRole, ROLE_LIFETIME};
use super::metadata::{Header, Root, Targets, TopLevelRoles};
use super::name::RoleName;
use super::paper::Paper;

/// Most keys of one role.
const MAX_KEYS: usize = 32;

/// Why a change of holders is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The mesh has no such role.
    #[error(
        "there is no role {0:?}; a mesh has root, targets, snapshot, timestamp, content, validation, production, rollout, wave-state and mesh"
    )]
    UnknownRole(String),
    /// Nobody could sign.
    #[error("role {0} would have no key: nobody could sign for it any more")]
    NoKey(RoleName),
    /// Anybody could sign.
    #[error("role {0} would need no signature: a threshold is at least 1")]
    ThresholdZero(RoleName),
    /// Nobody could sign.
    #[error(
        "role {role} would need {threshold} signatures but have only {keys} keys: nobody could sign for it any more"
    )]
    ThresholdTooHigh {
        /// The role.
        role: RoleName,
        /// How many would have to sign.
        threshold: u32,
        /// How many could.
        keys: usize,
    },
    /// One person would count as two.
    #[error("role {role} would have key {} twice; the same signer counts once", keyid.short())]
    KeyTwice {
        /// The role.
        role: RoleName,
        /// The key.
        keyid: KeyId,
    },
    /// More keys than a role may have.
    #[error("role {0} would have more than {MAX_KEYS} keys")]
    TooManyKeys(RoleName),
    /// A key that no signature could be checked with.
    #[error("a key of role {role} can't be used")]
    BadKey {
        /// The role.
        role: RoleName,
        /// Why.
        source: key::Error,
    },
    /// The holders contradict themselves.
    #[error("the holders of role {role} can't be stated")]
    Holders {
        /// The role.
        role: RoleName,
        /// Why.
        source: delegation::Error,
    },
    /// Everything is so already.
    #[error("nothing would change: every role has these holders already")]
    Nothing,
    /// What is published delegates nothing, or in another way than a mesh does.
    #[error("the published targets don't delegate to the roles of a mesh")]
    NoDelegations,
    /// There is no room for a further version.
    #[error("role {0} is at its last version")]
    LastVersion(RoleName),
    /// The clock is so far off that times can't be computed.
    #[error("no expiry can be computed from the time {0}")]
    Clock(Instant),
    /// A document can't be written.
    #[error("metadata of role {role} can't be written")]
    Write {
        /// The role.
        role: RoleName,
        /// Why.
        source: envelope::Error,
    },
}

/// Who is to hold one role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// The keys.
    pub keys: Vec<Key>,
    /// How many of them must sign.
    pub threshold: u32,
}

/// Who is to hold which role; roles that are not in it keep their holders.
pub type Change = BTreeMap<RoleName, Holding>;

/// What a ceremony is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// New holders. Top-level targets follow root unless they are named.
    pub change: Change,
    /// Write both anew though nothing else changes, for their expiry.
    pub renew: bool,
}

/// Every role that a change may name, in the order of documents.
pub fn roles() -> impl Iterator<Item = RoleName> {
    [RoleName::ROOT, RoleName::TARGETS, RoleName::SNAPSHOT, RoleName::TIMESTAMP]
        .into_iter()
        .chain(MeshRole::ALL.map(MeshRole::name))
}

/// The role of that name.
pub fn role(name: &str) -> Result<RoleName, Error> {
    roles().find(|role| role.as_str() == name).ok_or_else(|| Error::UnknownRole(name.to_owned()))
}

/// Who holds `role` by the word of `root` and of the top-level targets `top`.
pub fn authority<'a>(root: &'a Root, top: &'a Targets, role: &RoleName) -> Option<Authority<'a>> {
    let holders = match role.as_str() {
        "root" => &root.roles.root,
        "targets" => &root.roles.targets,
        "snapshot" => &root.roles.snapshot,
        "timestamp" => &root.roles.timestamp,
        _ => {
            let delegations = top.delegations.as_ref()?;
            let holders = delegations.holders(role)?;
            return Some(Authority { keys: &delegations.keys, holders });
        }
    };
    Some(Authority { keys: &root.keys, holders })
}

/// The present holders of `role`.
pub fn holding(root: &Root, top: &Targets, role: &RoleName) -> Option<Holding> {
    let Authority { keys, holders } = authority(root, top, role)?;
    let keys = holders.keyids().iter().filter_map(|id| keys.get(id).cloned()).collect();
    Some(Holding { keys, threshold: holders.threshold().get() })
}

/// What changes between two pairs of root and top-level targets, in words. `name` knows whose keys are whose.
pub fn summary(
    (root, top): (&Root, &Targets),
    (next_root, next_top): (&Root, &Targets),
    name: impl Fn(&Key) -> Option<String>,
) -> Vec<String> {
    let words = |holding: Option<Holding>| match holding {
        Some(holding) => stated_in_words(&holding, &name),
        None => "nobody".to_owned(),
    };
    let changed = roles().filter_map(|role| {
        let (before, after) = (holding(root, top, &role), holding(next_root, next_top, &role));
        (before != after).then(|| format!("{role}: {}, until now {}", words(after), words(before)))
    });
    let mut lines: Vec<_> = changed.collect();
    if lines.is_empty() {
        lines.push("no other holders: the same ones for another year".to_owned());
    }
    lines
}

/// `2 of alice (0123456789ab), bob (…)`.
pub fn stated_in_words(holding: &Holding, name: impl Fn(&Key) -> Option<String>) -> String {
    let keys = holding.keys.iter().map(|key| {
        let id = key.id().map_or_else(|_| "?".to_owned(), |id| id.short().to_owned());
        match name(key) {
            Some(name) => format!("{name} ({id})"),
            None => format!("key {id}"),
        }
    });
    let keys: Vec<_> = keys.collect();
    format!("{} of {}", holding.threshold, keys.join(", "))
}

/// Writes the next root and the next top-level targets as far as the request calls for them, unsigned.
pub fn prepare(
    root: &Root,
    top: &Targets,
    request: &Request,
    now: Instant,
) -> Result<Vec<Paper>, Error> {
    for name in request.change.keys() {
        role(name.as_str())?;
    }
    let mut change = request.change.clone();
    if let Some(new) = change.get(&RoleName::ROOT).cloned() {
        change.entry(RoleName::TARGETS).or_insert(new);
    }
    let stated = |role: RoleName| -> Result<(Vec<(KeyId, Key)>, Holders), Error> {
        let present = || holding(root, top, &role).ok_or(Error::NoDelegations);
        let holding = change.get(&role).cloned().map_or_else(present, Ok)?;
        state(role, holding)
    };
    let next_root = next_root(root, stated, now)?;
    let next_top = next_top(top, stated, now)?;
    let is_other = |before: &Holders, after: &Holders| before != after;
    let root_changed = is_other(&root.roles.root, &next_root.roles.root)
        || is_other(&root.roles.targets, &next_root.roles.targets)
        || is_other(&root.roles.snapshot, &next_root.roles.snapshot)
        || is_other(&root.roles.timestamp, &next_root.roles.timestamp);
    let top_changed = is_other(&root.roles.targets, &next_root.roles.targets)
        || top.delegations.as_ref().map(|one| &one.roles)
            != next_top.delegations.as_ref().map(|one| &one.roles);
    let mut papers = Vec::new();
    if root_changed || request.renew {
        papers.push(write(RoleName::ROOT, &next_root)?);
    }
    if top_changed || request.renew {
        papers.push(write(RoleName::TARGETS, &next_top)?);
    }
    if papers.is_empty() { Err(Error::Nothing) } else { Ok(papers) }
}

/// The checks that no change may fail; what comes out can be signed for.
fn state(role: RoleName, holding: Holding) -> Result<(Vec<(KeyId, Key)>, Holders), Error> {
    let Holding { keys, threshold } = holding;
    if keys.is_empty() {
        return Err(Error::NoKey(role));
    }
    if keys.len() > MAX_KEYS {
        return Err(Error::TooManyKeys(role));
    }
    let Some(needed) = NonZeroU32::new(threshold) else { return Err(Error::ThresholdZero(role)) };
    let bad = |source| Error::BadKey { role: role.clone(), source };
    let mut seen = BTreeSet::new();
    let mut named = Vec::new();
    for key in keys {
        let keyid = key.id().map_err(|_| bad(key::Error::Malformed))?;
        if !seen.insert(key.fingerprint().map_err(bad)?) {
            return Err(Error::KeyTwice { role, keyid });
        }
        named.push((keyid, key));
    }
    if threshold as usize > named.len() {
        return Err(Error::ThresholdTooHigh { role, threshold, keys: named.len() });
    }
    let ids = named.iter().map(|(id, _)| id.clone()).collect();
    let holders = Holders::new(ids, needed).map_err(|source| Error::Holders { role, source })?;
    Ok((named, holders))
}

type Stated = Result<(Vec<(KeyId, Key)>, Holders), Error>;

fn next_root(
    root: &Root,
    stated: impl Fn(RoleName) -> Stated,
    now: Instant,
) -> Result<Root, Error> {
    let mut keys = BTreeMap::new();
    let mut hold = |role| {
        let (named, holders) = stated(role)?;
        keys.extend(named);
        Ok::<_, Error>(holders)
    };
    let roles = TopLevelRoles {
        root: hold(RoleName::ROOT)?,
        timestamp: hold(RoleName::TIMESTAMP)?,
        snapshot: hold(RoleName::SNAPSHOT)?,
        targets: hold(RoleName::TARGETS)?,
    };
    let version = next(RoleName::ROOT, &root.header)?;
    let header = Header::new::<Root>(version, expiry(now)?);
    Ok(Root { header, consistent_snapshot: root.consistent_snapshot, keys, roles })
}

fn next_top(
    top: &Targets,
    stated: impl Fn(RoleName) -> Stated,
    now: Instant,
) -> Result<Targets, Error> {
    let Some(Delegations { roles: Roles::Named(delegated), .. }) = &top.delegations else {
        return Err(Error::NoDelegations);
    };
    let mut keys = BTreeMap::new();
    let mut roles = Vec::new();
    for role in delegated {
        let (named, holders) = stated(role.name.clone())?;
        keys.extend(named);
        roles.push(delegation::DelegatedRole { holders, ..role.clone() });
    }
    let header = Header::new::<Targets>(next(RoleName::TARGETS, &top.header)?, expiry(now)?);
    let delegations = Some(Delegations { keys, roles: Roles::Named(roles) });
    Ok(Targets { header, targets: top.targets.clone(), delegations })
}

fn write<T: super::metadata::Kind>(role: RoleName, document: &T) -> Result<Paper, Error> {
    Paper::of(role.clone(), document).map_err(|source| Error::Write { role, source })
}

fn next(role: RoleName, header: &Header) -> Result<NonZeroU64, Error> {
    NonZeroU64::MIN.checked_add(header.version()).ok_or(Error::LastVersion(role))
}

fn expiry(now: Instant) -> Result<Instant, Error> {
    now.checked_add(ROLE_LIFETIME).map_err(|_| Error::Clock(now))
}

#[cfg(test)]
mod tests;
