//! `patchmesh standby`: nodes that stand by to take the primary's place.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use patchmesh_proto::admin;
use patchmesh_topology::name::NodeName;
use serde::Serialize;

use super::output::{Answer, fields};
use super::{Context, connect, grpc};
use crate::daemon::promote::{self, PromoteOptions};
use crate::transport::address::NodeUrl;

#[derive(Debug, Subcommand)]
pub(crate) enum Standby {
    Add(Add),
    Remove(Remove),
    ExportKeys(ExportKeys),
    Promote(Promote),
}

/// Let a node stand by for the primary
///
/// It keeps every stage, every revision and the primary's own records, so that
/// nothing is lost with the primary. It is a branch directly below it.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh standby add hq2

JSON:
  {\"generation\", \"standbys\": [NODE]}")]
pub(crate) struct Add {
    /// The node
    name: NodeName,
}

/// Let a node stand by no longer
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh standby remove hq2

JSON:
  {\"generation\", \"standbys\": [NODE]}")]
pub(crate) struct Remove {
    /// The node
    name: NodeName,
}

/// Copy the keys that cannot be made anew out of the primary's data folder
///
/// The mesh's CA, the keys of the root that are on this host, and the keys that
/// stock clients trust. Keep them where neither the primary nor its thief is.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh standby export-keys --to /media/safe/patchmesh --data /var/lib/patchmesh

JSON:
  {\"folder\", \"files\": [NAME], \"has_root\"}")]
pub(crate) struct ExportKeys {
    /// A folder of its own; files that are there are never overwritten
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
}

/// Make this host's node the primary, in the place of one that is lost
///
/// The node must not run. Makes new keys for the roles whose keys are lost with
/// the old primary, and a root that says so. The next `serve` asks the other
/// nodes what they hold, takes over the newest, and tells them. The old primary
/// is shut out.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh standby promote --keys /media/safe/patchmesh --data /var/lib/patchmesh
  patchmesh standby promote --keys /media/safe/patchmesh --root-key /media/other/root.pem

JSON:
  {\"node\", \"instead_of\", \"roles\": [ROLE], \"has_records\"}")]
pub(crate) struct Promote {
    /// The folder that `export-keys` wrote
    #[arg(long, value_name = "FOLDER")]
    keys: PathBuf,
    /// A key of the root that is kept elsewhere, once for each
    #[arg(long, value_name = "FILE")]
    root_key: Vec<PathBuf>,
    /// Where other nodes and machines reach this node from now on [default: as before]
    #[arg(long, value_name = "URL")]
    url: Option<NodeUrl>,
}

#[derive(Debug, Serialize)]
struct Changed {
    generation: u64,
    standbys: Vec<String>,
}

impl Answer for Changed {
    fn text(&self) -> String {
        let standbys = match self.standbys.is_empty() {
            true => "nobody".to_owned(),
            false => self.standbys.join(", "),
        };
        fields([("standing by", Some(standbys)), ("generation", Some(self.generation.to_string()))])
    }
}

#[derive(Debug, Serialize)]
struct Exported {
    folder: String,
    files: Vec<String>,
    has_root: bool,
}

impl Answer for Exported {
    fn text(&self) -> String {
        let root = if self.has_root { "yes" } else { "no: it is kept elsewhere" };
        fields([
            ("folder", Some(self.folder.clone())),
            ("files", Some(self.files.join(" "))),
            ("root", Some(root.to_owned())),
        ])
    }
}

#[derive(Debug, Serialize)]
struct Promoted {
    node: String,
    instead_of: String,
    roles: Vec<String>,
    has_records: bool,
    #[serde(skip)]
    data: String,
}

impl Answer for Promoted {
    fn text(&self) -> String {
        let records = if self.has_records { "kept here" } else { "lost: it did not stand by" };
        let facts = fields([
            ("node", Some(self.node.clone())),
            ("instead of", Some(self.instead_of.clone())),
            ("new keys", Some(self.roles.join(" "))),
            ("sources", Some(records.to_owned())),
        ]);
        format!("{facts}\nNext: patchmesh serve --data {}\n", self.data)
    }
}

impl Standby {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Standby::Add(command) => set(context, &command.name, true).await,
            Standby::Remove(command) => set(context, &command.name, false).await,
            Standby::ExportKeys(command) => command.run(context).await,
            Standby::Promote(command) => command.run(context).await,
        }
    }
}

/// Asks the primary to let a node stand by, or no longer.
pub(crate) async fn set(context: &Context, node: &NodeName, standby: bool) -> anyhow::Result<()> {
    let mut client = connect::standbys(&connect::Target::choose(&context.global)?)?;
    let request = admin::SetStandbyRequest { node: node.to_string(), standby };
    let answer = client.set_standby(request).await.map_err(grpc::failure)?.into_inner();
    context.output.print(&Changed { generation: answer.generation, standbys: answer.standbys })
}

impl ExportKeys {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let (data, to) = (context.data().to_owned(), self.to.clone());
        let report = tokio::task::spawn_blocking(move || promote::export(&data, &to)).await??;
        let name = |path: PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
        context.output.print(&Exported {
            folder: self.to.display().to_string(),
            files: report.files.into_iter().filter_map(name).collect(),
            has_root: report.has_root,
        })
    }
}

impl Promote {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let options = PromoteOptions {
            data: context.data().to_owned(),
            keys: self.keys,
            root_keys: self.root_key,
            url: self.url.map(|url| url.to_string()),
        };
        let data = options.data.display().to_string();
        let report = tokio::task::spawn_blocking(move || promote::promote(&options)).await??;
        context.output.print(&Promoted {
            node: report.node.to_string(),
            instead_of: report.old,
            roles: report.roles,
            has_records: report.has_records,
            data,
        })
    }
}
