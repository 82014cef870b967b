//! What the CA takes from a request, and what it does not.

use jiff::ToSpan;
use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn ca() -> Ca {
    Ca::create("m1", "A company with a name longer than X.520 would have it, much longer", now())
        .expect("a CA")
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("a time")
}

fn request() -> Vec<u8> {
    Key::generate().expect("a key").certificate_request("lyon").expect("a request")
}

fn issue(ca: &Ca, url: &str, lifetime: Duration) -> Certificate {
    let request = Request::parse(&request()).expect("a request");
    let name = "lyon".parse().expect("a name");
    let url = url.parse().expect("a URL");
    ca.issue_node(&request, &name, &url, lifetime, now()).expect("a certificate")
}

/// The alternative names of a certificate, as text.
fn names(certificate: &Certificate) -> Vec<String> {
    let (_, x509) = x509_parser::parse_x509_certificate(&certificate.der).expect("a certificate");
    let names = x509.subject_alternative_name().expect("readable").expect("names");
    names.value.general_names.iter().map(ToString::to_string).collect()
}

#[test]
fn names_and_dates_are_the_callers() {
    let ca = ca();
    let certificate = issue(&ca, "https://lyon.example:8443", HOUR);
    assert_eq!(certificate.subject, Subject::Node("lyon".parse().expect("a name")));
    assert_eq!(certificate.mesh_id, "m1");
    assert_eq!(certificate.not_before, now() - 5.minutes());
    assert_eq!(certificate.not_after, now() + 1.hour());
    assert_eq!(
        names(&certificate),
        ["URI(patchmesh://m1/node/lyon)", "DNSName(lyon.example)"],
        "the URI, and the host of the URL"
    );
    assert_eq!(names(&issue(&ca, "https://[::1]:1", HOUR)).len(), 2);
}

#[test]
fn names_in_a_request_mean_nothing() {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(["evil.example".to_owned()]).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let der = params.serialize_request(&key).expect("a request").der().to_vec();
    let request = Request::parse(&der).expect("a request");
    let name = "lyon".parse().expect("a name");
    let url = "https://lyon.example".parse().expect("a URL");
    let issued = ca().issue_node(&request, &name, &url, HOUR, now()).expect("a certificate");
    assert!(!names(&issued).iter().any(|name| name.contains("evil")));
    let (_, x509) = x509_parser::parse_x509_certificate(&issued.der).expect("a certificate");
    assert!(!x509.is_ca());
}

#[test]
fn no_certificate_outlives_the_ca() {
    let century = Duration::from_secs(100 * 365 * 24 * 3600);
    let ca = ca();
    assert_eq!(issue(&ca, "https://lyon", century).not_after, ca.not_after);
}

#[test]
fn renewed_certificates_differ_in_their_numbers() {
    let ca = ca();
    let request = Request::parse(&request()).expect("a request");
    let name = "lyon".parse().expect("a name");
    let url = "https://lyon".parse().expect("a URL");
    let issued = || ca.issue_node(&request, &name, &url, HOUR, now()).expect("a certificate");
    let serial = |certificate: Certificate| {
        let (_, x509) = x509_parser::parse_x509_certificate(&certificate.der).expect("readable");
        x509.raw_serial().to_vec()
    };
    assert_ne!(serial(issued()), serial(issued()));
}

#[test]
fn only_requests_that_their_own_key_signed_are_taken() {
    assert!(matches!(Request::parse(b"hello"), Err(Error::Request(_))));
    assert!(matches!(Request::parse(&[0; MAX_REQUEST + 1]), Err(Error::RequestSize(_))));
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key");
    let other = CertificateParams::default().serialize_request(&key).expect("a request");
    assert!(matches!(Request::parse(other.der()), Err(Error::KeyKind)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_altered_request_is_refused(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut der = request();
        let good = Request::parse(&der).expect("a request").spki_sha256;
        let at = at.index(der.len());
        der[at] ^= 1 << bit;
        // Whatever still reads is for the same key.
        if let Ok(read) = Request::parse(&der) {
            prop_assert_eq!(read.spki_sha256, good);
        }
    }

    #[test]
    fn an_altered_certificate_never_panics(at in any::<prop::sample::Index>(), byte: u8) {
        let mut der = issue(&ca(), "https://lyon", HOUR).der.to_vec();
        let at = at.index(der.len());
        der[at] = byte;
        let _ = Certificate::parse(&der);
    }
}
