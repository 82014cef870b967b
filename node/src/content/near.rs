//! The nodes from which a blob can be had at this moment: the one above, and
//! those beside this node.
//!
//! Who is beside is told by [`Content::set_near`]; which of them failed and is
//! left in peace for a while is kept here, for all blobs together.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use patchmesh_topology::digest::Digest;
use patchmesh_topology::name::NodeName;
use patchmesh_topology::share::{Beside, Source};
use tokio::sync::watch;
use tokio::time::timeout;

use super::{Content, Error, PieceSource, Wanted};
use crate::log::in_one_line;

/// How long one that failed is not asked. It costs the site little more than its
/// share from above meanwhile.
const ASIDE: Duration = Duration::from_secs(60);

/// How long a node beside may take to say whether it holds a blob.
const ANSWER: Duration = Duration::from_secs(2);

/// A node beside this one, and the way to it.
pub type Neighbour = (NodeName, Arc<dyn PieceSource>);

/// The nodes that fetch what this node fetches, from where it does.
#[derive(Default)]
pub(super) struct Near {
    nodes: watch::Sender<Arc<Known>>,
    aside: Mutex<HashMap<NodeName, Instant>>,
}

/// This node and those beside it; nobody until it is told.
#[derive(Default)]
struct Known {
    own: Option<NodeName>,
    nodes: Vec<Neighbour>,
}

impl Content {
    /// States which nodes are beside this one, whose name is `own`: those that
    /// fetch the same from the same parent. In place of those stated before.
    pub fn set_near(&self, own: NodeName, nodes: Vec<Neighbour>) {
        let known = Known { own: Some(own), nodes };
        self.inner.near.nodes.send_replace(Arc::new(known));
    }

    /// Asks nothing of a node beside for a while, whatever the blob.
    pub(super) fn set_aside(&self, name: &NodeName) {
        let now = Instant::now();
        let mut aside = self.inner.near.aside.lock().unwrap_or_else(PoisonError::into_inner);
        // So it holds no more than failed lately.
        aside.retain(|_, until| *until > now);
        aside.insert(name.clone(), now + ASIDE);
    }

    fn is_aside(&self, name: &NodeName) -> bool {
        let aside = self.inner.near.aside.lock().unwrap_or_else(PoisonError::into_inner);
        aside.get(name).is_some_and(|until| *until > Instant::now())
    }
}

/// The nodes of one attempt.
pub(super) struct Sources {
    pub(super) above: Option<Arc<dyn PieceSource>>,
    pub(super) own: Option<NodeName>,
    pub(super) beside: Vec<Neighbour>,
}

impl Sources {
    /// Those that may be asked now.
    pub(super) fn now(content: &Content, above: Option<Arc<dyn PieceSource>>) -> Self {
        let known = content.inner.near.nodes.borrow().clone();
        let beside = known.nodes.iter().filter(|(name, _)| !content.is_aside(name));
        Self { above, own: known.own.clone(), beside: beside.cloned().collect() }
    }

    /// Whether there is anybody to ask.
    pub(super) fn is_empty(&self) -> bool {
        self.above.is_none() && self.beside.is_empty()
    }

    pub(super) fn get(&self, source: Source) -> Option<&Arc<dyn PieceSource>> {
        match source {
            Source::Above => self.above.as_ref(),
            Source::Beside(number) => self.beside.get(number).map(|(_, source)| source),
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = (Source, &Arc<dyn PieceSource>)> {
        let above = self.above.iter().map(|source| (Source::Above, source));
        let beside = self.beside.iter().enumerate();
        above.chain(beside.map(|(number, (_, source))| (Source::Beside(number), source)))
    }

    /// Finds out who beside holds the whole blob. Those that don't stay only
    /// where they are to fetch it as this node is.
    pub(super) async fn ask_who_holds(&mut self, content: &Content, wanted: Wanted) -> Vec<Beside> {
        let asked = self.beside.drain(..).map(async |(name, source)| {
            let answer = timeout(ANSWER, source.holds(wanted)).await;
            (name, source, answer)
        });
        let fetches_too = content.wishes_for(&wanted.digest);
        let mut stay = Vec::new();
        for (name, source, answer) in join_all(asked).await {
            let holds = match answer {
                Ok(Ok(holds)) => holds,
                failed => {
                    let why = match failed {
                        Ok(Err(status)) => in_one_line(&status),
                        _ => format!("it did not answer within {} s", ANSWER.as_secs()),
                    };
                    tracing::info!(node = %name, why, "a node beside is not asked for a while");
                    content.set_aside(&name);
                    continue;
                }
            };
            if holds || fetches_too {
                stay.push(Beside { name: name.clone(), holds });
                self.beside.push((name, source));
            }
        }
        stay
    }
}

impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.above, self.beside.as_slice()) {
            (Some(above), []) => f.write_str(above.name()),
            (Some(above), beside) => write!(f, "{} and {} beside", above.name(), beside.len()),
            (None, beside) => write!(f, "{} beside", beside.len()),
        }
    }
}

/// Pieces for which nodes beside rely on this one: it has to get them from above.
#[derive(Debug, Clone, Default)]
pub(super) struct Pins {
    pinned: watch::Sender<Pinned>,
}

#[derive(Debug, Default)]
struct Pinned {
    set: HashSet<u64>,
    order: Vec<u64>,
}

impl Pins {
    pub(super) fn add(&self, piece: u64) {
        self.pinned.send_if_modified(|pinned| {
            let is_new = pinned.set.insert(piece);
            if is_new {
                pinned.order.push(piece);
            }
            is_new
        });
    }

    pub(super) fn follow(&self) -> Following {
        let mut pinned = self.pinned.subscribe();
        pinned.mark_changed();
        Following { pinned, seen: 0 }
    }
}

/// Pieces as they are pinned.
pub(super) struct Following {
    pinned: watch::Receiver<Pinned>,
    seen: usize,
}

impl Following {
    /// The pieces that were pinned since it was asked last; waits for one.
    pub(super) async fn next(&mut self) -> Vec<u64> {
        let new = self.pinned.wait_for(|pinned| pinned.order.len() > self.seen).await;
        let Ok(new) = new.map(|pinned| pinned.order[self.seen..].to_vec()) else {
            // Nobody is left to rely on this node.
            return std::future::pending().await;
        };
        self.seen += new.len();
        new
    }
}

/// Why nobody could be asked.
pub(super) const fn nobody(digest: Digest) -> Error {
    Error::NoSource { digest }
}
