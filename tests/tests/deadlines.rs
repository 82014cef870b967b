//! Machines that install by themselves what is due: real agents, real dpkg.

use anyhow::{Context, Result, ensure};
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use patchmesh_tests::agent::Machine;
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec};
use patchmesh_tests::plan;
use patchmesh_tests::vendor::{Sample, Vendor};
use patchmesh_tests::wait::{PATIENCE, until};
use patchmesh_topology::digest::Digest;
use serde_json::{Value, json};

/// Due a second after entry where that is critical, in a year where it is low.
const DUE: &str = r#"
name = "NAME"
deadline = "custom"

[deadline_times]
critical = "1s"
important = "25s"
low = "9000h"

[what]
revisions = [REVISION]

[[wave]]
name = "all"
"#;

async fn asks(cluster: &Cluster, arguments: &[&str]) -> Result<Value> {
    cluster.patchmesh(PRIMARY, arguments).await?.success()?.json()
}

/// What headquarters makes of a revision: machines hear of it as a deadline alone.
async fn judge(cluster: &Cluster, revision: &str, risk: &str) -> Result<()> {
    asks(cluster, &["assess", "set", revision, "--risk", risk, "--note", "a test"]).await?;
    cluster.converged(&["lyon"]).await
}

/// Sets something of the group, and waits until Lyon knows.
async fn set(cluster: &Cluster, setting: &[&str]) -> Result<()> {
    asks(cluster, &[&["group", "set", "workstations"], setting].concat()).await?;
    cluster.converged(&["lyon"]).await
}

/// Starts a plan of this name for revisions that validation has.
async fn start(cluster: &Cluster, text: &str, name: &str, revisions: &[String]) -> Result<()> {
    let path = plan::write(cluster, &text.replace("NAME", name), &plan::list(revisions))?;
    asks(cluster, &["rollout", "start", &path]).await?;
    cluster.converged(&["lyon"]).await
}

/// Rounds until the machine has this version of a package; the last one's answer.
async fn has(machine: &Machine, package: &str, version: &str) -> Result<Value> {
    until(&format!("{package} {version} to be installed"), PATIENCE, async || {
        let ran = machine.round().await?.success()?.json()?;
        Ok((machine.packages().await?[package] == version).then_some(ran))
    })
    .await
}

/// The last word that the primary has of a revision.
async fn word(cluster: &Cluster, machine: &str, revision: &str) -> Result<Value> {
    until(&format!("{revision} to be told as installed"), PATIENCE, async || {
        let story = asks(cluster, &["machine", "show", machine]).await?;
        let words = story["words"].as_array().context("no words")?;
        let word = words.iter().find(|word| word["revision"] == revision);
        let is_done =
            |word: &&Value| word["phase"] == "installation" && word["outcome"] == "success";
        Ok(word.filter(is_done).cloned())
    })
    .await
}

/// What the primary has the machine lack, once it is overdue.
async fn overdue(cluster: &Cluster, machine: &Machine) -> Result<Vec<Value>> {
    until("the machine to be overdue", PATIENCE, async || {
        machine.round().await?.success()?;
        let told = asks(cluster, &["report", "machine", &machine.name]).await?;
        let needs = told["verdict"]["needs"].as_array().context("no needs")?.clone();
        Ok((told["verdict"]["verdict"] == "overdue").then_some(needs))
    })
    .await
}

fn time(value: &Value) -> Result<Timestamp> {
    Ok(value.as_str().with_context(|| format!("no time: {value}"))?.parse()?)
}

