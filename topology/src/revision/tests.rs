//! Names of revisions and their fingerprints.

use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};

use super::*;
use crate::applicability::Detection;

fn ids() -> impl Strategy<Value = RevisionId> {
    // Whatever vendors write: epochs, `~`, `+`, slashes in suites and versions.
    let parts = ("[a-z0-9][a-z0-9._-]{0,8}", "[!-?A-~]{1,12}", "[!-.0-?A-~]{1,12}");
    (parts, "[!-\"$-?A-~]{1,12}", 1..5u32).prop_map(|((source, suite, name), version, release)| {
        let source = source.parse().expect("a name");
        let update = UpdateId::new(source, &suite, &name).expect("an update");
        RevisionId::new(update, &version).expect("a revision").with_release(release)
    })
}

fn revision() -> Revision {
    let payload = |package: &str, architecture: &str| Payload {
        package: package.to_owned(),
        version: "3.0.15-1".to_owned(),
        architecture: architecture.to_owned(),
        component: "main".to_owned(),
        filename: format!("pool/main/o/openssl/{package}_3.0.15-1_{architecture}.deb"),
        length: 1000,
        sha256: Sha256::from_bytes([7; 32]),
        control: format!("Package: {package}\n"),
        language: String::new(),
        place: None,
    };
    Revision {
        id: "debian:bookworm/openssl@3.0.15-1".parse().expect("a revision"),
        title: "Secure Sockets Layer toolkit".to_owned(),
        description: String::new(),
        architectures: vec!["amd64".to_owned()],
        payloads: vec![payload("libssl3", "amd64"), payload("openssl", "amd64")],
        facts: Facts::default(),
    }
}

