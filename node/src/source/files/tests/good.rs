//! What a good folder yields.

use patchmesh_topology::applicability::inventory::Format;
use patchmesh_topology::revision::{Classification, Place, Reboot, Revision, Severity};

use super::*;
use crate::source::files::template;

const WHOLE: &str = r#"
[source]
vendor = "Example Software"
suite = "2026"
released = 2026-11-23T09:00:00Z

[[revision]]
id = "KB1"
version = "1"
title = "The first"
[[revision.payload]]
file = "fr/one.msu"
length = 12
sha256 = "SHA"

[[revision]]
id = "KB2"
version = "10.0.1"
title = "The second"
description = """
Mends what was wrong.
More of it.
"""
classification = "security"
severity = "critical"
products = ["windows-11", "windows-10", "windows-11"]
architectures = ["x64"]
cves = ["CVE-2026-12345"]
articles = ["KB2"]
supersedes = ["KB1", "debian:bookworm/openssl@1"]
prerequisites = ["KB1@1"]
reboot = "required"
[revision.installer]
install = ["wusa.exe", "{payload}", "/quiet"]
remove = ["wusa.exe", "/uninstall", "/kb:2"]
success = [0, 2_359_302]
reboot = [3010]
retry = [0x652]
time_limit = "30m"
[revision.detection]
applies = 'product windows-11 and not fact kiosk'
installed = 'file "C:/Program Files/a.dll" >= 10.0.1'
"#;

fn whole() -> String {
    let files = [("fr/one.msu", FRENCH, "fr-FR"), ("ja/one.msu", JAPANESE, "ja-JP")].map(
        |(file, bytes, tag)| {
            payload(file, bytes, &format!("architecture = \"x64\"\nlanguage = \"{tag}\""))
        },
    );
    let first = WHOLE.replace("SHA", &sha256(FRENCH).to_string());
    format!("format = 1\n{first}{}", files.concat())
}

#[tokio::test]
async fn everything_that_a_manifest_states_is_in_the_revision() {
    let vendor = Vendor::new(&whole());
    assert_eq!(vendor.check(), Vec::<String>::new());
    let revisions = vendor.revisions().await;
    let [first, second] = revisions.as_slice() else { panic!("{revisions:?}") };
    assert_eq!(first.id.to_string(), "msp:2026/KB1@1");
    assert_eq!(
        (first.architectures.as_slice(), first.facts.is_empty()),
        (&["all".into()][..], true)
    );
    assert!(!first.has_packages());
    assert_eq!(second.description, "Mends what was wrong.\nMore of it.");
    let facts = &second.facts;
    assert_eq!(facts.classification, Some(Classification::Security));
    assert_eq!((facts.severity, facts.reboot), (Some(Severity::Critical), Reboot::Required));
    assert_eq!(facts.products, ["windows-10", "windows-11"]);
    assert_eq!(facts.languages, ["fr-FR", "ja-JP"], "those of its files");
    let names: Vec<String> = facts.supersedes.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["debian:bookworm/openssl@1", "msp:2026/KB1"]);
    assert!(second.supersedes(&first.id) && !first.supersedes(&second.id));
    assert_eq!(facts.prerequisites[0].to_string(), "msp:2026/KB1@1");
    let installer = facts.installer.as_ref().expect("an installer");
    assert_eq!(installer.install, ["wusa.exe", "{payload}", "/quiet"]);
    assert_eq!((&installer.success[..], &installer.retry[..]), (&[0, 2_359_302][..], &[1618][..]));
    assert_eq!(installer.time_limit, Some(SignedDuration::from_mins(30)));
    let detection = facts.detection.as_ref().expect("rules");
    let applies = detection.applies.as_ref().map(ToString::to_string);
    assert_eq!(applies.as_deref(), Some("product windows-11 and not fact kiosk"));
    assert_eq!(
        detection.installed.as_ref().expect("a rule").to_string(),
        r#"file "C:/Program Files/a.dll" >= 10.0.1"#
    );
    let files: Vec<(&str, &str)> = second
        .payloads
        .iter()
        .map(|payload| (payload.filename.as_str(), payload.language.as_str()))
        .collect();
    assert_eq!(files, [("fr/one.msu", "fr-FR"), ("ja/one.msu", "ja-JP")]);
    assert!(!facts.unsigned);
}

