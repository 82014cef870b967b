//! Processes of a tree of four levels are killed again and again while content
//! moves: nothing that a node has acknowledged is lost, all end alike, and a
//! crash costs little.
//!
//! `PATCHMESH_CRASH_SEED` repeats a run, `PATCHMESH_CRASH_KILLS` sets how many
//! processes are killed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use patchmesh_tests::cluster::{
    Cluster, PRIMARY, Spec, approval_sets_of, free_address, generation_of,
};
use patchmesh_tests::dice::Dice;
use patchmesh_tests::proxy::Proxy;
use patchmesh_tests::vendor::files::{File, FilesVendor, Update};
use patchmesh_tests::wait::{PATIENCE, until};

/// A node, its parent and its site. All but the last have a line below them.
const NODES: [(&str, &str, &str); 5] = [
    (PRIMARY, "", "emea/hq"),
    ("hub", PRIMARY, "emea"),
    ("lyon", "hub", "emea/fr/lyon"),
    ("nice", "hub", "emea/fr/nice"),
    ("annecy", "lyon", "emea/fr/annecy"),
];

/// Kills of a run.
const KILLS: usize = 200;

/// Of a hundred kills, those that must have hit a transfer that was under way.
const INTERRUPTED_PERCENT: usize = 20;

/// Kills between two releases.
const RELEASE_EVERY: usize = 40;

/// Bytes of the payloads of a release: what lies in the database and what in
/// files, of one piece and of many, whole pieces and not.
const PAYLOADS: [usize; 9] = [
    17,
    40_000,
    64 << 10,
    (64 << 10) + 1,
    300_000,
    1 << 20,
    (1 << 20) + 1,
    (3 << 20) + 7,
    40 << 20,
];

/// Bytes per second of each line: a release takes seconds.
const LINE: u64 = 10 << 20;

/// A line that carries at least so much just before a kill carries content.
const MOVING: u64 = 128 << 10;

/// For how long lines are watched before a kill.
const WATCHED: Duration = Duration::from_millis(60);

/// Enough for all nodes to go on after the last kill.
const CONVERGE: Duration = Duration::from_secs(120);

/// What a crash may cost.
const AT_RISK: u64 = 64 << 20;

