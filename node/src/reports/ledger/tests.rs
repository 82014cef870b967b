//! The ledger over a primary's store: who is let in, and what is counted.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use async_trait::async_trait;
use patchmesh_proto::identity::JoinRequest;
use patchmesh_proto::report::{Outcome as WireOutcome, Phase as WirePhase};
use patchmesh_topology::digest::Digest;
use patchmesh_topology::report::MAX_EPOCHS;
use patchmesh_topology::revision::{CatalogueEntry, DocumentRef, RevisionId};
use patchmesh_topology::revocation::Revocations;
use patchmesh_topology::tally::{Area, Count};
use tonic::{Code, Status};

use super::*;
use crate::generation::Generation;
use crate::generation::testing::{joined, learn};
use crate::identity::authority::{self, Authority, Redeemed, Tokens};
use crate::identity::key::Key;
use crate::identity::machines::life;
use crate::identity::sealed::Verifier;
use crate::identity::testing::TestMesh;
use crate::identity::token::{Secret, Statement};
use crate::primary::draft::Draft;
use crate::primary::revocations;
use crate::primary::testing::TestPrimary;
use crate::reports::outbox::Outbox;
use crate::reports::settle::settle;
use crate::reports::testing::{REVISION, Reporter, check};
use crate::rpc::machines::refused;
use crate::signed::names;

struct Taker(Ledger);

#[async_trait]
impl Tokens for Taker {
    async fn redeem(&self, attempt: Attempt) -> Result<Redeemed, Status> {
        let enrolled = self.0.enrol(attempt).await.map_err(|refusal| refused(&refusal))?;
        Ok(Redeemed {
            secret_sha256: enrolled.secret_sha256,
            parent: enrolled.via,
            parent_url: "https://127.0.0.1:1".to_owned(),
            tuf_root: bytes::Bytes::from_static(b"{}"),
        })
    }

    async fn machine(&self, name: &MachineName) -> Result<Option<(GroupName, Sha256)>, Status> {
        self.0.member(name).map_err(|error| Status::internal(error.to_string()))
    }
}

struct Desk {
    primary: TestPrimary,
    mesh: TestMesh,
    current: Current,
    ledger: Ledger,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

fn revision() -> RevisionId {
    REVISION.parse().unwrap()
}

/// A generation whose catalogue has the revision that test machines report about.
fn with_revision(current: &Current) -> Current {
    let digest = Digest::of(b"revision");
    let entry = CatalogueEntry {
        document: DocumentRef { digest, length: 8 },
        entered_at: Timestamp::UNIX_EPOCH,
        ordinal: 0,
        fingerprint: digest,
    };
    let catalogue = Arc::new(BTreeMap::from([(revision(), entry)]));
    Current::new(Arc::new(Generation { catalogue, ..(*current.get()).clone() }))
}

impl Desk {
    async fn open() -> Self {
        let primary = TestPrimary::start().await;
        let current = with_revision(&primary.current);
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        let ledger = Ledger::open(&primary.store, current.clone(), &mut tasks, &stop).unwrap();
        Self { primary, mesh: TestMesh::new(), current, ledger, tasks, stop }
    }

    /// Ends the ledger and opens it again from what is on the disk.
    async fn restart(&mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
        self.stop = CancellationToken::new();
        let (store, current) = (&self.primary.store, self.current.clone());
        self.ledger = Ledger::open(store, current, &mut self.tasks, &self.stop).unwrap();
    }

    async fn token(&self, id: &str, uses: u32, seconds: i64) -> Sha256 {
        let secret_sha256 = Secret::generate().unwrap().sha256();
        let token = NewToken {
            id: id.to_owned(),
            group: "workstations".parse().unwrap(),
            via: "hq".parse().unwrap(),
            secret_sha256,
            life: SignedDuration::from_secs(seconds),
            uses,
            by: "test".to_owned(),
        };
        self.ledger.make_token(token).await.unwrap();
        secret_sha256
    }

    async fn join(&self, key: &Key, name: &str, id: &str, secret: &Sha256) -> Result<(), String> {
        let request = key.certificate_request(name).unwrap();
        let parts: [&[u8]; 4] = [name.as_bytes(), b"workstations", id.as_bytes(), &request];
        let request = JoinRequest {
            machine: name.to_owned(),
            group: "workstations".to_owned(),
            token_id: id.to_owned(),
            proof: Statement::JoinMachine.prove(secret, &parts).into(),
            certificate_request: request.into(),
            ..JoinRequest::default()
        };
        self.authority().join(request, Timestamp::now()).await.map(drop).map_err(|error| {
            let authority::Error::Denied(status) = error else { panic!("{error}") };
            assert_eq!(status.code(), Code::PermissionDenied);
            status.message().to_owned()
        })
    }

