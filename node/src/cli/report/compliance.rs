//! `patchmesh report compliance`: machines counted by their verdicts.

use std::time::Duration;

use clap::{Args, ValueEnum};
use patchmesh_proto::admin;
use serde::Serialize;

use super::{Area, percent};
use crate::cli::output::{Answer, table};
use crate::cli::{Context, answer, grpc};
use crate::duration;
use crate::terminal::sheet::Sheet;

/// Count machines by whether they have what is asked of them
///
/// A machine is compliant when it has all that is open to it; in grace while it lacks something that
/// has time, or that its plan has not opened to it; overdue past a deadline; unknown when it was not
/// heard of lately. Beside every percentage stand how many machines there are and how many spoke
/// within a day and a week. By update and revision, those are counted that said anything about it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh report compliance
  patchmesh report compliance --by severity --site emea
  patchmesh --output csv report compliance --by owner

JSON:
  {\"by\", \"rows\": [ROW], \"total\": ROW, \"now\", \"is_cut\"}
  ROW: {\"key\" or null, \"severity\" or null, \"machines\", \"seen_day\" or null, \"seen_week\" or null,
   \"compliant\", \"grace\", \"withheld\", \"overdue\", \"unknown\"}
  the four verdicts add up to \"machines\"; \"withheld\" is a part of \"grace\"")]
pub(crate) struct Compliance {
    /// By what
    #[arg(long, value_enum, default_value_t = By::Geography)]
    by: By,
    /// Steps of a geography's path
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    depth: u32,
    /// Machines that were silent for longer are unknown
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = duration::parse)]
    stale_after: Duration,
    #[command(flatten)]
    area: Area,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum By {
    /// The first steps of sites
    Geography,
    Site,
    Group,
    /// Whoever answers for the machines' group
    Owner,
    /// Each machine once for every severity
    Severity,
    /// Of each update the newest revision that is asked of anybody
    Update,
    Revision,
}

impl By {
    const fn to_wire(self) -> admin::ReportKey {
        match self {
            Self::Geography => admin::ReportKey::Geography,
            Self::Site => admin::ReportKey::Site,
            Self::Group => admin::ReportKey::Group,
            Self::Owner => admin::ReportKey::Owner,
            Self::Severity => admin::ReportKey::Severity,
            Self::Update => admin::ReportKey::Update,
            Self::Revision => admin::ReportKey::Revision,
        }
    }
}

#[derive(Debug, Serialize)]
struct Counted {
    by: By,
    rows: Vec<Row>,
    total: Row,
    now: Option<String>,
    is_cut: bool,
}

#[derive(Debug, Serialize)]
struct Row {
    key: Option<String>,
    severity: Option<String>,
    machines: u64,
    seen_day: Option<u64>,
    seen_week: Option<u64>,
    compliant: u64,
    grace: u64,
    withheld: u64,
    overdue: u64,
    unknown: u64,
}

impl From<admin::ComplianceRow> for Row {
    fn from(row: admin::ComplianceRow) -> Self {
        Self {
            key: answer::some(row.key),
            severity: answer::some(row.severity),
            machines: row.machines,
            seen_day: row.seen_day,
            seen_week: row.seen_week,
            compliant: row.compliant,
            grace: row.grace,
            withheld: row.withheld,
            overdue: row.overdue,
            unknown: row.unknown,
        }
    }
}

impl Row {
    fn cells(&self, key: &str) -> [String; 11] {
        let number = |count: Option<u64>| count.map(|count| count.to_string()).unwrap_or_default();
        [
            self.key.clone().unwrap_or_else(|| key.to_owned()),
            self.severity.clone().unwrap_or_default(),
            self.machines.to_string(),
            number(self.seen_day),
            number(self.seen_week),
            self.compliant.to_string(),
            self.grace.to_string(),
            self.withheld.to_string(),
            self.overdue.to_string(),
            self.unknown.to_string(),
            percent(self.compliant, self.machines),
        ]
    }
}

impl Answer for Counted {
    fn text(&self) -> String {
        let header = [
            "by",
            "severity",
            "machines",
            "seen 1d",
            "seen 7d",
            "compliant",
            "grace",
            "withheld",
            "overdue",
            "unknown",
            "compliant %",
        ];
        let rows = self.rows.iter().map(|row| row.cells("(none)"));
        let text = table(header, rows.chain([self.total.cells("all machines")]));
        let cut = if self.is_cut { "\nmore rows than fit here: name a site\n" } else { "" };
        format!("{text}{cut}")
    }

    fn sheet(&self) -> Option<Sheet> {
        let header = [
            "key",
            "severity",
            "machines",
            "seen_day",
            "seen_week",
            "compliant",
            "grace",
            "withheld",
            "overdue",
            "unknown",
            "compliant_percent",
        ];
        Some(Sheet::new(header, self.rows.iter().map(|row| row.cells(""))))
    }
}

impl Compliance {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let request = admin::SummarizeComplianceRequest {
            scope: Some(self.area.into_scope()),
            by: self.by.to_wire().into(),
            depth: self.depth,
            stale_seconds: self.stale_after.as_secs().max(1),
        };
        let response = context.compliance()?.summarize_compliance(request).await;
        let response = response.map_err(grpc::failure)?.into_inner();
        context.output.print(&Counted {
            by: self.by,
            rows: response.rows.into_iter().map(Row::from).collect(),
            total: response.total.unwrap_or_default().into(),
            now: answer::time(response.now.as_ref()),
            is_cut: response.is_cut,
        })
    }
}
