//! Making a backup of a running node.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use patchmesh_topology::digest::Digest;

use super::folder::{Folder, entries};
use super::manifest::{Entry, FORMAT, Manifest};
use super::{Error, Progress, Watcher};
use crate::store::{OWN_NAMES, Store};
use crate::succession::mark;

/// Names at the top of a data folder that are not saved: vendors' indices,
/// which come again, the socket, and the mark of an earlier restore.
const LEFT_OUT: [&str; 3] = ["sources", "admin.sock", mark::FILE];
/// Most files beside the store's own: keys, certificates, settings.
const MAX_OTHER_FILES: usize = 100_000;

/// What is saved.
#[derive(Debug, Clone)]
pub struct Source {
    /// The node's store.
    pub store: Store,
    /// The mesh's identifier.
    pub mesh_id: String,
    /// The company's name for it.
    pub mesh_name: String,
    /// The node.
    pub node: String,
    /// Where it is reached.
    pub url: String,
    /// The versions of the signed roles.
    pub roles: BTreeMap<String, u64>,
    /// The vendors' payloads.
    pub payloads: HashSet<Digest>,
}

/// How it is saved.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to.
    pub folder: PathBuf,
    /// Remove all but so many of the newest backups afterwards.
    pub keep: Option<usize>,
    /// Leave out the vendors' payloads that lie in files.
    pub without_content: bool,
}

/// A backup that was made.
#[derive(Debug, Clone)]
pub struct Made {
    /// What it consists of.
    pub manifest: Manifest,
    /// How many older ones were removed.
    pub pruned: u64,
}

/// A file to be saved.
struct Wanted {
    source: PathBuf,
    path: String,
    /// What a blob's name promises.
    digest: Option<Digest>,
    length: u64,
}

/// Makes a backup while the node goes on.
///
/// # Errors
/// See [`Error`]; no backup is listed then, and earlier ones are as they were.
pub fn create(source: &Source, options: &Options, watcher: Watcher<'_>) -> Result<Made, Error> {
    let data = source.store.path();
    refuse_inside(data, &options.folder)?;
    let folder = Folder::open_to_write(&options.folder)?;
    let made_at = Timestamp::now();
    let checkpoint = source.store.checkpoint()?;
    let mut wanted = Vec::new();
    for file in checkpoint.database_files() {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        wanted.push(Wanted::file(file.clone(), format!("db/{name}"))?);
    }
    for blob in checkpoint.blob_files()? {
        if options.without_content && source.payloads.contains(&blob.digest) {
            continue;
        }
        let (path, digest) = (relative(data, &blob.path), Some(blob.digest));
        wanted.push(Wanted { source: blob.path, path, digest, length: blob.length });
    }
    others(data, data, &mut wanted)?;
    let mut progress = Progress {
        files_total: wanted.len() as u64,
        bytes_total: wanted.iter().map(|one| one.length).sum(),
        ..Progress::default()
    };
    let mut files = Vec::with_capacity(wanted.len());
    for one in wanted {
        let kept = folder.keep(&one.source, one.digest)?;
        progress.files_done += 1;
        progress.bytes_done += kept.length;
        progress.bytes_added += if kept.is_new { kept.length } else { 0 };
        files.push(Entry { path: one.path, length: kept.length, blake3: kept.digest.to_string() });
        if !watcher(progress) {
            return Err(Error::Stopped);
        }
    }
    let generation = checkpoint.generation()?.unwrap_or_default();
    drop(checkpoint);
    let manifest = Manifest {
        format: FORMAT,
        id: folder.backups()?.last().map_or(1, |last| last + 1),
        made_at,
        software: env!("CARGO_PKG_VERSION").to_owned(),
        mesh_id: source.mesh_id.clone(),
        mesh_name: source.mesh_name.clone(),
        node: source.node.clone(),
        url: source.url.clone(),
        generation,
        roles: source.roles.clone(),
        content: !options.without_content,
        bytes_added: progress.bytes_added,
        files,
    };
    folder.list(&manifest)?;
    let pruned = options.keep.map_or(Ok(0), |keep| folder.prune(keep))?;
    Ok(Made { manifest, pruned })
}

impl Wanted {
    fn file(source: PathBuf, path: String) -> Result<Self, Error> {
        let length = std::fs::metadata(&source).map_err(|e| Error::io("read", &source, e))?.len();
        Ok(Self { source, path, digest: None, length })
    }
}

/// Everything in the data folder that is not the store's: who the node is,
/// its keys and its settings.
fn others(data: &Path, folder: &Path, wanted: &mut Vec<Wanted>) -> Result<(), Error> {
    let (is_top, before) = (folder == data, wanted.len());
    for path in entries(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let known = |names: &[&str]| names.contains(&name.as_str());
        if is_top && (known(&OWN_NAMES) || known(&LEFT_OUT)) {
            continue;
        }
        let found = std::fs::metadata(&path).map_err(|e| Error::io("read", &path, e))?;
        if found.is_dir() {
            others(data, &path, wanted)?;
        } else if found.is_file() {
            let relative = relative(data, &path);
            wanted.push(Wanted::file(path, relative)?);
        }
        if wanted.len() - before > MAX_OTHER_FILES {
            return Err(Error::TooMany { path: data.to_owned(), limit: MAX_OTHER_FILES });
        }
    }
    Ok(())
}

fn relative(data: &Path, path: &Path) -> String {
    path.strip_prefix(data).unwrap_or(path).to_string_lossy().into_owned()
}

/// A backup inside the data folder would be lost with it, and would save
/// itself.
fn refuse_inside(data: &Path, folder: &Path) -> Result<(), Error> {
    let real = |path: &Path| {
        // What does not exist yet lies where its parent lies.
        path.ancestors().find_map(|part| part.canonicalize().ok()).unwrap_or_default()
    };
    if real(folder).starts_with(real(data)) {
        return Err(Error::Inside(folder.to_owned()));
    }
    Ok(())
}
