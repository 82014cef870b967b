//! Views of what is no package: an index, its hashes, and the files.
//!
//! Beside the apt repository of a stage and group, for machines that have no
//! agent: plain `curl`, `gpg --verify` and `sha256sum -c` are enough.
//!
//! ```text
//! files/index.json, files/index.json.asc
//! files/SHA256SUMS, files/SHA256SUMS.asc
//! files/by-hash/HASH.json, files/by-hash/HASH.sha256
//! files/SOURCE/SUITE/NAME/VERSION[+N]/FILE
//! ```
//!
//! The two signed texts list what was opened lately, and name those by hash,
//! which list what has settled in the same way, if there is any: so a change
//! touches little.
//!
//! What always holds: every path in an index is in the pool; a path never has
//! another content, since it holds the revision's whole name; both signed texts
//! are made of the same revisions, in order of names; paths are relative to
//! `files/` and made of letters, digits and `._+~-` only.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use patchmesh_proto::document::reference;
use patchmesh_topology::digest::{Digest, Sha256};
use patchmesh_topology::node::Stage;
use patchmesh_topology::revision::{
    Facts, Installer, Payload, Place, Revision, RevisionId, RevisionParts,
};
use patchmesh_topology::view::{Pool, PoolFile};
use serde::Serialize;

use super::apt::{Built, VALID_FOR};
use crate::identity::sha256;
use crate::openpgp::{self, SigningKey};

/// Where it lies in a view.
pub const FOLDER: &str = "files/";

/// The format of the index: since 2 it has `parts`.
const FORMAT: u32 = 2;

/// The longest step of a path, as common file systems have it.
const MAX_STEP: usize = 120;

/// Hexadecimal digits of the hash that tells two files of one name apart.
const HASH_DIGITS: usize = 16;

/// Why the index cannot be added.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be written down.
    #[error("the index of files cannot be written")]
    Write(#[from] serde_json::Error),
    /// The repository key failed.
    #[error("the index of files cannot be signed")]
    Sign(#[from] openpgp::Error),
}

/// What the index is made of.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The mesh's name.
    pub mesh: &'a str,
    /// The stage.
    pub stage: Stage,
    /// Open for long, sorted by name, none of them packages.
    pub settled: &'a [&'a Revision],
    /// Opened lately, likewise.
    pub opening: &'a [&'a Revision],
    /// When the signatures are made.
    pub now: Timestamp,
}

/// Adds the index, the hashes and the files to a view in the making.
///
/// # Errors
/// See [`Error`]; what is built may then have some of them.
pub fn add(input: &Input<'_>, key: &SigningKey, built: &mut Built) -> Result<(), Error> {
    let (parts, listed) = settled(input, built)?;
    let placed: Vec<_> = input.opening.iter().map(|revision| place(revision)).collect();
    let index = Index {
        format: FORMAT,
        mesh: input.mesh,
        stage: input.stage.as_str(),
        signed_at: built.signed_at,
        valid_until: built.signed_at.checked_add(VALID_FOR).unwrap_or(Timestamp::MAX),
        revisions: placed.iter().map(entry).collect(),
        parts,
    };
    let index = text(&index)?;
    let sums = listed + &sums(&placed);
    stock(&placed, &mut built.pools.opening);
    // The signature is made now, even where the view's date runs a little ahead.
    let at = input.now.min(built.signed_at);
    for (name, text) in [("index.json", index), ("SHA256SUMS", sums)] {
        let signature = key.sign_detached(text.as_bytes(), at)?;
        add_file(name, text, built);
        add_file(&format!("{name}.asc"), signature, built);
    }
    Ok(())
}