#[tokio::test]
async fn the_same_manifest_again_is_nothing_new() {
    let vendor = Vendor::new(&whole());
    let Ok(Outcome::Changed { state, .. }) = vendor.sync(&SyncState::default()).await else {
        panic!("nothing was known before")
    };
    let Ok(Outcome::Unchanged { state }) = vendor.sync(&state).await else { panic!("changed") };
    let later = whole().replace("T09:00:00Z", "T09:30:00Z");
    vendor.release(&later);
    let Ok(Outcome::Changed { state, .. }) = vendor.sync(&state).await else { panic!("unchanged") };
    assert_eq!(state.released, "2026-11-23T09:30:00Z".parse().ok());
    // The one before is refused, like an older `Date` of a repository.
    vendor.release(&whole());
    assert!(matches!(vendor.sync(&state).await, Err(Error::Older { .. })));
    vendor.release(&whole().replace("released = 2026-11-23T09:00:00Z", ""));
    assert!(matches!(vendor.sync(&state).await, Err(Error::Undated { .. })));
    vendor.release(&whole().replace("T09:00:00Z", "T11:00:00Z"));
    assert!(matches!(vendor.sync(&state).await, Err(Error::Future(_))));
}

#[tokio::test]
async fn a_file_is_copied_and_compared() {
    let vendor = Vendor::new(&whole());
    let revisions = vendor.revisions().await;
    let file = &revisions[1].payloads[1];
    let to = vendor.path().join("copy");
    let progress = Progress::default();
    fetch_payload_to(&vendor.config, file, &to, &progress).await.expect("copied");
    assert_eq!(std::fs::read(&to).expect("a copy"), JAPANESE);
    for (bytes, word) in [
        (&b"an update for japan"[..], "SHA-256"),
        (b"an update", "9 bytes"),
        (b"an update for Japan and more", "more than"),
    ] {
        std::fs::remove_file(&to).expect("removed");
        vendor.write("ja/one.msu", bytes);
        let error =
            fetch_payload_to(&vendor.config, file, &to, &progress).await.expect_err("other");
        assert!(matches!(error, Error::Mismatch { .. }), "{error}");
        assert!(error.to_string().contains(word), "{error}");
        assert!(!to.exists(), "nothing of it stays");
        std::fs::write(&to, "").expect("for the next");
    }
}

#[tokio::test]
async fn a_template_is_a_good_manifest_of_the_files_at_hand() {
    let vendor = Vendor::new("");
    for name in [MANIFEST, SIGNATURES[0]] {
        std::fs::remove_file(vendor.path().join(name)).expect("removed");
    }
    vendor.write(".hidden", b"x");
    vendor.write("odd \"name\" é.exe", b"abc");
    let progress = Progress::default();
    let written = template::write(vendor.path(), &[], now(), &progress).expect("written");
    assert_eq!(written.files, ["fr/one.msu", "ja/one.msu", "odd \"name\" é.exe"]);
    let text = std::fs::read_to_string(&written.path).expect("a manifest");
    // One id for two files is a person's to mend, and is told.
    let checked = check::folder(vendor.path(), vendor.config.name(), None, now(), &progress);
    let faults = checked.expect("readable").faults;
    assert!(faults.len() == 1 && faults[0].what.contains("already"), "{faults:?}");
    vendor.release(&text.replacen("id = \"one\"", "id = \"KB1\"", 1));
    let revisions = vendor.revisions().await;
    assert_eq!(revisions.len(), 3);
    assert_eq!(revisions[0].id.to_string(), "msp:stable/KB1@1");
    let again = template::write(vendor.path(), &[], now(), &progress);
    assert!(matches!(again, Err(template::Refusal::Exists(_))));

    let other = Vendor::new("");
    std::fs::remove_file(other.path().join(MANIFEST)).expect("removed");
    let outside = template::write(other.path(), &["../x".into()], now(), &progress);
    assert!(matches!(outside, Err(template::Refusal::Outside { .. })));
    let one = [other.path().join("ja/one.msu")];
    let written = template::write(other.path(), &one, now(), &progress).expect("written");
    assert_eq!(written.files, ["ja/one.msu"]);
}

