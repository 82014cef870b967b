//! `patchmesh agent reboot`, and what restarts are for the other commands.

use std::path::Path;

use clap::Args;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Folder;
use crate::agent::round::{self, slot, whom};
use crate::agent::state::State;
use crate::agent::{install, inventory, state};
use crate::terminal::exit::Exit;
use crate::terminal::output::{Answer, Output};

/// What restarts a machine.
const COMMAND: &str = "systemctl reboot";

/// Restart this machine now, where that is due
///
/// For somebody at the machine whom the agent asks (`agent run --reboot ask`), or
/// who does not want to wait. Not while a round is under way, nor where as many of the
/// group restart as may at once.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh agent reboot

JSON:
  {\"since\", \"revisions\": [REVISION], \"waits_for\"}")]
pub(crate) struct Restart {
    #[command(flatten)]
    command: RebootCommand,
    #[command(flatten)]
    folder: Folder,
}

// What restarts the machine. No doc comment: clap would take it for the
// description of the command that this is flattened into.
#[derive(Debug, Clone, Args)]
pub(crate) struct RebootCommand {
    /// Command for `sh -c` that restarts the machine [default: systemctl reboot]
    #[arg(long, value_name = "COMMAND")]
    reboot_command: Option<String>,
}

impl RebootCommand {
    /// The command for a root, where one is known: this host is not restarted for
    /// another system.
    pub(crate) fn of(&self, root: &Path) -> Option<&str> {
        let own = (root == Path::new("/")).then_some(COMMAND);
        self.reboot_command.as_deref().or(own)
    }

    /// The same where one is needed.
    pub(crate) fn named(&self, root: &Path) -> anyhow::Result<&str> {
        let unnamed = || Exit::Usage.error("name what restarts that root, with --reboot-command");
        self.of(root).ok_or_else(unnamed)
    }
}

/// A restart that is due, as it is shown.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Due {
    since: Timestamp,
    revisions: Vec<String>,
    waits_for: String,
}

impl From<&state::Reboot> for Due {
    fn from(due: &state::Reboot) -> Self {
        Self {
            since: due.since,
            revisions: due.revisions.iter().cloned().collect(),
            waits_for: due.waits_for.clone(),
        }
    }
}

impl Due {
    /// For people.
    pub(crate) fn sentence(&self) -> String {
        let Self { since, revisions, waits_for } = self;
        let waits = if waits_for.is_empty() { "it comes now" } else { waits_for };
        format!("due since {since:.0}, for {} revisions: {waits}", revisions.len())
    }
}

impl Answer for Due {
    fn text(&self) -> String {
        format!("restart {}\n", self.sentence())
    }
}

/// Why the machine gets no slot to restart, where its group has so many.
async fn refusal(state: &State, due: &state::Reboot) -> Result<Option<String>, round::Error> {
    let (memory, joined) = (state.memory()?, state.joined()?);
    if memory.reboot_slots.is_none() {
        return Ok(None);
    }
    let home = whom::link_home(&state.identity()?, &memory.own_node(&joined))?;
    slot::ask(state, &due.root, &home, &joined).await
}

impl Restart {
    pub(crate) async fn run(self, output: Output) -> anyhow::Result<()> {
        let state = self.folder.state();
        state.joined()?;
        let _work = state.work()?;
        let Some(due) = state.memory()?.reboot else {
            return Err(Exit::Refused.error("no restart is due"));
        };
        let command = self.command.named(&due.root)?;
        if due.boot.is_some() && inventory::boot(&due.root)? != due.boot {
            return Err(Exit::Refused.error("the restart has come; the next round looks after it"));
        }
        if let Some(why) = refusal(&state, &due).await? {
            return Err(Exit::Refused.error(format!(
                "only so many of this machine's group restart at once: {why}; try again, or see `patchmesh reboot-lock list` at its node"
            )));
        }
        let shown = Due { waits_for: String::new(), ..Due::from(&due) };
        output.print(&shown)?;
        let restarted = install::restart(command).await;
        if restarted.is_err() {
            slot::is_not_needed(&state)?;
        }
        restarted.map_err(|said| Exit::Failed.error(format!("{command:?} {said}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_is_not_restarted_for_another_root() {
        let of = |command: Option<&str>, root: &str| {
            let command = RebootCommand { reboot_command: command.map(str::to_owned) };
            command.named(Path::new(root)).map(str::to_owned).ok()
        };
        assert_eq!(of(None, "/").as_deref(), Some(COMMAND));
        assert_eq!(of(None, "/srv/till"), None);
        assert_eq!(of(Some("x"), "/srv/till").as_deref(), Some("x"));
    }
}
