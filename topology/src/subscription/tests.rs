//! What subscriptions take, by example and by property.

use proptest::collection::btree_set;
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};
use proptest::sample::select;

use super::*;
use crate::digest::Sha256;
use crate::node::Membership;
use crate::node::membership::Invitation;
use crate::revision::Facts;

fn subscription(words: [&[&str]; 3], kinds: &[Classification]) -> Subscription {
    let set = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    Subscription {
        products: set(words[0]),
        languages: set(words[1]),
        architectures: set(words[2]),
        classifications: kinds.iter().copied().collect(),
    }
}

fn revision(products: &[&str], languages: &[&str], payloads: &[(&str, &str)]) -> Revision {
    let texts = |list: &[&str]| list.iter().map(|&one| one.to_owned()).collect();
    Revision {
        id: "msp:stable/KB1@1".parse().expect("a revision"),
        title: String::new(),
        description: String::new(),
        architectures: Vec::new(),
        payloads: payloads
            .iter()
            .map(|(language, architecture)| Payload {
                package: "KB1".to_owned(),
                version: "1".to_owned(),
                architecture: (*architecture).to_owned(),
                component: String::new(),
                filename: "KB1.msu".to_owned(),
                length: 1,
                sha256: Sha256::from_bytes([1; 32]),
                control: String::new(),
                language: (*language).to_owned(),
                place: None,
            })
            .collect(),
        facts: Facts {
            products: texts(products),
            languages: texts(languages),
            classification: Some(Classification::Security),
            ..Facts::default()
        },
    }
}

fn takes(subscription: &Subscription, revision: &Revision) -> Vec<bool> {
    revision.payloads.iter().map(|payload| subscription.admits(revision, payload)).collect()
}

#[test]
fn french_workstations_take_no_japanese_servers_files() {
    let files = revision(
        &["windows-11"],
        &[],
        &[("fr-FR", "x64"), ("ja-JP", "x64"), ("fr", "arm64"), ("", "x64"), ("", "all")],
    );
    let french = subscription([&["Windows-11"], &["fr"], &["x64"]], &[]);
    assert_eq!(takes(&french, &files), [true, false, false, true, true]);
    let server = revision(&["windows-server-2022"], &[], &[("fr-FR", "x64")]);
    assert_eq!(takes(&french, &server), [false]);
    // What names no product may be for anybody.
    assert_eq!(takes(&french, &revision(&[], &[], &[("fr-CA", "x64")])), [true]);
    assert_eq!(
        takes(&subscription([&[], &["fr-CA"], &[]], &[]), &files),
        [false, false, true, true, true]
    );
}

#[test]
fn a_revisions_languages_count_where_its_files_name_none() {
    let both = revision(&[], &["de", "ja"], &[("", "all"), ("de", "all")]);
    assert_eq!(takes(&subscription([&[], &["ja"], &[]], &[]), &both), [true, false]);
    assert_eq!(takes(&subscription([&[], &["fr"], &[]], &[]), &both), [false, false]);
    // `dem` begins with the letters of `de` and is another language.
    assert_eq!(takes(&subscription([&[], &["dem"], &[]], &[]), &both), [false, false]);
}

#[test]
fn kinds_of_update_are_told_apart() {
    let security = revision(&[], &[], &[("", "all")]);
    assert_eq!(takes(&subscription([&[]; 3], &[Classification::Security]), &security), [true]);
    assert_eq!(takes(&subscription([&[]; 3], &[Classification::Driver]), &security), [false]);
}

#[test]
fn words_that_no_vendor_writes_are_refused() {
    for word in ["", " x", "x\n", &"x".repeat(MAX_WORD + 1)] {
        let one = Subscription { products: [word.to_owned()].into(), ..Subscription::default() };
        assert!(matches!(one.validate(), Err(Error::Word { kind: "product", .. })), "{word:?}");
    }
    let many = (0..=MAX_WORDS).map(|number| number.to_string()).collect();
    let many = Subscription { languages: many, ..Subscription::default() };
    assert!(matches!(many.validate(), Err(Error::Many { kind: "language", .. })));
}

