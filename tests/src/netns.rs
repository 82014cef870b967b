//! Two hosts and the line between them: network namespaces and virtual Ethernet
//! ports, with a switch in the middle whose token buckets (`tc tbf`) make the line
//! narrow.
//!
//! The queue stands in the middle, as it does in front of a real line. At a host's
//! own port it would be another thing: there TCP waits for its own packets to leave
//! before it sends more (TCP small queues) and hears at once of each that is
//! dropped, so whoever came first keeps nearly all of the line, and a second flow
//! never gets its share. Both hosts send packet by packet: a burst of 64 KiB that
//! comes at once, half of the queue, is what no cable carries.
//!
//! Only root may make them. Names are this process's own, addresses are inside
//! the namespaces and meet nobody. What was made goes with the value, also when
//! a test panics.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use tokio::process::Command;

use crate::run::{is_installed, run};
use crate::wait::until;

/// What the bucket holds: as little as a timer of a kernel's tick can do with at
/// 100 Mbit/s.
const BURST: &str = "16kb";

/// The longest that a packet waits in front of a narrow line; what lies beyond
/// is dropped.
const QUEUE: &str = "50ms";

/// The port of a host, and the switch in the middle.
const LINE: &str = "line";
const SWITCH: &str = "switch";

/// How TCP behaves at both ends, whatever this host does: as Linux does by
/// itself.
const CONGESTION: &str = "cubic";

/// How long a server may take to listen.
const LISTENS: Duration = Duration::from_secs(20);

/// Distinguishes the pairs of one process.
static COUNTER: AtomicU32 = AtomicU32::new(0);

/// The middle of the line.
const MIDDLE: u8 = 3;

/// An end of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Where servers run.
    Near,
    /// Where clients run.
    Far,
}

impl End {
    const ALL: [Self; 2] = [Self::Near, Self::Far];

    fn number(self) -> u8 {
        match self {
            Self::Near => 1,
            Self::Far => 2,
        }
    }

    /// The port of the switch that leads to it.
    fn port(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Far => "far",
        }
    }
}

/// The namespaces of two hosts and of the switch between them.
#[derive(Debug)]
pub struct Pair {
    prefix: String,
}

impl Drop for Pair {
    fn drop(&mut self) {
        for number in End::ALL.map(End::number).into_iter().chain([MIDDLE]) {
            // The ports go with their namespaces.
            let _ = std::process::Command::new("ip")
                .args(["netns", "del", &self.numbered(number)])
                .stderr(std::process::Stdio::null())
                .status();
        }
    }
}

/// Why there can be no namespaces here; `None` when there can.
#[must_use]
pub fn obstacle() -> Option<&'static str> {
    use std::os::unix::fs::MetadataExt;
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0);
    if !is_root {
        return Some("needs root, for network namespaces");
    }
    let tools = ["ip", "tc", "ss"].into_iter().all(is_installed);
    (!tools).then_some("needs ip, tc and ss (Debian: iproute2)")
}

impl Pair {
    /// Makes the namespaces and a line without limits.
    ///
    /// # Errors
    /// When there is an [`obstacle`], or the kernel refuses.
    pub async fn create() -> Result<Self> {
        if let Some(obstacle) = obstacle() {
            bail!("{obstacle}");
        }
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        // Removes itself from here on, however far it comes.
        let pair = Self { prefix: format!("pm{}x{number}", std::process::id()) };
        let middle = pair.middle();
        ip(&["netns", "add", &middle]).await?;
        ip(&["-n", &middle, "link", "add", SWITCH, "type", "bridge"]).await?;
        ip(&["-n", &middle, "link", "set", SWITCH, "up"]).await?;
        for end in End::ALL {
            pair.attach(end).await?;
        }
        Ok(pair)
    }

    /// Makes a host and connects it with the middle.
    async fn attach(&self, end: End) -> Result<()> {
        let (host, middle, port) = (self.namespace(end), self.middle(), end.port());
        ip(&["netns", "add", &host]).await?;
        let peer = ["peer", "name", port, "netns", &middle];
        ip(&[&["-n", &host, "link", "add", LINE, "type", "veth"][..], &peer].concat()).await?;
        ip(&["-n", &middle, "link", "set", port, "master", SWITCH, "up"]).await?;
        let source = address(end).to_string();
        let with_mask = format!("{source}/24");
        ip(&["-n", &host, "address", "add", &with_mask, "dev", LINE]).await?;
        ip(&["-n", &host, "link", "set", LINE, "gso_max_segs", "1"]).await?;
        ip(&["-n", &host, "link", "set", "lo", "up"]).await?;
        ip(&["-n", &host, "link", "set", LINE, "up"]).await?;
        let route = ["-n", &host, "route", "change", "10.231.0.0/24", "dev", LINE];
        let more = ["proto", "kernel", "scope", "link", "src", &source, "congctl", CONGESTION];
        ip(&[&route[..], &more].concat()).await
    }

    /// The name of a namespace, for `ip netns exec`.
    #[must_use]
    pub fn namespace(&self, end: End) -> String {
        self.numbered(end.number())
    }

    fn middle(&self) -> String {
        self.numbered(MIDDLE)
    }

    fn numbered(&self, number: u8) -> String {
        format!("{}{number}", self.prefix)
    }

    /// An address of an end; each port is free unless this test took it.
    #[must_use]
    pub fn address(&self, end: End, port: u16) -> SocketAddr {
        SocketAddr::new(address(end), port)
    }

    /// `program` at an end, to be continued.
    #[must_use]
    pub fn command(&self, end: End, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self::command(Some(&self.namespace(end)), program);
        command.kill_on_drop(true);
        command
    }

