//! `patchmesh report`: what machines reported, counted.

use std::time::Duration;

use clap::{Args, Subcommand};
use patchmesh_proto::admin;
use patchmesh_topology::name::{GroupName, Site};
use patchmesh_topology::revision::RevisionId;
use serde::Serialize;

use super::output::{Answer, table};
use super::{Context, answer, grpc};
use crate::duration;
use crate::terminal::sheet::Sheet;

mod compliance;
mod exceptions;
mod failures;
mod import_iis;
mod inventory;
mod legacy;
mod machine;
mod machines;
mod package;
mod patch_times;
mod quarantine;
mod vulnerable;

#[derive(Debug, Subcommand)]
pub(crate) enum Report {
    Summary(Summary),
    Compliance(compliance::Compliance),
    Machines(machines::Machines),
    Machine(machine::Machine),
    Inventory(inventory::Inventory),
    Package(package::Package),
    Failures(failures::Failures),
    PatchTimes(patch_times::PatchTimes),
    Vulnerable(vulnerable::Vulnerable),
    Exceptions(exceptions::Exceptions),
    Quarantine(quarantine::Quarantine),
    Legacy(legacy::Legacy),
    ImportIis(import_iis::ImportIis),
}

/// Count what machines say about revisions, by site and group
///
/// Every count comes with its sample: how many machines there are, how many spoke lately, how many
/// said anything about the revisions. A machine counts once for each revision, by its last word.
/// Only what machines signed counts; those with stock clients are in no row.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh report summary
  patchmesh report summary debian:bookworm/openssl@3.0.15-1 --site emea --group servers

JSON:
  {\"rows\": [ROW], \"total\": ROW, \"revisions\", \"now\", \"is_cut\"}
  ROW: {\"site\" or null, \"group\" or null, \"known\", \"seen_day\", \"seen_week\", \"reached\",
   \"pending\", \"installed\", \"removed\", \"failed\", \"declined\", \"last_at\" or null}
  \"revisions\" is how many were counted; \"reached\" is the sum of what follows it")]
pub(crate) struct Summary {
    /// Revisions as `update list` shows them [default: all that anything was said about]
    #[arg(value_name = "REVISION")]
    revisions: Vec<RevisionId>,
    #[command(flatten)]
    area: Area,
}

#[derive(Debug, Args)]
pub(crate) struct Area {
    /// Only at this site and below it
    #[arg(long)]
    site: Option<Site>,
    /// Only of this group
    #[arg(long)]
    group: Option<GroupName>,
}

impl Area {
    pub(crate) fn into_scope(self) -> admin::ReportScope {
        admin::ReportScope {
            site: self.site.map(|site| site.to_string()).unwrap_or_default(),
            group: self.group.map(|group| group.to_string()).unwrap_or_default(),
            sites: Vec::new(),
        }
    }
}

// How long a machine may be silent. No doc comment: clap would take it for the
// description of the command that this is flattened into.
#[derive(Debug, Args)]
pub(crate) struct Silence {
    /// Machines that were silent for longer are unknown
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = duration::parse)]
    stale_after: Duration,
}

impl Silence {
    /// As the services take it; 0 would be their own default.
    fn seconds(&self) -> u64 {
        self.stale_after.as_secs().max(1)
    }
}

/// A part of all for people, as `12.5 %`; a dash where there is nothing.
fn percent(part: u64, all: u64) -> String {
    match share(part, all) {
        share if share.is_empty() => "-".to_owned(),
        share => share + " %",
    }
}

