//! `patchmesh agent run`.

use std::path::PathBuf;
use std::pin::pin;
use std::time::{Duration, Instant};

use clap::Args;
use jiff::Timestamp;
use patchmesh_topology::link::rate::Rate;
use patchmesh_topology::node::install_time::InstallTime;
use patchmesh_topology::node::mode::Asked;
use patchmesh_topology::reboot::Policy;

use super::Folder;
use super::install;
use super::ran::Ran;
use super::reboot::{Due, RebootCommand};
use crate::agent::ask::{Asker, Door};
use crate::agent::queue::MAX_EVENTS;
use crate::agent::round::policy::{Own, SPREAD};
use crate::agent::round::{self, Agent, Hooks};
use crate::agent::wake::Pace;
use crate::duration;
use crate::log::in_one_line;
use crate::terminal::output::Output;
use crate::terminal::signals;

/// How often a restart that is due is looked after.
const CHECK: Duration = Duration::from_secs(10 * 60);

/// How long the node has to say its first word before the first round begins anyway.
const FIRST_WORD: Duration = Duration::from_secs(3);

/// How often a machine's own node is asked again while another one stands in.
const HOME_AGAIN: Duration = Duration::from_secs(10 * 60);

/// The shortest time between two rounds.
const SHORTEST: Duration = Duration::from_secs(60);

/// Install what is open to this machine and concerns it, and report it
///
/// One round follows the mesh, looks at the machine, fetches, installs, looks
/// again and reports. Where no node is reached, what is held goes on until it
/// expires. With `--once` it is one round, which fails (exit 1) where something
/// could not be installed or removed, or else (exit 69) where no node was reached. Otherwise rounds go on, the first at once.
/// A signal ends the agent after the installation that is under way.
///
/// With a time to install at, by --at or by the policy of the machine's group, rounds fetch
/// and report as ever, and what would be installed or removed by itself waits for that time;
/// where the machine was off then, for its next round.
///
/// Installers are chained without restarts. Where one is due then, --reboot or the policy of the
/// group says who decides: `leave` it to whoever switches the machine off, `ask` for
/// `agent reboot`, `unattended` when nobody is logged on, or HH:MM, a local time,
/// within an hour from then.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh agent run --once
  patchmesh agent run --at 'Sun 03:00' --reboot unattended
  patchmesh agent run --pre-hook 'systemctl stop till' --post-hook 'systemctl start till'
  patchmesh agent run --once --root /srv/images/till --state /srv/images/till.agent

JSON:
  with --once: {\"generation\", \"installed\": [REVISION], \"removed\": [REVISION],
   \"failed\": [{\"revision\", \"why\"}],
   \"waiting\": [{\"revision\", \"why\", \"due_at\" or null}], \"reported\": EVENTS, \"cut_off\": WHY or null,
   \"not_told\": WHY no node took the reports, or null,
   \"reboot\": {\"since\", \"revisions\": [REVISION], \"waits_for\"} or null}")]
pub(crate) struct Run {
    /// One round, and no more
    #[arg(long)]
    once: bool,
    /// From one round to the next, moved by up to a tenth from machine to machine
    #[arg(long, value_name = "DURATION", default_value = "4h", value_parser = duration::parse, conflicts_with = "once")]
    every: Duration,
    /// Install at this local time, HH:MM or such as 'Sun 03:00', up to 30 minutes later from machine
    /// to machine [default: what the group's policy says]
    #[arg(long, value_name = "TIME", conflicts_with = "once")]
    at: Option<InstallTime>,
    /// A system that is unpacked elsewhere
    #[arg(long, value_name = "FOLDER", default_value = "/")]
    root: PathBuf,
    /// When to restart, where that is due: leave, ask, unattended or HH:MM [default: what
    /// the group's policy says, or else leave]
    #[arg(long, value_name = "POLICY")]
    reboot: Option<Policy>,
    /// How fast to fetch at most, such as 2MB/s [default: what the group's policy says]
    #[arg(long, value_name = "RATE")]
    download_rate: Option<Rate>,
    #[command(flatten)]
    command: RebootCommand,
    /// Command for `sh -c` before the installers of a round; where it fails none is run
    #[arg(long, value_name = "COMMAND")]
    pre_hook: Option<String>,
    /// Command for `sh -c` after them, before a restart
    #[arg(long, value_name = "COMMAND")]
    post_hook: Option<String>,
    /// Room for so many events that wait, instead of 8,192: to try what happens
    #[arg(long, hide = true, value_name = "EVENTS", default_value_t = MAX_EVENTS)]
    room: usize,
    #[command(flatten)]
    folder: Folder,
}

