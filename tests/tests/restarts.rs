//! Only so many machines of a group restart at once: real agents, and curl with a
//! machine's certificate.

use std::fs;

use anyhow::{Context, Result, ensure};
use patchmesh_tests::agent::Machine;
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec};
use patchmesh_tests::http::{Answer, Curl};
use patchmesh_tests::run::Outcome;
use serde_json::{Value, json};

/// A primary and a branch, where so many workstations restart at once.
async fn company(slots: &str) -> Result<Cluster> {
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("lyon", PRIMARY, "emea/fr/lyon")).await?;
    let set = ["group", "set", "workstations", "--reboot-slots", slots];
    cluster.patchmesh(PRIMARY, &set).await?.success()?;
    cluster.converged(&["lyon"]).await?;
    Ok(cluster)
}

/// A machine that has to restart, where nobody is logged on.
async fn due(cluster: &Cluster, name: &str) -> Result<Machine> {
    let machine = Machine::with(name, &[]).await?;
    fs::create_dir_all(machine.root.join("run/systemd/sessions"))?;
    fs::write(machine.root.join("run/reboot-required"), "")?;
    machine.join(cluster, "lyon").await?;
    Ok(machine)
}

/// How often a machine's command to restart has run; a real one takes its marker away.
fn restarts(machine: &Machine) -> usize {
    let log = fs::read_to_string(machine.folder.path().join("log")).unwrap_or_default();
    log.lines().count()
}

async fn round(machine: &Machine) -> Result<Value> {
    let root = machine.root.display().to_string();
    let command = format!("echo restart >> {}", machine.folder.path().join("log").display());
    let arguments =
        ["run", "--once", "--root", &root, "--reboot", "unattended", "--reboot-command", &command];
    // Without its own node a round ends with another code, and its result all the same.
    machine.agent(&arguments).await?.json()
}

/// What `agent status` says that the restart waits for.
async fn waits_for(machine: &Machine) -> Result<String> {
    let status = machine.agent(&["status"]).await?.success()?.json()?;
    Ok(status["reboot"]["waits_for"].as_str().context("no restart is due")?.to_owned())
}

async fn slots(cluster: &Cluster) -> Result<Vec<String>> {
    let list = cluster.patchmesh("lyon", &["reboot-lock", "list"]).await?.success()?.json()?;
    let slots = list["slots"].as_array().context("no list")?;
    ensure!(slots.iter().all(|slot| slot["since"].is_string()), "{list}");
    Ok(slots.iter().filter_map(|slot| slot["machine"].as_str().map(str::to_owned)).collect())
}

