//! What is on machines, as their node knows it: told when it changed, by digest first.

use anyhow::{Context, Result, ensure};
use patchmesh_tests::agent::Machine;
use patchmesh_tests::binaries;
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec};
use patchmesh_tests::run::run;
use patchmesh_tests::vendor::{Sample, Vendor};
use patchmesh_tests::wait::{PATIENCE, until};
use serde_json::Value;
use tokio::process::Command;

async fn report(cluster: &Cluster, what: &str, name: &str) -> Result<Value> {
    cluster.patchmesh("lyon", &["report", what, name]).await?.success()?.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_knows_what_is_on_its_machines() -> Result<()> {
    let packages = [Sample::new("app", "1"), Sample::new("tool", "1")];
    let machine = Machine::with("pc-1", &packages).await?;
    let vendor = Vendor::with_samples(&[Sample::new("app", "2")]).await?;
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("lyon", PRIMARY, "emea/fr/lyon")).await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    machine.join(&cluster, "lyon").await?;
    let unknown = ["report", "inventory", "pc-1"];
    cluster
        .patchmesh("lyon", &unknown)
        .await?
        .failure_that_says(&["the node that it reports to"])?;

    // What the node has is what the machine says of itself, and what its facts name.
    machine.round().await?.success()?;
    let told = report(&cluster, "inventory", "pc-1").await?;
    let own = own(&machine).await?;
    ensure!(told["digest"] == own["digest"] && told["packages"] == own["packages"], "{told}");
    let at = told["at"].as_str().context("no time")?.to_owned();

    // Nothing changed, so nothing is sent.
    machine.round().await?.success()?;
    ensure!(report(&cluster, "inventory", "pc-1").await?["at"] == at.as_str(), "sent again");

    // By whomever a package came: the node knows it, and who has which.
    cluster.allow(&[cluster.revision("app").await?]).await?;
    cluster.converged(&["lyon"]).await?;
    machine.until_installed(1).await?;
    machine.dpkg("dpkg", &["--remove", "tool"]).await?.success()?;
    machine.round().await?.success()?;
    let told = report(&cluster, "inventory", "pc-1").await?;
    ensure!(told["digest"] == self::own(&machine).await?["digest"], "{told}");
    let found = report(&cluster, "package", "app").await?;
    ensure!(found["looked_at"] == 1 && found["machines"][0]["version"] == "2", "{found}");
    ensure!(found["machines"][0]["machine"] == "pc-1", "{found}");
    let gone = report(&cluster, "package", "tool").await?;
    ensure!(gone["machines"] == Value::Array(Vec::new()), "{gone}");

    // The node keeps it over a kill.
    cluster.node_mut("lyon")?.kill().await?;
    cluster.node_mut("lyon")?.start().await?;
    ensure!(report(&cluster, "inventory", "pc-1").await?["digest"] == told["digest"], "lost");
    cluster.passed();
    Ok(())
}

/// What the primary says of the machine, once it has this verdict and so many last words.
async fn until_verdict(cluster: &Cluster, verdict: &str, words: usize) -> Result<Value> {
    until(&format!("the verdict {verdict}"), PATIENCE, async || {
        let shown = cluster.patchmesh(PRIMARY, &["report", "machine", "pc-1"]).await?;
        let shown = shown.success()?.json()?;
        let told = shown["story"]["words"].as_array().context("no words")?.iter();
        let told = told.filter(|word| word["outcome"] == "success").count();
        Ok((shown["verdict"]["verdict"] == verdict && told == words).then_some(shown))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_whose_list_is_lost_is_unknown_and_nothing_counts_as_removed() -> Result<()> {
    let packages = ["app", "tool"].map(|name| Sample::new(name, "1"));
    let machine = Machine::with("pc-1", &packages).await?;
    let vendor = Vendor::with_samples(&["app", "tool"].map(|name| Sample::new(name, "2"))).await?;
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("lyon", PRIMARY, "emea/fr/lyon")).await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    let app = cluster.revision("app").await?;
    machine.join(&cluster, "lyon").await?;
    cluster.allow(std::slice::from_ref(&app)).await?;
    cluster.converged(&["lyon"]).await?;
    machine.until_installed(1).await?;
    let before = until_verdict(&cluster, "compliant", 1).await?;
    ensure!(before["verdict"]["reason"].is_null(), "{before}");
    let inventory = report(&cluster, "inventory", "pc-1").await?;

    // What is newly open is not installed either, however often it is tried.
    let list = machine.root.join("var/lib/dpkg/status");
    let text = std::fs::read_to_string(&list)?;
    let tool = cluster.revision("tool").await?;
    cluster.allow(std::slice::from_ref(&tool)).await?;
    cluster.converged(&["lyon"]).await?;
    let (shorter, _) = text.rsplit_once("Version:").context("no version")?;
    for lost in [Some(""), None, Some(shorter)] {
        match lost {
            Some(text) => std::fs::write(&list, text)?,
            None => std::fs::remove_file(&list)?,
        }
        machine.round().await?.failure_that_says(&["var/lib/dpkg/status"])?;
    }
    let lost = until_verdict(&cluster, "unknown", 1).await?;
    let why = lost["verdict"]["reason"].as_str().unwrap_or_default();
    ensure!(why.starts_with("it cannot tell what is on it: var/lib/dpkg/status"), "{lost}");
    ensure!(lost["story"]["words"] == before["story"]["words"], "it said more: {lost}");
    ensure!(report(&cluster, "inventory", "pc-1").await? == inventory, "it is another one");
    let status = machine.agent(&["status"]).await?.success()?.json()?;
    ensure!(!status["unreadable"].is_null(), "{status}");
    ensure!(machine.status().await?[&app]["verdict"] == "unknown", "{status}");

    // It goes on where it was.
    std::fs::write(&list, &text)?;
    machine.until_installed(2).await?;
    let after = until_verdict(&cluster, "compliant", 2).await?;
    ensure!(after["verdict"]["reason"].is_null(), "{after}");
    ensure!(machine.packages().await?["tool"] == "2", "{after}");
    let status = machine.agent(&["status"]).await?.success()?.json()?;
    ensure!(status["unreadable"].is_null(), "{status}");
    cluster.passed();
    Ok(())
}

/// What the machine says of itself.
async fn own(machine: &Machine) -> Result<Value> {
    let mut command = Command::new(binaries::agent()?);
    command.args(["--output", "json", "inventory", "--root"]).arg(&machine.root);
    run(&mut command).await?.success()?.json()
}
