//! A disk that becomes full at every step of a fetch, and has room again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::watch;

use super::{Node, PIECE, sample, soon, wanted};
use crate::alerts::Alerts;
use crate::budget::Budget;
use crate::content::{Conduct, Content, Frames, PieceSource, Urgency, Wanted};
use crate::store::faults::{Faults, Plan};
use crate::store::{Mode, Store};

/// A parent that counts what it is asked and how it is judged.
struct Counting<P> {
    parent: P,
    asked: Arc<AtomicU64>,
    lied: Arc<AtomicU64>,
}

#[async_trait::async_trait]
impl<P: PieceSource> PieceSource for Counting<P> {
    fn name(&self) -> &str {
        self.parent.name()
    }

    async fn manifest(
        &self,
        digest: &patchmesh_topology::digest::Digest,
    ) -> Result<patchmesh_proto::replication::GetManifestResponse, tonic::Status> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.parent.manifest(digest).await
    }

    async fn pieces(
        &self,
        wanted: Wanted,
        ranges: &[std::ops::Range<u64>],
    ) -> Result<Frames, tonic::Status> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.parent.pieces(wanted, ranges).await
    }

    async fn small(&self, wanted: &[Wanted]) -> Result<Vec<crate::content::Small>, tonic::Status> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.parent.small(wanted).await
    }

    fn judged(&self, conduct: Conduct) {
        if conduct == Conduct::Lied {
            self.lied.fetch_add(1, Ordering::SeqCst);
        }
        self.parent.judged(conduct);
    }
}

/// A child on a disk that fails.
struct Child {
    content: Content,
    alerts: Alerts,
    faults: Arc<Faults>,
    asked: Arc<AtomicU64>,
    lied: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    _parent: super::SourceSender,
    _folder: TempDir,
}

impl Drop for Child {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Child {
    fn of(parent: impl PieceSource + 'static) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("data");
        drop(Store::open(&path, Mode::Create).unwrap());
        let faults = Faults::new(Plan::Count);
        let store = Store::open_on_faults(&path, Mode::Existing, &faults).unwrap();
        let (asked, lied) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let source = Counting { parent, asked: asked.clone(), lied: lied.clone() };
        let (parent, sources) = watch::channel(None);
        parent.send_replace(Some(Arc::new(source) as Arc<dyn PieceSource>));
        let alerts = Alerts::open(&store).unwrap();
        let content = Content::new(store, sources, 4, Budget::default());
        let (running, watching) = (content.clone(), content.clone());
        let telling = alerts.clone();
        let tasks = vec![
            tokio::spawn(async move { running.run().await }),
            tokio::spawn(async move { watching.watch_room(telling).await }),
        ];
        Self { content, alerts, faults, asked, lied, tasks, _parent: parent, _folder: folder }
    }

    fn is_told(&self) -> bool {
        self.alerts.present().get("disk").is_some()
    }

    /// Waits until a condition holds.
    async fn until(&self, case: &str, is: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !is(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let outcome = tokio::time::timeout(super::PATIENCE, waiting).await;
        assert!(outcome.is_ok(), "{case}: {:?}", self.content.shortage());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_from_any_step_on_holds_payloads_back_until_it_has_room() {
    let blobs: Vec<Bytes> =
        [100, 90_000, 3 * PIECE + 5].iter().map(|length| sample(7, *length)).collect();
    let all: Vec<Wanted> = blobs.iter().map(|blob| wanted(blob)).collect();
    let top = Node::new();
    for blob in &blobs {
        top.store().put_blob(blob).unwrap();
    }
    let serving = top.serve(vec![]).await;
    let (mut at, mut paused) = (0, 0);
    loop {
        let case = format!("full from step {at} on");
        let child = Child::of(serving.parent("top"));
        child.faults.replace(Plan::FullAt(at));
        child.content.set_wanted(1, all.clone());
        let is_whole = |child: &Child| {
            let readiness = *child.content.readiness().borrow();
            readiness.generation == 1 && readiness.is_complete()
        };
        child.until(&case, |child| is_whole(child) || child.is_told()).await;
        if is_whole(&child) {
            break;
        }
        paused += 1;
        assert!(child.content.shortage().is_some_and(|one| one.wanted > 0), "{case}");
        // Whatever was under way comes to its end, and then nobody is asked.
        child.until(&case, |child| !child.content.is_moving()).await;
        let asked = child.asked.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert!(child.asked.load(Ordering::SeqCst) <= asked + 1, "{case}: asked all the same");
        child.faults.replace(Plan::Count);
        child.until(&case, |child| is_whole(child) && !child.is_told()).await;
        assert!(child.content.shortage().is_none(), "{case}");
        assert_eq!(child.lied.load(Ordering::SeqCst), 0, "{case}: the parent was blamed");
        for (one, blob) in all.iter().zip(&blobs) {
            let held = child.content.store().get_blob(&one.digest).unwrap();
            assert_eq!(held.as_ref(), Some(blob), "{case}");
        }
        at += 1;
    }
    assert!(paused > 15, "only {paused} steps");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_meanwhile_is_told_at_once_and_the_parent_is_not_asked() {
    let blob = sample(3, 2 * PIECE);
    let one = wanted(&blob);
    let top = Node::new();
    top.store().put_blob(&blob).unwrap();
    let serving = top.serve(vec![]).await;
    let child = Child::of(serving.parent("top"));
    child.faults.replace(Plan::FullAt(0));
    let error = soon(child.content.ensure(one, Urgency::Urgent).held()).await.unwrap_err();
    assert!(error.to_string().contains("full"), "{error}");
    assert_eq!(child.asked.load(Ordering::SeqCst), 0);
    child.until("told", |child| child.is_told()).await;
    child.faults.replace(Plan::Count);
    // Nobody fetches it by itself, so it is no longer held back once it would fit.
    child.until("solved", |child| !child.is_told()).await;
    soon(child.content.ensure(one, Urgency::Urgent).held()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fits_goes_on_while_more_is_held_back() {
    let (large, small) = (sample(3, 3 * PIECE), sample(4, 500));
    let (one, two) = (wanted(&large), wanted(&small));
    let top = Node::new();
    for blob in [&large, &small] {
        top.store().put_blob(blob).unwrap();
    }
    let serving = top.serve(vec![]).await;
    let child = Child::of(serving.parent("top"));
    // More than any disk has.
    let huge = Wanted::new(one.digest, 1 << 45);
    child.content.set_wanted(1, vec![huge, two]);
    child.until("told", |child| child.is_told()).await;
    child.until("the small one", |child| child.content.store().has(&two.digest).unwrap()).await;
    assert_eq!(child.content.shortage().unwrap().wanted, 1 << 45);
    // Nobody wants it any more.
    child.content.set_wanted(2, vec![two]);
    child.until("solved", |child| !child.is_told()).await;
}
