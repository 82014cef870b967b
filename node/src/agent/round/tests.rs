use axum::Router;
use axum::routing::get;
use patchmesh_proto::report as wire;
use patchmesh_topology::applicability::attempts::Rest;
use patchmesh_topology::applicability::{Part, State as Verdict};
use patchmesh_topology::reboot::Policy;
use patchmesh_topology::revision::{Facts, Installer, Payload, Revision, UpdateId};
use tempfile::TempDir;

use super::fetch::Fetched;
use super::policy::Own;
use super::*;
use crate::agent::install::{self, Ended};
use crate::identity::testing::{Running, TestMesh};

mod tell;

/// The agent of a machine that joined at `url`, with nothing done yet.
fn agent(mesh: &TestMesh, folder: &TempDir, url: &str) -> Agent {
    let state = State::new(folder.path().to_owned());
    mesh.machine("pc-1", "g").save(&state.identity_folder()).expect("saved");
    let joined = Joined {
        mesh_id: mesh.ca.mesh_id().to_owned(),
        machine: "pc-1".to_owned(),
        group: "g".to_owned(),
        node: "lyon".to_owned(),
        node_url: url.to_owned(),
    };
    state.save_joined(&joined).expect("saved");
    Agent::open(state, "/".into()).expect("an agent")
}

/// A revision with one file, of this content, and an installer that does nothing.
fn revision(name: &str, content: &[u8]) -> Revision {
    let update = UpdateId::new("vendor".parse().expect("a name"), "stable", name);
    let payload = Payload {
        package: name.to_owned(),
        version: "1".to_owned(),
        architecture: "all".to_owned(),
        component: String::new(),
        filename: format!("{name}.bin"),
        length: content.len() as u64,
        sha256: crate::identity::sha256(content),
        control: String::new(),
        language: String::new(),
        place: None,
    };
    let installer = Installer { install: vec!["true".to_owned()], ..Installer::default() };
    Revision {
        id: RevisionId::new(update.expect("an update"), "1").expect("an id"),
        title: name.to_owned(),
        description: String::new(),
        architectures: vec!["all".to_owned()],
        payloads: vec![payload],
        facts: Facts { installer: Some(installer), ..Facts::default() },
    }
}

fn nothing_done() -> Done {
    Done {
        generation: 1,
        installed: Vec::new(),
        removed: Vec::new(),
        failed: Vec::new(),
        withheld: BTreeMap::new(),
        reported: 0,
        cut_off: None,
        standings: Vec::new(),
    }
}

fn parts(revision: &Revision) -> Vec<Part<'_>> {
    revision.payloads.iter().map(|payload| Part { payload, call: 0 }).collect()
}

/// As fetched, and what goes with it.
fn here<'a>(revision: &'a Revision, needs: &[&'a RevisionId]) -> Fetched<'a> {
    Fetched {
        revision,
        parts: parts(revision),
        files: Vec::new(),
        needs: needs.to_vec(),
        due: None,
    }
}

fn needed(revision: &Revision) -> Item<'_> {
    Item {
        revision,
        verdict: Verdict::Applicable,
        reason: "it is older".to_owned(),
        install: Some(parts(revision)),
        needs: Vec::new(),
        ahead: Vec::new(),
        removal: None,
        waits_for: String::new(),
        is_for_person: false,
        due: None,
        goes_at: None,
        is_by_deadline: false,
    }
}

// A connection is prepared in a runtime.
#[tokio::test]
async fn what_could_not_be_told_is_told_later() {
    let (mesh, folder) = (TestMesh::new(), tempfile::tempdir().expect("a folder"));
    let mut agent = agent(&mesh, &folder, "https://127.0.0.1:1");
    let revisions = [revision("a", b"a"), revision("b", b"b")];
    let items = revisions.each_ref().map(needed);
    let now = Timestamp::now();
    let told = |agent: &Agent| agent.memory.told.keys().cloned().collect::<Vec<_>>();
    // With room for one, one is told: last words are not rolled up.
    let word = |number| {
        let id = format!("vendor:stable/x@{number}");
        Event::new(&id, Phase::Download, Outcome::Success, 0, "", now)
    };
    agent.queue.push((1..queue::MAX_EVENTS).map(word).collect()).expect("taken");
    agent.tell_found(&items, now).expect("told");
    assert_eq!(told(&agent), [revisions[0].id.to_string()]);
    agent.queue.forget(queue::MAX_EVENTS as u64).expect("forgotten");
    // What the disk did not take was not told.
    agent.queue.break_off();
    agent.tell_found(&items, now).expect_err("the disk failed");
    assert_eq!(told(&agent), [revisions[0].id.to_string()]);
    agent.queue = Queue::open(agent.state.part("queue").expect("a folder")).expect("a queue");
    agent.tell_found(&items, now).expect("told");
    assert_eq!(agent.queue.events()[0].1.revision, revisions[1].id.to_string());
}

// A connection is prepared in a runtime.
#[tokio::test]
async fn what_was_tried_counts_though_the_round_does_not_end() {
    let (mesh, folder) = (TestMesh::new(), tempfile::tempdir().expect("a folder"));
    let mut agent = agent(&mesh, &folder, "https://127.0.0.1:1");
    let one = revision("a", b"a");
    let fetched = [here(&one, &[])];
    let ended = [install::Outcome { ended: Ended::Code(0), output: String::new() }];
    let mut done = nothing_done();
    agent.judge(&fetched, &ended, &Inventory::default(), &mut done).expect("judged");
    assert_eq!(done.failed.len(), 1, "nothing says that it is there");
    let kept = State::new(folder.path().to_owned()).memory().expect("a memory");
    assert_eq!(kept.attempts[&one.id.to_string()].without_effect, 1);
}

