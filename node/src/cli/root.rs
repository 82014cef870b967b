//! `patchmesh root`: who holds the signed roles, and the ceremony that changes
//! it. `sign` needs neither a network nor a data folder.

use clap::Subcommand;

use super::Context;

mod export_key;
mod file;
mod prepare;
mod publish;
mod show;
mod sign;

use file::CeremonyFile;
pub(crate) use prepare::{number, write as write_prepared};
pub(crate) use publish::Outcome;

#[derive(Debug, Subcommand)]
pub(crate) enum Root {
    Show(show::Show),
    Prepare(prepare::Prepare),
    Sign(sign::Sign),
    Publish(publish::Publish),
    ExportKey(export_key::ExportKey),
}

impl Root {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Root::Show(command) => command.run(context).await,
            Root::Prepare(command) => command.run(context).await,
            Root::Sign(command) => command.run(context),
            Root::Publish(command) => command.run(context).await,
            Root::ExportKey(command) => command.run(context).await,
        }
    }
}
