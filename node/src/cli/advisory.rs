//! `patchmesh advisory`: what headquarters tells every branch about a flaw.

use clap::Subcommand;

use super::Context;

mod check;
mod file;
mod list;
mod publish;
mod show;
mod withdraw;
mod write;

#[derive(Debug, Subcommand)]
pub(crate) enum Advisory {
    Write(write::Write),
    Check(check::Check),
    Publish(publish::Publish),
    List(list::List),
    Show(show::Show),
    Withdraw(withdraw::Withdraw),
}

impl Advisory {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Write(command) => command.run(context).await,
            Self::Check(command) => command.run(context),
            Self::Publish(command) => command.run(context).await,
            Self::List(command) => command.run(context).await,
            Self::Show(command) => command.run(context).await,
            Self::Withdraw(command) => command.run(context).await,
        }
    }
}
