//! Whole nodes on disks that forget what was not synced: the power of a primary
//! and of its child is cut again and again while decisions are made and content
//! moves. What they had acknowledged is there, what is named is whole, all end
//! alike.
//!
//! `PATCHMESH_CRASH_SEED` repeats a run, `PATCHMESH_CUTS` sets how many cuts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use patchmesh_proto::admin::{GetUpdateRequest, UpdateState};
use patchmesh_proto::wire::Stage;
use patchmesh_tests::cluster::{
    Cluster, Node, PRIMARY, Spec, approval_sets_of, free_address, generation_of,
};
use patchmesh_tests::dice::Dice;
use patchmesh_tests::forgetful::{Disk, Forgotten, obstacle};
use patchmesh_tests::proxy::Proxy;
use patchmesh_tests::run::run;
use patchmesh_tests::vendor::files::{File, FilesVendor, Update};
use patchmesh_tests::wait::{PATIENCE, until};
use serde_json::Value;

/// Nodes with a disk that forgets. Below them is [`BELOW`], whose disk does not:
/// it must never know more than they do after a cut.
const FORGETFUL: [&str; 2] = [PRIMARY, "hub"];

const BELOW: &str = "lyon";

/// Cuts of a run.
const CUTS: usize = 30;

/// Of a hundred cuts, those that must have hit a blob on its way.
const INTERRUPTED_PERCENT: usize = 20;

/// Bytes of the payloads of a release: what lies in the database and what in
/// files, of one piece and of several.
const PAYLOADS: [usize; 5] = [17, 40_000, (64 << 10) + 1, 1 << 20, (5 << 20) + 7];

/// Bytes per second of each line: a release takes seconds.
const LINE: u64 = 3 << 20;

/// Milliseconds between the start of a command and the cut, at most: while it
/// runs, or while what it brought about comes down the tree.
const MOMENTS: [u64; 2] = [120, 1500];

/// Enough for all nodes to go on after the last cut.
const CONVERGE: Duration = Duration::from_secs(120);

/// What a node has acknowledged.
#[derive(Debug, Default, Clone)]
struct Word {
    generation: u64,
    /// Blobs that it says it holds, of all payloads.
    held: BTreeSet<Vec<u8>>,
}

/// What the run has seen.
#[derive(Debug, Default)]
struct Seen {
    cuts: usize,
    interrupted: usize,
    /// Commands that were cut off, whatever became of them.
    undecided: usize,
    forgotten: Forgotten,
    slowest: Duration,
}

/// What a person does next.
#[derive(Debug, Clone)]
struct Step {
    arguments: Vec<String>,
    /// A decision for this stage.
    decides: Option<Stage>,
    revision: String,
}

/// A primary, its child and the child's child.
struct Mesh {
    cluster: Cluster,
    lines: Vec<Proxy>,
    vendor: FilesVendor,
    updates: Vec<Update>,
    steps: VecDeque<Step>,
    /// Decisions that the primary has confirmed.
    confirmed: Vec<(Stage, String)>,
    words: BTreeMap<&'static str, Word>,
    seen: Seen,
    dice: Dice,
    // Gone when no process is on them any more.
    disks: BTreeMap<&'static str, Disk>,
}

impl Mesh {
    async fn start() -> Result<Self> {
        let dice = Dice::new()?;
        let mut disks = BTreeMap::new();
        for name in FORGETFUL {
            disks.insert(name, Disk::new()?);
        }
        let data = |name: &str| disks[name].folder().join("data");
        let first = Update::new("FIRST", "1", &[File::new("first", "0", 100)]);
        let vendor = FilesVendor::with(std::slice::from_ref(&first)).await?;
        let mut lines = Vec::new();
        let listen = free_address()?;
        let line = Proxy::start(listen).await?;
        let mut cluster = Cluster::init_on(&data(PRIMARY), listen, line.address()).await?;
        lines.push(line);
        cluster.node_mut(PRIMARY)?.start().await?;
        let listen = free_address()?;
        let line = Proxy::start(listen).await?;
        let hub = Spec::branch("hub", PRIMARY, "emea").with_data(&data("hub"));
        cluster.add_behind(&hub, listen, line.address()).await?;
        lines.push(line);
        cluster.add(&Spec::branch(BELOW, "hub", "emea/fr/lyon")).await?;
        cluster.add_files("vendor", &vendor).await?;
        let (updates, words, seen) = (vec![first], BTreeMap::new(), Seen::default());
        let (steps, confirmed) = (VecDeque::new(), Vec::new());
        Ok(Self { cluster, lines, vendor, updates, steps, confirmed, words, seen, dice, disks })
    }

