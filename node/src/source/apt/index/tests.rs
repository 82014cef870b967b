//! Stanzas as vendors write them, good and bad.

use proptest::prelude::{any, proptest};

use super::*;

const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn stanza(text: &str) -> Stanza {
    stanza::Reader::new(text.as_bytes()).next().expect("readable").expect("a stanza")
}

fn good() -> String {
    format!(
        "Package: libfoo1\nSource: foo (1:2.0~rc1-1)\nVersion: 1:2.0~rc1-1+b2\nArchitecture: amd64\n\
         Multi-Arch: same\nFilename: pool/f/foo/libfoo1_2.0~rc1-1+b2_amd64.deb\nSize: 12\nMD5sum: x\n\
         sha256: {HASH}\nDescription: foo\n more\n .\n end\n"
    )
}

#[test]
fn reads_a_package() {
    let binary = binary(&stanza(&good()), "main").expect("a package");
    assert_eq!((binary.source.as_str(), binary.source_version.as_str()), ("foo", "1:2.0~rc1-1"));
    assert_eq!(binary.payload.version, "1:2.0~rc1-1+b2");
    assert_eq!(binary.payload.length, 12);
    assert_eq!(
        binary.payload.control,
        "Package: libfoo1\nSource: foo (1:2.0~rc1-1)\nVersion: 1:2.0~rc1-1+b2\nArchitecture: amd64\n\
         Multi-Arch: same\nDescription: foo\n more\n .\n end\n"
    );
}

#[test]
fn the_source_defaults_to_the_package() {
    let text = good().replace("Source: foo (1:2.0~rc1-1)\n", "");
    let binary = binary(&stanza(&text), "main").expect("a package");
    assert_eq!(
        (binary.source.as_str(), binary.source_version.as_str()),
        ("libfoo1", "1:2.0~rc1-1+b2")
    );
    let text = good().replace(" (1:2.0~rc1-1)", "");
    let binary = super::binary(&stanza(&text), "main").expect("a package");
    assert_eq!((binary.source.as_str(), binary.source_version.as_str()), ("foo", "1:2.0~rc1-1+b2"));
}

#[test]
fn names_what_is_wrong_and_where() {
    for (from, to, line, word) in [
        ("Version: 1:2.0~rc1-1+b2\n", "", 1, "Version is missing"),
        ("Size: 12\n", "", 1, "Size is missing"),
        ("Size: 12", "Size: -1", 7, "no number"),
        ("Filename: pool", "Filename: ../pool", 6, "cannot be"),
        ("Filename: pool", "Filename: /pool", 6, "cannot be"),
        ("Filename: pool", "Filename: http://evil/pool", 6, "cannot be"),
        ("Filename: pool", "Filename: pool/..", 6, "cannot be"),
        ("Filename: pool", "Filename: po\u{1}ol", 6, "cannot be"),
        ("Package: libfoo1", "Package: ../libfoo1", 1, "cannot be"),
        ("foo (1:", "foo/x (1:", 2, "cannot be"),
        ("rc1-1)", "rc1-1", 2, "without end"),
        ("Version: 1:2.0", "Version: 1:2.0 @", 3, "cannot be"),
        ("Size: 12\n", "Size: 12\nSize: 13\n", 8, "second time"),
        (HASH, "e3b0", 9, "64 hexadecimal digits"),
        ("Multi-Arch: same", "Multi-Arch same", 5, "no field"),
    ] {
        let text = good().replacen(from, to, 1);
        let fault = binary(&stanza(&text), "main").expect_err("refused");
        assert!(fault.line == line && fault.what.contains(word), "{to:?} gave {fault:?}");
    }
}

#[test]
fn file_names_stay_in_the_repository() {
    for good in
        ["pool/x.deb", "./x.deb", "a//b.deb", "foo_1:2.deb", "foo%3a1.deb", "x..deb", "é.deb"]
    {
        assert!(is_safe_path(good), "{good}");
    }
    for bad in
        ["", "/x", "..", "a/../b", "../x", "a/..", "file:///x", "a\\b", "a\nb", &"x".repeat(2000)]
    {
        assert!(!is_safe_path(bad), "{bad}");
    }
}

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut reader = stanza::Reader::new(bytes.as_slice());
        while let Ok(Some(stanza)) = reader.next() {
            let _ = binary(&stanza, "main");
        }
    }

    #[test]
    fn never_panics_on_what_is_nearly_right(at in 0usize..300, with in "(?s).{0,3}") {
        let mut text = good();
        let at = at.min(text.len());
        text.replace_range(at..(at + 1).min(text.len()), &with);
        let _ = binary(&stanza(&text), "main");
    }
}