/// The names of the files below a folder.
fn files(folder: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else {
            found.insert(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(found)
}

/// Blobs that a node is receiving and that survive its end.
fn unfinished(data: &Path) -> Result<BTreeSet<String>> {
    let found = files(&data.join("incoming"))?;
    Ok(found.iter().filter_map(|name| name.strip_suffix(".pieces")).map(str::to_owned).collect())
}

/// What a node has acknowledged.
#[derive(Debug, Default, Clone)]
struct Word {
    generation: u64,
    /// Of this generation.
    held: u64,
    blobs: BTreeSet<String>,
}

/// What the run has seen.
#[derive(Default)]
struct Seen {
    kills: usize,
    /// Kills of a node that was receiving a blob at that moment, or sending one.
    interrupted: usize,
    /// Blobs that were half there and still were after the restart.
    resumed: usize,
    /// Restarts that were waited for, and the longest.
    restarts: u32,
    slowest: Duration,
}

/// A tree with a line of its own between each node and its children.
struct Mesh {
    cluster: Cluster,
    lines: BTreeMap<&'static str, Proxy>,
    vendor: FilesVendor,
    updates: Vec<Update>,
    words: BTreeMap<&'static str, Word>,
    seen: Seen,
    dice: Dice,
}

impl Mesh {
    async fn start(nodes: &[(&'static str, &'static str, &'static str)]) -> Result<Self> {
        let first = Update::new("FIRST", "1", &[File::new("first", "0", 100)]);
        let vendor = FilesVendor::with(std::slice::from_ref(&first)).await?;
        let mut lines = BTreeMap::new();
        let listen = free_address()?;
        let line = Proxy::start(listen).await?;
        let mut cluster = Cluster::init_behind(listen, line.address()).await?;
        lines.insert(PRIMARY, line);
        cluster.node_mut(PRIMARY)?.start().await?;
        for (name, parent, site) in &nodes[1..] {
            let listen = free_address()?;
            let line = Proxy::start(listen).await?;
            let spec = Spec::branch(name, parent, site);
            cluster.add_behind(&spec, listen, line.address()).await?;
            lines.insert(name, line);
        }
        cluster.add_files("vendor", &vendor).await?;
        let (words, seen, dice) = (BTreeMap::new(), Seen::default(), Dice::new()?);
        Ok(Self { cluster, lines, vendor, updates: vec![first], words, seen, dice })
    }

    fn limit(&self, rate: Option<u64>) {
        self.lines.values().for_each(|line| line.limit(rate));
    }

    /// Releases an update with payloads of these sizes and opens it everywhere.
    async fn release(&mut self, sizes: &[usize]) -> Result<()> {
        let id = format!("R{}", self.updates.len());
        let file =
            |(number, size): (usize, &usize)| File::new(&format!("{id}/{number}"), &id, *size);
        let files: Vec<File> = sizes.iter().enumerate().map(file).collect();
        self.updates.push(Update::new(&id, "1", &files));
        self.vendor.release(&self.updates).await?;
        self.answers(PRIMARY).await?;
        self.cluster.sync("vendor").await?.success()?;
        let revisions = [format!("vendor:stable/{id}@1")];
        self.cluster.approve("validation", &revisions).await?;
        self.cluster.promote(&revisions).await?;
        Ok(())
    }

    /// Waits until a node answers and checks that it still has what it has
    /// acknowledged before.
    async fn answers(&mut self, name: &'static str) -> Result<()> {
        let word = self.words.get(name).cloned().unwrap_or_default();
        let node = self.cluster.node_mut(name)?;
        // What it wants is counted soon after it has begun to answer.
        until(&format!("{name} to have what it had"), PATIENCE, async || {
            ensure!(node.runs(), "{name} has ended by itself:\n{}", node.log_tail());
            let said = node.status().await?.status.unwrap_or_default();
            ensure!(said.generation >= word.generation, "{word:?} before, now {said:?}");
            let counted = said.generation > word.generation || said.payloads_held >= word.held;
            Ok(counted.then_some(()))
        })
        .await?;
        let blobs = files(&node.data.join("blobs"))?;
        let lost: Vec<_> = word.blobs.difference(&blobs).collect();
        ensure!(lost.is_empty(), "{name} has lost {lost:?}");
        Ok(())
    }

    /// Kills some nodes at one moment and starts them again.
    async fn strike(&mut self) -> Result<()> {
        let mut hit: Vec<&'static str> = Vec::new();
        while hit.is_empty() {
            let dice = &mut self.dice;
            hit = NODES.iter().map(|node| node.0).filter(|_| dice.coin()).collect();
        }
        for &name in &hit {
            self.listen_to(name).await?;
        }
        let before: BTreeMap<&str, u64> = self.carried();
        tokio::time::sleep(WATCHED).await;
        let moving: BTreeSet<&str> = self
            .carried()
            .into_iter()
            .filter(|(name, bytes)| bytes - before[name] >= MOVING)
            .map(|(name, _)| name)
            .collect();
        for &name in &hit {
            self.cluster.node_mut(name)?.kill().await?;
        }
        let mut partials = BTreeMap::new();
        let mut interrupted = BTreeSet::new();
        for (name, parent, _) in NODES {
            let node = self.cluster.node(name)?;
            partials.insert(name, unfinished(&node.data)?);
            // A transfer that was cut off at either end.
            if moving.contains(parent) && !partials[name].is_empty() {
                interrupted.extend([name, parent].into_iter().filter(|end| hit.contains(end)));
            }
        }
        self.seen.interrupted += interrupted.len();
        self.seen.kills += hit.len();
        let started = Instant::now();
        for &name in &hit {
            self.cluster.node_mut(name)?.spawn()?;
        }
        // Half of them may be struck again while they start.
        for name in hit {
            if self.dice.coin() {
                continue;
            }
            self.answers(name).await?;
            self.seen.restarts += 1;
            self.seen.slowest = self.seen.slowest.max(started.elapsed());
            let data = &self.cluster.node(name)?.data;
            let kept = unfinished(data)?.union(&files(&data.join("blobs"))?).cloned().collect();
            self.seen.resumed += partials[name].intersection(&kept).count();
        }
        Ok(())
    }

    /// Remembers what a node acknowledges, if it answers at this moment.
    async fn listen_to(&mut self, name: &'static str) -> Result<()> {
        let node = self.cluster.node_mut(name)?;
        ensure!(node.runs(), "{name} has ended by itself:\n{}", node.log_tail());
        let Ok(said) = node.status().await else { return Ok(()) };
        let said = said.status.unwrap_or_default();
        let word = self.words.entry(name).or_default();
        ensure!(said.generation >= word.generation, "{name}: {word:?} before, now {said:?}");
        *word = Word {
            generation: said.generation,
            held: said.payloads_held,
            blobs: files(&node.data.join("blobs"))?,
        };
        Ok(())
    }

    /// Bytes that came down each line so far.
    fn carried(&self) -> BTreeMap<&'static str, u64> {
        self.lines.iter().map(|(name, line)| (*name, line.bytes_down())).collect()
    }

    /// Waits until all nodes are in one generation and hold the same blobs, and
    /// has them read everything again.
    async fn converge(&mut self) -> Result<()> {
        for (name, ..) in NODES {
            self.answers(name).await?;
        }
        // All but the first were approved.
        let payloads: usize = self.updates[1..].iter().map(|update| update.files.len()).sum();
        // The primary binds what it fetches by and by.
        until("the primary to hold every payload", CONVERGE, async || {
            let said = self.cluster.primary()?.status().await?.status.unwrap_or_default();
            ensure!(said.payloads_held as usize >= payloads, "it says {said:?}");
            Ok(Some(()))
        })
        .await?;
        let generation = self.cluster.generation().await?;
        let primary = self.cluster.primary()?.status().await?;
        let mut held = BTreeMap::new();
        for (name, ..) in &NODES[1..] {
            self.cluster.reached(name, generation, CONVERGE).await?;
            let status = self.cluster.node(name)?.status().await?;
            let (ours, theirs) = (generation_of(&status), generation_of(&primary));
            ensure!(ours == theirs, "{name} is in generation {ours}, not {theirs}");
            let (ours, theirs) = (approval_sets_of(&status), approval_sets_of(&primary));
            ensure!(ours == theirs, "{name} has other approval sets: {ours:?}, {theirs:?}");
            held.insert(*name, files(&self.cluster.node(name)?.data.join("blobs"))?);
        }
        let all = files(&self.cluster.primary()?.data.join("blobs"))?;
        ensure!(held["hub"].len() >= payloads / 2, "few blobs lie in files: {:?}", held["hub"]);
        for (name, blobs) in &held {
            ensure!(blobs == &held["hub"], "{name} holds {blobs:?}, hub holds {:?}", held["hub"]);
            ensure!(blobs.is_subset(&all), "{name} holds what the primary does not");
        }
        for (name, ..) in NODES {
            self.cluster.patchmesh(name, &["blob", "verify"]).await?.success()?;
            let data = &self.cluster.node(name)?.data;
            ensure!(unfinished(data)?.is_empty(), "{name} has left something unfinished");
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_nothing_is_lost_and_all_end_alike() -> Result<()> {
    let kills = match std::env::var("PATCHMESH_CRASH_KILLS") {
        Ok(text) => text.parse().context("PATCHMESH_CRASH_KILLS is no number")?,
        Err(_) => KILLS,
    };
    let begun = Instant::now();
    let mut mesh = Mesh::start(&NODES).await?;
    mesh.limit(Some(LINE));
    let before = mesh.carried();
    let mut releases = 0;
    while mesh.seen.kills < kills {
        if mesh.seen.kills >= releases * RELEASE_EVERY {
            releases += 1;
            mesh.release(&PAYLOADS).await?;
        }
        // Not a wait for anything: the moment of the strike is what is random.
        // Now and then it is long enough for a checkpoint that time makes due.
        let longest = if mesh.dice.roll(10) == 0 { 4000 } else { 500 };
        tokio::time::sleep(Duration::from_millis(mesh.dice.roll(longest))).await;
        mesh.strike().await?;
    }
    let Seen { kills, interrupted, resumed, restarts, slowest } = mesh.seen;
    eprintln!(
        "{kills} kills in {:?}, {interrupted} of them during a transfer, {resumed} blobs resumed, \
         {restarts} restarts waited for, the slowest took {slowest:?}",
        begun.elapsed(),
    );
    let wanted = kills * INTERRUPTED_PERCENT / 100;
    ensure!(interrupted >= wanted, "only {interrupted} kills hit a transfer, not {wanted}");
    ensure!(resumed > 0, "nothing was resumed");

    mesh.limit(None);
    mesh.converge().await?;
    let content: usize = releases * PAYLOADS.iter().sum::<usize>();
    for (name, bytes) in mesh.carried() {
        let children = NODES.iter().filter(|node| node.1 == name).count();
        let again = (bytes - before[name]).saturating_sub((children * content) as u64);
        let limit = AT_RISK * kills as u64;
        eprintln!("below {name}: {} MiB beyond the content", again >> 20);
        ensure!(again <= limit, "{again} bytes came again below {name}");
    }
    eprintln!("everything took {:?}", begun.elapsed());
    mesh.cluster.passed();
    Ok(())
}

/// Bytes of a blob that a crash interrupts at full speed.
const LARGE: usize = 144 << 20;

/// Such crashes.
const CRASHES: usize = 4;

/// What the calls around a blob may weigh.
const OVERHEAD: u64 = 4 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_full_speed_costs_at_most_64_mib() -> Result<()> {
    let mut mesh = Mesh::start(&NODES[..2]).await?;
    for crash in 0..CRASHES {
        let line = &mesh.lines[PRIMARY];
        let before = line.bytes_down();
        mesh.release(&[LARGE]).await?;
        let after = (LARGE as u64 * (20 + mesh.dice.roll(70))) / 100;
        let line = &mesh.lines[PRIMARY];
        // Looked at without a pause: a piece takes a millisecond.
        let deadline = Instant::now() + PATIENCE;
        while line.bytes_down() - before < after {
            ensure!(Instant::now() < deadline, "nothing came");
            tokio::task::yield_now().await;
        }
        let node = mesh.cluster.node_mut("hub")?;
        node.kill().await?;
        let hit = !unfinished(&node.data)?.is_empty();
        node.start().await?;
        let generation = mesh.cluster.generation().await?;
        mesh.cluster.reached("hub", generation, CONVERGE).await?;
        let again = (mesh.lines[PRIMARY].bytes_down() - before).saturating_sub(LARGE as u64);
        eprintln!(
            "crash {crash} after {} MiB of {}: {} MiB came again",
            after >> 20,
            LARGE >> 20,
            again >> 20,
        );
        ensure!(hit, "the crash after {after} bytes hit no transfer");
        ensure!(again <= AT_RISK + OVERHEAD, "{again} bytes came again");
    }
    mesh.cluster.patchmesh("hub", &["blob", "verify"]).await?.success()?;
    mesh.cluster.passed();
    Ok(())
}
