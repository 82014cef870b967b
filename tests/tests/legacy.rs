//! Status of clients of the predecessor: taken from anybody, shown as unverified,
//! counted nowhere, and bounded.

use std::fs;
use std::net::TcpListener;

use anyhow::{Context, Result, ensure};
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec};
use patchmesh_tests::http::Curl;
use patchmesh_tests::run::run;
use serde_json::Value;
use tokio::process::Command;

const PARIS: &str = "paris";

/// What such a client sends once it has installed something, or not.
const FAILED: &str = "V=1&U=8b4e1c2f&C=au&A=i&I=com_microsoft.q311889_xp_5081&D=&P=5.1&L=fr&S=f&E=0x80070643&M=no+room&X=";
const FOUND: &str = "V=1&U=8b4e1c2f&C=au&A=d&S=s&E=0";

/// A log as IIS writes it: two statuses, one that cannot be read, and another request.
const LOG: &str = "\
#Software: Microsoft Internet Information Services 6.0\r
#Date: 2003-08-01 00:00:00\r
#Fields: date time c-ip cs-method cs-uri-stem cs-uri-query sc-status\r
2003-08-01 15:06:35 192.168.10.7 GET /wutrack.bin V=1&U=77aa&A=w&S=s&E=00000000 200\r
2003-08-01 15:06:36 192.168.10.7 GET /iuident.cab 0308011506 200\r
2003-08-01 15:06:37 192.168.10.7 GET /wutrack.bin V=1&U=77aa&A=i&S=z 200\r
2003-08-01 15:06:38 192.168.10.7 GET /wutrack.bin V=1&U=77aa&A=i&S=r&E=00000000 200\r
";

/// A primary, and a branch that also listens for plain HTTP; where.
async fn company() -> Result<(Cluster, String)> {
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch(PARIS, PRIMARY, "emea/fr/paris")).await?;
    let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let paris = cluster.node_mut(PARIS)?;
    paris.environment.push(("PATCHMESH_HTTP_LISTEN".to_owned(), free.to_string()));
    paris.restart().await?;
    Ok((cluster, format!("http://{free}/wutrack.bin")))
}

async fn at(cluster: &Cluster, node: &str, arguments: &[&str]) -> Result<Value> {
    cluster.patchmesh(node, arguments).await?.success()?.json()
}

