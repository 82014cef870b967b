//! A TCP relay that is a line: it delays, limits, cuts, flips, repeats, swaps.
//!
//! It sees TLS records and nothing inside them. One relay has one target; what
//! is set applies to connections that are open and to those to come, and all of
//! them share the line.
//!
//! A relay of TCP can't lose, repeat or reorder packets: whatever it does to the
//! bytes of one connection, the other end sees as a broken stream. So there are
//! two kinds of such faults. What a real line may do is done between
//! connections: [`Proxy::hold_every_other`] lets later connections overtake
//! earlier ones, [`Proxy::duplicate`] sends everything to the target a second
//! time on a connection of its own. What only a broken box on the way does is
//! done inside one: [`Proxy::flip_after`], [`Proxy::repeat_after`] and
//! [`Proxy::swap_after`]; TLS has to notice.

mod line;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use self::line::{Line, MAX_PART, QUEUE};

/// Never reached.
const NEVER: u64 = u64::MAX;

/// Bytes of one connection and direction that may be under way: 1 Gbit/s for
/// half a second.
const IN_FLIGHT: usize = 64 << 20;

/// Parts of one connection and direction that may be under way.
const PARTS: usize = IN_FLIGHT / 1_400;

/// What applies to one direction.
struct Way {
    line: Mutex<Line>,
    /// Bytes that have come out at the other end.
    passed: AtomicU64,
    /// Which of them, over all connections, is changed.
    flip_at: AtomicU64,
    /// The part with this byte is sent twice.
    repeat_at: AtomicU64,
    /// The part with this byte changes places with the next one.
    swap_at: AtomicU64,
    /// After which every connection is cut.
    cut_after: AtomicU64,
}

impl Way {
    fn new() -> Self {
        let never = || AtomicU64::new(NEVER);
        Self {
            line: Mutex::default(),
            passed: AtomicU64::new(0),
            flip_at: never(),
            repeat_at: never(),
            swap_at: never(),
            cut_after: never(),
        }
    }

    fn passed(&self) -> u64 {
        self.passed.load(Ordering::SeqCst)
    }

    /// Sets off `fault` so many bytes from now.
    fn arm(&self, fault: &AtomicU64, bytes: u64) {
        fault.store(self.passed().saturating_add(bytes), Ordering::SeqCst);
    }
}

struct Knobs {
    refuse: AtomicBool,
    duplicate: AtomicBool,
    delay_us: AtomicU64,
    hold_us: AtomicU64,
    /// 0: no limit.
    bytes_per_second: AtomicU64,
    down: Way,
    up: Way,
    cut: Notify,
}

impl Knobs {
    fn rate(&self) -> Option<u64> {
        Some(self.bytes_per_second.load(Ordering::SeqCst)).filter(|rate| *rate > 0)
    }

    fn delay(&self, held: bool) -> Duration {
        let more = if held { self.hold_us.load(Ordering::SeqCst) } else { 0 };
        Duration::from_micros(self.delay_us.load(Ordering::SeqCst).saturating_add(more))
    }
}

