//! Crashes between the steps of learning, and what a restart finds.

use std::convert::Infallible;

use super::*;
use crate::generation::testing::{joined, learn, refresh, restart, staged, whole};
use crate::primary::draft::Draft;
use crate::primary::testing::TestPrimary;

/// Any change that makes a generation.
fn rename(draft: &mut Draft) -> Result<(), Infallible> {
    let mut mesh = draft.mesh.as_ref().clone();
    mesh.name.push('+');
    draft.mesh = std::sync::Arc::new(mesh);
    Ok(())
}

#[tokio::test]
async fn what_was_learned_but_not_committed_is_not_served() {
    let primary = TestPrimary::start().await;
    let (_folder, child) = joined(&primary.store);
    let first = learn(&primary.store, &child, Timestamp::now()).await;
    primary.publisher.publish(rename).await.unwrap();

    let (learned, verified) = refresh(&primary.store, &child).await;
    keep(&child, &learned).unwrap();
    // Killed here: the node is in the old generation, whole, and serves its metadata.
    let found = restart(&child);
    assert_eq!(found.number, first.number);
    assert_eq!(metadata(&child, "timestamp.json").unwrap(), metadata_of(&first, &child));
    let kept = trusted(&child).unwrap();
    assert_eq!(kept[&RoleName::TIMESTAMP], learned.current()[&RoleName::TIMESTAMP]);

    // It goes on from there, with the refresh that was cut short.
    let staged = staged(&primary.store, &child, &verified);
    let next = whole(&verified, &staged);
    commit(&child, &next, &learned, staged, Vec::new(), Timestamp::now()).unwrap();
    assert_eq!(restart(&child).number, first.number + 1);
}

/// The timestamp in the record of a generation.
fn metadata_of(generation: &Generation, store: &Store) -> Option<Bytes> {
    let record = store.get(&GENERATIONS, &generation.number).unwrap().unwrap();
    assert!(record.metadata.iter().any(|file| file == "timestamp.json"));
    let (files, _) = current(store).unwrap().unwrap();
    files.current().get(&RoleName::TIMESTAMP).map(|bytes| Bytes::from(bytes.clone()))
}

#[tokio::test]
async fn a_transaction_that_is_not_committed_changes_nothing() {
    let primary = TestPrimary::start().await;
    let (_folder, child) = joined(&primary.store);
    let first = learn(&primary.store, &child, Timestamp::now()).await;
    primary.publisher.publish(rename).await.unwrap();
    // Everything was fetched and verified, and then the power went.
    let (_learned, verified) = refresh(&primary.store, &child).await;
    let _next = whole(&verified, &staged(&primary.store, &child, &verified));
    assert_eq!(restart(&child).number, first.number);
    assert_eq!(learn(&primary.store, &child, Timestamp::now()).await.number, first.number + 1);
    // The primary itself restarts into what it published last.
    assert_eq!(restart(&primary.store).number, first.number + 1);
}
