//! Payloads from several sources: a site that shares, one of it that lies or is
//! killed, a line that flips a bit, a parent that is killed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec, free_address};
use patchmesh_tests::impostor::{Impostor, Misdeed};
use patchmesh_tests::proxy::Proxy;
use patchmesh_tests::vendor::{Sample, Vendor};
use patchmesh_tests::wait::{PATIENCE, until};

const SITE: &str = "emea/fr/paris";

/// Bytes of a large payload, about.
const CONTENT: usize = 32 << 20;

/// What documents, reports and framing may add on a line.
const BESIDE: u64 = 2 << 20;

/// A line on which the payload takes some seconds.
const THIN: u64 = 4 << 20;

/// What may be under way on it and is lost with a connection.
const IN_FLIGHT: u64 = 6 << 20;

/// Time for a parent to be given up, another one to be followed, and back.
const FALLBACK: Duration = Duration::from_secs(120);

/// A primary behind a line, with a vendor.
struct Mesh {
    cluster: Cluster,
    vendor: Vendor,
    line: Proxy,
    releases: u32,
}

impl Mesh {
    async fn start() -> Result<Self> {
        let vendor = Vendor::with_samples(&[Sample::new("app-0", "1")]).await?;
        let listen = free_address()?;
        let line = Proxy::start(listen).await?;
        let mut cluster = Cluster::init_behind(listen, line.address()).await?;
        cluster.node_mut(PRIMARY)?.start().await?;
        cluster.add_source("vendor", &vendor, &[]).await?;
        Ok(Self { cluster, vendor, line, releases: 0 })
    }

    async fn add_branches(&mut self, names: &[&str]) -> Result<()> {
        for name in names {
            self.cluster.add(&Spec::branch(name, PRIMARY, SITE)).await?;
        }
        self.cluster.converged(names).await?;
        for name in names {
            self.cluster.logged(name, "nodes beside this one share").await?;
        }
        Ok(())
    }

    /// Decides on something new with so much content.
    async fn decide(&mut self, bytes: usize) -> Result<()> {
        self.releases += 1;
        let name = format!("app-{}", self.releases);
        self.cluster.carry(&self.vendor, &name, bytes).await
    }

    /// Waits until a node has so much of the payload that it is receiving.
    async fn received(&self, name: &str, bytes: u64) -> Result<()> {
        let node = self.cluster.node(name)?;
        until(&format!("{name} to have {bytes} bytes"), PATIENCE, async || {
            let status = node.status().await?;
            let large = status.transfers.iter().find(|one| one.length >= CONTENT as u64);
            let large = large.filter(|one| one.received >= bytes);
            ensure!(
                large.is_none_or(|one| one.ended_at.is_none()),
                "it is over: the line is not thin enough"
            );
            Ok(large.map(|_| ()))
        })
        .await
    }

