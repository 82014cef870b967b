//! Packages' files: whole, after cuts, and not what the index says.

use patchmesh_topology::revision::Payload;

use super::*;

async fn vendor() -> (Vendor, Payload) {
    let packages = vec![package("hello", "1:2.10~a+b", "amd64")];
    let vendor = Vendor::new(Repository { packages, ..Repository::default() }).await;
    let payload = revisions(vendor.sync(&SyncState::default()).await).remove(0).payloads.remove(0);
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
    vendor
        .faults(|faults| drop(faults.cuts.insert(payload.filename.clone(), vec![10, 10, 50_000])));
    assert!(fetch().await.is_err());
    assert!(!path.exists());
    vendor.requests();
    fetch().await.expect("fetched");
    assert_eq!(std::fs::read(&path).expect("a file"), content);
    let asked = vendor.requests();
    assert!(asked[0].contains(" bytes="), "{asked:?}");

    // What is left of something else does no harm.
    std::fs::write(vendor.cache.path().join("hello.deb.part"), b"something else").expect("written");
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
