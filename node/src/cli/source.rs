//! `patchmesh source`: where updates come from.

use clap::{Args, Subcommand};

use super::Context;

mod add;
mod files;
mod list;
mod plan;
mod subscribe;
mod sync;

#[derive(Debug, Subcommand)]
pub(crate) enum Source {
    /// Add a source
    #[command(subcommand)]
    Add(Add),
    List(List),
    Sync(Sync),
    Plan(plan::Plan),
    Subscribe(subscribe::Subscribe),
    Check(files::Check),
    Template(files::Template),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Add {
    Apt(Box<add::Apt>),
    Files(files::Files),
}

/// List the sources and how their last synchronisation went
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh source list --output json

JSON:
  {\"sources\": [{\"name\", \"type\": \"apt\" or \"files\", \"policy\", \"last_success_at\",
   \"last_attempt_at\", \"problem\", \"revisions\", \"subscription\": SUBSCRIPTION, and of apt:
   \"url\", \"suite\", \"components\": [TEXT], \"architectures\": [TEXT], \"packages\": [GLOB],
   and of files: \"folder\", \"unsigned\"}]}
  SUBSCRIPTION: {\"products\": [TEXT], \"classifications\": [TEXT], \"languages\": [TEXT],
   \"architectures\": [TEXT]}; an empty list takes everything")]
pub(crate) struct List {}

/// Ask vendors now what they have released
///
/// Fetches what vendors publish about their releases, verified by their keys.
/// Payloads come later, when something is approved, unless the source's
/// policy is `prefetch`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh source sync
  patchmesh source sync debian-security

JSON:
  {\"outcomes\": [{\"source\", \"unchanged\", \"revisions_new\", \"revisions_updated\",
   \"revisions_known\", \"generation\", \"seconds\"}]}")]
pub(crate) struct Sync {
    /// One source [default: every source]
    name: Option<patchmesh_topology::name::SourceName>,
}

impl Source {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Source::Add(Add::Apt(command)) => command.run(context).await,
            Source::Add(Add::Files(command)) => command.run(context).await,
            Source::Plan(command) => command.run(context).await,
            Source::Subscribe(command) => command.run(context).await,
            Source::Check(command) => command.run(context).await,
            Source::Template(command) => command.run(context).await,
            Source::List(_) => list::run(context).await,
            Source::Sync(command) => sync::run(command.name, context).await,
        }
    }
}
