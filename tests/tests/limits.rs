//! Limits, schedules and classes between real nodes, counted at a relay as bytes
//! of TCP payload.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec, free_address, generation_of};
use patchmesh_tests::proxy::Proxy;
use patchmesh_tests::vendor::{Sample, Vendor};
use patchmesh_tests::wait::{PATIENCE, until};
use serde_json::Value;

/// Bytes of the bulk: at the limits here more than a test lasts.
const BULK: usize = 80 << 20;

/// What comes before a rate is measured.
const STARTED: u64 = 200_000;

/// A critical flaw that is mended by `urgent`.
const FLAW: &str = r#"{"id": "DSA-1-1", "upstream": ["CVE-2024-1111"], "affected": [{"package":
{"ecosystem": "Debian", "name": "urgent"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"},
{"fixed": "1"}]}]}], "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]}"#;

/// A primary behind a relay, and a branch below it that reaches it there.
struct Line {
    mesh: Cluster,
    line: Proxy,
    vendor: Vendor,
}

impl Line {
    /// `settings` are the branch's own.
    async fn start(samples: &[Sample], settings: &str) -> Result<Self> {
        let vendor = Vendor::with_samples(samples).await?;
        let listen = free_address()?;
        let line = Proxy::start(listen).await?;
        let mut mesh = Cluster::init_behind(listen, line.address()).await?;
        mesh.node_mut(PRIMARY)?.start().await?;
        mesh.join(&Spec::branch("hub", PRIMARY, "emea")).await?;
        let drop_ins = mesh.node("hub")?.data.join("patchmesh.d");
        std::fs::create_dir_all(&drop_ins)?;
        std::fs::write(drop_ins.join("limits.toml"), settings)?;
        mesh.node_mut("hub")?.start().await?;
        mesh.add_source("vendor", &vendor, &["--policy", "prefetch"]).await?;
        mesh.sync("vendor").await?.success()?;
        Ok(Self { mesh, line, vendor })
    }

    async fn approve(&self, update: &str) -> Result<()> {
        let revision = [self.mesh.revision(update).await?];
        self.mesh.approve("validation", &revision).await?;
        self.mesh.approve("production", &revision).await?;
        Ok(())
    }

    async fn link(&self, arguments: &[&str]) -> Result<()> {
        let all = [&["link"], arguments].concat();
        self.mesh.patchmesh(PRIMARY, &all).await?.success()?;
        self.known().await
    }

    /// Waits until the branch knows what was decided.
    async fn known(&self) -> Result<()> {
        let (node, wanted) = (self.mesh.node("hub")?, self.mesh.generation().await?);
        until("the branch to know it", PATIENCE, async || {
            Ok((generation_of(&node.status().await?) >= wanted).then_some(()))
        })
        .await
    }

    async fn flows(&self) -> Result<()> {
        let before = self.line.bytes_down();
        until("the bulk to come", PATIENCE, async || {
            Ok((self.line.bytes_down() > before + STARTED).then_some(()))
        })
        .await
    }

    /// Mbit/s towards the branch, everything included.
    async fn rate(&self, over: Duration) -> f64 {
        let (start, before) = (Instant::now(), self.line.bytes_down());
        tokio::time::sleep(over).await;
        (self.line.bytes_down() - before) as f64 * 8e-6 / start.elapsed().as_secs_f64()
    }

    /// Active transfers of the branch, by its own word.
    async fn transfers(&self) -> Result<Vec<Value>> {
        let outcome = self.mesh.patchmesh("hub", &["status", "--output", "json"]).await?;
        let status: Value = serde_json::from_str(&outcome.success()?.stdout)?;
        let transfers = status["transfers"].as_array().context("no transfers")?;
        Ok(transfers.iter().filter(|one| one["ended_at"].is_null()).cloned().collect())
    }
}

