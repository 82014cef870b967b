//! What documents cost: nothing changed, and one approval more among many.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::sleep;

use super::add_chain;
use crate::bench::peer::Peer;
use crate::bench::release::Release;
use crate::bench::statistics::{median, percentile};
use crate::bench::{Measurement, Scale};
use crate::cluster::{Cluster, PRIMARY, free_address};
use crate::proxy::Proxy;
use crate::wait::until;

/// Sources: one manifest has no more than 10,000 revisions.
const SOURCES: [&str; 2] = ["first", "second"];

/// Files of a revision; 100,000 of them in all.
const FILES: usize = 5;

/// Bytes of a file: they are to be counted, not moved.
const BYTES: u64 = 100;

/// The nodes below the primary, from the top.
const CHAIN: [&str; 2] = ["one", "two"];

/// How often the deepest node asks although nothing was announced.
const ASKS: &str = "10s";

/// The longest that the content may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(600);

/// How often the line is looked at.
const LOOK: Duration = Duration::from_millis(1);

/// A line on which nothing passed for so long is silent.
const SILENCE: Duration = Duration::from_millis(500);

/// The longest wait for the next time the node asks.
const NEXT: Duration = Duration::from_secs(30);

/// A primary and two nodes below it, each behind a line, with many revisions.
struct Large {
    cluster: Cluster,
    releases: Vec<Release>,
    lines: Vec<Proxy>,
    /// Revisions of the first source that nobody has opened.
    closed: Vec<String>,
}

impl Large {
    async fn start(scale: Scale, closed: usize) -> Result<Self> {
        let per_source = scale.pick(10_000, 50);
        let place = std::env::temp_dir();
        let listen = free_address()?;
        let mut lines = vec![Proxy::start(listen).await?];
        let mut cluster = Cluster::init_behind(listen, lines[0].address()).await?;
        cluster.node_mut(PRIMARY)?.start().await?;
        let mut releases = Vec::new();
        let mut waiting = Vec::new();
        for source in SOURCES {
            let release = Release::write(&place, source, per_source, FILES, BYTES).await?;
            release.add_to(&cluster).await?;
            let mut open: Vec<String> = (0..per_source).map(|one| release.revision(one)).collect();
            if waiting.is_empty() {
                waiting = open.split_off(per_source - closed);
            }
            release.open(&cluster, &open).await?;
            releases.push(release);
        }
        lines.extend(add_chain(&mut cluster, &CHAIN).await?);
        let generation = cluster.generation().await?;
        for name in CHAIN {
            cluster.reached(name, generation, ARRIVAL).await?;
        }
        Ok(Self { cluster, releases, lines, closed: waiting })
    }

    /// Bytes both ways on the line above the node of that number.
    fn passed(&self, number: usize) -> u64 {
        self.lines[number].bytes_down() + self.lines[number].bytes_up()
    }

    /// Waits until the line has been silent for a while: bytes since `before`,
    /// and when the last of them passed.
    async fn silent(&self, number: usize, before: u64) -> (u64, Instant) {
        let (mut last, mut at) = (self.passed(number), Instant::now());
        while at.elapsed() < SILENCE {
            sleep(LOOK).await;
            let now = self.passed(number);
            if now != last {
                (last, at) = (now, Instant::now());
            }
        }
        (last - before, at)
    }

    /// The next time that something passes: bytes and seconds.
    async fn next_exchange(&self, number: usize) -> Result<(f64, f64)> {
        let (_, _) = self.silent(number, 0).await;
        let (before, waited) = (self.passed(number), Instant::now());
        while self.passed(number) == before {
            ensure!(waited.elapsed() < NEXT, "nothing passed within {NEXT:?}");
            sleep(LOOK).await;
        }
        let start = Instant::now();
        let (bytes, end) = self.silent(number, before).await;
        Ok((bytes as f64 / 1e3, end.duration_since(start).as_secs_f64() * 1e3))
    }
}

