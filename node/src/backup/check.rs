//! What a folder of backups holds, and whether it is as it was written.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use patchmesh_topology::digest::Digest;

use super::folder::{Folder, hash};
use super::manifest::{Entry, Manifest};
use super::{Error, Progress, Watcher};

/// One backup in a listing.
#[derive(Debug)]
pub struct Listed {
    /// Its number.
    pub id: u64,
    /// What it consists of, unless that cannot be read any more.
    pub manifest: Result<Manifest, Error>,
}

/// A file that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file in the folder of backups.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
    /// What it is in the data folder; empty for a list of files.
    pub holds: String,
    /// The backups that need it.
    pub backups: Vec<u64>,
}

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The backups that were looked at.
    pub backups: Vec<u64>,
    /// Files read.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is wrong.
    pub faults: Vec<Fault>,
}

/// Every backup of a folder, oldest first.
///
/// # Errors
/// A folder without backups or that cannot be read.
pub fn list(path: &Path) -> Result<Vec<Listed>, Error> {
    let folder = Folder::open(path)?;
    let read = |id| Listed { id, manifest: Manifest::read(&folder.backup(id)) };
    Ok(folder.backups()?.into_iter().map(read).collect())
}

/// Reads every file of the backups again, or of one, and compares it with its
/// name.
///
/// # Errors
/// A folder without backups or that cannot be listed. What is wrong with
/// single files is in the report.
pub fn verify(path: &Path, id: Option<u64>, watcher: Watcher<'_>) -> Result<Report, Error> {
    let folder = Folder::open(path)?;
    let mut ids = folder.backups()?;
    if let Some(id) = id {
        ids.retain(|one| *one == id);
        if ids.is_empty() {
            return Err(Error::Unknown { path: path.to_owned(), id });
        }
    }
    let mut report = Report { backups: ids.clone(), ..Report::default() };
    let mut objects: BTreeMap<Digest, (Entry, Vec<u64>)> = BTreeMap::new();
    for id in ids {
        match Manifest::read(&folder.backup(id)) {
            Ok(manifest) => {
                for file in manifest.files {
                    let Some(digest) = file.digest() else { continue };
                    let needed = objects.entry(digest).or_insert_with(|| (file, Vec::new()));
                    if needed.1.last() != Some(&id) {
                        needed.1.push(id);
                    }
                }
            }
            Err(error) => report.faults.push(Fault {
                path: folder.backup(id),
                problem: match error {
                    Error::Damaged { why, .. } => why,
                    error => crate::log::in_one_line(&error),
                },
                holds: String::new(),
                backups: vec![id],
            }),
        }
    }
    let mut progress = Progress {
        files_total: objects.len() as u64,
        bytes_total: objects.values().map(|(file, _)| file.length).sum(),
        ..Progress::default()
    };
    for (digest, (file, backups)) in objects {
        if let Some(problem) = problem(&folder, &digest, &file) {
            let path = folder.object(&digest);
            report.faults.push(Fault { path, problem, holds: file.path.clone(), backups });
        }
        progress.files_done += 1;
        progress.bytes_done += file.length;
        if !watcher(progress) {
            return Err(Error::Stopped);
        }
    }
    (report.files, report.bytes) = (progress.files_done, progress.bytes_done);
    Ok(report)
}

/// The list of files of a backup, every one of which was just read and found
/// good.
pub(super) fn sound(
    folder: &Folder,
    id: Option<u64>,
    watcher: Watcher<'_>,
) -> Result<Manifest, Error> {
    let ids = folder.backups()?;
    let id = match id {
        Some(id) if ids.contains(&id) => id,
        Some(id) => return Err(Error::Unknown { path: folder.root().to_owned(), id }),
        None => *ids.last().ok_or_else(|| Error::None(folder.root().to_owned()))?,
    };
    let manifest = Manifest::read(&folder.backup(id))?;
    let mut progress = Progress {
        files_total: manifest.files.len() as u64,
        bytes_total: manifest.bytes(),
        ..Progress::default()
    };
    let mut known: HashSet<Digest> = HashSet::new();
    for file in &manifest.files {
        let Some(digest) = file.digest() else { continue };
        if known.insert(digest)
            && let Some(why) = problem(folder, &digest, file)
        {
            let why = format!("{why} (it holds {})", file.path);
            return Err(Error::Damaged { path: folder.object(&digest), why });
        }
        progress.files_done += 1;
        progress.bytes_done += file.length;
        if !watcher(progress) {
            return Err(Error::Stopped);
        }
    }
    Ok(manifest)
}

/// What is wrong with an object; nothing when it is as it was.
fn problem(folder: &Folder, digest: &Digest, file: &Entry) -> Option<String> {
    let object = folder.object(digest);
    if !object.exists() {
        return Some("it is missing".to_owned());
    }
    match hash(&object) {
        Ok((_, length)) if length != file.length => {
            Some(format!("it has {length} bytes instead of {}", file.length))
        }
        Ok((found, _)) if found != *digest => {
            Some("its bytes are not those that were written".to_owned())
        }
        Ok(_) => None,
        Err(error) => Some(crate::log::in_one_line(&error)),
    }
}
