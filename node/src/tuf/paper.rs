//! Metadata on its way to be signed by people who are elsewhere.
//!
//! A [`Paper`] is one metadata document together with the signatures that it has so far. It travels as JSON: to a person's
//! machine, to an offline host, back. What is signed is fixed when the paper is written; a signature is added, never taken
//! away. What it says counts for nothing before [`Paper::envelope`] was verified like any other document.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::canonical;
use super::envelope::{self, Authority, Envelope, Signature};
use super::key::{Fingerprint, KeyId};
use super::metadata::Kind;
use super::name::RoleName;
use super::signing::SigningKey;
use super::storage::Document;

/// Most signatures on one paper: more than a company has people for a role.
const MAX_SIGNATURES: usize = 64;

/// Why a signature was not added.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The key has no say in this role.
    #[error("key {} does not hold the role {role}", keyid.short())]
    NotAHolder {
        /// The role.
        role: RoleName,
        /// The key named.
        keyid: KeyId,
    },
    /// The signature is of another text, or by another key.
    #[error("the signature by key {} is not one of this text of role {role}", keyid.short())]
    Invalid {
        /// The role.
        role: RoleName,
        /// The key named.
        keyid: KeyId,
    },
    /// Each key counts once.
    #[error("key {} has signed this for role {role} already; the same signer counts once", keyid.short())]
    Twice {
        /// The role.
        role: RoleName,
        /// The key named.
        keyid: KeyId,
    },
    /// More signatures than anybody needs.
    #[error("there are {MAX_SIGNATURES} signatures of role {role} already")]
    TooMany {
        /// The role.
        role: RoleName,
    },
    /// The text has no canonical form; it was not made here.
    #[error("the text of role {role} can't be signed")]
    Canonical {
        /// The role.
        role: RoleName,
        /// Why.
        source: canonical::Error,
    },
}

/// A document to be signed, and its signatures so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paper {
    role: RoleName,
    signed: Value,
    signatures: Vec<Signature>,
}

/// How far a paper has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Holders whose valid signature is there.
    pub signed: Vec<KeyId>,
    /// Holders whose signature is not.
    pub missing: Vec<KeyId>,
    /// How many must sign.
    pub threshold: usize,
}

impl Standing {
    /// Whether enough have signed.
    pub fn is_met(&self) -> bool {
        self.signed.len() >= self.threshold
    }
}

impl Paper {
    /// Writes `document` down for `role`, unsigned.
    pub fn of<T: Kind>(role: RoleName, document: &T) -> Result<Self, envelope::Error> {
        let signed = serde_json::to_value(document).map_err(envelope::Error::Malformed)?;
        canonical::to_vec(&signed).map_err(envelope::Error::Canonical)?;
        Ok(Self { role, signed, signatures: Vec::new() })
    }

    /// Whose metadata it is.
    pub fn role(&self) -> &RoleName {
        &self.role
    }

    /// The signatures so far. They were not necessarily checked.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// The bytes that a signature covers.
    pub fn message(&self) -> Result<Vec<u8>, Refused> {
        canonical::to_vec(&self.signed)
            .map_err(|source| Refused::Canonical { role: self.role.clone(), source })
    }

    /// The same text without its signatures.
    #[must_use]
    pub fn blank(&self) -> Self {
        Self { signatures: Vec::new(), ..self.clone() }
    }

    /// Whether both are the same text, whoever has signed.
    pub fn is_same_text(&self, other: &Self) -> bool {
        self.role == other.role && self.signed == other.signed
    }

    /// Signs with a private key. Whether that counts is for [`Paper::standing`] to say.
    pub fn sign(&mut self, key: &SigningKey) -> Result<Signature, Refused> {
        let signature = Signature::of(key, &self.message()?);
        self.put(signature.clone())?;
        Ok(signature)
    }

    /// Adds a signature that was made elsewhere: a valid one, by a holder who has not signed yet.
    pub fn add(&mut self, signature: Signature, authority: Authority<'_>) -> Result<(), Refused> {
        let (role, keyid) = (self.role.clone(), signature.keyid.clone());
        if !authority.holders.keyids().contains(&keyid) {
            return Err(Refused::NotAHolder { role, keyid });
        }
        let message = self.message()?;
        let signer = signature
            .signer(&message, authority)
            .ok_or_else(|| Refused::Invalid { role: role.clone(), keyid: keyid.clone() })?;
        if self.signers(&message, authority).contains(&signer) {
            return Err(Refused::Twice { role, keyid });
        }
        self.put(signature)
    }

    /// Takes away every signature that `keep` does not want.
    pub fn retain(&mut self, keep: impl Fn(&KeyId) -> bool) {
        self.signatures.retain(|signature| keep(&signature.keyid));
    }

