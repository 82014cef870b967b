//! Signed metadata: the signatures, the bytes they cover, and the question whether enough of the right keys signed.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::canonical;
use super::delegation::Holders;
use super::key::{Fingerprint, Key, KeyId};
use super::metadata::{Header, Kind};
use super::signing::SigningKey;

/// Why bytes are not metadata of the kind expected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are not JSON, or lack fields that the kind must have.
    #[error("not well-formed metadata")]
    Malformed(#[source] serde_json::Error),
    /// The signed part has no canonical form, so nobody can have signed it.
    #[error("the signed part has no canonical form")]
    Canonical(#[source] canonical::Error),
    /// The document is of another kind.
    #[error("expected metadata of type {expected:?}, found {found:?}")]
    Kind {
        /// What was expected.
        expected: &'static str,
        /// The document's `_type`.
        found: String,
    },
    /// The document is of a version of the specification that we can't read.
    #[error("specification version {0:?} is not supported, only 1.x")]
    SpecVersion(String),
    /// Two signatures bear the same key id.
    #[error("more than one signature by key {0}")]
    DuplicateSignature(KeyId),
}

/// Fewer keys than necessary have signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("signed by {valid} of the {threshold} keys that are necessary")]
pub struct BelowThreshold {
    /// How many different keys have validly signed.
    pub valid: usize,
    /// How many must.
    pub threshold: NonZeroU32,
}

/// A metadata document with its signatures. What it says is only to be trusted after [`Envelope::verify`].
#[derive(Debug, Clone)]
pub struct Envelope<T> {
    signed: T,
    canonical: Vec<u8>,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct RawEnvelope {
    signed: Value,
    signatures: Vec<Signature>,
}

/// One key's signature, as it stands in a metadata file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Whose.
    pub keyid: KeyId,
    /// Hexadecimal. Kept as text, because a signature that can't be read is no worse than one that is wrong: others may
    /// still reach the threshold.
    pub sig: String,
}

impl Signature {
    /// The key's signature of `message`.
    pub fn of(key: &SigningKey, message: &[u8]) -> Self {
        Self { keyid: key.id().clone(), sig: hex::encode(key.sign(message)) }
    }

    /// Which key made it, if it is a valid signature of `message` by a holder that it names.
    pub fn signer(&self, message: &[u8], authority: Authority<'_>) -> Option<Fingerprint> {
        if !authority.holders.keyids().contains(&self.keyid) {
            return None;
        }
        let key = authority.keys.get(&self.keyid)?;
        key.verify(message, &hex::decode(&self.sig).ok()?).ok()
    }
}

impl<T: Kind> Envelope<T> {
    /// Reads a document and checks that it is of kind `T` and of a supported specification version.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let raw: RawEnvelope = serde_json::from_slice(bytes).map_err(Error::Malformed)?;
        let canonical = canonical::to_vec(&raw.signed).map_err(Error::Canonical)?;
        // Kind and version first: a document of another kind would else be reported by the fields it lacks.
        let header = Header::deserialize(&raw.signed).map_err(Error::Malformed)?;
        if header.kind() != T::TYPE {
            return Err(Error::Kind { expected: T::TYPE, found: header.kind().to_owned() });
        }
        if !header.is_supported() {
            return Err(Error::SpecVersion(header.spec_version().to_owned()));
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = raw.signatures.iter().find(|signature| !seen.insert(&signature.keyid))
        {
            return Err(Error::DuplicateSignature(twice.keyid.clone()));
        }
        let signed = serde_json::from_value(raw.signed).map_err(Error::Malformed)?;
        Ok(Self { signed, canonical, signatures: raw.signatures })
    }

    /// What the document says.
    pub fn signed(&self) -> &T {
        &self.signed
    }

    /// What the document says, without its signatures.
    pub fn into_signed(self) -> T {
        self.signed
    }

    /// The document's version.
    pub fn version(&self) -> u64 {
        self.signed.header().version()
    }

    /// Checks that at least the threshold of different keys among the holders have signed.
    pub fn verify(&self, authority: Authority<'_>) -> Result<(), BelowThreshold> {
        let threshold = authority.holders.threshold();
        // By key, not by id: one key under two ids is still one.
        let valid: BTreeSet<_> = self
            .signatures
            .iter()
            .filter_map(|signature| signature.signer(&self.canonical, authority))
            .collect();
        if valid.len() >= threshold.get() as usize {
            Ok(())
        } else {
            Err(BelowThreshold { valid: valid.len(), threshold })
        }
    }
}

/// Who may sign a role, by the word of its delegator.
#[derive(Debug, Clone, Copy)]
pub struct Authority<'a> {
    /// Public keys by id.
    pub keys: &'a BTreeMap<KeyId, Key>,
    /// Which of the keys, and how many.
    pub holders: &'a Holders,
}

/// Signs a document with all of `keys` and returns the bytes of the metadata file.
pub fn sign<T: Kind>(document: &T, keys: &[&SigningKey]) -> Result<Vec<u8>, Error> {
    let signed = serde_json::to_value(document).map_err(Error::Malformed)?;
    let canonical = canonical::to_vec(&signed).map_err(Error::Canonical)?;
    let signatures: Vec<_> = keys.iter().map(|key| Signature::of(key, &canonical)).collect();
    assemble(&signed, &signatures)
}

