//! What a rollout takes back goes from machines: real agents, real dpkg.

use anyhow::{Context, Result, ensure};
use patchmesh_tests::agent::Machine;
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec};
use patchmesh_tests::plan;
use patchmesh_tests::vendor::{Sample, Vendor};
use patchmesh_tests::wait::{PATIENCE, until};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rollout_takes_back_goes_and_the_primary_says_what_dpkg_says() -> Result<()> {
    // `used` is needed by something else, `kept` is held, `newer` is there in another version.
    let machine = Machine::with(
        "pc-1",
        &[
            Sample::new("app", "2"),
            Sample::new("used", "2"),
            Sample::new("user", "1").with_depends("used"),
            Sample::new("kept", "2"),
            Sample::new("newer", "3"),
            Sample::new("other", "2"),
        ],
    )
    .await?;
    let status = machine.root.join("var/lib/dpkg/status");
    let text = std::fs::read_to_string(&status)?;
    let held = text.replace("Package: kept\nStatus: install ok", "Package: kept\nStatus: hold ok");
    ensure!(held != text, "nothing is held: {text}");
    std::fs::write(&status, held)?;
    let names = ["app", "used", "kept", "newer"];
    let vendor = Vendor::with_samples(&names.map(|name| Sample::new(name, "2"))).await?;
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("lyon", PRIMARY, "emea/fr/lyon")).await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    let mut revisions = Vec::new();
    for name in names {
        revisions.push(cluster.revision(name).await?);
    }
    machine.join(&cluster, "lyon").await?;
    cluster.approve("validation", &revisions).await?;
    let plan = plan::write(&cluster, plan::TAKEN_BACK, &plan::list(&revisions))?;
    cluster.patchmesh(PRIMARY, &["rollout", "start", &plan]).await?.success()?;
    cluster.converged(&["lyon"]).await?;
    let [app, used, kept, newer] = [0, 1, 2, 3].map(|index| revisions[index].as_str());

    let ran = until("something to be removed", PATIENCE, async || {
        let ran = machine.round().await?.json()?;
        let removed = ran["removed"].as_array().context("no list")?;
        Ok((!removed.is_empty()).then_some(ran))
    })
    .await?;
    ensure!(ran["removed"] == serde_json::json!([app]), "{ran}");
    ensure!(ran["failed"][0]["revision"] == used, "{ran}");
    let format = "${db:Status-Abbrev} ${Package} ${Version}\n";
    let listed = machine.dpkg("dpkg-query", &["-W", "-f", format]).await?.success()?.stdout;
    let there: Vec<&str> = listed.lines().filter(|line| line.as_bytes()[1] == b'i').collect();
    // dpkg keeps in mind that `used` was to go, though it refused.
    let expected = ["hi  kept 2", "ii  newer 3", "ii  other 2", "ri  used 2", "ii  user 1"];
    ensure!(there == expected, "{listed}");

    let standings = machine.status().await?;
    let waits = |one: &str| standings[one]["waits_for"].as_str().unwrap_or_default().to_owned();
    ensure!(waits(used).starts_with("it failed; it is tried again after"), "{standings:?}");
    ensure!(waits(kept).contains("administrator holds kept"), "{standings:?}");

    // It rests, and nothing is done or told twice.
    let idle = machine.round().await?.success()?.json()?;
    ensure!(idle["removed"] == serde_json::json!([]) && idle["reported"] == 0, "{idle}");
    let shown = until("the primary to know", PATIENCE, async || {
        let shown = cluster.patchmesh(PRIMARY, &["machine", "show", "pc-1"]).await?;
        let shown = shown.success()?.json()?;
        Ok((shown["events"].as_u64() >= Some(6)).then_some(shown))
    })
    .await?;
    let words = shown["words"].as_array().context("no words")?;
    let word = |one: &str| {
        let word = words.iter().find(|word| word["revision"] == one);
        word.with_context(|| format!("no word on {one}: {shown}"))
    };
    for (one, phase, outcome) in [
        (app, "removal", "success"),
        (used, "removal", "failure"),
        (kept, "detection", "success"),
        (newer, "removal", "success"),
    ] {
        let word = word(one)?;
        ensure!(word["phase"] == phase && word["outcome"] == outcome, "{one}: {word}");
    }
    let message = word(used)?["message"].as_str().unwrap_or_default();
    ensure!(message.contains("dependency problems"), "dpkg's own words are told: {message}");
    cluster.passed();
    Ok(())
}
