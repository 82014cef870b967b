//! `VerifyBlobs`: reads blobs again and compares them with their names. What is
//! damaged is mended.

use futures_util::StreamExt;
use patchmesh_proto::admin as wire;
use patchmesh_topology::digest::Digest;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::Streamed;
use crate::log::in_one_line;
use crate::rpc::context::Context;
use crate::rpc::status::{field, internal};
use crate::store::{self, Held, Store};

/// Messages that wait for a slow caller.
const QUEUE: usize = 4;
/// A message at least after so many blobs.
const STEP: u64 = 64;
/// And after so many bytes.
const STEP_BYTES: u64 = 64 << 20;
/// Faults that one answer lists.
const MAX_FAULTS: usize = 10_000;

/// Where damaged blobs are reported with their bad pieces.
type Damaged = mpsc::Sender<(Digest, Vec<u64>)>;

type Messages = mpsc::Sender<Result<wire::VerifyBlobsResponse, Status>>;

pub(super) fn verify(
    node: &Context,
    request: &wire::VerifyBlobsRequest,
) -> Result<Streamed<wire::VerifyBlobsResponse>, Status> {
    let asked = request
        .digests
        .iter()
        .map(|digest| Digest::try_from(digest.as_ref()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| field("digests", &error))?;
    let (store, content) = (node.store.clone(), node.content.clone());
    let (messages, receiver) = mpsc::channel(QUEUE);
    // Outlives a caller who goes away: what was found is mended all the same.
    let (damaged, mut found) = mpsc::channel::<(Digest, Vec<u64>)>(QUEUE);
    tokio::spawn(async move {
        while let Some((digest, bad)) = found.recv().await {
            if let Err(error) = content.report_bad_pieces(digest, bad).await {
                tracing::error!(%digest, error = in_one_line(&error), "damage is not mended");
            }
        }
    });
    tokio::task::spawn_blocking(move || {
        if let Err(error) = run(&store, &asked, &messages, &damaged) {
            let _ = messages.blocking_send(Err(internal(&error)));
        }
    });
    Ok(ReceiverStream::new(receiver).boxed())
}

/// Ends early when the caller goes away.
fn run(
    store: &Store,
    asked: &[Digest],
    messages: &Messages,
    damaged: &Damaged,
) -> Result<(), store::Error> {
    let mut answer = wire::VerifyBlobsResponse::default();
    let held = if asked.is_empty() { store.blobs()? } else { named(store, asked, &mut answer)? };
    answer.blobs_total = held.len() as u64;
    answer.bytes_total = held.iter().map(|blob| blob.length).sum();
    let mut told_at = 0;
    for blob in held {
        verify_one(store, blob, &mut answer, damaged);
        answer.blobs_checked += 1;
        answer.bytes_checked += blob.length;
        let due = answer.blobs_checked.is_multiple_of(STEP)
            || answer.bytes_checked - told_at > STEP_BYTES;
        if due {
            told_at = answer.bytes_checked;
            let progress = wire::VerifyBlobsResponse { faults: Vec::new(), ..answer.clone() };
            if messages.blocking_send(Ok(progress)).is_err() {
                return Ok(());
            }
        }
    }
    answer.finished = true;
    let _ = messages.blocking_send(Ok(answer));
    Ok(())
}

/// The blobs asked for; those not held are faults.
fn named(
    store: &Store,
    asked: &[Digest],
    answer: &mut wire::VerifyBlobsResponse,
) -> Result<Vec<Held>, store::Error> {
    let mut held = Vec::new();
    for &digest in asked {
        match store.length(&digest)? {
            Some(length) => held.push(Held { digest, length }),
            None => fault(answer, digest, "not held by this node".to_owned()),
        }
    }
    Ok(held)
}

fn verify_one(
    store: &Store,
    blob: Held,
    answer: &mut wire::VerifyBlobsResponse,
    damaged: &Damaged,
) {
    match store.verify_blob(&blob.digest, |_| {}) {
        Ok(found) if found.is_good() => {}
        Ok(found) => {
            let pieces: Vec<_> =
                found.bad_pieces.iter().take(10).map(ToString::to_string).collect();
            let count = found.bad_pieces.len();
            fault(
                answer,
                blob.digest,
                format!(
                    "{count} of {} pieces differ: {}; they are fetched again",
                    found.pieces,
                    pieces.join(", ")
                ),
            );
            // Its end is the runtime's.
            let _ = damaged.blocking_send((blob.digest, found.bad_pieces));
        }
        // Removed since it was listed.
        Err(store::Error::NotHeld(_)) => {}
        Err(error) => fault(answer, blob.digest, in_one_line(&error)),
    }
}

fn fault(answer: &mut wire::VerifyBlobsResponse, digest: Digest, problem: String) {
    if answer.faults.len() < MAX_FAULTS {
        answer.faults.push(wire::BlobFault { digest: digest.as_bytes().to_vec().into(), problem });
    }
}
