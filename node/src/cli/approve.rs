//! `patchmesh approve`: lets revisions be installed in a stage.

use std::path::PathBuf;

use clap::Args;
use patchmesh_proto::admin;
use patchmesh_topology::name::GroupName;
use patchmesh_topology::node::Stage;

use super::pending::Asked;
use super::select::Choice;
use super::{Context, decide, grpc, stage};

/// Let revisions be installed in a stage
///
/// Either every revision is approved or none. Payloads that are not here yet
/// are fetched; the command waits for them unless told otherwise.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh approve vendor:stable/openssl@3.0.15-1 --comment 'CVE-2024-9143'
  patchmesh approve --name 'linux-*' --group lab
  patchmesh approve --all-new --stage validation --yes --no-wait

JSON:
  {\"generation\", \"approval_sets\": {STAGE: {\"version\", \"digest\"}}, \"changed\",
   \"fetching\": [REVISION], \"problems\": [TEXT],
   \"pending\": [NUMBER]}")]
pub(crate) struct Approve {
    #[command(flatten)]
    choice: Choice,
    /// The stage: validation or production
    #[arg(long, default_value_t = Stage::Validation)]
    stage: Stage,
    /// A group of the stage, once for each [default: every group]
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<GroupName>,
    /// Why
    #[arg(long, default_value = "", hide_default_value = true)]
    comment: String,
    /// Sign with your key what waits for signatures
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Do not wait for the payloads
    #[arg(long)]
    no_wait: bool,
}

impl Approve {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut admin = context.admin()?;
        let revisions = self.choice.resolve(&mut admin, self.stage, "approve").await?;
        let request = admin::ApproveRequest {
            revisions,
            stage: stage::to_wire(self.stage).into(),
            groups: self.groups.iter().map(ToString::to_string).collect(),
            comment: self.comment,
        };
        let asked = Asked::of(&request.revisions, &request.groups, true);
        let signing = self.key.as_deref().map(|key| (key, &asked));
        let response = admin.approve(request).await.map_err(grpc::failure)?.into_inner();
        decide::finish(context, &mut admin, response, !self.no_wait, signing).await
    }
}
