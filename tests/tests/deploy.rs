//! What `deploy/` ships is what the program and the system's own tools take.
//!
//! A tool that is not installed is said loudly and its check left out;
//! `make setup` installs them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use patchmesh_tests::binaries;
use patchmesh_tests::cluster::free_address;
use patchmesh_tests::run::{Outcome, is_installed, run};
use patchmesh_tests::wait::{PATIENCE, until};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// How exposed a service may be, by the word of `systemd-analyze security`,
/// out of 100.
const THRESHOLD: &str = "15";

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// Whether a tool is there; says so where it is not.
fn has(tool: &str) -> bool {
    let installed = is_installed(tool);
    if !installed {
        eprintln!("==== NOT CHECKED: {tool} is not installed; run `make setup`");
    }
    installed
}

fn files(folder: &str, end: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(deploy().join(folder))? {
        let path = entry?.path();
        if path.extension().is_some_and(|one| one == end) {
            found.push(path);
        }
    }
    found.sort();
    ensure!(!found.is_empty(), "nothing in deploy/{folder}");
    Ok(found)
}

/// `config check` of a file, without variables of this process.
async fn check(file: &Path) -> Result<Outcome> {
    let mut command = Command::new(binaries::patchmesh()?);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PATCHMESH_")) {
        command.env_remove(name);
    }
    run(command.args(["config", "check", "--config"]).arg(file)).await
}

#[tokio::test]
async fn every_sample_configuration_is_good() -> Result<()> {
    let samples = files("config", "toml")?;
    ensure!(samples.len() == 3, "{samples:?}");
    let folder = TempDir::new()?;
    for sample in samples {
        check(&sample).await?.success()?;
        // The check looks at every key of the file.
        let wrong = folder.path().join("wrong.toml");
        fs::write(&wrong, fs::read_to_string(&sample)?.replace("listen =", "lisen ="))?;
        check(&wrong).await?.failure_that_says(&["lisen"])?;
    }
    Ok(())
}

/// The unit with the program that was built in place of the installed one, so
/// that it can be verified here.
fn unit_here(unit: &Path, folder: &Path) -> Result<PathBuf> {
    let program = binaries::patchmesh()?.display().to_string();
    let text = fs::read_to_string(unit)?.replace("/usr/bin/patchmesh", &program);
    let place = folder.join(unit.file_name().context("a name")?);
    fs::write(&place, text)?;
    Ok(place)
}

#[tokio::test]
async fn the_units_verify_and_are_closed_in() -> Result<()> {
    if !has("systemd-analyze") {
        return Ok(());
    }
    let folder = TempDir::new()?;
    let mut units = files("systemd", "service")?;
    units.extend(files("systemd", "timer")?);
    ensure!(units.len() == 4, "{units:?}");
    let here: Vec<PathBuf> =
        units.iter().map(|unit| unit_here(unit, folder.path())).collect::<Result<_>>()?;
    for unit in &here {
        let outcome = run(Command::new("systemd-analyze").arg("verify").arg(unit)).await?;
        let outcome = outcome.success()?;
        ensure!(outcome.stderr.is_empty(), "{}: {}", unit.display(), outcome.stderr);
    }
    let analyze = |unit: &Path| {
        let mut command = Command::new("systemd-analyze");
        command.args(["security", "--no-pager", "--offline=true"]);
        command.arg(format!("--threshold={THRESHOLD}")).arg(unit);
        command
    };
    // The agent changes the whole system, and so it may.
    let is_closed = |unit: &&PathBuf| {
        let name = unit.file_name().unwrap_or_default();
        name.to_string_lossy().ends_with(".service") && name != "patchmesh-agent.service"
    };
    for unit in here.iter().filter(is_closed) {
        run(&mut analyze(unit)).await?.success()?;
    }
    // It does tell an open one.
    let open = folder.path().join("open.service");
    fs::write(&open, "[Service]\nExecStart=/bin/true\n")?;
    ensure!(run(&mut analyze(&open)).await?.code != 0, "anything passes");
    Ok(())
}

#[tokio::test]
async fn the_user_and_the_folders_can_be_made() -> Result<()> {
    if has("systemd-sysusers") {
        let file = deploy().join("sysusers.d/patchmesh.conf");
        let made = run(Command::new("systemd-sysusers").arg("--dry-run").arg(file)).await?;
        let said = made.success()?;
        let said = format!("{}{}", said.stdout, said.stderr);
        ensure!(!said.to_lowercase().contains("ignoring"), "{said}");
    }
    if has("systemd-tmpfiles") {
        let root = TempDir::new()?;
        fs::create_dir(root.path().join("etc"))?;
        let ids = {
            use std::os::unix::fs::MetadataExt;
            let owner = fs::metadata(root.path())?;
            (owner.uid(), owner.gid())
        };
        // Nobody but root can give folders away.
        let user = format!("patchmesh:x:{}:{}::/:/bin/sh\nroot:x:0:0::/:/bin/sh\n", ids.0, ids.1);
        fs::write(root.path().join("etc/passwd"), user)?;
        let group = format!("patchmesh:x:{}:\nroot:x:0:\n", ids.1);
        fs::write(root.path().join("etc/group"), group)?;
        let file = deploy().join("tmpfiles.d/patchmesh.conf");
        let mut command = Command::new("systemd-tmpfiles");
        command.arg(format!("--root={}", root.path().display())).arg("--create").arg(file);
        run(&mut command).await?.success()?;
        let folder = fs::metadata(root.path().join("var/backups/patchmesh"))?;
        use std::os::unix::fs::PermissionsExt;
        ensure!(folder.permissions().mode() & 0o777 == 0o700, "backups are open to others");
    }
    Ok(())
}

