//! What nodes serve to everybody: conditional and partial requests, TLS 1.3 and
//! nothing older, and no surprise when a generation switches in between.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec};
use patchmesh_tests::http::{Answer, Curl};
use patchmesh_tests::run::run;
use patchmesh_tests::vendor::repository::SUITE;
use patchmesh_tests::vendor::{Sample, Vendor};
use tokio::process::Command;

const BIG: usize = 12 << 20;

/// A branch that serves one big package, and the base of its view.
async fn serving() -> Result<(Cluster, Vendor, Curl, String)> {
    let vendor = Vendor::with_samples(&[Sample::new("big-app", "1").with_bytes(BIG)]).await?;
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("hub", PRIMARY, "emea")).await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    decide(&cluster, "big-app").await?;
    let curl = Curl::trusting(&cluster)?;
    let base = format!("{}/apt/production/servers", cluster.node("hub")?.url);
    Ok((cluster, vendor, curl, base))
}

async fn decide(cluster: &Cluster, name: &str) -> Result<()> {
    cluster.sync("vendor").await?.success()?;
    let revision = [cluster.revision(name).await?];
    cluster.approve("validation", &revision).await?;
    cluster.promote(&revision).await?;
    cluster.converged(&["hub"]).await
}

/// The `Filename` of a package.
async fn pool_path(curl: &Curl, base: &str, package: &str) -> Result<String> {
    let architecture = patchmesh_tests::vendor::repository::architecture().await?;
    // `all` packages have an index of their own where there are no others.
    let indices = ["settled", "opening"].into_iter().flat_map(|component| {
        [architecture.as_str(), "all"].map(|part| format!("{component}/binary-{part}"))
    });
    for index in indices {
        let path = format!("dists/{SUITE}/{index}/Packages");
        let text = curl.get(&format!("{base}/{path}"), &[]).await?.text();
        let stanza =
            text.split("\n\n").find(|stanza| stanza.contains(&format!("Package: {package}\n")));
        let line = stanza
            .and_then(|stanza| stanza.lines().find_map(|line| line.strip_prefix("Filename: ")));
        if let Some(line) = line {
            return Ok(line.to_owned());
        }
    }
    let release = curl.get(&format!("{base}/dists/{SUITE}/InRelease"), &[]).await?;
    anyhow::bail!("{package} is in no index of {base}: {}", release.text())
}

