//! Asking every node what it holds, and waiting for those that must answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use patchmesh_topology::name::NodeName;
use patchmesh_topology::node::{Mesh, Node};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Ways;
use super::ask::{self, Word};
use crate::log::in_one_line;
use crate::tuf::RoleName;

/// Nodes asked at a time.
const CONCURRENT: usize = 8;
/// First pause before silent nodes are asked again; doubles.
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// Longest such pause.
const MAX_PAUSE: Duration = Duration::from_secs(15);
/// How long silent nodes are waited for before the start is given up.
pub const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// How often an answer of no use is asked for again: the node may have been
/// switching just then.
const USELESS: u32 = 3;

/// Whose silence is accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Accept {
    /// Nobody's.
    #[default]
    None,
    /// That of these nodes.
    Nodes(BTreeSet<NodeName>),
    /// Everybody's.
    All,
}

impl Accept {
    fn covers(&self, name: &NodeName) -> bool {
        match self {
            Self::None => false,
            Self::Nodes(names) => names.contains(name),
            Self::All => true,
        }
    }
}

/// Why it is not known what the nodes hold.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nodes directly below that did not answer.
    #[error(
        "node{} {} did not answer within {} minutes; what {} accepted since the backup would be lost: \
         start {} or, if {} gone, run `patchmesh serve --accept-unreachable NODE` (or `all`)",
        if .0.len() == 1 { "" } else { "s" },
        join(.0),
        PATIENCE.as_secs() / 60,
        if .0.len() == 1 { "it" } else { "they" },
        if .0.len() == 1 { "it" } else { "them" },
        if .0.len() == 1 { "it is" } else { "they are" }
    )]
    Silent(Vec<NodeName>),
    /// Another node is the primary.
    #[error(
        "node {witness} has shut this node out and follows root {theirs}, here it is {ours}: another node was promoted \
         in its place; stop this one for good, or clear its data folder and let it join anew"
    )]
    ShutOut {
        /// Who says so.
        witness: NodeName,
        /// The root's version there.
        theirs: u64,
        /// The root's version here.
        ours: u64,
    },
    /// The node is to stop.
    #[error("stopped while other nodes were asked what they hold")]
    Stopped,
}

fn join(names: &[NodeName]) -> String {
    names.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ")
}

/// Who asks, and from where.
#[derive(Debug)]
pub struct Census<'a> {
    /// How others are reached.
    pub ways: &'a Ways,
    /// This node.
    pub own: &'a NodeName,
    /// The primary that was: this node itself, or whose place it takes.
    pub old: &'a NodeName,
    /// The root that is trusted here.
    pub root: &'a [u8],
    /// Its version.
    pub root_version: u64,
    /// The time as of which signatures count: what is newer has not expired
    /// then.
    pub at: Timestamp,
    /// Whose silence is accepted.
    pub accept: &'a Accept,
}

/// What was heard.
#[derive(Debug, Default)]
pub struct Heard {
    /// By node; those that answered with nothing of use are left out.
    pub words: BTreeMap<NodeName, Word>,
}

impl Heard {
    /// The newest.
    #[must_use]
    pub fn newest(&self) -> Option<(&NodeName, &Word)> {
        self.words.iter().max_by_key(|(_, word)| word.rank())
    }

    /// The highest version of each role that any node holds.
    #[must_use]
    pub fn versions(&self) -> BTreeMap<RoleName, u64> {
        let mut highest = BTreeMap::new();
        for (role, version) in self.words.values().flat_map(Word::versions) {
            let known: &mut u64 = highest.entry(role).or_default();
            *known = version.max(*known);
        }
        highest
    }
}

