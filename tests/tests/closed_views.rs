//! Views closed under dependencies, and what else decides what is offered:
//! baselines, groups, supersedence, rules. Judged by real apt.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use patchmesh_tests::apt::Apt;
use patchmesh_tests::cluster::{Cluster, Spec};
use patchmesh_tests::run::{Outcome, run};
use patchmesh_tests::vendor::repository::architecture;
use patchmesh_tests::vendor::{Sample, Vendor};
use tokio::process::Command;

const LAB: &str = "lab";

/// A status file of dpkg: `NAME VERSION`, then fields divided by `;`.
async fn status(packages: &[&str]) -> Result<String> {
    let native = architecture().await?;
    let stanzas = packages.iter().map(|text| {
        let (head, fields) = text.split_once(';').unwrap_or((text, ""));
        let (name, version) = head.split_once(' ').unwrap_or((head, "1"));
        let fields = fields.replace(';', "\n");
        let fields = if fields.is_empty() { fields } else { format!("{fields}\n") };
        format!(
            "Package: {name}\nStatus: install ok installed\nPriority: optional\nSection: libs\n\
             Maintainer: x <x@x.example>\nArchitecture: {native}\nVersion: {version}\n{fields}\
             Description: x\n"
        )
    });
    Ok(stanzas.collect::<Vec<_>>().join("\n"))
}

/// A primary and a lab, whose machines have the packages of `status`.
async fn lab(vendor: &Vendor, status: &str) -> Result<Cluster> {
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::validation(LAB, "hq", "emea/lab")).await?;
    cluster.add_source("vendor", vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    let file = cluster.folder().join("status");
    std::fs::write(&file, status)?;
    let file = file.display().to_string();
    hq(&cluster, &["baseline", "import", "base", "--status", &file]).await?.success()?;
    hq(&cluster, &["group", "set", LAB, "--baseline", "base"]).await?.success()?;
    Ok(cluster)
}

async fn hq(cluster: &Cluster, arguments: &[&str]) -> Result<Outcome> {
    cluster.patchmesh("hq", arguments).await
}

/// Everything that a new machine of the lab is offered, after every package of
/// it was installed there by itself, and nothing removed for it.
async fn offered(cluster: &Cluster, status: &str) -> Result<BTreeSet<(String, String)>> {
    cluster.converged(&[LAB]).await?;
    let apt = Apt::new(&[]).await?;
    std::fs::write(apt.inside("var/lib/dpkg/status"), status)?;
    apt.configure(&cluster.apt_lines(LAB, LAB).await?)?;
    apt.update().await?.success()?;
    let offered = in_the_lists(&apt)?;
    for (package, _) in &offered {
        let mut simulate = Command::new("apt-get");
        simulate.env("APT_CONFIG", apt.inside("apt.conf")).env("LC_ALL", "C");
        let outcome = run(simulate.args(["-q", "install", "--simulate", package])).await?.success();
        let outcome = outcome.with_context(|| format!("{package} of {offered:?}"))?;
        ensure!(!outcome.stdout.contains("\nRemv "), "{package}: {}", outcome.stdout);
    }
    Ok(offered)
}

/// The packages and versions that the sources offer.
fn in_the_lists(apt: &Apt) -> Result<BTreeSet<(String, String)>> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(apt.inside("var/lib/apt/lists"))? {
        let path = entry?.path();
        if !path.display().to_string().ends_with("_Packages") {
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        for stanza in text.split("\n\n") {
            let field = |name: &str| {
                let line = stanza.lines().find_map(|line| line.strip_prefix(name));
                line.map(|value| value.trim().to_owned())
            };
            if let (Some(name), Some(version)) = (field("Package:"), field("Version:")) {
                found.insert((name, version));
            }
        }
    }
    Ok(found)
}

fn has(offered: &BTreeSet<(String, String)>, name: &str) -> bool {
    offered.iter().any(|(package, _)| package == name)
}

