//! `patchmesh backup`: backups of the primary, and data folders out of them.

use clap::Subcommand;

use super::Context;

mod create;
mod list;
mod restore;
mod verify;

#[derive(Debug, Subcommand)]
pub(crate) enum Backup {
    Create(create::Create),
    List(list::List),
    Verify(verify::Verify),
    Restore(restore::Restore),
}

impl Backup {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Backup::Create(command) => command.run(context).await,
            Backup::List(command) => command.run(context),
            Backup::Verify(command) => command.run(context).await,
            Backup::Restore(command) => command.run(context).await,
        }
    }
}
