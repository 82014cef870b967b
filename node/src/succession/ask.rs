//! What one other node holds, verified.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use patchmesh_proto::replication::GetMetadataRequest;
use patchmesh_proto::replication::replication_client::ReplicationClient;
use patchmesh_proto::{convert, document, wire};
use patchmesh_topology::name::NodeName;
use patchmesh_topology::node::Mesh;
use patchmesh_topology::revision::DocumentRef;

use super::{WayError, Ways};
use crate::replicate::fetch::{self, Parent};
use crate::signed::document::Target;
use crate::signed::names;
use crate::transport::channel;
use crate::tuf::storage::MemoryStorage;
use crate::tuf::{self, Limits, RoleName, TargetPath, TrustedMetadata};

/// How long one node may take to say all of it.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long whoever may be the old primary has to answer.
const ALIVE: Duration = Duration::from_secs(20);
/// The file that is asked for to see whether somebody answers.
const TIMESTAMP: &str = "timestamp.json";

/// What a node holds.
#[derive(Debug)]
pub struct Word {
    /// The mesh as it knows it.
    pub mesh: Mesh,
    /// The version of its timestamp.
    pub timestamp_version: u64,
    /// Every role's metadata as it is trusted.
    pub learned: MemoryStorage,
    /// The same, verified.
    pub trusted: TrustedMetadata,
    /// Where its documents are to be had.
    pub way: Parent,
}

/// Why a node's word is not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no way to it.
    #[error(transparent)]
    Way(#[from] WayError),
    /// It took too long.
    #[error("it did not answer within {} s", PATIENCE.as_secs())]
    Silent,
    /// Its metadata could not be had or does not verify.
    #[error("its metadata was not accepted")]
    Metadata(#[from] tuf::client::Error),
    /// It signs no mesh document.
    #[error("its metadata names no mesh document")]
    NoMesh,
    /// Its mesh document could not be had.
    #[error("its mesh document could not be fetched")]
    Fetch(#[from] fetch::Error),
    /// Its mesh document cannot be read.
    #[error("its mesh document cannot be read")]
    Document(#[from] document::Error),
    /// Its mesh document contradicts itself.
    #[error("its mesh document is not valid")]
    Mesh(#[from] convert::Error),
}

impl Error {
    /// Whether the node refused to talk to this one.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        let fetch = match self {
            Self::Metadata(tuf::client::Error::Fetch { source, .. }) => source.downcast_ref(),
            Self::Fetch(error) => Some(error),
            _ => None,
        };
        let Some(fetch::Error::Call { status, .. }) = fetch else { return false };
        status.code() == tonic::Code::PermissionDenied
    }

    /// Whether the node did answer, though with nothing of use.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        match self {
            Self::Metadata(error) => !matches!(error, tuf::client::Error::Fetch { .. }),
            Self::NoMesh | Self::Document(_) | Self::Mesh(_) => true,
            Self::Way(_) | Self::Silent | Self::Fetch(_) => false,
        }
    }
}

impl Word {
    /// What is newer: the epoch, then the timestamp.
    #[must_use]
    pub const fn rank(&self) -> (u64, u64) {
        (self.mesh.epoch, self.timestamp_version)
    }

    /// The versions of all roles.
    #[must_use]
    pub fn versions(&self) -> BTreeMap<RoleName, u64> {
        let mut versions: BTreeMap<RoleName, u64> = self
            .trusted
            .all_targets()
            .map(|(role, targets)| (role.clone(), targets.header.version()))
            .collect();
        versions.insert(RoleName::TIMESTAMP, self.timestamp_version);
        versions.extend(self.trusted.snapshot_version().map(|one| (RoleName::SNAPSHOT, one)));
        versions
    }
}

/// Asks the node `name` at `url` for all its signed metadata, verified from
/// `root` as of `at`, and for its mesh document.
///
/// It is asked as if nothing but the root were known, so that also a node
/// that is behind, or that followed somebody else, can be understood.
///
/// # Errors
/// See [`Error`].
pub async fn ask(
    ways: &Ways,
    name: &NodeName,
    url: &str,
    root: &[u8],
    at: Timestamp,
) -> Result<Word, Error> {
    let way = Parent::new(name.clone(), ways.to(name, url)?);
    tokio::time::timeout(PATIENCE, hear(way, root, at)).await.map_err(|_| Error::Silent)?
}

async fn hear(way: Parent, root: &[u8], at: Timestamp) -> Result<Word, Error> {
    let known = MemoryStorage::new([(RoleName::ROOT, root.to_vec())]);
    let mut client = tuf::Client::new(&way, known, Limits::default());
    let trusted = client.refresh_all(at).await?.clone();
    let learned = client.into_storage();
    let path = TargetPath::new(names::TOPOLOGY).map_err(|_| Error::NoMesh)?;
    let found = trusted.find(&path, Limits::default().delegations).ok().flatten();
    let target = found.and_then(|(_, file)| Target::of(file)).ok_or(Error::NoMesh)?;
    let wanted = DocumentRef { digest: target.digest, length: target.length };
    let mut mesh = None;
    way.documents(&[wanted], |_, bytes| mesh = Some(bytes)).await?;
    let mesh = document::decode::<wire::Topology>(&mesh.ok_or(Error::NoMesh)?)?;
    let timestamp_version = trusted.timestamp().map_or(0, |one| one.header.version());
    Ok(Word { mesh: Mesh::try_from(mesh)?, timestamp_version, learned, trusted, way })
}

/// The version of the root that a node follows, as anybody may learn it:
/// whoever was shut out too. Verified from `root`.
pub async fn open_root(
    ways: &Ways,
    name: &NodeName,
    url: &str,
    root: &[u8],
    at: Timestamp,
) -> Option<u64> {
    let way = Parent::new(name.clone(), ways.unnamed(name, url).ok()?);
    let known = MemoryStorage::new([(RoleName::ROOT, root.to_vec())]);
    let mut client = tuf::Client::new(&way, known, Limits::default());
    let refreshed = tokio::time::timeout(PATIENCE, client.refresh(at)).await.ok()?;
    Some(refreshed.ok()?.root().header.version())
}

/// Whether somebody with the certificate of node `name` answers at `url`.
pub async fn is_alive(ways: &Ways, name: &NodeName, url: &str) -> bool {
    let Ok(channel) = ways.to(name, url) else { return false };
    let request = GetMetadataRequest { file: TIMESTAMP.to_owned() };
    let mut client = ReplicationClient::new(channel);
    match tokio::time::timeout(ALIVE, client.get_metadata(request)).await {
        Err(_) => false,
        Ok(Ok(_)) => true,
        // Whoever refuses a call has shown the certificate first.
        Ok(Err(status)) => !channel::never_connected(&status),
    }
}
