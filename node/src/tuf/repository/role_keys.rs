//! The private keys of a mesh's roles that are on this host, a file each.
//!
//! A file is named after its role: `snapshot.pem`, and after a rotation `snapshot.KEYID.pem` beside it. Which of them holds
//! the role is not for the file to say but for the metadata: a key that holds nothing signs nothing. In single-operator
//! mode there is a key here for every role. A key that is not here is kept elsewhere; what it would sign has to be signed
//! there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::super::envelope::{self, Authority};
use super::super::key::{Key, KeyId};
use super::super::layout::MeshRole;
use super::super::metadata::Kind;
use super::super::name::RoleName;
use super::super::paper::{self, Paper};
use super::super::signing::{self, SigningKey};
use super::super::storage::Document;
use super::Error;

/// What the files of keys end with.
const SUFFIX: &str = ".pem";

/// The private keys on this host.
#[derive(Debug, Default)]
pub struct RoleKeys {
    keys: BTreeMap<KeyId, SigningKey>,
    /// The key that a new mesh begins with.
    first: BTreeMap<RoleName, KeyId>,
    /// Where they were read from.
    folder: Option<PathBuf>,
}

impl RoleKeys {
    /// Makes a key for every role that has its own.
    pub fn generate() -> Result<Self, signing::Error> {
        let mut made = Self::default();
        for role in key_roles() {
            made.insert(role, SigningKey::generate()?);
        }
        Ok(made)
    }

    /// Writes every key to its file in `folder`, which must exist. Existing files are never overwritten.
    pub fn write_new(&self, folder: &Path) -> Result<(), signing::Error> {
        self.first.iter().try_for_each(|(role, id)| match self.keys.get(id) {
            Some(key) => key.write_new(&folder.join(file_name(role))),
            None => Ok(()),
        })
    }

    /// Reads the keys that are in `folder`.
    pub fn read(folder: &Path) -> Result<Self, signing::Error> {
        let mut found = Self { folder: Some(folder.to_owned()), ..Self::default() };
        for (role, path) in files(folder)? {
            found.insert(role, SigningKey::read(&path)?);
        }
        Ok(found)
    }

    /// Makes a further key for `role` and writes it beside those that are in `folder`. It signs from the moment in which
    /// the metadata names it.
    pub fn rotate(&mut self, role: &RoleName, folder: &Path) -> Result<Key, signing::Error> {
        let key = SigningKey::generate()?;
        let file = format!("{}.{}{SUFFIX}", role.file_stem(), key.id().short());
        key.write_new(&folder.join(file))?;
        let public = key.public().clone();
        self.insert(role.clone(), key);
        Ok(public)
    }

    /// The folder that the keys were read from.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Adds the signatures of those of `holders` whose keys are here.
    pub fn countersign(
        &self,
        paper: &mut Paper,
        holders: &BTreeSet<KeyId>,
    ) -> Result<(), paper::Refused> {
        for key in holders.iter().filter_map(|id| self.keys.get(id)) {
            paper.sign(key)?;
        }
        Ok(())
    }

    /// Whether there is a key for every role that a new mesh has.
    pub fn is_complete(&self) -> bool {
        key_roles().all(|role| self.first.contains_key(&role))
    }

    /// Whether the keys here are enough to sign by that authority.
    pub fn reach(&self, authority: Authority<'_>) -> bool {
        self.signers(authority).len() >= authority.holders.threshold().get() as usize
    }

    /// Removes a key, and its file.
    pub fn remove(&mut self, id: &KeyId) -> Result<(), signing::Error> {
        self.keys.remove(id);
        self.first.retain(|_, first| first != id);
        let Some(folder) = &self.folder else { return Ok(()) };
        for (_, path) in files(folder)? {
            if SigningKey::read(&path)?.id() == id {
                fs::remove_file(&path).map_err(|source| signing::Error::Write { path, source })?;
            }
        }
        Ok(())
    }

    /// Whether this key is here.
    pub fn has(&self, id: &KeyId) -> bool {
        self.keys.contains_key(id)
    }

    /// The first keys of `roles`; an error if one is missing.
    pub(super) fn of<'a>(
        &'a self,
        roles: &[RoleName],
    ) -> Result<impl Iterator<Item = &'a SigningKey> + use<'a>, Error> {
        let keys = roles.iter().map(|role| self.first(role)).collect::<Result<Vec<_>, _>>()?;
        Ok(keys.into_iter())
    }

    /// Signs the first document of `role`, before there is metadata to say who holds it.
    pub(super) fn sign_first<T: Kind>(
        &self,
        document: &T,
        role: RoleName,
    ) -> Result<Document, Error> {
        let key = self.first(&role)?;
        write(document, role, &[key])
    }

    /// Signs a document as `role`, with as many keys as its holders must be.
    pub(super) fn sign<T: Kind>(
        &self,
        document: &T,
        role: RoleName,
        authority: Authority<'_>,
    ) -> Result<Document, Error> {
        let threshold = authority.holders.threshold().get() as usize;
        let mut signers = self.signers(authority);
        if signers.len() < threshold {
            return Err(Error::NoKey { role });
        }
        signers.truncate(threshold);
        write(document, role, &signers)
    }

    fn signers(&self, authority: Authority<'_>) -> Vec<&SigningKey> {
        authority.holders.keyids().iter().filter_map(|id| self.keys.get(id)).collect()
    }

    fn first(&self, role: &RoleName) -> Result<&SigningKey, Error> {
        let id = self.first.get(&key_role(role));
        id.and_then(|id| self.keys.get(id)).ok_or_else(|| Error::NoKey { role: role.clone() })
    }

    fn insert(&mut self, role: RoleName, key: SigningKey) {
        self.first.entry(role).or_insert_with(|| key.id().clone());
        self.keys.insert(key.id().clone(), key);
    }
}

/// The key files of `role` in `folder`.
pub fn files_of(role: &RoleName, folder: &Path) -> Result<Vec<PathBuf>, signing::Error> {
    let of_role = files(folder)?.into_iter().filter(|(found, _)| found == role);
    Ok(of_role.map(|(_, path)| path).collect())
}

/// The key files in `folder` and whose each is; the first key of a role before the later ones.
fn files(folder: &Path) -> Result<Vec<(RoleName, PathBuf)>, signing::Error> {
    let failed = |source: io::Error| signing::Error::Read { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(stem) = name.strip_suffix(SUFFIX) else { continue };
        let stem = stem.split_once('.').map_or(stem, |(role, _)| role);
        if let Some(role) = key_roles().find(|role| role.file_stem() == stem) {
            files.push((role, path));
        }
    }
    files.sort_by_key(|(_, path)| (path.as_os_str().len(), path.clone()));
    Ok(files)
}

fn write<T: Kind>(document: &T, role: RoleName, keys: &[&SigningKey]) -> Result<Document, Error> {
    match envelope::sign(document, keys) {
        Ok(bytes) => Ok(Document { role, version: document.header().version(), bytes }),
        Err(source) => Err(Error::Sign { role, source }),
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
    format!("{}{SUFFIX}", role.file_stem())
}
