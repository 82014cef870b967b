//! How many events a branch takes in, durably.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use patchmesh_proto::report::{Outcome, Phase, SignedBatch, Verdict};
use patchmesh_topology::report::MAX_EVENTS;
use prost::Message;

use super::statistics::median;
use super::{Measurement, Scale};
use crate::cluster::{Cluster, PRIMARY, Spec};
use crate::machine::Machine;

/// The bar, in events a second.
const BAR: f64 = 50_000.0;

const TURNS: usize = 5;

/// Machines that report at once.
const MACHINES: usize = 32;

/// Batches of a request: with these events, half of what a request may have.
const BATCHES: usize = 8;

const REVISION: &str = "vendor:stable/application@1.2.3-4";

/// machines.2
pub(super) async fn accepted(scale: Scale) -> Result<Vec<Measurement>> {
    let requests = scale.pick(2, 1);
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("branch", PRIMARY, "emea/fr/paris")).await?;
    let uses = MACHINES.to_string();
    let token = ["machine", "token", "workstations", "--via", "branch", "--uses", &uses];
    let token = cluster.patchmesh(PRIMARY, &token).await?.success()?.json()?;
    let token = token["token"].as_str().context("a token")?.to_owned();
    let mut machines = Vec::new();
    for number in 0..MACHINES {
        let mut machine = Machine::join(&format!("pc-{number}"), &token).await?;
        // Its connection is there before the clock starts.
        machine.report().await?;
        machines.push(machine);
    }
    // The branch alone is measured: what it took in waits in its outbox.
    cluster.node_mut(PRIMARY)?.kill().await?;
    let (mut turns, mut bytes) = (Vec::new(), 0);
    for turn in 0..TURNS {
        let sent: Vec<_> = machines
            .iter_mut()
            .map(|machine| signed(machine, turn * requests, requests))
            .collect::<Result<_>>()?;
        let all = sent.iter().flatten().flatten();
        bytes = all.clone().map(Message::encoded_len).sum::<usize>() / (all.count() * MAX_EVENTS);
        let begun = Instant::now();
        try_join_all(machines.iter_mut().zip(sent).map(|(machine, sent)| send(machine, sent)))
            .await?;
        let events = MACHINES * requests * BATCHES * MAX_EVENTS;
        turns.push(events as f64 / begun.elapsed().as_secs_f64());
    }
    cluster.passed();
    let events = MACHINES * requests * BATCHES * MAX_EVENTS;
    let about = format!(
        "events that one branch takes in durably, {events} of {MACHINES} machines in batches of {MAX_EVENTS}, {bytes} bytes each"
    );
    let measured = Measurement::new("machines.2", &about, median(&turns), "1/s");
    Ok(vec![measured.turns(TURNS).required_at_least(BAR)])
}

/// Requests of a machine with events that it makes now.
fn signed(machine: &mut Machine, before: usize, requests: usize) -> Result<Vec<Vec<SignedBatch>>> {
    let first = before * BATCHES * MAX_EVENTS;
    for _ in 0..requests * BATCHES * MAX_EVENTS {
        machine.happened(REVISION, Phase::Installation, Outcome::Success, "it is there");
    }
    let request = |request: usize| {
        let batch = |batch: usize| {
            let first = first + (request * BATCHES + batch) * MAX_EVENTS;
            machine.seal(&machine.batch(first, first + MAX_EVENTS).encode_to_vec())
        };
        (0..BATCHES).map(batch).collect::<Result<Vec<_>>>()
    };
    (0..requests).map(request).collect()
}

/// Sends them one after the other; all have to be held.
async fn send(machine: &mut Machine, requests: Vec<Vec<SignedBatch>>) -> Result<()> {
    for batches in requests {
        let answers = machine.send(batches).await??.answers;
        ensure!(answers.len() == BATCHES, "{} answers", answers.len());
        ensure!(answers.iter().all(|one| one.verdict() == Verdict::Held), "{answers:?}");
    }
    Ok(())
}
