//! Disks that are full and disks that spoil what they hold.

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec, free_address};
use patchmesh_tests::proxy::Proxy;
use patchmesh_tests::vendor::{Sample, Vendor};
use patchmesh_tests::wait::{PATIENCE, holds, until};

/// Bytes of a large payload, about.
const CONTENT: usize = 24 << 20;

/// The small disk.
const DISK: u64 = 128 << 20;

/// What is left free on it: more than the reserve (a twentieth) and a decision
/// need, less than the payload needs.
const LEFT: u64 = 14 << 20;

/// A piece.
const PIECE: u64 = 1 << 20;

/// What documents, reports and framing may add on a line.
const BESIDE: u64 = 1 << 20;

/// A line on which a piece takes some seconds.
const THIN: u64 = 160 << 10;

/// All that is held is read again and again.
const FAST_SCRUB: [(&str, &str); 2] =
    [("PATCHMESH_SCRUB_PERIOD", "1s"), ("PATCHMESH_SCRUB_RATE", "unlimited")];

/// A small file system in memory, mounted at a folder until it is dropped.
struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Nothing where this user can't mount one.
    fn mount(at: &Path) -> Result<Option<Self>> {
        fs::create_dir_all(at)?;
        let size = format!("size={DISK}");
        let done =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output();
        if !done.is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: mounting a small disk needs root");
            return Ok(None);
        }
        Ok(Some(Self { at: at.to_owned() }))
    }

    fn free(&self) -> Result<u64> {
        let output = Command::new("df").args(["--output=avail", "-B1"]).arg(&self.at).output()?;
        let text = String::from_utf8(output.stdout)?;
        Ok(text.lines().nth(1).context("df")?.trim().parse()?)
    }

    /// Takes all but so many bytes.
    fn fill_up_to(&self, left: u64) -> Result<()> {
        let mut filler = fs::OpenOptions::new().create(true).append(true).open(self.filler())?;
        let part = vec![7; 64 << 10];
        while self.free()? > left + part.len() as u64 {
            let parts = (self.free()? - left) / part.len() as u64;
            for _ in 0..parts.clamp(1, 64) {
                filler.write_all(&part)?;
            }
        }
        Ok(())
    }

    fn make_room(&self) -> Result<()> {
        Ok(fs::remove_file(self.filler())?)
    }

    fn filler(&self) -> PathBuf {
        self.at.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Its node may run still.
        let _ = Command::new("umount").arg("-l").arg(&self.at).output();
    }
}

/// A primary behind a line, with a vendor.
struct Mesh {
    cluster: Cluster,
    vendor: Vendor,
    line: Proxy,
    releases: u32,
}

impl Mesh {
    async fn start(environment: &[(&str, &str)]) -> Result<Self> {
        let vendor = Vendor::with_samples(&[Sample::new("app-0", "1")]).await?;
        let listen = free_address()?;
        let line = Proxy::start(listen).await?;
        let mut cluster = Cluster::init_behind(listen, line.address()).await?;
        let primary = cluster.node_mut(PRIMARY)?;
        primary.environment.extend(owned(environment));
        primary.start().await?;
        cluster.add_source("vendor", &vendor, &[]).await?;
        Ok(Self { cluster, vendor, line, releases: 0 })
    }

    async fn add(&mut self, name: &str, environment: &[(&str, &str)]) -> Result<()> {
        self.cluster.join(&Spec::branch(name, PRIMARY, "emea/fr/lyon")).await?;
        let node = self.cluster.node_mut(name)?;
        node.environment.extend(owned(environment));
        node.start().await?;
        self.cluster.converged(&[name]).await
    }

    /// Decides on something new with so much content.
    async fn decide(&mut self, bytes: usize) -> Result<()> {
        self.releases += 1;
        let name = format!("app-{}", self.releases);
        self.cluster.carry(&self.vendor, &name, bytes).await
    }

    async fn alerted(&self, name: &str, is: impl Fn(&[String]) -> bool) -> Result<()> {
        until(&format!("the alerts of {name} to be as expected"), PATIENCE, async || {
            let found = self.cluster.alerts_of(name).await?;
            ensure!(is(&found), "they are {found:?}");
            Ok(Some(()))
        })
        .await
    }

