//! `patchmesh assess`: what revisions mean to the company.

use clap::Subcommand;

use super::Context;

pub(super) mod answer;
mod feed;
mod import;
mod set;
mod show;

#[derive(Debug, Subcommand)]
pub(crate) enum Assess {
    Import(import::Import),
    /// Feeds that the primary fetches every day
    #[command(subcommand)]
    Feed(feed::Feed),
    Set(set::Set),
    Show(show::Show),
}

impl Assess {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Import(command) => command.run(context).await,
            Self::Feed(command) => command.run(context).await,
            Self::Set(command) => command.run(context).await,
            Self::Show(command) => command.run(context).await,
        }
    }
}
