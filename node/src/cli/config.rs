//! `patchmesh config`: the settings that `serve` would run with.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::Context;
use super::output::{Answer, table};
use super::serve::{Settings, environment};
use crate::config;

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    Check(Check),
    Show(Show),
}

/// Check the configuration; a bad one exits 64 and says where
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh config check --config /etc/patchmesh.toml

JSON:
  {\"ok\": true}")]
pub(crate) struct Check {
    #[command(flatten)]
    settings: Settings,
}

/// Show every setting and where it comes from
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh config show --data /var/lib/patchmesh

JSON:
  {\"settings\": [{\"key\", \"value\" or null, \"from\", \"meaning\"}]}")]
pub(crate) struct Show {
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Serialize)]
struct Checked {
    ok: bool,
}

impl Answer for Checked {
    fn text(&self) -> String {
        "The configuration is good.\n".to_owned()
    }
}

#[derive(Debug, Serialize)]
struct Shown {
    settings: Vec<config::Shown>,
}

impl Answer for Shown {
    fn text(&self) -> String {
        table(
            ["key", "value", "from", "meaning"],
            self.settings.iter().map(|row| {
                let value = row.value.clone().unwrap_or_else(|| "(off)".to_owned());
                [row.key.to_owned(), value, row.from.clone(), row.meaning.to_owned()]
            }),
        )
    }
}

impl Config {
    pub(crate) fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Config::Check(command) => {
                config::load(&command.settings.flags(context), environment())?;
                context.output.print(&Checked { ok: true })
            }
            Config::Show(command) => {
                let settings = config::show(&command.settings.flags(context), environment())?;
                context.output.print(&Shown { settings })
            }
        }
    }
}
