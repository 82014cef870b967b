//! Promotion across real processes: nothing enters production without the
//! evidence that the policy asks for, whichever way it comes; and two people
//! answer for what does.

use anyhow::{Context, Result, ensure};
use patchmesh_proto::report::{Outcome, Phase};
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec};
use patchmesh_tests::machine::Machine;
use patchmesh_tests::person::Person;
use patchmesh_tests::plan::{self, EUROPE_FIRST};
use patchmesh_tests::vendor::{Sample, Vendor};
use patchmesh_tests::wait::{PATIENCE, until};
use serde_json::Value;

/// One platform, a soak, and what machines say.
const STRICT: &str = r#"
soak = "SOAK"

[[platform]]
platform = "debian-12"

[machines]
min_reported = 1
max_failed = { count = 0 }
"#;

/// A primary with a validation node, and these revisions approved for the lab.
async fn company(vendor: &Vendor, names: &[&str]) -> Result<(Cluster, Vec<String>)> {
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::validation("lab", PRIMARY, "emea/fr/lab")).await?;
    cluster.add_source("vendor", vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    let mut revisions = Vec::new();
    for name in names {
        revisions.push(cluster.revision(name).await?);
    }
    cluster.approve("validation", &revisions).await?;
    Ok((cluster, revisions))
}

async fn here(cluster: &Cluster, arguments: &[&str]) -> Result<Value> {
    cluster.patchmesh(PRIMARY, arguments).await?.success()?.json()
}

async fn set_policy(cluster: &Cluster, policy: &str) -> Result<()> {
    let path = cluster.folder().join("promotion.toml");
    std::fs::write(&path, policy)?;
    here(cluster, &["lab", "policy", "set", &path.display().to_string()]).await?;
    Ok(())
}

/// How a revision stands.
async fn evidence(cluster: &Cluster, revision: &str) -> Result<Value> {
    Ok(here(cluster, &["lab", "status", revision]).await?["evidence"][0].clone())
}

/// Production's decisions.
async fn production(cluster: &Cluster) -> Result<Vec<Value>> {
    let shown = here(cluster, &["approvals", "show", "production", "--expand"]).await?;
    Ok(shown["approvals"].as_array().context("no list")?.clone())
}

async fn nothing_is_promoted(cluster: &Cluster) -> Result<()> {
    let decided = production(cluster).await?;
    ensure!(decided.is_empty(), "{decided:?}");
    Ok(())
}

/// A machine of the lab.
async fn machine(cluster: &Cluster) -> Result<Machine> {
    let token = here(cluster, &["machine", "token", "lab", "--via", "lab"]).await?;
    Machine::join("bench-1", token["token"].as_str().context("no token")?).await
}

/// Says how an installation ended, and waits until the primary has counted it.
async fn installs(
    cluster: &Cluster,
    machine: &mut Machine,
    revision: &str,
    outcome: Outcome,
    counted: (u64, u64),
) -> Result<()> {
    machine.happened(revision, Phase::Installation, outcome, "dpkg ended");
    machine.report().await?;
    until("the primary to count the machine", PATIENCE, async || {
        let found = evidence(cluster, revision).await?["machines"].clone();
        let found = (found["installed"].as_u64(), found["failed"].as_u64());
        ensure!(found == (Some(counted.0), Some(counted.1)), "{found:?}");
        Ok(Some(()))
    })
    .await
}

