//! What is wrong is refused, and the error says where.

use patchmesh_proto::convert::Error;
use patchmesh_proto::document::encode;
use patchmesh_proto::references::{self, references};
use patchmesh_proto::wire;
use patchmesh_topology::node::Mesh;
use patchmesh_topology::revision::{Revision, RevisionId};
use patchmesh_topology::rollout::{Rollout, WaveState};
use patchmesh_topology::view::View;
use prost::Message;

/// A primary and two branches, one below the other, as the wire has them.
fn topology() -> wire::Topology {
    let node = |name: &str, role: wire::Role, parent: &str, number: u8| wire::Node {
        name: name.to_owned(),
        role: role.into(),
        parent: parent.to_owned(),
        fallback_parents: Vec::new(),
        site: "emea/fr".to_owned(),
        url: format!("https://{name}.example"),
        stages: Vec::new(),
        membership: wire::Membership::Joined.into(),
        key_sha256: vec![number; 32].into(),
        subscription: None,
    };
    wire::Topology {
        mesh_id: "5f1c".to_owned(),
        mesh_name: "Example".to_owned(),
        nodes: vec![
            node("hq", wire::Role::Primary, "", 1),
            node("hub", wire::Role::Branch, "hq", 2),
            node("lyon", wire::Role::Branch, "hub", 3),
        ],
        groups: Vec::new(),
        users: Vec::new(),
        repository_keys: Vec::new(),
        source_subscriptions: Vec::new(),
        epoch: 0,
        standbys: Vec::new(),
        links: Vec::new(),
        networks: Vec::new(),
    }
}

fn refused(change: impl FnOnce(&mut wire::Topology)) -> Error {
    let mut topology = topology();
    change(&mut topology);
    Mesh::try_from(topology).expect_err("refused")
}

#[test]
fn faults_of_a_mesh_name_their_field() {
    assert!(Mesh::try_from(topology()).is_ok());
    let path = |change: fn(&mut wire::Topology)| refused(change).path().to_owned();
    assert_eq!(path(|mesh| mesh.mesh_id.clear()), "mesh_id");
    assert_eq!(path(|mesh| mesh.nodes[2].site = "emea//fr".to_owned()), "nodes[2].site");
    assert_eq!(path(|mesh| mesh.nodes[1].role = 77), "nodes[1].role");
    assert_eq!(path(|mesh| mesh.nodes[1].role = 0), "nodes[1].role");
    assert_eq!(path(|mesh| mesh.nodes[1].stages = vec![1, 9]), "nodes[1].stages[1]");
    assert_eq!(path(|mesh| mesh.nodes[1].key_sha256.clear()), "nodes[1].key_sha256");
    assert_eq!(path(|mesh| mesh.nodes[1].membership = 3), "nodes[1].key_sha256");
    let link = |mesh: &mut wire::Topology, change: fn(&mut wire::Link)| {
        let hours = wire::LinkHours { days: 1, from: 0, to: 60 };
        let mut link =
            wire::Link { node: "hub".to_owned(), bulk: vec![hours], ..wire::Link::default() };
        change(&mut link);
        mesh.links = vec![link];
    };
    assert_eq!(path(|mesh| mesh.links = vec![wire::Link::default()]), "links[0].node");
    let path = |change| refused(|mesh| link(mesh, change)).path().to_owned();
    assert_eq!(path(|link| link.zone = "Mars/Olympus".to_owned()), "links[0].zone");
    assert_eq!(path(|link| link.bulk[0].days = 300), "links[0].bulk[0].days");
    assert_eq!(path(|link| link.bulk[0].to = 0), "links[0].bulk[0]");
    assert_eq!(path(|link| link.ahead = "later".to_owned()), "links[0].ahead");
    let slow = |link: &mut wire::Link| {
        link.up = Some(wire::LinkLimits { bits_per_second: 1, rules: Vec::new() });
    };
    assert_eq!(path(slow), "links[0].up.bits_per_second");
    // What is well formed but cannot be used is the mesh's fault.
    assert_eq!(path(|link| link.node = "nobody".to_owned()), "");
    assert_eq!(path(|link| link.ahead = "critical".to_owned()), "");
    let error = refused(|mesh| mesh.nodes[1].role = 77);
    assert_eq!(
        error.to_string(),
        "nodes[1].role has 77, which is no role that this software knows"
    );
}

