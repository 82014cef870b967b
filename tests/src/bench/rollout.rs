//! Rollouts: how long a month of a large mesh takes to simulate, and how fast
//! the planner is.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use patchmesh_topology::name::{RolloutName, Site};
use patchmesh_topology::node::Stage;
use patchmesh_topology::rollout::gate::{AtLeast, AtMost, Counts, Gate};
use patchmesh_topology::rollout::plan::{Changed, Planner, Tallies, Tally};
use patchmesh_topology::rollout::{Rollout, RolloutSet, Wave, WaveStates};
use tokio::process::Command;

use super::statistics::median;
use super::{Measurement, Scale};
use crate::binaries;

/// The bars.
const SIMULATION: f64 = 60.0;
const MEMORY: f64 = 1024.0;
const FULL: f64 = 100.0;
const ROUND: f64 = 2.0;

/// How often the simulator's memory is looked at; its peak is kept by the kernel.
const LOOK: Duration = Duration::from_millis(5);

/// Turns of the planner.
const TURNS: usize = 50;

const ZONES: [(&str, &str); 6] = [
    ("emea/fr", "Europe/Paris"),
    ("emea/za", "Africa/Johannesburg"),
    ("apac/jp", "Asia/Tokyo"),
    ("apac/au", "Australia/Sydney"),
    ("amer/us", "America/Chicago"),
    ("amer/br", "America/Sao_Paulo"),
];

/// A plan of four waves with gates.
const PLAN: &str = r#"
name = "month"
[[wave]]
name = "pilot"
share = "1 %"
windows = ["20:00-06:00"]
[wave.gate]
min_reached = { share = "80 %", min_sample = 1000 }
max_failed = { share = "3 %", min_sample = 1000 }
soak = "48h"
unreachable = "ignore after 96h"
[[wave]]
name = "emea"
geographies = ["emea"]
windows = ["20:00-06:00"]
[wave.gate]
min_reached = { share = "80 %", min_sample = 1000 }
soak = "72h"
unreachable = "ignore after 96h"
[[wave]]
name = "apac"
geographies = ["apac"]
[wave.gate]
min_reached = { share = "80 %", min_sample = 1000 }
soak = "72h"
unreachable = "ignore after 96h"
[[wave]]
name = "world"
"#;

/// A mesh of so many sites with 200 machines each.
fn world(sites: usize) -> String {
    let mut text = String::from(
        r#"
seed = 7
start = 2026-12-01T08:00:00Z
days = 30
[update]
size = "350 MB"
severity = "important"
[line.office]
down = "10Mbit/s"
rules = ["Mon-Fri 08:00-18:00 1Mbit/s"]
bulk = ["18:00-08:00"]
[group.workstations]
online = ["Mon-Fri 08:00-18:00 80 %", "Mon-Fri 18:00-08:00 15 %"]
otherwise = "3 %"
failed = "0.5 %"
never = "2 %"
install = "20m"
[group.servers]
online = []
otherwise = "99 %"
failed = "0.2 %"
never = "0.5 %"
install = "15m"
"#,
    );
    for (index, (place, zone)) in ZONES.iter().enumerate() {
        // Parts that add up to all sites.
        let count = sites * (index + 1) / ZONES.len() - sites * index / ZONES.len();
        text.push_str(&format!(
            "[[site]]\nname = \"{place}/office\"\nzone = \"{zone}\"\nline = \"office\"\ncount = {count}\n\
             machines = {{ workstations = 190, servers = 10 }}\n"
        ));
    }
    text
}

