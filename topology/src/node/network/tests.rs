//! Networks, sites and the nodes nearest to them.

use std::collections::BTreeSet;

use super::*;
use crate::name::NodeName;
use crate::node::Membership;
use crate::node::tree::tests::{chain, name};

fn network(text: &str) -> Network {
    text.parse().expect("a network")
}

fn site(text: &str) -> Site {
    text.parse().expect("a site")
}

fn with(networks: &[(&str, &str)]) -> Mesh {
    networks.iter().fold(chain(), |mesh, (prefix, at)| {
        mesh.set_network(network(prefix), site(at)).expect("set")
    })
}

fn at<'a>(mesh: &'a Mesh, address: &str) -> Option<&'a str> {
    mesh.site_at(address.parse().expect("an address")).map(Site::as_str)
}

#[test]
fn what_is_written_is_what_is_meant() {
    for text in ["10.3.0.0/16", "10.3.0.1/32", "0.0.0.0/0", "2001:db8:3::/48", "::/0", "::1/128"] {
        assert_eq!(network(text).to_string(), text);
    }
    assert_eq!(network("2001:DB8:0:0::/64").to_string(), "2001:db8::/64");
    let texts = [
        "",
        "paris",
        "10.3.0.0",
        "10.3.0.0/33",
        "10.3/16",
        "10.3.0.0/",
        "10.3.0.0/-1",
        "::/129",
        "10.3.0.0/16 ",
        "10.3.0.0/255.255.0.0",
        "fe80::%eth0/64",
    ];
    for text in texts {
        assert_eq!(text.parse::<Network>(), Err(Error::Form(text.to_owned())));
    }
    let told = |text: &str| text.parse::<Network>().expect_err("refused").to_string();
    assert_eq!(told("10.3.4.0/16"), "10.3.4.0/16 has bits set after its prefix; write 10.3.0.0/16");
    assert_eq!(
        told("2001:db8:3::1/48"),
        "2001:db8:3::1/48 has bits set after its prefix; write 2001:db8:3::/48"
    );
    assert_eq!(
        told("::ffff:10.3.4.0/112"),
        "::ffff:10.3.4.0/112 stands for IPv4 addresses; write 10.3.0.0/16"
    );
    assert!(told("10.3.0.0").ends_with("such as 10.3.0.0/16 or 2001:db8:3::/48"));
}

#[test]
fn the_longest_prefix_says_where_an_address_is() {
    let mesh = with(&[
        ("10.0.0.0/8", "emea"),
        ("10.3.0.0/16", "emea/fr"),
        ("10.3.7.0/24", "emea/fr/paris"),
        ("2001:db8::/32", "apac"),
        ("2001:db8:3::/48", "apac/jp"),
    ]);
    assert_eq!(at(&mesh, "10.3.7.255"), Some("emea/fr/paris"));
    assert_eq!(at(&mesh, "10.3.8.0"), Some("emea/fr"));
    assert_eq!(at(&mesh, "10.255.0.1"), Some("emea"));
    assert_eq!(at(&mesh, "11.0.0.0"), None);
    assert_eq!(at(&mesh, "2001:db8:3:1::9"), Some("apac/jp"));
    assert_eq!(at(&mesh, "2001:db8:4::9"), Some("apac"));
    assert_eq!(at(&mesh, "2001:db9::"), None);
    // An IPv4 address by its other name; whose bits say nothing as IPv6.
    assert_eq!(at(&mesh, "::ffff:10.3.7.1"), Some("emea/fr/paris"));
    assert_eq!(at(&mesh, "::10.3.7.1"), None);
    let all = with(&[("0.0.0.0/0", "emea"), ("::/0", "apac")]);
    assert_eq!(at(&all, "192.0.2.1"), Some("emea"));
    assert_eq!(at(&all, "::ffff:192.0.2.1"), Some("emea"));
    assert_eq!(at(&all, "2001:db8::1"), Some("apac"));
}

