//! Between two network namespaces: limits that are kept, and a line that is
//! shared with somebody else's traffic.
//!
//! Rates are what TCP has delivered in order at the far end, over all connections
//! from a port. A client that goes takes with it what it forked. The narrow line has
//! its queue in the middle and is the same for everybody ([`crate::netns`]).

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::bench::peer::{Peer, Place, line, note};
use crate::bench::release::{Release, file_name};
use crate::bench::{Measurement, Scale};
use crate::cluster::{Cluster, PRIMARY, Spec, generation_of};
use crate::netns::{End, Pair, obstacle};
use crate::wait::{PATIENCE, until};

/// Ports at the near end.
const NODE: u16 = 8443;
const RSYNC: u16 = 8730;
const ARIA2: u16 = 8444;
const FOREGROUND: u16 = 8445;

/// The node at the far end.
const BRANCH: &str = "branch";

/// How far a limit may be missed, in percent.
const ERROR: f64 = 2.0;

/// When a step is to be in force.
const IN_FORCE: Duration = Duration::from_secs(1);

/// How long it is measured after that.
const AFTER_STEP: Duration = Duration::from_secs(4);

/// The line that is shared, in Mbit/s.
const NARROW: u32 = 20;

/// Bytes that have to come before a rate is measured: what starts is over then.
const STARTED: u64 = 256 << 10;

/// What the other flow is to keep of its rate, and what is to be used of the line
/// once it is gone, in percent.
const KEPT: f64 = 95.0;
const USED: f64 = 90.0;

/// A client and what it forked; all of it ends with the value.
struct Client {
    child: Child,
}

impl Drop for Client {
    fn drop(&mut self) {
        // rsync receives in a process of its own, which outlives the first.
        if let Some(id) = self.child.id() {
            let group = format!("-{id}");
            let kill = ["-KILL", "--", group.as_str()];
            let _ = std::process::Command::new("kill").args(kill).stderr(Stdio::null()).status();
        }
    }
}

/// A mesh and its peers at both ends of one line.
struct Bench {
    // Processes first: they end before what they use goes.
    cluster: Cluster,
    _servers: Vec<Peer>,
    release: Release,
    scratch: TempDir,
    pair: Pair,
}

impl Bench {
    async fn start(bytes: u64) -> Result<Self> {
        let pair = Pair::create().await?;
        let release = Release::write(&std::env::temp_dir(), "bench", 1, 1, bytes).await?;
        let mut cluster = Cluster::start_at(&pair, pair.address(End::Near, NODE)).await?;
        release.add_to(&cluster).await?;
        let spec = Spec::branch(BRANCH, PRIMARY, "emea");
        cluster.add_at(&spec, &pair, pair.address(End::Far, NODE)).await?;
        let scratch = tempfile::tempdir()?;
        let identity = cluster.primary()?.data.join("identity");
        let mut servers = Vec::new();
        let (to, folder) = (scratch.path(), &release.folder);
        servers.push(Peer::rsync_at(&Place::near(&pair, RSYNC), to, folder).await?);
        for port in [ARIA2, FOREGROUND] {
            servers.push(Peer::nginx_at(&Place::near(&pair, port), to, folder, &identity).await?);
        }
        Ok(Self { cluster, _servers: servers, release, scratch, pair })
    }

    /// Begins our transfer.
    async fn approve(&self) -> Result<()> {
        let revision = [self.release.revision(0)];
        self.cluster.approve("validation", &revision).await?;
        self.cluster.approve("production", &revision).await?;
        Ok(())
    }

    /// Sets the profile of the branch's line and waits until it knows.
    async fn link(&self, arguments: &[&str]) -> Result<()> {
        let all = [&["link", "set", BRANCH], arguments].concat();
        note(&format!("patchmesh {}", line(&all)));
        self.cluster.patchmesh(PRIMARY, &all).await?.success()?;
        let (node, wanted) = (self.cluster.node(BRANCH)?, self.cluster.generation().await?);
        until("the branch to know it", PATIENCE, async || {
            Ok((generation_of(&node.status().await?) >= wanted).then_some(()))
        })
        .await
    }

    fn ca(&self) -> Result<PathBuf> {
        Ok(self.cluster.primary()?.ca())
    }

    fn url(&self, scheme: &str, port: u16, folder: &str) -> String {
        format!("{scheme}://{}/{folder}{}", self.pair.address(End::Near, port), file_name(0, 0))
    }

    /// Whether the branch has a transfer of the background.
    async fn is_fetching(&self) -> Result<bool> {
        let transfers = self.cluster.node(BRANCH)?.status().await?.transfers;
        Ok(transfers.iter().any(|one| one.class == "background" && one.ended_at.is_none()))
    }

