//! The program `patchmesh-agent`: the commands of `patchmesh agent` alone.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use super::command::Agent;
use crate::terminal::exit::Exit;
use crate::terminal::exit_codes::ExitCodes;
use crate::terminal::output::{Form, NO_ROWS, Output};
use crate::terminal::program::{self, Printing};

/// Everything that may stand on its command line.
#[derive(Debug, Parser)]
#[command(
    name = "patchmesh-agent",
    version,
    about = "Installs what headquarters approved for this machine, and reports it",
    after_help = "Exit codes: see `patchmesh-agent exit-codes`.",
    max_term_width = 100
)]
struct Cli {
    #[command(flatten)]
    printing: Printing,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Agent(Agent),
    ExitCodes(ExitCodes),
}

/// Runs the program with the arguments of its process and says how it ended.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    program::main(command(), arguments, |cli: Cli| {
        let output = cli.printing.output();
        program::ended(run(&cli.printing, output, cli.command), output.form())
    })
}

/// The command, whose examples are those of this program.
fn command() -> clap::Command {
    Cli::command().mut_subcommands(|one| {
        let told = one.get_after_help().map(ToString::to_string).unwrap_or_default();
        one.after_help(told.replace("patchmesh agent ", "patchmesh-agent "))
    })
}

fn run(printing: &Printing, output: Output, command: Command) -> anyhow::Result<()> {
    if output.form() == Form::Csv {
        return Err(Exit::Usage.error(NO_ROWS.to_owned()));
    }
    printing.log_warnings()?;
    match command {
        Command::ExitCodes(command) => command.run(output),
        Command::Agent(agent) => program::block_on(agent.ends_itself(), agent.run(output)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_what_patchmesh_agent_takes_and_its_examples_say_so() {
        let command = command();
        command.clone().debug_assert();
        for one in command.get_subcommands() {
            let help = one.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(!help.contains("patchmesh agent"), "{}: {help}", one.get_name());
            for line in
                help.lines().map(str::trim).filter(|line| line.starts_with("patchmesh-agent "))
            {
                let words = line.split(" < ").next().unwrap_or_default().split(' ');
                let read = command
                    .clone()
                    .try_get_matches_from(words.take_while(|word| !word.contains('\'')));
                assert!(read.is_ok() || line.contains('\''), "{line}: {}", read.unwrap_err());
            }
        }
    }
}
