//! Views follow waves, across real processes: what apt sees at a site is what is
//! open there.

use anyhow::{Context, Result, ensure};
use patchmesh_tests::apt::Apt;
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec};
use patchmesh_tests::http::Curl;
use patchmesh_tests::plan;
use patchmesh_tests::vendor::{Sample, Vendor};
use patchmesh_tests::wait::{PATIENCE, until};
use serde_json::Value;

const GROUP: &str = "workstations";

/// The sites that a wave opens first, and the one that has to wait.
const EUROPE: [&str; 2] = ["lyon", "berlin"];
const ASIA: &str = "tokyo";

/// A company where `hello` 1 is installed everywhere and 2 is to come.
struct Company {
    cluster: Cluster,
    _vendor: Vendor,
    curl: Curl,
}

impl Company {
    async fn start() -> Result<Self> {
        let vendor = Vendor::with_samples(&[Sample::new("hello", "1")]).await?;
        let mut cluster = Cluster::start().await?;
        cluster.add(&Spec::branch("lyon", PRIMARY, "emea/fr/lyon")).await?;
        cluster.add(&Spec::branch("berlin", PRIMARY, "emea/de/berlin")).await?;
        cluster.add(&Spec::branch(ASIA, PRIMARY, "apac/jp/tokyo")).await?;
        cluster.add_source("vendor", &vendor, &[]).await?;
        cluster.sync("vendor").await?.success()?;
        let first = cluster.revision("hello").await?;
        cluster.approve("validation", std::slice::from_ref(&first)).await?;
        hq(&cluster, &["promote", &first]).await?;
        vendor.release(&[Sample::new("hello", "2")]).await?;
        cluster.sync("vendor").await?.success()?;
        let second = cluster.revision("hello").await?;
        cluster.approve("validation", std::slice::from_ref(&second)).await?;
        let plan = plan::write(&cluster, plan::EUROPE_FIRST, &second)?;
        hq(&cluster, &["rollout", "start", &plan]).await?;
        let curl = Curl::trusting(&cluster)?;
        Ok(Self { cluster, _vendor: vendor, curl })
    }

    /// Waits until a new machine at each of these nodes would get a version.
    async fn installs(&self, nodes: &[&str], version: &str) -> Result<()> {
        for node in nodes {
            let apt = Apt::new(&["hello".to_owned()]).await?;
            apt.configure(&self.cluster.apt_lines(node, GROUP).await?)?;
            until(&format!("{node} to offer hello {version}"), PATIENCE, async || {
                apt.update().await?.success()?;
                let found = apt.candidate("hello").await?;
                ensure!(found.as_deref() == Some(version), "it offers {found:?}");
                Ok(Some(()))
            })
            .await?;
        }
        Ok(())
    }

    /// A file of the group's view at a node: its status and content.
    async fn file(&self, node: &str, path: &str) -> Result<(u16, Vec<u8>)> {
        let url = &self.cluster.node(node)?.url;
        let answer = self.curl.get(&format!("{url}/apt/production/{GROUP}/{path}"), &[]).await?;
        Ok((answer.status, answer.body))
    }

    /// The signed list of what a node offers.
    async fn release(&self, node: &str) -> Result<Vec<u8>> {
        let config = self.cluster.client_config(node, GROUP).await?;
        let suite = config["suites"][0].as_str().context("a suite")?;
        let (status, body) = self.file(node, &format!("dists/{suite}/InRelease")).await?;
        ensure!(status == 200 && !body.is_empty(), "{status}");
        Ok(body)
    }

    /// Where the newest package lies in the pool.
    async fn package(&self, node: &str) -> Result<String> {
        let config = self.cluster.client_config(node, GROUP).await?;
        let suite = config["suites"][0].as_str().context("a suite")?;
        let architecture = config["architectures"][0].as_str().context("an architecture")?;
        for component in ["opening", "settled"] {
            let path = format!("dists/{suite}/{component}/binary-{architecture}/Packages");
            let text = String::from_utf8(self.file(node, &path).await?.1)?;
            let stanza = text.split("\n\n").find(|one| one.contains("\nVersion: 2"));
            let file = stanza.and_then(|one| {
                one.lines().find_map(|line| line.strip_prefix("Filename: ")).map(str::to_owned)
            });
            if let Some(file) = file {
                return Ok(file);
            }
        }
        anyhow::bail!("{node} does not list hello 2")
    }
}

