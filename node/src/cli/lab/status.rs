//! `patchmesh lab status`: how revisions stand before promotion.

use clap::Args;
use patchmesh_proto::admin;
use patchmesh_topology::revision::RevisionId;
use serde::Serialize;

use super::policy;
use super::result::Row as Found;
use crate::cli::output::{Answer, clean, table};
use crate::cli::{Context, answer, grpc};

/// Show how revisions stand before promotion, and what each lacks
///
/// Without revisions: what validation approves and production has not decided on.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh lab status
  patchmesh lab status vendor:stable/app@2 --output json

JSON:
  {\"policy\": POLICY or null, \"evidence\": [EVIDENCE], \"more\"}
  POLICY: as `lab policy show` prints it
  EVIDENCE: {\"revision\", \"approved_at\" or null, \"promoted\", \"platforms\": [PLATFORM],
   \"machines\": {\"machines\", \"reported\", \"installed\", \"failed\"}, \"lacks\": [TEXT]}
  PLATFORM: {\"platform\", \"required\", \"open_failure\", \"last\": RESULT or null}
  RESULT: as `lab result list` prints it; \"machines\" are those of validation's groups,
  \"reported\" those that came to an end with it")]
pub(crate) struct Status {
    /// Revisions, as `update list` shows them
    #[arg(value_name = "REVISION")]
    revisions: Vec<RevisionId>,
}

#[derive(Debug, Serialize)]
struct Shown {
    policy: Option<policy::Shown>,
    evidence: Vec<Evidence>,
    more: u64,
}

#[derive(Debug, Serialize)]
struct Evidence {
    revision: String,
    approved_at: Option<String>,
    promoted: bool,
    platforms: Vec<Platform>,
    machines: Machines,
    lacks: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Platform {
    platform: String,
    required: bool,
    open_failure: bool,
    last: Option<Found>,
}

#[derive(Debug, Default, Serialize)]
struct Machines {
    machines: u64,
    reported: u64,
    installed: u64,
    failed: u64,
}

impl From<admin::Evidence> for Evidence {
    fn from(one: admin::Evidence) -> Self {
        let machines = one.machines.unwrap_or_default();
        Self {
            revision: one.revision,
            approved_at: answer::time(one.approved_at.as_ref()),
            promoted: one.promoted,
            platforms: one
                .platforms
                .into_iter()
                .map(|one| Platform {
                    platform: one.platform,
                    required: one.required,
                    open_failure: one.open_failure,
                    last: one.last.map(Found::from),
                })
                .collect(),
            machines: Machines {
                machines: machines.machines,
                reported: machines.reported,
                installed: machines.installed,
                failed: machines.failed,
            },
            lacks: one.lacks,
        }
    }
}

impl Evidence {
    fn text(&self) -> String {
        let since = match &self.approved_at {
            Some(at) => format!("approved in validation since {at}"),
            None => "not approved in validation".to_owned(),
        };
        let promoted = if self.promoted { "; production approves it" } else { "" };
        let mut text = format!("{}: {since}{promoted}\n", clean(&self.revision));
        if !self.platforms.is_empty() {
            text += &table(
                ["platform", "required", "last", "by", "at", "note"],
                self.platforms.iter().map(Platform::row),
            );
        }
        let Machines { machines, reported, installed, failed } = self.machines;
        text += &format!(
            "validation machines: {machines}; reported an end: {reported} ({installed} have it, {failed} failed)\n"
        );
        for lack in &self.lacks {
            text += &format!("lacks: {}\n", clean(lack));
        }
        if self.lacks.is_empty() {
            text += "lacks nothing\n";
        }
        text
    }
}

impl Platform {
    fn row(&self) -> [String; 6] {
        let outcome = self.last.as_ref().map_or("-", |one| one.outcome.as_str());
        let is_hidden = self.open_failure && outcome != "fail";
        let last =
            if is_hidden { format!("{outcome}, a failure is open") } else { outcome.to_owned() };
        let of = |field: fn(&Found) -> String| self.last.as_ref().map(field).unwrap_or_default();
        [
            self.platform.clone(),
            if self.required { "yes" } else { "no" }.to_owned(),
            last,
            of(|one| one.by.clone()),
            of(|one| one.at.clone().unwrap_or_default()),
            of(Found::said),
        ]
    }
}

impl Answer for Shown {
    fn text(&self) -> String {
        let mut texts: Vec<String> = self.evidence.iter().map(Evidence::text).collect();
        if texts.is_empty() {
            texts.push("nothing waits for promotion\n".to_owned());
        }
        if self.policy.is_none() {
            texts.push(format!("{}\n", policy::NONE));
        }
        if self.more > 0 {
            texts.push(format!("and {} more\n", self.more));
        }
        texts.join("\n")
    }
}

impl Status {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let revisions = self.revisions.iter().map(ToString::to_string).collect();
        let request = admin::GetEvidenceRequest { revisions };
        let response = context.lab()?.get_evidence(request).await.map_err(grpc::failure)?;
        let response = response.into_inner();
        context.output.print(&Shown {
            policy: response.policy.map(policy::Shown::from),
            evidence: response.evidence.into_iter().map(Evidence::from).collect(),
            more: response.more,
        })
    }
}
