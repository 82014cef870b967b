//! Installing and removing packages of rpm: what a file's header says is compared with
//! what headquarters signed before anything is asked for.
//!
//! Where the machine has dnf, that installs the files, and nothing else than the files: it
//! knows what rpm does not, such as which kernels stay beside each other and for how long.

use std::path::{Path, PathBuf};
use std::time::Duration;

use patchmesh_topology::applicability::inventory::Format;
use patchmesh_topology::revision::Payload;
use tokio::process::Command;

use super::{Ended, Outcome, run};
use crate::agent::inventory;
use crate::agent::inventory::rpm::{NO_ARCHITECTURE, QUERY, database, parsed, provided};

/// Files of one call: their paths have to fit on a command line, and what needs each
/// other has to be in one.
const MAX_FILES: usize = 2_000;

/// Where machines have dnf.
const DNF: [&str; 2] = ["usr/bin/dnf", "usr/bin/dnf5"];

/// What packages provide of which several versions stand beside each other, by dnf's own
/// list (`installonlypkgs` in dnf.conf(5)).
const BESIDE: [&str; 6] = [
    "kernel",
    "kernel-PAE",
    "installonlypkg(kernel)",
    "installonlypkg(kernel-module)",
    "installonlypkg(vm)",
    "multiversion(kernel)",
];

/// `dnf` on the root, without repositories: nothing comes to the machine that headquarters
/// did not approve. `None` where the machine has none.
fn dnf(root: &Path) -> Option<Command> {
    let program = DNF.into_iter().find(|path| root.join(path).exists())?;
    let mut command = Command::new(Path::new("/").join(program));
    command.args(["--assumeyes", "--disablerepo=*"]);
    if root != Path::new("/") {
        command.arg("--installroot").arg(root);
    }
    Some(command)
}

/// `rpm` on the root, with the database that the inventory is read from.
fn rpm(root: &Path) -> Command {
    let mut command = Command::new("rpm");
    command.arg("--root").arg(root);
    if let Some(folder) = database(root) {
        command.arg("--dbpath").arg(folder);
    }
    command
}

/// Installs these packages of each revision: all in one transaction, and where that
/// fails, which leaves everything as it was, each revision by itself. One outcome for
/// each revision.
pub async fn install(
    root: &Path,
    revisions: &[Vec<(&Payload, PathBuf)>],
    limit: Duration,
) -> Vec<Outcome> {
    let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(revisions.len());
    for files in revisions {
        outcomes.push(differing(root, files, limit).await);
    }
    let sound: Vec<usize> =
        (0..revisions.len()).filter(|index| outcomes[*index].is_none()).collect();
    let files = |of: &[usize]| -> Vec<PathBuf> {
        of.iter().flat_map(|one| &revisions[*one]).map(|(_, file)| file.clone()).collect()
    };
    let together = files(&sound);
    let mut whole = None;
    if !together.is_empty() && together.len() <= MAX_FILES {
        whole = Some(upgrade(root, &together, limit).await);
    }
    for index in &sound {
        outcomes[*index] = Some(match &whole {
            Some(outcome) if outcome.ended == Ended::Code(0) || sound.len() == 1 => outcome.clone(),
            // One that took too long would do so again.
            Some(outcome) if matches!(outcome.ended, Ended::TimedOut(_)) => outcome.clone(),
            _ => upgrade(root, &files(&[*index]), limit).await,
        });
    }
    outcomes.into_iter().flatten().collect()
}

/// Removes packages by their names, versions and architectures: all together, and where
/// that fails each by itself. What failed together is the outcome then, if it does again.
pub async fn remove(root: &Path, names: &[String], limit: Duration) -> Outcome {
    let erase = |names: &[String]| {
        let mut command = rpm(root);
        command.arg("--erase").args(names);
        run(command, limit)
    };
    let together = erase(names).await;
    if names.len() < 2 || !matches!(together.ended, Ended::Code(1..)) {
        return together;
    }
    let mut failed = None;
    for name in names {
        let outcome = erase(std::slice::from_ref(name)).await;
        if outcome.ended != Ended::Code(0) && failed.is_none() {
            failed = Some(together.clone());
        }
    }
    failed.unwrap_or(Outcome { ended: Ended::Code(0), output: together.output })
}

async fn upgrade(root: &Path, files: &[PathBuf], limit: Duration) -> Outcome {
    if files.is_empty() {
        return Outcome { ended: Ended::Code(0), output: String::new() };
    }
    let command = match dnf(root) {
        Some(mut dnf) => {
            dnf.arg("install").args(files);
            dnf
        }
        None => {
            let mut rpm = rpm(root);
            rpm.arg("--upgrade").args(files);
            rpm
        }
    };
    run(command, limit).await
}

/// Why a file is not to be installed: it is not the package that is stated, or rpm alone
/// would put it in the place of what it belongs beside. `None` where all are.
async fn differing(root: &Path, files: &[(&Payload, PathBuf)], limit: Duration) -> Option<Outcome> {
    for (payload, file) in files {
        let mut command = Command::new("rpm");
        command.args(["--query", "--package", "--queryformat", QUERY]).arg(file);
        let outcome = run(command, limit).await;
        if outcome.ended != Ended::Code(0) {
            return Some(outcome);
        }
        // What rpm itself has to say comes behind.
        let found = outcome.output.lines().next().and_then(parsed);
        let fits = found.as_ref().is_some_and(|(name, package)| {
            let is_all = |one: &str| NO_ARCHITECTURE.contains(&one) || one == "all";
            *name == payload.package
                && Format::Rpm.compare(&package.version, &payload.version).is_eq()
                && (package.architecture == payload.architecture
                    || is_all(&package.architecture) && is_all(&payload.architecture))
        });
        if !fits {
            let stated =
                format!("{}-{}.{}", payload.package, payload.version, payload.architecture);
            let is = found.map_or("no package of rpm".to_owned(), |(name, one)| {
                format!("{name}-{}.{}", one.version, one.architecture)
            });
            let why = format!("{} is {is}, and its vendor states {stated}", payload.file_name());
            return Some(refused(why));
        }
    }
    if dnf(root).is_some() {
        return None;
    }
    let all: Vec<PathBuf> = files.iter().map(|(_, file)| file.clone()).collect();
    // It takes as long as rpm does for a file, which is not waited for on this thread.
    let beside = tokio::task::spawn_blocking(move || beside(&all)).await;
    match beside.map_err(|error| error.to_string()) {
        Ok(Ok(None)) => None,
        Ok(Ok(Some(index))) => Some(refused(format!(
            "{} belongs beside its earlier versions, and rpm would replace them: this machine needs dnf for that",
            files[index].0.package
        ))),
        Ok(Err(error)) => Some(refused(error.to_string())),
        Err(error) => Some(refused(error)),
    }
}

/// The first file whose package belongs beside its earlier versions.
fn beside(files: &[PathBuf]) -> Result<Option<usize>, inventory::Error> {
    for (index, file) in files.iter().enumerate() {
        if provided(file)?.iter().any(|one| BESIDE.contains(&one.as_str())) {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

const fn refused(why: String) -> Outcome {
    Outcome { ended: Ended::NotStarted(why), output: String::new() }
}