/// transfer.4
pub(in crate::bench) async fn nothing_changed(scale: Scale) -> Result<Vec<Measurement>> {
    let turns = scale.pick(5, 2);
    let mut large = Large::start(scale, 0).await?;
    let node = large.cluster.node_mut("one")?;
    node.environment.push(("PATCHMESH_POLL_INTERVAL".to_owned(), ASKS.to_owned()));
    node.restart().await?;
    let scratch = tempfile::tempdir()?;
    let rsync = Peer::rsync(scratch.path(), &large.releases[0].folder).await?;
    let line = Proxy::start(rsync.address()).await?;
    let through = rsync.through(line.address());
    // The peer's copy, so that its later scans find nothing to do.
    through.rsync_again("", scratch.path()).await?;
    let (mut ours_bytes, mut ours_time) = (Vec::new(), Vec::new());
    let (mut peer_bytes, mut peer_time) = (Vec::new(), Vec::new());
    for _ in 0..turns {
        let (kilobytes, milliseconds) = large.next_exchange(0).await?;
        ours_bytes.push(kilobytes);
        ours_time.push(milliseconds);
        let before = line.bytes_down() + line.bytes_up();
        let spent = through.rsync_again("", scratch.path()).await?;
        let bytes = line.bytes_down() + line.bytes_up() - before;
        peer_bytes.push(bytes as f64 / 1e3);
        peer_time.push(spent.as_secs_f64() * 1e3);
    }
    large.cluster.passed();
    let peer = "rsync's scan of half of the files";
    let what = "a node asks and nothing changed, 100,000 blobs, 20,000 revisions";
    let row = |measure: &str, ours: &[f64], unit: &str| {
        // The costliest: a sign of life may pass for an answer, and costs less.
        Measurement::new("transfer.4", measure, percentile(ours, 1.0), unit).turns(turns)
    };
    Ok(vec![
        row(&format!("{what}: first to last byte on the line, costliest turn"), &ours_time, "ms")
            .beside(peer, median(&peer_time))
            .required_at_most(10.0),
        row("the same: bytes both ways, costliest turn", &ours_bytes, "kB")
            .beside(peer, median(&peer_bytes))
            .required_at_most(20.0),
    ])
}

/// transfer.5
pub(in crate::bench) async fn one_approval(scale: Scale) -> Result<Vec<Measurement>> {
    let turns = scale.pick(10, 2);
    let large = Large::start(scale, turns).await?;
    let cluster = &large.cluster;
    cluster.approve("validation", &large.closed).await?;
    let (mut bytes, mut hops, mut documents) = (Vec::new(), Vec::new(), Vec::new());
    for revision in &large.closed {
        cluster.converged(&CHAIN).await?;
        let mut before = Vec::new();
        for number in 0..CHAIN.len() {
            let (_, _) = large.silent(number, 0).await;
            before.push(large.passed(number));
        }
        let from = cluster.generation().await?;
        cluster.approve("production", std::slice::from_ref(revision)).await?;
        cluster.converged(&CHAIN).await?;
        for (number, name) in CHAIN.into_iter().enumerate() {
            let (passed, _) = large.silent(number, before[number]).await;
            bytes.push(passed as f64 / 1e3);
            let node = cluster.node(name)?;
            let taken = until("the node's record of the approval", NEXT, async || {
                let records = node.status().await?.synchronisations;
                let new = records.into_iter().filter(|one| one.to_generation > from);
                let new: Vec<_> = new.collect();
                Ok((!new.is_empty()).then_some(new))
            })
            .await?;
            hops.push(taken.iter().map(|one| one.seconds).fold(0.0, f64::max) * 1e3);
            documents.push(taken.iter().map(|one| one.bytes).sum::<u64>() as f64 / 1e3);
        }
    }
    large.cluster.passed();
    let what = "one approval more among 20,000";
    Ok(vec![
        Measurement::new(
            "transfer.5",
            &format!("{what}: bytes both ways for each node, its 500 bytes of payload included"),
            median(&bytes),
            "kB",
        )
        .turns(turns)
        .required_at_most(100.0)
        .note(&format!("{:.0} kB of that are documents and metadata", median(&documents))),
        Measurement::new(
            "transfer.5",
            &format!("{what}: the time of a hop by the nodes' records"),
            median(&hops),
            "ms",
        )
        .turns(turns)
        .required_at_most(50.0),
    ])
}
