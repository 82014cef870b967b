//! What the open HTTP routes serve: a snapshot made anew at every switch.
//!
//! Of the mesh's own documents nothing is served here: the targets below
//! `mesh/`, its routes, people, rules and advisories, need a certificate, and so does
//! how the company judges its risks.

use std::cell::LazyCell;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use patchmesh_topology::digest::{Digest, Sha256};
use patchmesh_topology::name::{GroupName, NodeName};
use patchmesh_topology::node::Stage;
use patchmesh_topology::revision::{Binding, DocumentRef};
use patchmesh_topology::view::awaited::Awaited;
use tokio::sync::watch;

use crate::alerts::Alerts;
use crate::brakes::{self, Brakes};
use crate::content::{Content, Readiness, Wanted};
use crate::generation::retention::KEEP_AT_LEAST;
use crate::generation::{Current, Generation, past, storage};
use crate::http::{BlobRead, ByteStream, Served, Snapshot, Stored, Unavailable};
use crate::log::in_one_line;
use crate::pace::Pace;
use crate::reports::wake::{Served as Known, Wake};
use crate::signed::names;
use crate::store::Store;
use crate::view::arrivals::Arrivals;
use crate::view::shelf::{KEEP_FOR, Shelf};
use crate::view::standing::{self, Board, Held, Standing, Standings};

/// How many earlier generations' targets are kept at most: a change every
/// twenty seconds for a day.
const KEEP_AT_MOST: usize = 4096;
/// How often the clock is looked at for what time alone opens.
const LOOK: Duration = Duration::from_secs(30);
/// How long to wait between looks at what has arrived.
const LOOK_AT_CONTENT: Duration = Duration::from_millis(500);
/// When a client should ask again for what could not be had.
const RETRY: Duration = Duration::from_secs(30);

type Shelves = BTreeMap<standing::Audience, Arc<Shelf>>;
type Targets = BTreeMap<String, (Sha256, DocumentRef)>;

/// The snapshots, one after the other; cheap to clone.
#[derive(Clone)]
pub(super) struct Shop {
    present: Arc<ArcSwap<Present>>,
}

/// What does not change while the node runs.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// The mesh's CA certificate, PEM.
    pub(super) ca: Bytes,
    /// How long after the timestamp's expiry views stay served.
    pub(super) offline_grace: Duration,
    /// Where what is served is shown.
    pub(super) board: Board,
    /// Told of what is wrong with it.
    pub(super) alerts: Alerts,
    /// What this node's site holds back.
    pub(super) brakes: Brakes,
    /// Changes as content arrives.
    pub(super) readiness: watch::Receiver<Readiness>,
    /// Told of what has not arrived.
    pub(super) awaited: watch::Sender<Awaited>,
    /// Wakes the machines that listen.
    pub(super) wake: Wake,
}

/// What is served at one moment.
struct Present {
    store: Store,
    facts: Facts,
    generation: Arc<Generation>,
    arrivals: Arrivals,
    standings: Standings,
    shelves: Shelves,
    targets: VecDeque<(Timestamp, Arc<Targets>)>,
}

impl Shop {
    /// Serves `generation` of the node `name`, and of `past` what clients in
    /// mid-update may still ask for.
    pub(super) fn new(
        name: &NodeName,
        store: Store,
        facts: Facts,
        generation: Arc<Generation>,
        past: Vec<past::Views>,
    ) -> Self {
        let first = Present {
            store,
            facts,
            arrivals: Arrivals::default(),
            standings: Standings::new(),
            shelves: restock(name, &generation, past),
            targets: VecDeque::new(),
            generation: generation.clone(),
        };
        let arrivals = first.look(name, &generation);
        let present = first.next(name, generation, arrivals, Timestamp::now());
        present.facts.wake.say(present.known(name));
        Self { present: Arc::new(ArcSwap::from_pointee(present)) }
    }

