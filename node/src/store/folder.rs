//! The data folder: what lies where, who may use it, and whether it is ours.
//!
//! ```text
//! DATA/format           marker: magic and format version, written last
//! DATA/lock             locked while a process uses the folder; holds its id
//! DATA/db/              RocksDB
//! DATA/blobs/xx/HEX     large blobs by BLAKE3 digest, xx its first two digits
//! DATA/incoming/        blobs on their way in, never served under a name
//! DATA/checkpoint/      the database held still while a backup copies it
//! ```
//!
//! Other things (keys, sockets) may lie beside these once the folder is made.
//! The folders of `blobs/` are made and made durable when the folder is opened,
//! so that a blob's place never hangs on an entry that a crash may undo.
//!
//! A folder is made only where nothing is: one that holds other things and no
//! marker is refused, so that a mistyped path can't harm it. A folder whose
//! making was cut short has no marker yet but only our names, and is finished.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use patchmesh_topology::digest::Digest;

use super::disk::Disk;
use super::{Error, Mode};
use crate::durable;

/// The format this program writes. A newer one is refused.
const FORMAT: u32 = 1;
const MAGIC: &str = "patchmesh data folder";
pub(super) const MARKER: &str = "format";
const LOCK: &str = "lock";
const DATABASE: &str = "db";
const BLOBS: &str = "blobs";
const INCOMING: &str = "incoming";
const CHECKPOINT: &str = "checkpoint";

/// Every name at the top of the folder that is the store's.
pub(super) const OWN_NAMES: [&str; 6] = [MARKER, LOCK, DATABASE, BLOBS, INCOMING, CHECKPOINT];

/// A marker is a few words; whatever is longer is none of ours.
const MAX_MARKER: u64 = 256;

/// Space that payloads leave to the database, so that a full disk never stops
/// a node from learning of a halt. On a small disk it is a twentieth.
const CONTROL_RESERVE: u64 = 64 << 20;

/// An opened data folder; locked until it is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    disk: Disk,
    /// Held for its lock.
    _lock: File,
}

impl Folder {
    pub(super) fn open(root: &Path, mode: Mode, disk: Disk) -> Result<Self, Error> {
        let folder = match mode {
            Mode::Create => Self::create(root, disk)?,
            Mode::Existing => {
                check_marker(root)?;
                Self { root: root.to_owned(), disk, _lock: lock(root)? }
            }
        };
        folder.make_shards()?;
        Ok(folder)
    }

    fn create(root: &Path, disk: Disk) -> Result<Self, Error> {
        // With those above it, durably: the last step syncs its own entry alone.
        durable::make_folder(root).map_err(|e| Error::io("make", root, e))?;
        // Before all else in it: others keep their files in a data folder too.
        if root.join(MARKER).exists() {
            check_marker(root)?;
            return Err(Error::AlreadyExists { path: root.to_owned() });
        }
        for entry in fs::read_dir(root).map_err(|e| Error::io("list", root, e))? {
            let name = entry.map_err(|e| Error::io("list", root, e))?.file_name();
            if ![LOCK, DATABASE, BLOBS, INCOMING].iter().any(|ours| name == *ours) {
                return Err(Error::Foreign { path: root.to_owned(), found: name });
            }
        }
        let folder = Self { root: root.to_owned(), disk, _lock: lock(root)? };
        make_folder(&folder.disk, &folder.database())?;
        make_folder(&folder.disk, &folder.incoming())?;
        Ok(folder)
    }

    /// Makes the folders that blobs lie in, and makes them durable: a process
    /// that was killed may have left some that are not.
    fn make_shards(&self) -> Result<(), Error> {
        let blobs = self.root.join(BLOBS);
        make_folder(&self.disk, &blobs)?;
        for shard in 0..=u8::MAX {
            let shard = blobs.join(format!("{shard:02x}"));
            if !shard.exists() {
                make_folder(&self.disk, &shard)?;
            }
        }
        self.sync(&blobs)?;
        self.sync(&self.root)
    }

    /// Marks a folder that [`Folder::create`] made as complete.
    pub(super) fn complete(&self) -> Result<(), Error> {
        let marker = self.root.join(MARKER);
        let draft = self.incoming().join(MARKER);
        let write = || {
            let mut file = File::create(&draft)?;
            file.write_all(format!("{MAGIC}\nformat {FORMAT}\n").as_bytes())?;
            file.sync_all()?;
            fs::rename(&draft, &marker)
        };
        write().map_err(|e| Error::io("write", &marker, e))?;
        self.sync(&self.root)?;
        // The folder itself is an entry of another one.
        match self.root.canonicalize().ok().as_deref().and_then(Path::parent) {
            Some(above) => self.sync(above),
            None => Ok(()),
        }
    }

