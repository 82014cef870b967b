//! The set of metadata that is trusted now, and every check that metadata passes before it enters.
//!
//! No I/O and no clock: bytes and the time come from the caller, who follows the order of the client workflow:
//!
//! ```text
//! bootstrap ─► update_root … ─► load_timestamp? ─► update_timestamp ─► load_snapshot? ─► update_snapshot ─► update_targets …
//! ```
//!
//! `load_…` takes what was trusted in an earlier run, `update_…` what a repository offers now. What was trusted earlier
//! may be expired: it then only guards against rollback. A step out of order is refused, never a panic.
//!
//! What always holds: a rejected document changes nothing. A trusted timestamp and snapshot are signed by holders that
//! the *current* root names. That is also how fast-forward attacks are recovered from (5.3.11): after a change of keys,
//! what the lost keys signed no longer loads, so it can't hold back lower versions, whenever the process was interrupted.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp as Instant;

use super::envelope::{Authority, Envelope};
use super::metadata::{Kind, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp};
use super::name::{RoleName, TargetPath};
use super::search::{Search, Step};

mod error;

pub use error::Error;

/// What became of an offered timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// It is trusted now, and to be kept.
    New,
    /// Its version was trusted before; that one stays, whatever else the offered one says.
    Known,
}

/// Metadata that passed every check at one moment.
#[derive(Debug, Clone)]
pub struct TrustedMetadata {
    now: Instant,
    root: Envelope<Root>,
    timestamp: Option<Envelope<Timestamp>>,
    snapshot: Option<Envelope<Snapshot>>,
    targets: BTreeMap<RoleName, TrustedTargets>,
}

#[derive(Debug, Clone)]
struct TrustedTargets {
    envelope: Envelope<Targets>,
    /// Whose word was asked. Trust through one delegator says nothing about another.
    delegators: BTreeSet<RoleName>,
}

impl TrustedMetadata {
    /// Starts from a root that is trusted already: pinned, or from an earlier run. It must be signed by its own holders.
    /// It may be expired, if a newer root follows.
    pub fn bootstrap(root: &[u8], now: Instant) -> Result<Self, Error> {
        let root: Envelope<Root> = parse(&RoleName::ROOT, root)?;
        verify(
            &root,
            &RoleName::ROOT,
            &RoleName::ROOT,
            Some(root_authority(&root, &RoleName::ROOT)),
        )?;
        Ok(Self { now, root, timestamp: None, snapshot: None, targets: BTreeMap::new() })
    }

    /// Takes the next root: signed by the holders it had and the holders it has, its version one higher. It may be
    /// expired, if a newer one follows.
    pub fn update_root(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.timestamp.is_some() {
            return Err(Error::OutOfOrder {
                role: RoleName::ROOT,
                why: "the timestamp is loaded already",
            });
        }
        let root: Envelope<Root> = parse(&RoleName::ROOT, bytes)?;
        for word in [&self.root, &root] {
            verify(
                &root,
                &RoleName::ROOT,
                &RoleName::ROOT,
                Some(root_authority(word, &RoleName::ROOT)),
            )?;
        }
        check_version(&RoleName::ROOT, self.next_root_version(), root.version())?;
        self.root = root;
        Ok(())
    }

    /// The version that the next root must have.
    pub fn next_root_version(&self) -> u64 {
        self.root.version().saturating_add(1)
    }

    /// Checks that the last root is not expired. Part of every later step; of use before fetching anything else.
    pub fn check_root(&self) -> Result<(), Error> {
        self.check_expiry(&RoleName::ROOT, &self.root)
    }

    /// Takes a timestamp from an earlier run, to guard against rollback. It may be expired.
    pub fn load_timestamp(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let timestamp = self.accept_timestamp(bytes)?;
        self.timestamp = Some(timestamp);
        Ok(())
    }

    /// Takes a timestamp that a repository offers.
    pub fn update_timestamp(&mut self, bytes: &[u8]) -> Result<Offered, Error> {
        let timestamp = self.accept_timestamp(bytes)?;
        if let Some(trusted) = &self.timestamp {
            if timestamp.version() == trusted.version() {
                self.check_expiry(&RoleName::TIMESTAMP, trusted)?;
                return Ok(Offered::Known);
            }
            check_rollback(&RoleName::TIMESTAMP, trusted.version(), timestamp.version())?;
            let snapshot =
                |envelope: &Envelope<Timestamp>| envelope.signed().meta.snapshot.version();
            check_rollback(&RoleName::SNAPSHOT, snapshot(trusted), snapshot(&timestamp))?;
        }
        self.check_expiry(&RoleName::TIMESTAMP, &timestamp)?;
        self.timestamp = Some(timestamp);
        Ok(Offered::New)
    }

    fn accept_timestamp(&self, bytes: &[u8]) -> Result<Envelope<Timestamp>, Error> {
        if self.snapshot.is_some() {
            return Err(Error::OutOfOrder {
                role: RoleName::TIMESTAMP,
                why: "the snapshot is loaded already",
            });
        }
        self.check_root()?;
        let timestamp = parse(&RoleName::TIMESTAMP, bytes)?;
        self.verify(&timestamp, &RoleName::TIMESTAMP, &RoleName::ROOT)?;
        Ok(timestamp)
    }

