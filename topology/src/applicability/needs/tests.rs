//! What comes along, what stays, and in which order it goes.

use super::super::tests::machine;
use super::super::{Candidate, Choice, Standing, Unwanted, choose};
use super::*;
use crate::debian::Relations;
use crate::digest::Sha256;
use crate::revision::{Facts, Revision};
use crate::supersedence::Entry;

/// `NAME VERSION`, then fields of its stanza divided by `;`.
fn stanza(text: &str) -> (&str, &str, String) {
    let (head, fields) = text.split_once('\n').unwrap_or((text, ""));
    let (name, version) = head.split_once(' ').expect("NAME VERSION");
    (name, version, fields.replace(';', "\n"))
}

/// A revision `v:s/NAME@VERSION` of packages, the first of which names it.
fn release(packages: &[&str]) -> Revision {
    let (name, version, _) = stanza(packages[0]);
    let payload = |text: &&str| {
        let (package, version, fields) = stanza(text);
        Payload {
            package: package.to_owned(),
            version: version.to_owned(),
            architecture: if fields.contains("X: i386") { "i386" } else { "amd64" }.to_owned(),
            component: "main".to_owned(),
            filename: format!("{package}.deb"),
            length: 1,
            sha256: Sha256::from_bytes(*blake3::hash(text.as_bytes()).as_bytes()),
            control: format!("Package: {package}\nVersion: {version}\n{fields}\n"),
            language: String::new(),
            place: None,
        }
    };
    Revision {
        id: format!("v:s/{name}@{version}").parse().expect("a revision"),
        title: String::new(),
        description: String::new(),
        architectures: vec!["amd64".to_owned()],
        payloads: packages.iter().map(payload).collect(),
        facts: Facts::default(),
    }
}

/// A machine that has these packages.
fn has(packages: &[&str]) -> Inventory {
    let stanzas: Vec<_> = packages.iter().map(|text| stanza(text)).collect();
    let plain: Vec<(&str, &str)> =
        stanzas.iter().map(|(name, version, _)| (*name, *version)).collect();
    let mut machine = machine(&plain);
    for (name, _, fields) in &stanzas {
        let of = machine.packages.get_mut(*name).expect("there");
        of.last_mut().expect("one").relations = Relations::of(fields);
    }
    machine
}

/// What is installed, as `NAME VERSION` with `/CALL` behind it where that is not the
/// first, by revision in their order; and what waits for what.
struct Outcome {
    installs: Vec<String>,
    waits: Vec<String>,
}

struct Case<'a> {
    machine: Inventory,
    revisions: &'a [Revision],
    closed: &'a [&'a str],
    gone: &'a [usize],
}

impl Case<'_> {
    fn choose<R>(&self, look: impl FnOnce(&[Choice<'_>], &[usize]) -> R) -> R {
        let unwanted = Unwanted::of(self.gone.iter().map(|index| &self.revisions[*index]));
        let is_closed = |index: usize| {
            self.closed.contains(&self.revisions[index].id.to_string().as_str())
                || self.gone.contains(&index)
        };
        let candidates: Vec<Candidate<'_>> = self
            .revisions
            .iter()
            .enumerate()
            .map(|(index, revision)| Candidate {
                entry: Entry { revision, ordinal: 0 },
                is_offered: !is_closed(index),
                is_bound: true,
            })
            .collect();
        let may_bring = |payload: &Payload| !unwanted.has(Format::Deb, payload);
        let (choices, order) = choose(&candidates, &self.machine, &may_bring);
        look(&choices, &order)
    }

    fn outcome(&self) -> Outcome {
        self.choose(|choices, order| {
            let part = |part: &Part<'_>| {
                let call = if part.call == 0 { String::new() } else { format!("/{}", part.call) };
                format!("{} {}{call}", part.payload.package, part.payload.version)
            };
            let parts = |index: &usize| {
                choices[*index].parts.iter().map(part).collect::<Vec<_>>().join(" + ")
            };
            let waits = choices.iter().filter_map(|choice| match &choice.standing {
                Standing::TemporarilyUnavailable(Lack::Needs(why)) => {
                    Some(format!("{}: {why}", choice.revision.id.update.name))
                }
                _ => None,
            });
            Outcome { installs: order.iter().map(parts).collect(), waits: waits.collect() }
        })
    }
}