/// hq ◄ hub ◄ paris, and hq ◄ tokyo.
fn mesh() -> Mesh {
    let name = |text: &str| text.parse::<NodeName>().expect("a name");
    let key = |number| Sha256::from_bytes([number; 32]);
    let site = || "emea".parse().expect("a site");
    let url = |name: &str| format!("https://{name}.example");
    let mut mesh =
        Mesh::found("5f1c".into(), "Example".into(), name("hq"), site(), url("hq"), key(0))
            .expect("a mesh");
    for (number, (node, parent)) in (1..).zip([("hub", "hq"), ("paris", "hub"), ("tokyo", "hq")]) {
        let invitation = Invitation {
            name: name(node),
            role: Role::Branch,
            parent: name(parent),
            site: site(),
            stages: None,
        };
        mesh = mesh.invite(invitation).expect("invited");
        mesh = mesh.join(&name(node), key(number), url(node)).expect("joined");
    }
    mesh
}

fn carried(mesh: &Mesh, node: &str, revision: &Revision) -> Vec<bool> {
    let carried = mesh.carried(&node.parse().expect("a name"));
    let takes = |payload| carried.takes(Stage::Production, revision, payload);
    revision.payloads.iter().map(takes).collect()
}

#[test]
fn a_parent_carries_what_its_subtree_needs_and_the_primary_everything() {
    let files = revision(&[], &[], &[("fr", "x64"), ("ja", "x64")]);
    let language = |tag: &str| subscription([&[], &[tag], &[]], &[]);
    let name = |text: &str| text.parse::<NodeName>().expect("a name");
    let mesh = mesh().subscribe_node(&name("paris"), language("fr")).expect("subscribed");
    assert_eq!(carried(&mesh, "paris", &files), [true, false]);
    assert_eq!(carried(&mesh, "hub", &files), [true, true], "its own machines need all");
    let mesh = mesh.subscribe_node(&name("hub"), language("fr")).expect("subscribed");
    assert_eq!(carried(&mesh, "hub", &files), [true, false]);
    assert_eq!(carried(&mesh, "hq", &files), [true, true]);
    let mesh = mesh.subscribe_node(&name("paris"), language("ja")).expect("subscribed");
    assert_eq!(carried(&mesh, "hub", &files), [true, true], "for paris");
    let mut shut_out = mesh.clone();
    shut_out.nodes.get_mut(&name("paris")).expect("a node").membership = Membership::Revoked;
    assert_eq!(carried(&shut_out, "hub", &files), [true, false]);
    // A stage that nobody below serves is not carried at all.
    let hub = mesh.carried(&name("hub"));
    assert!(!hub.takes(Stage::Validation, &files, &files.payloads[0]));
    assert!(matches!(mesh.subscribe_node(&name("hq"), language("fr")), Err(Rejection::Primary(_))));
    assert!(matches!(mesh.subscribe_node(&name("x"), language("fr")), Err(Rejection::NoNode(_))));
}

#[test]
fn what_a_source_is_not_asked_for_nobody_carries() {
    let files = revision(&[], &[], &[("fr", "x64"), ("ja", "x64")]);
    let source = "msp".parse().expect("a name");
    let french = subscription([&[], &["fr"], &[]], &[]);
    let mesh = mesh().subscribe_source(&source, french).expect("subscribed");
    for node in ["hq", "hub", "paris", "tokyo"] {
        assert_eq!(carried(&mesh, node, &files), [true, false], "{node}");
    }
    let narrowed = mesh.narrowed(&files).expect("narrowed");
    assert_eq!(narrowed.payloads, files.payloads[..1]);
    let whole = mesh.subscribe_source(&source, Subscription::default()).expect("subscribed");
    assert!(whole.narrowed(&files).is_none() && whole.source_subscriptions.is_empty());
}