    async fn is_whole(&self, name: &str) -> Result<()> {
        let verified = self.cluster.patchmesh(name, &["blob", "verify"]).await?.success()?;
        ensure!(verified.json()?["faults"].as_array().is_some_and(Vec::is_empty), "{verified:?}");
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_takes_a_payload_from_its_parent_once() -> Result<()> {
    const SITE: [&str; 5] = ["a", "b", "c", "d", "e"];
    let mut mesh = Mesh::start().await?;
    mesh.add_branches(&SITE).await?;
    let before = mesh.line.bytes_down();
    mesh.decide(CONTENT).await?;
    mesh.cluster.converged(&SITE).await?;
    let sent = mesh.line.bytes_down() - before;
    ensure!(sent < CONTENT as u64 * 12 / 10 + BESIDE, "the parent sent {sent} bytes");
    for name in SITE {
        mesh.is_whole(name).await?;
    }
    // One that was away finds it beside, whole.
    mesh.cluster.node_mut("e")?.stop().await?;
    mesh.decide(CONTENT).await?;
    mesh.cluster.converged(&SITE[..4]).await?;
    let before = mesh.line.bytes_down();
    mesh.cluster.node_mut("e")?.start().await?;
    mesh.cluster.converged(&SITE).await?;
    let sent = mesh.line.bytes_down() - before;
    ensure!(sent < BESIDE * 4, "for one that came later the parent sent {sent} bytes");
    mesh.cluster.passed();
    Ok(())
}

/// The key of a branch was stolen: whoever has it answers the others of the site,
/// and one bit of each piece is false.
#[tokio::test(flavor = "multi_thread")]
async fn a_liar_beside_costs_a_piece_and_is_named() -> Result<()> {
    let mut mesh = Mesh::start().await?;
    mesh.add_branches(&["a", "b", "mallory"]).await?;
    mesh.cluster.node_mut("mallory")?.stop().await?;
    let mallory = mesh.cluster.node("mallory")?;
    let impostor = Impostor::replace(mallory, &mesh.cluster.primary()?.url).await?;
    impostor.commit(Misdeed::AlteredPieces);
    let _there = impostor.stay_connected().await?;
    let before = mesh.line.bytes_down();
    mesh.decide(CONTENT).await?;
    mesh.cluster.converged(&["a", "b"]).await?;
    let sent = mesh.line.bytes_down() - before;
    // What the liar passes on comes over the line too: a piece for each of the two
    // and what was under way behind it.
    ensure!(sent < CONTENT as u64 + 2 * IN_FLIGHT + BESIDE, "the parent sent {sent} bytes");
    for name in ["a", "b"] {
        mesh.is_whole(name).await?;
        until("headquarters to know who lied", PATIENCE, async || {
            let alerts = mesh.cluster.alerts_of(name).await?;
            Ok(alerts.iter().any(|key| key == "liar/mallory").then_some(()))
        })
        .await?;
    }
    mesh.cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_beside_that_is_killed_is_done_without() -> Result<()> {
    let mut mesh = Mesh::start().await?;
    mesh.add_branches(&["a", "b", "c"]).await?;
    mesh.line.limit(Some(THIN));
    let before = mesh.line.bytes_down();
    mesh.decide(CONTENT).await?;
    mesh.received("a", 8 << 20).await?;
    mesh.cluster.node_mut("c")?.kill().await?;
    mesh.cluster.converged(&["a", "b"]).await?;
    let sent = mesh.line.bytes_down() - before;
    // What the lost one had fetched and not passed on is fetched again.
    ensure!(sent < CONTENT as u64 * 14 / 10 + 3 * IN_FLIGHT, "the parent sent {sent} bytes");
    mesh.line.limit(None);
    mesh.cluster.node_mut("c")?.start().await?;
    mesh.cluster.converged(&["c"]).await?;
    for name in ["a", "b", "c"] {
        mesh.is_whole(name).await?;
    }
    mesh.cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_flipped_on_the_line_costs_what_was_under_way() -> Result<()> {
    let mut mesh = Mesh::start().await?;
    mesh.cluster.add(&Spec::branch("lyon", PRIMARY, SITE)).await?;
    mesh.cluster.converged(&["lyon"]).await?;
    mesh.line.limit(Some(THIN));
    let before = mesh.line.bytes_down();
    mesh.decide(CONTENT).await?;
    mesh.received("lyon", 4 << 20).await?;
    mesh.line.flip_after(1 << 20);
    mesh.cluster.converged(&["lyon"]).await?;
    let sent = mesh.line.bytes_down() - before;
    ensure!(sent > CONTENT as u64, "nothing was fetched again: was the bit flipped?");
    ensure!(sent < CONTENT as u64 + IN_FLIGHT + BESIDE, "the parent sent {sent} bytes");
    mesh.is_whole("lyon").await?;
    // TLS found it, so nobody lied.
    ensure!(mesh.cluster.alerts_of("lyon").await?.is_empty());
    mesh.cluster.passed();
    Ok(())
}

/// lyon hangs below hub and falls back to spare.
#[tokio::test(flavor = "multi_thread")]
async fn a_parent_that_is_killed_is_stood_in_for_until_it_is_back() -> Result<()> {
    let mut mesh = Mesh::start().await?;
    mesh.cluster.add(&Spec::branch("spare", PRIMARY, "emea/fr")).await?;
    let listen = free_address()?;
    let line = Proxy::start(listen).await?;
    let hub = Spec::branch("hub", PRIMARY, "emea/fr/hub");
    mesh.cluster.add_behind(&hub, listen, line.address()).await?;
    mesh.cluster.add(&Spec::branch("lyon", "hub", SITE)).await?;
    mesh.cluster.patchmesh(PRIMARY, &["node", "fallback", "lyon", "spare"]).await?.success()?;
    mesh.cluster.converged(&["hub", "spare", "lyon"]).await?;
    line.limit(Some(THIN));
    mesh.decide(CONTENT).await?;
    mesh.received("lyon", 8 << 20).await?;
    mesh.cluster.node_mut("hub")?.kill().await?;
    let generation = mesh.cluster.generation().await?;
    mesh.cluster.reached("lyon", generation, FALLBACK).await?;
    mesh.is_whole("lyon").await?;
    // Decisions come down and reports go up while the parent is dead.
    mesh.decide(3 << 20).await?;
    let generation = mesh.cluster.generation().await?;
    mesh.cluster.reached("lyon", generation, FALLBACK).await?;
    until("headquarters to know that lyon has it", FALLBACK, async || {
        let nodes = mesh.cluster.patchmesh(PRIMARY, &["nodes"]).await?.success()?.json()?;
        let nodes = nodes["nodes"].as_array().context("nodes")?;
        let lyon = nodes.iter().find(|node| node["name"] == "lyon").context("lyon")?;
        let has_it = lyon["converged"] == true && lyon["status"]["generation"] == generation;
        let alerts = mesh.cluster.alerts_of("lyon").await?;
        Ok((has_it && alerts == ["fallback"]).then_some(()))
    })
    .await?;
    line.limit(None);
    mesh.cluster.node_mut("hub")?.start().await?;
    until("lyon to follow its parent again", FALLBACK, async || {
        Ok(mesh.cluster.alerts_of("lyon").await?.is_empty().then_some(()))
    })
    .await?;
    mesh.decide(1 << 20).await?;
    mesh.cluster.converged(&["hub", "spare", "lyon"]).await?;
    mesh.cluster.passed();
    Ok(())
}
