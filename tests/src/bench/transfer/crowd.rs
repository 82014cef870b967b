//! Many machines ask for a blob that the node itself is still fetching.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use reqwest::{Certificate, Client};

use super::settle;
use crate::bench::peer::Peer;
use crate::bench::release::{Release, file_name};
use crate::bench::statistics::{median, percentile};
use crate::bench::{Measurement, Scale};
use crate::cluster::{Cluster, PRIMARY, Spec, free_address};
use crate::proxy::Proxy;
use crate::wait::until;

/// The line above: a MiB takes two seconds, so that serving costs less time than
/// fetching however slow the machine is.
const UPSTREAM: u64 = 1 << 19;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// What one crowd saw.
struct Crowd {
    /// From the first request to each first byte, in seconds.
    first: Vec<f64>,
    /// Until the last one had everything.
    whole: f64,
    /// Upstream bytes meanwhile.
    upstream: u64,
    /// When the first piece had come from above.
    piece: f64,
}

/// transfer.9
pub(in crate::bench) async fn a_thousand_requests(scale: Scale) -> Result<Vec<Measurement>> {
    let (bytes, requests): (u64, usize) = (4 << 20, scale.pick(1_000, 50));
    let release = Release::write(&std::env::temp_dir(), "bench", 1, 1, bytes).await?;
    let digest = digest_of(&release.folder.join(file_name(0, 0)))?;
    let listen = free_address()?;
    let line = Proxy::start(listen).await?;
    let mut cluster = Cluster::init_behind(listen, line.address()).await?;
    cluster.node_mut(PRIMARY)?.start().await?;
    release.add_to(&cluster).await?;
    cluster.add(&Spec::branch("branch", PRIMARY, "emea")).await?;
    let ca = std::fs::read(cluster.primary()?.ca())?;
    let clients = clients(&ca, requests)?;

    line.limit(Some(UPSTREAM));
    let revision = [release.revision(0)];
    cluster.approve("validation", &revision).await?;
    cluster.approve("production", &revision).await?;
    let node = cluster.node("branch")?;
    until("the branch to begin", PATIENCE, async || {
        Ok(node.status().await?.transfers.first().map(|_| ()))
    })
    .await?;
    let url = format!("{}/content/blake3/{digest}", node.url);
    let ours = ask(&clients, &url, bytes, &line).await?;
    settle().await?;

    let scratch = tempfile::tempdir()?;
    let identity = cluster.node(PRIMARY)?.data.join("identity");
    let origin = Peer::nginx(scratch.path(), &release.folder, &identity).await?;
    let above = Proxy::start(origin.address()).await?;
    above.limit(Some(UPSTREAM));
    let cache = Peer::caching_nginx(scratch.path(), above.address(), &identity).await?;
    let url = format!("https://{}/{}", cache.address(), file_name(0, 0));
    let nginx = ask(&clients, &url, bytes, &above).await?;
    cluster.passed();
    Ok(rows(&ours, &nginx, bytes))
}

fn rows(ours: &Crowd, nginx: &Crowd, bytes: u64) -> Vec<Measurement> {
    let blobs = |crowd: &Crowd| crowd.upstream as f64 / bytes as f64;
    let peer = "nginx proxy_cache_lock, TLS 1.3";
    let row = |measure: &str, ours, unit: &str| {
        Measurement::new("transfer.9", measure, ours, unit).turns(1)
    };
    // A piece after the first one is when every reader should have begun.
    let bar = ours.piece + f64::from(1 << 20) / UPSTREAM as f64;
    vec![
        row("1,000 requests for a blob still being fetched: upstream, in blobs", blobs(ours), "×")
            .beside(peer, blobs(nginx))
            .required_at_most(1.1),
        row("the same: until the first byte, p50", median(&ours.first), "s")
            .beside(peer, median(&nginx.first))
            .required_at_most((bar * 100.0).round() / 100.0)
            .note(&format!(
                "the first MiB was there after {:.2} s, p95 {:.2} s, all had everything after {:.1} s",
                ours.piece,
                percentile(&ours.first, 0.95),
                ours.whole
            )),
    ]
}

/// Clients with a connection each.
fn clients(ca: &[u8], count: usize) -> Result<Vec<Client>> {
    let ca = Certificate::from_pem(ca)?;
    (0..count)
        .map(|_| {
            Client::builder()
                .tls_certs_only([ca.clone()])
                .timeout(PATIENCE)
                .build()
                .context("no client")
        })
        .collect()
}

/// Lets every client ask at once.
async fn ask(clients: &[Client], url: &str, bytes: u64, line: &Proxy) -> Result<Crowd> {
    let (before, start) = (line.bytes_down(), Instant::now());
    let piece = async {
        until("the first piece", PATIENCE, async || {
            Ok((line.bytes_down() - before >= 1 << 20).then(|| start.elapsed().as_secs_f64()))
        })
        .await
    };
    let answers = try_join_all(clients.iter().map(|client| read(client, url, bytes, start)));
    let (piece, first) = tokio::try_join!(piece, answers)?;
    let whole = start.elapsed().as_secs_f64();
    Ok(Crowd { first, whole, upstream: line.bytes_down() - before, piece })
}

/// Reads it all; seconds until the first byte.
async fn read(client: &Client, url: &str, bytes: u64, start: Instant) -> Result<f64> {
    let answer = client.get(url).send().await?.error_for_status()?;
    let mut body = answer.bytes_stream();
    let (mut first, mut count) = (None, 0);
    while let Some(part) = body.next().await {
        let part = part?;
        if !part.is_empty() {
            first.get_or_insert_with(|| start.elapsed().as_secs_f64());
        }
        count += part.len() as u64;
    }
    ensure!(count == bytes, "{count} bytes came");
    first.context("nothing came")
}

/// What names the blob.
fn digest_of(file: &Path) -> Result<String> {
    Ok(blake3::hash(&std::fs::read(file)?).to_hex().to_string())
}
