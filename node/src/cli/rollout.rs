//! `patchmesh rollout`: plans that open approvals wave by wave.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use patchmesh_proto::{admin, wire};
use patchmesh_topology::name::RolloutName;
use patchmesh_topology::rollout::control::Order;
use serde::Serialize;

use super::exit::Exit;
use super::output::{self, Answer};
use super::{Context, answer, grpc};

mod explain;
pub(crate) mod file;
mod show;
mod simulate;

#[derive(Debug, Subcommand)]
pub(crate) enum Rollout {
    Example(Example),
    Check(Check),
    Plan(Plan),
    Start(Start),
    Pause(Ordered),
    Resume(Resume),
    Halt(Halt),
    Withdraw(Withdraw),
    Release(Release),
    Show(show::Show),
    Explain(explain::Explain),
    Simulate(simulate::Simulate),
}

/// Print a plan to go on from, with every field explained
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh rollout example > december.toml

JSON:
  the same plan: it is TOML in any form of output")]
pub(crate) struct Example {}

/// Say what is wrong with a plan, and what it would open
///
/// Nothing is changed. Errors keep it from being entered; warnings say what may
/// not do what is meant: sites in no wave, waves that overlap, gates that can
/// never pass, windows that never open, deadlines that cannot be met.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh rollout check december.toml

JSON:
  {\"rollout\", \"findings\": [FINDING], \"revisions\": [REVISION]}
  FINDING: {\"grade\": \"error\" or \"warning\", \"wave\" or null, \"text\"}")]
pub(crate) struct Check {
    /// The plan
    #[arg(value_name = "FILE")]
    plan: PathBuf,
}

/// Enter a plan without starting it
///
/// Revisions can be approved by it then; nothing opens before it is started. A
/// plan of the same name that was not started yet is replaced.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh rollout plan december.toml

JSON:
  {\"rollout\", \"generation\", \"started\", \"revisions\": [REVISION], \"pending\": [NUMBER],
   \"warnings\": [FINDING]}")]
pub(crate) struct Plan {
    /// The plan
    #[arg(value_name = "FILE")]
    plan: PathBuf,
}

/// Start a rollout, from a file or one that is planned
///
/// What the plan is for is approved by it, so that its waves open it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh rollout start december.toml
  patchmesh rollout start december

JSON:
  as `rollout plan`")]
pub(crate) struct Start {
    /// A file, or the name of a rollout that is planned
    #[arg(value_name = "FILE|NAME")]
    what: String,
}

/// Let no further wave open; what is open stays open
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh rollout pause december --reason 'the help desk is short of people'

JSON:
  {\"rollout\", \"order\", \"generation\"}")]
pub(crate) struct Ordered {
    /// Its name
    name: RolloutName,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Let a rollout go on, whether people stopped it or it stopped itself
///
/// Failures that there are now do not count against its gates any more.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh rollout resume december

JSON:
  as `rollout pause`")]
pub(crate) struct Resume {
    /// Its name
    name: RolloutName,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

/// Let nothing new start anywhere
///
/// Sites stop to offer what the rollout opened within seconds. Machines keep
/// what they have.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh rollout halt december --reason 'breaks printing'

JSON:
  as `rollout pause`")]
pub(crate) struct Halt {
    #[command(flatten)]
    ordered: Ordered,
}

/// Halt a rollout for good
///
/// Machines keep what they have; a rollout with `action = "remove"` removes it.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh rollout withdraw december --reason 'superseded by the vendor'

JSON:
  as `rollout pause`")]
pub(crate) struct Withdraw {
    #[command(flatten)]
    ordered: Ordered,
}

/// Let the wave after this one open, where its gate asks for an operator
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh rollout release december europe

JSON:
  {\"rollout\", \"wave\", \"generation\"}")]
pub(crate) struct Release {
    /// The rollout
    name: RolloutName,
    /// The wave whose gate asks
    wave: String,
}

#[derive(Debug, Serialize)]
struct Finding {
    grade: &'static str,
    wave: Option<String>,
    text: String,
}

impl From<admin::RolloutFinding> for Finding {
    fn from(finding: admin::RolloutFinding) -> Self {
        let grade = if finding.is_error { "error" } else { "warning" };
        Self { grade, wave: answer::some(finding.wave), text: finding.text }
    }
}

impl Finding {
    fn line(&self) -> String {
        match &self.wave {
            Some(wave) => format!("{}: wave {wave}: {}\n", self.grade, self.text),
            None => format!("{}: {}\n", self.grade, self.text),
        }
    }
}

#[derive(Debug, Serialize)]
struct Checked {
    rollout: String,
    findings: Vec<Finding>,
    revisions: Vec<String>,
}

impl Answer for Checked {
    fn text(&self) -> String {
        let mut text: String = self.findings.iter().map(Finding::line).collect();
        if self.findings.is_empty() {
            text.push_str("nothing is wrong with it\n");
        }
        let count = answer::counted(self.revisions.len() as u64, "revision");
        text.push_str(&format!("{} is for {count}\n", self.rollout));
        for revision in &self.revisions {
            text.push_str(&format!("  {revision}\n"));
        }
        text
    }
}

#[derive(Debug, Serialize)]
struct Entered {
    rollout: String,
    generation: u64,
    started: bool,
    revisions: Vec<String>,
    pending: Vec<u64>,
    warnings: Vec<Finding>,
}

impl Answer for Entered {
    fn text(&self) -> String {
        let mut text: String = self.warnings.iter().map(Finding::line).collect();
        let state = if self.started { "runs" } else { "is planned" };
        text.push_str(&format!("{} {state}; generation {}\n", self.rollout, self.generation));
        if self.started {
            let count = answer::counted(self.revisions.len() as u64, "revision");
            text.push_str(&format!("approved by it: {count}\n"));
        } else {
            text.push_str(&format!("start it with `patchmesh rollout start {}`\n", self.rollout));
        }
        for number in &self.pending {
            text.push_str(&format!(
                "its approvals wait for signatures: `patchmesh pending show {number}`\n"
            ));
        }
        text
    }
}

#[derive(Debug, Serialize)]
struct Done {
    rollout: String,
    order: &'static str,
    generation: u64,
}

impl Answer for Done {
    fn text(&self) -> String {
        format!("{}: {}; generation {}\n", self.rollout, self.order, self.generation)
    }
}

#[derive(Debug, Serialize)]
struct Released {
    rollout: String,
    wave: String,
    generation: u64,
}

impl Answer for Released {
    fn text(&self) -> String {
        let Self { rollout, wave, generation } = self;
        format!("{rollout}: wave {wave} is released; generation {generation}\n")
    }
}

impl Rollout {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Example(Example {}) => output::write(file::EXAMPLE),
            Self::Check(command) => command.run(context).await,
            Self::Plan(Plan { plan }) => enter(context, &plan, false).await,
            Self::Start(command) => command.run(context).await,
            Self::Pause(one) => order(context, &one.name, Order::Pause, one.reason).await,
            Self::Resume(one) => order(context, &one.name, Order::Run, one.reason).await,
            Self::Halt(Halt { ordered: one }) => {
                order(context, &one.name, Order::Halt, one.reason).await
            }
            Self::Withdraw(Withdraw { ordered: one }) => {
                order(context, &one.name, Order::Withdraw, one.reason).await
            }
            Self::Release(command) => command.run(context).await,
            Self::Show(command) => command.run(context).await,
            Self::Explain(command) => command.run(context).await,
            Self::Simulate(command) => command.run(context).await,
        }
    }
}

