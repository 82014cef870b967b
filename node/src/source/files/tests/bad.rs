//! What is refused, and in which words.

use super::*;
use crate::openpgp;

/// The one fault of a manifest that is good but for this.
async fn only(manifest: &str) -> String {
    let mut faults = Vendor::new(manifest).faults().await;
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults.remove(0)
}

#[tokio::test]
async fn unknown_fields_are_named_with_what_was_meant() {
    let text = format!(
        "colour = 1\n{}",
        manifest(&[revision("KB1", "1", "titel = \"x\"\n[revision.installer]\ninstal = [\"x\"]")])
    );
    let faults = Vendor::new(&text).faults().await;
    assert_eq!(
        faults,
        [
            "manifest.toml:1: the manifest has no field \"colour\"; remove it; the manifest has format, revision, source",
            "manifest.toml:7: [[revision]] has no field \"titel\"; did you mean `title`?",
            "manifest.toml:8: [revision.installer] has no install; add `install = [\"PROGRAM\", \"{payload}\", …]`, or leave the installer out",
            "manifest.toml:9: [revision.installer] has no field \"instal\"; did you mean `install`?",
        ]
    );
}

#[tokio::test]
async fn rules_that_cannot_be_read() {
    let with =
        |text: &str| manifest(&[revision("KB1", "1", &format!("[revision.detection]\n{text}"))]);
    let fault = only(&with("installed = 'file'")).await;
    assert!(fault.contains("installed: a name is expected at \"\"; write such as"), "{fault}");
    let fault = only(&with("applies = 'os windows'")).await;
    assert!(fault.contains("[revision.detection] has no installed; add"), "{fault}");
}

#[tokio::test]
async fn a_missing_payload() {
    let text = manifest(&[revision("KB1", "1", "")]).replace("fr/one", "fr/two");
    assert!(only(&text).await.contains("\"fr/two.msu\" is missing; put the file into the folder"));
}

#[tokio::test]
async fn a_payload_of_another_length_or_hash() {
    let text = manifest(&[revision("KB1", "1", "")]);
    let longer = text.replace("length = 12", "length = 13");
    assert!(only(&longer).await.contains("\"fr/one.msu\" is not what is stated: it has 12 bytes"));
    // What is in a file is compared when it is checked or fetched.
    let vendor = Vendor::new(&text);
    vendor.write("fr/one.msu", b"UN CORRECTIF");
    let faults = vendor.check();
    assert!(faults.len() == 1 && faults[0].contains("its SHA-256 is"), "{faults:?}");
    let revisions = vendor.revisions().await;
    let to = vendor.path().join("copy");
    let payload = &revisions[0].payloads[0];
    let error = fetch_payload_to(&vendor.config, payload, &to, &Progress::default()).await;
    assert!(matches!(error, Err(Error::Mismatch { .. })) && !to.exists());
}

#[tokio::test]
async fn paths_that_escape_the_folder() {
    for path in ["../secret", "/etc/passwd", "fr/../../secret", "./fr/one.msu", "fr//one.msu"] {
        let text = manifest(&[revision("KB1", "1", "")]).replace("fr/one.msu", path);
        let fault = only(&text).await;
        assert!(fault.contains("does not stay inside the folder"), "{fault}");
    }
    for path in ["fr\\\\..\\\\x", "a\\u0000b"] {
        let text = manifest(&[revision("KB1", "1", "")]).replace("fr/one.msu", path);
        assert_eq!(Vendor::new(&text).faults().await.len(), 1, "{path}");
    }
}

#[tokio::test]
async fn links_that_lead_out_of_the_folder() {
    let secret = tempfile::tempdir().expect("a folder");
    std::fs::write(secret.path().join("one.msu"), FRENCH).expect("written");
    for (link, target) in [("ln", secret.path().to_owned()), ("fl", secret.path().join("one.msu"))]
    {
        let name = if link == "ln" { "ln/one.msu" } else { "fl" };
        let vendor =
            Vendor::new(&manifest(&[revision("KB1", "1", "")]).replace("fr/one.msu", name));
        std::os::unix::fs::symlink(&target, vendor.path().join(link)).expect("a link");
        let faults = vendor.faults().await;
        assert!(faults.len() == 1 && faults[0].contains("symbolic link"), "{faults:?}");
        // And a document that says so makes nobody read it either.
        let mut payload = Vendor::new(&manifest(&[revision("KB1", "1", "")])).revisions().await[0]
            .payloads[0]
            .clone();
        payload.filename = name.to_owned();
        let to = vendor.path().join("copy");
        let copied = fetch_payload_to(&vendor.config, &payload, &to, &Progress::default()).await;
        assert!(matches!(copied, Err(Error::Read { .. })));
        payload.filename = format!("../{}", secret.path().display());
        let copied = fetch_payload_to(&vendor.config, &payload, &to, &Progress::default()).await;
        assert!(matches!(copied, Err(Error::Read { .. })));
    }
}