    /// Gives the host at an end another address instead of those that it has: it moves.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn readdress(&self, end: End, address: Ipv4Addr) -> Result<()> {
        let (host, with_mask) = (self.namespace(end), format!("{address}/24"));
        ip(&["-n", &host, "address", "flush", "dev", LINE]).await?;
        ip(&["-n", &host, "address", "add", &with_mask, "dev", LINE]).await
    }

    /// Makes the line so narrow, both ways, Ethernet headers included.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn limit(&self, megabits: u32) -> Result<()> {
        let (rate, middle) = (format!("{megabits}mbit"), self.middle());
        for end in End::ALL {
            let bucket = ["tbf", "rate", &rate, "burst", BURST, "latency", QUEUE];
            let device = ["-n", &middle, "qdisc", "replace", "dev", end.port(), "root"];
            run(Command::new("tc").args(device).args(bucket)).await?.success()?;
        }
        Ok(())
    }

    /// Waits until somebody listens on a port of an end.
    ///
    /// # Errors
    /// When nobody does in time.
    pub async fn listens(&self, end: End, port: u16) -> Result<()> {
        until(&format!("port {port} to be listened on"), LISTENS, async || {
            let mut command = self.command(end, "ss");
            let outcome = run(command.args(["-tlnH"])).await?.success()?;
            Ok(outcome.stdout.contains(&format!(":{port} ")).then_some(()))
        })
        .await
    }

    /// Bytes that TCP has delivered in order at the far end, as payload, over
    /// all connections with `port` of the near end that are open now.
    ///
    /// # Errors
    /// When `ss` fails.
    pub async fn received(&self, port: u16) -> Result<u64> {
        let peer = format!("{}", self.address(End::Near, port));
        let mut command = self.command(End::Far, "ss");
        let outcome = run(command.args(["-tinOH", "dst", &peer])).await?.success()?;
        Ok(outcome.stdout.lines().filter_map(bytes_received).sum())
    }

    /// The rate at which payload arrives at the far end from `port`, in Mbit/s,
    /// over so long.
    ///
    /// # Errors
    /// When nothing arrives, or a connection ended meanwhile.
    pub async fn rate(&self, port: u16, over: Duration) -> Result<f64> {
        let (start, before) = (std::time::Instant::now(), self.received(port).await?);
        tokio::time::sleep(over).await;
        let after = self.received(port).await?;
        let seconds = start.elapsed().as_secs_f64();
        ensure!(after > before, "{before} bytes had come, {after} a while later");
        Ok((after - before) as f64 * 8.0 / 1e6 / seconds)
    }

    /// Waits until payload arrives from `port`.
    ///
    /// # Errors
    /// When none does in time.
    pub async fn flows(&self, port: u16, bytes: u64) -> Result<()> {
        until(&format!("bytes from port {port}"), LISTENS, async || {
            Ok((self.received(port).await? >= bytes).then_some(()))
        })
        .await
    }
}

/// `program` in a namespace, or in this process's own, to be continued.
#[must_use]
pub fn command(namespace: Option<&str>, program: impl AsRef<std::ffi::OsStr>) -> Command {
    match namespace {
        None => Command::new(program),
        Some(namespace) => {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", namespace]).arg(program);
            command
        }
    }
}

/// An address that is only used between the two.
fn address(end: End) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 231, 0, end.number()))
}

async fn ip(arguments: &[&str]) -> Result<()> {
    run(Command::new("ip").args(arguments)).await?.success()?;
    Ok(())
}

/// What a line of `ss -tiO` says; nothing for a connection without any.
fn bytes_received(line: &str) -> Option<u64> {
    line.split_whitespace().find_map(|word| word.strip_prefix("bytes_received:"))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_as_ss_writes_them() {
        let line = "ESTAB 0 0 10.231.0.2:5 10.231.0.1:80 cubic bytes_acked:7 bytes_received:4096 x";
        assert_eq!(bytes_received(line), Some(4096));
        assert_eq!(bytes_received("ESTAB 0 0 a b cubic bytes_acked:7"), None);
    }

    #[tokio::test]
    async fn a_narrow_line_is_narrow_and_goes_with_its_value() {
        if let Some(obstacle) = obstacle() {
            eprintln!("skipped: {obstacle}");
            return;
        }
        let pair = Pair::create().await.unwrap();
        pair.limit(20).await.unwrap();
        let serve = "import http.server as h, os; os.chdir('/dev'); \
                     s = h.HTTPServer(('', 8000), type('H', (h.BaseHTTPRequestHandler,), \
                     {'do_GET': lambda r: [r.send_response(200), r.end_headers()] and \
                     [r.wfile.write(bytes(65536)) for _ in range(400)]})); s.serve_forever()";
        let mut server = pair.command(End::Near, "python3");
        let quiet = std::process::Stdio::null;
        let _server = server.args(["-c", serve]).stderr(quiet()).spawn().unwrap();
        pair.listens(End::Near, 8000).await.unwrap();
        let url = format!("http://{}/", pair.address(End::Near, 8000));
        let mut client = pair.command(End::Far, "curl");
        let _client = client.args(["-s", &url]).stdout(quiet()).spawn().unwrap();
        pair.flows(8000, 1 << 20).await.unwrap();
        let rate = pair.rate(8000, Duration::from_secs(2)).await.unwrap();
        assert!((17.0..20.5).contains(&rate), "{rate} Mbit/s of payload");
        let prefix = pair.prefix.clone();
        drop(pair);
        let left = run(Command::new("ip").args(["netns", "list"])).await.unwrap();
        assert!(!left.stdout.contains(&prefix), "{}", left.stdout);
    }
}