    /// Waits until a node has mended so many blobs.
    async fn mended(&self, name: &str, count: u64) -> Result<()> {
        let node = self.cluster.node(name)?;
        until(&format!("{name} to mend {count} blobs"), PATIENCE, async || {
            let scrub = node.status().await?.scrub.unwrap_or_default();
            ensure!(scrub.damaged == count && scrub.mended == count, "it says {scrub:?}");
            Ok(Some(()))
        })
        .await
    }

    async fn is_whole(&self, name: &str) -> Result<()> {
        let verified = self.cluster.patchmesh(name, &["blob", "verify"]).await?.success()?;
        ensure!(verified.json()?["faults"].as_array().is_some_and(Vec::is_empty), "{verified:?}");
        Ok(())
    }

    /// The file of the largest blob that a node holds.
    fn largest(&self, name: &str) -> Result<PathBuf> {
        let blobs = self.cluster.node(name)?.data.join("blobs");
        let mut found = Vec::new();
        for shard in fs::read_dir(blobs)? {
            for file in fs::read_dir(shard?.path())? {
                let file = file?;
                found.push((file.metadata()?.len(), file.path()));
            }
        }
        Ok(found.into_iter().max().context("no blob")?.1)
    }
}

fn owned(environment: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
}

/// Changes one byte of a file.
fn flip(path: &Path, at: u64) -> Result<()> {
    let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 0x10], at)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_holds_payloads_back_and_goes_on_by_itself() -> Result<()> {
    let mut mesh = Mesh::start(&[]).await?;
    let Some(disk) = SmallDisk::mount(&mesh.cluster.folder().join("lyon"))? else {
        mesh.cluster.passed();
        return Ok(());
    };
    mesh.add("lyon", &[]).await?;
    disk.fill_up_to(LEFT)?;
    mesh.decide(CONTENT).await?;
    mesh.alerted("lyon", |keys| keys == ["disk"]).await?;
    let generation = mesh.cluster.generation().await?;
    let node = mesh.cluster.node("lyon")?;
    until("lyon to know what was decided and to say what it lacks", PATIENCE, async || {
        let said = node.status().await?;
        let lacks = said.disk_shortage.context("no shortage")?;
        ensure!(said.status.unwrap_or_default().generation == generation, "an old generation");
        ensure!(lacks.payloads == 1 && lacks.wanted_bytes >= CONTENT as u64, "{lacks:?}");
        ensure!(lacks.free_bytes < LEFT, "{lacks:?}");
        Ok(Some(()))
    })
    .await?;
    // It asks nobody for what it can't hold.
    let before = mesh.line.bytes_down();
    holds("nothing is fetched", Duration::from_secs(5), async || {
        let sent = mesh.line.bytes_down() - before;
        ensure!(sent < PIECE / 2, "{sent} bytes came");
        Ok(())
    })
    .await?;
    // Decisions go on arriving, and what fits does.
    mesh.decide(2000).await?;
    let generation = mesh.cluster.generation().await?;
    let node = mesh.cluster.node("lyon")?;
    until("lyon to have what fits", PATIENCE, async || {
        let status = node.status().await?.status.unwrap_or_default();
        ensure!(status.generation == generation, "{status:?}");
        ensure!(status.payloads_held + 1 == status.payloads_wanted, "{status:?}");
        Ok(Some(()))
    })
    .await?;
    ensure!(mesh.cluster.alerts_of("lyon").await? == ["disk"], "it is not told any more");
    // Also after a restart.
    mesh.cluster.node_mut("lyon")?.restart().await?;
    let node = mesh.cluster.node("lyon")?;
    until("lyon to say so again", PATIENCE, async || {
        Ok(node.status().await?.disk_shortage.map(|_| ()))
    })
    .await?;
    disk.make_room()?;
    mesh.cluster.converged(&["lyon"]).await?;
    mesh.alerted("lyon", <[String]>::is_empty).await?;
    ensure!(node.status().await?.disk_shortage.is_none());
    mesh.is_whole("lyon").await?;
    // Before its folder is removed.
    drop(disk);
    mesh.cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_whose_disk_is_full_asks_no_vendor_until_there_is_room() -> Result<()> {
    let parent = tempfile::tempdir()?;
    let Some(disk) = SmallDisk::mount(parent.path())? else { return Ok(()) };
    let vendor = Vendor::with_samples(&[Sample::new("app", "1").with_bytes(CONTENT)]).await?;
    let cluster = Cluster::start_in(parent.path()).await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    disk.fill_up_to(2 * LEFT)?;
    let revision = cluster.revision("app").await?;
    let arguments = ["approve", "--stage", "validation", &revision];
    let decided = cluster.patchmesh(PRIMARY, &arguments).await?.json()?;
    // The decision stands, and whoever makes it is told what its payloads wait for.
    ensure!(decided["changed"] == 1, "{decided}");
    ensure!(decided["problems"][0].as_str().is_some_and(|why| why.contains("full")), "{decided}");
    let node = cluster.primary()?;
    until("the primary to say that its disk is full", PATIENCE, async || {
        let said = node.status().await?;
        let lacks = said.disk_shortage.context("no shortage")?;
        ensure!(lacks.wanted_bytes >= 2 * CONTENT as u64, "{lacks:?}");
        let alerts = said.status.unwrap_or_default().alerts;
        ensure!(alerts.iter().map(|one| one.key.as_str()).eq(["disk"]), "{alerts:?}");
        Ok(Some(()))
    })
    .await?;
    disk.make_room()?;
    until("the payload to be there", PATIENCE, async || {
        let said = node.status().await?;
        let status = said.status.unwrap_or_default();
        ensure!(said.disk_shortage.is_none() && status.alerts.is_empty(), "{status:?}");
        ensure!(status.payloads_wanted == 1 && status.payloads_held == 1, "{status:?}");
        Ok(Some(()))
    })
    .await?;
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_that_the_disk_spoilt_costs_a_piece_and_is_told_until_it_is_mended() -> Result<()> {
    let mut mesh = Mesh::start(&[]).await?;
    mesh.add("lyon", &FAST_SCRUB).await?;
    mesh.decide(CONTENT).await?;
    mesh.cluster.converged(&["lyon"]).await?;
    let path = mesh.largest("lyon")?;
    let good = fs::read(&path)?;
    // Of several pieces one in the middle, then the first byte of another.
    for (count, at) in [(1, 5 * PIECE + 77), (2, 17 * PIECE)] {
        mesh.line.limit(Some(THIN));
        let before = mesh.line.bytes_down();
        flip(&path, at)?;
        mesh.alerted("lyon", |keys| keys.iter().any(|key| key.starts_with("damage/"))).await?;
        mesh.line.limit(None);
        mesh.mended("lyon", count).await?;
        mesh.alerted("lyon", <[String]>::is_empty).await?;
        let sent = mesh.line.bytes_down() - before;
        ensure!(sent < PIECE + BESIDE, "{sent} bytes came for one piece");
        ensure!(fs::read(&path)? == good, "other bytes than before");
    }
    mesh.is_whole("lyon").await?;
    let status = mesh.cluster.node("lyon")?.status().await?.status.unwrap_or_default();
    ensure!(status.payloads_held == status.payloads_wanted, "{status:?}");
    mesh.cluster.passed();
    Ok(())
}

/// Found by a person instead of the scrub; from a node below, then from the vendor.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_gets_back_what_its_disk_spoilt() -> Result<()> {
    let mut mesh = Mesh::start(&[]).await?;
    mesh.add("lyon", &[]).await?;
    mesh.decide(CONTENT).await?;
    mesh.cluster.converged(&["lyon"]).await?;
    let path = mesh.largest(PRIMARY)?;
    let good = fs::read(&path)?;
    for count in [1, 2] {
        flip(&path, 9 * PIECE)?;
        let verified = mesh.cluster.patchmesh(PRIMARY, &["blob", "verify"]).await?.json()?;
        let faults = verified["faults"].as_array().context("faults")?;
        ensure!(faults.len() == 1, "{verified}");
        mesh.mended(PRIMARY, count).await?;
        mesh.alerted(PRIMARY, <[String]>::is_empty).await?;
        ensure!(fs::read(&path)? == good, "other bytes than before");
        mesh.is_whole(PRIMARY).await?;
        if count == 1 {
            let log = mesh.cluster.primary()?.log_text()?;
            ensure!(!log.contains("asking the vendor again"), "the node below was not asked first");
            mesh.cluster.node_mut("lyon")?.stop().await?;
        }
    }
    let log = mesh.cluster.primary()?.log_text()?;
    ensure!(log.contains("asking the vendor again"), "where did it come from?");
    mesh.cluster.passed();
    Ok(())
}
