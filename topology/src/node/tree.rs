//! Questions to the tree, and what makes it a tree.
//!
//! A [`Mesh`] that passed [`Mesh::validate`] has one primary above every other
//! node. The walks here end on any input, loops included, because documents
//! are checked only after they were built.

use std::collections::{BTreeMap, BTreeSet};

use super::fallback::MAX_FALLBACK_PARENTS;
use super::network::MAX_NETWORKS;
use super::{Group, Membership, Mesh, Node, Role, Stage};
use crate::approval::is_plain;
use crate::name::{GroupName, NodeName, Site};

/// The longest owner of a group, in bytes.
pub const MAX_OWNER: usize = 200;

/// The most groups of a mesh: the decisions on one revision for all of them
/// have to fit one partition of an approval set.
pub const MAX_GROUPS: usize = 128;

/// Why a mesh does not hold together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody is at the top.
    #[error("the mesh has no primary; exactly one node has this role")]
    NoPrimary,
    /// Several are at the top.
    #[error("the mesh has several primaries ({}); exactly one node has this role", list(.0))]
    SeveralPrimaries(Vec<NodeName>),
    /// An owner that is no plain text, or too long.
    #[error(
        "the owner of group {0} has more than {MAX_OWNER} bytes, or characters that are not shown"
    )]
    Owner(GroupName),
    /// Machines are to report to a node that is not in the mesh.
    #[error("the machines of group {group} are to report to {node}, which is not in the mesh")]
    UnknownStatisticsNode {
        /// Their group.
        group: GroupName,
        /// What it names.
        node: NodeName,
    },
    /// The primary hangs below another node.
    #[error("primary {primary} has the parent {parent}; the primary is the top of the tree")]
    PrimaryWithParent {
        /// The primary.
        primary: NodeName,
        /// Its parent.
        parent: NodeName,
    },
    /// A node other than the primary hangs nowhere.
    #[error("node {0} has no parent; only the primary has none")]
    NoParent(NodeName),
    /// A node hangs below a node that is not in the mesh.
    #[error("node {node} has the parent {parent}, which is not in the mesh")]
    UnknownParent {
        /// The node.
        node: NodeName,
        /// What it names.
        parent: NodeName,
    },
    /// The primary pulls from nobody.
    #[error("primary {0} has fallback parents; the primary is the top of the tree")]
    PrimaryWithFallback(NodeName),
    /// A fallback parent that stands there twice.
    #[error("node {node} has {parent} as a parent twice")]
    ParentTwice {
        /// The node.
        node: NodeName,
        /// What it names.
        parent: NodeName,
    },
    /// More fallback parents than are ever tried.
    #[error(
        "node {node} has {count} fallback parents; at most {MAX_FALLBACK_PARENTS} are possible"
    )]
    TooManyFallbacks {
        /// The node.
        node: NodeName,
        /// How many.
        count: usize,
    },
    /// Nodes hang below each other.
    #[error("nodes are their own ancestors: {}", arrows(.0))]
    Loop(Vec<NodeName>),
    /// A lab would stand between headquarters and production machines.
    #[error(
        "node {node} serves production below the validation node {validation}; production branches are never its children"
    )]
    ProductionBelowValidation {
        /// The node that serves production.
        node: NodeName,
        /// The validation node above it, or itself.
        validation: NodeName,
    },
    /// The line of a node that is not in the mesh.
    #[error("a link profile names {0}, which is not in the mesh")]
    LinkOfNobody(NodeName),
    /// A line whose profile cannot be used.
    #[error("the link profile of {node} cannot be used")]
    Link {
        /// Whose.
        node: NodeName,
        /// Why.
        source: crate::link::profile::Error,
    },
    /// Two nodes claim one address.
    #[error("nodes {first} and {second} have the same URL {url}")]
    SameUrl {
        /// The first in order of names.
        first: NodeName,
        /// The other.
        second: NodeName,
        /// The URL.
        url: String,
    },
    /// Two nodes show one key.
    #[error("nodes {first} and {second} joined with the same key")]
    SameKey {
        /// The first in order of names.
        first: NodeName,
        /// The other.
        second: NodeName,
    },
    /// A map's key is not the name of what it leads to.
    #[error("{kind} {name} is filed under the name {key}")]
    Misfiled {
        /// `node` or `group`.
        kind: &'static str,
        /// The thing's own name.
        name: String,
        /// The name it is filed under.
        key: String,
    },
    /// More groups than a mesh can have.
    #[error("the mesh has {0} groups; at most {MAX_GROUPS} are possible")]
    TooManyGroups(usize),
    /// More networks than a mesh can have.
    #[error("the mesh has {0} networks; at most {MAX_NETWORKS} are possible")]
    TooManyNetworks(usize),
}

