//! The folder of backups on disk: objects by digest, backups by number.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use patchmesh_topology::digest::Digest;
use tempfile::NamedTempFile;

use super::Error;
use super::manifest::Manifest;
use crate::durable;

const MARKER: &str = "patchmesh-backups";
const MARKER_TEXT: &str = "patchmesh backups\nformat 1\n";
const LOCK: &str = "lock";
const OBJECTS: &str = "objects";
const BACKUPS: &str = "backups";
/// Bytes read at a time.
const BUFFER: usize = 1 << 20;

/// A folder of backups.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    /// Held for its lock, by those who write.
    _lock: Option<File>,
}

/// What became of a file that was to be in the folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    pub(super) digest: Digest,
    pub(super) length: u64,
    /// Whether it was copied now.
    pub(super) is_new: bool,
}

impl Folder {
    /// Opens the folder to read.
    pub(super) fn open(root: &Path) -> Result<Self, Error> {
        match fs::read_to_string(root.join(MARKER)) {
            Ok(text) if text == MARKER_TEXT => Ok(Self { root: root.to_owned(), _lock: None }),
            Ok(_) => Err(Error::Damaged {
                path: root.join(MARKER),
                why: "it is not what this program writes there".to_owned(),
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(Error::NoFolder(root.to_owned()))
            }
            Err(error) => Err(Error::io("read", &root.join(MARKER), error)),
        }
    }

    /// Opens the folder to write, and makes it where there is none.
    pub(super) fn open_to_write(root: &Path) -> Result<Self, Error> {
        if !root.join(MARKER).exists() {
            make(root)?;
        }
        let folder = Self::open(root)?;
        let lock = folder.lock()?;
        let folder = Self { _lock: Some(lock), ..folder };
        folder.sweep_drafts()?;
        Ok(folder)
    }

    fn lock(&self) -> Result<File, Error> {
        let path = self.root.join(LOCK);
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|e| Error::io("open", &path, e))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(Error::Busy(self.root.clone())),
            Err(TryLockError::Error(error)) => Err(Error::io("lock", &path, error)),
        }
    }

    /// What a backup that was cut short left half written.
    fn sweep_drafts(&self) -> Result<(), Error> {
        for folder in [self.root.join(OBJECTS), self.root.join(BACKUPS)] {
            for path in entries(&folder)? {
                if path.is_file() && path.extension().is_some_and(|end| end == "draft") {
                    fs::remove_file(&path).map_err(|e| Error::io("remove", &path, e))?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where an object lies.
    pub(super) fn object(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.root.join(OBJECTS).join(&name[..2]).join(name)
    }

    /// Where backup `id` is listed.
    pub(super) fn backup(&self, id: u64) -> PathBuf {
        self.root.join(BACKUPS).join(format!("{id:08}.json"))
    }

    /// The numbers of all backups, damaged ones too, ascending.
    pub(super) fn backups(&self) -> Result<Vec<u64>, Error> {
        let mut found = Vec::new();
        for path in entries(&self.root.join(BACKUPS))? {
            let name = path.file_name().and_then(|name| name.to_str());
            let number = name.and_then(|name| name.strip_suffix(".json"));
            found.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Copies a file unless the folder has it, durably. `expected` is what
    /// its name promises, if anything.
    pub(super) fn keep(&self, source: &Path, expected: Option<Digest>) -> Result<Kept, Error> {
        let known = match expected {
            Some(digest) => (digest, length_of(source)?),
            None => hash(source)?,
        };
        let has = |(digest, length): (Digest, u64)| {
            let object = fs::metadata(self.object(&digest));
            object.is_ok_and(|object| object.is_file() && object.len() == length)
        };
        if has(known) {
            return Ok(Kept { digest: known.0, length: known.1, is_new: false });
        }
        let objects = self.root.join(OBJECTS);
        let mut draft = draft_in(&objects)?;
        let (digest, length) = copy(source, draft.as_file_mut(), &objects)?;
        if expected.is_some_and(|expected| expected != digest) {
            return Err(Error::SourceDamaged(source.to_owned()));
        }
        let place = self.object(&digest);
        let shard = place.parent().unwrap_or(&objects);
        if !shard.exists() {
            make_folder(shard)?;
            sync(&objects)?;
        }
        draft.as_file().sync_all().map_err(|e| Error::io("sync", draft.path(), e))?;
        draft.persist(&place).map_err(|e| Error::io("write", &place, e.error))?;
        Ok(Kept { digest, length, is_new: true })
    }

    /// Lists a backup: from here on it is one. Every folder that an object
    /// went into is synced first.
    pub(super) fn list(&self, manifest: &Manifest) -> Result<(), Error> {
        let shards: HashSet<PathBuf> = manifest
            .files
            .iter()
            .filter_map(|file| self.object(&file.digest()?).parent().map(Path::to_owned))
            .collect();
        shards.iter().try_for_each(|shard| sync(shard))?;
        let (backups, place) = (self.root.join(BACKUPS), self.backup(manifest.id));
        let bytes = manifest.encode().map_err(|e| Error::io("write", &place, e.into()))?;
        let mut draft = draft_in(&backups)?;
        draft.write_all(&bytes).map_err(|e| Error::io("write", &place, e))?;
        draft.as_file().sync_all().map_err(|e| Error::io("sync", &place, e))?;
        draft.persist(&place).map_err(|e| Error::io("write", &place, e.error))?;
        sync(&backups)
    }

    /// Removes all but the newest `keep` backups and what only they needed.
    /// While one that stays cannot be read, no object goes. Returns how many
    /// backups went.
    pub(super) fn prune(&self, keep: usize) -> Result<u64, Error> {
        let all = self.backups()?;
        let (old, kept) = all.split_at(all.len().saturating_sub(keep.max(1)));
        for id in old {
            let path = self.backup(*id);
            fs::remove_file(&path).map_err(|e| Error::io("remove", &path, e))?;
        }
        sync(&self.root.join(BACKUPS))?;
        let mut needed = HashSet::new();
        for id in kept {
            let Ok(manifest) = Manifest::read(&self.backup(*id)) else {
                return Ok(old.len() as u64);
            };
            needed.extend(manifest.files.iter().filter_map(|file| file.digest()));
        }
        for shard in entries(&self.root.join(OBJECTS))? {
            for object in entries(&shard)? {
                let name = object.file_name().and_then(|name| name.to_str());
                let digest = name.and_then(|name| name.parse::<Digest>().ok());
                if digest.is_some_and(|digest| !needed.contains(&digest)) {
                    fs::remove_file(&object).map_err(|e| Error::io("remove", &object, e))?;
                }
            }
        }
        Ok(old.len() as u64)
    }
}

fn make(root: &Path) -> Result<(), Error> {
    make_folder(root)?;
    let ours = [LOCK, OBJECTS, BACKUPS];
    for path in entries(root)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !ours.contains(&name.as_str()) {
            return Err(Error::Foreign { path: root.to_owned(), found: name });
        }
    }
    make_folder(&root.join(OBJECTS))?;
    make_folder(&root.join(BACKUPS))?;
    let path = root.join(MARKER);
    let mut draft = draft_in(&root.join(OBJECTS))?;
    draft.write_all(MARKER_TEXT.as_bytes()).map_err(|e| Error::io("write", &path, e))?;
    draft.as_file().sync_all().map_err(|e| Error::io("sync", &path, e))?;
    draft.persist(&path).map_err(|e| Error::io("write", &path, e.error))?;
    sync(root)
}

/// A file with mode 0600 that goes unless it is given a name.
fn draft_in(folder: &Path) -> Result<NamedTempFile, Error> {
    tempfile::Builder::new()
        .suffix(".draft")
        .tempfile_in(folder)
        .map_err(|e| Error::io("make a file in", folder, e))
}

/// Copies and hashes in one pass.
pub(super) fn copy(source: &Path, to: &mut File, place: &Path) -> Result<(Digest, u64), Error> {
    let mut file = File::open(source).map_err(|e| Error::io("read", source, e))?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; BUFFER];
    let mut length = 0;
    loop {
        let read = file.read(&mut buffer).map_err(|e| Error::io("read", source, e))?;
        if read == 0 {
            return Ok((Digest::from_bytes(*hasher.finalize().as_bytes()), length));
        }
        hasher.update(&buffer[..read]);
        to.write_all(&buffer[..read]).map_err(|e| Error::io("write to", place, e))?;
        length += read as u64;
    }
}

/// Reads and hashes.
pub(super) fn hash(path: &Path) -> Result<(Digest, u64), Error> {
    let mut file = File::open(path).map_err(|e| Error::io("read", path, e))?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; BUFFER];
    let mut length = 0;
    loop {
        let read = file.read(&mut buffer).map_err(|e| Error::io("read", path, e))?;
        if read == 0 {
            return Ok((Digest::from_bytes(*hasher.finalize().as_bytes()), length));
        }
        hasher.update(&buffer[..read]);
        length += read as u64;
    }
}

fn length_of(path: &Path) -> Result<u64, Error> {
    Ok(fs::metadata(path).map_err(|e| Error::io("read", path, e))?.len())
}

/// What lies in a folder, sorted; nothing where there is none.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |error| Error::io("list", folder, error);
    let listed = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in listed {
        found.push(entry.map_err(failed)?.path());
    }
    found.sort();
    Ok(found)
}

/// Makes a folder for its owner alone, and those above it.
pub(super) fn make_folder(path: &Path) -> Result<(), Error> {
    durable::make_folder(path).map_err(|e| Error::io("make", path, e))
}

/// Makes the entries of a folder durable.
pub(super) fn sync(path: &Path) -> Result<(), Error> {
    durable::sync_folder(path).map_err(|e| Error::io("sync", path, e))
}
