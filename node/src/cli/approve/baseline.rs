//! `patchmesh approve --baseline`: a whole release as one decision.

use patchmesh_proto::admin;
use patchmesh_topology::name::{BaselineName, GroupName};
use patchmesh_topology::node::Stage;
use serde::Serialize;

use crate::cli::answer::{self, Decided};
use crate::cli::output::Answer;
use crate::cli::select::confirm_on_terminal;
use crate::cli::{Context, decide, grpc, stage};

#[derive(Debug, Serialize)]
struct Approved {
    baseline: String,
    version: u64,
    revisions: u64,
    declined: u64,
    retired: u64,
    #[serde(flatten)]
    decided: Decided,
}

impl Answer for Approved {
    fn text(&self) -> String {
        let mut text = format!(
            "{}@{}: {}",
            self.baseline,
            self.version,
            answer::counted(self.revisions, "revision")
        );
        if self.declined > 0 {
            text.push_str(&format!(", {} stay declined", self.declined));
        }
        if self.retired > 0 {
            text.push_str(&format!(", {} left it and are declined", self.retired));
        }
        format!("{text}; {}", self.decided.text())
    }
}

/// Approves the last snapshot of a release.
pub(super) async fn run(
    context: &Context,
    name: &BaselineName,
    of: Stage,
    groups: &[GroupName],
    comment: String,
    (yes, wait): (bool, bool),
) -> anyhow::Result<()> {
    if !yes {
        confirm_on_terminal(&format!("Approve all of baseline {name} for {of}?"))?;
    }
    let request = admin::ApproveBaselineRequest {
        name: name.to_string(),
        version: 0,
        stage: stage::to_wire(of).into(),
        groups: groups.iter().map(ToString::to_string).collect(),
        comment,
    };
    let response =
        context.policies()?.approve_baseline(request).await.map_err(grpc::failure)?.into_inner();
    let mut admin = context.admin()?;
    let decided = response.decided.unwrap_or_default();
    let decided = decide::wait(context, &mut admin, decided, wait, None).await?;
    let problems = decided.problems.clone();
    context.output.print(&Approved {
        baseline: name.to_string(),
        version: response.version,
        revisions: response.revisions,
        declined: response.declined,
        retired: response.retired,
        decided,
    })?;
    decide::check(&problems)
}
