//! Rollouts across real processes: plans are entered with the command line, and
//! every node answers for itself what is open at its site.

use anyhow::{Context, Result, ensure};
use patchmesh_proto::report::{Outcome, Phase};
use patchmesh_tests::apt::Apt;
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec};
use patchmesh_tests::machine::Machine;
use patchmesh_tests::plan::{self, EUROPE_FIRST};
use patchmesh_tests::vendor::{Sample, Vendor};
use patchmesh_tests::wait::{PATIENCE, until};
use serde_json::Value;

/// A primary, and branches in Lyon and Tokyo, with `hello` approved for the lab.
async fn company(vendor: &Vendor) -> Result<(Cluster, String)> {
    company_of(vendor, &[Spec::branch("lyon", PRIMARY, "emea/fr/lyon")]).await
}

/// The same with these nodes and Tokyo.
async fn company_of(vendor: &Vendor, nodes: &[Spec]) -> Result<(Cluster, String)> {
    let mut cluster = Cluster::start().await?;
    for node in nodes {
        cluster.add(node).await?;
    }
    cluster.add(&Spec::branch("tokyo", PRIMARY, "apac/jp/tokyo")).await?;
    cluster.add_source("vendor", vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    let revision = cluster.revision("hello").await?;
    cluster.approve("validation", std::slice::from_ref(&revision)).await?;
    Ok((cluster, revision))
}

async fn vendor() -> Result<Vendor> {
    Vendor::with_samples(&[Sample::new("hello", "1")]).await
}

async fn rollout(cluster: &Cluster, arguments: &[&str]) -> Result<Value> {
    let arguments: Vec<&str> = ["rollout"].iter().chain(arguments).copied().collect();
    cluster.patchmesh(PRIMARY, &arguments).await?.success()?.json()
}

/// What a node says of the rollout at a site: whether it is open, and why.
async fn at_site(cluster: &Cluster, node: &str, site: &str) -> Result<(bool, String)> {
    let arguments = ["rollout", "explain", "spring", "--site", site, "--group", "workstations"];
    let explained = cluster.patchmesh(node, &arguments).await?.success()?.json()?;
    let answer = explained["site"].get(0).context("an answer")?;
    let text = answer["text"].as_str().unwrap_or_default().to_owned();
    Ok((answer["open"] == Value::Bool(true), text))
}

/// Waits until a node says of its own site what is wanted.
async fn comes_to(cluster: &Cluster, node: &str, site: &str, open: bool, text: &str) -> Result<()> {
    until(&format!("{node} says {text:?}"), PATIENCE, async || {
        let (is_open, why) = at_site(cluster, node, site).await?;
        ensure!(is_open == open && why.contains(text), "{node} says {is_open}, {why:?}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn waves_open_geography_by_geography_and_a_halt_reaches_every_branch() -> Result<()> {
    let vendor = vendor().await?;
    let (mut cluster, revision) = company(&vendor).await?;
    let plan = plan::write(&cluster, EUROPE_FIRST, &revision)?;

    let planned = rollout(&cluster, &["plan", &plan]).await?;
    ensure!(planned["started"] == false, "{planned}");
    let started = rollout(&cluster, &["start", "spring"]).await?;
    ensure!(started["revisions"][0] == revision.as_str(), "{started}");
    comes_to(&cluster, "lyon", "emea/fr/lyon", true, "open since").await?;
    comes_to(&cluster, "tokyo", "apac/jp/tokyo", false, "wave world of rollout spring is not open")
        .await?;
    // Until the content is at all sites it says so as well.
    let explained = until("the content to be everywhere", PATIENCE, async || {
        let explained = rollout(&cluster, &["explain", "spring"]).await?;
        let is_there = explained["waves"][1]["next"].as_array().is_some_and(|next| next.len() == 1);
        Ok(is_there.then_some(explained))
    })
    .await?;
    let next = explained["waves"][0]["next"][0].as_str().unwrap_or_default();
    ensure!(next.contains("patchmesh rollout release spring europe"), "{explained}");

    // What stands is signed: a primary that was killed goes on from it.
    cluster.node_mut(PRIMARY)?.kill().await?;
    cluster.node_mut(PRIMARY)?.start().await?;
    let again = rollout(&cluster, &["explain", "spring"]).await?;
    ensure!(again == explained, "{again} after {explained}");

    rollout(&cluster, &["release", "spring", "europe"]).await?;
    comes_to(&cluster, "tokyo", "apac/jp/tokyo", true, "open since").await?;

    rollout(&cluster, &["halt", "spring", "--reason", "breaks mail"]).await?;
    for (node, site) in [("lyon", "emea/fr/lyon"), ("tokyo", "apac/jp/tokyo")] {
        comes_to(&cluster, node, site, false, "breaks mail").await?;
    }
    rollout(&cluster, &["resume", "spring"]).await?;
    comes_to(&cluster, "tokyo", "apac/jp/tokyo", true, "open since").await?;
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn freezes_and_exceptions_hold_at_every_branch() -> Result<()> {
    let vendor = vendor().await?;
    let (cluster, revision) = company(&vendor).await?;
    let now = jiff::Timestamp::now();
    let (from, until) = (now.to_string(), (now + jiff::SignedDuration::from_hours(9)).to_string());
    let add = ["freeze", "add", "fair", "--site", "emea/fr", "--from", &from, "--until", &until];
    let reason = ["--reason", "the fair"];
    cluster.patchmesh(PRIMARY, &[&add[..], &reason].concat()).await?.success()?;
    let open = EUROPE_FIRST.replace("operator = \"required\"", "");
    let plan = plan::write(&cluster, &open, &revision)?;
    rollout(&cluster, &["start", &plan]).await?;
    comes_to(&cluster, "lyon", "emea/fr/lyon", false, "after freeze fair").await?;
    comes_to(&cluster, "tokyo", "apac/jp/tokyo", true, "open since").await?;
    cluster.patchmesh(PRIMARY, &["freeze", "end", "fair"]).await?.success()?;
    comes_to(&cluster, "lyon", "emea/fr/lyon", true, "open since").await?;

    let except = [
        "exception",
        "add",
        "old-till",
        "--site",
        "apac/jp",
        "--until",
        &until,
        "--reason",
        "too old",
        "--workaround",
        "its own network",
        "--owner",
        "ada",
    ];
    cluster.patchmesh(PRIMARY, &except).await?.success()?;
    comes_to(&cluster, "tokyo", "apac/jp/tokyo", false, "too old").await?;
    comes_to(&cluster, "lyon", "emea/fr/lyon", true, "open since").await?;
    let listed = cluster.patchmesh("lyon", &["exception", "list"]).await?.success()?.json()?;
    ensure!(listed["exceptions"][0]["owner"] == "ada", "{listed}");
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_plan_is_said_before_it_starts() -> Result<()> {
    let vendor = vendor().await?;
    let (cluster, revision) = company(&vendor).await?;
    let unknown = EUROPE_FIRST.replace("geographies = [\"emea/**\"]", "groups = [\"tills\"]");
    let wrong = plan::write(&cluster, &unknown, &revision)?;
    let checked = cluster.patchmesh(PRIMARY, &["rollout", "check", &wrong]).await?;
    ensure!(checked.code == 1, "{checked:?}");
    let finding = &checked.json()?["findings"][0];
    ensure!(finding["text"].as_str().is_some_and(|text| text.contains("there is no group tills")));
    let refused = cluster.patchmesh(PRIMARY, &["rollout", "start", &wrong]).await?;
    ensure!(refused.code == 65, "{refused:?}");
    let here = plan::write(&cluster, EUROPE_FIRST, &revision)?;
    let elsewhere = cluster.patchmesh("lyon", &["rollout", "start", &here]).await?;
    ensure!(elsewhere.stderr.contains("changes are made at the primary"), "{elsewhere:?}");
    let unknown =
        cluster.patchmesh(PRIMARY, &["rollout", "halt", "spring", "--reason", "x"]).await?;
    ensure!(unknown.code == 66, "{unknown:?}");
    rollout(&cluster, &["start", &here]).await?;
    let twice = cluster.patchmesh(PRIMARY, &["rollout", "start", &here]).await?;
    ensure!(twice.code == 73, "{twice:?}");
    cluster.passed();
    Ok(())
}

/// Stops by itself when machines fail.
const GUARDED: &str = r#"
name = "spring"

[what]
revisions = ["REVISION"]

[[wave]]
name = "europe"
geographies = ["emea/**"]

[wave.gate]
min_success = { share = "90 %", min_sample = 4 }
max_failed = { count = 1 }
soak = "1h"
on_breach = "halt"

[[wave]]
name = "world"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn failing_machines_halt_it_everywhere_and_other_geographies_never_see_it() -> Result<()> {
    let vendor = vendor().await?;
    let nodes = [Spec::branch("hub", PRIMARY, "emea"), Spec::branch("lyon", "hub", "emea/fr/lyon")];
    let (cluster, revision) = company_of(&vendor, &nodes).await?;
    let arguments = ["machine", "token", "workstations", "--via", "lyon", "--uses", "4"];
    let made = cluster.patchmesh(PRIMARY, &arguments).await?.success()?.json()?;
    let token = made["token"].as_str().context("a token")?.to_owned();
    cluster.converged(&["hub", "lyon", "tokyo"]).await?;
    let mut machines = Vec::new();
    for name in ["pc-1", "pc-2", "pc-3", "pc-4"] {
        machines.push(Machine::join(name, &token).await?);
    }
    let plan = plan::write(&cluster, GUARDED, &revision)?;
    rollout(&cluster, &["start", &plan]).await?;
    comes_to(&cluster, "lyon", "emea/fr/lyon", true, "open since").await?;

    // The primary knows where a machine is that has joined; what is said wins.
    let own = rollout(&cluster, &["explain", "spring", "--machine", "pc-4"]).await?;
    ensure!(own["at"] == "emea/fr/lyon" && own["site"][0]["group"] == "workstations", "{own}");
    let text = own["site"][0]["text"].as_str().unwrap_or_default();
    ensure!(text.starts_with("open by wave europe since"), "{own}");
    let moved = ["explain", "spring", "--machine", "pc-4", "--site", "apac/jp/tokyo"];
    let moved = rollout(&cluster, &moved).await?;
    ensure!(moved["site"][0]["open"] == false, "{moved}");
    let unknown = ["rollout", "explain", "spring", "--machine", "pc-9"];
    let nobody = cluster.patchmesh(PRIMARY, &unknown).await?;
    ensure!(nobody.code == 66 && nobody.stderr.contains("no machine pc-9"), "{nobody:?}");
    let elsewhere = cluster.patchmesh("tokyo", &unknown).await?;
    ensure!(elsewhere.stderr.contains("the primary alone knows"), "{elsewhere:?}");

    // One failure is allowed, and two are not.
    for (machine, outcome) in machines.iter_mut().zip([Outcome::Success, Outcome::Failure]) {
        machine.happened(&revision, Phase::Installation, outcome, "as tried");
        machine.report().await?;
    }
    until("both words to be counted", PATIENCE, async || {
        let wave = rollout(&cluster, &["show", "spring"]).await?["rollouts"][0]["waves"][0].clone();
        let counts = [&wave["machines"], &wave["reached"], &wave["installed"], &wave["failed"]];
        ensure!(counts == [4, 2, 1, 1], "{wave}");
        Ok(Some(()))
    })
    .await?;
    let (open, why) = at_site(&cluster, "lyon", "emea/fr/lyon").await?;
    ensure!(open, "{why}");
    machines[2].happened(&revision, Phase::Installation, Outcome::Failure, "no room");
    machines[2].report().await?;
    let halted = "rollout spring is halted: wave europe: 66.7 % (2 of 3) failed";
    comes_to(&cluster, "lyon", "emea/fr/lyon", false, halted).await?;
    comes_to(&cluster, "tokyo", "apac/jp/tokyo", false, halted).await?;
    let alerts = cluster.alerts_of(PRIMARY).await?;
    ensure!(alerts.iter().any(|key| key == "rollout/spring"), "{alerts:?}");

    // Tokyo never had it: its view has nothing of it.
    let seen = cluster.apt_lines("tokyo", "workstations").await?;
    let apt = Apt::new(&[]).await?;
    apt.configure(&seen)?;
    apt.update().await?.success()?;
    ensure!(apt.candidate("hello").await?.is_none(), "tokyo offers what was halted");

    // An operator who knows of the two lets it go on, until there are two more.
    rollout(&cluster, &["resume", "spring"]).await?;
    comes_to(&cluster, "lyon", "emea/fr/lyon", true, "open since").await?;
    ensure!(!cluster.alerts_of(PRIMARY).await?.iter().any(|key| key == "rollout/spring"));
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_brake_holds_at_its_site_alone_and_nobody_above_undoes_it() -> Result<()> {
    let vendor = vendor().await?;
    let (mut cluster, revision) = company(&vendor).await?;
    let until_then = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(9)).to_string();
    let pull = ["brake", "pull", "stocktaking", "--rollout", "spring", "--until", &until_then];
    let why = ["--reason", "tills must not restart"];
    cluster.patchmesh("lyon", &[&pull[..], &why].concat()).await?.success()?;
    let plan = plan::write(&cluster, EUROPE_FIRST, &revision)?;
    rollout(&cluster, &["start", &plan]).await?;
    rollout(&cluster, &["release", "spring", "europe"]).await?;
    comes_to(&cluster, "tokyo", "apac/jp/tokyo", true, "open since").await?;
    comes_to(&cluster, "lyon", "emea/fr/lyon", false, "brake stocktaking of this site").await?;
    // Headquarters sees it, and has no way to release it.
    let seen = until("the brake to be heard of", PATIENCE, async || {
        let listed = cluster.patchmesh(PRIMARY, &["brake", "list"]).await?.success()?.json()?;
        Ok(listed["brakes"].get(0).cloned())
    })
    .await?;
    ensure!(seen["node"] == "lyon" && seen["reason"] == "tills must not restart", "{seen}");
    let released = cluster.patchmesh(PRIMARY, &["brake", "release", "stocktaking"]).await?;
    ensure!(released.code == 66, "{released:?}");
    // What it can do is ask: the site sees that, and goes on to hold.
    let ask = ["brake", "ask", "emea/fr", "--reason", "it is being exploited"];
    let asked = cluster.patchmesh(PRIMARY, &ask).await?.success()?.json()?;
    ensure!(asked["whom"] == "site emea/fr", "{asked}");
    until("the site to see what is asked", PATIENCE, async || {
        let listed = cluster.patchmesh("lyon", &["brake", "list"]).await?.success()?.json()?;
        let raised = cluster.alerts_of("lyon").await?.iter().any(|key| key == "brake/stocktaking");
        let seen = listed["brakes"][0]["ask"]["reason"] == "it is being exploited";
        Ok((seen && raised).then_some(()))
    })
    .await?;
    comes_to(&cluster, "lyon", "emea/fr/lyon", false, "brake stocktaking of this site").await?;
    let elsewhere = ["brake", "ask", "antarctica", "--reason", "x"];
    let nobody = cluster.patchmesh(PRIMARY, &elsewhere).await?;
    ensure!(nobody.code == 66, "{nobody:?}");
    cluster.patchmesh(PRIMARY, &["brake", "unask", "emea/fr"]).await?.success()?;
    until("the site to be asked no more", PATIENCE, async || {
        let alerts = cluster.alerts_of("lyon").await?;
        Ok((!alerts.iter().any(|key| key == "brake/stocktaking")).then_some(()))
    })
    .await?;
    // It holds after a kill, and until the site releases it.
    cluster.node_mut("lyon")?.kill().await?;
    cluster.node_mut("lyon")?.start().await?;
    comes_to(&cluster, "lyon", "emea/fr/lyon", false, "brake stocktaking of this site").await?;
    cluster.patchmesh("lyon", &["brake", "release", "stocktaking"]).await?.success()?;
    comes_to(&cluster, "lyon", "emea/fr/lyon", true, "open since").await?;
    cluster.passed();
    Ok(())
}

/// One site of the group after the other.
const IN_TURN: &str = r#"
name = "spring"

[what]
revisions = ["REVISION"]

[[wave]]
name = "plants"
geographies = ["@plants"]
max_concurrent = { sites = 1 }

[wave.gate]
min_reached = { share = "100 %", min_sample = 1 }
unreachable = "ignore after 72h"

[[wave]]
name = "world"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn sites_of_a_group_have_their_turn_one_after_the_other() -> Result<()> {
    let vendor = vendor().await?;
    let (cluster, revision) = company(&vendor).await?;
    cluster.converged(&["lyon", "tokyo"]).await?;
    let mut machines = Vec::new();
    for (name, via) in [("pc-tokyo", "tokyo"), ("pc-lyon", "lyon")] {
        let arguments = ["machine", "token", "workstations", "--via", via, "--uses", "1"];
        let made = cluster.patchmesh(PRIMARY, &arguments).await?.success()?.json()?;
        machines.push(Machine::join(name, made["token"].as_str().context("a token")?).await?);
    }
    let plan = plan::write(&cluster, IN_TURN, &revision)?;

    // A name that stands for nothing is an error, and cannot be started.
    let checked = cluster.patchmesh(PRIMARY, &["rollout", "check", &plan]).await?;
    ensure!(
        checked.code == 1 && checked.stdout.contains("no group of sites plants"),
        "{checked:?}"
    );
    let refused = cluster.patchmesh(PRIMARY, &["rollout", "start", &plan]).await?;
    ensure!(refused.code == 65, "{refused:?}");
    let set = ["site-group", "set", "plants", "emea/fr/lyon", "apac/**"];
    cluster.patchmesh(PRIMARY, &set).await?.success()?;
    rollout(&cluster, &["start", &plan]).await?;
    let used = cluster.patchmesh(PRIMARY, &["site-group", "remove", "plants"]).await?;
    ensure!(used.stderr.contains("rollout spring goes to group of sites plants"), "{used:?}");

    // By name apac comes before emea.
    comes_to(&cluster, "tokyo", "apac/jp/tokyo", true, "open since").await?;
    let waits = "emea/fr/lyon waits for its turn in wave plants of rollout spring";
    comes_to(&cluster, "lyon", "emea/fr/lyon", false, waits).await?;
    let explained = rollout(&cluster, &["explain", "spring"]).await?;
    let next = explained["waves"][0]["next"].to_string();
    ensure!(next.contains("next in turn: emea/fr/lyon"), "{next}");

    machines[0].happened(&revision, Phase::Installation, Outcome::Success, "as tried");
    machines[0].report().await?;
    comes_to(&cluster, "lyon", "emea/fr/lyon", true, "open since").await?;

    // The running mesh can be simulated, and described to be changed.
    let simulated = rollout(&cluster, &["simulate", &plan, "--size", "1 MB"]).await?;
    ensure!(simulated["counts"]["machines"] == 2, "{simulated}");
    ensure!(simulated["events"].to_string().contains("let in"), "{simulated}");
    let described = cluster.patchmesh(PRIMARY, &["rollout", "simulate", "--describe"]).await?;
    let described = described.success()?;
    ensure!(described.stdout.contains("\"plants\" = ["), "{described:?}");
    cluster.passed();
    Ok(())
}

/// What real apt finds of two packages at a node.
async fn candidates(cluster: &Cluster, node: &str) -> Result<[Option<String>; 2]> {
    let apt = Apt::new(&[]).await?;
    apt.configure(&cluster.apt_lines(node, "workstations").await?)?;
    apt.update().await?.success()?;
    Ok([apt.candidate("hello").await?, apt.candidate("urgent").await?])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wave_opens_at_a_site_when_its_content_is_there() -> Result<()> {
    // Two megabytes take four minutes on this line.
    let samples = [Sample::new("hello", "1").with_bytes(2_000_000), Sample::new("urgent", "1")];
    let vendor = Vendor::with_samples(&samples).await?;
    let (mut cluster, revision) = company(&vendor).await?;
    let line = ["link", "set", "lyon", "--down", "64kbit/s"];
    cluster.patchmesh(PRIMARY, &line).await?.success()?;
    cluster.converged(&["lyon", "tokyo"]).await?;
    let open = EUROPE_FIRST.replace("operator = \"required\"", "");
    let plan = plan::write(&cluster, &open, &revision)?;
    rollout(&cluster, &["start", &plan]).await?;
    until("the site to be named", PATIENCE, async || {
        let wave = rollout(&cluster, &["show", "spring"]).await?["rollouts"][0]["waves"][0].clone();
        let unready = wave["unready"].as_str().unwrap_or_default().to_owned();
        let named = unready.contains("emea/fr/lyon (a payload, ")
            && unready.contains(" MB; there at ")
            && unready.contains("by the schedule of its lines");
        let said = wave["next"].as_array().is_some_and(|next| next.contains(&wave["unready"]));
        ensure!(named && said, "{wave}");
        Ok(Some(()))
    })
    .await?;
    comes_to(&cluster, "lyon", "emea/fr/lyon", false, "before its content has arrived").await?;
    comes_to(&cluster, PRIMARY, "emea/fr/lyon", false, "a payload, ").await?;
    comes_to(&cluster, "tokyo", "apac/jp/tokyo", true, "open since").await?;

    // What else is approved does not wait along.
    let urgent = cluster.revision("urgent").await?;
    cluster.approve("validation", std::slice::from_ref(&urgent)).await?;
    // Into a plan that has gone on beyond its first wave it comes only if that is said.
    let into = ["promote", &urgent, "--rollout", "spring"];
    let refused = cluster.patchmesh(PRIMARY, &into).await?;
    ensure!(refused.stderr.contains("waves world of rollout spring are open"), "{refused:?}");
    cluster.promote(std::slice::from_ref(&urgent)).await?;
    until("lyon to offer what is urgent", PATIENCE, async || {
        let [hello, urgent] = candidates(&cluster, "lyon").await?;
        ensure!(hello.is_none(), "lyon offers {hello:?} without its content");
        Ok(urgent)
    })
    .await?;
    // Nor does a restart open anything.
    cluster.node_mut("lyon")?.restart().await?;
    ensure!(candidates(&cluster, "lyon").await?[0].is_none(), "after a restart");
    until("tokyo to offer it", PATIENCE, async || {
        let [hello, urgent] = candidates(&cluster, "tokyo").await?;
        Ok((hello.is_some() && urgent.is_some()).then_some(()))
    })
    .await?;

    cluster.patchmesh(PRIMARY, &["link", "unset", "lyon"]).await?.success()?;
    until("lyon to offer it", PATIENCE, async || {
        let [hello, urgent] = candidates(&cluster, "lyon").await?;
        Ok((hello.is_some() && urgent.is_some()).then_some(()))
    })
    .await?;
    comes_to(&cluster, "lyon", "emea/fr/lyon", true, "open since").await?;
    cluster.passed();
    Ok(())
}
