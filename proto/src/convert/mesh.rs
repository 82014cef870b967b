//! The tree of nodes and the groups.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::str::FromStr;

use patchmesh_topology::name::NodeName;
use patchmesh_topology::node::mode::AtDeadline;
use patchmesh_topology::node::{
    Group, InstallMode, MachinePolicy, Membership, Mesh, Node, Role, Stage,
};
use patchmesh_topology::person::User;

use super::link::{link_to_wire, links};
use super::network::{network_to_wire, networks};
use super::subscription::{of_sources, optional, optional_to_wire};
use super::{At, Error, Fault, each, sha256, sha256_to_wire, sorted};
use crate::wire;

/// A stage from a field's number.
///
/// # Errors
/// It stands for none.
pub fn stage(value: i32) -> Result<Stage, Error> {
    match wire::Stage::try_from(value) {
        Ok(wire::Stage::Validation) => Ok(Stage::Validation),
        Ok(wire::Stage::Production) => Ok(Stage::Production),
        Ok(wire::Stage::Unspecified) => Err(Fault::Missing.into()),
        Err(_) => Err(Fault::Word { kind: "stage", value }.into()),
    }
}

/// The stages of a list; one that comes twice counts once.
///
/// # Errors
/// An entry stands for none.
pub fn stages(values: Vec<i32>) -> Result<BTreeSet<Stage>, Error> {
    let stage = |(index, value)| stage(value).at(&format!("[{index}]"));
    values.into_iter().enumerate().map(stage).collect()
}

impl From<Stage> for wire::Stage {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Validation => Self::Validation,
            Stage::Production => Self::Production,
        }
    }
}

/// A role from a field's number.
///
/// # Errors
/// It stands for none.
pub fn role(value: i32) -> Result<Role, Error> {
    match wire::Role::try_from(value) {
        Ok(wire::Role::Primary) => Ok(Role::Primary),
        Ok(wire::Role::Validation) => Ok(Role::Validation),
        Ok(wire::Role::Branch) => Ok(Role::Branch),
        Ok(wire::Role::Unspecified) => Err(Fault::Missing.into()),
        Err(_) => Err(Fault::Word { kind: "role", value }.into()),
    }
}

impl From<Role> for wire::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Primary => Self::Primary,
            Role::Validation => Self::Validation,
            Role::Branch => Self::Branch,
        }
    }
}

/// An install mode from a field's number.
///
/// # Errors
/// It stands for none.
pub fn install_mode(value: i32) -> Result<InstallMode, Error> {
    match wire::InstallMode::try_from(value) {
        Ok(wire::InstallMode::Automatic) => Ok(InstallMode::Automatic),
        Ok(wire::InstallMode::Manual) => Ok(InstallMode::Manual),
        Ok(wire::InstallMode::Notify) => Ok(InstallMode::Notify),
        Ok(wire::InstallMode::Unspecified) => Err(Fault::Missing.into()),
        Err(_) => Err(Fault::Word { kind: "install mode", value }.into()),
    }
}

impl From<InstallMode> for wire::InstallMode {
    fn from(mode: InstallMode) -> Self {
        match mode {
            InstallMode::Automatic => Self::Automatic,
            InstallMode::Manual => Self::Manual,
            InstallMode::Notify => Self::Notify,
        }
    }
}

/// The membership, with the key that only a node that joined has.
pub(super) fn membership(value: i32, key: &[u8]) -> Result<Membership, Error> {
    let keyless = |membership| {
        if key.is_empty() {
            return Ok(membership);
        }
        Err(Fault::Contradiction("the membership")).at("key_sha256")
    };
    match wire::Membership::try_from(value) {
        Ok(wire::Membership::Joined) => sha256(key).at("key_sha256").map(Membership::Joined),
        Ok(wire::Membership::Invited) => keyless(Membership::Invited),
        Ok(wire::Membership::Revoked) => keyless(Membership::Revoked),
        Ok(wire::Membership::Unspecified) => Err(Fault::Missing).at("membership"),
        Err(_) => Err(Fault::Word { kind: "membership", value }).at("membership"),
    }
}

