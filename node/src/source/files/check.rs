//! Comparing a manifest with the files beside it, and `source check`.

use std::path::Path;

use jiff::Timestamp;
use patchmesh_topology::name::SourceName;

use super::fault::{Fault, Faults};
use super::folder::{Content, Folder};
use super::manifest::{self, File, Manifest};
use super::{Error, MANIFEST, MAX_MANIFEST, differs, verify};
use crate::log::in_one_line;
use crate::openpgp::Keyring;
use crate::source::Progress;

/// What a folder is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Who made the manifest, as it says.
    pub vendor: String,
    /// Whether the signature is good; `None` where it was not looked at.
    pub is_signed: Option<bool>,
    /// Revisions that could be read.
    pub revisions: usize,
    /// Their files.
    pub payloads: usize,
    /// Bytes of those.
    pub bytes: u64,
    /// Everything that is wrong, in order of lines.
    pub faults: Vec<Fault>,
}

/// Checks a folder as a source would be, every file's hash included. Without a
/// keyring the signature is not looked at.
///
/// # Errors
/// The folder or manifest cannot be read at all; anything wrong with them is in
/// [`Checked::faults`].
pub fn folder(
    path: &Path,
    name: &SourceName,
    keyring: Option<&Keyring>,
    now: Timestamp,
    progress: &Progress,
) -> Result<Checked, Error> {
    let folder = Folder::open(path)?;
    let missing = || Error::NoManifest(path.to_owned());
    let bytes = folder.read(MANIFEST, MAX_MANIFEST)?.ok_or_else(missing)?;
    let mut checked = Checked {
        vendor: String::new(),
        is_signed: keyring.map(|_| true),
        revisions: 0,
        payloads: 0,
        bytes: 0,
        faults: Vec::new(),
    };
    if let Some(keyring) = keyring
        && let Err(error) = verify(&folder, keyring, &bytes, now)
    {
        checked.is_signed = Some(false);
        let remedy = "sign it with the key that the source's keyring has";
        checked.faults.push(Fault::new(0, in_one_line(&error), remedy));
    }
    // Files are looked at whatever else is wrong, so that all of it is mended in one go.
    match manifest::read_what_can_be(&bytes, name) {
        Err(faults) => checked.faults.extend(faults.into_list()),
        Ok((manifest, faults)) => {
            checked.faults.extend(faults);
            if manifest.released.is_some_and(|released| released > now + super::CLOCK_SKEW) {
                let remedy = "write the present time, or check this clock";
                checked.faults.push(Fault::new(0, "`released` is in the future", remedy));
            }
            checked.revisions = manifest.revisions.len();
            let files: Vec<&File> = files(&manifest).collect();
            checked.payloads = files.len();
            checked.bytes = files.iter().map(|file| file.payload.length).sum();
            checked.vendor.clone_from(&manifest.vendor);
            checked.faults.extend(hashes(&folder, &files, progress));
        }
    }
    if !checked.faults.is_empty() {
        checked.faults = Faults::new(checked.faults).into_list();
    }
    Ok(checked)
}

fn files(manifest: &Manifest) -> impl Iterator<Item = &File> {
    manifest.revisions.iter().flat_map(|entry| &entry.payloads)
}

/// Files that are missing, are no files, or have another length. What is in
/// them is compared when they are fetched.
pub(super) fn lengths(folder: &Folder, manifest: &Manifest, progress: &Progress) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in files(manifest) {
        progress.step(&file.payload.filename, 0, 0);
        let found = folder.file(&file.payload.filename).and_then(|one| one.metadata());
        match found {
            Err(error) => faults.push(unreadable(file, &error)),
            Ok(found) if found.len() != file.payload.length => {
                let what = format!("it has {} bytes, not {}", found.len(), file.payload.length);
                faults.push(other(file, &what));
            }
            Ok(_) => {}
        }
    }
    faults
}

/// Files that are missing or are not what the manifest says.
fn hashes(folder: &Folder, files: &[&File], progress: &Progress) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in files {
        let payload = &file.payload;
        let report = |bytes| progress.step(&payload.filename, bytes, payload.length);
        let said = Content { length: payload.length, sha256: payload.sha256 };
        let read = folder.copy(&payload.filename, payload.length, &mut std::io::sink(), report);
        match read {
            Ok(found) if found == said => {}
            Ok(found) => faults.push(other(file, &differs(&said, &found))),
            Err(Error::Read { source, .. }) => faults.push(unreadable(file, &source)),
            Err(error) => faults.push(other(file, &in_one_line(&error))),
        }
    }
    faults
}

fn unreadable(file: &File, error: &std::io::Error) -> Fault {
    let name = &file.payload.filename;
    match error.kind() {
        std::io::ErrorKind::NotFound => Fault::new(
            file.line,
            format!("{name:?} is missing"),
            "put the file into the folder, or remove its [[revision.payload]]",
        ),
        _ => Fault::new(
            file.line,
            format!("{name:?} cannot be read: {error}"),
            "put the file itself into the folder, readable for the node",
        ),
    }
}

fn other(file: &File, what: &str) -> Fault {
    let name = &file.payload.filename;
    let remedy = "put the right file there, or state what it is (`sha256sum FILE`, `stat FILE`)";
    Fault::new(file.line, format!("{name:?} is not what is stated: {what}"), remedy)
}