async fn shown(cluster: &Cluster, node: &str) -> Result<Value> {
    at(cluster, node, &["report", "legacy", "--limit", "1000"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn anybody_may_send_it_and_it_counts_nowhere() -> Result<()> {
    let (mut cluster, plain) = company().await?;
    let curl = Curl::trusting(&cluster)?;
    let https = format!("{}/wutrack.bin", cluster.node(PARIS)?.url);
    for url in [format!("{plain}?{FOUND}"), format!("{https}?{FAILED}")] {
        let answer = curl.get(&url, &[]).await?.ok()?;
        ensure!(answer.body.is_empty() && answer.header("cache-control") == Some("no-store"));
    }
    let senseless = curl.get(&format!("{plain}?V=1&U=8b4e1c2f&A=i&S=z"), &[]).await?;
    ensure!(
        senseless.status == 400 && senseless.text().contains("field S is \"z\""),
        "{senseless:?}"
    );
    let posted = curl.get(&format!("{plain}?{FOUND}"), &["--data", "x"]).await?;
    ensure!(posted.status == 405 && posted.header("allow") == Some("GET"), "{posted:?}");

    let all = shown(&cluster, PARIS).await?;
    ensure!(all["verified"] == false && all["kept"] == 2 && all["refused"] == 0, "{all}");
    let last = &all["statuses"][1];
    ensure!(last["verified"] == false && last["client"] == "8b4e1c2f", "{last}");
    ensure!(last["activity"] == "installation" && last["outcome"] == "failure", "{last}");
    ensure!(last["error"] == "0x80070643" && last["message"] == "no room", "{last}");
    ensure!(last["address"] == "127.0.0.1" && last["imported"] == false, "{last}");
    let text = run(Command::new(patchmesh_tests::binaries::patchmesh()?)
        .args(["report", "legacy", "--data"])
        .arg(&cluster.node(PARIS)?.data))
    .await?
    .success()?
    .stdout;
    ensure!(text.contains("UNVERIFIED CLIENT") && text.contains("Unverified:"), "{text}");
    // It goes nowhere and is no machine.
    ensure!(shown(&cluster, PRIMARY).await?["kept"] == 0);
    let counted = at(&cluster, PRIMARY, &["report", "summary"]).await?;
    ensure!(counted["total"]["known"] == 0 && counted["total"]["reached"] == 0, "{counted}");
    ensure!(at(&cluster, PRIMARY, &["machine", "list"]).await?["total"] == 0);

    // A node that ends in order keeps all of it.
    let paris = cluster.node_mut(PARIS)?;
    paris.stop().await?;
    paris.start().await?;
    ensure!(shown(&cluster, PARIS).await? == all);
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_refused_and_counted() -> Result<()> {
    let (cluster, plain) = company().await?;
    let flood = run(Command::new("curl")
        .args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}\n"])
        .arg(format!("{plain}?V=1&U=8b4e1c2f&A=i&S=f&I=[1-300]")))
    .await?
    .success()?
    .stdout;
    let codes: Vec<&str> = flood.lines().collect();
    let (taken, refused) = (
        codes.iter().filter(|one| **one == "200").count(),
        codes.iter().filter(|one| **one == "429").count(),
    );
    ensure!(taken >= 60 && refused > 0 && taken + refused == 300, "{taken} {refused}: {flood}");
    let all = shown(&cluster, PARIS).await?;
    ensure!(all["kept"] == taken && all["taken"] == taken && all["refused"] == refused, "{all}");
    ensure!(all["counts"][0]["statuses"] == taken, "{all}");
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn old_web_logs_are_read() -> Result<()> {
    let (mut cluster, _) = company().await?;
    let log = cluster.folder().join("ex030801.log");
    fs::write(&log, LOG)?;
    let path = log.to_str().context("a path")?.to_owned();
    let import = ["report", "import-iis", path.as_str()];
    let read = at(&cluster, PARIS, &import).await?;
    ensure!(read["read"] == 2 && read["taken"] == 2 && read["skipped"] == 1, "{read}");
    ensure!(read["lines"] == 7 && read["others"] == 4, "{read}");
    let fault = &read["faults"][0];
    ensure!(fault["line"] == 6 && fault["problem"].to_string().contains("field S is"), "{fault}");
    let again = at(&cluster, PARIS, &import).await?;
    ensure!(again["known"] == 2 && again["taken"] == 0, "{again}");
    // What was answered for is durable.
    cluster.node_mut(PARIS)?.restart().await?;
    let of = |client: &'static str| ["report", "legacy", "--client", client];
    for client in ["77aa", "192.168.10.7"] {
        let all = at(&cluster, PARIS, &of(client)).await?;
        ensure!(all["total"] == 2 && all["statuses"][1]["outcome"] == "reboot-required", "{all}");
        ensure!(all["statuses"][0]["at"] == "2003-08-01T15:06:35Z", "{all}");
        ensure!(all["statuses"][0]["imported"] == true, "{all}");
    }
    ensure!(at(&cluster, PARIS, &of("nobody")).await?["total"] == 0);

    fs::write(&log, "hello\n")?;
    let other = cluster.patchmesh(PARIS, &import).await?;
    other.failure_that_says(&["line 1", "no log of the W3C format"])?;
    let missing = cluster.patchmesh(PARIS, &["report", "import-iis", "/nowhere.log"]).await?;
    missing.failure_that_says(&["cannot open /nowhere.log"])?;
    cluster.passed();
    Ok(())
}