    /// A client at the far end that runs until the value goes.
    fn spawn(&self, mut command: Command) -> Result<Client> {
        note(&described(&command));
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Client { child: command.process_group(0).kill_on_drop(true).spawn()? })
    }

    fn rsync(&self, options: &[&str]) -> Result<Client> {
        let mut command = self.pair.command(End::Far, "rsync");
        let target = self.scratch.path().join("by-rsync");
        command.arg("--whole-file").args(options);
        command.arg(self.url("rsync", RSYNC, "bench/")).arg(target);
        self.spawn(command)
    }

    fn aria2(&self, options: &[&str], target: &Path) -> Result<Client> {
        let mut command = self.pair.command(End::Far, "aria2c");
        command.args(["--quiet", "--file-allocation=none", "--allow-overwrite=true"]);
        command.args(options).arg("--ca-certificate").arg(self.ca()?).arg("--dir").arg(target);
        command.arg(self.url("https", ARIA2, ""));
        self.spawn(command)
    }

    fn foreground(&self) -> Result<Client> {
        let mut command = self.pair.command(End::Far, "curl");
        command.args(["--silent", "--output", "/dev/null", "--cacert"]).arg(self.ca()?);
        command.arg(self.url("https", FOREGROUND, ""));
        self.spawn(command)
    }

    /// The rate from a port once it flows.
    async fn rate(&self, port: u16, over: Duration) -> Result<f64> {
        self.pair.flows(port, STARTED).await?;
        self.pair.rate(port, over).await
    }
}

/// The command without `ip netns exec NAMESPACE`.
fn described(command: &Command) -> String {
    let words = command.as_std().get_args().skip(3).map(|word| word.to_string_lossy());
    line(words)
}

/// How far a rate is from a limit, in percent.
fn error(rate: f64, megabits: u32) -> f64 {
    (rate / f64::from(megabits) - 1.0).abs() * 100.0
}

/// transfer.11
pub(in crate::bench) async fn limits(scale: Scale) -> Result<Vec<Measurement>> {
    let what =
        |megabits| format!("error of a limit of {megabits} Mbit/s, as TCP payload over 10 s");
    if let Some(obstacle) = obstacle() {
        return Ok(vec![Measurement::missing("transfer.11", &what(1), obstacle)]);
    }
    let over = scale.pick(Duration::from_secs(10), Duration::from_secs(2));
    let bench = Bench::start(scale.pick(768 << 20, 512 << 20)).await?;
    let mut peers = Vec::new();
    for megabits in [1_u32, 10, 100] {
        let bytes = u64::from(megabits) * 1_000_000 / 8;
        // The option counts in KiB; a decimal fraction is exact enough.
        let limit = format!("--bwlimit={:.3}", bytes as f64 / 1024.0);
        let rsync = {
            let _client = bench.rsync(&[&limit])?;
            error(bench.rate(RSYNC, over).await?, megabits)
        };
        let limit = format!("--max-overall-download-limit={bytes}");
        let aria2 = {
            let _client = bench.aria2(&[&limit], bench.scratch.path())?;
            error(bench.rate(ARIA2, over).await?, megabits)
        };
        peers.push((megabits, rsync, aria2));
    }
    let mut rows = Vec::new();
    for (megabits, rsync, aria2) in peers {
        let limit = format!("{megabits}Mbit/s");
        bench.link(&["--down", &limit]).await?;
        if rows.is_empty() {
            bench.approve().await?;
        }
        sleep(IN_FORCE).await;
        let ours = error(bench.rate(NODE, over).await?, megabits);
        let row = Measurement::new("transfer.11", &what(megabits), ours, "%").turns(1);
        let row = row.required_at_most(ERROR);
        rows.push(row.clone().beside("rsync --bwlimit", rsync));
        rows.push(row.beside("aria2 --max-overall-download-limit", aria2));
    }
    rows.push(step(&bench).await?);
    bench.cluster.passed();
    Ok(rows)
}

/// A step from 40 to 10 Mbit/s at a full minute.
async fn step(bench: &Bench) -> Result<Measurement> {
    let now = Timestamp::now();
    // The next full minute that leaves time to tell everybody.
    let at = now.as_second() - now.as_second().rem_euclid(60) + 60;
    let at = if at - now.as_second() < 10 { at + 60 } else { at };
    let at = Timestamp::from_second(at).context("a time")?;
    let clock = |at: Timestamp| at.strftime("%H:%M").to_string();
    let end = at + SignedDuration::from_mins(30);
    let rule = format!("{}-{} 10Mbit/s", clock(at), clock(end));
    bench.link(&["--down", "40Mbit/s", "--down-at", &rule]).await?;
    let left = at.duration_since(Timestamp::now());
    let left = Duration::try_from(left).context("it took too long to set the schedule")?;
    sleep(left + IN_FORCE).await;
    let rate = bench.pair.rate(NODE, AFTER_STEP).await?;
    let what = "error after a step of the schedule from 40 to 10 Mbit/s, over 4 s from a second on";
    let row = Measurement::new("transfer.11", what, error(rate, 10), "%").turns(1);
    Ok(row.required_at_most(ERROR))
}

