use super::*;
use crate::identity::testing::TestMesh;
use crate::reports::testing::{Reporter, check};
use crate::store::Mode;
use crate::store::faults::{Faults, Plan};

struct Bench {
    folder: tempfile::TempDir,
    mesh: TestMesh,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        drop(Store::open(&folder.path().join("data"), Mode::Create).unwrap());
        Self { folder, mesh: TestMesh::new() }
    }

    /// The outbox, and what stops it.
    fn open(&self) -> Opened {
        let store = Store::open(&self.folder.path().join("data"), Mode::Existing).unwrap();
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        let outbox = Outbox::open(&store, &mut tasks, &stop).unwrap();
        Opened { outbox, tasks, stop }
    }
}

struct Opened {
    outbox: Outbox,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Opened {
    async fn close(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

fn places(portion: &Portion) -> Vec<u64> {
    portion.iter().map(|(place, _)| *place).collect()
}

#[tokio::test]
async fn what_was_taken_is_there_after_a_restart_and_goes_once() {
    let bench = Bench::new();
    let pc = Reporter::new(&bench.mesh, "pc-1");
    let opened = bench.open();
    let batches = vec![pc.sealed(&bench.mesh, 0, 5), pc.sealed(&bench.mesh, 5, 5)];
    let first = batches[0].wire.clone();
    let answers = opened.outbox.take(batches).await.unwrap();
    assert_eq!(answers, [Answer::Held, Answer::Held]);
    opened.close().await;

    let opened = bench.open();
    let outbox = &opened.outbox;
    assert!(outbox.bytes() > 0);
    // Sent again, alone and as a part of another batch.
    outbox.take(vec![pc.sealed(&bench.mesh, 0, 5), pc.sealed(&bench.mesh, 2, 6)]).await.unwrap();
    let portion = outbox.next(Lane::Patient, 9).await.unwrap();
    assert_eq!(portion.len(), 2);
    assert_eq!(portion[0].1, first, "altered");
    outbox.done(places(&portion)).await.unwrap();
    assert_eq!(outbox.bytes(), 0);
    // Passed on, and still known.
    outbox.take(vec![pc.sealed(&bench.mesh, 0, 10)]).await.unwrap();
    assert_eq!(outbox.bytes(), 0);
    let holder = pc.sealed(&bench.mesh, 0, 1).holder;
    assert_eq!(outbox.held(&holder).unwrap().to_wire()[0].runs.len(), 1);
    // Another key of that name has passed nothing through.
    let other = Reporter::new(&bench.mesh, "pc-1").sealed(&bench.mesh, 0, 1).holder;
    assert!(outbox.held(&other).unwrap().epochs().is_empty());
    outbox.take(vec![pc.sealed(&bench.mesh, 8, 4)]).await.unwrap();
    assert_eq!(outbox.next(Lane::Patient, 9).await.unwrap().len(), 1);
    opened.close().await;
}

#[tokio::test]
async fn a_failure_goes_before_everything_else() {
    let bench = Bench::new();
    let pc = Reporter::new(&bench.mesh, "pc-1");
    let opened = bench.open();
    let mut failed = pc.message(20, 1);
    failed.events[0].outcome = patchmesh_proto::report::Outcome::Failure.into();
    let urgent = check(&bench.mesh, pc.seal(&failed));
    opened.outbox.take(vec![pc.sealed(&bench.mesh, 0, 20), urgent]).await.unwrap();
    let portion = opened.outbox.next(Lane::Urgent, 9).await.unwrap();
    assert_eq!(portion.len(), 1);
    assert_eq!(portion[0].1.batch, failed.encode_to_vec());
    opened.outbox.done(places(&portion)).await.unwrap();
    assert_eq!(opened.outbox.next(Lane::Patient, 9).await.unwrap().len(), 1);
    opened.close().await;
}

#[tokio::test]
async fn what_has_a_roll_up_waits_by_itself() {
    let bench = Bench::new();
    let pc = Reporter::new(&bench.mesh, "pc-1");
    let opened = bench.open();
    let mut rolled_up = pc.rolled_up(0, 2, 30);
    rolled_up.events[0].outcome = patchmesh_proto::report::Outcome::Failure.into();
    let sealed = check(&bench.mesh, pc.seal(&rolled_up));
    opened.outbox.take(vec![sealed.clone(), pc.sealed(&bench.mesh, 32, 1)]).await.unwrap();
    opened.close().await;
    // It has its lane after a restart, and its numbers are known.
    let opened = bench.open();
    let outbox = &opened.outbox;
    assert_eq!(outbox.take(vec![sealed.clone()]).await.unwrap(), [Answer::Held]);
    let torn = outbox.take(vec![check(&bench.mesh, pc.seal(&pc.rolled_up(31, 1, 9)))]).await;
    let [Answer::Refused(why)] = &torn.unwrap()[..] else { panic!("a part of it is held") };
    assert!(why.contains("of 9 events that are rolled up"), "{why}");
    let patient = outbox.next(Lane::Patient, 9).await.unwrap();
    assert_eq!(patient.len(), 1);
    let alone = outbox.next(Lane::RolledUp, 9).await.unwrap();
    assert_eq!((alone.len(), &alone[0].1), (1, &sealed.wire));
    outbox.done(places(&alone)).await.unwrap();
    outbox.done(places(&patient)).await.unwrap();
    assert_eq!(outbox.bytes(), 0);
    opened.close().await;
}

#[tokio::test]
async fn one_machine_does_not_fill_it_and_its_neighbours_go_on() {
    let bench = Bench::new();
    let loud = Reporter::new(&bench.mesh, "loud");
    let opened = bench.open();
    let mut first = 0;
    let refused = loop {
        let mut message = loud.message(first, 400);
        for event in &mut message.events {
            event.message = "x".repeat(500);
        }
        let sealed = check(&bench.mesh, loud.seal(&message));
        match opened.outbox.take(vec![sealed]).await {
            Ok(_) => first += 400,
            Err(error) => break error,
        }
        assert!(first < 1_000_000, "it takes without end");
    };
    assert!(matches!(refused, Error::MachineFull { .. }), "{refused}");
    assert!(opened.outbox.bytes() <= MAX_MACHINE_BYTES);
    let quiet = Reporter::new(&bench.mesh, "quiet");
    opened.outbox.take(vec![quiet.sealed(&bench.mesh, 0, 1)]).await.unwrap();
    // Once the parent has them there is room again.
    let portion = opened.outbox.next(Lane::Patient, 5).await.unwrap();
    assert!(portion.iter().map(|(_, batch)| batch.encoded_len()).sum::<usize>() <= MAX_REQUEST);
    opened.outbox.done(places(&portion)).await.unwrap();
    opened.outbox.take(vec![loud.sealed(&bench.mesh, first, 1)]).await.unwrap();
    opened.close().await;
}

#[tokio::test]
async fn what_could_not_be_written_is_not_said_to_be_held() {
    let bench = Bench::new();
    let pc = Reporter::new(&bench.mesh, "pc-1");
    let faults = Faults::new(Plan::Count);
    let path = bench.folder.path().join("data");
    let store = Store::open_on_faults(&path, Mode::Existing, &faults).unwrap();
    let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
    let outbox = Outbox::open(&store, &mut tasks, &stop).unwrap();
    faults.replace(Plan::EndAt(0));
    let refused = outbox.take(vec![pc.sealed(&bench.mesh, 0, 5)]).await.unwrap_err();
    assert!(matches!(refused, Error::Store(_)), "{refused}");
    assert_eq!(outbox.bytes(), 0);
    faults.replace(Plan::Count);
    outbox.take(vec![pc.sealed(&bench.mesh, 0, 5)]).await.unwrap();
    assert_eq!(outbox.next(Lane::Patient, 9).await.unwrap().len(), 1);
    Opened { outbox, tasks, stop }.close().await;
}
