//! The command line as scripts use it: exit codes, errors, JSON.

use anyhow::{Context, Result, ensure};
use patchmesh_tests::binaries;
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec};
use patchmesh_tests::run::{Outcome, run};
use patchmesh_tests::vendor::{Sample, Vendor};
use patchmesh_tests::wait::PATIENCE;
use tokio::process::Command;

async fn patchmesh(arguments: &[&str]) -> Result<Outcome> {
    run(Command::new(binaries::patchmesh()?).args(arguments)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_has_help_with_an_example() -> Result<()> {
    for words in [
        "init",
        "serve",
        "invite",
        "join",
        "nodes",
        "node revoke",
        "source add",
        "source list",
        "source sync",
        "update list",
        "update show",
        "approve",
        "decline",
        "promote",
        "approvals show",
        "approvals diff",
        "assess import",
        "assess feed add",
        "assess set",
        "assess show",
        "watch list",
        "advisory write",
        "advisory publish",
        "advisory show",
        "status",
        "blob verify",
        "client-config",
        "demo",
    ] {
        let mut arguments: Vec<&str> = words.split(' ').collect();
        arguments.push("--help");
        let help = patchmesh(&arguments).await?.success()?.stdout;
        let has_example = help.contains("Example") || words == "source add";
        ensure!(has_example && help.contains("patchmesh"), "{words}: {help}");
    }
    for shell in ["bash", "zsh", "fish"] {
        ensure!(!patchmesh(&["completions", shell]).await?.success()?.stdout.is_empty(), "{shell}");
    }
    let codes = patchmesh(&["exit-codes", "--output", "json"]).await?.success()?.stdout;
    ensure!(codes.contains("64") && codes.contains("69"), "{codes}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_have_their_codes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("none").display().to_string();
    ensure!(patchmesh(&["no-such-command"]).await?.code == 64);
    ensure!(patchmesh(&["approve", "no revision"]).await?.code == 64);
    for wrong in
        [&["--output", "json", "status", "--no-such"][..], &["--output=json", "no-such-command"]]
    {
        let refused = patchmesh(wrong).await?;
        let report: serde_json::Value = serde_json::from_str(&refused.stderr)?;
        ensure!(refused.code == 64 && report["error"]["code"] == 64, "{refused:?}");
        ensure!(report["error"]["word"] == "usage", "{report}");
    }
    let absent = patchmesh(&["--data", &data, "status"]).await?;
    ensure!(absent.code == 66, "no data folder: {absent:?}");
    let joined = ["--data", &data, "join", "nonsense", "--url", "https://127.0.0.1:1"];
    let joined = patchmesh(&joined).await?.failure_that_says(&["token"])?;
    ensure!(joined.code == 65, "a token that is none: {joined:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_be_right_is_refused() -> Result<()> {
    let cluster = Cluster::start().await?;
    let node = cluster.primary()?;
    let file = cluster.folder().join("typo.toml");
    std::fs::write(&file, "listen = \"127.0.0.1:1\"\nlissten = \"127.0.0.1:2\"\n")?;
    let refused = run(node.command()?.arg("serve").arg("--config").arg(&file)).await?;
    let refused = refused.failure_that_says(&["lissten"])?;
    ensure!(refused.code == 64, "{refused:?}");
    let refused = run(node.command()?.args(["serve", "--listen", "everywhere"])).await?;
    ensure!(refused.code == 64, "{refused:?}");
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_of_the_data_folder_is_named() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    cluster.node_mut(PRIMARY)?.stop().await?;
    let node = cluster.primary()?;
    for file in [
        "identity/key.pem",
        "identity/cert.pem",
        "identity/ca-key.pem",
        "keys/timestamp.pem",
        "keys/repository-production.asc",
    ] {
        let path = node.data.join(file);
        let whole = std::fs::read(&path)?;
        for damaged in [&whole[..whole.len() / 2], b"\xff\xfe\x00"] {
            std::fs::write(&path, damaged)?;
            let mut serve = node.command()?;
            serve.args(["serve", "--listen", "127.0.0.1:0"]);
            let refused = tokio::time::timeout(PATIENCE, run(&mut serve)).await??;
            // A CA is two files.
            let named = if file.ends_with("ca-key.pem") { "identity" } else { file };
            let refused = refused.failure_that_says(&[named, "damaged", "restore"])?;
            ensure!(refused.code == 65, "{file}: {refused:?}");
        }
        std::fs::write(&path, &whole)?;
    }
    cluster.node_mut(PRIMARY)?.start().await?;
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_not_found_and_branches_change_nothing() -> Result<()> {
    let vendor = Vendor::with_samples(&[Sample::new("sample-app", "1.0")]).await?;
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("hub", PRIMARY, "emea")).await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    let revision = cluster.revision("sample-app").await?;

    let unknown = cluster.patchmesh(PRIMARY, &["update", "show", "vendor:stable/none@1"]).await?;
    ensure!(unknown.code == 66, "{unknown:?}");
    let unknown = cluster.patchmesh(PRIMARY, &["approve", "vendor:stable/none@1"]).await?;
    ensure!(unknown.code == 66, "{unknown:?}");
    let group = ["approve", &revision, "--group", "nobody"];
    let group = cluster.patchmesh(PRIMARY, &group).await?.failure_that_says(&["nobody"])?;
    ensure!(matches!(group.code, 65 | 66), "{group:?}");

    let branch = cluster.patchmesh("hub", &["approve", &revision]).await?;
    let branch = branch.failure_that_says(&[PRIMARY])?;
    ensure!(branch.code == 2, "{branch:?}");
    let report: serde_json::Value =
        serde_json::from_str(branch.stderr.lines().last().context("")?)?;
    ensure!(report["error"]["code"] == 2, "errors are JSON too: {report}");
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_json() -> Result<()> {
    let vendor = Vendor::with_samples(&[Sample::new("sample-app", "1.0")]).await?;
    let mut cluster = Cluster::start().await?;
    cluster.add_company().await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    let sync = cluster.sync("vendor").await?.success()?.json()?;
    ensure!(sync["outcomes"][0]["revisions_new"] == 1, "{sync}");
    let again = cluster.sync("vendor").await?.success()?.json()?;
    ensure!(again["outcomes"][0]["unchanged"] == true, "{again}");
    let revision = [cluster.revision("sample-app").await?];
    cluster.approve("validation", &revision).await?;
    cluster.converged(&["lab", "hub", "lyon", "annecy"]).await?;

    let same = ["approvals", "diff", "validation", "lab:validation"];
    cluster.patchmesh(PRIMARY, &same).await?.success()?;
    let other = ["approvals", "diff", "validation", "production"];
    ensure!(cluster.patchmesh(PRIMARY, &other).await?.code == 1, "the sets differ");
    let shown = cluster.patchmesh(PRIMARY, &["approvals", "show", "validation"]).await?;
    ensure!(shown.success()?.stdout.contains(&revision[0]), "the decision is shown");
    let verified = cluster.patchmesh("lab", &["blob", "verify"]).await?.success()?.json()?;
    ensure!(verified["blobs"].as_u64().is_some_and(|blobs| blobs > 0), "{verified}");

    let nodes = patchmesh_tests::wait::until(
        "the primary to hear of all nodes",
        patchmesh_tests::wait::PATIENCE,
        async || {
            let nodes = cluster.patchmesh(PRIMARY, &["nodes"]).await?.success()?.json()?;
            let rows = nodes["nodes"].as_array().context("no list")?;
            Ok(rows.iter().all(|row| row["converged"] == true).then(|| rows.clone()))
        },
    )
    .await?;
    ensure!(nodes.len() == 5, "{nodes:?}");
    cluster.passed();
    Ok(())
}