fn is_near(rate: f64, limit: f64) -> Result<()> {
    // From above it is the promise; from below a busy host has its say.
    ensure!(rate <= limit * 1.05 && rate >= limit * 0.7, "{rate} Mbit/s under a limit of {limit}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_kept_and_changed_while_it_runs() -> Result<()> {
    let bulk = Sample::new("bulk", "1").with_bytes(BULK);
    let line = Line::start(&[bulk], "").await?;
    line.link(&["set", "hub", "--down", "8Mbit/s"]).await?;
    line.approve("bulk").await?;
    line.flows().await?;
    is_near(line.rate(Duration::from_secs(5)).await, 8.0)?;
    let transfers = line.transfers().await?;
    let [one] = transfers.as_slice() else { anyhow::bail!("not one transfer: {transfers:#?}") };
    ensure!(one["held"] == "line" && one["limit"] == "8Mbit/s", "{one:#}");
    let done: Timestamp = one["done_at"].as_str().context("no forecast")?.parse()?;
    let left = one["bytes"].as_u64().unwrap_or(0) - one["received"].as_u64().unwrap_or(0);
    let expected = left as f64 / 1e6;
    let told = done.duration_since(Timestamp::now()).as_secs_f64();
    ensure!((0.7..1.4).contains(&(told / expected)), "{told} s told, {expected} s expected");

    line.link(&["set", "hub", "--down", "2Mbit/s"]).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    is_near(line.rate(Duration::from_secs(4)).await, 2.0)?;

    line.link(&["unset", "hub"]).await?;
    line.mesh.converged(&["hub"]).await?;
    line.mesh.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_may_be_stricter_for_itself() -> Result<()> {
    let bulk = Sample::new("bulk", "1").with_bytes(BULK);
    let line = Line::start(&[bulk], "limit_down = '4Mbit/s'\n").await?;
    line.link(&["set", "hub", "--down", "16Mbit/s"]).await?;
    line.approve("bulk").await?;
    line.flows().await?;
    is_near(line.rate(Duration::from_secs(5)).await, 4.0)?;
    let transfers = line.transfers().await?;
    ensure!(transfers.iter().all(|one| one["held"] == "node"), "{transfers:#?}");
    line.mesh.passed();
    Ok(())
}

/// `HH:MM` some minutes after a time, by the clock of UTC.
fn minute(at: Timestamp, later: i64) -> String {
    (at + SignedDuration::from_mins(later)).strftime("%H:%M").to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_of_the_schedule_is_in_force_within_a_second() -> Result<()> {
    let bulk = Sample::new("bulk", "1").with_bytes(BULK);
    let line = Line::start(&[bulk], "").await?;
    let now = Timestamp::now();
    // It takes a moment to be known everywhere, and the bulk must outlast it:
    // the step is 25 to 85 seconds away, in which 6 Mbit/s carry 64 MB of 84.
    let over = now.as_second().rem_euclid(60);
    let minutes = if over < 35 { 1 } else { 2 };
    let rule = format!("{}-{} 2Mbit/s", minute(now, minutes), minute(now, 30));
    line.link(&["set", "hub", "--down", "6Mbit/s", "--down-at", &rule]).await?;
    line.approve("bulk").await?;
    line.flows().await?;
    let at = now.as_second() - over + 60 * minutes;
    let until_then = || at as f64 - Timestamp::now().as_millisecond() as f64 / 1e3;
    ensure!(until_then() > 6.0, "this host is too slow for this test");
    tokio::time::sleep(Duration::from_secs_f64(until_then() - 5.0)).await;
    is_near(line.rate(Duration::from_secs(4)).await, 6.0)?;
    // A second after the step.
    tokio::time::sleep(Duration::from_secs_f64(until_then().max(0.0) + 1.0)).await;
    is_near(line.rate(Duration::from_secs(5)).await, 2.0)?;
    line.mesh.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_waits_for_its_hours_and_decisions_do_not() -> Result<()> {
    let bulk = Sample::new("bulk", "1").with_bytes(4 << 20);
    let line = Line::start(&[bulk, Sample::new("other", "1")], "").await?;
    let now = Timestamp::now();
    let hours = format!("{}-{}", minute(now, 120), minute(now, 180));
    line.link(&["set", "hub", "--bulk", &hours]).await?;
    line.approve("bulk").await?;
    // The decision is there, and the transfer says what it waits for.
    line.known().await?;
    until("the transfer to wait for its hours", PATIENCE, async || {
        let transfers = line.transfers().await?;
        Ok(transfers.iter().any(|one| one["held"] == "closed").then_some(()))
    })
    .await?;
    let transfers = line.transfers().await?;
    let bulk = &transfers[0];
    ensure!(bulk["received"] == 0, "{bulk:#}");
    let opens: Timestamp = bulk["opens_at"].as_str().context("no hours")?.parse()?;
    let wait = opens.duration_since(now).as_secs();
    ensure!((7_080..=7_200).contains(&wait), "it opens in {wait} s");
    line.link(&["unset", "hub"]).await?;
    line.mesh.converged(&["hub"]).await?;
    line.mesh.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_critical_overtakes_a_running_bulk_transfer() -> Result<()> {
    let bulk = Sample::new("bulk", "1").with_bytes(BULK);
    let line = Line::start(&[bulk], "").await?;
    line.link(&["set", "hub", "--down", "8Mbit/s"]).await?;
    line.approve("bulk").await?;
    line.flows().await?;
    // 3 MB of it are three seconds of the line for itself.
    line.vendor.release(&[Sample::new("urgent", "1").with_bytes(3 << 20)]).await?;
    line.mesh.sync("vendor").await?.success()?;
    let flaw = line.mesh.folder().join("flaw.json");
    std::fs::write(&flaw, FLAW)?;
    let import = ["assess", "import", "--osv", &flaw.display().to_string()];
    line.mesh.patchmesh(PRIMARY, &import).await?.success()?;
    line.approve("urgent").await?;
    let begun = Instant::now();
    let first = until("the critical payload to come", PATIENCE, async || {
        let transfers = line.transfers().await?;
        let moves = |one: &&Value| one["class"] == "critical" && one["bits_per_second"].is_u64();
        Ok(transfers.iter().find(moves).map(|_| begun.elapsed()))
    })
    .await?;
    let transfers = line.transfers().await?;
    let bulk = transfers.iter().find(|one| one["class"] == "normal").context("no bulk")?;
    ensure!(bulk["held"] == "critical", "after {first:?}: {transfers:#?}");
    until("the critical payload to be whole", PATIENCE, async || {
        let transfers = line.transfers().await?;
        Ok((!transfers.iter().any(|one| one["class"] == "critical")).then_some(()))
    })
    .await?;
    let took = begun.elapsed();
    // Alone on the line it takes 3.2 s; beside the bulk as an equal 6.3.
    ensure!(took < Duration::from_secs(6), "it took {took:?}");
    line.mesh.passed();
    Ok(())
}
