//! Packages out of an rpm database, asked through `rpm` itself: there are three
//! formats of it, and all are rpm's own business.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use patchmesh_topology::applicability::Inventory;
use patchmesh_topology::applicability::inventory::{Format, Package};
use patchmesh_topology::debian::Relations;

use super::rooted::Root;
use super::{Error, add};

/// What databases are called.
const DATABASES: [&str; 5] = [
    "var/lib/rpm/Packages",
    "var/lib/rpm/rpmdb.sqlite",
    "var/lib/rpm/Packages.db",
    "usr/lib/sysimage/rpm/rpmdb.sqlite",
    "usr/lib/sysimage/rpm/Packages.db",
];

/// What stands for the architecture of packages that are for every machine, or that
/// are none.
pub(in crate::agent) const NO_ARCHITECTURE: [&str; 2] = ["noarch", "(none)"];

/// A package in a line.
pub(in crate::agent) const QUERY: &str =
    "%{NAME}\\t%{EPOCHNUM}\\t%{VERSION}-%{RELEASE}\\t%{ARCH}\\n";

/// Names and versions of 100,000 packages have less.
const MAX_ANSWER: u64 = 32 << 20;

const TIME_LIMIT: Duration = Duration::from_secs(60);

/// How often a question that runs is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Reads packages, and which architecture they are for.
pub(super) fn read(root: &Root, inventory: &mut Inventory) -> Result<(), Error> {
    let Some(database) = DATABASES.into_iter().find(|path| root.has(path)) else { return Ok(()) };
    let answer = ask(root, database)?;
    let mut packages = Vec::new();
    for (index, line) in answer.lines().enumerate() {
        let Some((name, package)) = parsed(line) else {
            let what = "rpm answered what cannot be understood".to_owned();
            return Err(Error::Content { path: database.into(), line: index + 1, what });
        };
        // Keys that packages are checked with stand among them.
        if name == "gpg-pubkey" {
            continue;
        }
        let architecture = &package.architecture;
        if !NO_ARCHITECTURE.contains(&architecture.as_str())
            && !inventory.architectures.contains(architecture)
        {
            inventory.architectures.push(architecture.clone());
        }
        packages.push((name, package));
    }
    add(inventory, packages, database.as_ref())
}

/// The package of a line as [`QUERY`] makes it.
pub(in crate::agent) fn parsed(line: &str) -> Option<(String, Package)> {
    let parts: Vec<&str> = line.split('\t').collect();
    let [name, epoch, version, architecture] = parts[..] else { return None };
    let version = if epoch == "0" { version.to_owned() } else { format!("{epoch}:{version}") };
    let package = Package {
        format: Format::Rpm,
        architecture: architecture.to_owned(),
        version,
        fault: String::new(),
        held: false,
        relations: Relations::default(),
    };
    Some((name.to_owned(), package))
}

/// The folder of the database below a root, as `rpm --dbpath` takes it.
pub(in crate::agent) fn database(root: &Path) -> Option<String> {
    let root = Root::open(root).ok()?;
    DATABASES.into_iter().find(|path| root.has(path)).map(folder)
}

fn folder(database: &str) -> String {
    format!("/{}", database.rsplit_once('/').map_or(database, |(folder, _)| folder))
}

fn ask(root: &Root, database: &str) -> Result<String, Error> {
    let mut command = Command::new("rpm");
    command
        .arg("--root")
        .arg(std::path::absolute(root.path()).unwrap_or_else(|_| root.path().to_owned()))
        // This host may keep its own elsewhere.
        .args(["--dbpath", &folder(database)])
        .args(["-qa", "--qf", QUERY]);
    answer(command)
}

/// What the package in a file provides. Blocks.
pub(in crate::agent) fn provided(file: &Path) -> Result<Vec<String>, Error> {
    let mut command = Command::new("rpm");
    command.args(["--query", "--package", "--queryformat", "[%{PROVIDENAME}\\n]"]).arg(file);
    Ok(answer(command)?.lines().map(str::to_owned).collect())
}

/// All that a question to rpm is answered with.
fn answer(mut command: Command) -> Result<String, Error> {
    let mut child = command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(Error::NoRpm)?;
    let stdout = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.map(|stdout| stdout.take(MAX_ANSWER + 1).read_to_end(&mut bytes));
        read.transpose().map(|_| bytes)
    });
    let until = Instant::now() + TIME_LIMIT;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < until => std::thread::sleep(LOOK),
            outcome => {
                // It may have ended by itself meanwhile.
                let _ = child.kill();
                let _ = child.wait();
                return Err(match outcome {
                    Err(error) => Error::Rpm(error.to_string()),
                    Ok(_) => Error::Slow(TIME_LIMIT),
                });
            }
        }
    };
    let bytes = reader.join().map_err(|_| Error::Rpm("its answer was lost".to_owned()))?;
    let bytes = bytes.map_err(|error| Error::Rpm(error.to_string()))?;
    if bytes.len() as u64 > MAX_ANSWER {
        return Err(Error::Rpm(format!("it answered more than {MAX_ANSWER} bytes")));
    }
    if !status.success() {
        return Err(Error::Rpm(status.to_string()));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