#[tokio::test]
async fn what_is_no_file_is_no_payload() {
    let vendor = Vendor::new(&manifest(&[revision("KB1", "1", "")]).replace("fr/one.msu", "fr"));
    let faults = vendor.faults().await;
    assert!(faults.len() == 1 && faults[0].contains("no regular file"), "{faults:?}");
    let text = manifest(&[revision("KB1", "1", "")]).replace("fr/one.msu", "pipe");
    let vendor = Vendor::new(&text);
    let pipe = vendor.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(pipe).status().expect("mkfifo");
    assert!(made.success());
    let faults = vendor.faults().await;
    assert!(faults.len() == 1 && faults[0].contains("no regular file"), "{faults:?}");
}

#[tokio::test]
async fn duplicate_ids() {
    let one = || revision("KB1", "1", "");
    let fault = only(&manifest(&[one(), revision("KB1", "2", ""), one()])).await;
    assert_eq!(
        fault,
        "manifest.toml:22: KB1@1 stands at line 2 already; give each revision a version of its own"
    );
}

#[tokio::test]
async fn supersedence_in_a_circle() {
    let three = [("KB1", "KB3"), ("KB2", "KB1"), ("KB3", "KB2@1")]
        .map(|(id, other)| revision(id, "1", &format!("supersedes = [\"{other}\"]")));
    let fault = only(&manifest(&three)).await;
    assert!(
        fault.contains("supersede each other in a circle: KB1@1 → KB3@1 → KB2@1 → KB1@1"),
        "{fault}"
    );
    let itself = revision("KB1", "1", "supersedes = [\"KB1@1\"]");
    assert!(only(&manifest(&[itself])).await.contains("KB1@1 → KB1@1"));
    // Each version of itself but itself is meant by its name alone.
    let newer = revision("KB1", "2", "supersedes = [\"KB1\"]");
    let good = Vendor::new(&manifest(&[revision("KB1", "1", ""), newer]));
    assert_eq!(good.revisions().await.len(), 2);
    let both = ["1", "2"].map(|version| revision("KB1", version, "supersedes = [\"KB1\"]"));
    assert!(only(&manifest(&both)).await.contains("in a circle"));
}

#[tokio::test]
async fn prerequisites_that_do_not_exist_or_need_each_other() {
    for name in ["KB9", "KB1@7", "msp:other/KB1"] {
        let text = manifest(&[revision("KB1", "1", &format!("prerequisites = [\"{name}\"]"))]);
        assert!(only(&text).await.contains("does not exist; name a revision"), "{name}");
    }
    let both = [("KB1", "KB2"), ("KB2", "KB1")]
        .map(|(id, other)| revision(id, "1", &format!("prerequisites = [\"{other}\"]")));
    assert!(only(&manifest(&both)).await.contains("need each other in a circle"));
    // Another source's are known to the primary alone.
    let foreign = revision("KB1", "1", "prerequisites = [\"tools:stable/runtime\"]");
    let vendor = Vendor::new(&manifest(&[foreign]));
    assert_eq!(vendor.check(), Vec::<String>::new());
    let error = vendor.sync(&SyncState::default()).await.expect_err("refused");
    assert!(error.to_string().contains("synchronise its source first"), "{error}");
    let (state, progress) = (SyncState::default(), Progress::default());
    let known = |reference: &Reference| reference.to_string() == "tools:stable/runtime";
    assert!(sync(&vendor.config, &state, now(), known, &progress).await.is_ok());
}

#[tokio::test]
async fn a_manifest_that_nobody_vouches_for() {
    let text = manifest(&[revision("KB1", "1", "")]);
    let vendor = Vendor::new(&text);
    let first = SyncState::default();
    vendor.write(MANIFEST, format!("{text}# one more line\n").as_bytes());
    let Err(Error::Signature { source, .. }) = vendor.sync(&first).await else { panic!("taken") };
    assert!(matches!(source, openpgp::Error::Untrusted(_)));
    assert!(vendor.check()[0].contains("is not signed"), "{:?}", vendor.check());
    let other = SigningKey::generate("other", Timestamp::UNIX_EPOCH).expect("a key");
    vendor.write(MANIFEST, text.as_bytes());
    let signature = other.sign_detached(text.as_bytes(), now()).expect("signed");
    vendor.write(SIGNATURES[0], signature.as_bytes());
    assert!(matches!(vendor.sync(&first).await, Err(Error::Signature { .. })));
    std::fs::remove_file(vendor.path().join(SIGNATURES[0])).expect("removed");
    assert!(matches!(vendor.sync(&first).await, Err(Error::NoSignature { .. })));
    std::fs::remove_file(vendor.path().join(MANIFEST)).expect("removed");
    assert!(matches!(vendor.sync(&first).await, Err(Error::NoManifest(_))));
}

