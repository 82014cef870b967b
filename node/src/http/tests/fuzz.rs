//! What anybody may put into a request.

use http::{HeaderMap, HeaderValue, Method, header};

use crate::fuzz::{Form, Target};
use crate::http::conditional::{Validators, Verdict, judge};
use crate::http::path::{self, Wanted};

const PATHS: [&str; 8] = [
    "/",
    "/ca.pem",
    "/keys/production.asc",
    "/tuf/metadata/7.snapshot.json",
    "/tuf/targets/mesh/0000000000000000000000000000000000000000000000000000000000000000.nodes",
    "/content/blake3/0000000000000000000000000000000000000000000000000000000000000000",
    "/apt/production/servers/pool/v/main/a/0123456789abcdef/g++_1%253a2%7erc_all.deb",
    "/files/validation/lab/index.json",
];

#[test]
fn paths() {
    let read = |input: &[u8]| {
        let text = String::from_utf8_lossy(input);
        let outcome = path::parse(&text);
        if let Ok(Wanted::View { path: inner, .. } | Wanted::Target(inner, _)) = &outcome {
            let plain = |part: &str| !matches!(part, "." | "..") && !part.contains(['\\', '\0']);
            assert!(inner.split('/').all(plain), "{inner:?} is no plain path");
        }
        format!("{outcome:?}")
    };
    Target::new("paths", Form::Bytes)
        .with_words(&["/", "%2f", "%2e%2e", "..", "%00", "production", "apt", "content"])
        .run(PATHS, read);
}

/// An input is the fields of a request that set conditions, one a line.
#[test]
fn conditions() {
    let names = [
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
        header::IF_RANGE,
        header::RANGE,
    ];
    let length = 1000;
    let modified = httpdate::parse_http_date("Mon, 23 Nov 2026 10:00:00 GMT").ok();
    let file = Validators { etag: "\"a\"", modified, length };
    let read = |input: &[u8]| {
        let mut headers = HeaderMap::new();
        for (name, value) in names.iter().zip(input.split(|byte| *byte == b'\n')) {
            if !value.is_empty()
                && let Ok(value) = HeaderValue::from_bytes(value)
            {
                headers.insert(name, value);
            }
        }
        let verdict = judge(&Method::GET, &headers, file);
        if let Verdict::Part(part) = &verdict {
            assert!(part.start < part.end && part.end <= length, "{part:?}");
        }
        format!("{verdict:?}")
    };
    let seeds = [
        "\"a\"\n\n\n\n\nbytes=0-9",
        "\n\"a\", W/\"b\"\n\n\n\"a\"\nbytes=-5",
        "\n\nMon, 23 Nov 2026 10:00:00 GMT\n\n\nbytes=990-",
        "\n\n\nSun, 22 Nov 2026 10:00:00 GMT\nMon, 23 Nov 2026 10:00:00 GMT\nbytes=1-2,4-",
        "*\n*\n\n\n\nbytes=0-18446744073709551615",
    ];
    Target::new("conditions", Form::Bytes)
        .with_words(&["bytes=", "-", ",", "W/", "\"", "*", "18446744073709551616", "\n"])
        .run(seeds, read);
}
