//! What the agent keeps of files that it put in the place of others: for which revision,
//! what was there before, and what is under way.
//!
//! All of it is one document, replaced as a whole: so what was put in place and what is
//! no more under way change in one step.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Backups of a path: what was there before the revision that is there now, and before
/// the mesh put anything there. What lay between is forgotten.
const MAX_LAYERS: usize = 2;

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Records {
    /// What was put at each path, the last on top.
    pub layers: BTreeMap<String, Vec<Layer>>,
    /// Folders that were made for them.
    pub folders: BTreeSet<String>,
    /// What is being done, until it is done or put back.
    pub underway: Option<Underway>,
}

/// A file that was put in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// For which revision.
    pub revision: String,
    /// What was put there.
    pub there: Content,
    /// What was there before; `None`: nothing.
    pub before: Option<Backup>,
}

/// A file as it is on a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// Permissions.
    pub mode: u32,
    /// User.
    pub owner: u32,
    /// Group.
    pub group: u32,
}

/// A copy of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// What it was.
    pub content: Content,
    /// Bytes.
    pub bytes: u64,
    /// Its name among the copies.
    pub file: String,
}

/// What is being done for a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Underway {
    /// The revision.
    pub revision: String,
    /// The root of the machine.
    pub root: PathBuf,
    /// Whether all is prepared, so that files may be in place already.
    pub is_staged: bool,
    /// Each path.
    pub steps: Vec<Step>,
    /// Folders that are made for it, those above first.
    pub folders: Vec<String>,
}

/// One path of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The path.
    pub path: String,
    /// Beside it, until it takes its place.
    pub temporary: String,
    /// What was there; `None`: nothing. Complete once all is prepared.
    pub old: Option<Backup>,
    /// What is to be there; `None`: nothing. Complete once all is prepared.
    pub new: Option<Content>,
}

impl Records {
    /// The revision that each path is for.
    pub fn owners(&self) -> impl Iterator<Item = (&String, &String)> {
        self.layers.iter().filter_map(|(path, all)| Some((path, &all.last()?.revision)))
    }

    /// Names of the copies that are needed.
    pub(super) fn backups(&self) -> impl Iterator<Item = &Backup> {
        let before = self.layers.values().flatten().filter_map(|one| one.before.as_ref());
        let steps = self.underway.iter().flat_map(|one| &one.steps);
        before.chain(steps.filter_map(|step| step.old.as_ref()))
    }

    /// Notes that `there` was put at a path for a revision.
    pub(super) fn put(&mut self, path: &str, revision: &str, there: Content, old: Option<Backup>) {
        let layers = self.layers.entry(path.to_owned()).or_default();
        // What stands above an earlier layer of the same revision is gone, and what it put
        // right itself is nothing to go back to.
        if let Some(index) = layers.iter().position(|one| one.revision == revision) {
            layers.truncate(index + 1);
            layers[index].there = there;
            return;
        }
        layers.push(Layer { revision: revision.to_owned(), there, before: old });
        if layers.len() > MAX_LAYERS {
            let lowest = layers.remove(0);
            layers[0].before = lowest.before;
        }
    }

    /// Notes that what was at a path before is there again.
    pub(super) fn put_back(&mut self, path: &str) {
        if let Some(layers) = self.layers.get_mut(path) {
            layers.pop();
            if layers.is_empty() {
                self.layers.remove(path);
            }
        }
    }
}
