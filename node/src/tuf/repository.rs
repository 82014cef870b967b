//! Writing a mesh's repository: the first root and generation, and every generation after.
//!
//! A [`Repository`] is what is published now. Publishing does not change it but returns its successor together with the
//! documents to store, so that a failed commit leaves nothing half done. A generation is a snapshot; every generation has
//! a higher snapshot version than the one before. A timestamp may be renewed without a new generation.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::num::{NonZeroU32, NonZeroU64};

use aws_lc_rs::digest::{SHA256, digest};
use jiff::{SignedDuration, Timestamp as Instant};

use super::ceremony;
use super::delegation::{
    self, DelegatedRole, Delegations, Holders, PathSet, Roles, matches_pattern,
};
use super::envelope::{self, Authority, BelowThreshold, Envelope};
use super::hashes::Hashes;
use super::layout::{BLAKE3, MeshRole, ROLE_LIFETIME, SNAPSHOT_LIFETIME, TIMESTAMP_LIFETIME};
use super::metadata::{
    Header, Kind, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp, TimestampMeta,
    TopLevelRoles,
};
use super::name::{RoleName, TargetPath};
use super::paper::Paper;
use super::storage::{Document, Storage};

mod publish;
mod role_keys;

pub use publish::Changes;
pub use role_keys::{RoleKeys, files_of};

/// Metadata is signed anew when less than this part of its lifetime is left.
const RENEW_BELOW: i32 = 3;

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Keys are missing here, perhaps because people hold them.
    #[error("the keys of role {role} are not here: it has to be signed by those who hold them")]
    NoKey {
        /// The role to be signed.
        role: RoleName,
    },
    /// A document could not be signed.
    #[error("metadata of role {role} can't be signed")]
    Sign {
        /// The role to be signed.
        role: RoleName,
        /// Why.
        source: envelope::Error,
    },
    /// What was signed elsewhere is not signed by enough of the holders.
    #[error("what was signed elsewhere for role {role} does not count")]
    Unsigned {
        /// The role.
        role: RoleName,
        /// How many signed.
        source: BelowThreshold,
    },
    /// What was signed elsewhere was prepared from a state that has passed.
    #[error(
        "what was signed elsewhere for role {role} was prepared before the last change; it has to be prepared and signed again"
    )]
    Stale {
        /// The role.
        role: RoleName,
    },
    /// What was signed elsewhere says more than it may.
    #[error("what was signed elsewhere for role {role} delegates or names what the role may not")]
    Foreign {
        /// The role.
        role: RoleName,
    },
    /// What was signed elsewhere can't be read.
    #[error("what was signed elsewhere for role {role} can't be read")]
    Unreadable {
        /// The role.
        role: RoleName,
        /// Why.
        source: envelope::Error,
    },
    /// The holders of a role contradict themselves.
    #[error("the keys of role {role} can't be stated")]
    Holders {
        /// The role.
        role: RoleName,
        /// Why.
        source: delegation::Error,
    },
    /// A target does not belong to the role's paths, so that no client would find it there.
    #[error("role {role} may not name {path}")]
    ForeignPath {
        /// The role.
        role: MeshRole,
        /// The target.
        path: TargetPath,
    },
    /// There is no room for a further version.
    #[error("role {role} is at its last version")]
    LastVersion {
        /// The role.
        role: RoleName,
    },
    /// The clock is so far off that times can't be computed.
    #[error("no expiry can be computed from the time {now}")]
    Clock {
        /// The time given.
        now: Instant,
    },
    /// A document of the current generation is missing.
    #[error("metadata of role {role} is missing")]
    Missing {
        /// The role.
        role: RoleName,
    },
    /// A document of the current generation can't be loaded.
    #[error("metadata of role {role} can't be loaded")]
    Load {
        /// The role.
        role: RoleName,
        /// Why.
        source: Box<dyn StdError + Send + Sync>,
    },
}

/// A target to be published: a document blob under its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetEntry {
    /// Its name.
    pub path: TargetPath,
    /// Its length in bytes.
    pub length: u64,
    /// Its SHA-256 digest, for TUF clients.
    pub sha256: [u8; 32],
    /// Its BLAKE3 digest, by which blobs are named.
    pub blake3: [u8; 32],
}

impl TargetEntry {
    /// Names `bytes` as `path`.
    pub fn of(path: TargetPath, bytes: &[u8]) -> Self {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Self { path, length: bytes.len() as u64, sha256, blake3: *blake3::hash(bytes).as_bytes() }
    }

