//! `patchmesh report machines`: machines with their verdicts.

use clap::Args;
use patchmesh_proto::admin;
use patchmesh_topology::compliance::Verdict;
use patchmesh_topology::rollout::Action;
use serde::Serialize;

use super::{Area, Silence};
use crate::cli::output::{Answer, table};
use crate::cli::{Context, answer, grpc};
use crate::terminal::sheet::Sheet;

/// List machines with their verdicts, and what they lack or are to remove
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh report machines --verdict overdue --site emea
  patchmesh report machines --looping
  patchmesh --output csv report machines --reboot-needed --limit 0

JSON:
  {\"machines\": [MACHINE], \"is_cut\"}
  MACHINE: {\"name\", \"group\", \"site\", \"seen_at\" or null, \"verdict\", \"reason\" or null, \"address\" or null,
   \"exposed\", \"reboot_needed\", \"needs\": [NEED]}
  NEED: {\"revision\", \"action\": \"install\" or \"remove\", \"severity\" or null, \"due_at\" or null, \"open\",
   \"past\", \"standing\", \"code\", \"looping\", \"said_at\", \"reason\"}")]
pub(crate) struct Machines {
    /// Only those with this verdict: compliant, grace, overdue or unknown
    #[arg(long, value_name = "VERDICT")]
    verdict: Vec<Verdict>,
    /// Only those on which a restart is due
    #[arg(long)]
    reboot_needed: bool,
    /// Only those on which something was installed again and again without effect
    #[arg(long)]
    looping: bool,
    /// Machines at most; 0: all
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: u64,
    #[command(flatten)]
    silence: Silence,
    #[command(flatten)]
    area: Area,
}

#[derive(Debug, Serialize)]
struct Listed {
    machines: Vec<Row>,
    is_cut: bool,
}

/// A machine with its verdict.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    name: String,
    group: String,
    site: String,
    seen_at: Option<String>,
    pub(super) verdict: String,
    /// Why it is unknown.
    pub(super) reason: Option<String>,
    address: Option<String>,
    exposed: bool,
    reboot_needed: bool,
    pub(super) needs: Vec<Need>,
}

/// What it lacks, or is to remove.
#[derive(Debug, Serialize)]
pub(super) struct Need {
    pub(super) revision: String,
    action: String,
    severity: Option<String>,
    due_at: Option<String>,
    open: bool,
    past: bool,
    standing: String,
    code: i64,
    looping: bool,
    said_at: Option<String>,
    reason: String,
}

impl From<admin::MachineVerdict> for Row {
    fn from(machine: admin::MachineVerdict) -> Self {
        Self {
            seen_at: answer::time(machine.seen_at.as_ref()),
            name: machine.name,
            group: machine.group,
            site: machine.site,
            verdict: machine.verdict,
            reason: answer::some(machine.reason),
            address: answer::some(machine.address),
            exposed: machine.exposed,
            reboot_needed: machine.reboot_needed,
            needs: machine.needs.into_iter().map(Need::from).collect(),
        }
    }
}

impl From<admin::MachineNeed> for Need {
    fn from(need: admin::MachineNeed) -> Self {
        Self {
            due_at: answer::time(need.due_at.as_ref()),
            said_at: answer::time(need.said_at.as_ref()),
            severity: answer::some(need.severity),
            revision: need.revision,
            action: action(need.action),
            open: need.open,
            past: need.past,
            standing: need.standing,
            code: need.code,
            looping: need.looping,
            reason: need.reason,
        }
    }
}

/// What is asked; a primary with earlier software, which does not say so, asks for nothing
/// to be removed.
pub(super) fn action(stated: String) -> String {
    if stated.is_empty() { Action::Install.to_string() } else { stated }
}

/// What is asked of a machine and not done, a row each.
pub(super) fn needs(needs: &[Need]) -> String {
    let rows = needs.iter().map(|need| {
        let severity = answer::rating(need.severity.as_deref());
        [need.revision.clone(), need.action.clone(), severity, need.reason.clone()]
    });
    table(["revision", "asked", "severity", "because"], rows)
}

impl Answer for Listed {
    fn text(&self) -> String {
        let rows = self.machines.iter().map(|row| {
            let worst = row.needs.iter().max_by_key(|need| (need.past && need.open, need.past));
            let worst = worst.map(|need| format!("{}: {}", need.revision, need.reason));
            let why = row.reason.clone().or(worst);
            [
                row.name.clone(),
                row.group.clone(),
                row.site.clone(),
                row.verdict.clone(),
                answer::or_dash(row.seen_at.as_deref()),
                row.needs.len().to_string(),
                why.unwrap_or_default(),
            ]
        });
        let header = ["machine", "group", "site", "verdict", "last seen", "lacks", "above all"];
        let cut = if self.is_cut { "\nthere are more: --limit 0 lists all\n" } else { "" };
        format!("{}{cut}", table(header, rows))
    }

    fn sheet(&self) -> Option<Sheet> {
        let header = [
            "machine",
            "group",
            "site",
            "verdict",
            "seen_at",
            "address",
            "exposed",
            "reboot_needed",
            "lacks",
            "to_remove",
        ];
        let rows = self.machines.iter().map(|row| {
            let named = |is_removal: bool| {
                let is_one = |need: &&Need| (need.action == Action::Remove.as_str()) == is_removal;
                let needs = row.needs.iter().filter(is_one);
                needs.map(|need| need.revision.as_str()).collect::<Vec<_>>().join(" ")
            };
            [
                row.name.clone(),
                row.group.clone(),
                row.site.clone(),
                row.verdict.clone(),
                row.seen_at.clone().unwrap_or_default(),
                row.address.clone().unwrap_or_default(),
                row.exposed.to_string(),
                row.reboot_needed.to_string(),
                named(false),
                named(true),
            ]
        });
        Some(Sheet::new(header, rows))
    }
}

impl Machines {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let limit = self.limit;
        let request = admin::ListVerdictsRequest {
            scope: Some(self.area.into_scope()),
            verdicts: self.verdict.iter().map(|one| one.as_str().to_owned()).collect(),
            stale_seconds: self.silence.seconds(),
            reboot_needed: self.reboot_needed,
            looping: self.looping,
            // One more says whether there are more.
            limit: if limit == 0 { 0 } else { limit.saturating_add(1) },
        };
        let response = context.compliance()?.list_verdicts(request).await;
        let mut stream = response.map_err(grpc::failure)?.into_inner();
        let (mut machines, mut is_cut) = (Vec::new(), false);
        while let Some(machine) = stream.message().await.map_err(grpc::failure)? {
            if limit > 0 && machines.len() as u64 == limit {
                is_cut = true;
                break;
            }
            machines.push(Row::from(machine));
        }
        context.output.print(&Listed { machines, is_cut })
    }
}
