//! The command line: one file per subcommand, each a client of the admin gRPC
//! service of some node (`init`, `serve` and `join` act on this host instead).
//!
//! What always holds: results go to standard output and nothing else does;
//! messages, progress and the log go to standard error; the exit code is one
//! of [`exit::Exit`]; JSON comes from structs of this module, never from wire
//! messages, so that it can stay as it is when the wire changes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

mod advisory;
mod alert;
pub(crate) mod answer;
mod approvals;
mod approve;
mod assess;
mod backup;
mod baseline;
mod blob;
mod brake;
mod client_config;
mod completions;
mod config;
pub(crate) mod connect;
mod decide;
mod decline;
mod demo;
mod exception;
pub(crate) mod file;
mod freeze;
mod go_ahead;
mod group;
pub(crate) mod grpc;
mod init;
mod invite;
mod join;
mod lab;
mod link;
mod machine;
mod network;
mod node;
mod nodes;
mod pending;
pub(crate) mod progress;
mod promote;
mod reboot_lock;
#[cfg(test)]
mod reference;
mod remote;
mod report;
mod rollout;
mod root;
mod rule;
mod scope;
mod select;
mod serve;
mod site_group;
mod source;
mod stage;
mod standby;
mod status;
mod subscription;
mod update;
mod user;
mod watch;

use progress::Progress;

use crate::agent::command as agent;
use crate::terminal::exit::Exit;
use crate::terminal::output::Output;
use crate::terminal::program::Printing;
use crate::terminal::{exit, exit_codes, output, program, signals};

/// Everything that may stand on the command line.
#[derive(Debug, Parser)]
#[command(
    name = "patchmesh",
    version,
    about = "Carries approved updates to every branch and proves that they arrived",
    after_help = "Exit codes: see `patchmesh exit-codes`.\n\nTry it: patchmesh demo",
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

// Options of every command. No doc comment: clap would take it for the
// description of the command that this is flattened into.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Data folder of the node on this host [default: /var/lib/patchmesh]
    #[arg(
        long,
        global = true,
        env = "PATCHMESH_DATA",
        value_name = "FOLDER",
        hide_env_values = true
    )]
    pub(crate) data: Option<PathBuf>,

    /// Ask another node: a name from `remote add`, or an https URL
    #[arg(
        long,
        global = true,
        env = "PATCHMESH_NODE",
        value_name = "NAME|URL",
        hide_env_values = true
    )]
    pub(crate) node: Option<String>,

    /// Folder with ca.pem, cert.pem and key.pem, for an https URL
    #[arg(
        long,
        global = true,
        env = "PATCHMESH_CREDENTIALS",
        value_name = "FOLDER",
        hide_env_values = true
    )]
    pub(crate) credentials: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) printing: Printing,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(init::Init),
    Serve(serve::Serve),
    Invite(invite::Invite),
    Join(join::Join),
    Nodes(nodes::Nodes),
    /// Change one node
    #[command(subcommand)]
    Node(node::Node),
    /// Where updates come from
    #[command(subcommand)]
    Source(source::Source),
    /// What vendors released
    #[command(subcommand)]
    Update(update::Update),
    /// The people who give orders
    #[command(subcommand)]
    User(user::User),
    Approve(approve::Approve),
    Decline(decline::Decline),
    Promote(promote::Promote),
    /// What waits for people's signatures
    #[command(subcommand)]
    Pending(pending::Pending),
    /// Who decides on a stage
    #[command(subcommand)]
    Stage(stage::StageCommand),
    /// Who holds the signed roles
    #[command(subcommand)]
    Root(root::Root),
    /// Approval sets: what they hold and how they differ
    #[command(subcommand)]
    Approvals(approvals::Approvals),
    /// What revisions mean: feeds, and the company's own judgement
    #[command(subcommand)]
    Assess(assess::Assess),
    /// What is new and unjudged
    #[command(subcommand)]
    Watch(watch::Watch),
    /// What headquarters tells every branch about a flaw
    #[command(subcommand)]
    Advisory(advisory::Advisory),
    /// Classes of machines: what they follow, how they install, what they have
    #[command(subcommand)]
    Group(group::Group),
    /// What machines have, or can get elsewhere
    #[command(subcommand)]
    Baseline(baseline::Baseline),
    /// What is approved by itself
    #[command(subcommand)]
    Rule(rule::Rule),
    /// Computers that install updates and report
    #[command(subcommand)]
    Machine(machine::Machine),
    /// This machine, as a client of the mesh
    #[command(subcommand)]
    Agent(agent::Agent),
    /// What machines reported, counted
    #[command(subcommand)]
    Report(report::Report),
    /// Plans that open approvals wave by wave
    #[command(subcommand)]
    Rollout(rollout::Rollout),
    /// Machines that restart, so many of a group at once
    #[command(subcommand)]
    RebootLock(reboot_lock::RebootLock),
    /// What a site holds back
    #[command(subcommand)]
    Brake(brake::Brake),
    /// Sites that waves go to by one name
    #[command(subcommand)]
    SiteGroup(site_group::SiteGroup),
    /// Times in which nothing opens
    #[command(subcommand)]
    Freeze(freeze::Freeze),
    /// What waits for a person at machines goes from afar
    #[command(subcommand)]
    GoAhead(go_ahead::GoAhead),
    /// Who does without what, why, and until when
    #[command(subcommand)]
    Exception(exception::Exception),
    /// What the lab found, and what promotion asks of it
    #[command(subcommand)]
    Lab(lab::Lab),
    /// Lines between nodes: what they may carry, and when
    #[command(subcommand)]
    Link(link::Link),
    /// Where addresses are, so that machines find their node
    #[command(subcommand)]
    Network(network::Network),
    Status(status::Status),
    /// What is wrong until it is put right
    #[command(subcommand)]
    Alert(alert::Alert),
    /// Stored content
    #[command(subcommand)]
    Blob(blob::Blob),
    ClientConfig(client_config::ClientConfig),
    /// Other nodes that this user asks
    #[command(subcommand)]
    Remote(remote::Remote),
    /// Backups of the primary, and data folders out of them
    #[command(subcommand)]
    Backup(backup::Backup),
    /// Nodes that stand by to take the primary's place
    #[command(subcommand)]
    Standby(standby::Standby),
    /// Settings of this host's node
    #[command(subcommand)]
    Config(config::Config),
    Completions(completions::Completions),
    ExitCodes(exit_codes::ExitCodes),
    Demo(demo::Demo),
}

