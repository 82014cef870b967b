//! `patchmesh client-config`: what a machine needs to get its updates.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use patchmesh_proto::admin;
use patchmesh_topology::name::{GroupName, NodeName};

use super::exit::Exit;
use super::{Context, answer, grpc};

mod apt;

use apt::{Apt, Places};

/// What a machine needs to get its updates from a node
///
/// Prints lines to paste on the machine: the mesh's CA, the stage's
/// repository key, and the settings that make apt use them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh client-config --group workstations
  patchmesh client-config --group workstations --from lyon > setup.sh
  patchmesh client-config --group lab --directory /srv/lab-client

JSON:
  {\"url\", \"stage\", \"group\", \"suites\": [TEXT], \"components\": [TEXT],
   \"architectures\": [TEXT], \"ca_certificate\", \"repository_key\", \"sources\", \"settings\",
   \"files\": {\"ca\", \"keyring\", \"sources\", \"settings\"}}
  \"url\" is the view's; \"sources\" and \"settings\" are texts; \"files\" says where each belongs")]
pub(crate) struct ClientConfig {
    /// The machine's group
    #[arg(long)]
    group: GroupName,
    /// The node that the machine shall use [default: the node asked]
    #[arg(long, value_name = "NODE")]
    from: Option<NodeName>,
    /// Write the files here, pointing at each other, instead of printing them
    #[arg(long, value_name = "FOLDER")]
    directory: Option<PathBuf>,
}

impl ClientConfig {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let request = admin::GetClientConfigRequest {
            group: self.group.to_string(),
            node: self.from.map(|node| node.to_string()).unwrap_or_default(),
        };
        let mut admin = context.admin()?;
        let response = admin.get_client_config(request).await.map_err(grpc::failure)?.into_inner();
        if response.suites.is_empty() {
            context.output.remark(
                "The view has no suites yet; approve something for this group, then ask again.",
            );
        }
        let folder = self.directory.map(std::path::absolute).transpose()?;
        let places = folder.as_deref().map_or_else(Places::on_the_machine, Places::within);
        let apt = Apt::new(response, places).map_err(|why| Exit::BadData.error(why))?;
        if let Some(folder) = &folder {
            write_files(folder, &apt)?;
        }
        context.output.print(&apt)
    }
}

fn write_files(folder: &Path, apt: &Apt) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make folder {}", folder.display()))?;
    for (path, text) in apt.files() {
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The word for the stage of an answer.
fn stage_of(response: &admin::GetClientConfigResponse) -> &'static str {
    answer::stage(response.stage())
}
