//! Keys and signatures made here, and a certificate, a clear-signed text and a
//! SHA-1 signature that GnuPG made.

use jiff::{SignedDuration, Timestamp};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::SubpacketData;
use pgp::types::Duration;

use super::*;
use crate::openpgp::SigningKey;

const VENDOR: &[u8] = include_bytes!("vendor.asc");
const VENDOR_INRELEASE: &[u8] = include_bytes!("vendor.inrelease");
const VENDOR_SHA1: &[u8] = include_bytes!("sha1.asc");
const VENDOR_TEXT: &str = "Origin: Sample Vendor\nSuite: stable\n-- dashes\n\nFrom the start\n";

const TEXT: &str = "Origin: us\n-dash\n\ntrailing \t\nend\n";

fn now() -> Timestamp {
    "2027-03-01T12:00:00Z".parse().expect("a time")
}

fn hours(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count)
}

fn key() -> SigningKey {
    SigningKey::generate("us", now() - hours(48)).expect("a key")
}

fn ring(key: &SigningKey) -> Keyring {
    Keyring::parse(&key.public_binary().expect("a certificate")).expect("a keyring")
}

fn reason(result: Result<Signer, Error>) -> Rejection {
    match result {
        Err(Error::Untrusted(mut reasons)) if reasons.len() == 1 => reasons.remove(0),
        other => panic!("expected one rejection, got {other:?}"),
    }
}

#[test]
fn signs_and_verifies_detached() {
    let key = key();
    let signature = key.sign_detached(TEXT.as_bytes(), now()).expect("a signature");
    let armored =
        Keyring::parse(key.public_armored().expect("armor").as_bytes()).expect("a keyring");
    for ring in [ring(&key), armored] {
        let signer =
            ring.verify_detached(TEXT.as_bytes(), signature.as_bytes(), now()).expect("good");
        assert_eq!(
            signer,
            Signer {
                fingerprint: key.fingerprint(),
                certificate: key.fingerprint(),
                created: now()
            }
        );
        let changed = ring.verify_detached(b"Origin: them\n", signature.as_bytes(), now());
        assert_eq!(reason(changed), Rejection::Mismatch(key.fingerprint()));
    }
}

#[test]
fn signs_and_verifies_clear_text() {
    let key = key();
    let message = key.sign_cleartext(TEXT, now()).expect("a message");
    let signed = ring(&key).verify_cleartext(message.as_bytes(), now()).expect("good");
    assert_eq!(signed.text, "Origin: us\n-dash\n\ntrailing\nend\n");
    let tampered = message.replace("Origin: us", "Origin: eu");
    let result =
        ring(&key).verify_cleartext(tampered.as_bytes(), now()).map(|signed| signed.signer);
    assert_eq!(reason(result), Rejection::Mismatch(key.fingerprint()));
    let other_line_ends = message.replace('\n', "\r\n");
    assert!(ring(&key).verify_cleartext(other_line_ends.as_bytes(), now()).is_ok());
}

#[test]
fn a_key_survives_its_file_whatever_its_bytes() {
    for first in [0u8, 1, 0x7f, 0x80, 0xff] {
        let mut seed = [7u8; 32];
        seed[0] = first;
        seed[1] = 0;
        let key = SigningKey::from_seed(seed, "us", now(), &[]).expect("a key");
        let again =
            SigningKey::from_armored(&key.to_armored().expect("armor")).expect("the same key");
        assert_eq!(again.fingerprint(), key.fingerprint());
        let signature = again.sign_detached(b"x", now()).expect("a signature");
        assert!(ring(&key).verify_detached(b"x", signature.as_bytes(), now()).is_ok());
    }
    assert!(matches!(SigningKey::from_armored("nothing"), Err(Error::SecretForm { .. })));
    let public = key().public_armored().expect("armor");
    assert!(matches!(SigningKey::from_armored(&public), Err(Error::SecretForm { .. })));
}

#[test]
fn names_why_a_signature_does_not_count() {
    let key = key();
    let by = key.fingerprint();
    let ring = ring(&key);
    let plain = key.sign_detached(b"x", now()).expect("a signature");
    let check = |signature: &str, at| reason(ring.verify_detached(b"x", signature.as_bytes(), at));

    let stranger = self::key();
    let unknown = stranger.sign_detached(b"x", now()).expect("a signature");
    assert_eq!(check(&unknown, now()), Rejection::UnknownKey(stranger.fingerprint()));
    assert_eq!(check(&plain, now() - hours(1)), Rejection::Future(by.clone(), now()));

    let lifetime = SubpacketData::SignatureExpirationTime(Duration::from_secs(3600));
    let short =
        key.sign_oddly(b"x", now(), HashAlgorithm::Sha256, vec![lifetime]).expect("a signature");
    assert!(ring.verify_detached(b"x", short.as_bytes(), now()).is_ok());
    assert_eq!(check(&short, now() + hours(2)), Rejection::Expired(by.clone(), now() + hours(1)));

    // One good signature among strangers' is enough.
    let both = format!("{unknown}{plain}");
    assert!(ring.verify_detached(b"x", both.as_bytes(), now()).is_ok());
}

