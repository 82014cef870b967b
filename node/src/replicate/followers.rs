//! Which nodes follow this one at the moment, so that those at one site can be
//! told of each other.

use std::collections::{BTreeMap, BTreeSet};

use patchmesh_topology::name::NodeName;
use tokio::sync::watch;

/// The nodes whose watch streams are open; cheap to clone. Bounded by the number
/// of nodes that are let in.
#[derive(Debug, Clone, Default)]
pub struct Followers {
    present: watch::Sender<BTreeMap<NodeName, usize>>,
}

/// One watch stream, until it is dropped.
#[derive(Debug)]
pub struct Present {
    name: NodeName,
    followers: Followers,
}

impl Followers {
    /// Counts a node in.
    #[must_use]
    pub fn enter(&self, name: NodeName) -> Present {
        self.present.send_if_modified(|present| {
            let streams = present.entry(name.clone()).or_default();
            *streams += 1;
            *streams == 1
        });
        Present { name, followers: self.clone() }
    }

    /// Those that are there now.
    #[must_use]
    pub fn now(&self) -> BTreeSet<NodeName> {
        self.present.borrow().keys().cloned().collect()
    }

    /// Is told when a node comes or goes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<BTreeMap<NodeName, usize>> {
        self.present.subscribe()
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.followers.present.send_if_modified(|present| {
            // A node that came back has two streams until the old one ends.
            let Some(streams) = present.get_mut(&self.name) else { return false };
            *streams -= 1;
            let is_last = *streams == 0;
            if is_last {
                present.remove(&self.name);
            }
            is_last
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_there_until_its_last_stream_ends() {
        let followers = Followers::default();
        let mut changes = followers.watch();
        let name: NodeName = "lyon".parse().expect("a name");
        let first = followers.enter(name.clone());
        assert!(changes.has_changed().expect("a sender"));
        changes.mark_unchanged();
        let second = followers.enter(name.clone());
        drop(first);
        assert!(!changes.has_changed().expect("a sender"));
        assert_eq!(followers.now(), [name].into());
        drop(second);
        assert!(changes.has_changed().expect("a sender"));
        assert!(followers.now().is_empty());
    }
}
