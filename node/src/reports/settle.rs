//! A branch that has become the primary counts what waited for its parent.

use std::sync::Arc;

use patchmesh_proto::report::SignedBatch;
use tokio_util::sync::CancellationToken;

use super::MAX_BATCHES;
use super::ledger::Ledger;
use super::outbox::OUTBOX;
use crate::identity::sealed::Verifier;
use crate::log::in_one_line;
use crate::store::{self, Store};

/// Counts all batches of an outbox that nobody forwards any more, then waits for
/// `stop`. What cannot be counted now waits for the next start.
pub async fn settle(
    store: Store,
    verifier: Arc<Verifier>,
    ledger: Ledger,
    stop: CancellationToken,
) {
    let settled = async {
        let mut count = 0;
        loop {
            let portion = store.run(first).await.map_err(|error| in_one_line(&error))?;
            if portion.is_empty() {
                return Ok::<_, String>(count);
            }
            count += portion.len();
            let (places, batches): (Vec<u64>, Vec<SignedBatch>) = portion.into_iter().unzip();
            // They were checked when they came; what the disk has spoilt is no batch.
            let good = batches.into_iter().filter_map(|batch| verifier.check(batch).ok()).collect();
            ledger.take(good).await.map_err(|error| in_one_line(&error))?;
            let forgotten = store.run(move |store| forget(store, &places)).await;
            forgotten.map_err(|error| in_one_line(&error))?;
        }
    };
    tokio::select! {
        settled = settled => match settled {
            Ok(0) => {}
            Ok(batches) => tracing::info!(batches, "counted the reports that waited for a parent"),
            Err(error) => tracing::error!(error, "reports that waited for a parent are not counted yet"),
        },
        () = stop.cancelled() => {}
    }
    stop.cancelled().await;
}

/// The first batches that wait.
fn first(store: &Store) -> Result<Vec<(u64, SignedBatch)>, store::Error> {
    let mut portion = Vec::new();
    store.for_each(&OUTBOX, |place, batch| {
        portion.push((place, batch));
        Ok(portion.len() < MAX_BATCHES)
    })?;
    Ok(portion)
}

fn forget(store: &Store, places: &[u64]) -> Result<(), store::Error> {
    let mut transaction = store.transaction();
    for place in places {
        transaction.delete(&OUTBOX, place);
    }
    transaction.commit()
}
