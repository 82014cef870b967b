//! Putting files in the place of others, all of a revision or none, and putting back what
//! was there before.
//!
//! 1. What is to be done is written down ([`Underway`]).
//! 2. What is there is copied into the agent's folder; what is to come is written beside
//!    its place and verified. Then it is written down that all is prepared.
//! 3. Each file takes its place by a rename.
//! 4. What was put where is written down, and that nothing is under way.
//!
//! What always holds: between any two steps the machine may lose its power. What is not
//! done to its end is put back before anything else is done ([`Files::open`]), so that
//! every file is as it was, or, after the fourth step, every one as it is to be. Nothing
//! is written outside of the machine's root, whatever links say.

mod below;
mod records;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use patchmesh_topology::revision::{Payload, RevisionId};
use rustix::process::{getegid, geteuid};

use below::{Below, Found, Spot};
use records::{Backup, Content, Step, Underway};

pub use records::Records;

use crate::agent::inventory;
use crate::agent::state::{self, State};
use crate::durable;
use crate::log::in_one_line;

/// Where copies of what was replaced lie.
const KEPT: &str = "files/replaced";

/// The most paths of a machine where files were put.
const MAX_PATHS: usize = 10_000;

/// The most bytes of all copies of what was replaced.
const MAX_KEPT: u64 = 4 << 30;

/// The permissions of a file that replaces none, where none are stated.
const MODE: u32 = 0o644;

/// Why files were not put in place, or back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The agent's folder cannot be used.
    #[error(transparent)]
    State(#[from] state::Error),
    /// The machine's root cannot be used.
    #[error(transparent)]
    Root(Box<inventory::Error>),
    /// Something failed at a path.
    #[error("cannot {what} {path}")]
    Path {
        /// What.
        what: &'static str,
        /// Where, below the root.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A copy of a file cannot be used.
    #[error("cannot use the copy {}", path.display())]
    Copy {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is there is not replaced.
    #[error(
        "{path} is {what}, and only plain files are replaced: move it away, or have its vendor state another path"
    )]
    Kind {
        /// Where.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// A payload that says not where it goes.
    #[error("{0} states no path; its vendor has to mend that")]
    NoPlace(String),
    /// Two of them go to one place.
    #[error("two of its files go to {0}; its vendor has to mend that")]
    Twice(String),
    /// Nobody of that name.
    #[error("no {kind} {name:?} is in {list}: make one on this machine")]
    Nobody {
        /// `owner` or `group`.
        kind: &'static str,
        /// Who.
        name: String,
        /// Where it was looked for.
        list: &'static str,
    },
    /// Somebody works on the file.
    #[error("{0} was changed while it was to be replaced; it is tried again")]
    Moved(String),
    /// What is there is not what was put there.
    #[error(
        "{0} was changed since it was installed, so it is left: delete it, and what was there before comes back"
    )]
    Changed(String),
    /// What was written is not what was to be written.
    #[error("what was written for {0} is not what its vendor states")]
    Other(String),
    /// Too much to keep.
    #[error(
        "copies of what was replaced would have {0} bytes, and at most {MAX_KEPT} are kept: remove a revision whose backups are not needed"
    )]
    Large(u64),
    /// Too many paths.
    #[error("files would be put at more than {MAX_PATHS} paths of this machine")]
    Many,
    /// The journal is of another root.
    #[error(
        "files of {revision} are half replaced in {}: run the agent once with --root {}", root.display(), root.display()
    )]
    OtherRoot {
        /// The revision.
        revision: String,
        /// The root.
        root: PathBuf,
    },
    /// No random bytes.
    #[error("the system gives no randomness")]
    Random,
    /// It failed, and is not put back either.
    #[error(
        "{why}; what it replaced is not put back either, which is tried again before anything else"
    )]
    Stuck {
        /// Why it failed.
        why: String,
        /// Why that did.
        source: Box<Error>,
    },
    /// A test pulled the plug.
    #[cfg(test)]
    #[error("the power failed")]
    Power,
}

/// What the agent puts in the place of other files.
#[derive(Debug)]
pub struct Files {
    state: State,
    root: PathBuf,
    records: Records,
    /// Steps until a test pulls the plug.
    #[cfg(test)]
    fuse: Option<usize>,
}

/// What is to be done at a path.
struct Plan {
    path: String,
    /// What is there.
    found: Option<Found>,
    /// The SHA-256 that it has to have.
    was: Option<String>,
    /// What is to be there, and where that is now.
    new: Option<(Content, From)>,
}

enum From {
    Download(PathBuf),
    Kept(String),
}

/// What became of the paths, once they are as planned.
enum Goal {
    Installed,
    /// What was there before is there again at these.
    Removed(Vec<String>),
}

