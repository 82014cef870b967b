//! Opens a node's data folder: who it is, and the generation that it was in.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use patchmesh_topology::name::NodeName;

use tokio_util::sync::CancellationToken;

use super::Layout;
use super::join::{PARENT, PARENT_KEY, ParentRecord};
use crate::config::Settings;
use crate::generation::load::{self, Loaded, Staged};
use crate::generation::{Generation, past, storage};
use crate::identity::certificate::Subject;
use crate::identity::files::Identity;
use crate::identity::tls::{self, Credentials, Expected};
use crate::replicate::fetch::Parent;
use crate::replicate::follow;
use crate::store::{self, Mode, Store};
use crate::transport::channel;
use crate::tuf;

/// First pause before the first generation is asked for again; doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long what a part of this process holds of the store is waited for.
const RELEASE: Duration = Duration::from_secs(30);
/// Damaged documents that are fetched again before the node is up.
const MAX_MENDED: usize = 64;
/// Delegations followed at most; the layout has six.
const MAX_DELEGATIONS: usize = 64;

/// Why the generation on disk cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder holds no generation: joining was cut short.
    #[error(
        "the data folder holds no generation; run `patchmesh init` or `patchmesh join` again, with an empty folder"
    )]
    None,
    /// The parent that joining named is none.
    #[error("the parent recorded when joining has no valid name")]
    Parent(#[source] patchmesh_topology::name::Error),
    /// Stopped before there was a generation.
    #[error("stopped before the first generation was fetched")]
    Stopped,
    /// The identity is a user's.
    #[error("the identity in the data folder is that of {0}, not of a node")]
    NotANode(Subject),
    /// The metadata on disk does not verify.
    #[error("the metadata on disk does not verify; restore the folder, or join again")]
    Metadata(#[from] tuf::restore::Error),
    /// A document on disk cannot be used.
    #[error("a document on disk cannot be used")]
    Load(#[from] load::Error),
    /// Documents are missing.
    #[error(
        "{0} documents of the generation are missing on disk; restore the folder, or join again"
    )]
    Lacking(usize),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] store::Error),
    /// A worker thread ended abnormally.
    #[error("a worker thread ended abnormally")]
    Thread(#[from] tokio::task::JoinError),
}

impl Error {
    /// Whether the disk has lost or spoilt what was on it.
    fn is_of_the_disk(&self) -> bool {
        matches!(self, Self::Lacking(_))
            || store::Error::behind(self).is_some_and(store::Error::is_damage)
    }
}

/// A node as it lies on disk.
#[derive(Debug)]
pub(super) struct Node {
    /// Its name.
    pub(super) name: NodeName,
    /// Its key and certificate.
    pub(super) identity: Identity,
    /// Its data.
    pub(super) store: Store,
    /// The generation that it was in.
    pub(super) generation: Arc<Generation>,
    /// The views of generations before that are served still, oldest first.
    pub(super) past_views: Vec<past::Views>,
    /// The nodes that a restored primary learned from, which may hold
    /// payloads that it does not.
    pub(super) recovered_from: Vec<NodeName>,
}

impl Node {
    /// Opens the node of `settings.data`.
    ///
    /// # Errors
    /// A folder that is no node's, in use, damaged or of a newer format.
    pub(super) async fn open(
        settings: &Settings,
        stop: &CancellationToken,
    ) -> Result<Self, super::Error> {
        let layout = Layout::new(&settings.data);
        let data = layout.data().to_owned();
        let store = open_store(data, stop).await?;
        let identity = Identity::load(&layout.identity())?;
        let name = match &identity.certificate().subject {
            Subject::Node(name) => name.clone(),
            user => return Err(Error::NotANode(user.clone()).into()),
        };
        first(&store, &identity, &name, stop).await?;
        let mut attempts = 0;
        let (generation, past_views) = loop {
            let error = match load(&store, &name).await {
                Ok(loaded) => break loaded,
                Err(error) => error,
            };
            attempts += 1;
            if attempts > MAX_MENDED || !error.is_of_the_disk() {
                return Err(error.into());
            }
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the generation on this disk is damaged; what lacks of it is fetched again"
            );
            if let Err(failed) = fetch_again(&store, &identity, &name, &error).await {
                tracing::error!(
                    error = &failed as &dyn std::error::Error,
                    "it could not be fetched again"
                );
                return Err(error.into());
            }
        };
        Ok(Self { name, identity, store, generation, past_views, recovered_from: Vec::new() })
    }
}