impl TryFrom<wire::Node> for Node {
    type Error = Error;

    fn try_from(value: wire::Node) -> Result<Self, Error> {
        Ok(Self {
            name: value.name.parse().at("name")?,
            role: role(value.role).at("role")?,
            parent: stated(&value.parent).at("parent")?,
            fallback_parents: each("fallback_parents", value.fallback_parents, |name| {
                Ok(name.parse()?)
            })?,
            site: value.site.parse().at("site")?,
            url: value.url,
            stages: stages(value.stages).at("stages")?,
            membership: membership(value.membership, &value.key_sha256)?,
            subscription: optional(value.subscription).at("subscription")?,
        })
    }
}

impl From<&Node> for wire::Node {
    fn from(node: &Node) -> Self {
        let (membership, key_sha256) = match &node.membership {
            Membership::Invited => (wire::Membership::Invited, Default::default()),
            Membership::Joined(key) => (wire::Membership::Joined, sha256_to_wire(key)),
            Membership::Revoked => (wire::Membership::Revoked, Default::default()),
        };
        Self {
            name: node.name.to_string(),
            role: wire::Role::from(node.role).into(),
            parent: stated_to_wire(node.parent.as_ref()),
            fallback_parents: node.fallback_parents.iter().map(ToString::to_string).collect(),
            site: node.site.to_string(),
            url: node.url.clone(),
            stages: node.stages.iter().map(|stage| wire::Stage::from(*stage).into()).collect(),
            membership: membership.into(),
            key_sha256,
            subscription: optional_to_wire(&node.subscription),
        }
    }
}

impl TryFrom<wire::Group> for Group {
    type Error = Error;

    fn try_from(value: wire::Group) -> Result<Self, Error> {
        Ok(Self {
            name: value.name.parse().at("name")?,
            stage: stage(value.stage).at("stage")?,
            install_mode: install_mode(value.install_mode).at("install_mode")?,
            baseline: stated(&value.baseline).at("baseline")?,
            owner: value.owner,
            reboot_slots: reboot_slots(value.reboot_slots).at("reboot_slots")?,
            policy: MachinePolicy {
                install_at: stated(&value.install_at).at("install_at")?,
                reboot: stated(&value.reboot).at("reboot")?,
                statistics_node: stated(&value.statistics_node).at("statistics_node")?,
                download_rate: stated(&value.download_rate).at("download_rate")?,
            },
            at_deadline: at_deadline(value.at_deadline).at("at_deadline")?.unwrap_or_default(),
        })
    }
}

impl From<&Group> for wire::Group {
    fn from(group: &Group) -> Self {
        Self {
            name: group.name.to_string(),
            stage: wire::Stage::from(group.stage).into(),
            install_mode: wire::InstallMode::from(group.install_mode).into(),
            baseline: stated_to_wire(group.baseline.as_ref()),
            owner: group.owner.clone(),
            reboot_slots: group.reboot_slots.map_or(0, |most| most.get().into()),
            install_at: stated_to_wire(group.policy.install_at.as_ref()),
            reboot: stated_to_wire(group.policy.reboot.as_ref()),
            statistics_node: stated_to_wire(group.policy.statistics_node.as_ref()),
            download_rate: stated_to_wire(group.policy.download_rate.as_ref()),
            // What was written before there was a choice stays as it is, to the byte.
            at_deadline: match group.at_deadline {
                AtDeadline::Wait => wire::AtDeadline::Unspecified.into(),
                AtDeadline::Install => wire::AtDeadline::Install.into(),
            },
        }
    }
}

/// What a text states; `None` where it is empty.
///
/// # Errors
/// It states no such thing.
pub fn stated<T: FromStr>(text: &str) -> Result<Option<T>, Error>
where
    Fault: From<T::Err>,
{
    let read = (!text.is_empty()).then(|| text.parse()).transpose();
    Ok(read.map_err(Fault::from)?)
}

