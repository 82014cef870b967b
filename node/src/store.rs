//! The data folder of a node: typed records and blobs.
//!
//! Owns everything in the folder that it did not find there (see [`folder`])
//! and is the only user of RocksDB. What always holds:
//!
//! - A blob that is named is whole and durable: its bytes were hashed on the
//!   way in and synced before the record that names it was written.
//! - No byte of a large blob is handed out before its piece was hashed again: what
//!   the disk has spoilt is an error, never content. RocksDB checks the small ones.
//! - A [`Transaction`] happens as a whole or not at all, and survives a loss of
//!   power once [`Transaction::commit`] has returned.
//! - One process has the folder open at a time.
//!
//! Small blobs (documents, small packages) live in RocksDB, larger ones as files
//! with a manifest of piece values, so that they can be sent, checked and
//! received piece by piece.
//!
//! Methods that touch the disk block, unless they are `async`. Async code uses
//! [`Store::run`], or the async [`BlobWriter`] and [`BlobReader`].

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use patchmesh_topology::digest::Digest;
use prost::Message;
use tokio::sync::Semaphore;

mod blob;
mod check;
mod checkpoint;
mod damage;
mod database;
mod disk;
mod error;
mod folder;
mod import;
pub mod manifest;
mod partial;
mod piece_set;
mod record;
mod records;
mod recovery;
mod table;
mod totals;
mod transaction;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use disk::faults;

pub use blob::{BlobReader, Held, SMALL_BLOB};
pub use check::{Check, Progress, Rest, Verification};
pub use checkpoint::{BlobFile, Checkpoint, NewFolder, OWN_NAMES};
pub use error::Error;
pub use import::{BlobWriter, ImportOptions, Imported};
pub use manifest::Manifest;
pub use partial::PartialBlob;
pub use record::{GENERATIONS, GenerationRecord, METADATA, NODE};
pub use records::RawRecord;
pub use table::{Key, Table, Tag};
pub use totals::Totals;
pub use transaction::Transaction;

use database::{Database, Order, Space};
use disk::Disk;
use folder::Folder;

/// Whether the data folder is to be made or must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Make it; refuse one that is there.
    Create,
    /// Open it; refuse to make one.
    Existing,
}

/// Pieces that are read whole to hand out a part of them, at one time: each takes
/// memory, however small the part.
const CHECKED_AT_ONCE: usize = 8;

/// Locks for blobs whose names come or go: enough that two seldom meet.
const NAMING_LOCKS: usize = 16;

/// A handle to the opened data folder; cheap to clone. The folder is closed
/// and unlocked when the last handle, reader, writer and partial blob is gone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    // Dropped in this order: the database is closed before the lock goes.
    database: Database,
    /// Blobs that are being received now, so that all share one state.
    partials: Mutex<HashMap<Digest, Weak<partial::Inner>>>,
    /// Bytes of them that are written and in no journal yet.
    at_risk: AtomicU64,
    /// See [`Store::naming`].
    naming: [Mutex<()>; NAMING_LOCKS],
    /// Room for pieces that are read whole for the sake of a part.
    checking: Arc<Semaphore>,
    damage: Arc<damage::Damage>,
    counted: totals::Counted,
    folder: Folder,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.inner.folder.root()).finish()
    }
}

impl Store {
    /// Opens the data folder at `path` and puts right what a crash left behind.
    ///
    /// # Errors
    /// When the folder is in use, foreign, missing, there already, of a newer
    /// format, read-only or damaged; each with words for the person at hand.
    pub fn open(path: &Path, mode: Mode) -> Result<Self, Error> {
        Self::open_on(path, mode, Disk::default())
    }

    fn open_on(path: &Path, mode: Mode, disk: Disk) -> Result<Self, Error> {
        let folder = Folder::open(path, mode, disk)?;
        let database = Database::open(&folder.database(), mode == Mode::Create)?;
        if mode == Mode::Create {
            folder.complete()?;
        }
        let inner = Inner {
            database,
            partials: Mutex::default(),
            at_risk: AtomicU64::new(0),
            naming: Default::default(),
            checking: Arc::new(Semaphore::new(CHECKED_AT_ONCE)),
            damage: Arc::default(),
            counted: totals::Counted::default(),
            folder,
        };
        let store = Self { inner: Arc::new(inner) };
        store.recover()?;
        Ok(store)
    }

    /// The same on a disk that fails as a test says.
    #[cfg(test)]
    pub(crate) fn open_on_faults(
        path: &Path,
        mode: Mode,
        faults: &Arc<disk::faults::Faults>,
    ) -> Result<Self, Error> {
        Self::open_on(path, mode, faults.disk())
    }

