//! `patchmesh lab`: what the lab found, and what promotion asks of it.

use clap::{Args, Subcommand};
use patchmesh_proto::{admin, wire};
use serde::Serialize;

use super::output::{Answer, table};
use super::{Context, answer, grpc};

mod policy;
mod result;
mod status;

#[derive(Debug, Subcommand)]
pub(crate) enum Lab {
    /// Results of trying updates on platforms
    #[command(subcommand)]
    Result(result::Command),
    Status(status::Status),
    /// What promotion asks for
    #[command(subcommand)]
    Policy(policy::Command),
    Overrides(Overrides),
}

/// List the promotions without evidence, and who answers for them
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh lab overrides

JSON:
  {\"overrides\": [{\"number\", \"revisions\": [REVISION], \"groups\": [NAME], \"reason\",
   \"asked_by\", \"asked_at\", \"consented_by\", \"consented_at\", \"lacks\": [TEXT]}]}")]
pub(crate) struct Overrides {}

/// What a change of the lab's document came to.
#[derive(Debug, Serialize)]
struct Changed {
    generation: u64,
}

impl Answer for Changed {
    fn text(&self) -> String {
        format!("generation {}\n", self.generation)
    }
}

#[derive(Debug, Serialize)]
struct Rows {
    overrides: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    number: u64,
    revisions: Vec<String>,
    groups: Vec<String>,
    reason: String,
    asked_by: String,
    asked_at: Option<String>,
    consented_by: String,
    consented_at: Option<String>,
    lacks: Vec<String>,
}

impl From<wire::PromotionOverride> for Row {
    fn from(one: wire::PromotionOverride) -> Self {
        Self {
            asked_at: answer::time(one.asked_at.as_ref()),
            consented_at: answer::time(one.consented_at.as_ref()),
            number: one.number,
            revisions: one.revisions,
            groups: one.groups,
            reason: one.reason,
            asked_by: one.asked_by,
            consented_by: one.consented_by,
            lacks: one.lacks,
        }
    }
}

impl Answer for Rows {
    fn text(&self) -> String {
        let rows = self.overrides.iter().map(|row| {
            [
                row.number.to_string(),
                row.revisions.join(", "),
                row.reason.clone(),
                row.asked_by.clone(),
                row.consented_by.clone(),
                answer::or_dash(row.consented_at.as_deref()),
                row.lacks.len().to_string(),
            ]
        });
        table(["override", "revisions", "reason", "asked", "consented", "at", "lacked"], rows)
    }
}

impl Lab {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Result(command) => command.run(context).await,
            Self::Status(command) => command.run(context).await,
            Self::Policy(command) => command.run(context).await,
            Self::Overrides(Overrides {}) => {
                let request = admin::ListOverridesRequest {};
                let response = context.lab()?.list_overrides(request).await;
                let all = response.map_err(grpc::failure)?.into_inner().overrides;
                let overrides = all.into_iter().map(Row::from).collect();
                context.output.print(&Rows { overrides })
            }
        }
    }
}