    /// The vendor releases an update; what a person does about it comes next.
    async fn release(&mut self) -> Result<()> {
        let id = format!("R{}", self.updates.len());
        let file =
            |(number, size): (usize, &usize)| File::new(&format!("{id}/{number}"), &id, *size);
        let files: Vec<File> = PAYLOADS.iter().enumerate().map(file).collect();
        self.updates.push(Update::new(&id, "1", &files));
        self.vendor.release(&self.updates).await?;
        let revision = format!("vendor:stable/{id}@1");
        let step = |arguments: &[&str], decides| Step {
            arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
            decides,
            revision: revision.clone(),
        };
        self.steps.extend([
            step(&["source", "sync", "vendor"], None),
            step(&["approve", "--stage", "validation", &revision], Some(Stage::Validation)),
            step(&["promote", &revision], Some(Stage::Production)),
        ]);
        Ok(())
    }

    /// Does the next step while the power of some nodes is cut.
    async fn strike(&mut self) -> Result<()> {
        if self.steps.is_empty() {
            self.release().await?;
        }
        let hit: &[&str] = match self.dice.roll(3) {
            0 => &FORGETFUL[..1],
            1 => &FORGETFUL[1..],
            _ => &FORGETFUL,
        };
        let step = self.steps.front().cloned().context("no step")?;
        let mut command = self.cluster.node(PRIMARY)?.command()?;
        command.args(["--output", "json"]).args(&step.arguments);
        let outcome = tokio::spawn(async move { run(&mut command).await });
        // Not a wait for anything: the moment of the cut is what is random.
        let longest = MOMENTS[usize::from(self.dice.coin())];
        let moment = self.dice.roll(longest);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        for &name in hit {
            self.listen_to(name).await?;
        }
        for &name in hit {
            self.cluster.node_mut(name)?.kill().await?;
        }
        let outcome = outcome.await??;
        if outcome.code == 0 {
            self.confirm(&step, &outcome.json()?);
        } else {
            ensure!(hit.contains(&PRIMARY), "nobody disturbed it: {outcome:?}");
            self.seen.undecided += 1;
        }
        for &name in hit {
            let data = self.cluster.node(name)?.data.clone();
            self.seen.interrupted += usize::from(!unfinished(&data)?.is_empty());
            let disk = self.disks.get_mut(name).context("no disk")?;
            let Forgotten { bytes, entries } = disk.cut(&mut self.dice).await?;
            self.seen.forgotten.bytes += bytes;
            self.seen.forgotten.entries += entries;
            self.seen.cuts += 1;
        }
        let started = Instant::now();
        for &name in hit {
            self.cluster.node_mut(name)?.spawn()?;
        }
        for &name in hit {
            self.keeps_its_word(name).await?;
            self.seen.slowest = self.seen.slowest.max(started.elapsed());
        }
        Ok(())
    }

    /// A step that the primary has confirmed.
    fn confirm(&mut self, step: &Step, said: &Value) {
        self.steps.pop_front();
        let word = self.words.entry(PRIMARY).or_default();
        if let Some(generation) = said["generation"].as_u64() {
            word.generation = word.generation.max(generation);
        }
        if let Some(stage) = step.decides {
            self.confirmed.push((stage, step.revision.clone()));
        }
    }

