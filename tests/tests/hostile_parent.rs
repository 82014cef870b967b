//! Somebody has broken into a hub and has its key: children take the impostor
//! for their parent, and believe nothing that is not signed further up.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use patchmesh_proto::replication::NodeStatus;
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec};
use patchmesh_tests::impostor::{Impostor, Misdeed};
use patchmesh_tests::vendor::{Sample, Vendor};
use patchmesh_tests::wait::{PATIENCE, holds, until};

/// The child of the hub that was broken into.
const LEAF: &str = "lyon";

/// Enough for several pieces.
const CONTENT: usize = 3 << 20;

/// How long a lie is told.
const LIE: Duration = Duration::from_secs(2);

/// What one child may hold in memory, whatever it is sent.
const MEMORY: u64 = 400 << 20;

struct Broken {
    cluster: Cluster,
    vendor: Vendor,
    impostor: Impostor,
    releases: u32,
}

/// hq → hub → lyon, with an impostor in the hub's place that is honest so far.
async fn broken_into() -> Result<Broken> {
    let vendor = Vendor::with_samples(&[Sample::new("app-0", "1")]).await?;
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("hub", PRIMARY, "emea")).await?;
    cluster.add(&Spec::branch(LEAF, "hub", "emea/fr/lyon")).await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.converged(&["hub", LEAF]).await?;
    cluster.node_mut("hub")?.stop().await?;
    let impostor = Impostor::replace(cluster.node("hub")?, &cluster.primary()?.url).await?;
    let mut broken = Broken { cluster, vendor, impostor, releases: 0 };
    // It has seen some generations and passes them on.
    broken.change().await?;
    broken.cluster.converged(&[LEAF]).await?;
    Ok(broken)
}

impl Broken {
    /// Something new that the leaf should learn of, with content.
    async fn change(&mut self) -> Result<()> {
        self.releases += 1;
        let name = format!("app-{}", self.releases);
        self.vendor.release(&[Sample::new(&name, "1").with_bytes(CONTENT)]).await?;
        self.cluster.sync("vendor").await?.success()?;
        let revision = [self.cluster.revision(&name).await?];
        self.cluster.approve("validation", &revision).await?;
        self.cluster.promote(&revision).await?;
        Ok(())
    }

    async fn leaf(&self) -> Result<NodeStatus> {
        let status = self.cluster.node(LEAF)?.status().await?;
        status.status.context("the leaf says nothing of itself")
    }

    /// While the impostor does this, the leaf learns nothing and says so; once
    /// it is honest again, the leaf goes on.
    async fn is_refused(&mut self, misdeed: Misdeed) -> Result<()> {
        let before = self.leaf().await?.generation;
        self.impostor.commit(misdeed);
        self.change().await?;
        until(&format!("the leaf to complain of {misdeed:?}"), PATIENCE, async || {
            Ok((!self.leaf().await?.problem.is_empty()).then_some(()))
        })
        .await?;
        holds(&format!("refusing {misdeed:?}"), LIE, async || {
            let status = self.leaf().await?;
            ensure!(status.generation == before, "it went from {before} to {}", status.generation);
            self.memory_is_bounded()
        })
        .await?;
        self.impostor.commit(Misdeed::None);
        self.cluster.converged(&[LEAF]).await.with_context(|| format!("after {misdeed:?}"))
    }

    /// While the impostor does this, the leaf switches but gets no content.
    async fn keeps_content_out(&mut self, misdeed: Misdeed) -> Result<()> {
        self.impostor.commit(misdeed);
        self.change().await?;
        let generation = self.cluster.generation().await?;
        until("the leaf to switch", PATIENCE, async || {
            Ok((self.leaf().await?.generation >= generation).then_some(()))
        })
        .await?;
        holds(&format!("refusing {misdeed:?}"), LIE, async || {
            let status = self.leaf().await?;
            ensure!(status.payloads_held < status.payloads_wanted, "it took the bytes");
            self.memory_is_bounded()
        })
        .await?;
        self.impostor.commit(Misdeed::None);
        self.cluster.converged(&[LEAF]).await.with_context(|| format!("after {misdeed:?}"))?;
        let verified = self.cluster.patchmesh(LEAF, &["blob", "verify"]).await?.success()?;
        ensure!(verified.json()?["faults"].as_array().is_some_and(Vec::is_empty), "{verified:?}");
        Ok(())
    }

    fn memory_is_bounded(&self) -> Result<()> {
        let bytes = self.cluster.node(LEAF)?.peak_memory()?;
        ensure!(bytes < MEMORY, "it took {} MiB of memory", bytes >> 20);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_files_that_are_wrong_are_refused() -> Result<()> {
    let mut broken = broken_into().await?;
    for misdeed in [Misdeed::AlteredMetadata, Misdeed::EndlessMetadata, Misdeed::Rollback] {
        broken.is_refused(misdeed).await?;
    }
    broken.cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_are_wrong_are_refused() -> Result<()> {
    let mut broken = broken_into().await?;
    for misdeed in [Misdeed::AlteredDocuments, Misdeed::ShortDocuments, Misdeed::EndlessDocuments] {
        broken.is_refused(misdeed).await?;
    }
    broken.cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_is_wrong_never_arrives_and_holds_nothing_up() -> Result<()> {
    let mut broken = broken_into().await?;
    for misdeed in [Misdeed::AlteredPieces, Misdeed::EndlessPieces] {
        broken.keeps_content_out(misdeed).await?;
    }
    broken.cluster.passed();
    Ok(())
}
