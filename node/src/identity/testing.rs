//! A mesh in memory, for the tests of this crate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use jiff::Timestamp;
use patchmesh_topology::name::NodeName;
use patchmesh_topology::node::{Membership, Mesh, Node, Role};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Channel;

use super::ca::{self, Ca};
use super::enrol;
use super::files::Identity;
use super::key::Key;
use super::peer::Peer;
use super::policy::PeerPolicy;
use super::tls::{self, Credentials, Expected};
use crate::rpc::rights::Guard;
use crate::transport::address::NodeUrl;
use crate::transport::channel;
use crate::transport::server::{self, Options};

/// A CA and shorthand for what it issues.
pub(crate) struct TestMesh {
    pub(crate) ca: Arc<Ca>,
}

impl TestMesh {
    pub(crate) fn new() -> Self {
        Self { ca: Arc::new(Ca::create("m1", "Test", Timestamp::now()).expect("a CA")) }
    }

    /// A node's identity, good for an hour, reached at 127.0.0.1.
    pub(crate) fn node(&self, name: &str) -> Identity {
        self.node_at(name, Duration::from_secs(3600), Timestamp::now())
    }

    /// A node's identity, issued at `now`.
    pub(crate) fn node_at(&self, name: &str, lifetime: Duration, now: Timestamp) -> Identity {
        let name = name.parse().expect("a name");
        let url = "https://127.0.0.1:1".parse().expect("a URL");
        enrol::node(&self.ca, &name, &url, lifetime, now).expect("an identity")
    }

    /// A certificate for a key that exists.
    pub(crate) fn reissue(
        &self,
        key: &Key,
        name: &str,
        lifetime: Duration,
        now: Timestamp,
    ) -> Identity {
        let request = ca::Request::parse(&key.certificate_request(name).expect("a request"));
        let url = "https://127.0.0.1:1".parse().expect("a URL");
        let name = name.parse().expect("a name");
        let certificate = self
            .ca
            .issue_node(&request.expect("parsed"), &name, &url, lifetime, now)
            .expect("a certificate");
        let copy = Key::from_pem(&key.to_pem()).expect("a key");
        Identity::new(copy, certificate, self.ca.certificate().clone()).expect("an identity")
    }

    /// A user's identity, good for an hour.
    pub(crate) fn user(&self, name: &str) -> Identity {
        let name = name.parse().expect("a name");
        let hour = Duration::from_secs(3600);
        enrol::user(&self.ca, &name, hour, Timestamp::now()).expect("an identity")
    }

    /// A machine's identity, good for an hour.
    pub(crate) fn machine(&self, name: &str, group: &str) -> Identity {
        let key = Key::generate().expect("a key");
        self.machine_with(key, name, group, Timestamp::now())
    }

    /// A machine's identity with a key that exists, issued at `now`.
    pub(crate) fn machine_with(
        &self,
        key: Key,
        name: &str,
        group: &str,
        now: Timestamp,
    ) -> Identity {
        let request = ca::Request::parse(&key.certificate_request(name).expect("a request"));
        let (name, group) = (name.parse().expect("a name"), group.parse().expect("a name"));
        let hour = Duration::from_secs(3600);
        let certificate =
            self.ca.issue_machine(&request.expect("parsed"), &name, &group, hour, now);
        let certificate = certificate.expect("a certificate");
        Identity::new(key, certificate, self.ca.certificate().clone()).expect("an identity")
    }

    /// A mesh document with these nodes, each with its parent.
    pub(crate) fn mesh(&self, nodes: &[(&str, Option<&str>, Membership)]) -> Mesh {
        let node = |(name, parent, membership): &(&str, Option<&str>, Membership)| {
            let name: NodeName = name.parse().expect("a name");
            let role = if parent.is_none() { Role::Primary } else { Role::Branch };
            let node = Node {
                name: name.clone(),
                role,
                parent: parent.map(|parent| parent.parse().expect("a name")),
                fallback_parents: Vec::new(),
                site: "emea".parse().expect("a site"),
                url: "https://127.0.0.1:1".to_owned(),
                stages: role.default_stages(),
                membership: *membership,
                subscription: patchmesh_topology::subscription::Subscription::default(),
            };
            (name, node)
        };
        Mesh {
            id: self.ca.mesh_id().to_owned(),
            name: "Test".to_owned(),
            nodes: nodes.iter().map(node).collect(),
            groups: BTreeMap::new(),
            users: BTreeMap::new(),
            repository_keys: BTreeMap::new(),
            source_subscriptions: BTreeMap::new(),
            epoch: 0,
            standbys: Default::default(),
            links: Default::default(),
            networks: Default::default(),
        }
    }
}

