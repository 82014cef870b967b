//! Groups: classes of machines, of which each machine has exactly one.
//!
//! A group's stage is part of every decision on it, so it changes only while
//! no decision names the group; the same holds for removing it.

use std::num::NonZeroU16;

use super::install_time::InstallTime;
use super::mode::AtDeadline;
use super::{Group, InstallMode, Mesh, Stage, tree};
use crate::link::rate::Rate;
use crate::name::{BaselineName, GroupName, NodeName};
use crate::reboot;

/// Why groups cannot change so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The name is taken.
    #[error("there is a group {0} already; `patchmesh group set {0}` changes it")]
    Taken(GroupName),
    /// No such group.
    #[error("there is no group {0}; `patchmesh group list` shows those there are")]
    Unknown(GroupName),
    /// No such baseline.
    #[error("there is no baseline {0}; `patchmesh baseline list` shows those there are")]
    UnknownBaseline(BaselineName),
    /// Decisions would stand in a stage that the group does not follow.
    #[error(
        "group {group} follows {stage}, where {decisions} decisions name it: they would count no longer, and nobody has tested them in another stage; add another group and move its machines there"
    )]
    Decided {
        /// The group.
        group: GroupName,
        /// Its stage.
        stage: Stage,
        /// How many decisions name it.
        decisions: u64,
    },
    /// Decisions would name nothing.
    #[error(
        "{decisions} decisions name group {group}; they are the record of what its machines got, so it stays"
    )]
    Named {
        /// The group.
        group: GroupName,
        /// How many decisions name it.
        decisions: u64,
    },
    /// A rule would name nothing.
    #[error("rule {rule} names group {group}; remove the rule first")]
    Ruled {
        /// The rule.
        rule: crate::name::RuleName,
        /// The group.
        group: GroupName,
    },
    /// The mesh would no longer hold together.
    #[error("the mesh would not hold together")]
    Invalid(#[source] tree::Error),
}

/// What is to change; what is absent stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// Another stage.
    pub stage: Option<Stage>,
    /// Another way to install.
    pub install_mode: Option<InstallMode>,
    /// Another baseline, or none.
    pub baseline: Option<Option<BaselineName>>,
    /// Another owner; empty: none.
    pub owner: Option<String>,
    /// Another number of machines that restart at once, or any.
    pub reboot_slots: Option<Option<NonZeroU16>>,
    /// Another time to install at, or any time.
    pub install_at: Option<Option<InstallTime>>,
    /// Another policy of restarts, or each machine's own.
    pub reboot: Option<Option<reboot::Policy>>,
    /// Another node to tell, or each machine's own.
    pub statistics_node: Option<Option<NodeName>>,
    /// Another rate at which each machine fetches, or any.
    pub download_rate: Option<Option<Rate>>,
    /// Another answer to deadlines.
    pub at_deadline: Option<AtDeadline>,
}

impl Mesh {
    /// This mesh with another group.
    ///
    /// # Errors
    /// Why not.
    pub fn add_group(
        &self,
        group: Group,
        has_baseline: impl Fn(&BaselineName) -> bool,
    ) -> Result<Self, Rejection> {
        if self.groups.contains_key(&group.name) {
            return Err(Rejection::Taken(group.name));
        }
        self.with_group(group, has_baseline)
    }

    /// This mesh with a group changed, which `decisions` name.
    ///
    /// # Errors
    /// Why not.
    pub fn set_group(
        &self,
        name: &GroupName,
        change: Change,
        decisions: u64,
        has_baseline: impl Fn(&BaselineName) -> bool,
    ) -> Result<Self, Rejection> {
        let mut group =
            self.groups.get(name).cloned().ok_or_else(|| Rejection::Unknown(name.clone()))?;
        let stage = change.stage.unwrap_or(group.stage);
        if stage != group.stage && decisions > 0 {
            let (group, stage) = (name.clone(), group.stage);
            return Err(Rejection::Decided { group, stage, decisions });
        }
        group.stage = stage;
        group.install_mode = change.install_mode.unwrap_or(group.install_mode);
        group.baseline = change.baseline.unwrap_or(group.baseline);
        group.owner = change.owner.unwrap_or(group.owner);
        group.reboot_slots = change.reboot_slots.unwrap_or(group.reboot_slots);
        let policy = &mut group.policy;
        policy.install_at = change.install_at.unwrap_or(policy.install_at);
        policy.reboot = change.reboot.unwrap_or(policy.reboot);
        policy.download_rate = change.download_rate.unwrap_or(policy.download_rate);
        if let Some(node) = change.statistics_node {
            policy.statistics_node = node;
        }
        group.at_deadline = change.at_deadline.unwrap_or(group.at_deadline);
        self.with_group(group, has_baseline)
    }

    /// This mesh without a group, which `decisions` name.
    ///
    /// # Errors
    /// Why not.
    pub fn remove_group(&self, name: &GroupName, decisions: u64) -> Result<Self, Rejection> {
        let mut mesh = self.clone();
        mesh.groups.remove(name).ok_or_else(|| Rejection::Unknown(name.clone()))?;
        if decisions > 0 {
            return Err(Rejection::Named { group: name.clone(), decisions });
        }
        Ok(mesh)
    }

