//! Small roots, good and bad.

use std::fs;
use std::os::unix::fs::symlink;

use patchmesh_topology::applicability::{Answer, ask};
use tempfile::TempDir;

use super::*;

const STATUS: &str = "\
Package: dpkg
Status: install ok installed
Architecture: amd64
Version: 1.21.22

Package: nginx
Status: hold ok installed
Architecture: amd64
Version: 1:1.22.1-9
Depends: libc6,
 libpcre2-8-0

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: half
Status: install ok half-configured
Architecture: all
Version: 2
";

fn root(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }
    folder
}

fn gathered(folder: &TempDir) -> Inventory {
    gather(folder.path(), []).expect("an inventory")
}

#[test]
fn what_a_debian_root_says() {
    let folder = root(&[
        ("usr/lib/os-release", "NAME=\"Debian\"\nID=debian\nVERSION_ID=\"12\"\n"),
        ("etc/default/locale", "LANG=fr_CA.UTF-8\n"),
        ("var/lib/dpkg/status", STATUS),
        ("var/lib/dpkg/arch", "amd64\ni386\n"),
        ("run/reboot-required", ""),
        ("etc/patchmesh/facts.d/a.toml", "exposure = \"lan\"\nproducts = [\"till\"]\n"),
        ("etc/patchmesh/facts.d/b.toml", "exposure = \"internet\"\n"),
        ("etc/patchmesh/facts.d/c.txt", "not this one"),
    ]);
    fs::create_dir_all(folder.path().join("etc")).expect("made");
    symlink("/usr/lib/os-release", folder.path().join("etc/os-release")).expect("a link");
    let found = gathered(&folder);
    assert_eq!((found.os.as_str(), found.os_version.as_str()), ("debian", "12"));
    assert_eq!(found.architectures, ["amd64", "i386"]);
    assert_eq!((&found.languages[..], found.reboot_needed), (&["fr-CA".to_owned()][..], true));
    assert_eq!(found.products, ["debian-12", "till"]);
    assert_eq!(found.facts["exposure"], "internet");
    let names: Vec<&str> = found.packages.keys().map(String::as_str).collect();
    assert_eq!(names, ["dpkg", "half", "nginx"]);
    let nginx = &found.packages["nginx"][0];
    assert_eq!((nginx.version.as_str(), nginx.held), ("1:1.22.1-9", true));
    assert_eq!(found.packages["half"][0].fault, "half-configured");
    assert!(found.services.is_empty(), "nothing says which there are");
    let digest = Listing::from(&found).digest();
    assert_eq!(Listing::from(&gathered(&folder)).digest(), digest);
    fs::remove_file(folder.path().join("run/reboot-required")).expect("removed");
    assert_ne!(Listing::from(&gathered(&folder)).digest(), digest);
}

#[test]
fn services_that_begin_with_the_system_are_listed_once() {
    let folder = root(&[
        ("etc/systemd/system/cron.service", "not by itself"),
        ("etc/systemd/system/multi-user.target.wants/other.timer", ""),
        ("etc/rc2.d/S01ssh", ""),
        ("etc/rc2.d/S02nginx", ""),
        ("etc/rc2.d/K01apache2", ""),
        ("etc/rc2.d/README", ""),
    ]);
    let system = folder.path().join("etc/systemd/system");
    fs::create_dir_all(system.join("boot.target.requires")).expect("made");
    for link in ["multi-user.target.wants/nginx", "boot.target.requires/getty@tty1"] {
        // Links to what is nowhere below the root.
        let link = system.join(format!("{link}.service"));
        symlink("/lib/systemd/system/x.service", link).expect("a link");
    }
    let found = gathered(&folder);
    assert_eq!(found.services, ["getty@tty1", "nginx", "ssh"]);
    let says = |text: &str| ask(&text.parse().expect("a rule"), &found);
    assert!(matches!(says("service nginx"), Answer::Yes(_)));
    assert!(matches!(says("service cron"), Answer::No(_)));
}

#[test]
fn an_empty_root_says_nothing() {
    let found = gathered(&root(&[]));
    assert_eq!(found, Inventory::default());
    let error = gather(Path::new("/no/such/folder"), []).expect_err("none").to_string();
    assert!(error.contains("/no/such/folder"), "{error}");
}

#[test]
fn links_do_not_lead_out_of_the_root() {
    let secret = root(&[("os-release", "ID=secret\n")]);
    let folder = root(&[("etc/empty", "")]);
    symlink(secret.path().join("os-release"), folder.path().join("etc/os-release"))
        .expect("a link");
    assert_eq!(gathered(&folder).os, "");
    let climbing = root(&[("etc/empty", "")]);
    symlink("../../../../../../usr/lib/os-release", climbing.path().join("etc/os-release"))
        .expect("a link");
    assert_eq!(gathered(&climbing).os, "", "the host's own");
}

