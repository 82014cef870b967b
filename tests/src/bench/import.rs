//! Rows about size: importing a whole release, and deciding on much at once.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use sha2_of::sha256;
use tokio::process::Command;

use super::Measurement;
use super::path::View;
use super::statistics::median;
use crate::apt::{Apt, Lines};
use crate::cluster::{Cluster, PRIMARY};
use crate::run::run;
use crate::vendor::repository::{Key, SUITE, architecture};
use crate::vendor::server::Server;
use crate::vendor::{Sample, Vendor};

/// Packages of the index: as many as Debian's `main` has.
const PACKAGES: usize = 60_000;

/// How often each imports it, in turns.
const ROUNDS: usize = 3;

/// The bar for the primary's memory, in MiB.
const MEMORY_BAR: f64 = 256.0;

/// Revisions that are decided at once.
const REVISIONS: usize = 1_000;

/// path.3
pub(super) async fn import_of_a_release() -> Result<Vec<Measurement>> {
    let folder = tempfile::Builder::new().prefix("patchmesh-bench-").tempdir()?;
    let key = Key::generate(folder.path(), "Bench").await?;
    let base = folder.path().join("repository");
    write_release(&base, &key).await?;
    let server = Server::start(&base).await?;
    let (mut ours, mut apt, mut reprepro) = (Vec::new(), Vec::new(), Vec::new());
    let mut memory: f64 = 0.0;
    for round in 0..ROUNDS {
        let (seconds, bytes) = by_patchmesh(&server.url(), &key.public).await?;
        ours.push(seconds);
        memory = memory.max(bytes as f64 / f64::from(1 << 20));
        apt.push(by_apt(&server.url(), &key.public).await?);
        let scratch = folder.path().join(format!("reprepro-{round}"));
        reprepro.push(by_reprepro(&server.url(), &scratch).await?);
    }
    let (ours, apt, reprepro) = (median(&ours), median(&apt), median(&reprepro));
    let measure = "an index of 60,000 packages until it is in the catalogue, signed, p50 of 3";
    Ok(vec![
        Measurement::new("path.3", measure, ours, "s").beside("apt-get update", apt),
        Measurement::new("path.3", measure, ours, "s").beside("reprepro checkupdate", reprepro),
        Measurement::new("path.3", "the primary's memory at its peak meanwhile", memory, "MiB")
            .required_below(MEMORY_BAR),
    ])
}

/// A suite whose index names packages that nobody ever fetches.
async fn write_release(base: &Path, key: &Key) -> Result<()> {
    let native = architecture().await?;
    let folder = base.join(format!("dists/{SUITE}/main/binary-{native}"));
    fs::create_dir_all(&folder)?;
    let mut text = String::new();
    for number in 0..PACKAGES {
        let hash = blake3::hash(&number.to_le_bytes());
        let source = number / 2;
        // Like a real stanza in length and fields.
        write!(
            text,
            "Package: lib-sample-{number}\nSource: sample-{source}\nVersion: 1:2.{number}-3+deb12u1\n\
             Installed-Size: {}\nMaintainer: Somebody Who Cares <maintainers@vendor.example>\n\
             Architecture: {native}\nDepends: libc6 (>= 2.36), libstdc++6 (>= 12), lib-sample-{} (>= 1:2.0), zlib1g (>= 1:1.2.11)\n\
             Description: sample number {number} of a large release\n\
             Homepage: https://vendor.example/sample/{source}\n\
             Description-md5: {}\nTag: implemented-in::c++, role::shared-lib, suite::sample\n\
             Section: libs\nPriority: optional\n\
             Filename: pool/main/s/sample-{source}/lib-sample-{number}_2.{number}-3_{native}.deb\n\
             Size: {}\nMD5sum: {}\nSHA256: {}\n\n",
            number % 9_000,
            (number + 1) % PACKAGES,
            &hash.to_hex()[..32],
            1_000 + number,
            &hash.to_hex()[32..],
            hash.to_hex(),
        )?;
    }
    let plain = folder.join("Packages");
    fs::write(&plain, &text)?;
    run(Command::new("xz").args(["-2", "--keep"]).arg(&plain)).await?.success()?;
    let now = jiff::Timestamp::now();
    let mut release = format!(
        "Origin: Bench\nLabel: Bench\nSuite: {SUITE}\nCodename: {SUITE}\nDate: {}\n\
         Architectures: {native}\nComponents: main\nSHA256:\n",
        now.strftime("%a, %d %b %Y %H:%M:%S +0000")
    );
    for name in ["Packages", "Packages.xz"] {
        let bytes = fs::read(folder.join(name))?;
        writeln!(release, " {} {} main/binary-{native}/{name}", sha256(&bytes), bytes.len())?;
    }
    // As with mirrors, only the compressed form is there to be fetched.
    fs::remove_file(&plain)?;
    let file = base.join(format!("dists/{SUITE}/Release"));
    fs::write(&file, release)?;
    key.sign_detached(&file, &file.with_extension("gpg")).await
}