/// A window that is not now and will be.
fn window() -> String {
    let then = TimeZone::UTC.to_datetime(Timestamp::now()).date() + 3.days();
    let day = match then.weekday() {
        Weekday::Monday => "Mon",
        Weekday::Tuesday => "Tue",
        Weekday::Wednesday => "Wed",
        Weekday::Thursday => "Thu",
        Weekday::Friday => "Fri",
        Weekday::Saturday => "Sat",
        Weekday::Sunday => "Sun",
    };
    format!("windows = [\"{day} 03:00-04:00\"]\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_goes_without_a_person_where_the_group_says_so() -> Result<()> {
    let names = ["app", "tool", "till", "kept"];
    let machine = Machine::with("pc-1", &names.map(|name| Sample::new(name, "1"))).await?;
    let vendor = Vendor::with_samples(&names.map(|name| Sample::new(name, "2"))).await?;
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("lyon", PRIMARY, "emea/fr/lyon")).await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    let app = cluster.revision("app").await?;
    let tool = cluster.revision("tool").await?;
    let till = cluster.revision("till").await?;
    let kept = cluster.revision("kept").await?;
    let all = [app.clone(), tool.clone(), till.clone(), kept.clone()];
    cluster.approve("validation", &all).await?;
    machine.join(&cluster, "lyon").await?;
    set(&cluster, &["--install-mode", "notify"]).await?;
    for (revision, risk) in all.iter().zip(["critical", "low", "critical", "critical"]) {
        judge(&cluster, revision, risk).await?;
    }
    start(&cluster, DUE, "spring", &[app.clone(), tool.clone(), kept.clone()]).await?;
    // The same, and its window is closed.
    start(&cluster, &format!("{DUE}{}", window()), "night", std::slice::from_ref(&till)).await?;
    let except = ["exception", "add", "lab", "--machine", "pc-1", "--revision", &kept];
    let why = ["--until", "2099-01-01T00:00:00Z", "--reason", "r", "--workaround", "w"];
    asks(&cluster, &[&except[..], &why, &["--owner", "ada"]].concat()).await?;
    cluster.converged(&["lyon"]).await?;

    // It waits for a person, however long it is overdue, and is not even fetched.
    overdue(&cluster, &machine).await?;
    let ran = machine.round().await?.success()?.json()?;
    ensure!(ran["installed"] == json!([]), "{ran}");
    let status = machine.status().await?;
    ensure!(status[&app]["for_person"] == true && status[&app]["due_at"].is_null(), "{status:?}");
    ensure!(std::fs::read_dir(machine.state().join("downloads"))?.count() == 0);

    // From now on what is due goes by itself, and nothing else along with it.
    set(&cluster, &["--at-deadline", "install"]).await?;
    let groups = asks(&cluster, &["group", "list"]).await?;
    let groups = groups["groups"].as_array().context("groups")?.clone();
    let answer =
        |name: &str| groups.iter().find(|one| one["name"] == name).map(|one| &one["at_deadline"]);
    ensure!(answer("workstations") == Some(&json!("install")), "{groups:?}");
    ensure!(answer("servers") == Some(&json!("wait")), "{groups:?}");
    let ran = has(&machine, "app", "2").await?;
    ensure!(ran["installed"] == json!([app]), "{ran}");
    let told = word(&cluster, "pc-1", &app).await?;
    let message = told["message"].as_str().unwrap_or_default();
    ensure!(message.contains("it went by itself: its deadline was 20"), "{told}");
    let packages = machine.packages().await?;
    ensure!(["tool", "till", "kept"].iter().all(|name| packages[*name] == "1"), "{packages:?}");

    // Machine and console have one deadline; what waits says when it goes.
    let needs = overdue(&cluster, &machine).await?;
    let status = machine.status().await?;
    ensure!(needs.len() == 2, "{needs:?}");
    for need in &needs {
        let name = need["revision"].as_str().context("a revision")?;
        let own = time(&status[name]["due_at"])?;
        ensure!(own.as_second() == time(&need["due_at"])?.as_second(), "{name}: {own}, {need}");
    }
    let row = &status[&tool];
    let why = row["waits_for"].as_str().unwrap_or_default();
    ensure!(row["for_person"] == true && why.contains("; by itself from 20"), "{row}");
    ensure!(row["goes_at"] == row["due_at"], "{row}");
    let waiting = ran["waiting"].as_array().context("waiting")?;
    let of_tool = waiting.iter().find(|one| one["revision"] == tool.as_str());
    ensure!(of_tool.is_some_and(|one| one["due_at"] == row["due_at"]), "{ran}");
    // A deadline opens no window.
    let row = &status[&till];
    let why = row["waits_for"].as_str().unwrap_or_default();
    ensure!(why.starts_with("wave all installs from"), "{row}");
    ensure!(time(&row["goes_at"])? > Timestamp::now() + SignedDuration::from_hours(24), "{row}");
    // Whoever does without it has no deadline.
    let row = &status[&kept];
    let why = row["waits_for"].as_str().unwrap_or_default();
    ensure!(why.contains("exception lab") && row["due_at"].is_null(), "{row}");

    // Headquarters learns more of it, or the exception is over.
    set(&cluster, &["--install-mode", "manual"]).await?;
    judge(&cluster, &tool, "critical").await?;
    has(&machine, "tool", "2").await?;
    asks(&cluster, &["exception", "end", "lab"]).await?;
    cluster.converged(&["lyon"]).await?;
    has(&machine, "kept", "2").await?;
    ensure!(machine.packages().await?["till"] == "1");
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_goes_before_the_time_to_install() -> Result<()> {
    let (name, names) = (prompt(), ["app", "tool"]);
    let machine = Machine::with(&name, &names.map(|name| Sample::new(name, "1"))).await?;
    let vendor = Vendor::with_samples(&names.map(|name| Sample::new(name, "2"))).await?;
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("lyon", PRIMARY, "emea/fr/lyon")).await?;
    machine.join(&cluster, "lyon").await?;
    set(&cluster, &["--at-deadline", "install"]).await?;
    let far = TimeZone::system().to_datetime(Timestamp::now()) + 12.hours();
    let mut agent = machine.start(&["--at", &far.strftime("%H:%M").to_string()])?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    let (app, tool) = (cluster.revision("app").await?, cluster.revision("tool").await?);
    cluster.approve("validation", &[app.clone(), tool.clone()]).await?;
    judge(&cluster, &app, "critical").await?;
    judge(&cluster, &tool, "low").await?;
    start(&cluster, DUE, "spring", &[app.clone(), tool.clone()]).await?;
    let told = word(&cluster, &name, &app).await?;
    ensure!(told["message"].as_str().unwrap_or_default().contains("it went by itself"), "{told}");
    let status = machine.status().await?;
    let why = status[&tool]["waits_for"].as_str().unwrap_or_default();
    ensure!(why.contains("installs and removes by itself at"), "{status:?}");
    ensure!(machine.packages().await?["tool"] == "1" && agent.try_wait()?.is_none());
    agent.kill().await?;
    cluster.passed();
    Ok(())
}

