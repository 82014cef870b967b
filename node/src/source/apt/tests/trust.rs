//! Signatures, freshness and names: what is believed and what is not.

use jiff::SignedDuration;

use super::*;
use crate::openpgp::{self, Rejection, SigningKey};

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
