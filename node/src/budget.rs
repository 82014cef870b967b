//! Who may send or take how much, and who goes first: one tree of budgets, from
//! the node over the link to another node and the class of traffic down to the
//! single transfer.
//!
//! Whoever moves payload bytes between nodes holds a [`Pace`] and takes from it
//! before each frame: a sender before it sends, a receiver before it grants the
//! sender more. [`Queue`] decides who goes next; here are the clock, those who
//! wait, and the task that wakes them.
//!
//! What always holds:
//!
//! - The task runs only while somebody waits, and who stops waiting has taken
//!   nothing.
//! - Limits are about bytes of TCP payload, as a provider counts them: what passes
//!   a node's sockets beside the payload that was taken (TLS, HTTP/2, documents,
//!   reports) is counted where connections are made ([`ledger`]) and held
//!   against the payload that comes next.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use jiff::Timestamp;
use patchmesh_topology::link::Class;
use patchmesh_topology::link::queue::{Hold, Id, Queue};
use patchmesh_topology::link::rate::Rate;
use patchmesh_topology::name::NodeName;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::transport::metered::Meter;

mod ledger;
mod lines;
mod standing;
pub mod window;

pub use lines::follow;
pub use standing::Standing;

use ledger::Ledger;
use lines::Lines;
use window::Delays;

/// How long nothing was held against anybody until what passed meanwhile is
/// forgotten: it belongs to a time when nobody waited.
const FORGOTTEN: Duration = Duration::from_millis(500);

/// Which way bytes go, as seen from this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To another node.
    Out,
    /// From another node.
    In,
}

/// The budgets of a node; a handle that is cheap to clone.
#[derive(Debug, Clone)]
pub struct Budget {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    start: Instant,
    state: Mutex<State>,
    /// Somebody began to wait, or something changed.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    incoming: Lane,
    outgoing: Lane,
    /// Which lines there are; unknown before the mesh document was looked at.
    lines: Option<Lines>,
    /// By the node at the other end. Only nodes of the mesh have one.
    ledgers: BTreeMap<NodeName, Arc<Ledger>>,
    delays: BTreeMap<NodeName, Arc<Delays>>,
    is_driven: bool,
    /// When the ledgers were looked at last.
    settled: Duration,
}

/// One direction: who goes next, and who is told. A transfer waits once at a
/// time, so there are no more that wait than there are transfers.
#[derive(Debug, Default)]
struct Lane {
    queue: Queue,
    waiting: HashMap<Id, oneshot::Sender<u64>>,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(Rate::UNLIMITED, Rate::UNLIMITED)
    }
}

impl Budget {
    /// The budgets of a node that takes and sends so much as a whole.
    #[must_use]
    pub fn new(down: Rate, up: Rate) -> Self {
        let mut state = State::default();
        state.incoming.queue.set_node(down, Duration::ZERO);
        state.outgoing.queue.set_node(up, Duration::ZERO);
        let (state, changed) = (Mutex::new(state), Notify::new());
        Self { inner: Arc::new(Inner { start: Instant::now(), state, changed }) }
    }

    /// Registers a transfer with `peer`. It counts among those that share the
    /// link until the [`Pace`] is dropped.
    #[must_use]
    pub fn transfer(&self, peer: &NodeName, direction: Direction, class: Class) -> Pace {
        let now = self.inner.now();
        let mut state = self.inner.state();
        let line = state.line(peer, direction, now);
        let id = state.lane(direction).queue.join(&line, class);
        let ledger = state.ledger(peer);
        let turn = tokio::sync::Mutex::new(());
        Pace { inner: Arc::clone(&self.inner), line, direction, id, ledger, turn }
    }

    /// Puts the lines of another mesh document in force.
    fn set_lines(&self, lines: Lines) {
        self.inner.state().lines = Some(lines);
        self.apply();
    }

    /// Puts in force what holds on each line now.
    fn apply(&self) {
        let now = self.inner.now();
        self.inner.state().apply(now);
        self.inner.changed.notify_one();
    }

    /// Counts what passes the connections with `peer`.
    #[must_use]
    pub fn meter(&self, peer: &NodeName) -> Arc<dyn Meter> {
        self.inner.state().ledger(peer)
    }

