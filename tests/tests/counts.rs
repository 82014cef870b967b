//! What real agents did is what the primary has counted, exactly: agents, their branch and
//! the hub above it are killed while events flow, a machine is set up anew, another one
//! moves to another branch, a third one is put back to a snapshot of its disk; and where a
//! machine was cut off for so long that its oldest events are rolled up.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use patchmesh_tests::agent::Machine;
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec};
use patchmesh_tests::vendor::{Sample, Vendor};
use patchmesh_tests::wait::{PATIENCE, until};
use tokio::process::Child;

const PACKAGES: [&str; 10] = ["a1", "b2", "c3", "d4", "e5", "f6", "g7", "h8", "i9", "j0"];

/// As long as an agent does not come by itself.
const FOR_HOURS: [&str; 2] = ["--every", "30h"];

/// A machine, its agent, and how many events each of its queues ever held.
struct Pc {
    machine: Machine,
    agent: Child,
    made: BTreeMap<u64, u64>,
}

impl Pc {
    async fn join(cluster: &Cluster, name: &str) -> Result<Self> {
        let machine = Self::fresh(name).await?;
        machine.join(cluster, "lyon").await?;
        let agent = machine.start(&FOR_HOURS)?;
        Ok(Self { machine, agent, made: BTreeMap::new() })
    }

    async fn fresh(name: &str) -> Result<Machine> {
        Machine::with(name, &PACKAGES.map(|package| Sample::new(package, "1"))).await
    }

    fn events(&self) -> Result<u64> {
        Ok(self.machine.events().map_or(0, |(_, made, _)| made))
    }

    /// Waits until there are more events than so many.
    async fn makes_more_than(&self, events: u64) -> Result<()> {
        until("an event", PATIENCE, async || Ok((self.events()? > events).then_some(()))).await
    }

    async fn kill(&mut self) -> Result<()> {
        self.agent.kill().await.context("the agent does not end")
    }

    fn start(&mut self) -> Result<()> {
        self.agent = self.machine.start(&FOR_HOURS)?;
        Ok(())
    }

    /// Waits until it has these packages in version 2 and no event that no node took.
    async fn is_done(&mut self, packages: &[&str]) -> Result<()> {
        until(&format!("{} to be done", self.machine.name), PATIENCE * 2, async || {
            let has = self.machine.packages().await?;
            let lacks = packages.iter().any(|one| has.get(*one).is_none_or(|two| two != "2"));
            if lacks {
                return Ok(None);
            }
            let (epoch, made, waiting) = self.machine.events()?;
            self.made.insert(epoch, made);
            Ok((waiting == 0).then_some(()))
        })
        .await
    }

    /// The same machine, set up anew on an empty disk.
    async fn reimage(&mut self, cluster: &Cluster) -> Result<()> {
        self.kill().await?;
        self.machine = Self::fresh(&self.machine.name).await?;
        self.machine.join(cluster, "lyon").await?;
        self.start()
    }
}

async fn company(packages: &[String]) -> Result<(Cluster, Vendor)> {
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("hub", PRIMARY, "emea")).await?;
    cluster.add(&Spec::branch("lyon", "hub", "emea/fr/lyon")).await?;
    cluster.add(&Spec::branch("nice", "hub", "emea/fr/nice")).await?;
    let samples: Vec<Sample> = packages.iter().map(|name| Sample::new(name, "2")).collect();
    let vendor = Vendor::with_samples(&samples).await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    Ok((cluster, vendor))
}

