//! What updates mean: feeds, judgements, the watch list, advisories.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec};
use patchmesh_tests::run::{Outcome, run};
use patchmesh_tests::vendor::{Sample, Vendor};
use serde_json::{Value, json};
use tokio::process::Command;

const KEV: &str = r#"{"title": "x", "count": 2, "vulnerabilities": [
    {"cveID": "CVE-2024-3333", "dateAdded": "2024-03-04", "dueDate": "2024-03-25",
     "knownRansomwareCampaignUse": "Known"},
    {"cveID": "CVE-2020-0001", "dateAdded": "2022-01-01"}]}"#;

const EPSS: &str = "#model_version:v2025.03.14,score_date:2026-11-01T00:00:00+0000
cve,epss,percentile
CVE-2024-1111,0.20000,0.90000
CVE-2024-2222,0.10000,0.80000
CVE-2024-3333,0.00100,0.30000
";

const CSAF: &str = r#"{"document": {"csaf_version": "2.0", "tracking": {"id": "EX-1"}},
    "vulnerabilities": [{"cve": "CVE-2024-1111", "scores": [{"cvss_v3": {"baseScore": 5.3}}]}]}"#;

/// One vulnerability and the version of a package that mends it.
fn osv(id: &str, cve: &str, ecosystem: &str, package: &str, fixed: &str, vector: &str) -> Value {
    json!({
        "id": id, "modified": "2026-10-01T00:00:00Z", "upstream": [cve],
        "severity": [{"type": "CVSS_V3", "score": vector}],
        "affected": [{
            "package": {"ecosystem": ecosystem, "name": package},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": fixed}]}],
        }],
    })
}

const CRITICAL: &str = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H";
const MODERATE: &str = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:L/I:N/A:N";

/// A vendor's three packages with a vulnerability each: `sample-tool`'s is
/// exploited, `sample-app`'s is critical, `sample-lib`'s is likely.
struct World {
    vendor: Vendor,
    cluster: Cluster,
}

impl World {
    async fn start() -> Result<Self> {
        let samples = ["sample-app", "sample-lib", "sample-tool"];
        let vendor = Vendor::with_samples(&samples.map(|name| Sample::new(name, "2.0-1"))).await?;
        let cluster = Cluster::start().await?;
        cluster.add_source("vendor", &vendor, &[]).await?;
        cluster.sync("vendor").await?.success()?;
        Ok(Self { vendor, cluster })
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let file = self.cluster.folder().join(name);
        std::fs::write(&file, text)?;
        Ok(file)
    }