    /// Follows the node's switches, what time alone opens, what is held back, and
    /// the content that what is open waits for, until the node ends.
    pub(super) async fn follow(self, name: NodeName, current: Current) {
        let mut switches = current.watch();
        let mut pulled = self.present.load().facts.brakes.watch();
        let mut readiness = self.present.load().facts.readiness.clone();
        let mut moment = self.present.load().next_moment(&name);
        let mut has_arrived = false;
        loop {
            let generation = switches.borrow_and_update().clone();
            let present = self.present.load_full();
            let has_come = moment.is_some_and(|at| at <= Timestamp::now());
            let is_pulled = pulled.has_changed().unwrap_or_default();
            pulled.mark_unchanged();
            let is_due = has_come || is_pulled || !Arc::ptr_eq(&present.generation, &generation);
            if is_due || std::mem::take(&mut has_arrived) {
                let name = name.clone();
                // Every file of what is new is looked at: no work for this thread.
                let next = tokio::task::spawn_blocking(move || {
                    let arrivals = present.look(&name, &generation);
                    if !is_due && arrivals.awaited() == present.arrivals.awaited() {
                        return None;
                    }
                    let next = present.next(&name, generation, arrivals, Timestamp::now());
                    let (moment, known) = (next.next_moment(&name), next.known(&name));
                    Some((next, moment, known))
                });
                match next.await {
                    Ok(Some((next, then, known))) => {
                        self.present.store(Arc::new(next));
                        self.present.load().facts.wake.say(known);
                        moment = then;
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::error!(%error, "views are served no more: restart this node");
                        return;
                    }
                }
            }
            let awaits = !self.present.load().arrivals.awaited().is_empty();
            let arrival = async {
                tokio::time::sleep(LOOK_AT_CONTENT).await;
                readiness.changed().await
            };
            tokio::select! {
                changed = switches.changed() => if changed.is_err() { return },
                Ok(()) = arrival, if awaits => has_arrived = true,
                // What was pulled is looked at above.
                Ok(()) = pulled.changed() => pulled.mark_changed(),
                () = tokio::time::sleep(until(moment)) => {}
            }
        }
    }
}

/// How long to wait for a moment; clocks are set, so never long.
fn until(moment: Option<Timestamp>) -> Duration {
    let left = moment.map(|at| Duration::try_from(at.duration_since(Timestamp::now())));
    // What has come meanwhile is looked at once.
    left.map_or(LOOK, |left| left.unwrap_or_default().min(LOOK))
}

impl Present {
    /// What of plans is here; where the store fails what was known.
    fn look(&self, name: &NodeName, generation: &Generation) -> Arrivals {
        self.arrivals.look(generation, name, &self.store).unwrap_or_else(|error| {
            tracing::error!(error = in_one_line(&error), "can't look up what has arrived");
            self.arrivals.clone()
        })
    }

    fn next(
        &self,
        name: &NodeName,
        generation: Arc<Generation>,
        arrivals: Arrivals,
        now: Timestamp,
    ) -> Self {
        let earlier = |audience: &_| match self.shelves.get(audience) {
            Some(shelf) => shelf.views().collect(),
            None => Vec::new(),
        };
        let brakes = self.facts.brakes.held();
        let held = Held { brakes: &brakes, awaited: arrivals.awaited() };
        let before = &self.standings;
        let standings = standing::standings(&generation, name, held, before, earlier, now);
        standing::tell(&standings, &self.facts.alerts);
        brakes::tell(&brakes, &generation, name, &self.facts.alerts, now);
        self.facts.awaited.send_if_modified(|known| {
            let is_news = known != arrivals.awaited();
            known.clone_from(arrivals.awaited());
            is_news
        });
        self.facts.board.show(&standings);
        let served =
            standings.iter().filter_map(|(key, one)| Some((key, one.as_ref()?.full.clone())));
        let shelves = served
            .map(|(key, view)| {
                let shelf = match self.shelves.get(key) {
                    Some(shelf) => shelf.switch(view, now),
                    None => Shelf::new(view),
                };
                (key.clone(), Arc::new(shelf))
            })
            .collect();
        let mut targets = self.targets.clone();
        // A moment or a brake changes no targets.
        if targets.is_empty() || !Arc::ptr_eq(&self.generation, &generation) {
            targets.push_front((now, Arc::new(open_targets(&generation))));
        }
        while targets.len() > KEEP_AT_LEAST + 1
            && (targets.len() > KEEP_AT_MOST
                || targets.back().is_some_and(|(at, _)| now.duration_since(*at) > KEEP_FOR))
        {
            targets.pop_back();
        }
        let (store, facts) = (self.store.clone(), self.facts.clone());
        Self { store, facts, generation, arrivals, standings, shelves, targets }
    }

