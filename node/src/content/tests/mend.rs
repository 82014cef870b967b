//! Damage on the disk: found by whoever reads, never handed on, mended by a piece.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use patchmesh_topology::digest::Digest;
use tokio::task::JoinHandle;

use super::{Node, PIECE, sample, soon, wanted};
use crate::alerts::Alerts;
use crate::content::{Content, Frames, Parent, PieceSource, Urgency, Wanted};
use crate::store::Store;

fn file_of(store: &Store, digest: &Digest) -> PathBuf {
    let name = digest.to_string();
    store.path().join("blobs").join(&name[..2]).join(name)
}

/// Changes one byte of a held blob's file.
fn flip(store: &Store, digest: &Digest, at: usize) {
    let path = file_of(store, digest);
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at as u64).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at as u64).unwrap();
}

/// A parent that counts the pieces that are asked of it.
struct Counting {
    parent: Parent,
    pieces: Arc<AtomicU64>,
}

#[async_trait::async_trait]
impl PieceSource for Counting {
    fn name(&self) -> &str {
        self.parent.name()
    }

    async fn manifest(
        &self,
        digest: &Digest,
    ) -> Result<patchmesh_proto::replication::GetManifestResponse, tonic::Status> {
        self.parent.manifest(digest).await
    }

    async fn pieces(
        &self,
        wanted: Wanted,
        ranges: &[std::ops::Range<u64>],
    ) -> Result<Frames, tonic::Status> {
        let pieces = ranges.iter().map(|range| range.end - range.start).sum();
        self.pieces.fetch_add(pieces, Ordering::SeqCst);
        self.parent.pieces(wanted, ranges).await
    }

    fn judged(&self, conduct: crate::content::Conduct) {
        self.parent.judged(conduct);
    }
}

/// A child that holds a blob of its parent, and mends.
struct Held {
    top: Node,
    child: Node,
    blob: Bytes,
    wanted: Wanted,
    alerts: Alerts,
    /// Asked of the parent since it was held.
    pieces: Arc<AtomicU64>,
    mending: JoinHandle<()>,
    _serving: super::Listening,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.mending.abort();
    }
}

impl Held {
    async fn new(length: usize) -> Self {
        let blob = sample(5, length);
        let wanted = wanted(&blob);
        let (top, child) = (Node::new(), Node::new());
        top.store().put_blob(&blob).unwrap();
        let serving = top.serve(vec![]).await;
        let pieces = Arc::<AtomicU64>::default();
        child.set_parent(Counting { parent: serving.parent("top"), pieces: pieces.clone() });
        soon(child.content.ensure(wanted, Urgency::Urgent).held()).await.unwrap();
        pieces.store(0, Ordering::SeqCst);
        let alerts = Alerts::open(child.store()).unwrap();
        let (content, telling) = (child.content.clone(), alerts.clone());
        let mending = tokio::spawn(async move { content.mend(telling).await });
        Self { top, child, blob, wanted, alerts, pieces, mending, _serving: serving }
    }

    async fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !is(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(super::PATIENCE, waiting).await.is_ok(), "{what}");
    }

    fn key(&self) -> String {
        format!("damage/{}", self.wanted.digest)
    }

    async fn is_mended(&self, pieces: u64) {
        let digest = self.wanted.digest;
        self.until("mended", |held| {
            held.child.store().has(&digest).unwrap() && held.child.content.tally().mended == 1
        })
        .await;
        self.until("solved", |held| held.alerts.present().is_empty()).await;
        assert_eq!(self.child.store().get_blob(&digest).unwrap(), Some(self.blob.clone()));
        assert!(self.child.store().verify_blob(&digest, |_| ()).unwrap().is_good());
        assert_eq!(self.pieces.load(Ordering::SeqCst), pieces, "pieces asked again");
        assert_eq!(self.child.content.tally().damaged, 1);
    }
}

