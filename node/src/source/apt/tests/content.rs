//! What a good repository becomes, and what is said of odd ones.

use std::path::PathBuf;

use jiff::SignedDuration;

use super::*;
use vendor::Package;

#[tokio::test]
async fn one_revision_is_one_source_version_with_all_its_packages() {
    let packages = vec![
        package("libfoo1", "1:2.0~rc1-1", "amd64").with("Source: foo\nMulti-Arch: same\n"),
        package("libfoo1", "1:2.0~rc1-1", "arm64").with("Source: foo\nMulti-Arch: same\n"),
        package("foo-doc", "1:2.0~rc1-1", "all").with("Source: foo\nMulti-Arch: foreign\n"),
        package("foo-addon", "7+b1", "amd64").with("Source: foo (1:2.0~rc1-1)\n"),
        package("libfoo1", "1:1.9-1", "amd64").with("Source: foo\n"),
        package("hello", "2.10-3", "amd64"),
    ];
    let vendor = Vendor::new(Repository {
        packages,
        architectures: vec!["amd64", "arm64"],
        ..Repository::default()
    })
    .await;
    let options =
        Options { architectures: vec!["arm64".into(), "amd64".into()], ..vendor.options() };
    let Ok(Outcome::Changed { revisions, release, .. }) =
        vendor.sync_as(options, &SyncState::default(), now()).await
    else {
        panic!("expected revisions")
    };
    let revisions: Vec<_> = revisions.collect();
    assert_eq!(
        ids(&revisions),
        [
            "vendor:stable/foo@1:1.9-1",
            "vendor:stable/foo@1:2.0~rc1-1",
            "vendor:stable/hello@2.10-3"
        ]
    );
    let foo = &revisions[1];
    let names: Vec<_> = foo
        .payloads
        .iter()
        .map(|p| format!("{} {} {}", p.package, p.architecture, p.version))
        .collect();
    assert_eq!(
        names,
        [
            "foo-addon amd64 7+b1",
            "foo-doc all 1:2.0~rc1-1",
            "libfoo1 amd64 1:2.0~rc1-1",
            "libfoo1 arm64 1:2.0~rc1-1"
        ]
    );
    assert_eq!(foo.architectures, ["all", "amd64", "arm64"]);
    assert_eq!(foo.title, "about foo-addon");
    assert_eq!(revisions[2].description, "more of hello");
    let control = "Package: foo-doc\nVersion: 1:2.0~rc1-1\nArchitecture: all\nSource: foo\nMulti-Arch: foreign\n\
                   Description: about foo-doc\n more of foo-doc\n";
    assert_eq!(foo.payloads[1].control, control);
    assert_eq!((release.packages, release.origin.as_str()), (6, "Vendor"));
    assert_eq!(release.signer.fingerprint, vendor.repository.key.fingerprint());
}

#[tokio::test]
async fn every_packing_is_read_and_the_smallest_is_fetched() {
    for packing in [".xz", ".zst", ".gz", ""] {
        for plain_listed in [true, false] {
            let vendor = Vendor::new(Repository {
                packings: vec![packing],
                plain_listed,
                ..Repository::default()
            })
            .await;
            assert_eq!(
                ids(&revisions(vendor.sync(&SyncState::default()).await)),
                ["vendor:stable/hello@2.10-3"]
            );
        }
    }
    let packages = (0..50).map(|n| package(&format!("p{n}"), "1", "amd64")).collect();
    let vendor = Vendor::new(Repository {
        packages,
        packings: vec!["", ".gz", ".xz"],
        ..Repository::default()
    })
    .await;
    revisions(vendor.sync(&SyncState::default()).await);
    let fetched = vendor.requests();
    assert_eq!(
        fetched.iter().filter(|path| path.contains("Packages")).collect::<Vec<_>>(),
        [INDEX]
    );
}

#[tokio::test]
async fn nothing_new_is_told_by_one_request() {
    let mut vendor = Vendor::new(Repository::default()).await;
    let (_, state) = changed(vendor.sync(&SyncState::default()).await);
    vendor.requests();
    let state = unchanged(vendor.sync(&state).await);
    assert_eq!(vendor.requests(), [IN_RELEASE, "304"]);

    // Signed anew over the same indices.
    vendor.repository.date += SignedDuration::from_mins(10);
    vendor.publish();
    let newer = unchanged(vendor.sync(&state).await);
    assert_eq!(newer.release_date, Some(vendor.repository.date));
    assert_eq!(vendor.requests(), [IN_RELEASE]);

    // Other settings make everything new, from the cache as far as it goes.
    let options = Options { packages: vec!["hel*".into()], ..vendor.options() };
    revisions(vendor.sync_as(options, &newer, now()).await);
    assert_eq!(vendor.requests(), [IN_RELEASE]);

    let text = serde_json::to_string(&newer).expect("text");
    assert_eq!(serde_json::from_str::<SyncState>(&text).expect("a state"), newer);
}