proptest! {
    #[test]
    fn ids_print_and_parse(id in ids()) {
        prop_assert_eq!(id.to_string().parse(), Ok(id.clone()));
        prop_assert_eq!(id.update.to_string().parse(), Ok(id.update.clone()));
    }

    #[test]
    fn different_ids_print_differently(a in ids(), b in ids()) {
        prop_assert_eq!(a == b, a.to_string() == b.to_string());
    }

    #[test]
    fn what_parses_is_written_that_way(text in "[a-c]?:?[a-c/]{0,4}@?[0-9@#~]{0,4}") {
        if let Ok(id) = text.parse::<RevisionId>() {
            prop_assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = text.parse::<RevisionId>();
    }
}

#[test]
fn ids_of_several_forms() {
    let parse = |text: &str| text.parse::<RevisionId>();
    let id = parse("deb:bookworm/updates/gcc@2:1.0~rc1+b2/x#3").expect("a revision");
    assert_eq!((id.update.suite.as_str(), id.update.name.as_str()), ("bookworm/updates", "gcc"));
    assert_eq!((id.version.as_str(), id.release), ("2:1.0~rc1+b2/x", 3));
    assert!(matches!(parse("openssl"), Err(Error::Form(_))));
    assert!(matches!(parse("deb:s/n@1#1"), Err(Error::Release(_))));
    assert!(matches!(parse("deb:s/n@1#02"), Err(Error::Release(_))));
    assert!(matches!(parse("Deb:s/n@1"), Err(Error::Source { .. })));
    assert!(matches!(parse("deb:s/n@"), Err(Error::Part { part: "version", .. })));
    assert!(matches!(parse("deb:s/n\u{1b}@1"), Err(Error::Part { part: "name", .. })));
}

#[test]
fn a_fingerprint_covers_everything_but_the_release() {
    let original = revision().fingerprint();
    let mut again = revision();
    again.id = again.id.with_release(2);
    assert_eq!(again.fingerprint(), original);
    let changes: [fn(&mut Revision); 9] = [
        |revision| revision.id = "deb:s/openssl@9".parse().expect("a revision"),
        |revision| revision.title.push('x'),
        |revision| revision.description.push('x'),
        |revision| revision.architectures.push("arm64".to_owned()),
        |revision| revision.payloads.truncate(1),
        |revision| revision.payloads.swap(0, 1),
        |revision| revision.payloads[0].sha256 = Sha256::from_bytes([8; 32]),
        |revision| revision.payloads[0].length += 1,
        |revision| revision.payloads[1].control.push('x'),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut revision = revision();
        change(&mut revision);
        assert_ne!(revision.fingerprint(), original, "change {number}");
    }
}

#[test]
fn filenames_stay_below_the_base() {
    let is_inner = |filename: &str| {
        let filename = filename.to_owned();
        Payload { filename, ..revision().payloads.remove(0) }.has_inner_filename()
    };
    for filename in ["pool/a_1%3a2~b+c.deb", "./a.deb", "a//b.deb", "a/..b/c"] {
        assert!(is_inner(filename), "{filename:?}");
    }
    for filename in ["", "/a.deb", "../a.deb", "a/../../b", "a\\b", "a\u{1b}[2J"] {
        assert!(!is_inner(filename), "{filename:?}");
    }
}

#[test]
fn the_fingerprint_never_changes() {
    // Catalogues keep it: another way to compute it would make everything a
    // re-release.
    assert_eq!(
        revision().fingerprint().to_string(),
        "e5f85e6ac697b273a6d7f67e407f2cd47b36b034a74989dea90471e674425bb1"
    );
}

#[test]
fn what_the_vendor_states_is_part_of_the_fingerprint() {
    let plain = revision();
    let languages = |language: &str| {
        let mut revision = revision();
        revision.payloads[0].language = language.to_owned();
        revision.fingerprint()
    };
    assert_eq!(languages(""), plain.fingerprint());
    assert_ne!(languages("fr"), plain.fingerprint());
    let with = |facts: Facts| Revision { facts, ..revision() }.fingerprint();
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
    let detection = |applies: Option<&str>| Detection {
        applies: applies.map(|one| one.parse().expect("a rule")),
        installed: Some("os b".parse().expect("a rule")),
    };
    let several = [
        plain.fingerprint(),
        with(Facts { severity: Some(Severity::Critical), ..Facts::default() }),
        with(Facts { classification: Some(Classification::Critical), ..Facts::default() }),
        with(Facts { products: words(&["a", "b"]), ..Facts::default() }),
        with(Facts { products: words(&["ab"]), ..Facts::default() }),
        with(Facts { languages: words(&["a", "b"]), ..Facts::default() }),
        with(Facts { unsigned: true, ..Facts::default() }),
        with(Facts { installer: Some(Installer::default()), ..Facts::default() }),
        with(Facts {
            installer: Some(Installer { kind: InstallerKind::Rpm, ..Installer::default() }),
            ..Facts::default()
        }),
        with(Facts { detection: Some(detection(None)), ..Facts::default() }),
        with(Facts { detection: Some(detection(Some("os a"))), ..Facts::default() }),
    ];
    let distinct: std::collections::BTreeSet<_> = several.iter().collect();
    assert_eq!(distinct.len(), several.len());
}

#[test]
fn a_reference_means_one_version_or_all() {
    let of = |reference: &str, id: &str| {
        let reference: Reference = reference.parse().expect("a reference");
        reference.matches(&id.parse().expect("a revision"))
    };
    assert!(of("contoso:stable/KB1", "contoso:stable/KB1@2"));
    assert!(of("contoso:stable/KB1@2", "contoso:stable/KB1@2#3"));
    assert!(!of("contoso:stable/KB1@2", "contoso:stable/KB1@1"));
    assert!(!of("contoso:stable/KB1", "contoso:stable/KB2@1"));
    let text = "contoso:stable/KB1@2";
    assert_eq!(text.parse::<Reference>().expect("a reference").to_string(), text);
    assert!("contoso".parse::<Reference>().is_err());
}

#[test]
fn the_suite_tells_what_a_debian_revision_is() {
    let of =
        |id: &str| Revision { id: id.parse().expect("a revision"), ..revision() }.classification();
    assert_eq!(of("deb:bookworm-security/openssl@1"), Classification::Security);
    assert_eq!(of("deb:bookworm/openssl@1"), Classification::Update);
    let facts = Facts { classification: Some(Classification::Rollup), ..Facts::default() };
    assert_eq!(Revision { facts, ..revision() }.classification(), Classification::Rollup);
}
