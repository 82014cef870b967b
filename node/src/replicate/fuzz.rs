//! What children say of themselves and of those below them.

use jiff::Timestamp;
use patchmesh_proto::convert;
use patchmesh_proto::replication::{
    Alert, ApprovalSetStatus, Awaited, Brake, NodeStatus, ReportStatusRequest,
};
use patchmesh_topology::alert::{self, MAX_ALERTS};
use patchmesh_topology::digest::{Digest, Sha256};
use patchmesh_topology::node::membership::Invitation;
use patchmesh_topology::node::{Mesh, Role};
use patchmesh_topology::rollout::brake::MAX_BRAKES;
use patchmesh_topology::view::awaited::MAX_AWAITED;
use prost::Message;

use super::serve::MAX_REQUEST;
use super::status::Statuses;
use crate::fuzz::{Form, LISTS, Target, word};

/// The most bytes that are kept of one node, whatever it says: two texts for each
/// alert, six for each brake and some for itself, of characters of four bytes. They fit
/// one request.
const KEPT: usize = (2 * MAX_ALERTS + 6 * MAX_BRAKES + 8) * 4 * 512 + MAX_AWAITED * 128 + 4096;
const _: () = assert!(KEPT < MAX_REQUEST);

/// hq, hub below it, and lyon below that.
fn mesh() -> Mesh {
    let site = || "emea".parse().expect("a site");
    let name = |text: &str| text.parse().expect("a name");
    let url = |number| format!("https://127.0.0.1:{number}");
    let key = |number| Sha256::from_bytes([number; 32]);
    let (id, title) = ("m1".to_owned(), "Test".to_owned());
    let mut mesh = Mesh::found(id, title, name("hq"), site(), url(9), key(0)).expect("a mesh");
    for (number, (child, parent)) in (1..).zip([("hub", "hq"), ("lyon", "hub")]) {
        let invitation = Invitation {
            name: name(child),
            role: Role::Branch,
            parent: name(parent),
            site: site(),
            stages: None,
        };
        mesh = mesh.invite(invitation).expect("invited");
        mesh = mesh.join(&name(child), key(number), url(number)).expect("joined");
    }
    mesh
}

fn status(name: &str) -> NodeStatus {
    let at = convert::timestamp_to_wire(Timestamp::UNIX_EPOCH);
    let set = |stage: &str| ApprovalSetStatus {
        stage: stage.to_owned(),
        version: 7,
        digest: Digest::of(b"set").as_bytes().to_vec().into(),
    };
    let alert = Alert {
        key: "source/debian".to_owned(),
        severity: 1,
        text: "it does not answer".to_owned(),
        since: Some(at),
    };
    let brake = Brake {
        name: "stocktaking".to_owned(),
        rollout: "december".to_owned(),
        reason: "tills must not restart".to_owned(),
        by: "user ada".to_owned(),
        since: Some(at),
        until: Some(at),
        ..Brake::default()
    };
    NodeStatus {
        name: name.to_owned(),
        generation: 41,
        approval_sets: vec![set("validation"), set("production")],
        payloads_wanted: 9,
        payloads_held: 8,
        bytes_wanted: 1 << 30,
        bytes_held: 1 << 29,
        at: Some(at),
        stale_since: Some(at),
        problem: "no answer from above".to_owned(),
        software: "0.1.0".to_owned(),
        certificate_expires_at: Some(at),
        alerts: vec![alert],
        brakes: vec![brake],
        awaited: vec![Awaited { rollout: "december".to_owned(), from: Some(at) }],
    }
}

#[test]
fn reports() {
    let mesh = mesh();
    let caller = "hub".parse().expect("a name");
    let seeds = [
        ReportStatusRequest { nodes: vec![status("hub")] },
        ReportStatusRequest { nodes: vec![status("hub"), status("lyon"), status("hub")] },
        ReportStatusRequest { nodes: vec![status("lyon"), status("hq")] },
    ];
    let read = |input: &[u8]| {
        let request = match ReportStatusRequest::decode(input) {
            Ok(request) => request,
            Err(error) => return word::<(), _>(&Err(error)),
        };
        let statuses = Statuses::default();
        let outcome = statuses.accept(&mesh, &caller, request.nodes, Timestamp::UNIX_EPOCH);
        let all = statuses.all();
        assert!(outcome.is_ok() || all.is_empty(), "a part of what was refused is kept");
        for (name, heard) in all {
            assert!(mesh.is_within(&name, &caller), "{name} is not below");
            let length = heard.status.encoded_len();
            assert!(length <= KEPT, "{length} bytes are kept of {name}");
            for one in heard.status.alerts {
                let read = <(String, alert::Alert)>::try_from(one);
                let Ok((key, alert)) = read else { continue };
                let again = patchmesh_proto::replication::Alert::from((&key[..], &alert));
                let again = <(String, alert::Alert)>::try_from(again);
                assert_eq!((key, alert), again.expect("what was accepted"));
            }
            let _ = convert::optional_time(heard.status.at);
        }
        word(&outcome)
    };
    Target::new("reports", Form::Fields)
        // An empty statement has two bytes; that is why requests are short.
        .with_factor(LISTS)
        .with_words(&["hq", "hub", "lyon", "validation", "production"])
        .run(seeds.map(|seed| seed.encode_to_vec()), read);
}
