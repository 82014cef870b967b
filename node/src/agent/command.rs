//! `patchmesh agent`: this machine, as a client of the mesh.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::agent::state::{DEFAULT_FOLDER, State};
use crate::terminal::output::Output;

mod install;
pub(crate) mod inventory;
mod join;
mod ran;
mod reboot;
mod run;
mod status;

#[derive(Debug, Subcommand)]
pub(crate) enum Agent {
    Join(join::Join),
    Run(run::Run),
    Install(install::Install),
    Status(status::Status),
    Reboot(reboot::Restart),
    Inventory(inventory::Show),
}

// Where the agent keeps what it is and knows. No doc comment: clap would take it
// for the description of the command that this is flattened into.
#[derive(Debug, Clone, Args)]
pub(crate) struct Folder {
    /// The agent's own folder
    #[arg(
        long,
        env = "PATCHMESH_AGENT_STATE",
        value_name = "FOLDER",
        default_value = DEFAULT_FOLDER,
        hide_env_values = true
    )]
    state: PathBuf,
}

impl Folder {
    pub(crate) fn state(&self) -> State {
        State::new(self.state.clone())
    }
}

impl Agent {
    /// Whether there is something to bring to an end when Ctrl-C comes.
    pub(crate) fn ends_itself(&self) -> bool {
        matches!(self, Self::Run(_))
    }

    pub(crate) async fn run(self, output: Output) -> anyhow::Result<()> {
        match self {
            Self::Join(command) => command.run(output).await,
            Self::Run(command) => command.run(output).await,
            Self::Install(command) => command.run(output).await,
            Self::Status(command) => command.run(output),
            Self::Reboot(command) => command.run(output).await,
            Self::Inventory(command) => command.run(output).await,
        }
    }
}