/// Every way into production but promotion by name.
async fn no_other_way(cluster: &Cluster, revision: &str) -> Result<()> {
    let lacks = "nobody recorded a result on platform debian-12";
    let approve = ["approve", revision, "--stage", "production"];
    cluster.patchmesh(PRIMARY, &approve).await?.failure_that_says(&[lacks])?;
    // Of what nobody named the rest may go on, and what lacks is told.
    let all = here(cluster, &["promote"]).await?;
    ensure!(all["changed"] == 0 && all["held"][0]["revision"] == revision, "{all}");
    ensure!(all["held"][0]["lacks"].to_string().contains(lacks), "{all}");
    let rule = ["rule", "add", "fast", "--stage", "production", "--name", "*", "--enable"];
    let added = here(cluster, &rule).await?;
    ensure!(added["outcomes"][0]["due"][0]["lacks"].to_string().contains(lacks), "{added}");
    let ran = here(cluster, &["rule", "run"]).await?;
    ensure!(ran["decided"]["held_total"] == 1 && ran["decided"]["changed"] == 0, "{ran}");
    here(cluster, &["rule", "remove", "fast"]).await?;
    let plan = plan::write(cluster, EUROPE_FIRST, revision)?;
    let checked = cluster.patchmesh(PRIMARY, &["rollout", "check", &plan]).await?;
    ensure!(checked.json()?["findings"].to_string().contains(lacks), "{checked:?}");
    // A node that hears of no machines does not say what they lack.
    cluster.converged(&["lab"]).await?;
    let elsewhere = cluster.patchmesh("lab", &["rollout", "check", &plan]).await?.json()?;
    ensure!(elsewhere["findings"].is_array(), "{elsewhere}");
    ensure!(!elsewhere.to_string().contains("cannot be promoted yet"), "{elsewhere}");
    let start = ["rollout", "start", &plan];
    cluster.patchmesh(PRIMARY, &start).await?.failure_that_says(&[lacks])?;
    nothing_is_promoted(cluster).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_enters_production_before_the_lab_has_proven_it() -> Result<()> {
    let vendor = Vendor::with_samples(&[Sample::new("app", "1")]).await?;
    let (cluster, revisions) = company(&vendor, &["app"]).await?;
    let app = revisions[0].as_str();
    let status = here(&cluster, &["status"]).await?;
    ensure!(status["promotion"].to_string().contains("no policy is in force"), "{status}");
    let lena = Person::join(&cluster, "lena", &["approver:validation"], PRIMARY).await?;
    let paul = Person::join(&cluster, "paul", &["approver:production"], PRIMARY).await?;

    set_policy(&cluster, &STRICT.replace("SOAK", "1h")).await?;
    let may_not = paul.asks(&cluster, &["lab", "policy", "remove"]).await?;
    may_not.failure_that_says(&["an administrator"])?;
    let mut machine = machine(&cluster).await?;
    installs(&cluster, &mut machine, app, Outcome::Failure, (0, 1)).await?;
    let refused = paul.asks(&cluster, &["promote", app]).await?;
    refused.failure_that_says(&[
        "it soaks in validation for 1h",
        "nobody recorded a result on platform debian-12",
        "100.0 % (1 of 1) failed, and at most 0 may",
    ])?;
    no_other_way(&cluster, app).await?;

    // The lab records; who promotes does not.
    let add = ["lab", "result", "add", app, "--platform", "debian-12", "--outcome"];
    let silent = lena.asks(&cluster, &[&add[..], &["fail"]].concat()).await?;
    silent.failure_that_says(&["outcome fail needs a note"])?;
    let fail = [&add[..], &["fail", "--note", "no printing"]].concat();
    let stranger = paul.asks(&cluster, &fail).await?;
    stranger.failure_that_says(&["decisions on validation are for its approvers"])?;
    lena.asks(&cluster, &fail).await?.success()?;
    let refused = paul.asks(&cluster, &["promote", app]).await?;
    refused.failure_that_says(&["a failure is open on platform debian-12: fail by user lena"])?;

    // What is put right is promoted.
    installs(&cluster, &mut machine, app, Outcome::Success, (1, 0)).await?;
    lena.asks(&cluster, &[&add[..], &["pass"]].concat()).await?.success()?;
    let refused = paul.asks(&cluster, &["promote", app]).await?;
    refused.failure_that_says(&["it soaks in validation for 1h"])?;
    nothing_is_promoted(&cluster).await?;
    set_policy(&cluster, &STRICT.replace("SOAK", "1s")).await?;
    until("the soak to be over", PATIENCE, async || {
        let lacks = evidence(&cluster, app).await?["lacks"].clone();
        ensure!(lacks == Value::Array(Vec::new()), "{lacks}");
        Ok(Some(()))
    })
    .await?;
    paul.asks(&cluster, &["promote", app]).await?.success()?;
    let decided = production(&cluster).await?;
    ensure!(!decided.is_empty() && decided.iter().all(|one| one["by"] == "user paul"));

    // Who recorded what, and who changed the policy, stays.
    let results = here(&cluster, &["lab", "result", "list", app]).await?["results"].clone();
    let outcomes: Vec<_> =
        results.as_array().into_iter().flatten().map(|one| (&one["outcome"], &one["by"])).collect();
    let lena = Value::from("user lena");
    ensure!(outcomes == [(&"fail".into(), &lena), (&"pass".into(), &lena)], "{results}");
    let policy = here(&cluster, &["lab", "policy", "show"]).await?;
    ensure!(policy["changes"].as_array().is_some_and(|all| all.len() == 2), "{policy}");
    ensure!(policy["changes"][1]["by"] == "the local administrator", "{policy}");
    cluster.passed();
    Ok(())
}

/// Asks to promote without evidence; the number.
async fn ask(cluster: &Cluster, person: &Person, revision: &str) -> Result<String> {
    let ask = ["promote", revision, "--override", "--reason", "exploited since yesterday"];
    let asked = person.asks(cluster, &ask).await?.success()?.json()?;
    ensure!(asked["lacks"].to_string().contains("nobody recorded a result"), "{asked}");
    Ok(asked["pending"].as_u64().context("no number")?.to_string())
}

async fn consent(
    cluster: &Cluster,
    person: &Person,
    number: &str,
) -> Result<patchmesh_tests::run::Outcome> {
    person.asks(cluster, &["pending", "consent", number, "--yes"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_answer_for_what_lacks_evidence() -> Result<()> {
    let samples = [Sample::new("alpha", "1"), Sample::new("beta", "1")];
    let vendor = Vendor::with_samples(&samples).await?;
    let (cluster, revisions) = company(&vendor, &["alpha", "beta"]).await?;
    let (alpha, beta) = (revisions[0].as_str(), revisions[1].as_str());
    let lena = Person::join(&cluster, "lena", &["approver:validation"], PRIMARY).await?;
    let paul = Person::join(&cluster, "paul", &["approver:production"], PRIMARY).await?;
    let petra = Person::join(&cluster, "petra", &["approver:production"], PRIMARY).await?;
    let ask_for = ["promote", alpha, "--override", "--reason", "why"];
    let needless = paul.asks(&cluster, &ask_for).await?;
    needless.failure_that_says(&["nothing lacks that promotion asks for"])?;

    set_policy(&cluster, "[[platform]]\nplatform = \"debian-12\"\n").await?;
    let nobody = cluster.patchmesh(PRIMARY, &ask_for).await?;
    nobody.failure_that_says(&["two people with names of their own"])?;
    let number = ask(&cluster, &paul, alpha).await?;
    let alone = consent(&cluster, &paul, &number).await?;
    alone.failure_that_says(&["user paul asked for it, so another person has to consent"])?;
    let stranger = consent(&cluster, &lena, &number).await?;
    stranger.failure_that_says(&["decisions on production are for its approvers"])?;
    let signed =
        petra.asks(&cluster, &["pending", "sign", &number, "--yes", "--key", &petra.key()]).await?;
    signed.failure_that_says(&["needs no signature but another person's consent"])?;
    nothing_is_promoted(&cluster).await?;

    consent(&cluster, &petra, &number).await?.success()?;
    let decided = production(&cluster).await?;
    ensure!(!decided.is_empty(), "nothing was promoted");
    for one in &decided {
        ensure!(one["revision"] == alpha && one["by"] == "user paul", "{one}");
        ensure!(one["comment"] == "exploited since yesterday (consent of user petra)", "{one}");
        ensure!(one["rule"] == format!("override/{number}"), "{one}");
    }
    let all = here(&cluster, &["lab", "overrides"]).await?["overrides"].clone();
    let one = &all[0];
    ensure!(one["asked_by"] == "user paul" && one["consented_by"] == "user petra", "{all}");
    ensure!(one["lacks"][0].to_string().contains("debian-12"), "{all}");
    let shown = here(&cluster, &["pending", "show", &number]).await?;
    ensure!(shown["signers"][0]["user"] == "petra", "{shown}");
    let again = consent(&cluster, &petra, &number).await?;
    again.failure_that_says(&["does not wait any more"])?;

    // Where people hold production, it then waits for their signatures.
    let set = ["stage", "set", "production", "--threshold", "2", "--approver", "paul"];
    let set = here(&cluster, &[&set[..], &["--approver", "petra"]].concat()).await?;
    let handover = set["pending"].as_u64().context("no handover")?;
    for person in [&paul, &petra] {
        person.signs(&cluster, handover).await?.success()?;
    }
    let number = ask(&cluster, &petra, beta).await?;
    let consented = consent(&cluster, &paul, &number).await?.success()?.json()?;
    let waits = consented["pending"][0].as_u64().context("it should wait for signatures")?;
    ensure!(production(&cluster).await?.iter().all(|one| one["revision"] == alpha));
    for person in [&paul, &petra] {
        person.signs(&cluster, waits).await?.success()?;
    }
    ensure!(production(&cluster).await?.iter().any(|one| one["revision"] == beta));
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_that_goes_before_the_last_signature_stops_a_promotion() -> Result<()> {
    let vendor = Vendor::with_samples(&[Sample::new("app", "1")]).await?;
    let (cluster, revisions) = company(&vendor, &["app"]).await?;
    let app = revisions[0].as_str();
    let paul = Person::join(&cluster, "paul", &["approver:production"], PRIMARY).await?;
    let set = ["stage", "set", "production", "--threshold", "1", "--approver", "paul"];
    let handover = here(&cluster, &set).await?["pending"].as_u64().context("no handover")?;
    paul.signs(&cluster, handover).await?.success()?;
    set_policy(&cluster, "[[platform]]\nplatform = \"debian-12\"\n").await?;
    let add = ["lab", "result", "add", app, "--platform", "debian-12", "--outcome"];
    here(&cluster, &[&add[..], &["pass"]].concat()).await?;
    let asked = paul.asks(&cluster, &["promote", app]).await?.success()?.json()?;
    let waits = asked["pending"][0].as_u64().context("it should wait for a signature")?;

    here(&cluster, &[&add[..], &["fail", "--note", "no printing"]].concat()).await?;
    let refused = paul.signs(&cluster, waits).await?;
    refused.failure_that_says(&["a failure is open on platform debian-12"])?;
    nothing_is_promoted(&cluster).await?;
    // The signature stays; with the evidence it is enough by itself.
    here(&cluster, &[&add[..], &["pass"]].concat()).await?;
    until("what is signed to be published", PATIENCE, async || {
        Ok((!production(&cluster).await?.is_empty()).then_some(()))
    })
    .await?;
    cluster.passed();
    Ok(())
}