fn on(machine: &[&str], revisions: &[Revision]) -> Outcome {
    Case { machine: has(machine), revisions, closed: &[], gone: &[] }.outcome()
}

#[track_caller]
fn installs(machine: &[&str], revisions: &[Revision], expected: &[&str]) {
    let outcome = on(machine, revisions);
    assert_eq!(outcome.installs, expected, "{:?}", outcome.waits);
    assert!(outcome.waits.is_empty(), "{:?}", outcome.waits);
}

#[track_caller]
fn waits(machine: &[&str], revisions: &[Revision], expected: &[&str]) {
    let outcome = on(machine, revisions);
    assert_eq!(outcome.waits, expected);
    assert!(outcome.installs.is_empty(), "{:?}", outcome.installs);
}

#[test]
fn a_chain_of_packages_that_are_not_there_comes_along() {
    let app = release(&["app 2\nDepends: newlib (>= 2), libc6"]);
    let lib = release(&["newlib 2\nDepends: base"]);
    let base = release(&["base 1"]);
    let all = [app, lib, base, release(&["other 1"])];
    installs(&["app 1", "libc6 2"], &all, &["base 1", "newlib 2", "app 2"]);
    let case =
        Case { machine: has(&["app 1", "libc6 2"]), revisions: &all, closed: &[], gone: &[] };
    case.choose(|choices, _| {
        let verdict = |index: usize| {
            let verdict = &choices[index].verdict;
            format!("{}: {}", verdict.state, verdict.reason)
        };
        assert_eq!(verdict(1), "applicable: app 2 needs its package newlib");
        assert_eq!(verdict(2), "applicable: newlib 2 needs its package base");
        assert_eq!(verdict(3), "not-applicable: none of its packages is on this machine");
        assert_eq!((&choices[0].needs[..], &choices[1].needs[..]), (&[1][..], &[2][..]));
    });
}

#[test]
fn the_kernel_brings_its_new_image_out_of_the_same_revision() {
    let kernel = release(&[
        "linux-image-amd64 6.1.140\nDepends: linux-image-6.1.0-38-amd64 (= 6.1.140)",
        "linux-image-6.1.0-38-amd64 6.1.140\nDepends: kmod, linux-base",
        "linux-doc 6.1.140",
    ]);
    let machine =
        ["linux-image-amd64 6.1.1", "linux-image-6.1.0-1-amd64 6.1.1", "kmod 1", "linux-base 1"];
    installs(
        &machine,
        &[kernel],
        &["linux-image-6.1.0-38-amd64 6.1.140 + linux-image-amd64 6.1.140"],
    );
}

#[test]
fn of_alternatives_what_is_there_is_enough_and_else_the_first_that_is_open() {
    let app = || release(&["app 2\nDepends: mta-a | mta-b | mail-agent"]);
    let (a, b) = (release(&["mta-a 1"]), release(&["mta-b 1"]));
    let exim = || release(&["exim 4\nProvides: mail-agent"]);
    installs(&["app 1"], &[app(), b.clone(), a.clone()], &["mta-a 1", "app 2"]);
    installs(&["app 1"], &[app(), b.clone(), exim()], &["mta-b 1", "app 2"]);
    installs(&["app 1"], &[app(), exim()], &["exim 4", "app 2"]);
    installs(&["app 1", "mta-b 1"], &[app(), a, b], &["app 2"]);
    installs(&["app 1", "postfix 3\nProvides: mail-agent"], &[app(), exim()], &["app 2"]);
}

#[test]
fn versions_and_versioned_provisions_count() {
    let app = || release(&["app 2\nDepends: lib-api (>= 2)"]);
    let plain = "it needs lib-api (>= 2), which is neither on this machine nor open to it";
    let text = format!("app: {plain}");
    waits(&["app 1"], &[app(), release(&["lib 5\nProvides: lib-api"])], &[&text]);
    waits(&["app 1", "lib 5\nProvides: lib-api (= 1)"], &[app()], &[&text]);
    installs(&["app 1", "lib 5\nProvides: lib-api (= 2)"], &[app()], &["app 2"]);
    installs(
        &["app 1"],
        &[app(), release(&["lib 5\nProvides: lib-api (= 2)"])],
        &["lib 5", "app 2"],
    );
    // An update of what is there, chosen by itself, meets it too.
    installs(&["app 1", "lib-api 1"], &[app(), release(&["lib-api 2"])], &["lib-api 2", "app 2"]);
}

