//! Agents on machines: real processes, roots with a dpkg state of their own, real
//! packages. What the primary says has to be what `dpkg-query` says.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use patchmesh_tests::binaries;
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec};
use patchmesh_tests::run::{Outcome, run};
use patchmesh_tests::vendor::files::{File, FilesVendor, Update};
use patchmesh_tests::vendor::{Sample, Vendor};
use patchmesh_tests::wait::{PATIENCE, until};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

/// A machine: a root with its own dpkg, and the agent's folder beside it.
struct Machine {
    name: String,
    folder: TempDir,
    root: PathBuf,
}

impl Machine {
    /// With these packages installed by real dpkg.
    async fn with(name: &str, packages: &[Sample]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("patchmesh-agent-").tempdir()?;
        let root = folder.path().join("root");
        for path in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/log", "etc"] {
            fs::create_dir_all(root.join(path))?;
        }
        fs::write(root.join("var/lib/dpkg/status"), "")?;
        fs::write(root.join("etc/os-release"), "ID=debian\nVERSION_ID=\"12\"\n")?;
        let machine = Self { name: name.to_owned(), root, folder };
        for package in packages {
            let built = package.build(machine.folder.path()).await?;
            machine.dpkg("dpkg", &["-i", &built.file.display().to_string()]).await?.success()?;
        }
        Ok(machine)
    }

    async fn dpkg(&self, tool: &str, arguments: &[&str]) -> Result<Outcome> {
        run(Command::new(tool).arg("--root").arg(&self.root).args(arguments)).await
    }

    /// The versions of the packages that are installed, as dpkg-query has them.
    async fn packages(&self) -> Result<BTreeMap<String, String>> {
        let format = "${db:Status-Abbrev} ${Package} ${Version}\n";
        let listed = self.dpkg("dpkg-query", &["-W", "-f", format]).await?.success()?;
        let lines = listed.stdout.lines().filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [state, name, version] = words[..] else { return None };
            (state == "ii").then(|| (name.to_owned(), version.to_owned()))
        });
        Ok(lines.collect())
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    async fn agent(&self, arguments: &[&str]) -> Result<Outcome> {
        let mut command = Command::new(binaries::patchmesh()?);
        command.args(["--output", "json", "agent"]).args(arguments);
        command.arg("--state").arg(self.state());
        run(&mut command).await
    }

    async fn join(&self, cluster: &Cluster, via: &str) -> Result<Value> {
        let arguments = ["machine", "token", "workstations", "--via", via];
        let made = cluster.patchmesh(PRIMARY, &arguments).await?.success()?.json()?;
        let token = made["token"].as_str().context("no token")?;
        self.agent(&["join", token, "--name", &self.name]).await?.success()?.json()
    }

    /// One round, however it ends, in this machine's root or another one.
    async fn round_in(&self, root: &Path) -> Result<Outcome> {
        self.agent(&["run", "--once", "--root", &root.display().to_string()]).await
    }

    async fn round(&self) -> Result<Outcome> {
        self.round_in(&self.root).await
    }

    async fn status(&self) -> Result<BTreeMap<String, Value>> {
        let status = self.agent(&["status"]).await?.success()?.json()?;
        let rows = status["revisions"].as_array().context("no revisions")?.clone();
        let named = |row: Value| Some((row["revision"].as_str()?.to_owned(), row));
        Ok(rows.into_iter().filter_map(named).collect())
    }
}

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
    cluster.approve("validation", revisions).await?;
    cluster.promote(revisions).await?;
    cluster.converged(&["lyon"]).await
}

/// A primary and a branch in Lyon.
async fn company() -> Result<Cluster> {
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("lyon", PRIMARY, "emea/fr/lyon")).await?;
    Ok(cluster)
}

/// Rounds until everything that is approved is there to be fetched.
async fn until_installed(machine: &Machine, count: usize) -> Result<Value> {
    until("the branch to have the content", PATIENCE, async || {
        let ran = machine.round().await?.json()?;
        let installed = machine.status().await?;
        let done = installed.values().filter(|row| row["verdict"] == "installed").count();
        Ok((done >= count).then_some(ran))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_primary_says_is_what_dpkg_says() -> Result<()> {
    let before = ["app", "tool", "broken"].map(|name| Sample::new(name, "1"));
    let machine = Machine::with("pc-1", &before).await?;
    // Nobody can install `broken`: what it needs first is nowhere.
    let vendor = Vendor::with_samples(&[
        Sample::new("app", "2"),
        Sample::new("tool", "2"),
        Sample::new("other", "2"),
        Sample::new("broken", "2").with_field("Pre-Depends", "nowhere (>= 9)"),
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
    until_installed(&machine, 2).await?;
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
    ensure!(message.contains("nowhere"), "dpkg's own words are told: {message}");

    // What failed is left alone for a while, and nothing is done twice.
    let idle = machine.round().await?.success()?.json()?;
    ensure!(idle["installed"] == serde_json::json!([]) && idle["reported"] == 0, "{idle}");
    ensure!(of(&idle["waiting"], &broken).is_some(), "{idle}");
    let kept = machine.state().join("downloads").read_dir()?.count();
    ensure!(kept == 1, "only what failed is kept for the next time, not {kept}");

    // A node that was killed loses nothing; what is withdrawn is not installed.
    vendor.release(&[Sample::new("app", "3"), Sample::new("tool", "3")]).await?;
    cluster.sync("vendor").await?.success()?;
    let newer = cluster.updates().await?;
    let find = |name: &str| {
        let one = newer.iter().find(|row| row.revision.ends_with(&format!("/{name}@3")));
        one.map(|row| row.revision.clone()).context("no such revision")
    };
    let (app3, tool3) = (find("app")?, find("tool")?);
    approved(&cluster, &[app3.clone(), tool3.clone()]).await?;
    cluster.decline("breaks the till", std::slice::from_ref(&tool3)).await?;
    cluster.converged(&["lyon"]).await?;
    cluster.node_mut("lyon")?.kill().await?;
    let unreachable = machine.round().await?;
    ensure!(unreachable.code != 0, "the node is gone");
    cluster.node_mut("lyon")?.start().await?;
    until_installed(&machine, 2).await?;
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
