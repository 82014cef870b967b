//! One parent, many branches at one site.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::bench::release::Release;
use crate::bench::{Measurement, Scale};
use crate::cluster::{Cluster, PRIMARY, Spec, free_address};
use crate::proxy::Proxy;
use crate::wait::until;

/// The longest that all branches may take together.
const DEADLINE: Duration = Duration::from_secs(600);

/// transfer.7
pub(in crate::bench) async fn one_site(scale: Scale) -> Result<Vec<Measurement>> {
    let (bytes, branches): (u64, usize) = (scale.pick(256 << 20, 16 << 20), scale.pick(16, 3));
    let release = Release::write(&std::env::temp_dir(), "bench", 1, 1, bytes).await?;
    let listen = free_address()?;
    let line = Proxy::start(listen).await?;
    let mut cluster = Cluster::init_behind(listen, line.address()).await?;
    cluster.node_mut(PRIMARY)?.start().await?;
    release.add_to(&cluster).await?;
    let names: Vec<String> = (0..branches).map(|number| format!("branch-{number}")).collect();
    for name in &names {
        cluster.add(&Spec::branch(name, PRIMARY, "emea/fr/paris")).await?;
    }
    let before = line.bytes_down();
    let start = Instant::now();
    let revision = [release.revision(0)];
    cluster.approve("validation", &revision).await?;
    cluster.approve("production", &revision).await?;
    for name in &names {
        let node = cluster.node(name)?;
        until("a branch to hold the blob", DEADLINE, async || {
            let status = node.status().await?.status.unwrap_or_default();
            Ok((status.payloads_held >= 1).then_some(()))
        })
        .await?;
    }
    let spent = start.elapsed().as_secs_f64();
    let sent = (line.bytes_down() - before) as f64 / bytes as f64;
    cluster.passed();
    let measure = "what one parent sends for 16 branches at one site, 256 MiB, in blobs";
    let alone = branches as f64;
    Ok(vec![
        Measurement::new("transfer.7", measure, sent, "×")
            .turns(1)
            .beside("each branch from the parent (arithmetic)", alone)
            .required_at_most(1.2)
            .note(&format!("all held it {spent:.1} s after `approve`")),
    ])
}