fn not_modified(answer: &Answer) -> Result<()> {
    ensure!(answer.status == 304 && answer.body.is_empty(), "{answer:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn conditional_and_partial_requests() -> Result<()> {
    let (cluster, _vendor, curl, base) = serving().await?;
    let release = format!("{base}/dists/{SUITE}/InRelease");
    let whole = curl.get(&release, &[]).await?.ok()?;
    let etag = whole.header("etag").context("no ETag")?;
    let modified = whole.header("last-modified").context("no Last-Modified")?;
    not_modified(&curl.get(&release, &["-H", &format!("If-None-Match: {etag}")]).await?)?;
    not_modified(&curl.get(&release, &["-H", &format!("If-Modified-Since: {modified}")]).await?)?;
    let older = "If-Modified-Since: Mon, 01 Jan 2024 00:00:00 GMT";
    curl.get(&release, &["-H", older]).await?.ok()?;

    let payload = format!("{base}/{}", pool_path(&curl, &base, "big-app").await?);
    let whole = curl.get(&payload, &[]).await?.ok()?;
    ensure!(whole.body.len() > BIG, "only {} bytes", whole.body.len());
    // Across the borders of pieces, the middle, the end, and beyond the end.
    for (range, expected) in [
        ("1048570-1048590", &whole.body[1_048_570..=1_048_590]),
        ("0-0", &whole.body[..1]),
        ("-7", &whole.body[whole.body.len() - 7..]),
        ("5000000-", &whole.body[5_000_000..]),
    ] {
        let part = curl.get(&payload, &["--range", range]).await?;
        ensure!(part.status == 206, "{range}: status {}", part.status);
        ensure!(part.body == expected, "{range}: other bytes");
    }
    let beyond = curl.get(&payload, &["--range", "999999999-"]).await?;
    ensure!(beyond.status == 416, "beyond the end: status {}", beyond.status);
    let etag = whole.header("etag").context("no ETag on content")?;
    let fits = curl.get(&payload, &["--range", "0-9", "-H", &format!("If-Range: {etag}")]).await?;
    ensure!(fits.status == 206, "If-Range that fits: status {}", fits.status);
    let other = curl.get(&payload, &["--range", "0-9", "-H", "If-Range: \"other\""]).await?;
    ensure!(other.status == 200, "If-Range that does not fit: status {}", other.status);
    let head = curl.get(&payload, &["--head"]).await?;
    ensure!(head.header("content-length") == Some(&whole.body.len().to_string()), "{head:?}");
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_offered_is_there() -> Result<()> {
    let (cluster, _vendor, curl, base) = serving().await?;
    let hub = &cluster.node("hub")?.url;
    // Not its stage, no such group, outside the tree, not a file.
    for url in [
        format!("{hub}/apt/validation/lab/dists/{SUITE}/InRelease"),
        format!("{hub}/apt/production/nobody/dists/{SUITE}/InRelease"),
        format!("{base}/dists/%2e%2e/%2e%2e/%2e%2e/keys/root.pem"),
        format!("{base}/../../../keys/root.pem"),
        format!("{hub}/tuf/metadata/..%2f..%2fkeys"),
        format!("{hub}/content/{}", "00".repeat(32)),
        format!("{hub}/content/short"),
    ] {
        let answer = curl.get(&url, &["--path-as-is"]).await?;
        ensure!(matches!(answer.status, 400 | 404), "{url}: status {}", answer.status);
    }
    let release = format!("{base}/dists/{SUITE}/InRelease");
    let deleted = curl.get(&release, &["--request", "DELETE"]).await?;
    ensure!(deleted.status == 405, "DELETE: status {}", deleted.status);
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_1_3_and_nothing_older() -> Result<()> {
    let (cluster, _vendor, curl, base) = serving().await?;
    let url = format!("{base}/dists/{SUITE}/InRelease");
    curl.get(&url, &["--tlsv1.3"]).await?.ok()?;
    let older = curl.get(&url, &["--tls-max", "1.2"]).await;
    ensure!(older.is_err(), "TLS 1.2 was spoken: {older:?}");
    let ca = curl.ca.display().to_string();
    let plain = run(Command::new("curl")
        .args(["-sS", "--cacert", &ca])
        .arg(url.replacen("https://", "http://", 1)))
    .await?;
    ensure!(plain.code != 0 || !plain.stdout.contains("Suite"), "served without TLS");
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_goes_on_when_the_generation_switches() -> Result<()> {
    let (cluster, vendor, curl, base) = serving().await?;
    let release = format!("{base}/dists/{SUITE}/InRelease");
    let before = curl.get(&release, &[]).await?.ok()?.text();
    let path = pool_path(&curl, &base, "big-app").await?;
    let url = format!("{base}/{path}");

    // A client in the middle of a slow download …
    let slow = curl.get(&url, &["--limit-rate", "3M"]);
    // … while the next generation comes and the package is declined.
    let change = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        vendor.release(&[Sample::new("other-app", "1")]).await?;
        decide(&cluster, "other-app").await?;
        let revision = [cluster.revision("big-app").await?];
        cluster.decline("a test", &revision).await?;
        cluster.converged(&["hub"]).await
    };
    let (slow, change) = tokio::join!(slow, change);
    change?;
    ensure!(slow?.ok()?.body.len() > BIG, "the download was cut");

    // One that had read the old indices only still gets what they name.
    for line in before.lines().filter(|line| line.ends_with("Packages.xz")) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [hash, _, path] = fields[..] else { continue };
        if hash.len() != 64 {
            continue;
        }
        let folder = path.trim_end_matches("/Packages.xz");
        let by_hash = format!("{base}/dists/{SUITE}/{folder}/by-hash/SHA256/{hash}");
        curl.get(&by_hash, &[]).await?.ok().with_context(|| by_hash.clone())?;
    }
    curl.get(&url, &[]).await?.ok().context("a payload of the generation before")?;
    let after = curl.get(&release, &[]).await?.ok()?.text();
    ensure!(before != after, "nothing has switched");
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_can_be_switched_on_and_serves_open_things_only() -> Result<()> {
    let plain = patchmesh_tests::cluster::free_address()?.to_string();
    let mut cluster = Cluster::start().await?;
    let spec = Spec::branch("hub", PRIMARY, "emea").with_arguments(&["--http-listen", &plain]);
    cluster.add(&spec).await?;
    cluster.converged(&["hub"]).await?;
    let curl = Curl::trusting(&cluster)?;
    curl.get(&format!("http://{plain}/tuf/metadata/timestamp.json"), &[]).await?.ok()?;
    let grpc = format!("http://{plain}/patchmesh.admin.v1.Admin/GetStatus");
    let refused = curl
        .get(&grpc, &["--http2-prior-knowledge", "-H", "content-type: application/grpc", "-d", ""])
        .await;
    if let Ok(answer) = refused {
        ensure!(answer.status != 200, "gRPC without TLS: {answer:?}");
    }
    cluster.passed();
    Ok(())
}
