//! The agent's folder: who the machine is, what it verified, and what it has done.
//!
//! ```text
//! identity/     key, certificate and CA
//! joined.json   mesh, name, group, and the node that it talks to
//! tuf/          trusted metadata, the pinned root first
//! documents/    signed documents by digest
//! downloads/    payloads, whole or in part
//! queue/        events that no node is known to hold
//! files/        what was put in the place of other files, and copies of those
//! reboot-slot.json   the slot that a node was asked for to restart
//! memory.json   what was tried and told, and how things stood last
//! lock          held by the one agent that runs
//! work          held by the process whose round is under way
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use patchmesh_topology::applicability::State as Verdict;
use patchmesh_topology::applicability::attempts::Attempts;
use patchmesh_topology::link::rate::Rate;
use patchmesh_topology::node::install_time::InstallTime;
use patchmesh_topology::reboot::Policy;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::brakes::Remembered;
use super::install::files::Records;
use crate::durable;
use crate::identity::files::{self, Identity};

/// The folder of a machine whose administrator chose none.
pub const DEFAULT_FOLDER: &str = "/var/lib/patchmesh-agent";

/// The largest state file; 20,000 revisions have some 8 MB.
const MAX_FILE: u64 = 64 << 20;

/// Why the agent's folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody joined.
    #[error("{} holds no machine yet; make it one with `patchmesh agent join`", .0.display())]
    NotJoined(PathBuf),
    /// Another agent works there.
    #[error("another agent uses {}; wait until it has ended", .0.display())]
    Busy(PathBuf),
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that this program did not write so.
    #[error("{} is damaged; remove it, and the agent goes on without what it remembered", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Who the machine is cannot be read.
    #[error(
        "{} is damaged, so nobody knows where this machine joined; remove it, and join again with a new token: `patchmesh agent join`", path.display()
    )]
    Joining {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The identity cannot be used.
    #[error("the machine's identity cannot be used")]
    Identity(#[from] files::Error),
}

/// Who the machine is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The mesh.
    pub mesh_id: String,
    /// The machine.
    pub machine: String,
    /// Its group.
    pub group: String,
    /// The node that it joined at.
    pub node: String,
    /// Where that is.
    pub node_url: String,
}

impl Joined {
    /// The node that it joined at.
    #[must_use]
    pub fn at(&self) -> KnownNode {
        KnownNode { node: self.node.clone(), url: self.node_url.clone() }
    }
}

/// What the agent remembers between rounds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// The greatest epoch of the mesh that was seen: a lower one is refused.
    pub mesh_epoch: u64,
    /// When the last round ended well.
    pub looked_at: Option<Timestamp>,
    /// The site where the machine was then.
    pub site: String,
    /// What the group's machines did by themselves then; empty before the first round.
    #[serde(default)]
    pub install_mode: String,
    /// Its own node, where that is not the one that it joined at: it is nearer.
    #[serde(default)]
    pub home: Option<KnownNode>,
    /// What the group's machines did at deadlines then.
    #[serde(default)]
    pub at_deadline: String,
    /// How many of its group restart at once, where that was limited then.
    #[serde(default)]
    pub reboot_slots: Option<NonZeroU16>,
    /// What headquarters wanted of the group's machines then.
    #[serde(default)]
    pub group_wants: Wishes,
    /// What the machine's administrator wanted instead.
    #[serde(default)]
    pub own_wants: Wishes,
    /// The last round in which what waits for the time to install went on.
    #[serde(default)]
    pub let_go_at: Option<Timestamp>,
    /// Whom the group's machines report to, where that is not each one's own node.
    #[serde(default)]
    pub statistics_node: Option<KnownNode>,
    /// Who took the last reports.
    #[serde(default)]
    pub reported_to: Option<String>,
    /// Who stands in where its own node is not reached, in this order.
    #[serde(default)]
    pub stand_ins: Vec<KnownNode>,
    /// Which of them the last round was with.
    #[serde(default)]
    pub at: Option<String>,
    /// What its own node's site held back when that was last heard.
    #[serde(default)]
    pub brakes: Remembered,
    /// Set while no node is reached.
    pub cut_off: Option<CutOff>,
    /// Why the machine could not be looked at in the last round; until it can, nothing is
    /// decided.
    #[serde(default)]
    pub unreadable: Option<String>,
    /// Formats of packages, as rules write them, whose list had their manager's own package.
    #[serde(default)]
    pub managers: BTreeSet<String>,
    /// The restart that is due.
    pub reboot: Option<Reboot>,
    /// Digest of the inventory of then.
    pub inventory: String,
    /// What was tried, by revision.
    pub attempts: BTreeMap<String, Tried>,
    /// What was tried to be removed, by revision.
    #[serde(default)]
    pub removals: BTreeMap<String, Tried>,
    /// The last word that was reported of each revision.
    pub told: BTreeMap<String, String>,
    /// How each revision stood.
    pub standings: Vec<Standing>,
}

