//! Nodes at one site that share what they fetch.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use patchmesh_proto::replication::GetManifestResponse;
use patchmesh_topology::digest::Digest;
use patchmesh_topology::name::NodeName;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{Listening, Node, PIECE, sample, soon, wanted};
use crate::budget::Budget;
use crate::content::{Conduct, Fetch, Frames, Intake, Parent, PieceSource, Urgency, Wanted};

/// A way to another node that counts what comes over it, and may be faulty.
struct Way {
    way: Parent,
    came: Arc<AtomicU64>,
    lied: Arc<AtomicU64>,
    /// One bit of the first piece is turned over.
    lies: bool,
    /// The way breaks after so many bytes.
    breaks_after: Option<u64>,
    broken: AtomicBool,
}

#[async_trait]
impl PieceSource for Way {
    fn name(&self) -> &str {
        self.way.name()
    }

    async fn manifest(&self, digest: &Digest) -> Result<GetManifestResponse, Status> {
        self.way.manifest(digest).await
    }

    async fn pieces(&self, wanted: Wanted, ranges: &[Range<u64>]) -> Result<Frames, Status> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(Status::unavailable("the way is broken"));
        }
        let frames = self.way.pieces(wanted, ranges).await?;
        let (came, lies, limit) = (self.came.clone(), self.lies, self.breaks_after);
        let mut first = true;
        let frames = frames.map(move |frame| {
            let mut frame = frame?;
            let before = came.fetch_add(frame.data.len() as u64, Ordering::Relaxed);
            if limit.is_some_and(|limit| before >= limit) {
                return Err(Status::unavailable("the way broke"));
            }
            if std::mem::take(&mut first) && lies {
                let mut data = frame.data.to_vec();
                data[0] ^= 1;
                frame.data = data.into();
            }
            Ok(frame)
        });
        if self.breaks_after.is_some() {
            self.broken.store(true, Ordering::Relaxed);
        }
        Ok(frames.boxed())
    }

    async fn holds(&self, wanted: Wanted) -> Result<bool, Status> {
        self.way.holds(wanted).await
    }

    fn judged(&self, conduct: Conduct) {
        let lied = u64::from(conduct == Conduct::Lied);
        self.lied.fetch_add(lied, Ordering::Relaxed);
    }
}

/// Branches at one site below one node that holds everything.
struct Site {
    nodes: Vec<Node>,
    serving: Vec<Listening>,
    intakes: Vec<Intake>,
    /// Bytes that came from above, to all of them.
    from_above: Arc<AtomicU64>,
    from_beside: Arc<AtomicU64>,
    lied: Arc<AtomicU64>,
    _top: (Node, Listening),
}

fn name(number: usize) -> NodeName {
    format!("branch-{number}").parse().unwrap()
}

impl Site {
    async fn of(count: usize, blobs: &[Bytes]) -> Self {
        let top = Node::new();
        for blob in blobs {
            top.store().put_blob(blob).unwrap();
        }
        let all: Vec<Wanted> = blobs.iter().map(|blob| wanted(blob)).collect();
        let top_serves = top.serve(vec![]).await;
        let mut site = Self {
            nodes: Vec::new(),
            serving: Vec::new(),
            intakes: Vec::new(),
            from_above: Arc::default(),
            from_beside: Arc::default(),
            lied: Arc::default(),
            _top: (top, top_serves),
        };
        for _ in 0..count {
            let node = Node::new();
            let intake = Intake::new(Budget::default());
            let above = site.way(&site._top.1, "top", &intake);
            node.set_parent(Way { came: site.from_above.clone(), ..above });
            node.content.set_wanted(1, all.clone());
            site.serving.push(node.serve(all.clone()).await);
            site.nodes.push(node);
            site.intakes.push(intake);
        }
        (0..count).for_each(|number| site.meet(number, |way| way));
        site
    }

    fn way(&self, to: &Listening, name: &str, intake: &Intake) -> Way {
        let way = Parent::new(name.parse().unwrap(), intake.clone(), to.channel(), |_| {});
        Way {
            way,
            came: self.from_beside.clone(),
            lied: self.lied.clone(),
            lies: false,
            breaks_after: None,
            broken: AtomicBool::new(false),
        }
    }