#[test]
fn those_that_need_each_other_come_together() {
    let app = release(&["app 2\nDepends: a"]);
    let (a, b) = (release(&["a 1\nDepends: b"]), release(&["b 1\nDepends: a"]));
    installs(&["app 1"], &[app, a, b], &["b 1", "a 1", "app 2"]);
}

#[test]
fn what_is_not_open_is_not_brought_and_who_has_it_is_told() {
    let all = [release(&["app 2\nDepends: newlib (>= 2)"]), release(&["newlib 2"])];
    let plain = "app: it needs newlib (>= 2), which is neither on this machine nor open to it";
    let told = format!("{plain} (v:s/newlib@2 has it)");
    let closed = &["v:s/newlib@2"][..];
    let case = Case { machine: has(&["app 1"]), revisions: &all, closed, gone: &[] };
    let outcome = case.outcome();
    assert_eq!((outcome.installs.len(), outcome.waits), (0, vec![told.clone()]));
    // What a rollout removes is never brought back, by no revision.
    let twin = [all[0].clone(), all[1].clone(), release(&["bundle 1", "newlib 2"])];
    let case = Case { machine: has(&["app 1"]), revisions: &twin, closed: &[], gone: &[1] };
    let outcome = case.outcome();
    assert_eq!((outcome.installs.len(), outcome.waits), (0, vec![told]));
    waits(&["app 1"], &all[..1], &[plain]);
    // Nor is another version than the one that is asked for.
    waits(&["app 1"], &[all[0].clone(), release(&["newlib 1"])], &[plain]);
}

#[test]
fn where_the_end_of_a_chain_lacks_nothing_of_it_is_installed() {
    let all = [
        release(&["app 2\nDepends: newlib"]),
        release(&["newlib 2\nDepends: gone (>= 7)"]),
        release(&["tool 2"]),
    ];
    let outcome = on(&["app 1", "tool 1"], &all);
    assert_eq!(outcome.installs, ["tool 2"]);
    let why = "app: it needs newlib, which cannot be installed either: that needs gone (>= 7), \
        which is neither on this machine nor open to it";
    assert_eq!(outcome.waits, [why]);
}

#[test]
fn a_held_package_is_not_replaced_for_another_one() {
    let all = [release(&["app 2\nDepends: lib (>= 2)"]), release(&["lib 2"])];
    let mut machine = has(&["app 1", "lib 1"]);
    machine.packages.get_mut("lib").expect("there")[0].held = true;
    let outcome = Case { machine, revisions: &all, closed: &[], gone: &[] }.outcome();
    let why = "app: it needs lib (>= 2), which is neither on this machine nor open to it \
        (v:s/lib@2 has it)";
    assert_eq!((outcome.installs.len(), outcome.waits), (0, vec![why.to_owned()]));
}

#[test]
fn the_newest_that_is_open_is_brought_and_what_cannot_be_had_replaces_nothing() {
    let lib =
        |version: &str, depends: &str| release(&[&format!("newlib {version}\nDepends: {depends}")]);
    let app = release(&["app 2\nDepends: newlib"]);
    let all = [app.clone(), lib("1", ""), lib("2", ""), lib("3", "nothing-like-it")];
    installs(&["app 1"], &all, &["newlib 2", "app 2"]);
    // Of the update itself, the newest that can be had.
    let newer = release(&["app 3\nDepends: nothing-like-it"]);
    let outcome = on(&["app 1"], &[app, newer, lib("2", "")]);
    assert_eq!(outcome.installs, ["newlib 2", "app 2"]);
    assert_eq!(outcome.waits.len(), 1, "{:?}", outcome.waits);
}

