//! `patchmesh baseline`: what machines have, or can get elsewhere.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use patchmesh_proto::{admin, wire};
use patchmesh_topology::name::{BaselineName, SourceName};
use serde::Serialize;

use super::output::{Answer, table};
use super::select::confirm_on_terminal;
use super::{Context, answer, grpc};

mod show;

#[derive(Debug, Subcommand)]
pub(crate) enum Baseline {
    List(List),
    Import(Import),
    Snapshot(Snapshot),
    Update(Update),
    Show(show::Show),
    Diff(show::Diff),
    Remove(Remove),
}

/// List the baselines and their snapshots
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh baseline list

JSON:
  {\"baselines\": [{\"name\", \"source\" or null, \"suite\" or null, \"snapshots\": [{\"version\",
   \"taken_at\", \"by\", \"packages\"}]}]}")]
pub(crate) struct List {}

/// Take the packages installed on a machine as a snapshot
///
/// The machine should be what the group's machines have in common: views are
/// closed over it.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh baseline import bookworm-desktop --status /var/lib/dpkg/status

JSON:
  {\"baseline\", \"generation\", \"version\", \"packages\", \"unchanged\", \"added\", \"removed\",
   \"changed\", \"skipped\"}")]
pub(crate) struct Import {
    /// Its name
    name: BaselineName,
    /// The machine's dpkg status file
    #[arg(long, value_name = "FILE")]
    status: PathBuf,
}

/// Take what a vendor has now as a snapshot
///
/// What the vendor had at the last synchronisation of the source. Such a
/// baseline can be approved as a whole: `patchmesh approve --baseline NAME`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh baseline snapshot bookworm --source debian

JSON:
  {\"baseline\", \"generation\", \"version\", \"packages\", \"unchanged\", \"added\", \"removed\",
   \"changed\", \"skipped\"}")]
pub(crate) struct Snapshot {
    /// Its name
    name: BaselineName,
    /// The source
    #[arg(long)]
    source: SourceName,
    /// Its suite, where it has several
    #[arg(long, default_value = "", hide_default_value = true)]
    suite: String,
}

/// Take another snapshot of a vendor's release and show what differs
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh baseline update bookworm

JSON:
  {\"baseline\", \"generation\", \"version\", \"packages\", \"unchanged\", \"added\", \"removed\",
   \"changed\", \"skipped\"}")]
pub(crate) struct Update {
    /// Its name
    name: BaselineName,
}

/// Remove a baseline that no group has
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh baseline remove bookworm

JSON:
  {\"baseline\", \"generation\"}")]