/// A machine whose own part of the time by which rounds are spread is next to nothing.
fn prompt() -> String {
    let names = (0..).map(|number| format!("pc-{number}"));
    let part = |name: &String| {
        let digest = Digest::of(name.as_bytes());
        u16::from_be_bytes([digest.as_bytes()[0], digest.as_bytes()[1]])
    };
    names.into_iter().find(|name| part(name) < 32).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_runs_begins_a_round_at_the_deadline() -> Result<()> {
    let name = prompt();
    let machine = Machine::with(&name, &[Sample::new("app", "1")]).await?;
    let vendor = Vendor::with_samples(&[Sample::new("app", "2")]).await?;
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("lyon", PRIMARY, "emea/fr/lyon")).await?;
    machine.join(&cluster, "lyon").await?;
    set(&cluster, &["--install-mode", "manual", "--at-deadline", "install"]).await?;
    let mut agent = machine.start(&["--every", "30h"])?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    let app = cluster.revision("app").await?;
    cluster.approve("validation", std::slice::from_ref(&app)).await?;
    judge(&cluster, &app, "important").await?;
    start(&cluster, DUE, "spring", std::slice::from_ref(&app)).await?;
    let told = word(&cluster, &name, &app).await?;
    ensure!(machine.packages().await?["app"] == "2" && agent.try_wait()?.is_none());
    let message = told["message"].as_str().unwrap_or_default();
    let (_, due) = message.rsplit_once("its deadline was ").context("another message")?;
    let due: Timestamp = due.parse()?;
    // The message has whole seconds.
    ensure!(time(&told["at"])? + SignedDuration::from_secs(1) > due, "{told}");
    agent.kill().await?;
    cluster.passed();
    Ok(())
}
