//! Synchronising with a vendor on loopback that does everything right, and then
//! each thing wrong.

mod vendor;

use std::path::PathBuf;

use jiff::SignedDuration;
use patchmesh_topology::revision::Revision;

use super::*;
use crate::openpgp::{self, Rejection, SigningKey};
use crate::source::http;
use vendor::{Package, Repository, Vendor, now, pack, package};

fn revisions(outcome: Result<Outcome, Error>) -> Vec<Revision> {
    changed(outcome).0
}

fn changed(outcome: Result<Outcome, Error>) -> (Vec<Revision>, SyncState) {
    match outcome {
        Ok(Outcome::Changed { revisions, state, .. }) => (revisions, state),
        other => panic!("expected revisions, got {other:?}"),
    }
}

fn unchanged(outcome: Result<Outcome, Error>) -> SyncState {
    match outcome {
        Ok(Outcome::Unchanged { state }) => state,
        other => panic!("expected no change, got {other:?}"),
    }
}

async fn fault(repository: Repository) -> Error {
    Vendor::new(repository).await.sync(&SyncState::default()).await.expect_err("refused")
}

fn ids(revisions: &[Revision]) -> Vec<String> {
    revisions.iter().map(|revision| revision.id.to_string()).collect()
}

const INDEX: &str = "dists/stable/main/binary-amd64/Packages.xz";
const IN_RELEASE: &str = "dists/stable/InRelease";

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
async fn another_vendors_key_is_refused() {
    let vendor = Vendor::new(Repository::default()).await;
    let other = SigningKey::generate("Other", vendor::now()).expect("a key");
    let options =
        Options { keyring: other.public_binary().expect("a certificate"), ..vendor.options() };
    let fault = vendor.sync_as(options, &SyncState::default(), now()).await.expect_err("refused");
    let Error::Signature { source: openpgp::Error::Untrusted(reasons), .. } = fault else {
        panic!("{fault:?}")
    };
    assert_eq!(reasons, [Rejection::UnknownKey(vendor.repository.key.fingerprint())]);
}

#[tokio::test]
async fn only_signed_text_counts() {
    let vendor = Vendor::new(Repository::default()).await;
    let good = String::from_utf8(vendor.file(IN_RELEASE)).expect("text");
    for (bad, inside) in [
        (good.replace("Origin: Vendor", "Origin: Evil"), true),
        (format!("Origin: Evil\n\n{good}"), false),
        (format!("{good}\nSHA256:\n"), false),
        (good.replace("-----BEGIN PGP SIGNATURE", "Origin: Evil\n-----BEGIN PGP SIGNATURE"), true),
        (good.replace("Hash: SHA512", "Hash: SHA512\nOrigin: Evil"), false),
    ] {
        vendor.set(IN_RELEASE, bad);
        let fault = vendor.sync(&SyncState::default()).await.expect_err("refused");
        let Error::Signature { source, .. } = fault else { panic!("{fault:?}") };
        assert_eq!(matches!(source, openpgp::Error::Untrusted(_)), inside, "{source}");
        assert_eq!(matches!(source, openpgp::Error::Framing { .. }), !inside, "{source}");
    }
    // A bad InRelease is not passed over in favour of other files.
    assert!(vendor.requests().iter().all(|path| path == IN_RELEASE));
}

#[tokio::test]
async fn a_release_must_be_fresh() {
    let hour = SignedDuration::from_hours(1);
    let expired = Repository { valid_until: Some(now() - hour), ..Repository::default() };
    assert!(matches!(fault(expired).await, Error::Expired { at, .. } if at == now() - hour));

    let date = now() + hour;
    let future = Repository { date, signed_at: now(), ..Repository::default() };
    assert!(matches!(fault(future).await, Error::Future { date: at, .. } if at == date));
    let signed_later = Repository { signed_at: date, ..Repository::default() };
    assert!(matches!(fault(signed_later).await, Error::Signature { .. }));

    let mut vendor =
        Vendor::new(Repository { valid_until: Some(now() + hour), ..Repository::default() }).await;
    let (_, state) = changed(vendor.sync(&SyncState::default()).await);
    // Freezing the repository does not help either.
    let later = vendor.sync_as(vendor.options(), &state, now() + hour * 2).await;
    assert!(matches!(later, Err(Error::Expired { .. })));

    let accepted = vendor.repository.date;
    vendor.repository.date -= SignedDuration::from_secs(1);
    vendor.publish();
    let older = vendor.sync(&state).await.expect_err("refused");
    assert!(matches!(older, Error::Rollback { accepted: at, .. } if at == accepted));
    // Nor does a change of settings.
    let options = Options { packages: vec!["*".into()], ..vendor.options() };
    assert!(matches!(vendor.sync_as(options, &state, now()).await, Err(Error::Rollback { .. })));
}