/// A YAML file as JSON, by Python's reader.
async fn yaml(file: &Path) -> Result<Option<Value>> {
    const READ: &str =
        "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    let probe = run(Command::new("python3").args(["-c", "import yaml"])).await;
    if !probe.is_ok_and(|probe| probe.code == 0) {
        eprintln!("==== NOT CHECKED: python3-yaml is not installed; run `make setup`");
        return Ok(None);
    }
    let read = run(Command::new("python3").args(["-c", READ]).arg(file)).await?;
    Ok(Some(read.success()?.json()?))
}

#[tokio::test]
async fn the_compose_file_describes_one_mesh() -> Result<()> {
    let file = deploy().join("container/compose.yaml");
    let Some(compose) = yaml(&file).await? else { return Ok(()) };
    let services = compose["services"].as_object().context("no services")?;
    let volumes = compose["volumes"].as_object().context("no volumes")?;
    let invited = compose["services"]["hq"]["environment"]["MESH_INVITE"].as_str();
    let mut known = vec!["hq"];
    for one in invited.context("nobody is invited")?.split_whitespace() {
        let parts: Vec<&str> = one.split(':').collect();
        ensure!(parts.len() == 4, "{one}");
        ensure!(known.contains(&parts[2]), "{one}: the parent comes later");
        known.push(parts[0]);
    }
    ensure!(services.len() == known.len(), "{known:?} are not the services");
    for (name, service) in services {
        ensure!(known.contains(&name.as_str()), "{name} is not invited");
        ensure!(service["environment"]["MESH_NODE"] == name.as_str(), "{name}: another name");
        let url = format!("https://{name}:8443");
        ensure!(service["environment"]["MESH_URL"] == url.as_str(), "{name}: another URL");
        ensure!(service["image"] == "patchmesh" && service["read_only"] == true, "{name}");
        for volume in service["volumes"].as_array().context("no volumes")? {
            let (volume, _) =
                volume.as_str().and_then(|one| one.split_once(':')).context("a volume")?;
            ensure!(volumes.contains_key(volume), "{name}: no volume {volume}");
        }
    }
    let recipe = deploy().join("container/Containerfile");
    let recipe = fs::read_to_string(recipe)?;
    for needed in ["FROM ", "COPY deploy/container/node.sh", "USER patchmesh", "ENTRYPOINT "] {
        ensure!(recipe.contains(needed), "the Containerfile lacks {needed}");
    }
    Ok(())
}

/// A container's entry point, run as a process of this host.
fn container(folder: &Path, name: &str, more: &[(&str, String)]) -> Result<(Child, PathBuf)> {
    let address = free_address()?;
    let data = folder.join(name);
    let mut command = Command::new("sh");
    for (variable, _) in std::env::vars().filter(|(name, _)| name.starts_with("PATCHMESH_")) {
        command.env_remove(variable);
    }
    let log = fs::File::create(folder.join(format!("{name}.log")))?;
    command
        .arg(deploy().join("container/node.sh"))
        .env("PATCHMESH_PROGRAM", binaries::patchmesh()?)
        .env("PATCHMESH_DATA", &data)
        .env("MESH_TOKENS", folder.join("tokens"))
        .env("MESH_NODE", name)
        .env("MESH_URL", format!("https://{address}"))
        .env("MESH_LISTEN", address.to_string())
        .envs(more.iter().map(|(name, value)| (*name, value.as_str())))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true);
    Ok((command.spawn()?, data))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_containers_entry_point_makes_a_mesh() -> Result<()> {
    let folder = TempDir::new()?;
    fs::create_dir(folder.path().join("tokens"))?;
    let invite = "hub:branch:hq:emea lyon:branch:hub:emea/fr/lyon".to_owned();
    let more = [("MESH_INVITE", invite), ("MESH_SITE", "emea/hq".to_owned())];
    let (hq, data) = container(folder.path(), "hq", &more)?;
    let (hub, _) = container(folder.path(), "hub", &[])?;
    let (lyon, below) = container(folder.path(), "lyon", &[])?;
    let outcome = until("the three to be one mesh", PATIENCE, async || {
        let mut command = Command::new(binaries::patchmesh()?);
        command.arg("--data").arg(&data).args(["--output", "json", "nodes"]);
        let nodes = run(&mut command).await?.success()?.json()?;
        let nodes = nodes["nodes"].as_array().context("no nodes")?.clone();
        let converged = nodes.iter().filter(|node| node["converged"] == true).count();
        ensure!(nodes.len() == 3 && converged == 3, "{converged} of {nodes:?}");
        Ok(Some(()))
    })
    .await;
    let logs = || {
        ["hq", "hub", "lyon"].map(|name| {
            fs::read_to_string(folder.path().join(format!("{name}.log"))).unwrap_or_default()
        })
    };
    outcome.with_context(|| logs().join("\n----\n"))?;
    ensure!(below.join("identity/cert.pem").exists(), "lyon has no certificate");
    for mut one in [lyon, hub, hq] {
        // As a container is stopped.
        let id = one.id().context("it ended by itself")?;
        run(Command::new("kill").args(["-TERM", &id.to_string()])).await?.success()?;
        tokio::time::timeout(PATIENCE, one.wait()).await.context("it did not stop")??;
    }
    Ok(())
}
