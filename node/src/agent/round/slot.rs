//! The slot that a machine has while it restarts, where its group says that only so
//! many restart at once.
//!
//! It is kept in a file of its own before the node is asked, so that it is given
//! back whatever comes, and so that whoever restarts the machine by hand can take it
//! beside an agent that runs.

use std::path::Path;

use super::{Agent, Error};
use crate::agent::inventory;
use crate::agent::link::Link;
use crate::agent::link::fleet_lock::Step;
use crate::agent::state::{Joined, KnownNode, RebootSlot, State};
use crate::log::in_one_line;

/// Asks the machine's own node whether it may restart now. `Some` says why not.
///
/// # Errors
/// A failing disk.
pub async fn ask(
    state: &State,
    root: &Path,
    home: &Link,
    joined: &Joined,
) -> Result<Option<String>, Error> {
    let node = KnownNode { node: home.node().to_string(), url: home.url().to_string() };
    let slot = RebootSlot { node, boot: inventory::boot(root)?, is_restarting: false };
    state.save_reboot_slot(Some(&slot))?;
    match home.fleet_lock(Step::PreReboot, &joined.machine, &joined.group).await {
        Ok(()) => {
            state.save_reboot_slot(Some(&RebootSlot { is_restarting: true, ..slot }))?;
            Ok(None)
        }
        Err(error) => Ok(Some(in_one_line(&error))),
    }
}

/// Says that the restart that there is a slot for does not come.
///
/// # Errors
/// A failing disk.
pub fn is_not_needed(state: &State) -> Result<(), Error> {
    if let Some(slot) = state.reboot_slot()? {
        state.save_reboot_slot(Some(&RebootSlot { is_restarting: false, ..slot }))?;
    }
    Ok(())
}

impl Agent {
    /// Whether the machine may restart, as far as others of its group do; what it waits
    /// for otherwise is kept to be shown.
    ///
    /// # Errors
    /// A failing disk.
    pub async fn has_slot(&mut self) -> Result<bool, Error> {
        if self.memory.reboot_slots.is_none() {
            return Ok(true);
        }
        let asked = ask(&self.state, &self.root, &self.home, &self.joined).await?;
        let Some(why) = asked else { return Ok(true) };
        if let Some(due) = &mut self.memory.reboot {
            due.waits_for = format!("only so many of its group restart at once: {why}");
            self.state.save_memory(&self.memory)?;
        }
        tracing::info!(why, "this machine waits to restart");
        Ok(false)
    }

    /// Gives the slot back once the machine works again. That it could not be is no
    /// fault of the round: the next one tries again.
    pub(super) async fn give_slot_back(&self) -> Result<(), Error> {
        let Some(slot) = self.state.reboot_slot()? else { return Ok(()) };
        let is_same_boot = slot.boot == inventory::boot(&self.root)?;
        if slot.is_restarting && is_same_boot && self.memory.reboot.is_some() {
            return Ok(());
        }
        let link = match self.home.leads_to(&slot.node) {
            true => self.home.clone(),
            false => self.link_to(&slot.node)?,
        };
        match link.fleet_lock(Step::SteadyState, &self.joined.machine, &self.joined.group).await {
            Ok(()) => self.state.save_reboot_slot(None)?,
            Err(error) => {
                tracing::warn!(
                    why = in_one_line(&error),
                    "the slot to restart is not given back yet"
                );
            }
        }
        Ok(())
    }
}
