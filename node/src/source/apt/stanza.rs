//! Stanzas of Debian control files, one at a time, verbatim.
//!
//! Reads as apt does: fields and their continuation lines, stanzas parted by
//! empty lines. The crates for this format normalise what they read; a view has
//! to repeat the vendor's words exactly, so the text is only cut here, never
//! rebuilt. Memory is bounded by one stanza.

use std::io::{self, BufRead, Read};

/// The longest stanza; the longest in Debian has 150 KiB.
pub(super) const MAX_STANZA: usize = 1 << 20;

/// What is wrong with a stanza, and in which line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// Counted from 1.
    pub(super) line: u64,
    /// What is wrong there.
    pub(super) what: String,
}

/// One field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field<'a> {
    /// Its name as written; compare without case.
    pub(super) name: &'a str,
    /// Its value with continuation lines, trimmed at both ends.
    pub(super) value: &'a str,
    /// The whole of it, with the last line end.
    pub(super) raw: &'a str,
    /// Where it begins.
    pub(super) line: u64,
}

/// One stanza.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stanza {
    /// Lines, each ended by LF.
    pub(super) text: String,
    /// Where it begins, counted from 1.
    pub(super) line: u64,
    /// Counted from 1.
    pub(super) number: u64,
}

/// Reads stanzas from a stream.
pub(super) struct Reader<R> {
    inner: R,
    line: u64,
    number: u64,
}

/// Why no stanza could be read.
#[derive(Debug)]
pub(super) enum Error {
    /// The stream broke.
    Io(io::Error),
    /// A stanza longer than any real one.
    Long(Fault),
}

impl<R: BufRead> Reader<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, line: 0, number: 0 }
    }

    /// The stream, to ask it how much was read.
    pub(super) fn into_inner(self) -> R {
        self.inner
    }

    /// The next stanza, or nothing at the end.
    pub(super) fn next(&mut self) -> Result<Option<Stanza>, Error> {
        let mut buffer = Vec::with_capacity(2048);
        let mut first = 0;
        loop {
            let start = buffer.len();
            // One byte more than allowed, to tell a full stanza from a longer one.
            let room = (MAX_STANZA + 1 - start) as u64;
            let read =
                (&mut self.inner).take(room).read_until(b'\n', &mut buffer).map_err(Error::Io)?;
            self.line += u64::from(read > 0);
            let ended = buffer.ends_with(b"\n");
            if buffer.len() > MAX_STANZA {
                let what = format!("the stanza is longer than {MAX_STANZA} bytes");
                return Err(Error::Long(Fault { line: self.line, what }));
            }
            let mut end = buffer.len() - usize::from(ended && read > 0);
            if end > start && buffer[end - 1] == b'\r' {
                end -= 1;
            }
            buffer.truncate(end);
            if buffer.len() > start {
                if buffer[start] == b'#' {
                    buffer.truncate(start);
                    continue;
                }
                if start == 0 {
                    first = self.line;
                }
                buffer.push(b'\n');
            } else if !buffer.is_empty() || read == 0 {
                break;
            }
        }
        if buffer.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        // A name in another encoding in some description must not stop the source.
        let text = String::from_utf8(buffer)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        Ok(Some(Stanza { text, line: first, number: self.number }))
    }
}

impl Stanza {
    /// Its fields in order.
    pub(super) fn fields(&self) -> Fields<'_> {
        Fields { rest: &self.text, line: self.line }
    }
}

/// The fields of a stanza.
pub(super) struct Fields<'a> {
    rest: &'a str,
    line: u64,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let line = self.line;
        let mut end = 0;
        for text in self.rest.split_inclusive('\n') {
            if end > 0 && !text.starts_with([' ', '\t']) {
                break;
            }
            end += text.len();
            self.line += 1;
        }
        let (raw, rest) = self.rest.split_at(end);
        self.rest = rest;
        let field = field(raw, line);
        if field.is_err() {
            self.rest = "";
        }
        Some(field)
    }
}

fn field(raw: &str, line: u64) -> Result<Field<'_>, Fault> {
    let fault = |what: &str| Err(Fault { line, what: what.to_owned() });
    if raw.starts_with([' ', '\t']) {
        return fault("a continuation line continues nothing");
    }
    if raw.contains('\0') {
        return fault("the field holds a zero byte");
    }
    match raw.split_once(':') {
        Some((name, value))
            if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()) =>
        {
            Ok(Field { name, value: value.trim(), raw, line })
        }
        _ => fault("this line is no field (NAME: VALUE)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};

    fn all(text: &[u8]) -> Vec<Stanza> {
        let mut reader = Reader::new(text);
        std::iter::from_fn(|| reader.next().expect("readable")).collect()
    }

    #[test]
    fn cuts_stanzas_and_fields() {
        let stanzas = all(b"\n\r\nA: 1\r\n# note\nB:\n two\n \n three\n\n\n\nC: x:y");
        assert_eq!(stanzas.len(), 2);
        assert_eq!((stanzas[0].line, stanzas[0].number), (3, 1));
        let fields: Vec<_> = stanzas[0].fields().map(|field| field.expect("a field")).collect();
        assert_eq!(fields[0], Field { name: "A", value: "1", raw: "A: 1\n", line: 3 });
        assert_eq!(fields[1].value, "two\n \n three");
        assert_eq!(fields[1].raw, "B:\n two\n \n three\n");
        assert_eq!((stanzas[1].line, stanzas[1].number), (12, 2));
        assert_eq!(stanzas[1].fields().next().expect("one").expect("a field").value, "x:y");
    }

    #[test]
    fn names_the_faulty_line() {
        let fault =
            |text: &[u8]| all(text)[0].fields().find_map(Result::err).map(|fault| fault.line);
        assert_eq!(fault(b"A: 1\nnothing\n"), Some(2));
        assert_eq!(fault(b"\n more\n"), Some(2));
        assert_eq!(fault(b"A: 1\nB: \0\n"), Some(2));
        assert_eq!(fault(b": 1\n"), Some(1));
        assert_eq!(fault(b"A: 1\nB: 2\n"), None);
    }

    #[test]
    fn a_stanza_has_a_limit() {
        let mut long = b"A: ".to_vec();
        long.resize(MAX_STANZA + 10, b'x');
        assert!(matches!(Reader::new(long.as_slice()).next(), Err(Error::Long(_))));
    }

    #[test]
    fn foreign_encodings_are_let_pass() {
        assert_eq!(all(b"A: Andr\xe9\n")[0].text, "A: Andr\u{fffd}\n");
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for stanza in all(&bytes) {
                stanza.fields().for_each(drop);
            }
        }

        #[test]
        fn nothing_is_lost(text in "([A-C]: [a-z :#]{0,5}\n( [a-z#]{0,3}\n){0,2}){1,5}") {
            let stanzas = all(text.as_bytes());
            let joined: String =
                stanzas.iter().flat_map(|stanza| stanza.fields()).map(|field| field.expect("a field").raw).collect();
            assert_eq!(joined, text);
        }
    }
}