    /// Takes a snapshot from an earlier run, to guard against rollback. Returns whether it is also the current one, so
    /// that none needs to be fetched.
    pub fn load_snapshot(&mut self, bytes: &[u8]) -> Result<bool, Error> {
        let (snapshot, announced) = self.accept_snapshot(bytes)?;
        let current = announced.verify(bytes).is_ok()
            && snapshot.version() == announced.version()
            && !snapshot.signed().header.is_expired(self.now);
        self.snapshot = Some(snapshot);
        Ok(current)
    }

    /// Takes the snapshot that the timestamp announces.
    pub fn update_snapshot(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let role = RoleName::SNAPSHOT;
        let (snapshot, announced) = self.accept_snapshot(bytes)?;
        announced.verify(bytes).map_err(|source| Error::Mismatch { role: role.clone(), source })?;
        check_version(&role, announced.version(), snapshot.version())?;
        if let Some(trusted) = &self.snapshot {
            check_listed(trusted.signed(), snapshot.signed())?;
        }
        self.check_expiry(&role, &snapshot)?;
        self.snapshot = Some(snapshot);
        Ok(())
    }

    fn accept_snapshot(&self, bytes: &[u8]) -> Result<(Envelope<Snapshot>, &MetaFile), Error> {
        let role = RoleName::SNAPSHOT;
        if !self.targets.is_empty() {
            return Err(Error::OutOfOrder { role, why: "targets are loaded already" });
        }
        let timestamp = self
            .timestamp
            .as_ref()
            .ok_or(Error::OutOfOrder { role: role.clone(), why: "there is no timestamp yet" })?;
        self.check_expiry(&RoleName::TIMESTAMP, timestamp)?;
        let snapshot = parse(&role, bytes)?;
        self.verify(&snapshot, &role, &RoleName::ROOT)?;
        Ok((snapshot, &timestamp.signed().meta.snapshot))
    }

    /// Takes targets metadata of `role`, which `delegator` delegates to: [`RoleName::TARGETS`] by [`RoleName::ROOT`], others
    /// by a targets role that is trusted already. It makes no difference whether it is from an earlier run.
    pub fn update_targets(
        &mut self,
        role: &RoleName,
        delegator: &RoleName,
        bytes: &[u8],
    ) -> Result<(), Error> {
        let announced = self.announced(role)?;
        announced.verify(bytes).map_err(|source| Error::Mismatch { role: role.clone(), source })?;
        let targets: Envelope<Targets> = parse(role, bytes)?;
        self.verify(&targets, role, delegator)?;
        check_version(role, announced.version(), targets.version())?;
        self.check_expiry(role, &targets)?;
        let delegators = BTreeSet::from([delegator.clone()]);
        self.targets.insert(role.clone(), TrustedTargets { envelope: targets, delegators });
        Ok(())
    }

    /// Checks targets metadata of `role`, trusted by the word of another delegator, by the word of `delegator` too. Returns
    /// false if none is loaded.
    pub fn confirm_targets(
        &mut self,
        role: &RoleName,
        delegator: &RoleName,
    ) -> Result<bool, Error> {
        let Some(known) = self.targets.get(role) else { return Ok(false) };
        if !known.delegators.contains(delegator) {
            self.verify(&known.envelope, role, delegator)?;
            if let Some(known) = self.targets.get_mut(role) {
                known.delegators.insert(delegator.clone());
            }
        }
        Ok(true)
    }

    /// What the current snapshot says of the metadata file of `role`.
    pub fn announced(&self, role: &RoleName) -> Result<&MetaFile, Error> {
        let snapshot = self.current_snapshot().ok_or(Error::OutOfOrder {
            role: role.clone(),
            why: "there is no current snapshot yet",
        })?;
        self.check_expiry(&RoleName::SNAPSHOT, snapshot)?;
        snapshot.signed().role(role).ok_or(Error::NotInSnapshot { role: role.clone() })
    }

    /// The snapshot, unless it is one from an earlier run that the timestamp no longer announces.
    fn current_snapshot(&self) -> Option<&Envelope<Snapshot>> {
        let announced = self.timestamp.as_ref()?.signed().meta.snapshot.version();
        self.snapshot.as_ref().filter(|snapshot| snapshot.version() == announced)
    }

    /// The root.
    pub fn root(&self) -> &Root {
        self.root.signed()
    }

    /// The timestamp, once there is one.
    pub fn timestamp(&self) -> Option<&Timestamp> {
        self.timestamp.as_ref().map(Envelope::signed)
    }