impl Run {
    pub(crate) async fn run(self, output: Output) -> anyhow::Result<()> {
        // An installer that runs is not cut off.
        let mut stop = pin!(signals::first_to_stop()?);
        let state = self.folder.state();
        // Nothing is made where nobody joined.
        state.joined()?;
        let _lock = state.lock()?;
        let hooks = Hooks { before: self.pre_hook.clone(), after: self.post_hook.clone() };
        let command = match self.reboot {
            None | Some(Policy::Leave | Policy::Ask) => self.command.of(&self.root),
            Some(_) => Some(self.command.named(&self.root)?),
        };
        let own = Own {
            install_at: self.at,
            reboot: self.reboot,
            download_rate: self.download_rate,
            is_restartable: command.is_some(),
        };
        let agent = Agent::open(state.clone(), self.root.clone())?.with_hooks(hooks);
        let mut agent = agent.with_own(own).with_room_for(self.room)?;
        if self.once {
            let (mut ran, not_told) = Ran::of(agent.round(&Asked::Nothing).await)?;
            let restarts = not_told.is_none() && agent.plan_reboot()? && agent.has_slot().await?;
            ran.reboot = agent.reboot_due().map(Due::from);
            output.print(&ran)?;
            if let Some(error) = not_told {
                return Err(error.into());
            }
            if let Some(command) = command.filter(|_| restarts) {
                agent.reboot(command).await?;
            }
            return ran.end();
        }
        let door = Door::open(&state)?;
        let (mut heard, mut pace) = (agent.listen(), Pace::default());
        let (mut asker, mut asked) = (None, Asked::Nothing);
        // So that the first round is about what the first word is about.
        tokio::select! {
            _ = stop.as_mut() => return Ok(()),
            _ = tokio::time::timeout(FIRST_WORD, heard.changed()) => {}
        }
        loop {
            let word = heard.borrow_and_update().state();
            let outcome = agent.round(&asked).await;
            asked = Asked::Nothing;
            let looked_at = match &outcome {
                Ok(done) => {
                    tracing::info!(
                        generation = done.generation,
                        installed = done.installed.len(),
                        removed = done.removed.len(),
                        failed = done.failed.len(),
                        "went through a round"
                    );
                    word.filter(|_| done.cut_off.is_none())
                }
                Err(error) => {
                    tracing::warn!(why = in_one_line(error), "a round did not come to its end");
                    None
                }
            };
            if let Some(asker) = asker.take() {
                install::answer(asker, outcome).await;
            }
            let now = Timestamp::now();
            let mut next = Instant::now() + self.wait(&agent, now);
            let mut is_woken = false;
            // All that a group's machines wait with is due at one moment.
            let due = agent.next_due(now).map(|at| at.duration_since(now));
            let due = due.and_then(|wait| Duration::try_from(wait).ok());
            if let Some(due) = due {
                let at = pace.earliest(Instant::now() + due + agent.jitter(SPREAD));
                if at < next {
                    (next, is_woken) = (at, true);
                }
            }
            loop {
                if let Err(error) = restart(&mut agent, command).await {
                    tracing::warn!(why = in_one_line(&error), "cannot restart this machine");
                }
                let left = next.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                // Somebody may log off meanwhile.
                let wait = if agent.reboot_due().is_some() { left.min(CHECK) } else { left };
                tokio::select! {
                    _ = stop.as_mut() => return Ok(()),
                    () = tokio::time::sleep(wait) => {}
                    // Whoever asks waits for no time.
                    stream = door.knock() => {
                        if let Some((who, what)) = Asker::read(stream).await {
                            (asker, asked) = (Some(who), what);
                            break;
                        }
                    }
                    Ok(()) = heard.changed() => {
                        let said = *heard.borrow_and_update();
                        let Some(within) = said.within(looked_at) else { continue };
                        let at = pace.earliest(Instant::now() + agent.jitter(within));
                        if at < next {
                            (next, is_woken) = (at, true);
                        }
                    }
                }
            }
            if is_woken {
                pace.began(Instant::now());
            }
        }
    }

    /// How long to wait for the next round.
    fn wait(&self, agent: &Agent, now: Timestamp) -> Duration {
        let every = if agent.has_stand_in() { self.every.min(HOME_AGAIN) } else { self.every };
        let every = every + agent.jitter(every / 10);
        let planned = agent.planned(now).map(|one| one.from.duration_since(now));
        let planned = planned.and_then(|wait| Duration::try_from(wait).ok());
        planned.map_or(every, |planned| planned.min(every)).max(SHORTEST)
    }
}

async fn restart(agent: &mut Agent, command: Option<&str>) -> Result<(), round::Error> {
    match command {
        Some(command) if agent.plan_reboot()? && agent.has_slot().await? => {
            agent.reboot(command).await
        }
        Some(_) => Ok(()),
        None => agent.plan_reboot().map(drop),
    }
}
