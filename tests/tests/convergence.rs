//! Whatever happens on the way, all nodes end in the same generation.

use std::time::Duration;

use anyhow::{Result, ensure};
use patchmesh_tests::cluster::{
    Cluster, PRIMARY, Spec, approval_sets_of, free_address, generation_of,
};
use patchmesh_tests::proxy::Proxy;
use patchmesh_tests::vendor::{Sample, Vendor};
use patchmesh_tests::wait::{PATIENCE, until};

/// Enough content that a node can be killed in the middle of fetching it.
const BIG: usize = 24 << 20;

/// How slow the line has to be for that.
const SLOW: u64 = 2 << 20;

/// A vendor with samples, all approved in both stages.
async fn approve_all(cluster: &Cluster) -> Result<()> {
    cluster.sync("vendor").await?.success()?;
    let updates = cluster.updates().await?;
    let revisions: Vec<String> = updates.into_iter().map(|update| update.revision).collect();
    cluster.approve("validation", &revisions).await?;
    cluster.promote(&revisions).await?;
    Ok(())
}

/// These nodes have the primary's generation and approval sets, and all content.
async fn same_everywhere(cluster: &Cluster, names: &[&str]) -> Result<()> {
    cluster.converged(names).await?;
    let primary = cluster.primary()?.status().await?;
    for name in names {
        let status = cluster.node(name)?.status().await?;
        ensure!(generation_of(&status) == generation_of(&primary), "{name}: another generation");
        ensure!(
            approval_sets_of(&status) == approval_sets_of(&primary),
            "{name}: other approval sets"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_while_it_fetches_goes_on_where_it_was() -> Result<()> {
    let vendor = Vendor::with_samples(&[Sample::new("big-app", "1").with_bytes(BIG)]).await?;
    let listen = free_address()?;
    let line = Proxy::start(listen).await?;
    let mut mesh = Cluster::init_behind(listen, line.address()).await?;
    mesh.node_mut(PRIMARY)?.start().await?;
    mesh.add(&Spec::branch("hub", PRIMARY, "emea")).await?;
    mesh.add_source("vendor", &vendor, &[]).await?;

    line.limit(Some(SLOW));
    approve_all(&mesh).await?;
    let before = line.bytes_down();
    until("a part of the content to come down", PATIENCE, async || {
        Ok((line.bytes_down() > before + (BIG as u64) / 2).then_some(()))
    })
    .await?;
    mesh.node_mut("hub")?.kill().await?;
    let spent = line.bytes_down() - before;
    line.limit(None);
    mesh.node_mut("hub")?.start().await?;
    same_everywhere(&mesh, &["hub"]).await?;
    let total = line.bytes_down() - before;
    let again = total.saturating_sub(BIG as u64);
    ensure!(
        again < spent,
        "nothing was kept: {total} bytes came down in all, {spent} of them before the kill"
    );
    mesh.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_may_be_killed_and_started_again() -> Result<()> {
    let vendor = Vendor::with_samples(&[
        Sample::new("app-a", "1"),
        Sample::new("app-b", "1").with_bytes(3 << 20),
    ])
    .await?;
    let mut cluster = Cluster::start().await?;
    cluster.add_company().await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    approve_all(&cluster).await?;

    // At once, in the middle of whatever they do.
    for name in ["annecy", "hub", "lyon", "lab", PRIMARY] {
        cluster.node_mut(name)?.restart().await?;
    }
    same_everywhere(&cluster, &["lab", "hub", "lyon", "annecy"]).await?;

    // And with a change made while the deepest one is away.
    cluster.node_mut("annecy")?.kill().await?;
    vendor.release(&[Sample::new("app-a", "2")]).await?;
    approve_all(&cluster).await?;
    same_everywhere(&cluster, &["lab", "hub", "lyon"]).await?;
    cluster.node_mut("annecy")?.start().await?;
    same_everywhere(&cluster, &["annecy"]).await?;
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loss_of_a_parent_is_survived_and_said() -> Result<()> {
    let vendor = Vendor::with_samples(&[Sample::new("app-a", "1")]).await?;
    let mut cluster = Cluster::start().await?;
    cluster.add_company().await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    approve_all(&cluster).await?;
    same_everywhere(&cluster, &["lyon", "annecy"]).await?;
    let before = generation_of(&cluster.node("annecy")?.status().await?);

    cluster.node_mut("lyon")?.kill().await?;
    vendor.release(&[Sample::new("app-a", "2")]).await?;
    approve_all(&cluster).await?;
    cluster.converged(&["hub"]).await?;
    until("annecy to say that its parent is away", PATIENCE, async || {
        let status = cluster.node("annecy")?.status().await?;
        let status = status.status.unwrap_or_default();
        ensure!(status.generation == before, "it cannot have learnt anything: {status:?}");
        Ok((!status.problem.is_empty() || status.stale_since.is_some()).then_some(()))
    })
    .await?;

    cluster.node_mut("lyon")?.start().await?;
    same_everywhere(&cluster, &["lyon", "annecy"]).await?;
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_begins_from_nothing_ends_in_the_same_state() -> Result<()> {
    let vendor = Vendor::with_samples(&[
        Sample::new("app-a", "1"),
        Sample::new("app-b", "1").with_bytes(5 << 20),
    ])
    .await?;
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("hub", PRIMARY, "emea")).await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    approve_all(&cluster).await?;
    for version in ["2", "3"] {
        vendor.release(&[Sample::new("app-a", version)]).await?;
        approve_all(&cluster).await?;
    }
    same_everywhere(&cluster, &["hub"]).await?;

    cluster.add(&Spec::branch("late", "hub", "apac")).await?;
    same_everywhere(&cluster, &["hub", "late"]).await?;
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_line_costs_time_and_nothing_else() -> Result<()> {
    let vendor = Vendor::with_samples(&[Sample::new("big-app", "1").with_bytes(BIG)]).await?;
    let listen = free_address()?;
    let line = Proxy::start(listen).await?;
    let mut cluster = Cluster::init_behind(listen, line.address()).await?;
    cluster.node_mut(PRIMARY)?.start().await?;
    cluster.add(&Spec::branch("hub", PRIMARY, "emea")).await?;
    cluster.add_source("vendor", &vendor, &[]).await?;

    // Cut in the middle of the content, then a bit turned over: TLS notices,
    // the node connects anew.
    line.cut_after(6 << 20);
    line.flip_after(14 << 20);
    line.delay(Duration::from_millis(1));
    approve_all(&cluster).await?;
    same_everywhere(&cluster, &["hub"]).await?;

    // The line is gone for a while.
    line.down();
    vendor.release(&[Sample::new("app-a", "2")]).await?;
    approve_all(&cluster).await?;
    line.up();
    same_everywhere(&cluster, &["hub"]).await?;
    cluster.passed();
    Ok(())
}
