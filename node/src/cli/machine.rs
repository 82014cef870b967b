//! `patchmesh machine`: computers that install updates and report.

use clap::Subcommand;

use super::Context;

mod list;
mod revoke;
pub(super) mod show;
mod token;

#[derive(Debug, Subcommand)]
pub(crate) enum Machine {
    Token(token::Token),
    List(list::List),
    Show(show::Show),
    Revoke(revoke::Revoke),
}

impl Machine {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Machine::Token(command) => command.run(context).await,
            Machine::List(command) => command.run(context).await,
            Machine::Show(command) => command.run(context).await,
            Machine::Revoke(command) => command.run(context).await,
        }
    }
}
