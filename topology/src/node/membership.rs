//! How nodes come into the mesh and leave it.
//!
//! Each transition takes the mesh as it is and gives the mesh as it would be,
//! or says why not. What comes out has passed [`Mesh::validate`] if what went
//! in had.

use std::collections::{BTreeMap, BTreeSet};

use super::mode::AtDeadline;
use super::{Group, InstallMode, MachinePolicy, Membership, Mesh, Node, Role, Stage, tree};
use crate::digest::Sha256;
use crate::name::{GroupName, NodeName, Site};
use crate::subscription::Subscription;

/// The longest URL of a node, in bytes.
pub const MAX_URL: usize = 255;

/// Why a transition was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The name belongs to a node that was not shut out.
    #[error("the name {0} is taken; choose another, or revoke the node first")]
    NameTaken(NodeName),
    /// The mesh has no such node.
    #[error("there is no node {0}; `patchmesh nodes` lists them")]
    UnknownNode(NodeName),
    /// The parent is not in the mesh.
    #[error("there is no node {0} to be the parent; `patchmesh nodes` lists them")]
    UnknownParent(NodeName),
    /// The parent has not joined yet.
    #[error("parent {0} has not joined yet; let it join first")]
    ParentNotJoined(NodeName),
    /// The parent, or a node above it, was shut out.
    #[error("parent {parent} cannot be reached since {revoked} was revoked; choose another parent")]
    ParentRevoked {
        /// The parent asked for.
        parent: NodeName,
        /// Who was shut out: the parent or a node above it.
        revoked: NodeName,
    },
    /// There is one primary, and `init` makes it.
    #[error("a primary cannot be invited; `patchmesh init` makes the only one")]
    Primary,
    /// The primary cannot be shut out.
    #[error("node {0} is the primary and cannot be revoked")]
    RevokePrimary(NodeName),
    /// Joining without an invitation.
    #[error("node {name} cannot join: it {state}; invite it first")]
    NotInvited {
        /// The node.
        name: NodeName,
        /// What it is instead, as a clause.
        state: &'static str,
    },
    /// A node that cannot stand in for the primary.
    #[error(
        "node {0} cannot take the primary's place: that is for a branch directly below the primary"
    )]
    NoStandby(NodeName),
    /// Shutting out twice.
    #[error("node {0} is revoked already")]
    AlreadyRevoked(NodeName),
    /// The address is not one that nodes have.
    #[error("{url:?} cannot be a node's URL: {problem}; write https://HOST or https://HOST:PORT")]
    Url {
        /// The URL given.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The mesh would no longer hold together.
    #[error("the mesh would not hold together")]
    Invalid(#[source] tree::Error),
}

/// What a new node is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Its name.
    pub name: NodeName,
    /// What it is for.
    pub role: Role,
    /// Where it will pull from.
    pub parent: NodeName,
    /// Where it stands.
    pub site: Site,
    /// The stages it will serve; `None`: those of its role.
    pub stages: Option<BTreeSet<Stage>>,
}

impl Mesh {
    /// A mesh of one node: its primary, with the groups that a company needs
    /// at first.
    ///
    /// # Errors
    /// [`Rejection::Url`].
    pub fn found(
        id: String,
        name: String,
        primary: NodeName,
        site: Site,
        url: String,
        key: Sha256,
    ) -> Result<Self, Rejection> {
        check_url(&url)?;
        let node = Node {
            name: primary.clone(),
            role: Role::Primary,
            parent: None,
            fallback_parents: Vec::new(),
            site,
            url,
            stages: Role::Primary.default_stages(),
            membership: Membership::Joined(key),
            subscription: Subscription::default(),
        };
        Ok(Self {
            id,
            name,
            nodes: BTreeMap::from([(primary, node)]),
            groups: default_groups(),
            users: BTreeMap::new(),
            repository_keys: BTreeMap::new(),
            source_subscriptions: BTreeMap::new(),
            epoch: 0,
            standbys: BTreeSet::new(),
            links: BTreeMap::new(),
            networks: BTreeMap::new(),
        })
    }

    /// Reserves a name, with a place in the tree, for a host yet to join. A
    /// revoked name may be invited again, anywhere.
    ///
    /// # Errors
    /// Why not.
    pub fn invite(&self, invitation: Invitation) -> Result<Self, Rejection> {
        let Invitation { name, role, parent, site, stages } = invitation;
        if role == Role::Primary {
            return Err(Rejection::Primary);
        }
        if self.nodes.get(&name).is_some_and(|node| node.membership != Membership::Revoked) {
            return Err(Rejection::NameTaken(name));
        }
        self.check_parent(&parent)?;
        let stages = stages.unwrap_or_else(|| role.default_stages());
        let parent = Some(parent);
        let membership = Membership::Invited;
        self.with(Node {
            name,
            role,
            parent,
            fallback_parents: Vec::new(),
            site,
            url: String::new(),
            stages,
            membership,
            subscription: Subscription::default(),
        })
    }

