//! Restarts: installers are chained without one, and one comes after them, by the
//! machine's policy. Whether it came shows by the kernel's boot, and by the marker
//! that the system keeps until then.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use patchmesh_topology::applicability::attempts::Rest;
use patchmesh_topology::applicability::{Inventory, State as Verdict, verdict};
use patchmesh_topology::revision::RevisionId;
use patchmesh_topology::rollout::Action;
use patchmesh_topology::tally::{Outcome, Phase};

use super::{Agent, Done, Error, slot};
use crate::agent::chain::Chain;
use crate::agent::install;
use crate::agent::inventory;
use crate::agent::state::Reboot;

/// After a command that did not restart the machine, the next try.
const AGAIN: SignedDuration = SignedDuration::from_hours(1);

/// What a revision that needed a restart and is needed still is told as.
const WITHOUT_EFFECT: &str = "the machine has restarted, and it is needed still";

/// What a restart waits for on a machine that cannot be looked at.
const UNREADABLE: &str = "nobody can tell what is on this machine";

impl Agent {
    /// The restart that is due.
    #[must_use]
    pub fn reboot_due(&self) -> Option<&Reboot> {
        self.memory.reboot.as_ref()
    }

    /// A restart is due, for a revision or somebody else; `by_code` where an
    /// installer said so, which keeps no marker.
    pub(super) fn reboot_is_due(
        &mut self,
        revision: Option<&str>,
        by_code: bool,
    ) -> Result<(), Error> {
        let boot = inventory::boot(&self.root)?;
        let due = self.memory.reboot.get_or_insert_with(|| Reboot {
            since: Timestamp::now(),
            root: self.root.clone(),
            boot,
            by_code: false,
            revisions: BTreeSet::new(),
            waits_for: String::new(),
            tried_at: None,
        });
        due.by_code |= by_code;
        due.revisions.extend(revision.map(str::to_owned));
        Ok(())
    }

    /// Takes note of a restart that came, and says what became of the revisions that
    /// needed it.
    pub(super) fn look_for_reboot(
        &mut self,
        chain: &Chain,
        inventory: &Inventory,
        done: &mut Done,
    ) -> Result<(), Error> {
        let Some(due) = &self.memory.reboot else { return Ok(()) };
        let boot = inventory::boot(&self.root)?;
        let is_other_boot = due.boot.is_some() && boot.is_some() && due.boot != boot;
        if is_other_boot || !(due.by_code || inventory.reboot_needed) {
            let revisions = due.revisions.clone();
            self.memory.reboot = None;
            self.judge_again(&revisions, chain, inventory, done)?;
            self.state.save_memory(&self.memory)?;
        }
        Ok(())
    }

    fn judge_again(
        &mut self,
        revisions: &BTreeSet<String>,
        chain: &Chain,
        inventory: &Inventory,
        done: &mut Done,
    ) -> Result<(), Error> {
        for id in revisions {
            let known = id.parse::<RevisionId>().ok().and_then(|id| chain.revisions.get(&id));
            let Some(found) = known.map(|revision| verdict(revision, inventory)) else { continue };
            match found.state {
                Verdict::Installed => {
                    self.happened(id, Phase::Reboot, Outcome::Success, 0, &found.reason)?;
                    self.is_told_installed(id);
                    done.installed.push(id.clone());
                }
                Verdict::Applicable | Verdict::Unknown => {
                    let attempts =
                        self.attempted(Action::Install, id, |attempts| attempts.had_no_effect());
                    let rest = attempts.rest(Timestamp::now());
                    let is_loop = rest == Some(Rest::Looping);
                    let why =
                        if is_loop { Rest::Looping.to_string() } else { WITHOUT_EFFECT.into() };
                    self.happened(id, Phase::Installation, Outcome::Failure, 0, &why)?;
                    done.failed.push((id.clone(), why));
                }
                Verdict::NotApplicable => {}
            }
        }
        Ok(())
    }

    /// Whether a restart is to come now by the machine's policy; what it waits for
    /// otherwise is kept to be shown.
    ///
    /// # Errors
    /// A failing disk.
    pub fn plan_reboot(&mut self) -> Result<bool, Error> {
        let (policy, now) = (self.reboot_policy(), Timestamp::now());
        let people = inventory::people(&self.root)?;
        let is_unreadable = self.memory.unreadable.is_some();
        let Some(due) = &mut self.memory.reboot else { return Ok(false) };
        let again = due.tried_at.and_then(|at| at.checked_add(AGAIN).ok());
        let wait = match policy.wait(people, TimeZone::system().to_datetime(now)) {
            // Nobody has seen yet whether it came already.
            None if is_unreadable => UNREADABLE.to_owned(),
            Some(wait) => wait.to_string(),
            // What came of the last try is said already.
            None if again.is_some_and(|again| now < again) => return Ok(false),
            None => String::new(),
        };
        let is_now = wait.is_empty();
        if due.waits_for != wait {
            due.waits_for = wait;
            self.state.save_memory(&self.memory)?;
        }
        Ok(is_now)
    }

    /// Restarts the machine with `command`, for `sh -c`. Where it works this process
    /// ends with the system, soon.
    ///
    /// # Errors
    /// A failing disk; a command that fails is kept to be shown, and tried again
    /// after an hour.
    pub async fn reboot(&mut self, command: &str) -> Result<(), Error> {
        self.said_of_reboot("it is under way")?;
        tracing::info!(command, "this machine restarts");
        let Err(said) = install::restart(command).await else { return Ok(()) };
        let why = format!("the command that restarts {said}");
        tracing::warn!(why, "this machine does not restart");
        slot::is_not_needed(&self.state)?;
        self.said_of_reboot(&why)
    }

    fn said_of_reboot(&mut self, what: &str) -> Result<(), Error> {
        if let Some(due) = &mut self.memory.reboot {
            due.tried_at = Some(Timestamp::now());
            what.clone_into(&mut due.waits_for);
        }
        Ok(self.state.save_memory(&self.memory)?)
    }
}
