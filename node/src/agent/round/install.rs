//! Installers are run, and judged by what is found afterwards.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use patchmesh_topology::applicability::attempts::Rest;
use patchmesh_topology::applicability::inventory::Format;
use patchmesh_topology::applicability::{Inventory, State as Verdict, verdict};
use patchmesh_topology::revision::{Installer, Payload, Reboot};
use patchmesh_topology::rollout::Action;
use patchmesh_topology::tally::{Outcome, Phase};

use super::fetch::Fetched;
use super::{Agent, Done, Error};
use crate::agent::install::files::{self, Files};
use crate::agent::install::{self, Ended, Meaning};

/// Commands of the machine's administrator around the installers of a round, each
/// for `sh -c`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Before the first; nothing is installed where it fails.
    pub before: Option<String>,
    /// After the last, before a restart.
    pub after: Option<String>,
}

impl Fetched<'_> {
    pub(super) fn meaning(&self, outcome: &install::Outcome) -> Meaning {
        let facts = &self.revision.facts;
        let is_command = self.revision.format().is_none() && !self.revision.is_placed();
        match &facts.installer {
            Some(installer) if is_command => outcome.meaning(installer),
            _ if outcome.ended != Ended::Code(0) => Meaning::Failure,
            // No exit code tells of that.
            _ if facts.reboot == Reboot::Required => Meaning::Reboot,
            _ => Meaning::Success,
        }
    }
}