#[tokio::test]
async fn an_unsigned_source_says_so_in_every_revision() {
    let vendor = Vendor::new(&manifest(&[revision("KB1", "1", "")]));
    std::fs::remove_file(vendor.path().join(SIGNATURES[0])).expect("removed");
    let config = Config::validate(Options {
        name: "msp".into(),
        folder: vendor.path().to_owned(),
        keyring: Vec::new(),
        unsigned: true,
        policy: FetchPolicy::OnDemand,
    });
    let vendor = Vendor { config: config.expect("a source"), ..vendor };
    assert!(vendor.revisions().await.iter().all(|one| one.facts.unsigned));
}

#[tokio::test]
async fn every_fault_is_told_at_once() {
    let text = "format = 2\n[source]\nreleased = 2026-11-23\nowner = \"x\"\n[[revision]]\nid = \"a b\"\nversion = 1\ntitle = \"\"\nclassification = \"urgent\"\nlanguages = [\"french!\", 7]\ncves = [\"CVE-1\"]\nsupersedes = [\"a@b@c@\"]\nreboot = \"maybe\"\n[revision.installer]\ninstall = [\"x\"]\ntime_limit = \"9d\"\nretry = [99999999999]\n[[revision.payload]]\nfile = \"x\"\nlength = -1\nsha256 = \"12\"\n";
    let faults = Vendor::new(text).faults().await;
    for (line, word) in [
        (1, "format 2"),
        (3, "released"),
        (4, "\"owner\""),
        (7, "version is of type integer"),
        (8, "title is empty"),
        (9, "\"urgent\" is not a classification; use security"),
        (10, "\"french!\" is no language tag"),
        (10, "languages has a value of type integer"),
        (11, "\"CVE-1\" is no CVE"),
        (12, "names no update"),
        (13, "\"maybe\" is not a reboot behaviour"),
        (16, "\"9d\" is no time limit"),
        (17, "99999999999 is no exit code"),
        (20, "length is below zero"),
        (21, "sha256: a digest has 64"),
    ] {
        let begin = format!("manifest.toml:{line}: ");
        let found = faults.iter().any(|fault| fault.starts_with(&begin) && fault.contains(word));
        assert!(found, "{line} {word}: {faults:#?}");
    }
    assert_eq!(faults.len(), 15, "{faults:#?}");
}

#[tokio::test]
async fn what_is_no_toml_says_where() {
    let vendor = Vendor::new("format = 1\nformat = 2\n[[revision]\n");
    let faults = vendor.faults().await;
    assert!(
        faults.iter().any(|fault| fault.starts_with("manifest.toml:2: this is no TOML")),
        "{faults:?}"
    );
    assert!(faults.iter().any(|fault| fault.starts_with("manifest.toml:3: ")), "{faults:?}");
    let vendor = Vendor::new("");
    std::fs::write(vendor.path().join(MANIFEST), b"format = 1\n\xff").expect("written");
    assert!(vendor.check().iter().any(|fault| fault.contains(":2: the text is not UTF-8")));
    let deep = format!("format = 1\nx = {}", "[".repeat(100_000));
    assert!(!Vendor::new(&deep).faults().await.is_empty());
}

#[tokio::test]
async fn what_is_too_much_is_refused_before_it_is_kept() {
    let long = manifest(&[revision("KB1", "1", "")])
        .replace("title = \"KB1\"", &format!("title = \"{}\"", "x".repeat(400)));
    assert!(only(&long).await.contains("title has 400 bytes, more than 300"));
    let many: Vec<String> = (0..2_000).map(|number| format!("\"p{number}\"")).collect();
    let many = revision("KB1", "1", &format!("products = [{}]", many.join(",")));
    assert!(only(&manifest(&[many])).await.contains("more than 1000"));
    let vendor = Vendor::new("");
    std::fs::write(vendor.path().join(MANIFEST), vec![b'#'; MAX_MANIFEST as usize + 1])
        .expect("written");
    assert!(matches!(vendor.sync(&SyncState::default()).await, Err(Error::Large { .. })));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn nothing_panics(at in 0..2_000usize, with in "[\\[\\]\"={}a0\\n.,]{0,6}") {
        let mut text = manifest(&[
            revision("KB1", "1", "supersedes = [\"KB0\"]\ncves = [\"CVE-2026-1234\"]"),
            revision("KB2", "1", "[revision.installer]\ninstall = [\"x\"]"),
        ]);
        let at = (0..=at % text.len()).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.insert_str(at, &with);
        let name = "msp".parse().expect("a name");
        if let Err(faults) = crate::source::files::manifest::read(text.as_bytes(), &name) {
            proptest::prop_assert!(faults.iter().next().is_some());
        }
    }
}