    /// What is known of how long frames from `peer` take.
    #[must_use]
    pub fn delays(&self, peer: &NodeName) -> Arc<Delays> {
        self.inner.state().delays.entry(peer.clone()).or_default().clone()
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // The queues are whole after every call, so a panic elsewhere does not
        // spoil them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Puts a transfer into the queue and tells whoever may go now.
    fn ask(self: &Arc<Self>, direction: Direction, id: Id, bytes: u64) -> oneshot::Receiver<u64> {
        let (sender, receiver) = oneshot::channel();
        let now = self.now();
        let mut state = self.state();
        state.settle(now);
        let lane = state.lane(direction);
        lane.queue.ask(id, bytes, now);
        lane.waiting.insert(id, sender);
        lane.pump(now);
        if state.waits() && !state.is_driven {
            state.is_driven = true;
            tokio::spawn(drive(Arc::downgrade(self)));
        } else {
            self.changed.notify_one();
        }
        receiver
    }
}

impl State {
    const fn lane(&mut self, direction: Direction) -> &mut Lane {
        match direction {
            Direction::In => &mut self.incoming,
            Direction::Out => &mut self.outgoing,
        }
    }

    /// The line to a node, with what holds on it.
    fn line(&mut self, peer: &NodeName, direction: Direction, now: Duration) -> NodeName {
        let Some(lines) = &self.lines else { return peer.clone() };
        let (line, is_local) = lines.to(peer);
        let terms = lines.terms(&line, is_local, direction, Timestamp::now());
        self.lane(direction).queue.set_line(&line, terms, now);
        line
    }

    /// Puts in force what holds on the lines that were used.
    fn apply(&mut self, now: Duration) {
        let Some(lines) = self.lines.clone() else { return };
        let clock = Timestamp::now();
        for direction in [Direction::In, Direction::Out] {
            let queue = &mut self.lane(direction).queue;
            let used: Vec<NodeName> = queue.lines().cloned().collect();
            for line in used {
                let is_local = lines.is_local(&line);
                queue.set_line(&line, lines.terms(&line, is_local, direction, clock), now);
            }
        }
    }

    fn ledger(&mut self, peer: &NodeName) -> Arc<Ledger> {
        self.ledgers.entry(peer.clone()).or_default().clone()
    }

    /// Holds what passed beside payload against those who wait.
    fn settle(&mut self, now: Duration) {
        let is_recent = now.saturating_sub(self.settled) <= FORGOTTEN;
        self.settled = now;
        for (peer, ledger) in &self.ledgers {
            let line = self.lines.as_ref().map_or_else(|| peer.clone(), |lines| lines.to(peer).0);
            for direction in [Direction::In, Direction::Out] {
                let bytes = ledger.settle(direction);
                if bytes > 0 && is_recent {
                    let lane = match direction {
                        Direction::In => &mut self.incoming,
                        Direction::Out => &mut self.outgoing,
                    };
                    lane.queue.charge(&line, bytes, now);
                }
            }
        }
    }

    fn waits(&self) -> bool {
        !self.incoming.waiting.is_empty() || !self.outgoing.waiting.is_empty()
    }
}

impl Lane {
    /// Lets go whoever may.
    fn pump(&mut self, now: Duration) {
        while let Some((id, bytes)) = self.queue.grant(now) {
            let told = self.waiting.remove(&id).is_some_and(|told| told.send(bytes).is_ok());
            if !told {
                self.queue.give_back(id, bytes, now);
            }
        }
    }
}

/// Wakes those who wait when it is their turn, for as long as there are any.
async fn drive(inner: Weak<Inner>) {
    loop {
        let Some(inner) = inner.upgrade() else { return };
        let now = inner.now();
        let wake = {
            let mut state = inner.state();
            state.settle(now);
            state.incoming.pump(now);
            state.outgoing.pump(now);
            if !state.waits() {
                state.is_driven = false;
                return;
            }
            let times = [state.incoming.queue.wake(now), state.outgoing.queue.wake(now)];
            times.into_iter().flatten().min()
        };
        let start = inner.start;
        let changed = inner.changed.notified();
        tokio::select! {
            () = changed => {}
            () = sleep_until(start + wake.unwrap_or_default()), if wake.is_some() => {}
        }
    }
}

/// One transfer's share.
#[derive(Debug)]
pub struct Pace {
    inner: Arc<Inner>,
    line: NodeName,
    direction: Direction,
    id: Id,
    ledger: Arc<Ledger>,
    /// A transfer waits once at a time.
    turn: tokio::sync::Mutex<()>,
}

impl Pace {
    /// Waits until `bytes` of payload may pass.
    pub async fn take(&self, bytes: u64) {
        let _turn = self.turn.lock().await;
        let mut left = bytes;
        while left > 0 {
            let waiting = Waiting { pace: self };
            let granted = self.inner.ask(self.direction, self.id, left);
            // The sender is kept until it is told.
            let granted = granted.await.unwrap_or(left);
            drop(waiting);
            left = left.saturating_sub(granted);
        }
        if self.direction == Direction::Out {
            self.ledger.moved(Direction::Out, bytes);
        }
    }

