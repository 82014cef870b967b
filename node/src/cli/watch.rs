//! `patchmesh watch`: what is new and unjudged.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use patchmesh_proto::admin;
use serde::Serialize;

use super::assess::answer::{percent, severity, share};
use super::output::{Answer, table};
use super::{Context, answer, grpc};

/// How many vulnerabilities a row of the table names.
const SHOWN: usize = 3;

#[derive(Debug, Subcommand)]
pub(crate) enum Watch {
    List(List),
}

/// List what is new and nobody judged, most dangerous first
///
/// New is what nobody decided on in validation. Known exploited comes first,
/// then the effective severity, the likelihood of exploitation, and what waits
/// longest. What an approved revision of the same update mends already does not
/// count.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh watch list
  patchmesh watch list --all --output json

JSON:
  {\"revisions\": [{\"revision\", \"title\", \"severity\", \"exploited\", \"ransomware\", \"due\", \"epss\",
   \"cves\": [TEXT], \"omitted\", \"entered_at\", \"why\", \"judged\", \"decided\"}], \"total\"}")]
pub(crate) struct List {
    /// Also what was decided or judged
    #[arg(long)]
    all: bool,
    /// At most so many [default: 1000]
    #[arg(long, value_name = "COUNT", default_value_t = 0, hide_default_value = true)]
    limit: u32,
}

#[derive(Debug, Serialize)]
struct Watched {
    revisions: Vec<Row>,
    /// How many there are, also beyond `--limit`.
    total: u64,
}

#[derive(Debug, Serialize)]
struct Row {
    revision: String,
    title: Option<String>,
    severity: Option<&'static str>,
    exploited: bool,
    ransomware: bool,
    due: Option<String>,
    /// A share of one; `None` where not known.
    epss: Option<f64>,
    cves: Vec<String>,
    omitted: u64,
    entered_at: Option<String>,
    why: String,
    judged: bool,
    decided: bool,
    #[serde(skip)]
    millionths: u32,
    #[serde(skip)]
    age: String,
}

impl Row {
    fn of(row: admin::WatchedRow, now: Timestamp) -> Self {
        let seconds = row.entered_at.as_ref().map(|at| now.as_second() - at.seconds);
        Self {
            severity: severity(row.severity()),
            revision: row.revision,
            title: answer::some(row.title),
            exploited: row.exploited,
            ransomware: row.ransomware,
            due: answer::some(row.due),
            epss: (row.epss > 0).then(|| share(row.epss)),
            cves: row.cves,
            omitted: row.omitted,
            entered_at: answer::time(row.entered_at.as_ref()),
            why: row.why,
            judged: row.judged,
            decided: row.decided,
            millionths: row.epss,
            age: seconds.map_or_else(|| "-".to_owned(), age),
        }
    }

    fn cells(&self) -> [String; 7] {
        let hidden = self.cves.len().saturating_sub(SHOWN) as u64 + self.omitted;
        let mut cves = self.cves.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        if hidden > 0 {
            cves.push_str(&format!(" and {hidden} more"));
        }
        let exploited = if self.exploited { "yes" } else { "-" };
        [
            self.revision.clone(),
            answer::rating(self.severity),
            exploited.to_owned(),
            if self.millionths > 0 { percent(self.millionths) } else { "-".to_owned() },
            answer::or_dash(Some(&cves)),
            self.age.clone(),
            self.why.clone(),
        ]
    }
}

/// A time span in its largest unit.
fn age(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

impl Answer for Watched {
    fn text(&self) -> String {
        let mut text = table(
            ["revision", "severity", "kev", "epss", "cves", "age", "why"],
            self.revisions.iter().map(Row::cells),
        );
        let shown = self.revisions.len() as u64;
        if shown < self.total {
            text.push_str(&format!(
                "({shown} of {}; see the rest with a larger --limit)\n",
                self.total
            ));
        }
        text
    }
}

impl Watch {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let Self::List(List { all, limit }) = self;
        let mut assessments = context.assessments()?;
        let request = admin::ListWatchedRequest { all, limit };
        let response = assessments.list_watched(request).await.map_err(grpc::failure)?;
        let response = response.into_inner();
        let now = Timestamp::now();
        let revisions = response.revisions.into_iter().map(|row| Row::of(row, now)).collect();
        context.output.print(&Watched { revisions, total: response.total })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_their_units() {
        let ages = [-5, 59, 60, 3599, 3600, 86_399, 86_400, 864_000].map(age);
        assert_eq!(ages, ["0 s", "59 s", "1 min", "59 min", "1 h", "23 h", "1 d", "10 d"]);
    }

    #[test]
    fn a_row_names_the_first_vulnerabilities() {
        let row = admin::WatchedRow {
            revision: "v:s/n@1".into(),
            cves: (1..=5).map(|number| format!("CVE-2024-000{number}")).collect(),
            omitted: 7,
            epss: 10_000,
            ..Default::default()
        };
        let cells = Row::of(row, Timestamp::UNIX_EPOCH).cells();
        assert_eq!(cells[4], "CVE-2024-0001, CVE-2024-0002, CVE-2024-0003 and 9 more");
        assert_eq!(cells[3], "1.00%");
    }
}
