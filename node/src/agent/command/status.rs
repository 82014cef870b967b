//! `patchmesh agent status`.

use clap::Args;
use patchmesh_topology::applicability::State as Verdict;
use patchmesh_topology::reboot::Policy;
use serde::Serialize;

use super::Folder;
use super::reboot::Due;
use crate::agent::queue::Queue;
use crate::agent::state::{CutOff, Standing};
use crate::terminal::output::{Answer, Output, fields, table};

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
  {\"machine\", \"group\", \"node\", \"url\", \"joined_at\", \"at\": NODE or null, \"site\", \"certificate_ends\",
   \"reported_to\" or null, \"looked_at\" or null, \"install_mode\", \"install_at\" or null, \"reboot_policy\",
   \"at_deadline\", \"inventory\",
   \"cut_off\": {\"since\", \"why\",
   \"good_until\" or null} or null, \"unreadable\": WHY it cannot tell what is on this machine, or null,
   \"reboot\": {\"since\", \"revisions\": [REVISION], \"waits_for\"} or null, \"unreported\": EVENTS,
   \"rolled_up\": EVENTS of these of which only counts are left, \"others\", \"revisions\": [{\"revision\", \"title\", \"verdict\", \"reason\",
   \"action\", \"waits_for\", \"for_person\", \"due_at\" or null, \"goes_at\" or null}]}
  due_at: where the group installs at deadlines; goes_at: when it goes by that, where it waits
  verdict: applicable, installed, not-applicable or unknown
  action: install, remove, waiting or nothing")]
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
    joined_at: String,
    at: Option<String>,
    site: String,
    certificate_ends: String,
    looked_at: Option<String>,
    reported_to: Option<String>,
    install_mode: String,
    install_at: Option<String>,
    reboot_policy: String,
    at_deadline: String,
    inventory: String,
    cut_off: Option<CutOff>,
    unreadable: Option<String>,
    reboot: Option<Due>,
    unreported: u64,
    rolled_up: u64,
    others: usize,
    revisions: Vec<Standing>,
}

impl Answer for Shown {
    fn text(&self) -> String {
        let head = fields([
            ("machine", Some(format!("{} of group {}", self.machine, self.group))),
            ("node", Some(format!("{} at {}", self.node, self.url))),
            ("joined at", (self.joined_at != self.node).then(|| self.joined_at.clone())),
            ("asks", self.at.as_ref().map(|at| format!("{at}, which stands in for its own node"))),
            ("site", (!self.site.is_empty()).then(|| self.site.clone())),
            ("certificate", Some(format!("ends at {}", self.certificate_ends))),
            ("looked", Some(self.looked_at.clone().unwrap_or_else(|| "never".to_owned()))),
            ("cut off", self.cut_off.as_ref().map(cut_off)),
            ("unreadable", self.unreadable.clone()),
            ("restart", self.reboot.as_ref().map(Due::sentence)),
            ("installs", self.installs()),
            ("restarts", Some(self.reboot_policy.clone())),
            ("reports to", self.reported_to.clone().filter(|node| *node != self.node)),
            ("unreported", Some(self.unreported())),
            ("others", Some(format!("{} revisions do not concern this machine", self.others))),
        ]);
        let rows = self.revisions.iter().map(|one| {
            let why = if one.waits_for.is_empty() { &one.reason } else { &one.waits_for };
            [one.revision.clone(), one.verdict.clone(), one.action.clone(), why.clone()]
        });
        format!("{head}\n{}", table(["revision", "verdict", "action", "why"], rows))
    }
}

impl Shown {
    /// How many events wait for a node.
    fn unreported(&self) -> String {
        match self.rolled_up {
            0 => format!("{} events", self.unreported),
            some => format!("{} events, {some} of them rolled up", self.unreported),
        }
    }

    /// What the machine does by itself, once that is known.
    fn installs(&self) -> Option<String> {
        let waiting = self.revisions.iter().filter(|one| one.for_person).count();
        let text = match self.install_mode.as_str() {
            "" => return None,
            "automatic" => match &self.install_at {
                Some(at) => format!("by itself, at {at}"),
                None => "by itself".to_owned(),
            },
            _ => format!("by `agent install` ({}); {waiting} wait for that", self.install_mode),
        };
        Some(match self.at_deadline.as_str() {
            "install" => format!("{text}; what is due by itself"),
            _ => text,
        })
    }
}

fn cut_off(one: &CutOff) -> String {
    let CutOff { since, why, good_until } = one;
    let held = match good_until {
        Some(until) => format!("what is held goes on until {until:.0}"),
        None => "what is held is of no more use".to_owned(),
    };
    format!("since {since:.0}, {held}: {why}")
}

impl Status {
    pub(crate) fn run(self, output: Output) -> anyhow::Result<()> {
        let state = self.folder.state();
        let (joined, memory) = (state.joined()?, state.memory()?);
        let own = memory.own_node(&joined);
        let install_at = memory.wish(|one| one.install_at.as_ref()).cloned();
        let reboot_policy = memory.wish(|one| one.reboot.as_ref()).cloned();
        let reboot_policy = reboot_policy.unwrap_or_else(|| Policy::default().to_string());
        let all = memory.standings.len();
        let is_unknown = |one: &Standing| one.verdict == Verdict::Unknown.as_str();
        let is_lost = |one: &Standing| memory.unreadable.is_some() && is_unknown(one);
        let concerns = |one: &Standing| self.all || one.concerns() || is_lost(one);
        let waiting = Queue::waiting_in(&state.folder().join("queue"))?;
        let revisions: Vec<Standing> =
            memory.standings.iter().filter(|one| concerns(one)).cloned().collect();
        output.print(&Shown {
            machine: joined.machine,
            group: joined.group,
            node: own.node,
            url: own.url,
            joined_at: joined.node,
            at: memory.at,
            site: memory.site,
            certificate_ends: format!("{:.0}", state.identity()?.certificate().not_after),
            looked_at: memory.looked_at.map(|at| format!("{at:.0}")),
            reported_to: memory.reported_to,
            install_mode: memory.install_mode,
            install_at,
            reboot_policy,
            at_deadline: memory.at_deadline,
            inventory: memory.inventory,
            cut_off: memory.cut_off,
            unreadable: memory.unreadable,
            reboot: memory.reboot.as_ref().map(Due::from),
            unreported: waiting.events,
            rolled_up: waiting.rolled_up,
            others: all - revisions.len(),
            revisions,
        })
    }
}
