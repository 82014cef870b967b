//! One payload: downloaded from its vendor, verified, stored as a blob.

use bytes::BytesMut;
use patchmesh_topology::revision::{Binding, Payload};
use tokio::io::AsyncReadExt;

use crate::source::http::Http;
use crate::source::{Progress, apt};
use crate::store::{self, ImportOptions, Store};

/// Folder in the data folder for downloads that are not whole yet.
const DOWNLOADS: &str = "downloads";
/// Bytes read at a time when a download becomes a blob.
const PART: usize = 1 << 20;

/// Why a payload did not become a blob.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the vendor did not deliver it")]
    Source(#[from] apt::Error),
    #[error("it could not be stored")]
    Store(#[from] store::Error),
    #[error("the folder or file of the download cannot be used")]
    Download(#[source] std::io::Error),
}

/// Downloads a payload, verified, and stores it as a blob. What a cut leaves
/// of a download is taken up by the next attempt.
pub(super) async fn run(
    store: &Store,
    config: &apt::Config,
    http: &Http,
    payload: &Payload,
    progress: &Progress,
) -> Result<Binding, Error> {
    let folder = store.path().join(DOWNLOADS);
    tokio::fs::create_dir_all(&folder).await.map_err(Error::Download)?;
    let path = folder.join(payload.sha256.to_string());
    // The download and the blob made of it lie side by side for a moment. A
    // payload that does not fit must not fill the disk for those that do.
    let held = tokio::fs::metadata(&path).await.map_or(0, |download| download.len());
    let wanted = payload.length.saturating_mul(2).saturating_sub(held);
    store.run(move |store| store.ensure_space(wanted)).await?;
    apt::fetch_payload_to(config, http, payload, &path, progress).await?;
    let mut file = tokio::fs::File::open(&path).await.map_err(Error::Download)?;
    let mut writer = store.import(ImportOptions { sha256: true, limit: Some(payload.length) });
    loop {
        let mut part = BytesMut::with_capacity(PART);
        if file.read_buf(&mut part).await.map_err(Error::Download)? == 0 {
            break;
        }
        writer.write(part.freeze()).await?;
    }
    let imported = writer.finish().await?;
    // The blob is durable, so what is left of the download is waste.
    let _ = tokio::fs::remove_file(&path).await;
    Ok(Binding { sha256: payload.sha256, blob: imported.digest, length: imported.length })
}
