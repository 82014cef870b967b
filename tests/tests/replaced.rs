//! Files out of a vendor's folder that are put in the place of others: real nodes, a real
//! agent, a root of its own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use patchmesh_tests::agent::Machine;
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec};
use patchmesh_tests::plan;
use patchmesh_tests::vendor::files::{File, FilesVendor, Update};
use patchmesh_tests::wait::{PATIENCE, until};
use serde_json::{Value, json};

const CONF: &str = "/etc/example/agent.toml";
const TOOL: &str = "/opt/example/bin/tool";

/// A revision whose files are put in place.
fn update(id: &str, version: &str, files: &[File]) -> Update {
    Update::new(id, version, files).with("[revision.installer]\nkind = \"files\"")
}

/// `app`, with a file that is there already and one that is not.
fn app(version: &str) -> Update {
    let file = |name: &str| {
        File::of(&format!("{version}/{name}"), format!("{name} {version}").into_bytes())
    };
    let files = [file("conf").to(CONF), file("tool").to(TOOL).with_mode("0755")];
    update("app", version, &files)
}

fn at(machine: &Machine, path: &str) -> PathBuf {
    machine.root.join(path.trim_start_matches('/'))
}

fn put(machine: &Machine, path: &str, content: &str, mode: u32) -> Result<()> {
    let path = at(machine, path);
    fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
    fs::write(&path, content)?;
    Ok(fs::set_permissions(&path, fs::Permissions::from_mode(mode))?)
}

/// What is there, with its mode.
fn there(machine: &Machine, path: &str) -> Result<Option<(String, u32)>> {
    let path = at(machine, path);
    if !path.try_exists()? {
        return Ok(None);
    }
    let mode = fs::metadata(&path)?.permissions().mode() & 0o7777;
    Ok(Some((fs::read_to_string(path)?, mode)))
}

fn is(machine: &Machine, path: &str, content: &str, mode: u32) -> Result<()> {
    let found = there(machine, path)?;
    ensure!(found == Some((content.to_owned(), mode)), "{path}: {found:?}");
    Ok(())
}

/// Files that were on their way into their places.
fn leftovers(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(leftovers(&path)?);
        } else if path.file_name().is_some_and(|name| name.to_string_lossy().contains(".patchmesh"))
        {
            found.push(path);
        }
    }
    Ok(found)
}

async fn open(cluster: &Cluster, names: &[&str]) -> Result<Vec<String>> {
    let mut revisions = Vec::new();
    for name in names {
        revisions.push(cluster.revision(name).await?);
    }
    cluster.approve("validation", &revisions).await?;
    cluster.promote(&revisions).await?;
    cluster.converged(&["lyon"]).await?;
    Ok(revisions)
}

async fn cluster(vendor: &FilesVendor, machine: &Machine) -> Result<Cluster> {
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("lyon", PRIMARY, "emea/fr/lyon")).await?;
    cluster.add_files("files", vendor).await?;
    cluster.sync("files").await?.success()?;
    machine.join(&cluster, "lyon").await?;
    Ok(cluster)
}

/// Waits for the primary's last word on a revision to be this.
async fn says(
    cluster: &Cluster,
    revision: &str,
    phase: &str,
    outcome: &str,
    why: &str,
) -> Result<()> {
    until(&format!("the primary to know of {revision}"), PATIENCE, async || {
        let story = cluster.patchmesh(PRIMARY, &["report", "machine", "pc-1"]).await?;
        let story = story.success()?.json()?;
        let words = story["story"]["words"].as_array().context("no words")?;
        let is = |word: &&Value| {
            word["revision"] == revision
                && word["phase"] == phase
                && word["outcome"] == outcome
                && word["message"].as_str().unwrap_or_default().contains(why)
        };
        ensure!(words.iter().any(|word| is(&word)), "it knows {words:?}");
        Ok(Some(()))
    })
    .await
}

