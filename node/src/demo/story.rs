//! The story of the demo, step by step.

use std::future::Future;
use std::time::Instant;

use serde::Deserialize;

use super::company::{Company, LAB, Node, PARIS, PRIMARY};
use super::files::{FilesReport, FilesVendor};
use super::folder::Folder;
use super::machine::Machine;
use super::report::MachineReport;
use super::vendor::{COMPONENT, Package, SUITE, UNWANTED, Vendor};
use super::{Error, files, watch};
use crate::cli::progress::Progress;

/// What the vendor is called in the company.
const SOURCE: &str = "vendor";

#[derive(Deserialize)]
struct Invited {
    token: String,
}

#[derive(Deserialize)]
struct Updates {
    updates: Vec<Update>,
}

#[derive(Deserialize)]
struct Update {
    revision: String,
}

/// A command's answer that nothing is read from.
type Answer = serde_json::Value;

/// Tells the story to its end or to the first thing that does not hold.
/// Machines are reported as they go, so that a failure shows those before it.
pub(super) async fn run(
    folder: &Folder,
    company: &mut Company,
    machines: &mut Vec<MachineReport>,
    report: &mut FilesReport,
    progress: &Progress,
) -> Result<(), Error> {
    let vendor = step(
        progress,
        "a vendor makes packages and a signed repository",
        Vendor::open(folder.vendor()),
    )
    .await?;
    step(progress, "headquarters makes the mesh and its primary", found(company)).await?;
    for index in 1..company.nodes.len() {
        let node = &company.nodes[index];
        let text = format!(
            "{} joins below {} at {}",
            node.name,
            node.parent.unwrap_or(PRIMARY),
            node.site
        );
        step(progress, &text, join(company, index)).await?;
    }
    step(progress, "the primary learns what the vendor released", synchronise(company, &vendor))
        .await?;
    let second = FilesVendor::open(folder.files())?;
    *report = step(
        progress,
        "a second vendor brings plain files in two languages, and one of them anew",
        files::synchronise(company, &second),
    )
    .await?;
    step(progress, "lyon takes French files only, osaka Japanese ones", files::subscribe(company))
        .await?;
    step(
        progress,
        "the security team approves for validation, and declines one",
        approve(company.primary()),
    )
    .await?;
    step(
        progress,
        "every node has the same approvals and its content",
        watch::converge(company, progress),
    )
    .await?;
    let fetched = step(
        progress,
        "the lab's machine downloads the candidates",
        fetch_all(folder, company, &vendor, |node| node.name == LAB),
    )
    .await?;
    keep(fetched, machines)?;
    step(
        progress,
        "a machine in paris finds none of them yet",
        nothing_at_paris(folder, company, &vendor),
    )
    .await?;
    step(progress, "the lab is content: promoted to production", promote(company.primary()))
        .await?;
    step(
        progress,
        "every node has the same approvals and its content",
        watch::converge(company, progress),
    )
    .await?;
    let fetched = step(
        progress,
        "a machine at every branch downloads them",
        fetch_all(folder, company, &vendor, |node| node.group() == Some("workstations")),
    )
    .await?;
    keep(fetched, machines)?;
    report.not_carried =
        step(progress, "neither carries the other's files", files::not_carried(company)).await?;
    let fetched = step(
        progress,
        "machines without an agent fetch theirs with curl",
        files::fetch_all(folder, company),
    )
    .await?;
    keep(fetched, machines)?;
    // Nodes may have fetched content meanwhile: their last word counts.
    step(progress, "every node still agrees", watch::converge(company, progress)).await
}

/// Shows a step while it runs and when it is done.
async fn step<T>(
    progress: &Progress,
    text: &str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let begun = Instant::now();
    let bar = progress.spinner(text);
    let outcome = work.await;
    bar.finish_and_clear();
    let mark = if outcome.is_ok() { "ok" } else { "FAILED" };
    progress.line(&format!("{mark:>6}  {text} ({:.1} s)", begun.elapsed().as_secs_f64()));
    outcome
}

async fn found(company: &mut Company) -> Result<(), Error> {
    let primary = &mut company.nodes[0];
    let arguments = [
        "init",
        "--name",
        "Example Corp",
        "--url",
        &primary.url,
        "--listen",
        &primary.listen,
        "--node-name",
        primary.name,
        "--site",
        primary.site,
    ];
    let _: Answer = primary.run(&arguments).await?;
    primary.start().await
}

async fn join(company: &mut Company, index: usize) -> Result<(), Error> {
    let node = &company.nodes[index];
    let arguments = [
        "invite",
        node.name,
        "--role",
        node.role.as_str(),
        "--parent",
        node.parent.unwrap_or(PRIMARY),
        "--site",
        node.site,
    ];
    let invited: Invited = company.primary().run(&arguments).await?;
    let node = &mut company.nodes[index];
    let arguments = ["join", &invited.token, "--url", &node.url, "--listen", &node.listen];
    let _: Answer = node.run(&arguments).await?;
    node.start().await
}

