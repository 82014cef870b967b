//! `patchmesh group`: classes of machines.

use std::num::NonZeroU16;

use clap::{Args, Subcommand};
use patchmesh_proto::{admin, wire};
use patchmesh_topology::link::rate::Rate;
use patchmesh_topology::name::{BaselineName, GroupName, NodeName};
use patchmesh_topology::node::install_time::InstallTime;
use patchmesh_topology::node::mode::AtDeadline;
use patchmesh_topology::node::{InstallMode, Stage};
use patchmesh_topology::reboot;
use serde::Serialize;

use super::output::{Answer, table};
use super::scope::text;
use super::select::confirm_on_terminal;
use super::{Context, answer, grpc, stage};

#[derive(Debug, Subcommand)]
pub(crate) enum Group {
    List(List),
    Add(Add),
    Set(Set),
    Remove(Remove),
}

/// List the groups: what they follow, how they install, what they have
///
/// A group without a baseline is not checked for dependencies: nobody knows
/// what its machines have.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh group list

JSON:
  {\"groups\": [{\"name\", \"stage\", \"install_mode\", \"baseline\" or null, \"baseline_packages\",
   \"owner\" or null, \"reboot_slots\" or null, \"install_at\" or null, \"reboot\" or null,
   \"statistics_node\" or null, \"download_rate\" or null, \"at_deadline\", \"decisions\", \"withheld\"}]}")]
pub(crate) struct List {}

/// Add a group
///
/// Machines name their group in `client-config --group`; each has exactly one.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh group add kiosks --stage production --install-mode automatic --baseline bookworm

JSON:
  {\"group\", \"generation\"}")]
pub(crate) struct Add {
    /// Its name
    name: GroupName,
    /// The stage that it follows: validation or production
    #[arg(long)]
    stage: Stage,
    /// How its machines install: automatic, manual or notify
    #[arg(long, value_name = "MODE", default_value_t = InstallMode::Automatic)]
    install_mode: InstallMode,
    /// What its machines have
    #[arg(long)]
    baseline: Option<BaselineName>,
    /// Who answers for its machines
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    owner: String,
    /// How many of its machines restart at once at one node [default: any number]
    #[arg(long, value_name = "COUNT")]
    reboot_slots: Option<NonZeroU16>,
    #[command(flatten)]
    policy: Policy,
    /// What its machines do with what is open and waits, past its deadline: install or wait
    #[arg(long, value_name = "ANSWER", default_value_t = AtDeadline::Wait)]
    at_deadline: AtDeadline,
}

// What headquarters wants of the machines. No doc comment: clap would take it for the
// description of the command that this is flattened into.
#[derive(Debug, Args)]
struct Policy {
    /// When its machines install by themselves, by their own clocks: HH:MM or such as 'Sun 03:00'
    #[arg(long, value_name = "TIME")]
    install_at: Option<InstallTime>,
    /// When its machines restart, where that is due: leave, ask, unattended or HH:MM
    #[arg(long, value_name = "POLICY")]
    reboot: Option<reboot::Policy>,
    /// The node that its machines report to
    #[arg(long, value_name = "NODE")]
    statistics_node: Option<NodeName>,
    /// How fast each of its machines fetches at most, such as 2MB/s
    #[arg(long, value_name = "RATE")]
    download_rate: Option<Rate>,
}

/// Change a group
///
/// The stage changes only while no decision names the group: what was decided
/// for one stage says nothing about another.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh group set servers --baseline bookworm
  patchmesh group set servers --no-baseline
  patchmesh group set servers --owner 'infrastructure, Ada Byron'
  patchmesh group set servers --reboot-slots 2
  patchmesh group set servers --install-at 'Sun 03:00' --reboot unattended
  patchmesh group set servers --statistics-node hq
  patchmesh group set servers --at-deadline install

JSON:
  {\"group\", \"generation\"}")]