async fn releases(cluster: &Cluster, machine: &str) -> Result<Outcome> {
    cluster.patchmesh("lyon", &["reboot-lock", "release", machine]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_waits_until_the_first_works_again() -> Result<()> {
    let mut cluster = company("1").await?;
    let (first, second) = (due(&cluster, "pc-1").await?, due(&cluster, "pc-2").await?);
    round(&first).await?;
    ensure!(restarts(&first) == 1 && slots(&cluster).await? == ["pc-1"]);
    // It has not come up again: the same boot, and the marker is there still.
    round(&first).await?;
    ensure!(slots(&cluster).await? == ["pc-1"], "it is given back after the restart alone");

    round(&second).await?;
    let full = "1 of 1 slots of group workstations are taken";
    let waits = waits_for(&second).await?;
    ensure!(restarts(&second) == 0 && waits.contains(full) && waits.contains("by pc-1"), "{waits}");
    let by_hand = ["reboot", "--reboot-command", "true"];
    second.agent(&by_hand).await?.failure_that_says(&[full, "reboot-lock list"])?;

    // Without its node it waits as well, and the node remembers.
    cluster.node_mut("lyon")?.kill().await?;
    round(&second).await?;
    let waits = waits_for(&second).await?;
    ensure!(restarts(&second) == 0 && waits.contains("cannot ask"), "{waits}");
    cluster.node_mut("lyon")?.start().await?;
    ensure!(slots(&cluster).await? == ["pc-1"], "a slot is forgotten");
    round(&second).await?;
    ensure!(restarts(&second) == 0 && waits_for(&second).await?.contains(full));

    // The first has restarted, and says so in its first round.
    fs::remove_file(first.root.join("run/reboot-required"))?;
    let ran = round(&first).await?;
    ensure!(ran["reboot"].is_null() && slots(&cluster).await?.is_empty(), "{ran}");
    round(&second).await?;
    ensure!(restarts(&second) == 1 && slots(&cluster).await? == ["pc-2"]);

    // It never comes up again, so an administrator lets the others go on.
    fs::write(first.root.join("run/reboot-required"), "")?;
    round(&first).await?;
    ensure!(restarts(&first) == 1 && waits_for(&first).await?.contains("by pc-2"));
    releases(&cluster, "pc-2").await?.success()?;
    round(&first).await?;
    ensure!(restarts(&first) == 2 && slots(&cluster).await? == ["pc-1"]);
    let none = releases(&cluster, "pc-2").await?;
    none.failure_that_says(&["machine pc-2 has no slot at lyon", "reboot-lock list"])?;
    cluster.passed();
    Ok(())
}

/// A client of FleetLock with a machine's certificate.
struct Client {
    curl: Curl,
    lyon: String,
    certificate: Vec<String>,
}

impl Client {
    fn of(cluster: &Cluster, machine: Option<&Machine>) -> Result<Self> {
        let file = |machine: &Machine, name: &str| {
            machine.state().join("identity").join(name).display().to_string()
        };
        let certificate = machine.map(|machine| {
            ["--cert".into(), file(machine, "cert.pem"), "--key".into(), file(machine, "key.pem")]
        });
        let lyon = cluster.node("lyon")?.url.clone();
        let certificate = certificate.into_iter().flatten().collect();
        Ok(Self { curl: Curl::trusting(cluster)?, lyon, certificate })
    }

    async fn post(&self, step: &str, body: &str, more: &[&str]) -> Result<Answer> {
        let mut arguments: Vec<&str> = self.certificate.iter().map(String::as_str).collect();
        arguments.extend(["--data", body]);
        arguments.extend(more);
        self.curl.get(&format!("{}/v1/{step}", self.lyon), &arguments).await
    }

    async fn asks(&self, step: &str, id: &str, group: &str) -> Result<Answer> {
        let body = json!({"client_params": {"id": id, "group": group}}).to_string();
        self.post(step, &body, &["--header", "fleet-lock-protocol: true"]).await
    }
}

/// Refused so, with a reason that has these words.
fn refused(answer: &Answer, status: u16, kind: &str, words: &str) -> Result<()> {
    let said: Value = serde_json::from_slice(&answer.body).context(answer.text())?;
    let value = said["value"].as_str().unwrap_or_default();
    ensure!(answer.status == status && said["kind"] == kind && value.contains(words), "{answer:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_speaks_the_protocol_for_itself_alone() -> Result<()> {
    let cluster = company("1").await?;
    let (first, second) = (due(&cluster, "pc-1").await?, due(&cluster, "pc-2").await?);
    let of = |machine| Client::of(&cluster, machine);
    let (one, two, stranger) = (of(Some(&first))?, of(Some(&second))?, of(None)?);
    let (lock, unlock, group) = ("pre-reboot", "steady-state", "workstations");

    one.asks(unlock, "pc-1", group).await?.ok()?;
    one.asks(lock, "pc-1", group).await?.ok()?;
    one.asks(lock, "pc-1", group).await?.ok()?;
    ensure!(slots(&cluster).await? == ["pc-1"]);
    refused(&two.asks(lock, "pc-2", group).await?, 409, "no_slot", "by pc-1")?;

    // Nobody takes or gives back what is another's.
    let other = "the certificate is of machine pc-2 of group workstations";
    for step in [lock, unlock] {
        refused(&two.asks(step, "pc-1", group).await?, 403, "other_machine", other)?;
        refused(&two.asks(step, "pc-2", "servers").await?, 403, "other_machine", other)?;
        refused(&stranger.asks(step, "pc-1", group).await?, 403, "no_machine", "certificate")?;
    }
    ensure!(slots(&cluster).await? == ["pc-1"]);

    let header = ["--header", "fleet-lock-protocol: true"];
    refused(&two.post(lock, "{}", &[]).await?, 400, "no_protocol", "fleet-lock-protocol: true")?;
    refused(&two.post(lock, "{}", &header).await?, 400, "bad_request", "client_params")?;
    let long = two.post(lock, &" ".repeat(5000), &header).await?;
    refused(&long, 413, "bad_request", "length limit")?;
    ensure!(two.post(lock, "", &["--get"]).await?.status == 405);

    one.asks(unlock, "pc-1", group).await?.ok()?;
    two.asks(lock, "pc-2", group).await?.ok()?;
    ensure!(slots(&cluster).await? == ["pc-2"]);

    // Where the group has no limit any more, nobody needs a slot.
    let listed = cluster.patchmesh(PRIMARY, &["group", "list"]).await?.success()?.json()?;
    let limit = |list: &Value| {
        let groups = list["groups"].as_array().cloned().unwrap_or_default();
        let group = groups.into_iter().find(|one| one["name"] == group);
        group.map(|group| group["reboot_slots"].clone())
    };
    ensure!(limit(&listed) == Some(json!(1)), "{listed}");
    let any = ["group", "set", group, "--no-reboot-slots"];
    cluster.patchmesh(PRIMARY, &any).await?.success()?;
    cluster.converged(&["lyon"]).await?;
    let listed = cluster.patchmesh(PRIMARY, &["group", "list"]).await?.success()?.json()?;
    ensure!(limit(&listed) == Some(Value::Null), "{listed}");
    one.asks(lock, "pc-1", group).await?.ok()?;
    ensure!(slots(&cluster).await? == ["pc-2"]);
    two.asks(unlock, "pc-2", group).await?.ok()?;
    ensure!(slots(&cluster).await?.is_empty());

    // Nor does one ask any more that was shut out.
    let revoke = ["machine", "revoke", "pc-2", "--comment", "stolen"];
    cluster.patchmesh(PRIMARY, &revoke).await?.success()?;
    cluster.converged(&["lyon"]).await?;
    let answer = two.asks(lock, "pc-2", group).await?;
    let said = answer.text();
    ensure!(answer.status == 403 && said.contains("machine pc-2 was revoked at"), "{answer:?}");
    let words = ["answered 403", "machine pc-2 was revoked at", "patchmesh machine token"];
    second.round().await?.failure_that_says(&words)?;
    one.asks(lock, "pc-1", group).await?.ok()?;
    cluster.passed();
    Ok(())
}