/// How somebody fares beside the foreground flow, in percent.
struct Shared {
    /// Of what the foreground had alone.
    kept: f64,
    /// Of the line, when the foreground is gone.
    used: f64,
}

/// transfer.12
pub(in crate::bench) async fn politeness(scale: Scale) -> Result<Vec<Measurement>> {
    let what = "what a foreground TCP flow keeps on a line of 20 Mbit/s beside a transfer";
    if let Some(obstacle) = obstacle() {
        return Ok(vec![Measurement::missing("transfer.12", what, obstacle)]);
    }
    let over = scale.pick(Duration::from_secs(10), Duration::from_secs(3));
    let [rsync, aria2, ours] = beside_a_later(scale, over).await?;
    let second = beside_an_earlier(scale, over).await?;
    let row = |measure: &str, value: fn(&Shared) -> f64, bar: f64| {
        let row = Measurement::new("transfer.12", measure, value(&ours), "%").turns(1);
        let row = row.required_at_least(bar);
        [("rsync", &rsync), ("nginx and aria2", &aria2)]
            .map(|(peer, theirs)| row.clone().beside(peer, value(theirs)))
    };
    let mut rows = Vec::new();
    rows.extend(row(what, |shared| shared.kept, KEPT));
    let used = "the same: use of the line when that flow is gone";
    rows.extend(row(used, |shared| shared.used, USED));
    let what = "the same, where that flow was there before a transfer";
    let row = Measurement::new("transfer.12", what, second.kept, "%").turns(1);
    rows.push(row.required_at_least(KEPT));
    let row = Measurement::new("transfer.12", used, second.used, "%").turns(1);
    rows.push(row.required_at_least(USED));
    Ok(rows)
}

/// Measures rsync, aria2 and ours, each with the foreground as the second.
async fn beside_a_later(scale: Scale, over: Duration) -> Result<[Shared; 3]> {
    let bench = Bench::start(scale.pick(256 << 20, 64 << 20)).await?;
    bench.link(&["--ahead", "background"]).await?;
    bench.pair.limit(NARROW).await?;
    let alone = {
        let _foreground = bench.foreground()?;
        bench.rate(FOREGROUND, over).await?
    };
    let rsync = {
        let _client = bench.rsync(&[])?;
        shared(&bench, RSYNC, alone, over).await?
    };
    let aria2 = {
        let _client = bench.aria2(&[], bench.scratch.path())?;
        shared(&bench, ARIA2, alone, over).await?
    };
    // Last: it goes on until the blob is there.
    bench.approve().await?;
    let ours = shared(&bench, NODE, alone, over).await?;
    ensure!(bench.is_fetching().await?, "no transfer of the background");
    bench.cluster.passed();
    Ok([rsync, aria2, ours])
}

/// Measures a transfer that begins where the foreground has the line already, at
/// a node that never fetched anything before.
async fn beside_an_earlier(scale: Scale, over: Duration) -> Result<Shared> {
    let bench = Bench::start(scale.pick(256 << 20, 64 << 20)).await?;
    bench.link(&["--ahead", "background"]).await?;
    bench.pair.limit(NARROW).await?;
    let (alone, kept) = {
        let _foreground = bench.foreground()?;
        let alone = bench.rate(FOREGROUND, over).await?;
        bench.approve().await?;
        let begun = async || Ok(bench.is_fetching().await?.then_some(()));
        until("the transfer to begin", PATIENCE, begun).await?;
        (alone, bench.rate(FOREGROUND, over).await? / alone * 100.0)
    };
    let used = bench.rate(NODE, over).await? / alone * 100.0;
    bench.cluster.passed();
    Ok(Shared { kept, used })
}

/// Measures the transfer that runs from `port` with and without the foreground.
async fn shared(bench: &Bench, port: u16, alone: f64, over: Duration) -> Result<Shared> {
    bench.pair.flows(port, STARTED).await?;
    let kept = {
        let _foreground = bench.foreground()?;
        bench.rate(FOREGROUND, over).await? / alone * 100.0
    };
    Ok(Shared { kept, used: bench.pair.rate(port, over).await? / alone * 100.0 })
}
