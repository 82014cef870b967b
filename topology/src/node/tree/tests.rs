//! The tree, by example and by property.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;

use super::*;
use crate::digest::Sha256;
use crate::node::membership::default_groups;

pub(crate) fn name(number: usize) -> NodeName {
    format!("n{number:02}").parse().expect("a name")
}

fn key(number: usize) -> Sha256 {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
    Sha256::from_bytes(bytes)
}

/// Node `number` below node `parent`; without a parent it is the primary.
fn node(number: usize, parent: Option<usize>) -> Node {
    let role = if parent.is_some() { Role::Branch } else { Role::Primary };
    Node {
        name: name(number),
        role,
        parent: parent.map(name),
        fallback_parents: Vec::new(),
        site: "emea/fr".parse().expect("a site"),
        url: format!("https://n{number}.example"),
        stages: role.default_stages(),
        membership: Membership::Joined(key(number)),
        subscription: crate::subscription::Subscription::default(),
    }
}

fn mesh(nodes: impl IntoIterator<Item = Node>) -> Mesh {
    Mesh {
        id: "m".to_owned(),
        name: "Example".to_owned(),
        nodes: nodes.into_iter().map(|node| (node.name.clone(), node)).collect(),
        groups: default_groups(),
        users: BTreeMap::new(),
        repository_keys: BTreeMap::new(),
        source_subscriptions: BTreeMap::new(),
        epoch: 0,
        standbys: BTreeSet::new(),
        links: BTreeMap::new(),
        networks: BTreeMap::new(),
    }
}

/// 0 ◄ 1 ◄ 2 ◄ 3, and 4 below 1.
pub(crate) fn chain() -> Mesh {
    mesh([node(0, None), node(1, Some(0)), node(2, Some(1)), node(3, Some(2)), node(4, Some(1))])
}

fn change(mesh: &mut Mesh, number: usize, change: impl FnOnce(&mut Node)) {
    change(mesh.nodes.get_mut(&name(number)).expect("a node"));
}

fn names<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Vec<&'a str> {
    nodes.into_iter().map(|node| node.name.as_str()).collect()
}

#[test]
fn answers_questions_about_the_tree() {
    let mesh = chain();
    assert_eq!(mesh.validate(), Ok(()));
    assert_eq!(names(mesh.children(&name(1))), ["n02", "n04"]);
    assert_eq!(names(mesh.ancestors(&name(3))), ["n02", "n01", "n00"]);
    assert_eq!(mesh.depth(&name(3)), 3);
    assert_eq!(names(mesh.subtree(&name(1))), ["n01", "n02", "n04", "n03"]);
    assert!(mesh.is_within(&name(3), &name(1)) && !mesh.is_within(&name(4), &name(2)));
    assert!(mesh.subtree(&name(9)).is_empty());
}

#[test]
fn names_the_loop() {
    let mut mesh = chain();
    change(&mut mesh, 1, |node| node.parent = Some(name(3)));
    let error = mesh.validate().expect_err("a loop");
    assert_eq!(error, Error::Loop(vec![name(1), name(3), name(2)]));
    assert_eq!(error.to_string(), "nodes are their own ancestors: n01 → n03 → n02 → n01");
    change(&mut mesh, 1, |node| node.parent = Some(name(1)));
    assert_eq!(mesh.validate(), Err(Error::Loop(vec![name(1)])));
}

#[test]
fn refuses_a_faulty_top() {
    let mut none = chain();
    change(&mut none, 0, |node| node.role = Role::Branch);
    assert_eq!(none.validate(), Err(Error::NoPrimary));
    let mut two = chain();
    change(&mut two, 4, |node| node.role = Role::Primary);
    assert_eq!(two.validate(), Err(Error::SeveralPrimaries(vec![name(0), name(4)])));
    let mut below = chain();
    change(&mut below, 0, |node| node.parent = Some(name(4)));
    assert!(matches!(below.validate(), Err(Error::PrimaryWithParent { .. })));
}

#[test]
fn refuses_a_missing_parent() {
    let mut mesh = chain();
    change(&mut mesh, 4, |node| node.parent = None);
    assert_eq!(mesh.validate(), Err(Error::NoParent(name(4))));
    change(&mut mesh, 4, |node| node.parent = Some(name(7)));
    assert_eq!(mesh.validate(), Err(Error::UnknownParent { node: name(4), parent: name(7) }));
}

#[test]
fn refuses_production_below_a_lab() {
    let mut mesh = chain();
    change(&mut mesh, 1, |node| {
        node.role = Role::Validation;
        node.stages = Role::Validation.default_stages();
    });
    let fault = |node| Error::ProductionBelowValidation { node, validation: name(1) };
    assert_eq!(mesh.validate(), Err(fault(name(2))));
    for number in 2..=4 {
        change(&mut mesh, number, |node| node.stages = BTreeSet::from([Stage::Validation]));
    }
    assert_eq!(mesh.validate(), Ok(()));
    change(&mut mesh, 1, |node| node.stages = Stage::ALL.into());
    assert_eq!(mesh.validate(), Err(fault(name(1))));
}

