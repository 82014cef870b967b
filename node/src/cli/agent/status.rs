//! `patchmesh agent status`.

use clap::Args;
use serde::Serialize;

use super::Folder;
use crate::agent::queue::Queue;
use crate::agent::state::Standing;
use crate::cli::Context;
use crate::cli::output::{Answer, fields, table};

/// Show what concerns this machine, what waits, and why
///
/// As the last round left it; nobody is asked. Revisions that do not concern the
/// machine are counted, and listed with `--all`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh agent status
  patchmesh agent status --all --output json

JSON:
  {\"machine\", \"group\", \"node\", \"url\", \"site\", \"looked_at\" or null, \"inventory\",
   \"unreported\": EVENTS, \"others\", \"revisions\": [{\"revision\", \"title\", \"verdict\", \"reason\",
   \"action\", \"waits_for\"}]}
  verdict: applicable, installed, not-applicable or unknown
  action: install, waiting or nothing")]
pub(crate) struct Status {
    /// Revisions that do not concern this machine as well
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    folder: Folder,
}

#[derive(Debug, Serialize)]
struct Shown {
    machine: String,
    group: String,
    node: String,
    url: String,
    site: String,
    looked_at: Option<String>,
    inventory: String,
    unreported: usize,
    others: usize,
    revisions: Vec<Standing>,
}

impl Answer for Shown {
    fn text(&self) -> String {
        let head = fields([
            ("machine", Some(format!("{} of group {}", self.machine, self.group))),
            ("node", Some(format!("{} at {}", self.node, self.url))),
            ("site", (!self.site.is_empty()).then(|| self.site.clone())),
            ("looked", Some(self.looked_at.clone().unwrap_or_else(|| "never".to_owned()))),
            ("unreported", Some(format!("{} events", self.unreported))),
            ("others", Some(format!("{} revisions do not concern this machine", self.others))),
        ]);
        let rows = self.revisions.iter().map(|one| {
            let why = if one.waits_for.is_empty() { &one.reason } else { &one.waits_for };
            [one.revision.clone(), one.verdict.clone(), one.action.clone(), why.clone()]
        });
        format!("{head}\n{}", table(["revision", "verdict", "action", "why"], rows))
    }
}

impl Status {
    pub(crate) fn run(self, context: &Context) -> anyhow::Result<()> {
        let state = self.folder.state();
        let (joined, memory) = (state.joined()?, state.memory()?);
        let all = memory.standings.len();
        let concerns =
            |one: &Standing| self.all || matches!(one.verdict.as_str(), "applicable" | "installed");
        let revisions: Vec<Standing> = memory.standings.into_iter().filter(concerns).collect();
        context.output.print(&Shown {
            machine: joined.machine,
            group: joined.group,
            node: joined.node,
            url: joined.node_url,
            site: memory.site,
            looked_at: memory.looked_at.map(|at| format!("{at:.0}")),
            inventory: memory.inventory,
            unreported: Queue::waiting_in(&state.folder().join("queue"))?,
            others: all - revisions.len(),
            revisions,
        })
    }
}
