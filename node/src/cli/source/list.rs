//! `patchmesh source list`.

use patchmesh_proto::admin;
use serde::Serialize;

use crate::cli::output::{Answer, table};
use crate::cli::subscription::Shown;
use crate::cli::{Context, answer, grpc};

#[derive(Debug, Serialize)]
struct Sources {
    sources: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    #[serde(flatten)]
    kind: Kind,
    policy: &'static str,
    last_success_at: Option<String>,
    last_attempt_at: Option<String>,
    problem: Option<String>,
    revisions: u64,
    /// What of it is fetched.
    subscription: Shown,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Kind {
    Apt {
        url: String,
        suite: String,
        components: Vec<String>,
        architectures: Vec<String>,
        packages: Vec<String>,
    },
    Files {
        folder: String,
        unsigned: bool,
    },
    Unknown,
}

impl Kind {
    const fn word(&self) -> &'static str {
        match self {
            Self::Apt { .. } => "apt",
            Self::Files { .. } => "files",
            Self::Unknown => "unknown",
        }
    }

    /// Where it is, for people.
    fn place(&self) -> String {
        match self {
            Self::Apt { url, suite, components, architectures, .. } => {
                format!("{url} {suite} {} [{}]", components.join(","), architectures.join(","))
            }
            Self::Files { folder, unsigned: false } => folder.clone(),
            Self::Files { folder, unsigned: true } => format!("{folder} (unsigned)"),
            Self::Unknown => "-".to_owned(),
        }
    }
}

impl From<admin::SourceRow> for Row {
    fn from(row: admin::SourceRow) -> Self {
        let source = row.source.unwrap_or_default();
        let policy = match source.policy() {
            admin::FetchPolicy::OnDemand => "on-demand",
            admin::FetchPolicy::Prefetch => "prefetch",
            admin::FetchPolicy::Unspecified => "unknown",
        };
        let kind = match (source.apt, source.files) {
            (Some(apt), _) => Kind::Apt {
                url: apt.url,
                suite: apt.suite,
                components: apt.components,
                architectures: apt.architectures,
                packages: apt.packages,
            },
            (None, Some(files)) => Kind::Files { folder: files.folder, unsigned: files.unsigned },
            (None, None) => Kind::Unknown,
        };
        Self {
            name: source.name,
            kind,
            policy,
            last_success_at: answer::time(row.last_success_at.as_ref()),
            last_attempt_at: answer::time(row.last_attempt_at.as_ref()),
            problem: answer::some(row.problem),
            revisions: row.revisions,
            subscription: row.subscription.unwrap_or_default().into(),
        }
    }
}

impl Answer for Sources {
    fn text(&self) -> String {
        table(
            ["name", "type", "place", "policy", "takes", "revisions", "last success", "problem"],
            self.sources.iter().map(|row| {
                [
                    row.name.clone(),
                    row.kind.word().to_owned(),
                    row.kind.place(),
                    row.policy.to_owned(),
                    row.subscription.line(),
                    row.revisions.to_string(),
                    answer::or_dash(row.last_success_at.as_deref()),
                    answer::or_dash(row.problem.as_deref()),
                ]
            }),
        )
    }
}

pub(super) async fn run(context: &Context) -> anyhow::Result<()> {
    let mut admin = context.admin()?;
    let response =
        admin.list_sources(admin::ListSourcesRequest {}).await.map_err(grpc::failure)?.into_inner();
    let sources = response.sources.into_iter().map(Row::from).collect();
    context.output.print(&Sources { sources })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_own_fields() {
        let row = |source| {
            Row::from(admin::SourceRow { source: Some(source), ..admin::SourceRow::default() })
        };
        let files = admin::FilesSource {
            folder: "/srv/msp".into(),
            unsigned: true,
            ..admin::FilesSource::default()
        };
        let apt = admin::AptSource { url: "http://x/".into(), ..admin::AptSource::default() };
        let sources = Sources {
            sources: vec![
                row(admin::Source { files: Some(files), ..admin::Source::default() }),
                row(admin::Source { apt: Some(apt), ..admin::Source::default() }),
            ],
        };
        let json = serde_json::to_value(&sources).expect("JSON");
        assert_eq!(json["sources"][0]["type"], "files");
        assert_eq!(json["sources"][0]["folder"], "/srv/msp");
        assert_eq!(json["sources"][1]["type"], "apt");
        assert_eq!(json["sources"][1]["url"], "http://x/");
        assert!(sources.text().contains("/srv/msp (unsigned)"), "{}", sources.text());
    }
}
