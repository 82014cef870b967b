//! The four kinds of metadata: root, timestamp, snapshot and targets.
//!
//! These types hold what we understand of a document. What was signed is kept beside them, in `envelope`; writing a type
//! back is only for documents that we make.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use jiff::Timestamp as Instant;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::delegation::{Delegations, Holders};
use super::hashes::{self, Hashes};
use super::key::{Key, KeyId};
use super::layout::BLAKE3;
use super::name::{RoleName, TargetPath};

/// The specification version that we write. Any 1.x is read.
pub const SPEC_VERSION: &str = "1.0.31";
const SPEC_MAJOR: &str = "1";

/// What every kind of metadata begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    #[serde(rename = "_type")]
    kind: String,
    spec_version: String,
    version: NonZeroU64,
    #[serde(with = "whole_seconds")]
    expires: Instant,
}

impl Header {
    /// Starts a document of kind `T`. Parts of a second in `expires` are dropped.
    pub fn new<T: Kind>(version: NonZeroU64, expires: Instant) -> Self {
        Self {
            kind: T::TYPE.into(),
            spec_version: SPEC_VERSION.into(),
            version,
            expires: whole_seconds::floor(expires),
        }
    }

    /// The document's `_type`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Grows with every change; never 0.
    pub fn version(&self) -> u64 {
        self.version.get()
    }

    /// The moment from which the document must not be trusted.
    pub fn expires(&self) -> Instant {
        self.expires
    }

    /// Whether the document must not be trusted at `now`.
    pub fn is_expired(&self, now: Instant) -> bool {
        now >= self.expires
    }

    /// Whether the document is of a specification version that we can read: 1.x or 1.x.y.
    pub fn is_supported(&self) -> bool {
        let mut numbers = self.spec_version.split('.');
        numbers.next() == Some(SPEC_MAJOR)
            && matches!(numbers.clone().count(), 1 | 2)
            && numbers.all(|number| number.parse::<u32>().is_ok())
    }

    /// The document's `spec_version`.
    pub fn spec_version(&self) -> &str {
        &self.spec_version
    }
}

/// A kind of metadata.
pub trait Kind: DeserializeOwned + Serialize {
    /// Its `_type`.
    const TYPE: &'static str;

    /// What every kind begins with.
    fn header(&self) -> &Header;
}

/// Says which keys hold the top-level roles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Version and expiry.
    #[serde(flatten)]
    pub header: Header,
    /// Whether files are served under names that hold their version or digest.
    #[serde(default)]
    pub consistent_snapshot: bool,
    /// Public keys of all top-level roles.
    pub keys: BTreeMap<KeyId, Key>,
    /// Who holds which role.
    pub roles: TopLevelRoles,
}

/// The holders of the top-level roles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopLevelRoles {
    /// Who signs root.
    pub root: Holders,
    /// Who signs timestamp.
    pub timestamp: Holders,
    /// Who signs snapshot.
    pub snapshot: Holders,
    /// Who signs top-level targets.
    pub targets: Holders,
}

/// Says which snapshot is current.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timestamp {
    /// Version and expiry.
    #[serde(flatten)]
    pub header: Header,
    /// The current snapshot.
    pub meta: TimestampMeta,
}

/// What a timestamp lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimestampMeta {
    /// The current snapshot.
    #[serde(rename = "snapshot.json")]
    pub snapshot: MetaFile,
}

/// Says which versions of all targets roles belong together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Version and expiry.
    #[serde(flatten)]
    pub header: Header,
    /// Metadata files by [`RoleName::meta_key`].
    pub meta: BTreeMap<String, MetaFile>,
}

impl Snapshot {
    /// What is said of `role`, if it is listed.
    pub fn role(&self, role: &RoleName) -> Option<&MetaFile> {
        self.meta.get(&role.meta_key())
    }
}

/// One metadata file as its referrer names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaFile {
    version: NonZeroU64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    length: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hashes: Option<Hashes>,
}

impl MetaFile {
    /// Names `bytes` as version `version` of a metadata file.
    pub fn of(version: NonZeroU64, bytes: &[u8]) -> Self {
        Self { version, length: Some(bytes.len() as u64), hashes: Some(Hashes::of(bytes)) }
    }

