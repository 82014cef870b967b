//! A node in memory, with faults to order.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::Request;
use axum::middleware::{self, Next};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header;
use patchmesh_topology::digest::{Digest, Sha256};
use patchmesh_topology::name::GroupName;
use patchmesh_topology::node::Stage;
use patchmesh_topology::revision::{Binding, DocumentRef};
use patchmesh_topology::view::{FullView, Pool, PoolFile, Pools};

use crate::http::{BlobRead, ByteStream, Served, Snapshot, Stored, Unavailable, router};
use crate::view::apt::Built;
use crate::view::shelf::Shelf;
use crate::view::testing::full;

/// What goes wrong with reading blobs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    Unavailable,
    AtOnce,
    Midway,
    Short,
    Long,
}

/// Stage production only.
#[derive(Default, Clone)]
pub(super) struct Fake {
    views: BTreeMap<GroupName, Arc<Shelf>>,
    blobs: HashMap<Digest, Bytes>,
    pub(super) bindings: HashMap<Sha256, Binding>,
    pub(super) metadata: HashMap<String, Stored>,
    pub(super) targets: HashMap<(String, Sha256), DocumentRef>,
    pub(super) ca: Option<Bytes>,
    pub(super) key: Option<Bytes>,
    pub(super) fault: Option<Fault>,
}

impl Fake {
    pub(super) fn view(&self, signed_at: &str) -> FullView {
        full(signed_at.parse().unwrap(), BTreeMap::new(), Pool::new())
    }

    pub(super) fn blob(&mut self, content: impl Into<Bytes>) -> (DocumentRef, Sha256) {
        let content = content.into();
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &content);
        let blob = DocumentRef { digest: Digest::of(&content), length: content.len() as u64 };
        self.blobs.insert(blob.digest, content);
        (blob, Sha256::try_from(hash.as_ref()).unwrap())
    }

    pub(super) fn index(&mut self, view: &mut FullView, path: &str, content: &'static str) {
        let (blob, _) = self.blob(content);
        Arc::make_mut(&mut view.view).files.insert(path.into(), blob);
    }

    pub(super) fn pool(&mut self, view: &mut FullView, path: &str, content: &'static str) {
        let sha256 = self.bind(content);
        let file = PoolFile { sha256, length: content.len() as u64 };
        Arc::make_mut(&mut view.pools.settled).insert(path.into(), file);
    }

    /// Stores a payload and binds it.
    pub(super) fn bind(&mut self, content: impl Into<Bytes>) -> Sha256 {
        let (blob, sha256) = self.blob(content);
        let binding = Binding { sha256, blob: blob.digest, length: blob.length };
        self.bindings.insert(sha256, binding);
        sha256
    }

    /// Puts a view before those served so far.
    pub(super) fn switch(&mut self, group: &str, view: FullView) {
        let group: GroupName = group.parse().unwrap();
        let now = view.view.signed_at;
        let next = match self.views.get(&group) {
            Some(shelf) => shelf.switch(view, now),
            None => Shelf::new(view),
        };
        self.views.insert(group, Arc::new(next));
    }

    /// Takes in a view with its index files and switches to it.
    pub(super) fn publish(&mut self, group: &str, built: Built) {
        let Pools { settled, opening } = built.pools.clone();
        let pools = Pools { settled: Arc::new(settled), opening: Arc::new(opening) };
        self.blobs.extend(built.blobs.clone());
        let (view, _) = built.finish(BTreeMap::new());
        self.switch(group, FullView { view: Arc::new(view), pools });
    }

    pub(super) fn router(&self) -> axum::Router {
        router(Arc::new(Fixed(Arc::new(self.clone()))), Arc::new(self.clone()))
    }

    /// Serves on a port of the loopback device until the handle is dropped.
    pub(super) async fn listen(self) -> Server {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let node = Arc::new(Shared(Mutex::new(self)));
        let log = Arc::new(Mutex::new(Vec::new()));
        let router =
            router(node.clone(), node.clone()).layer(middleware::from_fn_with_state(
                log.clone(),
                |log: axum::extract::State<Arc<Mutex<Vec<String>>>>,
                 request: Request,
                 next: Next| async move {
                    let ranged =
                        if request.headers().contains_key(header::RANGE) { " ranged" } else { "" };
                    let path = request.uri().path().to_owned();
                    let response = next.run(request).await;
                    log.lock()
                        .unwrap()
                        .push(format!("{} {path}{ranged}", response.status().as_u16()));
                    response
                },
            ));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Server { address, node, log, task }
    }
}

