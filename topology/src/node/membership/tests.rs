//! Coming and going, by example and by property.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;

fn name(text: &str) -> NodeName {
    text.parse().expect("a name")
}

fn key(number: u8) -> Sha256 {
    Sha256::from_bytes([number; 32])
}

fn site() -> Site {
    "emea/fr".parse().expect("a site")
}

fn founded() -> Mesh {
    let url = "https://hq.example:8443".to_owned();
    Mesh::found("m".to_owned(), "Example".to_owned(), name("hq"), site(), url, key(0))
        .expect("a mesh")
}

fn invitation(node: &str, parent: &str) -> Invitation {
    Invitation {
        name: name(node),
        role: Role::Branch,
        parent: name(parent),
        site: site(),
        stages: None,
    }
}

fn joined(mesh: &Mesh, node: &str, parent: &str, number: u8) -> Mesh {
    mesh.invite(invitation(node, parent))
        .and_then(|mesh| mesh.join(&name(node), key(number), format!("https://{node}.example")))
        .expect("a node that joins")
}

/// hq ◄ hub ◄ lyon
fn three() -> Mesh {
    joined(&joined(&founded(), "hub", "hq", 1), "lyon", "hub", 2)
}

#[test]
fn a_new_mesh_is_whole() {
    let mesh = founded();
    assert_eq!(mesh.validate(), Ok(()));
    assert_eq!(mesh.groups.len(), 4);
    let lab: Vec<_> = mesh.groups_of(Stage::Validation).map(|group| group.name.as_str()).collect();
    assert_eq!(lab, ["lab"]);
}

#[test]
fn a_node_is_invited_and_joins() {
    let mesh = founded().invite(invitation("lyon", "hq")).expect("an invitation");
    let lyon = mesh.node(&name("lyon")).expect("a node");
    assert_eq!(lyon.membership, Membership::Invited);
    assert_eq!(lyon.stages, BTreeSet::from([Stage::Production]));
    let mesh = mesh.join(&name("lyon"), key(1), "https://lyon.example".to_owned()).expect("joined");
    assert_eq!(mesh.nodes[&name("lyon")].membership, Membership::Joined(key(1)));
    let again = mesh.join(&name("lyon"), key(2), "https://other.example".to_owned());
    assert!(matches!(again, Err(Rejection::NotInvited { state: "has joined already", .. })));
}

#[test]
fn invitations_are_refused_with_the_reason() {
    let mesh = three();
    let refused = |invitation| mesh.invite(invitation).expect_err("a rejection");
    assert_eq!(refused(invitation("lyon", "hq")), Rejection::NameTaken(name("lyon")));
    assert_eq!(refused(invitation("nice", "oslo")), Rejection::UnknownParent(name("oslo")));
    let primary = Invitation { role: Role::Primary, ..invitation("hq2", "hq") };
    assert_eq!(refused(primary), Rejection::Primary);
    let lab = Invitation { role: Role::Validation, ..invitation("lab", "hub") };
    let mesh = mesh.invite(lab).expect("a lab below a hub");
    let below = mesh.invite(invitation("nice", "lab"));
    assert_eq!(below, Err(Rejection::ParentNotJoined(name("lab"))));
    let mesh = mesh.join(&name("lab"), key(9), "https://lab.example".to_owned()).expect("joined");
    let below = mesh.invite(invitation("nice", "lab"));
    assert!(matches!(
        below,
        Err(Rejection::Invalid(tree::Error::ProductionBelowValidation { .. }))
    ));
}

#[test]
fn a_revoked_node_is_out_with_all_below_until_invited_again() {
    let mesh = three();
    assert_eq!(mesh.cut_off_by(&name("hub")), [name("lyon")]);
    let mesh = mesh.revoke(&name("hub")).expect("revoked");
    assert!(!mesh.is_connected(&name("lyon")));
    assert_eq!(mesh.revoke(&name("hub")), Err(Rejection::AlreadyRevoked(name("hub"))));
    assert_eq!(
        mesh.invite(invitation("nice", "lyon")),
        Err(Rejection::ParentRevoked { parent: name("lyon"), revoked: name("hub") })
    );
    let mesh = joined(&mesh, "hub", "hq", 3);
    assert!(mesh.is_connected(&name("lyon")));
    assert_eq!(mesh.revoke(&name("hq")), Err(Rejection::RevokePrimary(name("hq"))));
    assert_eq!(mesh.revoke(&name("oslo")), Err(Rejection::UnknownNode(name("oslo"))));
}

#[test]
fn urls_are_plain_and_unique() {
    let mesh = three().invite(invitation("nice", "hq")).expect("an invitation");
    let join = |url: &str| mesh.join(&name("nice"), key(7), url.to_owned());
    assert!(join("https://[fd00::1]:8443").is_ok());
    for url in ["", "http://nice.example", "https://", "https://a/b", "https://a b", "https://u@h"]
    {
        assert!(matches!(join(url), Err(Rejection::Url { .. })), "{url:?}");
    }
    let taken = join("https://lyon.example").expect_err("taken");
    assert!(matches!(taken, Rejection::Invalid(tree::Error::SameUrl { .. })));
    let same_key = mesh.join(&name("nice"), key(2), "https://nice.example".to_owned());
    assert!(matches!(same_key, Err(Rejection::Invalid(tree::Error::SameKey { .. }))));
}

#[derive(Debug, Clone)]
enum Step {
    Invite(Invitation),
    Join(NodeName, u8),
    Revoke(NodeName),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let node = || (0..6u8).prop_map(|number| name(&format!("n{number}")));
    let parent = prop_oneof![Just(name("hq")), node()];
    let role = prop_oneof![Just(Role::Branch), Just(Role::Branch), Just(Role::Validation)];
    let invite = (node(), parent, role).prop_map(|(name, parent, role)| {
        Step::Invite(Invitation { name, role, parent, site: site(), stages: None })
    });
    let join = (node(), any::<u8>()).prop_map(|(name, key)| Step::Join(name, key));
    vec(prop_oneof![invite, join, node().prop_map(Step::Revoke)], 0..60)
}

proptest! {
    #[test]
    fn no_transition_breaks_the_mesh(steps in steps()) {
        let mut mesh = founded();
        for step in steps {
            let next = match &step {
                Step::Invite(invitation) => mesh.invite(invitation.clone()),
                Step::Join(name, number) => {
                    mesh.join(name, key(*number), format!("https://k{number}.example"))
                }
                Step::Revoke(name) => mesh.revoke(name),
            };
            if let Ok(next) = next {
                prop_assert_eq!(next.validate(), Ok(()));
                prop_assert!(next.nodes.len() >= mesh.nodes.len());
                mesh = next;
            }
        }
    }
}
