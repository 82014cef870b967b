//! What an approval brings with it: shown first, and taken in where asked for.

use patchmesh_proto::admin;
use patchmesh_topology::name::GroupName;
use patchmesh_topology::node::Stage;
use serde::Serialize;
use std::io::IsTerminal;

use crate::cli::output::{Answer, table};
use crate::cli::select::confirm;
use crate::cli::{Context, answer, grpc, stage};

/// Rows of a plan that are spelled out before the rest is only counted.
const SHOWN: usize = 20;

// How far an approval reaches. No doc comment: clap would take it for the
// description of the command that this is flattened into.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Reach {
    /// Approve what is needed to install it, too
    #[arg(long)]
    pub(crate) with_dependencies: bool,
    /// Decline what it supersedes
    #[arg(long)]
    pub(crate) retire: bool,
    /// Show what would be approved, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// What the primary says.
#[derive(Debug, Serialize)]
pub(crate) struct Plan {
    revisions: Vec<String>,
    bytes: u64,
    dependencies: Vec<Dependency>,
    dependencies_bytes: u64,
    gaps: Vec<Gap>,
    superseded: Vec<Superseded>,
    /// Groups without a baseline.
    unchecked: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Dependency {
    revision: String,
    bytes: u64,
    reason: String,
}

#[derive(Debug, Serialize)]
struct Gap {
    group: String,
    revision: String,
    package: Option<String>,
    reason: String,
}

#[derive(Debug, Serialize)]
struct Superseded {
    revision: String,
    by: String,
}

impl Plan {
    /// Asks for the plan of an approval.
    pub(crate) async fn ask(
        context: &Context,
        revisions: &[String],
        of: Stage,
        groups: &[GroupName],
    ) -> anyhow::Result<Self> {
        let request = admin::PlanApprovalRequest {
            revisions: revisions.to_vec(),
            stage: stage::to_wire(of).into(),
            groups: groups.iter().map(ToString::to_string).collect(),
        };
        let plan =
            context.policies()?.plan_approval(request).await.map_err(grpc::failure)?.into_inner();
        let dependencies: Vec<Dependency> = plan
            .dependencies
            .into_iter()
            .map(|one| Dependency { revision: one.revision, bytes: one.bytes, reason: one.reason })
            .collect();
        let gaps = plan.gaps.into_iter().map(|one| Gap {
            group: one.group,
            revision: one.revision,
            package: answer::some(one.package),
            reason: one.reason,
        });
        let superseded = plan
            .superseded
            .into_iter()
            .map(|one| Superseded { revision: one.revision, by: one.by });
        Ok(Self {
            revisions: revisions.to_vec(),
            bytes: plan.bytes,
            dependencies_bytes: dependencies.iter().map(|one| one.bytes).sum(),
            dependencies,
            gaps: gaps.collect(),
            superseded: superseded.collect(),
            unchecked: plan.unchecked,
        })
    }

    /// What to approve in the end: what was named, and what it needs where
    /// that is wanted. Nobody is asked where nobody can answer.
    pub(crate) fn settle(&self, context: &Context, reach: &Reach) -> Vec<String> {
        let mut revisions = self.revisions.clone();
        if let Some(remark) = self.remark() {
            context.output.remark(&remark);
        }
        let wanted = reach.with_dependencies
            || (!self.dependencies.is_empty()
                && std::io::stdin().is_terminal()
                && confirm("Approve these too?").is_ok());
        if wanted {
            revisions.extend(self.dependencies.iter().map(|one| one.revision.clone()));
        } else if !self.dependencies.is_empty() {
            context
                .output
                .remark("only what was named is approved; --with-dependencies takes in the rest");
        }
        revisions
    }

