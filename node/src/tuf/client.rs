//! The client workflow (section 5 of the specification): fetch, check, keep, in that order, one document at a time.
//!
//! A [`Client`] brings trusted metadata from storage up to date with a repository and fetches the targets it names. All
//! decisions are in `trusted` and `search`; here is only the I/O around them. Where documents come from ([`Fetch`]) and
//! where they are kept ([`Storage`]) is up to the caller: a node has its parent and one transaction, `tuf-client` a web
//! server and a folder.

use std::error::Error as StdError;
use std::future::Future;

use jiff::Timestamp as Instant;

use super::hashes;
use super::metadata::{MetaFile, TargetFile};
use super::name::{RoleName, TargetPath};
use super::search::{Edge, Search, Step, TooManyDelegations, Walk};
use super::storage::Storage;
use super::trusted::{self, Offered, TrustedMetadata};

/// A repository, wherever it is.
pub trait Fetch: Send + Sync {
    /// Why fetching failed.
    type Error: StdError + Send + Sync + 'static;

    /// Fetches a metadata file by name, such as `3.root.json`; `None` if there is none. No more than `max_length` bytes
    /// should be read before giving up with an error.
    fn fetch(
        &self,
        file: &str,
        max_length: u64,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, Self::Error>> + Send;

    /// Fetches a target file by its path in the repository, such as `approvals/DIGEST.production`, in the same manner.
    fn fetch_target(
        &self,
        path: &str,
        max_length: u64,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, Self::Error>> + Send;
}

/// Bounds on what a repository may make us do. Metadata that states its own length is bounded by that too.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Longest root: room for hundreds of keys.
    pub root: u64,
    /// Longest timestamp: it lists one file.
    pub timestamp: u64,
    /// Longest snapshot: room for tens of thousands of roles.
    pub snapshot: u64,
    /// Longest targets metadata of one role.
    pub targets: u64,
    /// Longest target file; it is held in memory until it is verified.
    pub target_file: u64,
    /// Most roots taken in one refresh. A repository that rotates more often is followed over several.
    pub root_rotations: usize,
    /// Most delegations followed for one target, or for all of them.
    pub delegations: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            root: 512_000,
            timestamp: 16_384,
            snapshot: 2_000_000,
            targets: 5_000_000,
            target_file: 256 * 1024 * 1024,
            root_rotations: 256,
            delegations: 64,
        }
    }
}