#[test]
fn what_cannot_be_understood_is_named_with_its_place() {
    for (path, text, part) in [
        ("var/lib/dpkg/status", "Package: a\nStatus: x\n", "status:1: \"x\" is no status"),
        (
            "var/lib/dpkg/status",
            "Package: a\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n\nPackage: b\n",
            "status:6: the package has no Status",
        ),
        ("etc/patchmesh/facts.d/a.toml", "\nexposure = lan", "a.toml:2: this is no TOML"),
        ("etc/patchmesh/facts.d/a.toml", "exposure = 7", "a.toml:1: exposure is no text"),
        ("etc/patchmesh/facts.d/a.toml", "a = \"1\"\n\nb = 7", "a.toml:3: b is no text"),
        ("etc/patchmesh/facts.d/a.toml", "products = 7", "products is no list"),
    ] {
        let folder = root(&[(path, text)]);
        let error = gather(folder.path(), []).expect_err(text).to_string();
        assert!(error.contains(part), "{error}");
    }
    let long = root(&[("etc/os-release", &"x".repeat(70_000))]);
    assert!(matches!(gather(long.path(), []), Err(Error::Long { .. })));
}

#[test]
fn a_list_that_was_lost_is_no_empty_machine() {
    let files = ("var/lib/dpkg/info/nginx.list", "/.\n");
    for lost in [None, Some(""), Some("\n\n")] {
        let folder = root(&[files]);
        if let Some(text) = lost {
            fs::write(folder.path().join("var/lib/dpkg/status"), text).expect("written");
        }
        let error = gather(folder.path(), []).expect_err("it was lost").to_string();
        assert!(error.contains("var/lib/dpkg/status is empty or gone"), "{error}");
    }
    // A system that is being made has none yet.
    let new = root(&[("var/lib/dpkg/info/format", "1\n"), ("var/lib/dpkg/status", "")]);
    assert_eq!(gathered(&new).package_count(), 0);
    assert_eq!(gathered(&root(&[files, ("var/lib/dpkg/status", STATUS)])).package_count(), 3);
}

#[test]
fn a_list_without_what_its_manager_comes_in_is_not_whole() {
    let whole = gathered(&root(&[("var/lib/dpkg/status", STATUS)]));
    let known = managers(&whole, &BTreeSet::new()).expect("it is whole");
    assert_eq!(known, BTreeSet::from(["deb".to_owned()]));
    assert_eq!(managers(&whole, &known).expect("it is whole still"), known);
    let (_, rest) = STATUS.split_once("\n\n").expect("two packages");
    for lost in ["", rest] {
        let found = gathered(&root(&[("var/lib/dpkg/status", lost)]));
        let error = managers(&found, &known).expect_err("dpkg is gone").to_string();
        assert!(error.contains("list of deb packages does not have dpkg any more"), "{error}");
        // Where it never was nobody misses it.
        assert!(managers(&found, &BTreeSet::new()).expect("fine").is_empty());
    }
}

#[test]
fn what_can_be_read_beside_a_lost_list_is() {
    let folder = root(&[
        ("etc/os-release", "ID=debian\nVERSION_ID=12\n"),
        ("etc/patchmesh/facts.d/a.toml", "exposure = \"internet\"\n"),
        ("var/lib/dpkg/status", "nonsense"),
    ]);
    let found = besides(folder.path());
    assert_eq!((found.os.as_str(), found.facts["exposure"].as_str()), ("debian", "internet"));
    fs::write(folder.path().join("etc/patchmesh/facts.d/a.toml"), "exposure = lan")
        .expect("written");
    assert_eq!(besides(folder.path()).os, "debian");
    assert_eq!(besides(Path::new("/no/such/folder")), Inventory::default());
}

#[test]
fn files_that_rules_ask_for_are_looked_at() {
    let folder = root(&[("opt/app", "abc")]);
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let rules: Vec<Rule> = [
        "file /opt/app".to_owned(),
        format!("file /opt/app sha256 {hash}"),
        format!("file /opt/app sha256 {}", hash.replace('b', "c")),
        "file /opt/none".to_owned(),
        "file \"C:/x\"".to_owned(),
        "file /opt/app >= 1".to_owned(),
    ]
    .iter()
    .map(|text| text.parse().expect("a rule"))
    .collect();
    let found = gather(folder.path(), &rules).expect("an inventory");
    let answers: Vec<&str> = rules
        .iter()
        .map(|rule| match ask(rule, &found) {
            Answer::Yes(_) => "yes",
            Answer::No(_) => "no",
            Answer::Unknown(_) => "unknown",
        })
        .collect();
    assert_eq!(answers, ["yes", "yes", "no", "no", "unknown", "unknown"]);
}

#[test]
fn packages_of_rpm_are_asked_of_rpm() {
    let folder = root(&[("var/lib/rpm/empty", "")]);
    let made =
        std::process::Command::new("rpm").arg("--root").arg(folder.path()).arg("--initdb").status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no rpm here; deploy/setup installs it");
        return;
    }
    assert_eq!(gathered(&folder).package_count(), 0, "an empty database is read");
}
