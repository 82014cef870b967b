use super::*;
use crate::baseline::{Origin, Package, PackageId, Packages};
use crate::revision::Facts;
use crate::supersedence::Entry;

/// `NAME VERSION`, then fields of its stanza.
fn stanza(text: &str) -> (String, String, String) {
    let (head, fields) = text.split_once('\n').unwrap_or((text, ""));
    let (name, version) = head.split_once(' ').expect("NAME VERSION");
    (name.to_owned(), version.to_owned(), fields.replace(';', "\n"))
}

/// A revision `v:s/NAME@VERSION` of packages, the first of which names it.
fn revision(packages: &[&str]) -> Revision {
    let (name, version, _) = stanza(packages[0]);
    let payload = |(number, text): (usize, &&str)| {
        let (package, version, fields) = stanza(text);
        let control = format!("Package: {package}\nVersion: {version}\n{fields}\n");
        let seed = format!("{text}{number}");
        Payload {
            filename: format!("{package}.deb"),
            sha256: Sha256::from_bytes(*blake3::hash(seed.as_bytes()).as_bytes()),
            architecture: if fields.contains("all") { "all" } else { "amd64" }.to_owned(),
            component: "main".to_owned(),
            length: 1,
            language: String::new(),
            place: None,
            package,
            version,
            control,
        }
    };
    Revision {
        id: format!("v:s/{name}@{version}").parse().expect("a revision"),
        title: String::new(),
        description: String::new(),
        architectures: Vec::new(),
        payloads: packages.iter().enumerate().map(payload).collect(),
        facts: Facts::default(),
    }
}

fn one(text: &str) -> Revision {
    revision(&[text])
}

fn ground(packages: &[&str]) -> Ground {
    let packages: Packages = packages
        .iter()
        .map(|text| {
            let (name, version, fields) = stanza(text);
            let get = |field| crate::debian::field(&fields, field).unwrap_or_default().to_owned();
            let package = Package {
                multi_arch: get("Multi-Arch"),
                provides: get("Provides"),
                depends: get("Depends"),
                breaks: get("Breaks"),
                conflicts: get("Conflicts"),
                revision: String::new(),
            };
            (PackageId { name, version, architecture: "amd64".to_owned() }, package)
        })
        .collect();
    Ground::new(&Origin::Installed, &packages)
}

/// The packages left out and why, as `NAME: REASON`.
fn left_out(open: &[Revision], ground: &Ground) -> Vec<String> {
    let open: Vec<&Revision> = open.iter().collect();
    let outcome = close(&open, ground);
    let parts = outcome.withheld.iter().filter(|(one, _)| !one.package.is_empty());
    parts.map(|(one, reason)| format!("{}: {reason}", one.package)).collect()
}

#[test]
fn what_is_missing_is_named_and_takes_others_with_it() {
    let base = ground(&["libc6 2.36"]);
    let open = [
        one("app 1\nDepends: libfoo2 (>= 1.2), libc6 (>= 2.30)"),
        one("plugin 1\nPre-Depends: app"),
        one("fine 1\nDepends: libc6"),
    ];
    assert_eq!(
        left_out(&open, &base),
        [
            "app: needs libfoo2 (>= 1.2), which is not approved",
            "plugin: needs app, which cannot be installed either"
        ]
    );
    let mut more = open.to_vec();
    more.push(one("libfoo2 1.2"));
    assert!(left_out(&more, &base).is_empty());
    more[3] = one("libfoo2 1.1");
    assert_eq!(left_out(&more, &base).len(), 2, "too old");
}

#[test]
fn alternatives_and_provisions_satisfy() {
    let base = ground(&["exim4 4\nProvides: mail-transport-agent", "awk 1\nProvides: virt (= 3)"]);
    let open = [
        one("a 1\nDepends: postfix | mail-transport-agent"),
        one("b 1\nDepends: virt (>= 3)"),
        one("c 1\nDepends: virt (>= 4)"),
        one("d 1\nDepends: mail-transport-agent (>= 1)"),
    ];
    let found = left_out(&open, &base);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("c: ") && found[1].starts_with("d: "), "{found:?}");
}

#[test]
fn the_highest_version_counts() {
    let base = ground(&["lib 2"]);
    let open = [one("lib 3"), one("old 1\nDepends: lib (<< 3)"), one("new 1\nDepends: lib (>= 3)")];
    assert_eq!(left_out(&open, &base), ["old: needs lib (<< 3), but lib 3 is there"]);
    let open = [one("lib 1"), one("old 1\nDepends: lib (= 1)")];
    assert_eq!(left_out(&open, &base), ["old: needs lib (= 1), but lib 2 is there"]);
}

#[test]
fn what_is_left_out_makes_way_for_the_version_before() {
    let base = ground(&["libc6 2"]);
    let open = [
        one("tool 1\nDepends: libc6"),
        one("tool 2\nDepends: libnew"),
        one("user 1\nDepends: tool"),
        one("eager 1\nDepends: tool (>= 2)"),
    ];
    let found = left_out(&open, &base);
    assert_eq!(
        found,
        [
            "eager: needs tool (>= 2), which cannot be installed either",
            "tool: needs libnew, which is not approved"
        ]
    );
}

