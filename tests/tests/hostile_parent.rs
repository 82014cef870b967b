//! Somebody has broken into a hub and has its key: children take the impostor
//! for their parent, and believe nothing that is not signed further up.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_lc_rs::digest;
use patchmesh_proto::replication::NodeStatus;
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec};
use patchmesh_tests::http::Curl;
use patchmesh_tests::impostor::{Impostor, Misdeed};
use patchmesh_tests::tuf::{hex, signed_anew};
use patchmesh_tests::vendor::{Sample, Vendor};
use patchmesh_tests::wait::{PATIENCE, holds, until};
use serde_json::json;

/// The child of the hub that was broken into.
const LEAF: &str = "lyon";

/// Enough for several pieces.
const CONTENT: usize = 3 << 20;

/// A version that the primary would never reach.
const FAR_AHEAD: u64 = 1_000_000_000;

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
        self.cluster.carry(&self.vendor, &name, CONTENT).await
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

/// The keys of `snapshot` and `timestamp` were stolen, and what they signed is
/// so far ahead that no honest version ever passes it.
#[tokio::test(flavor = "multi_thread")]
async fn stolen_keys_that_ran_ahead_are_overtaken_by_a_new_root() -> Result<()> {
    let mut broken = broken_into().await?;
    let hq = broken.cluster.primary()?;
    let (keys, base) = (hq.data.join("keys"), format!("{}/tuf/metadata", hq.url));
    let curl = Curl::trusting(&broken.cluster)?;
    let get = async |file: &str| {
        Ok::<_, anyhow::Error>(curl.get(&format!("{base}/{file}"), &[]).await?.ok()?.body)
    };
    let generation = broken.cluster.generation().await?;
    let snapshot = get(&format!("{generation}.snapshot.json")).await?;
    let snapshot = signed_anew(&snapshot, &keys.join("snapshot.pem"), |signed| {
        signed["version"] = FAR_AHEAD.into();
    })?;
    let timestamp = get("timestamp.json").await?;
    let timestamp = signed_anew(&timestamp, &keys.join("timestamp.pem"), |signed| {
        signed["version"] = FAR_AHEAD.into();
        let digest = hex(digest::digest(&digest::SHA256, &snapshot).as_ref());
        signed["meta"]["snapshot.json"] = json!({
            "hashes": {"sha256": digest}, "length": snapshot.len(), "version": FAR_AHEAD,
        });
    })?;
    broken.impostor.forge(&format!("{FAR_AHEAD}.snapshot.json"), snapshot.into());
    broken.impostor.forge("timestamp.json", timestamp.into());
    broken.impostor.commit(Misdeed::Forged);
    broken.change().await?;
    until("the leaf to follow the thief", PATIENCE, async || {
        Ok((broken.leaf().await?.generation == FAR_AHEAD).then_some(()))
    })
    .await?;

    // What the primary signs is a rollback now: the leaf learns nothing.
    broken.impostor.commit(Misdeed::None);
    broken.change().await?;
    until("the leaf to refuse the primary", PATIENCE, async || {
        Ok((!broken.leaf().await?.problem.is_empty()).then_some(()))
    })
    .await?;
    ensure!(broken.leaf().await?.generation == FAR_AHEAD, "it went back by itself");

    // Two new keys, and the root key says so: what the stolen ones signed is
    // dropped, in memory and on disk.
    let file = broken.cluster.folder().join("new.json").display().to_string();
    let root = keys.join("root.pem").display().to_string();
    for arguments in [
        &["root", "prepare", "--out", &file, "--rotate", "snapshot", "--rotate", "timestamp"][..],
        &["root", "sign", &file, "--yes", "--key", &root],
        &["root", "publish", &file],
    ] {
        broken.cluster.patchmesh(PRIMARY, arguments).await?.success()?;
    }
    let honest = broken.cluster.generation().await?;
    ensure!(honest < FAR_AHEAD, "the primary ran ahead itself");
    until("the leaf to come back", PATIENCE, async || {
        let leaf = broken.leaf().await?;
        Ok((leaf.generation >= honest && leaf.generation < FAR_AHEAD).then_some(()))
    })
    .await?;
    broken.cluster.node_mut(LEAF)?.restart().await?;
    broken.change().await?;
    broken.cluster.converged(&[LEAF]).await?;
    // The thief's words are worth nothing any more.
    broken.is_refused(Misdeed::Forged).await?;
    broken.cluster.passed();
    Ok(())
}
