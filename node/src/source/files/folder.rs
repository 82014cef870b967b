//! The folder, and the one way to files in it.
//!
//! A path is walked step by step from the open folder, and no step may be a
//! link. So no manifest, and nobody who may write into the folder, makes the
//! primary read what lies elsewhere. The folder itself may be named by a link:
//! that is the operator's own choice.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::view::is_inner_path;
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use super::Error;

/// Bytes read at a time.
const PART: usize = 256 << 10;

/// A file's length and hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) length: u64,
    pub(super) sha256: Sha256,
}

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    handle: OwnedFd,
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| Error::Folder { path: path.to_owned(), source: errno.into() })?;
        Ok(Self { path: path.to_owned(), handle })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a regular file that lies in the folder itself, however deep.
    pub(super) fn file(&self, path: &str) -> std::io::Result<File> {
        let invalid = |text| std::io::Error::new(ErrorKind::InvalidInput, text);
        if !is_inner_path(path) {
            return Err(invalid("the path leads out of the folder"));
        }
        let link = |errno| match errno {
            Errno::LOOP | Errno::MLINK => invalid("a step of the path is a symbolic link"),
            other => other.into(),
        };
        let steps: Vec<&str> = path.split('/').collect();
        let (name, folders) = steps.split_last().ok_or_else(|| invalid("the path is empty"))?;
        let mut handle: Option<OwnedFd> = None;
        for step in folders {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let above = handle.as_ref().unwrap_or(&self.handle);
            let opened = openat(above, *step, flags, Mode::empty());
            // A link where a folder is asked for is no folder, says Linux.
            handle = Some(opened.map_err(|errno| match errno {
                Errno::NOTDIR => invalid("a step of the path is a symbolic link or a file"),
                other => link(other),
            })?);
        }
        // A pipe must not make the primary wait.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let above = handle.as_ref().unwrap_or(&self.handle);
        let file = File::from(openat(above, *name, flags, Mode::empty()).map_err(link)?);
        if !file.metadata()?.is_file() {
            return Err(invalid("it is no regular file"));
        }
        Ok(file)
    }

    /// A small file as a whole; `None` where there is none.
    pub(super) fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let path = || self.path.join(name);
        let file = match self.file(name) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Read { path: path(), source }),
        };
        let mut bytes = Vec::new();
        let read = file.take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|source| Error::Read { path: path(), source })?;
        if bytes.len() as u64 > limit {
            return Err(Error::Large { path: path(), limit });
        }
        Ok(Some(bytes))
    }

    /// Copies a file, but never more than a byte beyond `limit`.
    pub(super) fn copy(
        &self,
        name: &str,
        limit: u64,
        to: &mut impl Write,
        mut progress: impl FnMut(u64),
    ) -> Result<Content, Error> {
        let read = |source| Error::Read { path: self.path.join(name), source };
        let file = self.file(name).map_err(read)?;
        let mut file = file.take(limit.saturating_add(1));
        let mut hash = Context::new(&SHA256);
        let (mut buffer, mut length) = (vec![0; PART], 0);
        loop {
            let count = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(read(error)),
            };
            let part = &buffer[..count];
            hash.update(part);
            to.write_all(part).map_err(read)?;
            length += count as u64;
            progress(length);
        }
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(hash.finish().as_ref());
        Ok(Content { length, sha256: Sha256::from_bytes(sha256) })
    }
}