/// A relay in front of one port; it stops when dropped.
pub struct Proxy {
    address: SocketAddr,
    knobs: Arc<Knobs>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Relays a free port to `target`.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("no port on loopback")?;
        let address = listener.local_addr()?;
        let knobs = Arc::new(Knobs {
            refuse: AtomicBool::new(false),
            duplicate: AtomicBool::new(false),
            delay_us: AtomicU64::new(0),
            hold_us: AtomicU64::new(0),
            bytes_per_second: AtomicU64::new(0),
            down: Way::new(),
            up: Way::new(),
            cut: Notify::new(),
        });
        let task = tokio::spawn(accept(listener, target, knobs.clone()));
        Ok(Self { address, knobs, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts every connection and refuses new ones: the line is down.
    pub fn down(&self) {
        self.knobs.refuse.store(true, Ordering::SeqCst);
        self.knobs.cut.notify_waiters();
    }

    /// The line is up again.
    pub fn up(&self) {
        self.knobs.refuse.store(false, Ordering::SeqCst);
    }

    /// Cuts the connections that are open now.
    pub fn cut(&self) {
        self.knobs.cut.notify_waiters();
    }

    /// Cuts everything once after so many more downward bytes.
    pub fn cut_after(&self, bytes: u64) {
        self.knobs.down.arm(&self.knobs.down.cut_after, bytes);
    }

    /// Changes one downward byte, so many bytes from now.
    pub fn flip_after(&self, bytes: u64) {
        self.knobs.down.arm(&self.knobs.down.flip_at, bytes);
    }

    /// Sends a downward part twice, so many bytes from now.
    pub fn repeat_after(&self, bytes: u64) {
        self.knobs.down.arm(&self.knobs.down.repeat_at, bytes);
    }

    /// Lets a downward part and the next one change places, so many bytes from
    /// now.
    pub fn swap_after(&self, bytes: u64) {
        self.knobs.down.arm(&self.knobs.down.swap_at, bytes);
    }

    /// Sends what goes up on connections to come to the target twice, the second
    /// time on a connection whose answers nobody hears.
    pub fn duplicate(&self, duplicate: bool) {
        self.knobs.duplicate.store(duplicate, Ordering::SeqCst);
    }

    /// Holds back every part by so much, each way, without costing bandwidth. A
    /// round trip takes twice as long.
    pub fn delay(&self, delay: Duration) {
        self.knobs.delay_us.store(micros(delay), Ordering::SeqCst);
    }

    /// Holds back every other connection by so much more, so that others
    /// overtake it.
    pub fn hold_every_other(&self, delay: Duration) {
        self.knobs.hold_us.store(micros(delay), Ordering::SeqCst);
    }

    /// Lets through so many bytes a second each way, all connections together;
    /// `None`: all.
    pub fn limit(&self, bytes_per_second: Option<u64>) {
        self.knobs.bytes_per_second.store(bytes_per_second.unwrap_or(0), Ordering::SeqCst);
    }

    /// Bytes that came down from the target so far.
    #[must_use]
    pub fn bytes_down(&self) -> u64 {
        self.knobs.down.passed()
    }

    /// Bytes that went up to the target so far.
    #[must_use]
    pub fn bytes_up(&self) -> u64 {
        self.knobs.up.passed()
    }
}

fn micros(delay: Duration) -> u64 {
    u64::try_from(delay.as_micros()).unwrap_or(u64::MAX)
}

async fn accept(listener: TcpListener, target: SocketAddr, knobs: Arc<Knobs>) {
    // Dropping the set with the task ends every connection.
    let mut connections = JoinSet::new();
    let mut held = true;
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        if knobs.refuse.load(Ordering::SeqCst) {
            continue;
        }
        held = !held;
        let (knobs, held) = (knobs.clone(), held);
        connections.spawn(async move {
            let Ok(server) = TcpStream::connect(target).await else { return };
            let copy = if knobs.duplicate.load(Ordering::SeqCst) {
                TcpStream::connect(target).await.ok()
            } else {
                None
            };
            // What the line does to a part is not to wait for the next one.
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let (client_read, client_write) = client.into_split();
            let (server_read, server_write) = server.into_split();
            tokio::select! {
                () = knobs.cut.notified() => {}
                () = relay(server_read, client_write, None, &knobs, &knobs.down, held) => {}
                () = relay(client_read, server_write, copy, &knobs, &knobs.up, held) => {}
            }
        });
    }
}

/// A part under way.
struct Part {
    due: Instant,
    bytes: Bytes,
    /// Its room among what is in flight.
    _room: OwnedSemaphorePermit,
}

/// Relays one direction until it ends.
async fn relay(
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    copy: Option<TcpStream>,
    knobs: &Knobs,
    way: &Way,
    held: bool,
) {
    let (sender, receiver) = mpsc::channel(PARTS);
    let mut delivered = std::pin::pin!(deliver(receiver, to, copy, knobs, way));
    tokio::select! {
        // Nobody takes what comes in any more.
        () = &mut delivered => return,
        () = take(from, sender, knobs, way, held) => {}
    }
    delivered.await;
}

/// Puts what comes in on the line.
async fn take(
    mut from: OwnedReadHalf,
    parts: mpsc::Sender<Part>,
    knobs: &Knobs,
    way: &Way,
    held: bool,
) {
    let room = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut buffer = BytesMut::new();
    loop {
        let most = line::part(knobs.rate());
        buffer.reserve(MAX_PART);
        let mut limited = (&mut from).take(most as u64);
        let Ok(1..) = limited.read_buf(&mut buffer).await else { return };
        let bytes = buffer.split().freeze();
        let taken = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let Ok(room) = room.clone().acquire_many_owned(taken).await else { return };
        let left = {
            let mut line = way.line.lock().unwrap_or_else(PoisonError::into_inner);
            line.send(Instant::now(), bytes.len(), knobs.rate())
        };
        let due = left + knobs.delay(held);
        if parts.send(Part { due, bytes, _room: room }).await.is_err() {
            return;
        }
        if let Some(early) = left.checked_sub(QUEUE)
            && early > Instant::now()
        {
            sleep_until(early).await;
        }
    }
}

/// Hands on what has arrived.
async fn deliver(
    mut parts: mpsc::Receiver<Part>,
    mut to: OwnedWriteHalf,
    mut copy: Option<TcpStream>,
    knobs: &Knobs,
    way: &Way,
) {
    let mut swapped: Option<Bytes> = None;
    while let Some(Part { due, bytes, _room }) = parts.recv().await {
        if due > Instant::now() {
            sleep_until(due).await;
        }
        let before = way.passed.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        let after = before + bytes.len() as u64;
        let bytes = flipped(way, before, bytes);
        if strikes(&way.swap_at, after) {
            swapped = Some(bytes);
            continue;
        }
        let times = if strikes(&way.repeat_at, after) { 2 } else { 1 };
        for part in std::iter::repeat_n(bytes, times).chain(swapped.take()) {
            if let Some(other) = &mut copy
                && other.write_all(&part).await.is_err()
            {
                copy = None;
            }
            if to.write_all(&part).await.is_err() {
                return;
            }
        }
        if strikes(&way.cut_after, after) {
            knobs.cut.notify_waiters();
            return;
        }
    }
    if let Some(part) = swapped {
        let _ = to.write_all(&part).await;
    }
    let _ = to.shutdown().await;
}

/// Whether a fault's byte has passed; it strikes once.
fn strikes(at: &AtomicU64, passed: u64) -> bool {
    let due = at.load(Ordering::SeqCst);
    due != NEVER
        && passed >= due
        && at.compare_exchange(due, NEVER, Ordering::SeqCst, Ordering::SeqCst).is_ok()
}

fn flipped(way: &Way, before: u64, bytes: Bytes) -> Bytes {
    let at = way.flip_at.load(Ordering::SeqCst);
    let offset = at.checked_sub(before).and_then(|offset| usize::try_from(offset).ok());
    let Some(offset) = offset.filter(|offset| *offset < bytes.len()) else { return bytes };
    way.flip_at.store(NEVER, Ordering::SeqCst);
    let mut bytes = bytes.to_vec();
    bytes[offset] ^= 0x10;
    bytes.into()
}
