//! Private keys: ECDSA P-256, which every client in use accepts, kept as
//! PKCS#8 PEM.

use std::fmt;

use patchmesh_topology::digest::Sha256;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData, SigningKey};
use rustls_pki_types::PrivateKeyDer;

use super::sha256;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system gave no key.
    #[error("cannot make a private key")]
    Generate(#[source] rcgen::Error),
    /// The text holds no key.
    #[error("the text is not a PKCS#8 private key in PEM")]
    Parse(#[source] rcgen::Error),
    /// Signing failed.
    #[error("cannot sign a certificate request")]
    Request(#[source] rcgen::Error),
    /// Signing something else failed.
    #[error("cannot sign a message")]
    Sign(#[source] rcgen::Error),
}

/// A private key. Its `Debug` shows only what is public.
pub struct Key {
    pair: KeyPair,
}

impl Key {
    /// Makes a key from the system's randomness.
    ///
    /// # Errors
    /// Where the system has none to give.
    pub fn generate() -> Result<Self, Error> {
        KeyPair::generate().map(|pair| Self { pair }).map_err(Error::Generate)
    }

    /// Reads a PKCS#8 key in PEM.
    ///
    /// # Errors
    /// Where the text is something else.
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        KeyPair::from_pem(text).map(|pair| Self { pair }).map_err(Error::Parse)
    }

    /// The key as PKCS#8 PEM: a secret.
    #[must_use]
    pub fn to_pem(&self) -> String {
        self.pair.serialize_pem()
    }

    /// SHA-256 of the public key's SubjectPublicKeyInfo, by which the mesh
    /// document knows a node.
    #[must_use]
    pub fn spki_sha256(&self) -> Sha256 {
        sha256(&self.pair.subject_public_key_info())
    }

    /// A PKCS#10 request in DER, signed by this key. `name` is for people;
    /// the issuer decides on names.
    ///
    /// # Errors
    /// Where signing fails.
    pub fn certificate_request(&self, name: &str) -> Result<Vec<u8>, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let request = params.serialize_request(&self.pair).map_err(Error::Request)?;
        Ok(request.der().to_vec())
    }

    /// A signature of `message`: ECDSA of its SHA-256, in ASN.1.
    ///
    /// # Errors
    /// Where signing fails.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.pair.sign(message).map_err(Error::Sign)
    }

    /// The key as TLS wants it.
    pub(super) fn to_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.pair.serialize_der().into())
    }

    /// The key as rcgen wants it.
    pub(super) fn into_pair(self) -> KeyPair {
        self.pair
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("spki_sha256", &self.spki_sha256()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_pem_and_hides_itself() {
        let key = Key::generate().expect("a key");
        let pem = key.to_pem();
        let back = Key::from_pem(&pem).expect("the same key");
        assert_eq!(back.spki_sha256(), key.spki_sha256());
        assert!(!format!("{key:?}").contains(pem.lines().nth(1).expect("a line")));
        assert!(Key::from_pem("hello").is_err());
    }
}
