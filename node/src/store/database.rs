//! RocksDB as the rest of the store sees it: two key spaces of bytes, point
//! reads, ordered scans, and batches that are written whole or not at all.
//!
//! The only file that names `rocksdb`. Calls block; callers keep them off the
//! async threads.

use std::path::{Path, PathBuf};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    DBPinnableSlice, Direction, ErrorKind, IteratorMode, LogLevel, Options, PrefixRange,
    ReadOptions, WriteBatch, WriteOptions, checkpoint::Checkpoint,
};

use super::Error;

/// Bytes of one memtable. Records are few and small; what matters is that a
/// restart replays little.
const MEMTABLE: usize = 4 << 20;
/// Write-ahead log to keep at most, hence to replay at most.
const MAX_LOG: u64 = 16 << 20;
/// Blocks of both key spaces kept in memory.
const BLOCK_CACHE: usize = 16 << 20;
/// Table files open at a time: a small share of a process's descriptors.
const MAX_OPEN_FILES: i32 = 256;
/// Threads for flushes and compactions.
const BACKGROUND_JOBS: i32 = 2;
/// RocksDB's own diary: number and size of its files.
const DIARY_FILES: usize = 2;
const DIARY_BYTES: usize = 1 << 20;

/// A key space with its own files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    /// Typed records: one tag byte, then the key.
    Records,
    /// Small blobs by digest.
    Blobs,
}

impl Space {
    const fn name(self) -> &'static str {
        match self {
            Self::Records => rocksdb::DEFAULT_COLUMN_FAMILY_NAME,
            Self::Blobs => "blobs",
        }
    }
}

/// Where a scan begins and in which order it goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    Forward,
    Backward,
}

pub(super) struct Database {
    db: DB,
    path: PathBuf,
}

impl Database {
    pub(super) fn open(path: &Path, create: bool) -> Result<Self, Error> {
        let cache = Cache::new_lru_cache(BLOCK_CACHE);
        let mut options = options(&cache);
        options.create_if_missing(create);
        options.create_missing_column_families(create);
        let families = [Space::Records, Space::Blobs]
            .map(|space| ColumnFamilyDescriptor::new(space.name(), self::options(&cache)));
        let db = DB::open_cf_descriptors(&options, path, families)
            .map_err(|e| failure("open", path, e))?;
        Ok(Self { db, path: path.to_owned() })
    }

    /// Opens a database that nobody writes to.
    pub(super) fn open_read_only(path: &Path) -> Result<Self, Error> {
        let cache = Cache::new_lru_cache(BLOCK_CACHE);
        let families = [Space::Records, Space::Blobs]
            .map(|space| ColumnFamilyDescriptor::new(space.name(), options(&cache)));
        let db = DB::open_cf_descriptors_read_only(&options(&cache), path, families, false)
            .map_err(|e| failure("open", path, e))?;
        Ok(Self { db, path: path.to_owned() })
    }

    /// Makes `path` a database of its own that has everything written so far:
    /// hard links to files that never change, and copies of the others.
    pub(super) fn checkpoint(&self, path: &Path) -> Result<(), Error> {
        Checkpoint::new(&self.db)
            .and_then(|checkpoint| checkpoint.create_checkpoint(path))
            .map_err(|e| failure("hold still", &self.path, e))
    }

    pub(super) fn get(
        &self,
        space: Space,
        key: &[u8],
    ) -> Result<Option<DBPinnableSlice<'_>>, Error> {
        self.db.get_pinned_cf(self.family(space)?, key).map_err(|e| failure("read", &self.path, e))
    }

    /// Calls `visit` with every key that begins with `prefix` and its value,
    /// until it answers `false`.
    pub(super) fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        order: Order,
        visit: impl FnMut(&[u8], &[u8]) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        self.scan_from(space, prefix, prefix, order, visit)
    }

    /// The same from the key `from` on; backward, from the last one on.
    pub(super) fn scan_from(
        &self,
        space: Space,
        prefix: &[u8],
        from: &[u8],
        order: Order,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let mut options = ReadOptions::default();
        options.set_iterate_range(PrefixRange(prefix));
        let mode = match order {
            Order::Forward => IteratorMode::From(from, Direction::Forward),
            Order::Backward => IteratorMode::End,
        };
        for entry in self.db.iterator_cf_opt(self.family(space)?, options, mode) {
            let (key, value) = entry.map_err(|e| failure("read", &self.path, e))?;
            if !visit(&key, &value)? {
                break;
            }
        }
        Ok(())
    }

    /// Writes a batch; with `sync` it survives a loss of power.
    pub(super) fn write(&self, batch: Batch, sync: bool) -> Result<(), Error> {
        let mut native = WriteBatch::default();
        for Change { space, key, value } in batch.changes {
            let family = self.family(space)?;
            match value {
                Some(value) => native.put_cf(family, key, value),
                None => native.delete_cf(family, key),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.db.write_opt(native, &options).map_err(|e| failure("write to", &self.path, e))
    }

    fn family(&self, space: Space) -> Result<&ColumnFamily, Error> {
        self.db.cf_handle(space.name()).ok_or_else(|| Error::Database {
            operation: "find a key space in",
            source: space.name().into(),
        })
    }
}

fn options(cache: &Cache) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    let mut options = Options::default();
    options.set_block_based_table_factory(&blocks);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(MEMTABLE);
    options.set_max_total_wal_size(MAX_LOG);
    options.set_max_open_files(MAX_OPEN_FILES);
    options.set_max_background_jobs(BACKGROUND_JOBS);
    options.set_keep_log_file_num(DIARY_FILES);
    options.set_max_log_file_size(DIARY_BYTES);
    options.set_log_level(LogLevel::Warn);
    options
}

/// Tells a full or read-only disk from other failures; RocksDB hands on the
/// system's words but not its codes.
fn failure(operation: &'static str, path: &Path, error: rocksdb::Error) -> Error {
    let text = error.as_ref();
    let path = path.to_owned();
    if text.contains("No space left on device") || text.contains("Disk quota exceeded") {
        Error::DiskFull { path, wanted: None, free: None }
    } else if text.contains("Read-only file system") || text.contains("Permission denied") {
        Error::ReadOnly { operation, path }
    } else {
        Error::Database { operation, source: error.into() }
    }
}

/// Whether what the database has on the disk is not what it wrote.
pub(super) fn is_corruption(error: &Error) -> bool {
    let Error::Database { source, .. } = error else { return false };
    source.downcast_ref::<rocksdb::Error>().is_some_and(|e| e.kind() == ErrorKind::Corruption)
}

/// Changes that are written together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    changes: Vec<Change>,
}

#[derive(Debug)]
struct Change {
    space: Space,
    key: Vec<u8>,
    /// Nothing deletes.
    value: Option<Vec<u8>>,
}

impl Batch {
    pub(super) fn put(&mut self, space: Space, key: Vec<u8>, value: Vec<u8>) {
        self.changes.push(Change { space, key, value: Some(value) });
    }

    pub(super) fn delete(&mut self, space: Space, key: Vec<u8>) {
        self.changes.push(Change { space, key, value: None });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}
