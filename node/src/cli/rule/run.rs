//! `patchmesh rule run`.

use clap::Args;
use patchmesh_proto::admin;
use patchmesh_topology::name::RuleName;
use serde::Serialize;

use crate::cli::answer::{self, Decided};
use crate::cli::output::{Answer, table};
use crate::cli::{Context, grpc};

/// Decide now what rules come to
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh rule run --dry-run
  patchmesh rule run lab-security

JSON:
  {\"outcomes\": [{\"rule\", \"due\": [MATCH], \"waiting\": [MATCH]}], \"decided\": DECIDED or null}
  MATCH: {\"revision\", \"groups\": [NAME], \"until\" or null, \"lacks\": [TEXT]}
  \"lacks\" is what keeps it out of production although it is due
  DECIDED: as `approve` prints it")]
pub(crate) struct Run {
    /// One rule, enabled or not [default: every rule that is enabled]
    name: Option<RuleName>,
    /// Say what would be decided, and decide nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Serialize)]
struct Ran {
    outcomes: Vec<Outcome>,
    decided: Option<Decided>,
}

#[derive(Debug, Serialize)]
struct Outcome {
    rule: String,
    due: Vec<Match>,
    waiting: Vec<Match>,
}

#[derive(Debug, Serialize)]
struct Match {
    revision: String,
    groups: Vec<String>,
    until: Option<String>,
    lacks: Vec<String>,
}

impl From<admin::RuleMatch> for Match {
    fn from(one: admin::RuleMatch) -> Self {
        let until = prost_types::Timestamp { seconds: one.until, nanos: 0 };
        Self {
            revision: one.revision,
            groups: one.groups,
            lacks: one.lacks,
            until: (one.until != 0).then(|| answer::time(Some(&until))).flatten(),
        }
    }
}

impl Answer for Ran {
    fn text(&self) -> String {
        let rows = self.outcomes.iter().flat_map(|outcome| {
            outcome.due.iter().chain(&outcome.waiting).map(|one| {
                let when = match &one.until {
                    None if one.lacks.is_empty() => "now".to_owned(),
                    None => format!("lacks evidence: {}", one.lacks.join("; ")),
                    Some(until) => format!("from {until}"),
                };
                [outcome.rule.clone(), one.revision.clone(), one.groups.join(","), when]
            })
        });
        let rows: Vec<_> = rows.collect();
        let mut text = match rows.is_empty() {
            true => "nothing is due or waiting\n".to_owned(),
            false => table(["rule", "revision", "groups", "when"], rows),
        };
        if let Some(decided) = &self.decided {
            text.push_str(&decided.text());
        }
        text
    }
}

impl Run {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let name = self.name.map(|name| name.to_string()).unwrap_or_default();
        call(context, name, self.dry_run).await
    }
}

/// What one rule comes to.
pub(super) async fn dry(context: &Context, name: &str) -> anyhow::Result<()> {
    call(context, name.to_owned(), true).await
}

async fn call(context: &Context, name: String, dry_run: bool) -> anyhow::Result<()> {
    let request = admin::RunRulesRequest { name, dry_run };
    let response =
        context.policies()?.run_rules(request).await.map_err(grpc::failure)?.into_inner();
    let matches = |list: Vec<admin::RuleMatch>| list.into_iter().map(Match::from).collect();
    let outcomes = response.outcomes.into_iter().map(|one| Outcome {
        rule: one.rule,
        due: matches(one.due),
        waiting: matches(one.waiting),
    });
    context
        .output
        .print(&Ran { outcomes: outcomes.collect(), decided: response.decided.map(Decided::from) })
}
