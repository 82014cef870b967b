//! How many of something each machine has at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use patchmesh_topology::name::MachineName;

/// Places by machine; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Places(Arc<Mutex<HashMap<MachineName, usize>>>);

impl Places {
    /// A place for a machine until it is dropped; `None` where it has `most`.
    #[must_use]
    pub fn enter(&self, machine: &MachineName, most: usize) -> Option<Place> {
        let mut places = self.lock();
        let count = places.entry(machine.clone()).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place { places: self.clone(), machine: machine.clone() })
    }

    /// Whether nobody has one.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<MachineName, usize>> {
        // Each change is one number, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place of a machine.
#[derive(Debug)]
pub struct Place {
    places: Places,
    machine: MachineName,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.places.lock();
        if let Some(count) = places.get_mut(&self.machine) {
            *count -= 1;
            if *count == 0 {
                places.remove(&self.machine);
            }
        }
    }
}