    /// When time alone may change what is served.
    fn next_moment(&self, name: &NodeName) -> Option<Timestamp> {
        let (generation, brakes) = (&self.generation, self.facts.brakes.held());
        standing::next_moment(generation, name, &brakes, Timestamp::now())
    }

    /// What machines are told of this.
    fn known(&self, name: &NodeName) -> Known {
        let payloads = self.shelves.values().flat_map(|shelf| shelf.payloads()).collect();
        let pressing = standing::pressing(&self.generation, name, &payloads);
        let mut known = Known::new(self.generation.number, pressing);
        let stages = self.generation.mesh.node(name).map(|node| node.stages.clone());
        let approvals = stages.iter().flatten().map(|stage| names::approvals(*stage));
        // Whatever else the mesh's documents say opens nothing to a machine.
        let others = [names::ROLLOUTS, names::WAVE_STATES, names::DEADLINES, names::BINDINGS];
        for name in approvals.chain(others) {
            known.add(&self.generation.targets.get(name).map(|target| target.sha256));
        }
        for (audience, standing) in &self.standings {
            known.add(&(audience, standing.as_ref().map(Standing::sets)));
        }
        for (name, brake) in self.facts.brakes.held().iter() {
            known.add(&(name, brake.since, brake.until));
        }
        known.add(self.arrivals.awaited());
        known.add(&self.next_moment(name));
        known
    }

    /// Whether the node was cut off for longer than it may go on alone.
    fn is_out_of_date(&self) -> bool {
        self.generation.is_beyond(self.facts.offline_grace, Timestamp::now())
    }
}

/// The shelves as they were before this node was stopped.
///
/// Where a group had several views at a time, which of them was served is not
/// known any more: those that have only what is open here now are on the shelf.
fn restock(name: &NodeName, generation: &Generation, past: Vec<past::Views>) -> Shelves {
    let mut shelves = Shelves::new();
    let allowed = LazyCell::new(|| standing::allowed(generation, name, Timestamp::now()));
    for past in past {
        for (key, mut views) in past.views {
            if views.len() > 1 {
                let may = allowed.get(&key);
                views.retain(|view| may.is_some_and(|may| may.allows(view)));
                views.sort_by_key(|view| view.view.signed_at);
            }
            for view in views {
                let shelf = match shelves.get(&key) {
                    Some(shelf) => Shelf::switch(shelf, view, past.at),
                    None => Shelf::new(view),
                };
                shelves.insert(key.clone(), Arc::new(shelf));
            }
        }
    }
    shelves
}

/// The targets that everybody may read.
fn open_targets(generation: &Generation) -> Targets {
    generation
        .targets
        .iter()
        .filter(|(path, _)| !names::is_internal(path))
        .map(|(path, target)| {
            let document = DocumentRef { digest: target.digest, length: target.length };
            (path.clone(), (target.sha256, document))
        })
        .collect()
}

impl Served for Shop {
    fn snapshot(&self) -> Arc<dyn Snapshot> {
        self.present.load_full()
    }
}

