//! Roots with a dpkg of their own, in which packages really fail, ask for restarts,
//! come late and go: the primary tells what `dpkg-query` tells.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use patchmesh_tests::agent::Machine;
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec};
use patchmesh_tests::plan;
use patchmesh_tests::vendor::{Sample, Vendor};
use patchmesh_tests::wait::{PATIENCE, until};
use serde_json::Value;

/// Fails where a machine says so, and asks for a restart where one does.
const POSTINST: &str = "\
if [ -e /etc/breaks ]; then echo 'there is no room for the index' >&2; exit 3; fi
if [ -e /etc/restarts ]; then : > /run/reboot-required; fi";

fn release(version: &str) -> [Sample; 2] {
    let app = Sample::new("app", version).with_script("postinst", POSTINST);
    [app, Sample::new("tool", version)]
}

/// A machine that has the first release, with an empty file in its `etc`.
async fn machine(name: &str, mark: &str) -> Result<Machine> {
    let machine = Machine::with(name, &["app", "tool"].map(|one| Sample::new(one, "1"))).await?;
    let machine = machine.with_shell().await?;
    std::fs::create_dir(machine.root.join("run"))?;
    std::fs::write(machine.root.join("etc").join(mark), "")?;
    Ok(machine)
}

/// A primary with a hub and Lyon below it, and Tokyo; the second release in the lab.
async fn company(vendor: &Vendor) -> Result<Cluster> {
    let mut cluster = Cluster::start().await?;
    cluster.add(&Spec::branch("hub", PRIMARY, "emea")).await?;
    cluster.add(&Spec::branch("lyon", "hub", "emea/fr/lyon")).await?;
    cluster.add(&Spec::branch("tokyo", PRIMARY, "apac/jp/tokyo")).await?;
    cluster.add_source("vendor", vendor, &[]).await?;
    cluster.sync("vendor").await?.success()?;
    Ok(cluster)
}

/// What dpkg has: the state's two letters and the version, by package.
async fn query(machine: &Machine) -> Result<BTreeMap<String, String>> {
    let format = "${Package} ${db:Status-Abbrev}${Version}\n";
    let listed = machine.dpkg("dpkg-query", &["-W", "-f", format]).await?.success()?.stdout;
    let line = |line: &str| line.split_once(' ').map(|(name, rest)| (name.into(), rest.into()));
    Ok(listed.lines().filter_map(line).collect())
}