/// Loads the generation on disk, and what is served still of those before.
async fn load(
    store: &Store,
    name: &NodeName,
) -> Result<(Arc<Generation>, Vec<past::Views>), Error> {
    let (store, name) = (store.clone(), name.clone());
    tokio::task::spawn_blocking(move || {
        let generation = restore(&store, &name)?;
        let past = past::views(&store, &generation)?;
        Ok((Arc::new(generation), past))
    })
    .await?
}

/// Forgets the damaged document that an error names, and fetches what lacks of the
/// generation from the parent that joining named.
async fn fetch_again(
    store: &Store,
    identity: &Identity,
    name: &NodeName,
    error: &Error,
) -> Result<(), super::Error> {
    if let Some(store::Error::Damaged { digest, .. }) = store::Error::behind(error) {
        let digest = *digest;
        store.run(move |store| store.remove_blob(&digest)).await?;
    }
    let known = store.run(|store| store.get(&PARENT, PARENT_KEY)).await?;
    let parent = to_parent(&known.ok_or(Error::None)?, identity)?;
    follow::learn(store, name, &parent, None).await?;
    Ok(())
}

/// The way to the parent that joining named.
fn to_parent(record: &ParentRecord, identity: &Identity) -> Result<Parent, super::Error> {
    let parent: NodeName = record.name.parse().map_err(Error::Parent)?;
    let url = record.url.parse().map_err(super::Error::ParentUrl)?;
    let credentials = Credentials::new(identity)?;
    let tls = tls::client(identity.ca(), Some(credentials), Expected::Node(parent.clone()))?;
    Ok(Parent::new(parent, channel::to_node(&url, tls)?))
}

/// Opens the store; waits a little where this very process has it still, as
/// when it starts again in another place of the tree.
async fn open_store(data: PathBuf, stop: &CancellationToken) -> Result<Store, super::Error> {
    let deadline = Instant::now() + RELEASE;
    loop {
        let path = data.clone();
        let opened = tokio::task::spawn_blocking(move || Store::open(&path, Mode::Existing));
        match opened.await.map_err(Error::Thread)? {
            Err(store::Error::InUse { process, .. })
                if process == Some(std::process::id())
                    && Instant::now() < deadline
                    && !stop.is_cancelled() =>
            {
                tokio::time::sleep(FIRST_PAUSE).await;
            }
            opened => return Ok(opened?),
        }
    }
}

/// Fetches the first generation from the parent that joining named, if there
/// is none yet: tries until it succeeds or the node is stopped. The parent may
/// not have heard of this node yet.
async fn first(
    store: &Store,
    identity: &Identity,
    name: &NodeName,
    stop: &CancellationToken,
) -> Result<(), super::Error> {
    if store.run(storage::current).await?.is_some() {
        return Ok(());
    }
    let known = store.run(|store| store.get(&PARENT, PARENT_KEY)).await?;
    let record = known.ok_or(Error::None)?;
    let parent = to_parent(&record, identity)?;
    let mut pause = FIRST_PAUSE;
    loop {
        tracing::info!(parent = %parent.name(), "fetching the first generation");
        match follow::learn(store, name, &parent, None).await {
            Ok(_) => return Ok(()),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                again_in_milliseconds = pause.as_millis() as u64,
                "the first generation could not be fetched"
            ),
        }
        tokio::select! {
            () = stop.cancelled() => return Err(Error::Stopped.into()),
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// The generation on disk, verified as of when the node switched to it: what
/// was accepted once goes on being acted on.
pub(super) fn restore(store: &Store, name: &NodeName) -> Result<Generation, Error> {
    let (metadata, at) = storage::current(store)?.ok_or(Error::None)?;
    let trusted = tuf::restore::restore(&metadata, at, MAX_DELEGATIONS)?;
    match load::load(&trusted, name, &Staged::new(store, Vec::new()), None)? {
        Loaded::Whole(generation) => Ok(*generation),
        Loaded::Lacking(lacking) => Err(Error::Lacking(lacking.len())),
    }
}
