//! The one way by which the store touches files.
//!
//! Every operation whose failure or order matters to durability goes through
//! [`Disk`], so that tests can let any of them fail, or end the world between
//! any two (see `faults`). In production a [`Disk`] has no state and each call
//! is the system's. What always holds:
//!
//! - A write is whole or an error; whatever was written of it is then unknown.
//! - After a failed sync nothing is known of what was written since the sync
//!   before: the system may have dropped it and may call the next sync a success.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::Path;

use rustix::fs::{Advice, FallocateFlags};
use rustix::io::Errno;

#[cfg(test)]
pub(crate) mod faults;

/// With fewer inodes than this nothing more is begun: the database needs some.
const LEAST_FILES: u64 = 64;

/// Whether the room for a file could be taken before its bytes come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// The disk keeps it.
    Taken,
    /// This file system can't; who counts free space has to.
    Promised,
}

/// A step that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code, reason = "only tests look at the parts"))]
pub(super) enum Step<'a> {
    Open(&'a Path),
    Make(&'a Path),
    Allocate(&'a Path),
    Write(&'a Path),
    Read(&'a Path),
    Sync(&'a Path),
    SyncFolder(&'a Path),
    Rename(&'a Path),
    Remove(&'a Path),
    Measure(&'a Path),
    Commit,
}

/// What a file system has room for, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Space {
    pub(super) total: u64,
    /// What this user may still take; nothing where no more files can be made.
    pub(super) free: u64,
}

/// Where files are read and written; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    #[cfg(test)]
    faults: Option<std::sync::Arc<faults::Faults>>,
}

impl Disk {
    /// A step that is done elsewhere, such as a write of the database.
    #[cfg_attr(not(test), allow(clippy::unused_self, clippy::unnecessary_wraps))]
    pub(super) fn step(&self, step: Step<'_>) -> io::Result<()> {
        #[cfg(test)]
        if let Some(faults) = &self.faults {
            return faults.step(step);
        }
        #[cfg(not(test))]
        let _ = step;
        Ok(())
    }

    /// Opens a file that is there.
    pub(super) fn open(&self, path: &Path, write: bool) -> io::Result<File> {
        self.step(Step::Open(path))?;
        OpenOptions::new().read(true).write(write).open(path)
    }

    /// Makes an empty file, in place of one that is there.
    pub(super) fn make(&self, path: &Path) -> io::Result<File> {
        self.step(Step::Make(path))?;
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)
    }

    /// Makes a folder that only its owner can enter, and those above it.
    pub(super) fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.step(Step::Make(path))?;
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    /// Gives a file its length and, where that can be, the room for it.
    pub(super) fn allocate(&self, file: &File, path: &Path, length: u64) -> io::Result<Room> {
        self.step(Step::Allocate(path))?;
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, length) {
            Ok(()) => Ok(Room::Taken),
            // Not every file system can; then the length must do.
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                file.set_len(length).map(|()| Room::Promised)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Writes all the bytes at an offset.
    pub(super) fn write(&self, file: &File, path: &Path, bytes: &[u8], at: u64) -> io::Result<()> {
        #[cfg(test)]
        if let Err(error) = self.step(Step::Write(path)) {
            // As a disk does that fails in the middle.
            file.write_all_at(&bytes[..bytes.len() / 2], at)?;
            return Err(error);
        }
        #[cfg(not(test))]
        let _ = path;
        file.write_all_at(bytes, at)?;
        #[cfg(test)]
        if let Some(faults) = &self.faults {
            faults.wrote(path, at, bytes.len());
        }
        Ok(())
    }

    /// Reads into memory that was not cleared before; how much came.
    pub(super) fn read(
        &self,
        file: &File,
        path: &Path,
        bytes: &mut Vec<u8>,
        at: u64,
    ) -> io::Result<usize> {
        self.step(Step::Read(path))?;
        loop {
            match rustix::io::pread(file, rustix::buffer::spare_capacity(bytes), at) {
                Err(Errno::INTR) => {}
                result => return result.map_err(Into::into),
            }
        }
    }

    /// Forgets what memory holds of a part of a file, so that the next read is
    /// one of the disk. Where that can't be, the read is of memory.
    pub(super) fn forget_cached(&self, file: &File, at: u64, length: u64) {
        let _ = rustix::fs::fadvise(file, at, NonZeroU64::new(length), Advice::DontNeed);
    }

    /// How much room there is.
    pub(super) fn space(&self, path: &Path) -> io::Result<Space> {
        self.step(Step::Measure(path))?;
        #[cfg(test)]
        if let Some(space) = self.faults.as_ref().and_then(|faults| faults.space()) {
            return Ok(space);
        }
        let disk = rustix::fs::statvfs(path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        // Some file systems make inodes as they go, and count none.
        let is_out_of_files = disk.f_files > 0 && disk.f_favail < LEAST_FILES;
        let free = if is_out_of_files { 0 } else { bytes(disk.f_bavail) };
        Ok(Space { total: bytes(disk.f_blocks), free })
    }

    /// Makes a file's bytes and length durable.
    pub(super) fn sync(&self, file: &File, path: &Path) -> io::Result<()> {
        let step = self.step(Step::Sync(path));
        #[cfg(test)]
        if step.is_err()
            && let Some(faults) = &self.faults
        {
            faults.lose(file, path)?;
        }
        step?;
        file.sync_data()?;
        #[cfg(test)]
        if let Some(faults) = &self.faults {
            faults.synced(path);
        }
        Ok(())
    }

    /// Makes the entries of a folder durable.
    pub(super) fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.step(Step::SyncFolder(path))?;
        File::open(path)?.sync_all()
    }

    /// Moves a file, over one that is there.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(Step::Rename(to))?;
        fs::rename(from, to)
    }

    /// Removes a file, if it is there.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(Step::Remove(path))?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