#[tokio::test]
async fn a_damaged_cache_is_fetched_again_and_old_files_go() {
    let mut vendor = Vendor::new(Repository::default()).await;
    revisions(vendor.sync(&SyncState::default()).await);
    let cached = || -> Vec<_> {
        let entries = std::fs::read_dir(vendor.cache.path()).expect("a folder");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    };
    let [file]: [PathBuf; 1] = cached().try_into().expect("one file");
    std::fs::write(&file, b"damaged").expect("written");
    vendor.requests();
    revisions(vendor.sync(&SyncState::default()).await);
    assert_eq!(vendor.requests(), [IN_RELEASE, INDEX]);

    vendor.repository.packages.push(package("more", "1", "amd64"));
    vendor.publish();
    assert_eq!(revisions(vendor.sync(&SyncState::default()).await).len(), 2);
    let left: Vec<_> = std::fs::read_dir(vendor.cache.path()).expect("a folder").collect();
    assert_eq!(left.len(), 1);
    assert!(!file.exists());
}

#[tokio::test]
async fn a_flat_repository_is_read() {
    let fields = "Origin: Vendor\n".to_owned();
    let vendor =
        Vendor::new(Repository { directory: "flat/", fields, ..Repository::default() }).await;
    let options = Options { suite: "flat/".into(), components: Vec::new(), ..vendor.options() };
    let found = revisions(vendor.sync_as(options, &SyncState::default(), now()).await);
    assert_eq!(ids(&found), ["vendor:flat/hello@2.10-3"]);
}

#[tokio::test]
async fn a_filter_takes_whole_revisions() {
    let packages = vec![
        package("libfoo1", "2", "amd64").with("Source: foo\n"),
        package("foo-doc", "2", "all").with("Source: foo\n"),
        package("bar", "1", "amd64"),
        package("baz", "1", "amd64"),
    ];
    let vendor = Vendor::new(Repository { packages, ..Repository::default() }).await;
    let filtered = async |pattern: &str| {
        let options = Options { packages: vec![pattern.into()], ..vendor.options() };
        revisions(vendor.sync_as(options, &SyncState::default(), now()).await)
    };
    let by_binary = filtered("lib*").await;
    assert_eq!(
        (ids(&by_binary), by_binary[0].payloads.len()),
        (vec!["vendor:stable/foo@2".to_owned()], 2)
    );
    assert_eq!(ids(&filtered("{foo,bar}").await), ["vendor:stable/bar@1", "vendor:stable/foo@2"]);
    assert!(filtered("nothing").await.is_empty());
}

#[tokio::test]
async fn a_malformed_stanza_is_named_by_file_paragraph_and_line() {
    let index = Some(b"Package: a\nVersion: 1\n\n\nPackage: b\n".to_vec());
    let fault = fault(Repository { index, ..Repository::default() }).await;
    assert_eq!(
        fault.to_string(),
        format!("{INDEX}, paragraph 1, line 1: field Architecture is missing")
    );
    let mut vendor = Vendor::new(Repository::default()).await;
    let text = format!("{}Package: b\nbroken\n", String::from_utf8_lossy(&unpacked(&vendor)));
    vendor.repository.index = Some(text.into_bytes());
    vendor.publish();
    let fault = vendor.sync(&SyncState::default()).await.expect_err("refused");
    assert_eq!(
        fault.to_string(),
        format!("{INDEX}, paragraph 2, line 11: this line is no field (NAME: VALUE)")
    );
}

fn unpacked(vendor: &Vendor) -> Vec<u8> {
    let mut text = Vec::new();
    let packed = vendor.file(INDEX);
    std::io::Read::read_to_end(&mut liblzma::read::XzDecoder::new(packed.as_slice()), &mut text)
        .expect("unpacks");
    text
}

#[tokio::test]
async fn a_contradiction_in_the_indices_is_noted() {
    let other = Package { content: b"other".to_vec(), ..package("hello", "2.10-3", "amd64") };
    let packages = vec![package("hello", "2.10-3", "amd64"), other];
    let vendor = Vendor::new(Repository { packages, ..Repository::default() }).await;
    let Ok(Outcome::Changed { revisions, release, .. }) = vendor.sync(&SyncState::default()).await
    else {
        panic!("expected revisions")
    };
    let revisions: Vec<_> = revisions.collect();
    assert_eq!((revisions[0].payloads.len(), release.notes.len()), (1, 1));
}
