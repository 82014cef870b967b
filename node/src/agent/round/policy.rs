//! What headquarters wants of the group's machines, and what this machine's administrator
//! wants instead, who has the last word.

use std::str::FromStr;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use patchmesh_topology::link::rate::Rate;
use patchmesh_topology::node::install_time::InstallTime;
use patchmesh_topology::reboot;

use super::Agent;
use crate::agent::chain::Chain;
use crate::agent::decide::Planned;
use crate::agent::link::Link;
use crate::agent::state::{KnownNode, Wishes};
use crate::log::in_one_line;
use crate::pace::Pace;

/// The most that a planned time moves by from machine to machine.
pub const SPREAD: Duration = Duration::from_secs(30 * 60);

/// What the machine's administrator says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Own {
    /// When it installs by itself.
    pub install_at: Option<InstallTime>,
    /// When it restarts.
    pub reboot: Option<reboot::Policy>,
    /// How fast it fetches at most.
    pub download_rate: Option<Rate>,
    /// Whether it is known what restarts it.
    pub is_restartable: bool,
}

impl Agent {
    /// With what the machine's administrator says.
    #[must_use]
    pub fn with_own(mut self, own: Own) -> Self {
        self.memory.own_wants = Wishes::of(own.install_at, own.reboot, own.download_rate);
        Self { is_restartable: own.is_restartable, ..self }
    }

    /// Takes note of what headquarters signed of the group.
    pub(super) fn heed(&mut self, chain: &Chain) {
        let Some(policy) = chain.mesh.group(&self.group).map(|group| &group.policy) else { return };
        self.memory.group_wants =
            Wishes::of(policy.install_at, policy.reboot, policy.download_rate);
        let node = policy.statistics_node.as_ref().and_then(|name| chain.mesh.nodes.get(name));
        let joined = node.filter(|node| node.is_joined());
        self.memory.statistics_node = joined.map(KnownNode::from);
    }

    /// The time that what this machine does by itself waits for; `None`: it goes on now.
    #[must_use]
    pub fn planned(&self, now: Timestamp) -> Option<Planned> {
        let at: InstallTime = self.wish(|one| one.install_at.as_ref())?;
        let since = self.memory.let_go_at.unwrap_or(now);
        let later = SignedDuration::try_from(self.jitter(SPREAD)).unwrap_or_default();
        let from = at.wait(since, later, now, &TimeZone::system())?;
        Some(Planned { at, from })
    }

    /// A round of `now` is over, in which what waits for a time went on or did not. A time
    /// that was set since the first round counts from then on.
    pub(super) fn has_let_go(&mut self, planned: Option<Planned>, now: Timestamp) {
        if planned.is_none() || self.memory.let_go_at.is_none() {
            self.memory.let_go_at = Some(now);
        }
    }

    /// How fast this machine fetches.
    pub(super) fn pace(&self) -> Pace {
        Pace::new(self.wish(|one| one.download_rate.as_ref()).unwrap_or(Rate::UNLIMITED))
    }

    /// Who decides when this machine restarts.
    pub(super) fn reboot_policy(&self) -> reboot::Policy {
        match self.wish(|one| one.reboot.as_ref()).unwrap_or_default() {
            reboot::Policy::Ask => reboot::Policy::Ask,
            policy if self.is_restartable => policy,
            _ => reboot::Policy::Leave,
        }
    }

    /// Who is handed the reports, the first that takes them: whoever takes those of the group,
    /// then the node of this round. Nothing is lost by that, and nothing counts twice.
    pub(super) fn takers(&self) -> Vec<Link> {
        let statistics = self.memory.statistics_node.as_ref();
        let apart = statistics.filter(|known| !self.link.leads_to(known));
        let apart = apart.and_then(|known| {
            let link = self.link_to(known);
            link.inspect_err(|error| {
                let (why, node) = (in_one_line(error), &known.node);
                tracing::warn!(why, node, "the node that takes the reports cannot be asked");
            })
            .ok()
        });
        apart.into_iter().chain([self.link.clone()]).collect()
    }

    fn wish<T: FromStr>(&self, of: impl Fn(&Wishes) -> Option<&String>) -> Option<T> {
        self.memory.wish(of)?.parse().ok()
    }
}
