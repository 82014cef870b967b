//! What feeds say of vulnerabilities, what the company makes of it, and what
//! it tells its branches.
//!
//! [`kev`], [`epss`], [`csaf`] and [`osv`] read feeds; nothing of a file counts
//! unless all of it was read. [`book`] keeps what was read, in the primary's
//! own records, and turns it into signed assessments; [`feeds`] fetches it
//! anew every day. Reading is bounded in bytes, entries and nesting, and says
//! what is wrong where.

pub mod book;
pub mod csaf;
pub mod epss;
pub mod feeds;
pub mod import;
pub mod kev;
pub mod osv;
pub mod records;
#[cfg(test)]
pub(crate) mod samples;

use serde::de::DeserializeOwned;

/// The longest file that is read whole, in bytes, once unpacked. The largest
/// known, of all Debian advisories in one array, has some hundred MiB.
pub const MAX_FILE: usize = 256 << 20;

/// The longest text of a name or vector that is kept, in bytes.
const MAX_WORD: usize = 256;

/// Why a file of a feed isn't taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It ends in the middle.
    #[error("the file ends in the middle of what it says; it was cut")]
    Cut,
    /// It has more bytes than any real one.
    #[error("the file has more than {limit} bytes")]
    Long {
        /// The most bytes.
        limit: usize,
    },
    /// Not the form that it should have.
    #[error("line {line}, column {column} is not what it should be")]
    Form {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// It cannot be unpacked.
    #[error("the file cannot be unpacked")]
    Unpack(#[source] std::io::Error),
    /// An entry that can't be right.
    #[error("{place}: {what}")]
    Entry {
        /// Which, such as `vulnerabilities[12]` or `line 7`.
        place: String,
        /// What is wrong with it.
        what: String,
    },
    /// More entries than any real one has.
    #[error("{place} has more than {limit} entries")]
    Many {
        /// Where.
        place: String,
        /// The most.
        limit: usize,
    },
}

impl Error {
    fn entry(place: impl Into<String>, what: impl ToString) -> Self {
        Self::Entry { place: place.into(), what: what.to_string() }
    }

    fn json(source: serde_json::Error) -> Self {
        if source.is_eof() {
            return Self::Cut;
        }
        Self::Form { line: source.line(), column: source.column(), source }
    }
}

/// Reads a whole file as one JSON value. The parser bounds the nesting.
fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    if bytes.len() > MAX_FILE {
        return Err(Error::Long { limit: MAX_FILE });
    }
    serde_json::from_slice(without_mark(bytes)).map_err(Error::json)
}

/// Some publishers put a byte order mark in front.
fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// Bounds a list.
fn at_most<T>(list: &[T], limit: usize, place: impl Fn() -> String) -> Result<(), Error> {
    if list.len() > limit {
        return Err(Error::Many { place: place(), limit });
    }
    Ok(())
}

/// A word that is kept: not too long, and without control characters.
fn word(text: &str, place: impl Fn() -> String) -> Result<String, Error> {
    if text.is_empty() || text.len() > MAX_WORD || text.chars().any(char::is_control) {
        let what = format!("is empty, has more than {MAX_WORD} bytes or control characters");
        return Err(Error::entry(place(), what));
    }
    Ok(text.to_owned())
}
