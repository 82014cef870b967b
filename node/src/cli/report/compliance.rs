//! `patchmesh report compliance`: machines counted by their verdicts.

use clap::{Args, ValueEnum};
use patchmesh_proto::admin;
use serde::Serialize;

use super::{Area, Silence, percent, share};
use crate::cli::output::{Answer, table};
use crate::cli::{Context, answer, grpc};
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
    #[command(flatten)]
    silence: Silence,
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

impl By {
    /// What a row without a key is about, for people and for spreadsheets.
    fn nobody(self, none: &str) -> String {
        if self == Self::Severity { answer::rating(None) } else { none.to_owned() }
    }

    /// Whether rows have a severity of their own.
    const fn is_rated(self) -> bool {
        matches!(self, Self::Update | Self::Revision)
    }
}

impl Row {
    fn cells(&self, key: &str, severity: String, part: String) -> [String; 11] {
        let number = |count: Option<u64>| count.map(|count| count.to_string()).unwrap_or_default();
        [
            self.key.clone().unwrap_or_else(|| key.to_owned()),
            severity,
            self.machines.to_string(),
            number(self.seen_day),
            number(self.seen_week),
            self.compliant.to_string(),
            self.grace.to_string(),
            self.withheld.to_string(),
            self.overdue.to_string(),
            self.unknown.to_string(),
            part,
        ]
    }
}

impl Counted {
    /// The severity of a row; empty where rows have none.
    fn severity(&self, row: &Row) -> String {
        match self.by.is_rated() {
            true => answer::rating(row.severity.as_deref()),
            false => String::new(),
        }
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
        let part = |row: &Row| percent(row.compliant, row.machines);
        let none = self.by.nobody("(none)");
        let rows = self.rows.iter().map(|row| row.cells(&none, self.severity(row), part(row)));
        let total = self.total.cells("all machines", String::new(), part(&self.total));
        let text = table(header, rows.chain([total]));
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
        let none = self.by.nobody("");
        let cells =
            |row: &Row| row.cells(&none, self.severity(row), share(row.compliant, row.machines));
        Some(Sheet::new(header, self.rows.iter().map(cells)))
    }
}

impl Compliance {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let request = admin::SummarizeComplianceRequest {
            scope: Some(self.area.into_scope()),
            by: self.by.to_wire().into(),
            depth: self.depth,
            stale_seconds: self.silence.seconds(),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(by: By, key: &str, machines: u64) -> Counted {
        let row = |key: &str| {
            let compliant = machines / 3;
            let key = key.to_owned();
            Row::from(admin::ComplianceRow { key, machines, compliant, ..Default::default() })
        };
        Counted { by, rows: vec![row(key)], total: row(""), now: None, is_cut: false }
    }

    fn csv(counted: &Counted) -> String {
        let text = counted.sheet().expect("rows").csv().expect("CSV");
        text.lines().nth(1).unwrap_or_default().to_owned()
    }

    #[test]
    fn spreadsheets_get_numbers() {
        assert!(csv(&counted(By::Group, "tills", 9)).ends_with(",33.3"));
        assert!(csv(&counted(By::Group, "tills", 0)).ends_with(",0,"), "no sample, no number");
        assert!(counted(By::Group, "tills", 9).text().contains("33.3 %"));
    }

    #[test]
    fn what_nobody_rated_says_so_everywhere() {
        let unrated = counted(By::Severity, "", 3);
        assert!(csv(&unrated).starts_with("not rated,,3,"), "{}", csv(&unrated));
        assert!(unrated.text().contains("\nnot rated"), "{}", unrated.text());
        assert!(csv(&counted(By::Revision, "v:s/n@1", 3)).starts_with("v:s/n@1,not rated,3,"));
        assert!(csv(&counted(By::Group, "tills", 3)).starts_with("tills,,3,"));
        assert!(csv(&counted(By::Owner, "", 3)).starts_with(",,3,"));
        assert!(counted(By::Owner, "", 3).text().contains("\n(none)"));
    }
}
