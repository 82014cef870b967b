//! The bytes of a file: as processes see them, as the disk has them, and the
//! changes between the two.
//!
//! What a cut may leave is what ext4, XFS and btrfs may leave: a file grows in
//! the order in which it was written, so what was appended is there up to some
//! byte and is never followed by more; what was written over bytes that were
//! there already (or into room that was taken before) comes in any order, or not,
//! sector by sector. RocksDB relies on the former for its logs, and no more.

use crate::dice::Dice;

/// Bytes that a disk writes whole or not at all.
const SECTOR: usize = 512;

/// What a cut does with one change, or with all changes of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Forgotten,
    Kept,
    /// Some of it.
    Torn,
}

impl Fate {
    pub(super) fn roll(dice: &mut Dice) -> Self {
        match dice.roll(3) {
            0 => Self::Forgotten,
            1 => Self::Kept,
            _ => Self::Torn,
        }
    }
}

/// Something that happened since the last sync.
#[derive(Debug)]
enum Change {
    /// Bytes over others.
    Over { at: usize, bytes: Vec<u8> },
    /// Bytes at the end.
    Append(Vec<u8>),
    /// Another length; what is new is zero.
    Length(usize),
}

/// A file.
#[derive(Debug, Default)]
pub(super) struct File {
    now: Vec<u8>,
    kept: Vec<u8>,
    since: Vec<Change>,
}

impl File {
    pub(super) fn now(&self) -> &[u8] {
        &self.now
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        if at > self.now.len() {
            self.set_length(at);
        }
        let (over, append) = bytes.split_at(bytes.len().min(self.now.len() - at));
        if !over.is_empty() {
            self.change(Change::Over { at, bytes: over.to_vec() });
        }
        if !append.is_empty() {
            self.change(Change::Append(append.to_vec()));
        }
    }

    pub(super) fn set_length(&mut self, length: usize) {
        if length != self.now.len() {
            self.change(Change::Length(length));
        }
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.now, &change);
        self.since.push(change);
    }

    /// From here on the disk has what processes see.
    pub(super) fn sync(&mut self) {
        for change in self.since.drain(..) {
            apply(&mut self.kept, &change);
        }
    }

    /// Nobody can see it any more: only what the disk has can come back.
    pub(super) fn vanish(&mut self) {
        self.now = Vec::new();
        self.since = Vec::new();
    }

    /// The power goes. Returns how many written bytes were forgotten.
    pub(super) fn cut(&mut self, dice: &mut Dice, whole: Fate) -> u64 {
        let mut forgotten = 0;
        let mut grows = true;
        for change in std::mem::take(&mut self.since) {
            let fate = if whole == Fate::Torn { Fate::roll(dice) } else { whole };
            match change {
                Change::Over { at, bytes } => {
                    forgotten += write_sectors(&mut self.kept, at, &bytes, fate, dice);
                }
                Change::Append(bytes) => {
                    let count = match fate {
                        Fate::Kept => bytes.len(),
                        Fate::Forgotten => 0,
                        Fate::Torn => dice.roll(bytes.len() as u64) as usize,
                    };
                    let count = if grows { count } else { 0 };
                    grows &= count == bytes.len();
                    self.kept.extend_from_slice(&bytes[..count]);
                    forgotten += (bytes.len() - count) as u64;
                }
                Change::Length(length) => {
                    grows &= fate == Fate::Kept;
                    if grows {
                        self.kept.resize(length, 0);
                    }
                }
            }
        }
        self.now.clone_from(&self.kept);
        forgotten
    }
}

fn apply(contents: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Over { at, bytes } => contents[*at..*at + bytes.len()].copy_from_slice(bytes),
        Change::Append(bytes) => contents.extend_from_slice(bytes),
        Change::Length(length) => contents.resize(*length, 0),
    }
}

/// Writes those sectors that the dice say and that the file is long enough for;
/// how many bytes were not written.
fn write_sectors(contents: &mut [u8], at: usize, bytes: &[u8], fate: Fate, dice: &mut Dice) -> u64 {
    let (mut done, mut forgotten) = (0, 0);
    while done < bytes.len() {
        let place = at + done;
        let length = (SECTOR - place % SECTOR).min(bytes.len() - done);
        let written = match fate {
            Fate::Kept => true,
            Fate::Forgotten => false,
            Fate::Torn => dice.coin(),
        };
        match contents.get_mut(place..place + length) {
            Some(sector) if written => sector.copy_from_slice(&bytes[done..done + length]),
            _ => forgotten += length as u64,
        }
        done += length;
    }
    forgotten
}

#[cfg(test)]
mod tests {
    use super::*;

    fn synced(bytes: &[u8]) -> File {
        let mut file = File::default();
        file.write(0, bytes);
        file.sync();
        file
    }

    #[test]
    fn what_was_synced_is_there_whatever_the_dice_say() {
        for seed in 0..100 {
            let mut dice = Dice::seeded(seed);
            let mut file = synced(b"first");
            file.write(5, b" second");
            file.write(6, b"S");
            file.sync();
            file.write(13, &[7; 3000]);
            file.cut(&mut dice, Fate::Torn);
            assert!(file.now().starts_with(b"first Second"), "seed {seed}");
            assert!(file.now()[13.min(file.now().len())..].iter().all(|byte| *byte == 7));
        }
    }

    #[test]
    fn appended_bytes_never_follow_a_hole() {
        let mut lengths = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let mut file = synced(&[1; 100]);
            for number in 2..6 {
                file.write(file.now().len(), &[number; 100]);
            }
            file.cut(&mut Dice::seeded(seed), Fate::Torn);
            let wanted: Vec<u8> = (1..6).flat_map(|number| [number; 100]).collect();
            assert!(wanted.starts_with(file.now()), "seed {seed}: {:?}", file.now());
            lengths.insert(file.now().len());
        }
        assert!(lengths.len() > 20, "the dice are loaded: {lengths:?}");
        assert_eq!(lengths.first(), Some(&100));
    }

    #[test]
    fn room_that_was_taken_is_filled_in_any_order() {
        let mut file = File::default();
        file.set_length(4 * SECTOR);
        file.sync();
        file.write(0, &[1; SECTOR]);
        file.write(SECTOR, &[2; SECTOR]);
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..100 {
            let mut file = synced(&[0; 4 * SECTOR]);
            file.write(0, &[1; SECTOR]);
            file.write(SECTOR, &[2; SECTOR]);
            file.cut(&mut Dice::seeded(seed), Fate::Torn);
            assert_eq!(file.now().len(), 4 * SECTOR);
            seen.insert((file.now()[0], file.now()[SECTOR]));
        }
        assert_eq!(seen, [(0, 0), (0, 2), (1, 0), (1, 2)].into());
    }

    #[test]
    fn all_or_nothing_when_the_dice_say_so() {
        let mut file = synced(b"one");
        file.write(0, b"two and more");
        assert_eq!(file.cut(&mut Dice::seeded(1), Fate::Forgotten), 12);
        assert_eq!(file.now(), b"one");
        file.write(0, b"two and more");
        assert_eq!(file.cut(&mut Dice::seeded(1), Fate::Kept), 0);
        assert_eq!(file.now(), b"two and more");
        file.set_length(2);
        file.cut(&mut Dice::seeded(1), Fate::Forgotten);
        assert_eq!(file.now(), b"two and more");
    }
}
