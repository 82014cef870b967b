//! The demonstration: its JSON, and that it notices a branch that dies.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use patchmesh_tests::binaries;
use patchmesh_tests::run::run_within;
use patchmesh_tests::wait::until;
use serde_json::Value;
use tokio::process::Command;

/// The longest that a demonstration may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(240);

fn demo() -> Result<Command> {
    let mut command = Command::new(binaries::patchmesh()?);
    command.args(["demo", "--once", "--output", "json"]).kill_on_drop(true);
    Ok(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_company_converges() -> Result<()> {
    let outcome = run_within(DEADLINE, &mut demo()?).await?.success()?;
    let report = outcome.json()?;
    let nodes = list(&report, "nodes")?;
    for role in ["primary", "validation", "branch"] {
        ensure!(nodes.iter().any(|node| node["role"] == role), "no {role} in {report}");
    }
    ensure!(nodes.len() >= 6, "a primary, a validation node, a hub and three branches: {report}");
    let generation = nodes[0]["generation"].as_u64().context("no generation")?;
    for node in nodes {
        ensure!(node["converged"] == true, "{node}");
        ensure!(node["generation"].as_u64() == Some(generation), "{node}");
        ensure!(node["name"].is_string() && node["site"].is_string(), "{node}");
    }
    let sets: Vec<&Value> = nodes.iter().map(|node| &node["approval_set"]["production"]).collect();
    ensure!(sets.iter().all(|set| *set == sets[0]), "other approval sets: {report}");
    ensure!(sets[0]["version"].is_u64() && sets[0]["digest"].is_string(), "{report}");
    ensure!(!list(&report, "machines")?.is_empty(), "no machine has fetched anything");
    let files = &report["files"];
    ensure!(files["updated"][0] == "windows:stable/KB5000003@1#2", "no re-release: {files}");
    ensure!(list(files, "supersedes")?.len() == 1, "nothing is superseded: {files}");
    ensure!(list(files, "not_carried")?.len() == 2, "everybody carries everything: {files}");
    let kiosks: Vec<&Value> = list(&report, "machines")?
        .iter()
        .filter(|machine| machine["name"].as_str().is_some_and(|name| name.ends_with("-kiosk")))
        .collect();
    ensure!(kiosks.len() == 2 && kiosks.iter().all(|one| one["ok"] == true), "{kiosks:?}");
    ensure!(report["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{report}");
    Ok(())
}

fn list<'a>(report: &'a Value, field: &str) -> Result<&'a Vec<Value>> {
    report[field].as_array().with_context(|| format!("no list {field:?} in {report}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_dies_in_between_is_named() -> Result<()> {
    let mut command = demo()?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn()?;
    let demo = child.id().context("it has ended already")?;

    let (name, id) = until("a branch to run", DEADLINE, async || Ok(a_branch_of(demo))).await?;
    Command::new("kill").args(["-KILL", &id.to_string()]).status().await?;

    let output = tokio::time::timeout(DEADLINE, child.wait_with_output()).await??;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "it did not notice that {name} died: {said}");
    let printed = String::from_utf8_lossy(&output.stdout);
    ensure!(said.contains(&name) || printed.contains(&name), "{name} is not named: {said}");
    Ok(())
}

/// A serving process below the demonstration that is a branch, by the last step
/// of its data folder.
fn a_branch_of(parent: u32) -> Option<(String, u32)> {
    let entries = std::fs::read_dir("/proc").ok()?;
    for entry in entries.flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if parent_of(id) != Some(parent) {
            continue;
        }
        let Ok(line) = std::fs::read_to_string(format!("/proc/{id}/cmdline")) else { continue };
        let words: Vec<&str> = line.split('\0').collect();
        let serves = words.contains(&"serve");
        let data = words.iter().position(|word| *word == "--data").and_then(|at| words.get(at + 1));
        let name = data.and_then(|data| data.rsplit('/').find(|step| !step.is_empty()));
        if let (true, Some(name)) = (serves, name)
            && BRANCHES.contains(&name)
        {
            return Some((name.to_owned(), id));
        }
    }
    None
}

/// Branches of the demonstration that have no children.
const BRANCHES: &[&str] = &["lyon", "osaka"];

fn parent_of(id: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}
