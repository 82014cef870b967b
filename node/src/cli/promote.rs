//! `patchmesh promote`: approves for production what validation has approved.

use std::path::PathBuf;

use clap::Args;
use patchmesh_proto::admin;
use patchmesh_topology::name::GroupName;
use patchmesh_topology::node::Stage;
use patchmesh_topology::revision::RevisionId;
use serde::Serialize;

use super::approve::plan::{self, Plan, Reach};
use super::decide::Opening;
use super::exit::Exit;
use super::output::{Answer, clean};
use super::pending::Asked;
use super::{Context, decide, grpc};

/// Approve for production what validation has approved
///
/// Without revisions: everything that is approved in validation and undecided
/// in production. What lacks the evidence that `lab policy` asks for is refused
/// where it is named, and left out where it is not.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh promote --comment 'a week in the lab without trouble'
  patchmesh promote vendor:stable/openssl@3.0.15-1 --group servers
  patchmesh promote vendor:stable/openssl@3.0.15-1 --override --node primary \
    --reason 'exploited since yesterday; the lab has no exchange-2019 this week'

JSON:
  {\"generation\", \"approval_sets\": {STAGE: {\"version\", \"digest\"}}, \"changed\",
   \"fetching\": [REVISION], \"problems\": [TEXT],
   \"pending\": [NUMBER], \"held\": [{\"revision\", \"lacks\": [TEXT]}], \"held_total\"}
  \"held\" stays out of production, for want of evidence
  with --override: {\"pending\", \"lacks\": [TEXT]}")]
pub(crate) struct Promote {
    /// Revisions, as `update list` shows them
    #[arg(value_name = "REVISION")]
    revisions: Vec<RevisionId>,
    /// A production group, once for each [default: every group]
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
    /// Do without the evidence that lacks, once another person has consented with
    /// `pending consent`
    #[arg(long = "override", requires = "reason", requires = "revisions",
        conflicts_with_all = ["key", "comment", "with_dependencies", "retire", "dry_run", "into_open_waves"])]
    is_override: bool,
    /// Why it has to be promoted without
    #[arg(long, value_name = "TEXT", requires = "is_override")]
    reason: Option<String>,
    #[command(flatten)]
    reach: Reach,
    /// Do not wait for payloads
    #[arg(long)]
    no_wait: bool,
}

impl Promote {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut revisions: Vec<String> = self.revisions.iter().map(ToString::to_string).collect();
        if self.is_override {
            return self.ask(context, revisions).await;
        }
        let mut retires = false;
        // Without revisions there is nothing to add to all of it.
        if !revisions.is_empty() {
            let plan = Plan::ask(context, &revisions, Stage::Production, &self.groups).await?;
            if self.reach.dry_run {
                return context.output.print(&plan);
            }
            revisions = plan.settle(context, &self.reach);
            retires = plan.retires(context, &self.reach);
        } else if self.reach.dry_run || self.reach.retire {
            return Err(Exit::Usage.error("name the revisions for --dry-run and --retire"));
        }
        let request = admin::PromoteRequest {
            revisions: revisions.clone(),
            groups: self.groups.iter().map(ToString::to_string).collect(),
            comment: self.comment,
            rollout: self.opening.rollout(),
            into_open_waves: self.opening.into_open_waves,
        };
        let mut admin = context.admin()?;
        let asked = Asked::of(&request.revisions, &request.groups, true);
        let signing = self.key.as_deref().map(|key| (key, &asked));
        let response = admin.promote(request).await.map_err(grpc::failure)?.into_inner();
        if retires {
            plan::retire(context, &response, revisions, Stage::Production, &self.groups).await?;
        }
        decide::finish(context, &mut admin, response, !self.no_wait, signing).await
    }

    /// Asks to do without evidence.
    async fn ask(self, context: &Context, revisions: Vec<String>) -> anyhow::Result<()> {
        let request = admin::AskOverrideRequest {
            revisions,
            groups: self.groups.iter().map(ToString::to_string).collect(),
            rollout: self.opening.rollout(),
            reason: self.reason.unwrap_or_default(),
        };
        let response = context.lab()?.ask_override(request).await.map_err(grpc::failure)?;
        let admin::AskOverrideResponse { pending, lacks } = response.into_inner();
        context.output.print(&Waiting { pending, lacks })
    }
}

/// An override that waits for consent.
#[derive(Debug, Serialize)]
struct Waiting {
    pending: u64,
    lacks: Vec<String>,
}

impl Answer for Waiting {
    fn text(&self) -> String {
        let id = self.pending;
        let lacks = self.lacks.iter().map(|one| format!("does without: {}\n", clean(one)));
        let waits = format!("Waiting for another person: patchmesh pending consent {id}\n");
        lacks.chain([waits]).collect()
    }
}
