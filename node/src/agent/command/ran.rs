//! What came of a round, for people, scripts and whoever asked for it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::reboot::Due;
use crate::agent::round::Done;
use crate::agent::state::Standing;
use crate::terminal::exit::Exit;
use crate::terminal::output::{Answer, fields};

/// What came of a round, as it is shown.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ran {
    generation: u64,
    installed: Vec<String>,
    removed: Vec<String>,
    failed: Vec<Why>,
    waiting: Vec<Waiting>,
    reported: usize,
    cut_off: Option<String>,
    pub(super) reboot: Option<Due>,
}

/// Of a revision.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Why {
    revision: String,
    why: String,
}

/// Of a revision that waits.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Waiting {
    revision: String,
    why: String,
    due_at: Option<Timestamp>,
}

impl From<Done> for Ran {
    fn from(done: Done) -> Self {
        let why = |(revision, why)| Why { revision, why };
        let waiting = done.standings.into_iter().filter(|one| one.action == "waiting");
        Self {
            generation: done.generation,
            installed: done.installed,
            removed: done.removed,
            failed: done.failed.into_iter().map(why).collect(),
            waiting: waiting.map(Waiting::from).collect(),
            reported: done.reported,
            cut_off: done.cut_off,
            reboot: None,
        }
    }
}

impl From<Standing> for Waiting {
    fn from(one: Standing) -> Self {
        Self { revision: one.revision, why: one.waits_for, due_at: one.due_at }
    }
}

impl Answer for Ran {
    fn text(&self) -> String {
        let mut text = fields([
            ("generation", Some(self.generation.to_string())),
            ("installed", Some(self.installed.len().to_string())),
            ("removed", Some(self.removed.len().to_string())),
            ("failed", Some(self.failed.len().to_string())),
            ("waiting", Some(self.waiting.len().to_string())),
            ("reported", Some(format!("{} events", self.reported))),
            ("cut off", self.cut_off.clone()),
            ("restart", self.reboot.as_ref().map(Due::sentence)),
        ]);
        for (name, revisions) in [("installed", &self.installed), ("removed", &self.removed)] {
            for revision in revisions {
                text.push_str(&format!("{name}\n  {revision}\n"));
            }
        }
        let line = |revision: &str, why: &str| format!("  {revision}: {why}\n");
        let failed = self.failed.iter().map(|one| line(&one.revision, &one.why));
        let waiting = self.waiting.iter().map(|one| line(&one.revision, &one.why));
        for (name, rows) in [("failed", failed.collect::<String>()), ("waiting", waiting.collect())]
        {
            if !rows.is_empty() {
                text.push_str(&format!("{name}\n{rows}"));
            }
        }
        text
    }
}

impl Ran {
    /// How a command ends that went through that round.
    ///
    /// # Errors
    /// Something that could not be installed or removed; no node that was reached.
    pub(super) fn end(&self) -> anyhow::Result<()> {
        match (self.failed.len(), &self.cut_off) {
            (0, None) => Ok(()),
            (0, Some(why)) => Err(Exit::Unavailable.error(format!("no node is reached: {why}"))),
            (failed, _) => {
                Err(Exit::Failed.error(format!("{failed} could not be installed or removed")))
            }
        }
    }
}
