//! Telling what is found on the machine, and what was done.

use std::collections::BTreeSet;

use jiff::Timestamp;
use patchmesh_proto::report::Fact;
use patchmesh_topology::applicability::attempts::Attempts;
use patchmesh_topology::applicability::{Inventory, State as Verdict};
use patchmesh_topology::digest::Digest;
use patchmesh_topology::name::Site;
use patchmesh_topology::tally::{Outcome, Phase};

use super::{Agent, Error};
use crate::agent::decide::{FOR_PERSON, Item};
use crate::agent::inventory;
use crate::agent::link::Link;
use crate::agent::queue::{Event, Queue};
use crate::agent::report::{self, Reporter, facts};
use crate::agent::state::Memory;
use crate::log::in_one_line;

impl Agent {
    /// Tells what is found, where that is not what was told last; with no room the
    /// rest is told when there is some.
    pub(super) fn tell_found(&mut self, items: &[Item<'_>], now: Timestamp) -> Result<(), Error> {
        let (mut events, mut told) = (Vec::new(), Vec::new());
        for item in items {
            let id = item.revision.id.to_string();
            let last = self.memory.told.get(&id);
            let Some((phase, outcome, word, reason)) = item.word(last.is_some()) else { continue };
            let is_forgotten = last.is_some_and(String::is_empty);
            let failed = is_forgotten.then(|| self.failed(item, now)).flatten();
            let (phase, outcome, code, reason) = match &failed {
                Some((phase, code, why)) => (*phase, Outcome::Failure, *code, why.as_str()),
                None => (phase, outcome, 0, reason),
            };
            // That it waits for a person does not take the place of how the last try failed.
            let was_tried =
                self.memory.attempts.contains_key(&id) || self.memory.removals.contains_key(&id);
            let is_old = last.is_some_and(|told| told == word);
            if is_old || (word == FOR_PERSON && was_tried && !is_forgotten) {
                continue;
            }
            if item.verdict == Verdict::Installed {
                self.memory.attempts.remove(&id);
            }
            if events.len() < self.queue.room() {
                events.push(Event::new(&id, phase, outcome, code, reason, now));
                told.push((id, word.to_owned()));
            }
        }
        self.queue.push(events)?;
        self.memory.told.extend(told);
        Ok(())
    }

    /// How a revision that waits for its next try failed: in which step, with which code, and
    /// what was told of it. An earlier agent kept neither, so it is told why it waits.
    fn failed(&self, item: &Item<'_>, now: Timestamp) -> Option<(Phase, i64, String)> {
        let (phase, tried, is_removal) = match (&item.removal, item.verdict) {
            (Some(_), Verdict::Installed) => (Phase::Removal, &self.memory.removals, true),
            (None, Verdict::Applicable) => (Phase::Installation, &self.memory.attempts, false),
            _ => return None,
        };
        let tried = tried.get(&item.revision.id.to_string())?;
        let rest = Attempts::from(tried).rest(now)?;
        let said = match (tried.said.is_empty(), is_removal) {
            (false, _) => tried.said.clone(),
            (true, true) => rest.of_removal(),
            (true, false) => rest.to_string(),
        };
        Some((phase, tried.code, said))
    }

    /// Hands over what waits, and what is on the machine.
    pub(super) async fn tell(
        &mut self,
        site: &Site,
        inventory: &Inventory,
        digest: &Digest,
        items: &[Item<'_>],
    ) -> Result<usize, Error> {
        let facts = self.facts(inventory, None);
        let (link, sent) = self.report(site, facts, items).await?;
        // It is sent again by the next round; the digest is told.
        if let Err(error) = link.tell_inventory(inventory, digest).await {
            tracing::warn!(why = in_one_line(&error), "the node did not take the inventory");
        }
        self.memory.reported_to = Some(link.node().to_string());
        Ok(sent)
    }

    /// Takes note of why nobody can tell what is on this machine, and tells that. What was told
    /// stays as it was: what is not seen is not gone.
    pub(super) async fn is_unreadable(&mut self, why: &str) -> Result<(), Error> {
        self.memory.unreadable = Some(why.to_owned());
        let concerned = self.memory.standings.iter_mut().filter(|one| one.concerns());
        concerned.for_each(|one| one.becomes_unknown(why));
        self.state.save_memory(&self.memory)?;
        if self.memory.cut_off.is_some() {
            return Ok(());
        }
        let Ok(site) = self.memory.site.parse() else { return Ok(()) };
        let root = self.root.clone();
        let besides = tokio::task::spawn_blocking(move || inventory::besides(&root)).await?;
        let facts = self.facts(&besides, Some(why));
        if let Err(error) = self.report(&site, facts, &[]).await {
            tracing::warn!(
                why = in_one_line(&error),
                "nobody is told that this machine cannot be looked at"
            );
        }
        Ok(())
    }

    fn facts(&self, inventory: &Inventory, unreadable: Option<&str>) -> Vec<Fact> {
        let Memory { inventory: digest, reboot, .. } = &self.memory;
        facts(inventory, digest, reboot.is_some(), unreadable)
    }

    /// Hands over what waits, and who took it; where that shows that this machine was put back,
    /// everything is told anew.
    async fn report(
        &mut self,
        site: &Site,
        facts: Vec<Fact>,
        items: &[Item<'_>],
    ) -> Result<(Link, usize), Error> {
        let handed_over = match self.hand_over(site, facts.clone()).await {
            Err(error @ report::Error::PutBack(_)) => {
                tracing::warn!(why = in_one_line(&error), "everything is told anew");
                self.begin_again(items)?;
                self.hand_over(site, facts).await
            }
            handed_over => handed_over,
        };
        Ok(handed_over?)
    }

    async fn hand_over(
        &mut self,
        site: &Site,
        facts: Vec<Fact>,
    ) -> Result<(Link, usize), report::Error> {
        let takers = self.takers();
        let reporter = Reporter {
            identity: &self.identity,
            joined: &self.joined,
            site: site.to_string(),
            facts,
        };
        let (link, sent) = reporter.send_to_first(&takers, &mut self.queue).await?;
        Ok((link.clone(), sent))
    }

    /// Nodes know of what this machine has no memory of: what it found is told anew, in a
    /// queue of another name. That it does not count as told is on the disk before the queue
    /// begins, which ends what shows that the machine was put back.
    fn begin_again(&mut self, items: &[Item<'_>]) -> Result<(), Error> {
        self.memory.forget_what_was_told(&self.queue);
        self.state.save_memory(&self.memory)?;
        self.queue.begin_again()?;
        self.tell_found(items, Timestamp::now())?;
        Ok(self.state.save_memory(&self.memory)?)
    }
}

impl Memory {
    /// Nothing counts as told of which nothing waits to be told.
    pub(super) fn forget_what_was_told(&mut self, queue: &Queue) {
        let waiting: BTreeSet<&str> =
            queue.events().iter().map(|(_, event)| event.revision.as_str()).collect();
        for (id, word) in &mut self.told {
            if !waiting.contains(id.as_str()) {
                word.clear();
            }
        }
    }
}
