use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use patchmesh_proto::replication::{PieceRange, TransferOpen};
use patchmesh_topology::digest::Digest;
use patchmesh_topology::link::Class;
use tokio::sync::Barrier;

use super::{Listening, Node, PIECE, sample, soon, wanted};
use crate::content::{Conduct, Error, Parent, Urgency, Wanted, parent};

async fn child_of(parent: &Listening, name: &str) -> Node {
    let node = Node::new();
    node.set_parent(parent.parent(name));
    node
}

async fn whole(node: &Node, wanted: Wanted) -> Bytes {
    let stream = node.content.read_through(wanted, 0..wanted.length).await.unwrap();
    stream.try_collect::<Vec<_>>().await.unwrap().concat().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_length_arrives() {
    let top = Node::new();
    let lengths = [0, 1, 65_536, 65_537, PIECE, PIECE + 1, 3 * PIECE, 9 * PIECE + 7];
    let blobs: Vec<Bytes> = lengths.iter().map(|length| sample(3, *length)).collect();
    for blob in &blobs {
        top.store().put_blob(blob).unwrap();
    }
    let serving = top.serve(vec![]).await;
    let child = child_of(&serving, "top").await;
    for blob in &blobs {
        let wanted = wanted(blob);
        soon(child.content.ensure(wanted, Urgency::Urgent).held()).await.unwrap();
        assert_eq!(child.store().get_blob(&wanted.digest).unwrap().as_ref(), Some(blob));
        // Now it is held, so nobody is asked again.
        let asked = top.asked();
        soon(child.content.ensure(wanted, Urgency::Urgent).held()).await.unwrap();
        assert_eq!(soon(whole(&child, wanted)).await, blob);
        assert_eq!(top.asked(), asked);
    }
    let transfers = child.content.transfers();
    assert_eq!(transfers.len(), blobs.len());
    assert!(transfers.iter().all(|t| t.problem.is_empty() && t.received == t.length));
    assert!(transfers.iter().all(|t| t.from == "top" && t.ended_at.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn relayed_through_nodes_that_lack_it() {
    let blob = sample(5, 20 * PIECE + 9);
    let (wanted, small) = (wanted(&blob), sample(6, 300));
    let small_wanted = super::wanted(&small);
    let top = Node::new();
    top.store().put_blob(&blob).unwrap();
    top.store().put_blob(&small).unwrap();
    let offered = vec![wanted, small_wanted];
    let top_serves = top.serve(offered.clone()).await;
    let hub = child_of(&top_serves, "top").await;
    let hub_serves = hub.serve(offered.clone()).await;
    let branch = child_of(&hub_serves, "hub").await;
    let branch_serves = branch.serve(offered).await;
    let leaf = child_of(&branch_serves, "branch").await;
    assert_eq!(soon(whole(&leaf, wanted)).await, blob);
    assert_eq!(soon(whole(&leaf, small_wanted)).await, small);
    for node in [&hub, &branch, &leaf] {
        soon(node.content.ensure(wanted, Urgency::Urgent).held()).await.unwrap();
        assert!(node.store().verify_blob(&wanted.digest, |_| ()).unwrap().is_good());
    }
    let part = leaf.content.read_through(wanted, 5..PIECE as u64 * 2 + 1).await.unwrap();
    assert_eq!(part.try_collect::<Vec<_>>().await.unwrap().concat(), blob[5..PIECE * 2 + 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn not_offered_is_not_found() {
    let top = Node::new();
    let serving = top.serve(vec![]).await;
    let child = child_of(&serving, "top").await;
    let unknown = wanted(&sample(9, 2 * PIECE));
    let error = soon(child.content.ensure(unknown, Urgency::Urgent).held()).await.unwrap_err();
    assert!(matches!(&error, Error::Absent { from, .. } if from == "top"), "{error:?}");
    assert!(child.content.transfers()[0].problem.contains("top"));
    let lonely = Node::new();
    drop(lonely.parent);
    let range = 0..unknown.length;
    let error = lonely.content.read_through(unknown, range).await.err().unwrap();
    assert!(matches!(error, Error::NoSource { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn thousand_readers_one_fetch() {
    const READERS: usize = 1000;
    let blob = sample(7, 6 * PIECE + 100);
    let wanted = wanted(&blob);
    let top = Node::new();
    top.store().put_blob(&blob).unwrap();
    let serving = top.serve(vec![]).await;
    let child = child_of(&serving, "top").await;
    let (start, good) = (Arc::new(Barrier::new(READERS)), Arc::new(AtomicUsize::new(0)));
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let (content, start, good) = (child.content.clone(), start.clone(), good.clone());
            tokio::spawn(async move {
                start.wait().await;
                let mut stream = content.read_through(wanted, 0..wanted.length).await.unwrap();
                let mut hasher = blake3::Hasher::new();
                while let Some(part) = stream.try_next().await.unwrap() {
                    hasher.update(&part);
                }
                let same = Digest::from(hasher.finalize()) == wanted.digest;
                good.fetch_add(usize::from(same), Ordering::Relaxed);
            })
        })
        .collect();
    for reader in readers {
        soon(reader).await.unwrap();
    }
    assert_eq!(good.load(Ordering::Relaxed), READERS);
    assert_eq!(top.asked(), 1);
}

/// A source that gives way after so many pieces, as a parent that is killed does.
struct Cut {
    parent: Parent,
    after: usize,
}

#[async_trait::async_trait]
impl crate::content::PieceSource for Cut {
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
    ) -> Result<crate::content::Frames, tonic::Status> {
        let frames = self.parent.pieces(wanted, ranges).await?;
        let limit = self.after * PIECE;
        let cut = frames.scan(0, move |sent, frame| {
            let goes_on = *sent < limit;
            *sent += frame.as_ref().map_or(0, |frame| frame.data.len());
            std::future::ready(goes_on.then_some(frame))
        });
        Ok(cut.boxed())
    }

    fn judged(&self, _: Conduct) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_again_and_again_it_still_arrives_once() {
    let blob = sample(8, 8 * PIECE);
    let wanted = wanted(&blob);
    let top = Node::new();
    top.store().put_blob(&blob).unwrap();
    let serving = top.serve(vec![]).await;
    let child = Node::new();
    child.set_parent(Cut { parent: serving.parent("top"), after: 3 });
    assert_eq!(soon(whole(&child, wanted)).await, blob);
    assert_eq!(top.asked(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn goes_on_with_another_parent_where_the_first_was_lost() {
    let blob = sample(8, 12 * PIECE);
    let wanted = wanted(&blob);
    let top = Node::new();
    top.store().put_blob(&blob).unwrap();
    let first = top.serve(vec![]).await;
    let child = Node::new();
    child.set_parent(Cut { parent: first.parent("first"), after: 5 });
    let mut stream = child.content.read_through(wanted, 0..wanted.length).await.unwrap();
    drop(first);
    let second = top.serve(vec![]).await;
    child.set_parent(second.parent("second"));
    let mut bytes = Vec::new();
    while let Some(part) = soon(stream.try_next()).await.unwrap() {
        bytes.extend_from_slice(&part);
    }
    assert_eq!(bytes, blob);
    soon(child.content.ensure(wanted, Urgency::Urgent).held()).await.unwrap();
    assert_eq!(child.content.transfers()[0].from, "second");
}

#[tokio::test(flavor = "multi_thread")]
async fn wanted_is_fetched_and_counted() {
    let top = Node::new();
    let blobs: Vec<Bytes> = (0..20).map(|seed| sample(seed, 1000 + seed * 100_000)).collect();
    let mut all: Vec<Wanted> = blobs.iter().map(|blob| wanted(blob)).collect();
    for blob in &blobs {
        top.store().put_blob(blob).unwrap();
    }
    let serving = top.serve(vec![]).await;
    let child = child_of(&serving, "top").await;
    child.store().put_blob(&blobs[4]).unwrap();
    // Wished for twice is held once.
    all.push(all[0]);
    child.content.set_wanted(1, all);
    let content = child.content.clone();
    let running = tokio::spawn(async move { content.run().await });
    let mut readiness = child.content.readiness();
    let complete = |now: &crate::content::Readiness| now.payloads_wanted == 20 && now.is_complete();
    let now = *soon(readiness.wait_for(complete)).await.unwrap();
    assert_eq!(now.bytes_held, now.bytes_wanted);
    child.content.set_wanted(2, vec![wanted(&blobs[0])]);
    soon(readiness.wait_for(|now| now.payloads_wanted == 1 && now.is_complete())).await.unwrap();
    running.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_critical_waits_for_no_turn() {
    let top = Node::new();
    let (urgent, bulk) = (sample(1, 3 * PIECE), sample(2, 3 * PIECE));
    for blob in [&urgent, &bulk] {
        top.store().put_blob(blob).unwrap();
    }
    let serving = top.serve(vec![]).await;
    let child = child_of(&serving, "top").await;
    // The background does not run at all.
    let critical = wanted(&urgent).with_class(Class::Critical);
    child.content.set_wanted(1, vec![wanted(&bulk), critical]);
    let arrived = async {
        while !child.store().has(&critical.digest).unwrap() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    soon(arrived).await;
    assert_eq!(top.asked(), 1);
    assert!(!child.store().has(&wanted(&bulk).digest).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_come_whole_and_in_order() {
    let top = Node::new();
    let blobs = [sample(1, 10), sample(2, 0), sample(3, 3 * PIECE + 1)];
    for blob in &blobs {
        top.store().put_blob(blob).unwrap();
    }
    let serving = top.serve(vec![]).await;
    let absent = wanted(b"absent");
    let asked = [wanted(&blobs[2]), absent, wanted(&blobs[1]), wanted(&blobs[0])];
    let got = soon(parent::get_blobs("top", &serving.client(), &asked)).await.unwrap();
    assert_eq!(got, [Some(blobs[2].clone()), None, Some(blobs[1].clone()), Some(blobs[0].clone())]);
    // A length that is not the signed one is the parent's fault.
    let short = Wanted { length: 9, ..asked[3] };
    let error = soon(parent::get_blobs("top", &serving.client(), &[short])).await.unwrap_err();
    assert!(matches!(error, Error::Deceit { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_refused() {
    let top = Node::new();
    let blob = sample(1, 3 * PIECE);
    let digest = top.store().put_blob(&blob).unwrap();
    let serving = top.serve(vec![]).await;
    let mut client = serving.client();
    let manifest = client
        .get_manifest(super::GetManifestRequest { digest: Bytes::from_static(b"x"), held: false });
    assert_eq!(manifest.await.unwrap_err().code(), tonic::Code::InvalidArgument);
    let open = |ranges: &[(u64, u64)], grant| super::TransferRequest {
        open: Some(TransferOpen {
            digest: Bytes::copy_from_slice(digest.as_bytes()),
            ..TransferOpen::default()
        }),
        ranges: ranges.iter().map(|(start, end)| PieceRange { start: *start, end: *end }).collect(),
        grant,
    };
    let once = |request| stream::iter([request]);
    for ranges in [vec![(0, 4)], vec![(0, u64::MAX)], vec![(0, 1); 2000]] {
        let result = client.transfer(once(open(&ranges, 1))).await;
        assert_eq!(result.unwrap_err().code(), tonic::Code::InvalidArgument);
    }
    for request in [
        super::TransferRequest::default(),
        super::TransferRequest { open: Some(TransferOpen::default()), ..open(&[], 0) },
        super::TransferRequest {
            open: open(&[], 0).open.map(|open| TransferOpen { class: "fast".to_owned(), ..open }),
            ..open(&[], 0)
        },
    ] {
        let result = client.transfer(once(request)).await;
        assert_eq!(result.unwrap_err().code(), tonic::Code::InvalidArgument);
    }
    assert_eq!(
        client.transfer(stream::empty()).await.unwrap_err().code(),
        tonic::Code::InvalidArgument
    );
    let mut frames = client.transfer(once(open(&[(2, 1)], 1))).await.unwrap().into_inner();
    assert!(frames.message().await.unwrap().is_none());
    // What was not granted is not sent.
    let mut frames = client.transfer(once(open(&[(1, 2)], 1000))).await.unwrap().into_inner();
    let mut sent = 0;
    while let Some(frame) = soon(frames.message()).await.unwrap() {
        assert_eq!((frame.piece, u64::from(frame.offset)), (1, sent));
        sent += frame.data.len() as u64;
    }
    assert_eq!(sent, 1000);
    let unknown = super::TransferRequest {
        open: Some(TransferOpen {
            digest: Bytes::copy_from_slice(wanted(b"unknown").digest.as_bytes()),
            held: true,
            ..TransferOpen::default()
        }),
        ..open(&[], 0)
    };
    let result = client.transfer(once(unknown)).await;
    assert_eq!(result.unwrap_err().code(), tonic::Code::NotFound);
    let many = super::GetBlobsRequest {
        digests: vec![Bytes::from_static(&[0; 32]); 1025],
        ..super::GetBlobsRequest::default()
    };
    assert!(client.get_blobs(many).await.is_err());
    assert_eq!(fs::read_dir(top.store().path().join("incoming")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_somebody_deleted_comes_again() {
    let blob = sample(8, 3 * PIECE);
    let wanted = wanted(&blob);
    let top = Node::new();
    top.store().put_blob(&blob).unwrap();
    let serving = top.serve(vec![wanted]).await;
    let child = child_of(&serving, "top").await;
    soon(child.content.ensure(wanted, Urgency::Urgent).held()).await.unwrap();
    let name = wanted.digest.to_string();
    let file = |node: &Node| node.store().path().join("blobs").join(&name[..2]).join(&name);
    fs::remove_file(file(&child)).unwrap();
    assert_eq!(soon(whole(&child, wanted)).await, blob);
    soon(child.content.ensure(wanted, Urgency::Urgent).held()).await.unwrap();
    assert!(child.store().verify_blob(&wanted.digest, |_| {}).unwrap().is_good());
    // Nobody has it for the top: there it is one that is damaged, and waits.
    fs::remove_file(file(&top)).unwrap();
    assert!(top.content.read_through(wanted, 0..1).await.is_err());
    assert!(!top.store().has(&wanted.digest).unwrap());
    assert_eq!(top.content.tally().damaged, 1);
    let kept = top.store().resume(&wanted.digest).unwrap().unwrap();
    assert!(kept.missing().into_iter().flatten().eq(0..3));
}