/// Adds the lists of what has settled; what the index and the sums say of them.
fn settled(input: &Input<'_>, built: &mut Built) -> Result<(Vec<Part>, String), Error> {
    if input.settled.is_empty() {
        return Ok((Vec::new(), String::new()));
    }
    let placed: Vec<_> = input.settled.iter().map(|revision| place(revision)).collect();
    stock(&placed, &mut built.pools.settled);
    let list = text(&List { revisions: placed.iter().map(entry).collect() })?;
    let (mut parts, mut listed) = (Vec::new(), String::new());
    for (suffix, text) in [("json", list), ("sha256", sums(&placed))] {
        let (sha256, length) = (sha256(text.as_bytes()), text.len() as u64);
        let path = format!("by-hash/{sha256}.{suffix}");
        add_file(&path, text, built);
        listed.push_str(&format!("{sha256}  {path}\n"));
        if suffix == "json" {
            parts.push(Part { path, length, sha256: sha256.to_string() });
        }
    }
    Ok((parts, listed))
}

fn add_file(path: &str, text: String, built: &mut Built) {
    let bytes = Bytes::from(text);
    let blob = reference(&bytes);
    built.blobs.insert(blob.digest, bytes);
    built.files.insert(format!("{FOLDER}{path}"), blob);
}

/// A text as it is served.
fn text(of: &impl Serialize) -> Result<String, Error> {
    let mut text = serde_json::to_string_pretty(of)?;
    text.push('\n');
    Ok(text)
}

/// The files as `sha256sum -c` takes them.
fn sums(of: &[PlacedRevision<'_>]) -> String {
    let files = of.iter().flat_map(|(_, files)| files);
    files.map(|file| format!("{}  {}\n", file.payload.sha256, file.path)).collect()
}

/// Adds the files to a pool.
fn stock(of: &[PlacedRevision<'_>], pool: &mut Pool) {
    for file in of.iter().flat_map(|(_, files)| files) {
        let Payload { sha256, length, .. } = *file.payload;
        pool.insert(format!("{FOLDER}{}", file.path), PoolFile { sha256, length });
    }
}

/// A revision and where its files lie.
type PlacedRevision<'a> = (&'a Revision, Vec<Placed<'a>>);

/// A payload and where it lies below `files/`.
struct Placed<'a> {
    payload: &'a Payload,
    path: String,
}

fn place(revision: &Revision) -> PlacedRevision<'_> {
    let folder = folder(&revision.id);
    let mut taken: BTreeMap<String, Sha256> = BTreeMap::new();
    let mut placed = Vec::new();
    for payload in &revision.payloads {
        let name = step(payload.file_name());
        let mut path = format!("{folder}/{name}");
        if taken.get(&path).is_some_and(|sha256| *sha256 != payload.sha256) {
            let mut hash = payload.sha256.to_string();
            hash.truncate(HASH_DIGITS);
            path = format!("{folder}/{hash}/{name}");
        }
        // One file may be stated for several architectures or languages.
        taken.insert(path.clone(), payload.sha256);
        placed.push(Placed { payload, path });
    }
    (revision, placed)
}

fn folder(id: &RevisionId) -> String {
    let RevisionParts { update, version, release } = &**id;
    let mut folder = step(update.source.as_str());
    for part in [&update.suite, &update.name] {
        folder.push('/');
        folder.push_str(&step(part));
    }
    folder.push('/');
    folder.push_str(&step(version));
    if *release > 1 {
        folder.push_str(&format!("+{release}"));
    }
    // What was written otherwise, or ends like another release, is told apart.
    let plain =
        [update.suite.as_str(), &update.name, version].iter().all(|part| step(part) == **part);
    if !plain || version.contains('+') {
        let mut digest = Digest::of(id.to_string().as_bytes()).to_string();
        digest.truncate(HASH_DIGITS);
        folder.push_str(&format!("/{digest}"));
    }
    folder
}

/// One step of a path that needs no care in a URL or a shell.
fn step(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '~' | '-');
    let mut step: String = text.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    if step.len() > MAX_STEP {
        // The end of a file's name says what it is.
        step.drain(..step.len() - MAX_STEP);
    }
    match step.trim_matches('.') {
        "" => "_".to_owned(),
        _ => step,
    }
}

/// `files/index.json`. Fields may be added; none changes its meaning.
#[derive(Serialize)]
struct Index<'a> {
    format: u32,
    mesh: &'a str,
    stage: &'static str,
    signed_at: Timestamp,
    valid_until: Timestamp,
    /// What was opened lately.
    revisions: Vec<Entry<'a>>,
    /// Where the rest is listed.
    parts: Vec<Part>,
}