    fn authority(&self) -> Authority {
        let (taker, mesh) = (Arc::new(Taker(self.ledger.clone())), self.current.watch_mesh());
        Authority::new(self.mesh.ca.clone(), taker, mesh, Duration::from_secs(3600))
    }

    async fn take(&self, sealed: Sealed) -> Answer {
        self.ledger.take(vec![sealed]).await.unwrap().remove(0)
    }

    fn count(&self) -> Count {
        self.ledger.read(|tallies| tallies.counts([&revision()], Area::default()))
    }

    fn record(&self, name: &str) -> records::MachineRecord {
        self.primary.store.get(&records::MACHINES, name).unwrap().unwrap()
    }
}

#[tokio::test]
async fn a_token_lets_in_as_many_as_it_says_and_replaces_nobody() {
    let desk = Desk::open().await;
    let keys: Vec<Key> = (0..5).map(|_| Key::generate().unwrap()).collect();
    let secret = desk.token("t1", 2, 60).await;
    let other = Secret::generate().unwrap().sha256();
    let refused = desk.join(&keys[0], "pc-1", "t1", &other).await.unwrap_err();
    assert!(refused.contains("altered"), "{refused}");
    let refused = desk.join(&keys[0], "pc-1", "t9", &secret).await.unwrap_err();
    assert!(refused.contains("no such token"), "{refused}");
    desk.join(&keys[0], "pc-1", "t1", &secret).await.unwrap();
    // Its answer got lost: the same host may ask again, and it costs no use.
    desk.join(&keys[0], "pc-1", "t1", &secret).await.unwrap();
    // Somebody else with the same token does not become it.
    let refused = desk.join(&keys[1], "pc-1", "t1", &secret).await.unwrap_err();
    assert!(refused.contains("older than the machine"), "{refused}");
    desk.join(&keys[1], "pc-2", "t1", &secret).await.unwrap();
    let refused = desk.join(&keys[2], "pc-3", "t1", &secret).await.unwrap_err();
    assert!(refused.contains("as many machines"), "{refused}");
    let late = desk.token("t2", 9, -1).await;
    let refused = desk.join(&keys[2], "pc-3", "t2", &late).await.unwrap_err();
    assert!(refused.contains("expired"), "{refused}");
    assert_eq!(desk.count().known, 2);
    // Set up anew: a fresh token.
    let fresh = desk.token("t3", 1, 60).await;
    desk.join(&keys[3], "pc-1", "t3", &fresh).await.unwrap();
    assert_eq!(
        desk.ledger.member(&"pc-1".parse().unwrap()).unwrap().unwrap().1,
        keys[3].spki_sha256()
    );
    assert_eq!(desk.count().known, 2);
}

#[tokio::test]
async fn only_the_machine_with_its_own_key_renews() {
    let desk = Desk::open().await;
    let (key, thief) = (Key::generate().unwrap(), Key::generate().unwrap());
    let (name, now) = ("pc-1".parse().unwrap(), Timestamp::now());
    let secret = desk.token("t1", 1, 60).await;
    desk.join(&key, "pc-1", "t1", &secret).await.unwrap();
    let request = |key: &Key| key.certificate_request("pc-1").unwrap();
    let renewed = desk.authority().renew_machine(&name, &request(&key), now).await.unwrap();
    assert_eq!(renewed.subject.to_string(), "machine pc-1 of group workstations");
    assert!(desk.authority().renew_machine(&name, &request(&thief), now).await.is_err());
    desk.ledger.revoke(name.clone(), "me".into(), "gone".into()).await.unwrap();
    assert!(desk.authority().renew_machine(&name, &request(&key), now).await.is_err());
}

#[tokio::test]
async fn each_event_counts_once_and_a_restart_changes_nothing() {
    let mut desk = Desk::open().await;
    let pc = Reporter::new(&desk.mesh, "pc-1");
    let mut failed = pc.message(0, 4);
    failed.events[3].outcome = WireOutcome::Failure.into();
    assert_eq!(desk.take(check(&desk.mesh, pc.seal(&failed))).await, Answer::Held);
    assert_eq!((desk.count().known, desk.count().failed, desk.count().installed), (1, 1, 0));
    // Late, twice, and overlapping.
    let changes = *desk.ledger.changes().borrow();
    assert_eq!(desk.take(pc.sealed(&desk.mesh, 2, 6)).await, Answer::Held);
    assert_eq!(desk.take(pc.sealed(&desk.mesh, 2, 6)).await, Answer::Held);
    assert_eq!((desk.count().failed, desk.count().installed), (0, 1));
    assert!(*desk.ledger.changes().borrow() > changes);
    let record = desk.record("pc-1");
    assert_eq!((record.events(), record.outcomes[1], record.outcomes[2]), (8, 7, 1));
    // About a revision that nobody knows: it happened, and says nothing here.
    let mut unknown = pc.message(8, 1);
    unknown.events[0].revision = "vendor:stable/other@1".to_owned();
    unknown.events[0].phase = WirePhase::Removal.into();
    desk.take(check(&desk.mesh, pc.seal(&unknown))).await;
    assert_eq!(desk.record("pc-1").events(), 9);
    let quiet = Reporter::new(&desk.mesh, "pc-2");
    desk.take(quiet.sealed(&desk.mesh, 0, 0)).await;
    let before = desk.ledger.tallies();
    assert_eq!(before.known(Area::default()), 2);
    desk.restart().await;
    assert_eq!(desk.ledger.tallies(), before);
    assert_eq!(desk.take(pc.sealed(&desk.mesh, 0, 9)).await, Answer::Held);
    assert_eq!(desk.record("pc-1").events(), 9);
}

#[tokio::test]
async fn what_came_rolled_up_counts_once_and_changes_no_word() {
    let mut desk = Desk::open().await;
    let pc = Reporter::new(&desk.mesh, "pc-1");
    let with = |first, events, rolled_up| {
        check(&desk.mesh, pc.seal(&pc.rolled_up(first, events, rolled_up)))
    };
    let (whole, longer, torn) = (with(0, 3, 1000), with(0, 5, 1000), with(1002, 1, 9));
    assert_eq!(desk.take(whole.clone()).await, Answer::Held);
    assert_eq!(desk.take(whole).await, Answer::Held);
    // With events beside it that are new.
    assert_eq!(desk.take(longer).await, Answer::Held);
    let record = desk.record("pc-1");
    assert_eq!((record.events(), record.rolled_up), (1005, 1000));
    // Its downloads failed; the last word is what an event says.
    assert_eq!((record.outcomes[1], record.outcomes[2]), (5, 1000));
    assert_eq!((desk.count().installed, desk.count().failed), (1, 0));
    let Answer::Refused(why) = desk.take(torn).await else { panic!("numbers count twice") };
    assert!(why.contains("of 9 events that are rolled up"), "{why}");
    // Events that are rolled up already, one by one.
    assert_eq!(desk.take(pc.sealed(&desk.mesh, 990, 20)).await, Answer::Held);
    assert_eq!(desk.record("pc-1").events(), 1010);
    let before = desk.ledger.tallies();
    desk.restart().await;
    assert_eq!(desk.ledger.tallies(), before);
    assert_eq!(desk.record("pc-1").rolled_up, 1000);
    // Of a key from before: known to have happened.
    let at = Timestamp::now() + SignedDuration::from_hours(1);
    let anew = desk.mesh.machine_with(Key::generate().unwrap(), "pc-1", "workstations", at);
    let mut anew = Reporter::of(anew, "pc-1");
    anew.epoch = 8;
    desk.take(anew.sealed(&desk.mesh, 0, 1)).await;
    desk.take(check(&desk.mesh, pc.seal(&pc.rolled_up(1010, 1, 50)))).await;
    let record = desk.record("pc-1");
    assert_eq!((record.events(), record.late, record.rolled_up), (1062, 1061, 1050));
}

#[tokio::test]
async fn a_machine_set_up_anew_begins_anew_and_its_old_key_says_nothing() {
    let mut desk = Desk::open().await;
    let now = Timestamp::now();
    let hours_ago = |hours| now - SignedDuration::from_hours(hours);
    let identity =
        |at| desk.mesh.machine_with(Key::generate().unwrap(), "pc-1", "workstations", at);
    let old = Reporter::of(identity(hours_ago(3)), "pc-1");
    let mut new = Reporter::of(identity(hours_ago(1)), "pc-1");
    new.epoch = 8;
    desk.take(old.sealed(&desk.mesh, 0, 5)).await;
    assert_eq!(desk.count().installed, 1);
    // The CA has let in another key since: what the old one had is gone with it.
    desk.take(new.sealed(&desk.mesh, 0, 0)).await;
    assert_eq!((desk.count().known, desk.count().reached), (1, 0));
    // What was on its way still is known to have happened, and changes nothing.
    assert_eq!(desk.take(old.sealed(&desk.mesh, 5, 5)).await, Answer::Held);
    assert_eq!(desk.count().reached, 0);
    desk.take(new.sealed(&desk.mesh, 0, 2)).await;
    let record = desk.record("pc-1");
    assert_eq!((record.events(), record.late), (12, 10));
    assert_eq!(desk.count().installed, 1);
    let before = desk.ledger.tallies();
    desk.restart().await;
    assert_eq!(desk.ledger.tallies(), before);
}

#[tokio::test]
async fn a_key_from_before_has_no_say_in_what_is_taken_now_and_a_queue_goes_on_with_another() {
    let mut desk = Desk::open().await;
    let now = Timestamp::now();
    let hours_ago = |hours| now - SignedDuration::from_hours(hours);
    let reporter = |at, epoch| {
        let identity = desk.mesh.machine_with(Key::generate().unwrap(), "pc-1", "workstations", at);
        Reporter { epoch, ..Reporter::of(identity, "pc-1") }
    };
    let (mut stolen, new, again) =
        (reporter(hours_ago(3), 0), reporter(hours_ago(2), 100), reporter(hours_ago(1), 100));
    // Whoever stole the key fills all there is, with queues that are newer than any.
    stolen.began = "9000-01-01T00:00:00Z".parse().unwrap();
    for _ in 0..MAX_EPOCHS {
        stolen.epoch += 1;
        assert_eq!(desk.take(stolen.sealed(&desk.mesh, 0, 1)).await, Answer::Held);
    }
    assert_eq!(desk.take(new.sealed(&desk.mesh, 0, 3)).await, Answer::Held);
    assert_eq!((desk.record("pc-1").events(), desk.count().installed), (11, 1));
    for _ in 0..MAX_EPOCHS {
        stolen.epoch += 1;
        let answer = desk.take(stolen.sealed(&desk.mesh, 0, 0)).await;
        assert!(matches!(&answer, Answer::Refused(why) if why.contains("long ago")), "{answer:?}");
    }
    desk.restart().await;
    assert_eq!(desk.take(new.sealed(&desk.mesh, 3, 2)).await, Answer::Held);
    assert_eq!(desk.record("pc-1").events(), 13);

    // The machine joins again, and what it had told goes on its way once more.
    assert_eq!(desk.take(again.sealed(&desk.mesh, 2, 4)).await, Answer::Held);
    let record = desk.record("pc-1");
    assert_eq!((record.events(), record.late), (14, 13));
    assert_eq!(desk.take(new.sealed(&desk.mesh, 4, 3)).await, Answer::Held);
    let record = desk.record("pc-1");
    assert_eq!((record.events(), record.late), (15, 14));
    assert_eq!(desk.take(again.sealed(&desk.mesh, 0, 7)).await, Answer::Held);
    assert_eq!(desk.record("pc-1").events(), 15);
}

#[tokio::test]
async fn a_revoked_machine_counts_no_more_until_it_joins_again() {
    let mut desk = Desk::open().await;
    let pc = Reporter::new(&desk.mesh, "pc-1");
    desk.take(pc.sealed(&desk.mesh, 0, 5)).await;
    let name: MachineName = "pc-1".parse().unwrap();
    desk.ledger.revoke(name.clone(), "me".into(), "stolen".into()).await.unwrap();
    assert_eq!(desk.count(), Count::default());
    let Answer::Refused(why) = desk.take(pc.sealed(&desk.mesh, 5, 1)).await else {
        panic!("a revoked machine is believed");
    };
    assert!(why.contains("revoked"), "{why}");
    desk.restart().await;
    assert_eq!(desk.count(), Count::default());
    assert!(desk.ledger.revoke("pc-9".parse().unwrap(), "me".into(), String::new()).await.is_err());
    let (key, fresh) = (Key::generate().unwrap(), desk.token("t1", 1, 60).await);
    desk.join(&key, "pc-1", "t1", &fresh).await.unwrap();
    assert_eq!((desk.count().known, desk.count().reached), (1, 0));
    assert!(desk.ledger.member(&name).unwrap().is_some());
}

#[tokio::test]
async fn nodes_are_told_who_was_shut_out_for_as_long_as_certificates_last() {
    let desk = Desk::open().await;
    let (primary, ledger) = (&desk.primary, &desk.ledger);
    let before = primary.current.get();
    revocations::tell(&primary.publisher, ledger).await.unwrap();
    assert_eq!(primary.current.get().number, before.number, "there is nothing to say");
    assert!(!before.targets.contains_key(names::REVOCATIONS));

    let pc = Reporter::new(&desk.mesh, "pc-1");
    desk.take(pc.sealed(&desk.mesh, 0, 5)).await;
    let name: MachineName = "pc-1".parse().unwrap();
    ledger.revoke(name.clone(), "me".into(), "stolen".into()).await.unwrap();
    let at = ledger.revoked().unwrap()[0].1;
    revocations::tell(&primary.publisher, ledger).await.unwrap();
    let (_folder, child) = joined(&primary.store);
    let learned = learn(&primary.store, &child, Timestamp::now()).await;
    assert_eq!(*learned.revocations, Revocations::from([(name.clone(), at)]));
    assert!(names::is_internal(names::REVOCATIONS), "it is no business of machines");
    revocations::tell(&primary.publisher, ledger).await.unwrap();
    assert_eq!(primary.current.get().number, learned.number, "that was said");

    // It is let in again, and what its thief has counts no more.
    let (key, fresh) = (Key::generate().unwrap(), desk.token("t1", 1, 60).await);
    desk.join(&key, "pc-1", "t1", &fresh).await.unwrap();
    assert!(ledger.revoked().unwrap().is_empty());
    revocations::tell(&primary.publisher, ledger).await.unwrap();
    assert!(primary.current.get().revocations.contains_key(&name));
    // In the end there is nothing left, which is said as well.
    let ended = move |draft: &mut Draft| {
        let past = at - life() - SignedDuration::from_secs(1);
        draft.revocations = Arc::new(Revocations::from([(name, past)]));
        Ok::<_, Infallible>(())
    };
    primary.publisher.publish(ended).await.unwrap();
    revocations::tell(&primary.publisher, ledger).await.unwrap();
    assert!(learn(&primary.store, &child, Timestamp::now()).await.revocations.is_empty());
}

#[tokio::test]
async fn a_wave_is_counted_from_the_moment_that_it_is_watched() {
    let desk = Desk::open().await;
    for number in 0..4 {
        let pc = Reporter::new(&desk.mesh, &format!("pc-{number}"));
        desk.take(pc.sealed(&desk.mesh, 0, u64::from(number % 2 == 0))).await;
    }
    let accepts = |name: &MachineName| name.as_str() < "pc-3";
    let selection = Selection {
        revisions: [revision()].into(),
        accepts: Some(Arc::new(accepts)),
        ..Selection::default()
    };
    desk.ledger.watch(vec![("wave".to_owned(), selection)]).await.unwrap();
    let total = || desk.ledger.read(|tallies| tallies.cell("wave").map(|cell| cell.total()));
    let count = total().unwrap();
    assert_eq!((count.known, count.reached, count.installed), (3, 2, 2));
    let mut failed = Reporter::new(&desk.mesh, "pc-1").message(0, 1);
    failed.events[0].outcome = WireOutcome::Failure.into();
    let late = Reporter::of(
        desk.mesh.machine_with(
            Key::generate().unwrap(),
            "pc-1",
            "workstations",
            Timestamp::now() + SignedDuration::from_secs(60),
        ),
        "pc-1",
    );
    desk.take(check(&desk.mesh, late.seal(&failed))).await;
    let count = total().unwrap();
    assert_eq!((count.known, count.reached, count.failed), (3, 3, 1));
    desk.ledger.unwatch(["wave"]);
    assert_eq!(total(), None);
}

#[tokio::test]
async fn a_branch_that_became_the_primary_counts_what_waited() {
    let desk = Desk::open().await;
    let pc = Reporter::new(&desk.mesh, "pc-1");
    let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
    let outbox = Outbox::open(&desk.primary.store, &mut tasks, &stop).unwrap();
    outbox.take(vec![pc.sealed(&desk.mesh, 0, 3), pc.sealed(&desk.mesh, 3, 3)]).await.unwrap();
    assert_eq!(desk.count().reached, 0);
    let ca = desk.mesh.ca.certificate().clone();
    let verifier = Arc::new(Verifier::new(desk.mesh.ca.mesh_id().to_owned(), ca));
    let store = desk.primary.store.clone();
    let mut changes = desk.ledger.changes();
    tasks.spawn(settle(store.clone(), verifier, desk.ledger.clone(), stop.clone()));
    changes.changed().await.unwrap();
    stop.cancel();
    while tasks.join_next().await.is_some() {}
    assert_eq!((desk.count().installed, desk.record("pc-1").events()), (1, 6));
}
