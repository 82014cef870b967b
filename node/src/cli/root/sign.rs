//! `patchmesh root sign`: adds a signature to a ceremony's file.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::CeremonyFile;
use crate::cli::Context;
use crate::cli::exit::Exit;
use crate::cli::output::Answer;
use crate::cli::select::confirm_on_terminal;
use crate::tuf::paper::Refused;
use crate::tuf::signing::SigningKey;

/// Sign a change of holders with a key that is here
///
/// Needs no network and no data folder: carry the file to the host where the
/// key is kept, sign, and carry it back.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh root sign new.json --key root.pem

JSON:
  {\"file\", \"key_id\", \"signed\": [ROLE], \"summary\": [TEXT]}")]
pub(crate) struct Sign {
    /// The file from `root prepare`
    file: PathBuf,
    /// The private key to sign with
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

#[derive(Debug, Serialize)]
struct Signed {
    file: String,
    key_id: String,
    signed: Vec<String>,
    summary: Vec<String>,
}

impl Answer for Signed {
    fn text(&self) -> String {
        format!(
            "Signed {} with key {} in {}\n",
            self.signed.join(", "),
            self.key_id.get(..12).unwrap_or(&self.key_id),
            self.file
        )
    }
}

impl Sign {
    pub(crate) fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut file = CeremonyFile::read(&self.file)?;
        let key = SigningKey::read(&self.key)?;
        let summary = file.in_words()?;
        for line in &summary {
            context.output.remark(line);
        }
        let mut mine = Vec::new();
        for paper in &file.papers {
            if file.may_sign(paper.role(), key.id())? {
                mine.push(paper.role().clone());
            }
        }
        if mine.is_empty() {
            return Err(Exit::BadData.error(format!(
                "key {} holds none of the roles that are to be signed",
                key.id().short()
            )));
        }
        if !self.yes {
            confirm_on_terminal("Sign this?")?;
        }
        let mut signed = Vec::new();
        for paper in file.papers.iter_mut().filter(|paper| mine.contains(paper.role())) {
            match paper.sign(&key) {
                Ok(_) => signed.push(paper.role().to_string()),
                Err(Refused::Twice { .. }) => {}
                Err(other) => return Err(other.into()),
            }
        }
        if signed.is_empty() {
            return Err(Exit::Exists.error(format!(
                "key {} has signed this already; the same signer counts once",
                key.id().short()
            )));
        }
        file.write(&self.file)?;
        context.output.print(&Signed {
            file: self.file.display().to_string(),
            key_id: key.id().to_string(),
            signed,
            summary,
        })
    }
}