async fn whole(content: &Content, wanted: Wanted) -> Bytes {
    let stream = content.read_through(wanted, 0..wanted.length).await.unwrap();
    stream.try_collect::<Vec<_>>().await.unwrap().concat().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_gets_what_is_right_and_one_piece_comes_again() {
    let held = Held::new(5 * PIECE + 3).await;
    flip(held.child.store(), &held.wanted.digest, 2 * PIECE + 17);
    assert_eq!(soon(whole(&held.child.content, held.wanted)).await, held.blob);
    held.is_mended(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_fetches_gets_what_is_right_and_calls_nobody_a_liar() {
    let held = Held::new(5 * PIECE + 3).await;
    flip(held.child.store(), &held.wanted.digest, PIECE + 1);
    let serving = held.child.serve(vec![held.wanted]).await;
    let leaf = Node::new();
    let lies = Arc::new(AtomicU64::new(0));
    let counted = lies.clone();
    let parent = Parent::new(
        "middle".parse().unwrap(),
        crate::content::Intake::new(crate::budget::Budget::default()),
        serving.channel(),
        move |conduct| {
            counted
                .fetch_add(u64::from(conduct == crate::content::Conduct::Lied), Ordering::SeqCst);
        },
    );
    leaf.set_parent(parent);
    soon(leaf.content.ensure(held.wanted, Urgency::Urgent).held()).await.unwrap();
    assert_eq!(leaf.store().get_blob(&held.wanted.digest).unwrap(), Some(held.blob.clone()));
    assert_eq!(lies.load(Ordering::SeqCst), 0);
    held.is_mended(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_whose_file_is_gone_comes_again_whole() {
    for length in [80_000, 3 * PIECE] {
        let held = Held::new(length).await;
        std::fs::remove_file(file_of(held.child.store(), &held.wanted.digest)).unwrap();
        assert_eq!(soon(whole(&held.child.content, held.wanted)).await, held.blob);
        held.is_mended(length.div_ceil(PIECE) as u64).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_told_until_the_source_is_back_also_after_a_restart() {
    let held = Held::new(3 * PIECE).await;
    let digest = held.wanted.digest;
    held.child.parent.send_replace(None);
    flip(held.child.store(), &digest, 5);
    flip(held.child.store(), &digest, 3 * PIECE - 1);
    assert!(held.child.content.report_damage(digest, vec![0, 1, 2, 99]).await.unwrap());
    held.until("told", |held| held.alerts.present().get(&held.key()).is_some()).await;
    assert!(!held.child.store().has(&digest).unwrap(), "it is named still");
    // The node begins again, with the alerts that it kept.
    held.mending.abort();
    let (parent, sources) = tokio::sync::watch::channel(None);
    let again = Content::new(held.child.store().clone(), sources, 4, Default::default());
    let serving = held.top.serve(vec![]).await;
    parent.send_replace(Some(Arc::new(serving.parent("top")) as Arc<dyn PieceSource>));
    let (content, telling) = (again.clone(), held.alerts.clone());
    let mending = tokio::spawn(async move { content.mend(telling).await });
    held.until("mended", |_| again.tally().mended == 1).await;
    held.until("solved", |held| held.alerts.present().is_empty()).await;
    assert_eq!(held.child.store().get_blob(&digest).unwrap(), Some(held.blob.clone()));
    mending.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_finds_out_and_all_that_is_bad_comes_again() {
    let held = Held::new(6 * PIECE).await;
    let digest = held.wanted.digest;
    flip(held.child.store(), &digest, PIECE);
    flip(held.child.store(), &digest, 4 * PIECE + 9);
    // As the loading of a generation does: it knows nothing of mending.
    assert!(held.child.store().get_blob(&digest).is_err());
    held.is_mended(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_good_is_left_alone() {
    let held = Held::new(3 * PIECE).await;
    let digest = held.wanted.digest;
    assert!(!held.child.content.report_damage(digest, vec![0, 1, 2, 7]).await.unwrap());
    assert!(!held.child.content.report_damage(Digest::of(b"no"), vec![0]).await.unwrap());
    assert!(held.child.store().has(&digest).unwrap() && held.alerts.present().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_blob_is_written_anew_and_not_served_meanwhile() {
    let held = Held::new(1000).await;
    let digest = held.wanted.digest;
    held.child.store().spoil_small(&digest).unwrap();
    assert!(crate::content::Content::open_good(held.child.store(), &digest).unwrap().is_none());
    let read = held.child.content.read_through(held.wanted, 0..1000).await;
    assert!(read.is_err(), "bad bytes were served");
    held.is_mended(1).await;
    assert_eq!(soon(whole(&held.child.content, held.wanted)).await, held.blob);
}
