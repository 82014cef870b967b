//! A small repository for tests that can also lie: every document is made by hand and signed by any key.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};

use jiff::{SignedDuration, Timestamp as Instant};

use super::delegation::{DelegatedRole, Delegations, Holders, PathSet, Roles};
use super::envelope::sign;
use super::hashes::Hashes;
use super::key::{Key, KeyId};
use super::metadata::{
    Header, Kind, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp, TimestampMeta,
    TopLevelRoles,
};
use super::name::{RoleName, TargetPath};
use super::signing::SigningKey;

/// The time of every test.
pub(super) fn now() -> Instant {
    "2026-06-01T12:00:00Z".parse().unwrap()
}

/// `now` and some days more, or fewer.
pub(super) fn days(days: i64) -> Instant {
    now() + SignedDuration::from_hours(24 * days)
}

pub(super) fn role(name: &str) -> RoleName {
    RoleName::new(name).unwrap()
}

pub(super) fn path(name: &str) -> TargetPath {
    TargetPath::new(name).unwrap()
}

pub(super) fn header<T: Kind>(version: u64, expires: Instant) -> Header {
    Header::new::<T>(NonZeroU64::new(version).unwrap(), expires)
}

pub(super) fn meta(version: u64, bytes: &[u8]) -> MetaFile {
    MetaFile::of(NonZeroU64::new(version).unwrap(), bytes)
}

pub(super) fn public(keys: &[&SigningKey]) -> BTreeMap<KeyId, Key> {
    keys.iter().map(|key| (key.id().clone(), key.public().clone())).collect()
}

pub(super) fn holders(keys: &[&SigningKey], threshold: u32) -> Holders {
    let ids = keys.iter().map(|key| key.id().clone()).collect();
    Holders::new(ids, NonZeroU32::new(threshold).unwrap()).unwrap()
}

pub(super) fn target(bytes: &[u8]) -> TargetFile {
    TargetFile { length: bytes.len() as u64, hashes: Hashes::of(bytes), custom: None }
}

/// One key for each top-level role, and one for whatever is delegated.
pub(super) struct Keys {
    pub(super) root: SigningKey,
    pub(super) timestamp: SigningKey,
    pub(super) snapshot: SigningKey,
    pub(super) targets: SigningKey,
    pub(super) delegated: SigningKey,
}

impl Keys {
    pub(super) fn new() -> Self {
        let key = || SigningKey::generate().unwrap();
        Self { root: key(), timestamp: key(), snapshot: key(), targets: key(), delegated: key() }
    }

    pub(super) fn root(&self, version: u64, expires: Instant) -> Root {
        Root {
            header: header::<Root>(version, expires),
            consistent_snapshot: true,
            keys: public(&[&self.root, &self.timestamp, &self.snapshot, &self.targets]),
            roles: TopLevelRoles {
                root: holders(&[&self.root], 1),
                timestamp: holders(&[&self.timestamp], 1),
                snapshot: holders(&[&self.snapshot], 1),
                targets: holders(&[&self.targets], 1),
            },
        }
    }

    pub(super) fn sign_root(&self, version: u64, expires: Instant) -> Vec<u8> {
        sign(&self.root(version, expires), &[&self.root]).unwrap()
    }

    /// Targets metadata with these files, delegating these roles (name, pattern) to the `delegated` key.
    pub(super) fn targets(
        &self,
        version: u64,
        files: &[(&str, &[u8])],
        roles: &[(&str, &str)],
    ) -> Targets {
        let delegate = |(name, pattern): &(&str, &str)| DelegatedRole {
            name: role(name),
            holders: holders(&[&self.delegated], 1),
            terminating: false,
            paths: PathSet::Patterns(vec![(*pattern).to_owned()]),
        };
        let delegations = Delegations {
            keys: public(&[&self.delegated]),
            roles: Roles::Named(roles.iter().map(delegate).collect()),
        };
        Targets {
            header: header::<Targets>(version, days(30)),
            targets: files.iter().map(|(name, bytes)| (path(name), target(bytes))).collect(),
            delegations: (!roles.is_empty()).then_some(delegations),
        }
    }

    pub(super) fn sign_snapshot(
        &self,
        version: u64,
        expires: Instant,
        files: &[(&str, MetaFile)],
    ) -> Vec<u8> {
        let meta =
            files.iter().map(|(name, file)| (format!("{name}.json"), file.clone())).collect();
        sign(&Snapshot { header: header::<Snapshot>(version, expires), meta }, &[&self.snapshot])
            .unwrap()
    }

    pub(super) fn sign_timestamp(
        &self,
        version: u64,
        expires: Instant,
        snapshot: MetaFile,
    ) -> Vec<u8> {
        let header = header::<Timestamp>(version, expires);
        sign(&Timestamp { header, meta: TimestampMeta { snapshot } }, &[&self.timestamp]).unwrap()
    }
}

/// Metadata files that belong together.
pub(super) struct Files {
    pub(super) targets: Vec<u8>,
    pub(super) snapshot: Vec<u8>,
    pub(super) timestamp: Vec<u8>,
}

impl Files {
    /// Everything in version `version`, good for a month.
    pub(super) fn new(keys: &Keys, version: u64) -> Self {
        let targets = sign(&keys.targets(version, &[("a", b"a")], &[]), &[&keys.targets]).unwrap();
        let snapshot =
            keys.sign_snapshot(version, days(30), &[("targets", meta(version, &targets))]);
        let timestamp = keys.sign_timestamp(version, days(30), meta(version, &snapshot));
        Self { targets, snapshot, timestamp }
    }
}
