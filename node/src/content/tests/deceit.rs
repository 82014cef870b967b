use std::fs;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use patchmesh_proto::replication::{GetManifestResponse, TransferResponse};
use patchmesh_topology::digest::Digest;
use tonic::Status;

use super::{Node, PIECE, sample, soon, wanted};
use crate::content::{Conduct, Error, Frames, PieceSource, Urgency, Wanted};
use crate::store::manifest::ManifestBuilder;

/// What a scripted source makes of the frames that an honest one would send.
type Script = fn(Vec<TransferResponse>) -> Frames;

/// A source that follows a script; honest from some attempt on.
struct Scripted {
    blob: Bytes,
    script: Script,
    honest_from: u64,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    attempts: AtomicU64,
    distrusted: AtomicU64,
}

fn frames(blob: &Bytes, ranges: &[Range<u64>]) -> Vec<TransferResponse> {
    let frame = |piece: u64| {
        let start = piece as usize * PIECE;
        let data = blob.slice(start..blob.len().min(start + PIECE));
        TransferResponse { piece, offset: 0, data, sent_at: 0, held: String::new(), waited: 0 }
    };
    ranges.iter().cloned().flatten().map(frame).collect()
}

fn honest(frames: Vec<TransferResponse>) -> Frames {
    stream::iter(frames.into_iter().map(|frame| Ok(frame.into()))).boxed()
}

#[async_trait]
impl PieceSource for Scripted {
    fn name(&self) -> &str {
        "mallory"
    }

    async fn manifest(&self, _: &Digest) -> Result<GetManifestResponse, Status> {
        let mut builder = ManifestBuilder::new();
        builder.update(&self.blob);
        let manifest = builder.finish();
        let piece_values = manifest.encode().into();
        Ok(GetManifestResponse { length: manifest.length(), piece_values })
    }

    async fn pieces(&self, _: Wanted, ranges: &[Range<u64>]) -> Result<Frames, Status> {
        let attempt = self.counts.attempts.fetch_add(1, Ordering::Relaxed);
        let frames = frames(&self.blob, ranges);
        Ok(if attempt >= self.honest_from { honest(frames) } else { (self.script)(frames) })
    }

    fn judged(&self, conduct: Conduct) {
        let lied = u64::from(conduct == Conduct::Lied);
        self.counts.distrusted.fetch_add(lied, Ordering::Relaxed);
    }
}

/// Fetches from a source that follows the script for ever.
async fn fetch_from(script: Script, length: usize) -> (Node, Error, Arc<Counts>) {
    let blob = sample(1, length);
    let wanted = wanted(&blob);
    let node = Node::new();
    let counts = Arc::new(Counts::default());
    node.set_parent(Scripted { blob, script, honest_from: u64::MAX, counts: counts.clone() });
    let error = soon(node.content.ensure(wanted, Urgency::Urgent).held()).await.unwrap_err();
    assert!(!node.store().has(&wanted.digest).unwrap());
    let problem = &node.content.transfers()[0].problem;
    assert!(problem.contains("mallory"), "{problem}");
    (node, error, counts)
}

async fn deceives(script: Script, length: usize) {
    let (_node, error, counts) = fetch_from(script, length).await;
    assert!(matches!(error, Error::Deceit { .. }), "{error}");
    let attempts = counts.attempts.load(Ordering::Relaxed);
    assert!((2..=10).contains(&attempts), "{attempts} attempts");
    assert_eq!(counts.distrusted.load(Ordering::Relaxed), attempts);
}

