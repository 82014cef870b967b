//! Any TUF client can check a branch: ours, and python-tuf, unmodified.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec, approval_sets_of};
use patchmesh_tests::http::Curl;
use patchmesh_tests::tuf::{Follower, python_tuf};
use patchmesh_tests::vendor::{Sample, Vendor};

/// What both fetch.
const TARGET: &str = "approvals/production";

/// A branch that serves an approval set, and the root to pin.
async fn branch_with_approvals() -> Result<(Cluster, Vendor, Curl, PathBuf)> {
    let vendor =
        Vendor::with_samples(&[Sample::new("app-a", "1"), Sample::new("app-b", "1")]).await?;
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("hub", PRIMARY, "emea")).await?;
    cluster.add(&Spec::branch("lyon", "hub", "emea/fr/lyon")).await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    approve(&cluster, "app-a").await?;

    let curl = Curl::trusting(&cluster)?;
    // Pinned from headquarters, as a person would carry it; never from the branch.
    let root = cluster.folder().join("pinned-root.json");
    curl.get(&format!("{}/tuf/metadata/1.root.json", cluster.primary()?.url), &[])
        .await?
        .ok()?
        .save(&root)?;
    Ok((cluster, vendor, curl, root))
}

async fn approve(cluster: &Cluster, name: &str) -> Result<()> {
    cluster.sync("vendor").await?.success()?;
    let revision = [cluster.revision(name).await?];
    cluster.approve("validation", &revision).await?;
    cluster.promote(&revision).await?;
    cluster.converged(&["hub", "lyon"]).await
}

/// The one file that was downloaded is the set that the node speaks of.
fn is_the_nodes_set(follower: &Follower, digest: &[u8]) -> Result<()> {
    let mut found = Vec::new();
    let mut folders = vec![follower.targets.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(blake3::hash(&std::fs::read(path)?));
            }
        }
    }
    ensure!(
        found.iter().any(|hash| hash.as_bytes() == digest),
        "none of {found:?} is the approval set"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tuf_client_follows_a_branch_from_the_pinned_root() -> Result<()> {
    let (cluster, _vendor, curl, root) = branch_with_approvals().await?;
    let branch = &cluster.node("lyon")?.url;
    let follower = Follower::new(&cluster.folder().join("follower"), branch, &curl.ca)?;
    follower.init(&root).await?.success()?;
    follower.refresh().await?.success()?;
    follower.download(TARGET).await?.success()?;
    let sets = approval_sets_of(&cluster.node("lyon")?.status().await?);
    is_the_nodes_set(&follower, &sets["production"].1)?;

    // A change is learnt from where it stands.
    approve(&cluster, "app-b").await?;
    follower.refresh().await?.success()?;
    follower.download(TARGET).await?.success()?;
    let later = approval_sets_of(&cluster.node("lyon")?.status().await?);
    ensure!(later["production"].0 > sets["production"].0, "{later:?}");
    is_the_nodes_set(&follower, &later["production"].1)?;

    // Another node tells the same; a foreign mesh is refused.
    let follower = follower.following(&cluster.node("hub")?.url);
    follower.refresh().await?.success()?;
    let stranger = Cluster::start().await?;
    let follower = follower.following(&stranger.primary()?.url);
    follower.refresh().await?.failure_that_says(&[])?;
    stranger.passed();
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn python_tuf_follows_a_branch_from_the_pinned_root() -> Result<()> {
    let Some(python) = python_tuf().await? else { return Ok(()) };
    let (cluster, _vendor, curl, root) = branch_with_approvals().await?;
    let branch = &cluster.node("lyon")?.url;
    let follower = Follower::new(&cluster.folder().join("python"), branch, &curl.ca)?;
    follower.python(&python, &root, TARGET).await?.success()?;
    let sets = approval_sets_of(&cluster.node("lyon")?.status().await?);
    is_the_nodes_set(&follower, &sets["production"].1)?;

    approve(&cluster, "app-b").await?;
    follower.python(&python, &root, TARGET).await?.success()?;
    let sets = approval_sets_of(&cluster.node("lyon")?.status().await?);
    is_the_nodes_set(&follower, &sets["production"].1)?;
    cluster.passed();
    Ok(())
}
