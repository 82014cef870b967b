//! Values that many share, by number.

use std::collections::HashMap;
use std::hash::Hash;

/// Each value once, with a number as long as anybody uses it.
#[derive(Debug, Clone)]
pub(super) struct Pool<T> {
    numbers: HashMap<T, u32>,
    /// The value of each number, and how many use it.
    slots: Vec<Option<(T, u64)>>,
    free: Vec<u32>,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self { numbers: HashMap::new(), slots: Vec::new(), free: Vec::new() }
    }
}

impl<T: Clone + Eq + Hash> Pool<T> {
    /// The number of a value, used once more from now on.
    pub(super) fn take(&mut self, value: &T) -> u32 {
        if let Some(number) = self.numbers.get(value).copied() {
            if let Some((_, uses)) = &mut self.slots[number as usize] {
                *uses += 1;
            }
            return number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            // 2^32 values do not fit in memory.
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        self.slots[number as usize] = Some((value.clone(), 1));
        self.numbers.insert(value.clone(), number);
        number
    }

    /// A number is used once less.
    pub(super) fn release(&mut self, number: u32) {
        let slot = &mut self.slots[number as usize];
        let Some((value, uses)) = slot else { return };
        *uses -= 1;
        if *uses == 0 {
            self.numbers.remove(value);
            *slot = None;
            self.free.push(number);
        }
    }

    /// The value of a number that is in use.
    pub(super) fn get(&self, number: u32) -> Option<&T> {
        self.slots.get(number as usize)?.as_ref().map(|(value, _)| value)
    }

    /// One more than the greatest number that was in use.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The value of each number from 0 on; nothing where it is not in use.
    pub(super) fn values(&self) -> impl Iterator<Item = Option<&T>> {
        self.slots.iter().map(|slot| slot.as_ref().map(|(value, _)| value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_keeps_its_number_while_it_is_used_and_its_place_is_used_again() {
        let mut pool = Pool::default();
        let (one, two) = (pool.take(&"one"), pool.take(&"two"));
        assert_eq!(pool.take(&"one"), one);
        pool.release(one);
        assert_eq!(pool.get(one), Some(&"one"));
        pool.release(one);
        assert_eq!((pool.get(one), pool.get(two)), (None, Some(&"two")));
        assert_eq!(pool.take(&"three"), one);
        assert_eq!(pool.values().collect::<Vec<_>>(), [Some(&"three"), Some(&"two")]);
    }
}