fn wrong_bytes(mut frames: Vec<TransferResponse>) -> Frames {
    let last = frames.last_mut().unwrap();
    let mut data = last.data.to_vec();
    *data.last_mut().unwrap() ^= 1;
    last.data = data.into();
    honest(frames)
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_of_large_and_small() {
    tokio::join!(
        deceives(wrong_bytes, 3 * PIECE + 5),
        deceives(wrong_bytes, 100),
        deceives(wrong_bytes, PIECE),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_streams_write_nothing_more() {
    let again: Script = |frames| {
        let last = frames[frames.len() - 1].clone();
        stream::repeat_with(move || Ok(last.clone().into())).boxed()
    };
    let empty: Script = |frames| {
        let piece = frames[0].piece;
        stream::repeat_with(move || Ok(TransferResponse { piece, ..Default::default() }.into()))
            .boxed()
    };
    let (first, second) = tokio::join!(fetch_from(again, 3 * PIECE), fetch_from(empty, 100));
    for (node, error, _) in [first, second] {
        assert!(matches!(error, Error::Deceit { .. }), "{error}");
        let incoming = fs::read_dir(node.store().path().join("incoming")).unwrap();
        let bytes: u64 = incoming.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        assert!(bytes <= 3 * PIECE as u64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_the_end_is_not_read() {
    let node = Node::new();
    let blob = sample(1, 3 * PIECE);
    let counts = Arc::new(Counts::default());
    let script: Script = |frames| {
        let last = frames[frames.len() - 1].clone();
        honest(frames).chain(stream::repeat_with(move || Ok(last.clone().into()))).boxed()
    };
    let source =
        Scripted { blob: blob.clone(), script, honest_from: u64::MAX, counts: counts.clone() };
    node.set_parent(source);
    soon(node.content.ensure(wanted(&blob), Urgency::Urgent).held()).await.unwrap();
    assert_eq!(counts.attempts.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_not_asked_for_and_oversized() {
    let swapped: Script = |mut frames| {
        frames.reverse();
        honest(frames)
    };
    let oversized: Script = |mut frames| {
        frames[0].data = vec![0; PIECE + 1].into();
        honest(frames)
    };
    tokio::join!(deceives(swapped, 3 * PIECE), deceives(oversized, 3 * PIECE));
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated_and_failing_are_no_deceit() {
    let truncated: Script = |_| stream::empty().boxed();
    let failing: Script = |_| stream::iter([Err(Status::unavailable("gone"))]).boxed();
    let ((_, first, counts), (_, second, _)) =
        tokio::join!(fetch_from(truncated, 3 * PIECE), fetch_from(failing, 100));
    assert!(matches!(first, Error::Truncated { .. }), "{first}");
    assert!(matches!(second, Error::Source { .. }), "{second}");
    assert_eq!(counts.distrusted.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_manifest_is_deceit() {
    let node = Node::new();
    let blob = sample(1, 3 * PIECE);
    let counts = Arc::new(Counts::default());
    node.set_parent(Scripted { blob: blob.clone(), script: honest, honest_from: 0, counts });
    // Its manifest is of another blob, or of another length, than is signed for.
    let other = Wanted::new(Digest::of(b"other"), blob.len() as u64);
    let longer = Wanted { length: blob.len() as u64 + 1, ..wanted(&blob) };
    let (mut other, mut longer) =
        (node.content.ensure(other, Urgency::Urgent), node.content.ensure(longer, Urgency::Urgent));
    for error in <[_; 2]>::from(soon(async { tokio::join!(other.held(), longer.held()) }).await) {
        assert!(matches!(error, Err(Error::Deceit { .. })), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn good_pieces_of_a_liar_stay_good() {
    let blob = sample(2, 5 * PIECE);
    let wanted = wanted(&blob);
    let node = Node::new();
    let counts = Arc::new(Counts::default());
    let script = wrong_bytes;
    node.set_parent(Scripted {
        blob: blob.clone(),
        script,
        honest_from: 1,
        counts: counts.clone(),
    });
    soon(node.content.ensure(wanted, Urgency::Urgent).held()).await.unwrap();
    assert_eq!(node.store().get_blob(&wanted.digest).unwrap(), Some(blob));
    assert_eq!(counts.attempts.load(Ordering::Relaxed), 2);
    assert_eq!(counts.distrusted.load(Ordering::Relaxed), 1);
}
