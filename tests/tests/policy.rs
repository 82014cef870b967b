//! What headquarters says of a group's machines: when they install and restart, and whom
//! they report to. Real agents, real dpkg.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use patchmesh_tests::agent::Machine;
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec};
use patchmesh_tests::vendor::{Sample, Vendor};
use patchmesh_tests::wait::{PATIENCE, until};
use serde_json::{Value, json};

async fn set(cluster: &Cluster, policy: &[&str]) -> Result<()> {
    let set = [&["group", "set", "workstations"], policy].concat();
    cluster.patchmesh(PRIMARY, &set).await?.success()?;
    cluster.converged(&["lyon"]).await
}

/// A company with two updates, of which the first is open.
async fn company() -> Result<(Cluster, Vendor)> {
    let vendor = Vendor::with_samples(&[Sample::new("app", "2"), Sample::new("tool", "2")]).await?;
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("lyon", PRIMARY, "emea/fr/lyon")).await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    cluster.allow(&[cluster.revision("app").await?]).await?;
    cluster.converged(&["lyon"]).await?;
    Ok((cluster, vendor))
}

async fn machine(cluster: &Cluster) -> Result<Machine> {
    let packages = [Sample::new("app", "1"), Sample::new("tool", "1")];
    let machine = Machine::with("pc-1", &packages).await?;
    machine.join(cluster, "lyon").await?;
    Ok(machine)
}

async fn status(machine: &Machine) -> Result<Value> {
    machine.agent(&["status"]).await?.success()?.json()
}

/// Rounds until a revision waits for the planned time with its file here.
async fn waits(machine: &Machine, revision: &str, at: &str) -> Result<()> {
    until(&format!("{revision} to wait for {at}"), PATIENCE, async || {
        let ran = machine.round().await?.success()?.json()?;
        ensure!(ran["installed"] == json!([]), "{ran}");
        let status = status(machine).await?;
        let rows = status["revisions"].as_array().context("no revisions")?;
        let row = rows.iter().find(|row| row["revision"] == revision);
        let why = row.and_then(|row| row["waits_for"].as_str()).unwrap_or_default();
        let files = fs::read_dir(machine.state().join("downloads"))?.count();
        Ok((why.contains(&format!("by itself at {at}: from")) && files == 1).then_some(()))
    })
    .await
}