impl Files {
    /// Opens what is kept for the machine below `root`, and puts back what was not done to
    /// its end. Blocks.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn open(state: State, root: &Path) -> Result<Self, Error> {
        let records = state.placed()?;
        let mut files = Self {
            state,
            root: root.to_owned(),
            records,
            #[cfg(test)]
            fuse: None,
        };
        files.recover()?;
        if files.state.folder().join(KEPT).is_dir() {
            files.tidy();
        }
        Ok(files)
    }

    /// Puts all these files in place, or none. Blocks.
    ///
    /// # Errors
    /// See [`Error`]. But for [`Error::Stuck`] nothing is changed then.
    pub fn install(
        &mut self,
        revision: &RevisionId,
        parts: &[(&Payload, PathBuf)],
    ) -> Result<(), Error> {
        self.recover()?;
        let below = Below::open(&self.root)?;
        let mut plans: Vec<Plan> = Vec::with_capacity(parts.len());
        let mut paths = BTreeSet::new();
        for (payload, file) in parts {
            let place = payload.place.as_ref();
            let place = place.ok_or_else(|| Error::NoPlace(payload.file_name().to_owned()))?;
            if !paths.insert(&place.path) {
                return Err(Error::Twice(place.path.clone()));
            }
            let spot = below.spot(&place.path)?;
            let found = spot.as_ref().map(Spot::look).transpose()?.flatten();
            let id = |kind, name: &str, now: Option<u32>, own: u32| match (name, now) {
                ("", now) => Ok(now.unwrap_or(own)),
                (name, _) => below.id(kind, name),
            };
            let owner = found.map(|one| one.owner);
            let group = found.map(|one| one.group);
            let content = Content {
                sha256: payload.sha256.to_string(),
                mode: place.mode.or(found.map(|one| one.mode)).unwrap_or(MODE),
                owner: id("owner", &place.owner, owner, geteuid().as_raw())?,
                group: id("group", &place.group, group, getegid().as_raw())?,
            };
            let new = Some((content, From::Download(file.clone())));
            plans.push(Plan { path: place.path.clone(), found, was: None, new });
        }
        let others = self.records.layers.keys().filter(|path| !paths.contains(path)).count();
        if others + paths.len() > MAX_PATHS {
            return Err(Error::Many);
        }
        self.carry_out(&below, revision, &plans, Goal::Installed)
    }

    /// Puts back what was there before the files of a revision, all or none. Blocks.
    ///
    /// # Errors
    /// See [`Error`]. But for [`Error::Stuck`] nothing is changed then.
    pub fn remove(&mut self, revision: &RevisionId) -> Result<(), Error> {
        self.recover()?;
        let below = Below::open(&self.root)?;
        let (mut plans, mut paths) = (Vec::new(), Vec::new());
        let id = revision.to_string();
        for (path, layers) in &self.records.layers {
            let Some(top) = layers.last().filter(|one| one.revision == id) else { continue };
            paths.push(path.clone());
            let spot = below.spot(path)?;
            let found = spot.as_ref().map(Spot::look).transpose()?.flatten();
            let new = top
                .before
                .as_ref()
                .map(|backup| (backup.content.clone(), From::Kept(backup.file.clone())));
            // Who took it away where there was nothing before has done what is to be done.
            if found.is_some() || new.is_some() {
                let was = Some(top.there.sha256.clone());
                plans.push(Plan { path: path.clone(), found, was, new });
            }
        }
        self.carry_out(&below, revision, &plans, Goal::Removed(paths))
    }

    fn carry_out(
        &mut self,
        below: &Below,
        revision: &RevisionId,
        plans: &[Plan],
        goal: Goal,
    ) -> Result<(), Error> {
        let underway = self.underway(below, revision, plans)?;
        let kept = |records: &Records| records.backups().map(|one| one.bytes).sum::<u64>();
        let before = self.records.clone();
        self.records.underway = Some(underway);
        let bytes = kept(&self.records);
        let begun = match bytes > MAX_KEPT {
            true => Err(Error::Large(bytes)),
            false => self.save(),
        };
        if let Err(error) = begun {
            self.records = before;
            return Err(error);
        }
        let done = self
            .prepare(below, plans)
            .and_then(|()| self.replace(below, plans))
            .and_then(|()| self.note(revision, goal));
        match done {
            Ok(()) => self.tidy(),
            Err(error) if error.is_power() => return Err(error),
            Err(error) => {
                let why = in_one_line(&error);
                self.recover().map_err(|source| Error::Stuck { why, source: Box::new(source) })?;
                return Err(error);
            }
        }
        Ok(())
    }

    /// What is to be written down first.
    fn underway(
        &self,
        below: &Below,
        revision: &RevisionId,
        plans: &[Plan],
    ) -> Result<Underway, Error> {
        let mut name = [0; 8];
        aws_lc_rs::rand::fill(&mut name).map_err(|_| Error::Random)?;
        let name = hex::encode(name);
        let mut folders = Vec::new();
        for plan in plans.iter().filter(|plan| plan.new.is_some()) {
            for folder in below.lacking(&plan.path)? {
                if !folders.contains(&folder) {
                    folders.push(folder);
                }
            }
        }
        let steps = plans.iter().enumerate().map(|(number, plan)| Step {
            path: plan.path.clone(),
            temporary: format!(".patchmesh-{name}-{number}"),
            old: plan.found.map(|found| Backup {
                content: Content {
                    sha256: String::new(),
                    mode: found.mode,
                    owner: found.owner,
                    group: found.group,
                },
                bytes: found.bytes,
                file: format!("{name}-{number}"),
            }),
            new: plan.new.as_ref().map(|(content, _)| content.clone()),
        });
        Ok(Underway {
            revision: revision.to_string(),
            root: self.root.clone(),
            is_staged: false,
            steps: steps.collect(),
            folders,
        })
    }

    /// Copies what is there, and writes what is to come beside it.
    fn prepare(&mut self, below: &Below, plans: &[Plan]) -> Result<(), Error> {
        let kept = self.kept()?;
        let Some(mut underway) = self.records.underway.clone() else { return Ok(()) };
        for (plan, step) in plans.iter().zip(&mut underway.steps) {
            let (Some(found), Some(old)) = (plan.found, &mut step.old) else { continue };
            let spot = below.spot(&plan.path)?.ok_or_else(|| Error::Moved(plan.path.clone()))?;
            let path = kept.join(&old.file);
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            let file = file.map_err(|source| Error::Copy { path, source })?;
            let (bytes, sha256) = spot.copy(file, found.bytes)?;
            if bytes != found.bytes || spot.look()? != Some(found) {
                return Err(Error::Moved(plan.path.clone()));
            }
            old.content.sha256 = sha256.to_string();
            if plan.was.as_ref().is_some_and(|was| *was != old.content.sha256) {
                return Err(Error::Changed(plan.path.clone()));
            }
            self.pass()?;
        }
        let synced = durable::sync_folder(&kept);
        synced.map_err(|source| Error::Copy { path: kept.clone(), source })?;
        for folder in &underway.folders {
            below.make_folder(folder)?;
            self.pass()?;
        }
        for (plan, step) in plans.iter().zip(&underway.steps) {
            let Some((content, from)) = &plan.new else { continue };
            let spot = below.spot(&plan.path)?.ok_or_else(|| Error::Moved(plan.path.clone()))?;
            let path = match from {
                From::Download(path) => path.clone(),
                From::Kept(name) => kept.join(name),
            };
            write_beside(&spot, step, &path, content)?;
            self.pass()?;
        }
        underway.is_staged = true;
        self.records.underway = Some(underway);
        self.save()
    }

    /// Puts everything in its place.
    fn replace(&mut self, below: &Below, plans: &[Plan]) -> Result<(), Error> {
        let Some(underway) = self.records.underway.clone() else { return Ok(()) };
        for (plan, step) in plans.iter().zip(&underway.steps) {
            let spot = below.spot(&plan.path)?.ok_or_else(|| Error::Moved(plan.path.clone()))?;
            if spot.look()? != plan.found {
                return Err(Error::Moved(plan.path.clone()));
            }
            match &plan.new {
                Some(_) => spot.replace(&step.temporary)?,
                None => spot.remove()?,
            }
            self.pass()?;
            spot.sync()?;
        }
        Ok(())
    }

    /// Writes down that it is done.
    fn note(&mut self, revision: &RevisionId, goal: Goal) -> Result<(), Error> {
        let before = self.records.clone();
        let records = &mut self.records;
        let Some(underway) = records.underway.take() else { return Ok(()) };
        records.folders.extend(underway.folders);
        match goal {
            Goal::Installed => {
                for Step { path, old, new, .. } in underway.steps {
                    if let Some(new) = new {
                        records.put(&path, &revision.to_string(), new, old);
                    }
                }
            }
            Goal::Removed(paths) => paths.iter().for_each(|path| records.put_back(path)),
        }
        let saved = self.save();
        if saved.as_ref().is_err_and(|error| !error.is_power()) {
            self.records = before;
        }
        saved
    }

    /// Puts back what was not done to its end.
    fn recover(&mut self) -> Result<(), Error> {
        let Some(underway) = self.records.underway.clone() else {
            return Ok(());
        };
        let Underway { revision, root, is_staged, steps, folders } = underway;
        if root != self.root && root.is_dir() {
            return Err(Error::OtherRoot { revision, root });
        }
        tracing::warn!(revision, "its files were not all replaced: what was there is put back");
        let below = Below::open(&self.root)?;
        for step in &steps {
            if let Some(spot) = below.spot_still(&step.path)? {
                spot.remove_beside(&step.temporary)?;
                self.pass()?;
            }
        }
        for step in steps.iter().rev().filter(|_| is_staged) {
            self.undo(&below, step)?;
            self.pass()?;
        }
        for folder in folders.iter().rev() {
            below.remove_folder(folder)?;
            self.pass()?;
        }
        self.records.underway = None;
        self.save()?;
        self.tidy();
        Ok(())
    }

    /// Puts back what was at a path, unless somebody has changed it meanwhile.
    fn undo(&self, below: &Below, step: &Step) -> Result<(), Error> {
        let left = |why: &str| {
            tracing::warn!(path = step.path, why, "it is left as it is");
            Ok(())
        };
        let Some(spot) = below.spot_still(&step.path)? else { return left("its folder is gone") };
        let now = match spot.content() {
            Ok(now) => now,
            Err(error @ Error::Kind { .. }) => return left(&in_one_line(&error)),
            Err(error) => return Err(error),
        };
        let sha256 = |content: Option<&Content>| content.map(|one| one.sha256.clone());
        let old = step.old.as_ref();
        if now.as_ref() == old.map(|one| &one.content) {
            return Ok(());
        }
        if sha256(now.as_ref()) != sha256(step.new.as_ref()) {
            return left("somebody has changed it");
        }
        match old {
            None => spot.remove()?,
            Some(Backup { content, file, .. }) => {
                write_beside(&spot, step, &self.kept()?.join(file), content)?;
                spot.replace(&step.temporary)?;
            }
        }
        spot.sync()
    }

    /// Removes copies that nobody needs, and folders that were made and are empty. What
    /// cannot be removed now is looked at again.
    fn tidy(&mut self) {
        if let Err(error) = self.try_to_tidy() {
            tracing::warn!(why = in_one_line(&error), "something needless is left");
        }
    }

    fn try_to_tidy(&mut self) -> Result<(), Error> {
        let kept = self.kept()?;
        let failed = |source| Error::Copy { path: kept.clone(), source };
        let needed: BTreeSet<&str> = self.records.backups().map(|one| one.file.as_str()).collect();
        for entry in fs::read_dir(&kept).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if !needed.contains(entry.file_name().to_string_lossy().as_ref()) {
                fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
        let below = Below::open(&self.root)?;
        let mut folders = self.records.folders.clone();
        for folder in self.records.folders.iter().rev() {
            let inside = format!("{folder}/");
            let first = self.records.layers.range(inside.clone()..).next();
            if first.is_some_and(|(path, _)| path.starts_with(&inside)) {
                continue;
            }
            // One that others use by now is theirs.
            below.remove_folder(folder)?;
            folders.remove(folder);
        }
        if folders != self.records.folders {
            self.records.folders = folders;
            self.save()?;
        }
        Ok(())
    }

    /// The folder of copies.
    fn kept(&self) -> Result<PathBuf, Error> {
        Ok(self.state.part(KEPT)?)
    }

    fn save(&mut self) -> Result<(), Error> {
        self.state.save_placed(&self.records)?;
        self.pass()
    }

    /// Between two steps.
    #[cfg_attr(
        not(test),
        expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests fail here")
    )]
    fn pass(&mut self) -> Result<(), Error> {
        #[cfg(test)]
        match &mut self.fuse {
            Some(0) => return Err(Error::Power),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(())
    }
}

impl Error {
    /// Whether a test pulled the plug: nothing is done any more then.
    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "tests alone do that"))]
    const fn is_power(&self) -> bool {
        #[cfg(test)]
        return matches!(self, Self::Power);
        #[cfg(not(test))]
        false
    }

    /// What came of it, for people.
    #[must_use]
    pub fn outcome(&self) -> String {
        match self {
            Self::Stuck { .. } => format!("failed: {}", in_one_line(self)),
            _ => format!("changed nothing: {}", in_one_line(self)),
        }
    }
}

/// Writes what is to come, and makes sure that it is that.
fn write_beside(spot: &Spot, step: &Step, from: &Path, content: &Content) -> Result<(), Error> {
    let file = File::open(from);
    let file = file.map_err(|source| Error::Copy { path: from.to_owned(), source })?;
    let like = (content.mode, content.owner, content.group);
    let written = spot.write_beside(&step.temporary, file, like)?;
    if written.to_string() != content.sha256 {
        return Err(Error::Other(step.path.clone()));
    }
    Ok(())
}
