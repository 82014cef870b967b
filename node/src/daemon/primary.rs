//! The parts that only the primary has.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::name::{GroupName, MachineName};
use patchmesh_topology::node::Stage;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Layout;
use crate::alerts::Alerts;
use crate::assess::book::Book;
use crate::assess::feeds::Feeds;
use crate::config::Settings;
use crate::content::Content;
use crate::generation::{Current, storage};
use crate::identity::authority::{Applicant, Attempt, Authority, Redeemed, Tokens};
use crate::identity::{self, ca, files};
use crate::openpgp::{self, SigningKey};
use crate::primary::awaited;
use crate::primary::machines::Machines;
use crate::primary::payloads::Payloads;
use crate::primary::planned::Plans;
use crate::primary::publisher::{Press, Publisher, Worker};
use crate::primary::revocations;
use crate::primary::rollouts::Rollouts;
use crate::primary::signing::{self, Signing};
use crate::primary::sources::Sources;
use crate::primary::tokens;
use crate::primary::views::Views;
use crate::replicate::status::Statuses;
use crate::reports::ledger::Ledger;
use crate::rpc::status::{internal, published};
use crate::rpc::{blocking, context, machines};
use crate::store::Store;
use crate::tuf::repository::RoleKeys;

/// Why the primary's keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The CA.
    #[error("the mesh's certificate authority cannot be used")]
    Ca(#[from] files::Error),
    /// Making a key or certificate.
    #[error("a certificate cannot be made")]
    Certificate(#[from] ca::Error),
    /// The roles' keys.
    #[error("the keys of the signed roles cannot be used")]
    Roles(#[from] crate::tuf::signing::Error),
    /// What was signed last.
    #[error("what was signed last cannot be gone on from")]
    Signing(#[from] signing::Error),
    /// The HTTP client for feeds.
    #[error("no HTTP client can be made")]
    Http(#[source] crate::source::http::Error),
    /// A repository key.
    #[error("the repository key {path:?} is damaged; restore it from a backup")]
    RepositoryKey {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: openpgp::Error,
    },
    /// What is known of machines.
    #[error("what machines reported cannot be read")]
    Ledger(#[source] crate::store::Error),
    /// A file.
    #[error("{path:?} cannot be read or written")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The primary's own parts.
#[derive(Debug)]
pub(super) struct Parts {
    /// For the services.
    pub(super) context: context::Primary,
    /// Issues certificates.
    pub(super) authority: Arc<Authority>,
}

/// Starts the primary's tasks.
#[allow(clippy::too_many_arguments)] // What the daemon has made before.
pub(super) fn start(
    settings: &Settings,
    name: &patchmesh_topology::name::NodeName,
    store: &Store,
    current: &Current,
    content: &Content,
    alerts: &Alerts,
    statuses: &Statuses,
    tasks: &mut JoinSet<()>,
    machines: &identity::machines::Machines,
    stop: &CancellationToken,
) -> Result<Parts, Error> {
    let layout = Layout::new(&settings.data);
    let keys = RoleKeys::read(&layout.role_keys())?;
    let press = Press {
        store: store.clone(),
        signing: Signing::open(keys, store)?,
        views: Views::new(repository_keys(&layout)?),
        name: name.clone(),
    };
    let ledger = Ledger::open(store, current.clone(), tasks, stop).map_err(Error::Ledger)?;
    let ((awaited, told), (built, views)) =
        (watch::channel(Arc::default()), watch::channel(Arc::default()));
    let publisher = Worker::new(press, current.clone())
        .hearing(Machines::of(ledger.clone()))
        .awaiting(views)
        .start(tasks, stop.clone());
    let heard = statuses.clone();
    tasks.spawn(awaited::follow(heard, awaited, built, publisher.clone(), stop.clone()));
    tasks.spawn(revocations::run(publisher.clone(), ledger.clone(), stop.clone()));
    let sources = Sources::new(store.clone(), publisher.clone(), layout.source_cache());
    let plans = Plans::new(store.clone(), sources.clone(), alerts.clone(), settings.retries);
    tasks.spawn(plans.clone().run(stop.clone()));
    let payloads = Payloads::start(
        current.clone(),
        publisher.clone(),
        sources.clone(),
        content.clone(),
        tasks,
        stop.clone(),
    );
    let book = Book::new(store.clone(), publisher.clone());
    tasks.spawn(book.clone().follow(current.clone(), stop.clone()));
    let feeds = Feeds::new(store.clone(), book).map_err(Error::Http)?;
    tasks.spawn(feeds.clone().run(stop.clone()));
    let rollouts =
        Rollouts::new(publisher.clone(), current.clone(), ledger.clone(), alerts.clone(), told);
    tasks.spawn(rollouts.clone().run(stop.clone()));
    let mesh_id = current.get().mesh.id.clone();
    let ca = Arc::new(files::load_ca(&layout.identity(), &mesh_id)?);
    let redeemer = Redeemer {
        publisher: publisher.clone(),
        store: store.clone(),
        ledger: ledger.clone(),
        machines: machines.clone(),
        current: current.clone(),
    };
    let authority = Arc::new(Authority::new(
        ca.clone(),
        Arc::new(redeemer),
        current.watch_mesh(),
        settings.certificate_lifetime,
    ));
    let context = context::Primary {
        publisher,
        ca_sha256: ca.sha256(),
        sources,
        plans,
        payloads,
        rollouts,
        feeds,
        ledger,
    };
    Ok(Parts { context, authority })
}

/// The key that each stage's views are signed with.
pub(super) fn repository_keys(layout: &Layout) -> Result<BTreeMap<Stage, SigningKey>, Error> {
    Stage::ALL
        .into_iter()
        .map(|stage| {
            let path = layout.repository_key(stage);
            let bytes = std::fs::read(&path)
                .map_err(|source| Error::File { path: path.clone(), source })?;
            // What is no text is no key either.
            let key = SigningKey::from_armored(&String::from_utf8_lossy(&bytes))
                .map_err(|source| Error::RepositoryKey { path, source })?;
            Ok((stage, key))
        })
        .collect()
}

/// Takes join tokens.
struct Redeemer {
    publisher: Publisher,
    store: Store,
    ledger: Ledger,
    machines: identity::machines::Machines,
    current: Current,
}

#[async_trait]
impl Tokens for Redeemer {
    async fn redeem(&self, attempt: Attempt) -> Result<Redeemed, tonic::Status> {
        let mut via = None;
        let (secret_sha256, generation) =
            if let Applicant::Machine { name, .. } = &attempt.applicant {
                let enrolled = self.ledger.enrol(attempt.clone()).await;
                let enrolled = enrolled.map_err(|refusal| machines::refused(&refusal))?;
                via = Some(enrolled.via);
                let seen = self.machines.see(name, attempt.spki_sha256, attempt.now).await;
                seen.map_err(|error| internal(&error))?;
                (enrolled.secret_sha256, self.current.get())
            } else {
                tokens::redeem(&self.publisher, attempt.clone()).await.map_err(published)?
            };
        let root = self
            .store
            .run(|store| storage::metadata(store, "1.root.json"))
            .await
            .map_err(|error| internal(&error))?
            .ok_or_else(|| tonic::Status::internal("the first root is missing on the primary"))?;
        let mesh = &generation.mesh;
        let parent = match &attempt.applicant {
            Applicant::Node { name, .. } => {
                mesh.node(name).and_then(|node| mesh.node(node.parent.as_ref()?))
            }
            Applicant::User { .. } => mesh.nodes.values().find(|node| node.parent.is_none()),
            Applicant::Machine { .. } => via.and_then(|via| mesh.node(&via)),
        };
        let parent = parent
            .ok_or_else(|| tonic::Status::internal("the one who joined has nobody to ask"))?;
        Ok(Redeemed {
            secret_sha256,
            parent: parent.name.clone(),
            parent_url: parent.url.clone(),
            tuf_root: root,
        })
    }

    async fn machine(
        &self,
        name: &MachineName,
    ) -> Result<Option<(GroupName, Sha256)>, tonic::Status> {
        let (ledger, name) = (self.ledger.clone(), name.clone());
        blocking(move || ledger.member(&name)).await
    }
}
