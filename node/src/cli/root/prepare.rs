//! `patchmesh root prepare`: writes a change of holders down, to be signed.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use patchmesh_proto::admin;
use patchmesh_topology::name::UserName;
use serde::Serialize;

use super::CeremonyFile;
use crate::cli::exit::Exit;
use crate::cli::output::Answer;
use crate::cli::{Context, grpc};
use crate::tuf::key::Key;

/// Write a change of holders down, to be signed by the root key
///
/// The primary writes the next root metadata; nothing changes before it is
/// signed with `root sign` and handed in with `root publish`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh root prepare --out new.json --role production --user alice --user bob --threshold 2
  patchmesh root prepare --out new.json --rotate snapshot --rotate timestamp
  patchmesh root prepare --out new.json --root-key a.pub --root-key b.pub --root-threshold 2
  patchmesh root prepare --out new.json --renew

JSON:
  {\"file\", \"summary\": [TEXT]}")]
pub(crate) struct Prepare {
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The role whose holders change
    #[arg(long)]
    role: Option<String>,
    /// A public key that is to hold the role, once for each
    #[arg(long = "key", value_name = "FILE", requires = "role")]
    keys: Vec<PathBuf>,
    /// A person whose key is to hold the role, once for each
    #[arg(long = "user", value_name = "NAME", requires = "role")]
    users: Vec<UserName>,
    /// How many of them must sign [default: as it is]
    #[arg(long, value_name = "NUMBER", requires = "role")]
    threshold: Option<u32>,
    /// A public key that is to hold root itself, once for each
    #[arg(long = "root-key", value_name = "FILE")]
    root_keys: Vec<PathBuf>,
    /// How many of the root keys must sign [default: as it is]
    #[arg(long, value_name = "NUMBER", requires = "root_keys")]
    root_threshold: Option<u32>,
    /// A role that gets a new key on the primary, once for each
    #[arg(long = "rotate", value_name = "ROLE")]
    rotate: Vec<String>,
    /// A key, by the beginning of its id, that is to hold nothing any more
    #[arg(long = "remove-key", value_name = "ID")]
    remove: Vec<String>,
    /// Only write root and targets anew, before they expire
    #[arg(long)]
    renew: bool,
    /// Why
    #[arg(long, default_value = "", hide_default_value = true)]
    comment: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Prepared {
    file: String,
    summary: Vec<String>,
}

impl Answer for Prepared {
    fn text(&self) -> String {
        let lines: String = self.summary.iter().map(|line| format!("  {line}\n")).collect();
        format!(
            "{lines}Written to {file}. Next:\n  patchmesh root sign {file} --key root.pem\n  patchmesh root publish {file}\n",
            file = self.file
        )
    }
}

impl Prepare {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut changes = Vec::new();
        if let Some(role) = self.role {
            changes.push(admin::HoldersChange {
                role,
                public_keys: public_keys(&self.keys)?,
                users: self.users.iter().map(ToString::to_string).collect(),
                threshold: number(self.threshold)?,
            });
        }
        if !self.root_keys.is_empty() {
            changes.push(admin::HoldersChange {
                role: "root".to_owned(),
                public_keys: public_keys(&self.root_keys)?,
                users: Vec::new(),
                threshold: number(self.root_threshold)?,
            });
        }
        let request = admin::PrepareRolesRequest {
            changes,
            rotate: self.rotate,
            remove_keys: self.remove,
            renew: self.renew,
            publish: false,
            comment: self.comment,
        };
        write(context, request, &self.out).await
    }
}

/// Has a change prepared and writes it to a file.
pub(crate) async fn write(
    context: &Context,
    request: admin::PrepareRolesRequest,
    out: &Path,
) -> anyhow::Result<()> {
    let comment = request.comment.clone();
    let mut roles = context.roles()?;
    let response = roles.prepare_roles(request).await.map_err(grpc::failure)?.into_inner();
    let summary = response.summary.clone();
    CeremonyFile::of(response, comment)?.write(out)?;
    context.output.print(&Prepared { file: out.display().to_string(), summary })
}

/// A threshold for the wire, where 0 stands for "as it is".
pub(crate) fn number(threshold: Option<u32>) -> anyhow::Result<u32> {
    match threshold {
        Some(0) => {
            Err(Exit::Usage.error("a threshold of 0 would let anybody sign; the smallest is 1"))
        }
        other => Ok(other.unwrap_or(0)),
    }
}

fn public_keys(files: &[PathBuf]) -> anyhow::Result<Vec<prost::bytes::Bytes>> {
    files.iter().map(|file| public_key(file)).collect()
}

fn public_key(file: &Path) -> anyhow::Result<prost::bytes::Bytes> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let key = Key::from_text(&text).map_err(|_| {
        Exit::BadData.error(format!(
            "{} is not a public key; one reads `ed25519 HEX`, as in `signing.pub`",
            file.display()
        ))
    })?;
    Ok(key.ed25519_bytes().unwrap_or_default().to_vec().into())
}
