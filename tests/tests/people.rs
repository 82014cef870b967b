//! People: who may do what, decisions that several have to sign, and who
//! holds the signed roles.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec};
use patchmesh_tests::person::{Person, elsewhere};
use patchmesh_tests::plan;
use patchmesh_tests::run::{Outcome, run};
use patchmesh_tests::vendor::{Sample, Vendor};
use patchmesh_tests::wait::{PATIENCE, until};
use serde_json::Value;

async fn primary(cluster: &Cluster, arguments: &[&str]) -> Result<Value> {
    cluster.patchmesh(PRIMARY, arguments).await?.success()?.json()
}

/// The one thing that waits for signatures.
async fn waiting(cluster: &Cluster) -> Result<Value> {
    let list = primary(cluster, &["pending", "list"]).await?;
    let pending = list["pending"].as_array().context("no list")?;
    ensure!(pending.len() == 1, "one change should wait, not {list}");
    Ok(pending[0].clone())
}

fn id(pending: &Value) -> Result<u64> {
    pending["id"].as_u64().context("no number")
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(|one| one["user"].as_str()).collect()
}

/// A branch that has what the primary has, also after it was started again.
async fn follows(cluster: &mut Cluster, node: &str) -> Result<()> {
    cluster.converged(&[node]).await?;
    cluster.node_mut(node)?.restart().await?;
    cluster.converged(&[node]).await
}

async fn roles_of(cluster: &Cluster, role: &str) -> Result<Value> {
    let roles = primary(cluster, &["root", "show"]).await?;
    let roles = roles["roles"].as_array().context("no roles")?.clone();
    roles.into_iter().find(|one| one["role"] == role).context("no such role")
}