/// Why the client could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing to start from.
    #[error("no trusted root is stored; a first root has to come from a trusted place")]
    NoTrustedRoot,
    /// What there is to start from is none.
    #[error("the stored root can't be trusted")]
    Root(#[source] trusted::Error),
    /// Metadata was refused.
    #[error("metadata is not trusted")]
    Untrusted(#[from] trusted::Error),
    /// The repository has too many delegations.
    #[error("not every role can be visited")]
    TooManyDelegations(#[from] TooManyDelegations),
    /// A file could not be fetched.
    #[error("{file} can't be fetched")]
    Fetch {
        /// The file's name.
        file: String,
        /// Why.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The repository does not have a file that it must have.
    #[error("{file} is missing in the repository")]
    Missing {
        /// The file's name.
        file: String,
    },
    /// A file is longer than it may be: endless data.
    #[error("{file} is longer than {max_length} bytes")]
    TooLong {
        /// The file's name.
        file: String,
        /// The limit.
        max_length: u64,
    },
    /// Trusted metadata could not be loaded.
    #[error("stored metadata of role {role} can't be loaded")]
    Load {
        /// Whose metadata.
        role: RoleName,
        /// Why.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Trusted metadata could not be stored.
    #[error("metadata of role {role} can't be stored")]
    Persist {
        /// Whose metadata.
        role: RoleName,
        /// Why.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// A target was asked for before [`Client::refresh`] succeeded.
    #[error("metadata has to be refreshed first")]
    NotRefreshed,
    /// A target's content is not what metadata says.
    #[error("target {file} is not the file that was announced")]
    Mismatch {
        /// The file's name.
        file: String,
        /// What differs.
        source: hashes::Error,
    },
}

/// Follows one repository from a trusted root.
#[derive(Debug)]
pub struct Client<F, S> {
    repository: F,
    storage: S,
    limits: Limits,
    trusted: Option<TrustedMetadata>,
}

impl<F: Fetch, S: Storage> Client<F, S> {
    /// Prepares a client. `storage` holds at least a trusted root.
    pub fn new(repository: F, storage: S, limits: Limits) -> Self {
        Self { repository, storage, limits, trusted: None }
    }

    /// Brings the top-level roles up to date. `now` decides what is expired, until the next refresh.
    ///
    /// Every document is stored as soon as it is trusted. If a later one is not, those before stay: they are as good as
    /// they are, and guard against rollback.
    pub async fn refresh(&mut self, now: Instant) -> Result<&TrustedMetadata, Error> {
        self.trusted = None;
        let root = self.load(&RoleName::ROOT)?.ok_or(Error::NoTrustedRoot)?;
        let mut trusted = TrustedMetadata::bootstrap(&root, now).map_err(Error::Root)?;
        self.refresh_root(&mut trusted).await?;
        self.refresh_timestamp(&mut trusted).await?;
        self.refresh_snapshot(&mut trusted).await?;
        self.refresh_targets(&mut trusted, &Edge::top()).await?;
        Ok(self.trusted.insert(trusted))
    }

    /// Brings the top-level roles and every delegated role up to date.
    pub async fn refresh_all(&mut self, now: Instant) -> Result<&TrustedMetadata, Error> {
        self.refresh(now).await?;
        let mut trusted = self.trusted.take().ok_or(Error::NotRefreshed)?;
        let mut walk = Walk::new(self.limits.delegations);
        while let Some(edge) = walk.step(&trusted)? {
            self.refresh_targets(&mut trusted, &edge).await?;
        }
        Ok(self.trusted.insert(trusted))
    }

    /// Finds out what the most trusted role that names `path` says of it, loading roles as necessary.
    pub async fn targetinfo(&mut self, path: &TargetPath) -> Result<Option<TargetFile>, Error> {
        // Put back whatever happens: what was trusted before a failure stays so.
        let mut trusted = self.trusted.take().ok_or(Error::NotRefreshed)?;
        let found = self.search(&mut trusted, path).await;
        self.trusted = Some(trusted);
        found
    }

    async fn search(
        &mut self,
        trusted: &mut TrustedMetadata,
        path: &TargetPath,
    ) -> Result<Option<TargetFile>, Error> {
        let mut search = Search::new(path.clone(), self.limits.delegations);
        loop {
            let edge = match search.step(trusted)? {
                Step::Load(edge) => edge,
                Step::Found(_, file) => return Ok(Some(file.clone())),
                Step::Absent => return Ok(None),
            };
            self.refresh_targets(trusted, &edge).await?;
        }
    }

    /// Fetches the target `path` and checks that it is the file that `info` names.
    pub async fn download(&self, path: &TargetPath, info: &TargetFile) -> Result<Vec<u8>, Error> {
        let consistent = self.trusted().ok_or(Error::NotRefreshed)?.root().consistent_snapshot;
        let file = match info.hashes.file_prefix() {
            Some(digest) if consistent => path.with_digest(digest),
            _ => path.as_str().to_owned(),
        };
        let max_length = info.length.min(self.limits.target_file);
        let fetched = self.repository.fetch_target(&file, max_length).await;
        let bytes = received(&file, max_length, fetched)?
            .ok_or_else(|| Error::Missing { file: file.clone() })?;
        info.verify(&bytes).map_err(|source| Error::Mismatch { file, source })?;
        Ok(bytes)
    }

    /// What is trusted, after a refresh that succeeded.
    pub fn trusted(&self) -> Option<&TrustedMetadata> {
        self.trusted.as_ref()
    }

    /// The storage.
    pub fn storage(&self) -> &S {
        &self.storage
    }

    /// Ends the client and returns its storage.
    pub fn into_storage(self) -> S {
        self.storage
    }

    async fn refresh_root(&mut self, trusted: &mut TrustedMetadata) -> Result<(), Error> {
        for _ in 0..self.limits.root_rotations {
            let version = trusted.next_root_version();
            let file = RoleName::ROOT.file_name(Some(version));
            let Some(bytes) = self.fetch(&file, self.limits.root).await? else { break };
            trusted.update_root(&bytes)?;
            self.persist(&RoleName::ROOT, version, &bytes)?;
        }
        Ok(trusted.check_root()?)
    }

    async fn refresh_timestamp(&mut self, trusted: &mut TrustedMetadata) -> Result<(), Error> {
        let role = RoleName::TIMESTAMP;
        if let Some(stored) = self.load(&role)?
            && let Err(error) = trusted.load_timestamp(&stored)
        {
            superseded(&role, &error);
        }
        let bytes = self.fetch_existing(&role.file_name(None), self.limits.timestamp).await?;
        if trusted.update_timestamp(&bytes)? == Offered::New {
            let version = trusted.timestamp().map_or(0, |timestamp| timestamp.header.version());
            self.persist(&role, version, &bytes)?;
        }
        Ok(())
    }

    async fn refresh_snapshot(&mut self, trusted: &mut TrustedMetadata) -> Result<(), Error> {
        let role = RoleName::SNAPSHOT;
        if let Some(stored) = self.load(&role)? {
            match trusted.load_snapshot(&stored) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => {
                    superseded(&role, &error);
                }
            }
        }
        let Some(announced) = trusted.timestamp().map(|timestamp| timestamp.meta.snapshot.clone())
        else {
            return Err(Error::NotRefreshed);
        };
        let bytes = self.fetch_announced(trusted, &role, &announced, self.limits.snapshot).await?;
        trusted.update_snapshot(&bytes)?;
        self.persist(&role, announced.version(), &bytes)
    }

    /// Makes the metadata of a targets role trusted by the word of its delegator: what is loaded, else what is stored,
    /// else what the repository has.
    async fn refresh_targets(
        &mut self,
        trusted: &mut TrustedMetadata,
        edge: &Edge,
    ) -> Result<(), Error> {
        let Edge { role, delegator } = edge;
        if trusted.confirm_targets(role, delegator)? {
            return Ok(());
        }
        let announced = trusted.announced(role)?.clone();
        if let Some(stored) = self.load(role)? {
            match trusted.update_targets(role, delegator, &stored) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    superseded(role, &error);
                }
            }
        }
        let bytes = self.fetch_announced(trusted, role, &announced, self.limits.targets).await?;
        trusted.update_targets(role, delegator, &bytes)?;
        self.persist(role, announced.version(), &bytes)
    }

    async fn fetch_announced(
        &self,
        trusted: &TrustedMetadata,
        role: &RoleName,
        announced: &MetaFile,
        limit: u64,
    ) -> Result<Vec<u8>, Error> {
        let version = trusted.root().consistent_snapshot.then(|| announced.version());
        let max_length = announced.length().unwrap_or(limit).min(limit);
        self.fetch_existing(&role.file_name(version), max_length).await
    }

    async fn fetch_existing(&self, file: &str, max_length: u64) -> Result<Vec<u8>, Error> {
        self.fetch(file, max_length).await?.ok_or_else(|| Error::Missing { file: file.to_owned() })
    }

    async fn fetch(&self, file: &str, max_length: u64) -> Result<Option<Vec<u8>>, Error> {
        received(file, max_length, self.repository.fetch(file, max_length).await)
    }

    fn load(&self, role: &RoleName) -> Result<Option<Vec<u8>>, Error> {
        self.storage
            .load(role)
            .map_err(|source| Error::Load { role: role.clone(), source: source.into() })
    }

    fn persist(&mut self, role: &RoleName, version: u64, bytes: &[u8]) -> Result<(), Error> {
        self.storage
            .persist(role, version, bytes)
            .map_err(|source| Error::Persist { role: role.clone(), source: source.into() })
    }
}

/// What is stored did not pass the checks, so the repository is asked. That is so after every change.
fn superseded(role: &RoleName, error: &trusted::Error) {
    tracing::debug!(%role, error = error as &dyn StdError, "stored metadata is of no more use");
}

/// Does not rely on the fetcher to keep the limit.
fn received<E: StdError + Send + Sync + 'static>(
    file: &str,
    max_length: u64,
    fetched: Result<Option<Vec<u8>>, E>,
) -> Result<Option<Vec<u8>>, Error> {
    let bytes =
        fetched.map_err(|source| Error::Fetch { file: file.to_owned(), source: source.into() })?;
    match bytes {
        Some(bytes) if bytes.len() as u64 > max_length => {
            Err(Error::TooLong { file: file.to_owned(), max_length })
        }
        bytes => Ok(bytes),
    }
}

#[cfg(test)]
mod tests;
