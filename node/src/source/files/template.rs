//! `source template`: a manifest to start from, made of the files at hand.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use toml::Value;

use super::folder::{Content, Folder};
use super::manifest::{FORMAT, MAX_PAYLOADS};
use super::{Error, MANIFEST, SIGNATURES};
use crate::source::Progress;

/// The deepest folder that is looked into.
const MAX_DEPTH: usize = 16;

/// Why no manifest was written.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is one already.
    #[error("{0:?} is there already; move it away first")]
    Exists(PathBuf),
    /// A file that is not in the folder.
    #[error("{file:?} is not below {folder:?}; a manifest names only files of its folder")]
    Outside {
        /// Which.
        file: PathBuf,
        /// The folder.
        folder: PathBuf,
    },
    /// A name that no manifest can hold.
    #[error("{0:?} has a name that a manifest cannot hold; rename it")]
    Name(PathBuf),
    /// No files.
    #[error("there is no file in {0:?} to make a manifest of")]
    Empty(PathBuf),
    /// More files than a manifest has.
    #[error("{0:?} has more than {MAX_PAYLOADS} files")]
    Many(PathBuf),
    /// The folder cannot be read.
    #[error("cannot read {path:?}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The manifest cannot be written.
    #[error("cannot write {path:?}")]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] Error),
}

/// A manifest that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Where.
    pub path: PathBuf,
    /// The files that it names.
    pub files: Vec<String>,
}

/// Writes `FOLDER/manifest.toml` with these files, or every file of the folder
/// where none is named.
///
/// # Errors
/// See [`Refusal`]; a manifest that is there is never replaced.
pub fn write(
    folder: &Path,
    files: &[PathBuf],
    now: Timestamp,
    progress: &Progress,
) -> Result<Written, Refusal> {
    let path = folder.join(MANIFEST);
    if path.symlink_metadata().is_ok() {
        return Err(Refusal::Exists(path));
    }
    let open = Folder::open(folder)?;
    let names = if files.is_empty() { found(folder)? } else { named(folder, files)? };
    if names.is_empty() {
        return Err(Refusal::Empty(folder.to_owned()));
    }
    let mut text = head(now);
    for name in &names {
        let length = open.file(name).and_then(|file| file.metadata()).map(|data| data.len());
        let length = length.map_err(|source| Refusal::Read { path: folder.join(name), source })?;
        let report = |bytes| progress.step(name, bytes, length);
        let content = open.copy(name, length, &mut std::io::sink(), report)?;
        revision(&mut text, name, &content);
    }
    create(&path, &text)?;
    Ok(Written { path, files: names })
}

/// The files of a folder and those below it, without the manifest's own.
fn found(folder: &Path) -> Result<Vec<String>, Refusal> {
    let mut names = Vec::new();
    let mut waiting = vec![(folder.to_owned(), 0)];
    while let Some((at, depth)) = waiting.pop() {
        let failed = |source| Refusal::Read { path: at.clone(), source };
        for entry in std::fs::read_dir(&at).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            let is_hidden = entry.file_name().as_encoded_bytes().first() == Some(&b'.');
            if is_hidden {
                continue;
            }
            if kind.is_dir() && depth < MAX_DEPTH {
                waiting.push((entry.path(), depth + 1));
            } else if kind.is_file() {
                names.push(name(folder, &entry.path())?);
            }
            if names.len() > MAX_PAYLOADS {
                return Err(Refusal::Many(folder.to_owned()));
            }
        }
    }
    names.retain(|name| name != MANIFEST && !SIGNATURES.contains(&name.as_str()));
    names.sort();
    Ok(names)
}

fn named(folder: &Path, files: &[PathBuf]) -> Result<Vec<String>, Refusal> {
    let mut names = Vec::new();
    for file in files {
        // As named from here, else as named from the folder.
        let inside = if file.starts_with(folder) { file.clone() } else { folder.join(file) };
        names.push(name(folder, &inside)?);
    }
    Ok(names)
}

fn name(folder: &Path, file: &Path) -> Result<String, Refusal> {
    let outside = || Refusal::Outside { file: file.to_owned(), folder: folder.to_owned() };
    let inner = file.strip_prefix(folder).map_err(|_| outside())?;
    let text = inner.to_str().ok_or_else(|| Refusal::Name(file.to_owned()))?;
    if inner.is_absolute() || inner.components().any(|step| step.as_os_str() == "..") {
        return Err(outside());
    }
    if !patchmesh_topology::view::is_inner_path(text) {
        return Err(Refusal::Name(file.to_owned()));
    }
    Ok(text.to_owned())
}

fn head(now: Timestamp) -> String {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    format!(
        "# A manifest of vendor files for Patchmesh. Change what is in CAPITALS, remove what\n\
         # does not apply, then:\n\
         #   patchmesh source check .\n\
         #   gpg --armor --detach-sign {MANIFEST}\n\
         # Files that are to replace others on machines: `kind = \"files\"` is all that stands\n\
         # below [revision.installer] then, and each payload has a `path = \"/etc/FILE\"`.\n\
         format = {FORMAT}\n\n\
         [source]\n\
         vendor = \"THE VENDOR\"\n\
         suite = \"stable\"\n\
         # Set anew with every change: an older manifest than the last one is refused.\n\
         released = {now}\n"
    )
}

/// A revision for each file: what belongs together is for a person to say.
fn revision(text: &mut String, name: &str, content: &Content) {
    let file = name.rsplit('/').next().unwrap_or(name);
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let id: String =
        stem.chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+') {
                    c
                } else {
                    '_'
                }
            })
            .take(100)
            .collect();
    let id = if id.is_empty() { "ID".to_owned() } else { id };
    let quoted = |text: &str| Value::String(text.to_owned()).to_string();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "\n[[revision]]\n\
         id = {}\n\
         version = \"1\"\n\
         title = {}\n\
         # description = \"\"\"WHAT IT DOES\"\"\"\n\
         # classification = \"security\"  # critical, rollup, service-pack, feature-pack, definition, driver, application, tool, update\n\
         # severity = \"important\"  # critical, important, moderate, low\n\
         # products = [\"PRODUCT\"]\n\
         # cves = [\"CVE-2024-21338\"]\n\
         # articles = [\"KB5034441\"]\n\
         # supersedes = [\"OLDER-ID\", \"OTHER-ID@VERSION\"]\n\
         # prerequisites = [\"NEEDED-ID\"]\n\
         # reboot = \"possible\"  # never, possible, required\n\n\
         # [revision.installer]\n\
         # install = [\"PROGRAM\", \"{{payload}}\", \"/quiet\"]\n\
         # success = [0]\n\
         # reboot = [3010]\n\
         # time_limit = \"30m\"\n\n\
         # [revision.detection]\n\
         # installed = 'file \"C:/PROGRAM.dll\" >= 10.0.1'\n\n\
         [[revision.payload]]\n\
         file = {}\n\
         length = {}\n\
         sha256 = \"{}\"\n\
         # architecture = \"x64\"\n\
         # language = \"fr-FR\"\n",
        quoted(&id),
        quoted(file),
        quoted(name),
        content.length,
        content.sha256,
    );
}

fn create(path: &Path, text: &str) -> Result<(), Refusal> {
    use std::io::Write as _;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = file.map_err(|source| match source.kind() {
        ErrorKind::AlreadyExists => Refusal::Exists(path.to_owned()),
        _ => Refusal::Write { path: path.to_owned(), source },
    })?;
    file.write_all(text.as_bytes())
        .map_err(|source| Refusal::Write { path: path.to_owned(), source })
}