async fn company(releases: &[&str]) -> Result<(Vendor, Cluster, Vec<String>)> {
    let samples: Vec<_> = releases.iter().map(|name| Sample::new(name, "1.0-1")).collect();
    let vendor = Vendor::with_samples(&samples).await?;
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("hub", PRIMARY, "emea")).await?;
    cluster.add(&Spec::branch("lyon", "hub", "emea/fr/lyon")).await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    let mut revisions = Vec::new();
    for name in releases {
        revisions.push(cluster.revision(name).await?);
    }
    Ok((vendor, cluster, revisions))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_people_decide_on_production() -> Result<()> {
    let (_vendor, mut cluster, revisions) = company(&["alpha", "beta"]).await?;
    cluster.approve("validation", &revisions).await?;
    let approver = ["approver:production"];
    // One of them joins by way of a branch.
    let alice = Person::join(&cluster, "alice", &approver, PRIMARY).await?;
    let bob = Person::join(&cluster, "bob", &approver, "lyon").await?;
    let carol = Person::join(&cluster, "carol", &approver, PRIMARY).await?;

    // What would lock everybody out is refused.
    let locked = ["stage", "set", "production", "--threshold", "3", "--approver", "alice"];
    cluster.patchmesh(PRIMARY, &locked).await?.failure_that_says(&["nobody could sign"])?;
    let twice = ["--threshold", "2", "--approver", "alice", "--approver", "alice"];
    let twice = [&["stage", "set", "production"][..], &twice].concat();
    cluster.patchmesh(PRIMARY, &twice).await?.failure_that_says(&["twice"])?;

    // Whoever could not hand a signature in holds no stage.
    let auditor = Person::join(&cluster, "audrey", &["auditor"], PRIMARY).await?;
    let mute = ["stage", "set", "production", "--threshold", "1", "--approver", &auditor.name];
    let refused = cluster.patchmesh(PRIMARY, &mute).await?;
    refused.failure_that_says(&["does not decide on production", "approver:production"])?;

    // The root key signs; two of the new holders sign what they now hold.
    let set = ["stage", "set", "production", "--threshold", "2", "--approver", "alice"];
    let set = [&set[..], &["--approver", "bob", "--approver", "carol"]].concat();
    let set = primary(&cluster, &set).await?;
    let handover = set["pending"].as_u64().context("it should wait for the new holders")?;
    alice.signs(&cluster, handover).await?.success()?;
    let done = bob.signs(&cluster, handover).await?.success()?.json()?;
    ensure!(done["state"] == "published", "{done}");
    // What it was can still be read.
    let kept = primary(&cluster, &["pending", "show", &handover.to_string()]).await?;
    let summary = kept["summary"].as_array().context("no summary")?;
    ensure!(
        summary.len() == 1 && summary[0].as_str().is_some_and(|one| one.contains("2 of alice")),
        "{kept}"
    );
    let production = roles_of(&cluster, "production").await?;
    ensure!(production["threshold"] == 2 && production["online"] == false, "{production}");
    follows(&mut cluster, "lyon").await?;

    // Nobody decides alone, not even on the primary's own host.
    let before = cluster.generation().await?;
    let key = alice.key();
    let ask = ["promote", &revisions[0], "--no-wait", "--key", &key, "--comment", "tried"];
    let asked = alice.asks(&cluster, &ask).await?.success()?.json()?;
    ensure!(asked["pending"].as_array().is_some_and(|all| all.len() == 1), "{asked}");
    let pending = waiting(&cluster).await?;
    ensure!(names(&pending["signers"]) == ["alice"], "{pending}");
    let mut missing = names(&pending["missing"]);
    missing.sort_unstable();
    ensure!(missing == ["bob", "carol"], "{pending}");
    let decision = id(&pending)?;

    // The same signer counts once.
    alice.signs(&cluster, decision).await?.failure_that_says(&["already"])?;
    ensure!(waiting(&cluster).await?["parts"][0]["signatures"] == 1);
    let opened = cluster.generation().await? - before;
    ensure!(opened <= 1, "only the plan may have been published, not {opened} generations");

    // A revoked person is shut out at once, and their signature is refused.
    let revoked = primary(&cluster, &["user", "revoke", "bob", "--yes"]).await?;
    ensure!(revoked["holds"][0] == "production", "{revoked}");
    let removal = revoked["pending"].as_u64().context("the rest have to sign again")?;
    bob.signs(&cluster, decision).await?.failure_that_says(&["revoked"])?;
    let shown = primary(&cluster, &["pending", "show", &decision.to_string()]).await?;
    ensure!(names(&shown["missing"]) == ["carol"], "nobody waits for bob: {shown}");
    // A key that holds nothing is told what it does not hold.
    let (number, stray) = (removal.to_string(), auditor.key());
    let sign = ["pending", "sign", &number, "--yes", "--key", &stray];
    alice.asks(&cluster, &sign).await?.failure_that_says(&["does not hold the role production"])?;

    // Alice and Carol sign that Bob holds nothing any more, and what they hold.
    alice.signs(&cluster, removal).await?.success()?;
    let done = carol.signs(&cluster, removal).await?.success()?.json()?;
    ensure!(done["state"] == "published", "{done}");
    let production = roles_of(&cluster, "production").await?;
    ensure!(names(&production["keys"]) == ["alice", "carol"], "{production}");

    // The ground moved under the decision: it has to be signed again.
    let pending = waiting(&cluster).await?;
    ensure!(names(&pending["signers"]).is_empty(), "{pending}");
    ensure!(pending["note"].as_str().is_some_and(|note| note.contains("again")), "{pending}");
    carol.signs(&cluster, decision).await?.success()?;
    let done = alice.signs(&cluster, decision).await?.success()?.json()?;
    ensure!(done["state"] == "published", "{done}");
    follows(&mut cluster, "lyon").await?;
    let kept = primary(&cluster, &["pending", "show", &decision.to_string()]).await?;
    ensure!(names(&kept["signers"]) == ["carol", "alice"], "{kept}");

    // A decision may be given up.
    let ask = ["promote", &revisions[1], "--no-wait"];
    let asked = alice.asks(&cluster, &ask).await?.success()?.json()?;
    let given_up = asked["pending"][0].as_u64().context("it should wait")?.to_string();
    primary(&cluster, &["pending", "withdraw", &given_up]).await?;
    carol.signs(&cluster, given_up.parse()?).await?.failure_that_says(&["wait"])?;
    cluster.passed();
    Ok(())
}