    pub(super) const fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Makes the entries of a folder durable.
    pub(super) fn sync(&self, folder: &Path) -> Result<(), Error> {
        self.disk.sync_folder(folder).map_err(|e| Error::io("sync", folder, e))
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn database(&self) -> PathBuf {
        self.root.join(DATABASE)
    }

    pub(super) fn incoming(&self) -> PathBuf {
        self.root.join(INCOMING)
    }

    /// Where the database is held still.
    pub(super) fn checkpoint(&self) -> PathBuf {
        self.root.join(CHECKPOINT)
    }

    /// Where a large blob lies.
    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.root.join(BLOBS).join(&name[..2]).join(name)
    }

    /// Where the pieces of a large blob are gathered.
    pub(super) fn partial(&self, digest: &Digest) -> PathBuf {
        self.incoming().join(format!("{digest}.pieces"))
    }

    /// Puts a complete and synced file into its place, durably.
    pub(super) fn adopt(&self, file: &Path, digest: &Digest) -> Result<(), Error> {
        let place = self.blob(digest);
        self.disk.rename(file, &place).map_err(|e| Error::io("rename into place", &place, e))?;
        self.sync_shard(digest)
    }

    /// Makes it durable that a blob's file is in its place, or that it is not.
    pub(super) fn sync_shard(&self, digest: &Digest) -> Result<(), Error> {
        self.blob(digest).parent().map_or(Ok(()), |shard| self.sync(shard))
    }

    /// Takes a blob's file out of its place, to be received further.
    pub(super) fn take_back(&self, digest: &Digest) -> Result<(), Error> {
        let (from, to) = (self.blob(digest), self.partial(digest));
        self.disk.rename(&from, &to).map_err(|e| Error::io("take back", &from, e))?;
        self.sync(&self.incoming())?;
        self.sync_shard(digest)
    }

    /// Removes a file, if it is there.
    pub(super) fn remove(&self, path: &Path) -> Result<(), Error> {
        self.disk.remove(path).map_err(|e| Error::io("remove", path, e))
    }

    /// Bytes that payloads may take, when so many are promised to others already.
    pub(super) fn room(&self, promised: u64) -> Result<u64, Error> {
        let path = &self.root;
        let space = self.disk.space(path).map_err(|e| Error::io("examine", path, e))?;
        let reserve = CONTROL_RESERVE.min(space.total / 20);
        Ok(space.free.saturating_sub(reserve).saturating_sub(promised))
    }

    /// Whether payloads may take this many bytes more.
    pub(super) fn ensure_space(&self, bytes: u64, promised: u64) -> Result<(), Error> {
        let free = self.room(promised)?;
        if bytes <= free {
            Ok(())
        } else {
            let path = self.root.clone();
            Err(Error::DiskFull { path, wanted: Some(bytes), free: Some(free) })
        }
    }
}

/// Makes a folder that only its owner can enter, since keys lie in it.
fn make_folder(disk: &Disk, path: &Path) -> Result<(), Error> {
    disk.make_folder(path).map_err(|e| Error::io("make", path, e))
}

fn check_marker(root: &Path) -> Result<(), Error> {
    let path = root.join(MARKER);
    let damaged = || Error::Marker { path: path.clone() };
    let mut text = String::new();
    match File::open(&path).and_then(|file| file.take(MAX_MARKER).read_to_string(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(absent(root)),
        Err(error) if error.kind() == ErrorKind::InvalidData => return Err(damaged()),
        Err(error) => return Err(Error::io("read", &path, error)),
    }
    let found = text
        .strip_prefix(MAGIC)
        .and_then(|rest| rest.trim().strip_prefix("format "))
        .and_then(|version| version.parse().ok())
        .ok_or_else(damaged)?;
    if found > FORMAT {
        return Err(Error::NewerFormat { path: root.to_owned(), found, known: FORMAT });
    }
    Ok(())
}

/// Why a folder without a marker can't be opened.
fn absent(root: &Path) -> Error {
    match fs::read_dir(root).map(|mut entries| entries.next()) {
        Ok(Some(Ok(entry))) => Error::Foreign { path: root.to_owned(), found: entry.file_name() },
        Err(error) if error.kind() != ErrorKind::NotFound => Error::io("list", root, error),
        _ => Error::Missing { path: root.to_owned() },
    }
}

fn lock(root: &Path) -> Result<File, Error> {
    let path = root.join(LOCK);
    let failed = |error| Error::io("lock", &path, error);
    let mut options = OpenOptions::new();
    let mut file =
        options.read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // The id only helps a person; without it the answer is the same.
            let _ = file.take(MAX_MARKER).read_to_string(&mut text);
            return Err(Error::InUse { path: root.to_owned(), process: text.trim().parse().ok() });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    file.set_len(0).map_err(failed)?;
    write!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(file)
}
