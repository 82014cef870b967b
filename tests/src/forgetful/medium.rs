//! What the disk holds: files, folders and sockets by number, and what a cut
//! leaves of them. Knows of no kernel.
//!
//! Modes are on the disk at once: losing them loses nothing that anybody wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::time::SystemTime;

use fuser::Errno;

use super::Forgotten;
use super::file::{Fate, File};
use super::folder::Folder;
use crate::dice::Dice;

/// The number of the folder at the top.
pub(super) const ROOT: u64 = 1;

/// What the disk has room for.
pub(super) const CAPACITY: u64 = 2 << 30;

/// Something with a number.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) mode: u16,
    pub(super) changed: SystemTime,
    /// Names that processes see.
    pub(super) links: u32,
    /// How often the kernel has asked for it and has not let go of it.
    lookups: u64,
}

#[derive(Debug)]
pub(super) enum Kind {
    File(File),
    Folder(Folder),
    Socket,
}

/// Everything on the disk.
#[derive(Debug)]
pub(super) struct Medium {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    /// Of all files, as processes see them.
    bytes: u64,
}

impl Medium {
    pub(super) fn new() -> Self {
        let mut medium = Self { nodes: BTreeMap::new(), next: ROOT, bytes: 0 };
        medium.insert(Kind::Folder(Folder::default()), 0o755);
        medium
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn insert(&mut self, kind: Kind, mode: u16) -> u64 {
        let number = self.next;
        self.next += 1;
        let node = Node { kind, mode, changed: SystemTime::now(), links: 1, lookups: 0 };
        self.nodes.insert(number, node);
        number
    }

    pub(super) fn node(&self, number: u64) -> Result<&Node, Errno> {
        self.nodes.get(&number).ok_or(Errno::ENOENT)
    }

    pub(super) fn node_mut(&mut self, number: u64) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(&number).ok_or(Errno::ENOENT)
    }

    pub(super) fn file(&self, number: u64) -> Result<&File, Errno> {
        match &self.node(number)?.kind {
            Kind::File(file) => Ok(file),
            Kind::Folder(_) => Err(Errno::EISDIR),
            Kind::Socket => Err(Errno::EINVAL),
        }
    }

