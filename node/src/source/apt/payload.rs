//! Fetching one package's file, verified by what the index says of it.

use std::path::Path;

use patchmesh_topology::revision::Payload;
use tokio::io::AsyncWrite;
use url::Url;

use super::Error;
use super::config::Config;
use super::fetch::below;
use super::index::is_safe_path;
use crate::source::Progress;
use crate::source::http::{self, Expected, Http};

/// Where a payload's file is.
pub fn payload_url(config: &Config, payload: &Payload) -> Result<Url, Error> {
    // Checked when the index was read, and again here: the payload comes from a document.
    if !is_safe_path(&payload.filename) {
        return Err(Error::Filename {
            package: payload.package.clone(),
            filename: payload.filename.clone(),
        });
    }
    let path = payload.filename.trim_start_matches("./");
    Ok(below(&config.base, path))
}

/// Downloads a payload into `sink`, which gets each byte once and in order. What
/// it got is only good if this returns without error: length and SHA-256 are
/// then what the vendor's index says.
pub async fn fetch_payload<W: AsyncWrite + Unpin>(
    config: &Config,
    http: &Http,
    payload: &Payload,
    sink: &mut W,
    progress: &Progress,
) -> Result<(), Error> {
    let url = payload_url(config, payload)?;
    let report = |bytes| progress.step(&payload.filename, bytes, payload.length);
    http.download(&url, expected(payload), sink, report)
        .await
        .map_err(|source| failed(payload, source))
}

/// Downloads a payload into the file `path`, which appears only when it is whole
/// and verified. What a cut leaves is taken up by the next call for this path.
pub async fn fetch_payload_to(
    config: &Config,
    http: &Http,
    payload: &Payload,
    path: &Path,
    progress: &Progress,
) -> Result<(), Error> {
    let url = payload_url(config, payload)?;
    let report = |bytes| progress.step(&payload.filename, bytes, payload.length);
    http.download_to(&url, expected(payload), path, report)
        .await
        .map_err(|source| failed(payload, source))
}

fn expected(payload: &Payload) -> Expected {
    Expected { length: payload.length, sha256: payload.sha256 }
}

fn failed(payload: &Payload, source: http::Error) -> Error {
    let Payload { package, version, architecture, .. } = payload;
    Error::Payload { package: format!("{package} {version} ({architecture})"), source }
}
