//! `patchmesh approve`: lets revisions be installed in a stage.

use std::path::PathBuf;

use clap::Args;
use patchmesh_proto::admin;
use patchmesh_topology::name::{BaselineName, GroupName};
use patchmesh_topology::node::Stage;

use super::decide::Opening;
use super::pending::Asked;
use super::select::Choice;
use super::{Context, decide, grpc, stage};
use plan::{Plan, Reach};

mod baseline;
pub(crate) mod plan;

/// Let revisions be installed in a stage
///
/// Either every revision is approved or none. Payloads that are not here yet
/// are fetched; the command waits for them unless told otherwise.
///
/// What has to be approved too so that it can be installed on machines that
/// have their group's baseline is shown first, and what it supersedes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh approve vendor:stable/openssl@3.0.15-1 --comment 'CVE-2024-9143'
  patchmesh approve --name 'linux-*' --group lab
  patchmesh approve --all-new --stage validation --yes --no-wait
  patchmesh approve vendor:stable/openssl@3.0.15-1 --with-dependencies --retire
  patchmesh approve vendor:stable/openssl@3.0.15-1 --dry-run
  patchmesh approve --baseline bookworm --stage validation --dry-run
  patchmesh approve --baseline bookworm --stage validation

JSON:
  {\"generation\", \"approval_sets\": {STAGE: {\"version\", \"digest\"}}, \"changed\",
   \"fetching\": [REVISION], \"problems\": [TEXT],
   \"pending\": [NUMBER]}
  With --baseline also \"baseline\", \"version\", \"revisions\", \"approved\", \"bytes\", \"declined\",
   \"retired\"; with --dry-run nothing but these.
  With --dry-run: {\"revisions\": [REVISION], \"bytes\", \"dependencies\": [{\"revision\", \"bytes\",
   \"reason\"}], \"dependencies_bytes\", \"gaps\": [{\"group\", \"revision\", \"package\" or null,
   \"reason\"}], \"superseded\": [{\"revision\", \"by\"}], \"unchecked\": [GROUP]}")]
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
    #[command(flatten)]
    opening: Opening,
    /// Sign with your key what waits for signatures
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Everything of the last snapshot of a vendor's release, as one decision
    #[arg(long, value_name = "NAME", conflicts_with_all = ["revisions", "all_new", "name", "with_dependencies", "retire", "rollout"])]
    baseline: Option<BaselineName>,
    #[command(flatten)]
    reach: Reach,
    /// Do not wait for the payloads
    #[arg(long)]
    no_wait: bool,
}

impl Approve {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        if let Some(name) = &self.baseline {
            let release = baseline::Release {
                name,
                stage: self.stage,
                groups: &self.groups,
                comment: self.comment,
                key: self.key,
                yes: self.choice.yes,
                waits: !self.no_wait,
                dry_run: self.reach.dry_run,
            };
            return release.run(context).await;
        }
        let mut admin = context.admin()?;
        let revisions = self.choice.resolve(&mut admin, self.stage, "approve").await?;
        let plan = Plan::ask(context, &revisions, self.stage, &self.groups).await?;
        if self.reach.dry_run {
            return context.output.print(&plan);
        }
        let revisions = plan.settle(context, &self.reach);
        let retires = plan.retires(context, &self.reach);
        let decided = revisions.clone();
        let request = admin::ApproveRequest {
            revisions,
            stage: stage::to_wire(self.stage).into(),
            groups: self.groups.iter().map(ToString::to_string).collect(),
            comment: self.comment,
            rollout: self.opening.rollout(),
            into_open_waves: self.opening.into_open_waves,
        };
        let asked = Asked::of(&request.revisions, &request.groups, true);
        let signing = self.key.as_deref().map(|key| (key, &asked));
        let response = admin.approve(request).await.map_err(grpc::failure)?.into_inner();
        if retires {
            plan::retire(context, &response, decided, self.stage, &self.groups).await?;
        }
        decide::finish(context, &mut admin, response, !self.no_wait, signing).await
    }
}