/// rollout.1
pub(super) async fn simulation(scale: Scale) -> Result<Vec<Measurement>> {
    let sites = scale.pick(5_000, 60);
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    fs::write(path("plan.toml"), PLAN)?;
    fs::write(path("world.toml"), world(sites))?;
    let output = fs::File::create(path("outcome.json"))?;
    let begun = Instant::now();
    let mut child = Command::new(binaries::patchmesh()?)
        .args(["--output", "json", "rollout", "simulate"])
        .arg(path("plan.toml"))
        .arg("--world")
        .arg(path("world.toml"))
        .arg("--svg")
        .arg(path("outcome.svg"))
        .stdin(Stdio::null())
        .stdout(Stdio::from(output))
        .kill_on_drop(true)
        .spawn()
        .context("could not start the simulator")?;
    let id = child.id().context("the simulator has no id")?;
    let mut peak = 0;
    let status = loop {
        match tokio::time::timeout(LOOK, child.wait()).await {
            Ok(status) => break status?,
            Err(_) => peak = peak.max(memory(id).unwrap_or(0)),
        }
    };
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(status.success(), "the simulator ended with {status}");
    let outcome: serde_json::Value = serde_json::from_slice(&fs::read(path("outcome.json"))?)?;
    let machines = outcome["counts"]["machines"].as_u64().unwrap_or(0);
    ensure!(machines == sites as u64 * 200, "it simulated {machines} machines");
    let installed = outcome["counts"]["installed"].as_u64().unwrap_or(0);
    ensure!(installed * 10 > machines * 9, "only {installed} of {machines} have it in the end");
    let about = format!("30 days of {sites} sites and {machines} machines simulated");
    let mebibytes = peak as f64 / 1024.0;
    Ok(vec![
        Measurement::new("rollout.1", &about, seconds, "s").required_below(SIMULATION),
        Measurement::new("rollout.1", "the same: most memory", mebibytes, "MiB")
            .required_below(MEMORY),
    ])
}

/// The most memory that a process held so far, in KiB.
fn memory(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// rollout.3
pub(super) fn planner(scale: Scale) -> Result<Vec<Measurement>> {
    let (sites, rollouts) = (scale.pick(5_000, 50), scale.pick(200, 5));
    let (set, mut tallies) = open_rollouts(sites, rollouts)?;
    let start = jiff::Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(1_000);
    let mut planner = Planner::new(WaveStates::new());
    planner.round(&set, &tallies, &Changed::All, start);
    let states = planner.states().clone();
    let (mut full, mut rounds) = (Vec::new(), Vec::new());
    for turn in 1..=TURNS {
        let now = start + jiff::SignedDuration::from_secs(turn as i64);
        let mut fresh = Planner::new(states.clone());
        let begun = Instant::now();
        fresh.round(&set, &tallies, &Changed::All, now);
        full.push(begun.elapsed().as_secs_f64() * 1000.0);
        // A machine of one site says something about one rollout.
        let name = set.rollouts.keys().nth(turn % rollouts).context("a rollout")?.clone();
        let begun = Instant::now();
        let counts = Counts { machines: 20, reached: 10, installed: 10, failed: 0 };
        let tally = tallies.get_mut(&name).and_then(|waves| waves.first_mut());
        tally.context("a tally")?.set(place(turn % sites)?, "servers".parse()?, counts);
        planner.round(&set, &tallies, &Changed::Only(BTreeSet::from([name])), now);
        rounds.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    ensure!(planner.states() == &states, "nothing should have changed");
    let about = format!("{rollouts} open rollouts at {sites} sites planned in full");
    Ok(vec![
        Measurement::new("rollout.3", &about, median(&full), "ms")
            .turns(TURNS)
            .required_below(FULL),
        Measurement::new("rollout.3", "the same: one site spoke", median(&rounds), "ms")
            .turns(TURNS)
            .required_below(ROUND),
    ])
}

fn place(number: usize) -> Result<Site> {
    Ok(format!("emea/{}/office-{number}", number % 50).parse()?)
}

/// Rollouts of four waves whose first is open, and what every site said of it.
fn open_rollouts(sites: usize, rollouts: usize) -> Result<(RolloutSet, Tallies)> {
    let (mut set, mut tallies) = (RolloutSet::default(), Tallies::new());
    let mut tally = Tally::default();
    for number in 0..sites {
        let counts = Counts { machines: 20, reached: 10, installed: 10, failed: 0 };
        tally.set(place(number)?, "servers".parse()?, counts);
    }
    let gate = Gate {
        min_reached: Some(AtLeast { share: "90 %".parse()?, min_sample: 100 }),
        min_success: Some(AtLeast { share: "95 %".parse()?, min_sample: 100 }),
        max_failed: Some(AtMost { share: Some("2 %".parse()?), count: None, min_sample: 100 }),
        ..Gate::default()
    };
    for number in 0..rollouts {
        let name: RolloutName = format!("rollout-{number}").parse()?;
        let waves = (0..4).map(|wave| Wave { gate, ..Wave::plain(&format!("w{wave}"), vec![]) });
        let plan = Rollout::running(name.clone(), Stage::Production, waves.collect());
        tallies.insert(name.clone(), vec![tally.clone(); 4]);
        set.rollouts.insert(name, plan);
    }
    Ok((set, tallies))
}