#[test]
fn what_excludes_the_machines_own_waits() {
    let breaks = || release(&["app 2\nBreaks: plugin (<< 2)"]);
    let why = "app: it cannot be beside plugin 1 of this machine";
    waits(&["app 1", "plugin 1"], &[breaks()], &[why]);
    // Replaced in the same round it is broken no more; it goes before.
    installs(&["app 1", "plugin 1"], &[breaks(), release(&["plugin 2"])], &["plugin 2", "app 2"]);
    // What is there may exclude what would come.
    let app = || release(&["app 2\nDepends: newlib"]);
    let newlib = || release(&["newlib 1"]);
    let outcome = on(&["app 1", "old 1\nConflicts: newlib"], &[app(), newlib()]);
    let why = "app: it needs newlib, which cannot be installed either: that cannot be beside \
        old 1 of this machine";
    assert_eq!(outcome.waits, [why]);
    // And what is there may need what would be replaced.
    let why = "lib: it would break user 1 of this machine, which needs lib (<< 2)";
    waits(&["lib 1", "user 1\nDepends: lib (<< 2)"], &[release(&["lib 2"])], &[why]);
    // What was broken before is no reason.
    installs(&["lib 1", "user 1\nDepends: lib (>= 9)"], &[release(&["lib 2"])], &["lib 2"]);
}

#[test]
fn of_two_that_exclude_each_other_one_waits() {
    let (app, tool) = (release(&["app 2\nDepends: a"]), release(&["tool 2\nDepends: b"]));
    let (a, b) = (release(&["a 1\nConflicts: b"]), release(&["b 1"]));
    let outcome = on(&["app 1", "tool 1"], &[app, tool, a, b]);
    assert_eq!(outcome.installs, ["a 1", "app 2"]);
    assert_eq!(outcome.waits, ["tool: it needs b, which excludes a"]);
}

#[test]
fn a_revision_goes_whole_or_not_at_all() {
    let suite = release(&["suite 2", "suite-gui 2\nDepends: toolkit"]);
    let why = "suite: it needs toolkit, which is neither on this machine nor open to it";
    waits(&["suite 1", "suite-gui 1"], std::slice::from_ref(&suite), &[why]);
    installs(&["suite 1"], &[suite], &["suite 2"]);
    let broken = release(&["app 2\nDepends: a b"]);
    let why = "app: its Depends cannot be read: \"a b\" is no relation to a package";
    waits(&["app 1"], &[broken], &[why]);
}

#[test]
fn what_has_to_be_configured_before_goes_in_an_earlier_call() {
    let all = [
        release(&["app 2\nPre-Depends: newlib (>= 2)", "app-data 2"]),
        release(&["newlib 2\nDepends: base"]),
        release(&["base 1"]),
    ];
    installs(&["app 1", "app-data 1"], &all, &["base 1", "newlib 2", "app 2/1 + app-data 2/1"]);
    // What the machine has configured already will do, also while it is replaced.
    let app = release(&["app 2\nPre-Depends: libc6 (>= 2)"]);
    installs(&["app 1", "libc6 2"], &[app, release(&["libc6 3"])], &["app 2", "libc6 3"]);
}

#[test]
fn packages_of_another_architecture_are_left_to_dpkg() {
    let mut machine = has(&["steam 1", "libgl 1"]);
    machine.architectures.push("i386".to_owned());
    machine.packages.get_mut("libgl").expect("there")[0].architecture = "i386".to_owned();
    let steam = release(&["steam 2\nDepends: libgl:i386 (>= 1), libgl (>= 1)"]);
    let libgl = release(&["libgl 2\nDepends: nothing-like-it;X: i386"]);
    let revisions = [steam, libgl];
    let outcome = Case { machine, revisions: &revisions, closed: &[], gone: &[] }.outcome();
    assert_eq!(outcome.installs, ["steam 2", "libgl 2"]);
}

#[test]
fn what_is_half_configured_is_installed_again() {
    let mut machine = has(&["app 2"]);
    machine.packages.get_mut("app").expect("there")[0].fault = "half-configured".to_owned();
    let revisions = [release(&["app 2"])];
    let outcome = Case { machine, revisions: &revisions, closed: &[], gone: &[] }.outcome();
    assert_eq!(outcome.installs, ["app 2"]);
}
