//! A folder of vendor files with a signed manifest as a source of updates:
//! Windows packages by their KB numbers, and anything else that is a file.
//!
//! [`sync`] reads `manifest.toml`, verifies the detached signature beside it
//! and turns it into revisions; [`fetch_payload_to`] copies one file. What
//! always holds: no statement is used that the source's keyring does not vouch
//! for, unless the operator declared the source unsigned, and then every
//! revision says so; a manifest with any fault changes nothing, and all its
//! faults are named with line and remedy; an older manifest than the last
//! accepted one is refused; no path and no link leads out of the folder; a file
//! that is not what the manifest says never becomes a payload.
//!
//! The manifest is described in `docs/files-source.md`.

pub mod check;
pub mod config;
mod fault;
mod folder;
mod manifest;
mod references;
mod revisions;
pub mod template;

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use patchmesh_topology::digest::{Digest, Sha256};
use patchmesh_topology::revision::{Payload, Reference, Revision};
use serde::{Deserialize, Serialize};

pub use config::{Config, Options};
pub use fault::{Fault, Faults};

use crate::openpgp;
use crate::source::Progress;
use folder::Folder;

/// The manifest's name in its folder.
pub const MANIFEST: &str = "manifest.toml";

/// The signature's names, the first that is there counts.
pub const SIGNATURES: [&str; 2] = ["manifest.toml.asc", "manifest.toml.sig"];

/// The largest manifest read: some 10,000 revisions described at length.
pub const MAX_MANIFEST: u64 = 16 << 20;

/// The largest signature read.
const MAX_SIGNATURE: u64 = 64 << 10;

/// How far a vendor's clock may be ahead of ours.
const CLOCK_SKEW: SignedDuration = openpgp::CLOCK_SKEW;

/// Why a source could not be synchronised or a file not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder is not there or not readable.
    #[error("cannot open folder {path:?}; is it on the primary, and may the node read it?")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no manifest.
    #[error(
        "there is no {MANIFEST} in {0:?}; `patchmesh source template` writes one to start from"
    )]
    NoManifest(PathBuf),
    /// A file of the folder cannot be read.
    #[error("cannot read {path:?}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file larger than any real one.
    #[error("{path:?} has more than {limit} bytes")]
    Large {
        /// Which.
        path: PathBuf,
        /// The bound.
        limit: u64,
    },
    /// A manifest without signature.
    #[error(
        "{folder:?} has no signature of its manifest ({}); sign it with `gpg --armor --detach-sign {MANIFEST}`, or add the source with --unsigned",
        SIGNATURES.join(" or ")
    )]
    NoSignature {
        /// The folder.
        folder: PathBuf,
    },
    /// The signature is no good.
    #[error(
        "{path:?} is not signed as the source's keyring asks; sign it anew after every change, and check the keyring"
    )]
    Signature {
        /// What was to be verified.
        path: PathBuf,
        /// Why.
        source: openpgp::Error,
    },
    /// The manifest cannot be used.
    #[error("the manifest in {folder:?} has {faults}")]
    Manifest {
        /// The folder.
        folder: PathBuf,
        /// Every fault.
        faults: Faults,
    },
    /// A manifest from before the last accepted one.
    #[error(
        "the manifest was released at {released}, before the last accepted one ({last}); an old manifest is refused"
    )]
    Older {
        /// When it says that it was released.
        released: Timestamp,
        /// What was accepted last.
        last: Timestamp,
    },
    /// A manifest without a time, after one that had it.
    #[error(
        "the manifest states no time of release, but the last accepted one did ({last}); add `released` to [source]"
    )]
    Undated {
        /// What was accepted last.
        last: Timestamp,
    },
    /// A manifest from the future.
    #[error("the manifest was released at {0}, which is in the future; check this clock")]
    Future(Timestamp),
    /// A file is not what the manifest says.
    #[error("{path:?} is not what the manifest says: {what}")]
    Mismatch {
        /// Which.
        path: PathBuf,
        /// How it differs.
        what: String,
    },
    /// A copy could not be written.
    #[error("cannot write {path:?}")]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The work was cut off.
    #[error("the work did not end")]
    Task(#[source] tokio::task::JoinError),
}

/// What has to be kept between two synchronisations of a source.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SyncState {
    /// Names the source's settings that the rest was learned under.
    pub settings: String,
    /// BLAKE3 of the last accepted manifest.
    pub manifest: String,
    /// The folder that the time belongs to.
    pub folder: PathBuf,
    /// When the last accepted manifest was released; none older is accepted.
    pub released: Option<Timestamp>,
}

/// What a synchronisation found.
#[derive(Debug)]
pub enum Outcome {
    /// The manifest is that of last time.
    Unchanged {
        /// To be kept.
        state: SyncState,
    },
    /// All revisions that the manifest states.
    Changed {
        /// Every one, not only the new, sorted by name and version.
        revisions: Vec<Revision>,
        /// To be kept once the revisions are.
        state: SyncState,
    },
}

