//! Changes to bytes, whatever they stand for.

use super::chance::Chance;

/// Changes `bytes` in one place or a few. Parts of `other` come in now and then.
pub(super) fn change(
    bytes: &mut Vec<u8>,
    other: &[u8],
    words: &[&str],
    longest: usize,
    chance: &mut Chance,
) {
    for _ in 0..=chance.roll(4) {
        change_once(bytes, other, words, chance);
    }
    bytes.truncate(longest);
}

fn change_once(bytes: &mut Vec<u8>, other: &[u8], words: &[&str], chance: &mut Chance) {
    let at = chance.roll(bytes.len());
    match chance.roll(10) {
        0 | 1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << chance.roll(8);
            }
        }
        2 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = chance.next() as u8;
            }
        }
        3 => bytes.truncate(at),
        4 => drop(bytes.drain(part(bytes, chance))),
        5 => {
            let copied = bytes[part(bytes, chance)].to_vec();
            let times = if chance.once_in(8) { 1 + chance.roll(64) } else { 1 };
            bytes.splice(at..at, copied.repeat(times));
        }
        6 => {
            let taken = other[part(other, chance)].to_vec();
            bytes.splice(at..at, taken);
        }
        7 => {
            let taken = &other[part(other, chance)];
            let length = taken.len().min(bytes.len() - at);
            bytes[at..at + length].copy_from_slice(&taken[..length]);
        }
        8 => {
            let number = chance.number().to_le_bytes();
            let length = (1 << chance.roll(4)).min(bytes.len() - at);
            bytes[at..at + length].copy_from_slice(&number[..length]);
        }
        _ => {
            let word = chance.pick(words).copied().unwrap_or("\0\0\0\0");
            bytes.splice(at..at, word.bytes());
        }
    }
}

/// Some part of `bytes`, mostly a short one.
fn part(bytes: &[u8], chance: &mut Chance) -> std::ops::Range<usize> {
    let start = chance.roll(bytes.len());
    let most = if chance.once_in(4) { bytes.len() } else { 16 };
    let length = chance.roll(most.min(bytes.len() - start) + 1);
    start..start + length
}