/// The bytes of the metadata file of `signed`, with signatures made anywhere.
pub(super) fn assemble(signed: &Value, signatures: &[Signature]) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(&serde_json::json!({ "signatures": signatures, "signed": signed }))
        .map_err(Error::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuf::metadata::{Root, Targets};
    use serde_json::json;
    use std::num::NonZeroU64;

    fn document() -> Targets {
        let expires = "2026-01-31T08:00:00Z".parse().unwrap();
        let header = Header::new::<Targets>(NonZeroU64::MIN, expires);
        Targets { header, targets: BTreeMap::new(), delegations: None }
    }

    fn holders(keys: &[&SigningKey], threshold: u32) -> (BTreeMap<KeyId, Key>, Holders) {
        let ids = keys.iter().map(|key| key.id().clone()).collect();
        let keys = keys.iter().map(|key| (key.id().clone(), key.public().clone())).collect();
        (keys, Holders::new(ids, NonZeroU32::new(threshold).unwrap()).unwrap())
    }

    #[test]
    fn a_threshold_of_different_keys_must_sign() {
        let (a, b, c) = (
            SigningKey::generate().unwrap(),
            SigningKey::generate().unwrap(),
            SigningKey::generate().unwrap(),
        );
        let (keys, holders) = holders(&[&a, &b], 2);
        let verify = |signers: &[&SigningKey]| {
            let bytes = sign(&document(), signers).unwrap();
            Envelope::<Targets>::parse(&bytes)
                .unwrap()
                .verify(Authority { keys: &keys, holders: &holders })
        };
        verify(&[&a, &b]).unwrap();
        verify(&[&c, &b, &a]).unwrap();
        assert_eq!(verify(&[&a, &c]).unwrap_err().valid, 1);
        assert_eq!(verify(&[]).unwrap_err().valid, 0);
    }

    #[test]
    fn the_same_key_under_two_ids_counts_once() {
        let key = SigningKey::generate().unwrap();
        let alias: KeyId = serde_json::from_value(json!("alias")).unwrap();
        let keys = BTreeMap::from([
            (key.id().clone(), key.public().clone()),
            (alias.clone(), key.public().clone()),
        ]);
        let holders =
            Holders::new(vec![key.id().clone(), alias], NonZeroU32::new(2).unwrap()).unwrap();
        let mut file: Value =
            serde_json::from_slice(&sign(&document(), &[&key, &key]).unwrap()).unwrap();
        file["signatures"][1]["keyid"] = json!("alias");
        let envelope = Envelope::<Targets>::parse(&serde_json::to_vec(&file).unwrap()).unwrap();
        assert_eq!(
            envelope.verify(Authority { keys: &keys, holders: &holders }).unwrap_err().valid,
            1
        );
    }

    #[test]
    fn two_signatures_by_one_key_are_refused() {
        let key = SigningKey::generate().unwrap();
        let bytes = sign(&document(), &[&key, &key]).unwrap();
        assert!(matches!(Envelope::<Targets>::parse(&bytes), Err(Error::DuplicateSignature(_))));
    }

    #[test]
    fn unknown_fields_are_covered_by_signatures() {
        let key = SigningKey::generate().unwrap();
        let (keys, holders) = holders(&[&key], 1);
        let mut file: Value = serde_json::from_slice(&sign(&document(), &[&key]).unwrap()).unwrap();
        file["signed"]["x-added"] = json!(1);
        let forged = Envelope::<Targets>::parse(&serde_json::to_vec(&file).unwrap()).unwrap();
        forged.verify(Authority { keys: &keys, holders: &holders }).unwrap_err();

        let canonical = canonical::to_vec(&file["signed"]).unwrap();
        file["signatures"][0]["sig"] = json!(hex::encode(key.sign(&canonical)));
        let honest = Envelope::<Targets>::parse(&serde_json::to_vec(&file).unwrap()).unwrap();
        honest.verify(Authority { keys: &keys, holders: &holders }).unwrap();
    }

    #[test]
    fn other_documents_are_told_apart() {
        let bytes = sign(&document(), &[]).unwrap();
        assert!(matches!(
            Envelope::<Root>::parse(&bytes),
            Err(Error::Kind { expected: "root", .. })
        ));
        assert!(matches!(Envelope::<Root>::parse(b"{}"), Err(Error::Malformed(_))));
        assert!(matches!(Envelope::<Root>::parse(b"\xff"), Err(Error::Malformed(_))));
        assert!(matches!(
            Envelope::<Root>::parse("[".repeat(10_000).as_bytes()),
            Err(Error::Malformed(_))
        ));
        let newer = String::from_utf8(bytes).unwrap().replace("\"1.0.31\"", "\"2.0.0\"");
        assert!(matches!(Envelope::<Targets>::parse(newer.as_bytes()), Err(Error::SpecVersion(_))));
    }
}