impl Mesh {
    /// The node of this name.
    #[must_use]
    pub fn node(&self, name: &NodeName) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// The node at the top.
    #[must_use]
    pub fn primary(&self) -> Option<&Node> {
        self.nodes.values().find(|node| node.role == Role::Primary)
    }

    /// The nodes that pull from `name`, always or while their parent is gone, in
    /// order of names.
    pub fn children<'a>(&'a self, name: &'a NodeName) -> impl Iterator<Item = &'a Node> {
        self.nodes.values().filter(move |node| node.parents().any(|parent| parent == name))
    }

    /// The nodes above `name` while no parent is gone, its parent first and the
    /// primary last.
    pub fn ancestors<'a>(&'a self, name: &NodeName) -> impl Iterator<Item = &'a Node> {
        let parent = |node: &Node| node.parent.as_ref().and_then(|parent| self.nodes.get(parent));
        let first = self.nodes.get(name).and_then(parent);
        // No path in a tree has more steps than there are nodes.
        std::iter::successors(first, move |node| parent(node)).take(self.nodes.len())
    }

    /// How many nodes are above `name`: 0 for the primary.
    #[must_use]
    pub fn depth(&self, name: &NodeName) -> usize {
        self.ancestors(name).count()
    }

    /// Whether `name` is `top` or may hang below it, by whichever parents.
    #[must_use]
    pub fn is_within(&self, name: &NodeName, top: &NodeName) -> bool {
        name == top || self.above(name).iter().any(|node| node.name == *top)
    }

    /// `name` and all nodes that may hang below it; by their parents alone they
    /// come before their children.
    #[must_use]
    pub fn subtree(&self, name: &NodeName) -> Vec<&Node> {
        self.walk(name, |_| true)
    }

    /// `top` and what may hang below it, without the nodes that `enter` refuses
    /// and whatever hangs below those alone.
    fn walk(&self, top: &NodeName, enter: impl Fn(&Node) -> bool) -> Vec<&Node> {
        let mut below: BTreeMap<&NodeName, Vec<&Node>> = BTreeMap::new();
        for node in self.nodes.values().filter(|node| node.name != *top) {
            for parent in node.parents() {
                below.entry(parent).or_default().push(node);
            }
        }
        let mut found: Vec<&Node> =
            self.nodes.get(top).filter(|node| enter(node)).into_iter().collect();
        let mut seen: BTreeSet<&NodeName> = BTreeSet::new();
        let mut next = 0;
        while let Some(node) = found.get(next) {
            // Taking the children out ends the walk on loops too.
            let children = below.remove(&node.name).unwrap_or_default();
            let new = children.into_iter().filter(|child| seen.insert(&child.name));
            found.extend(new.filter(|child| enter(child)));
            next += 1;
        }
        found
    }

    /// Whether `name` takes part, and so do all nodes on some way above it, so
    /// that what the primary says can reach it.
    #[must_use]
    pub fn is_connected(&self, name: &NodeName) -> bool {
        self.nodes.get(name).is_some_and(Node::is_joined) && self.has_way_up(name)
    }

    /// The stages whose content `name` holds or relays: those that it serves
    /// and those served below it. Whoever is shut out, and whatever hangs
    /// below it, counts no more.
    #[must_use]
    pub fn carries(&self, name: &NodeName) -> BTreeSet<Stage> {
        self.taking_part(name).into_iter().flat_map(|node| node.stages.iter().copied()).collect()
    }

    /// `name` and the nodes below it, without those that are shut out and
    /// whatever hangs below them.
    #[must_use]
    pub fn taking_part(&self, name: &NodeName) -> Vec<&Node> {
        self.walk(name, |node| node.membership != Membership::Revoked)
    }

    /// The groups whose machines follow `stage`, in order of names.
    pub fn groups_of(&self, stage: Stage) -> impl Iterator<Item = &Group> {
        self.groups.values().filter(move |group| group.stage == stage)
    }

    /// The group of this name.
    #[must_use]
    pub fn group(&self, name: &GroupName) -> Option<&Group> {
        self.groups.get(name)
    }

    /// Whether a node is at a site or below it, or addresses there belong to one.
    #[must_use]
    pub fn has_site(&self, site: &Site) -> bool {
        let of_nodes = self.nodes.values().map(|node| &node.site);
        of_nodes.chain(self.networks.values()).any(|one| one.is_within(site))
    }

    /// Checks that the nodes are one tree below one primary and that names,
    /// keys and addresses tell them apart.
    ///
    /// # Errors
    /// The first fault found.
    pub fn validate(&self) -> Result<(), Error> {
        self.check_filing()?;
        self.check_top()?;
        self.check_parents()?;
        self.check_stages()?;
        self.check_distinct()?;
        self.check_links()?;
        match self.networks.len() {
            0..=MAX_NETWORKS => Ok(()),
            more => Err(Error::TooManyNetworks(more)),
        }
    }

    fn check_filing(&self) -> Result<(), Error> {
        let misfiled = |kind, name: &str, key: &str| {
            Err(Error::Misfiled { kind, name: name.to_owned(), key: key.to_owned() })
        };
        if let Some((key, node)) = self.nodes.iter().find(|(key, node)| **key != node.name) {
            return misfiled("node", node.name.as_str(), key.as_str());
        }
        if let Some((key, group)) = self.groups.iter().find(|(key, group)| **key != group.name) {
            return misfiled("group", group.name.as_str(), key.as_str());
        }
        let is_garbled = |group: &&Group| !is_plain(&group.owner, MAX_OWNER);
        if let Some(group) = self.groups.values().find(is_garbled) {
            return Err(Error::Owner(group.name.clone()));
        }
        for group in self.groups.values() {
            let node = group.policy.statistics_node.as_ref();
            if let Some(node) = node.filter(|node| !self.nodes.contains_key(*node)) {
                let (group, node) = (group.name.clone(), node.clone());
                return Err(Error::UnknownStatisticsNode { group, node });
            }
        }
        if self.groups.len() > MAX_GROUPS {
            return Err(Error::TooManyGroups(self.groups.len()));
        }
        Ok(())
    }

    fn check_links(&self) -> Result<(), Error> {
        for (node, profile) in &self.links {
            if !self.nodes.contains_key(node) {
                return Err(Error::LinkOfNobody(node.clone()));
            }
            profile.validate().map_err(|source| Error::Link { node: node.clone(), source })?;
        }
        Ok(())
    }

    fn check_top(&self) -> Result<(), Error> {
        let primaries: Vec<&Node> =
            self.nodes.values().filter(|node| node.role == Role::Primary).collect();
        match primaries.as_slice() {
            [] => Err(Error::NoPrimary),
            [primary] => match &primary.parent {
                None => Ok(()),
                Some(parent) => Err(Error::PrimaryWithParent {
                    primary: primary.name.clone(),
                    parent: parent.clone(),
                }),
            },
            several => {
                Err(Error::SeveralPrimaries(several.iter().map(|node| node.name.clone()).collect()))
            }
        }
    }

    fn check_parents(&self) -> Result<(), Error> {
        for node in self.nodes.values() {
            node.check_parents(|parent| self.nodes.contains_key(parent))?;
        }
        match self.find_loop() {
            None => Ok(()),
            Some(names) => Err(Error::Loop(names)),
        }
    }

    fn check_stages(&self) -> Result<(), Error> {
        let serving = |node: &&Node| node.stages.contains(&Stage::Production);
        for node in self.nodes.values().filter(serving) {
            let above = self.above(&node.name);
            let lab =
                std::iter::once(node).chain(above).find(|above| above.role == Role::Validation);
            if let Some(lab) = lab {
                return Err(Error::ProductionBelowValidation {
                    node: node.name.clone(),
                    validation: lab.name.clone(),
                });
            }
        }
        Ok(())
    }

    fn check_distinct(&self) -> Result<(), Error> {
        let mut urls = BTreeMap::new();
        let mut keys = BTreeMap::new();
        for node in self.nodes.values() {
            let Membership::Joined(key) = node.membership else { continue };
            if let Some(first) = keys.insert(key, &node.name) {
                return Err(Error::SameKey { first: first.clone(), second: node.name.clone() });
            }
            if node.url.is_empty() {
                continue;
            }
            if let Some(first) = urls.insert(&node.url, &node.name) {
                return Err(Error::SameUrl {
                    first: first.clone(),
                    second: node.name.clone(),
                    url: node.url.clone(),
                });
            }
        }
        Ok(())
    }
}

fn list(names: &[NodeName]) -> String {
    names.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ")
}

/// `a → b → a`: each below the next.
fn arrows(names: &[NodeName]) -> String {
    names.iter().chain(names.first()).map(NodeName::as_str).collect::<Vec<_>>().join(" → ")
}

#[cfg(test)]
pub(crate) mod tests;