#[tokio::test]
async fn everything_commented_out_in_a_template_can_be_used() {
    let vendor = Vendor::new("");
    std::fs::remove_file(vendor.path().join(MANIFEST)).expect("removed");
    let one = [vendor.path().join("ja/one.msu")];
    let written = template::write(vendor.path(), &one, now(), &Progress::default());
    let text = std::fs::read_to_string(written.expect("written").path).expect("a manifest");
    let (head, rest) = text.split_once("[[revision]]").expect("a revision");
    let used: String =
        rest.lines().map(|line| format!("{}\n", line.trim_start_matches("# "))).collect();
    let used = used.replace("prerequisites = [\"NEEDED-ID\"]", "");
    vendor.release(&format!("{head}[[revision]]{used}"));
    let revisions = vendor.revisions().await;
    assert!(revisions[0].facts.installer.is_some() && !revisions[0].facts.products.is_empty());
}

#[tokio::test]
async fn packages_of_rpm_are_named_by_their_files_or_else_by_their_revision() {
    let lines = "[revision.installer]\nkind = \"rpm\"";
    let text = manifest(&[revision("app", "2-1.el9", lines)]);
    let vendor = Vendor::new(&text);
    assert_eq!(vendor.check(), Vec::<String>::new());
    let plain = &vendor.revisions().await[0];
    assert_eq!(plain.format(), Some(Format::Rpm));
    let named = |revision: &Revision| {
        let payload = &revision.payloads[0];
        (payload.package.clone(), payload.version.clone())
    };
    assert_eq!(named(plain), ("app".to_owned(), "2-1.el9".to_owned()));
    let own = "\npackage = \"app-server\"\nversion = \"1:2-3\"\nlength = 12";
    let stated = Vendor::new(&text.replace("\nlength = 12", own));
    assert_eq!(stated.check(), Vec::<String>::new());
    assert_eq!(named(&stated.revisions().await[0]), ("app-server".to_owned(), "1:2-3".to_owned()));
}

#[tokio::test]
async fn files_that_are_put_in_place_say_where() {
    let place =
        |more: &str| payload("fr/one.msu", FRENCH, &format!("path = \"/etc/app/conf\"\n{more}"));
    let of = |files: &[String], more: &str| {
        let head = "[[revision]]\nid = \"app\"\nversion = \"1\"\ntitle = \"App\"\n";
        let kind = "[revision.installer]\nkind = \"files\"\n";
        manifest(&[format!("{head}{kind}{more}{}", files.concat())])
    };
    let all = "mode = \"0640\"\nowner = \"app\"\ngroup = \"33\"\narchitecture = \"x64\"";
    let other = place("architecture = \"arm64\"");
    let applies = "[revision.detection]\napplies = 'product till'\n";
    let vendor = Vendor::new(&of(&[place(all), other], applies));
    assert_eq!(vendor.check(), Vec::<String>::new());
    let revision = &vendor.revisions().await[0];
    assert!(revision.is_placed() && revision.format().is_none());
    let detection = revision.facts.detection.as_ref().expect("stated");
    assert!(detection.applies.is_some() && detection.installed.is_none());
    let places: Vec<Place> =
        revision.payloads.iter().filter_map(|one| one.place.as_deref().cloned()).collect();
    let stated = Place {
        mode: Some(0o640),
        owner: "app".to_owned(),
        group: "33".to_owned(),
        ..Place::at("/etc/app/conf")
    };
    assert_eq!(places, [Place::at("/etc/app/conf"), stated]);
    // Where it says nothing of detection there is none.
    let vendor = Vendor::new(&of(&[place("")], ""));
    assert_eq!(vendor.revisions().await[0].facts.detection, None);
}