    /// The folder's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.inner.folder.root()
    }

    /// Runs blocking work with this store off the async threads.
    ///
    /// # Errors
    /// That of the work, or [`Error::Stopped`] when the runtime is shutting
    /// down.
    pub async fn run<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        F: FnOnce(&Self) -> Result<T, E> + Send + 'static,
    {
        let store = self.clone();
        off_thread(move || work(&store)).await
    }

    /// Reads one record.
    ///
    /// # Errors
    /// A record that is damaged or of another version, or a failing disk.
    pub fn get<K: Key + ?Sized, V: Message + Default>(
        &self,
        table: &Table<K, V>,
        key: &K,
    ) -> Result<Option<V>, Error> {
        let bytes = self.database().get(Space::Records, &table.key(key))?;
        bytes.map(|bytes| table.decode(&bytes)).transpose()
    }

    /// Writes one record, durably. What belongs together, or is much, goes
    /// through a [`Transaction`].
    ///
    /// # Errors
    /// A full or failing disk.
    pub fn put<K: Key + ?Sized, V: Message + Default>(
        &self,
        table: &Table<K, V>,
        key: &K,
        value: &V,
    ) -> Result<(), Error> {
        let mut transaction = self.transaction();
        transaction.put(table, key, value);
        transaction.commit()
    }

    /// Deletes one record, durably, if it is there.
    ///
    /// # Errors
    /// A full or failing disk.
    pub fn delete<K: Key + ?Sized, V: Message + Default>(
        &self,
        table: &Table<K, V>,
        key: &K,
    ) -> Result<(), Error> {
        let mut transaction = self.transaction();
        transaction.delete(table, key);
        transaction.commit()
    }

    /// All records of a table in the order of their keys. For small tables;
    /// [`Store::for_each`] holds one record at a time.
    ///
    /// # Errors
    /// Those of [`Store::get`].
    pub fn scan<K: Key + ?Sized, V: Message + Default>(
        &self,
        table: &Table<K, V>,
    ) -> Result<Vec<(K::Owned, V)>, Error> {
        let mut records = Vec::new();
        self.for_each(table, |key, value| {
            records.push((key, value));
            Ok(true)
        })?;
        Ok(records)
    }

    /// All records whose key begins with `prefix`, in the order of their keys.
    ///
    /// # Errors
    /// Those of [`Store::get`].
    pub fn scan_prefix<V: Message + Default>(
        &self,
        table: &Table<str, V>,
        prefix: &str,
    ) -> Result<Vec<(String, V)>, Error> {
        let mut records = Vec::new();
        self.database().scan(
            Space::Records,
            &table.key(prefix),
            Order::Forward,
            |key, value| {
                records.push((table.decode_key(key)?, table.decode(value)?));
                Ok(true)
            },
        )?;
        Ok(records)
    }

    /// Visits the records of a table in the order of their keys until `visit`
    /// answers `false`.
    ///
    /// # Errors
    /// Those of [`Store::get`] and of `visit`.
    pub fn for_each<K: Key + ?Sized, V: Message + Default>(
        &self,
        table: &Table<K, V>,
        mut visit: impl FnMut(K::Owned, V) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        self.database().scan(Space::Records, &table.prefix(), Order::Forward, |key, value| {
            visit(table.decode_key(key)?, table.decode(value)?)
        })
    }

    /// The same from the first key after `after` on.
    ///
    /// # Errors
    /// Those of [`Store::for_each`].
    pub fn for_each_after<V: Message + Default>(
        &self,
        table: &Table<str, V>,
        after: &str,
        mut visit: impl FnMut(String, V) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let (prefix, from) = (table.prefix(), table.key(after));
        self.database().scan_from(Space::Records, &prefix, &from, Order::Forward, |key, value| {
            if key == from {
                return Ok(true);
            }
            visit(table.decode_key(key)?, table.decode(value)?)
        })
    }

    /// The record with the greatest key.
    ///
    /// # Errors
    /// Those of [`Store::get`].
    pub fn last<K: Key + ?Sized, V: Message + Default>(
        &self,
        table: &Table<K, V>,
    ) -> Result<Option<(K::Owned, V)>, Error> {
        let mut last = None;
        self.database().scan(Space::Records, &table.prefix(), Order::Backward, |key, value| {
            last = Some((table.decode_key(key)?, table.decode(value)?));
            Ok(false)
        })?;
        Ok(last)
    }

    /// Starts a set of changes that happen together.
    pub fn transaction(&self) -> Transaction {
        Transaction::new(self.clone())
    }

    /// Stores a blob from memory, durably, if it is not held yet.
    ///
    /// # Errors
    /// A full or failing disk.
    pub fn put_blob(&self, bytes: &Bytes) -> Result<Digest, Error> {
        let digest = Digest::of(bytes);
        if self.has(&digest)? {
            return Ok(digest);
        }
        if bytes.len() as u64 > SMALL_BLOB {
            return import::import_bytes(self, bytes).map(|imported| imported.digest);
        }
        let mut transaction = self.transaction();
        transaction.put_blob(bytes)?;
        transaction.commit()?;
        Ok(digest)
    }

    fn database(&self) -> &Database {
        &self.inner.database
    }

    fn folder(&self) -> &Folder {
        &self.inner.folder
    }

    /// The right to name a blob, or to take its name away. Its file and its
    /// record change together under it, so that neither is there without the
    /// other, whoever else removes or receives the same blob.
    fn naming(&self, digest: &Digest) -> MutexGuard<'_, ()> {
        let lock = usize::from(digest.as_bytes()[0]) % NAMING_LOCKS;
        self.inner.naming[lock].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn partials(&self) -> MutexGuard<'_, HashMap<Digest, Weak<partial::Inner>>> {
        // The map is whole after every statement, so a panic elsewhere does
        // not spoil it.
        self.inner.partials.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs blocking work off the async threads.
async fn off_thread<T, E, F>(work: F) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
    F: FnOnce() -> Result<T, E> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => Err(Error::Stopped.into()),
        },
    }
}