impl Check {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let rollout = file::read(&self.plan)?;
        let request = admin::CheckRolloutRequest { rollout: Some(wire::Rollout::from(&rollout)) };
        let mut client = context.rollouts()?;
        let checked = client.check_rollout(request).await.map_err(grpc::failure)?.into_inner();
        let findings: Vec<Finding> = checked.findings.into_iter().map(Finding::from).collect();
        let errors = findings.iter().filter(|finding| finding.grade == "error").count();
        context.output.print(&Checked {
            rollout: rollout.name.to_string(),
            findings,
            revisions: checked.revisions,
        })?;
        match errors {
            0 => Ok(()),
            errors => Err(Exit::Failed.error(format!(
                "{} cannot be started: {}",
                rollout.name,
                answer::counted(errors as u64, "error")
            ))),
        }
    }
}

async fn enter(context: &Context, path: &std::path::Path, start: bool) -> anyhow::Result<()> {
    let rollout = file::read(path)?;
    let request =
        admin::EnterRolloutRequest { rollout: Some(wire::Rollout::from(&rollout)), start };
    let entered =
        context.rollouts()?.enter_rollout(request).await.map_err(grpc::failure)?.into_inner();
    context.output.print(&Entered {
        rollout: rollout.name.to_string(),
        generation: entered.generation,
        started: start,
        revisions: entered.revisions,
        pending: entered.pending,
        warnings: entered.warnings.into_iter().map(Finding::from).collect(),
    })
}

async fn give(
    context: &Context,
    name: &RolloutName,
    order: Order,
    reason: String,
) -> anyhow::Result<admin::OrderRolloutResponse> {
    let request = admin::OrderRolloutRequest {
        name: name.to_string(),
        order: order.as_str().to_owned(),
        reason,
    };
    let response = context.rollouts()?.order_rollout(request).await.map_err(grpc::failure)?;
    Ok(response.into_inner())
}

async fn order(
    context: &Context,
    name: &RolloutName,
    order: Order,
    reason: String,
) -> anyhow::Result<()> {
    let done = give(context, name, order, reason).await?;
    let order = order.as_str();
    context.output.print(&Done { rollout: name.to_string(), order, generation: done.generation })
}

impl Start {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let path = PathBuf::from(&self.what);
        if path.is_file() {
            return enter(context, &path, true).await;
        }
        let name: RolloutName = self.what.parse().map_err(|error| {
            Exit::NotFound.error(format!(
                "there is no file {}, and it is no name of a rollout either: {error}",
                self.what
            ))
        })?;
        let done = give(context, &name, Order::Run, String::new()).await?;
        context.output.print(&Entered {
            rollout: name.to_string(),
            generation: done.generation,
            started: true,
            revisions: done.revisions,
            pending: done.pending,
            warnings: Vec::new(),
        })
    }
}

impl Release {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let request =
            admin::ReleaseWaveRequest { name: self.name.to_string(), wave: self.wave.clone() };
        let response = context.rollouts()?.release_wave(request).await.map_err(grpc::failure)?;
        let generation = response.into_inner().generation;
        let rollout = self.name.to_string();
        context.output.print(&Released { rollout, wave: self.wave, generation })
    }
}
