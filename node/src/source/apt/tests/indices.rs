//! Indices that are cut, changed, endless, damaged or far too large.

use super::vendor::pack;
use super::*;

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
