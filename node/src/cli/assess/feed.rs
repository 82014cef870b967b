//! `patchmesh assess feed`: feeds that the primary fetches every day.

use clap::{Args, Subcommand, ValueEnum};
use patchmesh_proto::admin;
use patchmesh_topology::name::FeedName;
use serde::Serialize;

use super::import::{Imported, kind};
use crate::cli::exit::Exit;
use crate::cli::output::{Answer, table};
use crate::cli::{Context, answer, grpc};

#[derive(Debug, Subcommand)]
pub(crate) enum Feed {
    Add(Add),
    List(List),
    Remove(Remove),
    Refresh(Refresh),
}

/// Add a feed that the primary fetches every day
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh assess feed add cisa --kind kev --url https://feeds.example/known_exploited_vulnerabilities.json
  patchmesh assess feed add first --kind epss --url https://feeds.example/epss_scores-current.csv.gz

JSON:
  {\"name\", \"kind\", \"url\"}")]
pub(crate) struct Add {
    /// What to call it
    name: FeedName,
    /// What its file is
    #[arg(long, value_enum)]
    kind: Kind,
    /// Where it is, http or https
    #[arg(long)]
    url: url::Url,
}

/// What a feed's file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Known exploited vulnerabilities, JSON of CISA
    Kev,
    /// Likelihoods of exploitation, CSV of FIRST
    Epss,
    /// One advisory of a vendor, JSON
    Csaf,
    /// Entries of OSV, JSON: one, an array, or lines
    Osv,
}

/// List the feeds and how their last fetching went
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh assess feed list

JSON:
  {\"feeds\": [{\"name\", \"kind\", \"url\", \"last_success_at\", \"last_attempt_at\", \"problem\",
   \"failures\", \"entries\"}]}")]
pub(crate) struct List {}

/// Fetch a feed no longer; what it said stays
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh assess feed remove cisa

JSON:
  {\"name\"}")]
pub(crate) struct Remove {
    /// The feed
    name: FeedName,
}

/// Fetch feeds now
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh assess feed refresh
  patchmesh assess feed refresh cisa

JSON:
  {\"feeds\": [{\"name\", \"unchanged\", \"problem\",
   \"outcome\": {\"kind\", \"entries\", \"older\", \"revisions_changed\", \"generation\"} or null}]}")]
pub(crate) struct Refresh {
    /// One feed [default: every feed]
    name: Option<FeedName>,
}

#[derive(Debug, Serialize)]
struct Added {
    name: String,
    kind: &'static str,
    url: String,
}

impl Answer for Added {
    fn text(&self) -> String {
        format!("Feed {} added\n\nNext: patchmesh assess feed refresh {}\n", self.name, self.name)
    }
}

#[derive(Debug, Serialize)]
struct Removed {
    name: String,
}

impl Answer for Removed {
    fn text(&self) -> String {
        format!("Feed {} removed; what it said stays\n", self.name)
    }
}

#[derive(Debug, Serialize)]
struct Feeds {
    feeds: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    kind: &'static str,
    url: String,
    last_success_at: Option<String>,
    last_attempt_at: Option<String>,
    problem: Option<String>,
    failures: u32,
    entries: u64,
}

impl From<admin::FeedRow> for Row {
    fn from(row: admin::FeedRow) -> Self {
        let feed = row.feed.unwrap_or_default();
        Self {
            kind: kind(feed.kind()),
            name: feed.name,
            url: feed.url,
            last_success_at: answer::time(row.last_success_at.as_ref()),
            last_attempt_at: answer::time(row.last_attempt_at.as_ref()),
            problem: answer::some(row.problem),
            failures: row.failures,
            entries: row.entries,
        }
    }
}

impl Answer for Feeds {
    fn text(&self) -> String {
        table(
            ["name", "kind", "fetched", "entries", "problem", "url"],
            self.feeds.iter().map(|row| {
                [
                    row.name.clone(),
                    row.kind.to_owned(),
                    answer::or_dash(row.last_success_at.as_deref()),
                    row.entries.to_string(),
                    answer::or_dash(row.problem.as_deref()),
                    row.url.clone(),
                ]
            }),
        )
    }
}

#[derive(Debug, Serialize)]
struct Refreshed {
    feeds: Vec<RefreshedFeed>,
}

#[derive(Debug, Serialize)]
struct RefreshedFeed {
    name: String,
    unchanged: bool,
    problem: Option<String>,
    outcome: Option<Imported>,
}

impl Answer for Refreshed {
    fn text(&self) -> String {
        let line = |feed: &RefreshedFeed| match (&feed.outcome, &feed.problem) {
            (Some(outcome), _) => format!("{}: {}", feed.name, outcome.text()),
            (None, Some(problem)) => {
                format!("{}: {}\n", feed.name, crate::cli::output::clean(problem))
            }
            (None, None) => format!("{}: nothing newer\n", feed.name),
        };
        self.feeds.iter().map(line).collect()
    }
}

impl Feed {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut assessments = context.assessments()?;
        match self {
            Self::Add(Add { name, kind, url }) => {
                let (kind, word) = match kind {
                    Kind::Kev => (admin::FeedKind::Kev, "kev"),
                    Kind::Epss => (admin::FeedKind::Epss, "epss"),
                    Kind::Csaf => (admin::FeedKind::Csaf, "csaf"),
                    Kind::Osv => (admin::FeedKind::Osv, "osv"),
                };
                let (name, url) = (name.to_string(), url.to_string());
                let feed = admin::Feed { name: name.clone(), kind: kind.into(), url: url.clone() };
                let request = admin::AddFeedRequest { feed: Some(feed) };
                assessments.add_feed(request).await.map_err(grpc::failure)?;
                let url = crate::source::http::shown_text(&url);
                context.output.print(&Added { name, kind: word, url })
            }
            Self::List(_) => {
                let request = admin::ListFeedsRequest {};
                let response = assessments.list_feeds(request).await.map_err(grpc::failure)?;
                let feeds = response.into_inner().feeds.into_iter().map(Row::from).collect();
                context.output.print(&Feeds { feeds })
            }
            Self::Remove(Remove { name }) => {
                let name = name.to_string();
                let request = admin::RemoveFeedRequest { name: name.clone() };
                assessments.remove_feed(request).await.map_err(grpc::failure)?;
                context.output.print(&Removed { name })
            }
            Self::Refresh(Refresh { name }) => {
                let name = name.map(|name| name.to_string()).unwrap_or_default();
                let request = admin::RefreshFeedsRequest { name };
                let response = assessments.refresh_feeds(request).await.map_err(grpc::failure)?;
                let rows = response.into_inner().feeds;
                let failed = rows.iter().filter(|row| !row.problem.is_empty()).count();
                let feeds = rows.into_iter().map(|row| RefreshedFeed {
                    name: row.name,
                    unchanged: row.unchanged,
                    problem: answer::some(row.problem),
                    outcome: row.outcome.map(Imported::from),
                });
                context.output.print(&Refreshed { feeds: feeds.collect() })?;
                match failed {
                    0 => Ok(()),
                    failed => Err(Exit::Failed.error(format!(
                        "{} could not be fetched; what they said before stays",
                        answer::counted(failed as u64, "feed")
                    ))),
                }
            }
        }
    }
}
