//! The primary's host is gone, and the mesh goes on.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use patchmesh_tests::cluster::{Cluster, Node, PRIMARY, Spec, approval_sets_of, generation_of};
use patchmesh_tests::run::{Outcome, run};
use patchmesh_tests::vendor::{Sample, Vendor};
use patchmesh_tests::wait::{PATIENCE, until};

/// Exit codes of the command line.
const REFUSED: i32 = 2;
const BAD_DATA: i32 = 65;
const EXISTS: i32 = 73;

/// A company in mid-month: a lab, a hub with two levels below it, one update
/// approved for all and backed up.
struct Company {
    cluster: Cluster,
    vendor: Vendor,
    backups: PathBuf,
}

const BELOW: &[&str] = &["lab", "hub", "lyon", "annecy"];

impl Company {
    async fn start() -> Result<Self> {
        let vendor = Vendor::with_samples(&[
            Sample::new("app-a", "1"),
            Sample::new("app-b", "1").with_bytes(3 << 20),
            Sample::new("app-c", "1").with_bytes(2 << 20),
        ])
        .await?;
        let mut cluster = Cluster::start().await?;
        cluster.add_company().await?;
        cluster.add_source("vendor", &vendor, &[]).await?;
        cluster.sync("vendor").await?.success()?;
        let backups = cluster.folder().join("backups");
        let company = Self { cluster, vendor, backups };
        company.approve("app-a", true).await?;
        Ok(company)
    }

    /// Approves an update for validation and perhaps for production too.
    async fn approve(&self, name: &str, promote: bool) -> Result<String> {
        let revision = [self.cluster.revision(name).await?];
        self.cluster.approve("validation", &revision).await?;
        if promote {
            self.cluster.promote(&revision).await?;
        }
        self.cluster.converged(&[&[PRIMARY], BELOW].concat()).await?;
        let [revision] = revision;
        Ok(revision)
    }

    async fn back_up(&self, more: &[&str]) -> Result<serde_json::Value> {
        let folder = self.backups.display().to_string();
        let arguments = [&["backup", "create", &folder], more].concat();
        self.cluster.patchmesh(PRIMARY, &arguments).await?.success()?.json()
    }

    /// `backup restore` into the data folder of `node`.
    async fn restore(&self, node: &Node, more: &[&str]) -> Result<Outcome> {
        let mut command = node.command()?;
        command.args(["--output", "json", "backup", "restore"]).arg(&self.backups).args(more);
        run(&mut command).await
    }

    /// The host is gone, disk and all.
    async fn lose_the_primary(&mut self) -> Result<()> {
        let primary = self.cluster.node_mut(PRIMARY)?;
        primary.kill().await?;
        fs::remove_dir_all(&primary.data)?;
        Ok(())
    }

    /// A host to restore on: another folder, another port.
    fn new_host(&self, name: &str) -> Result<Node> {
        let mut node = Node::new(self.cluster.folder(), name)?;
        node.name = PRIMARY.to_owned();
        Ok(node)
    }

    /// Waits until these nodes are in the generation of `primary`, with the same decisions.
    async fn all_follow(&self, primary: &Node, names: &[&str]) -> Result<()> {
        let status = primary.status().await?;
        for name in names {
            self.cluster.reached(name, generation_of(&status), PATIENCE).await?;
            let said = self.cluster.node(name)?.status().await?;
            ensure!(
                approval_sets_of(&said) == approval_sets_of(&status),
                "{name} has other decisions: {:?} instead of {:?}",
                approval_sets_of(&said),
                approval_sets_of(&status)
            );
        }
        Ok(())
    }
}

/// `patchmesh ARGUMENTS --output json` at a node that is not the cluster's.
async fn patchmesh(node: &Node, arguments: &[&str]) -> Result<serde_json::Value> {
    run(node.command()?.args(["--output", "json"]).args(arguments)).await?.success()?.json()
}

