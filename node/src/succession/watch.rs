//! Does somebody else sign for this mesh? A primary asks the nodes directly
//! below it, when it starts and now and then.
//!
//! They hold what they accepted. If that is of a higher epoch, another host
//! took over; if it is newer than what this data folder has signed, the
//! folder was put back to an earlier state behind our back.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use patchmesh_topology::name::NodeName;
use patchmesh_topology::node::Node;

use super::Ways;
use super::ask::{self, Word};
use crate::generation::Generation;

/// Nodes asked at a time, and at all: each of them can tell.
const ASKED: usize = 16;
/// How long a start waits for their answers.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How often a running primary asks.
pub const INTERVAL: Duration = Duration::from_secs(60);

/// Why this node must not sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Superseded {
    /// Another node is the primary now.
    #[error(
        "this node is no longer the primary: node {primary} took over (epoch {theirs}, here {ours}), \
         by the word of node {witness}; stop this one for good, or clear its data folder and let it join anew"
    )]
    Replaced {
        /// Who says so.
        witness: NodeName,
        /// Who it is now.
        primary: NodeName,
        /// The epoch there.
        theirs: u64,
        /// The epoch here.
        ours: u64,
    },
    /// The same node runs on another host.
    #[error(
        "this primary was restored elsewhere: node {witness} follows it at {url} (epoch {theirs}, here {ours}); \
         stop this one for good"
    )]
    Restored {
        /// Who says so.
        witness: NodeName,
        /// Where it runs now.
        url: String,
        /// The epoch there.
        theirs: u64,
        /// The epoch here.
        ours: u64,
    },
    /// The keys of the roles were replaced without this node.
    #[error(
        "this node is no longer the primary: node {witness} follows root {theirs}, here it is {ours}: the keys of the roles were \
         replaced elsewhere; stop this one for good, or clear its data folder and let it join anew"
    )]
    Rekeyed {
        /// Who says so.
        witness: NodeName,
        /// The root's version there.
        theirs: u64,
        /// The root's version here.
        ours: u64,
    },
    /// The data folder is older than what nodes have accepted.
    #[error(
        "this data folder is of an earlier state: node {witness} has accepted timestamp {theirs}, here it is {ours}; \
         if no other primary runs, start once with `patchmesh serve --restored` to learn what is missing here"
    )]
    Behind {
        /// Who says so.
        witness: NodeName,
        /// The timestamp's version there.
        theirs: u64,
        /// The timestamp's version here.
        ours: u64,
    },
}

/// Asks the nodes directly below; nothing where all is well or nobody
/// answers.
pub async fn look(
    ways: &Ways,
    own: &NodeName,
    generation: &Generation,
    root: &[u8],
    at: Timestamp,
) -> Option<Superseded> {
    let children = generation.mesh.children(own).filter(|node| node.is_joined()).take(ASKED);
    let mut answers = FuturesUnordered::new();
    for node in children {
        answers.push(look_at(ways, own, generation, node, root, at));
    }
    while let Some(answer) = answers.next().await {
        if answer.is_some() {
            return answer;
        }
    }
    None
}

async fn look_at(
    ways: &Ways,
    own: &NodeName,
    generation: &Generation,
    node: &Node,
    root: &[u8],
    at: Timestamp,
) -> Option<Superseded> {
    match ask::ask(ways, &node.name, &node.url, root, at).await {
        Ok(word) => judge(own, generation, &node.name, &word),
        // Whoever was shut out is told nothing but what is open to all.
        Err(_) => {
            let theirs = ask::open_root(ways, &node.name, &node.url, root, at).await?;
            let ours = generation.roles.iter().find(|one| one.role == "root")?.version;
            let witness = node.name.clone();
            (theirs > ours).then_some(Superseded::Rekeyed { witness, theirs, ours })
        }
    }
}

fn judge(
    own: &NodeName,
    generation: &Generation,
    witness: &NodeName,
    word: &Word,
) -> Option<Superseded> {
    let (ours, theirs) = (generation.mesh.epoch, word.mesh.epoch);
    let witness = witness.clone();
    if theirs > ours {
        let primary = word.mesh.primary()?;
        return Some(if primary.name == *own {
            Superseded::Restored { witness, url: primary.url.clone(), theirs, ours }
        } else {
            Superseded::Replaced { witness, primary: primary.name.clone(), theirs, ours }
        });
    }
    let (ours, theirs) = (generation.timestamp_version, word.timestamp_version);
    let is_behind = word.mesh.epoch == generation.mesh.epoch && theirs > ours;
    is_behind.then_some(Superseded::Behind { witness, theirs, ours })
}
