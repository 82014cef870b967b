//! Packages of rpm out of a vendor's folder: real agents, real rpm with a database of
//! each root.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use patchmesh_tests::agent::Machine;
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec};
use patchmesh_tests::plan;
use patchmesh_tests::run::{Outcome, run};
use patchmesh_tests::vendor::files::{File, FilesVendor, Update};
use patchmesh_tests::vendor::rpm::Rpm;
use patchmesh_tests::wait::{PATIENCE, until};
use serde_json::{Value, json};
use tokio::process::Command;

/// Where most systems have the database.
const DATABASE: &str = "/var/lib/rpm";

async fn rpm(machine: &Machine, arguments: &[&str]) -> Result<Outcome> {
    let mut command = Command::new("rpm");
    command.arg("--root").arg(&machine.root).args(["--dbpath", DATABASE]).args(arguments);
    run(&mut command).await
}

/// What rpm has, in order.
async fn packages(machine: &Machine) -> Result<Vec<String>> {
    let listed = rpm(machine, &["-qa"]).await?.success()?.stdout;
    let mut names: Vec<String> = listed.lines().map(str::to_owned).collect();
    names.sort();
    Ok(names)
}

/// A machine with a database of rpm and the first versions of these.
async fn machine(names: &[&str]) -> Result<Machine> {
    let machine = Machine::with("pc-1", &[]).await?;
    rpm(&machine, &["--initdb"]).await?.success()?;
    for name in names {
        let file = Rpm::new(name, "1").build(machine.folder.path()).await?;
        rpm(&machine, &["--install", &file.display().to_string()]).await?.success()?;
    }
    Ok(machine)
}

/// A revision of one package, named like it.
async fn update(package: &Rpm, name: &str, version: &str, folder: &Path) -> Result<Update> {
    let file = package.build(folder).await?;
    let path = file.file_name().context("a file has a name")?.to_string_lossy().into_owned();
    let file = File::of(&path, std::fs::read(&file)?).on("noarch");
    Ok(Update::new(name, version, &[file]).with("[revision.installer]\nkind = \"rpm\""))
}

/// The last word of the primary on a revision.
async fn word(cluster: &Cluster, revision: &str) -> Result<Option<Value>> {
    let story = cluster.patchmesh(PRIMARY, &["report", "machine", "pc-1"]).await?;
    let story = story.success()?.json()?;
    let words = story["story"]["words"].as_array().context("no words")?;
    Ok(words.iter().find(|word| word["revision"] == revision).cloned())
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_of_rpm_are_installed_judged_and_removed_by_rpm() -> Result<()> {
    let machine = machine(&["app", "tool", "broken", "odd", "needy"]).await?;
    let folder = tempfile::tempdir()?;
    let made = folder.path();
    let broken = Rpm::new("broken", "2").with_script("error('there is no room')");
    let needy = Rpm::new("needy", "2").with_tag("Requires: nowhere >= 9");
    // The last one is not what its vendor says.
    let updates = [
        update(&Rpm::new("app", "2"), "app", "2-1", made).await?,
        update(&Rpm::new("tool", "2"), "tool", "2-1", made).await?,
        update(&broken, "broken", "2-1", made).await?,
        update(&needy, "needy", "2-1", made).await?,
        update(&Rpm::new("other", "2"), "other", "2-1", made).await?,
        update(&Rpm::new("odd", "2"), "odd", "3-1", made).await?,
    ];
    let vendor = FilesVendor::with(&updates).await?;
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("lyon", PRIMARY, "emea/fr/lyon")).await?;
    cluster.add_files("rpms", &vendor).await?;
    cluster.sync("rpms").await?.success()?;
    machine.join(&cluster, "lyon").await?;
    let mut all = Vec::new();
    for name in ["app", "tool", "broken", "needy", "other", "odd"] {
        all.push(cluster.revision(name).await?);
    }
    cluster.approve("validation", &all).await?;
    cluster.promote(&all).await?;
    cluster.converged(&["lyon"]).await?;

    // One that fails keeps no other from being installed.
    machine.until_installed(2).await?;
    let there = ["app-2-1.noarch", "broken-1-1.noarch", "needy-1-1.noarch", "odd-1-1.noarch"];
    let there = [&there[..], &["tool-2-1.noarch"]].concat();
    until("the others to have been tried", PATIENCE, async || {
        machine.round().await?;
        let status = machine.status().await?;
        let failed = |id: &String| {
            status[id]["waits_for"].as_str().unwrap_or_default().contains("it failed")
        };
        let have = [&all[2], &all[3], &all[5]].into_iter().all(failed);
        ensure!(have, "{}", serde_json::to_string(&status)?);
        Ok(Some(()))
    })
    .await?;
    ensure!(packages(&machine).await? == there, "{:?}", packages(&machine).await?);
    let status = machine.status().await?;
    ensure!(status[&all[0]]["reason"] == "app 2-1 is installed", "{status:?}");
    ensure!(status[&all[2]]["reason"] == "broken 1-1 is older than 2-1", "{status:?}");
    ensure!(!status.contains_key(&all[4]), "it is not on this machine: {status:?}");
    let says = [
        (&all[2], "there is no room"),
        (&all[3], "nowhere >= 9 is needed by needy-2-1.noarch"),
        (&all[5], "is odd-2-1.noarch, and its vendor states odd-3-1.noarch"),
    ];
    for (id, why) in says {
        until(&format!("the primary to know of {id}"), PATIENCE, async || {
            let Some(word) = word(&cluster, id).await? else { return Ok(None) };
            let is_it = word["phase"] == "installation" && word["outcome"] == "failure";
            ensure!(word["message"].as_str().unwrap_or_default().contains(why), "{word}");
            Ok(is_it.then_some(()))
        })
        .await?;
    }
    ensure!(word(&cluster, &all[0]).await?.context("no word")?["outcome"] == "success");
    let ran = machine.round().await?.success()?.json()?;
    ensure!(ran["installed"] == json!([]) && ran["reported"] == 0, "{ran}");

    // What is taken back goes in that very version.
    let plan = plan::write(&cluster, plan::TAKEN_BACK, &plan::list(&all[1..2]))?;
    cluster.patchmesh(PRIMARY, &["rollout", "start", &plan]).await?.success()?;
    cluster.converged(&["lyon"]).await?;
    until("the tool to be removed", PATIENCE, async || {
        machine.round().await?.success()?;
        Ok(packages(&machine).await?.iter().all(|one| !one.starts_with("tool")).then_some(()))
    })
    .await?;
    until("the primary to know that it is gone", PATIENCE, async || {
        let word = word(&cluster, &all[1]).await?.context("no word")?;
        Ok((word["phase"] == "removal" && word["outcome"] == "success").then_some(()))
    })
    .await?;
    cluster.passed();
    Ok(())
}