fn words() -> impl Strategy<Value = BTreeSet<String>> {
    btree_set("(a|b|c)(-(x|y))?", 0..3)
}

fn subscriptions() -> impl Strategy<Value = Subscription> {
    let kinds = btree_set(select(Classification::ALL), 0..3);
    (words(), kinds, words(), words()).prop_map(
        |(products, classifications, languages, architectures)| Subscription {
            products,
            classifications,
            languages,
            architectures,
        },
    )
}

fn revisions() -> impl Strategy<Value = Revision> {
    let payload = ("(|(a|b|c)(-(x|y))?)", "(all|a|b|c)");
    let kind = proptest::option::of(select(Classification::ALL));
    (words(), words(), kind, proptest::collection::vec(payload, 1..4)).prop_map(
        |(products, languages, kind, payloads)| {
            let payloads: Vec<(&str, &str)> =
                payloads.iter().map(|(one, other)| (one.as_str(), other.as_str())).collect();
            let mut revision = revision(&[], &[], &payloads);
            revision.facts.products = products.into_iter().collect();
            revision.facts.languages = languages.into_iter().collect();
            revision.facts.classification = kind;
            revision
        },
    )
}

proptest! {
    #[test]
    fn everything_admits_everything(revision in revisions()) {
        prop_assert!(takes(&Subscription::default(), &revision).iter().all(|taken| *taken));
    }

    #[test]
    fn more_words_never_take_less(
        one in subscriptions(),
        other in subscriptions(),
        revision in revisions(),
    ) {
        // An empty dimension takes all, so only dimensions with words can grow.
        let grown = |mine: &BTreeSet<String>, more: &BTreeSet<String>| -> BTreeSet<String> {
            if mine.is_empty() { BTreeSet::new() } else { mine.union(more).cloned().collect() }
        };
        let kinds = if one.classifications.is_empty() {
            BTreeSet::new()
        } else {
            one.classifications.union(&other.classifications).copied().collect()
        };
        let larger = Subscription {
            products: grown(&one.products, &other.products),
            classifications: kinds,
            languages: grown(&one.languages, &other.languages),
            architectures: grown(&one.architectures, &other.architectures),
        };
        for payload in &revision.payloads {
            prop_assert!(!one.admits(&revision, payload) || larger.admits(&revision, payload));
        }
    }

    #[test]
    fn dimensions_are_independent(one in subscriptions(), revision in revisions()) {
        let only = [
            Subscription { products: one.products.clone(), ..Subscription::default() },
            Subscription { classifications: one.classifications.clone(), ..Subscription::default() },
            Subscription { languages: one.languages.clone(), ..Subscription::default() },
            Subscription { architectures: one.architectures.clone(), ..Subscription::default() },
        ];
        for payload in &revision.payloads {
            let each = only.iter().all(|part| part.admits(&revision, payload));
            prop_assert_eq!(one.admits(&revision, payload), each);
        }
    }

    #[test]
    fn a_parent_carries_exactly_the_union(
        hub in subscriptions(),
        paris in subscriptions(),
        revision in revisions(),
        shut_out in any::<bool>(),
    ) {
        let name = |text: &str| text.parse::<NodeName>().expect("a name");
        let mut mesh = mesh();
        mesh.nodes.get_mut(&name("hub")).expect("a node").subscription = hub.clone();
        let child = mesh.nodes.get_mut(&name("paris")).expect("a node");
        child.subscription = paris.clone();
        if shut_out {
            child.membership = Membership::Revoked;
        }
        let carried = mesh.carried(&name("hub"));
        for payload in &revision.payloads {
            let expected = hub.admits(&revision, payload)
                || (!shut_out && paris.admits(&revision, payload));
            prop_assert_eq!(carried.takes(Stage::Production, &revision, payload), expected);
        }
    }
}
