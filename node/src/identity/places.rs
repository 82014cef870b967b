//! How many of something each machine, or whoever else, has at a time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Places by their holders; cheap to clone.
#[derive(Debug)]
pub struct Places<K: Eq + Hash>(Arc<Mutex<HashMap<K, usize>>>);

impl<K: Eq + Hash> Clone for Places<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Eq + Hash> Default for Places<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Eq + Hash + Clone> Places<K> {
    /// A place for a holder until it is dropped; `None` where they have `most`.
    #[must_use]
    pub fn enter(&self, holder: &K, most: usize) -> Option<Place<K>> {
        let mut places = self.lock();
        // A known holder's name is not copied again.
        let number = match places.get_mut(holder) {
            Some(count) if *count >= most => return None,
            Some(count) => {
                *count += 1;
                *count
            }
            None if most == 0 => return None,
            None => {
                places.insert(holder.clone(), 1);
                1
            }
        };
        Some(Place { places: self.clone(), holder: holder.clone(), number })
    }
}

impl<K: Eq + Hash> Places<K> {
    /// How many have one.
    #[must_use]
    pub fn holders(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        // Each change is one number, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place of somebody.
#[derive(Debug)]
pub struct Place<K: Eq + Hash> {
    places: Places<K>,
    holder: K,
    number: usize,
}

impl<K: Eq + Hash> Place<K> {
    /// How many they had with this one when they got it, at least 1.
    #[must_use]
    pub const fn number(&self) -> usize {
        self.number
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut places = self.places.lock();
        if let Some(count) = places.get_mut(&self.holder) {
            *count -= 1;
            if *count == 0 {
                places.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_as_many_as_it_may_and_leaves_nothing_behind() {
        let places = Places::default();
        assert!(places.enter(&"a", 0).is_none());
        let first = places.enter(&"a", 2).expect("a place");
        let second = places.enter(&"a", 2).expect("a place");
        assert_eq!((first.number(), second.number()), (1, 2));
        assert!(places.enter(&"a", 2).is_none(), "it has two");
        let other = places.enter(&"b", 2).expect("another's place");
        assert_eq!(places.holders(), 2);
        drop(first);
        assert_eq!(places.enter(&"a", 2).expect("a place again").number(), 2);
        drop((second, other));
        assert_eq!(places.holders(), 0);
    }
}