    /// Tells a node of the others, over ways that `fault` may spoil.
    fn meet(&self, own: usize, fault: impl Fn(Way) -> Way) {
        let others = (0..self.nodes.len()).filter(|number| *number != own);
        let nodes = others.map(|number| {
            let way = self.way(&self.serving[number], name(number).as_str(), &self.intakes[own]);
            let way = Way { way: way.way.clone().beside(CancellationToken::new()), ..way };
            (name(number), Arc::new(fault(way)) as Arc<dyn PieceSource>)
        });
        self.nodes[own].content.set_near(name(own), nodes.collect());
    }

    fn fetch(&self, own: usize, blob: &Bytes) -> Fetch {
        self.nodes[own].content.ensure(wanted(blob), Urgency::Background)
    }

    async fn all_fetch(&self, blob: &Bytes) {
        let fetches: Vec<_> = (0..self.nodes.len()).map(|own| self.fetch(own, blob)).collect();
        for mut fetch in fetches {
            soon(fetch.held()).await.unwrap();
        }
    }

    fn above(&self) -> u64 {
        self.from_above.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_fetches_a_blob_once() {
    let (blob, single) = (sample(1, 40 * PIECE + 5), sample(2, PIECE / 2));
    let site = Site::of(6, &[blob.clone(), single.clone()]).await;
    site.all_fetch(&blob).await;
    assert_eq!(site.above(), blob.len() as u64);
    assert_eq!(site.from_beside.load(Ordering::Relaxed), 5 * blob.len() as u64);
    site.all_fetch(&single).await;
    assert_eq!(site.above(), (blob.len() + single.len()) as u64);
    for node in &site.nodes {
        assert_eq!(node.store().get_blob(&wanted(&blob).digest).unwrap().as_ref(), Some(&blob));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_comes_later_asks_nothing_from_above() {
    let blob = sample(1, 10 * PIECE);
    let site = Site::of(3, std::slice::from_ref(&blob)).await;
    for own in 0..2 {
        soon(site.fetch(own, &blob).held()).await.unwrap();
    }
    let before = site.above();
    soon(site.fetch(2, &blob).held()).await.unwrap();
    assert_eq!(site.above(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_learns_of_a_blob_later_keeps_its_share() {
    let blob = sample(1, 24 * PIECE);
    let site = Site::of(3, std::slice::from_ref(&blob)).await;
    site.nodes[2].content.set_wanted(1, vec![]);
    let mut first = site.fetch(0, &blob);
    // Once its own share and the other's have come it waits for the third.
    let waits = async {
        let received = || site.nodes[0].content.transfers().first().map_or(0, |one| one.received);
        while received() < 8 * PIECE as u64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(waits).await;
    site.nodes[2].content.set_wanted(2, vec![wanted(&blob)]);
    soon(first.held()).await.unwrap();
    site.all_fetch(&blob).await;
    assert_eq!(site.above(), blob.len() as u64);
}

/// Each waits for pieces that the other has yet to fetch, with no room left for
/// more from beside.
#[tokio::test(flavor = "multi_thread")]
async fn two_that_wait_for_each_other_get_on() {
    let blobs: Vec<Bytes> = (0..40).map(|seed| sample(seed, 6 * PIECE)).collect();
    let site = Site::of(2, &blobs).await;
    let there = blobs.iter().map(|blob| site.fetch(0, blob));
    let back = blobs.iter().rev().map(|blob| site.fetch(1, blob));
    let fetches: Vec<Fetch> = there.chain(back).collect();
    for mut fetch in fetches {
        soon(fetch.held()).await.unwrap();
    }
    let bytes: u64 = blobs.iter().map(|blob| blob.len() as u64).sum();
    assert_eq!(site.above(), bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_bit_from_beside_costs_a_piece() {
    let blob = sample(1, 24 * PIECE);
    let site = Site::of(2, std::slice::from_ref(&blob)).await;
    site.meet(0, |way| Way { lies: true, ..way });
    soon(site.fetch(0, &blob).held()).await.unwrap();
    assert_eq!(site.lied.load(Ordering::Relaxed), 1);
    let node = &site.nodes[0];
    assert_eq!(node.store().get_blob(&wanted(&blob).digest).unwrap().as_ref(), Some(&blob));
    assert!(node.content.transfers()[0].problem.is_empty());
    soon(site.fetch(1, &blob).held()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_lost_is_replaced_by_the_others_and_above() {
    let blob = sample(1, 32 * PIECE);
    let site = Site::of(3, std::slice::from_ref(&blob)).await;
    site.meet(0, |way| Way { breaks_after: Some(PIECE as u64), ..way });
    site.all_fetch(&blob).await;
    assert!(site.above() < 2 * blob.len() as u64);
}
