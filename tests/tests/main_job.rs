//! The main job on real packages, real apt and four levels of nodes.

use std::collections::{BTreeSet, HashSet};

use anyhow::{Context, Result, ensure};
use patchmesh_tests::apt::Apt;
use patchmesh_tests::cluster::Cluster;
use patchmesh_tests::vendor::packages::{LARGE_BYTES, distribution};
use patchmesh_tests::vendor::{Package, Sample, Vendor};

const NODES: &[&str] = &["lab", "hub", "lyon", "annecy"];
const BRANCHES: &[&str] = &["hub", "lyon", "annecy"];

/// A group of each stage, as a new mesh has them.
const LAB: &str = "lab";
const SERVERS: &str = "servers";

#[tokio::test(flavor = "multi_thread")]
async fn a_package_is_installable_where_and_when_it_is_approved() -> Result<()> {
    let packages = distribution().await?;
    let vendor = Vendor::start().await?;
    vendor.publish(&packages).await?;

    let mut cluster = Cluster::start().await?;
    cluster.add_company().await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    let sources: BTreeSet<&str> = packages.iter().map(|package| package.source.as_str()).collect();
    let revisions: Vec<String> =
        cluster.updates().await?.into_iter().map(|update| update.revision).collect();
    ensure!(revisions.len() == sources.len(), "one revision a source, not {revisions:?}");

    // Before: unknown everywhere.
    cluster.converged(NODES).await?;
    known_from(&cluster, &packages, &[]).await?;

    // Approved for validation: from the validation node only.
    let decision = cluster.approve("validation", &revisions).await?;
    ensure!(decision.changed as usize == revisions.len(), "{decision:?}");
    cluster.converged(NODES).await?;
    known_from(&cluster, &packages, &["lab"]).await?;

    // Promoted: from every branch too.
    cluster.promote(&revisions).await?;
    cluster.converged(NODES).await?;
    known_from(&cluster, &packages, NODES).await?;

    // Declined: from none.
    cluster.decline("a test is over", &revisions).await?;
    cluster.converged(NODES).await?;
    known_from(&cluster, &packages, &[]).await?;

    cluster.passed();
    Ok(())
}

/// Every package is installable from `serving` and unknown at the others.
async fn known_from(cluster: &Cluster, packages: &[Package], serving: &[&str]) -> Result<()> {
    for &node in NODES {
        let group = if node == "lab" { LAB } else { SERVERS };
        let apt = machine(cluster, node, group, packages).await?;
        for package in packages {
            let candidate = apt.candidate(&package.name).await?;
            let expected = serving.contains(&node).then(|| package.version.clone());
            ensure!(
                candidate == expected,
                "{} from {node}: {candidate:?} instead of {expected:?}",
                package.name
            );
        }
        if serving.contains(&node) {
            install_all(&apt, packages).await.with_context(|| format!("from {node}"))?;
        }
    }
    Ok(())
}

/// A machine of a group that gets its updates from `node`.
async fn machine(cluster: &Cluster, node: &str, group: &str, packages: &[Package]) -> Result<Apt> {
    let names: Vec<String> = packages.iter().map(|package| package.name.clone()).collect();
    let apt = Apt::new(&names).await?;
    apt.configure(&cluster.apt_lines(node, group).await?)?;
    apt.update().await?.success().with_context(|| format!("apt-get update at {node}"))?;
    Ok(apt)
}

/// Downloads all and compares the bytes with the vendor's.
async fn install_all(apt: &Apt, packages: &[Package]) -> Result<()> {
    let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    apt.install_download_only(&names).await?.success()?;
    let downloaded: HashSet<blake3::Hash> = apt
        .downloaded()?
        .iter()
        .map(|file| Ok(blake3::hash(&std::fs::read(file)?)))
        .collect::<Result<_>>()?;
    for package in packages {
        ensure!(
            downloaded.contains(&blake3::hash(&std::fs::read(&package.file)?)),
            "{} is not what the vendor released",
            package.name
        );
    }
    ensure!(packages.iter().any(|package| package.bytes > LARGE_BYTES), "none is large");
    ensure!(packages.iter().any(|package| package.version.contains(':')), "none has an epoch");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_version_is_a_new_revision_that_machines_upgrade_to() -> Result<()> {
    let vendor = Vendor::with_samples(&[
        Sample::new("sample-app", "1:1.0~rc1-1"),
        Sample::new("sample-lib", "2.0"),
    ])
    .await?;
    let mut cluster = Cluster::start().await?;
    cluster.add_company().await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    let first = cluster.revision("sample-app").await?;
    let first = [first];
    cluster.approve("validation", &first).await?;
    cluster.promote(&first).await?;
    cluster.converged(NODES).await?;

    let packages = vendor
        .release(&[Sample::new("sample-app", "1:1.0-1").with_depends("sample-lib (>= 2.0)")])
        .await?;
    cluster.sync("vendor").await?.success()?;
    let second = cluster.revision("sample-app").await?;
    ensure!(first[0] != second, "the same revision: {second}");
    ensure!(state(&cluster, &second).await?.contains(&UPDATED), "it does not read `updated`");

    // Until somebody decides, machines stay with what was approved.
    let apt = machine(&cluster, "annecy", SERVERS, &packages).await?;
    ensure!(apt.candidate("sample-app").await?.as_deref() == Some("1:1.0~rc1-1"), "too early");

    let library = cluster.revision("sample-lib").await?;
    let both = [second, library];
    cluster.approve("validation", &both).await?;
    cluster.promote(&both).await?;
    cluster.converged(BRANCHES).await?;
    apt.update().await?.success()?;
    ensure!(apt.candidate("sample-app").await?.as_deref() == Some("1:1.0-1"), "not upgraded");
    apt.install_download_only(&["sample-app"]).await?.success()?;
    ensure!(apt.downloaded()?.len() == 2, "the library should have come with it");
    cluster.passed();
    Ok(())
}

const UPDATED: i32 = patchmesh_proto::admin::UpdateState::Updated as i32;

async fn state(cluster: &Cluster, revision: &str) -> Result<Vec<i32>> {
    let updates = cluster.updates().await?;
    let update = updates.into_iter().find(|update| update.revision == revision);
    let update = update.with_context(|| format!("{revision} is gone"))?;
    Ok(update.states.iter().map(|group| group.state).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_validation_has_not_approved_cannot_be_promoted() -> Result<()> {
    let vendor = Vendor::with_samples(&[Sample::new("sample-app", "1.0")]).await?;
    let cluster = Cluster::start().await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    let revision = cluster.revision("sample-app").await?;
    let before = cluster.generation().await?;

    let refused = cluster.patchmesh("hq", &["promote", &revision]).await?;
    let refused = refused.failure_that_says(&["validation"])?;
    ensure!(refused.code == 2, "exit code {}", refused.code);
    let refused = cluster.patchmesh("hq", &["decline", &revision]).await?;
    refused.failure_that_says(&["comment"])?;
    ensure!(cluster.generation().await? == before, "a refused decision left a generation");
    cluster.passed();
    Ok(())
}