impl Memory {
    /// The machine's own node.
    #[must_use]
    pub fn own_node(&self, joined: &Joined) -> KnownNode {
        self.home.clone().unwrap_or_else(|| joined.at())
    }

    /// What the machine's administrator wants, or else headquarters.
    pub fn wish(&self, of: impl Fn(&Wishes) -> Option<&String>) -> Option<&String> {
        of(&self.own_wants).or_else(|| of(&self.group_wants))
    }
}

/// When a machine installs and restarts, and how fast it fetches, as somebody states it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Wishes {
    /// An [`InstallTime`].
    pub install_at: Option<String>,
    /// A [`Policy`].
    pub reboot: Option<String>,
    /// A [`Rate`].
    #[serde(default)]
    pub download_rate: Option<String>,
}

impl Wishes {
    /// As they are stated; absent is none.
    #[must_use]
    pub fn of(
        install_at: Option<InstallTime>,
        reboot: Option<Policy>,
        download_rate: Option<Rate>,
    ) -> Self {
        Self {
            install_at: install_at.map(|one| one.to_string()),
            reboot: reboot.map(|one| one.to_string()),
            download_rate: download_rate.map(|one| one.to_string()),
        }
    }
}

/// A node as the mesh was last signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownNode {
    /// Its name.
    pub node: String,
    /// Where it is.
    pub url: String,
}

/// A slot that a node was asked for, so that the machine may restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebootSlot {
    /// The node.
    pub node: KnownNode,
    /// The boot of then.
    pub boot: Option<String>,
    /// Whether it was given for a restart that comes.
    pub is_restarting: bool,
}

/// A restart that is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reboot {
    /// Since when.
    pub since: Timestamp,
    /// The root of the system that is to restart.
    pub root: PathBuf,
    /// The boot of then.
    pub boot: Option<String>,
    /// Whether an installer's exit code asked for it: then only another boot ends it.
    pub by_code: bool,
    /// What takes effect with it.
    pub revisions: BTreeSet<String>,
    /// What it waits for.
    pub waits_for: String,
    /// When it was last tried.
    pub tried_at: Option<Timestamp>,
}

/// A machine that reaches no node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutOff {
    /// Since when.
    pub since: Timestamp,
    /// What was tried last, and what came of it.
    pub why: String,
    /// Until when it goes on with what it holds; not at all where there is none.
    pub good_until: Option<Timestamp>,
}

/// How often a revision was tried.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tried {
    /// Installations without effect.
    pub without_effect: u32,
    /// Failures.
    pub failed: u32,
    /// The last of them.
    pub failed_at: Option<Timestamp>,
    /// The installer's code of the last try that came to nothing.
    #[serde(default)]
    pub code: i64,
    /// What was told of it, as long as an event's message; empty where that is not known.
    #[serde(default)]
    pub said: String,
}

impl From<&Tried> for Attempts {
    fn from(tried: &Tried) -> Self {
        let Tried { without_effect, failed, failed_at, .. } = *tried;
        Self { without_effect, failed, failed_at, awaits_restart: false }
    }
}

impl Tried {
    /// Counts as these do. Restarts are kept apart, all in one.
    pub fn set(&mut self, attempts: Attempts) {
        let Attempts { without_effect, failed, failed_at, awaits_restart: _ } = attempts;
        (self.without_effect, self.failed, self.failed_at) = (without_effect, failed, failed_at);
    }
}

/// How a revision stands on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The revision.
    pub revision: String,
    /// Its title.
    pub title: String,
    /// `applicable`, `installed`, `not-applicable` or `unknown`.
    pub verdict: String,
    /// Why.
    pub reason: String,
    /// `install`, `remove`, `waiting`, or empty where there is nothing to do.
    pub action: String,
    /// Why it waits.
    pub waits_for: String,
    /// Whether it waits for a person at the machine alone.
    #[serde(default)]
    pub for_person: bool,
    /// By when the machine has to have it, where it needs it and its group installs at deadlines.
    #[serde(default)]
    pub due_at: Option<Timestamp>,
    /// When it goes by that, where it waits.
    #[serde(default)]
    pub goes_at: Option<Timestamp>,
}

impl Standing {
    /// Whether it is needed or there.
    #[must_use]
    pub fn concerns(&self) -> bool {
        [Verdict::Applicable, Verdict::Installed].iter().any(|one| one.as_str() == self.verdict)
    }

