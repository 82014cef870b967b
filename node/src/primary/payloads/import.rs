//! One payload: downloaded from its vendor, verified, stored as a blob.
//!
//! A download stays beside the blobs until its binding is published, so that
//! neither a crash nor a full disk makes the vendor send it twice.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::revision::{Binding, Payload};
use tokio::io::AsyncReadExt;

use crate::content::{Content, Item};
use crate::primary::sources;
use crate::source::{self, Progress, Source};
use crate::store::{self, ImportOptions, Imported, Store};

/// Folder in the data folder for downloads that are not bound yet.
const DOWNLOADS: &str = "downloads";
/// Bytes read at a time when a download becomes a blob.
const PART: usize = 1 << 20;

/// Why a payload did not become a blob.
#[derive(Debug, thiserror::Error)]
pub(in crate::primary) enum Error {
    #[error("its source cannot be used")]
    Unusable(#[from] sources::Error),
    #[error("it does not fit on the disk yet")]
    HeldBack(#[source] store::Error),
    #[error("the vendor did not deliver it")]
    Source(#[from] source::Error),
    #[error("it could not be stored")]
    Store(#[from] store::Error),
    #[error("the folder or file of the download cannot be used")]
    Download(#[source] std::io::Error),
    #[error("its download changed on this disk; it is fetched anew")]
    Damaged,
}

/// Downloads a payload, verified, and stores it as a blob. What a cut leaves
/// of a download is taken up by the next attempt, and so is a whole one.
pub(super) async fn run(
    content: &Content,
    source: &Source,
    payload: &Payload,
    progress: &Progress,
) -> Result<Binding, Error> {
    let store = content.store();
    let path = file(store, &payload.sha256);
    // A payload that does not fit must not fill the disk for those that do.
    let lacks = lacks(store, payload).await;
    let room = content.claim_room(Item::Payload(payload.sha256), lacks, true).await;
    room.map_err(|error| match error {
        error if error.is_disk_full() => Error::HeldBack(error),
        error => Error::Store(error),
    })?;
    download(store, source, payload, progress).await?;
    let imported = read_in(store, payload, &path).await?;
    if imported.sha256 != Some(payload.sha256) {
        let _ = tokio::fs::remove_file(&path).await;
        return Err(Error::Damaged);
    }
    Ok(Binding { sha256: payload.sha256, blob: imported.digest, length: imported.length })
}

/// Bytes that the disk still has to give: the download and the blob made of it lie
/// side by side for a moment.
pub(super) async fn lacks(store: &Store, payload: &Payload) -> u64 {
    let path = file(store, &payload.sha256);
    let mut part = path.clone().into_os_string();
    part.push(".part");
    let mut held = 0;
    for path in [path, part.into()] {
        held += tokio::fs::metadata(&path).await.map_or(0, |found| found.len());
    }
    payload.length.saturating_mul(2).saturating_sub(held)
}

/// Brings a payload to its file beside the blobs, verified by what the vendor
/// states of it, unless it is there already; where that is.
pub(in crate::primary) async fn download(
    store: &Store,
    source: &Source,
    payload: &Payload,
    progress: &Progress,
) -> Result<PathBuf, Error> {
    tokio::fs::create_dir_all(folder(store)).await.map_err(Error::Download)?;
    let path = file(store, &payload.sha256);
    let held = tokio::fs::metadata(&path).await.map_or(0, |download| download.len());
    if held != payload.length {
        source.fetch_payload_to(payload, &path, progress).await?;
    }
    Ok(path)
}

async fn read_in(store: &Store, payload: &Payload, path: &Path) -> Result<Imported, Error> {
    let mut file = tokio::fs::File::open(path).await.map_err(Error::Download)?;
    let mut writer = store.import(ImportOptions { sha256: true, limit: Some(payload.length) });
    loop {
        let mut part = BytesMut::with_capacity(PART);
        if file.read_buf(&mut part).await.map_err(Error::Download)? == 0 {
            break;
        }
        writer.write(part.freeze()).await?;
    }
    Ok(writer.finish().await?)
}

/// Removes the downloads of payloads that are bound. One that stays is waste
/// until the next start, no more.
pub(in crate::primary) async fn bound(store: &Store, payloads: &[Sha256]) {
    for sha256 in payloads {
        let _ = tokio::fs::remove_file(file(store, sha256)).await;
    }
}

/// Removes the downloads that `wanted` does not name: those of what was declined,
/// or bound just when the node ended.
pub(super) async fn sweep(store: &Store, wanted: &HashSet<Sha256>) {
    let Ok(mut files) = tokio::fs::read_dir(folder(store)).await else { return };
    while let Ok(Some(file)) = files.next_entry().await {
        let name = file.file_name();
        let sha256 = name.to_str().and_then(|name| name.trim_end_matches(".part").parse().ok());
        if sha256.is_some_and(|sha256| !wanted.contains(&sha256)) {
            let _ = tokio::fs::remove_file(file.path()).await;
        }
    }
}

fn folder(store: &Store) -> PathBuf {
    store.path().join(DOWNLOADS)
}

fn file(store: &Store, sha256: &Sha256) -> PathBuf {
    folder(store).join(sha256.to_string())
}