#[test]
fn nothing_new_breaks_what_machines_have_nor_the_other_way_round() {
    let base = ground(&["bar 1", "guard 1\nConflicts: intruder"]);
    let open = [
        one("foo 2\nBreaks: bar (<< 2)"),
        one("intruder 1"),
        one("self 1\nConflicts: virt\nProvides: virt"),
    ];
    assert_eq!(
        left_out(&open, &base),
        [
            "foo: cannot be beside bar 1 of the machines",
            "intruder: cannot be beside guard 1 of the machines"
        ]
    );
    let open = [one("foo 2\nBreaks: bar (<< 2)"), one("bar 2")];
    assert!(left_out(&open, &base).is_empty(), "after an upgrade there is no conflict");
}

#[test]
fn an_update_does_not_take_away_what_an_installed_package_needs() {
    let base = ground(&["libx 1\nProvides: abi-1", "app 1\nDepends: libx (<< 2), abi-1, lost"]);
    let found = left_out(&[one("libx 2\nProvides: abi-2")], &base);
    assert_eq!(found, ["libx: would break app 1 of the machines, which needs libx (<< 2)"]);
    let open = [one("libx 2\nProvides: abi-2"), one("app 2\nDepends: abi-2")];
    assert!(left_out(&open, &base).is_empty(), "both go together");
}

#[test]
fn a_package_brings_no_two_that_exclude_each_other() {
    let base = ground(&["libc6 2"]);
    let open = [
        one("a 1\nConflicts: b"),
        one("b 1"),
        one("both 1\nDepends: a, middle"),
        one("middle 1\nDepends: b"),
        one("either 1\nDepends: a, b | c"),
        one("c 1"),
    ];
    let found = left_out(&open, &base);
    assert_eq!(found, ["both: needs a and b, which exclude each other"]);
}

#[test]
fn qualified_relations_and_those_of_other_architectures() {
    let base = ground(&["perl 5\nMulti-Arch: allowed", "plain 1"]);
    let open = [
        one("a 1\nDepends: perl:any, plain:amd64, x [arm64]"),
        one("b 1\nDepends: plain:any"),
        one("c 1\nDepends: plain:arm64"),
        one("d 1\nArchitecture: all\nDepends: perl"),
        one("e 1\nDepends: not a relation"),
    ];
    let found = left_out(&open, &base);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[2].contains("its Depends cannot be read"), "{found:?}");
}

#[test]
fn a_revision_is_offered_with_what_is_left_of_it() {
    let base = ground(&["libc6 2"]);
    let parts = revision(&["app 1\nDepends: libc6", "app-gui 1\nDepends: libqt"]);
    let gone = one("gone 1\nDepends: libqt, libz");
    let outcome = close(&[&parts, &gone], &base);
    assert!(!outcome.is_unavailable(&parts.id) && outcome.is_unavailable(&gone.id));
    let whole: Vec<_> = outcome.unavailable().collect();
    assert_eq!(whole, [&gone.id]);
    let reason = outcome.withheld.iter().find(|(one, _)| one.package.is_empty());
    assert_eq!(reason.expect("a reason").1, "needs libqt, which is not approved");
    assert_eq!(outcome.hidden.len(), 2);
    assert_eq!(outcome.missing.len(), 2);
}

#[test]
fn a_release_is_there_to_be_had_but_not_installed() {
    let packages: Packages = [("liba", "1"), ("rival", "1")]
        .into_iter()
        .map(|(name, version)| {
            let (name, version) = (name.to_owned(), version.to_owned());
            let id = PackageId { name, version, architecture: "amd64".to_owned() };
            (id, Package::default())
        })
        .collect();
    let origin = Origin::Release { source: "v".parse().expect("a name"), suite: "s".to_owned() };
    let base = Ground::new(&origin, &packages);
    let open = [one("app 1\nDepends: liba\nConflicts: rival"), one("b 1\nDepends: libz")];
    assert_eq!(left_out(&open, &base), ["b: needs libz, which is not approved"]);
}

#[test]
fn nobody_is_judged_by_an_empty_baseline() {
    assert!(left_out(&[one("a 1\nDepends: b")], &ground(&[])).is_empty());
}

#[test]
fn tens_of_thousands_of_packages_take_moments() {
    let open: Vec<Revision> = (0..20_000)
        .map(|number| {
            let next = number + 1;
            one(&format!("p{number} 1\nDepends: p{next}, libc6 (>= 2)\nBreaks: q{number} (<< 2)"))
        })
        .collect();
    let open: Vec<&Revision> = open.iter().collect();
    let base = ground(&["libc6 2.36"]);
    let outcome = close(&open, &base);
    assert_eq!(outcome.unavailable().count(), 20_000, "the last lacks, so all do");
}

/// The names and versions that are offered of `open`.
fn offers(open: &[Revision], ground: Option<&Ground>) -> Vec<String> {
    let entries: Vec<_> =
        (0..).zip(open).map(|(ordinal, revision)| Entry { revision, ordinal }).collect();
    let offered = offered(&entries, ground);
    let id = |one: &&Revision| format!("{}@{}", one.id.update.name, one.id.version);
    offered.revisions.iter().map(id).collect()
}