    /// Remembers what a node acknowledges, if it answers at this moment.
    async fn listen_to(&mut self, name: &'static str) -> Result<()> {
        let node = self.cluster.node_mut(name)?;
        ensure!(node.runs(), "{name} has ended by itself:\n{}", node.log_tail());
        let Ok(said) = node.status().await else { return Ok(()) };
        let Ok(held) = held(node, &self.updates).await else { return Ok(()) };
        let word = self.words.entry(name).or_default();
        word.generation = word.generation.max(generation_of(&said));
        word.held.extend(held);
        Ok(())
    }

    /// Waits until a node answers; all that it had acknowledged is there, and
    /// all that it names is whole.
    async fn keeps_its_word(&mut self, name: &'static str) -> Result<()> {
        let word = self.words.get(name).cloned().unwrap_or_default();
        let node = self.cluster.node_mut(name)?;
        until(&format!("{name} to answer after a cut"), PATIENCE, async || {
            ensure!(node.runs(), "{name} has ended by itself:\n{}", node.log_tail());
            node.status().await.map(Some)
        })
        .await?;
        let found = generation_of(&node.status().await?);
        let wanted = word.generation;
        ensure!(found >= wanted, "{name} is in generation {found}, it had acknowledged {wanted}");
        let held = held(node, &self.updates).await?;
        let lost: Vec<_> = word.held.difference(&held).collect();
        ensure!(lost.is_empty(), "{name} has lost {} of {} blobs", lost.len(), word.held.len());
        if name == PRIMARY {
            self.decisions_stand().await?;
        }
        self.cluster.patchmesh(name, &["blob", "verify"]).await?.success()?;
        Ok(())
    }

    /// Every decision that was confirmed is one.
    async fn decisions_stand(&self) -> Result<()> {
        let updates = self.cluster.updates().await?;
        for (stage, revision) in &self.confirmed {
            let update = updates.iter().find(|update| update.revision == *revision);
            let states = update.map(|update| &update.states[..]).unwrap_or_default();
            let stands = states.iter().any(|state| {
                let approved =
                    [UpdateState::Approved, UpdateState::TemporarilyUnavailable].into_iter();
                state.stage() == *stage && approved.into_iter().any(|one| one == state.state())
            });
            ensure!(stands, "{revision} was confirmed for {stage:?} and now is {states:?}");
        }
        Ok(())
    }

    /// Does what is left to do, undisturbed, and waits until all nodes are in one
    /// generation and hold the same.
    async fn converge(&mut self) -> Result<()> {
        while let Some(step) = self.steps.front().cloned() {
            let arguments: Vec<&str> = step.arguments.iter().map(String::as_str).collect();
            let said = self.cluster.patchmesh(PRIMARY, &arguments).await?.success()?.json()?;
            self.confirm(&step, &said);
        }
        let payloads = (self.updates.len() - 1) * PAYLOADS.len();
        until("the primary to hold every payload", CONVERGE, async || {
            let held = held(self.cluster.primary()?, &self.updates).await?.len();
            ensure!(held >= payloads, "it holds {held} of {payloads}");
            Ok(Some(()))
        })
        .await?;
        self.decisions_stand().await?;
        let generation = self.cluster.generation().await?;
        let primary = self.cluster.primary()?.status().await?;
        let wanted = held(self.cluster.primary()?, &self.updates).await?;
        for name in ["hub", BELOW] {
            self.cluster.reached(name, generation, CONVERGE).await?;
            let node = self.cluster.node(name)?;
            let status = node.status().await?;
            let (ours, theirs) = (generation_of(&status), generation_of(&primary));
            ensure!(ours == theirs, "{name} is in generation {ours}, not {theirs}");
            let (ours, theirs) = (approval_sets_of(&status), approval_sets_of(&primary));
            ensure!(ours == theirs, "{name} has other approval sets: {ours:?}, {theirs:?}");
            ensure!(held(node, &self.updates).await? == wanted, "{name} holds other payloads");
        }
        for name in [PRIMARY, "hub", BELOW] {
            self.cluster.patchmesh(name, &["blob", "verify"]).await?.success()?;
            let data = &self.cluster.node(name)?.data;
            ensure!(unfinished(data)?.is_empty(), "{name} has left something unfinished");
        }
        Ok(())
    }
}

