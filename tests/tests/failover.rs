//! When what a node learns from is gone: tried again, told, and put right.

use std::fs;

use anyhow::{Result, ensure};
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec, free_address};
use patchmesh_tests::vendor::files::{File, FilesVendor, Update};
use patchmesh_tests::wait::{PATIENCE, until};
use serde_json::Value;

/// Retries in seconds where a company has half an hour.
const SOON: [(&str, &str); 2] =
    [("PATCHMESH_RETRY_INTERVAL", "1s"), ("PATCHMESH_RETRY_TIMES", "2")];

async fn impatient() -> Result<Cluster> {
    let listen = free_address()?;
    let mut mesh = Cluster::init_behind(listen, listen).await?;
    let primary = mesh.node_mut(PRIMARY)?;
    primary.environment.extend(SOON.map(|(name, value)| (name.to_owned(), value.to_owned())));
    primary.start().await?;
    Ok(mesh)
}

/// The keys of the alerts that a node lists, as `NODE KEY`.
async fn alerts(mesh: &Cluster, at: &str, more: &[&str]) -> Result<Vec<String>> {
    let arguments = [&["alert", "list"], more].concat();
    let listed = mesh.patchmesh(at, &arguments).await?.json()?;
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let rows = listed["alerts"].as_array().cloned().unwrap_or_default();
    Ok(rows.iter().map(|row| format!("{} {}", text(row, "node"), text(row, "key"))).collect())
}

async fn alerted(mesh: &Cluster, at: &str, more: &[&str], expected: &[&str]) -> Result<()> {
    until(&format!("{at} to list the alerts {expected:?}"), PATIENCE, async || {
        let found = alerts(mesh, at, more).await?;
        ensure!(found == expected, "it lists {found:?}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_that_is_gone_is_asked_again_then_told_until_it_is_back() -> Result<()> {
    let mut mesh = impatient().await?;
    let update = Update::new("KB1", "1", &[File::new("kb1.msu", "1", 100)]);
    let vendor = FilesVendor::with(&[update]).await?;
    mesh.add_files("vendor", &vendor).await?;
    let plan = ["source", "plan", "vendor", "--every", "1s"];
    let planned = mesh.patchmesh(PRIMARY, &plan).await?.json()?;
    ensure!(planned["plan"] == "every 1s", "{planned}");
    until("the plan to bring the update", PATIENCE, async || {
        Ok((mesh.updates().await?.len() == 1).then_some(()))
    })
    .await?;

    let (manifest, away) = (vendor.manifest(), vendor.folder().join("away"));
    fs::rename(&manifest, &away)?;
    alerted(&mesh, PRIMARY, &[], &["hq source/vendor"]).await?;
    let log = mesh.primary()?.log_text()?;
    let failed = log.matches("source not synchronised").count();
    ensure!(failed >= 3, "told after {failed} failures, where the first and two more are due");
    // It is no matter of the process.
    mesh.node_mut(PRIMARY)?.restart().await?;
    ensure!(alerts(&mesh, PRIMARY, &[]).await? == ["hq source/vendor"]);

    fs::rename(&away, &manifest)?;
    mesh.sync("vendor").await?.success()?;
    alerted(&mesh, PRIMARY, &[], &[]).await?;
    let log = mesh.primary()?.log_text()?;
    ensure!(log.matches("alert raised").count() == 1, "raised more than once");
    ensure!(log.matches("alert solved").count() == 1, "not solved once");
    mesh.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_tells_that_its_parent_is_gone_until_it_is_back() -> Result<()> {
    let mut mesh = Cluster::start().await?;
    mesh.add(&Spec::branch("hub", PRIMARY, "emea")).await?;
    mesh.join(&Spec::branch("lyon", "hub", "emea/fr")).await?;
    let lyon = mesh.node_mut("lyon")?;
    lyon.environment.extend(SOON.map(|(name, value)| (name.to_owned(), value.to_owned())));
    lyon.start().await?;
    mesh.converged(&["hub", "lyon"]).await?;
    mesh.node_mut("hub")?.kill().await?;
    alerted(&mesh, "lyon", &[], &["lyon parent"]).await?;
    mesh.node_mut("hub")?.start().await?;
    alerted(&mesh, "lyon", &[], &[]).await?;
    mesh.passed();
    Ok(())
}
