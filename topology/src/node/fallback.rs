//! Parents that stand in for a node's own.
//!
//! With them the mesh is no tree any more but still has a top: no node is ever
//! above itself, whichever of its parents each follows. Rights and content follow
//! all ways at once: a node answers for, and carries what is needed by, whoever
//! may hang below it, so that nothing has to be settled when a parent is lost.

use std::collections::BTreeSet;

use super::membership::Rejection;
use super::tree::Error;
use super::{Membership, Mesh, Node, Role};
use crate::name::NodeName;

/// The most fallback parents of a node: each carries what the node needs, and
/// the last one that is tried is minutes away from the first.
pub const MAX_FALLBACK_PARENTS: usize = 4;

impl Node {
    /// Its parent and those that stand in for it, in the order in which they are
    /// followed.
    pub fn parents(&self) -> impl Iterator<Item = &NodeName> {
        self.parent.iter().chain(&self.fallback_parents)
    }

    pub(super) fn check_parents(&self, exists: impl Fn(&NodeName) -> bool) -> Result<(), Error> {
        if self.role == Role::Primary {
            return if self.fallback_parents.is_empty() {
                Ok(())
            } else {
                Err(Error::PrimaryWithFallback(self.name.clone()))
            };
        }
        if self.parent.is_none() {
            return Err(Error::NoParent(self.name.clone()));
        }
        let count = self.fallback_parents.len();
        if count > MAX_FALLBACK_PARENTS {
            return Err(Error::TooManyFallbacks { node: self.name.clone(), count });
        }
        let mut seen = BTreeSet::new();
        for parent in self.parents() {
            let (node, named) = (self.name.clone(), parent.clone());
            if !exists(parent) {
                return Err(Error::UnknownParent { node, parent: named });
            }
            if !seen.insert(parent) {
                return Err(Error::ParentTwice { node, parent: named });
            }
        }
        Ok(())
    }
}

impl Mesh {
    /// Every node that may be above `name`, each once, the nearest first.
    #[must_use]
    pub fn above(&self, name: &NodeName) -> Vec<&Node> {
        self.climb(name, |_| true)
    }

    /// Whether all nodes on some way from `name` to the primary have joined.
    #[must_use]
    pub fn has_way_up(&self, name: &NodeName) -> bool {
        let is_top = self.nodes.get(name).is_some_and(|node| node.role == Role::Primary);
        is_top || self.climb(name, Node::is_joined).iter().any(|node| node.role == Role::Primary)
    }

    /// The nodes above `name` by ways on which `enter` refuses nobody.
    fn climb(&self, name: &NodeName, enter: impl Fn(&Node) -> bool) -> Vec<&Node> {
        let mut found: Vec<&Node> = Vec::new();
        let mut seen: BTreeSet<&NodeName> = BTreeSet::new();
        let mut next = self.nodes.get(name);
        let mut done = 0;
        while let Some(node) = next {
            let parents = node.parents().filter_map(|parent| self.nodes.get(parent));
            found.extend(parents.filter(|one| enter(one) && seen.insert(&one.name)));
            next = found.get(done).copied();
            done += 1;
        }
        found
    }

    /// Nodes that are above themselves, each below the next, beginning with the
    /// first in order of names.
    pub(super) fn find_loop(&self) -> Option<Vec<NodeName>> {
        let mut left: BTreeSet<&NodeName> = self.nodes.keys().collect();
        // Whoever hangs below nobody that is left is on no loop.
        loop {
            let is_free = |name: &&&NodeName| {
                let node = self.nodes.get(**name);
                !node.is_some_and(|node| node.parents().any(|parent| left.contains(parent)))
            };
            let free: Vec<&NodeName> = left.iter().filter(is_free).copied().collect();
            if free.is_empty() {
                break;
            }
            free.iter().for_each(|name| {
                left.remove(*name);
            });
        }
        let mut path: Vec<&NodeName> = vec![left.first()?];
        // Everybody who is left has a parent that is left.
        while let Some(node) = path.last().and_then(|name| self.nodes.get(*name)) {
            let parent = node.parents().find_map(|parent| left.get(parent).copied())?;
            if let Some(begin) = path.iter().position(|name| *name == parent) {
                path.drain(..begin);
                break;
            }
            path.push(parent);
        }
        let first = (0..path.len()).min_by_key(|&index| path[index]).unwrap_or(0);
        path.rotate_left(first);
        Some(path.into_iter().cloned().collect())
    }

