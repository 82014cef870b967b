//! What rollouts take back is removed, and judged by what is found afterwards.

use jiff::Timestamp;
use patchmesh_topology::applicability::attempts::Rest;
use patchmesh_topology::applicability::inventory::Format;
use patchmesh_topology::applicability::{Inventory, Part, Removal, removal};
use patchmesh_topology::revision::Revision;
use patchmesh_topology::rollout::Action;
use patchmesh_topology::tally::{Outcome, Phase};

use super::fetch::{Fetched, Wanted};
use super::install::together;
use super::{Agent, Done, EVENTS_EACH, Error};
use crate::agent::decide::{Item, REMOVED};
use crate::agent::install::{self, Meaning};

impl Agent {
    /// Removes what is to go now: all packages together, so that dpkg finds their
    /// order, then with the vendors' installers. One outcome for each revision.
    pub(super) async fn remove<'a>(
        &mut self,
        items: &[Item<'a>],
        done: &mut Done,
    ) -> Result<Vec<(Fetched<'a>, install::Outcome)>, Error> {
        let room = self.queue.room() / EVENTS_EACH;
        let due: Vec<&Item<'a>> =
            items.iter().filter(|item| item.is_removed_now()).take(room).collect();
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = due.iter().map(|item| wanted(item)).collect();
        let fetched = self.fetch(wanted, done).await?;
        let fetched = self.prepare(fetched, done).await?;
        if fetched.is_empty() {
            return Ok(Vec::new());
        }
        let is_here =
            |revision: &Revision| fetched.iter().any(|one| one.revision.id == revision.id);
        for item in due.iter().filter(|item| is_here(item.revision)) {
            // What comes of it is told, so that it is found as before is no news.
            let told = item.verdict.as_str().to_owned();
            self.memory.told.insert(item.revision.id.to_string(), told);
        }
        let of_debs = self.remove_packages(Format::Deb, &due, is_here).await;
        let of_rpms = self.remove_packages(Format::Rpm, &due, is_here).await;
        let mut outcomes = Vec::with_capacity(fetched.len());
        for one in fetched {
            let done = match one.revision.format() {
                _ if one.revision.is_placed() => Some(self.put_back(&one).await?),
                Some(Format::Deb) => of_debs.clone(),
                Some(Format::Rpm) => of_rpms.clone(),
                None => None,
            };
            let outcome = match done {
                Some(outcome) => outcome,
                None => self.vendor(&one, |installer| &installer.remove).await,
            };
            outcomes.push((one, outcome));
        }
        self.finish().await;
        Ok(outcomes)
    }

    /// Puts back what was there before the files of a revision.
    async fn put_back(&self, one: &Fetched<'_>) -> Result<install::Outcome, Error> {
        let id = one.revision.id.clone();
        self.with_files(move |files| files.remove(&id)).await
    }

    /// Removes the packages of a manager; `None` where there are none.
    async fn remove_packages(
        &self,
        format: Format,
        due: &[&Item<'_>],
        is_here: impl Fn(&Revision) -> bool,
    ) -> Option<install::Outcome> {
        let names: Vec<String> = due
            .iter()
            .filter(|item| item.revision.format() == Some(format) && is_here(item.revision))
            .filter_map(|item| match &item.removal {
                Some(Removal::Packages(names)) => Some(names.clone()),
                _ => None,
            })
            .flatten()
            .collect();
        let mut outcomes = Vec::new();
        for names in names.chunks(install::MAX_PACKAGES) {
            outcomes.push(match format {
                Format::Deb => install::dpkg::remove(&self.root, names, install::TIME_LIMIT).await,
                Format::Rpm => install::rpm::remove(&self.root, names, install::TIME_LIMIT).await,
            });
        }
        together(outcomes)
    }

    /// What became of each revision that was to go, by detection.
    pub(super) fn judge_removed(
        &mut self,
        removed: &[(Fetched<'_>, install::Outcome)],
        inventory: &Inventory,
        done: &mut Done,
    ) -> Result<(), Error> {
        for (one, outcome) in removed {
            let id = one.revision.id.to_string();
            let meaning = one.meaning(outcome);
            let code = outcome.code();
            if meaning == Meaning::Reboot {
                self.reboot_is_due(None, true)?;
            }
            if let Removal::Gone(why) = removal(one.revision, inventory) {
                let told = match inventory.reboot_needed || meaning == Meaning::Reboot {
                    true => Outcome::RebootRequired,
                    false => Outcome::Success,
                };
                self.happened(&id, Phase::Removal, told, code, &one.told(&why))?;
                self.memory.removals.remove(&id);
                self.memory.told.insert(id.clone(), REMOVED.to_owned());
                done.removed.push(id);
                continue;
            }
            let names: Vec<&str> =
                one.revision.payloads.iter().map(|payload| payload.package.as_str()).collect();
            let why = self.stays(&id, meaning, &outcome.summary(&names));
            self.happened(&id, Phase::Removal, Outcome::Failure, code, &why)?;
            done.failed.push((id, why));
        }
        // What was tried counts even if the round does not come to its end.
        Ok(self.state.save_memory(&self.memory)?)
    }

    /// Counts an attempt after which the revision is there still, and says what was wrong.
    fn stays(&mut self, id: &str, meaning: Meaning, said: &str) -> String {
        let is_done = meaning == Meaning::Success;
        let attempts = self.attempted(Action::Remove, id, |attempts| match is_done {
            true => attempts.had_no_effect(),
            false => attempts.failed(Timestamp::now()),
        });
        match attempts.rest(Timestamp::now()) {
            Some(rest @ Rest::Looping) => rest.of_removal(),
            _ if is_done => format!("removing it {said}, but it is there still"),
            _ => format!("removing it {said}"),
        }
    }
}

/// The files that are needed to remove it: those that the vendor's command names.
fn wanted<'a>(item: &Item<'a>) -> Wanted<'a> {
    let needs_file = match &item.removal {
        Some(Removal::Vendor(installer)) => {
            installer.remove.iter().any(|word| word.contains(install::PAYLOAD))
        }
        _ => false,
    };
    let files = item.revision.payloads.iter().filter(|_| needs_file);
    let parts = files.map(|payload| Part { payload, call: 0 }).collect();
    let (revision, due) = (item.revision, item.overdue());
    Wanted { revision, action: Action::Remove, parts, needs: Vec::new(), due }
}
