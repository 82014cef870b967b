//! Packages that need others which are not on the machine yet: real agents, real dpkg.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use patchmesh_tests::agent::Machine;
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec};
use patchmesh_tests::vendor::{Sample, Vendor};
use patchmesh_tests::wait::{PATIENCE, until};
use serde_json::{Value, json};

/// A primary with Lyon below it, and these packages in the lab.
async fn company(samples: &[Sample]) -> Result<(Vendor, Cluster)> {
    let vendor = Vendor::with_samples(samples).await?;
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("lyon", PRIMARY, "emea/fr/lyon")).await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    Ok((vendor, cluster))
}

/// Approves revisions for everybody, and waits until Lyon knows.
async fn open(cluster: &Cluster, revisions: &[String]) -> Result<()> {
    cluster.approve("validation", revisions).await?;
    cluster.promote(revisions).await?;
    cluster.converged(&["lyon"]).await
}

/// Rounds until the machine waits for this; its row.
async fn waits(machine: &Machine, revision: &str, why: &str) -> Result<Value> {
    until(&format!("{revision} to wait"), PATIENCE, async || {
        machine.round().await?.success()?;
        let row = machine.status().await?.get(revision).context("not seen")?.clone();
        let told = row["waits_for"].as_str().unwrap_or_default();
        // The branch may not have the content yet, and says so first.
        Ok(told.contains(why).then_some(row))
    })
    .await
}

/// What the primary has of the machine: the last phase and outcome by revision.
async fn told(cluster: &Cluster, machine: &Machine) -> Result<BTreeMap<String, String>> {
    let story = cluster.patchmesh(PRIMARY, &["report", "machine", &machine.name]).await?;
    let story = story.success()?.json()?;
    let words = story["story"]["words"].as_array().context("no words")?.clone();
    let text = |word: &Value, name: &str| word[name].as_str().unwrap_or_default().to_owned();
    let said = |word: &Value| format!("{} {}", text(word, "phase"), text(word, "outcome"));
    Ok(words.iter().map(|word| (text(word, "revision"), said(word))).collect())
}

fn versions(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    list.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_update_needs_comes_along_once_it_is_open() -> Result<()> {
    let (_vendor, cluster) = company(&[
        Sample::new("app", "2").with_depends("newlib (>= 2), base | nothing-like-it"),
        Sample::new("newlib", "2").with_depends("newlib-data"),
        Sample::new("newlib-data", "2"),
        Sample::new("unasked", "2"),
    ])
    .await?;
    let machine = Machine::with("pc-1", &["app", "base"].map(|one| Sample::new(one, "1"))).await?;
    machine.join(&cluster, "lyon").await?;
    let app = cluster.revision("app").await?;
    let [newlib, data, unasked] = [
        cluster.revision("newlib").await?,
        cluster.revision("newlib-data").await?,
        cluster.revision("unasked").await?,
    ];

    // What it needs is not open: it waits, and dpkg is not even asked.
    open(&cluster, &[app.clone(), unasked.clone()]).await?;
    let why = "temporarily unavailable: it needs newlib (>= 2), which is neither on this machine \
        nor open to it";
    let row = waits(&machine, &app, why).await?;
    ensure!(row["action"] == "waiting" && row["verdict"] == "applicable", "{row}");
    ensure!(machine.packages().await? == versions(&[("app", "1"), ("base", "1")]));
    let log = std::fs::read_to_string(machine.root.join("var/log/dpkg.log")).unwrap_or_default();
    ensure!(!log.contains("app:all 2") && !log.contains("app:all 1 2"), "{log}");

    // Half of it is no help, and says what lacks at the end.
    open(&cluster, std::slice::from_ref(&newlib)).await?;
    waits(&machine, &app, "that needs newlib-data, which is neither on this machine").await?;
    ensure!(machine.packages().await? == versions(&[("app", "1"), ("base", "1")]));
    // The machine lacks nothing of what nobody needs yet.
    let heard = told(&cluster, &machine).await?;
    ensure!(heard.keys().eq([&app]) && heard[&app] == "detection pending", "{heard:?}");

    // All of it: one round, and what nobody needs stays away.
    open(&cluster, std::slice::from_ref(&data)).await?;
    until("all to be installed", PATIENCE, async || {
        let ran = machine.round().await?.success()?.json()?;
        let count = ran["installed"].as_array().context("none")?.len();
        ensure!(matches!(count, 0 | 3), "half of it was installed: {ran}");
        Ok((count == 3).then_some(()))
    })
    .await?;
    let all = [("app", "2"), ("base", "1"), ("newlib", "2"), ("newlib-data", "2")];
    ensure!(machine.packages().await? == versions(&all), "{:?}", machine.packages().await?);
    until("the primary to know", PATIENCE, async || {
        let heard = told(&cluster, &machine).await?;
        let done = [&app, &newlib, &data].map(|id| heard.get(id).map(String::as_str));
        Ok((done == [Some("installation success"); 3] && heard.len() == 3).then_some(()))
    })
    .await?;

    // It stays so: nothing is needed any more.
    let ran = machine.round().await?.success()?.json()?;
    ensure!(ran["installed"] == json!([]), "{ran}");
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_to_be_configured_before_is_and_what_breaks_others_waits() -> Result<()> {
    let (_vendor, cluster) = company(&[
        Sample::new("app", "2").with_field("Pre-Depends", "newlib"),
        Sample::new("newlib", "2"),
        Sample::new("engine", "2").with_field("Breaks", "plugin (<< 2)"),
        Sample::new("plugin", "2"),
    ])
    .await?;
    let names = ["app", "engine", "plugin"];
    let machine = Machine::with("pc-1", &names.map(|one| Sample::new(one, "1"))).await?;
    machine.join(&cluster, "lyon").await?;
    let mut revisions = Vec::new();
    for name in ["app", "newlib", "engine", "plugin"] {
        revisions.push(cluster.revision(name).await?);
    }
    let set = ["group", "set", "workstations", "--install-mode", "manual"];
    cluster.patchmesh(PRIMARY, &set).await?.success()?;

    // Without the plugin's update the engine would break it.
    open(&cluster, &revisions[..3]).await?;
    waits(&machine, &revisions[2], "it cannot be beside plugin 1 of this machine").await?;
    waits(&machine, &revisions[0], "waits for a person").await?;

    // Who lets one go lets what it needs go too, in a call of dpkg before its own.
    let root = machine.root.display().to_string();
    until("the branch to have the content", PATIENCE, async || {
        let ran = machine.agent(&["install", &revisions[0], "--root", &root]).await?;
        let ran = ran.success()?.json()?;
        Ok((ran["installed"] == json!([revisions[1], revisions[0]])).then_some(()))
    })
    .await?;
    let there = [("app", "2"), ("engine", "1"), ("newlib", "2"), ("plugin", "1")];
    ensure!(machine.packages().await? == versions(&there), "{:?}", machine.packages().await?);

    open(&cluster, &revisions[3..]).await?;
    waits(&machine, &revisions[2], "waits for a person").await?;
    until("the branch to have the plugin", PATIENCE, async || {
        let ran = machine.agent(&["install", &revisions[2], "--root", &root]).await?;
        let ran = ran.success()?.json()?;
        let count = ran["installed"].as_array().context("none")?.len();
        ensure!(matches!(count, 0 | 2), "one without the other: {ran}");
        Ok((count == 2).then_some(()))
    })
    .await?;
    let there = [("app", "2"), ("engine", "2"), ("newlib", "2"), ("plugin", "2")];
    ensure!(machine.packages().await? == versions(&there), "{:?}", machine.packages().await?);
    cluster.passed();
    Ok(())
}