    fn file(&self) -> TargetFile {
        TargetFile {
            length: self.length,
            hashes: Hashes::from_sha256(&self.sha256),
            custom: Some(serde_json::json!({ BLAKE3: hex::encode(self.blake3) })),
        }
    }
}

/// What has to be signed anew, if nothing else changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing yet.
    Nothing,
    /// The timestamp: see [`Repository::renew_timestamp`].
    Timestamp,
    /// The snapshot or a role below: publish a generation without changes.
    Generation,
}

/// What is published now.
#[derive(Debug, Clone)]
pub struct Repository {
    root: Root,
    top: Envelope<Targets>,
    roles: BTreeMap<MeshRole, Envelope<Targets>>,
    snapshot: Snapshot,
    timestamp: Timestamp,
    /// The versions that others hold, where that may be more than was signed here.
    held: BTreeMap<RoleName, u64>,
}

/// A successor and the documents that make it up.
#[derive(Debug, Clone)]
pub struct Publication {
    /// What is published once `documents` are stored.
    pub repository: Repository,
    /// New metadata files, to be stored together.
    pub documents: Vec<Document>,
}

/// How one role stands with its holders and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Custody {
    /// The role.
    pub role: RoleName,
    /// Its version.
    pub version: u64,
    /// When what it signed last expires.
    pub expires: Instant,
    /// Who holds it, and how many must sign.
    pub holders: Holders,
    /// Whether the keys on this host are enough to sign for it.
    pub is_online: bool,
    /// Whether so little of its lifetime is left that it is to be signed anew.
    pub is_due: bool,
}

impl Repository {
    /// Makes the first generation of a new mesh: all roles, no targets. Needs all keys, also those kept offline later.
    pub fn create(keys: &RoleKeys, now: Instant) -> Result<Publication, Error> {
        let version = NonZeroU64::MIN;
        let root = first_root(keys, now)?;
        let mut documents = vec![keys.sign_first(&root, RoleName::ROOT)?];
        let delegator = keys.sign_first(&delegating_targets(keys, now)?, RoleName::TARGETS)?;
        let top = parsed(&delegator)?;
        let mut meta = BTreeMap::from([listed(&delegator)]);
        documents.push(delegator);
        let mut roles = BTreeMap::new();
        for role in MeshRole::ALL {
            let targets = Targets {
                header: Header::new::<Targets>(version, expiry(now, ROLE_LIFETIME)?),
                targets: BTreeMap::new(),
                delegations: None,
            };
            let document = keys.sign_first(&targets, role.name())?;
            meta.extend([listed(&document)]);
            roles.insert(role, parsed(&document)?);
            documents.push(document);
        }
        let (snapshot, timestamp, signed) = seal(keys, &root, meta, (version, version), now)?;
        documents.extend(signed);
        Ok(Publication {
            repository: Self { root, top, roles, snapshot, timestamp, held: BTreeMap::new() },
            documents,
        })
    }

    /// Loads what is published from the primary's own store. It is not verified: it has been signed here.
    pub fn open<S: Storage>(storage: &S) -> Result<Self, Error> {
        let roles = MeshRole::ALL
            .into_iter()
            .map(|role| Ok((role, load(storage, role.name())?)))
            .collect::<Result<_, Error>>()?;
        Ok(Self {
            root: load(storage, RoleName::ROOT)?.into_signed(),
            top: load(storage, RoleName::TARGETS)?,
            roles,
            snapshot: load(storage, RoleName::SNAPSHOT)?.into_signed(),
            timestamp: load(storage, RoleName::TIMESTAMP)?.into_signed(),
            held: BTreeMap::new(),
        })
    }

    /// Signs the timestamp anew; the generation stays.
    pub fn renew_timestamp(&self, keys: &RoleKeys, now: Instant) -> Result<Publication, Error> {
        let version = next(RoleName::TIMESTAMP, &self.timestamp.header)?;
        let header = Header::new::<Timestamp>(version, expiry(now, TIMESTAMP_LIFETIME)?);
        let timestamp = Timestamp { header, meta: self.timestamp.meta.clone() };
        let authority = top_level(&self.root, &self.root.roles.timestamp);
        let documents = vec![keys.sign(&timestamp, RoleName::TIMESTAMP, authority)?];
        Ok(Publication { repository: Self { timestamp, ..self.clone() }, documents })
    }

