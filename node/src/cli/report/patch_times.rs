//! `patchmesh report patch-times`: from the catalogue to the machines.

use clap::Args;
use patchmesh_proto::admin;
use serde::Serialize;

use super::Area;
use crate::cli::output::{Answer, table};
use crate::cli::{Context, answer, grpc};
use crate::terminal::sheet::Sheet;

/// Tell how long patching took, by severity: from the catalogue to the machines
///
/// Counted is what machines installed themselves, each once for every revision; what was there
/// before they joined is not. Machines that have not installed it yet are in no mean: `report
/// compliance` has them.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh report patch-times --group servers

JSON:
  {\"severities\": [{\"severity\" or null, \"revisions\", \"installations\", \"mean_seconds\"}]}
  the worst severity comes first")]
pub(crate) struct PatchTimes {
    #[command(flatten)]
    area: Area,
}

#[derive(Debug, Serialize)]
struct Counted {
    severities: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    severity: Option<String>,
    revisions: u64,
    installations: u64,
    mean_seconds: f64,
}

impl Row {
    fn cells(&self, mean: String) -> [String; 4] {
        let severity = answer::rating(self.severity.as_deref());
        [severity, self.revisions.to_string(), self.installations.to_string(), mean]
    }
}

impl Answer for Counted {
    fn text(&self) -> String {
        let rows = self.severities.iter().map(|row| row.cells(span(row.mean_seconds)));
        table(["severity", "revisions", "installations", "mean time"], rows)
    }

    fn sheet(&self) -> Option<Sheet> {
        let rows = self.severities.iter().map(|row| row.cells(format!("{:.0}", row.mean_seconds)));
        Some(Sheet::new(["severity", "revisions", "installations", "mean_seconds"], rows))
    }
}

/// Seconds for people: `3.2 days`, `5.0 hours`, `40 s`.
fn span(seconds: f64) -> String {
    match seconds {
        _ if seconds >= 2.0 * 86_400.0 => format!("{:.1} days", seconds / 86_400.0),
        _ if seconds >= 2.0 * 3_600.0 => format!("{:.1} hours", seconds / 3_600.0),
        _ if seconds >= 120.0 => format!("{:.1} minutes", seconds / 60.0),
        _ => format!("{seconds:.0} s"),
    }
}

impl PatchTimes {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let request = admin::SummarizePatchTimesRequest { scope: Some(self.area.into_scope()) };
        let response = context.compliance()?.summarize_patch_times(request).await;
        let row = |row: admin::PatchTimeRow| Row {
            severity: answer::some(row.severity),
            revisions: row.revisions,
            installations: row.installations,
            mean_seconds: row.mean_seconds,
        };
        let rows = response.map_err(grpc::failure)?.into_inner().rows;
        context.output.print(&Counted { severities: rows.into_iter().map(row).collect() })
    }
}
