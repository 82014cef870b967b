//! `patchmesh backup restore`: a data folder out of a backup.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::backup::{self, Target};
use crate::cli::Context;
use crate::cli::output::{Answer, fields};
use crate::cli::progress::Progress;
use crate::transport::address::NodeUrl;

/// Make a data folder out of a backup, on this host
///
/// Reads the whole backup first and refuses a damaged one before the data
/// folder (`--data`, new or empty) is touched. The first `serve` asks the
/// other nodes what was decided since the backup and goes on from there; it
/// refuses to start while the old primary answers.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh backup restore /srv/backups/patchmesh --data /var/lib/patchmesh
  patchmesh backup restore /srv/backups/patchmesh --id 12 --data /var/lib/patchmesh --url https://hq2.example:8443

JSON:
  {\"data\", \"id\", \"made_at\", \"mesh\", \"node\", \"generation\", \"url\", \"content\"}")]
pub(crate) struct Restore {
    /// Where backups are kept
    folder: PathBuf,
    /// Which backup [default: the newest]
    #[arg(long, value_name = "N")]
    id: Option<u64>,
    /// Where other nodes and machines reach the primary from now on [default: as before]
    #[arg(long, value_name = "URL")]
    url: Option<NodeUrl>,
    /// Address and port to listen on, kept in a drop-in [default: as before]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

#[derive(Debug, Serialize)]
struct Done {
    data: String,
    id: u64,
    made_at: String,
    mesh: String,
    node: String,
    generation: u64,
    url: String,
    content: bool,
}

impl Answer for Done {
    fn text(&self) -> String {
        let facts = fields([
            ("data", Some(self.data.clone())),
            ("backup", Some(format!("{} of {}", self.id, self.made_at))),
            ("mesh", Some(self.mesh.clone())),
            ("node", Some(format!("{} at {}", self.node, self.url))),
            ("generation", Some(self.generation.to_string())),
            ("content", Some(if self.content { "with payloads" } else { "without" }.to_owned())),
        ]);
        format!("{facts}\nNext: patchmesh serve --data {}\n", self.data)
    }
}

impl Restore {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let target = Target {
            data: context.data().to_owned(),
            url: self.url.as_ref().map(ToString::to_string),
            listen: self.listen,
        };
        let bar = context.progress.bytes("restoring");
        let shown = bar.clone();
        let (folder, id, to) = (self.folder, self.id, target.clone());
        let work = move || {
            backup::restore(&folder, id, &to, &mut |step| {
                Progress::set(&shown, step.bytes_done, step.bytes_total);
                true
            })
        };
        let restored = tokio::task::spawn_blocking(work).await?;
        bar.finish_and_clear();
        let manifest = restored?.manifest;
        context.output.print(&Done {
            data: target.data.display().to_string(),
            id: manifest.id,
            made_at: manifest.made_at.to_string(),
            mesh: manifest.mesh_name,
            node: manifest.node,
            generation: manifest.generation,
            url: target.url.unwrap_or(manifest.url),
            content: manifest.content,
        })
    }
}