/// A node that listens on a port of its own.
pub(crate) struct Running {
    pub(crate) url: NodeUrl,
    app: Router,
    credentials: Arc<Credentials>,
    mesh: watch::Sender<Arc<Mesh>>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// Serves one gRPC service, guarded, and `/hello`, which says who asks.
    pub(crate) async fn start<S>(
        test: &TestMesh,
        identity: Identity,
        mesh: Mesh,
        service: impl FnOnce(Arc<Credentials>, watch::Receiver<Arc<Mesh>>) -> S,
    ) -> Self
    where
        S: tower::Service<http::Request<tonic::body::Body>, Error = std::convert::Infallible>
            + tonic::server::NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Response: axum::response::IntoResponse,
        S::Future: Send + 'static,
    {
        let credentials = Credentials::new(&identity).expect("credentials");
        let (mesh, watched) = watch::channel(Arc::new(mesh));
        let services = Routes::new(service(Arc::clone(&credentials), watched.clone()));
        let own = "hq".parse().expect("a name");
        let hello = async |request: Request| {
            request.extensions().get::<Peer>().map(ToString::to_string).unwrap_or_default()
        };
        let app = Guard::new(own, watched)
            .protect(services.into_axum_router())
            .merge(Router::new().route("/hello", get(hello)));
        Self::listen(test, app, credentials, mesh, Options::default()).await
    }

    /// Serves what is open to all, and nothing else.
    pub(crate) async fn serving(test: &TestMesh, identity: Identity, app: Router) -> Self {
        let credentials = Credentials::new(&identity).expect("credentials");
        let (mesh, _) = watch::channel(Arc::new(test.mesh(&[])));
        Self::listen(test, app, credentials, mesh, Options::default()).await
    }

    /// The same node with other bounds, on another port.
    pub(crate) async fn restarted_with(self, test: &TestMesh, options: Options) -> Self {
        self.shutdown.cancel();
        self.task.await.expect("ended");
        Self::listen(test, self.app, self.credentials, self.mesh, options).await
    }

    async fn listen(
        test: &TestMesh,
        app: Router,
        credentials: Arc<Credentials>,
        mesh: watch::Sender<Arc<Mesh>>,
        options: Options,
    ) -> Self {
        let listener = server::bind("127.0.0.1:0".parse().expect("an address")).await;
        let listener = listener.expect("bound");
        let address = listener.local_addr().expect("an address");
        let url = format!("https://{address}").parse().expect("a URL");
        let tls = tls::server(test.ca.certificate(), Arc::clone(&credentials)).expect("TLS");
        let policy = Arc::new(PeerPolicy::new(mesh.subscribe()));
        let shutdown = CancellationToken::new();
        let serve =
            server::serve_tls(listener, tls, policy, app.clone(), options, None, shutdown.clone());
        let task = tokio::spawn(serve);
        Self { url, app, credentials, mesh, shutdown, task }
    }

    /// A channel to this node from someone who takes it for `expected`.
    pub(crate) fn channel(
        &self,
        test: &TestMesh,
        credentials: Option<Arc<Credentials>>,
        expected: &str,
    ) -> Channel {
        let expected = Expected::Node(expected.parse().expect("a name"));
        let tls = tls::client(test.ca.certificate(), credentials, expected).expect("TLS");
        channel::to_node(&self.url, tls).expect("a channel")
    }

    /// Changes what the node's mesh document says of another.
    pub(crate) fn set_membership(&self, name: &str, membership: Membership) {
        let name: NodeName = name.parse().expect("a name");
        self.mesh.send_modify(|mesh| {
            let mut changed = Mesh::clone(mesh);
            changed.nodes.get_mut(&name).expect("a node").membership = membership;
            *mesh = Arc::new(changed);
        });
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.expect("ended");
    }
}
