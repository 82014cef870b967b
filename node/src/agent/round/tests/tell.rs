//! What a machine tells whose disk was put back, and one that is lied to about that.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::extract::Request;
use axum::routing::post;
use patchmesh_proto::report::Outcome::{Failure, Pending, Success};
use patchmesh_topology::applicability::Removal;
use prost::Message;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic_prost::ProstCodec;
use tower::service_fn;

use super::*;

/// What a node took, batch by batch, and what it says that it holds.
#[derive(Default)]
struct Books {
    taken: Vec<wire::Batch>,
    lies: bool,
}

impl Books {
    fn take(&mut self, request: &wire::ReportRequest) -> wire::ReportResponse {
        for one in &request.batches {
            self.taken.push(wire::Batch::decode(&one.batch[..]).expect("a batch"));
        }
        let held = |epoch| {
            let end = if self.lies { 1_000 } else { self.end(epoch) };
            wire::Held { epoch, runs: vec![wire::Run { start: 0, end }] }
        };
        let answer = wire::Answer { verdict: wire::Verdict::Held.into(), ..Default::default() };
        wire::ReportResponse {
            answers: vec![answer; request.batches.len()],
            held: self.epochs().into_iter().map(held).collect(),
        }
    }

    fn epochs(&self) -> BTreeSet<u64> {
        self.taken.iter().map(|batch| batch.epoch).collect()
    }

    fn of(&self, epoch: u64) -> impl Iterator<Item = &wire::Batch> {
        self.taken.iter().filter(move |batch| batch.epoch == epoch)
    }

    fn end(&self, epoch: u64) -> u64 {
        self.of(epoch).map(|one| one.first + one.events.len() as u64).max().unwrap_or_default()
    }

    /// What it was told in an epoch: revision, outcome and message.
    fn told(&self, epoch: u64) -> Vec<(&str, wire::Outcome, &str)> {
        let events = self.of(epoch).flat_map(|batch| &batch.events);
        events.map(|one| (one.revision.as_str(), one.outcome(), one.message.as_str())).collect()
    }
}

/// A node that takes reports, and its books.
async fn node(mesh: &TestMesh) -> (Running, Arc<Mutex<Books>>) {
    let books = Arc::new(Mutex::new(Books::default()));
    let kept = Arc::clone(&books);
    let report = async move |request: Request| {
        let take = service_fn(|request: tonic::Request<wire::ReportRequest>| {
            let response = kept.lock().expect("books").take(request.get_ref());
            std::future::ready(Ok::<_, tonic::Status>(tonic::Response::new(response)))
        });
        Grpc::new(ProstCodec::default()).unary(take, request.map(Body::new)).await
    };
    let app = Router::new().route("/patchmesh.report.v1.Reports/Report", post(report));
    (Running::serving(mesh, mesh.node("lyon"), app).await, books)
}

