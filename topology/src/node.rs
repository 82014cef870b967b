//! The tree of nodes and what the `mesh` role signs about it.
//!
//! This file holds the words; [`tree`] asks and checks the whole,
//! [`membership`] lets nodes in and out.

pub mod fallback;
pub mod groups;
pub mod install_time;
pub mod membership;
pub mod mode;
pub mod network;
pub mod succession;
pub mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use crate::digest::Sha256;
use crate::link::profile::Profile;
use crate::link::rate::Rate;
use crate::name::{BaselineName, GroupName, NodeName, Site, SourceName, UserName};
use crate::person::User;
use crate::reboot;
use crate::subscription::Subscription;
use install_time::InstallTime;
use mode::AtDeadline;
use network::Network;

/// A step of promotion. Every update passes them in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The lab tries a candidate here.
    Validation,
    /// What the company's machines get.
    Production,
}

impl Stage {
    /// All stages, in the order of promotion.
    pub const ALL: [Stage; 2] = [Stage::Validation, Stage::Production];

    /// The word used in commands, paths and documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Stage::Validation => "validation",
            Stage::Production => "production",
        }
    }

    /// The stage that an update must have passed before this one.
    #[must_use]
    pub const fn before(self) -> Option<Stage> {
        match self {
            Stage::Validation => None,
            Stage::Production => Some(Stage::Validation),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that is none of those allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {kind}; use {allowed}")]
pub struct UnknownWord {
    /// What the word was to name.
    pub kind: &'static str,
    /// The word given.
    pub text: String,
    /// The words allowed.
    pub allowed: &'static str,
}

impl FromStr for Stage {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Stage::ALL.into_iter().find(|stage| stage.as_str() == text).ok_or_else(|| UnknownWord {
            kind: "stage",
            text: text.to_owned(),
            allowed: "validation or production",
        })
    }
}

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Headquarters: talks to vendors and signs. There is one.
    Primary,
    /// Serves lab machines.
    Validation,
    /// Serves a site, and nodes below it.
    Branch,
}

impl Role {
    /// The word used in commands and documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Primary => "primary",
            Role::Validation => "validation",
            Role::Branch => "branch",
        }
    }

    /// The stages that a node of this role serves unless told otherwise.
    #[must_use]
    pub fn default_stages(self) -> BTreeSet<Stage> {
        match self {
            Role::Primary => BTreeSet::new(),
            Role::Validation => BTreeSet::from([Stage::Validation]),
            Role::Branch => BTreeSet::from([Stage::Production]),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        [Role::Primary, Role::Validation, Role::Branch]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| UnknownWord {
                kind: "role",
                text: text.to_owned(),
                allowed: "primary, validation or branch",
            })
    }
}

/// Whether a node may take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// A token was made; nobody has joined with it yet.
    Invited,
    /// The holder of the key with this SHA-256 (of its SubjectPublicKeyInfo) joined.
    Joined(Sha256),
    /// Shut out for good; the name may be invited again.
    Revoked,
}

/// One node as the mesh document states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name, unique in the mesh.
    pub name: NodeName,
    /// What it is for.
    pub role: Role,
    /// Where it pulls from; `None` for the primary alone.
    pub parent: Option<NodeName>,
    /// Where it pulls from while its parent is gone, the first that answers.
    pub fallback_parents: Vec<NodeName>,
    /// Where it stands.
    pub site: Site,
    /// Its base URL, such as `https://lyon.example:8443`; empty until it joins.
    pub url: String,
    /// The stages it serves to its own machines.
    pub stages: BTreeSet<Stage>,
    /// Whether it may take part.
    pub membership: Membership,
    /// Which of what is approved its machines need.
    pub subscription: Subscription,
}

impl Node {
    /// Whether it takes part now: it has joined, and is not revoked.
    #[must_use]
    pub const fn is_joined(&self) -> bool {
        matches!(self.membership, Membership::Joined(_))
    }
}

/// How the machines of a group install.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InstallMode {
    /// Download and install by themselves.
    Automatic,
    /// Download by themselves, install when a person says so.
    Manual,
    /// Tell a person.
    Notify,
}

impl InstallMode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Automatic, Self::Manual, Self::Notify];

    /// The word used in commands and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::Manual => "manual",
            Self::Notify => "notify",
        }
    }
}

impl fmt::Display for InstallMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for InstallMode {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text).ok_or_else(|| UnknownWord {
            kind: "install mode",
            text: text.to_owned(),
            allowed: "automatic, manual or notify",
        })
    }
}

/// A class of machines. A machine has exactly one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name, unique in the mesh.
    pub name: GroupName,
    /// The stage whose approvals its machines follow.
    pub stage: Stage,
    /// How its machines install.
    pub install_mode: InstallMode,
    /// What its machines have; without one, dependencies can't be judged.
    pub baseline: Option<BaselineName>,
    /// Who answers for its machines, in words; empty: nobody is named.
    pub owner: String,
    /// How many of its machines restart at once at one node; `None`: any number.
    pub reboot_slots: Option<NonZeroU16>,
    /// What its machines do where their own administrators say nothing else.
    pub policy: MachinePolicy,
    /// What its machines do when the deadline of something open has passed.
    pub at_deadline: AtDeadline,
}

/// What headquarters wants of the machines of a group. What is absent is left to each
/// machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MachinePolicy {
    /// When they install and remove by themselves; absent: whenever something is open.
    pub install_at: Option<InstallTime>,
    /// Who decides when they restart.
    pub reboot: Option<reboot::Policy>,
    /// Whom they tell what they did and have; absent: their own node.
    pub statistics_node: Option<NodeName>,
    /// How fast each fetches at most.
    pub download_rate: Option<Rate>,
}

/// The tree and the groups: what the `mesh` role signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mesh {
    /// A random identifier made by `init`.
    pub id: String,
    /// The company's name for its mesh.
    pub name: String,
    /// Every node by name.
    pub nodes: BTreeMap<NodeName, Node>,
    /// Every group by name.
    pub groups: BTreeMap<GroupName, Group>,
    /// The people who may give orders, by name; also those who no longer may.
    pub users: BTreeMap<UserName, User>,
    /// The armored OpenPGP certificate that each stage's views are signed with.
    pub repository_keys: BTreeMap<Stage, String>,
    /// What is fetched of each source that is narrowed; none of them takes
    /// everything.
    pub source_subscriptions: BTreeMap<SourceName, Subscription>,
    /// Grows whenever another host takes over as the primary, or the same one
    /// from a backup: whoever signed under a lower one signs no more.
    pub epoch: u64,
    /// Nodes that keep everything, to take the primary's place.
    pub standbys: BTreeSet<NodeName>,
    /// What the line between a node and its parents may carry, by the node;
    /// others carry anything.
    pub links: BTreeMap<NodeName, Profile>,
    /// The site that addresses belong to; where networks overlap, the longest
    /// prefix says it.
    pub networks: BTreeMap<Network, Site>,
}
