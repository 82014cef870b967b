//! Publishing, and signing again.

use std::convert::Infallible;

use jiff::SignedDuration;

use super::*;
use crate::generation::testing::{joined, learn, restart};
use crate::primary::testing::{TestPrimary, found};

fn rename(draft: &mut Draft) -> Result<(), Infallible> {
    let mut mesh = draft.mesh.as_ref().clone();
    mesh.name.push('+');
    draft.mesh = Arc::new(mesh);
    Ok(())
}

#[derive(Debug, thiserror::Error)]
#[error("not today")]
struct No;

#[tokio::test]
async fn a_change_is_published_and_verifies_at_a_child() {
    let primary = TestPrimary::start().await;
    let before = primary.current.get();
    let ((), after) = primary.publisher.publish(rename).await.unwrap();
    assert_eq!((after.number, after.mesh.name.as_str()), (before.number + 1, "Test+"));
    assert!(Arc::ptr_eq(&primary.current.get(), &after));
    // What was not written keeps its document.
    assert_eq!(after.targets["catalogue/index"], before.targets["catalogue/index"]);
    let (_folder, child) = joined(&primary.store);
    let learned = learn(&primary.store, &child, Timestamp::now()).await;
    assert_eq!(learned.targets, after.targets);
    assert_eq!(restart(&primary.store).targets, after.targets);
}

#[tokio::test]
async fn what_changes_nothing_publishes_nothing() {
    let primary = TestPrimary::start().await;
    let before = primary.current.get();
    let nothing = |_: &mut Draft| Ok::<_, Infallible>(());
    let ((), after) = primary.publisher.publish(nothing).await.unwrap();
    assert!(Arc::ptr_eq(&before, &after));
    let refused = |draft: &mut Draft| {
        let _ = rename(draft);
        Err::<(), _>(No)
    };
    let refused = primary.publisher.publish(refused).await;
    assert!(matches!(refused, Err(Error::Refused(No))));
    assert!(Arc::ptr_eq(&before, &primary.current.get()));
    assert_eq!(restart(&primary.store).number, before.number);
}

#[tokio::test]
async fn signatures_are_renewed_in_time() {
    let (_folder, mut worker) = found().await;
    let renewed = tokio::task::spawn_blocking(move || {
        let first = worker.current.get();
        let now = Timestamp::now();
        worker.try_renew(now).unwrap();
        assert!(Arc::ptr_eq(&first, &worker.current.get()), "nothing is due yet");
        worker.try_renew(now + SignedDuration::from_hours(2)).unwrap();
        let second = worker.current.get();
        assert_eq!(second.number, first.number, "only the timestamp");
        assert_eq!(second.timestamp_version, first.timestamp_version + 1);
        worker.try_renew(now + SignedDuration::from_hours(24 * 6)).unwrap();
        let third = worker.current.get();
        assert_eq!(third.number, second.number + 1, "the snapshot too");
        worker.press.store
    });
    // Goes on from what was signed last, as a primary that restarts does.
    let store = renewed.await.unwrap();
    restart(&store);
}
