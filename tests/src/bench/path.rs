//! The path of an update: how fast a decision reaches the deepest node, how fast
//! bytes cross one hop.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use patchmesh_proto::admin::Transfer;
use reqwest::header::{ETAG, IF_NONE_MATCH};
use reqwest::{Certificate, Client, StatusCode};

use super::Measurement;
use super::peer::Peer;
use super::statistics::{median, percentile};
use crate::cluster::{Cluster, PRIMARY, Spec};
use crate::vendor::repository::SUITE;
use crate::vendor::{Sample, Vendor};
use crate::wait::until;

/// Decisions that are measured.
const DECISIONS: usize = 40;

/// The bar for the 95th percentile, in seconds.
const DECISION_BAR: f64 = 1.0;

/// The longest that one decision may take before the run is given up.
const DECISION_DEADLINE: Duration = Duration::from_secs(60);

/// How long the poller rests between two questions; it must not starve the
/// nodes of a small machine.
const POLL: Duration = Duration::from_millis(2);

/// The deepest of the four levels.
const DEEPEST: &str = "annecy";

/// path.1
pub(super) async fn decision_to_deepest() -> Result<Vec<Measurement>> {
    let samples: Vec<Sample> =
        (0..=DECISIONS).map(|number| Sample::new(&format!("app-{number}"), "1")).collect();
    let vendor = Vendor::with_samples(&samples).await?;
    let mut cluster = Cluster::start().await?;
    cluster.add_company().await?;
    cluster.add_source("vendor", &vendor, &["--policy", "prefetch"]).await?;
    cluster.sync("vendor").await?.success()?;
    let mut revisions = Vec::new();
    for number in 0..=DECISIONS {
        revisions.push(cluster.revision(&format!("app-{number}")).await?);
    }
    cluster.approve("validation", &revisions).await?;

    // The first one makes the view; content is at the primary from now on.
    let (first, rest) = revisions.split_first().context("no revisions")?;
    cluster.approve("production", std::slice::from_ref(first)).await?;
    cluster.converged(&["lab", "hub", "lyon", DEEPEST]).await?;

    let view = View::of(&cluster, DEEPEST)?;
    let mut seconds = Vec::new();
    for revision in rest {
        let before = view.etag().await?;
        let start = Instant::now();
        let decide = cluster.approve("production", std::slice::from_ref(revision));
        let serve = view.changed_from(&before);
        let (decision, served) = tokio::try_join!(decide, serve)?;
        seconds.push((served - start).as_secs_f64());
        ensure!(decision.changed == 1, "{revision} was decided before");
        // The next decision meets a mesh at rest.
        cluster.converged(&["lab", "hub", "lyon", DEEPEST]).await?;
    }
    cluster.passed();
    let measure = "`approve` on the primary until the deepest of four levels serves the set";
    let (p50, p95) = (percentile(&seconds, 0.5), percentile(&seconds, 0.95));
    Ok(vec![
        Measurement::new("path.1", &format!("{measure}, p50 of {DECISIONS}"), p50, "s"),
        Measurement::new("path.1", &format!("{measure}, p95 of {DECISIONS}"), p95, "s")
            .required_below(DECISION_BAR),
    ])
}

/// A client's view of a node over one kept connection.
pub(super) struct View {
    client: Client,
    release: String,
}

impl View {
    pub(super) fn of(cluster: &Cluster, node: &str) -> Result<Self> {
        let ca = std::fs::read(cluster.node(node)?.ca())?;
        let client = Client::builder()
            .tls_certs_only([Certificate::from_pem(&ca)?])
            .timeout(Duration::from_secs(30))
            .build()?;
        let url = &cluster.node(node)?.url;
        Ok(Self {
            client,
            release: format!("{url}/apt/production/servers/dists/{SUITE}/InRelease"),
        })
    }

    pub(super) async fn etag(&self) -> Result<String> {
        let answer = self.client.get(&self.release).send().await?.error_for_status()?;
        let etag = answer.headers().get(ETAG).context("no ETag")?;
        Ok(etag.to_str()?.to_owned())
    }

