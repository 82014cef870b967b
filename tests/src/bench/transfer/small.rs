//! Many small blobs over one hop.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::{DEADLINE, leave, settle};
use crate::bench::peer::Peer;
use crate::bench::release::Release;
use crate::bench::statistics::median;
use crate::bench::{Measurement, Scale};
use crate::cluster::{Cluster, PRIMARY, Spec};
use crate::wait::until;

/// Bytes of each.
const BYTES: u64 = 16 << 10;

/// Files of one revision.
const FILES: usize = 100;

/// transfer.3
pub(in crate::bench) async fn many_small(scale: Scale) -> Result<Vec<Measurement>> {
    let (revisions, turns) = (scale.pick(200, 2), scale.pick(3, 1));
    let blobs = revisions * FILES;
    let place = std::env::temp_dir();
    let release = Release::write(&place, "bench", revisions, FILES, BYTES).await?;
    let mut cluster = Cluster::start_in(&place).await?;
    release.add_to(&cluster).await?;
    let all: Vec<String> = (0..revisions).map(|number| release.revision(number)).collect();
    release.open(&cluster, &all).await?;
    let scratch = tempfile::tempdir_in(&place)?;
    let rsync = Peer::rsync(scratch.path(), &release.folder).await?;
    let through = rsync.through(rsync.address());
    let (mut ours, mut synced, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..turns {
        settle().await?;
        ours.push(by_child(&mut cluster, &format!("branch-{turn}"), blobs as u64).await?);
        let options = ["--recursive", "--whole-file", "--fsync"];
        let spent = through.rsync("", scratch.path(), &options).await?;
        synced.push(spent.as_secs_f64());
        settle().await?;
        let spent = through.rsync("", scratch.path(), &options[..2]).await?;
        plain.push(spent.as_secs_f64());
    }
    cluster.passed();
    let per_second = |seconds: &[f64]| blobs as f64 / median(seconds);
    let row = Measurement::new(
        "transfer.3",
        "20,000 blobs of 16 KiB over one hop, durable",
        per_second(&ours),
        "blobs/s",
    )
    .turns(turns);
    Ok(vec![
        row.clone().beside("rsync daemon --fsync", per_second(&synced)).ratio_at_least(3.0),
        row.beside("rsync daemon, nothing synced", per_second(&plain)).ratio_at_least(1.0),
    ])
}

/// Seconds by the clock outside, from the first look that finds the wish until
/// all is held. A node records no transfer for so many.
async fn by_child(cluster: &mut Cluster, name: &str, blobs: u64) -> Result<f64> {
    cluster.join(&Spec::branch(name, PRIMARY, "emea")).await?;
    cluster.node_mut(name)?.spawn()?;
    let node = cluster.node(name)?;
    let mut begun = None;
    until("the child to hold all blobs", DEADLINE, async || {
        let looked = Instant::now();
        let status = node.status().await?.status.unwrap_or_default();
        if status.payloads_wanted > 0 && begun.is_none() {
            // The few that came before this look are in our favour by no more
            // than the look's interval.
            begun = Some(looked);
        }
        Ok((status.payloads_wanted >= blobs && status.payloads_held >= blobs).then_some(()))
    })
    .await?;
    let spent = begun.map_or(0.0, |begun| begun.elapsed().as_secs_f64());
    ensure!(spent > 0.0, "nothing was fetched");
    leave(cluster, name).await?;
    Ok(spent)
}
