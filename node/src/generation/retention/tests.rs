//! What goes and what must never go.

use std::convert::Infallible;

use bytes::Bytes;
use jiff::SignedDuration;

use super::*;
use crate::generation::testing::{hq, joined, learn, restart};
use crate::primary::testing::TestPrimary;

fn ago(hours: i64) -> Timestamp {
    Timestamp::now() - SignedDuration::from_hours(hours)
}

/// A child with one generation of each age, in hours, the last one present.
async fn aged(primary: &TestPrimary, ages: &[i64]) -> (tempfile::TempDir, Store, Generation) {
    let (folder, child) = joined(&primary.store);
    let mut present = None;
    for age in ages {
        let change = |draft: &mut crate::primary::draft::Draft| {
            let mut mesh = draft.mesh.as_ref().clone();
            mesh.name.push('+');
            draft.mesh = std::sync::Arc::new(mesh);
            Ok::<_, Infallible>(())
        };
        primary.publisher.publish(change).await.unwrap();
        present = Some(learn(&primary.store, &child, ago(*age)).await);
    }
    (folder, child, present.unwrap())
}

fn numbers(store: &Store) -> Vec<u64> {
    store.scan(&GENERATIONS).unwrap().into_iter().map(|(number, _)| number).collect()
}

fn twice(store: &Store, present: &Generation) -> Removed {
    let (_, unused) = round(store, present, &hq(), &HashSet::new(), Timestamp::now()).unwrap();
    round(store, present, &hq(), &unused, Timestamp::now()).unwrap().0
}

#[tokio::test]
async fn generations_go_after_a_day_but_the_last_two() {
    let primary = TestPrimary::start().await;
    let (_folder, child, present) = aged(&primary, &[100, 90, 80]).await;
    let number = present.number;
    let topology = |store: &Store| store.has(&present.targets["mesh/topology"].digest).unwrap();
    twice(&child, &present);
    assert_eq!(numbers(&child), [number - 1, number]);
    assert!(topology(&child));
    assert_eq!(restart(&child).number, number);
    let root = crate::generation::storage::metadata(&child, "1.root.json").unwrap();
    assert!(root.is_some(), "clients go from root to root");
    let old = format!("{}.snapshot.json", number - 2);
    assert_eq!(crate::generation::storage::metadata(&child, &old).unwrap(), None);
    let kept = format!("{}.snapshot.json", number - 1);
    assert!(crate::generation::storage::metadata(&child, &kept).unwrap().is_some());
}

#[tokio::test]
async fn a_busy_day_stays_served() {
    let primary = TestPrimary::start().await;
    let (_folder, child, present) = aged(&primary, &[20, 15, 10, 5, 1]).await;
    assert_eq!(twice(&child, &present), Removed::default());
    assert_eq!(numbers(&child).len(), 5);
}

#[tokio::test]
async fn a_blob_goes_only_when_two_rounds_find_it_unused() {
    let primary = TestPrimary::start().await;
    let (_folder, child, present) = aged(&primary, &[1]).await;
    let stray = child.put_blob(&Bytes::from_static(b"nothing leads here")).unwrap();
    let now = Timestamp::now();
    let (removed, unused) = round(&child, &present, &hq(), &HashSet::new(), now).unwrap();
    assert_eq!(removed, Removed::default());
    assert_eq!(unused, HashSet::from([stray]));
    // What came meanwhile gets its own two rounds.
    let later = child.put_blob(&Bytes::from_static(b"being received just now")).unwrap();
    let (removed, unused) = round(&child, &present, &hq(), &unused, now).unwrap();
    assert_eq!((removed.blobs, removed.bytes), (1, 18));
    assert_eq!(unused, HashSet::from([later]));
    assert!(!child.has(&stray).unwrap() && child.has(&later).unwrap());
    assert_eq!(restart(&child).number, present.number);
}
