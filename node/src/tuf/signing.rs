//! Private keys: made here, kept as PKCS#8 PEM files that only their owner can read, used to sign metadata.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;

use super::canonical;
use super::key::{Key, KeyId};
use crate::durable;

/// A key file is a few lines; anything longer is not a key.
const MAX_KEY_FILE: u64 = 16 * 1024;
/// Others may not read or write a key file.
const OTHERS: u32 = 0o077;

/// Why a private key can't be made, kept or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system gave no randomness.
    #[error("no Ed25519 key could be generated")]
    Generate,
    /// The text is not an Ed25519 key.
    #[error("not an Ed25519 private key in PKCS#8 PEM form")]
    NotAKey,
    /// The key's public half has no id.
    #[error("the key id can't be computed")]
    Id(#[source] canonical::Error),
    /// The key file can't be read.
    #[error("private key {path:?} can't be read")]
    Read {
        /// The key file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The key file can't be written. An existing file is never overwritten.
    #[error("private key {path:?} can't be written")]
    Write {
        /// The key file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than the owner may read the key file.
    #[error("private key {path:?} is open to others (mode {mode:o}); run `chmod 600` on it")]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds something else.
    #[error(
        "{path:?} is damaged, or no Ed25519 private key in PKCS#8 PEM form; restore it from a backup"
    )]
    NotAKeyFile {
        /// The key file.
        path: PathBuf,
    },
}

/// An Ed25519 private key and the public key that goes into metadata.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    pkcs8: Vec<u8>,
    public: Key,
    id: KeyId,
}

impl SigningKey {
    /// Makes a new key.
    pub fn generate() -> Result<Self, Error> {
        // PKCS#8 version 1, because openssl(1) does not read version 2.
        let document =
            Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).map_err(|_| Error::Generate)?;
        Self::from_pkcs8(document.as_ref().to_vec())
    }

    /// Reads a key in PKCS#8 PEM form.
    pub fn from_pem(pem: &str) -> Result<Self, Error> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| Error::NotAKey)?;
        Self::from_pkcs8(der.secret_pkcs8_der().to_vec())
    }

    fn from_pkcs8(pkcs8: Vec<u8>) -> Result<Self, Error> {
        let pair =
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8).map_err(|_| Error::NotAKey)?;
        let public = Key::ed25519(pair.public_key().as_ref());
        let id = public.id().map_err(Error::Id)?;
        Ok(Self { pair, pkcs8, public, id })
    }

    /// The key in PKCS#8 PEM form. A secret.
    pub fn to_pem(&self) -> String {
        // One line of base64 would do for most readers; 48 bytes of PKCS#8 are exactly one line of 64 characters.
        let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
        for line in self.pkcs8.chunks(48) {
            pem.push_str(&BASE64.encode(line));
            pem.push('\n');
        }
        pem.push_str("-----END PRIVATE KEY-----\n");
        pem
    }

    /// Reads a key file. Refuses one that others than its owner may read.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let read = || -> io::Result<(u32, Vec<u8>)> {
            let file = File::open(path)?;
            let mode = file.metadata()?.permissions().mode() & 0o7777;
            let mut bytes = Vec::new();
            file.take(MAX_KEY_FILE).read_to_end(&mut bytes)?;
            Ok((mode, bytes))
        };
        let (mode, bytes) = read().map_err(|source| Error::Read { path: path.into(), source })?;
        if mode & OTHERS != 0 {
            return Err(Error::Exposed { path: path.into(), mode });
        }
        let key = std::str::from_utf8(&bytes).ok().and_then(|text| Self::from_pem(text).ok());
        key.ok_or_else(|| Error::NotAKeyFile { path: path.into() })
    }

    /// Writes a new key file that only its owner can read, durably. The file must not exist yet.
    pub fn write_new(&self, path: &Path) -> Result<(), Error> {
        durable::write_new(path, self.to_pem().as_bytes(), durable::SECRET)
            .map_err(|source| Error::Write { path: path.into(), source })
    }

    /// The public key, as it goes into metadata.
    pub fn public(&self) -> &Key {
        &self.public
    }

    /// The public key's id.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// Signs `message`: 64 bytes.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_key_survives_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("content.pem");
        let key = SigningKey::generate().unwrap();
        key.write_new(&path).unwrap();
        assert_eq!(SigningKey::read(&path).unwrap().id(), key.id());
        assert!(
            matches!(key.write_new(&path), Err(Error::Write { .. })),
            "a key must never be overwritten"
        );
    }

    #[test]
    fn a_key_file_open_to_others_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("content.pem");
        SigningKey::generate().unwrap().write_new(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(SigningKey::read(&path), Err(Error::Exposed { mode: 0o640, .. })));
    }

    #[test]
    fn a_damaged_key_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("content.pem");
        let key = SigningKey::generate().unwrap();
        key.write_new(&path).unwrap();
        let half = &key.to_pem().into_bytes()[..40];
        for bytes in [b"".as_slice(), half, &[0xff; 50]] {
            fs::write(&path, bytes).unwrap();
            let told = SigningKey::read(&path).unwrap_err().to_string();
            assert!(
                told.contains("content.pem\" is damaged") && told.contains("restore"),
                "{told}"
            );
        }
    }

    #[test]
    fn other_text_is_not_a_key() {
        assert!(matches!(SigningKey::from_pem("hello"), Err(Error::NotAKey)));
    }
}
