//! The private keys of a mesh's roles, a file each.
//!
//! In single-operator mode all of them are in one folder on the primary. A key that is not there is kept elsewhere; what it
//! would sign can't be published then.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::envelope;
use super::super::layout::MeshRole;
use super::super::metadata::Kind;
use super::super::name::RoleName;
use super::super::signing::{self, SigningKey};
use super::super::storage::Document;
use super::Error;

/// Private keys by role.
#[derive(Debug, Default)]
pub struct RoleKeys(BTreeMap<RoleName, SigningKey>);

impl RoleKeys {
    /// Makes a key for every role that has its own.
    pub fn generate() -> Result<Self, signing::Error> {
        key_roles()
            .map(|role| Ok((role, SigningKey::generate()?)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Writes every key to its file in `folder`, which must exist. Existing files are never overwritten.
    pub fn write_new(&self, folder: &Path) -> Result<(), signing::Error> {
        self.0.iter().try_for_each(|(role, key)| key.write_new(&folder.join(file_name(role))))
    }

    /// Reads the keys that are in `folder`.
    pub fn read(folder: &Path) -> Result<Self, signing::Error> {
        key_roles()
            .map(|role| (folder.join(file_name(&role)), role))
            .filter(|(path, _)| path.exists())
            .map(|(path, role)| Ok((role, SigningKey::read(&path)?)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether every key is here: single-operator mode.
    pub fn is_complete(&self) -> bool {
        key_roles().all(|role| self.0.contains_key(&role))
    }

    /// The keys of `roles`; an error if one is missing.
    pub(super) fn of<'a>(
        &'a self,
        roles: &[RoleName],
    ) -> Result<impl Iterator<Item = &'a SigningKey> + use<'a>, Error> {
        let keys = roles.iter().map(|role| self.key(role)).collect::<Result<Vec<_>, _>>()?;
        Ok(keys.into_iter())
    }

    /// Signs a document as `role`.
    pub(super) fn sign<T: Kind>(&self, document: &T, role: RoleName) -> Result<Document, Error> {
        let key = self.key(&role)?;
        match envelope::sign(document, &[key]) {
            Ok(bytes) => Ok(Document { role, version: document.header().version(), bytes }),
            Err(source) => Err(Error::Sign { role, source }),
        }
    }

    fn key(&self, role: &RoleName) -> Result<&SigningKey, Error> {
        self.0.get(&key_role(role)).ok_or_else(|| Error::NoKey { role: role.clone() })
    }
}

/// Top-level targets only delegate; whoever holds root holds them too.
fn key_role(role: &RoleName) -> RoleName {
    if *role == RoleName::TARGETS { RoleName::ROOT } else { role.clone() }
}

fn key_roles() -> impl Iterator<Item = RoleName> {
    [RoleName::ROOT, RoleName::SNAPSHOT, RoleName::TIMESTAMP]
        .into_iter()
        .chain(MeshRole::ALL.map(MeshRole::name))
}

fn file_name(role: &RoleName) -> String {
    format!("{}.pem", role.file_stem())
}
