//! Verdicts and choices, by example and by property.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::inventory::{Format, FoundFile, Package};
use super::rule::{Bound, FileTest, Operator, Test};
use super::*;
use crate::digest::Sha256;
use crate::revision::{Facts, Installer, InstallerKind, Reference, RevisionId};
use crate::supersedence::Entry;

pub(super) fn machine(packages: &[(&str, &str)]) -> Inventory {
    let mut machine = Inventory {
        os: "debian".to_owned(),
        os_version: "12".to_owned(),
        architectures: vec!["amd64".to_owned()],
        languages: vec!["fr-CA".to_owned()],
        products: vec!["debian-12".to_owned()],
        services: vec!["nginx".to_owned()],
        ..Inventory::default()
    };
    for (name, version) in packages {
        let package = Package {
            format: Format::Deb,
            architecture: "amd64".to_owned(),
            version: (*version).to_owned(),
            fault: String::new(),
            held: false,
            relations: Default::default(),
        };
        machine.packages.entry((*name).to_owned()).or_default().push(package);
    }
    machine
}

/// A revision of packages, each `NAME VERSION ARCHITECTURE`.
pub(super) fn debian(id: &str, packages: &[&str]) -> Revision {
    let mut revision = stated(id, Facts::default());
    for (number, package) in packages.iter().enumerate() {
        let parts: Vec<&str> = package.split(' ').collect();
        revision.architectures.push(parts[2].to_owned());
        revision.payloads.push(Payload {
            package: parts[0].to_owned(),
            version: parts[1].to_owned(),
            architecture: parts[2].to_owned(),
            component: "main".to_owned(),
            filename: "x.deb".to_owned(),
            length: 1,
            sha256: Sha256::from_bytes([u8::try_from(number).expect("few"); 32]),
            control: format!("Package: {}\n", parts[0]),
            language: String::new(),
            place: None,
        });
    }
    revision
}

pub(super) fn stated(id: &str, facts: Facts) -> Revision {
    Revision {
        id: id.parse().expect("a revision"),
        title: String::new(),
        description: String::new(),
        architectures: Vec::new(),
        payloads: Vec::new(),
        facts,
    }
}

/// A revision that is there where the machine states so as a fact.
fn simple(id: &str, supersedes: &[&str], prerequisites: &[&str]) -> Revision {
    let references = |list: &[&str]| list.iter().map(|one| one.parse().expect("one")).collect();
    let installed = format!("fact {id}").parse().expect("a rule");
    let facts = Facts {
        detection: Some(Detection { applies: None, installed: Some(installed) }),
        supersedes: references(supersedes),
        prerequisites: references(prerequisites),
        ..Facts::default()
    };
    stated(id, facts)
}