#[tokio::test]
async fn a_file_that_is_not_the_vendors_is_a_failure_and_rests() {
    let (mesh, folder) = (TestMesh::new(), tempfile::tempdir().expect("a folder"));
    let app = Router::new().route("/content/sha256/{digest}", get(async || "bad"));
    let node = Running::serving(&mesh, mesh.node("lyon"), app).await;
    let mut agent = agent(&mesh, &folder, node.url.as_str());
    let one = revision("a", b"abc");
    let wanted = |action| {
        vec![Wanted { revision: &one, action, parts: parts(&one), needs: Vec::new(), due: None }]
    };
    let mut done = nothing_done();
    let fetched = agent.fetch(wanted(Action::Install), &mut done).await.expect("asked");
    assert!(fetched.is_empty() && done.withheld.is_empty() && done.failed.len() == 1);
    assert!(agent.attempts()[&one.id].rest(Timestamp::now()).is_some());
    let told = |agent: &Agent| agent.queue.events().last().map(|(_, event)| event.phase);
    assert_eq!(told(&agent), Some(wire::Phase::Download.into()));
    assert!(agent.memory.removals.is_empty());
    // What is to be removed with it is there still, and rests likewise.
    let fetched = agent.fetch(wanted(Action::Remove), &mut done).await.expect("asked");
    assert!(fetched.is_empty() && done.failed.len() == 2);
    assert_eq!(told(&agent), Some(wire::Phase::Removal.into()));
    assert!(tried(&agent.memory.removals)[&one.id].rest(Timestamp::now()).is_some());
    node.stop().await;
}

#[tokio::test]
async fn what_a_restart_completes_is_no_failure() {
    let (mesh, folder) = (TestMesh::new(), tempfile::tempdir().expect("a folder"));
    let mut agent = agent(&mesh, &folder, "https://127.0.0.1:1");
    let mut one = revision("a", b"a");
    one.facts.installer.as_mut().expect("an installer").reboot = vec![10];
    let fetched = [here(&one, &[])];
    let ended = [install::Outcome { ended: Ended::Code(10), output: String::new() }];
    let mut done = nothing_done();
    agent.judge(&fetched, &ended, &Inventory::default(), &mut done).expect("judged");
    assert!(done.failed.is_empty() && done.installed.is_empty(), "nobody can tell yet");
    let (_, event) = agent.queue.events().last().expect("an event");
    assert_eq!((event.outcome, event.code), (wire::Outcome::Pending.into(), 10));
    let due = agent.reboot_due().expect("a restart is due");
    assert!(due.by_code && due.boot.is_some() && due.revisions.contains(&one.id.to_string()));
    // It is not installed again before, and nobody restarts who is to be left alone.
    assert_eq!(agent.attempts()[&one.id].rest(Timestamp::now()), Some(Rest::Restart));
    assert!(!agent.plan_reboot().expect("planned"));
    assert!(agent.reboot_due().expect("due").waits_for.starts_with("it is left"));
}

#[tokio::test]
async fn a_command_that_does_not_restart_is_not_tried_again_at_once() {
    let (mesh, folder) = (TestMesh::new(), tempfile::tempdir().expect("a folder"));
    let mut agent = agent(&mesh, &folder, "https://127.0.0.1:1");
    agent.root = folder.path().to_owned();
    std::fs::create_dir_all(folder.path().join("run/systemd/sessions")).expect("a folder");
    agent.reboot_is_due(None, false).expect("noted");
    // By the group's policy, where the machine's administrator says nothing.
    agent.memory.group_wants.reboot = Some("unattended".to_owned());
    assert!(!agent.plan_reboot().expect("planned"), "nobody knows what restarts it");
    let own = |reboot| Own { reboot, is_restartable: true, ..Own::default() };
    agent = agent.with_own(own(Some(Policy::Ask)));
    assert!(!agent.plan_reboot().expect("planned"), "the machine's administrator goes first");
    agent = agent.with_own(own(None));
    assert!(agent.plan_reboot().expect("planned"), "nobody is logged on");
    agent.reboot("echo no power; exit 4").await.expect("said");
    let waits = |agent: &Agent| agent.reboot_due().expect("due").waits_for.clone();
    assert!(waits(&agent).contains("ended with 4: no power"), "{}", waits(&agent));
    assert!(!agent.plan_reboot().expect("planned"), "not within the hour");
    assert!(waits(&agent).contains("no power"), "what went wrong stays to be seen");
    // While nobody can tell whether it came, the hour's end brings no other.
    agent.memory.unreadable = Some("its list is lost".to_owned());
    agent.memory.reboot.as_mut().expect("due").tried_at = None;
    assert!(!agent.plan_reboot().expect("planned"));
    assert!(waits(&agent).contains("nobody can tell"), "{}", waits(&agent));
    agent.memory.unreadable = None;
    assert!(agent.plan_reboot().expect("planned"), "it can be looked at again");
}

#[test]
fn what_needs_something_that_is_not_here_is_not_begun() {
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| revision(name, name.as_bytes()));
    let mut done = nothing_done();
    // `b` needs `a`, which is here; `d` needs `c`, which needs what is not.
    let absent = revision("x", b"x");
    let fetched =
        vec![here(&a, &[]), here(&b, &[&a.id]), here(&c, &[&absent.id]), here(&d, &[&c.id])];
    let whole = fetch::together(fetched, &mut done);
    let names: Vec<&str> = whole.iter().map(|one| one.revision.title.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(
        done.withheld.keys().collect::<Vec<_>>(),
        ["vendor:stable/c@1", "vendor:stable/d@1"]
    );
    assert_eq!(done.withheld["vendor:stable/d@1"], "vendor:stable/c@1 has to come with it");
}