async fn synchronise(company: &Company, vendor: &Vendor) -> Result<(), Error> {
    let (url, keyring) = (vendor.url(), vendor.keyring.display().to_string());
    let arguments = [
        "source",
        "add",
        "apt",
        SOURCE,
        "--url",
        &url,
        "--suite",
        SUITE,
        "--component",
        COMPONENT,
        "--architecture",
        &vendor.architecture,
        "--keyring",
        &keyring,
    ];
    let _: Answer = company.primary().run(&arguments).await?;
    let _: Answer = company.primary().run(&["source", "sync", SOURCE]).await?;
    Ok(())
}

async fn approve(primary: &Node) -> Result<(), Error> {
    let unwanted: Updates = primary.run(&["update", "list", "--name", UNWANTED]).await?;
    for update in &unwanted.updates {
        let arguments = ["decline", &update.revision, "--comment", "nobody needs a toolbar"];
        let _: Answer = primary.run(&arguments).await?;
    }
    let arguments = [
        "approve",
        "--all-new",
        "--yes",
        "--stage",
        "validation",
        "--comment",
        "candidates for the lab",
    ];
    let _: Answer = primary.run(&arguments).await?;
    Ok(())
}

async fn promote(primary: &Node) -> Result<(), Error> {
    let _: Answer = primary.run(&["promote", "--comment", "the lab found nothing"]).await?;
    Ok(())
}

/// Every chosen node's machine fetches, all at once.
async fn fetch_all(
    folder: &Folder,
    company: &Company,
    vendor: &Vendor,
    chosen: impl Fn(&Node) -> bool,
) -> Result<Vec<MachineReport>, Error> {
    let nodes = company.nodes.iter().filter(|node| chosen(node));
    let fetches = nodes.filter_map(|node| {
        let group = node.group()?;
        Some(async move {
            let machine = Machine::set_up(folder, node, group, &vendor.architecture).await?;
            let mut report = machine.fetch(&vendor.wanted).await;
            if let Err(error) = machine.must_not_find(&[UNWANTED]).await
                && report.ok
            {
                report.ok = false;
                report.problem = Some(error.to_string());
            }
            Ok(report)
        })
    });
    futures_util::future::join_all(fetches).await.into_iter().collect()
}

/// Adds to the report; the first machine that failed ends the story.
fn keep(fetched: Vec<MachineReport>, machines: &mut Vec<MachineReport>) -> Result<(), Error> {
    let failed = fetched.iter().find(|machine| !machine.ok).map(|machine| Error::Machine {
        machine: machine.name.clone(),
        node: machine.node.clone(),
        problem: machine.problem.clone().unwrap_or_default(),
    });
    machines.extend(fetched);
    failed.map_or(Ok(()), Err)
}

async fn nothing_at_paris(
    folder: &Folder,
    company: &Company,
    vendor: &Vendor,
) -> Result<(), Error> {
    let at_paris = company.nodes.iter().find(|node| node.name == PARIS);
    let Some((node, group)) = at_paris.and_then(|node| Some((node, node.group()?))) else {
        return Ok(());
    };
    let machine = Machine::set_up(folder, node, group, &vendor.architecture).await?;
    let names: Vec<_> = vendor.wanted.iter().map(|package: &Package| package.name).collect();
    machine.must_not_find(&names).await
}

/// Where the pieces are and what to try next.
pub(super) fn hints(folder: &Folder, company: &Company) -> String {
    let data = company.primary().data.display();
    // Spelled as it can be called: it may not be on the path.
    let program = std::env::current_exe().unwrap_or_else(|_| "patchmesh".into());
    let program = program.display();
    let mut text = format!("\nThe company runs in {}:\n", folder.path().display());
    for node in &company.nodes {
        text.push_str(&format!(
            "  {:<10} {:<16} {}  data {}\n",
            node.name,
            node.site,
            node.url,
            node.data.display()
        ));
    }
    text.push_str(&format!(
        "  logs in {}, process ids in {}, machines in {}\n\n\
         Try, in another terminal:\n\
        \x20 {program} --data {data} nodes\n\
        \x20 {program} --data {data} update list\n\
        \x20 {program} --data {data} approvals diff validation production\n\
        \x20 {program} --data {data} approvals diff production lyon:production\n\
        \x20 {program} --data {} status\n\
        \x20 kill $(cat {}) and watch `nodes`\n",
        folder.path().join("log").display(),
        folder.path().join("run").display(),
        folder.path().join("machines").display(),
        folder.data("lyon").display(),
        folder.pid("osaka").display(),
    ));
    text
}