async fn by_patchmesh(url: &str, keyring: &Path) -> Result<(f64, u64)> {
    let cluster = Cluster::start().await?;
    let (native, keyring) = (architecture().await?, keyring.display().to_string());
    let add = ["source", "add", "apt", "bench", "--url", url, "--suite", SUITE];
    let more = ["--component", "main", "--architecture", &native, "--keyring", &keyring];
    cluster.patchmesh(PRIMARY, &[&add[..], &more].concat()).await?.success()?;
    let start = Instant::now();
    cluster.sync("bench").await?.success()?;
    let seconds = start.elapsed().as_secs_f64();
    let bytes = cluster.primary()?.peak_memory()?;
    cluster.passed();
    Ok((seconds, bytes))
}

async fn by_apt(url: &str, keyring: &Path) -> Result<f64> {
    let apt = Apt::new(&[]).await?;
    // Nothing is installed, so that only the index takes time.
    fs::write(apt.inside("var/lib/dpkg/status"), "")?;
    let sources = format!("deb [signed-by={}] {url} {SUITE} main\n", keyring.display());
    apt.configure(&Lines { sources, settings: String::new(), files: Vec::new() })?;
    let start = Instant::now();
    apt.update().await?.success()?;
    Ok(start.elapsed().as_secs_f64())
}

/// Fetches and compares the index; nothing is downloaded.
async fn by_reprepro(url: &str, scratch: &Path) -> Result<f64> {
    fs::create_dir_all(scratch.join("conf"))?;
    let native = architecture().await?;
    fs::write(
        scratch.join("conf/distributions"),
        format!("Codename: {SUITE}\nArchitectures: {native}\nComponents: main\nUpdate: bench\n"),
    )?;
    fs::write(
        scratch.join("conf/updates"),
        format!(
            "Name: bench\nMethod: {url}\nSuite: {SUITE}\nComponents: main\n\
             Architectures: {native}\nVerifyRelease: blindtrust\nGetInRelease: no\n"
        ),
    )?;
    let start = Instant::now();
    let outcome = run(Command::new("reprepro")
        .arg("--basedir")
        .arg(scratch)
        .args(["--silent", "checkupdate"]))
    .await?
    .success()?;
    let seconds = start.elapsed().as_secs_f64();
    let named = outcome.stdout.matches("lib-sample-").count();
    ensure!(named >= PACKAGES, "reprepro found {named} packages");
    Ok(seconds)
}

/// path.4
pub(super) async fn a_thousand_decisions() -> Result<Vec<Measurement>> {
    let samples: Vec<Sample> =
        (0..=REVISIONS).map(|number| Sample::new(&format!("app-{number}"), "1")).collect();
    let vendor = Vendor::with_samples(&samples).await?;
    let mut cluster = Cluster::start().await?;
    cluster.add_company().await?;
    cluster.add_source("vendor", &vendor, &["--policy", "prefetch"]).await?;
    cluster.sync("vendor").await?.success()?;
    let rows = cluster.updates().await?;
    let mut revisions: Vec<String> = rows.into_iter().map(|row| row.revision).collect();
    ensure!(revisions.len() == REVISIONS + 1, "{} revisions", revisions.len());
    cluster.approve("validation", &revisions).await?;
    // The first one makes the view.
    let first = revisions.pop().context("no revisions")?;
    cluster.approve("production", std::slice::from_ref(&first)).await?;
    let nodes = ["lab", "hub", "lyon", "annecy"];
    cluster.converged(&nodes).await?;

    let view = View::of(&cluster, "annecy")?;
    let before = view.etag().await?;
    let start = Instant::now();
    let decide = async {
        let decision = cluster.approve("production", &revisions).await?;
        Ok((decision, Instant::now()))
    };
    let (decided, served) = tokio::try_join!(decide, view.changed_from(&before))?;
    let (decision, signed) = decided;
    ensure!(decision.changed as usize == REVISIONS, "{} decided", decision.changed);
    cluster.converged(&nodes).await?;
    cluster.passed();
    let measure = "`approve` of 1,000 revisions at once";
    Ok(vec![
        Measurement::new(
            "path.4",
            &format!("{measure} until it is signed"),
            (signed - start).as_secs_f64(),
            "s",
        ),
        Measurement::new(
            "path.4",
            &format!("{measure} until the deepest of four levels serves them"),
            (served - start).as_secs_f64(),
            "s",
        ),
    ])
}

mod sha2_of {
    use std::fmt::Write as _;

    pub(super) fn sha256(bytes: &[u8]) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
        digest.as_ref().iter().fold(String::new(), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}
