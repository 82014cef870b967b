//! The certificates that an operator trusts for a source, and checking
//! signatures against them.

use std::fmt;
use std::path::Path;

use jiff::Timestamp;
use pgp::composed::{Deserializable, DetachedSignature, PublicOrSecret, SignedPublicKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::{KeyDetails, VerifyingKey};

use super::certificate::{self, Standing, expiry};
use super::{CLOCK_SKEW, Error, MAX_KEYRING, MAX_SIGNATURES, cleartext, time};

/// Certificates trusted for one purpose.
#[derive(Debug, Clone)]
pub struct Keyring {
    certificates: Vec<SignedPublicKey>,
}

/// Whose signature was good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// Fingerprint of the key that signed, upper-case hexadecimal.
    pub fingerprint: String,
    /// Fingerprint of the certificate's primary key.
    pub certificate: String,
    /// When the signature says it was made.
    pub created: Timestamp,
}

/// Text that a good signature covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The text, lines ended by LF.
    pub text: String,
    /// Who signed it.
    pub signer: Signer,
}

/// Why one signature does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// No certificate of the keyring has the key.
    UnknownKey(String),
    /// The signature is over something else, or forged.
    Mismatch(String),
    /// The key expired then.
    KeyExpired(String, Timestamp),
    /// The key was revoked.
    KeyRevoked(String),
    /// The key is meant for something else than signing.
    NotForSigning(String),
    /// The key is too short, or of a kind that no longer holds.
    WeakKey(String),
    /// Nothing valid binds the key to its certificate.
    Unbound(String),
    /// The signature expired then.
    Expired(String, Timestamp),
    /// The signature says that it was made later than now.
    Future(String, Timestamp),
    /// The hash under the signature can be forged.
    WeakHash(String, String),
    /// Not a signature over data, or without the time it was made.
    Kind(String),
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey(key) => write!(f, "key {key} is not in the keyring"),
            Self::Mismatch(key) => write!(f, "the signature by {key} does not fit the text"),
            Self::KeyExpired(key, at) => write!(f, "key {key} expired at {at}"),
            Self::KeyRevoked(key) => write!(f, "key {key} is revoked"),
            Self::NotForSigning(key) => write!(f, "key {key} is not meant for signing"),
            Self::WeakKey(key) => write!(f, "key {key} is too weak"),
            Self::Unbound(key) => write!(f, "key {key} has no valid self-signature"),
            Self::Expired(key, at) => write!(f, "the signature by {key} expired at {at}"),
            Self::Future(key, at) => {
                write!(
                    f,
                    "the signature by {key} was made at {at}, which is in the future; check this clock"
                )
            }
            Self::WeakHash(key, hash) => {
                write!(f, "the signature by {key} rests on {hash}, which can be forged")
            }
            Self::Kind(key) => write!(f, "the signature by {key} is not one over data"),
        }
    }
}

impl Keyring {
    /// Reads a keyring: one or several certificates, binary or armored, also
    /// several armored blocks one behind the other.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_KEYRING {
            return Err(Error::KeyringLarge(bytes.len()));
        }
        if bytes.get(8..12) == Some(b"KBXf") {
            return Err(Error::Keybox);
        }
        let mut certificates = Vec::new();
        for block in blocks(bytes) {
            let form = |source| Error::KeyringForm { source };
            let (keys, _) = PublicOrSecret::from_reader_many_buf(block).map_err(form)?;
            for key in keys {
                match key.map_err(form)? {
                    PublicOrSecret::Public(certificate) => certificates.push(certificate),
                    PublicOrSecret::Secret(_) => return Err(Error::Secret),
                }
            }
        }
        if certificates.is_empty() {
            return Err(Error::KeyringEmpty);
        }
        Ok(Self { certificates })
    }

    /// Reads a keyring's file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let fault = |source| Error::KeyringRead { path: path.to_owned(), source };
        let length = std::fs::metadata(path).map_err(fault)?.len();
        if length > MAX_KEYRING as u64 {
            return Err(Error::KeyringLarge(usize::try_from(length).unwrap_or(usize::MAX)));
        }
        Self::parse(&std::fs::read(path).map_err(fault)?)
    }

    /// The primary keys' fingerprints, upper-case hexadecimal.
    pub fn fingerprints(&self) -> impl Iterator<Item = String> {
        self.certificates.iter().map(fingerprint)
    }

    /// Checks a detached signature (`Release.gpg`), armored or binary, over
    /// `data`. One good signature is enough, as for apt.
    pub fn verify_detached(
        &self,
        data: &[u8],
        signature: &[u8],
        now: Timestamp,
    ) -> Result<Signer, Error> {
        let mut rejections = Vec::new();
        for signature in signatures(signature)? {
            match self.check(&signature, data, now) {
                Ok(signer) => return Ok(signer),
                Err(rejection) => rejections.push(rejection),
            }
        }
        if rejections.is_empty() { Err(Error::Unsigned) } else { Err(Error::Untrusted(rejections)) }
    }

    /// Checks a clear-signed message (`InRelease`) and returns the text that
    /// its signature covers, nothing else.
    pub fn verify_cleartext(&self, message: &[u8], now: Timestamp) -> Result<Signed, Error> {
        let parts = cleartext::split(message)?;
        let signer = self.verify_detached(&parts.canonical, parts.signature, now)?;
        Ok(Signed { text: cleartext::plain(&parts.canonical)?, signer })
    }

    fn check(
        &self,
        signature: &Signature,
        data: &[u8],
        now: Timestamp,
    ) -> Result<Signer, Rejection> {
        let issuer = issuer(signature);
        let over_data =
            matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text));
        let (true, Some(created)) = (over_data, signature.created().map(time)) else {
            return Err(Rejection::Kind(issuer));
        };
        let mut rejection = Rejection::UnknownKey(issuer);
        for certificate in &self.certificates {
            let signer = |key: String| Signer {
                fingerprint: key,
                certificate: fingerprint(certificate),
                created,
            };
            if made_by(signature, &certificate.primary_key) {
                let standing = certificate::primary(certificate, now);
                match judge(signature, &certificate.primary_key, standing, created, data, now) {
                    Ok(key) => return Ok(signer(key)),
                    Err(reason) => rejection = reason,
                }
            }
            for subkey in
                certificate.public_subkeys.iter().filter(|subkey| made_by(signature, &subkey.key))
            {
                let standing = certificate::subkey(certificate, subkey, now);
                match judge(signature, &subkey.key, standing, created, data, now) {
                    Ok(key) => return Ok(signer(key)),
                    Err(reason) => rejection = reason,
                }
            }
        }
        Err(rejection)
    }
}