/// As if the machine had been switched off for two days when a round was over.
fn was_off(machine: &Machine) -> Result<()> {
    let path = machine.state().join("memory.json");
    let mut memory: Value = serde_json::from_slice(&fs::read(&path)?)?;
    let before = Timestamp::now().checked_sub(SignedDuration::from_hours(48))?;
    ensure!(memory["let_go_at"].is_string(), "nothing to be late for");
    memory["let_go_at"] = json!(before);
    Ok(fs::write(&path, serde_json::to_vec(&memory)?)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_install_at_the_time_of_their_group() -> Result<()> {
    let (cluster, _vendor) = company().await?;
    let (app, tool) = (cluster.revision("app").await?, cluster.revision("tool").await?);
    let machine = machine(&cluster).await?;
    let later = Timestamp::now().checked_add(SignedDuration::from_hours(12))?;
    let far = TimeZone::system().to_datetime(later).strftime("%H:%M").to_string();
    set(&cluster, &["--install-at", &far]).await?;
    let wrong = ["group", "set", "workstations", "--install-at", "Sunday"];
    cluster.patchmesh(PRIMARY, &wrong).await?.failure_that_says(&["such as `03:00`"])?;

    // It is here, told as needed, and waits. A person need not.
    waits(&machine, &app, &far).await?;
    ensure!(machine.packages().await?["app"] == "1");
    ensure!(status(&machine).await?["install_at"] == far.as_str());
    let root = machine.root.display().to_string();
    let ran = machine.agent(&["install", &app, "--root", &root]).await?.success()?.json()?;
    ensure!(ran["installed"] == json!([app]), "{ran}");

    // The time came while the machine was off: it is made up for once, not twice.
    cluster.allow(std::slice::from_ref(&tool)).await?;
    cluster.converged(&["lyon"]).await?;
    waits(&machine, &tool, &far).await?;
    was_off(&machine)?;
    let ran = machine.round().await?.success()?.json()?;
    ensure!(ran["installed"] == json!([tool]) && machine.packages().await?["tool"] == "2", "{ran}");
    let older = Sample::new("tool", "1").build(machine.folder.path()).await?;
    machine.dpkg("dpkg", &["--install", &older.file.display().to_string()]).await?.success()?;
    waits(&machine, &tool, &far).await?;

    // Without a time what is open goes at once.
    set(&cluster, &["--no-install-at"]).await?;
    let ran = machine.until_installed(2).await?;
    ensure!(ran["installed"] == json!([tool]), "{ran}");
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_restart_by_the_policy_of_their_group() -> Result<()> {
    let (cluster, _vendor) = company().await?;
    let machine = machine(&cluster).await?;
    fs::create_dir_all(machine.root.join("run/systemd/sessions"))?;
    fs::write(machine.root.join("run/reboot-required"), "")?;
    let (root, log) = (machine.root.display().to_string(), machine.folder.path().join("log"));
    let command = format!("echo restart >> {}", log.display());
    let round = ["run", "--once", "--root", &root, "--reboot-command", &command];
    machine.agent(&round).await?.success()?;
    ensure!(!log.exists(), "it was to be left alone");
    set(&cluster, &["--reboot", "unattended"]).await?;
    let asks = [&round[..], &["--reboot", "ask"]].concat();
    machine.agent(&asks).await?.success()?;
    ensure!(!log.exists(), "the machine's administrator has the last word");
    machine.agent(&round).await?.success()?;
    ensure!(fs::read_to_string(&log)? == "restart\n");
    ensure!(status(&machine).await?["reboot_policy"] == "unattended");
    cluster.passed();
    Ok(())
}

/// What that node knows to be on the machine.
async fn known_at(cluster: &Cluster, node: &str) -> Result<bool> {
    let asked = cluster.patchmesh(node, &["report", "inventory", "pc-1"]).await?;
    Ok(asked.success().is_ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_go_to_the_node_that_takes_them() -> Result<()> {
    let (mut cluster, _vendor) = company().await?;
    cluster.add(&Spec::branch("desk", PRIMARY, "emea/de/desk")).await?;
    let app = cluster.revision("app").await?;
    let machine = machine(&cluster).await?;
    let nobody = ["group", "set", "workstations", "--statistics-node", "nobody"];
    cluster.patchmesh(PRIMARY, &nobody).await?.failure_that_says(&["report to nobody"])?;
    set(&cluster, &["--statistics-node", "desk"]).await?;
    machine.until_installed(1).await?;
    ensure!(status(&machine).await?["reported_to"] == "desk");
    ensure!(known_at(&cluster, "desk").await? && !known_at(&cluster, "lyon").await?);
    // The primary has it by way of that node, at the site where the machine is.
    let told = until("the primary to know", PATIENCE, async || {
        let story = cluster.patchmesh(PRIMARY, &["machine", "show", "pc-1"]).await?;
        let story = story.success()?.json()?;
        let words = story["words"].as_array().context("no words")?;
        let is_told = words.iter().any(|one| {
            one["revision"] == app.as_str()
                && one["phase"] == "installation"
                && one["outcome"] == "success"
        });
        Ok(is_told.then_some(story))
    })
    .await?;
    ensure!(told["site"] == "emea/fr/lyon", "{told}");

    // While it is gone the machine's own node takes them; then it does again.
    cluster.node_mut("desk")?.kill().await?;
    machine.round().await?.success()?;
    ensure!(status(&machine).await?["reported_to"] == "lyon" && known_at(&cluster, "lyon").await?);
    cluster.node_mut("desk")?.start().await?;
    until("it to take them again", PATIENCE, async || {
        machine.round().await?.success()?;
        Ok((status(&machine).await?["reported_to"] == "desk").then_some(()))
    })
    .await?;
    let (_, made, waiting) = machine.events()?;
    ensure!(made > 0 && waiting == 0, "{made} events, of which {waiting} wait");
    cluster.passed();
    Ok(())
}

/// How long something took.
async fn timed<T>(what: impl Future<Output = Result<T>>) -> Result<Duration> {
    let began = Instant::now();
    what.await?;
    Ok(began.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_machines_fetch_keeps_to_its_rate() -> Result<()> {
    let names = ["app", "tool", "rest"];
    let large = names.map(|name| Sample::new(name, "2").with_bytes(400_000));
    let vendor = Vendor::with_samples(&large).await?;
    let mut cluster = Cluster::start().await?;
    let config = cluster.folder().join("lyon.toml");
    fs::write(&config, "limit_machines = '1600kbit/s'\n")?;
    let config = ["--config", &config.display().to_string()];
    let branch = Spec::branch("lyon", PRIMARY, "emea/fr/lyon").with_arguments(&config);
    cluster.add(&branch).await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    let mut revisions = Vec::new();
    for name in names {
        revisions.push(cluster.revision(name).await?);
    }
    cluster.allow(&revisions).await?;
    cluster.converged(&["lyon"]).await?;
    let old = names.map(|name| Sample::new(name, "1"));
    let one = Machine::with("pc-1", &old).await?;
    let two = Machine::with("pc-2", &old).await?;
    one.join(&cluster, "lyon").await?;
    two.join(&cluster, "lyon").await?;
    // Six files of 400 kB at 200 kB a second for both; what passes at once counts for little.
    let both = timed(async { tokio::try_join!(one.until_installed(3), two.until_installed(3)) });
    let took = both.await?;
    ensure!(took >= Duration::from_secs(11), "{took:?} for 2.4 MB at 200 kB/s");

    // One machine by its group's policy, at a node that would give more.
    set(&cluster, &["--download-rate", "100kB/s"]).await?;
    let three = Machine::with("pc-3", &old).await?;
    three.join(&cluster, PRIMARY).await?;
    let took = timed(three.until_installed(3)).await?;
    ensure!(took >= Duration::from_secs(11), "{took:?} for 1.2 MB at 100 kB/s");
    cluster.passed();
    Ok(())
}
