//! `patchmesh backup create`: a backup of the running primary.

use std::path::PathBuf;

use clap::Args;
use patchmesh_proto::admin;
use serde::Serialize;

use crate::cli::exit::Exit;
use crate::cli::output::{Answer, fields};
use crate::cli::progress::Progress;
use crate::cli::{Context, answer, connect, grpc};

/// Back the running primary up into a folder on its host
///
/// Everything that is needed to be this node again: its database, its blobs,
/// its keys and its settings, as they are at one moment. What an earlier
/// backup in the folder has is not copied again. Private keys are inside:
/// guard the folder as you guard the primary, and keep a copy on another host.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh backup create /srv/backups/patchmesh
  patchmesh backup create /srv/backups/patchmesh --keep 14 --without-content

JSON:
  {\"folder\", \"id\", \"generation\", \"files\", \"bytes\", \"bytes_added\", \"pruned\"}")]
pub(crate) struct Create {
    /// Where backups are kept, outside the data folder; made where there is none
    folder: PathBuf,
    /// Remove all but so many of the newest backups afterwards
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
    /// Leave out the vendors' payloads: a restored primary fetches them again from other nodes that hold them
    #[arg(long)]
    without_content: bool,
}

#[derive(Debug, Serialize)]
struct Made {
    folder: String,
    id: u64,
    generation: u64,
    files: u64,
    bytes: u64,
    bytes_added: u64,
    pruned: u64,
}

impl Answer for Made {
    fn text(&self) -> String {
        fields([
            ("backup", Some(format!("{} in {}", self.id, self.folder))),
            ("generation", Some(self.generation.to_string())),
            ("holds", Some(format!("{} files, {}", self.files, answer::size(self.bytes)))),
            ("new", Some(answer::size(self.bytes_added))),
            ("removed", (self.pruned > 0).then(|| answer::counted(self.pruned, "older backup"))),
        ])
    }
}

impl Create {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let folder = std::path::absolute(&self.folder)?;
        let request = admin::CreateBackupRequest {
            folder: folder.display().to_string(),
            keep: self.keep.unwrap_or_default(),
            without_content: self.without_content,
        };
        let target = connect::Target::choose(&context.global)?;
        let mut client = connect::backup(&target)?;
        let bar = context.progress.bytes("backing up");
        let mut stream = client.create_backup(request).await.map_err(grpc::failure)?.into_inner();
        let mut last = None;
        while let Some(message) = stream.message().await.map_err(grpc::failure)? {
            Progress::set(&bar, message.bytes_done, message.bytes_total);
            last = Some(message);
        }
        bar.finish_and_clear();
        let Some(made) = last.filter(|message| message.finished) else {
            return Err(Exit::Unavailable.error("the node stopped before the backup was whole"));
        };
        context.output.print(&Made {
            folder: folder.display().to_string(),
            id: made.id,
            generation: made.generation,
            files: made.files_total,
            bytes: made.bytes_total,
            bytes_added: made.bytes_added,
            pruned: made.pruned,
        })
    }
}
