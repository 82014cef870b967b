//! Small payloads in batches.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use patchmesh_proto::replication::GetManifestResponse;
use patchmesh_topology::digest::Digest;
use tonic::Status;

use super::{Node, sample, soon, wanted};
use crate::content::{Conduct, Frames, Parent, PieceSource, Small, Wanted};

/// An honest parent but for one batch, of which one is bad and one absent.
struct Careless {
    parent: Parent,
    batches: Arc<AtomicU64>,
    distrusted: Arc<AtomicU64>,
}

#[async_trait]
impl PieceSource for Careless {
    fn name(&self) -> &str {
        self.parent.name()
    }

    async fn manifest(&self, digest: &Digest) -> Result<GetManifestResponse, Status> {
        self.parent.manifest(digest).await
    }

    async fn pieces(&self, wanted: Wanted, ranges: &[Range<u64>]) -> Result<Frames, Status> {
        self.parent.pieces(wanted, ranges).await
    }

    async fn small(&self, wanted: &[Wanted]) -> Result<Vec<Small>, Status> {
        match self.batches.fetch_add(1, Ordering::Relaxed) {
            0 => Err(Status::unavailable("not yet")),
            1 => {
                let mut found = self.parent.small(wanted).await?;
                found[0] = Small::Bad(wanted[0].digest);
                found[1] = Small::Absent;
                Ok(found)
            }
            _ => self.parent.small(wanted).await,
        }
    }

    fn judged(&self, conduct: Conduct) {
        let lied = u64::from(conduct == Conduct::Lied);
        self.distrusted.fetch_add(lied, Ordering::Relaxed);
    }
}

fn blobs(count: usize) -> Vec<Bytes> {
    (0..count)
        .map(|seed| {
            let mut bytes = sample(seed, 200).to_vec();
            bytes.extend_from_slice(&seed.to_le_bytes());
            bytes.into()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_and_an_absent_one_cost_themselves_only() {
    let top = Node::new();
    let blobs = blobs(1500);
    for blob in &blobs {
        top.store().put_blob(blob).unwrap();
    }
    let all: Vec<Wanted> = blobs.iter().map(|blob| wanted(blob)).collect();
    let serving = top.serve(vec![]).await;
    let child = Node::new();
    let (batches, distrusted) = (Arc::default(), Arc::default());
    child.set_parent(Careless {
        parent: serving.parent("top"),
        batches: Arc::clone(&batches),
        distrusted: Arc::clone(&distrusted),
    });
    child.content.set_wanted(1, all.clone());
    let content = child.content.clone();
    let running = tokio::spawn(async move { content.run().await });
    let mut readiness = child.content.readiness();
    let complete =
        |now: &crate::content::Readiness| now.payloads_wanted == 1500 && now.is_complete();
    let now = *soon(readiness.wait_for(complete)).await.unwrap();
    assert_eq!(now.bytes_held, now.bytes_wanted);
    for (wanted, blob) in all.iter().zip(&blobs) {
        assert_eq!(child.store().get_blob(&wanted.digest).unwrap().as_ref(), Some(blob));
    }
    // 1500 in batches of 512 and one that was tried again; two came alone.
    assert!(batches.load(Ordering::Relaxed) <= 6, "{batches:?}");
    assert_eq!(top.asked(), 2);
    assert_eq!(distrusted.load(Ordering::Relaxed), 1);
    running.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_parent_sends_under_a_wrong_length_is_left_out_alone() {
    let top = Node::new();
    let blobs = blobs(3);
    for blob in &blobs {
        top.store().put_blob(blob).unwrap();
    }
    let serving = top.serve(vec![]).await;
    let mut asked: Vec<Wanted> = blobs.iter().map(|blob| wanted(blob)).collect();
    // Longer than it is: whole, but not what was signed for.
    asked[1].length += 1;
    let found = soon(serving.parent("top").small(&asked)).await.unwrap();
    let good = |small: &Small| matches!(small, Small::Good(_));
    assert!(found.len() == 3 && good(&found[0]) && good(&found[2]), "{found:?}");
    assert!(matches!(found[1], Small::Bad(digest) if digest == asked[1].digest));
}
