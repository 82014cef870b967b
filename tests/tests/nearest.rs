//! Machines that move: the nearest node is one of the site where they are by their
//! address, and they come home by themselves.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use patchmesh_tests::agent::Machine;
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec};
use patchmesh_tests::netns::{End, Pair, obstacle};
use patchmesh_tests::vendor::{Sample, Vendor};
use patchmesh_tests::wait::{PATIENCE, until};
use serde_json::Value;

async fn network(cluster: &Cluster, prefix: &str, site: &str) -> Result<()> {
    cluster.patchmesh(PRIMARY, &["network", "set", prefix, site]).await?.success()?;
    cluster.converged(&["lyon", "nice"]).await
}

/// The machine's own node, the one that stands in for it, and its site.
async fn place(machine: &Machine) -> Result<[Value; 3]> {
    let status = machine.agent(&["status"]).await?.success()?.json()?;
    Ok(["node", "at", "site"].map(|name| status[name].clone()))
}

fn at(node: &str, stand_in: Option<&str>, site: &str) -> [Value; 3] {
    [Value::from(node), stand_in.map_or(Value::Null, Value::from), Value::from(site)]
}

/// Goes through a round, which ends well, and is there then.
async fn round_ends(machine: &Machine, place: [Value; 3]) -> Result<()> {
    machine.round().await?.success()?;
    let found = self::place(machine).await?;
    ensure!(found == place, "the machine is at {found:?}, not {place:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_laptop_goes_to_the_node_of_where_it_is() -> Result<()> {
    if let Some(obstacle) = obstacle() {
        eprintln!("skipped: {obstacle}");
        return Ok(());
    }
    let pair = Pair::create().await?;
    let near = |port| pair.address(End::Near, port);
    let mut cluster = Cluster::start_at(&pair, near(8443)).await?;
    cluster.add_at(&Spec::branch("lyon", PRIMARY, "emea/fr/lyon"), &pair, near(8444)).await?;
    cluster.add_at(&Spec::branch("nice", PRIMARY, "emea/fr/nice"), &pair, near(8445)).await?;
    // The far end has 10.231.0.2 first.
    network(&cluster, "10.231.0.0/26", "emea/fr/lyon").await?;
    network(&cluster, "10.231.0.64/26", "emea/fr/nice").await?;
    let mut machine = Machine::with("pc-1", &[]).await?;
    machine.namespace = Some(pair.namespace(End::Far));
    machine.join(&cluster, "lyon").await?;
    round_ends(&machine, at("lyon", None, "emea/fr/lyon")).await?;

    pair.readdress(End::Far, Ipv4Addr::new(10, 231, 0, 66)).await?;
    round_ends(&machine, at("nice", None, "emea/fr/nice")).await?;
    // There its node is nice for good: the primary stands in for that one.
    cluster.node_mut("nice")?.kill().await?;
    round_ends(&machine, at("nice", Some(PRIMARY), "emea/fr/nice")).await?;
    // A place that nobody knows is none: its node is the one that it joined at.
    pair.readdress(End::Far, Ipv4Addr::new(10, 231, 0, 130)).await?;
    round_ends(&machine, at("lyon", None, "emea/fr/lyon")).await?;
    // Where no node of the site is reached it stays.
    pair.readdress(End::Far, Ipv4Addr::new(10, 231, 0, 67)).await?;
    round_ends(&machine, at("lyon", None, "emea/fr/lyon")).await?;
    cluster.node_mut("nice")?.start().await?;
    round_ends(&machine, at("nice", None, "emea/fr/nice")).await?;
    // With the node of where it is alone in reach it finds it, too.
    pair.readdress(End::Far, Ipv4Addr::new(10, 231, 0, 3)).await?;
    cluster.node_mut("nice")?.kill().await?;
    cluster.node_mut(PRIMARY)?.kill().await?;
    round_ends(&machine, at("lyon", None, "emea/fr/lyon")).await?;
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_runs_moves_with_the_signed_networks_and_hears_its_new_node() -> Result<()> {
    let machine = Machine::with("pc-1", &[Sample::new("app", "1")]).await?;
    let vendor = Vendor::with_samples(&[Sample::new("app", "2")]).await?;
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("lyon", PRIMARY, "emea/fr/lyon")).await?;
    cluster.add(&Spec::branch("nice", PRIMARY, "emea/fr/nice")).await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    network(&cluster, "127.0.0.0/8", "emea/fr/nice").await?;
    machine.join(&cluster, "lyon").await?;
    let mut agent = machine.start(&["--every", "30h"])?;
    until("the agent to be at nice", PATIENCE, async || {
        let status = machine.agent(&["status"]).await?.success()?.json()?;
        Ok((status["node"] == "nice" && status["looked_at"].is_string()).then_some(()))
    })
    .await?;
    // Its old node is gone, so it is nice that wakes it.
    cluster.node_mut("lyon")?.kill().await?;
    cluster.allow(&[cluster.revision("app").await?]).await?;
    until("app 2 to be installed", PATIENCE, async || {
        let packages = machine.packages().await?;
        Ok(packages.get("app").is_some_and(|version| version == "2").then_some(()))
    })
    .await?;
    until("the primary to know where it is", PATIENCE, async || {
        let shown = cluster.patchmesh(PRIMARY, &["machine", "show", "pc-1"]).await?;
        Ok((shown.success()?.json()?["site"] == "emea/fr/nice").then_some(()))
    })
    .await?;
    ensure!(agent.try_wait()?.is_none(), "one process did it all");
    cluster.passed();
    Ok(())
}