    /// Payload that was taken before has come from the other side.
    pub fn came(&self, bytes: u64) {
        self.ledger.moved(Direction::In, bytes);
    }

    /// The longest frame that is right now: small on a slow line, so that a limit
    /// is kept smoothly and the urgent overtakes soon.
    #[must_use]
    pub fn frame(&self) -> u64 {
        self.inner.state().lane(self.direction).queue.frame(&self.line)
    }

    /// How much this transfer may have under way at most right now.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.inner.state().lane(self.direction).queue.window(&self.line)
    }

    /// What the transfer waits for, or waited for within the last moments.
    #[must_use]
    pub fn held(&self) -> Option<Hold> {
        let now = self.inner.now();
        self.inner.state().lane(self.direction).queue.held(self.id, now)
    }
}

/// Forgets what is waited for when nobody waits any more.
struct Waiting<'a> {
    pace: &'a Pace,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Pace { inner, direction, id, .. } = self.pace;
        let mut state = inner.state();
        let lane = state.lane(*direction);
        lane.waiting.remove(id);
        if lane.queue.cancel(*id) {
            // Others may have waited for this one.
            inner.changed.notify_one();
        }
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        let lane = state.lane(self.direction);
        lane.queue.leave(self.id);
        self.inner.changed.notify_one();
    }
}

// The clock of these tests is the real one, so they bound from above only where
// a busy host would not be seen.
#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    use patchmesh_topology::link::Class;
    use patchmesh_topology::link::rate::Rate;
    use tokio::time::timeout;

    use super::{Budget, Direction};

    fn slow() -> Budget {
        Budget::new("8Mbit/s".parse().expect("a rate"), Rate::UNLIMITED)
    }

    fn lyon() -> patchmesh_topology::name::NodeName {
        "lyon".parse().expect("a name")
    }

    #[tokio::test]
    async fn a_node_keeps_its_limit_one_way() {
        let budget = slow();
        let incoming = budget.transfer(&lyon(), Direction::In, Class::Normal);
        assert_eq!(incoming.frame(), 50_000);
        let begun = Instant::now();
        for _ in 0..50 {
            incoming.take(10_000).await;
        }
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(400), "500 kB at 1 MB/s in {took:?}");
        let begun = Instant::now();
        let outgoing = budget.transfer(&lyon(), Direction::Out, Class::Normal);
        outgoing.take(100_000_000).await;
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing limits the other way");
    }

    #[tokio::test]
    async fn the_urgent_overtakes_what_runs() {
        let budget = slow();
        let bulk = budget.transfer(&lyon(), Direction::In, Class::Normal);
        let had = AtomicU64::new(0);
        let moving = async {
            loop {
                bulk.take(10_000).await;
                had.fetch_add(10_000, Ordering::Relaxed);
            }
        };
        let overtaking = async {
            while had.load(Ordering::Relaxed) < 100_000 {
                tokio::task::yield_now().await;
            }
            let critical = budget.transfer(&lyon(), Direction::In, Class::Critical);
            let before = had.load(Ordering::Relaxed);
            for _ in 0..50 {
                critical.take(10_000).await;
            }
            let meanwhile = had.load(Ordering::Relaxed) - before;
            assert!(meanwhile <= 100_000, "{meanwhile} of bulk beside 500000 of the urgent");
            drop(critical);
            let after = had.load(Ordering::Relaxed);
            while had.load(Ordering::Relaxed) < after + 100_000 {
                tokio::task::yield_now().await;
            }
        };
        let both = async {
            tokio::select! {
                () = moving => {}
                () = overtaking => {}
            }
        };
        timeout(Duration::from_secs(30), both).await.expect("it goes on when the urgent is gone");
    }

    #[tokio::test]
    async fn who_stops_waiting_takes_nothing() {
        let budget = slow();
        let one = budget.transfer(&lyon(), Direction::In, Class::Normal);
        let begun = Instant::now();
        for _ in 0..500 {
            // Polled once, then dropped: the first gets its turn, no other does.
            let _ = timeout(Duration::ZERO, one.take(50_000)).await;
        }
        one.take(50_000).await;
        // All of them together would be 25 seconds.
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }
}
