//! What the kernel asks, answered from the medium.
//!
//! Writes come as they are made: the kernel keeps none back (there is no
//! write-back cache but for shared mappings, which nobody here writes through),
//! so what a process has written and not synced is known to the byte. Locks are
//! the kernel's own.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::file::File;
use super::folder::Folder;
use super::medium::{CAPACITY, Kind, Medium};

/// How long the kernel may remember: nobody else changes anything.
const FOREVER: Duration = Duration::from_secs(3600);

const BLOCK: u32 = 4096;

/// `fallocate` with this bit leaves the length as it is (linux/falloc.h).
const KEEP_SIZE: i32 = 1;

/// The bits of a mode that tell what something is, and those of a socket and of
/// a file (sys/stat.h).
const KINDS: u32 = 0o170_000;
const SOCKET: u32 = 0o140_000;
const REGULAR: u32 = 0o100_000;

/// The entries of a folder as they were when it was opened.
type Listing = Arc<[(u64, FileType, OsString)]>;

/// A file system over a medium that stays when it is unmounted.
#[derive(Debug)]
pub(super) struct Mounted {
    medium: Arc<Mutex<Medium>>,
    /// Whose all of it is.
    owner: (u32, u32),
    listings: Mutex<(u64, HashMap<u64, Listing>)>,
}

impl Mounted {
    pub(super) fn new(medium: Arc<Mutex<Medium>>, owner: (u32, u32)) -> Self {
        Self { medium, owner, listings: Mutex::default() }
    }

