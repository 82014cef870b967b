//! The entries of a folder: as processes see them, as the disk has them, and
//! the changes between the two.
//!
//! As strict as POSIX allows: an entry is on the disk only after a sync of its
//! folder, whatever was synced of the file it leads to; changes that were not
//! synced are kept or forgotten each by itself, in no order. Only a rename within
//! one folder is one change, which everybody relies on. One between two folders
//! is two: a file can be in both afterwards, or in neither.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use crate::dice::Dice;

use super::file::Fate;

/// Names that get or lose their file together.
type Change = Vec<(OsString, Option<u64>)>;

/// A folder.
#[derive(Debug, Default)]
pub(super) struct Folder {
    now: BTreeMap<OsString, u64>,
    kept: BTreeMap<OsString, u64>,
    since: Vec<Change>,
}

impl Folder {
    pub(super) fn now(&self) -> &BTreeMap<OsString, u64> {
        &self.now
    }

    pub(super) fn get(&self, name: &OsStr) -> Option<u64> {
        self.now.get(name).copied()
    }

    pub(super) fn change(&mut self, change: Change) {
        apply(&mut self.now, &change);
        self.since.push(change);
    }

    /// From here on the disk has what processes see.
    pub(super) fn sync(&mut self) {
        for change in self.since.drain(..) {
            apply(&mut self.kept, &change);
        }
    }

    /// The power goes. Returns how many changes were forgotten.
    pub(super) fn cut(&mut self, dice: &mut Dice, whole: Fate) -> u64 {
        let mut forgotten = 0;
        for change in std::mem::take(&mut self.since) {
            let kept = match whole {
                Fate::Forgotten => false,
                Fate::Kept => true,
                Fate::Torn => dice.coin(),
            };
            if kept {
                apply(&mut self.kept, &change);
            } else {
                forgotten += 1;
            }
        }
        self.now.clone_from(&self.kept);
        forgotten
    }
}

fn apply(entries: &mut BTreeMap<OsString, u64>, change: &Change) {
    for (name, node) in change {
        match node {
            Some(node) => entries.insert(name.clone(), *node),
            None => entries.remove(name),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rename_within_a_folder_happens_as_a_whole() {
        for seed in 0..100 {
            let mut folder = Folder::default();
            folder.change(vec![("current".into(), Some(2)), ("draft".into(), Some(3))]);
            folder.sync();
            folder.change(vec![("draft".into(), None), ("current".into(), Some(3))]);
            folder.change(vec![("other".into(), Some(4))]);
            folder.cut(&mut Dice::seeded(seed), Fate::Torn);
            let found = (folder.get("current".as_ref()), folder.get("draft".as_ref()));
            assert!(
                matches!(found, (Some(2), Some(3)) | (Some(3), None)),
                "seed {seed}: {found:?}"
            );
        }
    }

    #[test]
    fn what_was_not_synced_can_be_gone() {
        let mut folder = Folder::default();
        folder.change(vec![("kept".into(), Some(2))]);
        folder.sync();
        folder.change(vec![("lost".into(), Some(3))]);
        folder.change(vec![("kept".into(), None)]);
        assert_eq!(folder.cut(&mut Dice::seeded(1), Fate::Forgotten), 2);
        assert_eq!(folder.now().keys().collect::<Vec<_>>(), ["kept"]);
    }
}