/// The blobs of payloads that a node says it holds.
async fn held(node: &Node, updates: &[Update]) -> Result<BTreeSet<Vec<u8>>> {
    let mut admin = node.admin().await?;
    let mut held = BTreeSet::new();
    // All but the first are approved by and by.
    for update in &updates[1..] {
        let revision = format!("vendor:stable/{}@1", update.id);
        match admin.get_update(GetUpdateRequest { revision }).await {
            Ok(found) => {
                let payloads = found.into_inner().payloads.into_iter();
                held.extend(payloads.filter(|row| row.held).map(|row| row.blob.to_vec()));
            }
            // It has not heard of it yet.
            Err(status) if status.code() == tonic::Code::NotFound => {}
            Err(status) => return Err(status.into()),
        }
    }
    Ok(held)
}

/// Blobs on their way in.
fn unfinished(data: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(data.join("incoming"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        found.extend(name.ends_with(".pieces").then_some(name));
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_forgets_loses_nothing_that_was_acknowledged() -> Result<()> {
    if let Some(obstacle) = obstacle() {
        eprintln!("skipped: {obstacle}");
        return Ok(());
    }
    let cuts = match std::env::var("PATCHMESH_CUTS") {
        Ok(text) => text.parse().context("PATCHMESH_CUTS is no number")?,
        Err(_) => CUTS,
    };
    let begun = Instant::now();
    let mut mesh = Mesh::start().await?;
    mesh.lines.iter().for_each(|line| line.limit(Some(LINE)));
    while mesh.seen.cuts < cuts {
        mesh.strike().await?;
    }
    eprintln!("{:?} in {:?}", mesh.seen, begun.elapsed());
    let Seen { cuts, interrupted, forgotten, .. } = mesh.seen;
    let wanted = cuts * INTERRUPTED_PERCENT / 100;
    ensure!(interrupted >= wanted, "only {interrupted} cuts hit a blob on its way, not {wanted}");
    ensure!(forgotten.bytes > 0 && forgotten.entries > 0, "the cuts took nothing: {forgotten:?}");
    mesh.lines.iter().for_each(|line| line.limit(None));
    mesh.converge().await?;
    eprintln!("everything took {:?}", begun.elapsed());
    mesh.cluster.passed();
    Ok(())
}

/// Cuts right behind `init` and `join`, of which people are told that they are done.
const SETUPS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_set_up_stays_set_up() -> Result<()> {
    if let Some(obstacle) = obstacle() {
        eprintln!("skipped: {obstacle}");
        return Ok(());
    }
    let mut dice = Dice::new()?;
    for _ in 0..SETUPS {
        let (mut above, mut below) = (Disk::new()?, Disk::new()?);
        let listen = free_address()?;
        let data = above.folder().join("data");
        let mut cluster = Cluster::init_on(&data, listen, listen).await?;
        above.cut(&mut dice).await?;
        cluster.node_mut(PRIMARY)?.start().await?;
        let hub = Spec::branch("hub", PRIMARY, "emea").with_data(&below.folder().join("data"));
        cluster.join(&hub).await?;
        below.cut(&mut dice).await?;
        cluster.node_mut("hub")?.start().await?;
        cluster.converged(&["hub"]).await?;
        // Both again, once they have run.
        for (name, disk) in [(PRIMARY, &mut above), ("hub", &mut below)] {
            cluster.node_mut(name)?.kill().await?;
            disk.cut(&mut dice).await?;
        }
        for name in [PRIMARY, "hub"] {
            cluster.node_mut(name)?.start().await?;
        }
        cluster.converged(&["hub"]).await?;
        cluster.passed();
    }
    Ok(())
}