    /// The feeds as files: KEV, EPSS packed, and a folder of OSV.
    async fn feeds(&self) -> Result<[(&'static str, PathBuf); 4]> {
        let kev = self.write("kev.json", KEV)?;
        let epss = self.write("epss.csv", EPSS)?;
        run(Command::new("gzip").arg("--force").arg(&epss)).await?.success()?;
        let folder = self.cluster.folder().join("osv");
        std::fs::create_dir_all(&folder)?;
        // The very version, an older one of any release, and an older one.
        let entries = [
            osv("DSA-1-1", "CVE-2024-1111", "Debian:12", "sample-lib", "2.0-1", MODERATE),
            osv("DSA-2-1", "CVE-2024-2222", "Debian", "sample-app", "1.9-3", CRITICAL),
            osv("DSA-3-1", "CVE-2024-3333", "Debian", "sample-tool", "2.0-1", MODERATE),
            osv("DSA-4-1", "CVE-2024-4444", "Debian", "sample-app", "2.0-2", CRITICAL),
            osv("DSA-5-1", "CVE-2024-5555", "Debian:12", "sample-app", "1.0", CRITICAL),
        ];
        for entry in &entries {
            let name = format!("{}.json", entry["id"].as_str().context("an id")?);
            std::fs::write(folder.join(name), entry.to_string())?;
        }
        let csaf = self.write("csaf.json", CSAF)?;
        Ok([
            ("--kev", kev),
            ("--epss", epss.with_extension("csv.gz")),
            ("--osv", folder),
            ("--csaf", csaf),
        ])
    }

    async fn import(&self, kind: &str, file: &Path) -> Result<Outcome> {
        let file = file.display().to_string();
        self.cluster.patchmesh(PRIMARY, &["assess", "import", kind, &file]).await
    }

    async fn import_all(&self) -> Result<()> {
        for (kind, file) in self.feeds().await? {
            self.import(kind, &file).await?.success()?;
        }
        Ok(())
    }
}

async fn json(cluster: &Cluster, node: &str, arguments: &[&str]) -> Result<Value> {
    cluster.patchmesh(node, arguments).await?.success()?.json()
}

/// The names of the updates on a node's watch list, in order.
async fn watched(cluster: &Cluster, node: &str, more: &[&str]) -> Result<Vec<String>> {
    let list = json(cluster, node, &[&["watch", "list"][..], more].concat()).await?;
    let rows = list["revisions"].as_array().context("no list")?;
    rows.iter()
        .map(|row| {
            let revision = row["revision"].as_str().context("no revision")?;
            let name = revision.rsplit('/').next().and_then(|rest| rest.split('@').next());
            Ok(name.context("no name")?.to_owned())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_most_dangerous_is_seen_first_until_somebody_judges_or_decides() -> Result<()> {
    let world = World::start().await?;
    let cluster = &world.cluster;
    let before = watched(cluster, PRIMARY, &[]).await?;
    ensure!(before.len() == 3, "new updates are on the list at once: {before:?}");

    world.import_all().await?;
    let list = json(cluster, PRIMARY, &["watch", "list"]).await?;
    let order = watched(cluster, PRIMARY, &[]).await?;
    ensure!(order == ["sample-tool", "sample-app", "sample-lib"], "{list:#}");
    let first = &list["revisions"][0];
    ensure!(first["exploited"] == true && first["ransomware"] == true, "{first:#}");
    ensure!(first["due"] == "2024-03-25" && first["severity"] == "moderate", "{first:#}");
    let second = &list["revisions"][1];
    ensure!(second["severity"] == "critical", "{second:#}");
    ensure!(second["cves"] == json!(["CVE-2024-2222"]), "only what it mends: {second:#}");
    ensure!(second["epss"] == 0.1, "{second:#}");

    let tool = cluster.revision("sample-tool").await?;
    let set = ["assess", "set", &tool, "--risk", "not-applicable", "--exposure", "12"];
    let no_note = cluster.patchmesh(PRIMARY, &set).await?;
    ensure!(no_note.code == 64, "a judgement says why: {no_note:?}");
    let set = [&set[..], &["--note", "only on machines without a network"]].concat();
    cluster.patchmesh(PRIMARY, &set).await?.success()?;
    let app = [cluster.revision("sample-app").await?];
    cluster.approve("validation", &app).await?;
    let rest = watched(cluster, PRIMARY, &[]).await?;
    ensure!(rest == ["sample-lib"], "{rest:?}");
    let all = watched(cluster, PRIMARY, &["--all"]).await?;
    ensure!(all == ["sample-app", "sample-lib", "sample-tool"], "dismissed comes last: {all:?}");

    let shown = json(cluster, PRIMARY, &["update", "show", &tool]).await?;
    let judgement = &shown["assessment"]["judgement"];
    ensure!(judgement["risk"] == "not-applicable" && judgement["exposure"] == 12, "{shown:#}");
    let shown = json(cluster, PRIMARY, &["assess", "show", "CVE-2024-3333"]).await?;
    ensure!(shown["vulnerability"]["exploited"]["added"] == "2024-03-04", "{shown:#}");
    ensure!(shown["assessments"][0]["revision"] == tool.as_str(), "{shown:#}");
    world.cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_revision_counts_only_what_is_still_open() -> Result<()> {
    let world = World::start().await?;
    let cluster = &world.cluster;
    world.import_all().await?;
    let app = [cluster.revision("sample-app").await?];
    cluster.approve("validation", &app).await?;
    world.vendor.release(&[Sample::new("sample-app", "2.0-2")]).await?;
    cluster.sync("vendor").await?.success()?;
    let newer = cluster.revision("sample-app").await?;
    // What enters is assessed a moment later.
    let row = patchmesh_tests::wait::until(
        "the newer revision to be assessed",
        patchmesh_tests::wait::PATIENCE,
        async || {
            let list = json(cluster, PRIMARY, &["watch", "list"]).await?;
            let rows = list["revisions"].as_array().context("no list")?;
            let row = rows.iter().find(|row| row["revision"] == newer.as_str()).cloned();
            Ok(row.filter(|row| row["cves"] != json!([])))
        },
    )
    .await?;
    ensure!(row["cves"] == json!(["CVE-2024-4444"]), "the other is mended already: {row:#}");
    world.cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_cut_in_half_changes_nothing() -> Result<()> {
    let world = World::start().await?;
    let cluster = &world.cluster;
    world.import_all().await?;
    let before = json(cluster, PRIMARY, &["watch", "list", "--all"]).await?;
    let generation = cluster.generation().await?;

    let whole_osv = cluster.folder().join("osv/DSA-3-1.json");
    for (kind, file) in world.feeds().await? {
        let file = if kind == "--osv" { whole_osv.clone() } else { file };
        let bytes = std::fs::read(&file)?;
        let half = cluster.folder().join("half");
        std::fs::write(&half, &bytes[..bytes.len() / 2])?;
        let refused = world.import(kind, &half).await?;
        let refused = refused.failure_that_says(&["half", "nothing has changed"])?;
        ensure!(refused.code == 65, "{kind}: {refused:?}");
    }
    // One bad file among good ones: none of them counts.
    let folder = cluster.folder().join("osv");
    let worse = osv("DSA-6-1", "CVE-2024-6666", "Debian", "sample-lib", "1", CRITICAL);
    std::fs::write(folder.join("DSA-0-1.json"), worse.to_string())?;
    std::fs::write(folder.join("DSA-9-1.json"), "{\"id\": \"DSA-9-1\", \"affected\": [")?;
    let refused = world.import("--osv", &folder).await?;
    let refused = refused.failure_that_says(&["DSA-9-1.json", "cut"])?;
    ensure!(refused.code == 65, "{refused:?}");
    // A packed file whose checksum is wrong, and a wrong entry.
    let wrong = world.write("wrong.json", &KEV.replace("CVE-2020-0001", "CVE-20-1"))?;
    let refused = world.import("--kev", &wrong).await?;
    refused.failure_that_says(&["vulnerabilities[1].cveID"])?;
    // Whole, but with much less than before.
    let fewer: String = EPSS.lines().take(4).map(|line| format!("{line}\n")).collect();
    let fewer = world.write("fewer.csv", &fewer)?;
    let refused = world.import("--epss", &fewer).await?;
    let refused = refused.failure_that_says(&["--accept-smaller"])?;
    ensure!(refused.code == 2, "{refused:?}");

    ensure!(cluster.generation().await? == generation, "a refused file left a generation");
    let after = json(cluster, PRIMARY, &["watch", "list", "--all"]).await?;
    ensure!(before == after, "{before:#}\n{after:#}");
    world.cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_primary_fetches_feeds_and_shows_no_password() -> Result<()> {
    let world = World::start().await?;
    let cluster = &world.cluster;
    std::fs::write(world.vendor.repository.base().join("pool/kev.json"), KEV)?;
    let url = format!("{}/pool/kev.json", world.vendor.url().trim_end_matches('/'));
    let secret = url.replacen("http://", "http://me:secret@", 1);
    let add = ["assess", "feed", "add", "cisa", "--kind", "kev", "--url", &secret];
    let added = cluster.patchmesh(PRIMARY, &add).await?.success()?;
    ensure!(!added.stdout.contains("secret"), "{added:?}");
    ensure!(cluster.patchmesh(PRIMARY, &add).await?.code == 73, "the name is taken");
    let refreshed = json(cluster, PRIMARY, &["assess", "feed", "refresh"]).await?;
    ensure!(refreshed["feeds"][0]["outcome"]["entries"] == 2, "{refreshed:#}");
    let again = json(cluster, PRIMARY, &["assess", "feed", "refresh", "cisa"]).await?;
    ensure!(again["feeds"][0]["unchanged"] == true, "the server has nothing newer: {again:#}");
    let listed = cluster.patchmesh(PRIMARY, &["assess", "feed", "list"]).await?.success()?;
    ensure!(listed.stdout.contains("kev.json") && !listed.stdout.contains("secret"), "{listed:?}");

    // Cut at the source: what was known stays, and the feed says what is wrong.
    std::fs::write(world.vendor.repository.base().join("pool/kev.json"), &KEV[..KEV.len() / 2])?;
    let refused = cluster.patchmesh(PRIMARY, &["assess", "feed", "refresh", "cisa"]).await?;
    ensure!(refused.code == 1, "{refused:?}");
    let listed = json(cluster, PRIMARY, &["assess", "feed", "list"]).await?;
    let problem = listed["feeds"][0]["problem"].as_str().context("no problem")?;
    ensure!(problem.contains("cut") && !problem.contains("secret"), "{problem}");
    ensure!(
        listed["feeds"][0]["failures"] == 1 && listed["feeds"][0]["entries"] == 2,
        "{listed:#}"
    );
    let shown = json(cluster, PRIMARY, &["assess", "show", "CVE-2024-3333"]).await?;
    ensure!(shown["vulnerability"]["exploited"]["ransomware"] == true, "{shown:#}");

    let absent = ["assess", "import", "--kev", &format!("{url}x")];
    ensure!(cluster.patchmesh(PRIMARY, &absent).await?.code == 66, "not there");
    let remove = ["assess", "feed", "remove", "cisa"];
    cluster.patchmesh(PRIMARY, &remove).await?.success()?;
    ensure!(cluster.patchmesh(PRIMARY, &remove).await?.code == 66, "removed already");
    world.cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_feed_is_fetched_by_the_primary() -> Result<()> {
    let world = World::start().await?;
    let cluster = &world.cluster;
    let pool = world.vendor.repository.base().join("pool");
    let base = format!("{}/pool", world.vendor.url().trim_end_matches('/'));
    // JSON lines are one file; a folder has no URL.
    let mut served = Vec::new();
    for (kind, file) in world.feeds().await? {
        let name = format!("feed{kind}");
        if file.is_dir() {
            let mut lines = String::new();
            for entry in std::fs::read_dir(&file)? {
                lines.push_str(std::fs::read_to_string(entry?.path())?.trim());
                lines.push('\n');
            }
            std::fs::write(pool.join(&name), lines)?;
        } else {
            std::fs::copy(&file, pool.join(&name))?;
        }
        served.push((kind, name));
    }
    for (kind, name) in &served {
        let half = std::fs::read(pool.join(name))?;
        std::fs::write(pool.join("half"), &half[..half.len() / 2])?;
        let cut = ["assess", "import", kind, &format!("{base}/half")];
        let refused = cluster.patchmesh(PRIMARY, &cut).await?;
        let refused = refused.failure_that_says(&["half", "nothing has changed"])?;
        ensure!(refused.code == 65, "{kind}: {refused:?}");
    }
    let nothing = json(cluster, PRIMARY, &["assess", "show", "CVE-2024-3333"]).await;
    ensure!(nothing.is_err(), "half a feed counted: {nothing:?}");

    // At once by `import`, and as feeds that are asked every day.
    for (kind, name) in &served {
        let url = format!("{base}/{name}");
        let imported = json(cluster, PRIMARY, &["assess", "import", kind, &url]).await?;
        ensure!(imported["entries"].as_u64().is_some_and(|count| count > 0), "{kind}: {imported}");
        let kind = kind.trim_start_matches('-');
        let add = ["assess", "feed", "add", kind, "--kind", kind, "--url", &url];
        cluster.patchmesh(PRIMARY, &add).await?.success()?;
    }
    let refreshed = json(cluster, PRIMARY, &["assess", "feed", "refresh"]).await?;
    let feeds = refreshed["feeds"].as_array().context("no feeds")?;
    ensure!(feeds.len() == 4, "{refreshed:#}");
    let listed = json(cluster, PRIMARY, &["assess", "feed", "list"]).await?;
    for feed in listed["feeds"].as_array().context("no feeds")? {
        ensure!(feed["problem"].is_null(), "{feed}");
        ensure!(feed["entries"].as_u64().is_some_and(|count| count > 0), "{feed}");
    }
    let order = watched(cluster, PRIMARY, &[]).await?;
    ensure!(order == ["sample-tool", "sample-app", "sample-lib"], "{order:?}");
    let list = json(cluster, PRIMARY, &["watch", "list"]).await?;
    ensure!(list["revisions"][1]["epss"] == 0.1, "{list:#}");
    world.cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_advisory_reaches_a_branch_two_levels_down() -> Result<()> {
    let mut world = World::start().await?;
    let cluster = &mut world.cluster;
    cluster.add(&Spec::branch("hub", PRIMARY, "emea")).await?;
    cluster.add(&Spec::branch("lyon", "hub", "emea/fr/lyon")).await?;
    let cluster = &world.cluster;
    world.import_all().await?;
    let tool = cluster.revision("sample-tool").await?;
    let file = cluster.folder().join("tool.toml");
    let name = file.display().to_string();
    let write = ["advisory", "write", &name, "--for", &tool, "--id", "2026-001-tool"];
    cluster.patchmesh(PRIMARY, &write).await?.success()?;
    let again = cluster.patchmesh(PRIMARY, &write).await?;
    ensure!(again.code != 0, "a file that is there is left alone");
    let text = std::fs::read_to_string(&file)?;
    ensure!(text.contains("CVE-2024-3333") && text.contains("known to be exploited"), "{text}");
    let check = ["advisory", "check", &name];
    cluster.patchmesh(PRIMARY, &check).await?.failure_that_says(&["flaw"])?;
    let filled = text
        .replace("flaw = \"\"", "flaw = \"The \\u001b[31mtool\\u001b[0m trusts its input.\"")
        .replace("workarounds = []", "workarounds = [\"Remove it.\"]");
    std::fs::write(&file, filled.replace("scanners", "scaners"))?;
    cluster.patchmesh(PRIMARY, &check).await?.failure_that_says(&["line", "scaners"])?;
    std::fs::write(&file, &filled)?;
    let publish = ["advisory", "publish", &name];
    let elsewhere = cluster.patchmesh("lyon", &publish).await?;
    ensure!(elsewhere.failure_that_says(&[PRIMARY])?.code == 2, "only at the primary");
    let published = json(cluster, PRIMARY, &publish).await?;
    ensure!(published["version"] == 1, "{published:#}");
    cluster.converged(&["lyon"]).await?;

    let shown = json(cluster, "lyon", &["advisory", "show", "2026-001-tool"]).await?;
    ensure!(shown["workarounds"] == json!(["Remove it."]), "{shown:#}");
    ensure!(shown["cves"] == json!(["CVE-2024-3333"]) && shown["version"] == 1, "{shown:#}");
    let table = ["--output", "table", "advisory", "show", "2026-001-tool"];
    let table = run(cluster.node("lyon")?.command()?.args(table)).await?.success()?.stdout;
    ensure!(table.contains("Remove it.") && !table.contains('\u{1b}'), "{table:?}");

    // Published again: another version, and the first one stays.
    std::fs::write(&file, filled.replace("Remove it.", "Update it."))?;
    let published = json(cluster, PRIMARY, &publish).await?;
    ensure!(published["version"] == 2, "{published:#}");
    let withdraw = ["advisory", "withdraw", "2026-001-tool", "--comment", "a false alarm"];
    cluster.patchmesh(PRIMARY, &withdraw).await?.success()?;
    cluster.converged(&["lyon"]).await?;
    let first = ["advisory", "show", "2026-001-tool", "--version", "1"];
    let first = json(cluster, "lyon", &first).await?;
    ensure!(first["workarounds"] == json!(["Remove it."]) && first["latest"] == 2, "{first:#}");
    ensure!(first["withdrawn"]["comment"] == "a false alarm", "{first:#}");
    let listed = json(cluster, "lyon", &["advisory", "list"]).await?;
    ensure!(listed["advisories"] == json!([]), "{listed:#}");
    let listed = json(cluster, "lyon", &["advisory", "list", "--all"]).await?;
    ensure!(listed["advisories"][0]["version"] == 2, "{listed:#}");

    // Assessments are read there too.
    let order = watched(cluster, "lyon", &[]).await?;
    ensure!(order == ["sample-tool", "sample-app", "sample-lib"], "{order:?}");
    let judged = ["assess", "set", &tool, "--risk", "low", "--note", "x"];
    ensure!(cluster.patchmesh("lyon", &judged).await?.code == 2, "only at the primary");
    world.cluster.passed();
    Ok(())
}