#[tokio::test]
async fn another_suite_is_refused_unless_expected() {
    let fields = "Suite: oldstable\nCodename: bear\nComponents: main\n".to_owned();
    let vendor = Vendor::new(Repository { fields, ..Repository::default() }).await;
    let fault = vendor.sync(&SyncState::default()).await.expect_err("refused");
    assert!(matches!(fault, Error::OtherSuite { found, .. } if found == "oldstable or bear"));
    let options = Options { release_name: Some("bear".into()), ..vendor.options() };
    assert_eq!(revisions(vendor.sync_as(options, &SyncState::default(), now()).await).len(), 1);

    let options = Options { components: vec!["extra".into()], ..vendor.options() };
    let options = Options { release_name: Some("bear".into()), ..options };
    let fault = vendor.sync_as(options, &SyncState::default(), now()).await.expect_err("refused");
    assert!(matches!(fault, Error::NotOffered { kind: "component", .. }));
}

#[tokio::test]
async fn a_detached_signature_does_as_well() {
    let vendor = Vendor::new(Repository { clear_signed: false, ..Repository::default() }).await;
    let (first, state) = changed(vendor.sync(&SyncState::default()).await);
    assert_eq!(first.len(), 1);
    vendor.requests();
    unchanged(vendor.sync(&state).await);
    assert_eq!(vendor.requests(), [IN_RELEASE, "dists/stable/Release", "304"]);

    vendor.set("dists/stable/Release", b"Date: x\n");
    assert!(matches!(vendor.sync(&state).await, Err(Error::Signature { .. })));
    let unsigned = Vendor::new(Repository { clear_signed: false, ..Repository::default() }).await;
    let options = Options { suite: "other".into(), ..unsigned.options() };
    assert!(matches!(unsigned.sync_as(options, &state, now()).await, Err(Error::NoRelease(_))));
    unsigned.set("dists/bare/Release", b"Date: x\n");
    let options = Options { suite: "bare".into(), ..unsigned.options() };
    assert!(matches!(unsigned.sync_as(options, &state, now()).await, Err(Error::NoSignature(_))));
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
async fn indices_come_by_hash_where_that_is_offered() {
    let vendor = Vendor::new(Repository { by_hash: true, ..Repository::default() }).await;
    revisions(vendor.sync(&SyncState::default()).await);
    let fetched = vendor.requests();
    assert!(
        fetched[1].starts_with("dists/stable/main/binary-amd64/by-hash/SHA256/"),
        "{fetched:?}"
    );

    // A mirror that promises it and does not carry it.
    let vendor = Vendor::new(Repository { by_hash: true, ..Repository::default() }).await;
    let signed = vendor.file(IN_RELEASE);
    let plain = Repository { by_hash: false, ..vendor.repository.clone() };
    let vendor = Vendor::new(plain).await;
    vendor.set(IN_RELEASE, signed);
    assert_eq!(revisions(vendor.sync(&SyncState::default()).await).len(), 1);
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
async fn an_index_must_be_what_the_release_says() {
    let vendor = Vendor::new(Repository::default()).await;
    let good = vendor.file(INDEX);
    let http = async || match vendor.sync(&SyncState::default()).await {
        Err(Error::Fetch { file, source }) if file == INDEX => source,
        other => panic!("{other:?}"),
    };
    vendor.set(INDEX, &good[..good.len() - 10]);
    assert!(matches!(http().await, http::Error::Length { .. }), "truncated");
    vendor.set(INDEX, [good.as_slice(), b"x"].concat());
    assert!(matches!(http().await, http::Error::Length { .. }), "longer");
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    vendor.set(INDEX, flipped);
    assert!(matches!(http().await, http::Error::Digest { .. }), "changed");
    vendor.faults(|faults| faults.endless = Some(INDEX.into()));
    assert!(matches!(http().await, http::Error::Long { .. }), "endless");
    vendor.faults(|faults| faults.endless = None);
    vendor.set(INDEX, good);
    assert_eq!(revisions(vendor.sync(&SyncState::default()).await).len(), 1, "and good again");
}

#[tokio::test]
async fn an_endless_release_is_cut_off() {
    let vendor = Vendor::new(Repository::default()).await;
    vendor.faults(|faults| faults.endless = Some(IN_RELEASE.into()));
    let fault = vendor.sync(&SyncState::default()).await.expect_err("refused");
    assert!(matches!(fault, Error::Fetch { source: http::Error::Long { .. }, .. }), "{fault:?}");
    vendor.faults(|faults| (faults.endless, faults.redirect) = (None, Some("/round".into())));
    let fault = vendor.sync(&SyncState::default()).await.expect_err("refused");
    assert!(
        matches!(fault, Error::Fetch { source: http::Error::Transfer { .. }, .. }),
        "{fault:?}"
    );
    assert!(vendor.requests().len() < 20);
}

#[tokio::test]
async fn a_damaged_stream_is_named() {
    let whole = pack(".xz", &vec![b'\n'; 100_000]);
    let packed = Some(whole[..whole.len() / 2].to_vec());
    assert!(matches!(
        fault(Repository { packed, ..Repository::default() }).await,
        Error::Unpack { .. }
    ));
    let packed = Some(b"no xz at all".to_vec());
    assert!(matches!(
        fault(Repository { packed, ..Repository::default() }).await,
        Error::Unpack { .. }
    ));
}

/// A zstd frame of `blocks` blocks of 128 KiB, each four bytes long: a gigabyte in 32 KiB.
fn bomb(blocks: usize) -> Vec<u8> {
    const BLOCK: u32 = 128 << 10;
    // Magic, a window of 128 KiB and no content size (RFC 8878, section 3.1.1).
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
    for block in 1..=blocks {
        let last = u32::from(block == blocks);
        frame.extend_from_slice(&(BLOCK << 3 | 1 << 1 | last).to_le_bytes()[..3]);
        frame.push(b'\n');
    }
    frame
}

#[tokio::test]
async fn an_index_that_unpacks_to_ten_gigabytes_is_stopped() {
    let cap = 16 << 20;
    let small = Repository {
        packings: vec![".zst"],
        index: Some(vec![b'\n'; 4 * (128 << 10)]),
        packed: Some(bomb(4)),
        ..Repository::default()
    };
    assert!(
        revisions(Vendor::new(small.clone()).await.sync(&SyncState::default()).await).is_empty()
    );

    let ten_gigabytes = Some(bomb(80_000));
    let vendor =
        Vendor::new(Repository { packed: ten_gigabytes, plain_listed: false, ..small.clone() })
            .await;
    let options = Options { max_index_bytes: cap, ..vendor.options() };
    let fault = vendor.sync_as(options, &SyncState::default(), now()).await.expect_err("refused");
    assert!(matches!(fault, Error::UnpackedLong { cap: at, .. } if at == cap), "{fault:?}");

    // Stated in Release: refused before it is fetched.
    let vendor = Vendor::new(small).await;
    let options = Options { max_index_bytes: 1000, ..vendor.options() };
    let fault = vendor.sync_as(options, &SyncState::default(), now()).await.expect_err("refused");
    assert!(matches!(fault, Error::UnpackedLong { .. }), "{fault:?}");
    assert_eq!(vendor.requests(), [IN_RELEASE]);
}

#[tokio::test]
async fn an_index_must_unpack_to_the_stated_length() {
    let packed = Some(pack(".xz", b"\n\n\n"));
    let fault =
        fault(Repository { packed, index: Some(b"\n\n".to_vec()), ..Repository::default() }).await;
    assert!(matches!(fault, Error::UnpackedLength { expected: 2, got: 3, .. }), "{fault:?}");
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
    assert_eq!((revisions[0].payloads.len(), release.notes.len()), (1, 1));
}

#[tokio::test]
async fn an_index_is_taken_up_after_a_cut() {
    let packages = (0..200).map(|n| package(&format!("p{n}"), "1", "amd64")).collect();
    let vendor = Vendor::new(Repository { packages, ..Repository::default() }).await;
    vendor.faults(|faults| drop(faults.cuts.insert(INDEX.into(), vec![500, 1000])));
    assert_eq!(revisions(vendor.sync(&SyncState::default()).await).len(), 200);
    let fetched = vendor.requests();
    assert_eq!(fetched[1], INDEX);
    assert!(fetched[2].starts_with(&format!("{INDEX} bytes=")), "{fetched:?}");
    assert_eq!(fetched.len(), 4);
}

mod payload {
    use super::*;
    use patchmesh_topology::revision::Payload;

    async fn vendor() -> (Vendor, Payload) {
        let packages = vec![package("hello", "1:2.10~a+b", "amd64")];
        let vendor = Vendor::new(Repository { packages, ..Repository::default() }).await;
        let payload =
            revisions(vendor.sync(&SyncState::default()).await).remove(0).payloads.remove(0);
        vendor.requests();
        (vendor, payload)
    }

    async fn fetch(vendor: &Vendor, payload: &Payload) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        fetch_payload(&vendor.config(), &vendor.http, payload, &mut bytes, &Progress::default())
            .await?;
        Ok(bytes)
    }

    #[tokio::test]
    async fn comes_whole_and_after_cuts() {
        let (vendor, payload) = vendor().await;
        let content = vendor.file(&payload.filename);
        assert_eq!(fetch(&vendor, &payload).await.expect("fetched"), content);
        for no_ranges in [false, true] {
            vendor.faults(|faults| {
                faults.no_ranges = no_ranges;
                faults.cuts.insert(payload.filename.clone(), vec![1000, 70_000]);
            });
            assert_eq!(fetch(&vendor, &payload).await.expect("fetched"), content);
        }
        vendor.faults(|faults| drop(faults.cuts.insert(payload.filename.clone(), vec![10; 3])));
        let fault = fetch(&vendor, &payload).await.expect_err("gives up");
        assert!(
            matches!(fault, Error::Payload { source: http::Error::Transfer { .. }, .. }),
            "{fault:?}"
        );
    }

    #[tokio::test]
    async fn a_later_call_takes_up_the_file() {
        let (vendor, payload) = vendor().await;
        let content = vendor.file(&payload.filename);
        let path = vendor.cache.path().join("hello.deb");
        let config = vendor.config();
        let fetch = async || {
            fetch_payload_to(&config, &vendor.http, &payload, &path, &Progress::default()).await
        };
        vendor.faults(|faults| {
            drop(faults.cuts.insert(payload.filename.clone(), vec![10, 10, 50_000]))
        });
        assert!(fetch().await.is_err());
        assert!(!path.exists());
        vendor.requests();
        fetch().await.expect("fetched");
        assert_eq!(std::fs::read(&path).expect("a file"), content);
        let asked = vendor.requests();
        assert!(asked[0].contains(" bytes="), "{asked:?}");

        // What is left of something else does no harm.
        std::fs::write(vendor.cache.path().join("hello.deb.part"), b"something else")
            .expect("written");
        std::fs::remove_file(&path).expect("removed");
        fetch().await.expect("fetched");
        assert_eq!(std::fs::read(&path).expect("a file"), content);
    }

    #[tokio::test]
    async fn must_be_what_the_index_says() {
        let (vendor, payload) = vendor().await;
        let mut content = vendor.file(&payload.filename);
        content[5] ^= 1;
        vendor.set(&payload.filename, content.clone());
        let fault = fetch(&vendor, &payload).await.expect_err("refused");
        assert_eq!(fault.to_string(), "cannot fetch package hello 1:2.10~a+b (amd64)");
        let Error::Payload { source, .. } = fault else { panic!("{fault:?}") };
        let words = source.to_string();
        for word in [payload.sha256.to_string(), vendor::sha256(&content), vendor.base.clone()] {
            assert!(words.contains(&word), "{words}");
        }
        content.pop();
        vendor.set(&payload.filename, content);
        let fault = fetch(&vendor, &payload).await.expect_err("refused");
        assert!(matches!(fault, Error::Payload { source: http::Error::Length { .. }, .. }));
        vendor.faults(|faults| faults.endless = Some(payload.filename.clone()));
        let fault = fetch(&vendor, &payload).await.expect_err("refused");
        assert!(matches!(fault, Error::Payload { source: http::Error::Long { .. }, .. }));
    }

    #[tokio::test]
    async fn never_leads_out_of_the_repository() {
        let (vendor, mut payload) = vendor().await;
        payload.filename = "../../etc/passwd".into();
        assert!(matches!(fetch(&vendor, &payload).await, Err(Error::Filename { .. })));
        assert!(vendor.requests().is_empty());
    }
}