fn stated_to_wire(value: Option<&impl ToString>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

impl From<AtDeadline> for wire::AtDeadline {
    fn from(one: AtDeadline) -> Self {
        match one {
            AtDeadline::Wait => Self::Wait,
            AtDeadline::Install => Self::Install,
        }
    }
}

/// What machines do at deadlines, from a field's number; `None` for the unspecified.
///
/// # Errors
/// It stands for nothing.
pub fn at_deadline(value: i32) -> Result<Option<AtDeadline>, Error> {
    match wire::AtDeadline::try_from(value) {
        Ok(wire::AtDeadline::Unspecified) => Ok(None),
        Ok(wire::AtDeadline::Wait) => Ok(Some(AtDeadline::Wait)),
        Ok(wire::AtDeadline::Install) => Ok(Some(AtDeadline::Install)),
        Err(_) => Err(Fault::Word { kind: "answer to a deadline", value }.into()),
    }
}

/// How many machines of a group restart at once, from a field's number; 0 is any.
///
/// # Errors
/// It is too great.
pub fn reboot_slots(value: u32) -> Result<Option<NonZeroU16>, Error> {
    Ok(NonZeroU16::new(u16::try_from(value).map_err(|_| Fault::Range)?))
}

fn standbys(names: Vec<String>) -> Result<BTreeSet<NodeName>, Error> {
    let names = each("standbys", names, |name| Ok((name.parse::<NodeName>().at("name")?, ())))?;
    let names: BTreeMap<NodeName, ()> = sorted("standbys", names)?;
    Ok(names.into_keys().collect())
}

/// Reads and [validates](Mesh::validate) a mesh.
impl TryFrom<wire::Topology> for Mesh {
    type Error = Error;

    fn try_from(value: wire::Topology) -> Result<Self, Error> {
        if value.mesh_id.is_empty() {
            return Err(Fault::Missing).at("mesh_id");
        }
        let nodes = each("nodes", value.nodes, |node| {
            Node::try_from(node).map(|node| (node.name.clone(), node))
        })?;
        let groups = each("groups", value.groups, |group| {
            Group::try_from(group).map(|group| (group.name.clone(), group))
        })?;
        let users = each("users", value.users, |user| {
            User::try_from(user).map(|user| (user.name.clone(), user))
        })?;
        let keys = each("repository_keys", value.repository_keys, |key| {
            Ok((stage(key.stage).at("stage")?, key.armored))
        })?;
        let mesh = Self {
            id: value.mesh_id,
            name: value.mesh_name,
            nodes: sorted("nodes", nodes)?,
            groups: sorted("groups", groups)?,
            users: sorted("users", users)?,
            repository_keys: sorted("repository_keys", keys)?,
            source_subscriptions: sorted(
                "source_subscriptions",
                of_sources(value.source_subscriptions)?,
            )?,
            epoch: value.epoch,
            standbys: standbys(value.standbys)?,
            links: links(value.links)?,
            networks: networks(value.networks)?,
        };
        mesh.validate()?;
        Ok(mesh)
    }
}

impl From<&Mesh> for wire::Topology {
    fn from(mesh: &Mesh) -> Self {
        Self {
            mesh_id: mesh.id.clone(),
            mesh_name: mesh.name.clone(),
            nodes: mesh.nodes.values().map(wire::Node::from).collect(),
            groups: mesh.groups.values().map(wire::Group::from).collect(),
            users: mesh.users.values().map(wire::User::from).collect(),
            repository_keys: mesh
                .repository_keys
                .iter()
                .map(|(stage, armored)| wire::RepositoryKey {
                    stage: wire::Stage::from(*stage).into(),
                    armored: armored.clone(),
                })
                .collect(),
            source_subscriptions: mesh
                .source_subscriptions
                .iter()
                .map(|(source, subscription)| wire::SourceSubscription {
                    source: source.to_string(),
                    subscription: Some(subscription.into()),
                })
                .collect(),
            epoch: mesh.epoch,
            standbys: mesh.standbys.iter().map(ToString::to_string).collect(),
            links: mesh.links.iter().map(|(node, profile)| link_to_wire(node, profile)).collect(),
            networks: mesh.networks.iter().map(|(one, site)| network_to_wire(one, site)).collect(),
        }
    }
}