    /// Lets in the holder of `key`, reachable at `url`, under an invited name.
    ///
    /// # Errors
    /// Why not.
    pub fn join(&self, name: &NodeName, key: Sha256, url: String) -> Result<Self, Rejection> {
        let node = self.nodes.get(name).ok_or_else(|| Rejection::UnknownNode(name.clone()))?;
        let state = match node.membership {
            Membership::Invited => None,
            Membership::Joined(_) => Some("has joined already"),
            Membership::Revoked => Some("was revoked"),
        };
        if let Some(state) = state {
            return Err(Rejection::NotInvited { name: name.clone(), state });
        }
        check_url(&url)?;
        self.with(Node { url, membership: Membership::Joined(key), ..node.clone() })
    }

    /// Shuts a node out. What hangs below it keeps its place but is cut off:
    /// [`Mesh::cut_off_by`] names it.
    ///
    /// # Errors
    /// Why not.
    pub fn revoke(&self, name: &NodeName) -> Result<Self, Rejection> {
        let node = self.nodes.get(name).ok_or_else(|| Rejection::UnknownNode(name.clone()))?;
        if node.role == Role::Primary {
            return Err(Rejection::RevokePrimary(name.clone()));
        }
        if node.membership == Membership::Revoked {
            return Err(Rejection::AlreadyRevoked(name.clone()));
        }
        let mut mesh = self.with(Node { membership: Membership::Revoked, ..node.clone() })?;
        // Whoever is invited under this name again stands by for nobody.
        mesh.standbys.remove(name);
        Ok(mesh)
    }

    /// The nodes below `name` that lose their way to the primary when it is
    /// shut out.
    #[must_use]
    pub fn cut_off_by(&self, name: &NodeName) -> Vec<NodeName> {
        let mut without = self.clone();
        if let Some(node) = without.nodes.get_mut(name) {
            node.membership = Membership::Revoked;
        }
        self.subtree(name)
            .into_iter()
            .filter(|node| node.name != *name && node.membership != Membership::Revoked)
            .filter(|node| !without.has_way_up(&node.name))
            .map(|node| node.name.clone())
            .collect()
    }

    fn check_parent(&self, parent: &NodeName) -> Result<(), Rejection> {
        let node =
            self.nodes.get(parent).ok_or_else(|| Rejection::UnknownParent(parent.clone()))?;
        for above in std::iter::once(node).chain(self.ancestors(parent)) {
            match above.membership {
                Membership::Joined(_) => {}
                Membership::Invited => {
                    return Err(Rejection::ParentNotJoined(above.name.clone()));
                }
                Membership::Revoked => {
                    return Err(Rejection::ParentRevoked {
                        parent: parent.clone(),
                        revoked: above.name.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    /// This mesh with `node` put in or replaced, if it still holds together.
    pub(super) fn with(&self, node: Node) -> Result<Self, Rejection> {
        let mut mesh = self.clone();
        mesh.nodes.insert(node.name.clone(), node);
        mesh.validate().map_err(Rejection::Invalid)?;
        Ok(mesh)
    }
}

/// The groups of a new mesh: one for the lab, three for production.
#[must_use]
pub fn default_groups() -> BTreeMap<GroupName, Group> {
    [
        ("lab", Stage::Validation, InstallMode::Automatic),
        ("workstations", Stage::Production, InstallMode::Automatic),
        ("servers", Stage::Production, InstallMode::Manual),
        ("infrastructure-servers", Stage::Production, InstallMode::Manual),
    ]
    .into_iter()
    .filter_map(|(name, stage, install_mode)| {
        // All four are names; the test below counts them.
        let name: GroupName = name.parse().ok()?;
        Some((
            name.clone(),
            Group {
                name,
                stage,
                install_mode,
                baseline: None,
                owner: String::new(),
                reboot_slots: None,
                policy: MachinePolicy::default(),
                at_deadline: AtDeadline::Wait,
            },
        ))
    })
    .collect()
}

fn check_url(url: &str) -> Result<(), Rejection> {
    let refuse = |problem| Err(Rejection::Url { url: url.to_owned(), problem });
    let Some(authority) = url.strip_prefix("https://") else {
        return refuse("it does not begin with https://");
    };
    if url.len() > MAX_URL {
        return refuse("it is longer than 255 bytes");
    }
    if authority.is_empty() {
        return refuse("it names no host");
    }
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    if !authority.chars().all(plain) {
        return refuse("it has more than a host and a port");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
