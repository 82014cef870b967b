//! One large blob over one hop, on disk and in memory-backed folders.

use std::path::Path;

use anyhow::{Result, ensure};

use super::{fetch_by_child, has_room, rate, settle};
use crate::bench::peer::{Peer, plain_write};
use crate::bench::release::{Release, file_name};
use crate::bench::statistics::median;
use crate::bench::{Measurement, Scale};
use crate::cluster::{Cluster, PRIMARY};

/// A folder in memory on every Linux.
const MEMORY: &str = "/dev/shm";

/// Turns in the table.
const TURNS: usize = 7;

/// Turns of our own rate in memory that row 1 compares with.
const COMPARED_TURNS: usize = 3;

/// What row 1 must reach of the lesser of a plain write and our rate in memory.
const OF_THE_DISK: f64 = 0.95;

/// What row 2 must reach of curl's rate.
const OF_CURL: f64 = 1.2;

/// Rates in MB/s, a value for each turn.
#[derive(Default)]
struct Rates {
    ours: Vec<f64>,
    dd: Vec<f64>,
    rsync: Vec<f64>,
    curl: Vec<f64>,
    aria2: Vec<f64>,
}

/// transfer.1
pub(in crate::bench) async fn on_disk(scale: Scale) -> Result<Vec<Measurement>> {
    let memory = median(&turns(Path::new(MEMORY), scale, COMPARED_TURNS, false).await?.ours);
    let rates = turns(&std::env::temp_dir(), scale, scale.pick(TURNS, 2), true).await?;
    let measure = "one 4 GiB blob over one hop, mutual TLS, verified, file and folder synced";
    let (ours, dd) = (median(&rates.ours), median(&rates.dd));
    let row = Measurement::new("transfer.1", measure, ours, "MB/s").turns(rates.ours.len());
    let plain = row.clone().beside("dd, write and fsync", dd);
    let memory_row = row.clone().beside("ours in memory-backed folders", memory);
    // The lesser of the two is the bar.
    let (plain, memory_row) = if dd <= memory {
        (plain.ratio_at_least(OF_THE_DISK), memory_row)
    } else {
        (plain, memory_row.ratio_at_least(OF_THE_DISK))
    };
    Ok(vec![
        plain,
        memory_row,
        row.clone()
            .beside("rsync daemon --fsync, plain TCP, unverified", median(&rates.rsync))
            .ratio_at_least(1.0),
        row.clone().beside("nginx and curl, TLS 1.3, fsync, b3sum", median(&rates.curl)),
        row.beside("nginx and aria2, TLS, 4 connections, sync", median(&rates.aria2)),
    ])
}

/// transfer.2
pub(in crate::bench) async fn in_memory(scale: Scale) -> Result<Vec<Measurement>> {
    let rates = turns(Path::new(MEMORY), scale, scale.pick(TURNS, 2), true).await?;
    let measure = "the same in memory-backed folders, both sides writing; aim 1,000 MB/s";
    let row = Measurement::new("transfer.2", measure, median(&rates.ours), "MB/s")
        .turns(rates.ours.len());
    Ok(vec![
        row.clone()
            .beside("nginx and curl, TLS 1.3, fsync, b3sum", median(&rates.curl))
            .ratio_at_least(OF_CURL),
        row.beside("rsync daemon --fsync, plain TCP, unverified", median(&rates.rsync)),
    ])
}

/// Interleaved turns below `place`.
async fn turns(place: &Path, scale: Scale, turns: usize, peers: bool) -> Result<Rates> {
    let bytes: u64 = scale.pick(4 << 30, 64 << 20);
    // The release, the primary's copy and the child's, and a little.
    ensure!(
        has_room(place, bytes * 3 + (1 << 30)).await?,
        "{} has no room for three copies of the blob",
        place.display()
    );
    let release = Release::write(place, "bench", 1, 1, bytes).await?;
    let mut cluster = Cluster::start_in(place).await?;
    release.add_to(&cluster).await?;
    release.open(&cluster, &[release.revision(0)]).await?;
    let scratch = tempfile::tempdir_in(place)?;
    let identity = cluster.node(PRIMARY)?.data.join("identity");
    let ca = identity.join("ca.pem");
    let rsync = Peer::rsync(scratch.path(), &release.folder).await?;
    let nginx = Peer::nginx(scratch.path(), &release.folder, &identity).await?;
    let through = nginx.through(nginx.address());
    let file = file_name(0, 0);
    settle().await?;

    let mut rates = Rates::default();
    let on_disk = place != Path::new(MEMORY);
    for turn in 0..turns {
        let spent = fetch_by_child(&mut cluster, &format!("branch-{turn}"), bytes).await?;
        rates.ours.push(rate(bytes, spent));
        if !peers {
            continue;
        }
        let to = scratch.path();
        let spent = rsync.rsync_fetch(&file, to).await?;
        rates.rsync.push(rate(bytes, spent.as_secs_f64()));
        settle().await?;
        let spent = through.curl(&file, to, &ca, true).await?;
        rates.curl.push(rate(bytes, spent.as_secs_f64()));
        settle().await?;
        if on_disk {
            let spent = plain_write(&release.folder.join(&file), to).await?;
            rates.dd.push(rate(bytes, spent.as_secs_f64()));
            settle().await?;
            let spent = through.aria2(&file, to, &ca).await?;
            rates.aria2.push(rate(bytes, spent.as_secs_f64()));
            settle().await?;
        }
    }
    cluster.passed();
    Ok(rates)
}