#[test]
fn faults_of_a_network_name_their_field_and_what_is_right() {
    let network = |prefix: &str, site: &str| wire::Network {
        prefix: prefix.to_owned(),
        site: site.to_owned(),
    };
    let mut mesh = topology();
    mesh.networks = vec![network("10.3.0.0/16", "emea"), network("::/0", "emea/fr/paris")];
    assert!(Mesh::try_from(mesh).is_ok());
    let told = |networks: Vec<wire::Network>| {
        let error = refused(|mesh| mesh.networks = networks);
        let source = std::error::Error::source(&error).map(ToString::to_string);
        (error.to_string(), source.unwrap_or_default())
    };
    let (error, source) = told(vec![network("10.3.4.0/16", "emea")]);
    assert_eq!(error, "networks[0].prefix is no network");
    assert_eq!(source, "10.3.4.0/16 has bits set after its prefix; write 10.3.0.0/16");
    let (error, source) = told(vec![network("10.3.0.0/16", "Paris")]);
    assert_eq!(error, "networks[0].site is not a name");
    assert!(source.starts_with("site name \"Paris\" has 'P'"), "{source}");
    let twice = vec![network("10.3.0.0/16", "emea"), network("10.3.0.0/16", "apac")];
    assert_eq!(told(twice).0, "networks[1] is out of order or comes twice");
    let by_text = vec![network("10.0.0.0/8", "emea"), network("9.0.0.0/8", "emea")];
    assert_eq!(told(by_text).0, "networks[1] is out of order or comes twice");
}

#[test]
fn meshes_without_networks_are_as_they_were() {
    let mesh = Mesh::try_from(topology()).expect("a mesh");
    let set =
        mesh.set_network("10.3.0.0/16".parse().expect("one"), "emea".parse().expect("a site"));
    let set = set.expect("set");
    assert_ne!(encode(&wire::Topology::from(&set)), encode(&wire::Topology::from(&mesh)));
    let removed = set.remove_network("10.3.0.0/16".parse().expect("one")).expect("removed");
    assert_eq!(encode(&wire::Topology::from(&removed)), encode(&wire::Topology::from(&mesh)));
    // 31 bytes, as docs/sites.md says.
    let paris = mesh
        .set_network("10.3.0.0/16".parse().expect("one"), "emea/fr/paris".parse().expect("a site"));
    let bytes = |mesh: &Mesh| encode(&wire::Topology::from(mesh)).len();
    assert_eq!(bytes(&paris.expect("set")) - bytes(&mesh), 31);
}

#[test]
fn two_nodes_of_one_name_are_refused() {
    let error = refused(|mesh| mesh.nodes[2].name = "hub".to_owned());
    assert_eq!(error.to_string(), "nodes[2] is out of order or comes twice");
}

#[test]
fn a_parent_loop_is_refused() {
    let error = refused(|mesh| mesh.nodes[1].parent = "lyon".to_owned());
    assert_eq!(error.to_string(), "the message does not hold together");
    let source = std::error::Error::source(&error).expect("a source");
    assert_eq!(source.to_string(), "nodes are their own ancestors: hub → lyon → hub");
}

