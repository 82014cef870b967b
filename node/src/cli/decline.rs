//! `patchmesh decline`: keeps revisions from being installed.

use std::path::PathBuf;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use patchmesh_proto::{admin, wire};
use patchmesh_topology::name::GroupName;
use patchmesh_topology::node::Stage;

use super::pending::Asked;
use super::select::Choice;
use super::{Context, decide, grpc, stage};

/// Keep revisions from being installed
///
/// What was approved before is withdrawn. Machines that have installed it
/// keep it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh decline vendor:stable/toolbar@1.0-1 --comment 'not wanted here'
  patchmesh decline --name 'games-*' --stage validation --comment 'no games' --yes

JSON:
  {\"generation\", \"approval_sets\": {STAGE: {\"version\", \"digest\"}}, \"changed\",
   \"fetching\": [REVISION], \"problems\": [TEXT],
   \"pending\": [NUMBER]}")]
pub(crate) struct Decline {
    #[command(flatten)]
    choice: Choice,
    /// One stage: validation or production [default: every stage]
    #[arg(long)]
    stage: Option<Stage>,
    /// A group, once for each [default: every group]
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<GroupName>,
    /// Sign with your key what waits for signatures
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Why; whoever asks later wants to know
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    comment: String,
}

impl Decline {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut admin = context.admin()?;
        // What is undecided in validation is undecided everywhere.
        let selected_in = self.stage.unwrap_or(Stage::Validation);
        let revisions = self.choice.resolve(&mut admin, selected_in, "decline").await?;
        let request = admin::DeclineRequest {
            revisions,
            stage: self.stage.map_or(wire::Stage::Unspecified, stage::to_wire).into(),
            groups: self.groups.iter().map(ToString::to_string).collect(),
            comment: self.comment,
        };
        let asked = Asked::of(&request.revisions, &request.groups, false);
        let signing = self.key.as_deref().map(|key| (key, &asked));
        let response = admin.decline(request).await.map_err(grpc::failure)?.into_inner();
        decide::finish(context, &mut admin, response, false, signing).await
    }
}