/// The signing key's fingerprint, if its signature over `data` is good now.
fn judge(
    signature: &Signature,
    key: &impl VerifyingKey,
    standing: Standing,
    created: Timestamp,
    data: &[u8],
    now: Timestamp,
) -> Result<String, Rejection> {
    let name = fingerprint(key);
    match standing {
        Standing::Good => {}
        Standing::Expired(at) => return Err(Rejection::KeyExpired(name, at)),
        Standing::Revoked => return Err(Rejection::KeyRevoked(name)),
        Standing::NotForSigning => return Err(Rejection::NotForSigning(name)),
        Standing::Weak => return Err(Rejection::WeakKey(name)),
        Standing::Unbound => return Err(Rejection::Unbound(name)),
    }
    match signature.hash_alg() {
        Some(HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512) => {}
        Some(HashAlgorithm::Sha3_256 | HashAlgorithm::Sha3_512) => {}
        other => {
            let hash = other.map_or_else(|| "an unknown hash".to_owned(), |hash| hash.to_string());
            return Err(Rejection::WeakHash(name, hash));
        }
    }
    if created > now + CLOCK_SKEW {
        return Err(Rejection::Future(name, created));
    }
    if let Some(at) = expiry(created, signature.signature_expiration_time()).filter(|&at| at <= now)
    {
        return Err(Rejection::Expired(name, at));
    }
    match signature.verify(key, data) {
        Ok(()) => Ok(name),
        Err(_) => Err(Rejection::Mismatch(name)),
    }
}

fn made_by(signature: &Signature, key: &impl KeyDetails) -> bool {
    signature.issuer_fingerprint().contains(&&key.fingerprint())
        || signature.issuer_key_id().contains(&&key.legacy_key_id())
}

fn issuer(signature: &Signature) -> String {
    let print = signature.issuer_fingerprint().first().map(|print| format!("{print:X}"));
    let id = || signature.issuer_key_id().first().map(|id| id.to_string().to_uppercase());
    print.or_else(id).unwrap_or_else(|| "of no name".to_owned())
}

fn fingerprint(key: &impl KeyDetails) -> String {
    format!("{:X}", key.fingerprint())
}

/// Reads signatures, armored or binary, bounded in number.
fn signatures(bytes: &[u8]) -> Result<Vec<Signature>, Error> {
    let mut found = Vec::new();
    for block in blocks(bytes) {
        let form = |source| Error::SignatureForm { source };
        let (signatures, _) = DetachedSignature::from_reader_many_buf(block).map_err(form)?;
        for signature in signatures {
            if found.len() == MAX_SIGNATURES {
                return Err(Error::ManySignatures);
            }
            found.push(signature.map_err(form)?.signature);
        }
    }
    Ok(found)
}

/// Armored blocks one by one; binary data, known by its first bit, as a whole.
fn blocks(bytes: &[u8]) -> Vec<&[u8]> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    if bytes.first().is_none_or(|first| first & 0x80 != 0) {
        return if bytes.is_empty() { Vec::new() } else { vec![bytes] };
    }
    let mut starts: Vec<usize> = std::iter::once(0)
        .chain(bytes.iter().enumerate().filter(|&(_, &byte)| byte == b'\n').map(|(at, _)| at + 1))
        .filter(|&at| bytes[at..].starts_with(BEGIN))
        .collect();
    if starts.is_empty() {
        // Let the parser say what is wrong with it.
        return vec![bytes];
    }
    starts.push(bytes.len());
    starts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

#[cfg(test)]
mod tests;
