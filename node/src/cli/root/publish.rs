//! `patchmesh root publish`: hands a signed change of holders in.

use std::path::PathBuf;

use clap::Args;
use patchmesh_proto::admin;
use serde::Serialize;

use super::CeremonyFile;
use crate::cli::output::Answer;
use crate::cli::{Context, grpc};

/// Hand a signed change of holders in
///
/// It is published at once, or waits until the new holders have signed what
/// they hold.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh root publish new.json

JSON:
  {\"generation\", \"pending\"}")]
pub(crate) struct Publish {
    /// The file from `root sign`
    file: PathBuf,
}

/// What became of a change of holders.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    generation: Option<u64>,
    pending: Option<u64>,
}

impl Outcome {
    /// 0 stands for none.
    pub(crate) fn of(generation: u64, pending: u64) -> Self {
        let some = |number| (number != 0).then_some(number);
        Self { generation: some(generation), pending: some(pending) }
    }
}

impl Answer for Outcome {
    fn text(&self) -> String {
        match (self.generation, self.pending) {
            (Some(generation), _) => format!("published in generation {generation}\n"),
            (None, Some(id)) => format!(
                "waits for the new holders: patchmesh pending show {id}\n\
                 each of them: patchmesh pending sign {id} --key FILE\n"
            ),
            (None, None) => "nothing changed\n".to_owned(),
        }
    }
}

impl Publish {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let file = CeremonyFile::read(&self.file)?;
        let (papers, comment) = (file.to_wire()?, file.comment);
        let request = admin::PublishRolesRequest { papers, comment };
        let mut roles = context.roles()?;
        let response = roles.publish_roles(request).await.map_err(grpc::failure)?.into_inner();
        context.output.print(&Outcome::of(response.generation, response.pending))
    }
}
