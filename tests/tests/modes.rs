//! Groups whose machines wait for a person: real agents, real dpkg.

use anyhow::{Context, Result, ensure};
use patchmesh_tests::agent::Machine;
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec};
use patchmesh_tests::plan;
use patchmesh_tests::vendor::{Sample, Vendor};
use patchmesh_tests::wait::{PATIENCE, until};
use serde_json::{Value, json};

/// Sets what the machines do by themselves, and waits until Lyon knows.
async fn mode(cluster: &Cluster, mode: &str) -> Result<()> {
    let set = ["group", "set", "workstations", "--install-mode", mode];
    cluster.patchmesh(PRIMARY, &set).await?.success()?;
    cluster.converged(&["lyon"]).await
}

/// Rounds until this many wait for a person; the agent's status.
async fn waiting(machine: &Machine, count: usize) -> Result<Value> {
    until(&format!("{count} to wait for a person"), PATIENCE, async || {
        machine.round().await?.success()?;
        let status = machine.agent(&["status"]).await?.success()?.json()?;
        let rows = status["revisions"].as_array().context("no revisions")?;
        let for_person = rows.iter().filter(|row| row["for_person"] == true).count();
        Ok((for_person == count).then_some(status))
    })
    .await
}

/// How many files the agent has fetched and not thrown away.
fn fetched(machine: &Machine) -> Result<usize> {
    let files = std::fs::read_dir(machine.state().join("downloads"))?;
    Ok(files.count())
}

/// The last word that the primary has of a revision.
async fn word(cluster: &Cluster, revision: &str) -> Result<Option<[String; 2]>> {
    let story =
        cluster.patchmesh(PRIMARY, &["machine", "show", "pc-1"]).await?.success()?.json()?;
    let words = story["words"].as_array().context("no words")?;
    let word = words.iter().find(|word| word["revision"] == revision);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(word.map(|word| [text(&word["phase"]), text(&word["outcome"])]))
}