/// Whether a stage approves a revision, for every group that it decided on.
async fn is_approved(node: &Node, stage: &str, revision: &str) -> Result<bool> {
    let shown = patchmesh(node, &["approvals", "show", stage]).await?;
    let found = shown["approvals"].as_array().context("no approvals")?;
    let is_it = |one: &&serde_json::Value| one["revision"] == revision;
    let mut decisions = found.iter().filter(is_it).peekable();
    Ok(decisions.peek().is_some() && decisions.all(|one| one["decision"] == "approved"))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_decision_is_lost_with_the_primarys_host() -> Result<()> {
    let mut company = Company::start().await?;
    company.back_up(&[]).await?;

    // What the backup does not know: decisions, content, a new release, a node.
    let second = company.approve("app-b", true).await?;
    company.vendor.release(&[Sample::new("app-a", "2")]).await?;
    company.cluster.sync("vendor").await?.success()?;
    let newest = company.approve("app-a", true).await?;
    let lab_only = company.approve("app-c", false).await?;
    company.cluster.add(&Spec::branch("oslo", PRIMARY, "emea/no/oslo")).await?;
    company.cluster.converged(&[BELOW, &["oslo"]].concat()).await?;
    let before = company.cluster.primary()?.status().await?;

    company.lose_the_primary().await?;
    let mut host = company.new_host("hq-again")?;
    let url = host.url.clone();
    company.restore(&host, &["--url", &url]).await?.success()?;
    host.start().await?;

    let after = host.status().await?;
    ensure!(
        generation_of(&after) > generation_of(&before),
        "generation {} after {}",
        generation_of(&after),
        generation_of(&before)
    );
    ensure!(approval_sets_of(&after) == approval_sets_of(&before), "decisions were lost");
    for (stage, revision) in
        [("production", &second), ("production", &newest), ("validation", &lab_only)]
    {
        ensure!(is_approved(&host, stage, revision).await?, "{revision} is not approved: {stage}");
    }
    // Nobody refuses it, the node that it never knew included; and it gets
    // back the content that only they hold.
    let everybody = [BELOW, &["oslo"]].concat();
    company.all_follow(&host, &everybody).await?;
    until("the restored primary to hold all content", PATIENCE, async || {
        let said = host.status().await?.status.unwrap_or_default();
        ensure!(said.payloads_held == said.payloads_wanted, "it says {said:?}");
        Ok((said.payloads_wanted > 0).then_some(()))
    })
    .await?;

    // A further decision reaches all of them.
    let rows = patchmesh(&host, &["update", "list"]).await?.to_string();
    ensure!(rows.contains(&lab_only), "{lab_only} is not in the catalogue: {rows}");
    patchmesh(&host, &["promote", &lab_only]).await?;
    company.all_follow(&host, &everybody).await?;
    for name in &everybody {
        let log = company.cluster.node(name)?.log_text()?;
        ensure!(!log.contains("rollback"), "{name} saw a rollback");
    }
    // It starts again like any other.
    host.restart().await?;
    company.all_follow(&host, &everybody).await?;
    company.cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_without_content_gets_it_from_the_branches() -> Result<()> {
    let mut company = Company::start().await?;
    company.approve("app-b", true).await?;
    company.back_up(&["--without-content"]).await?;
    company.lose_the_primary().await?;
    // The same host name as before, and nobody to tell.
    let mut host = company.new_host("hq-again")?;
    let old = company.cluster.primary()?;
    (host.listen, host.url) = (old.listen, old.url.clone());
    company.restore(&host, &[]).await?.success()?;
    host.start().await?;
    until("the payloads to come back", PATIENCE, async || {
        let said = host.status().await?.status.unwrap_or_default();
        ensure!(said.payloads_held == said.payloads_wanted, "it says {said:?}");
        Ok((said.payloads_wanted > 0).then_some(()))
    })
    .await?;
    company.all_follow(&host, BELOW).await?;
    company.cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_primaries_never_sign_side_by_side() -> Result<()> {
    let mut company = Company::start().await?;
    company.back_up(&[]).await?;

    // While the old one lives, a restored one does not start.
    let mut host = company.new_host("hq-again")?;
    let url = host.url.clone();
    company.restore(&host, &["--url", &url]).await?.success()?;
    host.spawn()?;
    let code = host.wait_for_end(PATIENCE).await?;
    ensure!(code == REFUSED, "exit code {code}");
    let log = host.log_text()?;
    ensure!(log.contains("the old primary still runs"), "{log}");
    let before = company.cluster.generation().await?;

    // Once it is gone the other starts; then the old one, coming back, is
    // refused and says why.
    company.cluster.node_mut(PRIMARY)?.kill().await?;
    host.start().await?;
    company.all_follow(&host, BELOW).await?;
    ensure!(generation_of(&host.status().await?) > before, "it did not go on");
    let old = company.cluster.node_mut(PRIMARY)?;
    old.spawn()?;
    let code = old.wait_for_end(PATIENCE).await?;
    ensure!(code == REFUSED, "exit code {code}");
    let log = old.log_text()?;
    ensure!(log.contains("was restored elsewhere") && log.contains(&url), "{log}");
    company.cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_branch_is_waited_for_or_excused() -> Result<()> {
    let mut company = Company::start().await?;
    company.back_up(&[]).await?;
    company.approve("app-b", true).await?;
    company.cluster.node_mut("hub")?.kill().await?;
    company.lose_the_primary().await?;
    let mut host = company.new_host("hq-again")?;
    let url = host.url.clone();
    company.restore(&host, &["--url", &url]).await?.success()?;
    host.spawn()?;
    until("it to say whom it waits for", PATIENCE, async || {
        let log = host.log_text()?;
        Ok((log.contains("waiting for nodes") && log.contains("hub")).then_some(()))
    })
    .await?;
    ensure!(host.runs() && host.status().await.is_err(), "it did not wait");
    // It comes back, and nothing had to be given up.
    company.cluster.node_mut("hub")?.start().await?;
    until("the restored primary to answer", PATIENCE, async || host.status().await.map(Some))
        .await?;
    company.all_follow(&host, BELOW).await?;

    // Or it does not, and a person says so.
    let folder = company.backups.display().to_string();
    patchmesh(&host, &["backup", "create", &folder]).await?;
    host.kill().await?;
    company.cluster.node_mut("hub")?.kill().await?;
    let mut third = company.new_host("hq-third")?;
    let url = third.url.clone();
    company.restore(&third, &["--url", &url]).await?.success()?;
    third.arguments = vec!["--accept-unreachable".into(), "hub".into()];
    third.start().await?;
    company.all_follow(&third, &["lab"]).await?;
    company.cluster.node_mut("hub")?.start().await?;
    company.all_follow(&third, BELOW).await?;
    company.cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_data_folder_does_not_sign_again() -> Result<()> {
    let mut company = Company::start().await?;
    let copy = company.cluster.folder().join("copy");
    company.cluster.node_mut(PRIMARY)?.stop().await?;
    company.cluster.node(PRIMARY)?.copy_data_to(&copy)?;
    company.cluster.node_mut(PRIMARY)?.start().await?;
    company.cluster.converged(BELOW).await?;
    company.approve("app-b", true).await?;
    let decided = approval_sets_of(&company.cluster.primary()?.status().await?);
    company.lose_the_primary().await?;
    let data = company.cluster.node(PRIMARY)?.data.clone();
    fs::rename(&copy, &data)?;
    make_private(&data)?;

    let primary = company.cluster.node_mut(PRIMARY)?;
    primary.spawn()?;
    let code = primary.wait_for_end(PATIENCE).await?;
    ensure!(code == REFUSED, "exit code {code}");
    let log = primary.log_text()?;
    ensure!(log.contains("of an earlier state") && log.contains("--restored"), "{log}");

    primary.arguments = vec!["--restored".into()];
    primary.start().await?;
    let after = approval_sets_of(&primary.status().await?);
    ensure!(after == decided, "decisions were lost");
    company.cluster.converged(BELOW).await?;
    company.cluster.passed();
    Ok(())
}

/// Copying lost nothing but the folder's own mode.
fn make_private(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_backup_is_refused_by_name() -> Result<()> {
    let company = Company::start().await?;
    company.back_up(&[]).await?;
    let folder = company.backups.display().to_string();
    let listed = company.cluster.patchmesh(PRIMARY, &["backup", "list", &folder]).await?;
    ensure!(listed.success()?.json()?["backups"][0]["problem"].is_null());
    let verify = ["backup", "verify", &folder];
    company.cluster.patchmesh(PRIMARY, &verify).await?.success()?;

    let mut files = Vec::new();
    collect(&company.backups.join("objects"), &mut files)?;
    collect(&company.backups.join("backups"), &mut files)?;
    let largest = files.iter().max_by_key(|file| fs::metadata(file).map_or(0, |one| one.len()));
    let largest = largest.context("no files")?.clone();
    let list = company.backups.join("backups/00000001.json");
    let some = files.first().context("no files")?.clone();
    for file in [largest, list, some] {
        let good = fs::read(&file)?;
        for at in [0, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            fs::write(&file, &bad)?;
            let host = company.new_host("hq-again")?;
            let name = file.file_name().context("a name")?.to_string_lossy().into_owned();
            let refused = company.restore(&host, &[]).await?;
            let refused = refused.failure_that_says(&["damaged", &name])?;
            ensure!(refused.code == BAD_DATA, "exit code {}", refused.code);
            ensure!(!host.data.exists(), "the target was touched");
            let found = company.cluster.patchmesh(PRIMARY, &verify).await?;
            found.failure_that_says(&[&name])?;
        }
        fs::write(&file, &good)?;
    }
    let host = company.new_host("hq-again")?;
    company.restore(&host, &[]).await?.success()?;
    company.cluster.passed();
    Ok(())
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { collect(&path, found)? } else { found.push(path) }
    }
    found.sort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_backup_copies_only_what_is_new() -> Result<()> {
    let company = Company::start().await?;
    let bytes = |made: &serde_json::Value, field: &str| made[field].as_u64().unwrap_or_default();
    let first = company.back_up(&[]).await?;
    let nothing = company.back_up(&[]).await?;
    ensure!(bytes(&nothing, "bytes_added") < 256 << 10, "nothing new cost {nothing}");
    company.approve("app-b", true).await?;
    let second = company.back_up(&["--keep", "2"]).await?;
    let added = bytes(&second, "bytes_added");
    // The payload of three megabytes, and a little for the decision.
    ensure!((3 << 20..4 << 20).contains(&added), "{added} bytes for a payload of 3 MiB");
    ensure!(bytes(&second, "bytes") > bytes(&first, "bytes") + (3 << 20), "{first} {second}");
    ensure!(second["pruned"] == 1, "{second}");
    let third = company.back_up(&["--keep", "2"]).await?;
    let mut stored = Vec::new();
    collect(&company.backups.join("objects"), &mut stored)?;
    let stored: u64 = stored.iter().map(|file| fs::metadata(file).map_or(0, |one| one.len())).sum();
    let both = bytes(&second, "bytes") + bytes(&third, "bytes");
    ensure!(stored < both * 3 / 4, "{stored} bytes for two backups of {both} together");
    company.cluster.passed();
    Ok(())
}

/// `patchmesh standby ARGUMENTS` at a node's data folder, however it ends.
async fn standby(node: &Node, arguments: &[&str]) -> Result<Outcome> {
    run(node.command()?.args(["--output", "json", "standby"]).args(arguments)).await
}

/// The files of the signed roles' keys at a node.
fn role_keys(node: &Node) -> Result<BTreeSet<String>> {
    let names = fs::read_dir(node.data.join("keys"))?.map(|entry| Ok(entry?.file_name()));
    let names: Vec<_> = names.collect::<Result<_>>()?;
    let names = names.into_iter().map(|name| name.to_string_lossy().into_owned());
    Ok(names.filter(|name| name.ends_with(".pem")).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_the_primarys_place() -> Result<()> {
    let mut company = Company::start().await?;
    company.cluster.add(&Spec::branch("spare", PRIMARY, "emea/spare")).await?;
    standby(company.cluster.primary()?, &["add", "spare"]).await?.success()?;
    let refused = standby(company.cluster.primary()?, &["add", "lyon"]).await?;
    let refused = refused.failure_that_says(&["directly below the primary"])?;
    ensure!(refused.code == REFUSED, "exit code {}", refused.code);
    let safe = company.cluster.folder().join("safe").display().to_string();
    let export = ["export-keys", "--to", &safe];
    standby(company.cluster.primary()?, &export).await?.success()?;
    let again = standby(company.cluster.primary()?, &export).await?;
    let again = again.failure_that_says(&["never overwritten"])?;
    ensure!(again.code == EXISTS, "exit code {}", again.code);
    company.back_up(&[]).await?;

    // Decided, and merely entered, since then.
    company.approve("app-b", true).await?;
    company.vendor.release(&[Sample::new("app-d", "1").with_bytes(200_000)]).await?;
    company.cluster.sync("vendor").await?.success()?;
    let entered = company.cluster.revision("app-d").await?;
    company.cluster.converged(&[BELOW, &["spare"]].concat()).await?;
    company.cluster.logged("spare", "the primary's own records are kept here").await?;
    let before = company.cluster.primary()?.status().await?;

    // Not while it runs, not without the root's key, not while the old one lives.
    let promote = ["promote", "--keys", &safe];
    let spare = company.cluster.node("spare")?;
    standby(spare, &promote).await?.failure_that_says(&["in use"])?;
    company.cluster.node_mut("spare")?.stop().await?;
    let (root, hidden) = (Path::new(&safe).join("root.pem"), Path::new(&safe).join("elsewhere"));
    fs::rename(&root, &hidden)?;
    let spare = company.cluster.node("spare")?;
    standby(spare, &promote).await?.failure_that_says(&["--root-key"])?;
    let hidden = hidden.display().to_string();
    // Run twice: the second time counts, and what was said the first time and
    // not again stays.
    let url = spare.url.replace("127.0.0.1", "localhost");
    let first = [&promote[..], &["--root-key", &hidden, "--url", &url]].concat();
    standby(spare, &first).await?.success()?;
    let keys = role_keys(spare)?;
    let promoted = standby(spare, &[&promote[..], &["--root-key", &hidden]].concat()).await?;
    let promoted = promoted.success()?.json()?;
    let fresh = role_keys(spare)?;
    ensure!(keys.len() == 8 && fresh.len() == 8, "keys are left over: {keys:?} {fresh:?}");
    ensure!(keys.is_disjoint(&fresh), "an old key was kept: {keys:?} {fresh:?}");
    ensure!(promoted["instead_of"] == PRIMARY && promoted["has_records"] == true, "{promoted}");
    let spare = company.cluster.node_mut("spare")?;
    spare.spawn()?;
    let code = spare.wait_for_end(PATIENCE).await?;
    ensure!(code == REFUSED, "exit code {code}");
    ensure!(spare.log_text()?.contains("the old primary still runs"), "it does not say why");

    company.cluster.node_mut(PRIMARY)?.kill().await?;
    company.cluster.node_mut("spare")?.start().await?;
    let spare = company.cluster.node("spare")?;
    let after = spare.status().await?;
    ensure!(approval_sets_of(&after) == approval_sets_of(&before), "decisions were lost");
    company.all_follow(spare, BELOW).await?;
    let listed = patchmesh(spare, &["nodes"]).await?;
    let nodes = listed["nodes"].as_array().context("no nodes")?;
    let own = nodes.iter().find(|node| node["name"] == "spare").context("no spare")?;
    ensure!(own["url"] == url.as_str(), "its URL was forgotten: {own}");
    ensure!(role_keys(spare)? == fresh, "other keys than those that were promised");

    // It decides, and fetches from the vendor, as the old one did.
    let rows = patchmesh(spare, &["update", "list"]).await?.to_string();
    ensure!(rows.contains(&entered), "{entered} is not in the catalogue: {rows}");
    patchmesh(spare, &["approve", "--stage", "validation", &entered]).await?;
    patchmesh(spare, &["promote", &entered]).await?;
    until("the new payload to be everywhere", PATIENCE, async || {
        company.all_follow(spare, BELOW).await?;
        let shown = patchmesh(spare, &["status"]).await?.to_string();
        let said = spare.status().await?.status.unwrap_or_default();
        ensure!(said.payloads_held == 3 && said.payloads_wanted == 3, "{said:?} {shown}");
        Ok(Some(()))
    })
    .await?;
    company.all_follow(spare, BELOW).await?;
    for name in BELOW {
        let log = company.cluster.node(name)?.log_text()?;
        ensure!(!log.contains("rollback"), "{name} saw a rollback");
    }

    // The old one comes back and is told that its time is over.
    let old = company.cluster.node_mut(PRIMARY)?;
    old.spawn()?;
    let code = old.wait_for_end(PATIENCE).await?;
    ensure!(code == REFUSED, "exit code {code}");
    let log = old.log_text()?;
    ensure!(log.contains("no longer the primary"), "{log}");

    // Nor does a backup of it take over again.
    let mut host = company.new_host("hq-again")?;
    let url = host.url.clone();
    company.restore(&host, &["--url", &url]).await?.success()?;
    host.spawn()?;
    let code = host.wait_for_end(PATIENCE).await?;
    ensure!(code == REFUSED, "exit code {code}");
    let log = host.log_text()?;
    ensure!(log.contains("has shut this node out"), "{log}");

    // The new one starts again like any other.
    company.cluster.node_mut("spare")?.restart().await?;
    company.all_follow(company.cluster.node("spare")?, BELOW).await?;
    company.cluster.passed();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_nobody_else_had_comes_back_with_its_source() -> Result<()> {
    let mut company = Company::start().await?;
    company.back_up(&[]).await?;
    // No node serves validation any more, so nobody has what is approved for it alone.
    company.cluster.patchmesh(PRIMARY, &["node", "revoke", "lab"]).await?.success()?;
    company.cluster.node_mut("lab")?.kill().await?;
    company.vendor.release(&[Sample::new("app-d", "1")]).await?;
    company.cluster.sync("vendor").await?.success()?;
    let revision = company.cluster.revision("app-d").await?;
    company.cluster.approve("validation", std::slice::from_ref(&revision)).await?;
    company.cluster.converged(&["hub", "lyon", "annecy"]).await?;
    let before = approval_sets_of(&company.cluster.primary()?.status().await?);

    company.lose_the_primary().await?;
    let mut host = company.new_host("hq-again")?;
    let url = host.url.clone();
    company.restore(&host, &["--url", &url]).await?.success()?;
    host.start().await?;
    ensure!(approval_sets_of(&host.status().await?) == before, "decisions were lost");
    ensure!(host.log_text()?.contains("no node has this revision"), "it does not say what lacks");
    let rows = patchmesh(&host, &["update", "list"]).await?.to_string();
    ensure!(!rows.contains(&revision), "where did it come from? {rows}");
    patchmesh(&host, &["source", "sync", "vendor"]).await?;
    let rows = patchmesh(&host, &["update", "list"]).await?.to_string();
    ensure!(rows.contains(&revision), "{rows}");
    ensure!(is_approved(&host, "validation", &revision).await?, "the decision is gone");
    company.all_follow(&host, &["hub", "lyon", "annecy"]).await?;
    company.cluster.passed();
    Ok(())
}
