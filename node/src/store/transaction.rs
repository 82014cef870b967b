//! Changes that happen together or not at all.

use bytes::Bytes;
use patchmesh_topology::digest::Digest;
use prost::Message;

use super::blob::{self, BLOBS, BlobRecord, SMALL_BLOB};
use super::database::{Batch, Space};
use super::disk::Step;
use super::table::{Key, Table, Tag};
use super::{Error, Store};

/// Collects changes; nothing is seen or written before it is committed.
///
/// A switch of generation is one transaction: documents, metadata and the
/// pointer to what is current.
#[derive(Debug)]
#[must_use = "a transaction does nothing until it is committed"]
pub struct Transaction {
    store: Store,
    batch: Batch,
    /// Whether blobs may come or go with it.
    has_blobs: bool,
}

impl Transaction {
    pub(super) fn new(store: Store) -> Self {
        Self { store, batch: Batch::default(), has_blobs: false }
    }

    /// Writes one record.
    pub fn put<K: Key + ?Sized, V: Message + Default>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
        value: &V,
    ) -> &mut Self {
        self.has_blobs |= table.tag() == Tag::Blob;
        self.batch.put(Space::Records, table.key(key), table.encode(value));
        self
    }

    /// Deletes one record, if it is there.
    pub fn delete<K: Key + ?Sized, V: Message + Default>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
    ) -> &mut Self {
        self.has_blobs |= table.tag() == Tag::Blob;
        self.batch.delete(Space::Records, table.key(key));
        self
    }

    /// Adds a blob. A small one is written with the rest; a large one is
    /// written and synced now, which does no harm should the transaction fail,
    /// since nothing names it then.
    ///
    /// # Errors
    /// Those of writing a large blob.
    pub fn put_blob(&mut self, bytes: &Bytes) -> Result<Digest, Error> {
        if bytes.len() as u64 > SMALL_BLOB {
            return self.store.put_blob(bytes);
        }
        let digest = Digest::of(bytes);
        self.batch.put(Space::Blobs, digest.as_bytes().to_vec(), bytes.to_vec());
        let record = BlobRecord { length: bytes.len() as u64, place: blob::Place::Database.into() };
        self.put(&BLOBS, &digest, &record);
        Ok(digest)
    }

    pub(super) const fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn put_raw(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.has_blobs = true;
        self.batch.put(Space::Records, key, value);
    }

    pub(super) fn delete_raw(&mut self, key: Vec<u8>) {
        self.has_blobs = true;
        self.batch.delete(Space::Records, key);
    }

    #[cfg(test)]
    pub(super) fn put_small_unchecked(&mut self, digest: &Digest, bytes: Vec<u8>) {
        self.batch.put(Space::Blobs, digest.as_bytes().to_vec(), bytes);
    }

    pub(super) fn delete_small(&mut self, digest: &Digest) {
        self.batch.delete(Space::Blobs, digest.as_bytes().to_vec());
    }

    /// Writes all changes in one step that survives a loss of power. Blocks.
    ///
    /// # Errors
    /// A full disk, or another failure of the database; nothing changed then.
    pub fn commit(self) -> Result<(), Error> {
        self.write(true)
    }

    /// Writes all changes in one step that survives the end of the process; a
    /// loss of power may undo it. For what is soon written again. Blocks.
    ///
    /// # Errors
    /// Those of [`Transaction::commit`].
    pub fn commit_relaxed(self) -> Result<(), Error> {
        self.write(false)
    }

    fn write(self, sync: bool) -> Result<(), Error> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let path = self.store.path();
        let disk = self.store.folder().disk();
        disk.step(Step::Commit).map_err(|e| Error::io("write to the database of", path, e))?;
        let outcome = self.store.database().write(self.batch, sync);
        if self.has_blobs {
            self.store.inner.counted.has_changed();
        }
        outcome
    }
}