async fn told(cluster: &Cluster, revision: &str, phase: &str, outcome: &str) -> Result<()> {
    until(&format!("{revision} to be told as {phase}, {outcome}"), PATIENCE, async || {
        let word = word(cluster, revision).await?;
        ensure!(word == Some([phase.to_owned(), outcome.to_owned()]), "{word:?}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_wait_for_a_person_where_their_group_says_so() -> Result<()> {
    let names = ["app", "tool", "gone"];
    let machine = Machine::with("pc-1", &names.map(|name| Sample::new(name, "1"))).await?;
    let vendor = Vendor::with_samples(&[
        Sample::new("app", "2"),
        Sample::new("tool", "2"),
        Sample::new("gone", "1"),
    ])
    .await?;
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("lyon", PRIMARY, "emea/fr/lyon")).await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    let app = cluster.revision("app").await?;
    let tool = cluster.revision("tool").await?;
    let gone = cluster.revision("gone").await?;
    machine.join(&cluster, "lyon").await?;
    mode(&cluster, "notify").await?;
    let both = [app.clone(), tool.clone()];
    cluster.allow(&both).await?;
    cluster.converged(&["lyon"]).await?;

    // Notify: nothing is fetched, and somebody is told.
    let status = waiting(&machine, 2).await?;
    ensure!(status["install_mode"] == "notify" && fetched(&machine)? == 0, "{status}");
    let why = status["revisions"][0]["waits_for"].as_str().unwrap_or_default();
    ensure!(why.contains("is notify") && why.contains("patchmesh agent install"), "{status}");
    told(&cluster, &app, "installation", "pending").await?;

    // Manual: it is here, and still waits. Told once is enough.
    mode(&cluster, "manual").await?;
    until("the files to be fetched", PATIENCE, async || {
        let ran = machine.round().await?.success()?.json()?;
        ensure!(ran["installed"] == json!([]) && ran["reported"] == 0, "{ran}");
        Ok((fetched(&machine)? == 2).then_some(()))
    })
    .await?;
    ensure!(machine.packages().await?["app"] == "1");

    // One of them, by a command of its own: no agent runs.
    let root = machine.root.display().to_string();
    let unknown = ["install", "vendor:stable/other@1", "--root", &root];
    machine.agent(&unknown).await?.failure_that_says(&["not approved for this machine's group"])?;
    let ran = machine.agent(&["install", &app, "--root", &root]).await?.success()?.json()?;
    ensure!(ran["installed"] == json!([app]), "{ran}");
    let packages = machine.packages().await?;
    ensure!(packages["app"] == "2" && packages["tool"] == "1", "{packages:?}");
    told(&cluster, &app, "installation", "success").await?;
    told(&cluster, &tool, "installation", "pending").await?;

    // All, by the agent that runs: it does the work and answers.
    let mut agent = machine.start(&["--every", "30h"])?;
    machine.until_asked().await?;
    let ran = machine.agent(&["install"]).await?.success()?.json()?;
    ensure!(ran["installed"] == json!([tool]), "{ran}");
    ensure!(machine.packages().await?["tool"] == "2" && agent.try_wait()?.is_none());
    told(&cluster, &tool, "installation", "success").await?;
    agent.kill().await?;

    // What is taken back waits as well.
    cluster.approve("validation", std::slice::from_ref(&gone)).await?;
    let plan = plan::write(&cluster, plan::TAKEN_BACK, &plan::list(std::slice::from_ref(&gone)))?;
    cluster.patchmesh(PRIMARY, &["rollout", "start", &plan]).await?.success()?;
    cluster.converged(&["lyon"]).await?;
    waiting(&machine, 1).await?;
    ensure!(machine.packages().await?.contains_key("gone"));
    told(&cluster, &gone, "removal", "pending").await?;
    let ran = machine.agent(&["install", "--root", &root]).await?.success()?.json()?;
    ensure!(ran["removed"] == json!([gone]), "{ran}");
    told(&cluster, &gone, "removal", "success").await?;
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_person_goes_from_afar() -> Result<()> {
    let names = ["app", "tool", "later"];
    let machine = Machine::with("pc-1", &names.map(|name| Sample::new(name, "1"))).await?;
    let vendor = Vendor::with_samples(&names.map(|name| Sample::new(name, "2"))).await?;
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("lyon", PRIMARY, "emea/fr/lyon")).await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    let [app, tool, later] = [
        cluster.revision("app").await?,
        cluster.revision("tool").await?,
        cluster.revision("later").await?,
    ];
    machine.join(&cluster, "lyon").await?;
    mode(&cluster, "manual").await?;
    cluster.allow(&[app.clone(), tool.clone()]).await?;
    cluster.converged(&["lyon"]).await?;
    waiting(&machine, 2).await?;

    let give = |whom: &'static [&'static str]| [&["go-ahead", "give"], whom].concat();
    let nobody = give(&["--group", "nobody"]);
    cluster.patchmesh(PRIMARY, &nobody).await?.failure_that_says(&["no group nobody"])?;
    let long = give(&["--machine", "pc-1", "--valid", "400d"]);
    cluster.patchmesh(PRIMARY, &long).await?.failure_that_says(&["up to 31 days"])?;
    let nobody = give(&["--machine", "pc-2"]);
    cluster.patchmesh(PRIMARY, &nobody).await?.failure_that_says(&["no machine pc-2"])?;
    let nowhere = give(&["--site", "emea/atlantis"]);
    cluster.patchmesh(PRIMARY, &nowhere).await?.failure_that_says(&["no site emea/atlantis"])?;
    // Of other machines, and then one revision of this one.
    cluster.patchmesh(PRIMARY, &give(&["--group", "servers"])).await?.success()?;
    let mut one = give(&["--machine", "pc-1", "--revision"]);
    one.push(&app);
    cluster.patchmesh(PRIMARY, &one).await?.success()?;
    cluster.converged(&["lyon"]).await?;
    let ran = machine.round().await?.success()?.json()?;
    ensure!(ran["installed"] == json!([app]), "{ran}");
    told(&cluster, &tool, "installation", "pending").await?;

    // Everything that is open there, to an agent that runs and is woken; not what comes later.
    let mut agent = machine.start(&["--every", "30h"])?;
    machine.until_asked().await?;
    cluster.patchmesh(PRIMARY, &give(&["--site", "emea/fr"])).await?.success()?;
    told(&cluster, &tool, "installation", "success").await?;
    cluster.allow(std::slice::from_ref(&later)).await?;
    told(&cluster, &later, "installation", "pending").await?;
    ensure!(machine.packages().await?["later"] == "1" && agent.try_wait()?.is_none());
    agent.kill().await?;
    let list = cluster.patchmesh("lyon", &["go-ahead", "list"]).await?.success()?.json()?;
    let listed = list["go_aheads"].as_array().context("no list")?;
    ensure!(listed.len() == 3 && listed[2]["who"] == "site emea/fr", "{list}");

    // Taken back, it is as if it had never been said.
    let take = ["go-ahead", "withdraw", "--site", "emea/fr"];
    cluster.patchmesh(PRIMARY, &take).await?.success()?;
    cluster
        .patchmesh(PRIMARY, &take)
        .await?
        .failure_that_says(&["site emea/fr has no go-ahead"])?;
    cluster.passed();
    Ok(())
}