/// What the primary has counted of a machine is what its queues held, and what it says of
/// each package is what dpkg says.
async fn agrees(cluster: &Cluster, pc: &Pc) -> Result<()> {
    let name = &pc.machine.name;
    let made: u64 = pc.made.values().sum();
    let shown = until(&format!("{made} events of {name} to be counted"), PATIENCE, async || {
        let shown = cluster.patchmesh(PRIMARY, &["machine", "show", name]).await?;
        let shown = shown.success()?.json()?;
        let counted = shown["events"].as_u64().context("no events")?;
        ensure!(counted <= made, "{name}: {counted} are counted of {:?}: {shown}", pc.made);
        Ok((counted == made).then_some(shown))
    })
    .await?;
    let epochs = shown["epochs"].as_array().context("no epochs")?;
    ensure!(epochs.iter().all(|epoch| epoch["has_gaps"] == false), "{shown}");
    let counted: BTreeSet<u64> = epochs.iter().filter_map(|one| one["events"].as_u64()).collect();
    ensure!(counted == pc.made.values().copied().collect(), "{shown} {:?}", pc.made);
    let words = shown["words"].as_array().context("no words")?;
    let told = |package: &str| {
        words.iter().any(|word| {
            let revision = word["revision"].as_str().unwrap_or_default();
            revision.contains(&format!("/{package}@2")) && word["outcome"] == "success"
        })
    };
    for (package, version) in pc.machine.packages().await? {
        ensure!(version == "2" && told(&package), "{package} {version} of {name}: {shown}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_counted_is_what_happened_whoever_was_killed() -> Result<()> {
    let (mut cluster, _vendor) = company(&PACKAGES.map(str::to_owned)).await?;
    let mut pcs = Vec::new();
    for name in ["pc-1", "pc-2", "pc-3"] {
        pcs.push(Pc::join(&cluster, name).await?);
    }
    for (number, package) in PACKAGES.iter().enumerate() {
        let before = [pcs[0].events()?, pcs[1].events()?, pcs[2].events()?];
        cluster.allow(&[cluster.revision(package).await?]).await?;
        // Each time somebody else, in the middle of a round of one of the machines.
        pcs[number % 3].makes_more_than(before[number % 3]).await?;
        match number % 5 {
            0 => {
                pcs[number % 3].kill().await?;
                pcs[number % 3].start()?;
            }
            1 => {
                cluster.node_mut("lyon")?.kill().await?;
                cluster.node_mut("lyon")?.start().await?;
            }
            2 => {
                cluster.node_mut("hub")?.kill().await?;
                cluster.node_mut("hub")?.start().await?;
            }
            3 => {
                cluster.node_mut("lyon")?.kill().await?;
                pcs[number % 3].kill().await?;
                pcs[number % 3].start()?;
                cluster.node_mut("lyon")?.start().await?;
            }
            _ => {
                cluster.node_mut(PRIMARY)?.kill().await?;
                cluster.node_mut(PRIMARY)?.start().await?;
            }
        }
        if number == 4 {
            // Set up anew when everything of its old disk was told.
            pcs[1].is_done(&PACKAGES[..=number]).await?;
            pcs[1].reimage(&cluster).await?;
            // Moved to another branch, with whatever waits.
            pcs[2].kill().await?;
            pcs[2].machine.join(&cluster, "nice").await?;
            pcs[2].start()?;
        }
    }
    for pc in &mut pcs {
        pc.is_done(&PACKAGES).await?;
        agrees(&cluster, pc).await?;
    }
    ensure!(pcs[1].made.len() == 2, "it was set up anew once: {:?}", pcs[1].made);
    let moved =
        cluster.patchmesh(PRIMARY, &["machine", "show", "pc-3"]).await?.success()?.json()?;
    ensure!(moved["site"] == "emea/fr/nice", "{moved}");
    let made: u64 = pcs.iter().flat_map(|pc| pc.made.values()).sum();
    ensure!(
        made >= 60,
        "each package of each machine makes two events at least, not {made} in all"
    );
    for pc in &mut pcs {
        pc.kill().await?;
    }
    cluster.passed();
    Ok(())
}

/// How often a disk is put back.
const TIMES: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_machine_does_whose_disk_was_put_back_is_counted_too() -> Result<()> {
    let (mut cluster, _vendor) = company(&PACKAGES.map(str::to_owned)).await?;
    let mut pc = Pc::join(&cluster, "pc-1").await?;
    let mut revisions = Vec::new();
    for package in PACKAGES {
        revisions.push(cluster.revision(package).await?);
    }
    let (first, rest) = revisions.split_at(PACKAGES.len() / 2);
    cluster.allow(first).await?;
    pc.is_done(&PACKAGES[..first.len()]).await?;
    pc.kill().await?;
    let (snapshot, kept) = (pc.machine.snapshot().await?, pc.machine.events()?);
    pc.start()?;
    cluster.allow(rest).await?;
    pc.is_done(&PACKAGES).await?;
    pc.kill().await?;
    let (epoch, told, _) = pc.machine.events()?;
    ensure!(epoch == kept.0 && told > kept.1, "{told} events, and {kept:?} before");
    agrees(&cluster, &pc).await?;

    for time in 1..=TIMES {
        pc.machine.put_back(&snapshot).await?;
        ensure!(pc.machine.events()? == kept, "nothing of what came after is left");
        if time == TIMES {
            // More happens than was told, with the same numbers, before anybody is reached.
            for node in ["lyon", "hub", PRIMARY] {
                cluster.node_mut(node)?.kill().await?;
            }
            while pc.machine.events()?.1 <= told {
                for (from, to) in [("2", "1"), ("1", "2")] {
                    pc.machine.pretend(from, to)?;
                    let ran = pc.machine.round().await?;
                    ensure!(ran.code == 69, "it is cut off: {ran:?}");
                }
            }
            for node in [PRIMARY, "hub", "lyon"] {
                cluster.node_mut(node)?.start().await?;
            }
        }
        pc.start()?;
        pc.is_done(&PACKAGES).await?;
        pc.kill().await?;
        // Before it reached the branch the queue was that of the snapshot.
        pc.made.insert(epoch, told);
        ensure!(pc.made.len() == time + 1, "another queue began: {:?}", pc.made);
        agrees(&cluster, &pc).await?;
    }
    cluster.passed();
    Ok(())
}

/// Room for so many events: what comes beyond is rolled up soon.
const LITTLE_ROOM: [&str; 2] = ["--room", "1000"];

/// Packages of the machine that was cut off, and how often they change; an even number.
const MANY: usize = 30;
const FLIPS: u64 = 60;

/// What the primary has counted of a machine: by outcome, in all, and rolled up.
async fn counted(cluster: &Cluster, name: &str) -> Result<([u64; 7], u64, u64)> {
    let shown = cluster.patchmesh(PRIMARY, &["machine", "show", name]).await?;
    let shown = shown.success()?.json()?;
    let number = |of: &serde_json::Value| of.as_u64().with_context(|| format!("{shown}"));
    let mut outcomes = [0; 7];
    for (place, one) in shown["outcomes"].as_array().context("no outcomes")?.iter().enumerate() {
        outcomes[place + 1] = number(&one["events"])?;
    }
    ensure!(shown["epochs"].as_array().is_some_and(|epochs| epochs.len() == 1), "{shown}");
    Ok((outcomes, number(&shown["events"])?, number(&shown["rolled_up"])?))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_rolled_up_is_counted_whoever_was_killed() -> Result<()> {
    let packages: Vec<String> = (0..MANY).map(|number| format!("app-{number}")).collect();
    let (mut cluster, _vendor) = company(&packages).await?;
    let samples: Vec<Sample> = packages.iter().map(|name| Sample::new(name, "1")).collect();
    let machine = Machine::with("pc-1", &samples).await?;
    machine.join(&cluster, "lyon").await?;
    let mut revisions = Vec::new();
    for package in &packages {
        revisions.push(cluster.revision(package).await?);
    }
    cluster.allow(&revisions).await?;
    machine.until_installed(MANY).await?;
    machine.round().await?.success()?;
    let before = until("what it did to be counted", PATIENCE, async || {
        let (counted, queue) = (counted(&cluster, "pc-1").await?, machine.queue()?);
        Ok((queue.made == counted.1 && queue.outcomes == [0; 7]).then_some(counted))
    })
    .await?;
    ensure!(before.2 == 0, "{before:?}");

    // Nobody is there, and somebody plays with the machine's packages.
    for name in ["lyon", "hub", PRIMARY] {
        cluster.node_mut(name)?.kill().await?;
    }
    for flip in 0..FLIPS {
        let (from, to) = if flip % 2 == 0 { ("2", "1") } else { ("1", "2") };
        machine.pretend(from, to)?;
        if flip % 20 == 7 {
            // The agent is killed while it tells what it found.
            let made = machine.queue()?.made;
            let mut agent = machine.start(&[FOR_HOURS, LITTLE_ROOM].concat())?;
            until("an event", PATIENCE, async || {
                Ok((machine.queue().is_ok_and(|queue| queue.made > made)).then_some(()))
            })
            .await?;
            agent.kill().await?;
        }
        let ran = machine.round_with(&LITTLE_ROOM).await?;
        ensure!(ran.code == 69, "it is cut off: {ran:?}");
    }
    let queue = machine.queue()?;
    let status = machine.agent(&["status"]).await?.success()?.json()?;
    let waiting: u64 = queue.outcomes.iter().sum();
    ensure!(queue.rolled_up > 500 && waiting - queue.rolled_up <= 1000, "{queue:?}");
    ensure!(waiting >= MANY as u64 * FLIPS, "each change is an event: {queue:?}");
    ensure!(status["unreported"] == waiting && status["rolled_up"] == queue.rolled_up, "{status}");
    let made = queue.made;
    let mut outcomes = before.0;
    outcomes.iter_mut().zip(queue.outcomes).for_each(|(sum, more)| *sum += more);

    // The branch takes some of it, and is killed, and the machine while it goes on.
    cluster.node_mut("lyon")?.start().await?;
    let mut agent = machine.start(&[FOR_HOURS, LITTLE_ROOM].concat())?;
    until("the branch to take some", PATIENCE, async || {
        let queue = machine.queue();
        Ok(queue.is_ok_and(|queue| queue.outcomes.iter().sum::<u64>() < waiting).then_some(()))
    })
    .await?;
    cluster.node_mut("lyon")?.kill().await?;
    agent.kill().await?;
    cluster.node_mut("lyon")?.start().await?;
    cluster.node_mut("hub")?.start().await?;
    cluster.node_mut("hub")?.kill().await?;
    cluster.node_mut(PRIMARY)?.start().await?;
    cluster.node_mut("hub")?.start().await?;
    until("everything to be told", PATIENCE, async || {
        machine.round_with(&LITTLE_ROOM).await?;
        Ok((machine.queue()?.outcomes == [0; 7]).then_some(()))
    })
    .await?;
    ensure!(machine.queue()?.made == made, "nothing happened since: {:?}", machine.queue()?);
    let counted = until("everything to be counted", PATIENCE, async || {
        let counted = counted(&cluster, "pc-1").await?;
        ensure!(counted.1 <= made, "{counted:?} of {made}");
        Ok((counted.1 == made).then_some(counted))
    })
    .await?;
    ensure!(counted == (outcomes, made, queue.rolled_up), "{counted:?} {outcomes:?} {queue:?}");
    let shown = cluster.patchmesh(PRIMARY, &["report", "machine", "pc-1"]).await?.success()?;
    let story = shown.json()?["story"].clone();
    ensure!(story["epochs"][0]["has_gaps"] == false, "{story}");
    ensure!(story["rolled_up"] == queue.rolled_up, "{story}");
    // The last word on each is that it is there.
    let words = story["words"].as_array().context("no words")?;
    ensure!(words.len() == MANY, "{story}");
    ensure!(words.iter().all(|word| word["outcome"] == "success"), "{story}");
    cluster.passed();
    Ok(())
}
