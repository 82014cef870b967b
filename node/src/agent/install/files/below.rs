//! Files below a machine's root, looked at, written and renamed: links cannot lead out of
//! it, and what stands at a path itself is never followed.

use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use patchmesh_topology::digest::Sha256;
use rustix::fs::{AtFlags, Mode, OFlags, fchmod, fchown, mkdirat, openat, renameat, unlinkat};
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;

use super::Error;
use super::records::Content;
use crate::agent::inventory::rooted::Root;
use crate::hash;

/// The permissions of folders that are made.
const FOLDER: u32 = 0o755;

/// Of what is kept of a mode.
const PERMISSIONS: u32 = 0o7777;

/// `etc/passwd` and `etc/group` have less.
const MAX_NAMES: u64 = 4 << 20;

/// The root of a machine.
#[derive(Debug)]
pub(super) struct Below {
    root: Root,
}

/// A path whose folder is there.
#[derive(Debug)]
pub(super) struct Spot {
    folder: OwnedFd,
    name: String,
    path: String,
}

/// A file as it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) mode: u32,
    pub(super) owner: u32,
    pub(super) group: u32,
    pub(super) bytes: u64,
    /// Which file it is, and when it was last written.
    identity: (u64, u64, i64, i64),
}

impl From<&Metadata> for Found {
    fn from(data: &Metadata) -> Self {
        Self {
            mode: data.mode() & PERMISSIONS,
            owner: data.uid(),
            group: data.gid(),
            bytes: data.len(),
            identity: (data.dev(), data.ino(), data.mtime(), data.mtime_nsec()),
        }
    }
}

/// The folder and the name of a path.
fn parted(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Why nothing could be done with a path.
pub(super) fn failed(what: &'static str, path: &str, source: impl Into<io::Error>) -> Error {
    Error::Path { what, path: path.to_owned(), source: source.into() }
}

/// Whether there is something on the way to a folder that is none, or that is not followed.
fn is_no_way(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOTDIR | Errno::LOOP))
        || error.kind() == io::ErrorKind::PermissionDenied
}

impl Below {
    pub(super) fn open(root: &Path) -> Result<Self, Error> {
        let opened = Root::open(root);
        Ok(Self { root: opened.map_err(|source| Error::Root(Box::new(source)))? })
    }

    /// A path, where its folder is there.
    pub(super) fn spot(&self, path: &str) -> Result<Option<Spot>, Error> {
        let (folder, name) = parted(path);
        let opened = self.root.folder(folder);
        let opened = opened.map_err(|source| failed("open the folder of", path, source))?;
        let spot = |folder| Spot { folder, name: name.to_owned(), path: path.to_owned() };
        Ok(opened.map(spot))
    }

    /// As [`spot`](Self::spot), where somebody may have put something else in the place of a
    /// folder above it meanwhile; it is gone then as well.
    pub(super) fn spot_still(&self, path: &str) -> Result<Option<Spot>, Error> {
        match self.spot(path) {
            Err(Error::Path { source, .. }) if is_no_way(&source) => {
                tracing::warn!(path, %source, "its folder is not what it was");
                Ok(None)
            }
            spot => spot,
        }
    }

    /// The folders that lack above a path, those above first.
    pub(super) fn lacking(&self, path: &str) -> Result<Vec<String>, Error> {
        let (mut lacking, mut folder) = (Vec::new(), parted(path).0);
        while !folder.is_empty() {
            let opened = self.root.folder(folder);
            if opened.map_err(|source| failed("open the folder of", path, source))?.is_some() {
                break;
            }
            lacking.push(folder.to_owned());
            folder = parted(folder).0;
        }
        lacking.reverse();
        Ok(lacking)
    }

    /// Makes a folder, durably; what is there already is an error.
    pub(super) fn make_folder(&self, path: &str) -> Result<(), Error> {
        let what = "make the folder";
        let absent = || failed(what, path, io::Error::from(io::ErrorKind::NotFound));
        let spot = self.spot(path)?.ok_or_else(absent)?;
        let made = || -> rustix::io::Result<()> {
            let mode = Mode::from_raw_mode(FOLDER);
            mkdirat(&spot.folder, &spot.name, mode)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            // Whatever this process masks.
            fchmod(openat(&spot.folder, &spot.name, flags, Mode::empty())?, mode)
        };
        made().map_err(|source| failed(what, path, source))?;
        spot.sync()
    }

