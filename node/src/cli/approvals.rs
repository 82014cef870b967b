//! `patchmesh approvals`: what approval sets hold and how two of them differ.

use clap::{Args, Subcommand};
use patchmesh_proto::wire;
use serde::Serialize;

use super::{Context, answer};

mod diff;
mod show;
mod which;

use which::Which;

#[derive(Debug, Subcommand)]
pub(crate) enum Approvals {
    Show(Show),
    Diff(Diff),
}

/// Show the decisions of an approval set
///
/// A set is named [NODE:]STAGE[@VERSION]. With a node it is the set that this
/// node said it holds; its decisions are looked up here by their digest.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh approvals show production
  patchmesh approvals show validation@3 --output json

JSON:
  {\"name\", \"stage\", \"version\", \"digest\", \"approvals\": [APPROVAL]}
  APPROVAL: {\"revision\", \"group\", \"decision\", \"rollout\" or null, \"by\", \"at\", \"comment\",
   \"rule\" or null}")]
pub(crate) struct Show {
    /// The set: [NODE:]STAGE[@VERSION]
    #[arg(value_name = "SET")]
    which: Which,
    /// Every decision on a line of its own, also those made by a baseline
    #[arg(long)]
    expand: bool,
}

/// Compare two approval sets; exits 1 when they differ
///
/// A set is named [NODE:]STAGE[@VERSION]. Sets of two stages are compared by
/// revision, since their groups are not the same.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh approvals diff validation production
  patchmesh approvals diff production@3 production
  patchmesh approvals diff production lyon:production

JSON:
  {\"a\": SET, \"b\": SET, \"same\", \"differences\": [{\"revision\", \"group\" or null,
   \"a\": \"approved\", \"declined\" or null, \"b\": likewise}]}
  SET: {\"name\", \"stage\", \"version\", \"digest\"}")]
pub(crate) struct Diff {
    /// One set: [NODE:]STAGE[@VERSION]
    #[arg(value_name = "A")]
    a: Which,
    /// The other
    #[arg(value_name = "B")]
    b: Which,
}

impl Approvals {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Approvals::Show(command) => show::run(&command.which, command.expand, context).await,
            Approvals::Diff(command) => diff::run(&command.a, &command.b, context).await,
        }
    }
}

/// One decision, in JSON and as a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Entry {
    pub(crate) revision: String,
    pub(crate) group: String,
    /// `approved` or `declined`
    pub(crate) decision: &'static str,
    /// The rollout that opens it; absent on a decline.
    pub(crate) rollout: Option<String>,
    pub(crate) by: String,
    pub(crate) at: Option<String>,
    pub(crate) comment: String,
    /// The rule or baseline that decided; absent where a person named it.
    pub(crate) rule: Option<String>,
}

impl From<wire::Approval> for Entry {
    fn from(approval: wire::Approval) -> Self {
        Self {
            decision: answer::decision(approval.decision()),
            revision: approval.revision,
            group: approval.group,
            rollout: answer::some(approval.rollout),
            by: approval.by,
            at: answer::time(approval.at.as_ref()),
            comment: approval.comment,
            rule: answer::some(approval.rule),
        }
    }
}

impl Entry {
    /// Names of the columns.
    pub(crate) const HEADER: [&'static str; 6] =
        ["revision", "group", "decision", "by", "at", "comment"];

    /// The columns.
    pub(crate) fn cells(&self) -> [String; 6] {
        [
            self.revision.clone(),
            self.group.clone(),
            self.decision.to_owned(),
            self.by.clone(),
            answer::or_dash(self.at.as_deref()),
            self.comment.clone(),
        ]
    }
}
