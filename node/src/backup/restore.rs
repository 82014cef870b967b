//! Making a data folder out of a backup.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::check::sound;
use super::folder::{Folder, copy, make_folder, sync};
use super::manifest::{Entry, Manifest};
use super::{Error, Progress, Watcher};
use crate::durable;
use crate::store::NewFolder;
use crate::succession::mark::Mark;

/// The drop-in with the settings of the new host.
const DROP_IN: &str = "patchmesh.d/90-restored.toml";

/// Where a backup is restored to.
#[derive(Debug, Clone)]
pub struct Target {
    /// The data folder, new or empty.
    pub data: PathBuf,
    /// Where the node is reached from now on, if elsewhere.
    pub url: Option<String>,
    /// Where it listens from now on, if elsewhere.
    pub listen: Option<SocketAddr>,
}

/// What was restored.
#[derive(Debug, Clone)]
pub struct Restored {
    /// The backup.
    pub manifest: Manifest,
}

/// Reads the whole backup, then makes a data folder of it, marked so that its
/// first `serve` learns from the other nodes what it has missed.
///
/// # Errors
/// See [`Error`]; the target was not touched when the backup is damaged, and
/// is no data folder when anything else failed on the way.
pub fn restore(
    path: &Path,
    id: Option<u64>,
    target: &Target,
    watcher: Watcher<'_>,
) -> Result<Restored, Error> {
    let folder = Folder::open(path)?;
    let manifest = sound(&folder, id, watcher)?;
    let new = NewFolder::make(&target.data)?;
    let mut folders = BTreeSet::from([target.data.clone()]);
    let mut progress = Progress {
        files_total: manifest.files.len() as u64,
        bytes_total: manifest.bytes(),
        ..Progress::default()
    };
    for file in &manifest.files {
        folders.extend(put(&folder, file, &target.data)?);
        progress.files_done += 1;
        progress.bytes_done += file.length;
        progress.bytes_added += file.length;
        if !watcher(progress) {
            return Err(Error::Stopped);
        }
    }
    if let Some(listen) = target.listen {
        let place = target.data.join(DROP_IN);
        let parent = place.parent().unwrap_or(&target.data);
        make_folder(parent)?;
        let text = format!("# The host that it was restored on.\nlisten = \"{listen}\"\n");
        durable::replace(&place, text.as_bytes(), durable::SECRET)
            .map_err(|e| Error::io("write", &place, e))?;
        folders.insert(parent.to_owned());
    }
    folders.iter().try_for_each(|folder| sync(folder))?;
    // Before the folder can be opened at all.
    let mark = Mark {
        backup: manifest.id,
        made_at: manifest.made_at,
        restored_at: Timestamp::now(),
        generation: manifest.generation,
        url: target.url.clone(),
        promotion: None,
    };
    mark.write(&target.data)?;
    new.finish()?;
    Ok(Restored { manifest })
}

/// Copies one object into its place, durably, and hashes it once more on the
/// way. Returns the folders that it made or went into.
fn put(folder: &Folder, file: &Entry, data: &Path) -> Result<Vec<PathBuf>, Error> {
    let Some(digest) = file.digest() else { return Ok(Vec::new()) };
    let (object, place) = (folder.object(&digest), file.place(data));
    let parent = place.parent().unwrap_or(data);
    make_folder(parent)?;
    let mut options = OpenOptions::new();
    let mut to = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&place)
        .map_err(|e| Error::io("make", &place, e))?;
    let (found, _) = copy(&object, &mut to, &place)?;
    if found != digest {
        let why = "it changed while it was being restored".to_owned();
        return Err(Error::Damaged { path: object, why });
    }
    to.sync_all().map_err(|e| Error::io("sync", &place, e))?;
    let below = parent.ancestors().take_while(|one| one.starts_with(data));
    Ok(below.map(Path::to_owned).collect())
}