/// Learns the present state of a source. `is_known` says whether another
/// source has what a prerequisite names.
///
/// # Errors
/// See [`Error`].
pub async fn sync(
    config: &Config,
    state: &SyncState,
    now: Timestamp,
    is_known: impl Fn(&Reference) -> bool + Send + 'static,
    progress: &Progress,
) -> Result<Outcome, Error> {
    let (config, state, progress) = (config.clone(), state.clone(), progress.clone());
    let work = move || learn(&config, &state, now, &is_known, &progress);
    tokio::task::spawn_blocking(work).await.map_err(Error::Task)?
}

fn learn(
    config: &Config,
    state: &SyncState,
    now: Timestamp,
    is_known: &dyn Fn(&Reference) -> bool,
    progress: &Progress,
) -> Result<Outcome, Error> {
    let folder = Folder::open(config.folder())?;
    let bytes = read_signed(&folder, config, now)?;
    let settings = config.digest().to_string();
    let digest = Digest::of(&bytes).to_string();
    if state.settings == settings && state.manifest == digest {
        return Ok(Outcome::Unchanged { state: state.clone() });
    }
    let refused = |faults| Error::Manifest { folder: config.folder().to_owned(), faults };
    let manifest = manifest::read(&bytes, config.name()).map_err(refused)?;
    // The time holds whatever else changed of the settings, but for one folder.
    let last = state.released.filter(|_| state.folder == config.folder());
    check_time(manifest.released, last, now)?;
    let mut faults = references::foreign(&manifest, config.name(), is_known);
    faults.extend(check::lengths(&folder, &manifest, progress));
    if !faults.is_empty() {
        return Err(refused(Faults::new(faults)));
    }
    let state = SyncState {
        settings,
        manifest: digest,
        folder: config.folder().to_owned(),
        released: manifest.released.or(last),
    };
    let revisions = revisions::all(manifest, config.name(), config.is_unsigned());
    Ok(Outcome::Changed { revisions, state })
}

/// The manifest's bytes, once a key of the keyring vouches for them.
fn read_signed(folder: &Folder, config: &Config, now: Timestamp) -> Result<Vec<u8>, Error> {
    let missing = || Error::NoManifest(folder.path().to_owned());
    let bytes = folder.read(MANIFEST, MAX_MANIFEST)?.ok_or_else(missing)?;
    let Some(keyring) = config.keyring() else { return Ok(bytes) };
    verify(folder, keyring, &bytes, now)?;
    Ok(bytes)
}

fn verify(
    folder: &Folder,
    keyring: &openpgp::Keyring,
    bytes: &[u8],
    now: Timestamp,
) -> Result<(), Error> {
    for name in SIGNATURES {
        let Some(signature) = folder.read(name, MAX_SIGNATURE)? else { continue };
        let path = folder.path().join(MANIFEST);
        return keyring
            .verify_detached(bytes, &signature, now)
            .map(|_| ())
            .map_err(|source| Error::Signature { path, source });
    }
    Err(Error::NoSignature { folder: folder.path().to_owned() })
}

fn check_time(
    released: Option<Timestamp>,
    last: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), Error> {
    match (released, last) {
        (Some(released), _) if released > now + CLOCK_SKEW => Err(Error::Future(released)),
        (Some(released), Some(last)) if released < last => Err(Error::Older { released, last }),
        (None, Some(last)) => Err(Error::Undated { last }),
        _ => Ok(()),
    }
}

/// Copies a payload to the file `path`, which appears only when it is whole
/// and verified.
///
/// # Errors
/// [`Error::Mismatch`] where length or SHA-256 differ, among others.
pub async fn fetch_payload_to(
    config: &Config,
    payload: &Payload,
    path: &Path,
    progress: &Progress,
) -> Result<(), Error> {
    let (config, payload) = (config.clone(), payload.clone());
    let (path, progress) = (path.to_owned(), progress.clone());
    let work = move || copy(&config, &payload, &path, &progress);
    tokio::task::spawn_blocking(work).await.map_err(Error::Task)?
}

fn copy(config: &Config, payload: &Payload, path: &Path, progress: &Progress) -> Result<(), Error> {
    let written = |source| Error::Write { path: path.to_owned(), source };
    let folder = Folder::open(config.folder())?;
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let mut file = std::fs::File::create(&part).map_err(written)?;
    let progress = |bytes| progress.step(&payload.filename, bytes, payload.length);
    let found = folder.copy(&payload.filename, payload.length, &mut file, progress)?;
    let said = folder::Content { length: payload.length, sha256: payload.sha256 };
    if found != said {
        let _ = std::fs::remove_file(&part);
        let path = folder.path().join(&payload.filename);
        return Err(Error::Mismatch { path, what: differs(&said, &found) });
    }
    file.sync_all().map_err(written)?;
    std::fs::rename(&part, path).map_err(written)
}

/// How a file differs from what was said of it.
fn differs(said: &folder::Content, found: &folder::Content) -> String {
    if found.length > said.length {
        return format!("it has more than the {} bytes stated", said.length);
    }
    if found.length < said.length {
        return format!("it has {} bytes, not {}", found.length, said.length);
    }
    let short = |sha256: &Sha256| sha256.to_string();
    format!("its SHA-256 is {}, not {}", short(&found.sha256), short(&said.sha256))
}

#[cfg(test)]
mod tests;
