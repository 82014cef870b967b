//! A TCP relay that can cut, delay, limit and flip.
//!
//! It sees TLS records and nothing inside them. One relay has one target; what
//! is set applies to connections that are open and to those to come.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

/// What one read takes; small, so that a limit is kept smoothly.
const CHUNK: usize = 16 * 1024;

/// Never reached.
const NEVER: u64 = u64::MAX;

struct Knobs {
    refuse: AtomicBool,
    delay_ms: AtomicU64,
    /// 0: no limit.
    bytes_per_second: AtomicU64,
    /// Downward bytes, over all connections, after which every one is cut.
    cut_after: AtomicU64,
    /// Which downward byte, over all connections, is changed.
    flip_at: AtomicU64,
    down: AtomicU64,
    up: AtomicU64,
    cut: Notify,
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
            delay_ms: AtomicU64::new(0),
            bytes_per_second: AtomicU64::new(0),
            cut_after: AtomicU64::new(NEVER),
            flip_at: AtomicU64::new(NEVER),
            down: AtomicU64::new(0),
            up: AtomicU64::new(0),
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
        let now = self.knobs.down.load(Ordering::SeqCst);
        self.knobs.cut_after.store(now.saturating_add(bytes), Ordering::SeqCst);
    }

    /// Changes one downward byte, so many bytes from now.
    pub fn flip_after(&self, bytes: u64) {
        let now = self.knobs.down.load(Ordering::SeqCst);
        self.knobs.flip_at.store(now.saturating_add(bytes), Ordering::SeqCst);
    }

    /// Holds back every part by so much.
    pub fn delay(&self, delay: Duration) {
        let milliseconds = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.knobs.delay_ms.store(milliseconds, Ordering::SeqCst);
    }

    /// Lets through so many bytes a second and connection; `None`: all.
    pub fn limit(&self, bytes_per_second: Option<u64>) {
        self.knobs.bytes_per_second.store(bytes_per_second.unwrap_or(0), Ordering::SeqCst);
    }

    /// Bytes that came down from the target so far.
    #[must_use]
    pub fn bytes_down(&self) -> u64 {
        self.knobs.down.load(Ordering::SeqCst)
    }

    /// Bytes that went up to the target so far.
    #[must_use]
    pub fn bytes_up(&self) -> u64 {
        self.knobs.up.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, knobs: Arc<Knobs>) {
    // Dropping the set with the task ends every connection.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        if knobs.refuse.load(Ordering::SeqCst) {
            continue;
        }
        let knobs = knobs.clone();
        connections.spawn(async move {
            let Ok(server) = TcpStream::connect(target).await else { return };
            let (client_read, client_write) = client.into_split();
            let (server_read, server_write) = server.into_split();
            tokio::select! {
                () = knobs.cut.notified() => {}
                () = relay(server_read, client_write, &knobs, true) => {}
                () = relay(client_read, server_write, &knobs, false) => {}
            }
        });
    }
}

async fn relay(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    knobs: &Knobs,
    downward: bool,
) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let part = &mut buffer[..count];
        pace(knobs, count).await;
        let counter = if downward { &knobs.down } else { &knobs.up };
        let before = counter.fetch_add(count as u64, Ordering::SeqCst);
        if downward {
            flip(knobs, before, part);
        }
        if to.write_all(part).await.is_err() {
            break;
        }
        if downward && before + count as u64 >= knobs.cut_after.load(Ordering::SeqCst) {
            knobs.cut_after.store(NEVER, Ordering::SeqCst);
            knobs.cut.notify_waiters();
            break;
        }
    }
    let _ = to.shutdown().await;
}

async fn pace(knobs: &Knobs, count: usize) {
    let delay = Duration::from_millis(knobs.delay_ms.load(Ordering::SeqCst));
    let limit = knobs.bytes_per_second.load(Ordering::SeqCst);
    let pause = if limit == 0 {
        delay
    } else {
        delay + Duration::from_secs_f64(count as f64 / limit as f64)
    };
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
}

fn flip(knobs: &Knobs, before: u64, part: &mut [u8]) {
    let at = knobs.flip_at.load(Ordering::SeqCst);
    let Some(offset) = at.checked_sub(before).and_then(|offset| usize::try_from(offset).ok())
    else {
        return;
    };
    if let Some(byte) = part.get_mut(offset) {
        *byte ^= 0x10;
        knobs.flip_at.store(NEVER, Ordering::SeqCst);
    }
}