impl Census<'_> {
    /// Asks every node of `mesh`, and of the newer ones that come up, until
    /// all directly below this node have answered or are excused.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn hear(&self, mesh: &Mesh, stop: &CancellationToken) -> Result<Heard, Error> {
        let deadline = Instant::now() + PATIENCE;
        let (mut heard, mut tries) = (Heard::default(), BTreeMap::<NodeName, u32>::new());
        let (mut mesh, mut rank) = (mesh.clone(), (mesh.epoch, 0));
        let (mut pause, mut told) = (MIN_PAUSE, Vec::new());
        let mut asked_of = BTreeSet::new();
        loop {
            let settled = |name: &NodeName| {
                heard.words.contains_key(name) || tries.get(name).is_some_and(|one| *one >= USELESS)
            };
            let silent: Vec<Node> = self.others(&mesh).filter(|one| !settled(&one.name)).collect();
            asked_of.extend(silent.iter().map(|node| node.name.clone()));
            let answers = tokio::select! {
                () = stop.cancelled() => return Err(Error::Stopped),
                answers = self.ask(&silent) => answers,
            };
            for (name, answer) in answers {
                match answer {
                    Ok(word) => {
                        tracing::info!(
                            node = %name,
                            epoch = word.mesh.epoch,
                            timestamp = word.timestamp_version,
                            "a node said what it holds"
                        );
                        heard.words.insert(name, word);
                    }
                    Err(error) => {
                        self.check_shut_out(&mesh, &name, &error).await?;
                        let count = tries.entry(name.clone()).or_default();
                        *count += u32::from(error.is_answer());
                        tracing::debug!(node = %name, error = in_one_line(&error), "no answer yet");
                        if *count == USELESS {
                            tracing::warn!(
                                node = %name,
                                error = in_one_line(&error),
                                "what a node holds cannot be used; going on without it"
                            );
                        }
                    }
                }
            }
            if let Some((_, newest)) = heard.newest()
                && newest.rank() > rank
            {
                // There may be nodes in it that nobody knew of here.
                (rank, mesh) = (newest.rank(), newest.mesh.clone());
                let is_new = |one: &Node| !asked_of.contains(&one.name);
                if self.others(&mesh).any(|one| is_new(&one)) {
                    continue;
                }
            }
            let waiting = self.waiting(&mesh, &heard, &tries);
            if waiting.is_empty() {
                return Ok(heard);
            }
            if Instant::now() >= deadline {
                return Err(Error::Silent(waiting));
            }
            if waiting != told {
                tracing::warn!(
                    nodes = join(&waiting),
                    "waiting for nodes to say what they accepted since the backup; \
                     --accept-unreachable goes on without them"
                );
                told = waiting;
            }
            tokio::select! {
                () = stop.cancelled() => return Err(Error::Stopped),
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Asks these nodes, a few at a time.
    async fn ask(&self, nodes: &[Node]) -> Vec<(NodeName, Result<Word, ask::Error>)> {
        let (mut running, mut answers) = (FuturesUnordered::new(), Vec::new());
        for node in nodes {
            if running.len() >= CONCURRENT {
                answers.extend(running.next().await);
            }
            running.push(self.ask_one(node));
        }
        answers.extend(running.collect::<Vec<_>>().await);
        answers
    }

    async fn ask_one(&self, node: &Node) -> (NodeName, Result<Word, ask::Error>) {
        let word = ask::ask(self.ways, &node.name, &node.url, self.root, self.at).await;
        (node.name.clone(), word)
    }

    /// A node that refuses this one and follows a newer root has accepted
    /// another primary. A root that the primary itself changed after the
    /// backup shuts nobody out.
    async fn check_shut_out(
        &self,
        mesh: &Mesh,
        name: &NodeName,
        error: &ask::Error,
    ) -> Result<(), Error> {
        let Some(node) = mesh.node(name).filter(|_| error.is_refusal()) else { return Ok(()) };
        let theirs = ask::open_root(self.ways, name, &node.url, self.root, self.at).await;
        let ours = self.root_version;
        match theirs {
            Some(theirs) if theirs > ours => {
                Err(Error::ShutOut { witness: name.clone(), theirs, ours })
            }
            _ => Ok(()),
        }
    }

    /// Every other node that takes part.
    fn others<'m>(&'m self, mesh: &'m Mesh) -> impl Iterator<Item = Node> + 'm {
        mesh.nodes
            .values()
            .filter(|node| node.is_joined())
            .filter(|node| node.name != *self.own && node.name != *self.old)
            .cloned()
    }

    /// The nodes directly below that have to answer still.
    fn waiting(
        &self,
        mesh: &Mesh,
        heard: &Heard,
        tries: &BTreeMap<NodeName, u32>,
    ) -> Vec<NodeName> {
        let below = mesh.children(self.old).chain(mesh.children(self.own));
        below
            .filter(|node| node.name != *self.own && node.name != *self.old)
            .filter(|node| node.is_joined())
            .map(|node| &node.name)
            .filter(|name| !heard.words.contains_key(name) && !self.accept.covers(name))
            .filter(|name| tries.get(*name).is_none_or(|one| *one < USELESS))
            .cloned()
            .collect()
    }
}