#[test]
fn a_payload_cannot_escape_its_folder() {
    let payload = |filename: &str| wire::Payload {
        filename: filename.to_owned(),
        sha256: vec![1; 32].into(),
        ..Default::default()
    };
    let revision = wire::Revision {
        id: "deb:stable/a@1".to_owned(),
        payloads: vec![payload("pool/a.deb"), payload("../a.deb")],
        ..Default::default()
    };
    let error = Revision::try_from(revision).expect_err("refused");
    assert_eq!(error.path(), "payloads[1].filename");
}

#[test]
fn places_of_files_go_with_their_kind_of_installer_and_lead_somewhere() {
    let refused = |kind: wire::InstallerKind, path: Option<&str>| {
        let place = path.map(|path| wire::Place { path: path.to_owned(), ..Default::default() });
        let payload = wire::Payload {
            filename: "a".to_owned(),
            sha256: vec![1; 32].into(),
            place,
            ..Default::default()
        };
        let installer = wire::Installer { kind: kind.into(), ..Default::default() };
        let facts = wire::Facts {
            installer: Some(installer),
            detection: Some(wire::Detection::default()),
            ..Default::default()
        };
        let revision = wire::Revision {
            id: "v:s/a@1".to_owned(),
            payloads: vec![payload],
            facts: Some(facts),
            ..Default::default()
        };
        Revision::try_from(revision).err().map(|error| error.path().to_owned())
    };
    use wire::InstallerKind::{Files, Unspecified};
    assert_eq!(refused(Files, Some("/etc/a")), None);
    assert_eq!(refused(Files, None).as_deref(), Some("payloads[0].place"));
    assert_eq!(refused(Files, Some("/etc/../a")).as_deref(), Some("payloads[0].place"));
    // Others need a rule.
    assert_eq!(refused(Unspecified, None).as_deref(), Some("facts.detection.installed"));
}

#[test]
fn times_and_states_are_checked() {
    let nonsense = prost_types::Timestamp { seconds: 0, nanos: -1 };
    let open = wire::WaveState { status: wire::WaveStatus::Open.into(), ..Default::default() };
    let epoch = prost_types::Timestamp { seconds: 0, nanos: 0 };
    let fault = |state: &wire::WaveState| {
        WaveState::try_from(state.clone()).expect_err("refused").path().to_owned()
    };
    assert_eq!(fault(&open), "since");
    assert_eq!(fault(&wire::WaveState { since: Some(nonsense), ..open.clone() }), "since");
    let pending = wire::WaveStatus::Pending.into();
    assert_eq!(fault(&wire::WaveState { status: pending, since: Some(epoch), ..open }), "since");
    let far = prost_types::Timestamp { seconds: i64::MAX, nanos: 0 };
    let view = wire::View { signed_at: Some(far), ..Default::default() };
    assert_eq!(View::try_from(view).expect_err("refused").to_string(), "signed_at is not a time");
    let rollout = wire::Rollout { name: "r".to_owned(), stage: 1, ..Default::default() };
    assert_eq!(Rollout::try_from(rollout).expect_err("refused").path(), "waves");
}

#[test]
fn a_decline_names_no_rollout() {
    let approval = wire::Approval {
        revision: "deb:stable/a@1".to_owned(),
        group: "lab".to_owned(),
        decision: wire::Decision::Declined.into(),
        rollout: "default-validation".to_owned(),
        by: "ada".to_owned(),
        at: Some(prost_types::Timestamp::default()),
        comment: "no".to_owned(),
        rule: String::new(),
    };
    let error = <((RevisionId, _), _)>::try_from(approval).expect_err("refused");
    assert_eq!(error.path(), "rollout");
}

#[test]
fn an_unknown_kind_names_nothing() {
    let envelope = wire::Envelope {
        kind: "hologram".to_owned(),
        version: 1,
        required_features: Vec::new(),
        body: Default::default(),
    };
    let error = references(&envelope.encode_to_vec().into()).expect_err("refused");
    assert!(matches!(error, references::Error::UnknownKind(kind) if kind == "hologram"));
    assert_eq!(references(&encode(&topology())).expect("known"), Default::default());
}
