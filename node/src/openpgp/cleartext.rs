//! The frame of clear-signed text (`InRelease`), read strictly and in one pass.
//!
//! What is outside the frame is refused rather than skipped, so that nobody can
//! be shown other text than the signed. `Hash` headers are read over: the
//! signature itself says which hash it has, and a header is not signed.

use super::Error;

const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const END: &str = "-----END PGP SIGNATURE-----";

/// A clear-signed message taken apart.
pub(super) struct Parts<'a> {
    /// What the signature covers: lines joined by CR LF, without white space at
    /// their ends and without a line end behind the last.
    pub(super) canonical: Vec<u8>,
    /// The armored signature block.
    pub(super) signature: &'a [u8],
}

/// Takes a clear-signed message apart.
pub(super) fn split(message: &[u8]) -> Result<Parts<'_>, Error> {
    let mut lines = Lines { rest: message, line: 0 };
    let fault = |line: usize, what: &'static str| Error::Framing { line, what };

    if lines.next().map(trim_end) != Some(BEGIN.as_bytes()) {
        return Err(fault(1, "does not begin with '-----BEGIN PGP SIGNED MESSAGE-----'"));
    }
    loop {
        match lines.next() {
            Some(b"") => break,
            Some(header) if header.starts_with(b"Hash: ") => {}
            _ => {
                return Err(fault(
                    lines.line,
                    "only 'Hash' headers and an empty line may stand before the text",
                ));
            }
        }
    }
    let mut canonical = Vec::with_capacity(message.len());
    let mut first = true;
    let mut signature = loop {
        let start = lines.rest;
        let Some(line) = lines.next() else {
            return Err(fault(lines.line, "the text ends before its signature begins"));
        };
        if line.starts_with(b"-----") {
            if trim_end(line) != SIGNATURE.as_bytes() {
                return Err(fault(
                    lines.line,
                    "the text holds a line with five dashes that begins no signature",
                ));
            }
            break start;
        }
        let text = match line.strip_prefix(b"- ") {
            Some(escaped) => escaped,
            None if line.starts_with(b"-") => {
                return Err(fault(
                    lines.line,
                    "a line of the text begins with a dash that is not escaped",
                ));
            }
            None => line,
        };
        if !first {
            canonical.extend_from_slice(b"\r\n");
        }
        first = false;
        canonical.extend_from_slice(trim_end(text));
    };
    loop {
        match lines.next().map(trim_end) {
            Some(line) if line == END.as_bytes() => break,
            Some(line) if line.starts_with(b"-----") => {
                return Err(fault(
                    lines.line,
                    "the signature is not closed before something else begins",
                ));
            }
            Some(_) => {}
            None => {
                return Err(fault(
                    lines.line,
                    "the signature has no end line; the file seems cut short",
                ));
            }
        }
    }
    signature = &signature[..signature.len() - lines.rest.len()];
    while let Some(line) = lines.next() {
        if !trim_end(line).is_empty() {
            return Err(fault(lines.line, "something stands behind the signature"));
        }
    }
    Ok(Parts { canonical, signature })
}

/// What a signature over clear text covers, and the text as it stands in the frame.
pub(super) fn escape(text: &str) -> (Vec<u8>, String) {
    let body = text.strip_suffix('\n').unwrap_or(text);
    let mut canonical = Vec::with_capacity(body.len());
    let mut framed = format!("{BEGIN}\nHash: SHA512\n\n");
    for (index, line) in body.split('\n').enumerate() {
        let line = line.trim_end_matches([' ', '\t', '\r']);
        if index > 0 {
            canonical.extend_from_slice(b"\r\n");
        }
        canonical.extend_from_slice(line.as_bytes());
        if line.starts_with('-') {
            framed.push_str("- ");
        }
        framed.push_str(line);
        framed.push('\n');
    }
    (canonical, framed)
}

/// The text that a canonical form stands for, with plain line ends.
pub(super) fn plain(canonical: &[u8]) -> Result<String, Error> {
    let text = std::str::from_utf8(canonical).map_err(|source| Error::Encoding { source })?;
    let mut plain = text.replace("\r\n", "\n");
    plain.push('\n');
    Ok(plain)
}

struct Lines<'a> {
    rest: &'a [u8],
    line: usize,
}

impl<'a> Lines<'a> {
    /// The next line without its line end.
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        self.line += 1;
        let (line, rest) = match self.rest.iter().position(|&byte| byte == b'\n') {
            Some(at) => (&self.rest[..at], &self.rest[at + 1..]),
            None => (self.rest, &self.rest[self.rest.len()..]),
        };
        self.rest = rest;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

fn trim_end(line: &[u8]) -> &[u8] {
    let end =
        line.iter().rposition(|byte| !matches!(byte, b' ' | b'\t' | b'\r')).map_or(0, |at| at + 1);
    &line[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};

    fn framed(headers: &str, body: &str) -> String {
        format!("{BEGIN}\n{headers}\n{body}{SIGNATURE}\n\nAAAA\n{END}\n")
    }

    #[test]
    fn takes_a_message_apart() {
        let text = framed("Hash: SHA512\nHash: SHA256\n", "a  \r\n- -b\n\nc\n");
        let parts = split(text.as_bytes()).expect("well formed");
        assert_eq!(parts.canonical, b"a\r\n-b\r\n\r\nc");
        assert_eq!(plain(&parts.canonical).expect("UTF-8"), "a\n-b\n\nc\n");
        assert!(parts.signature.starts_with(SIGNATURE.as_bytes()));
        assert!(parts.signature.ends_with(b"-----END PGP SIGNATURE-----\n"));
    }

    #[test]
    fn refuses_what_is_outside_the_frame() {
        let good = framed("Hash: SHA512\n", "a\n");
        for (bad, line) in [
            (format!("Origin: evil\n{good}"), 1),
            (format!("\n{good}"), 1),
            (format!("{good}Origin: evil\n"), 9),
            (framed("Comment: x\n", "a\n"), 2),
            (framed("NotDashEscaped: You need GnuPG\n", "a\n"), 2),
            // White space is not the empty line that ends the headers.
            (framed("Hash: SHA512\n \n", "a\n"), 3),
            (framed("Hash: SHA512\n", "-a\n"), 4),
            (framed("Hash: SHA512\n", "-----BEGIN PGP SIGNED MESSAGE-----\n"), 4),
            (format!("{BEGIN}\n\nabc\n"), 3),
            (good.replace(END, ""), 8),
            (String::new(), 1),
        ] {
            let fault = split(bad.as_bytes()).err();
            assert!(
                matches!(fault, Some(Error::Framing { line: at, .. }) if at == line),
                "{bad:?} gave {fault:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = split(&bytes);
            let _ = split(&[framed("Hash: x\n", "").as_bytes(), &bytes].concat());
        }

        #[test]
        fn what_is_framed_is_what_is_read(text in "(?s)[-a \t\r\n]{0,40}") {
            let (canonical, mut message) = escape(&text);
            message.push_str(&format!("{SIGNATURE}\n{END}\n"));
            assert_eq!(split(message.as_bytes()).expect("framed by us").canonical, canonical);
        }
    }
}