    /// What has to be signed anew, of what can be signed with `keys`. Asking hourly is often enough for the lifetimes of
    /// `layout`. What others hold is not due here: see [`Repository::custody`].
    pub fn due(&self, keys: &RoleKeys, now: Instant) -> Due {
        let is_due = |role: &Custody| role.is_due && role.is_online;
        let custody = self.custody(keys, now);
        let timestamp = |role: &Custody| role.role == RoleName::TIMESTAMP;
        if custody.iter().any(|role| is_due(role) && !timestamp(role)) {
            Due::Generation
        } else if custody.iter().any(is_due) {
            Due::Timestamp
        } else {
            Due::Nothing
        }
    }

    /// How every role stands.
    pub fn custody(&self, keys: &RoleKeys, now: Instant) -> Vec<Custody> {
        ceremony::roles().filter_map(|role| self.custody_of(role, keys, now)).collect()
    }

    fn custody_of(&self, role: RoleName, keys: &RoleKeys, now: Instant) -> Option<Custody> {
        let authority = self.authority(&role)?;
        let (header, lifetime) = match role.as_str() {
            "root" => (&self.root.header, ROLE_LIFETIME),
            "targets" => (&self.top.signed().header, ROLE_LIFETIME),
            "snapshot" => (&self.snapshot.header, SNAPSHOT_LIFETIME),
            "timestamp" => (&self.timestamp.header, TIMESTAMP_LIFETIME),
            _ => {
                let found = self.roles.iter().find(|(mesh_role, _)| mesh_role.name() == role)?;
                (&found.1.signed().header, ROLE_LIFETIME)
            }
        };
        Some(Custody {
            version: header.version(),
            expires: header.expires(),
            holders: authority.holders.clone(),
            is_online: keys.reach(authority),
            is_due: is_due(header, lifetime, now),
            role,
        })
    }

    /// Who holds `role` now.
    pub fn authority(&self, role: &RoleName) -> Option<Authority<'_>> {
        ceremony::authority(&self.root, self.top.signed(), role)
    }

    /// The root.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Top-level targets: who holds the roles of the mesh.
    pub fn top(&self) -> &Targets {
        self.top.signed()
    }

    /// Goes on above the versions that others hold of it, after what was signed here was put back to an earlier state. A
    /// role that is behind is signed anew with the next generation.
    pub fn raise(&mut self, held: &BTreeMap<RoleName, u64>) {
        let floor = |role: &RoleName, header: &Header| {
            let held = held.get(role).copied().and_then(NonZeroU64::new)?;
            (held.get() > header.version()).then_some(held)
        };
        self.held.clone_from(held);
        if let Some(version) = floor(&RoleName::SNAPSHOT, &self.snapshot.header) {
            self.snapshot.header = Header::new::<Snapshot>(version, self.snapshot.header.expires());
        }
        if let Some(version) = floor(&RoleName::TIMESTAMP, &self.timestamp.header) {
            self.timestamp.header =
                Header::new::<Timestamp>(version, self.timestamp.header.expires());
        }
    }

    /// The version of `role` above which the next one has to be.
    fn held(&self, role: &RoleName) -> u64 {
        self.held.get(role).copied().unwrap_or_default()
    }

    /// The number of this generation.
    pub fn generation(&self) -> u64 {
        self.snapshot.header.version()
    }

    /// The targets that `role` names.
    pub fn targets(&self, role: MeshRole) -> impl Iterator<Item = (&TargetPath, &TargetFile)> {
        self.roles.get(&role).into_iter().flat_map(|targets| &targets.signed().targets)
    }
}

fn first_root(keys: &RoleKeys, now: Instant) -> Result<Root, Error> {
    let top_level = [RoleName::ROOT, RoleName::TIMESTAMP, RoleName::SNAPSHOT];
    let public = keys.of(&top_level)?.map(|key| (key.id().clone(), key.public().clone())).collect();
    Ok(Root {
        header: Header::new::<Root>(NonZeroU64::MIN, expiry(now, ROLE_LIFETIME)?),
        consistent_snapshot: true,
        keys: public,
        roles: TopLevelRoles {
            root: holders(keys, RoleName::ROOT)?,
            timestamp: holders(keys, RoleName::TIMESTAMP)?,
            snapshot: holders(keys, RoleName::SNAPSHOT)?,
            targets: holders(keys, RoleName::TARGETS)?,
        },
    })
}