#[tokio::test]
async fn packages_of_rpm_say_what_they_are_and_no_more() {
    let rpm = |version: &str, more: &str| {
        let lines = format!("[revision.installer]\nkind = \"rpm\"\n{more}");
        manifest(&[revision("app", version, &lines)])
    };
    let fault = only(&rpm("1-1", "install = [\"x\"]")).await;
    assert!(fault.contains("of the kind rpm says how it is called; leave all but"), "{fault}");
    let fault = only(&rpm("1-1", "[revision.detection]\ninstalled = 'rpm app'")).await;
    assert!(fault.contains("is not for packages of rpm; leave it out"), "{fault}");
    for version in ["1", "1-", "-1", "1-2-3"] {
        let fault = only(&rpm(version, "")).await;
        assert!(
            fault.contains("is no version of an RPM package; write VERSION-RELEASE"),
            "{fault}"
        );
    }
    let fault = only(&rpm("1-1", "install = [\"x\"]").replace("\"rpm\"", "\"msi\"")).await;
    assert!(fault.contains("\"msi\" is not a kind of installer"), "{fault}");
}

#[tokio::test]
async fn places_that_machines_could_not_follow() {
    let with = |lines: &str, installer: &str| {
        let file = payload("fr/one.msu", FRENCH, lines);
        let head = "[[revision]]\nid = \"app\"\nversion = \"1\"\ntitle = \"App\"\n";
        manifest(&[format!("{head}[revision.installer]\n{installer}\n{file}")])
    };
    let files = "kind = \"files\"";
    let path = "path = \"/etc/app\"";
    for (lines, what, line) in [
        ("", "[[revision.payload]] has no path; add `path = …`", 8),
        (
            "path = \"etc/app\"",
            "path \"etc/app\" does not lead to a file of the machine; write",
            12,
        ),
        ("path = \"/etc/app/\"", "path \"/etc/app/\" does not lead to a file", 12),
        ("path = \"/etc/../app\"", "path \"/etc/../app\" does not lead to a file", 12),
        ("path = \"/etc/\\u0007app\"", "path has a control character; remove it", 12),
        ("path = 3", "path is of type integer; write a text in quotes", 12),
        ("path = \"/etc/app\"\nmode = \"0999\"", "\"0999\" is no mode of a file; write three", 13),
        ("path = \"/etc/app\"\nmode = 0o644", "mode is of type integer; write a text", 13),
        ("path = \"/etc/app\"\nowner = \"a b\"", "owner \"a b\" names nobody; write a name", 13),
        ("path = \"/etc/app\"\ngroup = \"a:b\"", "group \"a:b\" names nobody; write a name", 13),
    ] {
        let fault = only(&with(lines, files)).await;
        assert!(fault.starts_with(&format!("manifest.toml:{line}: {what}")), "{fault}");
    }
    let long = format!("path = \"/{}a\"", "abc/".repeat(110));
    assert!(only(&with(&long, files)).await.contains("has more than 400 bytes"));
    let fault = only(&with(path, "install = [\"x\"]")).await;
    assert!(
        fault.contains("path is for files that are put in place alone; remove it, or"),
        "{fault}"
    );
    let fault = only(&with(path, "kind = \"files\"\nremove = [\"x\"]")).await;
    assert!(fault.contains("of the kind files says how it is called; leave all"), "{fault}");
    // Two files for one path, and machines that would get both.
    let twice = |first: &str, second: &str| {
        let second = payload("ja/one.msu", JAPANESE, &format!("{path}\n{second}"));
        format!("{}{second}", with(&format!("{path}\n{first}"), files))
    };
    for (first, second) in [
        ("", ""),
        ("", "architecture = \"x64\""),
        ("architecture = \"x64\"", "architecture = \"x64\"\nlanguage = \"fr\""),
        ("language = \"fr\"", "language = \"fr-CA\""),
    ] {
        let fault = only(&twice(first, second)).await;
        let what = "\"ja/one.msu\" goes to /etc/app on the same machines as the file at line 8";
        assert!(fault.contains(what), "{fault}");
    }
    for (first, second) in [
        ("architecture = \"x64\"", "architecture = \"arm64\""),
        ("language = \"fr\"", "language = \"ja\""),
    ] {
        let faults = Vendor::new(&twice(first, second)).check();
        assert_eq!(faults, Vec::<String>::new());
    }
}
