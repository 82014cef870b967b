//! Signs what changed, and puts the outcome through the checks that a child
//! makes.

use std::collections::BTreeMap;
use std::convert::Infallible;

use jiff::{SignedDuration, Timestamp};
use patchmesh_proto::document;
use tokio::runtime::Handle;

use super::writing::Writing;
use crate::generation::Generation;
use crate::generation::load::Staged;
use crate::generation::storage;
use crate::signed::document::Target;
use crate::store::{self, Store};
use crate::tuf::layout::{MeshRole, TIMESTAMP_LIFETIME};
use crate::tuf::repository::{
    self, Changes, Custody, Due, Publication, Repository, RoleKeys, TargetEntry,
};
use crate::tuf::storage::MemoryStorage;
use crate::tuf::{Client, Fetch, Limits, RoleName, TargetPath, TrustedMetadata, client, name};

/// A timestamp is signed anew when it is as old as this.
const TIMESTAMP_AGE: SignedDuration = SignedDuration::from_hours(1);

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Signing failed.
    #[error("the metadata could not be signed")]
    Sign(#[from] repository::Error),
    /// A name that is none; a fault of this program.
    #[error("a signed name is empty")]
    Name(#[from] name::Empty),
    /// The outcome does not pass a child's checks.
    #[error("the signed metadata does not pass the checks that children make")]
    Untrusted(#[from] client::Error),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] store::Error),
}

/// The roles' keys and what they signed last.
#[derive(Debug)]
pub struct Signing {
    keys: RoleKeys,
    repository: Option<Repository>,
    trusted: BTreeMap<RoleName, Vec<u8>>,
}

/// What was signed: new metadata, and all of it as a child trusts it.
#[derive(Debug)]
pub struct Signed {
    /// Every role's metadata, and which of it is new.
    pub learned: MemoryStorage,
    /// The whole, verified.
    pub trusted: TrustedMetadata,
    repository: Repository,
}

impl Signing {
    /// For a mesh that has no generation yet.
    #[must_use]
    pub fn first(keys: RoleKeys) -> Self {
        Self { keys, repository: None, trusted: BTreeMap::new() }
    }

    /// Goes on from what the store has.
    ///
    /// # Errors
    /// Metadata that is not there or cannot be read.
    pub fn open(keys: RoleKeys, store: &Store) -> Result<Self, Error> {
        let trusted = storage::trusted(store)?;
        let repository = Repository::open(&MemoryStorage::new(trusted.clone()))?;
        Ok(Self { keys, repository: Some(repository), trusted })
    }

    /// Goes on from what others hold: every role's metadata as it is trusted,
    /// and the highest versions of each that any of them has.
    ///
    /// # Errors
    /// Metadata that is missing or cannot be read.
    pub fn resume(
        keys: RoleKeys,
        trusted: BTreeMap<RoleName, Vec<u8>>,
        held: &BTreeMap<RoleName, u64>,
    ) -> Result<Self, Error> {
        let mut repository = Repository::open(&MemoryStorage::new(trusted.clone()))?;
        repository.raise(held);
        Ok(Self { keys, repository: Some(repository), trusted })
    }

    /// How every role stands with its holders and its time; nothing before
    /// the first generation.
    #[must_use]
    pub fn custody(&self, now: Timestamp) -> Vec<Custody> {
        self.repository.as_ref().map(|one| one.custody(&self.keys, now)).unwrap_or_default()
    }

    /// What is published now; nothing before the first generation.
    #[must_use]
    pub const fn repository(&self) -> Option<&Repository> {
        self.repository.as_ref()
    }

    /// The keys that are on this host.
    pub const fn keys(&self) -> &RoleKeys {
        &self.keys
    }

    /// The keys that are on this host, to add to them.
    pub const fn keys_mut(&mut self) -> &mut RoleKeys {
        &mut self.keys
    }

    /// Whether what `role` signs can be signed here.
    #[must_use]
    pub fn is_online(&self, role: &RoleName) -> bool {
        let Some(repository) = &self.repository else { return true };
        repository.authority(role).is_some_and(|authority| self.keys.reach(authority))
    }

    /// The names that each changed role signs from now on, as they would be
    /// published: what people are asked to sign.
    ///
    /// # Errors
    /// A name that is none.
    pub fn entries(
        &self,
        writing: &Writing,
    ) -> Result<BTreeMap<MeshRole, Vec<TargetEntry>>, Error> {
        self.changes(writing)
    }

    /// Whether something has to be signed anew although nothing changed.
    #[must_use]
    pub fn is_due(&self, generation: &Generation, now: Timestamp) -> bool {
        let left = TIMESTAMP_LIFETIME - TIMESTAMP_AGE;
        let mut timestamps = generation.roles.iter().filter(|one| one.role == "timestamp");
        timestamps.any(|one| one.expires_at.duration_since(now) < left)
            || self.repository.as_ref().is_some_and(|one| one.due(&self.keys, now) != Due::Nothing)
    }

    /// Signs what was written, adding the documents to `staged`.
    ///
    /// # Errors
    /// See [`Error`]; nothing is remembered before [`Signing::accept`].
    pub fn sign(
        &self,
        writing: Writing,
        staged: &mut Staged,
        now: Timestamp,
    ) -> Result<Signed, Error> {
        let is_renewal = writing.named.is_empty() && writing.papers.is_empty();
        let changes = self.changes(&writing)?;
        let papers = writing.papers;
        for (document, bytes) in writing.documents {
            staged.add(document, bytes);
        }
        for bytes in writing.named.into_values() {
            staged.add(document::reference(&bytes), bytes);
        }
        let publication = match &self.repository {
            None => {
                let first = Repository::create(&self.keys, now)?;
                let mut next = first.repository.publish(&self.keys, &changes, now)?;
                let root = first.documents;
                next.documents.splice(0..0, root);
                next
            }
            Some(repository)
                if is_renewal && repository.due(&self.keys, now) != Due::Generation =>
            {
                repository.renew_timestamp(&self.keys, now)?
            }
            Some(repository) => {
                let changes = Changes { targets: &changes, papers: &papers };
                repository.publish_with(&self.keys, changes, now)?
            }
        };
        self.check(publication, now)
    }

    /// Takes note of what was committed.
    pub fn accept(&mut self, signed: Signed) {
        self.repository = Some(signed.repository);
        self.trusted = signed.learned.current().clone();
    }

    /// For each role that changes: all names that it signs from now on.
    fn changes(&self, writing: &Writing) -> Result<BTreeMap<MeshRole, Vec<TargetEntry>>, Error> {
        let mut changes: BTreeMap<MeshRole, BTreeMap<String, TargetEntry>> = BTreeMap::new();
        for ((role, path), bytes) in &writing.named {
            let entries = changes.entry(*role).or_insert_with(|| self.present(*role));
            entries.insert((*path).to_owned(), TargetEntry::of(TargetPath::new(*path)?, bytes));
        }
        Ok(changes
            .into_iter()
            .map(|(role, entries)| (role, entries.into_values().collect()))
            .collect())
    }

    fn present(&self, role: MeshRole) -> BTreeMap<String, TargetEntry> {
        let targets = self.repository.iter().flat_map(|one| one.targets(role));
        targets
            .filter_map(|(path, file)| {
                let target = Target::of(file)?;
                let entry = TargetEntry {
                    path: path.clone(),
                    length: target.length,
                    sha256: *target.sha256.as_bytes(),
                    blake3: *target.digest.as_bytes(),
                };
                Some((path.to_string(), entry))
            })
            .collect()
    }

    /// The very workflow of a child, from what was trusted before.
    fn check(&self, publication: Publication, now: Timestamp) -> Result<Signed, Error> {
        let Publication { repository, documents } = publication;
        let mut storage = self.trusted.clone();
        if storage.is_empty() {
            let root = documents.iter().find(|one| one.role == RoleName::ROOT);
            storage.extend(root.map(|root| (RoleName::ROOT, root.bytes.clone())));
        }
        let files = documents.iter().map(|one| (one.file_name(), one.bytes.clone()));
        let local = Local(files.collect());
        let mut client = Client::new(local, MemoryStorage::new(storage), Limits::default());
        let trusted = Handle::current().block_on(client.refresh_all(now))?.clone();
        Ok(Signed { learned: client.into_storage(), trusted, repository })
    }
}

/// The files just signed, as a repository to fetch from.
#[derive(Debug)]
struct Local(BTreeMap<String, Vec<u8>>);

impl Fetch for Local {
    type Error = Infallible;

    async fn fetch(&self, file: &str, _: u64) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.0.get(file).cloned())
    }

    async fn fetch_target(&self, _: &str, _: u64) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(None)
    }
}
