//! `serve`: the only place where a node's parts are put together.
//!
//! Order of the start: settings, data folder, identity, the generation on
//! disk, listeners, then the tasks that move things. Order of the end: the
//! tasks, the listeners with a deadline, the data folder.

mod elsewhere;
pub mod init;
pub mod join;
mod layout;
mod near;
mod open;
mod placement;
mod primary;
pub mod promote;
mod recover;
mod served;
mod services;
mod upward;

use std::sync::{Arc, OnceLock};

use patchmesh_topology::name::NodeName;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::identity::tls;
use crate::succession::watch::Superseded;
use crate::transport::{self, server};

pub use layout::Layout;
pub use open::Error as OpenError;
pub use primary::Error as PrimaryError;
pub use recover::{Error as RecoverError, Start};

/// Why a node did not start, or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data folder.
    #[error("the data folder cannot be used")]
    Store(#[from] crate::store::Error),
    /// The identity.
    #[error("the node's identity cannot be used")]
    Identity(#[from] crate::identity::files::Error),
    /// TLS.
    #[error("TLS cannot be set up")]
    Tls(#[from] tls::Error),
    /// A listener.
    #[error("a listener cannot be set up")]
    Listen(#[from] server::Error),
    /// The way to the parent.
    #[error("the way to the parent cannot be set up")]
    Parent(#[from] transport::channel::Error),
    /// Making a mesh.
    #[error("the mesh cannot be made")]
    Init(#[from] init::Fault),
    /// Joining a mesh.
    #[error("this host did not join")]
    Join(#[from] crate::identity::join::Error),
    /// The first synchronisation.
    #[error("joined, but the first generation could not be had from the parent")]
    First(#[from] crate::replicate::follow::Error),
    /// What is on disk.
    #[error("the generation on disk cannot be used")]
    Open(#[from] open::Error),
    /// The primary's keys.
    #[error("the primary's keys cannot be used")]
    Primary(#[from] primary::Error),
    /// Going on as the primary.
    #[error("this node does not start as the primary")]
    Recover(#[from] recover::Error),
    /// Somebody else became the primary while this node ran.
    #[error("this node stops, since it must not sign any more")]
    Superseded(#[from] Superseded),
    /// A node that the mesh document does not name.
    #[error(
        "the mesh document does not name node {0}; was the data folder restored from elsewhere?"
    )]
    NotInMesh(NodeName),
    /// This node's URL.
    #[error("the node's URL cannot be used")]
    Url(#[source] transport::address::Error),
    /// The parent's URL.
    #[error("the parent's URL cannot be used")]
    ParentUrl(#[source] transport::address::Error),
    /// The description of the services.
    #[error("the services cannot be described")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// A part of the node ended by itself: a fault of this program.
    #[error("a part of the node ended, so the node ends; what it holds is whole: start it again")]
    Ended(#[source] Option<tokio::task::JoinError>),
    /// A folder of the data folder.
    #[error("folder {path} cannot be made")]
    Folder {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// Runs the node of `settings.data` until `stop`. When the tree says that it
/// hangs elsewhere now it begins again, in its new place.
///
/// # Errors
/// What kept it from starting, or from going on.
pub async fn serve(
    settings: Settings,
    mut start: Start,
    stop: CancellationToken,
) -> Result<(), Error> {
    loop {
        let turn = stop.child_token();
        match run(&settings, &start, &turn).await? {
            None => return Ok(()),
            Some(End::Moved) => {
                tracing::warn!("the tree has changed around this node: starting again")
            }
            Some(End::Superseded(why)) => return Err(why.into()),
        }
        start = Start::default();
    }
}

/// Why a node ended by itself.
#[derive(Debug, Clone)]
enum End {
    /// Its parent, its parent's URL or its role is another one.
    Moved,
    /// Somebody else is the primary.
    Superseded(Superseded),
}

/// Where the reason is left before the node is stopped.
type Ending = Arc<OnceLock<End>>;

async fn run(
    settings: &Settings,
    start: &Start,
    stop: &CancellationToken,
) -> Result<Option<End>, Error> {
    let node = open::Node::open(settings, stop).await?;
    let node = recover::run(settings, start, node, stop).await?;
    let listener = server::bind(settings.listen).await?;
    let address = listener.local_addr().unwrap_or(settings.listen);
    let plain = match settings.http_listen {
        Some(address) => Some(server::bind(address).await?),
        None => None,
    };
    let socket = server::bind_unix(&Layout::new(&settings.data).admin_socket())?;
    let (mut tasks, ending) = (JoinSet::new(), Ending::default());
    let parts = services::Parts::start(settings, node, &mut tasks, stop, &ending)?;
    let options = server::Options::default;
    let tls = tls::server(parts.identity_ca(), parts.credentials())?;
    let policy = Arc::new(parts.policy());
    let router = parts.router().await?;
    let meters = Some(parts.meters());
    let many = server::Options::for_machines();
    let secured = server::serve_tls(listener, tls, policy, router, many, meters, stop.clone());
    tasks.spawn(secured);
    let services = parts.services().await?;
    tasks.spawn(server::serve_unix(socket, services, options(), stop.clone()));
    if let Some(plain) = plain {
        let address = plain.local_addr().ok();
        tracing::info!(?address, "serving plain HTTP");
        tasks.spawn(server::serve_plain(plain, parts.open_routes(), options(), stop.clone()));
    }
    let generation = parts.context().generation();
    tracing::info!(
        node = %parts.context().name,
        %address,
        generation = generation.number,
        mesh = generation.mesh.name,
        "ready"
    );
    let outcome = until_stopped(&mut tasks, stop).await;
    tracing::info!("stopped");
    outcome.map(|()| ending.get().cloned())
}

/// Waits for the end of every task. None ends before `stop` unless it broke;
/// then all are stopped, since a node that only seems to run is worse than one
/// that whoever supervises it starts again.
async fn until_stopped(tasks: &mut JoinSet<()>, stop: &CancellationToken) -> Result<(), Error> {
    let mut outcome = Ok(());
    while let Some(ended) = tasks.join_next().await {
        if stop.is_cancelled() && ended.is_ok() {
            continue;
        }
        if outcome.is_ok() {
            outcome = Err(Error::Ended(ended.err()));
        }
        stop.cancel();
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(work: impl Future<Output = ()> + Send + 'static) -> Result<(), Error> {
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        tasks.spawn(stop.clone().cancelled_owned());
        tasks.spawn(work);
        until_stopped(&mut tasks, &stop).await
    }

    #[tokio::test]
    async fn a_part_that_ends_ends_the_node() {
        assert!(matches!(run(async {}).await, Err(Error::Ended(None))));
        let panicked = run(async { panic!("on purpose") }).await;
        assert!(matches!(panicked, Err(Error::Ended(Some(_)))));
    }

    #[tokio::test]
    async fn a_node_that_is_stopped_ends_well() {
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        tasks.spawn(stop.clone().cancelled_owned());
        stop.cancel();
        assert!(until_stopped(&mut tasks, &stop).await.is_ok());
    }
}
