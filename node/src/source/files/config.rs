//! What an operator says of a folder of files, and the checked form of it.

use std::path::{Path, PathBuf};

use patchmesh_topology::digest::Digest;
use patchmesh_topology::name::SourceName;

use crate::openpgp::{self, Keyring};
use crate::source::FetchPolicy;

/// A source as the operator gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The source's name in the mesh.
    pub name: String,
    /// The folder on the primary.
    pub folder: PathBuf,
    /// The vendor's OpenPGP certificates; none only where it is unsigned.
    pub keyring: Vec<u8>,
    /// Whether nobody signs the manifest.
    pub unsigned: bool,
    /// When payloads are fetched.
    pub policy: FetchPolicy,
}

/// Why a source cannot be used as given.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is none.
    #[error("the source's name cannot be used")]
    Name {
        /// What is wrong.
        source: patchmesh_topology::name::Error,
    },
    /// The folder is relative, so that it would hang on where the node started.
    #[error("folder {0:?} is not absolute; give its whole path on the primary")]
    Relative(PathBuf),
    /// Neither a keyring nor the word that there is none.
    #[error("give the keyring that the manifest is signed with, or say that it is unsigned")]
    NoKeyring,
    /// Both.
    #[error("a source with a keyring is not unsigned; give one of the two")]
    Both,
    /// The keyring is none.
    #[error("the source's keyring cannot be used")]
    Keyring {
        /// What is wrong.
        source: openpgp::Error,
    },
}

/// A checked source.
#[derive(Debug, Clone)]
pub struct Config {
    name: SourceName,
    folder: PathBuf,
    keyring: Option<Keyring>,
    policy: FetchPolicy,
    digest: Digest,
}

impl Config {
    /// Checks what the operator gave.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn validate(options: Options) -> Result<Self, Error> {
        let digest = options.digest();
        let Options { name, folder, keyring, unsigned, policy } = options;
        let name = name.parse().map_err(|source| Error::Name { source })?;
        if !folder.is_absolute() {
            return Err(Error::Relative(folder));
        }
        let keyring = match (keyring.is_empty(), unsigned) {
            (true, true) => None,
            (true, false) => return Err(Error::NoKeyring),
            (false, true) => return Err(Error::Both),
            (false, false) => {
                Some(Keyring::parse(&keyring).map_err(|source| Error::Keyring { source })?)
            }
        };
        Ok(Self { name, folder, keyring, policy, digest })
    }

    /// The source's name.
    #[must_use]
    pub fn name(&self) -> &SourceName {
        &self.name
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// When its payloads are fetched.
    #[must_use]
    pub fn policy(&self) -> FetchPolicy {
        self.policy
    }

    /// Whether nobody signs the manifest.
    #[must_use]
    pub fn is_unsigned(&self) -> bool {
        self.keyring.is_none()
    }

    pub(super) fn keyring(&self) -> Option<&Keyring> {
        self.keyring.as_ref()
    }

    /// Names everything that bears on what a synchronisation yields.
    pub(super) fn digest(&self) -> Digest {
        self.digest
    }
}

impl Options {
    fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        let folder = self.folder.as_os_str().as_encoded_bytes();
        for field in [self.name.as_bytes(), folder, &self.keyring, &[u8::from(self.unsigned)]] {
            hasher.update(&(field.len() as u64).to_le_bytes());
            hasher.update(field);
        }
        hasher.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openpgp::SigningKey;

    fn options() -> Options {
        let key = SigningKey::generate("vendor", jiff::Timestamp::UNIX_EPOCH).expect("a key");
        Options {
            name: "msp".into(),
            folder: "/srv/msp".into(),
            keyring: key.public_binary().expect("a certificate"),
            unsigned: false,
            policy: FetchPolicy::OnDemand,
        }
    }

    fn refused(change: impl FnOnce(&mut Options)) -> Error {
        let mut options = options();
        change(&mut options);
        Config::validate(options).expect_err("refused")
    }

    #[test]
    fn a_keyring_or_the_word_unsigned() {
        assert!(!Config::validate(options()).expect("a source").is_unsigned());
        let unsigned = Options { keyring: Vec::new(), unsigned: true, ..options() };
        assert!(Config::validate(unsigned).expect("a source").is_unsigned());
        assert!(matches!(refused(|o| o.keyring.clear()), Error::NoKeyring));
        assert!(matches!(refused(|o| o.unsigned = true), Error::Both));
        assert!(matches!(refused(|o| o.keyring = b"x".to_vec()), Error::Keyring { .. }));
        assert!(matches!(refused(|o| o.folder = "srv".into()), Error::Relative(_)));
        assert!(matches!(refused(|o| o.name = "No Name".into()), Error::Name { .. }));
    }
}
