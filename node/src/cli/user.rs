//! `patchmesh user`: the people who give orders.

use clap::Subcommand;

use super::Context;

mod invite;
pub(crate) mod join;
mod list;
pub(crate) mod renew;
mod revoke;

#[derive(Debug, Subcommand)]
pub(crate) enum User {
    Invite(invite::Invite),
    Join(join::Join),
    List(list::List),
    Renew(renew::Renew),
    Revoke(revoke::Revoke),
}

impl User {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            User::Invite(command) => command.run(context).await,
            User::Join(command) => command.run(context).await,
            User::List(command) => command.run(context).await,
            User::Renew(command) => command.run(context).await,
            User::Revoke(command) => command.run(context).await,
        }
    }
}