/// The same as a number for spreadsheets, as `12.5`; empty where there is nothing.
fn share(part: u64, all: u64) -> String {
    if all == 0 {
        return String::new();
    }
    // Tenths, rounded down: only all of them are 100 %.
    let tenths = u128::from(part) * 1000 / u128::from(all);
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[derive(Debug, Serialize)]
struct Counted {
    rows: Vec<Row>,
    total: Row,
    revisions: u64,
    now: Option<String>,
    is_cut: bool,
}

#[derive(Debug, Serialize)]
struct Row {
    site: Option<String>,
    group: Option<String>,
    known: u64,
    seen_day: u64,
    seen_week: u64,
    reached: u64,
    pending: u64,
    installed: u64,
    removed: u64,
    failed: u64,
    declined: u64,
    last_at: Option<String>,
}

impl From<admin::SummaryRow> for Row {
    fn from(row: admin::SummaryRow) -> Self {
        Self {
            last_at: answer::time(row.last_at.as_ref()),
            site: answer::some(row.site),
            group: answer::some(row.group),
            known: row.known,
            seen_day: row.seen_day,
            seen_week: row.seen_week,
            reached: row.reached,
            pending: row.pending,
            installed: row.installed,
            removed: row.removed,
            failed: row.failed,
            declined: row.declined,
        }
    }
}

impl Row {
    fn cells(&self, site: &str) -> [String; 12] {
        [
            site.to_owned(),
            self.group.clone().unwrap_or_else(|| "all".to_owned()),
            self.known.to_string(),
            self.seen_day.to_string(),
            self.seen_week.to_string(),
            self.reached.to_string(),
            self.pending.to_string(),
            self.installed.to_string(),
            self.removed.to_string(),
            self.failed.to_string(),
            self.declined.to_string(),
            self.last_at.clone().unwrap_or_else(|| "never".to_owned()),
        ]
    }
}

impl Answer for Counted {
    fn text(&self) -> String {
        let header = [
            "site",
            "group",
            "machines",
            "seen 1d",
            "seen 7d",
            "reached",
            "pending",
            "installed",
            "removed",
            "failed",
            "declined",
            "last word",
        ];
        let total = self.total.site.as_ref().map_or("all".to_owned(), |site| format!("{site}/**"));
        let rows = self.rows.iter().map(|row| row.cells(row.site.as_deref().unwrap_or_default()));
        let text = table(header, rows.chain([self.total.cells(&total)]));
        let cut = if self.is_cut { "; more sites than fit here: name one with --site" } else { "" };
        format!("{text}\n{} revisions counted{cut}\n", self.revisions)
    }

    fn sheet(&self) -> Option<Sheet> {
        let header = [
            "site",
            "group",
            "known",
            "seen_day",
            "seen_week",
            "reached",
            "pending",
            "installed",
            "removed",
            "failed",
            "declined",
            "last_at",
        ];
        let rows = self.rows.iter().map(|row| row.cells(row.site.as_deref().unwrap_or_default()));
        Some(Sheet::new(header, rows))
    }
}

impl Report {
    /// Whether its answer is made of rows.
    pub(crate) const fn has_rows(&self) -> bool {
        !matches!(
            self,
            Self::Machine(_)
                | Self::Inventory(_)
                | Self::Quarantine(_)
                | Self::Legacy(_)
                | Self::ImportIis(_)
        )
    }

    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Report::Summary(command) => command.run(context).await,
            Report::Compliance(command) => command.run(context).await,
            Report::Machines(command) => command.run(context).await,
            Report::Machine(command) => command.run(context).await,
            Report::Failures(command) => command.run(context).await,
            Report::PatchTimes(command) => command.run(context).await,
            Report::Vulnerable(command) => command.run(context).await,
            Report::Exceptions(command) => command.run(context).await,
            Report::Quarantine(command) => command.run(context).await,
            Report::Inventory(command) => command.run(context).await,
            Report::Package(command) => command.run(context).await,
            Report::Legacy(command) => command.run(context).await,
            Report::ImportIis(command) => command.run(context).await,
        }
    }
}

impl Summary {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let admin::ReportScope { site, group, .. } = self.area.into_scope();
        let revisions = self.revisions.iter().map(ToString::to_string).collect();
        let request = admin::SummarizeReportsRequest { revisions, site, group };
        let response = context.machines()?.summarize_reports(request).await;
        let response = response.map_err(grpc::failure)?.into_inner();
        context.output.print(&Counted {
            rows: response.rows.into_iter().map(Row::from).collect(),
            total: response.total.unwrap_or_default().into(),
            revisions: response.revisions,
            now: answer::time(response.now.as_ref()),
            is_cut: response.is_cut,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_number_for_programs_and_has_its_sign_for_people() {
        let both = |part, all| (percent(part, all), share(part, all));
        assert_eq!(both(195, 200), ("97.5 %".to_owned(), "97.5".to_owned()));
        assert_eq!(both(1999, 2000).1, "99.9", "only all of them are 100");
        assert_eq!(both(0, 0), ("-".to_owned(), String::new()));
        assert!(share(2, 3).parse::<f64>().is_ok());
    }
}
