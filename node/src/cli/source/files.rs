//! `patchmesh source add files`, `source check` and `source template`: folders
//! of vendor files with a manifest.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{ArgGroup, Args};
use jiff::Timestamp;
use patchmesh_proto::admin;
use patchmesh_topology::name::SourceName;
use serde::Serialize;

use super::add::{Policy, read_keyring};
use crate::cli::exit::Exit;
use crate::cli::output::{Answer, clean};
use crate::cli::progress::Progress as Bars;
use crate::cli::{Context, answer, grpc};
use crate::openpgp::Keyring;
use crate::source::Progress;
use crate::source::files::{check, template};

/// A folder of vendor files with a signed manifest
///
/// For Windows packages and anything else that is a file. The manifest,
/// manifest.toml, is believed only when a key of the keyring made the detached
/// signature beside it (manifest.toml.asc or manifest.toml.sig).
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("signed").required(true).args(["keyring", "unsigned"])), after_help = "\
Examples:
  patchmesh source add files windows --folder /srv/updates/windows --keyring vendor.asc
  patchmesh source add files tools --folder /srv/updates/tools --unsigned

JSON:
  {\"name\", \"type\": \"files\", \"folder\", \"unsigned\"}")]
pub(crate) struct Files {
    /// What to call it; begins the name of each of its revisions
    name: SourceName,
    /// The folder, on the primary
    #[arg(long)]
    folder: PathBuf,
    /// File with the OpenPGP certificates that the manifest is signed with
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
    /// Nobody signs the manifest; every revision will say so
    #[arg(long)]
    unsigned: bool,
    /// When payloads are fetched
    #[arg(long, value_enum, default_value_t = Policy::OnDemand)]
    policy: Policy,
}

#[derive(Debug, Serialize)]
struct Added {
    name: String,
    r#type: &'static str,
    folder: String,
    unsigned: bool,
}

impl Answer for Added {
    fn text(&self) -> String {
        let word = if self.unsigned { " (unsigned)" } else { "" };
        format!(
            "Source {} added: {}{word}\n\nNext: patchmesh source sync {}\n",
            self.name, self.folder, self.name
        )
    }
}

impl Files {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let folder = std::path::absolute(&self.folder)
            .with_context(|| format!("cannot use folder {}", self.folder.display()))?;
        let Some(folder) = folder.to_str().map(str::to_owned) else {
            return Err(Exit::Usage.error(format!("{} is not UTF-8", folder.display())));
        };
        let keyring = self.keyring.as_deref().map(read_keyring).transpose()?.unwrap_or_default();
        let files = admin::FilesSource {
            folder: folder.clone(),
            keyring: keyring.into(),
            unsigned: self.unsigned,
        };
        let source = admin::Source {
            name: self.name.to_string(),
            policy: self.policy.to_wire().into(),
            apt: None,
            files: Some(files),
        };
        let request = admin::AddSourceRequest { source: Some(source) };
        context.admin()?.add_source(request).await.map_err(grpc::failure)?;
        let (name, unsigned) = (self.name.to_string(), self.unsigned);
        context.output.print(&Added { name, r#type: "files", folder, unsigned })
    }
}

/// Explain every fault of a folder of files, with line and remedy
///
/// Needs no node. Reads the manifest as a synchronisation would, and compares
/// every file with the length and SHA-256 that it states.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh source check /srv/updates/windows
  patchmesh source check /srv/updates/windows --keyring vendor.asc --output json

JSON:
  {\"ok\", \"vendor\", \"revisions\", \"payloads\", \"bytes\", \"signature\": \"good\", \"bad\" or \"not-checked\",
   \"faults\": [{\"line\": NUMBER or null, \"what\", \"remedy\"}]}")]
pub(crate) struct Check {
    /// The folder with manifest.toml
    folder: PathBuf,
    /// Also check the signature, against these OpenPGP certificates
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
    /// The name that the source has or will have, for references to it
    #[arg(long, default_value = "source")]
    name: SourceName,
}

#[derive(Debug, Serialize)]
struct Checked {
    ok: bool,
    vendor: Option<String>,
    revisions: usize,
    payloads: usize,
    bytes: u64,
    signature: &'static str,
    faults: Vec<Fault>,
}

#[derive(Debug, Serialize)]
struct Fault {
    line: Option<usize>,
    what: String,
    remedy: String,
    #[serde(skip)]
    text: String,
}

