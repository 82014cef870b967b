//! What an agent, as `make agent` builds it, costs its machine while nothing is to
//! be done.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;

use super::process::{kib, waits};
use super::{Measurement, Scale};
use crate::agent::Machine;
use crate::binaries::agent_alone;
use crate::cluster::{Cluster, PRIMARY, Spec};
use crate::vendor::{Sample, Vendor};
use crate::wait::{PATIENCE, until};

/// The bar, in MiB.
const MEMORY: f64 = 20.0;

/// How long the agent has to come to rest after its first round.
const SETTLE: Duration = Duration::from_secs(10);

/// machines.6
pub(super) async fn idle(scale: Scale) -> Result<Vec<Measurement>> {
    let watched = Duration::from_secs(scale.pick(120, 5));
    let machine = Machine::with("pc-1", &[Sample::new("app", "1")]).await?;
    let vendor = Vendor::with_samples(&[Sample::new("app", "2")]).await?;
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("lyon", PRIMARY, "emea/fr/lyon")).await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    let app = [cluster.revision("app").await?];
    cluster.allow(&app).await?;
    machine.join(&cluster, "lyon").await?;
    let mut agent = machine.start_as(&agent_alone()?, &["--every", "30h"])?;
    until("the agent to install", PATIENCE, async || {
        let packages = machine.packages().await?;
        Ok(packages.get("app").is_some_and(|one| one == "2").then_some(()))
    })
    .await?;
    sleep(SETTLE).await;
    let id = agent.id().context("the agent does not run")?;
    let before = waits(id)?;
    sleep(watched).await;
    let of = |(thread, count)| count - before.get(thread).unwrap_or(&0.0);
    let woken: f64 = waits(id)?.iter().map(of).sum();
    let (all, anonymous) = (kib(id, "VmRSS")? / 1024.0, kib(id, "RssAnon")? / 1024.0);
    ensure!(agent.try_wait()?.is_none(), "the agent ended");
    agent.kill().await?;
    cluster.passed();
    let about = "an agent that went through a round and listens to its node: resident memory";
    let memory = Measurement::new("machines.6", about, all, "MiB")
        .turns(1)
        .required_at_most(MEMORY)
        .note(&format!("{anonymous:.1} MiB of it anonymous"));
    let about = format!("the same: times that a thread of it woke up in {} s", watched.as_secs());
    let woken = Measurement::new("machines.6", &about, woken, "").turns(1).required_at_most(0.0);
    Ok(vec![memory, woken])
}
