//! `patchmesh agent run`.

use std::path::PathBuf;
use std::pin::pin;
use std::time::{Duration, Instant};

use clap::Args;
use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;
use patchmesh_topology::node::mode::Asked;
use patchmesh_topology::reboot::Policy;

use super::Folder;
use super::install;
use super::ran::Ran;
use super::reboot::{Due, RebootCommand};
use crate::agent::ask::{Asker, Door};
use crate::agent::round::{self, Agent, Hooks};
use crate::agent::wake::Pace;
use crate::duration;
use crate::log::in_one_line;
use crate::terminal::output::Output;
use crate::terminal::signals;

/// The most that a planned time moves by from machine to machine.
const SPREAD: Duration = Duration::from_secs(30 * 60);

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
/// Installers are chained without restarts. Where one is due then, --reboot says
/// who decides: `leave` it to whoever switches the machine off, `ask` for
/// `agent reboot`, `unattended` when nobody is logged on, or HH:MM, a local time,
/// within an hour from then.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh agent run --once
  patchmesh agent run --at 03:00 --reboot unattended
  patchmesh agent run --pre-hook 'systemctl stop till' --post-hook 'systemctl start till'
  patchmesh agent run --once --root /srv/images/till --state /srv/images/till.agent

JSON:
  with --once: {\"generation\", \"installed\": [REVISION], \"removed\": [REVISION],
   \"failed\": [{\"revision\", \"why\"}],
   \"waiting\": [{\"revision\", \"why\"}], \"reported\": EVENTS, \"cut_off\": WHY or null,
   \"reboot\": {\"since\", \"revisions\": [REVISION], \"waits_for\"} or null}")]
pub(crate) struct Run {
    /// One round, and no more
    #[arg(long)]
    once: bool,
    /// From one round to the next, moved by up to a tenth from machine to machine
    #[arg(long, value_name = "DURATION", default_value = "4h", value_parser = duration::parse, conflicts_with = "once")]
    every: Duration,
    /// Once a day at this local time instead, up to 30 minutes later from machine to machine
    #[arg(long, value_name = "HH:MM", conflicts_with_all = ["once", "every"])]
    at: Option<Time>,
    /// A system that is unpacked elsewhere
    #[arg(long, value_name = "FOLDER", default_value = "/")]
    root: PathBuf,
    /// When to restart, where that is due: leave, ask, unattended or HH:MM
    #[arg(long, value_name = "POLICY", default_value = "leave")]
    reboot: Policy,
    #[command(flatten)]
    command: RebootCommand,
    /// Command for `sh -c` before the installers of a round; where it fails none is run
    #[arg(long, value_name = "COMMAND")]
    pre_hook: Option<String>,
    /// Command for `sh -c` after them, before a restart
    #[arg(long, value_name = "COMMAND")]
    post_hook: Option<String>,
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
        let mut agent = Agent::open(state.clone(), self.root.clone())?.with_hooks(hooks);
        let command = self.command.of(&self.root, self.reboot)?;
        if self.once {
            let mut ran = Ran::from(agent.round(&Asked::Nothing).await?);
            let restarts = agent.plan_reboot(self.reboot)? && agent.has_slot().await?;
            ran.reboot = agent.reboot_due().map(Due::from);
            output.print(&ran)?;
            if restarts {
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
            let mut next = Instant::now() + self.wait(&agent, Timestamp::now());
            let mut is_woken = false;
            loop {
                if let Err(error) = self.restart(&mut agent, command).await {
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
                    // With a time of its own it installs nothing before.
                    Ok(()) = heard.changed(), if self.at.is_none() => {
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

    async fn restart(&self, agent: &mut Agent, command: &str) -> Result<(), round::Error> {
        match agent.plan_reboot(self.reboot)? {
            true if agent.has_slot().await? => agent.reboot(command).await,
            _ => Ok(()),
        }
    }

    /// How long to wait for the next round.
    fn wait(&self, agent: &Agent, now: Timestamp) -> Duration {
        let until = |at| until(at, &TimeZone::system(), now);
        let planned = self.at.and_then(until).map(|wait| wait + agent.jitter(SPREAD));
        let every = if agent.has_stand_in() { self.every.min(HOME_AGAIN) } else { self.every };
        planned.unwrap_or_else(|| every + agent.jitter(every / 10)).max(SHORTEST)
    }
}

/// How long it is until that time of day, today or tomorrow.
fn until(at: Time, zone: &TimeZone, now: Timestamp) -> Option<Duration> {
    let today = zone.to_datetime(now).date();
    let on = |date: jiff::civil::Date| {
        zone.to_ambiguous_timestamp(date.to_datetime(at)).compatible().ok()
    };
    let first = on(today)?;
    let next = if first > now { first } else { on(today.tomorrow().ok()?)? };
    Duration::try_from(next.duration_since(now)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_planned_time_is_today_or_tomorrow_by_the_wall_clock() {
        let at = jiff::civil::time(3, 0, 0, 0);
        let zone = TimeZone::get("Europe/Paris").expect("a zone");
        let hours = |now: &str| {
            let now: Timestamp = now.parse().expect("a time");
            until(at, &zone, now).expect("a wait").as_secs() / 3600
        };
        assert_eq!(hours("2026-11-27T00:00:00Z"), 2);
        assert_eq!(hours("2026-11-27T02:00:00Z"), 24);
        assert_eq!(hours("2026-11-27T21:00:00Z"), 5);
        // The night in which clocks are put back has an hour more.
        assert_eq!(hours("2026-10-24T20:00:00Z"), 6);
    }
}
