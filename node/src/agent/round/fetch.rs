//! What is to be installed is brought here, and what is needed no more is removed.

use std::collections::BTreeSet;
use std::path::PathBuf;

use jiff::Timestamp;
use patchmesh_topology::applicability::{Part, State as Verdict};
use patchmesh_topology::revision::{Revision, RevisionId};
use patchmesh_topology::rollout::Action;
use patchmesh_topology::tally::{Outcome, Phase};

use super::{Agent, Done, Error};
use crate::agent::decide::Item;
use crate::agent::download;
use crate::log::in_one_line;

/// A revision that is to be installed or removed, with the files that this takes.
pub(super) struct Wanted<'a> {
    pub(super) revision: &'a Revision,
    pub(super) action: Action,
    pub(super) parts: Vec<Part<'a>>,
    /// What goes with it, or it does not go.
    pub(super) needs: Vec<&'a RevisionId>,
    /// The deadline that has passed, where it goes by that alone.
    pub(super) due: Option<Timestamp>,
}

impl<'a> Wanted<'a> {
    pub(super) fn of(item: &Item<'a>) -> Option<Self> {
        let (parts, needs) = (item.install.clone()?, item.needs.clone());
        let (revision, due) = (item.revision, item.overdue());
        Some(Self { revision, action: Action::Install, parts, needs, due })
    }
}

/// A revision whose files are here.
pub(super) struct Fetched<'a> {
    pub(super) revision: &'a Revision,
    pub(super) parts: Vec<Part<'a>>,
    pub(super) files: Vec<PathBuf>,
    pub(super) needs: Vec<&'a RevisionId>,
    /// The deadline that has passed, where it goes by that alone.
    pub(super) due: Option<Timestamp>,
}

impl Fetched<'_> {
    /// What is told of its installation or removal: where nobody let it go, why it went.
    pub(super) fn told(&self, what: &str) -> String {
        match self.due {
            None => what.to_owned(),
            Some(at) => format!("{what}; it went by itself: its deadline was {at:.0}"),
        }
    }
}

/// Without what needs something that is not here: it would be half installed.
pub(super) fn together<'a>(mut fetched: Vec<Fetched<'a>>, done: &mut Done) -> Vec<Fetched<'a>> {
    loop {
        let here: BTreeSet<&RevisionId> = fetched.iter().map(|one| &one.revision.id).collect();
        let lacking = |one: &Fetched<'a>| one.needs.iter().copied().find(|id| !here.contains(id));
        let (whole, parts): (Vec<_>, Vec<_>) = fetched
            .into_iter()
            .map(|one| (lacking(&one), one))
            .partition(|(lack, _)| lack.is_none());
        for (lack, one) in &parts {
            let why = format!(
                "{} has to come with it",
                lack.map(ToString::to_string).unwrap_or_default()
            );
            done.withheld.insert(one.revision.id.to_string(), why);
        }
        fetched = whole.into_iter().map(|(_, one)| one).collect();
        if parts.is_empty() {
            return fetched;
        }
    }
}

impl Agent {
    /// Fetches what is to be installed or removed; what cannot be had now is left out.
    pub(super) async fn fetch<'a>(
        &mut self,
        wanted: Vec<Wanted<'a>>,
        done: &mut Done,
    ) -> Result<Vec<Fetched<'a>>, Error> {
        let folder = self.state.part("downloads")?;
        let link = self.memory.cut_off.is_none().then(|| self.link.clone());
        let (mut fetched, pace) = (Vec::new(), self.pace());
        for Wanted { revision, action, parts, needs, due } in wanted {
            let mut files = Vec::with_capacity(parts.len());
            let mut fault = None;
            for part in &parts {
                match download::fetch(link.as_ref(), part.payload, &folder, &pace).await {
                    Ok(file) => files.push(file),
                    // What is wrong with it for good is told rather.
                    Err(error) if fault.is_none() || !error.is_passing() => {
                        fault = Some((error.is_passing(), in_one_line(&error)));
                    }
                    Err(_) => {}
                }
            }
            let id = revision.id.to_string();
            match fault {
                None => {
                    fetched.push(Fetched { revision, parts, files, needs, due });
                }
                Some((true, why)) => {
                    done.withheld.insert(id, why);
                }
                Some((false, why)) => {
                    self.not_the_vendors(action, &id, &why)?;
                    done.failed.push((id, why));
                }
            }
        }
        Ok(together(fetched, done))
    }

    fn not_the_vendors(&mut self, action: Action, id: &str, why: &str) -> Result<(), Error> {
        self.attempted(action, id, |attempts| attempts.failed(Timestamp::now()));
        let phase = match action {
            Action::Install => Phase::Download,
            // It is there still, which is what that says.
            Action::Remove => Phase::Removal,
        };
        self.happened(id, phase, Outcome::Failure, 0, why)
    }

    /// Fetches what waits for its time alone: so it is here then, whether a node is
    /// reached or not.
    pub(super) async fn fetch_ahead(&mut self, items: &[Item<'_>]) -> Result<(), Error> {
        let (folder, pace) = (self.state.part("downloads")?, self.pace());
        let lacking =
            |item: &Item<'_>| !item.ahead.iter().all(|one| download::is_here(one, &folder));
        for item in items.iter().filter(|item| lacking(item)).take(self.queue.room()) {
            let id = item.revision.id.to_string();
            for payload in &item.ahead {
                match download::fetch(Some(&self.link), payload, &folder, &pace).await {
                    Ok(_) => {}
                    Err(error) if error.is_passing() => {
                        tracing::info!(
                            revision = id,
                            why = in_one_line(&error),
                            "not fetched ahead"
                        );
                    }
                    Err(error) => {
                        self.not_the_vendors(Action::Install, &id, &in_one_line(&error))?;
                        break;
                    }
                }
            }
        }
        Ok(self.state.save_memory(&self.memory)?)
    }

    /// Removes the files of what is not needed any more.
    pub(super) fn prune(&self, items: &[Item<'_>]) -> Result<(), Error> {
        let needed = items.iter().filter(|item| item.verdict == Verdict::Applicable);
        let payloads = needed.flat_map(|item| &item.revision.payloads);
        let wanted = payloads.map(|payload| payload.sha256).collect();
        download::prune(&self.state.part("downloads")?, &wanted);
        Ok(())
    }
}
