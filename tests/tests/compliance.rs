//! How machines stand, asked at the primary and at branches, by people and by
//! firewalls: from what machines signed, through every level.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use patchmesh_proto::admin::compliance_client::ComplianceClient;
use patchmesh_proto::admin::{ReportScope, SummarizeComplianceRequest};
use patchmesh_proto::report::{Outcome, Phase};
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec};
use patchmesh_tests::http::Curl;
use patchmesh_tests::machine::Machine;
use patchmesh_tests::person::Person;
use patchmesh_tests::plan;
use patchmesh_tests::tls;
use patchmesh_tests::vendor::{Sample, Vendor};
use patchmesh_tests::wait::{PATIENCE, until};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::Instant;
use tonic::Code;

/// When the revision is overdue, from its entry into the catalogue.
const DEADLINE: Duration = Duration::from_secs(1);

/// Due after [`DEADLINE`]; Europe is open, the rest waits for an operator.
const PLAN: &str = r#"
name = "spring"
deadline = "custom"

[deadline_times]
critical = "1s"

[what]
revisions = ["REVISION"]

[[wave]]
name = "europe"
geographies = ["emea/**"]

[wave.gate]
operator = "required"

[[wave]]
name = "world"
"#;

/// `hq` with `hub → lyon` in Europe and `tokyo`, and a critical revision whose plan
/// has reached Europe and whose deadline is over.
struct Company {
    cluster: Cluster,
    _vendor: Vendor,
    revision: String,
}

impl Company {
    async fn new() -> Result<Self> {
        let vendor = Vendor::with_samples(&[Sample::new("hello", "1")]).await?;
        let mut cluster = Cluster::start().await?;
        cluster.add(&Spec::branch("hub", PRIMARY, "emea")).await?;
        cluster.add(&Spec::branch("lyon", "hub", "emea/fr/lyon")).await?;
        cluster.add(&Spec::branch("tokyo", PRIMARY, "apac/jp/tokyo")).await?;
        cluster.add_source("vendor", &vendor, &[]).await?;
        cluster.sync("vendor").await?.success()?;
        let entered = Instant::now();
        let revision = cluster.revision("hello").await?;
        cluster.approve("validation", std::slice::from_ref(&revision)).await?;
        let company = Self { cluster, _vendor: vendor, revision };
        let judged = ["assess", "set", &company.revision, "--risk", "critical", "--note", "a worm"];
        company.asks(PRIMARY, &judged).await?;
        let plan = plan::write(&company.cluster, PLAN, &company.revision)?;
        company.asks(PRIMARY, &["rollout", "plan", &plan]).await?;
        company.asks(PRIMARY, &["rollout", "start", "spring"]).await?;
        company.cluster.converged(&["hub", "lyon", "tokyo"]).await?;
        // The deadline, by the same clock.
        tokio::time::sleep_until(entered + DEADLINE).await;
        Ok(company)
    }

    async fn asks(&self, node: &str, arguments: &[&str]) -> Result<Value> {
        self.cluster.patchmesh(node, arguments).await?.success()?.json()
    }

    async fn joins(&self, name: &str, via: &str) -> Result<Machine> {
        let arguments = ["machine", "token", "workstations", "--via", via];
        let token = self.asks(PRIMARY, &arguments).await?;
        Machine::join(name, token["token"].as_str().context("a token")?).await
    }

    /// A machine at a node that says one thing of the revision.
    async fn says(&self, name: &str, via: &str, phase: Phase, outcome: Outcome) -> Result<()> {
        let mut machine = self.joins(name, via).await?;
        machine.happened(&self.revision, phase, outcome, "");
        machine.report().await
    }

    /// Counts by key, once all of those machines were heard.
    async fn counts(&self, node: &str, by: &str, heard: u64) -> Result<Value> {
        let arguments = ["report", "compliance", "--by", by];
        until(&format!("{heard} machines to be heard"), PATIENCE, async || {
            let counts = self.asks(node, &arguments).await?;
            Ok((counts["total"]["seen_day"] == heard).then_some(counts))
        })
        .await
    }
}

/// The numbers of a row: machines, compliant, grace, withheld, overdue, unknown.
fn numbers(row: &Value) -> [u64; 6] {
    ["machines", "compliant", "grace", "withheld", "overdue", "unknown"]
        .map(|name| row[name].as_u64().unwrap_or(u64::MAX))
}

fn row<'a>(counts: &'a Value, key: &str) -> Result<&'a Value> {
    let rows = counts["rows"].as_array().context("rows")?;
    rows.iter().find(|row| row["key"] == key).with_context(|| format!("no {key} in {counts}"))
}

