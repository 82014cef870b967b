//! A vendor's repository that is wrong in some way changes nothing and is named.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use patchmesh_tests::cluster::Cluster;
use patchmesh_tests::run::{Outcome, run};
use patchmesh_tests::vendor::{Fault, Sample, Vendor, foreign_keyring};
use tokio::process::Command;

/// A primary and a vendor with one package, not synchronised yet.
async fn start() -> Result<(Cluster, Vendor)> {
    let vendor = Vendor::with_samples(&[Sample::new("sample-app", "1.0")]).await?;
    let cluster = Cluster::start().await?;
    Ok((cluster, vendor))
}

/// Synchronising fails, says these words, leaves no revision and is remembered;
/// once the vendor is well again, it succeeds.
async fn refused_then_repaired(cluster: &Cluster, vendor: &Vendor, words: &[&str]) -> Result<()> {
    let before = cluster.generation().await?;
    cluster.sync("vendor").await?.failure_that_says(words)?;
    ensure!(cluster.updates().await?.is_empty(), "something came in");
    ensure!(cluster.generation().await? == before, "a failed synchronisation left a generation");
    let sources = cluster.patchmesh("hq", &["source", "list"]).await?.success()?;
    ensure!(sources.json()?["sources"][0]["problem"].is_string(), "{}", sources.stdout);

    vendor.server.repair();
    cluster.sync("vendor").await?.success()?;
    ensure!(cluster.updates().await?.len() == 1, "the repaired vendor was not read");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_refused() -> Result<()> {
    let (cluster, vendor) = start().await?;
    let folder = tempfile::tempdir()?;
    let foreign = foreign_keyring(folder.path()).await?;
    cluster.add_source_with_key("vendor", &vendor, &foreign, &[]).await?;
    cluster.sync("vendor").await?.failure_that_says(&["signature"])?;
    ensure!(cluster.updates().await?.is_empty(), "something came in");
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tampered_release_is_refused() -> Result<()> {
    let (cluster, vendor) = start().await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    let signed = std::fs::read_to_string(vendor.repository.suite_file("InRelease"))?;
    let changed = signed.replace("Origin: Vendor", "Origin: Wendor");
    ensure!(signed != changed, "nothing was changed");
    vendor.server.break_path("/InRelease", Fault::Replace(Bytes::from(changed)));
    vendor.server.break_path("/Release", Fault::Status(404));
    refused_then_repaired(&cluster, &vendor, &["signature"]).await?;
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_release_is_refused() -> Result<()> {
    let (cluster, vendor) = start().await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    vendor
        .repository
        .rewrite_release(|text| {
            let lines = text.lines().map(|line| match line.split_once(": ") {
                Some(("Date", _)) => "Date: Mon, 01 Jan 2024 00:00:00 UTC".to_owned(),
                Some(("Valid-Until", _)) => "Valid-Until: Mon, 08 Jan 2024 00:00:00 UTC".to_owned(),
                _ => line.to_owned(),
            });
            lines.map(|line| line + "\n").collect()
        })
        .await?;
    cluster.sync("vendor").await?.failure_that_says(&["expired"])?;
    ensure!(cluster.updates().await?.is_empty(), "something came in");
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_index_is_refused() -> Result<()> {
    let (cluster, vendor) = start().await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    for name in ["/Packages", "/Packages.gz", "/Packages.xz"] {
        vendor.server.break_path(name, Fault::Truncate(40));
    }
    refused_then_repaired(&cluster, &vendor, &["packages"]).await?;
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tampered_index_is_refused() -> Result<()> {
    let (cluster, vendor) = start().await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    for name in ["/Packages", "/Packages.gz", "/Packages.xz"] {
        vendor.server.break_path(name, Fault::Tamper);
    }
    refused_then_repaired(&cluster, &vendor, &["packages"]).await?;
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_without_end_is_cut_off() -> Result<()> {
    let (cluster, vendor) = start().await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    for name in ["/Packages", "/Packages.gz", "/Packages.xz"] {
        vendor.server.break_path(name, Fault::Endless);
    }
    refused_then_repaired(&cluster, &vendor, &["packages"]).await?;
    vendor.server.break_path("/InRelease", Fault::Endless);
    cluster.sync("vendor").await?.failure_that_says(&["release"])?;
    cluster.passed();
    Ok(())
}

/// What the bomb unpacks to.
const BOMB_BYTES: u64 = 10 << 30;

/// The cap on a decompressed index, lower than the usual one to save time.
const CAP: &str = "67108864";

/// One of the many streams of which it consists: xz files may be joined.
const BOMB_PART: u64 = 64 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_unpacks_to_ten_gigabytes_is_refused_early() -> Result<()> {
    let (cluster, vendor) = start().await?;
    cluster.add_source("vendor", &vendor, &["--max-index-bytes", CAP]).await?;
    // Signed and hashed by the vendor itself, so that only the cap is in the way.
    plant_bomb(&vendor).await?;
    cluster.sync("vendor").await?.failure_that_says(&["packages", "unpack"])?;
    let peak = cluster.primary()?.peak_memory()?;
    ensure!(peak < 1 << 30, "it took {} MiB of memory", peak >> 20);
    cluster.passed();
    Ok(())
}

/// Replaces every index by one that unpacks to [`BOMB_BYTES`] and signs anew.
async fn plant_bomb(vendor: &Vendor) -> Result<()> {
    let architecture = patchmesh_tests::vendor::repository::architecture().await?;
    let relative = format!("main/binary-{architecture}/Packages");
    for other in ["", ".gz"] {
        std::fs::remove_file(vendor.repository.suite_file(&format!("{relative}{other}")))?;
    }
    let packed = vendor.repository.suite_file(&format!("{relative}.xz"));
    // Empty lines: nothing is wrong with them but their number.
    let pack = format!("yes '' | head -c {BOMB_PART} | xz -0 > {}", packed.display());
    run(Command::new("sh").args(["-c", &pack])).await?.success()?;
    let part = std::fs::read(&packed)?;
    std::fs::write(&packed, part.repeat(usize::try_from(BOMB_BYTES / BOMB_PART)?))?;

    let sum = run(Command::new("sha256sum").arg(&packed)).await?.success()?;
    let hash = sum.stdout.split_whitespace().next().context("no hash")?.to_owned();
    let length = std::fs::metadata(&packed)?.len();
    // What it unpacks to is not stated, so that it has to be found out.
    vendor
        .repository
        .rewrite_release(|text| {
            let head = text.split("MD5Sum:").next().unwrap_or_default();
            format!("{head}SHA256:\n {hash} {length} {relative}.xz\n")
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_with_another_hash_is_never_offered() -> Result<()> {
    let (cluster, vendor) = start().await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    let revision = cluster.revision("sample-app").await?;

    vendor.server.break_path(".deb", Fault::Tamper);
    let approved = approve(&cluster, &revision).await?;
    ensure!(approved.code != 101, "crashed: {}", approved.stderr);
    let shown = cluster.patchmesh("hq", &["update", "show", &revision]).await?.success()?;
    ensure!(shown.stdout.contains("temporarily-unavailable"), "{}", shown.stdout);

    // The vendor repairs it; asking again fetches it.
    vendor.server.repair();
    approve(&cluster, &revision).await?;
    patchmesh_tests::wait::until(
        "the payload to be there",
        patchmesh_tests::wait::PATIENCE,
        async || {
            let shown = cluster.patchmesh("hq", &["update", "show", &revision]).await?.success()?;
            Ok((!shown.stdout.contains("temporarily-unavailable")).then_some(()))
        },
    )
    .await?;
    cluster.passed();
    Ok(())
}

async fn approve(cluster: &Cluster, revision: &str) -> Result<Outcome> {
    cluster.patchmesh("hq", &["approve", "--stage", "validation", revision]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_while_importing_is_survived() -> Result<()> {
    let tmpfs = match Tmpfs::mount(160).await? {
        Some(tmpfs) => tmpfs,
        None => {
            eprintln!("SKIPPED: a small file system needs root");
            return Ok(());
        }
    };
    let vendor = Vendor::with_samples(&[
        Sample::new("sample-app", "1.0"),
        Sample::new("huge-app", "1.0").with_bytes(400 << 20),
    ])
    .await?;
    let cluster = Cluster::start_in(tmpfs.path()).await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    let huge = cluster.revision("huge-app").await?;
    approve(&cluster, &huge).await?;
    let shown = cluster.patchmesh("hq", &["update", "show", &huge]).await?.success()?;
    ensure!(shown.stdout.contains("temporarily-unavailable"), "{}", shown.stdout);
    ensure!(!cluster.primary()?.status().await?.warnings.is_empty(), "nobody is told");

    // The rest goes on.
    let small = cluster.revision("sample-app").await?;
    approve(&cluster, &small).await?.success()?;
    let shown = cluster.patchmesh("hq", &["update", "show", &small]).await?.success()?;
    ensure!(!shown.stdout.contains("temporarily-unavailable"), "{}", shown.stdout);
    cluster.passed();
    Ok(())
}

/// A small file system, unmounted at the end.
struct Tmpfs {
    folder: tempfile::TempDir,
}

impl Tmpfs {
    async fn mount(mebibytes: u32) -> Result<Option<Self>> {
        let folder = tempfile::Builder::new().prefix("patchmesh-tmpfs-").tempdir()?;
        let size = format!("size={mebibytes}m");
        let outcome = run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "patchmesh-test"])
            .arg(folder.path()))
        .await;
        Ok(outcome.is_ok_and(|outcome| outcome.code == 0).then_some(Self { folder }))
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: a process that was just killed may still hold a file.
        let done = std::process::Command::new("umount").arg("-l").arg(self.folder.path()).status();
        if !done.is_ok_and(|status| status.success()) {
            let _ =
                writeln!(std::io::stderr(), "could not unmount {}", self.folder.path().display());
        }
    }
}
