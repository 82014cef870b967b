//! `patchmesh report machine NAME`: one machine's whole story.

use clap::Args;
use patchmesh_proto::admin;
use patchmesh_topology::name::MachineName;
use serde::Serialize;

use super::machines::{Row, needs};
use crate::cli::machine::show::Shown;
use crate::cli::output::{Answer, fields};
use crate::cli::{Context, grpc};

/// Tell one machine's whole story: its verdict, what it lacks, and all it said
///
/// At a branch, of the machines that are there or below.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh report machine pc-0815

JSON:
  {\"verdict\": MACHINE as in `patchmesh report machines --help`, or null where it was shut out,
   \"story\": as in `patchmesh machine show --help`}")]
pub(crate) struct Machine {
    /// Its name
    name: MachineName,
}

#[derive(Debug, Serialize)]
struct Story {
    verdict: Option<Row>,
    story: Shown,
}

impl Answer for Story {
    fn text(&self) -> String {
        let verdict = self.verdict.as_ref().map(|row| row.verdict.clone());
        let why = self.verdict.as_ref().and_then(|row| row.reason.clone());
        let mut text = fields([("verdict", verdict), ("because", why)]);
        if let Some(row) = self.verdict.as_ref().filter(|row| !row.needs.is_empty()) {
            text.push_str(&format!("\n{}\n", needs(&row.needs)));
        }
        text + &self.story.text()
    }
}

impl Machine {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let request =
            admin::JudgeMachineRequest { name: self.name.to_string(), ..Default::default() };
        let response = context.compliance()?.judge_machine(request).await;
        let response = response.map_err(grpc::failure)?.into_inner();
        context.output.print(&Story {
            verdict: response.verdict.map(Row::from),
            story: response.story.unwrap_or_default().into(),
        })
    }
}
