//! `patchmesh lab result`.

use clap::{Args, Subcommand};
use patchmesh_proto::{admin, wire};
use patchmesh_topology::lab::{Outcome, Subject};
use patchmesh_topology::name::PlatformName;
use serde::Serialize;

use super::Changed;
use crate::cli::output::{Answer, table};
use crate::cli::{Context, answer, grpc};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Add(Add),
    Resolve(Resolve),
    List(List),
}

/// Record how trying something on a platform went
///
/// Of several results on a platform the latest counts. A failure stays open until
/// a later pass there, or until it is resolved.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh lab result add vendor:stable/app@2 --platform debian-12 --outcome pass
  patchmesh lab result add vendor:stable/app@2 --platform exchange-2019 --outcome fail \\
    --note 'the transport service does not start'
  patchmesh lab result add baseline/bookworm@3 --platform debian-12 --outcome pass

JSON:
  {\"generation\"}")]
pub(crate) struct Add {
    /// Revisions, as `update list` shows them, or releases: baseline/NAME@SNAPSHOT
    #[arg(required = true, value_name = "REVISION")]
    subjects: Vec<Subject>,
    /// Where it was tried
    #[arg(long, value_name = "NAME")]
    platform: PlatformName,
    /// How it went: pass, fail or blocked
    #[arg(long)]
    outcome: Outcome,
    /// What there is to say; needed unless it passed
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,
}

/// Say why the open failures on a platform stand in the way no more
///
/// It makes no pass of them: a platform that is required still has to pass.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh lab result resolve vendor:stable/app@2 --platform exchange-2019 \\
    --reason 'the test host had no disk space left'

JSON:
  {\"generation\"}")]
pub(crate) struct Resolve {
    /// The revision or release that failed
    #[arg(value_name = "REVISION")]
    subject: Subject,
    /// Where
    #[arg(long, value_name = "NAME")]
    platform: PlatformName,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// List results, by what was tried, platform and time
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh lab result list
  patchmesh lab result list vendor:stable/app@2 --platform debian-12

JSON:
  {\"results\": [RESULT]}
  RESULT: {\"subject\", \"platform\", \"outcome\", \"note\", \"by\", \"at\",
   \"resolved\": {\"reason\", \"by\", \"at\"} or null}")]
pub(crate) struct List {
    /// Only of these
    #[arg(value_name = "REVISION")]
    subjects: Vec<Subject>,
    /// Only on this platform
    #[arg(long, value_name = "NAME")]
    platform: Option<PlatformName>,
}

#[derive(Debug, Serialize)]
struct Rows {
    results: Vec<Row>,
}

/// A result as it is printed.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    subject: String,
    platform: String,
    pub(super) outcome: String,
    pub(super) note: String,
    pub(super) by: String,
    pub(super) at: Option<String>,
    resolved: Option<Resolved>,
}

#[derive(Debug, Serialize)]
struct Resolved {
    reason: String,
    by: String,
    at: Option<String>,
}

impl From<wire::LabResult> for Row {
    fn from(one: wire::LabResult) -> Self {
        Self {
            at: answer::time(one.at.as_ref()),
            subject: one.subject,
            platform: one.platform,
            outcome: one.outcome,
            note: one.note,
            by: one.by,
            resolved: one.resolution.map(|one| Resolved {
                at: answer::time(one.at.as_ref()),
                reason: one.reason,
                by: one.by,
            }),
        }
    }
}

impl Row {
    /// The note, and why a failure is resolved.
    pub(super) fn said(&self) -> String {
        match &self.resolved {
            None => self.note.clone(),
            Some(one) => format!("{} (resolved by {}: {})", self.note, one.by, one.reason),
        }
    }
}

impl Answer for Rows {
    fn text(&self) -> String {
        let rows = self.results.iter().map(|row| {
            [
                row.subject.clone(),
                row.platform.clone(),
                row.outcome.clone(),
                row.by.clone(),
                answer::or_dash(row.at.as_deref()),
                row.said(),
            ]
        });
        table(["tried", "platform", "outcome", "by", "at", "note"], rows)
    }
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut client = context.lab()?;
        match self {
            Self::Add(Add { subjects, platform, outcome, note }) => {
                let request = admin::AddLabResultsRequest {
                    subjects: subjects.iter().map(ToString::to_string).collect(),
                    platform: platform.to_string(),
                    outcome: outcome.to_string(),
                    note,
                };
                let response = client.add_lab_results(request).await.map_err(grpc::failure)?;
                let generation = response.into_inner().generation;
                context.output.print(&Changed { generation })
            }
            Self::Resolve(Resolve { subject, platform, reason }) => {
                let request = admin::ResolveLabFailuresRequest {
                    subject: subject.to_string(),
                    platform: platform.to_string(),
                    reason,
                };
                let response = client.resolve_lab_failures(request).await.map_err(grpc::failure)?;
                let generation = response.into_inner().generation;
                context.output.print(&Changed { generation })
            }
            Self::List(List { subjects, platform }) => {
                let request = admin::ListLabResultsRequest {
                    subjects: subjects.iter().map(ToString::to_string).collect(),
                    platform: platform.map(|one| one.to_string()).unwrap_or_default(),
                };
                let response = client.list_lab_results(request).await.map_err(grpc::failure)?;
                let results = response.into_inner().results.into_iter().map(Row::from).collect();
                context.output.print(&Rows { results })
            }
        }
    }
}
