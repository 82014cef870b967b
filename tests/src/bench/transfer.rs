//! How bytes travel: rows `transfer.1` to `transfer.12`, each beside its peers.
//!
//! Times are a node's own records of its transfers, checked by a clock outside
//! of it; bytes are counted by the line between the nodes.

mod blob;
mod crowd;
mod documents;
mod fanout;
mod lines;
mod memory;
mod shared;
mod small;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::release::{finished, interval};
use crate::cluster::{Cluster, PRIMARY, Spec, free_address};
use crate::proxy::Proxy;
use crate::wait::until;

pub(super) use blob::{in_memory, on_disk};
pub(super) use crowd::a_thousand_requests;
pub(super) use documents::{nothing_changed, one_approval};
pub(super) use fanout::one_site;
pub(super) use lines::{chain, long_line};
pub(super) use memory::many_blobs;
pub(super) use shared::{limits, politeness};
pub(super) use small::many_small;

/// The longest that one transfer may take.
const DEADLINE: Duration = Duration::from_secs(300);

/// How far a node's record may be from what was seen outside, in seconds: the
/// outside looks every few dozen milliseconds, and a busy machine answers late.
const CLOCK_DIFFERENCE: f64 = 1.0;

/// A new child of the primary fetches the only payload there is, of `bytes`
/// bytes, and goes: seconds by its own record, which must agree with the clock
/// outside.
async fn fetch_by_child(cluster: &mut Cluster, name: &str, bytes: u64) -> Result<f64> {
    cluster.join(&Spec::branch(name, PRIMARY, "emea")).await?;
    let (wall, began) = (jiff::Timestamp::now(), Instant::now());
    cluster.node_mut(name)?.start().await?;
    let node = cluster.node(name)?;
    let transfer = until("the child to hold the blob", DEADLINE, async || {
        Ok(finished(node.status().await?.transfers, bytes))
    })
    .await?;
    let (start, end) = interval(&transfer)?;
    let begun = wall.as_millisecond() as f64 / 1e3;
    let seen = begun + began.elapsed().as_secs_f64();
    ensure!(
        start >= begun - 0.1 && end <= seen + 0.1 && seen - end <= CLOCK_DIFFERENCE,
        "the node's record says {start} to {end}, outside it was {begun} to {seen}"
    );
    leave(cluster, name).await?;
    Ok(end - start)
}

/// Adds nodes one below the other, the first below the primary, each behind a
/// line of its own; the lines from the top.
async fn add_chain(cluster: &mut Cluster, names: &[&str]) -> Result<Vec<Proxy>> {
    let mut lines = Vec::new();
    let mut parent = PRIMARY;
    for &name in names {
        let listen = free_address()?;
        let line = Proxy::start(listen).await?;
        let spec = Spec::branch(name, parent, "emea");
        cluster.add_behind(&spec, listen, line.address()).await?;
        lines.push(line);
        parent = name;
    }
    Ok(lines)
}

/// Stops a node and removes what it holds, so that the next turn finds the same
/// room and an idle disk.
async fn leave(cluster: &mut Cluster, name: &str) -> Result<()> {
    cluster.node_mut(name)?.stop().await?;
    std::fs::remove_dir_all(&cluster.node(name)?.data)?;
    settle().await
}

/// Waits until nothing is on its way to the disk.
async fn settle() -> Result<()> {
    crate::run::run(&mut tokio::process::Command::new("sync")).await?.success()?;
    Ok(())
}

/// Seconds for `bytes` as MB/s.
fn rate(bytes: u64, seconds: f64) -> f64 {
    bytes as f64 / 1e6 / seconds
}

/// Whether `place` has room for `bytes`, by `df`.
async fn has_room(place: &Path, bytes: u64) -> Result<bool> {
    let outcome = crate::run::run(
        tokio::process::Command::new("df").args(["--output=avail", "--block-size=1"]).arg(place),
    )
    .await?
    .success()?;
    let free: u64 = outcome.stdout.lines().last().unwrap_or_default().trim().parse()?;
    Ok(free >= bytes)
}
