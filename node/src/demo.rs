//! `patchmesh demo`: a whole company on one machine.
//!
//! A vendor's signed apt repository is made on the spot and served, and a second
//! vendor's folder of plain files beside it; six nodes
//! run as processes of this same program, each with a data folder of its own,
//! four levels deep; updates are synchronised, approved, promoted and fetched
//! by real apt clients, and with curl. Everything is driven as a user would drive it, through
//! the commands and the admin service. Two things always hold: every wait has
//! an end, and no process outlives the demo, however the demo ends.

use std::path::PathBuf;
use std::time::Instant;

mod commands;
mod company;
pub(crate) mod files;
mod folder;
mod machine;
mod process;
pub(crate) mod report;
mod story;
mod tools;
mod vendor;
mod watch;
mod web;

use company::Company;
use folder::Folder;
use report::Report;

use crate::cli::progress::Progress;

/// What the user chose.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Where everything lies; a new folder under the temporary one if absent.
    pub(crate) directory: Option<PathBuf>,
    /// Leave the folder when the demo ends.
    pub(crate) keep: bool,
}

/// Why the demo did not hold.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Programs that it needs are not installed.
    #[error("the demo needs {missing}; install them with: {install}")]
    Tools {
        /// The programs.
        missing: String,
        /// The command that installs them.
        install: String,
    },
    /// The folder is not usable.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A folder that holds something else.
    #[error("{} is not empty; name a new folder", .0.display())]
    Occupied(PathBuf),
    /// A program other than a node failed.
    #[error("{program} failed: {output}")]
    Program {
        /// The program.
        program: String,
        /// What it said.
        output: String,
    },
    /// A command of ours failed.
    #[error("at node {node}, `{command}` failed: {output}")]
    Command {
        /// The node that it ran against.
        node: String,
        /// The command.
        command: String,
        /// What it said.
        output: String,
    },
    /// A node ended though nobody told it to.
    #[error("node {node} ended ({status}); its log ends with:\n{log}")]
    NodeEnded {
        /// Its name.
        node: String,
        /// Its exit status.
        status: String,
        /// The end of its log.
        log: String,
    },
    /// A node did not do its part in time.
    #[error("node {node} {what}; its log ends with:\n{log}")]
    Node {
        /// Its name.
        node: String,
        /// What it did not do.
        what: String,
        /// The end of its log.
        log: String,
    },
    /// A machine did not get what it should, or got what it should not.
    #[error("machine {machine} at node {node}: {problem}")]
    Machine {
        /// Its name.
        machine: String,
        /// The node that it uses.
        node: String,
        /// What went wrong.
        problem: String,
    },
}

/// A demo whose story has been told: the company still runs.
pub(crate) struct Told {
    /// What was seen, good or bad.
    pub(crate) report: Report,
    /// Why it did not hold, if so.
    pub(crate) problem: Option<Error>,
    company: Company,
    folder: Folder,
}

/// Sets the company up and tells its story once. An error means that there is
/// nothing to report on; everything later is in the report.
pub(crate) async fn tell(options: &Options, progress: &Progress) -> Result<Told, Error> {
    let begun = Instant::now();
    tools::check()?;
    let folder = Folder::make(options)?;
    let mut company = Company::plan(&folder)?;
    let mut machines = Vec::new();
    let mut files = files::FilesReport::default();
    let outcome = story::run(&folder, &mut company, &mut machines, &mut files, progress).await;
    let nodes = watch::nodes(&mut company, &machines).await;
    // A node that has ended is the reason for whatever else failed.
    let problem = match (outcome, company.first_ended()) {
        (_, Some(ended)) => Some(ended),
        (Err(error), None) => Some(error),
        (Ok(()), None) => watch::first_problem(&nodes, &company),
    };
    let report = Report {
        ok: problem.is_none(),
        problem: problem.as_ref().map(report::with_causes),
        nodes,
        machines,
        files,
        seconds: (begun.elapsed().as_secs_f64() * 1_000.0).round() / 1_000.0,
        folder: folder.path().to_owned(),
    };
    Ok(Told { report, problem, company, folder })
}

impl Told {
    /// Where the pieces are and what to try next.
    pub(crate) fn hints(&self) -> String {
        story::hints(&self.folder, &self.company)
    }

    /// The next node that ends by itself, with the end of its log.
    pub(crate) async fn node_ended(&mut self) -> Error {
        self.company.node_ended().await
    }

    /// Ends every node and removes the folder unless it is to be kept.
    pub(crate) async fn stop(mut self) {
        self.company.stop().await;
        self.folder.close();
    }
}