#[test]
fn networks_come_change_and_go() {
    let (paris, other) = (network("10.3.0.0/16"), network("10.3.0.0/24"));
    let mesh = with(&[("10.3.0.0/16", "emea/fr"), ("10.3.0.0/16", "emea/fr/paris")]);
    assert_eq!(mesh.networks.len(), 1);
    assert_eq!(at(&mesh, "10.3.0.1"), Some("emea/fr/paris"));
    assert_eq!(mesh.remove_network(other), Err(Rejection::Unknown(other)));
    assert_eq!(mesh.remove_network(paris), Ok(chain()));
}

#[test]
fn there_are_only_so_many() {
    let mut mesh = chain();
    for number in 0..MAX_NETWORKS {
        let prefix = format!("10.{}.{}.0/24", number >> 8, number & 255);
        mesh.networks.insert(network(&prefix), site("emea"));
    }
    assert_eq!(mesh.validate(), Ok(()));
    let changed = mesh.set_network(network("10.0.7.0/24"), site("emea/fr")).expect("changed");
    assert_eq!(at(&changed, "10.0.7.1"), Some("emea/fr"));
    let more = mesh.set_network(network("10.0.0.0/8"), site("emea"));
    assert_eq!(more, Err(Rejection::Invalid(tree::Error::TooManyNetworks(MAX_NETWORKS + 1))));
}

/// The primary at `emea`, two branches at `emea/fr`, one and a lab at
/// `emea/fr/paris`.
fn company() -> Mesh {
    let mut mesh = chain();
    let places = ["emea", "emea/fr", "emea/fr", "emea/fr/paris", "emea/fr/paris"];
    for (number, place) in places.iter().enumerate() {
        mesh.nodes.get_mut(&name(number)).expect("a node").site = site(place);
    }
    mesh.nodes.get_mut(&name(4)).expect("a node").stages = BTreeSet::from([Stage::Validation]);
    mesh
}

fn nearest(mesh: &Mesh, place: &str, stage: Stage) -> Vec<NodeName> {
    mesh.nearest(&site(place), stage).into_iter().map(|node| node.name.clone()).collect()
}

#[test]
fn the_nearest_serve_the_stage_at_the_site_or_around_it() {
    use Stage::{Production, Validation};
    let mut mesh = company();
    assert_eq!(nearest(&mesh, "emea/fr/paris", Production), [name(3)]);
    assert_eq!(nearest(&mesh, "emea/fr/paris", Validation), [name(4)], "never one for production");
    assert_eq!(nearest(&mesh, "emea/fr/paris/quai", Production), [name(3)]);
    assert_eq!(nearest(&mesh, "emea/fr/lyon", Production), [name(1), name(2)]);
    assert_eq!(nearest(&mesh, "emea/fr/lyon", Validation), [], "only around it");
    assert_eq!(nearest(&mesh, "emea/de", Production), [], "the primary serves nobody");
    assert_eq!(nearest(&mesh, "apac", Production), []);
    assert_eq!(nearest(&mesh, "emea/fr/par", Production), [name(1), name(2)], "by whole steps");

    let top = mesh.nodes.get_mut(&name(0)).expect("a node");
    top.stages.insert(Production);
    assert_eq!(nearest(&mesh, "emea/de", Production), [name(0)]);
}

#[test]
fn who_is_shut_out_or_cut_off_serves_nobody() {
    let shut_out = |number, membership| {
        let mut mesh = company();
        mesh.nodes.get_mut(&name(number)).expect("a node").membership = membership;
        nearest(&mesh, "emea/fr/paris", Stage::Production)
    };
    assert_eq!(shut_out(3, Membership::Invited), [name(1), name(2)]);
    assert_eq!(shut_out(3, Membership::Revoked), [name(1), name(2)]);
    assert_eq!(shut_out(2, Membership::Revoked), [name(1)], "3 hangs below 2");
}
