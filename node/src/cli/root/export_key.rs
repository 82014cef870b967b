//! `patchmesh root export-key`: takes the root key off the primary.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use patchmesh_proto::admin;
use serde::Serialize;

use crate::cli::exit::Exit;
use crate::cli::output::Answer;
use crate::cli::{Context, connect};
use crate::daemon::Layout;
use crate::durable;
use crate::tuf::RoleName;
use crate::tuf::repository::files_of;
use crate::tuf::signing::SigningKey;

/// Take the root key off the primary
///
/// Run it on the primary's own host. The key is written to the folder, which
/// should be on something that can be locked away, and removed here. From
/// then on changes of holders are signed there, with `root sign`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh root export-key --to /media/safe

JSON:
  {\"files\": [FILE], \"single_operator\"}")]
pub(crate) struct ExportKey {
    /// The folder to write it to
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
}

#[derive(Debug, Serialize)]
struct Exported {
    files: Vec<String>,
    single_operator: Option<bool>,
}

impl Answer for Exported {
    fn text(&self) -> String {
        let files = self.files.join(", ");
        let mut text = format!("The root key is in {files} and no longer here.\n");
        if self.single_operator.is_none() {
            text += "The node does not run; it will start without the key.\n";
        }
        text
    }
}

impl ExportKey {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        if context.global.node.is_some() {
            return Err(Exit::Usage.error("run this on the primary's own host, without --node"));
        }
        let (folder, to) = (Layout::new(context.data()).role_keys(), self.to);
        let files = tokio::task::spawn_blocking(move || take(&folder, &to)).await??;
        let data = context.data().to_owned();
        let mut roles = connect::roles(&connect::Target::Local { data })?;
        let reloaded = roles.reload_keys(admin::ReloadKeysRequest {}).await;
        if let Err(status) = &reloaded {
            context.output.remark(&format!("The node was not told: {}", status.message()));
        }
        let single_operator = reloaded.ok().map(|answer| answer.into_inner().single_operator);
        context.output.print(&Exported { files, single_operator })
    }
}

/// Copies the key, makes sure of the copy, and only then removes it here.
fn take(folder: &Path, to: &Path) -> anyhow::Result<Vec<String>> {
    let found = files_of(&RoleName::ROOT, folder)?;
    if found.is_empty() {
        return Err(Exit::NotFound.error(format!("there is no root key in {}", folder.display())));
    }
    durable::make_folder(to)?;
    let mut written = Vec::new();
    for path in found {
        let key = SigningKey::read(&path)?;
        let copy = to.join(path.file_name().unwrap_or_default());
        key.write_new(&copy)?;
        if SigningKey::read(&copy)?.id() != key.id() {
            return Err(Exit::Failed.error(format!("{} reads back differently", copy.display())));
        }
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        written.push(copy.display().to_string());
    }
    durable::sync_folder(folder)?;
    Ok(written)
}
