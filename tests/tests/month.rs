//! A company's month: two vendors, four weeks, twelve revisions, two approvers.
//!
//! What every branch has to offer is computed here, from nothing but what the
//! vendors released and what was decided, and compared with what it does offer.
//! At the end real apt installs all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use patchmesh_proto::admin::GetStatusResponse;
use patchmesh_tests::apt::Apt;
use patchmesh_tests::cluster::{Cluster, PRIMARY, Spec, approval_sets_of, generation_of};
use patchmesh_tests::http::Curl;
use patchmesh_tests::run::{Outcome, run};
use patchmesh_tests::vendor::files::{File, FilesVendor, Update};
use patchmesh_tests::vendor::{Sample, Vendor};

const NODES: &[&str] = &["lab", "hub", "lyon", "annecy"];
/// Stands by for the primary.
const SPARE: &str = "spare";
const BRANCHES: &[&str] = &["hub", "lyon", "annecy"];
/// The group that is looked at.
const GROUP: &str = "workstations";
/// Who decides for production; any two of them.
const APPROVERS: &[&str] = &["alice", "bob", "carol"];

/// What is known of a revision without asking the product.
#[derive(Clone)]
struct Release {
    /// Its update: package or article.
    update: &'static str,
    /// Its place among the update's revisions.
    rank: u32,
    /// As the product names it.
    id: String,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    /// A package of the same name, with the names it depends on.
    Package { version: &'static str, needs: &'static [&'static str] },
    /// A file, with the updates it replaces.
    File { replaces: &'static [&'static str] },
}

fn package(
    update: &'static str,
    rank: u32,
    version: &'static str,
    needs: &'static [&'static str],
) -> Release {
    let id = format!("debian:stable/{update}@{version}");
    Release { update, rank, id, kind: Kind::Package { version, needs } }
}