pub(super) fn rule(text: &str) -> Rule {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn says(revision: &Revision, machine: &Inventory) -> String {
    let verdict = verdict(revision, machine);
    format!("{}: {}", verdict.state, verdict.reason)
}

#[test]
fn packages_are_needed_where_they_are_there_and_older() {
    let revision = debian("deb:s/nginx@1.24-1", &["nginx 1.24-1 amd64", "nginx-doc 1.24-1 all"]);
    let says = |packages: &[(&str, &str)]| says(&revision, &machine(packages));
    assert_eq!(says(&[("nginx", "1.22-1")]), "applicable: nginx 1.22-1 is older than 1.24-1");
    assert_eq!(says(&[("nginx", "1.24-1")]), "installed: nginx 1.24-1 is installed");
    assert_eq!(
        says(&[("nginx", "1.25~rc1-1")]),
        "installed: nginx 1.25~rc1-1 is installed, which is not older than 1.24-1"
    );
    assert_eq!(
        says(&[("nginx", "1.24-1"), ("nginx-doc", "1.22-1")]),
        "applicable: nginx-doc 1.22-1 is older than 1.24-1"
    );
    assert_eq!(says(&[("ed", "1")]), "not-applicable: none of its packages is on this machine");
    assert_eq!(says(&[("nginx", "1:0")]).split(':').next(), Some("installed"), "epochs count");
}

#[test]
fn packages_of_rpm_count_in_its_order_of_versions() {
    let revision = rpm("v:s/app@2-1", "app", "2^git-1", "noarch");
    let with = |versions: &[&str]| {
        let mut machine = machine(&[]);
        let package = |version: &&str| Package {
            format: Format::Rpm,
            architecture: "noarch".to_owned(),
            version: (*version).to_owned(),
            fault: String::new(),
            held: false,
            relations: Default::default(),
        };
        machine.packages.insert("app".to_owned(), versions.iter().map(package).collect());
        machine
    };
    // For dpkg `2^git` would be no version at all; rpm has it between 2 and 2.1.
    assert_eq!(says(&revision, &with(&["2-1"])), "applicable: app 2-1 is older than 2^git-1");
    assert!(says(&revision, &with(&["2.1-1"])).starts_with("installed: app 2.1-1"));
    // Of several beside each other the newest counts.
    for older in [["1-1", "2-1"], ["2-1", "1-1"]] {
        assert_eq!(says(&revision, &with(&older)), "applicable: app 2-1 is older than 2^git-1");
        assert_eq!(payloads_for(&revision, &with(&older)).len(), 1);
    }
    assert_eq!(says(&revision, &with(&["1-1", "2^git-1"])), "installed: app 2^git-1 is installed");
    let dpkg = machine(&[("app", "1")]);
    assert_eq!(says(&revision, &dpkg), "not-applicable: none of its packages is on this machine");
    assert_eq!(payloads_for(&revision, &with(&["2-1"])).len(), 1);
    // It goes in that very version.
    let gone = |versions: &[&str]| removal(&revision, &with(versions));
    assert_eq!(gone(&["2^git-1"]), Removal::Packages(vec!["app-2^git-1.noarch".to_owned()]));
    assert_eq!(gone(&["1-1", "2^git-1"]), gone(&["2^git-1"]), "and nothing beside it");
    assert!(matches!(gone(&["2-1"]), Removal::Gone(_)));
    let other = rpm("v:s/app@2-1", "app", "2^git-1", "aarch64");
    assert!(says(&other, &with(&["2-1"])).starts_with("not-applicable"));
}

/// A revision of one package of rpm.
fn rpm(id: &str, package: &str, version: &str, architecture: &str) -> Revision {
    let mut revision = debian(id, &[&format!("{package} {version} {architecture}")]);
    revision.payloads[0].control = String::new();
    let kind = InstallerKind::Rpm;
    revision.facts.installer = Some(Installer { kind, ..Installer::default() });
    revision
}

#[test]
fn what_did_not_configure_is_not_installed() {
    let revision = debian("deb:s/nginx@1.24-1", &["nginx 1.24-1 amd64"]);
    let mut machine = machine(&[("nginx", "1.24-1")]);
    let of = machine.packages.get_mut("nginx").expect("there");
    of[0].fault = "half-configured".to_owned();
    assert_eq!(says(&revision, &machine), "applicable: nginx 1.24-1 is half-configured");
    let asked = ask(&rule("deb nginx"), &machine);
    assert_eq!(asked, Answer::No("nginx 1.24-1 is half-configured".to_owned()));
}

#[test]
fn other_architectures_languages_and_products_are_left_out() {
    let revision = debian("deb:s/nginx@1.24-1", &["nginx 1.24-1 arm64"]);
    assert_eq!(
        says(&revision, &machine(&[("nginx", "1.22-1")])),
        "not-applicable: it is for architecture arm64; this machine has amd64"
    );
    let words = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
    let of = |languages: &[&str], products: &[&str]| {
        let (languages, products) = (words(languages), words(products));
        says(&stated("w:s/kb@1", Facts { languages, products, ..Facts::default() }), &machine(&[]))
    };
    assert_eq!(of(&["ja"], &[]), "not-applicable: it is for language ja; this machine has fr-CA");
    assert_eq!(
        of(&["fr"], &["windows-11"]),
        "not-applicable: it is for product windows-11; this machine has debian-12"
    );
    assert_eq!(
        of(&["fr"], &["Debian-12"]),
        "unknown: the vendor states no way to tell whether it is installed"
    );
}

#[test]
fn rules_over_every_kind_of_fact() {
    let mut machine = machine(&[("nginx", "1.22-1")]);
    let sha256 = Sha256::from_bytes([7; 32]);
    let file =
        FoundFile::Present { version: Some("10.0.19041.5".to_owned()), sha256: Some(sha256) };
    machine.files.insert(r"C:\a b.dll".to_owned(), file);
    machine.files.insert("/no".to_owned(), FoundFile::Absent);
    machine.files.insert("/odd".to_owned(), FoundFile::Unreadable("forbidden".to_owned()));
    let values = [("Release".to_owned(), "528040".to_owned())].into();
    machine.registry =
        Some([(r"HKLM\X".to_owned(), Some(values)), (r"HKLM\Y".to_owned(), None)].into());
    machine.facts.insert("exposure".to_owned(), "internet".to_owned());
    let asked = |text: &str| match ask(&rule(text), &machine) {
        Answer::Yes(_) => "yes",
        Answer::No(_) => "no",
        Answer::Unknown(_) => "unknown",
    };
    for (text, expected) in [
        ("os debian", "yes"),
        ("os debian >= 12 and os debian < 12.1", "yes"),
        ("os fedora", "no"),
        ("architecture arm64", "no"),
        ("language fr and not language de", "yes"),
        ("product DEBIAN-12", "yes"),
        ("service nginx", "yes"),
        ("not service cron", "yes"),
        ("deb nginx < 1.24", "yes"),
        ("deb nginx > 1.24 or deb ed", "no"),
        ("rpm nginx", "no"),
        (r#"file "C:\a b.dll""#, "yes"),
        (r#"file "C:\a b.dll" >= 10.0.19041.5.0"#, "yes"),
        (r#"file "C:\a b.dll" > 10.0.9"#, "yes"),
        (r#"file "C:\a b.dll" < ten"#, "unknown"),
        ("file /no", "no"),
        ("file /odd", "unknown"),
        ("file /never", "unknown"),
        ("file /odd or os debian", "yes"),
        ("file /odd and os fedora", "no"),
        ("not file /odd", "unknown"),
        (r"registry HKLM\X", "yes"),
        (r"registry HKLM\Y", "no"),
        (r"registry HKLM\Z", "unknown"),
        (r"registry HKLM\X value Release >= 461808", "yes"),
        (r"registry HKLM\X value Other", "no"),
        ("fact exposure = internet", "yes"),
        ("fact exposure = lan", "no"),
        ("fact other", "no"),
    ] {
        assert_eq!(asked(text), expected, "{text}");
    }
    assert_eq!(asked(&format!(r#"file "C:\a b.dll" sha256 {sha256}"#)), "yes");
    assert_eq!(asked(&format!(r#"file "C:\a b.dll" sha256 {}"#, "0".repeat(64))), "no");
}

#[test]
fn what_is_no_rule_is_told_with_its_place() {
    for (text, part) in [
        ("", "a test such as"),
        ("os", "a name is expected at \"\""),
        ("os debian and", "a test such as"),
        ("os debian or or", "at \"or\""),
        ("(os debian", "`)` is expected"),
        ("os debian)", "`and`, `or` or the end is expected at \")\""),
        ("deb a >", "a version is expected"),
        ("deb a => 1", "is expected at \"=> 1\""),
        ("file \"a", "closing"),
        ("file /a sha256 12", "no SHA-256"),
        ("registry K value", "a value's name"),
        ("colour red", "at \"colour red\""),
    ] {
        let error = text.parse::<Rule>().expect_err(text).to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    assert_eq!("a".repeat(5000).parse::<Rule>(), Err(rule::Error::Long));
    assert_eq!(format!("{}os a", "not ".repeat(40)).parse::<Rule>(), Err(rule::Error::Deep));
}

/// What is chosen in order, and what becomes of the rest.
fn chosen(revisions: &[Revision], there: &[&str], hidden: &[&str]) -> (Vec<String>, Vec<String>) {
    let mut machine = machine(&[]);
    machine.facts = there.iter().map(|id| ((*id).to_owned(), "1".to_owned())).collect();
    let candidates: Vec<_> = (0..)
        .zip(revisions)
        .map(|(ordinal, revision)| Candidate {
            entry: Entry { revision, ordinal },
            is_offered: true,
            is_bound: !hidden.contains(&revision.id.to_string().as_str()),
        })
        .collect();
    let (choices, order) = choose(&candidates, &machine, &|_| true);
    let name = |revision: &Revision| revision.id.update.name.clone();
    let chosen = order.iter().map(|index| name(choices[*index].revision)).collect();
    let rest = choices.iter().filter_map(|choice| {
        let what = match &choice.standing {
            Standing::Chosen => return None,
            Standing::Superseded(by) => format!("by {}", by.update.name),
            Standing::TemporarilyUnavailable(Lack::Content) => "content".to_owned(),
            Standing::TemporarilyUnavailable(Lack::Prerequisite(one)) => {
                format!("needs {}", one.update.name)
            }
            other => format!("{other:?}"),
        };
        Some(format!("{} {what}", name(choice.revision)))
    });
    (chosen, rest.collect())
}

#[test]
fn the_cumulative_one_is_chosen_and_what_it_contains_dropped() {
    let all = [
        simple("w:s/a@1", &[], &[]),
        simple("w:s/b@1", &["w:s/a"], &[]),
        simple("w:s/c@1", &["w:s/b"], &[]),
    ];
    let (order, rest) = chosen(&all, &[], &[]);
    assert_eq!((order, rest), (vec!["c".to_owned()], vec!["a by c".into(), "b by c".into()]));
    // What is there already replaces as well.
    let (order, rest) = chosen(&all, &["w:s/c@1"], &[]);
    assert_eq!(
        (order.len(), rest),
        (0, vec!["a by c".into(), "b by c".into(), "c Settled".into()])
    );
    // What cannot be had replaces nothing.
    let (order, rest) = chosen(&all, &[], &["w:s/c@1"]);
    assert_eq!((order, rest), (vec!["b".to_owned()], vec!["a by b".into(), "c content".into()]));
}

#[test]
fn prerequisites_come_first_or_make_it_wait() {
    let all = [
        simple("w:s/a@1", &[], &["w:s/b@1"]),
        simple("w:s/b@1", &[], &["w:s/c"]),
        simple("w:s/c@1", &[], &[]),
        simple("w:s/d@1", &[], &["w:s/none"]),
        simple("w:s/e@1", &["w:s/c"], &[]),
    ];
    let (order, rest) = chosen(&all, &[], &[]);
    // `e` contains `c`, so it stands for it.
    assert_eq!(order, ["e", "b", "a"]);
    assert_eq!(rest, ["c by e", "d needs none"]);
    let circle = [simple("w:s/a@1", &[], &["w:s/b"]), simple("w:s/b@1", &[], &["w:s/a"])];
    let (order, rest) = chosen(&circle, &[], &[]);
    assert_eq!((order.len(), rest), (0, vec!["a needs b".into(), "b needs a".into()]));
}

#[test]
fn what_is_kept_as_it_is_is_not_chosen() {
    let revision = debian("deb:s/nginx@1.24-1", &["nginx 1.24-1 amd64"]);
    let mut machine = machine(&[("nginx", "1.22-1")]);
    machine.packages.get_mut("nginx").expect("there")[0].held = true;
    let entry = Entry { revision: &revision, ordinal: 0 };
    let (choices, order) =
        choose(&[Candidate { entry, is_offered: true, is_bound: true }], &machine, &|_| true);
    assert_eq!((order.len(), &choices[0].standing), (0, &Standing::Held(vec!["nginx"])));
}

fn words() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,6}", r"C:\\[a-z ]{1,6}", Just("and".to_owned()), "[0-9.:~-]{1,4}"]
}

fn bounds() -> impl Strategy<Value = Bound> {
    let operator = prop_oneof![
        Just(Operator::Less),
        Just(Operator::AtMost),
        Just(Operator::Equal),
        Just(Operator::AtLeast),
        Just(Operator::Greater),
    ];
    (operator, words()).prop_map(|(operator, version)| Bound { operator, version })
}

fn tests() -> impl Strategy<Value = Test> {
    let bound = || proptest::option::of(bounds());
    prop_oneof![
        (words(), bound()).prop_map(|(name, bound)| Test::Os(name, bound)),
        words().prop_map(Test::Language),
        (words(), bound()).prop_map(|(name, bound)| Test::Package(Format::Rpm, name, bound)),
        (words(), bounds()).prop_map(|(path, bound)| Test::File(path, FileTest::Version(bound))),
        (words(), any::<[u8; 32]>()).prop_map(|(path, hash)| {
            Test::File(path, FileTest::Content(Sha256::from_bytes(hash)))
        }),
        (words(), proptest::option::of((words(), bound())))
            .prop_map(|(key, value)| Test::Registry(key, value)),
        (words(), proptest::option::of(words())).prop_map(|(name, text)| Test::Fact(name, text)),
    ]
}

/// Rules as they are read: lists have two at least and none of their own kind.
fn rules() -> impl Strategy<Value = Rule> {
    tests().prop_map(Rule::Test).prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 2..4).prop_map(Rule::All),
            vec(inner.clone(), 2..4).prop_map(Rule::Any),
            inner.prop_map(|one| Rule::Not(Box::new(one))),
        ]
    })
}

/// Up to so many revisions that replace and need each other at random.
fn worlds() -> impl Strategy<Value = (Vec<Revision>, Vec<bool>, Vec<bool>)> {
    let names = || vec("[a-f]", 0..2);
    let one = ("[a-f]", "[12]", names(), names());
    (vec(one, 0..8), vec(any::<bool>(), 8), vec(any::<bool>(), 8)).prop_map(
        |(revisions, there, bound)| {
            let mut revisions: Vec<Revision> = revisions
                .into_iter()
                .map(|(name, version, supersedes, prerequisites)| {
                    let id = format!("w:s/{name}@{version}");
                    let full = |names: &[String]| -> Vec<String> {
                        names.iter().map(|name| format!("w:s/{name}")).collect()
                    };
                    let (supersedes, prerequisites) = (full(&supersedes), full(&prerequisites));
                    let texts = |list: &'_ [String]| -> Vec<Reference> {
                        list.iter().map(|one| one.parse().expect("a reference")).collect()
                    };
                    let mut revision = simple(&id, &[], &[]);
                    revision.facts.supersedes = texts(&supersedes);
                    revision.facts.prerequisites = texts(&prerequisites);
                    revision
                })
                .collect();
            revisions.sort_by(|a, b| a.id.cmp(&b.id));
            revisions.dedup_by(|a, b| a.id == b.id);
            (revisions, there, bound)
        },
    )
}

proptest! {
    #[test]
    fn rules_are_read_as_they_are_written(rule in rules()) {
        let text = rule.to_string();
        prop_assert_eq!(text.parse::<Rule>(), Ok(rule), "{}", text);
    }

    #[test]
    fn no_text_makes_reading_panic(text in "[ -~]{0,40}") {
        if let Ok(rule) = text.parse::<Rule>() {
            prop_assert_eq!(rule.to_string().parse::<Rule>(), Ok(rule));
        }
    }

    #[test]
    fn what_is_chosen_can_be_installed_in_its_order((revisions, there, bound) in worlds()) {
        let mut machine = machine(&[]);
        for (revision, _) in revisions.iter().zip(&there).filter(|(_, there)| **there) {
            machine.facts.insert(revision.id.to_string(), String::new());
        }
        let candidates: Vec<_> = (0..).zip(&revisions).zip(&bound).map(
            |((ordinal, revision), bound)| Candidate {
                entry: Entry { revision, ordinal },
                is_offered: true,
                is_bound: *bound,
            },
        ).collect();
        let (choices, order) = choose(&candidates, &machine, &|_| true);
        prop_assert_eq!(choices.len(), revisions.len());
        let stands = choices.iter().filter(|one| one.standing == Standing::Chosen).count();
        prop_assert_eq!(stands, order.len());
        for index in &order {
            prop_assert_eq!(choices[*index].verdict.state, State::Applicable);
            prop_assert!(bound[*index] && !there[*index]);
        }
        // What it needs is there, or comes before, or is contained in what does.
        let place = |id: &RevisionId| order.iter().position(|index| choices[*index].revision.id == *id);
        let is_installed = |id: &RevisionId| {
            choices.iter().any(|one| one.revision.id == *id && one.verdict.state == State::Installed)
        };
        for (at, index) in order.iter().enumerate() {
            let is_there =
                |id: &RevisionId| is_installed(id) || place(id).is_some_and(|other| other < at);
            for reference in &choices[*index].revision.facts.prerequisites {
                let mut named = choices.iter().filter(|one| reference.matches(&one.revision.id));
                let is_met = named.any(|one| match one.standing {
                    Standing::Superseded(by) => is_there(by),
                    _ => is_there(&one.revision.id),
                });
                prop_assert!(is_met, "{} before {}", reference, choices[*index].revision.id);
            }
        }
    }
}
