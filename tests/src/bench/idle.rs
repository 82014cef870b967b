//! What machines cost a branch while nothing is to be done.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;

use super::crowd::Maker;
use super::peer::Peer;
use super::process::kib;
use super::{Measurement, Scale};
use crate::cluster::{Cluster, PRIMARY, Spec};

/// The bars: machines, and KiB for each. The aim is 32.
const MACHINES: f64 = 15_000.0;
const MEMORY: f64 = 64.0;

/// More than the bar, and less than a process may have open here.
const CROWD: usize = 16_000;

/// How long a server has to come to rest, before and after they connect.
const SETTLE: Duration = Duration::from_secs(10);

/// machines.1
pub(super) async fn connected(scale: Scale) -> Result<Vec<Measurement>> {
    let count = scale.pick(CROWD, 200);
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("branch", PRIMARY, "emea/fr/paris")).await?;
    let maker = Maker::of(&cluster, "branch").await?;
    let branch = cluster.node("branch")?;
    let id = branch.process_id().context("the branch does not run")?;
    sleep(SETTLE).await;
    let before = kib(id, "RssAnon")?;
    let mut listeners = maker.listeners(&branch.url, 0..count).await?;
    sleep(SETTLE).await;
    let ours = (kib(id, "RssAnon")? - before) / count as f64;
    let idle = listeners.iter_mut().filter_map(|one| one.is_idle().then_some(())).count();
    ensure!(idle == count, "{idle} of {count} machines are connected and idle");
    drop(listeners);

    let scratch = tempfile::tempdir()?;
    let identity = cluster.primary()?.data.join("identity");
    let nginx = Peer::nginx_for_members(scratch.path(), &identity).await?;
    let before = kib(nginx.process_id()?, "RssAnon")?;
    let mut visitors = maker.visitors(&nginx, 0..count).await?;
    sleep(SETTLE).await;
    let theirs = (kib(nginx.process_id()?, "RssAnon")? - before) / count as f64;
    let kept = visitors.iter_mut().filter_map(|one| one.is_idle().then_some(())).count();
    ensure!(kept == count, "nginx keeps {kept} of {count} connections");
    cluster.passed();
    let about =
        "machines connected to one branch at once, each idle, mutual TLS, listening for words";
    let reached = Measurement::new("machines.1", about, idle as f64, "").turns(1);
    let each = Measurement::new("machines.1", "the same: anonymous memory for each", ours, "KiB");
    Ok(vec![
        reached.required_at_least(MACHINES),
        each.turns(1)
            .beside("nginx, as many kept connections over HTTP/1.1, clients verified", theirs)
            .required_at_most(MEMORY),
    ])
}
