//! The slot that a machine has while it restarts, where its group says that only so
//! many restart at once.
//!
//! It is kept in a file of its own before the node is asked, so that it is given
//! back whatever comes.

use super::{Agent, Error};
use crate::agent::inventory;
use crate::agent::link::Link;
use crate::agent::link::fleet_lock::Step;
use crate::agent::state::{KnownNode, RebootSlot};
use crate::log::in_one_line;

impl Agent {
    /// Asks the machine's own node whether it may restart now, where its group has a
    /// limit. `Some` says why not.
    ///
    /// # Errors
    /// A failing disk.
    pub async fn ask_for_slot(&self) -> Result<Option<String>, Error> {
        if self.memory.reboot_slots.is_none() {
            return Ok(None);
        }
        let node = KnownNode { node: self.node.to_string(), url: self.joined.node_url.clone() };
        let slot = RebootSlot { node, boot: inventory::boot(&self.root)?, is_restarting: false };
        self.state.save_reboot_slot(Some(&slot))?;
        match self.home.fleet_lock(Step::PreReboot, &self.machine, &self.group).await {
            Ok(()) => {
                self.state.save_reboot_slot(Some(&RebootSlot { is_restarting: true, ..slot }))?;
                Ok(None)
            }
            Err(error) => Ok(Some(in_one_line(&error))),
        }
    }

    /// As [`Agent::ask_for_slot`], for a restart by the machine's policy; what it waits
    /// for is kept to be shown.
    ///
    /// # Errors
    /// A failing disk.
    pub async fn has_slot(&mut self) -> Result<bool, Error> {
        let Some(why) = self.ask_for_slot().await? else { return Ok(true) };
        let wait = format!("only so many of its group restart at once: {why}");
        if let Some(due) = &mut self.memory.reboot
            && due.waits_for != wait
        {
            tracing::info!(why, "this machine waits to restart");
            due.waits_for = wait;
            self.state.save_memory(&self.memory)?;
        }
        Ok(false)
    }

    /// Says that the restart that there is a slot for does not come.
    ///
    /// # Errors
    /// A failing disk.
    pub fn needs_no_slot(&self) -> Result<(), Error> {
        if let Some(slot) = self.state.reboot_slot()? {
            self.state.save_reboot_slot(Some(&RebootSlot { is_restarting: false, ..slot }))?;
        }
        Ok(())
    }

    /// Gives the slot back once the machine works again. That it could not be is no
    /// fault of the round: the next one tries again.
    pub(super) async fn give_slot_back(&self) -> Result<(), Error> {
        let Some(slot) = self.state.reboot_slot()? else { return Ok(()) };
        let is_same_boot = slot.boot == inventory::boot(&self.root)?;
        if slot.is_restarting && is_same_boot && self.memory.reboot.is_some() {
            return Ok(());
        }
        let node = slot.node.node.parse().map_err(|_| Error::Name("reboot-slot"))?;
        let url = slot.node.url.parse().map_err(|_| Error::Name("reboot-slot"))?;
        let link: Link = match self.home.leads_to(&slot.node) {
            true => self.home.clone(),
            false => self.home.to(&self.identity, node, url)?,
        };
        match link.fleet_lock(Step::SteadyState, &self.machine, &self.group).await {
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
