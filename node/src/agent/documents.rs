//! Signed documents in files by digest: what has not changed is not fetched
//! again. Every file is compared with its digest whenever it is read.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use patchmesh_proto::document::{self, MAX_DOCUMENT};
use patchmesh_topology::digest::Digest;
use patchmesh_topology::report::MAX_DIGESTS;
use patchmesh_topology::revision::DocumentRef;

use super::link::{self, Link};
use crate::durable;

/// Why a document cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node cannot be asked.
    #[error(transparent)]
    Link(#[from] link::Error),
    /// The node lacks it.
    #[error("the node does not have document {0}, which is signed; it may be there shortly")]
    Absent(Digest),
    /// The node sent something else.
    #[error("the node sent something else for document {0}: it is not to be trusted")]
    Mismatch(Digest),
    /// Nobody can be asked for it.
    #[error("document {0}, which is signed, is not at hand")]
    CutOff(Digest),
    /// More than a machine takes.
    #[error("document {digest} has {length} bytes, more than {MAX_DOCUMENT}")]
    Long {
        /// Which.
        digest: Digest,
        /// Bytes.
        length: u64,
    },
    /// It cannot be kept.
    #[error("cannot keep a document in {}", folder.display())]
    Keep {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The documents that are at hand.
#[derive(Debug, Clone)]
pub struct Documents {
    folder: PathBuf,
}

impl Documents {
    /// Those of a folder.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// A document that is at hand and whole.
    fn get(&self, document: &DocumentRef) -> Option<Bytes> {
        let path = self.folder.join(document.digest.to_string());
        let metadata = fs::metadata(&path).ok()?;
        if metadata.len() != document.length || is_long(document) {
            return None;
        }
        let bytes = fs::read(path).ok()?;
        (document::reference(&bytes) == *document).then(|| bytes.into())
    }

    /// Keeps a document that was compared with its digest.
    fn keep(&self, document: &DocumentRef, bytes: &[u8]) -> Result<(), Error> {
        let path = self.folder.join(document.digest.to_string());
        durable::replace(&path, bytes, durable::SECRET)
            .map_err(|source| Error::Keep { folder: self.folder.clone(), source })
    }

    /// Those of `wanted`, by their digests: from here, or else from the node, where
    /// there is one.
    ///
    /// # Errors
    /// The first that cannot be had.
    pub async fn fetch(
        &self,
        link: Option<&Link>,
        wanted: &[DocumentRef],
    ) -> Result<HashMap<Digest, Bytes>, Error> {
        let (mut found, mut lacking) = (HashMap::with_capacity(wanted.len()), Vec::new());
        for document in wanted {
            match self.get(document) {
                Some(bytes) => drop(found.insert(document.digest, bytes)),
                None => lacking.push(*document),
            }
        }
        if let Some(DocumentRef { digest, length }) = lacking.iter().find(|one| is_long(one)) {
            return Err(Error::Long { digest: *digest, length: *length });
        }
        while let Some(first) = lacking.first() {
            let link = link.ok_or(Error::CutOff(first.digest))?;
            // The node sends as many as fit.
            let asked = &lacking[..lacking.len().min(MAX_DIGESTS)];
            let digests: Vec<Digest> = asked.iter().map(|one| one.digest).collect();
            let came = link.documents(&digests).await?;
            let count = came.len().min(asked.len());
            if count == 0 {
                return Err(Error::Absent(digests[0]));
            }
            for (document, bytes) in asked.iter().zip(came) {
                if bytes.is_empty() {
                    return Err(Error::Absent(document.digest));
                }
                if document::reference(&bytes) != *document {
                    return Err(Error::Mismatch(document.digest));
                }
                self.keep(document, &bytes)?;
                found.insert(document.digest, bytes);
            }
            lacking.drain(..count);
        }
        Ok(found)
    }

    /// Removes what is none of `wanted`.
    ///
    /// # Errors
    /// A failing disk.
    pub fn prune(&self, wanted: &BTreeSet<Digest>) -> Result<(), Error> {
        let failed = |source| Error::Keep { folder: self.folder.clone(), source };
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let digest = entry.file_name().to_str().and_then(|name| name.parse::<Digest>().ok());
            if digest.is_none_or(|digest| !wanted.contains(&digest)) {
                fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
        Ok(())
    }
}

fn is_long(document: &DocumentRef) -> bool {
    document.length > MAX_DOCUMENT as u64
}
