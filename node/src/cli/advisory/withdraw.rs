//! `patchmesh advisory withdraw`.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use patchmesh_proto::admin;
use patchmesh_topology::name::AdvisoryName;
use serde::Serialize;

use crate::cli::output::Answer;
use crate::cli::{Context, grpc};

/// Withdraw an advisory; it stays readable
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh advisory withdraw 2026-014-openssl --comment 'the flaw is not in our version'

JSON:
  {\"id\", \"generation\"}")]
pub(crate) struct Withdraw {
    /// The advisory
    id: AdvisoryName,
    /// Why; whoever asks later wants to know
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    comment: String,
}

#[derive(Debug, Serialize)]
struct Withdrawn {
    id: String,
    generation: u64,
}

impl Answer for Withdrawn {
    fn text(&self) -> String {
        format!("{} withdrawn; generation {}\n", self.id, self.generation)
    }
}

impl Withdraw {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let name = self.id.to_string();
        let request = admin::WithdrawAdvisoryRequest { name: name.clone(), comment: self.comment };
        let response = context.assessments()?.withdraw_advisory(request).await;
        let generation = response.map_err(grpc::failure)?.into_inner().generation;
        context.output.print(&Withdrawn { id: name, generation })
    }
}