/// A node that listens.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    node: Arc<Shared>,
    log: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Changes what is served, between two requests.
    pub(super) fn change(&self, change: impl FnOnce(&mut Fake)) {
        change(&mut self.node.0.lock().unwrap());
    }

    /// The answers since the last call: status, path, and whether a range was asked for.
    pub(super) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Fixed(Arc<Fake>);

impl Served for Fixed {
    fn snapshot(&self) -> Arc<dyn Snapshot> {
        self.0.clone()
    }
}

struct Shared(Mutex<Fake>);

impl Served for Shared {
    fn snapshot(&self) -> Arc<dyn Snapshot> {
        Arc::new(self.0.lock().unwrap().clone())
    }
}

#[async_trait]
impl BlobRead for Shared {
    async fn read(&self, blob: DocumentRef, range: Range<u64>) -> Result<ByteStream, Unavailable> {
        let fake = self.0.lock().unwrap().clone();
        fake.read(blob, range).await
    }
}

impl Snapshot for Fake {
    fn groups(&self) -> Vec<(Stage, GroupName)> {
        self.views.keys().map(|group| (Stage::Production, group.clone())).collect()
    }

    fn shelf(&self, stage: Stage, group: &str) -> Option<Arc<Shelf>> {
        let group: GroupName = group.parse().ok()?;
        self.views.get(&group).filter(|_| stage == Stage::Production).cloned()
    }

    fn binding(&self, sha256: &Sha256) -> Option<Binding> {
        self.bindings.get(sha256).copied()
    }

    fn open_payload(&self, sha256: &Sha256) -> Option<Binding> {
        self.binding(sha256)
    }

    fn held_payload(&self, _: &Sha256) -> Option<Binding> {
        None
    }

    fn open_blob(&self, blob: &Digest) -> Option<u64> {
        self.bindings.values().find(|binding| binding.blob == *blob).map(|binding| binding.length)
    }

    fn metadata(&self, file: &str) -> Option<Stored> {
        self.metadata.get(file).cloned()
    }

    fn target(&self, path: &str, sha256: &Sha256) -> Option<DocumentRef> {
        self.targets.get(&(path.to_owned(), *sha256)).copied()
    }

    fn ca(&self) -> Option<Bytes> {
        self.ca.clone()
    }

    fn repository_key(&self, stage: Stage) -> Option<Bytes> {
        self.key.clone().filter(|_| stage == Stage::Production)
    }
}

#[async_trait]
impl BlobRead for Fake {
    async fn read(&self, blob: DocumentRef, range: Range<u64>) -> Result<ByteStream, Unavailable> {
        let bytes = self.blobs[&blob.digest].slice(range.start as usize..range.end as usize);
        let (first, second) = (bytes.slice(..bytes.len() / 2), bytes.slice(bytes.len() / 2..));
        let broken = || Err(io::Error::new(io::ErrorKind::ConnectionReset, "the parent went away"));
        let parts = match self.fault {
            None => vec![Ok(first), Ok(second)],
            Some(Fault::Unavailable) => {
                return Err(Unavailable {
                    why: "the parent does not answer".to_owned(),
                    retry_after: Duration::from_secs(30),
                });
            }
            Some(Fault::AtOnce) => vec![broken()],
            Some(Fault::Midway) => vec![Ok(first), broken()],
            Some(Fault::Short) => vec![Ok(first)],
            Some(Fault::Long) => vec![Ok(first), Ok(second), Ok(bytes)],
        };
        // A pause after each part, so that the server sends what it has.
        Ok(Box::pin(stream::iter(parts).then(|part| async {
            tokio::task::yield_now().await;
            part
        })))
    }
}