/// A list of what has settled.
#[derive(Serialize)]
struct List<'a> {
    revisions: Vec<Entry<'a>>,
}

/// Where a list lies.
#[derive(Serialize)]
struct Part {
    /// Relative to the folder of the index.
    path: String,
    length: u64,
    sha256: String,
}

#[derive(Serialize)]
struct Entry<'a> {
    id: String,
    title: &'a str,
    description: &'a str,
    classification: &'static str,
    severity: Option<&'static str>,
    products: &'a [String],
    languages: &'a [String],
    architectures: &'a [String],
    cves: &'a [String],
    articles: &'a [String],
    supersedes: Vec<String>,
    prerequisites: Vec<String>,
    installer: Option<Install<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detection: Option<Detect>,
    reboot: &'static str,
    /// Whether nobody signed what the vendor states.
    unsigned: bool,
    payloads: Vec<File<'a>>,
}

/// Rules over a machine's facts, as `docs/files-source.md` describes them.
#[derive(Serialize)]
struct Detect {
    applies: Option<String>,
    /// Absent: where all its files are.
    #[serde(skip_serializing_if = "Option::is_none")]
    installed: Option<String>,
}

#[derive(Serialize)]
struct Install<'a> {
    kind: &'static str,
    install: &'a [String],
    remove: &'a [String],
    success: &'a [i32],
    reboot: &'a [i32],
    retry: &'a [i32],
    time_limit_seconds: Option<i64>,
}

#[derive(Serialize)]
struct File<'a> {
    /// Relative to the folder of the index.
    path: &'a str,
    architecture: &'a str,
    /// Empty for every language.
    language: &'a str,
    length: u64,
    sha256: String,
    /// Where it goes, where it is put in the place of another file.
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<Goes<'a>>,
}

#[derive(Serialize)]
struct Goes<'a> {
    path: &'a str,
    /// In octal digits; null: as the other file has it, else 0644.
    mode: Option<String>,
    /// Empty: as the other file has it, else root.
    owner: &'a str,
    group: &'a str,
}

fn entry<'a>((revision, files): &'a PlacedRevision<'a>) -> Entry<'a> {
    let Facts {
        classification: _,
        severity,
        products,
        languages,
        cves,
        articles,
        supersedes,
        prerequisites,
        installer,
        reboot,
        unsigned,
        detection,
    } = &revision.facts;
    Entry {
        id: revision.id.to_string(),
        title: &revision.title,
        description: &revision.description,
        classification: revision.classification().as_str(),
        severity: severity.map(|one| one.as_str()),
        products,
        languages,
        architectures: &revision.architectures,
        cves,
        articles,
        supersedes: supersedes.iter().map(ToString::to_string).collect(),
        prerequisites: prerequisites.iter().map(ToString::to_string).collect(),
        installer: installer.as_ref().map(install),
        detection: detection.as_ref().map(|one| Detect {
            applies: one.applies.as_ref().map(ToString::to_string),
            installed: one.installed.as_ref().map(ToString::to_string),
        }),
        reboot: reboot.as_str(),
        unsigned: *unsigned,
        payloads: files.iter().map(file).collect(),
    }
}

fn install(installer: &Installer) -> Install<'_> {
    Install {
        kind: installer.kind.as_str(),
        install: &installer.install,
        remove: &installer.remove,
        success: &installer.success,
        reboot: &installer.reboot,
        retry: &installer.retry,
        time_limit_seconds: installer.time_limit.map(|limit| limit.as_secs()),
    }
}

fn file<'a>(placed: &'a Placed<'a>) -> File<'a> {
    let Payload { architecture, language, length, sha256, place, .. } = placed.payload;
    let goes = |place: &'a Place| Goes {
        path: &place.path,
        mode: place.mode.map(|mode| format!("{mode:04o}")),
        owner: &place.owner,
        group: &place.group,
    };
    File {
        path: &placed.path,
        architecture,
        language,
        length: *length,
        sha256: sha256.to_string(),
        place: place.as_deref().map(goes),
    }
}

#[cfg(test)]
mod tests;
