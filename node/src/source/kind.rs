//! What every kind of source can do: the one place that tells them apart.

use std::path::Path;

use jiff::Timestamp;
use patchmesh_topology::name::SourceName;
use patchmesh_topology::revision::{Payload, Reference, Revision};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::http::Http;
use super::{FetchPolicy, Progress, apt, files};

/// A checked source with what it is asked by.
#[derive(Debug, Clone)]
pub enum Source {
    /// A Debian-style repository, over HTTP.
    Apt(Box<apt::Config>, Http),
    /// A folder on this host.
    Files(files::Config),
}

/// Why a source could not be synchronised or a payload not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A repository.
    #[error(transparent)]
    Apt(#[from] Box<apt::Error>),
    /// A folder.
    #[error(transparent)]
    Files(#[from] Box<files::Error>),
    /// What was kept of the last synchronisation cannot be read, or not be kept.
    #[error("what is recorded of the last synchronisation cannot be read")]
    State(#[from] serde_json::Error),
}

/// The revisions that a source has now, each made when it is taken.
pub type Revisions = Box<dyn Iterator<Item = Revision> + Send>;

/// What a synchronisation found.
pub struct Found {
    /// All revisions as they are now; `None` where they are those of last time.
    pub revisions: Option<Revisions>,
    /// To be kept, once the revisions are, for the next synchronisation.
    pub state: Vec<u8>,
}

/// What a synchronisation needs besides the source.
pub struct Round<'a> {
    /// What the last one gave; empty before the first.
    pub state: &'a [u8],
    /// A folder of this source alone for what it fetched and verified.
    pub cache: &'a Path,
    /// The primary's clock.
    pub now: Timestamp,
    /// Whether the catalogue has a revision that is meant.
    pub is_known: Box<dyn Fn(&Reference) -> bool + Send>,
    /// Where progress is told.
    pub progress: &'a Progress,
}

impl Source {
    /// The source's name.
    #[must_use]
    pub fn name(&self) -> &SourceName {
        match self {
            Self::Apt(config, _) => config.name(),
            Self::Files(config) => config.name(),
        }
    }

    /// When its payloads are fetched.
    #[must_use]
    pub fn policy(&self) -> FetchPolicy {
        match self {
            Self::Apt(config, _) => config.policy(),
            Self::Files(config) => config.policy(),
        }
    }

    /// Learns what the vendor has released.
    ///
    /// # Errors
    /// The vendor's side failed or was refused.
    pub async fn sync(&self, round: Round<'_>) -> Result<Found, Error> {
        let Round { state, cache, now, is_known, progress } = round;
        match self {
            Self::Apt(config, http) => {
                let state = read(state)?;
                let found = apt::sync(config, http, &state, cache, now, progress).await;
                match found.map_err(Box::new)? {
                    apt::Outcome::Unchanged { state } => written(None, &state),
                    apt::Outcome::Changed { revisions, state, .. } => {
                        written(Some(Box::new(revisions)), &state)
                    }
                }
            }
            Self::Files(config) => {
                let state = read(state)?;
                let found = files::sync(config, &state, now, is_known, progress).await;
                match found.map_err(Box::new)? {
                    files::Outcome::Unchanged { state } => written(None, &state),
                    files::Outcome::Changed { revisions, state } => {
                        written(Some(Box::new(revisions.into_iter())), &state)
                    }
                }
            }
        }
    }

    /// Brings a payload to the file `path`, which appears only when it is whole
    /// and verified by what the vendor states of it.
    ///
    /// # Errors
    /// The vendor's side failed, or has something else.
    pub async fn fetch_payload_to(
        &self,
        payload: &Payload,
        path: &Path,
        progress: &Progress,
    ) -> Result<(), Error> {
        match self {
            Self::Apt(config, http) => {
                let fetched = apt::fetch_payload_to(config, http, payload, path, progress).await;
                Ok(fetched.map_err(Box::new)?)
            }
            Self::Files(config) => {
                let copied = files::fetch_payload_to(config, payload, path, progress).await;
                Ok(copied.map_err(Box::new)?)
            }
        }
    }
}

fn read<T: DeserializeOwned + Default>(state: &[u8]) -> Result<T, Error> {
    if state.is_empty() { Ok(T::default()) } else { Ok(serde_json::from_slice(state)?) }
}

fn written<T: Serialize>(revisions: Option<Revisions>, state: &T) -> Result<Found, Error> {
    Ok(Found { revisions, state: serde_json::to_vec(state)? })
}
