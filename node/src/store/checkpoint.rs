//! The store as it is at one moment, held still while it is copied.
//!
//! A checkpoint is a folder of hard links to the database's table files and
//! copies of its small ones, so it costs next to nothing and blocks nobody.
//! It names blobs that lie in files; those never change, and on a node that
//! removes none (the primary) they stay for as long as the copy takes.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use patchmesh_topology::digest::Digest;

use super::blob::{BLOBS, MANIFESTS, Place};
use super::database::{Database, Order, Space};
use super::disk::Disk;
use super::folder::Folder;
use super::record::GENERATIONS;
use super::{Error, Mode, Store};

/// A held state of the store; its folder goes when it is dropped.
pub struct Checkpoint {
    // Closed before the folder goes.
    database: Option<Database>,
    path: PathBuf,
    files: Vec<PathBuf>,
    store: Store,
}

/// A blob that lies in a file of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobFile {
    /// Its name.
    pub digest: Digest,
    /// Its bytes.
    pub length: u64,
    /// Where it lies.
    pub path: PathBuf,
}

impl Store {
    /// Holds the state of this moment. One at a time: a second one takes the
    /// place of the first. Blocks.
    ///
    /// # Errors
    /// A full or failing disk.
    pub fn checkpoint(&self) -> Result<Checkpoint, Error> {
        let path = self.folder().checkpoint();
        remove_folder(&path)?;
        self.database().checkpoint(&path)?;
        // Before it is opened, which adds a diary.
        let listed = list(&path);
        let database = listed.and_then(|files| Ok((files, Database::open_read_only(&path)?)));
        match database {
            Ok((files, database)) => {
                Ok(Checkpoint { database: Some(database), path, files, store: self.clone() })
            }
            Err(error) => {
                remove_folder(&path)?;
                Err(error)
            }
        }
    }

    /// Forgets blobs whose files are gone, as after a backup without content
    /// was restored: they may be fetched again then. Returns how many.
    ///
    /// # Errors
    /// A failing disk.
    pub fn forget_absent(&self) -> Result<u64, Error> {
        let mut gone = Vec::new();
        self.for_each(&BLOBS, |digest, record| {
            if record.place() == Place::File && !self.folder().blob(&digest).exists() {
                gone.push(digest);
            }
            Ok(true)
        })?;
        let mut transaction = self.transaction();
        for digest in &gone {
            transaction.delete(&BLOBS, digest).delete(&MANIFESTS, digest);
        }
        transaction.commit()?;
        Ok(gone.len() as u64)
    }
}

impl Checkpoint {
    /// The database's files.
    #[must_use]
    pub fn database_files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Every blob that lies in a file, in the order of the digests.
    ///
    /// # Errors
    /// A failing disk or a damaged record.
    pub fn blob_files(&self) -> Result<Vec<BlobFile>, Error> {
        let Some(database) = &self.database else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        database.scan(Space::Records, &BLOBS.prefix(), Order::Forward, |key, value| {
            let (digest, record) = (BLOBS.decode_key(key)?, BLOBS.decode(value)?);
            if record.place() == Place::File {
                let path = self.store.folder().blob(&digest);
                found.push(BlobFile { digest, length: record.length, path });
            }
            Ok(true)
        })?;
        Ok(found)
    }

    /// The number of the generation that the node was in.
    ///
    /// # Errors
    /// A failing disk or a damaged record.
    pub fn generation(&self) -> Result<Option<u64>, Error> {
        let Some(database) = &self.database else { return Ok(None) };
        let mut last = None;
        database.scan(Space::Records, &GENERATIONS.prefix(), Order::Backward, |key, _| {
            last = Some(GENERATIONS.decode_key(key)?);
            Ok(false)
        })?;
        Ok(last)
    }
}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        self.database = None;
        if let Err(error) = remove_folder(&self.path) {
            // It goes when the store is opened next.
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a checkpoint was left behind"
            );
        }
    }
}

/// A data folder that is being put together from elsewhere: locked, and not
/// one that can be opened before [`NewFolder::finish`].
#[derive(Debug)]
pub struct NewFolder {
    folder: Folder,
}

impl NewFolder {
    /// Makes the folder; refuses one that holds anything.
    ///
    /// # Errors
    /// A folder that is there and not empty, or one that cannot be made.
    pub fn make(root: &Path) -> Result<Self, Error> {
        if let Ok(mut entries) = fs::read_dir(root)
            && let Some(Ok(entry)) = entries.next()
        {
            if root.join(super::folder::MARKER).exists() {
                return Err(Error::AlreadyExists { path: root.to_owned() });
            }
            return Err(Error::Foreign { path: root.to_owned(), found: entry.file_name() });
        }
        Ok(Self { folder: Folder::open(root, Mode::Create, Disk::default())? })
    }

    /// Makes it a data folder, once everything in it is durable.
    ///
    /// # Errors
    /// A failing disk.
    pub fn finish(self) -> Result<(), Error> {
        self.folder.complete()
    }
}

/// The names at the top of a data folder that are the store's own: what is
/// kept of them comes out of a [`Checkpoint`].
pub const OWN_NAMES: [&str; 6] = super::folder::OWN_NAMES;

pub(super) fn remove_folder(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path, error)),
        _ => Ok(()),
    }
}

fn list(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |error| Error::io("list", path, error);
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        files.push(entry.map_err(failed)?.path());
    }
    files.sort();
    Ok(files)
}
