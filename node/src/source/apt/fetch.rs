//! Fetching a suite's metadata: `Release` in its two forms, and indices into
//! the cache.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use patchmesh_topology::digest::Digest;
use url::Url;

use super::config::Config;
use super::index::IndexFile;
use super::release::{Index, Offer, Release};
use super::{Error, SyncState};
use crate::openpgp::Signer;
use crate::source::Progress;
use crate::source::http::{Answer, Expected, Http, Validators, hash_file, shown};

/// The largest `InRelease` or `Release`; Debian unstable's has 200 KiB.
const MAX_RELEASE: u64 = 8 << 20;

/// The largest `Release.gpg`.
const MAX_SIGNATURE: u64 = 256 << 10;

/// Indices fetched at a time; the client bounds requests as well.
const INDICES_AT_A_TIME: usize = 2;

/// Signed text, verified.
pub(super) struct Fetched {
    pub(super) file: &'static str,
    pub(super) url: String,
    pub(super) text: String,
    pub(super) signer: Signer,
    pub(super) validators: Validators,
}

/// Fetches and verifies the suite's `Release`, unless it is the known one.
pub(super) async fn release(
    config: &Config,
    http: &Http,
    known: &SyncState,
    now: Timestamp,
    progress: &Progress,
) -> Result<Option<Fetched>, Error> {
    let directory = config.suite.directory();
    let get = async |file: &'static str, limit| {
        let name = format!("{directory}{file}");
        progress.step(&name, 0, 0);
        let none = Validators::default();
        let validators = if known.release_file == file { &known.validators } else { &none };
        let url = below(&config.base, &name);
        let answer = http.get(&url, limit, validators).await;
        answer
            .map(|answer| (shown(&url), answer))
            .map_err(|source| Error::Fetch { file: name, source })
    };

    let (url, answer) = get("InRelease", MAX_RELEASE).await?;
    match answer {
        Answer::Unchanged => return Ok(None),
        Answer::Body { bytes, validators } => {
            let fault = |source| Error::Signature { url: url.clone(), source };
            let signed = config.keyring.verify_cleartext(&bytes, now).map_err(fault)?;
            let (text, signer) = (signed.text, signed.signer);
            return Ok(Some(Fetched { file: "InRelease", url, text, signer, validators }));
        }
        Answer::Missing => {}
    }
    let (url, answer) = get("Release", MAX_RELEASE).await?;
    let (bytes, validators) = match answer {
        Answer::Unchanged => return Ok(None),
        Answer::Missing => {
            return Err(Error::NoRelease(shown(&below(&config.base, &directory))));
        }
        Answer::Body { bytes, validators } => (bytes, validators),
    };
    let signature = match get("Release.gpg", MAX_SIGNATURE).await? {
        (_, Answer::Body { bytes, .. }) => bytes,
        (url, _) => return Err(Error::NoSignature(url)),
    };
    let fault = |source| Error::Signature { url: url.clone(), source };
    let signer = config.keyring.verify_detached(&bytes, &signature, now).map_err(fault)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(Some(Fetched { file: "Release", url, text, signer, validators }))
}

/// Names a set of indices: with the same name, the same revisions.
pub(super) fn names(indices: &[Index]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for index in indices {
        hasher.update(&(index.component.len() as u64).to_le_bytes());
        hasher.update(index.component.as_bytes());
        hasher.update(&(index.offers.len() as u64).to_le_bytes());
        for offer in &index.offers {
            hasher.update(offer.expected.sha256.as_bytes());
        }
    }
    hasher.finalize().into()
}