impl Answer for Checked {
    fn text(&self) -> String {
        if !self.ok {
            return self.faults.iter().map(|fault| format!("{}\n", clean(&fault.text))).collect();
        }
        let signature = match self.signature {
            "good" => "the signature is good",
            _ => "the signature was not checked (--keyring)",
        };
        format!(
            "{}, {}, {}: no fault; {signature}\n",
            answer::counted(self.revisions as u64, "revision"),
            answer::counted(self.payloads as u64, "file"),
            answer::size(self.bytes),
        )
    }
}

impl Check {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let keyring = match &self.keyring {
            None => None,
            Some(path) => Some(keyring(path)?),
        };
        let bar = context.progress.bytes("checking");
        let progress = told(&bar);
        let work = move || {
            check::folder(&self.folder, &self.name, keyring.as_ref(), Timestamp::now(), &progress)
        };
        let checked = tokio::task::spawn_blocking(work).await?.map_err(unreadable)?;
        bar.finish_and_clear();
        let signature = match checked.is_signed {
            None => "not-checked",
            Some(true) => "good",
            Some(false) => "bad",
        };
        let faults: Vec<Fault> = checked
            .faults
            .iter()
            .map(|fault| Fault {
                line: Some(fault.line).filter(|line| *line != 0 && *line != usize::MAX),
                what: fault.what.clone(),
                remedy: fault.remedy.clone(),
                text: fault.to_string(),
            })
            .collect();
        let count = faults.len() as u64;
        context.output.print(&Checked {
            ok: faults.is_empty(),
            vendor: answer::some(checked.vendor),
            revisions: checked.revisions,
            payloads: checked.payloads,
            bytes: checked.bytes,
            signature,
            faults,
        })?;
        match count {
            0 => Ok(()),
            _ => Err(Exit::BadData.error(format!(
                "{} in the manifest or its files",
                answer::counted(count, "fault")
            ))),
        }
    }
}

/// Write a manifest to start from
///
/// Names every file of the folder, or the files given, with length and
/// SHA-256. Needs no node; never replaces a manifest that is there.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh source template /srv/updates/windows
  patchmesh source template /srv/updates/windows windows11-kb5034441-x64.msu

JSON:
  {\"path\", \"files\": [PATH]}")]
pub(crate) struct Template {
    /// The folder that the source will have
    folder: PathBuf,
    /// Only these files of it
    files: Vec<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Written {
    path: PathBuf,
    files: Vec<String>,
}

impl Answer for Written {
    fn text(&self) -> String {
        format!(
            "{} written with {}\n\nNext: edit it, then patchmesh source check {}\n",
            self.path.display(),
            answer::counted(self.files.len() as u64, "file"),
            self.path.parent().unwrap_or(Path::new(".")).display()
        )
    }
}

impl Template {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let bar = context.progress.bytes("hashing");
        let progress = told(&bar);
        let work = move || template::write(&self.folder, &self.files, Timestamp::now(), &progress);
        let outcome = tokio::task::spawn_blocking(work).await?;
        bar.finish_and_clear();
        let written = outcome.map_err(|refusal| match refusal {
            template::Refusal::Exists(_) => Exit::Exists.error(refusal.to_string()),
            template::Refusal::Outside { .. }
            | template::Refusal::Name(_)
            | template::Refusal::Empty(_)
            | template::Refusal::Many(_) => Exit::BadData.error(refusal.to_string()),
            other => other.into(),
        })?;
        context.output.print(&Written { path: written.path, files: written.files })
    }
}

fn keyring(path: &Path) -> anyhow::Result<Keyring> {
    let bytes = read_keyring(path)?;
    Keyring::parse(&bytes).map_err(|error| {
        Exit::BadData.error(format!("keyring {} cannot be used: {error}", path.display()))
    })
}

fn unreadable(error: crate::source::files::Error) -> anyhow::Error {
    use crate::source::files::Error;
    match &error {
        Error::NoManifest(_) => Exit::NotFound.error(error.to_string()),
        Error::Large { .. } => Exit::BadData.error(error.to_string()),
        _ => error.into(),
    }
}

fn told(bar: &indicatif::ProgressBar) -> Progress {
    let bar = bar.clone();
    Progress::new(move |step| {
        bar.set_message(step.name.to_owned());
        Bars::set(&bar, step.bytes, step.total);
    })
}
