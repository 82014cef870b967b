//! `patchmesh advisory write`: a file to fill in.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use patchmesh_proto::admin;
use patchmesh_topology::name::AdvisoryName;
use patchmesh_topology::revision::RevisionId;
use serde::Serialize;

use super::file::{Start, template};
use crate::cli::assess::answer::Assessed;
use crate::cli::output::Answer;
use crate::cli::{Context, grpc};

/// The most vulnerabilities that a file begins with.
const MAX_CVES: usize = 100;

/// Write a file to fill in
///
/// With --for it begins with what is known of a revision. A file that is there
/// already is left alone.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh advisory write openssl.toml --id 2026-014-openssl
  patchmesh advisory write openssl.toml --for debian:bookworm-security/openssl@3.0.15-1~deb12u1

JSON:
  {\"file\", \"id\"}")]
pub(crate) struct Write {
    /// The file
    file: PathBuf,
    /// What to call the advisory
    #[arg(long)]
    id: Option<AdvisoryName>,
    /// Begin with what is known of this revision
    #[arg(long = "for", value_name = "REVISION")]
    revision: Option<RevisionId>,
}

#[derive(Debug, Serialize)]
struct Written {
    file: String,
    id: String,
}

impl Answer for Written {
    fn text(&self) -> String {
        format!(
            "Written: {}\n\nNext: fill it in, then patchmesh advisory check {}\n",
            self.file, self.file
        )
    }
}

impl Write {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut start = Start::default();
        if let Some(revision) = &self.revision {
            start = known(revision, context).await?;
        }
        if let Some(id) = self.id {
            start.id = id.to_string();
        }
        let problem = || format!("cannot write {}", self.file.display());
        let mut options = std::fs::OpenOptions::new();
        let mut file =
            options.write(true).create_new(true).open(&self.file).with_context(problem)?;
        file.write_all(template(&start).as_bytes()).with_context(problem)?;
        context.output.print(&Written { file: self.file.display().to_string(), id: start.id })
    }
}

async fn known(revision: &RevisionId, context: &Context) -> anyhow::Result<Start> {
    let request = admin::GetAssessmentRequest { subject: revision.to_string() };
    let response = context.assessments()?.get_assessment(request).await.map_err(grpc::failure)?;
    let row = response.into_inner().assessments.into_iter().next().unwrap_or_default();
    let assessed = Assessed::from(row);
    let known = assessed.vulnerabilities.iter().filter_map(|one| {
        let exploited = one.exploited.as_ref()?;
        let ransomware = if exploited.ransomware { ", by ransomware too" } else { "" };
        Some(format!("{} is known to be exploited since {}{ransomware}.", one.cve, exploited.added))
    });
    let name: String = revision
        .update
        .name
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
        .take(50)
        .collect();
    let mut cves: Vec<String> =
        assessed.vulnerabilities.iter().map(|one| one.cve.clone()).collect();
    // The newest, which come last.
    cves.drain(..cves.len().saturating_sub(MAX_CVES));
    Ok(Start {
        id: name,
        title: format!("{} {}", revision.update.name, revision.version),
        severity: assessed.severity,
        updates: vec![revision.to_string().split('#').next().unwrap_or_default().to_owned()],
        cves,
        exploits: known.collect::<Vec<_>>().join(" "),
    })
}
