//! Machines whose branch is gone: the nodes above it stand in, and keep to what its site
//! holds back.

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use patchmesh_tests::agent::Machine;
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec};
use patchmesh_tests::vendor::{Sample, Vendor};
use patchmesh_tests::wait::{PATIENCE, until};
use serde_json::Value;

/// A branch below a hub, and a machine that joined there with these packages in version 1
/// of which the vendor has version 2.
async fn company(packages: &[&str]) -> Result<(Cluster, Vendor, Machine)> {
    let in_version = |version| packages.iter().map(move |name| Sample::new(name, version));
    let machine = Machine::with("pc-1", &in_version("1").collect::<Vec<_>>()).await?;
    let vendor = Vendor::with_samples(&in_version("2").collect::<Vec<_>>()).await?;
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("hub", PRIMARY, "emea")).await?;
    cluster.add(&Spec::branch("lyon", "hub", "emea/fr/lyon")).await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    machine.join(&cluster, "lyon").await?;
    Ok((cluster, vendor, machine))
}

async fn allow(cluster: &Cluster, package: &str, nodes: &[&str]) -> Result<String> {
    let revision = cluster.revision(package).await?;
    cluster.allow(std::slice::from_ref(&revision)).await?;
    cluster.converged(nodes).await?;
    Ok(revision)
}

async fn pull(cluster: &Cluster, node: &str, what: &[&str]) -> Result<()> {
    let until = (Timestamp::now() + SignedDuration::from_hours(1)).to_string();
    let brake = [&["brake", "pull", "till", "--until", &until, "--reason", "stocktaking"], what];
    cluster.patchmesh(node, &brake.concat()).await?.success()?;
    Ok(())
}

async fn has(machine: &Machine, package: &str) -> Result<bool> {
    Ok(machine.packages().await?.get(package).is_some_and(|version| version == "2"))
}

/// Rounds until a package is there in version 2; how many events nodes took meanwhile.
async fn installs(machine: &Machine, package: &str) -> Result<u64> {
    let mut reported = 0;
    until(&format!("{package} 2"), PATIENCE, async || {
        let ran = machine.round().await?.success()?.json()?;
        reported += ran["reported"].as_u64().context("no number")?;
        Ok(has(machine, package).await?.then_some(()))
    })
    .await?;
    Ok(reported)
}

/// Waits until the primary has counted so many events of the machine; its story.
async fn counted(cluster: &Cluster, events: u64) -> Result<Value> {
    until(&format!("{events} events to be counted"), PATIENCE, async || {
        let shown = cluster.patchmesh(PRIMARY, &["machine", "show", "pc-1"]).await?;
        let shown = shown.success()?.json()?;
        let seen = shown["events"].as_u64().context("no events")?;
        ensure!(seen <= events, "{seen} events are counted, and there were {events}: {shown}");
        Ok((seen == events).then_some(shown))
    })
    .await
}

