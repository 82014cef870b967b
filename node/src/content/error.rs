//! What can go wrong while a payload is fetched or served.

use std::sync::Arc;
use std::time::Duration;

use patchmesh_topology::digest::Digest;
use tonic::Status;

use super::assemble::Deceit;
use crate::store;

/// What failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is nobody to ask.
    #[error("no parent is connected to fetch the blob {digest} from")]
    NoSource {
        /// The blob.
        digest: Digest,
    },
    /// The source says that it neither holds the blob nor may relay it.
    #[error("{from} does not offer the blob {digest}")]
    Absent {
        /// The source.
        from: String,
        /// The blob.
        digest: Digest,
    },
    /// The source or the way to it failed.
    #[error("{from} could not send the blob {digest}")]
    Source {
        /// The source.
        from: String,
        /// The blob.
        digest: Digest,
        /// What it said.
        source: Box<Status>,
    },
    /// Nothing came for too long.
    #[error("{from} sent nothing of the blob {digest} for {} s", after.as_secs())]
    Silent {
        /// The source.
        from: String,
        /// The blob.
        digest: Digest,
        /// For how long.
        after: Duration,
    },
    /// The stream ended too early.
    #[error("{from} ended the blob {digest} before its end")]
    Truncated {
        /// The source.
        from: String,
        /// The blob.
        digest: Digest,
    },
    /// The source sent what no honest source sends.
    #[error("{from} can't be trusted about the blob {digest}")]
    Deceit {
        /// The source.
        from: String,
        /// The blob.
        digest: Digest,
        /// What it did.
        source: Box<Deceit>,
    },
    /// The blob is not held here and nobody may fetch it.
    #[error("the blob {0} is not offered here")]
    NotOffered(Digest),
    /// The blob has another length than was said.
    #[error("the blob {digest} has {found} bytes, not the {said} that were asked for")]
    Length {
        /// The blob.
        digest: Digest,
        /// The length asked for.
        said: u64,
        /// Its length.
        found: u64,
    },
    /// A range beyond the end.
    #[error("bytes {start} to {end} are beyond the blob {digest} of {length} bytes")]
    Range {
        /// The blob.
        digest: Digest,
        /// First byte.
        start: u64,
        /// The byte after the last.
        end: u64,
        /// Bytes of the blob.
        length: u64,
    },
    /// Too much is asked at a time.
    #[error("{fetches} fetches are under way; try again later")]
    Busy {
        /// Their number.
        fetches: usize,
    },
    /// The program is shutting down.
    #[error("fetching has stopped")]
    Stopped,
    /// The store failed.
    #[error(transparent)]
    Store(Arc<store::Error>),
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl Error {
    /// Whether this source sent what no honest one sends.
    pub(super) fn is_deceit_of(&self, name: &str) -> bool {
        matches!(self, Self::Deceit { from, .. } if from == name)
    }

    /// Whether another attempt, at this or another source, may help at once.
    pub(super) fn is_worth_another_attempt(&self) -> bool {
        matches!(
            self,
            Self::Absent { .. }
                | Self::Source { .. }
                | Self::Silent { .. }
                | Self::Truncated { .. }
                | Self::Deceit { .. }
        )
    }
}