    /// Who of the holders has signed and who has not. One key under two ids counts once.
    pub fn standing(&self, authority: Authority<'_>) -> Standing {
        let message = self.message().unwrap_or_default();
        let mut seen = BTreeSet::new();
        let (mut signed, mut missing) = (Vec::new(), Vec::new());
        for keyid in authority.holders.keyids() {
            let mut signatures = self.signatures.iter().filter(|one| one.keyid == *keyid);
            let signer = signatures.find_map(|one| one.signer(&message, authority));
            match signer {
                Some(signer) if seen.insert(signer.clone()) => signed.push(keyid.clone()),
                Some(_) => {}
                None => missing.push(keyid.clone()),
            }
        }
        Standing { signed, missing, threshold: authority.holders.threshold().get() as usize }
    }

    /// The version of its text.
    pub fn version(&self) -> Option<u64> {
        self.signed.get("version").and_then(Value::as_u64)
    }

    /// The document with its signatures, to be verified.
    pub fn envelope<T: Kind>(&self) -> Result<Envelope<T>, envelope::Error> {
        Envelope::parse(&envelope::assemble(&self.signed, &self.signatures)?)
    }

    /// The metadata file.
    pub fn document<T: Kind>(&self) -> Result<Document, envelope::Error> {
        let bytes = envelope::assemble(&self.signed, &self.signatures)?;
        let version = Envelope::<T>::parse(&bytes)?.version();
        Ok(Document { role: self.role.clone(), version, bytes })
    }

    fn put(&mut self, signature: Signature) -> Result<(), Refused> {
        let role = || self.role.clone();
        if self.signatures.iter().any(|one| one.keyid == signature.keyid) {
            return Err(Refused::Twice { role: role(), keyid: signature.keyid });
        }
        if self.signatures.len() >= MAX_SIGNATURES {
            return Err(Refused::TooMany { role: role() });
        }
        self.signatures.push(signature);
        Ok(())
    }

    fn signers(&self, message: &[u8], authority: Authority<'_>) -> BTreeSet<Fingerprint> {
        self.signatures.iter().filter_map(|one| one.signer(message, authority)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuf::fixture::{days, header, holders, public};
    use crate::tuf::metadata::Targets;
    use std::collections::BTreeMap;

    fn paper() -> Paper {
        let header = header::<Targets>(4, days(1));
        let targets = Targets { header, targets: BTreeMap::new(), delegations: None };
        Paper::of(RoleName::new("production").unwrap(), &targets).unwrap()
    }

    #[test]
    fn a_threshold_of_people_sign_one_after_the_other() {
        let (a, b, c) = (
            SigningKey::generate().unwrap(),
            SigningKey::generate().unwrap(),
            SigningKey::generate().unwrap(),
        );
        let (keys, holders) = (public(&[&a, &b, &c]), holders(&[&a, &b, &c], 2));
        let authority = Authority { keys: &keys, holders: &holders };
        let mut paper = paper();
        let message = paper.message().unwrap();
        paper.add(Signature::of(&a, &message), authority).unwrap();
        let standing = paper.standing(authority);
        assert_eq!((standing.signed.len(), standing.is_met()), (1, false));
        assert_eq!(standing.missing, [b.id().clone(), c.id().clone()]);
        paper.envelope::<Targets>().unwrap().verify(authority).unwrap_err();

        assert!(matches!(
            paper.add(Signature::of(&a, &message), authority),
            Err(Refused::Twice { .. })
        ));
        assert!(matches!(
            paper.add(Signature::of(&b, b"another text"), authority),
            Err(Refused::Invalid { .. })
        ));
        let stranger = SigningKey::generate().unwrap();
        assert!(matches!(
            paper.add(Signature::of(&stranger, &message), authority),
            Err(Refused::NotAHolder { .. })
        ));
        // It travels as JSON.
        let mut paper: Paper =
            serde_json::from_slice(&serde_json::to_vec(&paper).unwrap()).unwrap();
        paper.add(Signature::of(&c, &message), authority).unwrap();
        assert!(paper.standing(authority).is_met());
        paper.envelope::<Targets>().unwrap().verify(authority).unwrap();
        assert_eq!(paper.document::<Targets>().unwrap().version, 4);
    }

    #[test]
    fn one_key_under_two_names_counts_once() {
        let key = SigningKey::generate().unwrap();
        let other = SigningKey::generate().unwrap();
        let mut keys = public(&[&key, &other]);
        let alias = KeyId::from("alias".to_owned());
        keys.insert(alias.clone(), key.public().clone());
        let holders = crate::tuf::delegation::Holders::new(
            vec![key.id().clone(), alias.clone(), other.id().clone()],
            std::num::NonZeroU32::new(2).unwrap(),
        )
        .unwrap();
        let authority = Authority { keys: &keys, holders: &holders };
        let mut paper = paper();
        let signature = Signature::of(&key, &paper.message().unwrap());
        paper.add(signature.clone(), authority).unwrap();
        let again = Signature { keyid: alias, ..signature };
        assert!(matches!(paper.add(again.clone(), authority), Err(Refused::Twice { .. })));
        // Not even if it got in by another way.
        paper.put(again).unwrap();
        assert!(!paper.standing(authority).is_met());
    }
}
