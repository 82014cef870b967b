//! Reading below a root folder, as if it were `/`: links cannot lead out.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::Error;

/// A folder that is taken for `/`.
#[derive(Debug)]
pub(in crate::agent) struct Root {
    path: PathBuf,
    folder: OwnedFd,
}

impl Root {
    pub(in crate::agent) fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|source| Error::Root { path: path.to_owned(), source: source.into() })?;
        Ok(Self { path: path.to_owned(), folder })
    }

    /// The folder as it was named.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A file below the root; `None` where there is none.
    pub(super) fn file(&self, path: &str) -> Result<Option<File>, Error> {
        self.at(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)
    }

    fn at(&self, path: &str, flags: OFlags) -> Result<Option<File>, Error> {
        // With a root of its own, an absolute link stays below it.
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let relative = path.trim_start_matches('/');
        match openat2(&self.folder, relative, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Ok(file) => Ok(Some(File::from(file))),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
            Err(error) => Err(Error::Read { path: path.into(), source: error.into() }),
        }
    }

    /// A folder below the root, to work in; `None` where there is none.
    pub(in crate::agent) fn folder(&self, path: &str) -> std::io::Result<Option<OwnedFd>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let relative = match path.trim_start_matches('/') {
            "" => ".",
            relative => relative,
        };
        match openat2(&self.folder, relative, flags, Mode::empty(), resolve) {
            Ok(folder) => Ok(Some(folder)),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn has(&self, path: &str) -> bool {
        matches!(self.at(path, OFlags::PATH), Ok(Some(_)))
    }

    /// The text of a file of at most `most` bytes; `None` where there is none.
    /// What is no UTF-8 is replaced.
    pub(in crate::agent) fn text(&self, path: &str, most: u64) -> Result<Option<String>, Error> {
        let Some(file) = self.file(path)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let read = file.take(most + 1).read_to_end(&mut bytes);
        read.map_err(|source| Error::Read { path: path.into(), source })?;
        if bytes.len() as u64 > most {
            return Err(Error::Long { path: path.into(), most });
        }
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The names in a folder that end with `ending`, sorted; at most `most`.
    pub(super) fn names(
        &self,
        path: &str,
        ending: &str,
        most: usize,
    ) -> Result<Vec<String>, Error> {
        let failed = |source: std::io::Error| Error::Read { path: path.into(), source };
        let Some(folder) = self.at(path, OFlags::RDONLY | OFlags::DIRECTORY)? else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        let entries = rustix::fs::Dir::read_from(&folder).map_err(|error| failed(error.into()))?;
        for entry in entries {
            let entry = entry.map_err(|error| failed(error.into()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.ends_with(ending) || name.starts_with('.') {
                continue;
            }
            if names.len() == most {
                let what = format!("there are more than {most} files: put them together");
                return Err(failed(std::io::Error::new(ErrorKind::InvalidData, what)));
            }
            names.push(name);
        }
        names.sort();
        Ok(names)
    }
}
