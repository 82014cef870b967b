//! Downloads of known length and SHA-256, resumed where they broke off.

use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use http::{HeaderValue, StatusCode, header};
use patchmesh_topology::digest::Sha256;
use reqwest::Response;
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use url::Url;

use super::{Error, Http, shown, within};
use crate::hash;

/// An attempt that brings this much is no failure in a row, so that a line which
/// is often cut gets there, and a server that sends byte by byte does not go on.
const PROGRESS_THAT_COUNTS: u64 = 1 << 20;

/// What a download has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Bytes.
    pub length: u64,
    /// The vendor's hash.
    pub sha256: Sha256,
}

/// How far a download is and what it hashes to so far.
struct Position {
    bytes: u64,
    hasher: Context,
}

impl Position {
    fn start() -> Self {
        Self { bytes: 0, hasher: Context::new(&SHA256) }
    }

    fn digest(&self) -> Sha256 {
        hash::finish(self.hasher.clone())
    }
}

impl Http {
    /// Downloads into `sink`, which gets each byte once and in order. What it
    /// got is only good if this returns without error.
    pub async fn download<W: AsyncWrite + Unpin>(
        &self,
        url: &Url,
        expected: Expected,
        sink: &mut W,
        progress: impl Fn(u64),
    ) -> Result<(), Error> {
        self.resume(url, expected, Position::start(), sink, &progress).await
    }

    /// Downloads into the file `path`, which appears only when all of it is here
    /// and verified. What a cut leaves stays beside it (`.part`) and is taken up
    /// by the next call.
    pub async fn download_to(
        &self,
        url: &Url,
        expected: Expected,
        path: &Path,
        progress: impl Fn(u64),
    ) -> Result<(), Error> {
        let mut name = path.as_os_str().to_owned();
        name.push(".part");
        let part = PathBuf::from(name);
        let store = |source| Error::Store { url: shown(url).into(), source };

        let position = taken_up(&part, expected.length).await;
        let resumed = position.bytes > 0;
        let mut file = open_part(&part, position.bytes).await.map_err(store)?;
        let mut result = self.resume(url, expected, position, &mut file, &progress).await;
        let misled = matches!(
            &result,
            Err(Error::Digest { .. } | Error::Part { .. } | Error::Status { .. })
        );
        if resumed && misled {
            // The old part may be what is wrong.
            file = open_part(&part, 0).await.map_err(store)?;
            result = self.resume(url, expected, Position::start(), &mut file, &progress).await;
        }
        file.flush().await.map_err(store)?;
        if let Err(error) = result {
            if matches!(error, Error::Digest { .. } | Error::Long { .. }) {
                // Only a hint for next time; that it cannot be removed changes nothing.
                let _ = tokio::fs::remove_file(&part).await;
            }
            return Err(error);
        }
        file.sync_all().await.map_err(store)?;
        tokio::fs::rename(&part, path).await.map_err(store)
    }

    async fn resume<W: AsyncWrite + Unpin>(
        &self,
        url: &Url,
        expected: Expected,
        mut position: Position,
        sink: &mut W,
        progress: &impl Fn(u64),
    ) -> Result<(), Error> {
        let attempts = async {
            let mut failures = 0;
            while position.bytes < expected.length {
                let before = position.bytes;
                match self.attempt(url, expected, &mut position, sink, progress).await {
                    Ok(()) => {}
                    Err(error) if error.is_transient() => {
                        if position.bytes - before >= PROGRESS_THAT_COUNTS {
                            failures = 0;
                        }
                        self.wait_after(&mut failures, error).await?;
                    }
                    Err(error) => return Err(error),
                }
            }
            sink.flush().await.map_err(|source| Error::Store { url: shown(url).into(), source })
        };
        within(url, expected.length, attempts).await?;
        match position.digest() {
            got if got == expected.sha256 => Ok(()),
            got => Err(Error::Digest { url: shown(url).into(), expected: expected.sha256, got }),
        }
    }

