//! Lengths and digests by which one file vouches for another.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use serde::{Deserialize, Serialize};

const SHA256_NAME: &str = "sha256";
const SHA512_NAME: &str = "sha512";

/// Why bytes are not the ones that were named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The number of bytes differs.
    #[error("expected {expected} bytes, found {found}")]
    Length {
        /// Length in signed metadata.
        expected: u64,
        /// Length received.
        found: u64,
    },
    /// A digest differs.
    #[error("{algorithm} digest is {found}, expected {expected}")]
    Digest {
        /// Which digest.
        algorithm: &'static str,
        /// Hexadecimal digest in signed metadata.
        expected: String,
        /// Hexadecimal digest of the bytes received.
        found: String,
    },
    /// No digest by an algorithm that we know is given, so nothing vouches for the bytes.
    #[error("none of the digests ({0}) is sha256 or sha512")]
    NoKnownAlgorithm(String),
}

/// Digests of one file by algorithm, hexadecimal. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct Hashes(BTreeMap<String, String>);

impl Hashes {
    /// The SHA-256 digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_sha256(digest(&SHA256, bytes).as_ref())
    }

    /// Wraps a SHA-256 digest computed elsewhere.
    pub fn from_sha256(sha256: &[u8]) -> Self {
        Self(BTreeMap::from([(SHA256_NAME.to_owned(), hex::encode(sha256))]))
    }

    /// The digest that names the file in a repository with consistent snapshots: SHA-256 if given, else SHA-512.
    /// `None` if neither is given as hexadecimal text.
    pub fn file_prefix(&self) -> Option<&str> {
        [SHA256_NAME, SHA512_NAME]
            .iter()
            .filter_map(|name| self.0.get(*name))
            .find(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .map(String::as_str)
    }

    /// Checks `bytes` against every digest whose algorithm we know; there must be at least one.
    pub fn verify(&self, bytes: &[u8]) -> Result<(), Error> {
        let mut known = false;
        for (name, algorithm) in [(SHA256_NAME, &SHA256), (SHA512_NAME, &SHA512)] {
            let Some(expected) = self.0.get(name) else { continue };
            known = true;
            let found = hex::encode(digest(algorithm, bytes));
            if !expected.eq_ignore_ascii_case(&found) {
                return Err(Error::Digest { algorithm: name, expected: expected.clone(), found });
            }
        }
        if known { Ok(()) } else { Err(Error::NoKnownAlgorithm(self.algorithms())) }
    }

    fn algorithms(&self) -> String {
        self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

/// `hashes` was an empty object.
#[derive(Debug, thiserror::Error)]
#[error("hashes must hold at least one digest")]
pub struct NoHashes;

impl TryFrom<BTreeMap<String, String>> for Hashes {
    type Error = NoHashes;

    fn try_from(hashes: BTreeMap<String, String>) -> Result<Self, NoHashes> {
        if hashes.is_empty() { Err(NoHashes) } else { Ok(Self(hashes)) }
    }
}

impl From<Hashes> for BTreeMap<String, String> {
    fn from(hashes: Hashes) -> Self {
        hashes.0
    }
}

/// Checks the length of `bytes`.
pub fn verify_length(expected: u64, bytes: &[u8]) -> Result<(), Error> {
    let found = bytes.len() as u64;
    if found == expected { Ok(()) } else { Err(Error::Length { expected, found }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(pairs: &[(&str, &str)]) -> Hashes {
        Hashes(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn every_known_digest_must_match() {
        let mut both = Hashes::of(b"content");
        both.verify(b"content").unwrap();
        assert!(matches!(both.verify(b"other"), Err(Error::Digest { algorithm: "sha256", .. })));
        both.0.insert("sha512".into(), "00".into());
        assert!(matches!(both.verify(b"content"), Err(Error::Digest { algorithm: "sha512", .. })));
    }

    #[test]
    fn an_unknown_digest_alone_vouches_for_nothing() {
        assert!(matches!(hashes(&[("crc32", "00")]).verify(b""), Err(Error::NoKnownAlgorithm(_))));
        assert_eq!(hashes(&[("crc32", "00")]).file_prefix(), None);
        assert_eq!(hashes(&[("sha256", "../x")]).file_prefix(), None);
    }
}