/// What every command gets.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) global: Global,
    pub(crate) output: Output,
    pub(crate) progress: Progress,
}

impl Context {
    fn new(global: Global) -> Self {
        let output = global.printing.output();
        let progress = Progress::new(global.printing.quiet);
        Self { global, output, progress }
    }

    /// The data folder of this host's node.
    pub(crate) fn data(&self) -> &Path {
        self.global.data.as_deref().unwrap_or(Path::new(crate::config::DEFAULT_DATA))
    }

    /// A client of the same node's subscriptions.
    pub(crate) fn subscriptions(&self) -> anyhow::Result<connect::Subscriptions> {
        connect::subscriptions(&connect::Target::choose(&self.global)?)
    }

    /// A client of what waits for signatures there.
    pub(crate) fn signatures(&self) -> anyhow::Result<connect::Signatures> {
        connect::signatures(&connect::Target::choose(&self.global)?)
    }

    /// A client of who holds the signed roles there.
    pub(crate) fn roles(&self) -> anyhow::Result<connect::Roles> {
        connect::roles(&connect::Target::choose(&self.global)?)
    }

    /// A client of that node's service for people.
    pub(crate) fn people(&self) -> anyhow::Result<connect::People> {
        connect::people(&connect::Target::choose(&self.global)?)
    }

    /// A client of that node's groups, baselines and rules.
    pub(crate) fn policies(&self) -> anyhow::Result<connect::Policies> {
        connect::policies(&connect::Target::choose(&self.global)?)
    }

    /// A client of how machines stand, there and below.
    pub(crate) fn compliance(&self) -> anyhow::Result<connect::Compliance> {
        connect::compliance(&connect::Target::choose(&self.global)?)
    }

    /// A client of what that node knows of machines.
    pub(crate) fn machines(&self) -> anyhow::Result<connect::Machines> {
        connect::machines(&connect::Target::choose(&self.global)?)
    }

    /// A client of that node's rollouts.
    pub(crate) fn rollouts(&self) -> anyhow::Result<connect::Rollouts> {
        connect::rollouts(&connect::Target::choose(&self.global)?)
    }