fn file(update: &'static str, rank: u32, replaces: &'static [&'static str]) -> Release {
    let release = if rank > 1 { format!("#{rank}") } else { String::new() };
    let id = format!("windows:stable/{update}@1{release}");
    Release { update, rank, id, kind: Kind::File { replaces } }
}

/// What follows from the approvals: first nothing whose needs are not met, then
/// nothing that something else replaces.
fn offered(approved: &[Release]) -> Vec<Release> {
    let mut left = approved.to_vec();
    loop {
        let packages: BTreeSet<&str> = left.iter().map(|one| one.update).collect();
        let is_met = |one: &Release| match &one.kind {
            Kind::Package { needs, .. } => needs.iter().all(|name| packages.contains(name)),
            Kind::File { .. } => true,
        };
        let kept: Vec<Release> = left.iter().filter(|one| is_met(one)).cloned().collect();
        if kept.len() == left.len() {
            break;
        }
        left = kept;
    }
    let is_replaced = |old: &Release| {
        left.iter().any(|new| {
            (new.update == old.update && new.rank > old.rank)
                || matches!(&new.kind, Kind::File { replaces } if replaces.contains(&old.update))
        })
    };
    left.iter().filter(|one| !is_replaced(one)).cloned().collect()
}

#[test]
fn the_computation_itself() {
    let ids = |approved: &[Release]| -> Vec<String> {
        offered(approved).into_iter().map(|one| one.id).collect()
    };
    let (old, new) = (package("app", 1, "1.0", &[]), package("app", 2, "1.1", &["codec"]));
    assert_eq!(ids(&[old.clone(), new.clone()]), std::slice::from_ref(&old.id));
    let codec = package("codec", 1, "2.0", &[]);
    assert_eq!(ids(&[old, new.clone(), codec.clone()]), [new.id, codec.id]);
    let (kb1, kb3) = (file("KB1", 1, &[]), file("KB3", 1, &["KB1"]));
    assert_eq!(ids(&[kb1, kb3.clone()]), [kb3.id]);
}

/// The company and what was decided so far.
struct Company {
    cluster: Cluster,
    debian: Vendor,
    windows: FilesVendor,
    /// A machine like the group's others; the group's baseline is taken from it.
    machine: Apt,
    people: BTreeMap<&'static str, PathBuf>,
    approved: Vec<Release>,
}

impl Company {
    async fn found(first: &[Update]) -> Result<Self> {
        let mut cluster = Cluster::start().await?;
        cluster.add_company().await?;
        cluster.add(&Spec::branch(SPARE, PRIMARY, "emea/spare")).await?;
        let debian = Vendor::start().await?;
        let windows = FilesVendor::with(first).await?;
        let machine = Apt::new(&[]).await?;
        let mut company = Self {
            cluster,
            debian,
            windows,
            machine,
            people: BTreeMap::new(),
            approved: Vec::new(),
        };
        company.cluster.add_source("debian", &company.debian, &[]).await?;
        company.cluster.add_files("windows", &company.windows).await?;
        company.take_baseline().await?;
        company.invite_approvers().await?;
        Ok(company)
    }

    async fn headquarters(&self, arguments: &[&str]) -> Result<Outcome> {
        let primary = &self.cluster.primary()?.name;
        self.cluster.patchmesh(primary, arguments).await?.success()
    }

    /// Every group's machines have what the machine has.
    async fn take_baseline(&self) -> Result<()> {
        let status = self.machine.inside("var/lib/dpkg/status").display().to_string();
        self.headquarters(&["baseline", "import", "office", "--status", &status]).await?;
        for group in ["lab", GROUP, "servers", "infrastructure-servers"] {
            self.headquarters(&["group", "set", group, "--baseline", "office"]).await?;
        }
        Ok(())
    }

    /// From now on two of three people decide for production.
    async fn invite_approvers(&mut self) -> Result<()> {
        let mut arguments = vec!["stage", "set", "production", "--threshold", "2"];
        for &name in APPROVERS {
            let role = ["user", "invite", name, "--role", "approver:production"];
            let invited = self.headquarters(&role).await?.json()?;
            let token = invited["token"].as_str().context("no token")?.to_owned();
            let folder = self.cluster.folder().join("people").join(name);
            let mut join = self.cluster.primary()?.command()?;
            join.args(["--output", "json", "--credentials"]).arg(&folder);
            run(join.args(["user", "join", &token])).await?.success()?;
            self.people.insert(name, folder);
            arguments.extend(["--approver", name]);
        }
        self.headquarters(&arguments).await?;
        // The new holders sign what they hold from now on.
        for id in self.waiting().await? {
            for name in &APPROVERS[..2] {
                self.person(name, &["pending", "sign", "--yes", &id]).await?.success()?;
            }
        }
        ensure!(self.waiting().await?.is_empty(), "production has not changed hands");
        Ok(())
    }

    /// Something that a person does on their own machine.
    async fn person(&self, name: &str, arguments: &[&str]) -> Result<Outcome> {
        let folder = self.people.get(name).with_context(|| format!("who is {name}?"))?;
        let primary = self.cluster.primary()?;
        let mut command = tokio::process::Command::new(patchmesh_tests::binaries::patchmesh()?);
        command.args(["--output", "json", "--node", &primary.url, "--credentials"]).arg(folder);
        let key = folder.join("signing.pem").display().to_string();
        run(command.args(arguments).args(["--key", &key])).await
    }

    async fn sync(&self) -> Result<()> {
        for source in ["debian", "windows"] {
            self.cluster.sync(source).await?.success()?;
        }
        Ok(())
    }

    /// Validation at once; production when two have signed.
    async fn approve(&mut self, releases: &[Release], first: &str, second: &str) -> Result<()> {
        let ids: Vec<String> = releases.iter().map(|one| one.id.clone()).collect();
        self.cluster.approve("validation", &ids).await?;
        let decided = async || -> Result<_> {
            Ok(approval_sets_of(&self.cluster.primary()?.status().await?).remove("production"))
        };
        let before = decided().await?;
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let proposal = [&["promote"], &ids[..]].concat();
        self.person(first, &proposal).await?.success()?;
        let waiting = self.waiting().await?;
        let [id] = &waiting[..] else { anyhow::bail!("{waiting:?} wait instead of one") };
        ensure!(decided().await? == before, "one signature was enough");
        self.person(second, &["pending", "sign", "--yes", id]).await?.success()?;
        ensure!(self.waiting().await?.is_empty(), "two signatures were not enough");
        self.approved.extend_from_slice(releases);
        Ok(())
    }

    async fn back_up(&self) -> Result<PathBuf> {
        let folder = self.cluster.folder().join("backups");
        self.headquarters(&["backup", "create", &folder.display().to_string()]).await?;
        Ok(folder)
    }

    /// The primary's host is gone for good, disk and all; what was backed up is
    /// restored under its URL. Nobody who signed has to sign again.
    async fn lose_the_primary(&mut self, backups: &Path) -> Result<()> {
        let before = self.cluster.primary()?.status().await?;
        let primary = self.cluster.node_mut(PRIMARY)?;
        primary.kill().await?;
        std::fs::remove_dir_all(&primary.data)?;
        run(primary.command()?.args(["backup", "restore"]).arg(backups)).await?.success()?;
        primary.start().await?;
        self.goes_on_from(&before).await
    }

    /// The other host is gone too, and nobody has a backup: the node that
    /// stands by takes its place, with the keys that were kept elsewhere.
    async fn promote_the_spare(&mut self, safe: &str) -> Result<()> {
        let before = self.cluster.primary()?.status().await?;
        let kept = "the primary's own records are kept here";
        self.cluster.logged(SPARE, kept).await?;
        self.cluster.converged(&[NODES, &[SPARE]].concat()).await?;
        let primary = self.cluster.node_mut(PRIMARY)?;
        primary.kill().await?;
        std::fs::remove_dir_all(&primary.data)?;
        let spare = self.cluster.node_mut(SPARE)?;
        spare.stop().await?;
        let promote = ["standby", "promote", "--keys", safe];
        run(spare.command()?.args(promote)).await?.success()?;
        spare.start().await?;
        self.cluster.succeeded_by(SPARE);
        self.goes_on_from(&before).await
    }

    /// No decision is lost and no child refuses what follows.
    async fn goes_on_from(&self, before: &GetStatusResponse) -> Result<()> {
        let after = self.cluster.primary()?.status().await?;
        ensure!(approval_sets_of(&after) == approval_sets_of(before), "decisions were lost");
        ensure!(generation_of(&after) > generation_of(before), "its generations went back");
        self.cluster.converged(NODES).await?;
        for name in NODES {
            let log = self.cluster.node(name)?.log_text()?;
            ensure!(!log.contains("rollback"), "{name} refuses it");
        }
        Ok(())
    }

    /// `update show` says what is offered instead of what was approved.
    async fn replaces(&self, old: &str, new: &str) -> Result<()> {
        let shown = self.headquarters(&["update", "show", old]).await?.json()?;
        let rows = shown["replaced"].as_array().context("no list")?;
        let of_group = rows.iter().find(|row| row["group"] == GROUP);
        ensure!(of_group.is_some_and(|row| row["by"] == new), "{old}: {shown}");
        Ok(())
    }

    async fn waiting(&self) -> Result<Vec<String>> {
        let list = self.headquarters(&["pending", "list"]).await?.json()?;
        let rows = list["pending"].as_array().context("no list")?;
        rows.iter().map(|row| Ok(row["id"].as_u64().context("no id")?.to_string())).collect()
    }

    /// Every branch offers exactly what follows from the decisions.
    async fn check(&self) -> Result<()> {
        self.cluster.converged(NODES).await?;
        let expected = offered(&self.approved);
        let packages: BTreeSet<(String, String)> = expected
            .iter()
            .filter_map(|one| match &one.kind {
                Kind::Package { version, .. } => {
                    Some((one.update.to_owned(), (*version).to_owned()))
                }
                Kind::File { .. } => None,
            })
            .collect();
        let files: BTreeSet<String> = expected
            .iter()
            .filter(|one| matches!(one.kind, Kind::File { .. }))
            .map(|one| one.id.clone())
            .collect();
        for branch in BRANCHES {
            self.machine.configure(&self.cluster.apt_lines(branch, GROUP).await?)?;
            self.machine.update().await?.success()?;
            let found = self.machine.offered().await?;
            ensure!(found == packages, "{branch} offers {found:?} instead of {packages:?}");
            let found = self.listed(branch).await?;
            ensure!(found == files, "{branch} lists {found:?} instead of {files:?}");
        }
        Ok(())
    }

    async fn listed(&self, branch: &str) -> Result<BTreeSet<String>> {
        let curl = Curl::trusting(&self.cluster)?;
        let base = &self.cluster.node(branch)?.url;
        let base = format!("{base}/files/production/{GROUP}");
        let (mut waiting, mut listed) = (vec!["index.json".to_owned()], BTreeSet::new());
        while let Some(path) = waiting.pop() {
            let answer = curl.get(&format!("{base}/{path}"), &[]).await?.ok()?;
            let list: serde_json::Value = serde_json::from_slice(&answer.body)?;
            let rows = list["revisions"].as_array().context("no revisions")?;
            listed.extend(rows.iter().filter_map(|row| Some(row["id"].as_str()?.to_owned())));
            let parts = list["parts"].as_array().into_iter().flatten();
            waiting.extend(parts.filter_map(|part| Some(part["path"].as_str()?.to_owned())));
        }
        Ok(listed)
    }
}

fn article(id: &str, seed: &str) -> Update {
    Update::new(id, "1", &[File::new(&format!("{id}.msu"), seed, 30_000)])
        .with("classification = \"security\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_of_decisions_and_what_branches_offer() -> Result<()> {
    let mut company = Company::found(&[article("KB1", "a"), article("KB2", "a")]).await?;

    // Week 1: the first of everything.
    company
        .debian
        .release(&[
            Sample::new("pm-app", "1.0").with_depends("pm-lib (>= 1.0)"),
            Sample::new("pm-lib", "1.0"),
            Sample::new("pm-tool", "1.0"),
        ])
        .await?;
    company.sync().await?;
    let first = [
        package("pm-app", 1, "1.0", &["pm-lib"]),
        package("pm-lib", 1, "1.0", &[]),
        package("pm-tool", 1, "1.0", &[]),
        file("KB1", 1, &[]),
        file("KB2", 1, &[]),
    ];
    company.approve(&first, "alice", "bob").await?;
    company.check().await?;

    let backups = company.back_up().await?;
    company.headquarters(&["standby", "add", SPARE]).await?;
    let safe = company.cluster.folder().join("safe").display().to_string();
    company.headquarters(&["standby", "export-keys", "--to", &safe]).await?;

    // Week 2: what is new needs something that nobody approved yet, and a
    // cumulative update replaces an older one.
    company
        .debian
        .release(&[
            Sample::new("pm-app", "1.1").with_depends("pm-lib (>= 1.0), pm-codec (>= 2)"),
            Sample::new("pm-codec", "2.0"),
        ])
        .await?;
    let cumulative = article("KB3", "a").with("supersedes = [\"KB1\"]");
    company
        .windows
        .release(&[article("KB1", "a"), article("KB2", "a"), cumulative.clone()])
        .await?;
    company.sync().await?;
    let app = package("pm-app", 2, "1.1", &["pm-lib", "pm-codec"]);
    company.approve(&[app.clone(), file("KB3", 1, &["KB1"])], "bob", "carol").await?;
    company.check().await?;
    let shown = company.headquarters(&["update", "show", &app.id]).await?;
    ensure!(shown.stdout.contains("pm-codec"), "it does not say what is missing: {}", shown.stdout);
    company.replaces("windows:stable/KB1@1", "windows:stable/KB3@1").await?;
    // What can't be installed replaces nothing.
    let shown = company.headquarters(&["update", "show", &first[0].id]).await?.json()?;
    ensure!(shown["replaced"] == serde_json::json!([]), "{shown}");

    // In mid-month the primary's host burns down. What two people signed since
    // the backup, and how they judged it, is known to the branches alone.
    let judge = ["assess", "set", &app.id, "--risk", "important", "--note", "faces the network"];
    company.headquarters(&judge).await?;
    company.check().await?;
    company.lose_the_primary(&backups).await?;
    company.check().await?;
    let shown = company.headquarters(&["update", "show", &app.id]).await?.json()?;
    ensure!(shown["assessment"]["judgement"]["note"] == "faces the network", "{shown}");

    // Week 3: one is released again, another is declined.
    company.debian.release(&[Sample::new("pm-tool", "2.0")]).await?;
    let again = [article("KB1", "a"), article("KB2", "b"), cumulative.clone()];
    company.windows.release(&again).await?;
    company.sync().await?;
    let declined = package("pm-tool", 2, "2.0", &[]);
    let decline = ["decline", "--stage", "validation", "--comment", "crashes at start"];
    company.headquarters(&[&decline[..], &[&declined.id]].concat()).await?;
    let refused = company.person("alice", &["promote", &declined.id]).await?;
    refused.failure_that_says(&["validation"])?;
    company.approve(&[file("KB2", 2, &[])], "carol", "alice").await?;
    company.check().await?;

    // The host that it was restored on does not last the month.
    company.promote_the_spare(&safe).await?;
    company.check().await?;
    let shown = company.headquarters(&["update", "show", &app.id]).await?.json()?;
    ensure!(shown["assessment"]["judgement"]["note"] == "faces the network", "{shown}");

    // Week 4: the dependency at last, and a library under everything.
    company.debian.release(&[Sample::new("pm-lib", "1.1")]).await?;
    let last = article("KB4", "a").with("prerequisites = [\"KB3\"]");
    company.windows.release(&[&again[..], &[last]].concat()).await?;
    company.sync().await?;
    let last =
        [package("pm-codec", 1, "2.0", &[]), package("pm-lib", 2, "1.1", &[]), file("KB4", 1, &[])];
    company.approve(&last, "alice", "carol").await?;
    company.check().await?;
    let known = company.cluster.updates().await?.len();
    ensure!(known == 12, "{known} revisions instead of twelve");

    // A machine installs all of it.
    let offered = company.machine.offered().await?;
    let names: Vec<&str> = offered.iter().map(|(name, _)| name.as_str()).collect();
    company.machine.install(&names).await?.success()?;
    for (name, version) in &offered {
        let found = company.machine.installed(name)?;
        ensure!(found.as_ref() == Some(version), "{name} is {found:?}, not {version}");
    }
    company.cluster.passed();
    Ok(())
}