pub(crate) struct Remove {
    /// Its name
    name: BaselineName,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

#[derive(Debug, Serialize)]
struct Baselines {
    baselines: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    source: Option<String>,
    suite: Option<String>,
    snapshots: Vec<SnapshotRow>,
}

#[derive(Debug, Serialize)]
struct SnapshotRow {
    version: u64,
    taken_at: Option<String>,
    by: String,
    packages: u64,
}

impl From<wire::Baseline> for Row {
    fn from(one: wire::Baseline) -> Self {
        let snapshots = one.snapshots.into_iter().map(|snapshot| SnapshotRow {
            version: snapshot.version,
            taken_at: answer::time(snapshot.taken_at.as_ref()),
            by: snapshot.by,
            packages: snapshot.packages,
        });
        Self {
            name: one.name,
            source: answer::some(one.source),
            suite: answer::some(one.suite),
            snapshots: snapshots.collect(),
        }
    }
}

impl Answer for Baselines {
    fn text(&self) -> String {
        let rows = self.baselines.iter().flat_map(|row| {
            let origin = match (&row.source, &row.suite) {
                (Some(source), Some(suite)) => format!("{source}:{suite}"),
                _ => "installed".to_owned(),
            };
            row.snapshots.iter().rev().map(move |snapshot| {
                [
                    format!("{}@{}", row.name, snapshot.version),
                    origin.clone(),
                    snapshot.packages.to_string(),
                    answer::or_dash(snapshot.taken_at.as_deref()),
                    snapshot.by.clone(),
                ]
            })
        });
        table(["baseline", "origin", "packages", "taken", "by"], rows)
    }
}

#[derive(Debug, Serialize)]
struct Taken {
    baseline: String,
    generation: u64,
    version: u64,
    packages: u64,
    unchanged: bool,
    added: u64,
    removed: u64,
    changed: u64,
    skipped: u64,
}

impl Taken {
    fn new(name: &BaselineName, response: admin::TakeBaselineResponse) -> Self {
        Self {
            baseline: name.to_string(),
            generation: response.generation,
            version: response.version,
            packages: response.packages,
            unchanged: response.unchanged,
            added: response.added,
            removed: response.removed,
            changed: response.changed,
            skipped: response.skipped,
        }
    }
}

impl Answer for Taken {
    fn text(&self) -> String {
        let name = format!("{}@{}", self.baseline, self.version);
        let packages = answer::counted(self.packages, "package");
        if self.unchanged {
            return format!("{name}: {packages}, as in the last snapshot; none was taken\n");
        }
        let skipped = match self.skipped {
            0 => String::new(),
            skipped => format!("; {skipped} not installed, left out"),
        };
        let differs = match self.version {
            1 => String::new(),
            _ => format!(
                "; {} added, {} removed, {} changed: see `patchmesh baseline diff {}`",
                self.added, self.removed, self.changed, self.baseline
            ),
        };
        format!("{name}: {packages}{differs}{skipped}; generation {}\n", self.generation)
    }
}

#[derive(Debug, Serialize)]
struct Removed {
    baseline: String,
    generation: u64,
}

impl Answer for Removed {
    fn text(&self) -> String {
        format!("baseline {} is removed; generation {}\n", self.baseline, self.generation)
    }
}

impl Baseline {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Baseline::List(List {}) => list(context).await,
            Baseline::Import(command) => command.run(context).await,
            Baseline::Snapshot(command) => {
                let source = command.source.to_string();
                take(context, &command.name, source, command.suite).await
            }
            Baseline::Update(command) => {
                take(context, &command.name, String::new(), String::new()).await?;
                Ok(())
            }
            Baseline::Show(command) => command.run(context).await,
            Baseline::Diff(command) => command.run(context).await,
            Baseline::Remove(command) => command.run(context).await,
        }
    }
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let request = admin::ListBaselinesRequest {};
    let response = context.policies()?.list_baselines(request).await.map_err(grpc::failure)?;
    let baselines = response.into_inner().baselines.into_iter().map(Row::from).collect();
    context.output.print(&Baselines { baselines })
}

async fn take(
    context: &Context,
    name: &BaselineName,
    source: String,
    suite: String,
) -> anyhow::Result<()> {
    let request = admin::SnapshotBaselineRequest { name: name.to_string(), source, suite };
    let response = context.policies()?.snapshot_baseline(request).await.map_err(grpc::failure)?;
    context.output.print(&Taken::new(name, response.into_inner()))
}

impl Import {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let status = std::fs::read(&self.status)
            .with_context(|| format!("cannot read {}", self.status.display()))?;
        let request =
            admin::ImportBaselineRequest { name: self.name.to_string(), status: status.into() };
        let response = context.policies()?.import_baseline(request).await.map_err(grpc::failure)?;
        context.output.print(&Taken::new(&self.name, response.into_inner()))
    }
}

impl Remove {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        if !self.yes {
            confirm_on_terminal(&format!("Remove baseline {}?", self.name))?;
        }
        let request = admin::RemoveBaselineRequest { name: self.name.to_string() };
        let response = context.policies()?.remove_baseline(request).await.map_err(grpc::failure)?;
        let generation = response.into_inner().generation;
        context.output.print(&Removed { baseline: self.name.to_string(), generation })
    }
}
