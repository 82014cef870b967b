//! `patchmesh source list`.

use patchmesh_proto::admin;
use serde::Serialize;

use crate::cli::output::{Answer, table};
use crate::cli::{Context, answer, grpc};

#[derive(Debug, Serialize)]
struct Sources {
    sources: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    r#type: &'static str,
    url: String,
    suite: String,
    components: Vec<String>,
    architectures: Vec<String>,
    packages: Vec<String>,
    policy: &'static str,
    last_success_at: Option<String>,
    last_attempt_at: Option<String>,
    problem: Option<String>,
    revisions: u64,
}

impl From<admin::SourceRow> for Row {
    fn from(row: admin::SourceRow) -> Self {
        let source = row.source.unwrap_or_default();
        let policy = match source.policy() {
            admin::FetchPolicy::OnDemand => "on-demand",
            admin::FetchPolicy::Prefetch => "prefetch",
            admin::FetchPolicy::Unspecified => "unknown",
        };
        let apt = source.apt.unwrap_or_default();
        Self {
            name: source.name,
            r#type: "apt",
            url: apt.url,
            suite: apt.suite,
            components: apt.components,
            architectures: apt.architectures,
            packages: apt.packages,
            policy,
            last_success_at: answer::time(row.last_success_at.as_ref()),
            last_attempt_at: answer::time(row.last_attempt_at.as_ref()),
            problem: answer::some(row.problem),
            revisions: row.revisions,
        }
    }
}

impl Answer for Sources {
    fn text(&self) -> String {
        table(
            [
                "name",
                "url",
                "suite",
                "components",
                "architectures",
                "policy",
                "revisions",
                "last success",
                "problem",
            ],
            self.sources.iter().map(|row| {
                [
                    row.name.clone(),
                    row.url.clone(),
                    row.suite.clone(),
                    row.components.join(","),
                    row.architectures.join(","),
                    row.policy.to_owned(),
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
