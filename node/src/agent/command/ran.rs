//! What came of a round, for people, scripts and whoever asked for it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::reboot::Due;
use crate::agent::round::{self, Done};
use crate::agent::state::Standing;
use crate::log::in_one_line;
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
    /// Why nobody took what there is to tell.
    not_told: Option<String>,
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
            not_told: None,
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
            ("not told", self.not_told.clone()),
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
    /// What came of a round, also of one that nobody took the reports of; what its command ends
    /// with then.
    ///
    /// # Errors
    /// A round that came to nothing.
    pub(super) fn of(
        outcome: Result<Done, round::Error>,
    ) -> Result<(Self, Option<round::Error>), round::Error> {
        match outcome {
            Ok(done) => Ok((done.into(), None)),
            Err(round::Error::NotTold { done, source }) => {
                let not_told = Some(in_one_line(&*source));
                Ok((Self { not_told, ..Self::from(*done) }, Some(*source)))
            }
            Err(error) => Err(error),
        }
    }

    /// How a command ends that went through that round.
    ///
    /// # Errors
    /// Something that could not be installed or removed; no node that was reached, or that
    /// took the reports.
    pub(super) fn end(&self) -> anyhow::Result<()> {
        if let Some(why) = &self.not_told {
            return Err(Exit::Failed.error(why.clone()));
        }
        match (self.failed.len(), &self.cut_off) {
            (0, None) => Ok(()),
            (0, Some(why)) => Err(Exit::Unavailable.error(format!("no node is reached: {why}"))),
            (failed, _) => {
                Err(Exit::Failed.error(format!("{failed} could not be installed or removed")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::agent::report;
    use crate::terminal::exit;

    #[test]
    fn what_was_installed_is_shown_though_nobody_took_the_reports() {
        let done = Done {
            generation: 7,
            installed: vec!["vendor:stable/app@2".to_owned()],
            removed: Vec::new(),
            failed: Vec::new(),
            withheld: BTreeMap::new(),
            reported: 0,
            cut_off: None,
            standings: Vec::new(),
        };
        let node = "lyon".parse().expect("a name");
        let refused = report::Error::PutBackAgain { node, until: Timestamp::UNIX_EPOCH };
        let source = Box::new(round::Error::from(refused));
        let error = round::Error::NotTold { done: Box::new(done), source };
        let (ran, error) = Ran::of(Err(error)).expect("a round");
        let text = ran.text();
        assert!(text.contains("installed\n  vendor:stable/app@2\n"), "{text}");
        assert!(text.contains("lyon holds events of this machine"), "{text}");
        let error = anyhow::Error::from(error.expect("the command fails"));
        assert_eq!(exit::of(&error), Exit::Failed);
        // Whoever asked the agent that runs is told the same.
        let sent = serde_json::to_string(&ran).expect("JSON");
        let read: Ran = serde_json::from_str(&sent).expect("read");
        let why = read.end().expect_err("it fails").to_string();
        assert!(why.contains("lyon holds events of this machine"), "{why}");
        let earlier = sent.replace("\"not_told\"", "\"other\"");
        let read: Ran = serde_json::from_str(&earlier).expect("an earlier agent's is read");
        read.end().expect("nothing is wrong");
        assert!(Ran::of(Err(round::Error::Name("machine"))).is_err());
    }
}