    /// The version that the file must have.
    pub fn version(&self) -> u64 {
        self.version.get()
    }

    /// The length that the file must have, if stated.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Checks length and digests of `bytes` as far as they are stated.
    pub fn verify(&self, bytes: &[u8]) -> Result<(), hashes::Error> {
        if let Some(length) = self.length {
            hashes::verify_length(length, bytes)?;
        }
        self.hashes.as_ref().map_or(Ok(()), |hashes| hashes.verify(bytes))
    }
}

/// Names target files and delegates to other roles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Targets {
    /// Version and expiry.
    #[serde(flatten)]
    pub header: Header,
    /// Target files.
    pub targets: BTreeMap<TargetPath, TargetFile>,
    /// Roles that may name some of the paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegations: Option<Delegations>,
}

/// One target file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetFile {
    /// Length in bytes.
    pub length: u64,
    /// Digests.
    pub hashes: Hashes,
    /// Whatever else the signer says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<Value>,
}

impl TargetFile {
    /// Checks length and digests of `bytes`.
    pub fn verify(&self, bytes: &[u8]) -> Result<(), hashes::Error> {
        hashes::verify_length(self.length, bytes)?;
        self.hashes.verify(bytes)
    }

    /// The BLAKE3 digest that the signer put in `custom`, if there is a well-formed one.
    pub fn blake3(&self) -> Option<[u8; 32]> {
        let text = self.custom.as_ref()?.get(BLAKE3)?.as_str()?;
        let mut digest = [0; 32];
        hex::decode_to_slice(text, &mut digest).ok().map(|()| digest)
    }
}

impl Kind for Root {
    const TYPE: &'static str = "root";

    fn header(&self) -> &Header {
        &self.header
    }
}

impl Kind for Timestamp {
    const TYPE: &'static str = "timestamp";

    fn header(&self) -> &Header {
        &self.header
    }
}

impl Kind for Snapshot {
    const TYPE: &'static str = "snapshot";

    fn header(&self) -> &Header {
        &self.header
    }
}

impl Kind for Targets {
    const TYPE: &'static str = "targets";

    fn header(&self) -> &Header {
        &self.header
    }
}

/// Times in metadata are UTC in whole seconds: `2026-01-31T08:00:00Z`.
mod whole_seconds {
    use jiff::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn floor(time: Timestamp) -> Timestamp {
        // A whole second of a valid time is valid; were it not, the time itself is no worse.
        Timestamp::from_second(time.as_second()).unwrap_or(time)
    }

    pub(super) fn serialize<S: Serializer>(
        time: &Timestamp,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&floor(*time))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Timestamp, D::Error> {
        Timestamp::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn header(spec_version: &str, version: u64, expires: &str) -> serde_json::Result<Header> {
        serde_json::from_value(json!({
            "_type": "targets", "spec_version": spec_version, "version": version, "expires": expires
        }))
    }

    #[test]
    fn versions_of_the_specification() {
        for (version, supported) in [
            ("1.0.31", true),
            ("1.0", true),
            ("2.0.0", false),
            ("1", false),
            ("1.x", false),
            ("", false),
            ("1.0.0.0", false),
        ] {
            assert_eq!(
                header(version, 1, "2026-01-31T08:00:00Z").unwrap().is_supported(),
                supported,
                "{version}"
            );
        }
    }

    #[test]
    fn a_document_expires_at_its_very_second() {
        let header = header("1.0.31", 1, "2026-01-31T08:00:00Z").unwrap();
        assert!(!header.is_expired("2026-01-31T07:59:59.9Z".parse().unwrap()));
        assert!(header.is_expired("2026-01-31T08:00:00Z".parse().unwrap()));
    }

    #[test]
    fn there_is_no_version_0() {
        header("1.0.31", 0, "2026-01-31T08:00:00Z").unwrap_err();
    }

    #[test]
    fn times_are_written_in_whole_seconds() {
        let expires = "2026-01-31T08:00:00.7Z".parse().unwrap();
        let header = Header::new::<Targets>(NonZeroU64::MIN, expires);
        assert_eq!(serde_json::to_value(&header).unwrap()["expires"], "2026-01-31T08:00:00Z");
    }
}
