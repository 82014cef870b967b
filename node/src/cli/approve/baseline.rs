//! `patchmesh approve --baseline`: a whole release as one decision.

use std::path::PathBuf;

use patchmesh_proto::{admin, wire};
use patchmesh_topology::name::{BaselineName, GroupName};
use patchmesh_topology::node::Stage;
use serde::Serialize;

use crate::cli::answer::{self, Decided};
use crate::cli::output::Answer;
use crate::cli::pending::Asked;
use crate::cli::select::confirm_on_terminal;
use crate::cli::{Context, decide, grpc, stage};

/// What is asked for.
pub(super) struct Release<'a> {
    pub(super) name: &'a BaselineName,
    pub(super) stage: Stage,
    pub(super) groups: &'a [GroupName],
    pub(super) comment: String,
    pub(super) key: Option<PathBuf>,
    pub(super) yes: bool,
    pub(super) waits: bool,
    pub(super) dry_run: bool,
}

/// What it comes to, or came to.
#[derive(Debug, Serialize)]
struct Expected {
    baseline: String,
    version: u64,
    revisions: u64,
    approved: u64,
    bytes: u64,
    declined: u64,
    retired: u64,
}

#[derive(Debug, Serialize)]
struct Approved {
    #[serde(flatten)]
    release: Expected,
    #[serde(flatten)]
    decided: Decided,
}

impl Expected {
    fn of(name: &BaselineName, response: &admin::ApproveBaselineResponse) -> Self {
        Self {
            baseline: name.to_string(),
            version: response.version,
            revisions: response.revisions,
            approved: response.approved,
            bytes: response.bytes,
            declined: response.declined,
            retired: response.retired,
        }
    }

    /// What it has and what comes of it; `verb` says whether already.
    fn line(&self, verb: &str) -> String {
        let mut text = format!(
            "{}@{} has {}: {} {verb}, {}",
            self.baseline,
            self.version,
            answer::counted(self.revisions, "revision"),
            self.approved,
            answer::size(self.bytes)
        );
        if self.retired > 0 {
            text.push_str(&format!("; {} left it and are declined", self.retired));
        }
        if self.declined > 0 {
            text.push_str(&format!("; {} stay declined", self.declined));
        }
        text
    }
}

impl Answer for Expected {
    fn text(&self) -> String {
        self.line("to approve") + "\n"
    }
}

impl Answer for Approved {
    fn text(&self) -> String {
        format!("{}\n{}", self.release.line("newly approved"), self.decided.text())
    }
}

impl Release<'_> {
    /// Shows what approving the last snapshot comes to, and approves it.
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut policies = context.policies()?;
        let groups: Vec<String> = self.groups.iter().map(ToString::to_string).collect();
        let request = admin::ApproveBaselineRequest {
            name: self.name.to_string(),
            version: 0,
            stage: stage::to_wire(self.stage).into(),
            groups: groups.clone(),
            comment: self.comment.clone(),
            dry_run: true,
        };
        let expected = policies.approve_baseline(request.clone()).await.map_err(grpc::failure)?;
        let expected = Expected::of(self.name, expected.get_ref());
        if self.dry_run {
            return context.output.print(&expected);
        }
        if !self.yes {
            context.output.remark(&expected.line("to approve"));
            confirm_on_terminal(&format!("Approve it for {}?", self.stage))?;
        }
        // What was shown is what is decided, whatever snapshot comes meanwhile.
        let request =
            admin::ApproveBaselineRequest { version: expected.version, dry_run: false, ..request };
        let asked = match &self.key {
            None => None,
            Some(_) => Some(self.name_all(&mut policies, expected.version, &groups).await?),
        };
        let signing = self.key.as_deref().zip(asked.as_ref());
        let response =
            policies.approve_baseline(request).await.map_err(grpc::failure)?.into_inner();
        let release = Expected::of(self.name, &response);
        let mut admin = context.admin()?;
        let decided = response.decided.unwrap_or_default();
        let decided = decide::wait(context, &mut admin, decided, self.waits, signing).await?;
        let problems = decided.problems.clone();
        context.output.print(&Approved { release, decided })?;
        decide::check(&problems)
    }

    /// What a signature for it may bring about: the revisions of the snapshot,
    /// by name.
    async fn name_all(
        &self,
        policies: &mut crate::cli::connect::Policies,
        version: u64,
        groups: &[String],
    ) -> anyhow::Result<Asked> {
        let request = admin::GetBaselineRequest { name: self.name.to_string(), version };
        let found = policies.get_baseline(request).await.map_err(grpc::failure)?.into_inner();
        let wire::Baseline { source, suite, .. } = found.baseline.unwrap_or_default();
        let named = found.packages.iter().filter(|package| !package.revision.is_empty());
        let revisions: Vec<String> =
            named.map(|package| format!("{source}:{suite}/{}", package.revision)).collect();
        Ok(Asked::of_release(self.name, &revisions, groups))
    }
}
