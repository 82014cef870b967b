//! Agents on machines: real processes, roots with a dpkg state of their own, real
//! packages. What the primary says has to be what `dpkg-query` says.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp, ToSpan};
use patchmesh_tests::agent::Machine;
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec};
use patchmesh_tests::plan;
use patchmesh_tests::run::run;
use patchmesh_tests::vendor::files::{File, FilesVendor, Update};
use patchmesh_tests::vendor::{Sample, Vendor};
use patchmesh_tests::wait::{PATIENCE, until};
use serde_json::Value;
use tokio::process::Command;

/// What the primary knows of a machine: the last word on each revision, once the
/// expected number of events is counted.
async fn words(cluster: &Cluster, machine: &str, least: u64) -> Result<BTreeMap<String, Value>> {
    let shown = until("the primary to count the events", PATIENCE, async || {
        let shown = cluster.patchmesh(PRIMARY, &["machine", "show", machine]).await?;
        let shown = shown.success()?.json()?;
        let events = shown["events"].as_u64().unwrap_or_default();
        Ok((events >= least).then_some(shown))
    });
    let shown = shown.await?;
    let rows = shown["words"].as_array().context("no words")?.clone();
    let named = |row: Value| Some((row["revision"].as_str()?.to_owned(), row));
    Ok(rows.into_iter().filter_map(named).collect())
}

fn of<'a>(list: &'a Value, revision: &str) -> Option<&'a Value> {
    list.as_array()?.iter().find(|one| one["revision"] == revision)
}

async fn approved(cluster: &Cluster, revisions: &[String]) -> Result<()> {
    cluster.allow(revisions).await?;
    cluster.converged(&["lyon"]).await
}

/// A primary and a branch in Lyon.
async fn company() -> Result<Cluster> {
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("lyon", PRIMARY, "emea/fr/lyon")).await?;
    Ok(cluster)
}

/// With which dpkg does not install a package.
const REFUSES: &str = "echo 'this leads nowhere' >&2; exit 1";