    /// A client of that node's lab.
    pub(crate) fn lab(&self) -> anyhow::Result<connect::Lab> {
        connect::lab(&connect::Target::choose(&self.global)?)
    }

    /// A client of the node that the user means.
    pub(crate) fn admin(&self) -> anyhow::Result<connect::Admin> {
        connect::admin(&connect::Target::choose(&self.global)?)
    }

    /// The same for what revisions mean.
    pub(crate) fn assessments(&self) -> anyhow::Result<connect::Assessments> {
        connect::assessments(&connect::Target::choose(&self.global)?)
    }
}

/// Runs the program with the arguments of its process and says how it ended.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    program::main(command(), arguments, |cli: Cli| {
        let context = Context::new(cli.global);
        program::ended(run(&context, cli.command), context.output.form())
    })
}

/// The whole command as clap knows it.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

fn run(context: &Context, command: Command) -> anyhow::Result<()> {
    // Before anything is done.
    let has_rows = matches!(&command, Command::Report(report) if report.has_rows());
    if context.output.form() == output::Form::Csv && !has_rows {
        return Err(Exit::Usage.error(output::NO_ROWS.to_owned()));
    }
    // A node's log is set up by its own settings.
    if !matches!(command, Command::Serve(_)) {
        context.global.printing.log_warnings()?;
    }
    // These have something to bring to an end when Ctrl-C comes.
    let ends_itself = match &command {
        Command::Serve(_) | Command::Demo(_) => true,
        Command::Agent(agent) => agent.ends_itself(),
        _ => false,
    };
    program::block_on(ends_itself, async {
        let outcome = dispatch(context, command).await;
        context.progress.clear();
        outcome
    })
}

async fn dispatch(context: &Context, command: Command) -> anyhow::Result<()> {
    user::renew::keep_fresh(context).await;
    match command {
        Command::Init(command) => command.run(context).await,
        Command::Serve(command) => command.run(context).await,
        Command::Invite(command) => command.run(context).await,
        Command::Join(command) => command.run(context).await,
        Command::Nodes(command) => command.run(context).await,
        Command::Node(command) => command.run(context).await,
        Command::Source(command) => command.run(context).await,
        Command::Update(command) => command.run(context).await,
        Command::User(command) => command.run(context).await,
        Command::Approve(command) => command.run(context).await,
        Command::Decline(command) => command.run(context).await,
        Command::Promote(command) => command.run(context).await,
        Command::Pending(command) => command.run(context).await,
        Command::Stage(command) => command.run(context).await,
        Command::Root(command) => command.run(context).await,
        Command::Approvals(command) => command.run(context).await,
        Command::Assess(command) => command.run(context).await,
        Command::Watch(command) => command.run(context).await,
        Command::Advisory(command) => command.run(context).await,
        Command::Group(command) => command.run(context).await,
        Command::Baseline(command) => command.run(context).await,
        Command::Rule(command) => command.run(context).await,
        Command::Rollout(command) => command.run(context).await,
        Command::Brake(command) => command.run(context).await,
        Command::SiteGroup(command) => command.run(context).await,
        Command::Freeze(command) => command.run(context).await,
        Command::GoAhead(command) => command.run(context).await,
        Command::Exception(command) => command.run(context).await,
        Command::Lab(command) => command.run(context).await,
        Command::Link(command) => command.run(context).await,
        Command::Network(command) => command.run(context).await,
        Command::RebootLock(command) => command.run(context).await,
        Command::Machine(command) => command.run(context).await,
        Command::Agent(command) => command.run(context.output).await,
        Command::Report(command) => command.run(context).await,
        Command::Status(command) => command.run(context).await,
        Command::Alert(command) => command.run(context).await,
        Command::Blob(command) => command.run(context).await,
        Command::ClientConfig(command) => command.run(context).await,
        Command::Remote(command) => command.run(context),
        Command::Backup(command) => command.run(context).await,
        Command::Standby(command) => command.run(context).await,
        Command::Config(command) => command.run(context),
        Command::Completions(command) => command.run(),
        Command::ExitCodes(command) => command.run(context.output),
        Command::Demo(command) => command.run(context).await,
    }
}

#[cfg(test)]
mod tests;
