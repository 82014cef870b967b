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

    // Whoever has it still lacks its removal, and is told apart from what lacks an update.
    let told = cluster.patchmesh(PRIMARY, &["report", "machine", "pc-1"]).await?;
    let told = told.success()?.json()?;
    ensure!(told["verdict"]["verdict"] == "grace", "nobody set a deadline: {told}");
    let needs = told["verdict"]["needs"].as_array().context("needs")?;
    let need = |one: &str| {
        let need = needs.iter().find(|need| need["revision"] == one);
        need.with_context(|| format!("nothing is asked of {one}: {told}"))
    };
    ensure!(needs.len() == 2 && needs.iter().all(|need| need["action"] == "remove"), "{told}");
    let why = |one: &str| Ok::<_, anyhow::Error>(need(one)?["reason"].to_string());
    ensure!(why(used)?.starts_with("\"its removal failed with code 1"), "{told}");
    ensure!(why(kept)?.starts_with("\"it is to be removed"), "{told}");
    let rows = cluster.patchmesh(PRIMARY, &["report", "compliance", "--by", "revision"]).await?;
    let rows = rows.success()?.json()?;
    let row = |one: &str| {
        let mut rows = rows["rows"].as_array().into_iter().flatten();
        let row = rows.find(|row| row["key"] == one)?;
        Some((row["machines"].as_u64()?, row["compliant"].as_u64()?))
    };
    let expected = [(app, 1, 1), (used, 1, 0), (kept, 1, 0), (newer, 1, 1)];
    for (one, machines, compliant) in expected {
        ensure!(row(one) == Some((machines, compliant)), "{one}: {rows}");
    }
    let failures = cluster.patchmesh(PRIMARY, &["report", "failures"]).await?.success()?.json()?;
    let first = &failures["failures"][0];
    ensure!(first["revision"] == used && first["action"] == "remove", "{failures}");

    // A primary that was restarted has the same to say.
    cluster.node_mut(PRIMARY)?.restart().await?;
    let again = cluster.patchmesh(PRIMARY, &["report", "machine", "pc-1"]).await?;
    let again = again.success()?.json()?;
    ensure!(again["verdict"]["needs"] == told["verdict"]["needs"], "{again}");
    cluster.passed();
    Ok(())
}