    /// Nobody can tell any more what it is to this machine, so nothing is done about it.
    pub fn becomes_unknown(&mut self, why: &str) {
        Verdict::Unknown.as_str().clone_into(&mut self.verdict);
        why.clone_into(&mut self.reason);
        self.action.clear();
        self.waits_for.clear();
        (self.for_person, self.goes_at) = (false, None);
    }
}

/// The agent's folder.
#[derive(Debug, Clone)]
pub struct State {
    folder: PathBuf,
}

impl State {
    /// Names the folder, which need not be there.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The folder itself.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the identity lies.
    #[must_use]
    pub fn identity_folder(&self) -> PathBuf {
        self.folder.join("identity")
    }

    /// A folder of the state, made where it is not there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn part(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.folder.join(name);
        durable::make_folder(&path)
            .map_err(|source| Error::Write { path: path.clone(), source })?;
        Ok(path)
    }

    /// Takes the folder for this process, until what is returned is dropped.
    ///
    /// # Errors
    /// [`Error::Busy`], or a folder that cannot be used.
    pub fn lock(&self) -> Result<File, Error> {
        self.locked("lock")
    }

    /// Says that a round is under way, until what is returned is dropped: the machine
    /// is not to restart then.
    ///
    /// # Errors
    /// As for [`State::lock`].
    pub fn work(&self) -> Result<File, Error> {
        self.locked("work")
    }

    fn locked(&self, name: &str) -> Result<File, Error> {
        let path = self.part("")?.join(name);
        let file =
            File::create(&path).map_err(|source| Error::Write { path: path.clone(), source })?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(fs::TryLockError::WouldBlock) => Err(Error::Busy(self.folder.clone())),
            Err(fs::TryLockError::Error(source)) => Err(Error::Write { path, source }),
        }
    }

    /// The machine's identity.
    ///
    /// # Errors
    /// [`Error::NotJoined`], or files that cannot be used.
    pub fn identity(&self) -> Result<Identity, Error> {
        if !files::exists(&self.identity_folder()) {
            return Err(Error::NotJoined(self.folder.clone()));
        }
        Ok(Identity::load(&self.identity_folder())?)
    }

    /// Who the machine is.
    ///
    /// # Errors
    /// [`Error::NotJoined`], or a file that cannot be used.
    pub fn joined(&self) -> Result<Joined, Error> {
        let joined = self.read("joined.json").map_err(|error| match error {
            Error::Damaged { path, source } => Error::Joining { path, source },
            other => other,
        })?;
        joined.ok_or_else(|| Error::NotJoined(self.folder.clone()))
    }

    /// Keeps who the machine is.
    ///
    /// # Errors
    /// A failing disk.
    pub fn save_joined(&self, joined: &Joined) -> Result<(), Error> {
        self.write("joined.json", joined)
    }

    /// What the agent remembers; nothing at first.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn memory(&self) -> Result<Memory, Error> {
        Ok(self.read("memory.json")?.unwrap_or_default())
    }

    /// Keeps what the agent remembers.
    ///
    /// # Errors
    /// A failing disk.
    pub fn save_memory(&self, memory: &Memory) -> Result<(), Error> {
        self.write("memory.json", memory)
    }

    /// The slot that a node was asked for and that is not given back.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn reboot_slot(&self) -> Result<Option<RebootSlot>, Error> {
        Ok(self.read::<Option<RebootSlot>>("reboot-slot.json")?.flatten())
    }

    /// Keeps that slot.
    ///
    /// # Errors
    /// A failing disk.
    pub fn save_reboot_slot(&self, slot: Option<&RebootSlot>) -> Result<(), Error> {
        self.write("reboot-slot.json", &slot)
    }

    /// What was put in the place of other files.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn placed(&self) -> Result<Records, Error> {
        Ok(self.read("files/placed.json")?.unwrap_or_default())
    }

    /// Keeps that.
    ///
    /// # Errors
    /// A failing disk.
    pub fn save_placed(&self, records: &Records) -> Result<(), Error> {
        self.part("files")?;
        self.write("files/placed.json", records)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        let path = self.folder.join(name);
        let bytes = durable::read(&path, MAX_FILE)
            .map_err(|source| Error::Read { path: path.clone(), source })?;
        let Some(bytes) = bytes else { return Ok(None) };
        let read = serde_json::from_slice(&bytes);
        read.map(Some).map_err(|source| Error::Damaged { path, source })
    }

    fn write(&self, name: &str, value: &impl Serialize) -> Result<(), Error> {
        let path = self.part("")?.join(name);
        let bytes = serde_json::to_vec_pretty(value)
            .map_err(|source| Error::Damaged { path: path.clone(), source })?;
        durable::replace(&path, &bytes, durable::SECRET)
            .map_err(|source| Error::Write { path, source })
    }
}