#[test]
fn refuses_shared_addresses_and_keys_and_false_names() {
    let mut mesh = chain();
    change(&mut mesh, 4, |node| node.url = "https://n2.example".to_owned());
    assert!(matches!(mesh.validate(), Err(Error::SameUrl { .. })));
    change(&mut mesh, 4, |node| node.membership = Membership::Revoked);
    assert_eq!(mesh.validate(), Ok(()));
    change(&mut mesh, 3, |node| node.membership = Membership::Joined(key(2)));
    assert!(matches!(mesh.validate(), Err(Error::SameKey { .. })));
    let mut mesh = chain();
    change(&mut mesh, 3, |node| node.name = name(8));
    assert!(matches!(mesh.validate(), Err(Error::Misfiled { kind: "node", .. })));
}

#[test]
fn carries_what_is_served_below_and_not_shut_out() {
    let mut mesh = chain();
    assert_eq!(mesh.carries(&name(0)), BTreeSet::from([Stage::Production]));
    change(&mut mesh, 3, |node| node.stages = BTreeSet::from([Stage::Validation]));
    assert_eq!(mesh.carries(&name(1)), Stage::ALL.into());
    change(&mut mesh, 2, |node| node.membership = Membership::Revoked);
    assert_eq!(mesh.carries(&name(1)), BTreeSet::from([Stage::Production]));
    assert!(mesh.carries(&name(2)).is_empty());
    assert!(mesh.is_connected(&name(4)) && !mesh.is_connected(&name(3)));
}

/// Trees: each node below one that came before it.
fn trees() -> impl Strategy<Value = Mesh> {
    let stages = || prop_oneof![Just(Stage::ALL.to_vec()), Just(vec![Stage::Production])];
    vec((any::<usize>(), stages(), any::<bool>()), 0..30).prop_map(|places| {
        let below = places.into_iter().enumerate().map(|(index, (parent, stages, is_out))| {
            let mut node = node(index + 1, Some(parent % (index + 1)));
            node.stages = stages.into_iter().collect();
            if is_out {
                node.membership = Membership::Revoked;
            }
            node
        });
        mesh(std::iter::once(node(0, None)).chain(below))
    })
}

/// Anything: parents at will, roles at will.
fn tangles() -> impl Strategy<Value = Mesh> {
    let roles = select(vec![Role::Primary, Role::Validation, Role::Branch, Role::Branch]);
    vec((option::of(0..12usize), roles), 0..10).prop_map(|places| {
        mesh(places.into_iter().enumerate().map(|(index, (parent, role))| {
            let stages = role.default_stages();
            Node { role, stages, ..node(index, parent) }
        }))
    })
}

proptest! {
    #[test]
    fn a_tree_is_valid_and_its_answers_agree(mesh in trees()) {
        prop_assert_eq!(mesh.validate(), Ok(()));
        for node in mesh.nodes.values() {
            let subtree = mesh.subtree(&node.name);
            let within = mesh.nodes.keys().filter(|other| mesh.is_within(other, &node.name));
            let found: BTreeSet<_> = subtree.iter().map(|below| &below.name).collect();
            prop_assert_eq!(found.len(), subtree.len());
            prop_assert_eq!(found, within.collect::<BTreeSet<_>>());
            let parent_depth = node.parent.as_ref().map(|parent| mesh.depth(parent) + 1);
            prop_assert_eq!(mesh.depth(&node.name), parent_depth.unwrap_or(0));
        }
    }

    #[test]
    fn a_node_carries_its_own_and_what_its_children_carry(mesh in trees()) {
        for node in mesh.nodes.values() {
            let mut expected = BTreeSet::new();
            if node.membership != Membership::Revoked {
                expected.extend(&node.stages);
                expected.extend(mesh.children(&node.name).flat_map(|child| mesh.carries(&child.name)));
            }
            prop_assert_eq!(mesh.carries(&node.name), expected);
        }
    }

    #[test]
    fn what_is_valid_leads_to_the_primary(mesh in tangles()) {
        // Every walk ends, whatever the input.
        for name in mesh.nodes.keys() {
            prop_assert!(mesh.subtree(name).len() <= mesh.nodes.len());
            prop_assert!(mesh.depth(name) <= mesh.nodes.len());
        }
        match mesh.validate() {
            Ok(()) => for node in mesh.nodes.values() {
                let top = mesh.ancestors(&node.name).last().unwrap_or(node);
                prop_assert_eq!(top.role, Role::Primary);
            },
            Err(Error::Loop(path)) => for (index, node) in path.iter().enumerate() {
                let next = &path[(index + 1) % path.len()];
                prop_assert_eq!(mesh.nodes[node].parent.as_ref(), Some(next));
            },
            Err(_) => {}
        }
    }
}

#[test]
fn a_site_is_there_where_a_node_or_a_network_is_at_it_or_below() {
    let site = |text: &str| text.parse::<Site>().expect("a site");
    let mut mesh = chain();
    mesh.networks.insert("10.3.0.0/16".parse().expect("a network"), site("apac/jp/tokyo"));
    for there in ["emea", "emea/fr", "apac", "apac/jp", "apac/jp/tokyo"] {
        assert!(mesh.has_site(&site(there)), "{there}");
    }
    for mistyped in ["emea/f", "emea/fr/paris", "apac/jp/tokyo/ginza", "amer"] {
        assert!(!mesh.has_site(&site(mistyped)), "{mistyped}");
    }
}
