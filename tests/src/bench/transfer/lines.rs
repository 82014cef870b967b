//! Over lines that are narrow or long, made by the relay.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{DEADLINE, add_chain, rate};
use crate::bench::peer::Peer;
use crate::bench::release::{Release, file_name, finished, interval};
use crate::bench::statistics::median;
use crate::bench::{Measurement, Scale};
use crate::cluster::{Cluster, PRIMARY, free_address};
use crate::proxy::Proxy;
use crate::wait::until;

/// 200 Mbit/s in bytes.
const NARROW: u64 = 25_000_000;

/// 1 Gbit/s in bytes.
const WIDE: u64 = 125_000_000;

/// Half of the round trip.
const ONE_WAY: Duration = Duration::from_millis(50);

/// The nodes below the primary, from the top.
const CHAIN: [&str; 4] = ["one", "two", "three", "four"];

/// A mesh in which every node is below the one before it, each behind a line.
struct Chain {
    cluster: Cluster,
    lines: Vec<Proxy>,
}

impl Chain {
    async fn start(depth: usize) -> Result<Self> {
        let listen = free_address()?;
        let mut lines = vec![Proxy::start(listen).await?];
        let via = lines[0].address();
        let mut cluster = Cluster::init_behind(listen, via).await?;
        cluster.node_mut(PRIMARY)?.start().await?;
        lines.extend(add_chain(&mut cluster, &CHAIN[..depth]).await?);
        Ok(Self { cluster, lines })
    }

    /// Opens a revision: seconds from the first node's first byte until the
    /// deepest node holds the blob.
    async fn carry(&self, release: &Release, revision: usize, bytes: u64) -> Result<f64> {
        let before = self.held(bytes).await?;
        let names = [release.revision(revision)];
        self.cluster.approve("validation", &names).await?;
        self.cluster.approve("production", &names).await?;
        let depth = self.lines.len() - 1;
        let deepest = self.cluster.node(CHAIN[depth - 1])?;
        let last = until("the deepest node to hold the blob", DEADLINE, async || {
            let mut ended = deepest.status().await?.transfers;
            ended.retain(|transfer| !before.contains(&transfer.digest.to_vec()));
            Ok(finished(ended, bytes))
        })
        .await?;
        let top = self.cluster.node(CHAIN[0])?.status().await?.transfers;
        let first = top.into_iter().find(|transfer| transfer.digest == last.digest);
        let (start, _) = interval(&first.context("the first node fetched nothing")?)?;
        Ok(interval(&last)?.1 - start)
    }

    /// The digests of blobs of that length that were carried before.
    async fn held(&self, bytes: u64) -> Result<Vec<Vec<u8>>> {
        let transfers = self.cluster.node(CHAIN[0])?.status().await?.transfers;
        let same = transfers.into_iter().filter(|transfer| transfer.length == bytes);
        Ok(same.map(|transfer| transfer.digest.to_vec()).collect())
    }
}

/// transfer.6
pub(in crate::bench) async fn chain(scale: Scale) -> Result<Vec<Measurement>> {
    let (bytes, turns): (u64, usize) = (scale.pick(256 << 20, 16 << 20), scale.pick(3, 1));
    let release = Release::write(&std::env::temp_dir(), "bench", turns, 1, bytes).await?;
    let (long, short) = (Chain::start(CHAIN.len()).await?, Chain::start(1).await?);
    for chain in [&long, &short] {
        release.add_to(&chain.cluster).await?;
        chain.lines.iter().for_each(|line| line.limit(Some(NARROW)));
    }
    let scratch = tempfile::tempdir()?;
    let rsync = Peer::rsync(scratch.path(), &release.folder).await?;
    let line = Proxy::start(rsync.address()).await?;
    line.limit(Some(NARROW));
    let through = rsync.through(line.address());
    let (mut four, mut one, mut by_rsync) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..turns {
        four.push(long.carry(&release, turn, bytes).await?);
        one.push(short.carry(&release, turn, bytes).await?);
        let mut spent = 0.0;
        for _ in CHAIN {
            let file = file_name(turn, 0);
            let hop = through.rsync(&file, scratch.path(), &["--whole-file", "--fsync"]).await?;
            spent += hop.as_secs_f64();
        }
        by_rsync.push(spent);
    }
    long.cluster.passed();
    short.cluster.passed();
    let measure = "256 MiB down a chain of four hops of 200 Mbit/s each";
    let row = Measurement::new("transfer.6", measure, median(&four), "s").turns(turns);
    Ok(vec![
        row.clone().beside("ours, one such hop", median(&one)).ratio_at_most(1.15),
        row.beside("rsync, hop after hop", median(&by_rsync)),
    ])
}

/// transfer.10
pub(in crate::bench) async fn long_line(scale: Scale) -> Result<Vec<Measurement>> {
    let (bytes, turns): (u64, usize) = (scale.pick(1 << 30, 32 << 20), scale.pick(3, 1));
    let release = Release::write(&std::env::temp_dir(), "bench", turns, 1, bytes).await?;
    let chain = Chain::start(1).await?;
    release.add_to(&chain.cluster).await?;
    let scratch = tempfile::tempdir()?;
    let identity = chain.cluster.primary()?.data.join("identity");
    let nginx = Peer::nginx(scratch.path(), &release.folder, &identity).await?;
    let line = Proxy::start(nginx.address()).await?;
    for one in chain.lines.iter().chain([&line]) {
        one.limit(Some(WIDE));
        one.delay(ONE_WAY);
    }
    let through = nginx.through(line.address());
    let (mut ours, mut curl) = (Vec::new(), Vec::new());
    for turn in 0..turns {
        ours.push(rate(bytes, chain.carry(&release, turn, bytes).await?));
        let ca = identity.join("ca.pem");
        let spent = through.curl(&file_name(turn, 0), scratch.path(), &ca, false).await?;
        curl.push(rate(bytes, spent.as_secs_f64()));
    }
    chain.cluster.passed();
    let measure = "1 GiB over 100 ms round trip and 1 Gbit/s (125 MB/s), one child";
    let row = Measurement::new("transfer.10", measure, median(&ours), "MB/s").turns(turns);
    let bar = 0.9 * WIDE as f64 / 1e6;
    Ok(vec![
        row.beside("nginx and curl, TLS 1.3, fsync, the same line", median(&curl))
            .required_at_least(bar),
    ])
}