async fn tell(agent: &mut Agent, items: &[Item<'_>]) -> Result<usize, Error> {
    agent.tell_found(items, Timestamp::now())?;
    let (site, inventory) = ("emea".parse().expect("a site"), Inventory::default());
    agent.tell(&site, &inventory, &Digest::of(b"inventory"), items).await
}

/// What a snapshot of the disk has of it.
fn snapshot(folder: &TempDir) -> Vec<(PathBuf, Vec<u8>)> {
    ["memory.json", "queue/events.jsonl"]
        .map(|name| folder.path().join(name))
        .map(|path| (path.clone(), std::fs::read(path).expect("it is there")))
        .into()
}

#[tokio::test]
async fn what_is_there_and_what_failed_is_told_anew_by_one_that_was_put_back() {
    let (mesh, folder) = (TestMesh::new(), tempfile::tempdir().expect("a folder"));
    let (node, books) = node(&mesh).await;
    let mut before = agent(&mesh, &folder, node.url.as_str());
    let revisions = ["a", "b", "c", "d"].map(|name| revision(name, b"x"));
    let ids = revisions.each_ref().map(|one| one.id.to_string());
    let [mut a, b, c, d] = revisions.each_ref().map(needed);
    a.verdict = Verdict::Installed;
    let items = [a, b, c];
    assert_eq!(tell(&mut before, &items).await.expect("told"), 3);
    before.attempted(Action::Install, &ids[1], |tried| tried.failed(Timestamp::now()));
    before.state.save_memory(&before.memory).expect("saved");
    let (epoch, kept) = (before.queue.epoch(), snapshot(&folder));
    let id = &ids[2];
    for _ in 0..2 {
        before.happened(id, Phase::Installation, Outcome::Success, 0, "").expect("taken");
    }
    assert_eq!(tell(&mut before, &[]).await.expect("told"), 2);
    drop(before);

    // It forgot these two, and gives their numbers to three others.
    for (path, bytes) in kept {
        std::fs::write(path, bytes).expect("put back");
    }
    let mut after = agent(&mesh, &folder, node.url.as_str());
    assert_eq!(after.queue.epoch(), epoch);
    let [a, b, c] = items;
    let items = [a, b, c, d];
    for _ in 0..2 {
        after.happened(id, Phase::Installation, Outcome::Failure, 1, "").expect("taken");
    }
    assert_eq!(tell(&mut after, &items).await.expect("told"), 5);
    assert!(after.queue.is_empty() && after.queue.epoch() != epoch);
    node.stop().await;
    let books = books.lock().expect("books");
    assert_eq!((books.end(epoch), books.epochs().len()), (5, 2));
    let told = books.told(after.queue.epoch());
    let outcomes: Vec<_> = told.iter().map(|(id, outcome, _)| (*id, *outcome)).collect();
    let [a, b, c, d] = ids.each_ref().map(String::as_str);
    assert_eq!(outcomes, [(c, Failure), (c, Failure), (d, Pending), (a, Success), (b, Failure)]);
    assert!(told[4].2.starts_with("it failed; it is tried again after"), "{told:?}");
}

#[tokio::test]
async fn a_machine_that_cannot_be_looked_at_tells_why_and_no_removal() {
    let (mesh, folder) = (TestMesh::new(), tempfile::tempdir().expect("a folder"));
    let (node, books) = node(&mesh).await;
    let mut agent = agent(&mesh, &folder, node.url.as_str());
    let one = revision("a", b"a");
    let id = one.id.to_string();
    let mut items = [needed(&one)];
    items[0].verdict = Verdict::Installed;
    assert_eq!(tell(&mut agent, &items).await.expect("told"), 1);
    let (known, is_there) = (agent.memory.told.clone(), items[0].standing());
    agent.memory.site = "emea".to_owned();
    agent.memory.standings = vec![is_there];
    agent.is_unreadable("its list is lost").await.expect("noted");
    let kept = State::new(folder.path().to_owned()).memory().expect("a memory");
    assert_eq!(kept.unreadable.as_deref(), Some("its list is lost"));
    assert_eq!((&kept.told, kept.attempts.len()), (&known, 0), "what was told stays told");
    let standing = &kept.standings[0];
    let shown = (standing.revision.as_str(), standing.verdict.as_str(), standing.reason.as_str());
    assert_eq!(shown, (id.as_str(), "unknown", "its list is lost"));
    // It is found again: no news, and the fact is gone.
    assert_eq!(tell(&mut agent, &items).await.expect("told"), 0);
    // Cut off, nobody can be told.
    let (since, why, good_until) = (Timestamp::now(), String::new(), None);
    agent.memory.cut_off = Some(CutOff { since, why, good_until });
    agent.is_unreadable("its list is lost").await.expect("noted");
    node.stop().await;
    let books = books.lock().expect("books");
    let why = |batch: &wire::Batch| {
        let fact = batch.facts.iter().find(|fact| fact.name == "unreadable");
        fact.map(|fact| fact.value.clone())
    };
    let said: Vec<Option<String>> = books.taken.iter().map(why).collect();
    // The first two are a sign of life and the event.
    assert_eq!(said, [None, None, Some("its list is lost".to_owned()), None]);
    assert_eq!(books.told(agent.queue.epoch()), [(id.as_str(), Success, "it is older")]);
}

// A connection is prepared in a runtime.
#[tokio::test]
async fn how_it_failed_is_told_again_with_its_code_and_words() {
    let (mesh, folder) = (TestMesh::new(), tempfile::tempdir().expect("a folder"));
    let mut agent = agent(&mesh, &folder, "https://127.0.0.1:1");
    let revisions = ["a", "b", "c"].map(|name| revision(name, b"x"));
    let [a, b, c] = revisions.each_ref().map(|one| one.id.to_string());
    let (now, loops) = (Timestamp::now(), Rest::Looping.to_string());
    agent.attempted(Action::Install, &a, |tried| tried.failed(now));
    for _ in 0..2 {
        agent.attempted(Action::Install, &b, |tried| tried.had_no_effect());
    }
    agent.attempted(Action::Remove, &c, |tried| tried.failed(now));
    for (id, phase, code, said) in [
        (&a, Phase::Installation, 1603, "the installer ended with 1603"),
        (&b, Phase::Installation, 0, loops.as_str()),
        (&c, Phase::Removal, 2, "removing it ended with 2"),
    ] {
        agent.happened(id, phase, Outcome::Failure, code, said).expect("taken");
        agent.memory.told.insert(id.clone(), "applicable".to_owned());
    }
    let mut items = revisions.each_ref().map(needed);
    items[2].verdict = Verdict::Installed;
    items[2].removal = Some(Removal::Packages(vec!["c".to_owned()]));
    agent.state.save_memory(&agent.memory).expect("saved");
    let kept = agent.state.memory().expect("read");
    // What an earlier agent kept of it.
    let mut earlier = serde_json::to_value(&kept).expect("JSON");
    for tried in ["attempts", "removals"] {
        for (_, one) in earlier[tried].as_object_mut().expect("an object") {
            let one = one.as_object_mut().expect("an object");
            assert!(one.remove("code").is_some() && one.remove("said").is_some());
        }
    }
    let earlier: Memory = serde_json::from_value(earlier).expect("it is read");
    let mut again = |memory: Memory| {
        agent.memory = memory;
        let end = agent.queue.first() + agent.queue.events().len() as u64;
        agent.queue.forget(end).expect("forgotten");
        agent.memory.forget_what_was_told(&agent.queue);
        agent.tell_found(&items, Timestamp::now()).expect("told");
        let events = agent.queue.events().iter().map(|(_, event)| {
            let outcome = wire::Outcome::try_from(event.outcome).expect("an outcome");
            assert_eq!(outcome, Failure, "{event:?}");
            (event.phase, event.code, event.message.clone())
        });
        events.collect::<Vec<_>>()
    };
    let [install, remove] = [wire::Phase::Installation, wire::Phase::Removal].map(i32::from);
    let expected = [
        (install, 1603, "the installer ended with 1603".to_owned()),
        (install, 0, loops.clone()),
        (remove, 2, "removing it ended with 2".to_owned()),
    ];
    assert_eq!(again(kept), expected);
    let told = again(earlier);
    assert!(told.iter().all(|(_, code, _)| *code == 0), "{told:?}");
    assert!(told[0].2.starts_with("it failed; it is tried again after"), "{told:?}");
    assert_eq!(told[1].2, loops);
}

#[tokio::test]
async fn a_node_that_lies_about_what_it_holds_has_it_begin_again_once() {
    let (mesh, folder) = (TestMesh::new(), tempfile::tempdir().expect("a folder"));
    let (node, books) = node(&mesh).await;
    let mut agent = agent(&mesh, &folder, node.url.as_str());
    let one = revision("a", b"a");
    let items = [needed(&one)];
    books.lock().expect("books").lies = true;
    for _ in 0..3 {
        let error = tell(&mut agent, &items).await.expect_err("it cannot be true");
        let why = in_one_line(&error);
        assert!(why.contains("lyon holds events of this machine"), "{why}");
    }
    {
        let mut books = books.lock().expect("books");
        assert_eq!(books.epochs().len(), 2, "another queue began, and no third");
        assert!(books.taken.iter().all(|batch| batch.events.is_empty()), "nothing is told");
        books.lies = false;
    }
    assert_eq!(tell(&mut agent, &items).await.expect("told"), 1);
    assert!(agent.queue.is_empty());
    assert_eq!(books.lock().expect("books").told(agent.queue.epoch()).len(), 1);
    node.stop().await;
}
