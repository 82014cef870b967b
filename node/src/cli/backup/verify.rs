//! `patchmesh backup verify`: every file of a backup read again.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::backup;
use crate::cli::exit::Exit;
use crate::cli::output::{Answer, table};
use crate::cli::progress::Progress;
use crate::cli::{Context, answer};

/// Read every file of the backups again; exits 65 and names what is damaged
///
/// Works without a node.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh backup verify /srv/backups/patchmesh
  patchmesh backup verify /srv/backups/patchmesh --id 12

JSON:
  {\"backups\": [ID], \"files\", \"bytes\", \"faults\": [{\"file\", \"problem\", \"holds\", \"backups\": [ID]}]}")]
pub(crate) struct Verify {
    /// Where backups are kept
    folder: PathBuf,
    /// One backup [default: all]
    #[arg(long, value_name = "N")]
    id: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Verified {
    backups: Vec<u64>,
    files: u64,
    bytes: u64,
    faults: Vec<Fault>,
}

#[derive(Debug, Serialize)]
struct Fault {
    file: String,
    problem: String,
    holds: String,
    backups: Vec<u64>,
}

impl Answer for Verified {
    fn text(&self) -> String {
        let summary = format!(
            "{} of {}, {} read: {}\n",
            answer::counted(self.files, "file"),
            answer::counted(self.backups.len() as u64, "backup"),
            answer::size(self.bytes),
            match self.faults.len() as u64 {
                0 => "all good".to_owned(),
                faults => answer::counted(faults, "fault"),
            }
        );
        if self.faults.is_empty() {
            return summary;
        }
        let rows = self.faults.iter().map(|fault| {
            let backups: Vec<_> = fault.backups.iter().map(ToString::to_string).collect();
            let holds = answer::or_dash(Some(&fault.holds));
            [fault.file.clone(), fault.problem.clone(), holds, backups.join(", ")]
        });
        format!("{summary}\n{}", table(["file", "problem", "holds", "backups"], rows))
    }
}

impl Verify {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let bar = context.progress.bytes("reading");
        let shown = bar.clone();
        let work = move || {
            backup::verify(&self.folder, self.id, &mut |step| {
                Progress::set(&shown, step.bytes_done, step.bytes_total);
                true
            })
        };
        let report = tokio::task::spawn_blocking(work).await?;
        bar.finish_and_clear();
        let report = report?;
        let faults = report.faults.into_iter().map(|fault| Fault {
            file: fault.path.display().to_string(),
            problem: fault.problem,
            holds: fault.holds,
            backups: fault.backups,
        });
        let verified = Verified {
            backups: report.backups,
            files: report.files,
            bytes: report.bytes,
            faults: faults.collect(),
        };
        context.output.print(&verified)?;
        match verified.faults.first() {
            None => Ok(()),
            Some(first) => Err(Exit::BadData.error(format!(
                "{} found; the first: {}: {}",
                answer::counted(verified.faults.len() as u64, "damaged file"),
                first.file,
                first.problem
            ))),
        }
    }
}
