//! What settles, and what is shared.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::*;
use crate::revision::{DocumentRef, RevisionId};
use crate::view::{PoolFile, View};

fn revision(id: &str, file: u8) -> Revision {
    let id: RevisionId = id.parse().unwrap();
    let payload = Payload {
        package: id.update.name.clone(),
        version: id.version.clone(),
        architecture: "amd64".to_owned(),
        component: String::new(),
        filename: "a.deb".to_owned(),
        length: 1,
        sha256: Sha256::from_bytes([file; 32]),
        control: "Package: a\n".to_owned(),
        language: String::new(),
        place: None,
    };
    Revision {
        title: String::new(),
        description: String::new(),
        architectures: Vec::new(),
        payloads: vec![payload],
        facts: crate::revision::Facts::default(),
        id,
    }
}

/// The view after `settled` has settled.
fn present(settled: &[&Revision]) -> FullView {
    let file = |one: &Payload| (one.sha256.to_string(), PoolFile { sha256: one.sha256, length: 1 });
    let settled: Pool = payloads(settled).map(file).collect();
    let nothing = DocumentRef { digest: crate::digest::Digest::of(b""), length: 0 };
    let view = View {
        signed_at: Timestamp::UNIX_EPOCH,
        files: BTreeMap::new(),
        pools: Pools { settled: nothing, opening: nothing },
        withheld: BTreeMap::new(),
    };
    let pools = Pools { settled: Arc::new(settled), opening: Arc::default() };
    FullView { view: Arc::new(view), pools }
}

/// What a group's only view is divided into.
fn one<'a>(offered: &[&'a Revision], present: Option<&FullView>) -> Pools<Vec<&'a Revision>> {
    let present: Vec<&FullView> = present.into_iter().collect();
    divide(&[offered.to_vec()], &present, &[]).remove(0)
}

#[test]
fn what_has_settled_stays_until_much_is_opening() {
    let old = [revision("s:a/a@1", 1), revision("s:a/b@1", 2)];
    let new: Vec<Revision> =
        (0..=MAX_OPENING).map(|n| revision(&format!("s:a/n{n}@1"), 10 + n as u8)).collect();
    let old: Vec<&Revision> = old.iter().collect();
    let full = present(&old);
    let mut offered = old.clone();
    offered.extend(&new[..MAX_OPENING]);
    let divided = one(&offered, Some(&full));
    assert_eq!((divided.settled.len(), divided.opening.len()), (2, MAX_OPENING));
    assert_eq!(one(&offered[..1], None).opening, offered[..1]);
    offered.push(&new[MAX_OPENING]);
    let divided = one(&offered, Some(&full));
    assert_eq!((divided.settled, divided.opening.len()), (offered, 0));
}

#[test]
fn all_settles_anew_when_something_goes_or_is_there_twice() {
    let (a, b) = (revision("s:a/a@1", 1), revision("s:a/b@1", 2));
    let (new, twin) = (revision("s:a/n@1", 3), revision("t:a/a@1", 4));
    let full = present(&[&a, &b]);
    assert_eq!(one(&[&a, &b, &new], Some(&full)).opening, [&new]);
    // Withdrawn is withdrawn at once.
    assert_eq!(one(&[&b, &new], Some(&full)).settled, [&b, &new]);
    assert_eq!(one(&[&a, &b, &twin], Some(&full)).settled, [&a, &b, &twin]);
    // The same file once more is no other.
    let again = revision("t:a/a@1", 1);
    assert!(one(&[&a, &b, &again], Some(&full)).opening.is_empty());
}

/// The names of what settles and of what opens, of each view.
fn told(parts: &[Pools<Vec<&Revision>>]) -> Vec<String> {
    let names = |part: &[&Revision]| -> String {
        part.iter().map(|one| one.id.update.name.as_str()).collect()
    };
    parts.iter().map(|one| format!("{}|{}", names(&one.settled), names(&one.opening))).collect()
}

#[test]
fn views_of_a_group_share_what_has_settled() {
    let (a, b) = (revision("s:a/a@1", 1), revision("s:a/b@1", 2));
    let (c, d) = (revision("s:a/c@1", 3), revision("s:a/d@1", 4));
    let full = present(&[&a, &b]);
    // A wave opens somewhere: its view begins with what has settled already.
    let parts = divide(&[vec![&a, &b, &c]], &[&full], &[&full]);
    assert_eq!(told(&parts), ["ab|c"]);
    // There it replaces something: what settles anew is what both have.
    let parts = divide(&[vec![&a, &c]], &[&full], &[&full]);
    assert_eq!(told(&parts), ["a|c"]);
    // From then on each keeps what it can, and the larger part first.
    let lesser = present(&[&a]);
    let offered = [vec![&a, &c, &d], vec![&a, &b, &d]];
    let parts = divide(&offered, &[&lesser, &full], &[]);
    assert_eq!(told(&parts), ["a|cd", "ab|d"]);
}

#[test]
fn what_settles_anew_is_what_all_have_unless_that_is_little() {
    let many: Vec<Revision> =
        (0..=MAX_OPENING).map(|n| revision(&format!("s:a/n{n}@1"), 10 + n as u8)).collect();
    let (a, b) = (revision("s:a/a@1", 1), revision("s:a/b@1", 2));
    let common: Vec<&Revision> = many.iter().collect();
    let with = |more: &[&'static str]| -> Vec<&Revision> {
        let more = more.iter().map(|name| if *name == "a" { &a } else { &b });
        common.iter().copied().chain(more).collect()
    };
    let parts = divide(&[with(&["a"]), with(&["a", "b"])], &[], &[]);
    let sizes = |parts: &[Pools<Vec<&Revision>>]| -> Vec<(usize, usize)> {
        parts.iter().map(|one| (one.settled.len(), one.opening.len())).collect()
    };
    // The first view's rest would settle with it if it were alone.
    assert_eq!(sizes(&parts), [(MAX_OPENING + 2, 0), (MAX_OPENING + 2, 1)]);
    assert_eq!(parts[0].settled, parts[1].settled);
    // Little in common: each settles by itself.
    let parts = divide(&[with(&["a"]), vec![&a]], &[], &[]);
    assert_eq!(sizes(&parts), [(MAX_OPENING + 2, 0), (0, 1)]);
    // What stays as it is counts as well.
    let staying = present(&common);
    let parts = divide(&[with(&["a"])], &[], &[&staying]);
    assert_eq!(sizes(&parts), [(MAX_OPENING + 1, 1)]);
}