fn names(listed: &Value) -> Vec<&str> {
    let machines = listed["machines"].as_array().into_iter().flatten();
    machines.filter_map(|machine| machine["name"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lacks_what_is_counted_and_named_at_every_level() -> Result<()> {
    let company = Company::new().await?;
    company.says("pc-1", "lyon", Phase::Installation, Outcome::Success).await?;
    company.says("pc-2", "lyon", Phase::Installation, Outcome::Failure).await?;
    company.says("pc-3", "hub", Phase::Detection, Outcome::Pending).await?;
    company.says("pc-4", "tokyo", Phase::Detection, Outcome::Pending).await?;
    // It has joined and has not said a word.
    let silent = company.joins("pc-5", "tokyo").await?;

    let counts = company.counts(PRIMARY, "geography", 4).await?;
    ensure!(numbers(row(&counts, "emea")?) == [3, 1, 0, 0, 2, 0], "{counts}");
    ensure!(numbers(row(&counts, "apac")?) == [2, 0, 1, 1, 0, 1], "{counts}");
    ensure!(numbers(&counts["total"]) == [5, 1, 1, 1, 2, 1], "{counts}");
    let counts = company.counts(PRIMARY, "severity", 4).await?;
    ensure!(numbers(row(&counts, "critical")?) == [5, 1, 1, 1, 2, 1], "{counts}");
    ensure!(numbers(row(&counts, "low")?) == [5, 4, 0, 0, 0, 1], "{counts}");
    let counts = company.counts(PRIMARY, "update", 4).await?;
    let update = row(&counts, &company.revision)?;
    ensure!(numbers(update) == [4, 1, 1, 1, 2, 0], "{counts}");
    ensure!(update["severity"] == "critical" && update["seen_day"].is_null(), "{counts}");
    company.asks(PRIMARY, &["group", "set", "workstations", "--owner", "Ada"]).await?;
    let counts = company.counts(PRIMARY, "owner", 4).await?;
    ensure!(numbers(row(&counts, "Ada")?)[4] == 2, "{counts}");

    // A branch tells of its own machines, and a hub of those below it.
    let counts = company.counts("lyon", "site", 2).await?;
    ensure!(numbers(&counts["total"]) == [2, 1, 0, 0, 1, 0], "{counts}");
    let counts = company.counts("hub", "site", 3).await?;
    ensure!(numbers(row(&counts, "emea")?) == [1, 0, 0, 0, 1, 0], "{counts}");
    let story = company.asks("lyon", &["report", "machine", "pc-2"]).await?;
    ensure!(story["verdict"]["verdict"] == "overdue", "{story}");
    let need = &story["verdict"]["needs"][0];
    ensure!(need["code"] == -1 && need["open"] == true && need["past"] == true, "{story}");
    ensure!(story["story"]["words"][0]["outcome"] == "failure", "{story}");
    let elsewhere = company.cluster.patchmesh("lyon", &["report", "machine", "pc-4"]).await?;
    elsewhere.failure_that_says(&["no machine pc-4"])?;

    // A name that nobody has is no place where all is well, at any node.
    for (asked, told) in [
        (["report", "compliance", "--site", "atlantis"], "`patchmesh nodes` shows"),
        (["report", "machines", "--group", "nobody"], "`patchmesh group list` shows"),
    ] {
        for node in [PRIMARY, "lyon"] {
            company.cluster.patchmesh(node, &asked).await?.failure_that_says(&[told])?;
        }
    }
    let mistyped = ["report", "summary", "vendor:stable/hullo@1"];
    let refused = company.cluster.patchmesh(PRIMARY, &mistyped).await?;
    refused.failure_that_says(&["no revision vendor:stable/hullo@1", "`patchmesh update list`"])?;

    let overdue = ["report", "machines", "--verdict", "overdue"];
    ensure!(names(&company.asks(PRIMARY, &overdue).await?) == ["pc-2", "pc-3"]);
    ensure!(names(&company.asks("lyon", &overdue).await?) == ["pc-2"]);
    let failures = company.asks(PRIMARY, &["report", "failures"]).await?;
    ensure!(
        failures["failing"] == 1 && failures["failures"][0]["names"][0] == "pc-2",
        "{failures}"
    );
    let times = company.asks(PRIMARY, &["report", "patch-times"]).await?;
    let critical = &times["severities"][0];
    ensure!(critical["severity"] == "critical" && critical["installations"] == 1, "{times}");
    let mean = critical["mean_seconds"].as_f64().context("a number")?;
    ensure!((0.0..600.0).contains(&mean), "{times}");
    let mut csv = company.cluster.node(PRIMARY)?.command()?;
    csv.args(["--output", "csv", "report", "compliance", "--by", "group"]);
    let csv = String::from_utf8(csv.output().await?.stdout)?;
    ensure!(csv.lines().count() == 2 && csv.starts_with("key,severity,machines"), "{csv}");
    ensure!(csv.contains("workstations,,5,4,4,1,1,1,2,1,20.0\n"), "{csv}");

    // Nothing is done where the answer could not be told so.
    let mut csv = company.cluster.node(PRIMARY)?.command()?;
    csv.args(["--output", "csv", "machine", "revoke", "pc-1", "--comment", "none"]);
    let refused = csv.output().await?;
    ensure!(refused.status.code() == Some(64), "{refused:?}");

    // An exception makes one of them compliant, and is listed with its age.
    let except = [
        "exception",
        "add",
        "till",
        "--machine",
        "pc-3",
        "--until",
        "2099-01-01T00:00:00Z",
        "--reason",
        "old",
        "--workaround",
        "none",
        "--owner",
        "bob",
    ];
    company.asks(PRIMARY, &except).await?;
    ensure!(names(&company.asks(PRIMARY, &overdue).await?) == ["pc-2"]);
    let exceptions = company.asks(PRIMARY, &["report", "exceptions"]).await?;
    let first = &exceptions["exceptions"][0];
    ensure!(
        first["machines"] == 1 && first["owner"] == "bob" && first["days"] == 0,
        "{exceptions}"
    );
    // Shut out, it is in no count.
    company.asks(PRIMARY, &["machine", "revoke", "pc-2", "--comment", "stolen"]).await?;
    ensure!(names(&company.asks(PRIMARY, &overdue).await?).is_empty());
    drop(silent);
    company.cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firewall_gets_the_machines_of_its_branch() -> Result<()> {
    let company = Company::new().await?;
    company.says("pc-1", "lyon", Phase::Detection, Outcome::Pending).await?;
    company.says("pc-2", "tokyo", Phase::Detection, Outcome::Pending).await?;
    company.counts(PRIMARY, "site", 2).await?;
    let auditor = Person::join(&company.cluster, "eve", &["auditor"], PRIMARY).await?;
    company.cluster.converged(&["hub", "lyon", "tokyo"]).await?;
    let curl = Curl::trusting(&company.cluster)?;
    let file = |name: &str| auditor.credentials.join(name).display().to_string();
    let (certificate, key) = (file("cert.pem"), file("key.pem"));
    let with = ["--cert", certificate.as_str(), "--key", key.as_str()];
    let lyon = company.cluster.node("lyon")?.url.clone();

    let stranger = curl.get(&format!("{lyon}/quarantine/plain"), &[]).await?;
    ensure!(stranger.status == 401, "{stranger:?}");
    let plain = curl.get(&format!("{lyon}/quarantine/plain"), &with).await?.ok()?;
    ensure!(plain.text() == "127.0.0.1\n", "{plain:?}");
    let all = format!("{lyon}/quarantine/json?verdict=overdue&verdict=grace");
    let json: Value = serde_json::from_slice(&curl.get(&all, &with).await?.ok()?.body)?;
    ensure!(names(&json) == ["pc-1"], "{json}");
    let reason = json["machines"][0]["reasons"][0].as_str().context("a reason")?;
    ensure!(reason.contains("it is needed, was due by"), "{reason}");
    let elsewhere = format!("{lyon}/quarantine/plain?site=apac");
    ensure!(curl.get(&elsewhere, &with).await?.ok()?.body.is_empty());
    for (query, status) in [
        ("plain?verdict=late", 400),
        ("plain?who=me", 400),
        ("pdf", 404),
        ("plain?site=atlantis", 404),
        ("plain?group=nobody", 404),
    ] {
        let refused = curl.get(&format!("{lyon}/quarantine/{query}"), &with).await?;
        ensure!(refused.status == status, "{query}: {refused:?}");
    }

    // The kernel takes it, twice as well as once.
    let list = ["report", "quarantine", "--format", "nft"];
    let nft = company.cluster.patchmesh("lyon", &list).await?.success()?.stdout;
    ensure!(filtered(&format!("{nft}\n{nft}")).await?.contains("127.0.0.1"), "{nft}");
    company.cluster.passed();
    Ok(())
}

/// What is in the set after `nft` has taken the list, in a network of its own.
async fn filtered(list: &str) -> Result<String> {
    let script = "PATH=$PATH:/usr/sbin; nft -f - && nft list set inet patchmesh quarantine4";
    let mut nft = Command::new("unshare")
        .args(["--map-root-user", "--net", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    nft.stdin.take().context("no pipe")?.write_all(list.as_bytes()).await?;
    let output = nft.wait_with_output().await?;
    ensure!(output.status.success(), "nft failed");
    Ok(String::from_utf8(output.stdout)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_may_ask_about_nothing_but_what_is_below_it() -> Result<()> {
    let company = Company::new().await?;
    let hub = tls::certificate_of(&company.cluster.node("hub")?.data)?;
    let channel = tls::with_certificate(&company.cluster.primary()?.url, &hub).await?;
    let mut client = ComplianceClient::new(channel);
    for (sites, code) in [
        (vec!["emea", "emea/fr/lyon"], None),
        (vec!["apac/jp/tokyo"], Some(Code::PermissionDenied)),
        (vec![], Some(Code::InvalidArgument)),
    ] {
        let sites: Vec<String> = sites.into_iter().map(str::to_owned).collect();
        let scope = ReportScope { sites: sites.clone(), ..ReportScope::default() };
        let request =
            SummarizeComplianceRequest { scope: Some(scope), by: 2, ..Default::default() };
        let answer = client.summarize_compliance(request).await;
        ensure!(answer.as_ref().err().map(tonic::Status::code) == code, "{sites:?}: {answer:?}");
    }
    company.cluster.passed();
    Ok(())
}