/// Rounds until something holds.
async fn rounds(machine: &Machine, what: &str, holds: impl Fn() -> Result<bool>) -> Result<()> {
    until(what, PATIENCE, async || {
        machine.round().await?;
        Ok(holds()?.then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_in_place_are_put_right_and_go_back_to_what_was_there() -> Result<()> {
    let machine = Machine::with("pc-1", &[]).await?;
    put(&machine, CONF, "mine", 0o640)?;
    put(&machine, "/etc/example/kept", "mine", 0o644)?;
    let outside = machine.folder.path().join("outside");
    fs::write(&outside, "theirs")?;
    symlink(&outside, at(&machine, "/etc/example/link"))?;
    let kept = File::of("kept", b"kept 1".to_vec()).to("/etc/example/kept");
    let odd = [
        File::of("odd", b"odd 1".to_vec()).to("/etc/example/odd"),
        File::of("link", b"link 1".to_vec()).to("/etc/example/link"),
    ];
    let others = [update("kept", "1", &[kept]), update("odd", "1", &odd)];
    let vendor = FilesVendor::with(&[&[app("1")][..], &others].concat()).await?;
    let cluster = cluster(&vendor, &machine).await?;
    let first = open(&cluster, &["app", "kept", "odd"]).await?;

    // What cannot be done whole is not done at all, and keeps no other from being done.
    machine.until_installed(2).await?;
    rounds(&machine, "the odd one to have been tried", || {
        let waits = fs::read_to_string(machine.state().join("memory.json"))?;
        Ok(waits.contains("it failed; it is tried again after"))
    })
    .await?;
    is(&machine, CONF, "conf 1", 0o640)?;
    is(&machine, TOOL, "tool 1", 0o755)?;
    ensure!(there(&machine, "/etc/example/odd")?.is_none(), "half of it is there");
    ensure!(fs::read_to_string(&outside)? == "theirs", "a link was followed");
    says(&cluster, &first[2], "installation", "failure", "is a link, and only plain files").await?;

    // A newer version takes its place, and the older one counts as installed.
    vendor.release(&[&[app("1"), app("2")][..], &others].concat()).await?;
    cluster.sync("files").await?.success()?;
    let second = format!("{}@2", first[0].trim_end_matches("@1"));
    cluster.approve("validation", std::slice::from_ref(&second)).await?;
    cluster.promote(std::slice::from_ref(&second)).await?;
    cluster.converged(&["lyon"]).await?;
    let has = |content: &'static str| {
        let machine = &machine;
        move || -> Result<bool> {
            Ok(there(machine, CONF)?.is_some_and(|(found, _)| found == content))
        }
    };
    rounds(&machine, "the second version", has("conf 2")).await?;
    is(&machine, TOOL, "tool 2", 0o755)?;
    let status = machine.status().await?;
    ensure!(status[&first[0]]["verdict"] == "installed", "{status:?}");
    // What somebody changes is put right.
    put(&machine, CONF, "tampered", 0o640)?;
    let ran = machine.round().await?.json()?;
    ensure!(ran["installed"] == json!([second]), "{ran}");
    is(&machine, CONF, "conf 2", 0o640)?;

    // What is taken back goes back, but for what somebody has changed.
    put(&machine, "/etc/example/kept", "tampered", 0o644)?;
    let all = [first[0].clone(), second.clone(), first[1].clone()];
    let plan = plan::write(&cluster, plan::TAKEN_BACK, &plan::list(&all))?;
    cluster.patchmesh(PRIMARY, &["rollout", "start", &plan]).await?.success()?;
    cluster.converged(&["lyon"]).await?;
    rounds(&machine, "what was there first", has("mine")).await?;
    is(&machine, CONF, "mine", 0o640)?;
    ensure!(there(&machine, TOOL)?.is_none(), "it was not there before");
    ensure!(!at(&machine, "/opt").exists(), "the folders were made for it");
    is(&machine, "/etc/example/kept", "tampered", 0o644)?;
    for gone in [&first[0], &second] {
        says(&cluster, gone, "removal", "success", "").await?;
    }
    says(&cluster, &first[1], "removal", "failure", "/etc/example/kept was changed since").await?;
    ensure!(leftovers(&machine.root)?.is_empty(), "{:?}", leftovers(&machine.root)?);
    cluster.passed();
    Ok(())
}

/// Many files, so that it takes a while to put them in place.
const MANY: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_killed_in_the_middle_puts_everything_back_first() -> Result<()> {
    let machine = Machine::with("pc-1", &[]).await?;
    let path = |number: usize| format!("/srv/{number:03}/data");
    let mut files = Vec::with_capacity(MANY);
    for number in 0..MANY {
        put(&machine, &path(number), "old", 0o644)?;
        let content = format!("new {number}").into_bytes();
        files.push(File::of(&format!("data/{number}"), content).to(&path(number)));
    }
    let vendor = FilesVendor::with(&[update("many", "1", &files)]).await?;
    let cluster = cluster(&vendor, &machine).await?;
    open(&cluster, &["many"]).await?;
    let replaced = || -> Result<usize> {
        let mut replaced = 0;
        for number in 0..MANY {
            let (found, _) = there(&machine, &path(number))?.context("no file")?;
            ensure!(found == "old" || found == format!("new {number}"), "{number}: {found}");
            replaced += usize::from(found != "old");
        }
        Ok(replaced)
    };
    // All of it is here before it is begun; nothing is installed where the hook fails.
    let fetch_only = ["run", "--once", "--pre-hook", "false", "--root"];
    let root = machine.root.display().to_string();
    let fetch_only = [&fetch_only[..], &[root.as_str()]].concat();
    until("all files to be here", PATIENCE, async || {
        machine.agent(&fetch_only).await?;
        let status = machine.status().await?;
        let is_held = |row: &Value| {
            row["waits_for"].as_str().unwrap_or_default().contains("the hook before installing")
        };
        Ok(status.values().any(is_held).then_some(()))
    })
    .await?;
    ensure!(replaced()? == 0, "nothing is begun");

    let mut agent = machine.start(&[])?;
    let first = at(&machine, &path(0));
    let begun = Instant::now();
    while fs::read_to_string(&first)? == "old" {
        ensure!(begun.elapsed() < PATIENCE, "it is never begun");
        ensure!(agent.try_wait()?.is_none(), "the agent ended");
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    agent.kill().await?;
    let cut = replaced()?;
    ensure!(0 < cut && cut < MANY, "the agent was killed after {cut} of {MANY}");

    machine.agent(&fetch_only).await?;
    ensure!(replaced()? == 0, "{} of {MANY} are left", replaced()?);
    ensure!(leftovers(&machine.root)?.is_empty(), "{:?}", leftovers(&machine.root)?);
    let ran = machine.round().await?.success()?.json()?;
    ensure!(replaced()? == MANY, "{ran}");
    cluster.passed();
    Ok(())
}