#[tokio::test(flavor = "multi_thread")]
async fn what_the_primary_says_is_what_dpkg_says() -> Result<()> {
    let before = ["app", "tool", "broken"].map(|name| Sample::new(name, "1"));
    let machine = Machine::with("pc-1", &before).await?.with_shell().await?;
    // Nobody can install `broken`: its script refuses.
    let vendor = Vendor::with_samples(&[
        Sample::new("app", "2"),
        Sample::new("tool", "2"),
        Sample::new("other", "2"),
        Sample::new("broken", "2").with_script("preinst", REFUSES),
    ])
    .await?;
    let mut cluster = company().await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    let (app, tool) = (cluster.revision("app").await?, cluster.revision("tool").await?);
    let (other, broken) = (cluster.revision("other").await?, cluster.revision("broken").await?);

    let joined = machine.join(&cluster, "lyon").await?;
    ensure!(joined["node"] == "lyon" && joined["group"] == "workstations", "{joined}");
    let again = machine.agent(&["join", "pm1.x", "--name", "pc-1"]).await?;
    ensure!(again.code != 0, "a token that is none was taken");
    let idle = machine.round().await?.success()?.json()?;
    ensure!(idle["installed"] == serde_json::json!([]), "nothing is approved: {idle}");

    let all = [&app, &tool, &other, &broken].map(Clone::clone);
    approved(&cluster, &all).await?;
    machine.until_installed(2).await?;
    let packages = machine.packages().await?;
    let versions = |name: &str| packages.get(name).map(String::as_str);
    ensure!(versions("app") == Some("2") && versions("tool") == Some("2"), "{packages:?}");
    ensure!(versions("broken") == Some("1") && versions("other").is_none(), "{packages:?}");

    // The machine says so, with reasons.
    let status = machine.status().await?;
    ensure!(status[&app]["verdict"] == "installed", "{status:?}");
    ensure!(!status.contains_key(&other), "it is not on this machine: {status:?}");
    let waits = status[&broken]["waits_for"].as_str().unwrap_or_default();
    ensure!(status[&broken]["verdict"] == "applicable", "{status:?}");
    ensure!(waits.contains("it failed; it is tried again after"), "{waits}");

    // And so does the primary: installed is what dpkg has installed, and nothing else.
    let words = words(&cluster, "pc-1", 9).await?;
    let offered = [("app", &app), ("tool", &tool), ("other", &other), ("broken", &broken)];
    for (name, revision) in offered {
        let is_there = packages.get(name).is_some_and(|version| version == "2");
        let word = words.get(revision);
        let is_told = word.is_some_and(|word| word["outcome"] == "success");
        ensure!(is_there == is_told, "{name}: dpkg has {packages:?}, the primary {words:?}");
    }
    let word = &words[&broken];
    let message = word["message"].as_str().unwrap_or_default();
    ensure!(word["phase"] == "installation" && word["outcome"] == "failure", "{word}");
    ensure!(message.contains("leads nowhere"), "its script's words are told: {message}");

    // What failed is left alone for a while, and nothing is done twice.
    let idle = machine.round().await?.success()?.json()?;
    ensure!(idle["installed"] == serde_json::json!([]) && idle["reported"] == 0, "{idle}");
    ensure!(of(&idle["waiting"], &broken).is_some(), "{idle}");
    let kept = machine.state().join("downloads").read_dir()?.count();
    ensure!(kept == 1, "only what failed is kept for the next time, not {kept}");

    // A node that was killed loses nothing; what is withdrawn is not installed.
    vendor.release(&[Sample::new("app", "3"), Sample::new("tool", "3")]).await?;
    cluster.sync("vendor").await?.success()?;
    let (app3, tool3) = (cluster.revision("app").await?, cluster.revision("tool").await?);
    // Its files are in the node's view, so the machine itself keeps to the brake.
    let until_then = (Timestamp::now() + SignedDuration::from_hours(1)).to_string();
    let pull = ["brake", "pull", "till", "--revision", &app3, "--until", &until_then];
    let pull = [&pull[..], &["--reason", "stocktaking"]].concat();
    cluster.patchmesh("lyon", &pull).await?.success()?;
    approved(&cluster, &[app3.clone(), tool3.clone()]).await?;
    cluster.decline("breaks the till", std::slice::from_ref(&tool3)).await?;
    cluster.converged(&["lyon"]).await?;
    // The primary stands in, and knows of the brake that the machine never heard of.
    until("the primary to hear of the brake", PATIENCE, async || {
        let brakes = cluster.patchmesh(PRIMARY, &["brake", "list"]).await?.success()?.json()?;
        Ok(brakes["brakes"].as_array().is_some_and(|all| all.len() == 1).then_some(()))
    })
    .await?;
    cluster.node_mut("lyon")?.kill().await?;
    machine.round().await?.success()?;
    let status = machine.status().await?;
    let why = status[&app3]["waits_for"].as_str().unwrap_or_default();
    ensure!(why.starts_with("brake till of this site holds it"), "{status:?}");
    cluster.node_mut("lyon")?.start().await?;
    machine.until_installed(2).await?;
    let status = machine.status().await?;
    let why = status[&app3]["waits_for"].as_str().unwrap_or_default();
    ensure!(why.starts_with("brake till of this site holds it"), "{status:?}");
    cluster.patchmesh("lyon", &["brake", "release", "till"]).await?.success()?;
    until("app 3 to be installed", PATIENCE, async || {
        machine.round().await?;
        Ok((machine.packages().await?["app"] == "3").then_some(()))
    })
    .await?;
    ensure!(machine.packages().await?["tool"] == "2", "what was declined stays away");
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_installed_without_effect_is_a_loop_and_not_tried_a_third_time() -> Result<()> {
    let machine = Machine::with("pc-2", &[]).await?;
    let here = |name: &str| machine.folder.path().join(name).display().to_string();
    let (marker, never, count) = (here("marker"), here("never"), here("count"));
    let update = |id: &str, file: &str, call: &str| {
        let more = format!(
            "[revision.installer]\ninstall = {call}\n[revision.detection]\ninstalled = 'file {file}'"
        );
        Update::new(id, "1", &[File::new(&format!("{id}.bin"), "1", 3000)]).with(&more)
    };
    let files = FilesVendor::with(&[
        update("KB1", &marker, &format!("[\"cp\", \"{{payload}}\", \"{marker}\"]")),
        update("KB2", &never, &format!("[\"sh\", \"-c\", \"echo x >> {count}\"]")),
    ])
    .await?;
    let cluster = company().await?;
    cluster.add_files("files", &files).await?;
    cluster.sync("files").await?.success()?;
    let (good, loops) = (cluster.revision("KB1").await?, cluster.revision("KB2").await?);
    machine.join(&cluster, "lyon").await?;
    approved(&cluster, &[good.clone(), loops.clone()]).await?;

    // A vendor's installer works on the machine itself, so its root is this one.
    let root = Path::new("/");
    let tries = || fs::read_to_string(&count).unwrap_or_default().lines().count();
    until("the installer to have run twice", PATIENCE, async || {
        machine.round_in(root).await?;
        Ok((tries() >= 2).then_some(()))
    })
    .await?;
    let bytes = fs::read(&marker)?;
    ensure!(bytes == File::new("KB1.bin", "1", 3000).bytes(), "the payload came whole");
    for _ in 0..2 {
        machine.round_in(root).await?.success()?;
    }
    ensure!(tries() == 2, "it was installed {} times", tries());
    let status = machine.status().await?;
    let why = status[&loops]["waits_for"].as_str().unwrap_or_default();
    ensure!(why.starts_with("looping") && status[&good]["verdict"] == "installed", "{status:?}");
    let words = words(&cluster, "pc-2", 8).await?;
    ensure!(words[&good]["outcome"] == "success", "{words:?}");
    let told = words[&loops]["message"].as_str().unwrap_or_default();
    ensure!(words[&loops]["outcome"] == "failure" && told.starts_with("looping"), "{words:?}");
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_and_after_its_end_the_machine_joins_again() -> Result<()> {
    let machine = Machine::with("pc-3", &[Sample::new("app", "1")]).await?;
    let vendor = Vendor::with_samples(&[Sample::new("app", "2")]).await?;
    let mut cluster = company().await?;
    cluster.add(&Spec::branch("rome", PRIMARY, "emea/it/rome")).await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    let app = cluster.revision("app").await?;
    machine.join(&cluster, "lyon").await?;
    approved(&cluster, std::slice::from_ref(&app)).await?;
    machine.until_installed(1).await?;
    let ends = async || {
        let status = machine.agent(&["status"]).await?.success()?.json()?;
        let ends = status["certificate_ends"].as_str().context("no end")?;
        Ok::<_, anyhow::Error>(ends.parse::<Timestamp>()?)
    };
    let today = Offset::UTC.to_datetime(Timestamp::now()).date();

    // Two thirds of its life are over: any round renews it.
    machine.certify(&cluster, today - 170.days(), today + 10.days())?;
    ensure!(ends().await? < Timestamp::now() + (24 * 11).hours(), "it is the old one");
    machine.round().await?.success()?;
    let renewed = ends().await?;
    ensure!(renewed > Timestamp::now() + (24 * 179).hours(), "it ends at {renewed}");
    machine.round().await?.success()?;
    ensure!(ends().await? == renewed, "a fresh one is renewed again");

    // A machine that was away for too long says what to do.
    machine.certify(&cluster, today - 200.days(), today - 2.days())?;
    machine.round().await?.failure_that_says(&["certificate ended", "patchmesh agent join"])?;
    let token = ["machine", "token", "workstations", "--via", "rome"];
    let made = cluster.patchmesh(PRIMARY, &token).await?.success()?.json()?;
    let token = made["token"].as_str().context("no token")?;
    let other = machine.agent(&["join", token, "--name", "pc-4"]).await?;
    other.failure_that_says(&["is machine pc-3's"])?;
    // Joined again, at another node, it knows what it did, and tells how it stands.
    let joined = machine.join(&cluster, "rome").await?;
    ensure!(joined["node"] == "rome", "{joined}");
    let idle = machine.round().await?.success()?.json()?;
    ensure!(idle["reported"] == 1 && idle["installed"] == serde_json::json!([]), "{idle}");
    ensure!(machine.status().await?[&app]["verdict"] == "installed", "it forgot");
    let words = words(&cluster, "pc-3", 4).await?;
    ensure!(words[&app]["outcome"] == "success", "{words:?}");
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_verified_and_here_is_installed_while_no_node_is_reached() -> Result<()> {
    let machine = Machine::with("pc-5", &[Sample::new("app", "1")]).await?;
    let vendor = Vendor::with_samples(&[Sample::new("app", "2")]).await?;
    let mut cluster = company().await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    let app = cluster.revision("app").await?;
    machine.join(&cluster, "lyon").await?;
    approved(&cluster, std::slice::from_ref(&app)).await?;
    let waits = async || {
        let status = machine.status().await?;
        let why = status.get(&app).and_then(|row| row["waits_for"].as_str().map(str::to_owned));
        Ok::<_, anyhow::Error>(why.unwrap_or_default())
    };
    let version = async || Ok::<_, anyhow::Error>(machine.packages().await?["app"].clone());

    // In a freeze its file comes, so that it is here when the freeze ends.
    let (now, later) = (Timestamp::now(), Timestamp::now() + (24 * 30).hours());
    let (now, later) = (now.to_string(), later.to_string());
    let freeze = ["freeze", "add", "books", "--from", &now, "--until", &later, "--reason", "x"];
    cluster.patchmesh(PRIMARY, &freeze).await?.success()?;
    cluster.converged(&["lyon"]).await?;
    until("the file to be fetched ahead", PATIENCE, async || {
        let ran = machine.round().await?.success()?.json()?;
        ensure!(
            waits().await?.contains("freeze books holds it"),
            "{ran} {:?}",
            machine.status().await?
        );
        let folders = fs::read_dir(machine.state().join("downloads"))?;
        let whole = folders.filter_map(|one| fs::read_dir(one.ok()?.path()).ok()?.next()?.ok());
        let mut names = whole.filter_map(|one| one.file_name().into_string().ok());
        Ok(names.any(|name| name.ends_with(".deb")).then_some(()))
    })
    .await?;
    ensure!(version().await? == "1", "the freeze did not hold");

    // It failed just now, so it waits though the freeze is over; then the node is gone.
    let memory = machine.state().join("memory.json");
    let remembered = fs::read_to_string(&memory)?;
    let mut kept: Value = serde_json::from_str(&remembered)?;
    kept["attempts"][&app] =
        serde_json::json!({ "without_effect": 0, "failed": 1, "failed_at": now });
    fs::write(&memory, kept.to_string())?;
    cluster.patchmesh(PRIMARY, &["freeze", "end", "books"]).await?.success()?;
    cluster.converged(&["lyon"]).await?;
    machine.round().await?.success()?;
    ensure!(waits().await?.contains("it failed"), "{}", waits().await?);
    fs::write(&memory, remembered)?;

    for node in ["lyon", PRIMARY] {
        cluster.node_mut(node)?.kill().await?;
    }
    let ran = machine.round().await?;
    ensure!(ran.code == 69, "it says that no node is reached: {ran:?}");
    let ran = ran.json()?;
    ensure!(ran["cut_off"].is_string() && ran["installed"][0] == app.as_str(), "{ran}");
    ensure!(version().await? == "2", "it is verified and here");
    let status = machine.agent(&["status"]).await?.success()?.json()?;
    let good_until = status["cut_off"]["good_until"].as_str().context("not good")?;
    ensure!(good_until.parse::<Timestamp>()? > Timestamp::now(), "{status}");
    ensure!(status["unreported"].as_u64().unwrap_or_default() >= 2, "{status}");

    // Metadata that lacks is not made up for: nothing is gone on with then.
    fs::rename(machine.state().join("tuf/snapshot.json"), machine.state().join("away"))?;
    machine.round().await?.failure_that_says(&["of no more use", "snapshot.json"])?;
    let status = machine.agent(&["status"]).await?.success()?.json()?;
    ensure!(status["cut_off"]["good_until"].is_null(), "{status}");

    for node in [PRIMARY, "lyon"] {
        cluster.node_mut(node)?.start().await?;
    }
    let back = machine.round().await?.success()?.json()?;
    ensure!(back["cut_off"].is_null() && back["reported"].as_u64() > Some(1), "{back}");
    ensure!(words(&cluster, "pc-5", 3).await?[&app]["outcome"] == "success", "not told");
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_restart_comes_after_all_installers_when_nobody_is_logged_on() -> Result<()> {
    let before = ["app", "tool"].map(|name| Sample::new(name, "1"));
    let machine = Machine::with("pc-6", &before).await?;
    let vendor = Vendor::with_samples(&["app", "tool"].map(|name| Sample::new(name, "2"))).await?;
    let cluster = company().await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    let both = [cluster.revision("app").await?, cluster.revision("tool").await?];
    machine.join(&cluster, "lyon").await?;
    approved(&cluster, &both).await?;
    let (marker, log) =
        (machine.root.join("run/reboot-required"), machine.folder.path().join("log"));
    let sessions = machine.root.join("run/systemd/sessions");
    fs::create_dir_all(&sessions)?;
    let session = "# This is private data. Do not parse.\nUID=1000\nUSER=ann\nSTATE=active\nTYPE=tty\nCLASS=user\n";
    fs::write(sessions.join("3"), session)?;
    let root = machine.root.display().to_string();
    // As a kernel's package does, and as a restart does with what lies in /run.
    let marks = format!("echo before >> {}; touch {}", log.display(), marker.display());
    let after = format!("echo after >> {}", log.display());
    let restart = format!("echo restart >> {}; rm {}", log.display(), marker.display());
    let common = ["run", "--once", "--root", &root, "--reboot", "unattended"];
    let hooks = ["--reboot-command", &restart, "--pre-hook", &marks, "--post-hook", &after];
    let logged = || fs::read_to_string(&log).unwrap_or_default();

    machine.agent(&common).await?.failure_that_says(&["--reboot-command"])?;
    let refusing =
        [&common[..], &hooks[..2], &["--pre-hook", "echo shop is open; exit 3"]].concat();
    until("both to be there to be installed", PATIENCE, async || {
        let ran = machine.agent(&refusing).await?.success()?.json()?;
        let waiting = ran["waiting"].as_array().context("no list")?;
        let why = |row: &Value| row["why"].as_str().unwrap_or_default().contains("3: shop is open");
        Ok((waiting.iter().filter(|row| why(row)).count() == 2).then_some(()))
    })
    .await?;
    ensure!(machine.packages().await?["app"] == "1", "the hook before did not hold");

    let ran = machine.agent(&[&common[..], &hooks].concat()).await?.success()?.json()?;
    ensure!(ran["installed"].as_array().map(Vec::len) == Some(2), "{ran}");
    ensure!(ran["reboot"]["waits_for"] == "somebody is logged on", "{ran}");
    ensure!(ran["reboot"]["revisions"].as_array().map(Vec::len) == Some(2), "{ran}");
    ensure!(logged() == "before\nafter\n", "{}", logged());
    let word = words(&cluster, "pc-6", 6).await?;
    ensure!(both.iter().all(|one| word[one]["outcome"] == "reboot required"), "{word:?}");
    let shown =
        cluster.patchmesh(PRIMARY, &["machine", "show", "pc-6"]).await?.success()?.json()?;
    ensure!(shown.to_string().contains("reboot-needed"), "{shown}");

    // Nobody is logged on any more, so one restart comes for both.
    fs::remove_file(sessions.join("3"))?;
    let ran = machine.agent(&[&common[..], &hooks].concat()).await?.success()?.json()?;
    ensure!(ran["installed"] == serde_json::json!([]), "{ran}");
    ensure!(logged() == "before\nafter\nrestart\n", "{}", logged());
    let ran = machine.agent(&[&common[..], &hooks].concat()).await?.success()?.json()?;
    ensure!(ran["reboot"].is_null() && logged() == "before\nafter\nrestart\n", "{ran}");
    let word = words(&cluster, "pc-6", 8).await?;
    for one in &both {
        ensure!(word[one]["phase"] == "reboot" && word[one]["outcome"] == "success", "{word:?}");
    }
    // Nothing is due, so nobody restarts it by hand either.
    let by_hand = ["reboot", "--reboot-command", &restart];
    machine.agent(&by_hand).await?.failure_that_says(&["no restart is due"])?;
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_installer_leaves_to_a_restart_is_judged_after_it() -> Result<()> {
    let machine = Machine::with("pc-7", &[]).await?;
    let here = |name: &str| machine.folder.path().join(name).display().to_string();
    let update = |id: &str| {
        let more = format!(
            "[revision.installer]\ninstall = [\"sh\", \"-c\", \"echo x >> {}\"]\nsuccess = [1]\nreboot = [0]\n[revision.detection]\ninstalled = 'file {}'",
            here(&format!("{id}.count")),
            here(id)
        );
        Update::new(id, "1", &[File::new(&format!("{id}.bin"), "1", 3000)]).with(&more)
    };
    let files = FilesVendor::with(&[update("KB1"), update("KB2")]).await?;
    let cluster = company().await?;
    cluster.add_files("files", &files).await?;
    cluster.sync("files").await?.success()?;
    let (good, bad) = (cluster.revision("KB1").await?, cluster.revision("KB2").await?);
    machine.join(&cluster, "lyon").await?;
    approved(&cluster, &[good.clone(), bad.clone()]).await?;
    let tries = |id: &str| {
        let text = fs::read_to_string(here(&format!("{id}.count"))).unwrap_or_default();
        text.lines().count()
    };
    let root = Path::new("/");
    until("both installers to have run", PATIENCE, async || {
        let ran = machine.round_in(root).await?.success()?.json()?;
        ensure!(ran["failed"] == serde_json::json!([]), "it waits for a restart: {ran}");
        Ok((tries("KB1") > 0 && tries("KB2") > 0).then_some(()))
    })
    .await?;
    let ran = machine.round_in(root).await?.success()?.json()?;
    ensure!(ran["reboot"]["revisions"].as_array().map(Vec::len) == Some(2), "{ran}");
    let why = of(&ran["waiting"], &good).and_then(|row| row["why"].as_str()).unwrap_or_default();
    ensure!(why == "a restart of this machine completes it", "{ran}");
    ensure!((tries("KB1"), tries("KB2")) == (1, 1), "an installer ran again before the restart");
    let told = words(&cluster, "pc-7", 6).await?;
    for one in [&good, &bad] {
        ensure!(
            told[one]["phase"] == "installation" && told[one]["outcome"] == "pending",
            "{told:?}"
        );
    }
    // Somebody at the machine agrees; the kernel that is up then is another one.
    let noted = here("restarted");
    let by_hand = ["reboot", "--reboot-command", &format!("touch {noted}")];
    machine.agent(&by_hand).await?.success()?;
    ensure!(Path::new(&noted).exists(), "the command did not run");
    let memory = machine.state().join("memory.json");
    let mut kept: Value = serde_json::from_slice(&fs::read(&memory)?)?;
    ensure!(kept["reboot"]["boot"].is_string(), "{kept}");
    kept["reboot"]["boot"] = "the boot before".into();
    fs::write(&memory, kept.to_string())?;
    fs::write(here("KB1"), "")?;

    let ran = machine.round_in(root).await?.json()?;
    ensure!(
        ran["installed"][0] == good.as_str() && ran["reboot"]["revisions"][0] == bad.as_str(),
        "{ran}"
    );
    let why = of(&ran["failed"], &bad).and_then(|row| row["why"].as_str()).unwrap_or_default();
    ensure!(why == "the machine has restarted, and it is needed still", "{ran}");
    let told = words(&cluster, "pc-7", 10).await?;
    ensure!(told[&good]["outcome"] == "success", "{told:?}");
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rollout_removes_goes_and_what_dpkg_refuses_or_is_held_stays() -> Result<()> {
    let names = ["app", "lib", "kept"];
    let mut before = names.map(|name| Sample::new(name, "1")).to_vec();
    before.push(Sample::new("user", "1").with_depends("lib"));
    let machine = Machine::with("pc-8", &before).await?;
    // This one is beside what the rollout removes: it has another version of it.
    let other = Machine::with("pc-9", &[Sample::new("app", "3")]).await?;
    let vendor = Vendor::with_samples(&names.map(|name| Sample::new(name, "2"))).await?;
    let cluster = company().await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    let mut ids = Vec::new();
    for name in names {
        ids.push(cluster.revision(name).await?);
    }
    let [app, lib, kept] = [&ids[0], &ids[1], &ids[2]];
    machine.join(&cluster, "lyon").await?;
    other.join(&cluster, "lyon").await?;
    approved(&cluster, &ids).await?;
    machine.until_installed(3).await?;
    other.round().await?.success()?;
    let idle = machine.round().await?.success()?.json()?;
    ensure!(idle["reported"] == 0, "what was installed is told once: {idle}");
    // Its last word is the installation, which the time to patch counts.
    let told = words(&cluster, "pc-8", 9).await?;
    ensure!(ids.iter().all(|id| told[id]["phase"] == "installation"), "{told:?}");

    let hold = format!("echo kept hold | dpkg --root {} --set-selections", machine.root.display());
    run(Command::new("sh").args(["-c", &hold])).await?.success()?;
    let plan = plan::write(&cluster, plan::TAKEN_BACK, &plan::list(&ids))?;
    cluster.patchmesh(PRIMARY, &["rollout", "start", &plan]).await?.success()?;
    let ran = until("the rollout to reach the machine", PATIENCE, async || {
        let ran = machine.round().await?.json()?;
        Ok((ran["removed"] != serde_json::json!([])).then_some(ran))
    })
    .await?;
    ensure!(ran["removed"] == serde_json::json!([app]), "{ran}");
    ensure!(ran["installed"] == serde_json::json!([]), "{ran}");
    let why = of(&ran["failed"], lib).and_then(|row| row["why"].as_str()).unwrap_or_default();
    ensure!(why.contains("user depends on lib"), "dpkg's own words are told: {ran}");
    let why = of(&ran["waiting"], kept).and_then(|row| row["why"].as_str()).unwrap_or_default();
    ensure!(why == "this machine's administrator holds kept", "{ran}");
    // Whatever dpkg is asked to do with them: what it refused is marked as to be removed.
    let listed = async || {
        let format = "${db:Status-Status} ${Package} ${Version}\n";
        Ok::<_, anyhow::Error>(
            machine.dpkg("dpkg-query", &["-W", "-f", format]).await?.success()?.stdout,
        )
    };
    let there = listed().await?;
    let expected = "installed kept 2\ninstalled lib 2\ninstalled user 1\n";
    ensure!(there == expected, "{there}");

    // The primary says of each what dpkg has.
    let told = words(&cluster, "pc-8", 11).await?;
    for (id, phase, outcome) in [
        (app, "removal", "success"),
        (lib, "removal", "failure"),
        (kept, "installation", "success"),
    ] {
        ensure!(told[id]["phase"] == phase && told[id]["outcome"] == outcome, "{told:?}");
    }
    // What dpkg refused rests, and nothing is told twice or comes back.
    let idle = machine.round().await?.success()?.json()?;
    ensure!(idle["reported"] == 0 && idle["removed"] == serde_json::json!([]), "{idle}");
    let why = of(&idle["waiting"], lib).and_then(|row| row["why"].as_str()).unwrap_or_default();
    ensure!(why.contains("it is tried again after"), "{idle}");
    ensure!(listed().await? == there, "something came back");

    let ran = other.round().await?.success()?.json()?;
    ensure!(ran["removed"] == serde_json::json!([]), "{ran}");
    ensure!(other.packages().await?["app"] == "3", "another version is not that revision");
    let told = words(&cluster, "pc-9", 2).await?;
    ensure!(told[app]["phase"] == "removal" && told[app]["outcome"] == "success", "{told:?}");
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_somebody_removed_is_not_needed_for_ever() -> Result<()> {
    // It cannot be installed, so it stays needed.
    let machine = Machine::with("pc-10", &[Sample::new("app", "1")]).await?.with_shell().await?;
    let app = Sample::new("app", "2").with_script("preinst", REFUSES);
    let vendor = Vendor::with_samples(&[app]).await?;
    let cluster = company().await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    let app = cluster.revision("app").await?;
    machine.join(&cluster, "lyon").await?;
    approved(&cluster, std::slice::from_ref(&app)).await?;
    until("dpkg to refuse it", PATIENCE, async || {
        let ran = machine.round().await?.json()?;
        Ok((ran["failed"] != serde_json::json!([])).then_some(()))
    })
    .await?;
    ensure!(machine.packages().await?["app"] == "1", "it is installed");
    let told = words(&cluster, "pc-10", 3).await?;
    ensure!(told[&app]["outcome"] == "failure", "{told:?}");
    machine.dpkg("dpkg", &["--purge", "app"]).await?.success()?;
    let ran = machine.round().await?.success()?.json()?;
    ensure!(ran["reported"] == 1, "{ran}");
    let told = words(&cluster, "pc-10", 4).await?;
    ensure!(told[&app]["phase"] == "removal" && told[&app]["outcome"] == "success", "{told:?}");
    ensure!(machine.round().await?.success()?.json()?["reported"] == 0, "it is told again");
    cluster.passed();
    Ok(())
}