impl Agent {
    /// Runs the hook that comes before all installers; where it fails none is run.
    pub(super) async fn prepare<'a>(
        &mut self,
        fetched: Vec<Fetched<'a>>,
        done: &mut Done,
    ) -> Result<Vec<Fetched<'a>>, Error> {
        let Some(hook) = self.hooks.before.as_ref().filter(|_| !fetched.is_empty()) else {
            return Ok(fetched);
        };
        let outcome = install::shell(hook, install::TIME_LIMIT).await;
        if outcome.ended == Ended::Code(0) {
            return Ok(fetched);
        }
        let why = format!("the hook before installing {}", outcome.summary(&[]));
        tracing::warn!(why, "nothing is installed in this round");
        let ids = fetched.iter().map(|one| one.revision.id.to_string());
        done.withheld.extend(ids.map(|id| (id, why.clone())));
        Ok(Vec::new())
    }

    /// Runs the hook that comes after all installers, before a restart.
    pub(super) async fn finish(&self) {
        let Some(hook) = &self.hooks.after else { return };
        let outcome = install::shell(hook, install::TIME_LIMIT).await;
        if outcome.ended != Ended::Code(0) {
            tracing::warn!(why = outcome.summary(&[]), "the hook after installing failed");
        }
    }

    /// Runs the installers: all packages together, then the vendors' own, in their
    /// order. One outcome for each revision.
    pub(super) async fn install(
        &mut self,
        fetched: &[Fetched<'_>],
    ) -> Result<Vec<install::Outcome>, Error> {
        for one in fetched {
            let id = one.revision.id.to_string();
            self.happened(&id, Phase::Download, Outcome::Success, 0, "")?;
            // What comes of it is told, so that it is needed still is no news.
            self.memory.told.insert(id, Verdict::Applicable.as_str().to_owned());
        }
        let mut of_packages = Vec::new();
        for files in calls(fetched) {
            of_packages.push(install::dpkg::install(&self.root, &files, install::TIME_LIMIT).await);
        }
        let of_packages = together(of_packages);
        let mut of_rpm = self.rpms(fetched).await.into_iter();
        let mut outcomes = Vec::with_capacity(fetched.len());
        for one in fetched {
            let done = match one.revision.format() {
                _ if one.revision.is_placed() => Some(self.put(one).await?),
                Some(Format::Deb) => of_packages.clone(),
                Some(Format::Rpm) => of_rpm.next(),
                None => None,
            };
            outcomes.push(match done {
                Some(outcome) => outcome,
                None => self.vendor(one, |installer| &installer.install).await,
            });
        }
        Ok(outcomes)
    }

    /// Puts the files of a revision in the place of others.
    async fn put(&self, one: &Fetched<'_>) -> Result<install::Outcome, Error> {
        let id = one.revision.id.clone();
        let payloads: Vec<(Payload, PathBuf)> = one
            .parts
            .iter()
            .zip(&one.files)
            .map(|(part, file)| (part.payload.clone(), file.clone()))
            .collect();
        self.with_files(move |files| {
            let parts: Vec<(&Payload, PathBuf)> =
                payloads.iter().map(|(payload, file)| (payload, file.clone())).collect();
            files.install(&id, &parts)
        })
        .await
    }

    /// Works on what was put in the place of other files.
    pub(super) async fn with_files(
        &self,
        work: impl FnOnce(&mut Files) -> Result<(), files::Error> + Send + 'static,
    ) -> Result<install::Outcome, Error> {
        let (state, root) = (self.state.clone(), self.root.clone());
        let worked = tokio::task::spawn_blocking(move || {
            Files::open(state, &root).and_then(|mut files| work(&mut files))
        });
        let ended = match worked.await? {
            Ok(()) => Ended::Code(0),
            Err(error) => Ended::Failed(error.outcome()),
        };
        Ok(install::Outcome { ended, output: String::new() })
    }

    /// Installs the packages of rpm: an outcome for each revision of such.
    async fn rpms(&self, fetched: &[Fetched<'_>]) -> Vec<install::Outcome> {
        let of_rpm = fetched.iter().filter(|one| one.revision.format() == Some(Format::Rpm));
        let revisions: Vec<Vec<_>> = of_rpm
            .map(|one| {
                let files = one.parts.iter().zip(&one.files);
                files.map(|(part, file)| (part.payload, file.clone())).collect()
            })
            .collect();
        install::rpm::install(&self.root, &revisions, install::TIME_LIMIT).await
    }

    /// Runs a vendor's installer with the words that `which` takes of it.
    pub(super) async fn vendor(
        &self,
        one: &Fetched<'_>,
        which: impl Fn(&Installer) -> &[String],
    ) -> install::Outcome {
        let refused = |why: &str| install::Outcome {
            ended: Ended::NotStarted(why.to_owned()),
            output: String::new(),
        };
        let Some(installer) = &one.revision.facts.installer else {
            return refused("its vendor states no installer");
        };
        if self.root != Path::new("/") {
            return refused("a vendor's installer works on this machine, not on another root");
        }
        let words = which(installer);
        let needs_file = words.iter().any(|word| word.contains(install::PAYLOAD));
        match one.files.first() {
            Some(file) => install::vendor(installer, words, file).await,
            None if !needs_file => install::vendor(installer, words, Path::new("")).await,
            None => refused("it has no file for this machine"),
        }
    }

    /// What became of each revision, by detection.
    pub(super) fn judge(
        &mut self,
        fetched: &[Fetched<'_>],
        ended: &[install::Outcome],
        inventory: &Inventory,
        done: &mut Done,
    ) -> Result<(), Error> {
        for (one, outcome) in fetched.iter().zip(ended) {
            let id = one.revision.id.to_string();
            let found = verdict(one.revision, inventory);
            let meaning = one.meaning(outcome);
            let restarts = inventory.reboot_needed || meaning == Meaning::Reboot;
            if found.state == Verdict::Installed {
                let told = match restarts {
                    true => Outcome::RebootRequired,
                    false => Outcome::Success,
                };
                let why = one.told(&found.reason);
                // Of a call with others the code may be that of another one's fault.
                let code = if meaning == Meaning::Failure { 0 } else { outcome.code() };
                self.happened(&id, Phase::Installation, told, code, &why)?;
                self.is_told_installed(&id);
                if restarts {
                    self.reboot_is_due(Some(&id), meaning == Meaning::Reboot)?;
                }
                done.installed.push(id);
                continue;
            }
            let names: Vec<&str> =
                one.parts.iter().map(|part| part.payload.package.as_str()).collect();
            if meaning == Meaning::Reboot {
                // Whether it is installed shows when the machine has restarted.
                let why =
                    format!("the installer {}: a restart completes it", outcome.summary(&names));
                let told = one.told(&why);
                self.happened(&id, Phase::Installation, Outcome::Pending, outcome.code(), &told)?;
                self.reboot_is_due(Some(&id), true)?;
                continue;
            }
            let why = self.fault(&id, meaning, outcome.summary(&names));
            let told = one.told(&why);
            self.happened(&id, Phase::Installation, Outcome::Failure, outcome.code(), &told)?;
            done.failed.push((id, why));
        }
        // What was tried counts even if the round does not come to its end.
        Ok(self.state.save_memory(&self.memory)?)
    }

    /// It was told as installed, so that it is found there is no news.
    pub(super) fn is_told_installed(&mut self, id: &str) {
        self.memory.attempts.remove(id);
        self.memory.told.insert(id.to_owned(), Verdict::Installed.as_str().to_owned());
    }

    /// Counts an attempt after which the revision is needed still, and says what was wrong.
    fn fault(&mut self, id: &str, meaning: Meaning, said: String) -> String {
        let is_done = meaning == Meaning::Success;
        let attempts = self.attempted(Action::Install, id, |attempts| match is_done {
            true => attempts.had_no_effect(),
            false => attempts.failed(Timestamp::now()),
        });
        match attempts.rest(Timestamp::now()) {
            Some(Rest::Looping) => Rest::Looping.to_string(),
            _ if is_done => format!("the installer {said}, but it is needed still"),
            _ => format!("the installer {said}"),
        }
    }
}

/// The packages of each call of dpkg: those that others have to find configured come in
/// an earlier one, and no call has too many.
fn calls(fetched: &[Fetched<'_>]) -> Vec<Vec<PathBuf>> {
    let of_packages = fetched.iter().filter(|one| one.revision.has_packages());
    let mut calls: BTreeMap<usize, Vec<PathBuf>> = BTreeMap::new();
    for (part, file) in of_packages.flat_map(|one| one.parts.iter().zip(&one.files)) {
        calls.entry(part.call).or_default().push(file.clone());
    }
    let chunks = |files: &Vec<PathBuf>| -> Vec<Vec<PathBuf>> {
        files.chunks(install::MAX_PACKAGES).map(<[_]>::to_vec).collect()
    };
    calls.values().flat_map(chunks).collect()
}

/// Several calls as one: the first that failed says how.
pub(super) fn together(outcomes: Vec<install::Outcome>) -> Option<install::Outcome> {
    let ended = outcomes
        .iter()
        .map(|one| &one.ended)
        .find(|ended| **ended != Ended::Code(0))
        .or_else(|| outcomes.first().map(|one| &one.ended))?
        .clone();
    let output = outcomes.iter().map(|one| one.output.as_str()).collect::<String>();
    Some(install::Outcome { ended, output })
}