async fn hq(cluster: &Cluster, arguments: &[&str]) -> Result<Value> {
    cluster.patchmesh(PRIMARY, arguments).await?.success()?.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn apt_sees_what_is_open_at_its_site() -> Result<()> {
    let company = Company::start().await?;
    let cluster = &company.cluster;
    company.installs(&EUROPE, "2").await?;
    company.installs(&[ASIA], "1").await?;

    // Where the same is open the very same is served, and elsewhere nothing of it.
    let open = company.release("lyon").await?;
    ensure!(company.release("berlin").await? == open, "two views for one set");
    ensure!(company.release(ASIA).await? != open, "one view for two sets");
    let package = company.package("lyon").await?;
    ensure!(company.file("lyon", &package).await?.0 == 200, "{package} at lyon");
    ensure!(company.file(ASIA, &package).await?.0 == 404, "{package} at {ASIA}");

    // Everybody can see where it is open, and why not elsewhere.
    let revision = cluster.revision("hello").await?;
    let shown = hq(cluster, &["update", "show", &revision]).await?;
    let openings = shown["openings"].as_array().context("a list")?;
    let of = openings.iter().find(|one| one["group"] == GROUP).context("the group")?;
    ensure!(of["open_sites"] == 2 && of["sites"] == 3, "{of}");
    let closed = of["closed"].as_str().unwrap_or_default();
    ensure!(closed.contains("wave world of rollout spring"), "{of}");
    let status = hq(cluster, &["status"]).await?;
    ensure!(status["view_building"]["most_sets"] == 2, "{status}");
    let served = cluster.patchmesh(ASIA, &["status"]).await?.success()?.json()?;
    let views = served["served_views"].as_array().context("a list")?;
    ensure!(views.len() == 3 && views.iter().all(|one| one["fit"] == "own"), "{served}");

    // Opened there, it is the view that Europe has had all the time.
    hq(cluster, &["rollout", "release", "spring", "europe"]).await?;
    company.installs(&[ASIA], "2").await?;
    ensure!(company.release(ASIA).await? == open, "another view though the same is open");
    ensure!(company.file(ASIA, &package).await?.0 == 200, "{package} at {ASIA}");

    // Halted, it is gone everywhere, for machines that have seen it too.
    let machine = Apt::new(&["hello".to_owned()]).await?;
    machine.configure(&cluster.apt_lines("lyon", GROUP).await?)?;
    machine.update().await?.success()?;
    hq(cluster, &["rollout", "halt", "spring", "--reason", "breaks mail"]).await?;
    company.installs(&["lyon", "berlin", ASIA], "1").await?;
    machine.update().await?.success()?;
    ensure!(machine.candidate("hello").await?.as_deref() == Some("1"), "apt kept what was halted");
    company.cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_brake_keeps_a_view_without_what_it_holds() -> Result<()> {
    let mut company = Company::start().await?;
    company.installs(&EUROPE, "2").await?;
    company.installs(&[ASIA], "1").await?;
    let until = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(9)).to_string();
    let pull = ["brake", "pull", "printers", "--rollout", "spring", "--until", &until];
    let pull = [&pull[..], &["--reason", "breaks the printers"]].concat();
    for node in ["lyon", ASIA] {
        company.cluster.patchmesh(node, &pull).await?.success()?;
    }
    // Pulled after the wave came, it takes the update back; before, it keeps it out.
    company.installs(&["lyon"], "1").await?;
    hq(&company.cluster, &["rollout", "release", "spring", "europe"]).await?;
    company.installs(&["berlin"], "2").await?;
    company.cluster.converged(&["lyon", ASIA]).await?;
    company.installs(&["lyon", ASIA], "1").await?;
    // It holds after a restart.
    company.cluster.node_mut(ASIA)?.kill().await?;
    company.cluster.node_mut(ASIA)?.start().await?;
    company.installs(&[ASIA], "1").await?;
    let release = ["brake", "release", "printers"];
    company.cluster.patchmesh(ASIA, &release).await?.success()?;
    company.installs(&[ASIA], "2").await?;
    company.cluster.passed();
    Ok(())
}