pub(crate) struct Set {
    /// Its name
    name: GroupName,
    /// The stage that it follows: validation or production
    #[arg(long)]
    stage: Option<Stage>,
    /// How its machines install: automatic, manual or notify
    #[arg(long, value_name = "MODE")]
    install_mode: Option<InstallMode>,
    /// What its machines have
    #[arg(long)]
    baseline: Option<BaselineName>,
    /// Forget what its machines have; nothing is checked for them then
    #[arg(long, conflicts_with = "baseline")]
    no_baseline: bool,
    /// Who answers for its machines; empty: nobody is named
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,
    /// How many of its machines restart at once at one node
    #[arg(long, value_name = "COUNT")]
    reboot_slots: Option<NonZeroU16>,
    /// Let any number of its machines restart at once
    #[arg(long, conflicts_with = "reboot_slots")]
    no_reboot_slots: bool,
    #[command(flatten)]
    policy: Policy,
    /// Let its machines install whenever something is open
    #[arg(long, conflicts_with = "install_at")]
    no_install_at: bool,
    /// Let each machine's administrator say when it restarts
    #[arg(long, conflicts_with = "reboot")]
    no_reboot: bool,
    /// Let each machine report to its own node
    #[arg(long, conflicts_with = "statistics_node")]
    no_statistics_node: bool,
    /// Let its machines fetch as fast as they can
    #[arg(long, conflicts_with = "download_rate")]
    no_download_rate: bool,
    /// What its machines do with what is open and waits, past its deadline: install or wait
    #[arg(long, value_name = "ANSWER")]
    at_deadline: Option<AtDeadline>,
}

/// Remove a group that no decision names
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh group remove kiosks

JSON:
  {\"group\", \"generation\"}")]
pub(crate) struct Remove {
    /// Its name
    name: GroupName,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

#[derive(Debug, Serialize)]
struct Groups {
    groups: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    stage: &'static str,
    install_mode: &'static str,
    baseline: Option<String>,
    baseline_packages: u64,
    owner: Option<String>,
    reboot_slots: Option<u32>,
    install_at: Option<String>,
    reboot: Option<String>,
    statistics_node: Option<String>,
    download_rate: Option<String>,
    at_deadline: &'static str,
    decisions: u64,
    withheld: u64,
}

#[derive(Debug, Serialize)]
struct Changed {
    group: String,
    generation: u64,
}

impl Answer for Changed {
    fn text(&self) -> String {
        format!("group {}; generation {}\n", self.group, self.generation)
    }
}

impl From<admin::GroupRow> for Row {
    fn from(row: admin::GroupRow) -> Self {
        let group = row.group.unwrap_or_default();
        let install_mode = match group.install_mode() {
            wire::InstallMode::Automatic => InstallMode::Automatic.as_str(),
            wire::InstallMode::Manual => InstallMode::Manual.as_str(),
            wire::InstallMode::Notify => InstallMode::Notify.as_str(),
            wire::InstallMode::Unspecified => "unknown",
        };
        let at_deadline = match group.at_deadline() {
            wire::AtDeadline::Unspecified | wire::AtDeadline::Wait => AtDeadline::Wait,
            wire::AtDeadline::Install => AtDeadline::Install,
        };
        Self {
            at_deadline: at_deadline.as_str(),
            stage: answer::stage(group.stage()),
            install_mode,
            name: group.name,
            baseline: answer::some(group.baseline),
            baseline_packages: row.baseline_packages,
            owner: answer::some(group.owner),
            reboot_slots: (group.reboot_slots > 0).then_some(group.reboot_slots),
            install_at: answer::some(group.install_at),
            reboot: answer::some(group.reboot),
            statistics_node: answer::some(group.statistics_node),
            download_rate: answer::some(group.download_rate),
            decisions: row.decisions,
            withheld: row.withheld,
        }
    }
}

impl Answer for Groups {
    fn text(&self) -> String {
        table(
            [
                "group",
                "stage",
                "install mode",
                "baseline",
                "owner",
                "installs at",
                "restarts",
                "restart at once",
                "reports to",
                "fetches at",
                "at deadline",
                "decisions",
                "withheld",
            ],
            self.groups.iter().map(|row| {
                let (baseline, withheld) = match &row.baseline {
                    None => ("none".to_owned(), "not checked".to_owned()),
                    Some(name) => (
                        format!("{name} ({} packages)", row.baseline_packages),
                        row.withheld.to_string(),
                    ),
                };
                [
                    row.name.clone(),
                    row.stage.to_owned(),
                    row.install_mode.to_owned(),
                    baseline,
                    answer::or_dash(row.owner.as_deref()),
                    row.install_at.clone().unwrap_or_else(|| "any time".to_owned()),
                    answer::or_dash(row.reboot.as_deref()),
                    row.reboot_slots.map_or_else(|| "any".to_owned(), |most| most.to_string()),
                    row.statistics_node.clone().unwrap_or_else(|| "its own node".to_owned()),
                    row.download_rate.clone().unwrap_or_else(|| "any rate".to_owned()),
                    row.at_deadline.to_owned(),
                    row.decisions.to_string(),
                    withheld,
                ]
            }),
        )
    }
}

fn mode(mode: InstallMode) -> i32 {
    wire::InstallMode::from(mode).into()
}

/// What is to change; empty takes away what there is.
fn text_or_none(is_none: bool, value: Option<&impl ToString>) -> Option<String> {
    if is_none { Some(String::new()) } else { value.map(ToString::to_string) }
}

impl Group {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Group::List(List {}) => list(context).await,
            Group::Add(command) => command.run(context).await,
            Group::Set(command) => command.run(context).await,
            Group::Remove(command) => command.run(context).await,
        }
    }
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let request = admin::ListGroupsRequest {};
    let response = context.policies()?.list_groups(request).await.map_err(grpc::failure)?;
    let groups = response.into_inner().groups.into_iter().map(Row::from).collect();
    context.output.print(&Groups { groups })
}