    /// Removes a folder where it is empty; whether it is gone.
    pub(super) fn remove_folder(&self, path: &str) -> Result<bool, Error> {
        let Some(spot) = self.spot_still(path)? else { return Ok(true) };
        match unlinkat(&spot.folder, &spot.name, AtFlags::REMOVEDIR) {
            Ok(()) => spot.sync().map(|()| true),
            Err(Errno::NOENT) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR | Errno::BUSY) => Ok(false),
            Err(source) => Err(failed("remove the folder", path, source)),
        }
    }

    /// The number of a user or group by its name in this system.
    pub(super) fn id(&self, kind: &'static str, name: &str) -> Result<u32, Error> {
        if let Ok(id) = name.parse() {
            return Ok(id);
        }
        let list = if kind == "owner" { "etc/passwd" } else { "etc/group" };
        let text = self.root.text(list, MAX_NAMES);
        let text = text.map_err(|source| Error::Root(Box::new(source)))?.unwrap_or_default();
        let id = |line: &str| {
            let mut fields = line.split(':');
            (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
        };
        let nobody = || Error::Nobody { kind, name: name.to_owned(), list };
        text.lines().find_map(id).ok_or_else(nobody)
    }
}

impl Spot {
    /// What is there, where it is a plain file or nothing.
    pub(super) fn look(&self) -> Result<Option<Found>, Error> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match openat(&self.folder, &self.name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(source) => return Err(failed("look at", &self.path, source)),
        };
        let data = file.metadata().map_err(|source| failed("look at", &self.path, source))?;
        let kind = data.file_type();
        if kind.is_file() {
            return Ok(Some(Found::from(&data)));
        }
        let what = match (kind.is_dir(), kind.is_symlink()) {
            (true, _) => "a folder",
            (_, true) => "a link",
            _ => "a device, pipe or socket",
        };
        Err(Error::Kind { path: self.path.clone(), what })
    }

    /// What is there, read whole.
    pub(super) fn content(&self) -> Result<Option<Content>, Error> {
        let Some(found) = self.look()? else { return Ok(None) };
        let read = self.file().and_then(|file| hash::read(file.take(found.bytes + 1)));
        let (_, context) = read.map_err(|source| failed("read", &self.path, source))?;
        let Found { mode, owner, group, .. } = found;
        Ok(Some(Content { sha256: hash::finish(context).to_string(), mode, owner, group }))
    }

    /// Copies what is there to `to`; its SHA-256, and how many bytes it has.
    pub(super) fn copy(&self, to: File, most: u64) -> Result<(u64, Sha256), Error> {
        let copied = self.file().and_then(|file| copy(file.take(most + 1), &to));
        let copied = copied.map_err(|source| failed("copy", &self.path, source))?;
        to.sync_all().map_err(|source| failed("copy", &self.path, source))?;
        Ok(copied)
    }

    fn file(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(File::from(openat(&self.folder, &self.name, flags, Mode::empty())?))
    }

    /// Writes a file beside it, durably; its SHA-256.
    pub(super) fn write_beside(
        &self,
        temporary: &str,
        from: File,
        like: (u32, u32, u32),
    ) -> Result<Sha256, Error> {
        let written = || -> io::Result<Sha256> {
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            // Open to nobody else until it is whole.
            let mode = Mode::from_raw_mode(0o600);
            let file = File::from(openat(&self.folder, temporary, flags, mode)?);
            let (_, sha256) = copy(from, &file)?;
            let (mode, owner, group) = like;
            let data = file.metadata()?;
            if (data.uid(), data.gid()) != (owner, group) {
                fchown(&file, Some(Uid::from_raw(owner)), Some(Gid::from_raw(group)))?;
            }
            // After that, which takes away set-user-ID.
            fchmod(&file, Mode::from_raw_mode(mode))?;
            file.sync_all()?;
            Ok(sha256)
        };
        written().map_err(|source| failed("write beside", &self.path, source))
    }

    /// Puts the file beside it in its place.
    pub(super) fn replace(&self, temporary: &str) -> Result<(), Error> {
        renameat(&self.folder, temporary, &self.folder, &self.name)
            .map_err(|source| failed("replace", &self.path, source))
    }

    /// Removes it.
    pub(super) fn remove(&self) -> Result<(), Error> {
        self.unlink(&self.name)
    }

    /// Removes a file beside it, where there is one.
    pub(super) fn remove_beside(&self, temporary: &str) -> Result<(), Error> {
        self.unlink(temporary)
    }

    fn unlink(&self, name: &str) -> Result<(), Error> {
        match unlinkat(&self.folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(source) => Err(failed("remove", &self.path, source)),
        }
    }

    /// Makes the entries of its folder durable.
    pub(super) fn sync(&self) -> Result<(), Error> {
        let synced = rustix::fs::fsync(&self.folder);
        synced.map_err(|source| failed("make durable", &self.path, source))
    }
}

/// Copies all; how many bytes, and their SHA-256.
fn copy(from: impl Read, to: &File) -> io::Result<(u64, Sha256)> {
    struct Copying<'a, R>(R, &'a File);
    impl<R: Read> Read for Copying<'_, R> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let bytes = self.0.read(buffer)?;
            self.1.write_all(&buffer[..bytes])?;
            Ok(bytes)
        }
    }
    let (bytes, context) = hash::read(Copying(from, to))?;
    Ok((bytes, hash::finish(context)))
}