#[test]
fn expired_and_revoked_keys_sign_nothing() {
    let lifetime = SubpacketData::KeyExpirationTime(Duration::from_secs(3600));
    let key = SigningKey::from_seed([9; 32], "us", now(), &[lifetime]).expect("a key");
    let signature = key.sign_detached(b"x", now()).expect("a signature");
    let check = |at| ring(&key).verify_detached(b"x", signature.as_bytes(), at);
    assert!(check(now()).is_ok());
    assert_eq!(
        reason(check(now() + hours(2))),
        Rejection::KeyExpired(key.fingerprint(), now() + hours(1))
    );

    let revoked = Keyring::parse(&key.revoked(now()).expect("a revocation")).expect("a keyring");
    let result = revoked.verify_detached(b"x", signature.as_bytes(), now());
    assert_eq!(reason(result), Rejection::KeyRevoked(key.fingerprint()));
}

#[test]
fn reads_what_gnupg_makes() {
    let ring = Keyring::parse(VENDOR).expect("a keyring");
    let signed = ring.verify_cleartext(VENDOR_INRELEASE, now()).expect("good");
    assert_eq!(signed.text, VENDOR_TEXT);
    assert_ne!(signed.signer.fingerprint, signed.signer.certificate, "a subkey signed");

    let text = VENDOR_TEXT.replace("dashes", "dashes  ");
    let sha1 = ring.verify_detached(text.as_bytes(), VENDOR_SHA1, now());
    assert_eq!(reason(sha1), Rejection::WeakHash(signed.signer.fingerprint, "SHA1".to_owned()));
}

#[test]
fn keyrings_hold_several_certificates() {
    let (one, two) = (key(), key());
    let armored =
        [one.public_armored().expect("armor"), two.public_armored().expect("armor")].concat();
    let binary =
        [one.public_binary().expect("bytes"), two.public_binary().expect("bytes")].concat();
    for bytes in [armored.as_bytes(), &binary] {
        let ring = Keyring::parse(bytes).expect("a keyring");
        assert_eq!(ring.fingerprints().collect::<Vec<_>>(), [one.fingerprint(), two.fingerprint()]);
        for key in [&one, &two] {
            let signature = key.sign_detached(b"x", now()).expect("a signature");
            assert!(ring.verify_detached(b"x", signature.as_bytes(), now()).is_ok());
        }
    }
}

#[test]
fn says_what_is_wrong_with_a_keyring() {
    assert!(matches!(Keyring::parse(b""), Err(Error::KeyringEmpty)));
    assert!(matches!(Keyring::parse(b"hello\n"), Err(Error::KeyringForm { .. })));
    assert!(matches!(Keyring::parse(&vec![0; MAX_KEYRING + 1]), Err(Error::KeyringLarge(_))));
    assert!(matches!(Keyring::parse(b"\0\0\0\x20\x01\x01\0\x02KBXf"), Err(Error::Keybox)));
    let secret = key().to_armored().expect("armor");
    assert!(matches!(Keyring::parse(secret.as_bytes()), Err(Error::Secret)));
    let missing = Keyring::read(Path::new("/nonexistent/vendor.gpg"));
    assert!(matches!(missing, Err(Error::KeyringRead { .. })));
}

#[test]
fn no_signature_is_no_good_signature() {
    let ring = ring(&key());
    assert!(matches!(ring.verify_detached(b"x", b"", now()), Err(Error::Unsigned)));
    assert!(matches!(
        ring.verify_detached(b"x", b"rubbish", now()),
        Err(Error::SignatureForm { .. })
    ));
    let many = key().sign_detached(b"x", now()).expect("a signature").repeat(MAX_SIGNATURES + 1);
    assert!(matches!(
        ring.verify_detached(b"x", many.as_bytes(), now()),
        Err(Error::ManySignatures)
    ));
}

proptest::proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        let _ = Keyring::parse(&bytes);
        let _ = signatures(&bytes);
    }
}