fn delegating_targets(keys: &RoleKeys, now: Instant) -> Result<Targets, Error> {
    let public = keys
        .of(&MeshRole::ALL.map(MeshRole::name))?
        .map(|key| (key.id().clone(), key.public().clone()))
        .collect();
    let roles = MeshRole::ALL
        .into_iter()
        .map(|role| {
            Ok(DelegatedRole {
                name: role.name(),
                holders: holders(keys, role.name())?,
                terminating: true,
                paths: PathSet::Patterns(
                    role.paths().iter().map(|&path| path.to_owned()).collect(),
                ),
            })
        })
        .collect::<Result<_, Error>>()?;
    Ok(Targets {
        header: Header::new::<Targets>(NonZeroU64::MIN, expiry(now, ROLE_LIFETIME)?),
        targets: BTreeMap::new(),
        delegations: Some(Delegations { keys: public, roles: Roles::Named(roles) }),
    })
}

/// One key holds a role until its holders are changed.
fn holders(keys: &RoleKeys, role: RoleName) -> Result<Holders, Error> {
    let ids = keys.of(std::slice::from_ref(&role))?.map(|key| key.id().clone()).collect();
    Holders::new(ids, NonZeroU32::MIN).map_err(|source| Error::Holders { role, source })
}

/// Signs a snapshot of `meta` and a timestamp of that snapshot, by the holders that `root` names.
fn seal(
    keys: &RoleKeys,
    root: &Root,
    meta: BTreeMap<String, MetaFile>,
    (snapshot_version, timestamp_version): (NonZeroU64, NonZeroU64),
    now: Instant,
) -> Result<(Snapshot, Timestamp, [Document; 2]), Error> {
    let header = Header::new::<Snapshot>(snapshot_version, expiry(now, SNAPSHOT_LIFETIME)?);
    let snapshot = Snapshot { header, meta };
    let authority = top_level(root, &root.roles.snapshot);
    let snapshot_file = keys.sign(&snapshot, RoleName::SNAPSHOT, authority)?;
    let header = Header::new::<Timestamp>(timestamp_version, expiry(now, TIMESTAMP_LIFETIME)?);
    let meta = TimestampMeta { snapshot: MetaFile::of(snapshot_version, &snapshot_file.bytes) };
    let timestamp = Timestamp { header, meta };
    let authority = top_level(root, &root.roles.timestamp);
    let timestamp_file = keys.sign(&timestamp, RoleName::TIMESTAMP, authority)?;
    Ok((snapshot, timestamp, [snapshot_file, timestamp_file]))
}

fn top_level<'a>(root: &'a Root, holders: &'a Holders) -> Authority<'a> {
    Authority { keys: &root.keys, holders }
}

fn parsed<T: Kind>(document: &Document) -> Result<Envelope<T>, Error> {
    Envelope::parse(&document.bytes)
        .map_err(|source| Error::Unreadable { role: document.role.clone(), source })
}

fn files(
    role: MeshRole,
    entries: &[TargetEntry],
) -> Result<BTreeMap<TargetPath, TargetFile>, Error> {
    entries
        .iter()
        .map(|entry| {
            if role.paths().iter().any(|pattern| matches_pattern(pattern, entry.path.as_str())) {
                Ok((entry.path.clone(), entry.file()))
            } else {
                Err(Error::ForeignPath { role, path: entry.path.clone() })
            }
        })
        .collect()
}

fn listed(document: &Document) -> (String, MetaFile) {
    let version = NonZeroU64::new(document.version).unwrap_or(NonZeroU64::MIN);
    (document.role.meta_key(), MetaFile::of(version, &document.bytes))
}

fn next(role: RoleName, header: &Header) -> Result<NonZeroU64, Error> {
    NonZeroU64::MIN.checked_add(header.version()).ok_or(Error::LastVersion { role })
}

fn expiry(now: Instant, lifetime: SignedDuration) -> Result<Instant, Error> {
    now.checked_add(lifetime).map_err(|_| Error::Clock { now })
}

fn is_due(header: &Header, lifetime: SignedDuration, now: Instant) -> bool {
    header.expires().duration_since(now) < lifetime / RENEW_BELOW
}

fn load<T: Kind, S: Storage>(storage: &S, role: RoleName) -> Result<Envelope<T>, Error> {
    let bytes = storage
        .load(&role)
        .map_err(|source| Error::Load { role: role.clone(), source: source.into() })?
        .ok_or_else(|| Error::Missing { role: role.clone() })?;
    Envelope::parse(&bytes).map_err(|source| Error::Load { role, source: source.into() })
}

#[cfg(test)]
mod tests;