    /// Whether to decline what is superseded.
    pub(crate) fn retires(&self, context: &Context, reach: &Reach) -> bool {
        if self.superseded.is_empty() {
            return false;
        }
        for one in self.superseded.iter().take(SHOWN) {
            context.output.remark(&format!("{} is superseded by {}", one.revision, one.by));
        }
        if self.superseded.len() > SHOWN {
            context.output.remark(&format!("and {} more", self.superseded.len() - SHOWN));
        }
        if reach.retire {
            return true;
        }
        let asked = std::io::stdin().is_terminal()
            && confirm(&format!(
                "Decline {} that {} superseded?",
                answer::counted(self.superseded.len() as u64, "revision"),
                if self.superseded.len() == 1 { "is" } else { "are" }
            ))
            .is_ok();
        if !asked {
            context.output.remark(
                "they stay approved and are not offered beside what replaces them; --retire declines them",
            );
        }
        asked
    }

    fn remark(&self) -> Option<String> {
        let mut lines = Vec::new();
        if !self.dependencies.is_empty() {
            lines.push(format!(
                "to be installed it needs {} more, {}:",
                answer::counted(self.dependencies.len() as u64, "revision"),
                answer::size(self.dependencies_bytes)
            ));
            let shown = self.dependencies.iter().take(SHOWN);
            lines.extend(shown.map(|one| format!("  {} ({})", one.revision, one.reason)));
            if self.dependencies.len() > SHOWN {
                lines.push(format!("  and {} more", self.dependencies.len() - SHOWN));
            }
        }
        for gap in self.gaps.iter().take(SHOWN) {
            let package = gap.package.as_deref().map(|one| format!(" ({one})"));
            lines.push(format!(
                "not offered to {} even so: {}{}: {}",
                gap.group,
                gap.revision,
                package.unwrap_or_default(),
                gap.reason
            ));
        }
        if !self.unchecked.is_empty() {
            lines.push(format!("not checked: {} without a baseline", self.groups_without()));
        }
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    fn groups_without(&self) -> String {
        let noun = if self.unchecked.len() == 1 { "group" } else { "groups" };
        format!("{noun} {}", self.unchecked.join(", "))
    }
}

impl Answer for Plan {
    fn text(&self) -> String {
        let named = self.revisions.iter().map(|one| [one.clone(), "asked".to_owned()]);
        let needed = self.dependencies.iter().map(|one| [one.revision.clone(), one.reason.clone()]);
        let mut text = table(["revision", "why"], named.chain(needed));
        text.push_str(&format!(
            "{}, {}; with what it needs {}, {}\n",
            answer::counted(self.revisions.len() as u64, "revision"),
            answer::size(self.bytes),
            answer::counted((self.revisions.len() + self.dependencies.len()) as u64, "revision"),
            answer::size(self.bytes + self.dependencies_bytes),
        ));
        for one in &self.gaps {
            let package = one.package.as_deref().map(|one| format!(" ({one})"));
            text.push_str(&format!(
                "not offered to {}: {}{}: {}\n",
                one.group,
                one.revision,
                package.unwrap_or_default(),
                one.reason
            ));
        }
        for one in &self.superseded {
            text.push_str(&format!("supersedes {} by {}\n", one.revision, one.by));
        }
        if !self.unchecked.is_empty() {
            text.push_str(&format!("not checked: {} without a baseline\n", self.groups_without()));
        }
        text
    }
}

/// Declines what is superseded, once what replaces it is approved: not while
/// that waits for signatures.
pub(crate) async fn retire(
    context: &Context,
    approved: &admin::DecideResponse,
    revisions: Vec<String>,
    of: Stage,
    groups: &[GroupName],
) -> anyhow::Result<()> {
    if !approved.pending.is_empty() {
        context.output.remark(
            "nothing is retired before this has its signatures; run the same command again then",
        );
        return Ok(());
    }
    let request = admin::RetireSupersededRequest {
        revisions,
        stage: stage::to_wire(of).into(),
        groups: groups.iter().map(ToString::to_string).collect(),
    };
    let response = context.policies()?.retire_superseded(request).await.map_err(grpc::failure)?;
    let response = response.into_inner();
    let count = answer::counted(response.changed, "revision");
    context.output.remark(&match response.pending.as_slice() {
        [] => format!("{count} retired"),
        pending => {
            let numbers: Vec<_> = pending.iter().map(ToString::to_string).collect();
            format!("retiring {count} waits for signatures: pending {}", numbers.join(", "))
        }
    });
    Ok(())
}