    fn medium(&self) -> MutexGuard<'_, Medium> {
        lock(&self.medium)
    }

    fn attributes(&self, medium: &Medium, number: u64) -> Result<FileAttr, Errno> {
        let node = medium.node(number)?;
        let size = match &node.kind {
            Kind::File(file) => file.now().len() as u64,
            Kind::Folder(_) | Kind::Socket => 0,
        };
        Ok(FileAttr {
            ino: INodeNo(number),
            size,
            blocks: size.div_ceil(512),
            atime: node.changed,
            mtime: node.changed,
            ctime: node.changed,
            crtime: node.changed,
            kind: kind_of(&node.kind),
            perm: node.mode,
            nlink: node.links,
            uid: self.owner.0,
            gid: self.owner.1,
            rdev: 0,
            blksize: BLOCK,
            flags: 0,
        })
    }

    fn make(
        &self,
        folder: INodeNo,
        name: &OsStr,
        kind: Kind,
        mode: u32,
    ) -> Result<FileAttr, Errno> {
        let mut medium = self.medium();
        let number = medium.make(folder.0, name, kind, permissions(mode))?;
        self.attributes(&medium, number)
    }

    fn list(&self, folder: u64) -> Result<u64, Errno> {
        let medium = self.medium();
        let entries = medium.folder(folder)?.now().iter().map(|(name, number)| {
            Ok((*number, kind_of(&medium.node(*number)?.kind), name.clone()))
        });
        let listing: Listing = entries.collect::<Result<Vec<_>, Errno>>()?.into();
        let mut listings = lock(&self.listings);
        listings.0 += 1;
        let handle = listings.0;
        listings.1.insert(handle, listing);
        Ok(handle)
    }

    fn set_length(&self, number: u64, length: u64) -> Result<(), Errno> {
        let mut medium = self.medium();
        medium.ensure_room(number, length)?;
        let length = usize::try_from(length).map_err(|_| Errno::EFBIG)?;
        medium.change_file(number, |file| file.set_length(length))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kind_of(kind: &Kind) -> FileType {
    match kind {
        Kind::File(_) => FileType::RegularFile,
        Kind::Folder(_) => FileType::Directory,
        Kind::Socket => FileType::Socket,
    }
}

fn permissions(mode: u32) -> u16 {
    (mode & 0o7777) as u16
}

fn answer_entry(reply: ReplyEntry, found: Result<FileAttr, Errno>) {
    match found {
        Ok(attributes) => reply.entry(&FOREVER, &attributes, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn answer(reply: ReplyEmpty, outcome: Result<(), Errno>) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Mounted {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut medium = self.medium();
        let found =
            medium.lookup(parent.0, name).and_then(|number| self.attributes(&medium, number));
        answer_entry(reply, found);
    }

    fn forget(&self, _: &Request, ino: INodeNo, nlookup: u64) {
        // What is not there was removed by a cut.
        let _ = self.medium().forget(ino.0, nlookup);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(&self.medium(), ino.0) {
            Ok(attributes) => reply.attr(&FOREVER, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let outcome = size.map_or(Ok(()), |size| self.set_length(ino.0, size)).and_then(|()| {
            let mut medium = self.medium();
            if let Some(mode) = mode {
                medium.node_mut(ino.0)?.mode = permissions(mode);
            }
            self.attributes(&medium, ino.0)
        });
        match outcome {
            Ok(attributes) => reply.attr(&FOREVER, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn mknod(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let kind = match mode & KINDS {
            SOCKET => Kind::Socket,
            REGULAR => Kind::File(File::default()),
            _ => return reply.error(Errno::EPERM),
        };
        answer_entry(reply, self.make(parent, name, kind, mode));
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        answer_entry(reply, self.make(parent, name, Kind::Folder(Folder::default()), mode));
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        match self.make(parent, name, Kind::File(File::default()), mode) {
            Ok(attributes) => {
                let handle = FileHandle(attributes.ino.0);
                let flags = FopenFlags::FOPEN_KEEP_CACHE;
                reply.created(&FOREVER, &attributes, Generation(0), handle, flags);
            }
            Err(error) => reply.error(error),
        }
    }

    fn link(
        &self,
        _: &Request,
        ino: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        let mut medium = self.medium();
        let outcome = medium.link(ino.0, newparent.0, newname);
        answer_entry(reply, outcome.and_then(|()| self.attributes(&medium, ino.0)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(reply, self.medium().unlink(parent.0, name));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(reply, self.medium().unlink(parent.0, name));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if flags.intersects(!RenameFlags::RENAME_NOREPLACE) {
            return reply.error(Errno::EINVAL);
        }
        let (from, to) = ((parent.0, name), (newparent.0, newname));
        answer(reply, self.medium().rename(from, to, flags.is_empty()));
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(ino.0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.medium().file(ino.0) {
            Ok(file) => {
                let all = file.now();
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(all.len());
                let end = start.saturating_add(size as usize).min(all.len());
                reply.data(&all[start..end]);
            }
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut medium = self.medium();
        let end = offset.saturating_add(data.len() as u64);
        let outcome = medium.ensure_room(ino.0, end).and_then(|()| {
            let at = usize::try_from(offset).map_err(|_| Errno::EFBIG)?;
            medium.change_file(ino.0, |file| file.write(at, data))
        });
        match outcome {
            // No longer than a request.
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(error),
        }
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let end = offset.saturating_add(length);
        let size = self.medium().file(ino.0).map(|file| file.now().len() as u64);
        let outcome = match (mode, size) {
            (0, Ok(size)) => self.set_length(ino.0, size.max(end)),
            (KEEP_SIZE, Ok(_)) => self.medium().ensure_room(ino.0, end),
            (_, Ok(_)) => Err(Errno::EOPNOTSUPP),
            (_, Err(error)) => Err(error),
        };
        answer(reply, outcome);
    }

    /// A close syncs nothing.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer(reply, self.medium().sync(ino.0));
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer(reply, self.medium().sync(ino.0));
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.list(ino.0) {
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listing = lock(&self.listings).1.get(&fh.0).cloned();
        let Some(listing) = listing else { return reply.error(Errno::EBADF) };
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        for (position, (number, kind, name)) in listing.iter().enumerate().skip(start) {
            if reply.add(INodeNo(*number), position as u64 + 1, *kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, fh: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        lock(&self.listings).1.remove(&fh.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let block = u64::from(BLOCK);
        let free = CAPACITY.saturating_sub(self.medium().bytes()) / block;
        reply.statfs(CAPACITY / block, free, free, 1 << 20, 1 << 20, BLOCK, 255, BLOCK);
    }
}
