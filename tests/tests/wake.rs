//! Machines that their node wakes: real agents that would not come by themselves for
//! hours.

use std::time::Duration;

use anyhow::{Result, ensure};
use jiff::{SignedDuration, Timestamp};
use patchmesh_proto::report::reports_client::ReportsClient;
use patchmesh_proto::report::{WatchRequest, WatchResponse};
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec};
use patchmesh_tests::machine::Machine;
use patchmesh_tests::vendor::{Sample, Vendor};
use patchmesh_tests::wait::{PATIENCE, until};
use patchmesh_tests::{agent, tls};
use tokio::time::timeout;
use tonic::{Code, Streaming};

/// As long as no agent waits by itself.
const FOR_HOURS: [&str; 2] = ["--every", "30h"];

async fn has(machine: &agent::Machine, version: &str) -> Result<()> {
    until(&format!("app {version} to be installed"), PATIENCE, async || {
        let packages = machine.packages().await?;
        Ok((packages.get("app").is_some_and(|one| one == version)).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_woken_by_approvals_brakes_and_a_node_that_is_back() -> Result<()> {
    let machine = agent::Machine::with("pc-1", &[Sample::new("app", "1")]).await?;
    let vendor = Vendor::with_samples(&[Sample::new("app", "2")]).await?;
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("lyon", PRIMARY, "emea/fr/lyon")).await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    let app2 = cluster.revision("app").await?;
    machine.join(&cluster, "lyon").await?;
    let mut agent = machine.start(&FOR_HOURS)?;
    until("the first round", PATIENCE, async || {
        let status = machine.agent(&["status"]).await?.success()?.json()?;
        Ok(status["looked_at"].is_string().then_some(()))
    })
    .await?;
    cluster.allow(std::slice::from_ref(&app2)).await?;
    has(&machine, "2").await?;

    // What the site holds back is let go of: nothing is signed anew.
    vendor.release(&[Sample::new("app", "3")]).await?;
    cluster.sync("vendor").await?.success()?;
    let app3 = cluster.revision("app").await?;
    let soon = (Timestamp::now() + SignedDuration::from_hours(1)).to_string();
    let pull = ["brake", "pull", "till", "--revision", &app3, "--until", &soon];
    let pull = [&pull[..], &["--reason", "stocktaking"]].concat();
    cluster.patchmesh("lyon", &pull).await?.success()?;
    cluster.allow(std::slice::from_ref(&app3)).await?;
    cluster.converged(&["lyon"]).await?;
    until("the machine to know of the brake", PATIENCE, async || {
        let status = machine.status().await?;
        let waits = status.get(&app3).and_then(|row| row["waits_for"].as_str().map(str::to_owned));
        Ok(waits.is_some_and(|waits| waits.starts_with("brake till")).then_some(()))
    })
    .await?;
    cluster.patchmesh("lyon", &["brake", "release", "till"]).await?.success()?;
    has(&machine, "3").await?;

    // A node that was away: what came meanwhile is told when it is back.
    vendor.release(&[Sample::new("app", "4")]).await?;
    cluster.sync("vendor").await?.success()?;
    let app4 = cluster.revision("app").await?;
    cluster.node_mut("lyon")?.kill().await?;
    cluster.allow(std::slice::from_ref(&app4)).await?;
    cluster.node_mut("lyon")?.start().await?;
    has(&machine, "4").await?;
    ensure!(agent.try_wait()?.is_none(), "one process did it all");
    cluster.passed();
    Ok(())
}

/// A machine's stream, with its first word taken.
async fn listening(machine: &mut Machine) -> Result<Streaming<WatchResponse>> {
    let mut words = machine.reports().await?.watch(WatchRequest {}).await?.into_inner();
    let first = timeout(PATIENCE, words.message()).await??;
    ensure!(first.is_some_and(|word| word.generation > 0), "the first word comes at once");
    Ok(words)
}

#[tokio::test(flavor = "multi_thread")]
async fn words_come_to_machines_alone_and_end_with_the_node() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("lyon", PRIMARY, "emea/fr/lyon")).await?;
    let arguments = ["machine", "token", "workstations", "--via", "lyon"];
    let made = cluster.patchmesh(PRIMARY, &arguments).await?.success()?.json()?;
    let mut machine = Machine::join("pc-1", made["token"].as_str().unwrap_or_default()).await?;
    let mut words = listening(&mut machine).await?;
    // Who else is in the mesh concerns no machine.
    let invite = ["invite", "nice", "--parent", PRIMARY, "--site", "emea/fr/nice"];
    cluster.patchmesh(PRIMARY, &invite).await?.success()?;
    cluster.converged(&["lyon"]).await?;
    let none = timeout(Duration::from_secs(2), words.message()).await;
    ensure!(none.is_err(), "nothing was to be told: {none:?}");
    // A node that is stopped ends its streams and does not wait for them.
    let begun = std::time::Instant::now();
    cluster.node_mut("lyon")?.stop().await?;
    ensure!(begun.elapsed() < Duration::from_secs(8), "it took {:?}", begun.elapsed());
    let end = timeout(PATIENCE, words.message()).await?;
    ensure!(!matches!(end, Ok(Some(_))), "the stream ends: {end:?}");
    let url = cluster.primary()?.url.clone();
    let stranger = tls::anonymous(&url).await?;
    let mut stranger = ReportsClient::new(stranger);
    let refused = stranger.watch(WatchRequest {}).await.err().map(|status| status.code());
    ensure!(matches!(refused, Some(Code::PermissionDenied | Code::Unauthenticated)), "{refused:?}");
    cluster.passed();
    Ok(())
}
