//! How long it takes until what fails at one machine is held back everywhere.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use patchmesh_proto::admin::Synchronisation;
use patchmesh_proto::report::{Outcome, Phase};

use super::release::Release;
use super::statistics::percentile;
use super::{Measurement, Scale};
use crate::cluster::{Cluster, PRIMARY, Spec};
use crate::machine::Machine;
use crate::plan;
use crate::wait::until;

/// The bar for the slowest branch, in seconds.
const BAR: f64 = 2.0;

/// The longest that one branch may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Regions below the primary, each a chain of nodes.
const REGIONS: [&str; 4] = ["emea", "apac", "amer", "mena"];

/// Nodes of the chains from the top: with the primary, 16 in all.
const LEVELS: [usize; 4] = [4, 4, 4, 3];

/// The node at a level below the primary, counted from one.
fn node(region: &str, level: usize) -> String {
    format!("{region}-{level}")
}

/// A primary and chains of branches: each one's name.
async fn company() -> Result<(Cluster, Vec<String>)> {
    let mut cluster = Cluster::start().await?;
    let mut branches = Vec::new();
    for (region, levels) in REGIONS.into_iter().zip(LEVELS) {
        let (mut parent, mut site) = (PRIMARY.to_owned(), region.to_owned());
        for level in 1..=levels {
            let name = node(region, level);
            cluster.add(&Spec::branch(&name, &parent, &site)).await?;
            branches.push(name.clone());
            (parent, site) = (name, format!("{site}/{level}"));
        }
    }
    Ok((cluster, branches))
}

/// A machine of the deepest branch of the first region.
async fn deepest_machine(cluster: &Cluster) -> Result<Machine> {
    let deepest = node(REGIONS[0], LEVELS[0]);
    let arguments = ["machine", "token", "workstations", "--via", &deepest];
    let made = cluster.patchmesh(PRIMARY, &arguments).await?.success()?.json()?;
    let token = made["token"].as_str().context("a token")?;
    until("the deepest branch to let a machine in", PATIENCE, async || {
        Machine::join("pc-1", token).await.map(Some)
    })
    .await
}

async fn everywhere(cluster: &Cluster, branches: &[String]) -> Result<()> {
    let names: Vec<&str> = branches.iter().map(String::as_str).collect();
    cluster.converged(&names).await
}

/// When a node came to a generation later than this one, by its own record.
async fn switched(cluster: &Cluster, branch: &str, from: u64) -> Result<Timestamp> {
    let is_it = |one: &Synchronisation| one.problem.is_empty() && one.to_generation > from;
    until(&format!("{branch}'s record of the halt"), PATIENCE, async || {
        let records = cluster.node(branch)?.status().await?.synchronisations;
        // The newest is first; the halt is the first that came after.
        let halt = records.iter().rev().find(|one| is_it(one));
        let Some(at) = halt.and_then(|one| one.at) else { return Ok(None) };
        Ok(Some(Timestamp::new(at.seconds, at.nanos)?))
    })
    .await
}

/// Whether a branch says of its own site that the plan is halted.
async fn is_halted_at(cluster: &Cluster, branch: &str, plan: &str) -> Result<()> {
    let outcome = cluster.patchmesh(branch, &["rollout", "show", plan]).await?.success()?.json()?;
    let headline = outcome["rollouts"][0]["headline"].as_str().unwrap_or_default();
    ensure!(headline.contains("halted"), "{branch} says {headline:?}");
    Ok(())
}

/// One round: a plan that is open for the machine is halted by its failure.
/// Seconds until each branch was in the generation that halts it.
async fn round(
    cluster: &Cluster,
    branches: &[String],
    machine: &mut Machine,
    name: &str,
    revision: &str,
) -> Result<Vec<f64>> {
    let file = plan::write(cluster, &plan::GUARDED.replace("NAME", name), revision)?;
    cluster.patchmesh(PRIMARY, &["rollout", "start", &file]).await?.success()?;
    everywhere(cluster, branches).await?;
    let before = cluster.generation().await?;
    machine.happened(revision, Phase::Installation, Outcome::Failure, "no room");
    let failed = Timestamp::now();
    machine.report().await?;
    let mut seconds = Vec::new();
    for branch in branches {
        let at = switched(cluster, branch, before).await?;
        seconds.push(at.duration_since(failed).as_secs_f64());
    }
    for branch in branches {
        is_halted_at(cluster, branch, name).await?;
    }
    Ok(seconds)
}

/// rollout.2
pub(super) async fn halt(scale: Scale) -> Result<Vec<Measurement>> {
    let turns = scale.pick(20, 2);
    let (cluster, branches) = company().await?;
    let release = Release::write(&std::env::temp_dir(), "vendor", turns, 1, 100).await?;
    release.add_to(&cluster).await?;
    let revisions: Vec<String> = (0..turns).map(|number| release.revision(number)).collect();
    cluster.approve("validation", &revisions).await?;
    let mut machine = deepest_machine(&cluster).await?;
    let (mut slowest, mut own) = (Vec::new(), Vec::new());
    let deepest = branches.iter().position(|one| *one == node(REGIONS[0], LEVELS[0]));
    let deepest = deepest.context("the deepest branch")?;
    for (number, revision) in revisions.iter().enumerate() {
        let name = format!("halt-{number}");
        let seconds = round(&cluster, &branches, &mut machine, &name, revision).await?;
        slowest.push(percentile(&seconds, 1.0));
        own.push(seconds[deepest]);
    }
    cluster.passed();
    let nodes = branches.len() + 1;
    let what = format!(
        "a failing event at a machine four levels deep until the last of {nodes} nodes is halted"
    );
    let row = |what: &str, value| Measurement::new("rollout.2", what, value, "s").turns(turns);
    Ok(vec![
        row(&format!("{what}, p95"), percentile(&slowest, 0.95)).required_below(BAR),
        row("the same, p50", percentile(&slowest, 0.5)),
        row("until the machine's own branch is halted, p95", percentile(&own, 0.95)),
    ])
}
