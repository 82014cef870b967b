//! `patchmesh agent install`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use patchmesh_topology::node::mode::Asked;
use patchmesh_topology::revision::RevisionId;

use super::Folder;
use super::ran::Ran;
use crate::agent::ask::{self, Asker};
use crate::agent::round::{self, Agent, Done};
use crate::agent::state::{self, State};
use crate::log::in_one_line;
use crate::terminal::exit::Exit;
use crate::terminal::output::Output;

/// What an agent that runs says first where the round did not come to its end.
const BROKEN: char = '!';

/// Install now what waits for a person
///
/// For groups whose machines only fetch by themselves (`manual`) or only tell
/// (`notify`), and for whoever does not want to wait for the next round of an
/// automatic one. What a rollout takes back is removed likewise. A round comes at
/// once, of the agent that runs, with its own options, or else of this command. What
/// is not open to this machine, or not in its window, waits as ever.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh agent install
  patchmesh agent install debian:bookworm/hello@2.10-3

JSON:
  as `agent run --once`")]
pub(crate) struct Install {
    /// Revisions as `agent status` shows them [default: all]
    revisions: Vec<RevisionId>,
    /// A system that is unpacked elsewhere, where no agent runs
    #[arg(long, value_name = "FOLDER", default_value = "/")]
    root: PathBuf,
    #[command(flatten)]
    folder: Folder,
}

impl Install {
    pub(crate) async fn run(self, output: Output) -> anyhow::Result<()> {
        let state = self.folder.state();
        state.joined()?;
        let revisions: BTreeSet<RevisionId> = self.revisions.into_iter().collect();
        let (ran, not_told) = match state.lock() {
            Ok(_lock) => here(&state, self.root, &revisions).await?,
            Err(state::Error::Busy(folder)) => {
                let answer = ask::ask(&state, &revisions).await?;
                // One round by hand, or the agent has only begun.
                (read(&answer.ok_or(state::Error::Busy(folder))?)?, None)
            }
            Err(error) => return Err(error.into()),
        };
        output.print(&ran)?;
        if let Some(error) = not_told {
            return Err(error.into());
        }
        let known = state.memory()?.standings;
        for one in &revisions {
            if !known.iter().any(|standing| standing.revision == one.to_string()) {
                return Err(
                    Exit::NotFound.error(format!("{one} is not approved for this machine's group"))
                );
            }
        }
        ran.end()
    }
}

/// A round of this process, and why nobody was told of it.
async fn here(
    state: &State,
    root: PathBuf,
    revisions: &BTreeSet<RevisionId>,
) -> Result<(Ran, Option<round::Error>), round::Error> {
    let asked = match revisions.is_empty() {
        true => Asked::All,
        false => Asked::These(revisions.clone()),
    };
    Ran::of(Agent::open(state.clone(), root)?.round(&asked).await)
}

/// What the agent that runs says.
fn read(answer: &str) -> anyhow::Result<Ran> {
    match answer.strip_prefix(BROKEN) {
        Some(why) => Err(Exit::Failed.error(why.to_owned())),
        None => Ok(serde_json::from_str(answer)?),
    }
}

/// What the agent that runs answers.
pub(super) async fn answer(asker: Asker, outcome: Result<Done, round::Error>) {
    let text = match Ran::of(outcome) {
        Ok((ran, _)) => serde_json::to_string(&ran).map_err(|error| error.to_string()),
        Err(error) => Err(in_one_line(&error)),
    };
    asker.answer(&text.unwrap_or_else(|why| format!("{BROKEN}{why}"))).await;
}
