//! Reading below a root folder, as if it were `/`: links cannot lead out.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2, readlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::Error;

/// Links that are followed on a way, as many as Linux follows.
const MAX_LINKS: usize = 40;

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
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(Error::Read { path: path.into(), source: error.into() }),
        }
    }

    /// A folder below the root, to work in; `None` where there is none. What is done there is
    /// done with this process's rights, so a link of somebody who has other ones leads only
    /// to folders of theirs.
    pub(in crate::agent) fn folder(&self, path: &str) -> io::Result<Option<OwnedFd>> {
        match self.walk(path) {
            Ok(folder) => Ok(Some(folder)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn walk(&self, path: &str) -> io::Result<OwnedFd> {
        let parts = |path: &[u8]| -> Vec<Vec<u8>> {
            path.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec).collect()
        };
        let mut ahead = parts(path.as_bytes());
        // The folders from the root on to where it is; and whose links led there.
        let (mut way, mut links, mut leaders) = (Vec::<OwnedFd>::new(), 0, Vec::new());
        while let Some(part) = ahead.pop() {
            let at = way.last().unwrap_or(&self.folder);
            match &part[..] {
                b"" | b"." => continue,
                b".." => {
                    way.pop();
                    continue;
                }
                _ => {}
            }
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match openat(at, &part, flags | OFlags::DIRECTORY, Mode::empty()) {
                Ok(folder) => {
                    way.push(folder);
                    continue;
                }
                Err(Errno::NOTDIR) => {}
                Err(error) => return Err(error.into()),
            }
            let link = openat(at, &part, flags, Mode::empty())?;
            let stat = fstat(&link)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                return Err(Errno::NOTDIR.into());
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::LOOP.into());
            }
            if stat.st_uid != 0 && stat.st_uid != geteuid().as_raw() {
                leaders.push((stat.st_uid, String::from_utf8_lossy(&part).into_owned()));
            }
            let to = readlinkat(&link, "", Vec::new())?.into_bytes();
            if to.starts_with(b"/") {
                way.clear();
            }
            ahead.extend(parts(&to));
        }
        let at = way.last().unwrap_or(&self.folder);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(at, ".", flags, Mode::empty())?;
        let owner = fstat(&folder)?.st_uid;
        match leaders.into_iter().find(|(leader, _)| *leader != owner) {
            None => Ok(folder),
            Some((leader, link)) => Err(io::Error::new(
                ErrorKind::PermissionDenied,
                format!(
                    "the link {link} of user {leader} leads to a folder of user {owner}: it is not followed"
                ),
            )),
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
        let mut names = Vec::new();
        for name in self.listed(path, ending)? {
            let name = name?;
            if names.len() == most {
                let what = format!("there are more than {most} files: put them together");
                let source = io::Error::new(ErrorKind::InvalidData, what);
                return Err(Error::Read { path: path.into(), source });
            }
            names.push(name);
        }
        names.sort();
        Ok(names)
    }

    /// Whether there is a name in a folder that ends with `ending`.
    pub(super) fn has_name(&self, path: &str, ending: &str) -> Result<bool, Error> {
        Ok(self.listed(path, ending)?.next().transpose()?.is_some())
    }

    /// The names in a folder that end with `ending`, hidden ones left out, as they come; none
    /// where there is no folder.
    fn listed<'a>(
        &self,
        path: &'a str,
        ending: &'a str,
    ) -> Result<impl Iterator<Item = Result<String, Error>> + use<'a>, Error> {
        let failed = |error: Errno| Error::Read { path: path.into(), source: error.into() };
        let folder = self.at(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let entries = folder.map(rustix::fs::Dir::read_from).transpose().map_err(failed)?;
        let name = move |entry: rustix::io::Result<rustix::fs::DirEntry>| match entry {
            Ok(entry) => {
                let name = entry.file_name().to_string_lossy().into_owned();
                (name.ends_with(ending) && !name.starts_with('.')).then_some(Ok(name))
            }
            Err(error) => Some(Err(failed(error))),
        };
        Ok(entries.into_iter().flatten().filter_map(name))
    }
}