/// Waits until the primary's last words on a machine are these, and no others.
async fn told(cluster: &Cluster, machine: &Machine, words: &[(&str, &str, &str)]) -> Result<Value> {
    until(&format!("the primary to know of {}", machine.name), PATIENCE, async || {
        let story = cluster.patchmesh(PRIMARY, &["report", "machine", &machine.name]).await?;
        let story = story.success()?.json()?;
        let mut heard: Vec<_> =
            story["story"]["words"].as_array().context("no words")?.iter().collect();
        heard.sort_by_key(|word| word["revision"].as_str());
        let heard = heard.iter().map(|word| [&word["revision"], &word["phase"], &word["outcome"]]);
        let same =
            heard.clone().eq(words.iter().map(|(one, phase, outcome)| [one, phase, outcome]));
        ensure!(
            same,
            "{} instead of {words:?}",
            serde_json::to_string(&heard.collect::<Vec<_>>())?
        );
        Ok(Some(story))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_primary_tells_what_is_in_every_root() -> Result<()> {
    let vendor = Vendor::with_samples(&release("2")).await?;
    let cluster = company(&vendor).await?;
    let [plain, breaks, restarts, off] = [
        machine("pc-plain", "plain").await?,
        machine("pc-breaks", "breaks").await?,
        machine("pc-restarts", "restarts").await?,
        machine("pc-off", "plain").await?,
    ];
    for one in [&plain, &breaks, &restarts, &off] {
        one.join(&cluster, "lyon").await?;
    }
    // The last one is seen once, and switched off before anything is approved.
    off.round().await?.success()?;
    let second = [cluster.revision("app").await?, cluster.revision("tool").await?];
    cluster.approve("validation", &second).await?;
    cluster.promote(&second).await?;
    cluster.converged(&["hub", "lyon"]).await?;

    let [app, tool] = [second[0].as_str(), second[1].as_str()];
    plain.until_installed(2).await?;
    ensure!(query(&plain).await? == has(&[("app", "ii 2"), ("tool", "ii 2")]));
    told(&cluster, &plain, &[(app, "installation", "success"), (tool, "installation", "success")])
        .await?;

    // Where a script fails dpkg has the package half, and what went well beside it.
    breaks.until_installed(1).await?;
    ensure!(query(&breaks).await? == has(&[("app", "iF 2"), ("tool", "ii 2")]));
    let words = [(app, "installation", "failure"), (tool, "installation", "success")];
    let story = told(&cluster, &breaks, &words).await?;
    let word = &story["story"]["words"][0]["message"];
    ensure!(word.to_string().contains("no room"), "{word}");
    let failures = cluster.patchmesh(PRIMARY, &["report", "failures"]).await?.success()?.json()?;
    ensure!(failures.to_string().contains("pc-breaks"), "{failures}");

    // Both of one call wait for the restart that one of them asked for.
    restarts.until_installed(2).await?;
    ensure!(query(&restarts).await? == has(&[("app", "ii 2"), ("tool", "ii 2")]));
    let waits =
        [(app, "installation", "reboot required"), (tool, "installation", "reboot required")];
    told(&cluster, &restarts, &waits).await?;
    let due = ["report", "machines", "--reboot-needed"];
    let due = cluster.patchmesh(PRIMARY, &due).await?.success()?.json()?.to_string();
    ensure!(due.contains("pc-restarts") && !due.contains("pc-plain"), "{due}");
    // As a restart does with what lies in /run.
    std::fs::remove_file(restarts.root.join("run/reboot-required"))?;
    restarts.round().await?.success()?;
    told(&cluster, &restarts, &[(app, "reboot", "success"), (tool, "reboot", "success")]).await?;

    // Who was away has what it had, and comes to what is newest then.
    ensure!(query(&off).await? == has(&[("app", "ii 1"), ("tool", "ii 1")]));
    vendor.release(&[Sample::new("tool", "3")]).await?;
    cluster.sync("vendor").await?.success()?;
    let third = [cluster.revision("tool").await?];
    cluster.approve("validation", &third).await?;
    cluster.promote(&third).await?;
    cluster.converged(&["hub", "lyon"]).await?;
    off.until_installed(2).await?;
    ensure!(query(&off).await? == has(&[("app", "ii 2"), ("tool", "ii 3")]));
    // The one between was never installed: it is found contained in the newer one.
    let newest = (third[0].as_str(), "installation", "success");
    let words = [(app, "installation", "success"), (tool, "detection", "success"), newest];
    told(&cluster, &off, &words).await?;

    // What is taken back is gone where it was, and dpkg says so too.
    let plan = plan::write(&cluster, plan::TAKEN_BACK, &plan::list(&third))?;
    cluster.patchmesh(PRIMARY, &["rollout", "start", &plan]).await?.success()?;
    cluster.converged(&["hub", "lyon"]).await?;
    until("the tool to be removed", PATIENCE, async || {
        off.round().await?.success()?;
        Ok((query(&off).await? == has(&[("app", "ii 2")])).then_some(()))
    })
    .await?;
    until("the primary to know that it is gone", PATIENCE, async || {
        let story = cluster.patchmesh(PRIMARY, &["report", "machine", "pc-off"]).await?;
        let story = story.success()?.json()?;
        let words = story["story"]["words"].as_array().context("no words")?;
        let word = words.iter().find(|word| word["revision"] == third[0].as_str());
        let is_gone = |word: &&Value| word["phase"] == "removal" && word["outcome"] == "success";
        Ok(word.filter(is_gone).map(|_| ()))
    })
    .await?;
    cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_whose_dpkg_run_fails_halts_its_rollout_everywhere() -> Result<()> {
    let vendor = Vendor::with_samples(&release("2")).await?;
    let cluster = company(&vendor).await?;
    let [plain, breaks, late, tokyo] = [
        machine("pc-plain", "plain").await?,
        machine("pc-breaks", "breaks").await?,
        machine("pc-late", "plain").await?,
        machine("pc-tokyo", "plain").await?,
    ];
    for (one, via) in [(&plain, "lyon"), (&breaks, "lyon"), (&late, "lyon"), (&tokyo, "tokyo")] {
        one.join(&cluster, via).await?;
    }
    let app = cluster.revision("app").await?;
    cluster.approve("validation", std::slice::from_ref(&app)).await?;
    let plan = plan::write(&cluster, &plan::GUARDED.replace("NAME", "spring"), &app)?;
    cluster.patchmesh(PRIMARY, &["rollout", "start", &plan]).await?.success()?;
    cluster.converged(&["hub", "lyon", "tokyo"]).await?;
    plain.until_installed(1).await?;
    until("dpkg to fail", PATIENCE, async || {
        breaks.round().await?;
        Ok((query(&breaks).await?["app"] == "iF 2").then_some(()))
    })
    .await?;
    let explain = ["rollout", "explain", "spring", "--group", "workstations", "--site"];
    for (node, site) in [("lyon", "emea/fr/lyon"), ("tokyo", "apac/jp/tokyo")] {
        until(&format!("{node} to know that it is halted"), PATIENCE, async || {
            let told = cluster.patchmesh(node, &[&explain[..], &[site]].concat()).await?;
            let told = told.success()?.json()?["site"][0].clone();
            let why = told["text"].as_str().unwrap_or_default();
            Ok((told["open"] == false && why.contains("spring is halted")).then_some(()))
        })
        .await?;
    }
    // Whoever comes now is left as it was, in the open wave too.
    for one in [&late, &tokyo] {
        one.round().await?.success()?;
        ensure!(query(one).await? == has(&[("app", "ii 1"), ("tool", "ii 1")]), "{}", one.name);
    }
    ensure!(query(&plain).await?["app"] == "ii 2");
    cluster.passed();
    Ok(())
}

fn has(packages: &[(&str, &str)]) -> BTreeMap<String, String> {
    packages.iter().map(|(name, state)| ((*name).to_owned(), (*state).to_owned())).collect()
}
