//! `patchmesh report vulnerable CVE`: who lacks what mends a vulnerability.

use clap::Args;
use patchmesh_proto::admin;
use patchmesh_topology::assessment::CveId;
use serde::Serialize;

use super::{Area, percent, share};
use crate::cli::output::{Answer, table};
use crate::cli::{Context, answer, grpc};
use crate::terminal::sheet::Sheet;

/// Tell which machines lack what mends a vulnerability
///
/// By their last word, excepted machines too. Machines report about what is approved for their
/// group: where nothing that mends it is, they say nothing, and this command says so.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh report vulnerable CVE-2026-1234 --site emea

JSON:
  {\"cve\", \"revisions\": [..], \"asked\": [..], \"rows\": [ROW], \"total\": ROW, \"names\": [first 1000]}
  ROW: {\"site\" or null, \"group\" or null, \"machines\", \"seen_week\", \"installed\", \"lacking\"}
  \"asked\" are those of the revisions that are approved; \"names\" are machines that lack one")]
pub(crate) struct Vulnerable {
    /// Such as CVE-2026-1234
    cve: CveId,
    #[command(flatten)]
    area: Area,
}

#[derive(Debug, Serialize)]
struct Found {
    cve: String,
    revisions: Vec<String>,
    asked: Vec<String>,
    rows: Vec<Row>,
    total: Row,
    names: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Row {
    site: Option<String>,
    group: Option<String>,
    machines: u64,
    seen_week: u64,
    installed: u64,
    lacking: u64,
}

impl From<admin::VulnerableRow> for Row {
    fn from(row: admin::VulnerableRow) -> Self {
        Self {
            site: answer::some(row.site),
            group: answer::some(row.group),
            machines: row.machines,
            seen_week: row.seen_week,
            installed: row.installed,
            lacking: row.lacking,
        }
    }
}

impl Row {
    fn cells(&self, part: String) -> [String; 7] {
        let or_all = |text: &Option<String>| text.clone().unwrap_or_else(|| "all".to_owned());
        [
            or_all(&self.site),
            or_all(&self.group),
            self.machines.to_string(),
            self.seen_week.to_string(),
            self.installed.to_string(),
            self.lacking.to_string(),
            part,
        ]
    }
}

impl Answer for Found {
    fn text(&self) -> String {
        let header = ["site", "group", "machines", "seen 7d", "installed", "lacking", "lacking %"];
        let cells = |row: &Row| row.cells(percent(row.lacking, row.machines));
        let rows = self.rows.iter().chain([&self.total]).map(cells);
        let mut text = table(header, rows);
        text.push_str(&format!("\nmended by {}\n", self.revisions.join(", ")));
        if self.asked.is_empty() {
            text.push_str("none of them is approved for anybody, so machines say nothing of it\n");
        }
        if !self.names.is_empty() {
            text.push_str(&format!("lacking on {}\n", self.names.join(" ")));
        }
        text
    }

    fn sheet(&self) -> Option<Sheet> {
        let header =
            ["site", "group", "machines", "seen_week", "installed", "lacking", "lacking_percent"];
        let cells = |row: &Row| row.cells(share(row.lacking, row.machines));
        Some(Sheet::new(header, self.rows.iter().map(cells)))
    }
}

impl Vulnerable {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let cve = self.cve.to_string();
        let request =
            admin::FindVulnerableRequest { scope: Some(self.area.into_scope()), cve: cve.clone() };
        let response = context.compliance()?.find_vulnerable(request).await;
        let response = response.map_err(grpc::failure)?.into_inner();
        context.output.print(&Found {
            cve,
            revisions: response.revisions,
            asked: response.asked,
            rows: response.rows.into_iter().map(Row::from).collect(),
            total: response.total.unwrap_or_default().into(),
            names: response.names,
        })
    }
}
