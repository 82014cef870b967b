//! `patchmesh advisory publish`.

use std::path::PathBuf;

use clap::Args;
use patchmesh_proto::admin;
use serde::Serialize;

use super::file;
use crate::cli::output::Answer;
use crate::cli::{Context, grpc};

/// Publish an advisory to every branch
///
/// Publishing an id again makes its next version; those before it stay
/// readable. An advisory that was withdrawn comes back.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh advisory publish openssl.toml

JSON:
  {\"id\", \"version\", \"generation\"}")]
pub(crate) struct Publish {
    /// The file
    file: PathBuf,
}

#[derive(Debug, Serialize)]
struct Published {
    id: String,
    version: u32,
    generation: u64,
}

impl Answer for Published {
    fn text(&self) -> String {
        format!("{} version {} published; generation {}\n", self.id, self.version, self.generation)
    }
}

impl Publish {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let advisory = file::read(&self.file)?;
        let request = admin::PublishAdvisoryRequest { advisory: Some((&advisory).into()) };
        let response = context.assessments()?.publish_advisory(request).await;
        let response = response.map_err(grpc::failure)?.into_inner();
        context.output.print(&Published {
            id: advisory.name.to_string(),
            version: response.version,
            generation: response.generation,
        })
    }
}