impl Add {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let group = wire::Group {
            name: self.name.to_string(),
            stage: stage::to_wire(self.stage).into(),
            install_mode: mode(self.install_mode),
            baseline: self.baseline.map(|name| name.to_string()).unwrap_or_default(),
            owner: self.owner,
            reboot_slots: self.reboot_slots.map_or(0, |most| most.get().into()),
            install_at: text(self.policy.install_at.as_ref()),
            reboot: text(self.policy.reboot.as_ref()),
            statistics_node: text(self.policy.statistics_node.as_ref()),
            download_rate: text(self.policy.download_rate.as_ref()),
            at_deadline: wire::AtDeadline::from(self.at_deadline).into(),
        };
        let request = admin::AddGroupRequest { group: Some(group) };
        let response = context.policies()?.add_group(request).await.map_err(grpc::failure)?;
        let generation = response.into_inner().generation;
        context.output.print(&Changed { group: self.name.to_string(), generation })
    }
}

impl Set {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let request = admin::SetGroupRequest {
            name: self.name.to_string(),
            stage: self.stage.map_or(0, |stage| stage::to_wire(stage).into()),
            install_mode: self.install_mode.map_or(0, mode),
            baseline: text_or_none(self.no_baseline, self.baseline.as_ref()),
            owner: self.owner,
            reboot_slots: match self.no_reboot_slots {
                true => Some(0),
                false => self.reboot_slots.map(|most| most.get().into()),
            },
            install_at: text_or_none(self.no_install_at, self.policy.install_at.as_ref()),
            reboot: text_or_none(self.no_reboot, self.policy.reboot.as_ref()),
            statistics_node: text_or_none(
                self.no_statistics_node,
                self.policy.statistics_node.as_ref(),
            ),
            download_rate: text_or_none(self.no_download_rate, self.policy.download_rate.as_ref()),
            at_deadline: self.at_deadline.map_or(0, |one| wire::AtDeadline::from(one).into()),
        };
        let response = context.policies()?.set_group(request).await.map_err(grpc::failure)?;
        let generation = response.into_inner().generation;
        context.output.print(&Changed { group: self.name.to_string(), generation })
    }
}

impl Remove {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        if !self.yes {
            confirm_on_terminal(&format!("Remove group {}?", self.name))?;
        }
        let request = admin::RemoveGroupRequest { name: self.name.to_string() };
        let response = context.policies()?.remove_group(request).await.map_err(grpc::failure)?;
        let generation = response.into_inner().generation;
        context.output.print(&Changed { group: self.name.to_string(), generation })
    }
}