/// Brings indices into the cache, verified, and removes what is there of
/// earlier times.
pub(super) async fn indices(
    config: &Config,
    http: &Http,
    release: &Release,
    indices: Vec<Index>,
    cache: &Path,
    progress: &Progress,
) -> Result<Vec<IndexFile>, Error> {
    let fault = |source| Error::Cache { path: cache.to_owned(), source };
    tokio::fs::create_dir_all(cache).await.map_err(fault)?;
    let one =
        |index: Index| async move { one(config, http, release, index, cache, progress).await };
    let files: Vec<IndexFile> =
        stream::iter(indices).map(one).buffered(INDICES_AT_A_TIME).try_collect().await?;
    let keep: HashSet<OsString> =
        files.iter().filter_map(|file| file.path.file_name()).map(OsString::from).collect();
    prune(cache, &keep).await.map_err(fault)?;
    Ok(files)
}

/// One index: from the cache, or in the best form that the server really has.
async fn one(
    config: &Config,
    http: &Http,
    release: &Release,
    index: Index,
    cache: &Path,
    progress: &Progress,
) -> Result<IndexFile, Error> {
    let cap = config.max_index;
    let file = |offer: &Offer| IndexFile {
        name: format!("{}{}", config.suite.directory(), offer.path),
        component: index.component.clone(),
        path: cache.join(format!("{}.index", offer.expected.sha256)),
        packing: offer.packing,
        unpacked: index.unpacked,
        cap,
    };
    for offer in &index.offers {
        let file = file(offer);
        // Nothing is fetched that would be refused once it is here.
        if index.unpacked.is_some_and(|length| length > cap) || offer.expected.length > cap {
            return Err(Error::UnpackedLong { file: file.name, cap });
        }
        if is_cached(file.path.clone(), offer.expected).await {
            return Ok(file);
        }
    }
    let mut missing = None;
    for offer in &index.offers {
        let file = file(offer);
        match bring(config, http, release, offer, &file.path, progress).await {
            Ok(()) => return Ok(file),
            Err(source) if source.is_missing() => {
                missing = Some(Error::Fetch { file: file.name, source });
            }
            Err(source) => return Err(Error::Fetch { file: file.name, source }),
        }
    }
    // An index has at least one offer, and each that did not return left its error.
    Err(missing.unwrap_or_else(|| Error::NoIndex { url: shown(&config.base), path: String::new() }))
}

async fn bring(
    config: &Config,
    http: &Http,
    release: &Release,
    offer: &Offer,
    path: &Path,
    progress: &Progress,
) -> Result<(), crate::source::http::Error> {
    let directory = config.suite.directory();
    let report = |bytes| progress.step(&offer.path, bytes, offer.expected.length);
    report(0);
    if release.by_hash {
        let folder =
            offer.path.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        let name = format!("{directory}{folder}by-hash/SHA256/{}", offer.expected.sha256);
        match http.download_to(&below(&config.base, &name), offer.expected, path, report).await {
            // Some mirrors promise by-hash and do not carry it.
            Err(error) if error.is_missing() => {}
            result => return result,
        }
    }
    let name = format!("{directory}{}", offer.path);
    http.download_to(&below(&config.base, &name), offer.expected, path, report).await
}

/// Whether the file is there and still what it was when it was verified.
async fn is_cached(path: PathBuf, expected: Expected) -> bool {
    let hashed = tokio::task::spawn_blocking(move || hash_file(&path)).await;
    matches!(hashed, Ok(Ok(found)) if found == expected)
}

/// Removes files of ours that are not in `keep`; anything else is left alone.
async fn prune(cache: &Path, keep: &HashSet<OsString>) -> std::io::Result<()> {
    let mut entries = tokio::fs::read_dir(cache).await?;
    while let Some(entry) = entries.next_entry().await? {
        let name = entry.file_name();
        let ours = name
            .to_str()
            .is_some_and(|name| name.ends_with(".index") || name.ends_with(".index.part"));
        if ours && !keep.contains(&name) {
            tokio::fs::remove_file(entry.path()).await?;
        }
    }
    Ok(())
}

/// The URL of a path below the base, each byte that could mean something else
/// encoded; `+` and `~` too, which some object stores misread.
pub(super) fn below(base: &Url, path: &str) -> Url {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_');
    let mut url = base.clone();
    url.set_path(&format!("{}{}", base.path(), utf8_percent_encode(path, PATH)));
    url
}
