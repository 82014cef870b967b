//! `patchmesh advisory list`.

use clap::Args;
use patchmesh_proto::{admin, wire};
use serde::Serialize;

use crate::cli::assess::answer::severity;
use crate::cli::output::{Answer, table};
use crate::cli::{Context, answer, grpc};

/// List the advisories, the latest first
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh advisory list --all

JSON:
  {\"advisories\": [{\"id\", \"version\", \"title\", \"severity\", \"published_at\", \"withdrawn\":
   {\"by\", \"at\", \"comment\"} or null}]}")]
pub(crate) struct List {
    /// Also what was withdrawn
    #[arg(long)]
    all: bool,
}

/// Why and by whom an advisory was withdrawn.
#[derive(Debug, Serialize)]
pub(super) struct Withdrawn {
    pub(super) by: String,
    pub(super) at: Option<String>,
    pub(super) comment: String,
}

impl From<wire::Withdrawal> for Withdrawn {
    fn from(withdrawn: wire::Withdrawal) -> Self {
        let at = answer::time(withdrawn.at.as_ref());
        Self { by: withdrawn.by, at, comment: withdrawn.comment }
    }
}

#[derive(Debug, Serialize)]
struct Advisories {
    advisories: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    id: String,
    version: usize,
    title: String,
    severity: Option<&'static str>,
    published_at: Option<String>,
    withdrawn: Option<Withdrawn>,
}

impl From<wire::AdvisoryEntry> for Row {
    fn from(entry: wire::AdvisoryEntry) -> Self {
        Self {
            severity: severity(entry.severity()),
            id: entry.name,
            version: entry.versions.len(),
            title: entry.title,
            published_at: answer::time(entry.published_at.as_ref()),
            withdrawn: entry.withdrawn.map(Withdrawn::from),
        }
    }
}

impl Answer for Advisories {
    fn text(&self) -> String {
        table(
            ["id", "version", "severity", "published", "title"],
            self.advisories.iter().map(|row| {
                let withdrawn = if row.withdrawn.is_some() { "WITHDRAWN " } else { "" };
                [
                    row.id.clone(),
                    row.version.to_string(),
                    answer::rating(row.severity),
                    answer::or_dash(row.published_at.as_deref()),
                    format!("{withdrawn}{}", row.title),
                ]
            }),
        )
    }
}

impl List {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let request = admin::ListAdvisoriesRequest { all: self.all };
        let response = context.assessments()?.list_advisories(request).await;
        let advisories = response.map_err(grpc::failure)?.into_inner().advisories;
        let advisories = advisories.into_iter().map(Row::from).collect();
        context.output.print(&Advisories { advisories })
    }
}