    fn with_group(
        &self,
        group: Group,
        has_baseline: impl Fn(&BaselineName) -> bool,
    ) -> Result<Self, Rejection> {
        if let Some(baseline) = group.baseline.as_ref().filter(|name| !has_baseline(name)) {
            return Err(Rejection::UnknownBaseline(baseline.clone()));
        }
        let mut mesh = self.clone();
        mesh.groups.insert(group.name.clone(), group);
        mesh.validate().map_err(Rejection::Invalid)?;
        Ok(mesh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Sha256;

    fn mesh() -> Mesh {
        let (node, site) = ("hq".parse().expect("a name"), "emea".parse().expect("a site"));
        let key = Sha256::from_bytes([1; 32]);
        let url = "https://hq:1".to_owned();
        Mesh::found("m".to_owned(), "M".to_owned(), node, site, url, key).expect("a mesh")
    }

    fn group(name: &str) -> Group {
        let mesh = mesh();
        let one = mesh.groups.values().next().cloned().expect("a group");
        Group { name: name.parse().expect("a name"), ..one }
    }

    #[test]
    fn groups_come_change_and_go() {
        let mesh = mesh().add_group(group("kiosks"), |_| false).expect("added");
        let name: GroupName = "kiosks".parse().expect("a name");
        let taken = mesh.add_group(group("kiosks"), |_| false);
        assert_eq!(taken, Err(Rejection::Taken(name.clone())));
        let other = Stage::ALL.into_iter().find(|one| *one != mesh.groups[&name].stage);
        let change = Change { stage: other, ..Change::default() };
        let moved = mesh.set_group(&name, change.clone(), 0, |_| false).expect("changed");
        assert_eq!(Some(moved.groups[&name].stage), other);
        let refused = mesh.set_group(&name, change, 3, |_| false);
        assert!(matches!(refused, Err(Rejection::Decided { decisions: 3, .. })), "{refused:?}");
        assert!(matches!(mesh.remove_group(&name, 1), Err(Rejection::Named { .. })));
        assert!(!mesh.remove_group(&name, 0).expect("removed").groups.contains_key(&name));
        let unknown: GroupName = "nobody".parse().expect("a name");
        assert_eq!(mesh.remove_group(&unknown, 0), Err(Rejection::Unknown(unknown)));
    }

    #[test]
    fn a_baseline_has_to_be_there() {
        let name: GroupName = "lab".parse().expect("a name");
        let baseline: BaselineName = "bookworm".parse().expect("a name");
        let change = Change { baseline: Some(Some(baseline.clone())), ..Change::default() };
        let refused = mesh().set_group(&name, change.clone(), 9, |_| false);
        assert_eq!(refused, Err(Rejection::UnknownBaseline(baseline.clone())));
        let mesh = mesh().set_group(&name, change, 9, |one| *one == baseline).expect("changed");
        assert_eq!(mesh.groups[&name].baseline, Some(baseline));
        let owner = |text: &str| Change { owner: Some(text.to_owned()), ..Change::default() };
        let mesh = mesh.set_group(&name, owner("ada"), 9, |_| true).expect("changed");
        assert_eq!(mesh.groups[&name].owner, "ada");
        let garbled = mesh.set_group(&name, owner("a\u{1b}b"), 9, |_| true);
        assert!(matches!(garbled, Err(Rejection::Invalid(tree::Error::Owner(_)))), "{garbled:?}");
        let slots =
            |most| Change { reboot_slots: Some(NonZeroU16::new(most)), ..Change::default() };
        let mesh = mesh.set_group(&name, slots(2), 9, |_| true).expect("changed");
        assert_eq!(mesh.groups[&name].reboot_slots, NonZeroU16::new(2));
        let free = mesh.set_group(&name, slots(0), 9, |_| true).expect("changed");
        assert_eq!(free.groups[&name].reboot_slots, None);
        let policy = |node: &str| Change {
            install_at: Some("Sun 03:00".parse().ok()),
            reboot: Some(Some(reboot::Policy::Unattended)),
            statistics_node: Some(node.parse().ok()),
            ..Change::default()
        };
        let unknown = mesh.set_group(&name, policy("nobody"), 9, |_| true);
        let why = "the machines of group lab are to report to nobody, which is not in the mesh";
        let Err(Rejection::Invalid(error)) = unknown else { panic!("{unknown:?}") };
        assert_eq!(error.to_string(), why);
        let mesh = mesh.set_group(&name, policy("hq"), 9, |_| true).expect("changed");
        let has = &mesh.groups[&name].policy;
        assert_eq!(has.reboot, Some(reboot::Policy::Unattended));
        assert!(has.install_at.is_some() && has.statistics_node.is_some());
        assert_eq!(mesh.groups[&name].at_deadline, AtDeadline::Wait);
        let change = Change { at_deadline: Some(AtDeadline::Install), ..Change::default() };
        let mesh = mesh.set_group(&name, change, 9, |_| true).expect("changed");
        assert_eq!(mesh.groups[&name].at_deadline, AtDeadline::Install);
        let none = Change { baseline: Some(None), ..Change::default() };
        let mesh = mesh.set_group(&name, none, 9, |_| true).expect("changed");
        assert_eq!(mesh.groups[&name].baseline, None);
    }
}
