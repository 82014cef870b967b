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

/// A machine with a database of rpm and these packages.
async fn machine(name: &str, packages: &[Rpm]) -> Result<Machine> {
    let machine = Machine::with(name, &[]).await?;
    rpm(&machine, &["--initdb"]).await?.success()?;
    for package in packages {
        let file = package.build(machine.folder.path()).await?;
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

/// The last word of the primary on a revision, of a machine.
async fn word_of(cluster: &Cluster, machine: &str, revision: &str) -> Result<Option<Value>> {
    let story = cluster.patchmesh(PRIMARY, &["report", "machine", machine]).await?;
    let story = story.success()?.json()?;
    let words = story["story"]["words"].as_array().context("no words")?;
    Ok(words.iter().find(|word| word["revision"] == revision).cloned())
}

async fn word(cluster: &Cluster, revision: &str) -> Result<Option<Value>> {
    word_of(cluster, "pc-1", revision).await
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_of_rpm_are_installed_judged_and_removed_by_rpm() -> Result<()> {
    let first = ["app", "tool", "broken", "odd", "needy"].map(|name| Rpm::new(name, "1"));
    let machine = machine("pc-1", &first).await?;
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

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_beside_its_earlier_versions_takes_dnf() -> Result<()> {
    let kernel = |version| Rpm::new("kernel-core", version).beside();
    let first = [kernel("1"), Rpm::new("app", "1"), Rpm::new("needy", "1")];
    let (with_rpm, mut with_dnf) = (machine("pc-1", &first).await?, machine("pc-2", &first).await?);
    std::fs::create_dir_all(with_dnf.root.join("usr/bin"))?;
    std::os::unix::fs::symlink("/usr/bin/dnf", with_dnf.root.join("usr/bin/dnf"))?;
    // Where dnf looks for the database differs from system to system.
    let home = with_dnf.folder.path().join("home");
    std::fs::create_dir_all(&home)?;
    std::fs::write(home.join(".rpmmacros"), format!("%_dbpath {DATABASE}\n"))?;
    with_dnf.home = Some(home);
    let folder = tempfile::tempdir()?;
    let made = folder.path();
    let needy = Rpm::new("needy", "2").with_tag("Requires: nowhere >= 9");
    let kernels = update(&kernel("2"), "kernel-core", "2-1", made).await?;
    let more = format!("reboot = \"required\"\n{}", kernels.more);
    let updates = [
        Update { more, ..kernels },
        update(&Rpm::new("app", "2"), "app", "2-1", made).await?,
        update(&needy, "needy", "2-1", made).await?,
    ];
    let vendor = FilesVendor::with(&updates).await?;
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("lyon", PRIMARY, "emea/fr/lyon")).await?;
    cluster.add_files("rpms", &vendor).await?;
    cluster.sync("rpms").await?.success()?;
    with_rpm.join(&cluster, "lyon").await?;
    with_dnf.join(&cluster, "lyon").await?;
    let mut all = Vec::new();
    for name in ["kernel-core", "app", "needy"] {
        all.push(cluster.revision(name).await?);
    }
    cluster.approve("validation", &all).await?;
    cluster.promote(&all).await?;
    cluster.converged(&["lyon"]).await?;
    let told = async |machine: &str, revision: &str, outcome: &str, why: &str| {
        until(&format!("the primary to know of {revision}"), PATIENCE, async || {
            let Some(word) = word_of(&cluster, machine, revision).await? else { return Ok(None) };
            let is_it = word["phase"] == "installation" && word["outcome"] == outcome;
            let message = word["message"].as_str().unwrap_or_default();
            ensure!(is_it && message.contains(why), "{word}");
            Ok(Some(()))
        })
        .await
    };

    // rpm alone would take the running kernel away, so it is not asked to.
    with_rpm.until_installed(1).await?;
    told("pc-1", &all[0], "failure", "this machine needs dnf for that").await?;
    let there = ["app-2-1.noarch", "kernel-core-1-1.noarch", "needy-1-1.noarch"];
    ensure!(packages(&with_rpm).await? == there, "{:?}", packages(&with_rpm).await?);

    // dnf puts it beside, and its vendor says that it counts after a restart.
    with_dnf.until_installed(2).await?;
    told("pc-2", &all[0], "reboot required", "kernel-core 2-1 is installed").await?;
    told("pc-2", &all[2], "failure", "nothing provides nowhere >= 9").await?;
    let kernels = ["kernel-core-1-1.noarch", "kernel-core-2-1.noarch"];
    let there = [&["app-2-1.noarch"], &kernels[..], &["needy-1-1.noarch"]].concat();
    ensure!(packages(&with_dnf).await? == there, "{:?}", packages(&with_dnf).await?);
    let due = ["report", "machines", "--reboot-needed"];
    let due = cluster.patchmesh(PRIMARY, &due).await?.success()?.json()?;
    let names = due["machines"].as_array().context("machines")?;
    ensure!(names.len() == 1 && names[0]["name"] == "pc-2", "{due}");
    let ran = with_dnf.round().await?.success()?.json()?;
    ensure!(ran["installed"] == json!([]) && ran["reported"] == 0, "{ran}");
    cluster.passed();
    Ok(())
}
