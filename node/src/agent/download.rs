//! Payloads from the node, over HTTPS with ranges: what broke off goes on where
//! it was, after restarts too. The vendor's digest is verified while the bytes
//! come; what differs is thrown away.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use http::{Response, StatusCode};
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::revision::Payload;

use tonic::body::Body;

use super::link::{self, Link};
use crate::pace::Pace;
use crate::{durable, hash};

/// Why a payload is not here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node cannot be asked.
    #[error(transparent)]
    Link(#[from] link::Error),
    /// The node does not serve it.
    #[error(
        "the node does not serve {0}: a brake of its site holds it, or it has not arrived there"
    )]
    Absent(String),
    /// Nobody can be asked for it.
    #[error("{0} is not here yet, and no node is reached")]
    CutOff(String),
    /// Other bytes than the vendor's.
    #[error("{0} is not what its vendor released: the node sent something else")]
    Mismatch(String),
    /// It ended early.
    #[error("{name} ended after {found} of {length} bytes; it goes on there next time")]
    Short {
        /// Which.
        name: String,
        /// Bytes that are here.
        found: u64,
        /// All of them.
        length: u64,
    },
    /// The disk.
    #[error("cannot write {}", path.display())]
    Write {
        /// What.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Error {
    /// Whether it may come later: nothing is wrong with the update.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        !matches!(self, Self::Mismatch(_))
    }
}

/// A download that is on its way.
struct Part {
    path: PathBuf,
    file: File,
    context: Context,
    length: u64,
}

impl Part {
    /// Opens what is there of a payload, and hashes it.
    fn open(path: PathBuf) -> Result<Self, Error> {
        let failed = |source| Error::Write { path: path.clone(), source };
        let file =
            OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(failed)?;
        let (length, context) = hash::read(&file).map_err(failed)?;
        Ok(Self { path, file, context, length })
    }

    fn begin_again(&mut self) -> Result<(), Error> {
        self.file.set_len(0).map_err(|source| Error::Write { path: self.path.clone(), source })?;
        (self.context, self.length) = (Context::new(&SHA256), 0);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file
            .write_all(bytes)
            .map_err(|source| Error::Write { path: self.path.clone(), source })?;
        self.context.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn is_it(&self, sha256: &Sha256) -> bool {
        hash::finish(self.context.clone()) == *sha256
    }
}

/// Whether a payload's file is below `folder` in its length; what is in it is
/// looked at when it is fetched.
#[must_use]
pub fn is_here(payload: &Payload, folder: &Path) -> bool {
    let whole = folder.join(payload.sha256.to_string()).join(payload.file_name());
    fs::metadata(whole).is_ok_and(|one| one.len() == payload.length)
}

/// The payload's file below `folder`, fetched as far as it is not there. A node
/// that is reached has to serve it still: a brake of its site holds what came
/// before it was pulled too.
///
/// # Errors
/// It cannot be had now; what came of it stays for the next time, unless it is
/// not what the vendor released.
pub async fn fetch(
    link: Option<&Link>,
    payload: &Payload,
    folder: &Path,
    pace: &Pace,
) -> Result<PathBuf, Error> {
    let name = payload.file_name();
    let place = folder.join(payload.sha256.to_string());
    durable::make_folder(&place).map_err(|source| Error::Write { path: place.clone(), source })?;
    let whole = place.join(name);
    if is_here(payload, folder) && Part::open(whole.clone())?.is_it(&payload.sha256) {
        if let Some(link) = link {
            open(link, payload, payload.length.saturating_sub(1)).await?;
        }
        return Ok(whole);
    }
    let link = link.ok_or_else(|| Error::CutOff(name.to_owned()))?;
    // No vendor's name ends so: it would have to be called like its own part.
    let mut part = Part::open(place.join(format!("{name}.part")))?;
    if part.length > payload.length {
        part.begin_again()?;
    }
    if part.length < payload.length {
        receive(link, payload, &mut part, pace).await?;
    }
    finish(payload, part, &whole)?;
    Ok(whole)
}

async fn open(link: &Link, payload: &Payload, from: u64) -> Result<Response<Body>, Error> {
    let path = format!("/content/sha256/{}", payload.sha256);
    let response = link.open(&path, from).await?;
    response.ok_or_else(|| Error::Absent(payload.file_name().to_owned()))
}

async fn receive(
    link: &Link,
    payload: &Payload,
    part: &mut Part,
    pace: &Pace,
) -> Result<(), Error> {
    let name = || payload.file_name().to_owned();
    let response = open(link, payload, part.length).await?;
    if response.status() == StatusCode::OK {
        part.begin_again()?;
    }
    let mut body = response.into_body();
    while let Some(bytes) = link.next(&mut body).await? {
        if part.length + bytes.len() as u64 > payload.length {
            part.begin_again()?;
            return Err(Error::Mismatch(name()));
        }
        part.write(&bytes)?;
        // What is not read yet holds the node back.
        pace.pass(bytes.len()).await;
    }
    if part.length < payload.length {
        return Err(Error::Short { name: name(), found: part.length, length: payload.length });
    }
    Ok(())
}

fn finish(payload: &Payload, mut part: Part, whole: &Path) -> Result<(), Error> {
    if !part.is_it(&payload.sha256) {
        part.begin_again()?;
        return Err(Error::Mismatch(payload.file_name().to_owned()));
    }
    let failed = |source| Error::Write { path: whole.to_owned(), source };
    part.file.sync_all().map_err(failed)?;
    fs::rename(&part.path, whole).map_err(failed)?;
    let folder = whole.parent().unwrap_or(whole);
    durable::sync_folder(folder).map_err(failed)
}

/// Removes what is of none of the payloads `wanted`, as far as it can be removed.
pub fn prune(folder: &Path, wanted: &BTreeSet<Sha256>) {
    let is_wanted = |name: &OsStr| {
        let sha256 = name.to_str().and_then(|name| name.parse::<Sha256>().ok());
        sha256.is_some_and(|sha256| wanted.contains(&sha256))
    };
    let prune = || -> std::io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if !is_wanted(&entry.file_name()) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    };
    if let Err(error) = prune() {
        tracing::warn!(folder = %folder.display(), %error, "a file that is needed no more cannot be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_no_more_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let (kept, gone) = (Sha256::from_bytes([1; 32]), Sha256::from_bytes([2; 32]));
        for place in [kept, gone] {
            let place = folder.path().join(place.to_string());
            fs::create_dir(&place).expect("a folder");
            fs::write(place.join("app.part"), "half").expect("a file");
        }
        prune(folder.path(), &BTreeSet::from([kept]));
        assert!(folder.path().join(kept.to_string()).join("app.part").exists());
        assert!(!folder.path().join(gone.to_string()).exists());
    }
}
