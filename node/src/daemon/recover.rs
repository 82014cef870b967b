//! The first start of a primary that was put back to an earlier state, and
//! the question before every other start: does somebody else sign?

use std::sync::Arc;

use jiff::Timestamp;
use patchmesh_topology::name::NodeName;
use patchmesh_topology::node::{Mesh, Role};
use tokio_util::sync::CancellationToken;

use super::open::Node;
use super::{Layout, primary};
use crate::budget::Budget;
use crate::config::Settings;
use crate::generation::{Generation, past, storage};
use crate::identity::ca::Request;
use crate::identity::certificate::Certificate;
use crate::identity::files::{self, Identity};
use crate::identity::tls::Credentials;
use crate::primary::publisher::{self, Press};
use crate::primary::signing::{self, Signing};
use crate::primary::views::Views;
use crate::store::{self, Store};
use crate::succession::adopt::{self, Adopted};
use crate::succession::census::{self, Accept, Census, Heard};
use crate::succession::mark::{self, Mark};
use crate::succession::watch::{self, Superseded};
use crate::succession::{Ways, ask};
use crate::transport::address::NodeUrl;
use crate::tuf::RoleName;
use crate::tuf::layout::MeshRole;
use crate::tuf::repository::RoleKeys;

/// Why a primary does not go on from an earlier state.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The mark.
    #[error("it cannot be told whether this data folder was restored")]
    Mark(#[from] mark::Error),
    /// The old primary still runs.
    #[error(
        "the old primary still runs at {0}; stop it for good, then start this one: two primaries would decide against each other"
    )]
    OldOneLives(String),
    /// Others could not be asked.
    #[error("it is not known what was decided since the backup")]
    Census(#[from] census::Error),
    /// The newest state could not be had.
    #[error("what was decided since the backup could not be had")]
    Adopt(#[from] adopt::Error),
    /// The keys.
    #[error("the primary's keys cannot be used")]
    Primary(#[from] primary::Error),
    /// The roles' keys.
    #[error("the keys of the signed roles cannot be used")]
    Roles(#[from] crate::tuf::signing::Error),
    /// What was signed last.
    #[error("what was signed last cannot be gone on from")]
    Signing(#[from] signing::Error),
    /// Publishing.
    #[error(
        "the state that was taken over cannot be signed; do the keys in this backup still hold their roles?"
    )]
    Publish(#[from] publisher::Fault),
    /// A new certificate.
    #[error("the primary's certificate cannot be issued anew")]
    Certificate(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The metadata that is trusted here.
    #[error("no root is trusted in this data folder; restore it again")]
    NoRoot,
    /// Another node took the place.
    #[error(
        "node {0} is the primary now; stop this one for good, or clear its data folder and let it join anew"
    )]
    Replaced(NodeName),
    /// The tree.
    #[error("this node cannot take the primary's place")]
    Tree(#[from] patchmesh_topology::node::membership::Rejection),
    /// Somebody else signs.
    #[error(transparent)]
    Superseded(#[from] Superseded),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] store::Error),
    /// A worker thread ended abnormally.
    #[error("a worker thread ended abnormally")]
    Thread(#[from] tokio::task::JoinError),
}

/// What a start may be told about other nodes.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// Treat the data folder as one that was restored.
    pub restored: bool,
    /// Whose silence is accepted then.
    pub accept: Accept,
}

/// Lets a primary start only where it may, and brings one that was restored
/// up to what other nodes hold. Other nodes are left as they are.
pub(super) async fn run(
    settings: &Settings,
    start: &Start,
    node: Node,
    stop: &CancellationToken,
) -> Result<Node, super::Error> {
    let this = node.generation.mesh.node(&node.name).map(|this| this.role);
    let mark = Mark::read(&settings.data).map_err(Error::from)?;
    if let Some(mark) = mark.filter(|mark| mark.promotion.is_some() && this != Some(Role::Primary))
    {
        return Ok(recover(settings, start, &mark, node, stop).await?);
    }
    if this != Some(Role::Primary) {
        // A node that follows learns what it has missed from its parent.
        let store = node.store.clone();
        if Mark::read(&settings.data).map_err(Error::from)?.is_some() {
            store.run(|store| store.forget_absent()).await?;
            Mark::remove(&settings.data).map_err(Error::from)?;
        }
        return Ok(node);
    }
    let mark = match Mark::read(&settings.data).map_err(Error::from)? {
        None if start.restored => Some(by_hand(&settings.data, &node.generation)?),
        mark => mark,
    };
    match mark {
        Some(mark) => Ok(recover(settings, start, &mark, node, stop).await?),
        None => {
            check(&node).await?;
            Ok(node)
        }
    }
}

/// Marks a data folder that was put back by other means than a backup, so
/// that a start that fails on the way is not taken for an ordinary one later.
fn by_hand(data: &std::path::Path, generation: &Generation) -> Result<Mark, Error> {
    let now = Timestamp::now();
    let generation = generation.number;
    let mark =
        Mark { backup: 0, made_at: now, restored_at: now, generation, url: None, promotion: None };
    mark.write(data)?;
    Ok(mark)
}

/// Asks the nodes directly below whether somebody else signs.
async fn check(node: &Node) -> Result<(), Error> {
    let Ok(credentials) = Credentials::new(&node.identity) else { return Ok(()) };
    let ways = Ways { ca: node.identity.ca().clone(), credentials, budget: Budget::default() };
    let (root, at) = trusted(&node.store).await?;
    let look = watch::look(&ways, &node.name, &node.generation, &root, at);
    match tokio::time::timeout(watch::PATIENCE, look).await {
        Ok(Some(superseded)) => Err(superseded.into()),
        // Whoever is silent now is asked again while the node runs.
        Ok(None) | Err(_) => Ok(()),
    }
}

/// The root that is trusted, and the time as of which what is here was
/// accepted.
pub(super) async fn trusted(store: &Store) -> Result<(Vec<u8>, Timestamp), Error> {
    let read = |store: &Store| {
        let root = storage::trusted(store)?.remove(&RoleName::ROOT);
        let at = storage::current(store)?.map(|(_, at)| at);
        Ok::<_, Error>(root.zip(at))
    };
    store.run(read).await?.ok_or(Error::NoRoot)
}

async fn recover(
    settings: &Settings,
    start: &Start,
    mark: &Mark,
    node: Node,
    stop: &CancellationToken,
) -> Result<Node, Error> {
    let Node { name, identity, store, generation, .. } = node;
    tracing::warn!(
        backup = mark.backup,
        of = %mark.made_at,
        generation = generation.number,
        "this primary was restored: asking other nodes what was decided since"
    );
    let missing = store.run(|store| store.forget_absent().map_err(Error::from)).await?;
    if missing > 0 {
        tracing::warn!(
            blobs = missing,
            "payloads are not in the backup; other nodes are asked for them"
        );
    }
    let identity = certify(settings, &name, &generation.mesh, mark, identity).await?;
    let credentials =
        Credentials::new(&identity).map_err(|error| Error::Certificate(error.into()))?;
    let ways = Ways { ca: identity.ca().clone(), credentials, budget: Budget::default() };
    let old = generation.mesh.primary().ok_or(Error::NoRoot)?.name.clone();
    refuse_while_alive(&ways, &old, &generation.mesh).await?;
    let (root, at) = trusted(&store).await?;
    let accept = &start.accept;
    let root_version =
        generation.roles.iter().find(|one| one.role == "root").map_or(0, |one| one.version);
    let census =
        Census { ways: &ways, own: &name, old: &old, root: &root, root_version, at, accept };
    let heard = census.hear(&generation.mesh, stop).await?;
    let (mut adopted, metadata) = newest(&store, &name, &generation, &heard).await?;
    // It may name another place than the backup does.
    refuse_while_alive(&ways, &old, &adopted.generation.mesh).await?;
    if let Some(other) = adopted.generation.mesh.primary().filter(|one| one.name != old) {
        return Err(Error::Replaced(other.name.clone()));
    }
    for id in &adopted.lost {
        tracing::warn!(revision = %id, "no node has this revision; synchronise its source again");
    }
    let keys = RoleKeys::read(&Layout::new(&settings.data).role_keys())?;
    let repositories = primary::repository_keys(&Layout::new(&settings.data))?;
    let versions = heard.versions();
    let trusted = match &metadata {
        Some(word) => word.learned.current().clone(),
        None => store.run(|store| storage::trusted(store).map_err(Error::from)).await?,
    };
    let mut press = Press {
        store: store.clone(),
        signing: Signing::resume(keys, trusted, &versions)?,
        views: Views::new(repositories),
        name: name.clone(),
    };
    let backing = store.clone();
    let roots: Vec<(String, bytes::Bytes)> = metadata
        .iter()
        .flat_map(|word| word.learned.written())
        .filter(|one| one.role == RoleName::ROOT)
        .map(|one| (one.file_name(), one.bytes.clone().into()))
        .collect();
    let papers = mark.promotion.as_ref().map(|promotion| promotion.papers.clone());
    let mesh = match &papers {
        None if !press.signing.is_online(&MeshRole::Mesh.name()) => {
            tracing::error!(
                "the key of the role mesh is not on this host: neither the new URL nor a higher epoch can be signed; \
                 make sure that the old primary stays off"
            );
            None
        }
        _ => Some(next_mesh(&adopted.generation.mesh, &name, mark, &heard)?),
    };
    let work = move || {
        let mut draft = adopted.draft(&backing, Timestamp::now());
        roots.into_iter().for_each(|(file, bytes)| draft.add_metadata(file, bytes));
        if let Some(mesh) = mesh {
            draft.mesh = Arc::new(mesh);
        }
        draft.adopt(papers.unwrap_or_default());
        let mut written = draft.written_since(&adopted.generation);
        // Those of stages that nobody below carries are not there.
        written.views = true;
        press.publish(Some(&adopted.generation), draft, written)
    };
    let generation = tokio::task::spawn_blocking(work).await??;
    Mark::remove(&settings.data)?;
    let present = generation.clone();
    let past_views =
        store.run(move |store| past::views(store, &present).map_err(Error::from)).await?;
    tracing::warn!(
        generation = generation.number,
        epoch = generation.mesh.epoch,
        "this primary goes on"
    );
    let asked = heard.words.into_values().map(|word| word.way.name().clone()).collect();
    Ok(Node { name, identity, store, generation, past_views, recovered_from: asked })
}

/// The tree as it goes on: this node at its top, above every epoch.
fn next_mesh(mesh: &Mesh, own: &NodeName, mark: &Mark, heard: &Heard) -> Result<Mesh, Error> {
    let epochs = heard.words.values().map(|word| word.mesh.epoch);
    let highest = epochs.max().unwrap_or_default().max(mesh.epoch);
    let mut next = if mark.promotion.is_some() { mesh.succeed(own)? } else { mesh.clone() };
    next.epoch = highest + 1;
    if let (Some(url), Some(this)) = (&mark.url, next.nodes.get_mut(own)) {
        this.url.clone_from(url);
    }
    Ok(next)
}

/// The newest state of all: that of a node, with its metadata, or the one that
/// is here.
async fn newest<'a>(
    store: &Store,
    own: &NodeName,
    here: &Arc<Generation>,
    heard: &'a Heard,
) -> Result<(Adopted, Option<&'a ask::Word>), Error> {
    let ours = (here.mesh.epoch, here.timestamp_version);
    match heard.newest() {
        Some((node, word)) if word.rank() > ours => {
            let adopted = adopt::adopt(store, own, node, word, heard).await?;
            tracing::warn!(
                from = %node,
                backup = here.number,
                generation = adopted.generation.number,
                "took over what was decided since the backup"
            );
            Ok((adopted, Some(word)))
        }
        _ => {
            tracing::info!(generation = here.number, "nothing was decided since the backup");
            Ok((Adopted::own(here.clone()), None))
        }
    }
}

/// Whoever answers with this node's own certificate is the old primary: this
/// one does not listen yet.
async fn refuse_while_alive(ways: &Ways, own: &NodeName, mesh: &Mesh) -> Result<(), Error> {
    let url = mesh.node(own).map(|this| this.url.clone()).unwrap_or_default();
    if ask::is_alive(ways, own, &url).await { Err(Error::OldOneLives(url)) } else { Ok(()) }
}

/// A new certificate for the same key: the one in the backup may have expired,
/// and the host may have another name now.
async fn certify(
    settings: &Settings,
    name: &NodeName,
    mesh: &Mesh,
    mark: &Mark,
    identity: Identity,
) -> Result<Identity, Error> {
    fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error::Certificate(Box::new(error))
    }
    let folder = Layout::new(&settings.data).identity();
    let url = mark.url.clone().or_else(|| mesh.node(name).map(|this| this.url.clone()));
    let url: NodeUrl = url.unwrap_or_default().parse().map_err(failed)?;
    let (name, mesh_id, lifetime) = (name.clone(), mesh.id.clone(), settings.certificate_lifetime);
    let work = move || {
        let ca = files::load_ca(&folder, &mesh_id).map_err(failed)?;
        let request = identity.key().certificate_request(name.as_str()).map_err(failed)?;
        let request = Request::parse(&request).map_err(failed)?;
        let certificate: Certificate =
            ca.issue_node(&request, &name, &url, lifetime, Timestamp::now()).map_err(failed)?;
        let renewed = identity.renewed(certificate).map_err(failed)?;
        renewed.save_certificate(&folder).map_err(failed)?;
        Ok(renewed)
    };
    tokio::task::spawn_blocking(work).await?
}