    /// When another `InRelease` was first served, whole.
    pub(super) async fn changed_from(&self, etag: &str) -> Result<Instant> {
        let deadline = Instant::now() + DECISION_DEADLINE;
        while Instant::now() < deadline {
            let request = self.client.get(&self.release).header(IF_NONE_MATCH, etag);
            let answer = request.send().await?;
            if answer.status() != StatusCode::NOT_MODIFIED {
                let text = answer.error_for_status()?.text().await?;
                ensure!(text.contains("SHA256:"), "that is no InRelease: {text}");
                return Ok(Instant::now());
            }
            tokio::time::sleep(POLL).await;
        }
        anyhow::bail!("nothing changed within {DECISION_DEADLINE:?}")
    }
}

/// The blob's size.
const BLOB_BYTES: usize = 1 << 30;

/// How often each of the three fetches it, in turns.
const FETCHES: usize = 3;

/// The longest that one fetch may take.
const FETCH_DEADLINE: Duration = Duration::from_secs(300);

/// path.2
pub(super) async fn blob_over_one_hop() -> Result<Vec<Measurement>> {
    let vendor =
        Vendor::with_samples(&[Sample::new("huge-app", "1").with_bytes(BLOB_BYTES)]).await?;
    let mut cluster = Cluster::start().await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    let revision = [cluster.revision("huge-app").await?];
    cluster.approve("validation", &revision).await?;
    cluster.approve("production", &revision).await?;

    // The peers serve the very file that the vendor released.
    let scratch = tempfile::tempdir()?;
    let (folder, file) = find_package(vendor.repository.base())?;
    let identity = cluster.primary()?.data.join("identity");
    let rsync = Peer::rsync(scratch.path(), &folder).await?;
    let nginx = Peer::nginx(scratch.path(), &folder, &identity).await?;
    let bytes = std::fs::metadata(folder.join(&file))?.len() as f64;

    let (mut ours, mut by_rsync, mut by_curl) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..FETCHES {
        ours.push(fetch_by_child(&mut cluster, &format!("branch-{turn}")).await?);
        let spent = rsync.rsync_fetch(&file, scratch.path()).await?;
        by_rsync.push(bytes / 1e6 / spent.as_secs_f64());
        let ca = identity.join("ca.pem");
        let spent = nginx.curl_fetch(&file, scratch.path(), &ca).await?;
        by_curl.push(bytes / 1e6 / spent.as_secs_f64());
    }
    cluster.passed();
    let measure = format!("1 GiB blob over one hop, verified and durable, median of {FETCHES}");
    let ours = Measurement::new("path.2", &measure, median(&ours), "MB/s");
    Ok(vec![
        ours.clone().beside("rsync daemon, plain TCP, --fsync", median(&by_rsync)),
        ours.beside("nginx and curl, TLS 1.3, then fsync, unverified", median(&by_curl)),
    ])
}

/// A new child fetches the blob; the rate in MB/s by its own record of the
/// transfer.
async fn fetch_by_child(cluster: &mut Cluster, name: &str) -> Result<f64> {
    cluster.add(&Spec::branch(name, PRIMARY, "emea")).await?;
    let node = cluster.node(name)?;
    let transfer = until("the child to hold the blob", FETCH_DEADLINE, async || {
        let transfers = node.status().await?.transfers;
        Ok(transfers.into_iter().find(is_the_blob))
    })
    .await?;
    let spent = seconds_of(&transfer).context("the transfer has no times")?;
    cluster.node_mut(name)?.stop().await?;
    std::fs::remove_dir_all(&cluster.node(name)?.data)?;
    Ok(transfer.length as f64 / 1e6 / spent)
}

fn is_the_blob(transfer: &Transfer) -> bool {
    transfer.length > BLOB_BYTES as u64
        && transfer.ended_at.is_some()
        && transfer.problem.is_empty()
}

fn seconds_of(transfer: &Transfer) -> Option<f64> {
    let (start, end) = (transfer.started_at.as_ref()?, transfer.ended_at.as_ref()?);
    let seconds = (end.seconds - start.seconds) as f64;
    Some(seconds + f64::from(end.nanos - start.nanos) / 1e9)
}

/// The folder and name of the only package in a repository.
fn find_package(base: &Path) -> Result<(std::path::PathBuf, String)> {
    let mut folders = vec![base.join("pool")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "deb") {
                let name = path.file_name().context("a file has a name")?;
                return Ok((folder, name.to_string_lossy().into_owned()));
            }
        }
    }
    anyhow::bail!("the vendor released no package")
}
