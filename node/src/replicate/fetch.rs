//! What a child fetches from its parent while it learns a generation:
//! metadata files and documents, each checked before anyone sees it.
//!
//! A parent is not trusted: it may send wrong bytes, too many, too few or
//! none. Nothing larger than what signed metadata promised is ever buffered.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use patchmesh_proto::replication::GetMetadataRequest;
use patchmesh_proto::replication::replication_client::ReplicationClient;
use patchmesh_topology::digest::Digest;
use patchmesh_topology::name::NodeName;
use patchmesh_topology::revision::DocumentRef;
use tonic::transport::Channel;

use crate::content::{self, Wanted, parent};

/// How many documents one call asks for.
const BATCH_DOCUMENTS: usize = 512;
/// How many bytes one call asks for, unless a single document is larger.
const BATCH_BYTES: u64 = 8 << 20;
/// A parent that sends nothing for this long is given up.
const SILENCE: Duration = Duration::from_secs(30);

/// Why the parent could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The call failed.
    #[error("parent {parent} answered {what} with {}: {}", .status.code(), .status.message())]
    Call {
        /// Who was asked.
        parent: NodeName,
        /// For what.
        what: String,
        /// The answer.
        status: Box<tonic::Status>,
    },
    /// Nothing came for [`SILENCE`].
    #[error("parent {parent} sent nothing for {} s while asked for {what}", SILENCE.as_secs())]
    Silent {
        /// Who was asked.
        parent: NodeName,
        /// For what.
        what: String,
    },
    /// The parent does not have what it promised.
    #[error("parent {parent} does not hold document {digest} of the generation it announced")]
    Absent {
        /// Who was asked.
        parent: NodeName,
        /// What is missing.
        digest: Digest,
    },
    /// A metadata file larger than it may be.
    #[error("parent {parent} sent {what}; dropped")]
    Wrong {
        /// Who was asked.
        parent: NodeName,
        /// What is wrong with it.
        what: String,
    },
    /// Documents did not come, or not those that were asked for.
    #[error("documents could not be fetched")]
    Documents(#[from] content::Error),
}

/// The parent as a source of documents; counts what it sent.
#[derive(Debug)]
pub struct Parent {
    name: NodeName,
    client: ReplicationClient<Channel>,
    received: AtomicU64,
}

impl Parent {
    /// Uses `channel`, which has proved to lead to `name`.
    #[must_use]
    pub fn new(name: NodeName, channel: Channel) -> Self {
        // A frame carries at most 1 MiB of data; the rest is room for framing.
        let client = ReplicationClient::new(channel).max_decoding_message_size(2 << 20);
        Self { name, client, received: AtomicU64::new(0) }
    }

    /// The parent's name.
    #[must_use]
    pub const fn name(&self) -> &NodeName {
        &self.name
    }

    /// Bytes received so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// A metadata file by its TUF name; `None` where the parent has none.
    ///
    /// # Errors
    /// [`Error::Call`] and [`Error::Silent`], and [`Error::Wrong`] for a file
    /// of more than `max_length` bytes.
    pub async fn metadata(&self, file: &str, max_length: u64) -> Result<Option<Bytes>, Error> {
        let request = tonic::Request::new(GetMetadataRequest { file: file.to_owned() });
        let mut client = self.client.clone();
        let answer = self.patiently(file, client.get_metadata(request)).await?;
        match answer {
            Ok(response) => {
                let content = response.into_inner().content;
                self.count(content.len());
                if content.len() as u64 > max_length {
                    return Err(self.wrong(format!(
                        "{file} with {} bytes where at most {max_length} are allowed",
                        content.len()
                    )));
                }
                Ok(Some(content))
            }
            Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
            Err(status) => Err(self.call(file, status)),
        }
    }

    /// Documents by name, each checked for length and digest, handed to
    /// `keep` as they come.
    ///
    /// # Errors
    /// Any of [`Error`]; what was kept before it stays good.
    pub async fn documents(
        &self,
        wanted: &[DocumentRef],
        mut keep: impl FnMut(DocumentRef, Bytes),
    ) -> Result<(), Error> {
        let mut rest = wanted;
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(batch_length(rest));
            let asked: Vec<Wanted> =
                batch.iter().map(|one| Wanted::new(one.digest, one.length)).collect();
            let found = parent::get_blobs(self.name.as_str(), &self.client, &asked).await?;
            for (&document, bytes) in batch.iter().zip(found) {
                let bytes = bytes.ok_or_else(|| Error::Absent {
                    parent: self.name.clone(),
                    digest: document.digest,
                })?;
                self.count(bytes.len());
                keep(document, bytes);
            }
            rest = after;
        }
        Ok(())
    }

    /// Those of `wanted` that the node holds, checked likewise.
    ///
    /// # Errors
    /// A node that fails, falls silent or sends what was not asked for.
    pub async fn held_documents(
        &self,
        wanted: &[DocumentRef],
    ) -> Result<Vec<(DocumentRef, Bytes)>, Error> {
        let (mut rest, mut held) = (wanted, Vec::new());
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(batch_length(rest));
            let asked: Vec<Wanted> =
                batch.iter().map(|one| Wanted::new(one.digest, one.length)).collect();
            let found = parent::get_blobs(self.name.as_str(), &self.client, &asked).await?;
            let pairs = batch.iter().copied().zip(found);
            held.extend(pairs.filter_map(|(document, bytes)| Some((document, bytes?))));
            rest = after;
        }
        Ok(held)
    }

    async fn patiently<T>(&self, what: &str, call: impl Future<Output = T>) -> Result<T, Error> {
        tokio::time::timeout(SILENCE, call)
            .await
            .map_err(|_| Error::Silent { parent: self.name.clone(), what: what.to_owned() })
    }

    fn count(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn call(&self, what: &str, status: tonic::Status) -> Error {
        Error::Call { parent: self.name.clone(), what: what.to_owned(), status: Box::new(status) }
    }

    fn wrong(&self, what: String) -> Error {
        Error::Wrong { parent: self.name.clone(), what }
    }
}

/// How many of `wanted` the next call asks for: at least one.
fn batch_length(wanted: &[DocumentRef]) -> usize {
    let mut bytes = 0;
    wanted
        .iter()
        .take(BATCH_DOCUMENTS)
        .take_while(|one| {
            bytes += one.length;
            bytes <= BATCH_BYTES
        })
        .count()
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(length: u64) -> DocumentRef {
        DocumentRef { digest: Digest::of(&length.to_le_bytes()), length }
    }

    #[test]
    fn a_batch_is_bounded_but_never_empty() {
        assert_eq!(batch_length(&[document(BATCH_BYTES + 1), document(1)]), 1);
        assert_eq!(batch_length(&vec![document(1); BATCH_DOCUMENTS + 1]), BATCH_DOCUMENTS);
        assert_eq!(batch_length(&[document(BATCH_BYTES), document(1)]), 1);
    }
}
