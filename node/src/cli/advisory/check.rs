//! `patchmesh advisory check`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::file;
use crate::cli::Context;
use crate::cli::output::{Answer, clean};

/// Check a file before it is published
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh advisory check openssl.toml

JSON:
  {\"id\", \"title\"}")]
pub(crate) struct Check {
    /// The file
    file: PathBuf,
}

#[derive(Debug, Serialize)]
struct Checked {
    id: String,
    title: String,
}

impl Answer for Checked {
    fn text(&self) -> String {
        format!("{}: {}\nThe file can be published.\n", self.id, clean(&self.title))
    }
}

impl Check {
    pub(crate) fn run(self, context: &Context) -> anyhow::Result<()> {
        let advisory = file::read(&self.file)?;
        context.output.print(&Checked { id: advisory.name.to_string(), title: advisory.title })
    }
}
