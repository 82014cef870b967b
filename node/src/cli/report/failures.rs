//! `patchmesh report failures`: what failed last, by revision and code.

use clap::Args;
use patchmesh_proto::admin;
use serde::Serialize;

use super::machines::action;
use super::{Area, percent};
use crate::cli::output::{Answer, table};
use crate::cli::{Context, answer, grpc};
use crate::terminal::sheet::Sheet;

/// Count machines on which something failed last, by revision and code
///
/// What was installed again and again without effect is told as looping: a person has to look.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh report failures --site emea

JSON:
  {\"failures\": [{\"revision\", \"action\", \"code\", \"looping\", \"machines\", \"names\": [first 100], \"last_at\"}],
   \"failing\", \"machines\", \"is_cut\"}
  \"failing\" is how many of all \"machines\" have any")]
pub(crate) struct Failures {
    #[command(flatten)]
    area: Area,
}

#[derive(Debug, Serialize)]
struct Counted {
    failures: Vec<Row>,
    failing: u64,
    machines: u64,
    is_cut: bool,
}

#[derive(Debug, Serialize)]
struct Row {
    revision: String,
    action: String,
    code: i64,
    looping: bool,
    machines: u64,
    names: Vec<String>,
    last_at: Option<String>,
}

impl Row {
    fn cells(&self, names: usize) -> [String; 7] {
        let mut named = self.names.iter().take(names).cloned().collect::<Vec<_>>().join(" ");
        if self.machines > names.min(self.names.len()) as u64 {
            named.push_str(" …");
        }
        [
            self.revision.clone(),
            self.action.clone(),
            self.code.to_string(),
            if self.looping { "looping" } else { "failed" }.to_owned(),
            self.machines.to_string(),
            answer::or_dash(self.last_at.as_deref()),
            named,
        ]
    }
}

impl Answer for Counted {
    fn text(&self) -> String {
        let header = ["revision", "action", "code", "how", "machines", "last", "names"];
        let text = table(header, self.failures.iter().map(|row| row.cells(5)));
        let part = percent(self.failing, self.machines);
        format!("{text}\n{} of {} machines ({part}) have failures\n", self.failing, self.machines)
    }

    fn sheet(&self) -> Option<Sheet> {
        let header = ["revision", "action", "code", "how", "machines", "last_at", "names"];
        Some(Sheet::new(header, self.failures.iter().map(|row| row.cells(100))))
    }
}

impl Failures {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let request = admin::ListFailuresRequest { scope: Some(self.area.into_scope()) };
        let response = context.compliance()?.list_failures(request).await;
        let response = response.map_err(grpc::failure)?.into_inner();
        let row = |row: admin::FailureRow| Row {
            last_at: answer::time(row.last_at.as_ref()),
            revision: row.revision,
            action: action(row.action),
            code: row.code,
            looping: row.looping,
            machines: row.machines,
            names: row.names,
        };
        context.output.print(&Counted {
            failures: response.rows.into_iter().map(row).collect(),
            failing: response.failing,
            machines: response.machines,
            is_cut: response.is_cut,
        })
    }
}