    /// The mesh where these stand in for the parent of `name`, in this order and
    /// in place of those before. None: nobody does.
    ///
    /// # Errors
    /// Why not.
    pub fn set_fallback_parents(
        &self,
        name: &NodeName,
        parents: Vec<NodeName>,
    ) -> Result<Self, Rejection> {
        let node = self.nodes.get(name).ok_or_else(|| Rejection::UnknownNode(name.clone()))?;
        for parent in &parents {
            match self.nodes.get(parent).map(|parent| parent.membership) {
                Some(Membership::Joined(_)) => {}
                Some(Membership::Invited) => {
                    return Err(Rejection::ParentNotJoined(parent.clone()));
                }
                Some(Membership::Revoked) => {
                    let (parent, revoked) = (parent.clone(), parent.clone());
                    return Err(Rejection::ParentRevoked { parent, revoked });
                }
                None => return Err(Rejection::UnknownParent(parent.clone())),
            }
        }
        self.with(Node { fallback_parents: parents, ..node.clone() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::*;
    use crate::node::tree::tests::{chain, name};

    fn names(nodes: &[&Node]) -> Vec<String> {
        nodes.iter().map(|node| node.name.to_string()).collect()
    }

    /// 0 ◄ 1 ◄ 2 ◄ 3 with 4 below 1, and 3 falls back to 4 and then to 0.
    fn with_fallback() -> Mesh {
        chain().set_fallback_parents(&name(3), vec![name(4), name(0)]).expect("a mesh")
    }

    #[test]
    fn rights_and_content_follow_all_ways() {
        let mesh = with_fallback();
        assert_eq!(names(&mesh.above(&name(3))), ["n02", "n04", "n00", "n01"]);
        assert!(mesh.is_within(&name(3), &name(4)) && !chain().is_within(&name(3), &name(4)));
        assert_eq!(names(&mesh.subtree(&name(4))), ["n04", "n03"]);
        assert_eq!(names(&mesh.subtree(&name(1))).len(), 4);
        let top = name(0);
        let children: Vec<&Node> = mesh.children(&top).collect();
        assert_eq!(names(&children), ["n01", "n03"]);
        // By its parents alone it hangs where it hung.
        assert_eq!(mesh.depth(&name(3)), 3);
    }

    #[test]
    fn a_node_with_another_way_is_not_cut_off() {
        let mesh = with_fallback();
        assert_eq!(chain().cut_off_by(&name(2)), [name(3)]);
        assert!(mesh.cut_off_by(&name(2)).is_empty());
        assert_eq!(mesh.cut_off_by(&name(1)), [name(2), name(4)]);
        let without = mesh.revoke(&name(2)).expect("a mesh");
        assert!(without.is_connected(&name(3)));
        assert!(!chain().revoke(&name(2)).expect("a mesh").is_connected(&name(3)));
    }

    #[test]
    fn refuses_what_is_no_way_up() {
        let refused = |number: usize, parents: &[usize]| {
            let parents = parents.iter().map(|&parent| name(parent)).collect();
            chain().set_fallback_parents(&name(number), parents).expect_err("refused")
        };
        let inside = |rejection| match rejection {
            Rejection::Invalid(error) => error,
            other => panic!("{other}"),
        };
        let found = inside(refused(1, &[3]));
        assert_eq!(found, Error::Loop(vec![name(1), name(3), name(2)]));
        assert_eq!(inside(refused(2, &[2])), Error::Loop(vec![name(2)]));
        let twice = Error::ParentTwice { node: name(3), parent: name(2) };
        assert_eq!(inside(refused(3, &[2])), twice);
        assert!(matches!(inside(refused(3, &[4, 4])), Error::ParentTwice { .. }));
        assert_eq!(inside(refused(0, &[1])), Error::PrimaryWithFallback(name(0)));
        assert_eq!(refused(3, &[9]), Rejection::UnknownParent(name(9)));
        assert_eq!(refused(9, &[]), Rejection::UnknownNode(name(9)));
        let mut shut = chain();
        shut = shut.revoke(&name(4)).expect("a mesh");
        let refused = shut.set_fallback_parents(&name(3), vec![name(4)]);
        assert!(matches!(refused, Err(Rejection::ParentRevoked { .. })));
        let none = with_fallback().set_fallback_parents(&name(3), vec![]);
        assert_eq!(none, Ok(chain()));
    }

    proptest! {
        /// Whatever parents are asked for: it is refused, or nobody is above
        /// themselves and below and above agree.
        #[test]
        fn nobody_is_above_themselves(asked in vec((0..5_usize, vec(0..5_usize, 0..3)), 0..6)) {
            let mut mesh = chain();
            for (node, parents) in asked {
                let parents = parents.into_iter().map(name).collect();
                if let Ok(changed) = mesh.set_fallback_parents(&name(node), parents) {
                    mesh = changed;
                }
            }
            prop_assert_eq!(mesh.validate(), Ok(()));
            for node in mesh.nodes.keys() {
                prop_assert!(mesh.above(node).iter().all(|one| one.name != *node));
                prop_assert!(mesh.is_connected(node));
                for top in mesh.nodes.keys() {
                    let below = mesh.subtree(top).iter().any(|one| one.name == *node);
                    prop_assert_eq!(below, mesh.is_within(node, top));
                }
            }
        }
    }
}
