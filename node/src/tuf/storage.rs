//! Where trusted metadata is kept between runs.
//!
//! Bytes are stored exactly as received and checked again when they are loaded; a store needs no trust of its own beyond
//! keeping the root.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::name::RoleName;
use crate::durable;

/// Keeps the metadata that was trusted last, by role.
pub trait Storage {
    /// Why storing or loading failed.
    type Error: Error + Send + Sync + 'static;

    /// Returns what was persisted last for `role`.
    fn load(&self, role: &RoleName) -> Result<Option<Vec<u8>>, Self::Error>;

    /// Keeps trusted metadata. Called once per document, in the order in which they became trusted; roots one by one.
    fn persist(&mut self, role: &RoleName, version: u64, bytes: &[u8]) -> Result<(), Self::Error>;
}

/// A store in memory, for those who commit the outcome of a refresh as a whole.
#[derive(Debug, Clone, Default)]
pub struct MemoryStorage {
    current: BTreeMap<RoleName, Vec<u8>>,
    written: Vec<Document>,
}

/// A metadata file that became trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Whose metadata.
    pub role: RoleName,
    /// Its version.
    pub version: u64,
    /// The file's bytes, as signed.
    pub bytes: Vec<u8>,
}

impl Document {
    /// The name under which it is served: `7.snapshot.json`; the timestamp has no version in its name.
    pub fn file_name(&self) -> String {
        self.role.file_name((self.role != RoleName::TIMESTAMP).then_some(self.version))
    }
}

impl MemoryStorage {
    /// Starts with what an earlier run trusted; at least a root.
    pub fn new(current: impl IntoIterator<Item = (RoleName, Vec<u8>)>) -> Self {
        Self { current: current.into_iter().collect(), written: Vec::new() }
    }

    /// What is trusted now, by role.
    pub fn current(&self) -> &BTreeMap<RoleName, Vec<u8>> {
        &self.current
    }

    /// What became trusted since the start, in that order: every root in between, the rest at most once per refresh.
    pub fn written(&self) -> &[Document] {
        &self.written
    }
}

impl Storage for MemoryStorage {
    type Error = Infallible;

    fn load(&self, role: &RoleName) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.current.get(role).cloned())
    }

    fn persist(&mut self, role: &RoleName, version: u64, bytes: &[u8]) -> Result<(), Infallible> {
        self.current.insert(role.clone(), bytes.to_vec());
        self.written.push(Document { role: role.clone(), version, bytes: bytes.to_vec() });
        Ok(())
    }
}

/// A folder with a file for each role, replaced whole. Blocks for as long as the disk takes.
#[derive(Debug, Clone)]
pub struct FolderStorage(PathBuf);

impl FolderStorage {
    /// Metadata in a folder that exists.
    pub fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Where the metadata of `role` is kept.
    pub fn path(&self, role: &RoleName) -> PathBuf {
        self.0.join(role.file_name(None))
    }
}

impl Storage for FolderStorage {
    type Error = io::Error;

    fn load(&self, role: &RoleName) -> io::Result<Option<Vec<u8>>> {
        let path = self.path(role);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&path, &error)),
        }
    }

    fn persist(&mut self, role: &RoleName, _version: u64, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(role);
        durable::replace(&path, bytes, durable::PUBLIC).map_err(|error| at(&path, &error))
    }
}

/// The same error, with the file that it is about.
fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