/// Releases and rules propose where people sign: once, and no more than they say.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_and_what_rules_approve_wait_for_signatures() -> Result<()> {
    let (vendor, cluster, _) = company(&["alpha", "beta"]).await?;
    let approver = ["approver:validation", "approver:production"];
    let alice = Person::join(&cluster, "alice", &approver, PRIMARY).await?;
    let bob = Person::join(&cluster, "bob", &approver, PRIMARY).await?;
    let set = ["stage", "set", "validation", "--threshold", "2"];
    let set = [&set[..], &["--approver", "alice", "--approver", "bob"]].concat();
    let set = primary(&cluster, &set).await?;
    let handover = set["pending"].as_u64().context("it should wait for the new holders")?;
    alice.signs(&cluster, handover).await?.success()?;
    bob.signs(&cluster, handover).await?.success()?;

    let take = ["baseline", "snapshot", "release", "--source", "vendor"];
    primary(&cluster, &take).await?;
    let approve = ["approve", "--baseline", "release", "--no-wait", "--key"];
    let key = alice.key();
    let asked = alice.asks(&cluster, &[&approve[..], &[&key]].concat()).await?.success()?.json()?;
    let number = asked["pending"][0].as_u64().context("it should wait")?;
    let pending = waiting(&cluster).await?;
    ensure!(names(&pending["signers"]) == ["alice"], "her key was not used: {pending}");
    ensure!(pending["changes"].as_array().map(Vec::len) == Some(2), "{pending}");
    let done = bob.signs(&cluster, number).await?.success()?.json()?;
    ensure!(done["state"] == "published", "{done}");

    // What left the release is declined by the same signature.
    vendor.release(&[Sample::new("alpha", "2.0-1")]).await?;
    cluster.sync("vendor").await?.success()?;
    primary(&cluster, &["baseline", "update", "release"]).await?;
    let asked = alice.asks(&cluster, &[&approve[..], &[&key]].concat()).await?.success()?.json()?;
    ensure!(asked["retired"] == 1 && asked["approved"] == 1, "{asked}");
    let number = asked["pending"][0].as_u64().context("it should wait")?;
    bob.signs(&cluster, number).await?.success()?;

    // A rule proposes once, however often it is looked at.
    vendor.release(&[Sample::new("gamma", "1.0-1")]).await?;
    cluster.sync("vendor").await?.success()?;
    let rule = ["rule", "add", "gammas", "--stage", "validation", "--name", "gam*", "--enable"];
    primary(&cluster, &rule).await?;
    until("the rule to propose", PATIENCE, async || {
        let list = primary(&cluster, &["pending", "list"]).await?;
        Ok(list["pending"].as_array().is_some_and(|all| !all.is_empty()).then_some(()))
    })
    .await?;
    for _ in 0..3 {
        let run = primary(&cluster, &["rule", "run", "gammas"]).await?;
        ensure!(run["outcomes"][0]["due"].as_array().map(Vec::len) == Some(1), "{run}");
    }
    let pending = waiting(&cluster).await?;
    alice.signs(&cluster, id(&pending)?).await?.success()?;
    bob.signs(&cluster, id(&pending)?).await?.success()?;
    let gamma = cluster.revision("gamma").await?;
    let shown = primary(&cluster, &["update", "show", &gamma]).await?;
    ensure!(shown["approvals"]["validation"][0]["rule"] == "rule/gammas", "{shown}");
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_key_is_kept_elsewhere_and_everything_rotates() -> Result<()> {
    let (_vendor, mut cluster, revisions) = company(&["alpha"]).await?;
    let safe = cluster.folder().join("safe");
    let safe_text = safe.display().to_string();
    let exported = primary(&cluster, &["root", "export-key", "--to", &safe_text]).await?;
    ensure!(exported["single_operator"] == false, "{exported}");
    let status = cluster.primary()?.status().await?;
    ensure!(!status.single_operator, "the primary can't sign everything any more");
    let root = safe.join("root.pem");

    // Without the key nothing changes; the primary goes on with the rest.
    let alone = ["stage", "set", "production", "--threshold", "1"];
    cluster.patchmesh(PRIMARY, &alone).await?.failure_that_says(&["nothing would change"])?;
    cluster.approve("validation", &revisions).await?;
    let eve = Person::join(&cluster, "eve", &["approver:validation"], PRIMARY).await?;
    let alone = ["stage", "set", "validation", "--approver", "eve"];
    cluster.patchmesh(PRIMARY, &alone).await?.failure_that_says(&["root key"])?;

    // Every role that the primary signs by itself gets a new key.
    let file = cluster.folder().join("new.json");
    let rotate: Vec<_> = ["snapshot", "timestamp", "content", "wave-state", "mesh", "rollout"]
        .iter()
        .flat_map(|role| ["--rotate", role])
        .collect();
    let before = roles_of(&cluster, "snapshot").await?;
    ceremony(&cluster, &file, &rotate, &[&root]).await?;
    let after = roles_of(&cluster, "snapshot").await?;
    ensure!(before["keys"] != after["keys"] && after["online"] == true, "{after}");
    follows(&mut cluster, "lyon").await?;

    // Signed by nobody, by a stranger, twice: refused.
    let prepare = ["root", "prepare", "--out", &text(&file), "--renew"];
    primary(&cluster, &prepare).await?;
    let publish = ["root", "publish", &text(&file)];
    cluster.patchmesh(PRIMARY, &publish).await?.failure_that_says(&["0 of the 1"])?;
    let strange = eve.key();
    let sign = ["root", "sign", &text(&file), "--yes", "--key", &strange];
    eve.local(&cluster, &sign).await?.failure_that_says(&["holds none"])?;
    sign_offline(&cluster, &file, &root).await?.success()?;
    sign_offline(&cluster, &file, &root).await?.failure_that_says(&["already"])?;
    primary(&cluster, &publish).await?;
    cluster.patchmesh(PRIMARY, &publish).await?.failure_that_says(&["prepare"])?;

    // The root itself goes to another key; the old one signs nothing more.
    let public = eve.credentials.join("signing.pub");
    let eve_key = PathBuf::from(eve.key());
    ceremony(&cluster, &file, &["--root-key", &text(&public)], &[&root, &eve_key]).await?;
    follows(&mut cluster, "lyon").await?;
    primary(&cluster, &prepare).await?;
    sign_offline(&cluster, &file, &root).await?.failure_that_says(&["holds none"])?;

    // A node that joins only now follows from the first root.
    cluster.add(&Spec::branch("late", "hub", "emea/it")).await?;
    cluster.converged(&["late", "hub", "lyon"]).await?;
    cluster.primary()?.status().await?;
    cluster.node_mut(PRIMARY)?.restart().await?;
    cluster.promote(&revisions).await?;
    cluster.converged(&["late", "lyon"]).await?;
    cluster.passed();
    Ok(())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

async fn ceremony(cluster: &Cluster, file: &Path, what: &[&str], keys: &[&Path]) -> Result<()> {
    let out = text(file);
    let prepare = [&["root", "prepare", "--out", &out][..], what].concat();
    primary(cluster, &prepare).await?;
    for key in keys {
        sign_offline(cluster, file, key).await?.success()?;
    }
    let published = primary(cluster, &["root", "publish", &out]).await?;
    ensure!(published["generation"].is_u64(), "{published}");
    Ok(())
}

/// Without a data folder and without a node.
async fn sign_offline(cluster: &Cluster, file: &Path, key: &Path) -> Result<Outcome> {
    let mut command = elsewhere(cluster)?;
    command.args(["--output", "json", "root", "sign"]);
    command.arg(file).arg("--yes").arg("--key").arg(key);
    run(&mut command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_may_do_what_their_role_is_for() -> Result<()> {
    let (_vendor, cluster, revisions) = company(&["alpha"]).await?;
    let auditor = Person::join(&cluster, "audrey", &["auditor"], PRIMARY).await?;
    let site = ["site-administrator:emea/fr"];
    let site = Person::join(&cluster, "simon", &site, "hub").await?;
    let approver = Person::join(&cluster, "vera", &["approver:validation"], PRIMARY).await?;
    for person in [&auditor, &site, &approver] {
        person.asks(&cluster, &["status"]).await?.success()?;
        person.asks(&cluster, &["user", "list"]).await?.success()?;
        let name = &person.name;
        let invite = ["user", "invite", "mallory", "--role", "administrator"];
        let refused = person.asks(&cluster, &invite).await?;
        refused.failure_that_says(&["administrator", name])?;
    }
    let approve = ["approve", &revisions[0], "--no-wait"];
    auditor.asks(&cluster, &approve).await?.failure_that_says(&["approver"])?;
    site.asks(&cluster, &approve).await?.failure_that_says(&["approver"])?;
    approver.asks(&cluster, &approve).await?.success()?;
    let promote = ["promote", &revisions[0], "--no-wait"];
    approver.asks(&cluster, &promote).await?.failure_that_says(&["production"])?;

    // Who runs rollouts decides nothing: one that approves is for approvers to start.
    let operator = Person::join(&cluster, "olga", &["operator"], PRIMARY).await?;
    let plan = plan::write(&cluster, plan::EUROPE_FIRST, &revisions[0])?;
    operator.asks(&cluster, &["rollout", "plan", &plan]).await?.success()?;
    for what in ["spring", &plan] {
        let started = operator.asks(&cluster, &["rollout", "start", what]).await?;
        started.failure_that_says(&["production", "approvers", "olga"])?;
    }
    approver.asks(&cluster, &["rollout", "plan", &plan]).await?.failure_that_says(&["operator"])?;
    primary(&cluster, &["rollout", "start", "spring"]).await?;
    let halt = ["rollout", "halt", "spring", "--reason", "tried"];
    operator.asks(&cluster, &halt).await?.success()?;
    operator.asks(&cluster, &["rollout", "resume", "spring"]).await?.success()?;

    let invite = |site: &'static str| ["invite", "nantes", "--parent", "hub", "--site", site];
    site.asks(&cluster, &invite("emea/it")).await?.failure_that_says(&["emea/it"])?;
    site.asks(&cluster, &invite("emea/fr/nantes")).await?.success()?;
    let revoke = ["node", "revoke", "hub", "--yes"];
    site.asks(&cluster, &revoke).await?.failure_that_says(&["site administrators"])?;
    site.asks(&cluster, &["node", "revoke", "nantes", "--yes"]).await?.success()?;

    // Shut out: at once, everywhere.
    primary(&cluster, &["user", "revoke", "audrey", "--yes"]).await?;
    until("the auditor to be shut out", PATIENCE, async || {
        let refused = auditor.asks(&cluster, &["status"]).await?;
        Ok((refused.code != 0).then_some(()))
    })
    .await?;
    // A certificate is renewed for whoever is still in.
    let renewed = site.asks(&cluster, &["user", "renew"]).await?.success()?.json()?;
    ensure!(renewed["user"] == "simon", "{renewed}");
    auditor.asks(&cluster, &["user", "renew"]).await?.failure_that_says(&[])?;
    cluster.passed();
    Ok(())
}
