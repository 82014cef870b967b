//! Public keys as TUF metadata states them, and checking one signature.
//!
//! A key of a kind that we can't check is kept (its metadata stays readable, its id stays right) and counts for nothing.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, RSA_PSS_2048_8192_SHA256,
    UnparsedPublicKey, VerificationAlgorithm,
};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::canonical;

/// Bytes of an Ed25519 public key.
const ED25519_LEN: usize = 32;

/// Why a signature does not count.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Keys of this type and scheme are not supported.
    #[error("keys of type {keytype:?} with scheme {scheme:?} are not supported")]
    Unsupported {
        /// The key's `keytype`.
        keytype: String,
        /// The key's `scheme`.
        scheme: String,
    },
    /// The public key itself can't be read.
    #[error("the public key is neither hexadecimal nor PEM, as its type demands")]
    Malformed,
    /// The signature is not this key's signature of the message.
    #[error("the signature does not verify")]
    BadSignature,
}

/// The name of a key within metadata: the hexadecimal SHA-256 of the key's canonical form for keys made by us. Keys made
/// by others may have any name; what counts for thresholds is the key behind it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(String);

impl KeyId {
    /// The id as it stands in metadata.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its first letters: enough to tell the keys of a mesh apart in a list.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl From<String> for KeyId {
    fn from(id: String) -> Self {
        Self(id)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    keytype: String,
    scheme: String,
    keyval: KeyValue,
    /// Fields unknown to us; the key id covers them.
    #[serde(flatten)]
    extra: BTreeMap<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeyValue {
    public: String,
    #[serde(flatten)]
    extra: BTreeMap<String, Value>,
}

impl Key {
    /// An Ed25519 key from its 32 bytes.
    pub fn ed25519(public: &[u8]) -> Self {
        Self {
            keytype: "ed25519".into(),
            scheme: "ed25519".into(),
            keyval: KeyValue { public: hex::encode(public), extra: BTreeMap::new() },
            extra: BTreeMap::new(),
        }
    }

    /// The 32 bytes of an Ed25519 key; `None` for one of another kind.
    pub fn ed25519_bytes(&self) -> Option<[u8; 32]> {
        if self.keytype != "ed25519" {
            return None;
        }
        let mut bytes = [0; ED25519_LEN];
        hex::decode_to_slice(&self.keyval.public, &mut bytes).ok().map(|()| bytes)
    }

    /// The key as one line of text, for a file of its own: `ed25519 HEX`.
    pub fn to_text(&self) -> String {
        format!("{} {}", self.keytype, self.keyval.public)
    }

    /// Reads a key written by [`Key::to_text`].
    pub fn from_text(text: &str) -> Result<Self, Error> {
        let bytes = text.trim().strip_prefix("ed25519 ").and_then(|hex| hex::decode(hex).ok());
        let key = Self::ed25519(&bytes.ok_or(Error::Malformed)?);
        key.fingerprint().map(|_| key)
    }

    /// What makes the key different from others, whatever it is called; an error for a key whose signatures we could never
    /// check.
    pub fn fingerprint(&self) -> Result<Fingerprint, Error> {
        let (_, public) = self.parts()?;
        if self.keytype == "ed25519" && public.len() != ED25519_LEN {
            return Err(Error::Malformed);
        }
        Ok(Fingerprint(public))
    }

    /// The SHA-256 of the key's canonical form.
    pub fn id(&self) -> Result<KeyId, canonical::Error> {
        let mut fields: serde_json::Map<String, Value> = self.extra.clone().into_iter().collect();
        let mut value: serde_json::Map<String, Value> =
            self.keyval.extra.clone().into_iter().collect();
        value.insert("public".into(), self.keyval.public.clone().into());
        fields.insert("keytype".into(), self.keytype.clone().into());
        fields.insert("scheme".into(), self.scheme.clone().into());
        fields.insert("keyval".into(), value.into());
        let form = canonical::to_vec(&Value::Object(fields))?;
        Ok(KeyId(hex::encode(digest(&SHA256, &form))))
    }

    /// Checks that `signature` is this key's signature of `message`, and returns what makes the key different from others,
    /// so that one key under two ids counts once.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<Fingerprint, Error> {
        let (algorithm, public) = self.parts()?;
        UnparsedPublicKey::new(algorithm, &public)
            .verify(message, signature)
            .map_err(|_| Error::BadSignature)?;
        Ok(Fingerprint(public))
    }

    fn parts(&self) -> Result<(&'static dyn VerificationAlgorithm, Vec<u8>), Error> {
        Ok(match (self.keytype.as_str(), self.scheme.as_str()) {
            ("ed25519", "ed25519") => {
                (&ED25519, hex::decode(&self.keyval.public).map_err(|_| Error::Malformed)?)
            }
            // Old repositories name the curve in the type too.
            ("ecdsa" | "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256") => {
                (&ECDSA_P256_SHA256_ASN1, self.pem()?)
            }
            ("ecdsa" | "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384") => {
                (&ECDSA_P384_SHA384_ASN1, self.pem()?)
            }
            ("rsa", "rsassa-pss-sha256") => (&RSA_PSS_2048_8192_SHA256, self.pem()?),
            _ => {
                return Err(Error::Unsupported {
                    keytype: self.keytype.clone(),
                    scheme: self.scheme.clone(),
                });
            }
        })
    }

    fn pem(&self) -> Result<Vec<u8>, Error> {
        SubjectPublicKeyInfoDer::from_pem_slice(self.keyval.public.as_bytes())
            .map(|der| der.to_vec())
            .map_err(|_| Error::Malformed)
    }
}

/// The bytes of a public key, whatever it is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(Vec<u8>);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuf::signing::SigningKey;
    use serde_json::json;

    #[test]
    fn an_id_covers_unknown_fields() {
        // The id was computed with securesystemslib 1.4.
        let key: Key = serde_json::from_value(json!({
            "keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "ab".repeat(32)},
            "x-owner": "@someone"
        }))
        .unwrap();
        assert_eq!(
            key.id().unwrap().to_string(),
            "87df28e5e88dd742f96a47cfe6e4458b828c3b3c92821d568ce1b5994eec0ed6"
        );
    }

    #[test]
    fn a_signature_is_checked_by_kind() {
        let signer = SigningKey::generate().unwrap();
        let signature = signer.sign(b"message");
        signer.public().verify(b"message", &signature).unwrap();
        assert!(matches!(signer.public().verify(b"other", &signature), Err(Error::BadSignature)));
        assert!(matches!(signer.public().verify(b"message", b""), Err(Error::BadSignature)));

        let unknown = Key {
            scheme: "rsa-pkcs1v15-md5".into(),
            keytype: "rsa".into(),
            ..signer.public().clone()
        };
        assert!(matches!(unknown.verify(b"message", &signature), Err(Error::Unsupported { .. })));
        let malformed = Key {
            scheme: "rsassa-pss-sha256".into(),
            keytype: "rsa".into(),
            ..signer.public().clone()
        };
        assert!(matches!(malformed.verify(b"message", &signature), Err(Error::Malformed)));
    }
}