async fn names(cluster: &Cluster, names: &[&str]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for name in names {
        found.push(cluster.revision(name).await?);
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_view_offers_installs_on_machines_with_the_baseline() -> Result<()> {
    let status = status(&[
        "libc6 2.36",
        "mta 1;Provides: mail-transport-agent",
        "bar 1",
        "guard 1;Conflicts: intruder",
        "libold 1",
        "user-of-old 1;Depends: libold (<< 2)",
    ])
    .await?;
    let vendor = Vendor::with_samples(&[
        Sample::new("chain-a", "1").with_depends("chain-b (>= 1), libc6 (>= 2.30)"),
        Sample::new("chain-b", "1").with_depends("chain-c"),
        Sample::new("chain-c", "1"),
        Sample::new("mailer", "1").with_depends("postfix | mail-transport-agent"),
        Sample::new("provider", "1").with_field("Provides", "virt (= 2)"),
        Sample::new("of-virt", "1").with_depends("virt (>= 2)"),
        Sample::new("too-new", "1").with_depends("virt (>= 3)"),
        Sample::new("breaker", "1").with_field("Breaks", "bar (<< 2)"),
        Sample::new("intruder", "1"),
        Sample::new("libold", "2"),
        Sample::new("rival-a", "1").with_field("Conflicts", "rival-b"),
        Sample::new("rival-b", "1"),
        Sample::new("both", "1").with_depends("rival-a, rival-b"),
        Sample::new("lonely", "1").with_depends("libfoo2 (>= 1.2)"),
        Sample::new("libfoo2", "1.2"),
    ])
    .await?;
    let cluster = lab(&vendor, &status).await?;
    let all = [
        "chain-a", "chain-b", "chain-c", "mailer", "provider", "of-virt", "too-new", "breaker",
        "intruder", "libold", "rival-a", "rival-b", "both", "lonely",
    ];
    cluster.approve("validation", &names(&cluster, &all).await?).await?;
    let found = offered(&cluster, &status).await?;
    for name in ["chain-a", "chain-b", "chain-c", "mailer", "of-virt", "rival-a", "rival-b"] {
        ensure!(has(&found, name), "{name} is missing in {found:?}");
    }
    for name in ["too-new", "breaker", "intruder", "libold", "both", "lonely"] {
        ensure!(!has(&found, name), "{name} is offered: {found:?}");
    }

    // What is not offered says what is missing, and reads so.
    let lonely = cluster.revision("lonely").await?;
    let shown = hq(&cluster, &["update", "show", &lonely]).await?.success()?.json()?;
    let reason = shown["withheld"][0]["reason"].as_str().unwrap_or_default().to_owned();
    ensure!(reason == "needs libfoo2 (>= 1.2), which is not approved for lab", "{shown}");
    let text = shown.to_string();
    ensure!(text.contains("temporarily-unavailable"), "{text}");

    // The branch knows it too.
    let there = cluster.patchmesh(LAB, &["update", "show", &lonely]).await?.success()?.json()?;
    ensure!(there["withheld"] == shown["withheld"], "{there}");

    // Approved late, it appears.
    cluster.approve("validation", &names(&cluster, &["libfoo2"]).await?).await?;
    let found = offered(&cluster, &status).await?;
    ensure!(has(&found, "lonely") && has(&found, "libfoo2"), "{found:?}");

    // And an update of what stood in the way lets the other through.
    vendor.release(&[Sample::new("bar", "2")]).await?;
    cluster.sync("vendor").await?.success()?;
    cluster.approve("validation", &names(&cluster, &["bar"]).await?).await?;
    let found = offered(&cluster, &status).await?;
    ensure!(has(&found, "bar") && has(&found, "breaker"), "{found:?}");
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn approving_shows_and_takes_in_what_is_needed() -> Result<()> {
    let status = status(&["libc6 2.36"]).await?;
    let vendor = Vendor::with_samples(&[
        Sample::new("app", "1").with_depends("liba (>= 1), libc6"),
        Sample::new("liba", "1").with_depends("libb | libc-other"),
        Sample::new("libb", "1"),
        Sample::new("hopeless", "1").with_depends("nowhere-to-be-had"),
    ])
    .await?;
    let cluster = lab(&vendor, &status).await?;
    let app = cluster.revision("app").await?;
    let plan = hq(&cluster, &["approve", &app, "--dry-run"]).await?.success()?.json()?;
    let planned: Vec<&str> = plan["dependencies"]
        .as_array()
        .context("a list")?
        .iter()
        .filter_map(|one| one["revision"].as_str())
        .collect();
    let expected = names(&cluster, &["liba", "libb"]).await?;
    ensure!(planned == expected, "{plan}");
    ensure!(plan["dependencies_bytes"].as_u64() > Some(0), "{plan}");
    ensure!(offered(&cluster, &status).await?.is_empty(), "a dry run decided something");

    // Just what was named, with a note; then with what it needs.
    let alone = hq(&cluster, &["approve", &app]).await?.success()?;
    ensure!(alone.stderr.contains("--with-dependencies"), "{}", alone.stderr);
    ensure!(offered(&cluster, &status).await?.is_empty(), "offered without what it needs");
    hq(&cluster, &["approve", &app, "--with-dependencies"]).await?.success()?;
    let found = offered(&cluster, &status).await?;
    ensure!(found.len() == 3, "{found:?}");

    let hopeless = cluster.revision("hopeless").await?;
    let plan = hq(&cluster, &["approve", &hopeless, "--dry-run"]).await?.success()?.json()?;
    let gap = plan["gaps"][0]["reason"].as_str().unwrap_or_default().to_owned();
    ensure!(gap.contains("nowhere-to-be-had"), "{plan}");
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_superseded_is_not_offered_and_can_be_retired() -> Result<()> {
    let status = status(&["libc6 2.36"]).await?;
    let vendor = Vendor::with_samples(&[Sample::new("tool", "1.9")]).await?;
    let cluster = lab(&vendor, &status).await?;
    let first = cluster.revision("tool").await?;
    cluster.approve("validation", std::slice::from_ref(&first)).await?;
    vendor.release(&[Sample::new("tool", "1.10").with_depends("libnew")]).await?;
    cluster.sync("vendor").await?.success()?;
    let second = cluster.revision("tool").await?;

    // What can't be installed replaces nothing.
    let approved = hq(&cluster, &["approve", &second]).await?.success()?;
    ensure!(approved.stderr.contains("is superseded by"), "{}", approved.stderr);
    let version = |found: &BTreeSet<(String, String)>| -> Vec<String> {
        let tools = found.iter().filter(|(name, _)| name == "tool");
        tools.map(|(_, version)| version.clone()).collect()
    };
    ensure!(version(&offered(&cluster, &status).await?) == ["1.9"], "the elder stays");
    vendor.release(&[Sample::new("libnew", "1")]).await?;
    cluster.sync("vendor").await?.success()?;
    cluster.approve("validation", &names(&cluster, &["libnew"]).await?).await?;
    ensure!(version(&offered(&cluster, &status).await?) == ["1.10"], "only the newer");

    hq(&cluster, &["approve", &second, "--retire"]).await?.success()?;
    let shown = hq(&cluster, &["update", "show", &first]).await?.success()?.json()?;
    let decision = &shown["approvals"]["validation"][0];
    ensure!(decision["decision"] == "declined" && decision["rule"] == "supersedence", "{shown}");
    ensure!(decision["comment"] == format!("superseded by {second}").as_str(), "{shown}");
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_approved_as_one_decision_and_later_ones_by_their_difference() -> Result<()> {
    let vendor = Vendor::with_samples(&[
        Sample::new("one", "1"),
        Sample::new("two", "1"),
        Sample::new("refused", "1"),
    ])
    .await?;
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::validation(LAB, "hq", "emea/lab")).await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    let never = hq(&cluster, &["baseline", "snapshot", "release", "--source", "vendor"]).await?;
    never.failure_that_says(&["source sync vendor"])?;
    cluster.sync("vendor").await?.success()?;
    hq(&cluster, &["baseline", "snapshot", "release", "--source", "vendor"]).await?.success()?;
    let refused = names(&cluster, &["refused"]).await?;
    cluster.decline("not with us", &refused).await?;

    let approve = ["approve", "--baseline", "release", "--comment", "the whole release"];
    // What it comes to, before anything is decided.
    let dry = hq(&cluster, &[&approve[..], &["--dry-run"]].concat()).await?.success()?.json()?;
    ensure!(dry["approved"] == 2 && dry["declined"] == 1 && dry["revisions"] == 3, "{dry}");
    ensure!(dry["bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{dry}");
    ensure!(dry.get("generation").is_none(), "{dry}");
    let none = hq(&cluster, &["approvals", "show", "validation"]).await?.success()?.json()?;
    ensure!(!none.to_string().contains("baseline/release"), "a dry run decided: {none}");
    let first = hq(&cluster, &approve).await?.success()?.json()?;
    ensure!(first["changed"] == 2 && first["declined"] == 1, "{first}");
    let table = ["approvals", "show", "validation", "--output", "table"];
    let shown = hq(&cluster, &table).await?.success()?.stdout;
    ensure!(shown.contains("baseline/release@1 (2 revisions)"), "{shown}");
    ensure!(!shown.contains("/one@1"), "{shown}");
    let expanded = hq(&cluster, &[&table[..], &["--expand"]].concat()).await?.success()?.stdout;
    ensure!(expanded.contains("/one@1"), "{expanded}");

    // Again: nothing to do, no version.
    let again = hq(&cluster, &approve).await?.success()?.json()?;
    let sets = again["approval_sets"].as_object();
    ensure!(again["changed"] == 0 && sets.is_some_and(|sets| sets.is_empty()), "{again}");

    // A later release shows as a difference and is decided by it.
    vendor.release(&[Sample::new("two", "2"), Sample::new("three", "1")]).await?;
    cluster.sync("vendor").await?.success()?;
    let updated = hq(&cluster, &["baseline", "update", "release"]).await?.success()?.json()?;
    ensure!(updated["version"] == 2 && updated["added"] == 1, "{updated}");
    ensure!(updated["changed"] == 1 && updated["removed"] == 0, "{updated}");
    let diff = hq(&cluster, &["baseline", "diff", "release"]).await?.success()?.json()?;
    ensure!(diff["differences"].as_array().map(Vec::len) == Some(2), "{diff}");
    let second = hq(&cluster, &approve).await?.success()?.json()?;
    ensure!(second["changed"] == 3 && second["retired"] == 1, "{second}");
    cluster.converged(&[LAB]).await?;

    // In production group by group: a decline by name is for its group alone,
    // and what validation declined by name is left out.
    let three = cluster.revision("three").await?;
    let decline = ["decline", "--stage", "production", "--group", "servers"];
    let decline = [&decline[..], &["--comment", "not on servers", &three]].concat();
    hq(&cluster, &decline).await?.success()?;
    let production = [&approve[..], &["--stage", "production"]].concat();
    let third = hq(&cluster, &production).await?.success()?.json()?;
    ensure!(third["approved"] == 3 && third["declined"] == 2, "{third}");
    let shown = hq(&cluster, &["update", "show", &three]).await?.success()?.json()?;
    let rows = shown["approvals"]["production"].as_array().context("no decisions")?;
    for row in rows {
        let word = if row["group"] == "servers" { "declined" } else { "approved" };
        ensure!(row["decision"] == word, "{row}");
    }
    ensure!(rows.len() == 3, "{shown}");
    // A person's approval outlives the release.
    let one = cluster.revision("one").await?;
    cluster.decline("for a moment", std::slice::from_ref(&one)).await?;
    cluster.approve("validation", std::slice::from_ref(&one)).await?;
    vendor.release(&[Sample::new("one", "2")]).await?;
    cluster.sync("vendor").await?.success()?;
    hq(&cluster, &["baseline", "update", "release"]).await?.success()?;
    let fourth = hq(&cluster, &approve).await?.success()?.json()?;
    ensure!(fourth["retired"] == 0 && fourth["changed"] == 1, "{fourth}");
    let shown = hq(&cluster, &["update", "show", &one]).await?.success()?.json()?;
    ensure!(shown["approvals"]["validation"][0]["decision"] == "approved", "{shown}");
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_approve_what_fits_and_never_against_a_person() -> Result<()> {
    let vendor =
        Vendor::with_samples(&[Sample::new("tool", "1"), Sample::new("other", "1")]).await?;
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::validation(LAB, "hq", "emea/lab")).await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    let add = ["rule", "add", "tools", "--stage", "validation", "--name", "to*"];
    let dry = hq(&cluster, &add).await?.success()?.json()?;
    ensure!(dry["outcomes"][0]["due"].as_array().map(Vec::len) == Some(1), "{dry}");
    ensure!(dry["decided"].is_null(), "{dry}");
    hq(&cluster, &add).await?.failure_that_says(&["tools", "already"])?;
    let all = ["rule", "add", "all", "--stage", "validation"];
    hq(&cluster, &all).await?.failure_that_says(&["no condition"])?;
    let tool = cluster.revision("tool").await?;
    let shown = hq(&cluster, &["update", "show", &tool]).await?.success()?.json()?;
    ensure!(shown["approvals"]["validation"].as_array().is_some_and(Vec::is_empty), "{shown}");

    // A person's decline stands; enabled, the rule decides what comes.
    cluster.decline("not now", std::slice::from_ref(&tool)).await?;
    hq(&cluster, &["rule", "enable", "tools"]).await?.success()?;
    let late = ["rule", "add", "late", "--stage", "validation", "--name", "ot*", "--delay", "2d"];
    let waits = hq(&cluster, &[&late[..], &["--enable"]].concat()).await?.success()?.json()?;
    ensure!(waits["outcomes"][0]["waiting"].as_array().map(Vec::len) == Some(1), "{waits}");
    vendor.release(&[Sample::new("tome", "1")]).await?;
    cluster.sync("vendor").await?.success()?;
    let tome = cluster.revision("tome").await?;
    patchmesh_tests::wait::until(
        "the rule decides",
        std::time::Duration::from_secs(30),
        async || {
            let shown = hq(&cluster, &["update", "show", &tome]).await?.success()?.json()?;
            let decision = &shown["approvals"]["validation"][0];
            Ok((decision["rule"] == "rule/tools" && decision["decision"] == "approved")
                .then_some(()))
        },
    )
    .await?;
    let shown = hq(&cluster, &["update", "show", &tool]).await?.success()?.json()?;
    ensure!(shown["approvals"]["validation"][0]["decision"] == "declined", "{shown}");
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_come_and_go_but_not_from_under_decisions() -> Result<()> {
    let vendor = Vendor::with_samples(&[Sample::new("tool", "1")]).await?;
    let cluster = Cluster::start().await?;
    cluster.add_source("vendor", &vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    let add = ["group", "add", "kiosks", "--stage", "validation", "--install-mode", "notify"];
    hq(&cluster, &add).await?.success()?;
    hq(&cluster, &add).await?.failure_that_says(&["already"])?;
    let unknown = ["group", "set", "kiosks", "--baseline", "nothing"];
    hq(&cluster, &unknown).await?.failure_that_says(&["no baseline nothing"])?;
    hq(&cluster, &["group", "set", "kiosks", "--stage", "production"]).await?.success()?;
    hq(&cluster, &["group", "set", "kiosks", "--stage", "validation"]).await?.success()?;
    cluster.approve("validation", &names(&cluster, &["tool"]).await?).await?;
    let moved = hq(&cluster, &["group", "set", "kiosks", "--stage", "production"]).await?;
    moved.failure_that_says(&["1 decisions name it"])?;
    let removed = hq(&cluster, &["group", "remove", "kiosks"]).await?;
    removed.failure_that_says(&["stays"])?;
    hq(&cluster, &["group", "add", "empty", "--stage", "production"]).await?.success()?;
    hq(&cluster, &["group", "remove", "empty"]).await?.success()?;
    let list = hq(&cluster, &["group", "list"]).await?.success()?.json()?;
    let list = list["groups"].as_array().context("a list")?.clone();
    let kiosks = list.iter().find(|one| one["name"] == "kiosks").context("kiosks")?;
    ensure!(kiosks["install_mode"] == "notify" && kiosks["decisions"] == 1, "{kiosks}");
    ensure!(!list.iter().any(|one| one["name"] == "empty"), "{list:?}");

    let file = cluster.folder().join("status");
    std::fs::write(&file, "<html>no such page</html>")?;
    let file = file.display().to_string();
    let import = hq(&cluster, &["baseline", "import", "base", "--status", &file]).await?;
    import.failure_that_says(&["/var/lib/dpkg/status"])?;
    cluster.passed();
    Ok(())
}