    pub(super) fn folder(&self, number: u64) -> Result<&Folder, Errno> {
        match &self.node(number)?.kind {
            Kind::Folder(folder) => Ok(folder),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn folder_mut(&mut self, number: u64) -> Result<&mut Folder, Errno> {
        let node = self.node_mut(number)?;
        node.changed = SystemTime::now();
        match &mut node.kind {
            Kind::Folder(folder) => Ok(folder),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// Changes a file, and counts its bytes anew.
    pub(super) fn change_file(
        &mut self,
        number: u64,
        change: impl FnOnce(&mut File),
    ) -> Result<(), Errno> {
        let node = self.node_mut(number)?;
        node.changed = SystemTime::now();
        let Kind::File(file) = &mut node.kind else { return Err(Errno::EINVAL) };
        let before = file.now().len() as u64;
        change(file);
        let after = file.now().len() as u64;
        self.bytes = self.bytes - before + after;
        Ok(())
    }

    /// Whether a file may grow to so many bytes.
    pub(super) fn ensure_room(&self, number: u64, length: u64) -> Result<(), Errno> {
        let grows = length.saturating_sub(self.file(number)?.now().len() as u64);
        if grows > CAPACITY.saturating_sub(self.bytes) { Err(Errno::ENOSPC) } else { Ok(()) }
    }

    pub(super) fn lookup(&mut self, folder: u64, name: &OsStr) -> Result<u64, Errno> {
        let number = self.folder(folder)?.get(name).ok_or(Errno::ENOENT)?;
        self.node_mut(number)?.lookups += 1;
        Ok(number)
    }

    pub(super) fn make(
        &mut self,
        folder: u64,
        name: &OsStr,
        kind: Kind,
        mode: u16,
    ) -> Result<u64, Errno> {
        if self.folder(folder)?.get(name).is_some() {
            return Err(Errno::EEXIST);
        }
        let number = self.insert(kind, mode);
        self.folder_mut(folder)?.change(vec![(name.to_owned(), Some(number))]);
        self.node_mut(number)?.lookups += 1;
        Ok(number)
    }

    pub(super) fn link(&mut self, number: u64, folder: u64, name: &OsStr) -> Result<(), Errno> {
        if self.folder(folder)?.get(name).is_some() {
            return Err(Errno::EEXIST);
        }
        self.node_mut(number)?.links += 1;
        self.folder_mut(folder)?.change(vec![(name.to_owned(), Some(number))]);
        self.node_mut(number)?.lookups += 1;
        Ok(())
    }

    pub(super) fn unlink(&mut self, folder: u64, name: &OsStr) -> Result<(), Errno> {
        let number = self.folder(folder)?.get(name).ok_or(Errno::ENOENT)?;
        self.ensure_empty(number)?;
        self.folder_mut(folder)?.change(vec![(name.to_owned(), None)]);
        self.drop_link(number)
    }

    /// A folder with entries cannot go.
    fn ensure_empty(&self, number: u64) -> Result<(), Errno> {
        match &self.node(number)?.kind {
            Kind::Folder(folder) if !folder.now().is_empty() => Err(Errno::ENOTEMPTY),
            _ => Ok(()),
        }
    }

    pub(super) fn rename(
        &mut self,
        from: (u64, &OsStr),
        to: (u64, &OsStr),
        may_replace: bool,
    ) -> Result<(), Errno> {
        let number = self.folder(from.0)?.get(from.1).ok_or(Errno::ENOENT)?;
        let replaced = self.folder(to.0)?.get(to.1);
        if replaced == Some(number) {
            return Ok(());
        }
        if let Some(replaced) = replaced {
            if !may_replace {
                return Err(Errno::EEXIST);
            }
            self.ensure_empty(replaced)?;
        }
        let gone = (from.1.to_owned(), None);
        let come = (to.1.to_owned(), Some(number));
        if from.0 == to.0 {
            self.folder_mut(from.0)?.change(vec![gone, come]);
        } else {
            self.folder_mut(from.0)?.change(vec![gone]);
            self.folder_mut(to.0)?.change(vec![come]);
        }
        replaced.map_or(Ok(()), |replaced| self.drop_link(replaced))
    }

    fn drop_link(&mut self, number: u64) -> Result<(), Errno> {
        let node = self.node_mut(number)?;
        node.links = node.links.saturating_sub(1);
        self.vanish_if_unseen(number)
    }

    /// The kernel lets go of it.
    pub(super) fn forget(&mut self, number: u64, lookups: u64) -> Result<(), Errno> {
        let node = self.node_mut(number)?;
        node.lookups = node.lookups.saturating_sub(lookups);
        self.vanish_if_unseen(number)
    }

    fn vanish_if_unseen(&mut self, number: u64) -> Result<(), Errno> {
        let node = self.node(number)?;
        if node.links == 0 && node.lookups == 0 && matches!(node.kind, Kind::File(_)) {
            self.change_file(number, File::vanish)?;
        }
        Ok(())
    }

    /// An fsync of a file or folder.
    pub(super) fn sync(&mut self, number: u64) -> Result<(), Errno> {
        match &mut self.node_mut(number)?.kind {
            Kind::File(file) => file.sync(),
            Kind::Folder(folder) => folder.sync(),
            Kind::Socket => {}
        }
        Ok(())
    }

    /// The power goes: of what was not synced, only what the dice say is there,
    /// and nobody has anything open.
    pub(super) fn cut(&mut self, dice: &mut Dice) -> Forgotten {
        let mut forgotten = Forgotten::default();
        // Most disks lose most; now and then nothing at all is kept, anywhere.
        let all = dice.coin();
        for node in self.nodes.values_mut() {
            let fate = if all { Fate::Forgotten } else { Fate::roll(dice) };
            match &mut node.kind {
                Kind::File(file) => forgotten.bytes += file.cut(dice, fate),
                Kind::Folder(folder) => forgotten.entries += folder.cut(dice, fate),
                Kind::Socket => {}
            }
        }
        self.remove_unreachable();
        forgotten
    }

    fn remove_unreachable(&mut self) {
        let mut links = BTreeMap::from([(ROOT, 1)]);
        let (mut seen, mut left) = (BTreeSet::new(), vec![ROOT]);
        while let Some(number) = left.pop() {
            if !seen.insert(number) {
                continue;
            }
            let Ok(folder) = self.folder(number) else { continue };
            for entry in folder.now().values() {
                *links.entry(*entry).or_default() += 1;
                left.push(*entry);
            }
        }
        self.nodes.retain(|number, _| links.contains_key(number));
        self.bytes = 0;
        for (number, node) in &mut self.nodes {
            node.links = links[number];
            node.lookups = 0;
            if let Kind::File(file) = &node.kind {
                self.bytes += file.now().len() as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(medium: &mut Medium, name: &str, bytes: &[u8]) -> u64 {
        let kind = Kind::File(File::default());
        let number = medium.make(ROOT, name.as_ref(), kind, 0o600).unwrap();
        medium.change_file(number, |file| file.write(0, bytes)).unwrap();
        number
    }

    fn read(medium: &Medium, folder: u64, name: &str) -> Option<Vec<u8>> {
        let number = medium.folder(folder).unwrap().get(name.as_ref())?;
        Some(medium.file(number).unwrap().now().to_vec())
    }

    #[test]
    fn a_file_needs_its_own_sync_and_that_of_its_folder() {
        for seed in 0..50 {
            let mut medium = Medium::new();
            let both = file(&mut medium, "both", b"both");
            let name = file(&mut medium, "name", b"name");
            medium.sync(both).unwrap();
            medium.sync(ROOT).unwrap();
            let bytes = file(&mut medium, "bytes", b"bytes");
            medium.sync(bytes).unwrap();
            medium.cut(&mut Dice::seeded(seed));
            assert_eq!(read(&medium, ROOT, "both").unwrap(), b"both", "seed {seed}");
            assert!(b"name".starts_with(&read(&medium, ROOT, "name").unwrap()[..]));
            // There as a whole, or not at all.
            assert!(read(&medium, ROOT, "bytes").is_none_or(|found| found == b"bytes"));
            let _ = name;
        }
    }

    #[test]
    fn a_rename_between_folders_is_two_changes() {
        let mut seen = BTreeSet::new();
        for seed in 0..100 {
            let mut medium = Medium::new();
            let number = file(&mut medium, "file", b"bytes");
            let kind = Kind::Folder(Folder::default());
            let other = medium.make(ROOT, "other".as_ref(), kind, 0o700).unwrap();
            medium.sync(number).unwrap();
            medium.sync(ROOT).unwrap();
            let (from, to) = ((ROOT, "file".as_ref()), (other, "file".as_ref()));
            medium.rename(from, to, true).unwrap();
            medium.cut(&mut Dice::seeded(seed));
            let found = [ROOT, other].map(|folder| read(&medium, folder, "file").is_some());
            assert_eq!(medium.bytes(), if found == [false; 2] { 0 } else { 5 });
            seen.insert(found);
        }
        assert_eq!(seen.len(), 4, "{seen:?}");
    }

    #[test]
    fn what_nobody_sees_takes_no_room_but_may_come_back() {
        let mut medium = Medium::new();
        let number = file(&mut medium, "file", &[1; 1000]);
        medium.sync(number).unwrap();
        medium.sync(ROOT).unwrap();
        medium.unlink(ROOT, "file".as_ref()).unwrap();
        assert_eq!(medium.bytes(), 1000, "it is open");
        medium.forget(number, 1).unwrap();
        assert_eq!(medium.bytes(), 0);
        let mut back = 0;
        for seed in 0..20 {
            let mut medium = Medium::new();
            let number = file(&mut medium, "file", &[1; 1000]);
            medium.sync(number).unwrap();
            medium.sync(ROOT).unwrap();
            medium.unlink(ROOT, "file".as_ref()).unwrap();
            medium.forget(number, 1).unwrap();
            medium.cut(&mut Dice::seeded(seed));
            let found = read(&medium, ROOT, "file");
            assert!(found.as_ref().is_none_or(|found| found.len() == 1000));
            back += usize::from(found.is_some());
        }
        assert!((1..20).contains(&back), "{back}");
    }

    #[test]
    fn a_full_disk_is_full() {
        let mut medium = Medium::new();
        let number = file(&mut medium, "file", b"12345");
        assert!(medium.ensure_room(number, CAPACITY).is_ok());
        assert!(medium.ensure_room(number, CAPACITY + 1).is_err());
    }
}