impl Snapshot for Present {
    fn groups(&self) -> Vec<(Stage, GroupName)> {
        if self.is_out_of_date() { Vec::new() } else { self.shelves.keys().cloned().collect() }
    }

    fn shelf(&self, stage: Stage, group: &str) -> Option<Arc<Shelf>> {
        let shelf = self.shelves.get(&(stage, group.parse().ok()?)).cloned();
        shelf.filter(|_| !self.is_out_of_date())
    }

    fn binding(&self, sha256: &Sha256) -> Option<Binding> {
        self.generation.bindings.get(sha256).copied()
    }

    fn open_payload(&self, sha256: &Sha256) -> Option<Binding> {
        let mut promised = self.shelves.values().flat_map(|shelf| shelf.payloads());
        self.binding(sha256).filter(|_| promised.any(|one| one == sha256))
    }

    fn held_payload(&self, sha256: &Sha256) -> Option<Binding> {
        let is_held = |one: &Binding| matches!(self.store.open_blob(&one.blob), Ok(Some(_)));
        self.binding(sha256).filter(is_held)
    }

    fn open_blob(&self, blob: &Digest) -> Option<u64> {
        let mut targets =
            self.targets.front().into_iter().flat_map(|(_, targets)| targets.values());
        match self.generation.payload_length(blob) {
            Some(length) => {
                let promised = self.shelves.values().flat_map(|shelf| shelf.payloads());
                let mut bound = promised.filter_map(|sha256| self.binding(sha256));
                bound.any(|binding| binding.blob == *blob).then_some(length)
            }
            None => targets.find(|(_, one)| one.digest == *blob).map(|(_, one)| one.length),
        }
    }

    fn metadata(&self, file: &str) -> Option<Stored> {
        match storage::metadata(&self.store, file) {
            Ok(found) => found.map(Stored::Bytes),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    file,
                    "metadata cannot be read"
                );
                None
            }
        }
    }

    fn target(&self, path: &str, sha256: &Sha256) -> Option<DocumentRef> {
        self.targets
            .iter()
            .filter_map(|(_, targets)| targets.get(path))
            .find(|(found, _)| found == sha256)
            .map(|(_, document)| *document)
    }

    fn ca(&self) -> Option<Bytes> {
        Some(self.facts.ca.clone())
    }

    fn repository_key(&self, stage: Stage) -> Option<Bytes> {
        self.generation.repository_key(stage).map(|key| Bytes::copy_from_slice(key.as_bytes()))
    }
}

/// Blobs out of the store, or relayed from the parent, no faster than machines are served.
#[derive(Debug)]
pub(super) struct Blobs {
    pub(super) content: Content,
    pub(super) pace: Arc<Pace>,
}

#[async_trait]
impl BlobRead for Blobs {
    async fn read(&self, blob: DocumentRef, range: Range<u64>) -> Result<ByteStream, Unavailable> {
        let wanted = Wanted::new(blob.digest, blob.length);
        let stream = self
            .content
            .read_through(wanted, range)
            .await
            .map_err(|error| Unavailable { why: in_one_line(&error), retry_after: RETRY })?;
        let stream = stream.map_err(std::io::Error::other);
        Ok(paced(stream.boxed(), Arc::clone(&self.pace)))
    }
}

/// A stream whose bytes pass in their turn.
fn paced(stream: ByteStream, pace: Arc<Pace>) -> ByteStream {
    let next = |(mut bytes, mut stream, pace): (Bytes, ByteStream, Arc<Pace>)| async move {
        while bytes.is_empty() {
            let Some(next) = stream.try_next().await? else { return Ok(None) };
            bytes = next;
        }
        let part = pace.part(&mut bytes);
        pace.pass(part.len()).await;
        Ok(Some((part, (bytes, stream, pace))))
    };
    stream::try_unfold((Bytes::new(), stream, pace), next).boxed()
}