    /// One request from where the download is; ends well only with the last byte.
    async fn attempt<W: AsyncWrite + Unpin>(
        &self,
        url: &Url,
        expected: Expected,
        position: &mut Position,
        sink: &mut W,
        progress: &impl Fn(u64),
    ) -> Result<(), Error> {
        let _permit = self.permits.acquire().await;
        let mut request = self.client.get(url.clone());
        if position.bytes > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", position.bytes));
        }
        let cut = |received, source: reqwest::Error| Error::Transfer {
            url: shown(url).into(),
            received,
            source: source.without_url(),
        };
        let mut response = request.send().await.map_err(|source| cut(position.bytes, source))?;
        let mut skip = begins_at(url, &response, position.bytes, expected.length)?;
        while let Some(chunk) =
            response.chunk().await.map_err(|source| cut(position.bytes, source))?
        {
            // A server without ranges begins anew; what is here already is passed over.
            let passed = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            skip -= passed as u64;
            let fresh = &chunk[passed..];
            if fresh.len() as u64 > expected.length - position.bytes {
                return Err(Error::Long { url: shown(url).into(), limit: expected.length });
            }
            sink.write_all(fresh)
                .await
                .map_err(|source| Error::Store { url: shown(url).into(), source })?;
            position.hasher.update(fresh);
            position.bytes += fresh.len() as u64;
            progress(position.bytes);
        }
        if position.bytes == expected.length {
            return Ok(());
        }
        // A whole answer that is short: the file itself is.
        Err(Error::Length {
            url: shown(url).into(),
            expected: expected.length,
            got: position.bytes,
        })
    }
}

/// How many bytes of the answer are here already.
fn begins_at(url: &Url, response: &Response, have: u64, length: u64) -> Result<u64, Error> {
    let wrong_length = |got| Error::Length { url: shown(url).into(), expected: length, got };
    match response.status() {
        StatusCode::OK => match response.content_length() {
            Some(got) if got != length => Err(wrong_length(got)),
            _ => Ok(have),
        },
        StatusCode::PARTIAL_CONTENT if have > 0 => {
            let range = response.headers().get(header::CONTENT_RANGE).and_then(content_range);
            match range {
                Some((_, Some(got))) if got != length => Err(wrong_length(got)),
                Some((start, _)) if start == have => Ok(0),
                _ => Err(Error::Part { url: shown(url).into() }),
            }
        }
        status => Err(Error::Status { url: shown(url).into(), status }),
    }
}

/// Start and, unless it is `*`, whole length of `bytes START-END/LENGTH`.
fn content_range(value: &HeaderValue) -> Option<(u64, Option<u64>)> {
    let (range, length) = value.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-')?.0.parse().ok()?;
    match length {
        "*" => Some((start, None)),
        length => Some((start, Some(length.parse().ok()?))),
    }
}

/// Takes up what an earlier call left; anything odd about it means the start.
async fn taken_up(part: &Path, length: u64) -> Position {
    match tokio::fs::metadata(part).await {
        Ok(found) if found.is_file() && found.len() > 0 && found.len() <= length => {}
        _ => return Position::start(),
    }
    let path = part.to_owned();
    let hashed = tokio::task::spawn_blocking(move || hash::read(std::fs::File::open(path)?)).await;
    match hashed {
        Ok(Ok((bytes, hasher))) if bytes <= length => Position { bytes, hasher },
        _ => Position::start(),
    }
}

async fn open_part(part: &Path, keep: u64) -> std::io::Result<File> {
    let mut file = OpenOptions::new().create(true).write(true).truncate(false).open(part).await?;
    file.set_len(keep).await?;
    tokio::io::AsyncSeekExt::seek(&mut file, std::io::SeekFrom::Start(keep)).await?;
    Ok(file)
}

/// Length and SHA-256 of a file. Blocks.
pub fn hash_file(path: &Path) -> std::io::Result<Expected> {
    let (length, hasher) = hash::read(std::fs::File::open(path)?)?;
    Ok(Expected { length, sha256: hash::finish(hasher) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_content_range() {
        let read = |text: &'static str| content_range(&HeaderValue::from_static(text));
        assert_eq!(read("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(read("bytes 5-9/*"), Some((5, None)));
        for bad in ["", "bytes */10", "bytes 5/10", "items 5-9/10", "bytes -9/10", "bytes 5-9/x"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
