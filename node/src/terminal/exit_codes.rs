//! `patchmesh exit-codes`: what scripts may rely on.

use clap::Args;
use serde::Serialize;

use super::exit::Exit;
use super::output::{Answer, Output, table};

/// List the exit codes and what they mean
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh exit-codes

JSON:
  {\"exit_codes\": [{\"code\", \"word\", \"meaning\"}]}
  
  Errors in JSON, on standard error, those of arguments too:
  {\"error\": {\"code\", \"word\", \"message\"}}")]
pub(crate) struct ExitCodes {}

#[derive(Debug, Serialize)]
struct Codes {
    exit_codes: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    code: u8,
    word: &'static str,
    meaning: &'static str,
}

impl Answer for Codes {
    fn text(&self) -> String {
        table(
            ["code", "word", "meaning"],
            self.exit_codes
                .iter()
                .map(|row| [row.code.to_string(), row.word.to_owned(), row.meaning.to_owned()]),
        )
    }
}

impl ExitCodes {
    pub(crate) fn run(self, output: Output) -> anyhow::Result<()> {
        let exit_codes = Exit::ALL
            .map(|exit| Row { code: exit.code(), word: exit.word(), meaning: exit.meaning() })
            .into();
        output.print(&Codes { exit_codes })
    }
}
