//! Stages on the command line, and `patchmesh stage`: who decides on one.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use patchmesh_proto::{admin, wire};
use patchmesh_topology::name::UserName;
use patchmesh_topology::node::Stage;

use super::root::{Outcome, number, write_prepared};
use super::{Context, grpc};

#[derive(Debug, Subcommand)]
pub(crate) enum StageCommand {
    Set(Set),
}

/// Let people decide on a stage, some of them together
///
/// The root key has to sign this. With that key on the primary it is done at
/// once; otherwise write it down with --out, and go on with `root sign`. The
/// approvers named then sign the stage's decisions once, as its new holders.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh stage set production --threshold 2 --approver alice --approver bob --approver carol
  patchmesh stage set production --threshold 2 --out new.json

JSON:
  {\"generation\", \"pending\"}; with --out {\"file\", \"summary\": [TEXT]}")]
pub(crate) struct Set {
    /// The stage: validation or production
    stage: Stage,
    /// Somebody whose signature is to count, once for each [default: as it is]
    #[arg(long = "approver", value_name = "USER")]
    approvers: Vec<UserName>,
    /// How many of them must sign [default: as it is]
    #[arg(long, value_name = "NUMBER")]
    threshold: Option<u32>,
    /// Only write it down, to be signed elsewhere
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Why
    #[arg(long, default_value = "", hide_default_value = true)]
    comment: String,
}

impl StageCommand {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Set(command) => command.run(context).await,
        }
    }
}

impl Set {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let change = admin::HoldersChange {
            role: self.stage.to_string(),
            public_keys: Vec::new(),
            users: self.approvers.iter().map(ToString::to_string).collect(),
            threshold: number(self.threshold)?,
        };
        let request = admin::PrepareRolesRequest {
            changes: vec![change],
            publish: self.out.is_none(),
            comment: self.comment,
            ..admin::PrepareRolesRequest::default()
        };
        if let Some(out) = &self.out {
            return write_prepared(context, request, out).await;
        }
        let mut roles = context.roles()?;
        let response = roles.prepare_roles(request).await.map_err(grpc::failure)?.into_inner();
        for line in &response.summary {
            context.output.remark(line);
        }
        context.output.print(&Outcome::of(response.generation, response.pending))
    }
}

/// The wire's number for a stage.
pub(crate) fn to_wire(stage: Stage) -> wire::Stage {
    match stage {
        Stage::Validation => wire::Stage::Validation,
        Stage::Production => wire::Stage::Production,
    }
}
