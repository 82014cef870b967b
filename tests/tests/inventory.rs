//! What is on machines, as their node knows it: told when it changed, by digest first.

use anyhow::{Context, Result, ensure};
use patchmesh_tests::agent::Machine;
use patchmesh_tests::binaries;
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec};
use patchmesh_tests::run::run;
use patchmesh_tests::vendor::{Sample, Vendor};
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

/// What the machine says of itself.
async fn own(machine: &Machine) -> Result<Value> {
    let mut command = Command::new(binaries::agent()?);
    command.args(["--output", "json", "inventory", "--root"]).arg(&machine.root);
    run(&mut command).await?.success()?.json()
}