/// Who is asked instead of the machine's own node, and whether nobody is reached.
async fn at(machine: &Machine) -> Result<[Value; 2]> {
    let status = machine.agent(&["status"]).await?.success()?.json()?;
    Ok([status["at"].clone(), status["cut_off"].clone()])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_goes_on_above_its_branch_and_comes_home() -> Result<()> {
    let (mut cluster, _vendor, machine) = company(&["app", "tool", "late"]).await?;
    allow(&cluster, "app", &["hub", "lyon"]).await?;
    let mut events = installs(&machine, "app").await?;
    ensure!(at(&machine).await? == [Value::Null, Value::Null]);

    // The branch is gone: the hub serves and takes reports, also what is held at its own
    // site. The machine is in Lyon still.
    cluster.node_mut("lyon")?.kill().await?;
    pull(&cluster, "hub", &[]).await?;
    let tool = allow(&cluster, "tool", &["hub"]).await?;
    events += installs(&machine, "tool").await?;
    ensure!(at(&machine).await? == [Value::from("hub"), Value::Null], "{:?}", at(&machine).await?);
    let story = counted(&cluster, events).await?;
    ensure!(story["site"] == "emea/fr/lyon", "{story}");
    let words = story["words"].as_array().context("no words")?;
    let word = words.iter().find(|word| word["revision"] == tool.as_str()).context("no word")?;
    ensure!(word["phase"] == "installation" && word["outcome"] == "success", "{word}");

    // With the hub gone too, the primary does.
    cluster.node_mut("hub")?.kill().await?;
    events += machine.round().await?.success()?.json()?["reported"].as_u64().unwrap_or(0);
    ensure!(
        at(&machine).await? == [Value::from(PRIMARY), Value::Null],
        "{:?}",
        at(&machine).await?
    );

    // Home again as soon as it is there, and nothing was counted twice.
    for node in ["hub", "lyon"] {
        cluster.node_mut(node)?.start().await?;
    }
    allow(&cluster, "late", &["hub", "lyon"]).await?;
    events += installs(&machine, "late").await?;
    ensure!(at(&machine).await? == [Value::Null, Value::Null], "{:?}", at(&machine).await?);
    counted(&cluster, events).await?;
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_brake_of_the_branch_holds_where_another_node_stands_in() -> Result<()> {
    let (mut cluster, _vendor, machine) = company(&["app", "tool"]).await?;
    let why = async |revision: &str| {
        let row = machine.status().await?.get(revision).cloned().unwrap_or_default();
        Ok::<_, anyhow::Error>(row["waits_for"].as_str().unwrap_or_default().to_owned())
    };
    // The machine never hears of it from the branch; the hub does, and starts again.
    machine.round().await?.success()?;
    pull(&cluster, "lyon", &[]).await?;
    until("the hub to hear of the brake", PATIENCE, async || {
        let brakes = cluster.patchmesh("hub", &["brake", "list"]).await?.success()?.json()?;
        Ok(brakes["brakes"].as_array().is_some_and(|all| all.len() == 1).then_some(()))
    })
    .await?;
    cluster.node_mut("lyon")?.kill().await?;
    cluster.node_mut("hub")?.kill().await?;
    cluster.node_mut("hub")?.start().await?;
    let app = allow(&cluster, "app", &["hub"]).await?;
    machine.round().await?.success()?;
    ensure!(at(&machine).await?[0] == "hub", "{:?}", at(&machine).await?);
    ensure!(why(&app).await?.starts_with("brake till"), "{}", why(&app).await?);
    ensure!(!has(&machine, "app").await?, "a brake was passed by");

    // It is remembered where nobody is reached at all, by another process.
    for node in ["hub", PRIMARY] {
        cluster.node_mut(node)?.kill().await?;
    }
    ensure!(machine.round().await?.code == 69, "nobody is there");
    ensure!(why(&app).await?.starts_with("brake till"), "{}", why(&app).await?);

    // The site alone lets go of it.
    for node in [PRIMARY, "hub", "lyon"] {
        cluster.node_mut(node)?.start().await?;
    }
    cluster.patchmesh("lyon", &["brake", "release", "till"]).await?.success()?;
    cluster.converged(&["hub", "lyon"]).await?;
    installs(&machine, "app").await?;
    until("the hub to hear that it is released", PATIENCE, async || {
        let brakes = cluster.patchmesh("hub", &["brake", "list"]).await?.success()?.json()?;
        Ok(brakes["brakes"].as_array().is_some_and(Vec::is_empty).then_some(()))
    })
    .await?;
    cluster.node_mut("lyon")?.kill().await?;
    allow(&cluster, "tool", &["hub"]).await?;
    installs(&machine, "tool").await?;
    ensure!(at(&machine).await?[0] == "hub", "{:?}", at(&machine).await?);
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_listens_turns_to_the_node_that_stands_in() -> Result<()> {
    let (mut cluster, _vendor, machine) = company(&["app", "tool"]).await?;
    // As long as it does not come by itself.
    let mut agent = machine.start(&["--every", "30h"])?;
    allow(&cluster, "app", &["hub", "lyon"]).await?;
    let installed = async |package: &str| {
        until(&format!("{package} 2"), PATIENCE, async || {
            Ok(has(&machine, package).await?.then_some(()))
        })
        .await
    };
    installed("app").await?;
    // It hears that its node is gone, and then the hub's words.
    cluster.node_mut("lyon")?.kill().await?;
    until("the agent to be at the hub", PATIENCE, async || {
        Ok((at(&machine).await?[0] == "hub").then_some(()))
    })
    .await?;
    allow(&cluster, "tool", &["hub"]).await?;
    installed("tool").await?;
    ensure!(agent.try_wait()?.is_none(), "one process did it all");
    cluster.passed();
    Ok(())
}