#[test]
fn only_what_can_be_installed_replaces_anything() {
    let base = ground(&["libc6 2"]);
    let open = [one("tool 1"), one("tool 2"), one("app 1"), one("app 2\nDepends: libnew")];
    assert_eq!(offers(&open, Some(&base)), ["tool@2", "app@1"]);
    assert_eq!(offers(&open, None), ["tool@2", "app@2"]);
}

#[test]
fn what_needs_the_elder_does_not_replace_it() {
    // The newer revision no longer brings what it needs itself.
    let base = ground(&["libc6 2"]);
    let open = [
        revision(&["tool 1\nDepends: libc6", "tool-data 1\nDepends: libc6"]),
        one("tool 2\nDepends: tool-data"),
        one("other 1\nDepends: libc6"),
    ];
    let found = offers(&open, Some(&base));
    assert!(found.contains(&"tool@1".to_owned()), "{found:?}");
}

mod properties {
    use proptest::collection::vec;
    use proptest::prelude::{Strategy, prop_assert, proptest};

    use super::{close, ground, one};
    use crate::closure::Ground;
    use crate::debian::{field, relation};
    use crate::revision::Revision;

    fn package() -> impl Strategy<Value = String> {
        let list = || vec("[a-f]( \\((>=|<<|=) [1-3]\\))?", 0..3).prop_map(|list| list.join(", "));
        ("[a-f]", "[1-3]", list(), list(), "[a-f]?").prop_map(
            |(name, version, depends, breaks, provides)| {
                format!(
                    "{name} {version}\nDepends: {depends}\nBreaks: {breaks}\nProvides: {provides}"
                )
            },
        )
    }

    fn view() -> impl Strategy<Value = Vec<Revision>> {
        vec(package(), 0..8).prop_map(|texts| {
            let mut all: Vec<Revision> = texts.iter().map(|text| one(text)).collect();
            all.sort_by(|a, b| a.id.cmp(&b.id));
            all.dedup_by(|a, b| a.id == b.id);
            all
        })
    }

    /// What counts of a view and a baseline: the highest version of each name.
    fn counting<'a>(kept: &[&'a Revision], base: &'a [String]) -> Vec<(String, String, &'a str)> {
        let mut all: Vec<(String, String, &str)> = Vec::new();
        for text in base {
            let (name, version, _) = super::stanza(text);
            all.push((name, version, text));
        }
        for payload in kept.iter().flat_map(|one| &one.payloads) {
            all.push((payload.package.clone(), payload.version.clone(), &payload.control));
        }
        all.sort();
        let names: Vec<String> = all.iter().map(|one| one.0.clone()).collect();
        let is_last = |at: usize| names.get(at + 1) != names.get(at);
        all.into_iter().enumerate().filter(|(at, _)| is_last(*at)).map(|(_, one)| one).collect()
    }

    proptest! {
        /// Checked by an independent, slow look at what is left.
        #[test]
        fn all_that_is_left_has_what_it_needs(open in view(), base in vec(package(), 0..4)) {
            let mut base = base;
            base.sort();
            base.dedup_by(|a, b| a.as_bytes()[0] == b.as_bytes()[0]);
            let texts: Vec<&str> = base.iter().map(String::as_str).collect();
            let ground: Ground = ground(&texts);
            let all: Vec<&Revision> = open.iter().collect();
            let outcome = close(&all, &ground);
            if base.is_empty() {
                prop_assert!(outcome.withheld.is_empty());
                return Ok(());
            }
            let kept: Vec<&Revision> =
                open.iter().filter(|one| !outcome.is_unavailable(&one.id)).collect();
            let counting = counting(&kept, &base);
            let takes = |relation: &relation::Relation<'_>| {
                counting.iter().any(|(name, version, text)| {
                    let provides = field(text, "Provides").unwrap_or_default();
                    (name == relation.name && relation.takes(version))
                        || (provides == relation.name && relation.takes_provided(None))
                })
            };
            for (name, _, text) in &counting {
                let is_offered = text.starts_with("Package:");
                let depends = field(text, "Depends").unwrap_or_default();
                for clause in relation::parse(depends, "amd64").expect("relations") {
                    prop_assert!(!is_offered || clause.iter().any(takes), "{name} in {counting:?}");
                }
                // Against the machines' own packages nothing is broken anew.
                let breaks = field(text, "Breaks").unwrap_or_default();
                for clause in relation::parse(breaks, "amd64").expect("relations") {
                    let broken = counting.iter().find(|(other, version, _)| {
                        other != name && *other == clause[0].name && clause[0].takes(version)
                    });
                    let is_machines = |name: &String| base.iter().any(|one| one.starts_with(name.as_str()));
                    if let Some((other, _, other_text)) = broken {
                        let is_new = is_offered || other_text.starts_with("Package:");
                        prop_assert!(!is_new || !(is_machines(name) || is_machines(other)),
                            "{name} breaks {other}");
                    }
                }
            }
        }
    }
}
