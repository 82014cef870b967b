//! How long it takes until machines know of what can't wait.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use patchmesh_proto::report::WatchResponse;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::crowd::{Listener, Maker};
use super::release::Release;
use super::statistics::{median, percentile};
use super::{Measurement, Scale};
use crate::cluster::{Cluster, PRIMARY, Spec};
use crate::plan;

/// The bar for 99 of 100 machines, in seconds.
const BAR: f64 = 2.0;

/// Within which machines may come for what can't wait, as the word says.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Branches below the hub: each has as many of the machines.
const BRANCHES: [(&str, &str); 2] = [("paris", "emea/fr/paris"), ("lyon", "emea/fr/lyon")];

/// Words of a turn are over when none came for so long.
const QUIET: Duration = Duration::from_secs(3);

/// Words of a machine that are kept: more than a turn brings.
const WORDS: usize = 4;

/// Open everywhere, and urgent.
const EMERGENCY: &str = r#"
name = "emergency"
priority = "urgent"

[what]
revisions = ["REVISION"]

[[wave]]
name = "all"
"#;

/// What a machine heard, and when.
struct Heard {
    machine: usize,
    at: Instant,
    word: WatchResponse,
}

/// machines.3
pub(super) async fn known(scale: Scale) -> Result<Vec<Measurement>> {
    let (machines, turns) = (scale.pick(10_000, 200), scale.pick(10, 2));
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("hub", PRIMARY, "emea")).await?;
    for (name, site) in BRANCHES {
        cluster.add(&Spec::branch(name, "hub", site)).await?;
    }
    let names = BRANCHES.map(|(name, _)| name);
    let release = Release::write(&std::env::temp_dir(), "vendor", turns + 1, 1, 100).await?;
    release.add_to(&cluster).await?;
    let revisions: Vec<String> = (0..=turns).map(|number| release.revision(number)).collect();
    cluster.approve("validation", &revisions).await?;
    let file = plan::write(&cluster, EMERGENCY, &revisions[0])?;
    cluster.patchmesh(PRIMARY, &["rollout", "start", &file]).await?.success()?;
    cluster.converged(&names).await?;

    let (told, mut heard) = mpsc::channel(machines * WORDS);
    let mut crowd = JoinSet::new();
    let maker = Maker::of(&cluster, names[0]).await?;
    let each = machines / BRANCHES.len();
    for (place, name) in names.into_iter().enumerate() {
        let of = place * each..(place + 1) * each;
        let listeners = maker.listeners(&cluster.node(name)?.url, of.clone()).await?;
        for (machine, listener) in of.zip(listeners) {
            crowd.spawn(listen(machine, listener, told.clone()));
        }
    }
    let (mut words, mut come) = (Vec::new(), Vec::new());
    quiet(&mut heard, machines).await?;
    for revision in &revisions[1..] {
        let begun = Instant::now();
        let approve = ["approve", "--stage", "production", "--rollout", "emergency", revision];
        cluster.patchmesh(PRIMARY, &[&approve[..], &["--yes"]].concat()).await?.success()?;
        let last = quiet(&mut heard, machines).await?;
        let (knows, comes) = turn(begun, last)?;
        words.push(percentile(&knows, 0.99));
        come.push(percentile(&comes, 0.99));
    }
    ensure!(crowd.try_join_next().is_none(), "a machine listens no more");
    cluster.passed();
    Ok(rows(machines, turns, &words, &come))
}

fn rows(machines: usize, turns: usize, words: &[f64], come: &[f64]) -> Vec<Measurement> {
    let branches = BRANCHES.len();
    let about = format!(
        "urgent `approve` until 99 % of {machines} machines at {branches} branches three levels deep have the last word of it"
    );
    let row = |what: &str, values: &[f64]| {
        let costliest = format!("costliest turn {:.2} s", percentile(values, 1.0));
        let row = Measurement::new("machines.3", what, median(values), "s");
        row.turns(turns).required_at_most(BAR).note(&costliest)
    };
    vec![
        row(&about, words),
        row("the same, and their own parts of the second that the word gives are over", come),
    ]
}

/// Tells what a machine hears until nobody wants to know.
async fn listen(machine: usize, mut listener: Listener, told: mpsc::Sender<Heard>) -> Result<()> {
    loop {
        let word = listener.word().await?;
        let heard = Heard { machine, at: Instant::now(), word };
        if told.send(heard).await.is_err() {
            return Ok(());
        }
    }
}

/// Waits until no more words come: the last one of each machine.
async fn quiet(heard: &mut mpsc::Receiver<Heard>, machines: usize) -> Result<Vec<Option<Heard>>> {
    let mut last: Vec<_> = (0..machines).map(|_| None).collect();
    while let Ok(one) = timeout(QUIET, heard.recv()).await {
        let one = one.context("no machine listens")?;
        let machine = one.machine;
        last[machine] = Some(one);
    }
    Ok(last)
}

/// Seconds until each machine had its last word, and until it comes. A machine takes a
/// part of the time that the word gives, which is its own: here they are spread evenly.
fn turn(begun: Instant, last: Vec<Option<Heard>>) -> Result<(Vec<f64>, Vec<f64>)> {
    let (machines, mut knows, mut comes) = (last.len(), Vec::new(), Vec::new());
    for (number, heard) in last.into_iter().enumerate() {
        let heard = heard.with_context(|| format!("machine {number} heard nothing"))?;
        let within = heard.word.within.context("a word without a time")?;
        let within = Duration::try_from(within)?;
        ensure!(within <= AT_ONCE, "machine {number} was given {within:?}");
        let after = heard.at.duration_since(begun);
        // Not in the order of the connections.
        let part = (number * 7919 % machines) as f64 / machines as f64;
        knows.push(after.as_secs_f64());
        comes.push((after + within.mul_f64(part)).as_secs_f64());
    }
    Ok((knows, comes))
}
