//! What moving many large blobs costs in memory.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::time::sleep;

use super::{DEADLINE, settle};
use crate::bench::process::kib;
use crate::bench::release::Release;
use crate::bench::{Measurement, Scale};
use crate::cluster::{Cluster, Node, PRIMARY, Spec};
use crate::wait::until;

/// Blobs that are moved at once.
const BLOBS: usize = 32;

/// The bar, in MiB.
const BAR: f64 = 64.0;

/// How often memory is looked at.
const SAMPLE: Duration = Duration::from_millis(50);

/// How long a node is watched at rest; the most it has then is its idle state.
const REST: Duration = Duration::from_secs(3);

/// transfer.8
pub(in crate::bench) async fn many_blobs(scale: Scale) -> Result<Vec<Measurement>> {
    let bytes: u64 = scale.pick(64 << 20, 4 << 20);
    let release = Release::write(&std::env::temp_dir(), "bench", BLOBS, 1, bytes).await?;
    let mut cluster = Cluster::start().await?;
    release.add_to(&cluster).await?;
    let all: Vec<String> = (0..BLOBS).map(|number| release.revision(number)).collect();
    release.open(&cluster, &all).await?;
    settle().await?;
    // Importing left its mark on the primary; a new process is idle.
    cluster.node_mut(PRIMARY)?.restart().await?;
    // Through the public setting, so that all of them really go at once.
    let spec = Spec::branch("branch", PRIMARY, "emea");
    cluster.join(&spec).await?;
    let node = cluster.node_mut("branch")?;
    node.environment.push(("PATCHMESH_CONTENT_FETCHES".to_owned(), BLOBS.to_string()));
    let sender_idle = most_of(cluster.primary()?, REST).await?;
    cluster.node_mut("branch")?.start().await?;
    let (sender, receiver) = (cluster.primary()?, cluster.node("branch")?);
    let (mut sender_peak, mut receiver_peak) = (0.0_f64, 0.0_f64);
    until("the branch to hold the blobs", DEADLINE, async || {
        sender_peak = sender_peak.max(anonymous(sender)?);
        receiver_peak = receiver_peak.max(anonymous(receiver)?);
        let status = receiver.status().await?.status.unwrap_or_default();
        Ok((status.payloads_held >= BLOBS as u64).then_some(()))
    })
    .await?;
    // The receiver began to work as soon as it was there: its idle state is that
    // of a new process which holds everything.
    cluster.node_mut("branch")?.restart().await?;
    let receiver_idle = most_of(cluster.node("branch")?, REST).await?;
    cluster.passed();
    let row = |who: &str, peak: f64, idle: f64| {
        let measure = format!("anonymous memory above idle, 32 blobs of 64 MiB at once: {who}");
        Measurement::new("transfer.8", &measure, peak - idle, "MiB")
            .turns(1)
            .required_at_most(BAR)
            .note(&format!("idle {idle:.0} MiB, peak {peak:.0} MiB"))
    };
    Ok(vec![row("sender", sender_peak, sender_idle), row("receiver", receiver_peak, receiver_idle)])
}

/// The most that a process holds while it is watched.
async fn most_of(node: &Node, lasting: Duration) -> Result<f64> {
    let (start, mut most) = (Instant::now(), 0.0_f64);
    while start.elapsed() < lasting {
        most = most.max(anonymous(node)?);
        sleep(SAMPLE).await;
    }
    Ok(most)
}

/// Memory that no file stands behind, in MiB: what the process itself needs.
fn anonymous(node: &Node) -> Result<f64> {
    let id = node.process_id().context("the node does not run")?;
    Ok(kib(id, "RssAnon")? / 1024.0)
}