    /// The current snapshot, once there is one.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.current_snapshot().map(Envelope::signed)
    }

    /// The version of the current snapshot: what a mesh calls its generation.
    pub fn snapshot_version(&self) -> Option<u64> {
        self.current_snapshot().map(Envelope::version)
    }

    /// When the first of it expires: until then it can be gone on with.
    pub fn expires(&self) -> Instant {
        let snapshot = self.current_snapshot().map(|one| one.signed().header.expires());
        let timestamp = self.timestamp().map(|one| one.header.expires());
        let targets = self.all_targets().map(|(_, one)| one.header.expires());
        let others = targets.chain(snapshot).chain(timestamp);
        others.fold(self.root().header.expires(), Instant::min)
    }

    /// Targets metadata of `role`, if it is loaded.
    pub fn targets(&self, role: &RoleName) -> Option<&Targets> {
        self.targets.get(role).map(|known| known.envelope.signed())
    }

    /// All targets metadata loaded so far, by role.
    pub fn all_targets(&self) -> impl Iterator<Item = (&RoleName, &Targets)> {
        self.targets.iter().map(|(role, known)| (role, known.envelope.signed()))
    }

    /// Targets metadata of `role`, if it is trusted by the word of `delegator`.
    pub(super) fn targets_by(&self, role: &RoleName, delegator: &RoleName) -> Option<&Targets> {
        self.targets
            .get(role)
            .filter(|known| known.delegators.contains(delegator))
            .map(|known| known.envelope.signed())
    }

    /// Finds `path` among the roles that are loaded: the role that names it and what it says. A role that would have to
    /// be loaded first ends the search with an error; after [`Client::refresh_all`](super::Client::refresh_all) there is none.
    pub fn find(
        &self,
        path: &TargetPath,
        limit: usize,
    ) -> Result<Option<(RoleName, &TargetFile)>, Error> {
        match Search::new(path.clone(), limit).step(self)? {
            Step::Found(role, file) => Ok(Some((role, file))),
            Step::Absent => Ok(None),
            Step::Load(edge) => {
                Err(Error::OutOfOrder { role: edge.role, why: "it is not loaded yet" })
            }
        }
    }

    fn verify<T: Kind>(
        &self,
        envelope: &Envelope<T>,
        role: &RoleName,
        delegator: &RoleName,
    ) -> Result<(), Error> {
        verify(envelope, role, delegator, self.authority(role, delegator))
    }

    fn authority(&self, role: &RoleName, delegator: &RoleName) -> Option<Authority<'_>> {
        if *delegator == RoleName::ROOT {
            return role.is_top_level().then(|| root_authority(&self.root, role));
        }
        let delegations = self.targets(delegator)?.delegations.as_ref()?;
        Some(Authority { keys: &delegations.keys, holders: delegations.holders(role)? })
    }

    fn check_expiry<T: Kind>(&self, role: &RoleName, envelope: &Envelope<T>) -> Result<(), Error> {
        let header = envelope.signed().header();
        if header.is_expired(self.now) {
            return Err(Error::Expired {
                role: role.clone(),
                expires: header.expires(),
                now: self.now,
            });
        }
        Ok(())
    }
}

fn parse<T: Kind>(role: &RoleName, bytes: &[u8]) -> Result<Envelope<T>, Error> {
    Envelope::parse(bytes).map_err(|source| Error::Unreadable { role: role.clone(), source })
}

/// Who holds the top-level role `role`, by the word of `root`. Callers pass top-level roles only.
fn root_authority<'a>(root: &'a Envelope<Root>, role: &RoleName) -> Authority<'a> {
    let Root { keys, roles, .. } = root.signed();
    let holders = match role.as_str() {
        "timestamp" => &roles.timestamp,
        "snapshot" => &roles.snapshot,
        "targets" => &roles.targets,
        _ => &roles.root,
    };
    Authority { keys, holders }
}

fn verify<T: Kind>(
    envelope: &Envelope<T>,
    role: &RoleName,
    delegator: &RoleName,
    authority: Option<Authority<'_>>,
) -> Result<(), Error> {
    let authority = authority
        .ok_or_else(|| Error::NotDelegated { role: role.clone(), delegator: delegator.clone() })?;
    envelope.verify(authority).map_err(|source| Error::Unsigned {
        role: role.clone(),
        delegator: delegator.clone(),
        source,
    })
}

fn check_version(role: &RoleName, expected: u64, found: u64) -> Result<(), Error> {
    if found == expected {
        Ok(())
    } else {
        Err(Error::Version { role: role.clone(), expected, found })
    }
}

fn check_rollback(role: &RoleName, trusted: u64, offered: u64) -> Result<(), Error> {
    if offered < trusted {
        Err(Error::Rollback { role: role.clone(), trusted, offered })
    } else {
        Ok(())
    }
}

/// Nothing that was listed may be missing or go back.
fn check_listed(trusted: &Snapshot, offered: &Snapshot) -> Result<(), Error> {
    for (file, known) in &trusted.meta {
        let new = offered.meta.get(file).ok_or_else(|| Error::Removed { file: file.clone() })?;
        if new.version() < known.version() {
            let role = file.strip_suffix(".json").unwrap_or(file);
            let role = RoleName::new(role).unwrap_or(RoleName::SNAPSHOT);
            return Err(Error::Rollback { role, trusted: known.version(), offered: new.version() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
