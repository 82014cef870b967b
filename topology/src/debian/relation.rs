//! `Depends`, `Pre-Depends`, `Provides`, `Breaks` and `Conflicts`.
//!
//! A field is a list of clauses divided by `,`; a clause a list of alternatives
//! divided by `|`; an alternative a package's name with, perhaps, an
//! architecture behind `:`, a version in `()`, architectures in `[]` and build
//! profiles in `<>`, which binary packages do not have.

use std::cmp::Ordering;
use std::fmt;

use super::version;

/// How a version has to stand to the one named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=`, and `<`, which dpkg reads likewise
    EarlierEqual,
    /// `=`
    Equal,
    /// `>=`, and `>`, which dpkg reads likewise
    LaterEqual,
    /// `>>`
    Later,
}

/// One package that a relation names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relation<'a> {
    /// Its name.
    pub name: &'a str,
    /// `any`, `native` or an architecture.
    pub qualifier: Option<&'a str>,
    /// The version it has to have.
    pub version: Option<(Operator, &'a str)>,
}

/// Alternatives, of which one is enough.
pub type Clause<'a> = Vec<Relation<'a>>;

/// A relation that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no relation to a package")]
pub struct Error(String);

impl Operator {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Earlier => "<<",
            Self::EarlierEqual => "<=",
            Self::Equal => "=",
            Self::LaterEqual => ">=",
            Self::Later => ">>",
        }
    }

    /// Whether a version that stands so to the one named will do.
    #[must_use]
    pub const fn allows(self, order: Ordering) -> bool {
        match self {
            Self::Earlier => order.is_lt(),
            Self::EarlierEqual => order.is_le(),
            Self::Equal => order.is_eq(),
            Self::LaterEqual => order.is_ge(),
            Self::Later => order.is_gt(),
        }
    }
}

impl Relation<'_> {
    /// Whether a package of this very name with `version` is meant.
    #[must_use]
    pub fn takes(&self, version: &str) -> bool {
        self.version
            .is_none_or(|(operator, named)| operator.allows(version::compare(version, named)))
    }

    /// Whether a package is meant that provides the name, with a version or
    /// without. Whoever asks for a version is not served without one.
    #[must_use]
    pub fn takes_provided(&self, version: Option<&str>) -> bool {
        match (self.version, version) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(_), Some(version)) => self.takes(version),
        }
    }
}

impl fmt::Display for Relation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if let Some(qualifier) = self.qualifier {
            write!(f, ":{qualifier}")?;
        }
        match self.version {
            Some((operator, version)) => write!(f, " ({} {version})", operator.as_str()),
            None => Ok(()),
        }
    }
}

/// A clause as it is written, for people.
#[must_use]
pub fn clause_text(clause: &[impl fmt::Display]) -> String {
    clause.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ")
}

/// The clauses of a field on a machine of `architecture`. Clauses that concern
/// other architectures are left out.
///
/// # Errors
/// The first part that cannot be read.
pub fn parse<'a>(text: &'a str, architecture: &str) -> Result<Vec<Clause<'a>>, Error> {
    parse_as(text, architecture, |relation| relation)
}

/// As [`parse`], each alternative as `make` has it.
pub(crate) fn parse_as<'a, T>(
    text: &'a str,
    architecture: &str,
    mut make: impl FnMut(Relation<'a>) -> T,
) -> Result<Vec<Vec<T>>, Error> {
    let mut clauses = Vec::with_capacity(count(text, b','));
    for part in text.split(',').map(str::trim_ascii).filter(|part| !part.is_empty()) {
        let mut clause = Vec::with_capacity(count(part, b'|'));
        for alternative in part.split('|') {
            clause.extend(alternative_on(alternative.trim_ascii(), architecture)?.map(&mut make));
        }
        if !clause.is_empty() {
            clauses.push(clause);
        }
    }
    Ok(clauses)
}

/// In how many parts `divider` divides a text, none where it is empty.
fn count(text: &str, divider: u8) -> usize {
    match text.is_empty() {
        true => 0,
        false => text.bytes().filter(|c| *c == divider).count() + 1,
    }
}

/// One alternative; `None` where its architectures exclude this one.
fn alternative_on<'a>(text: &'a str, architecture: &str) -> Result<Option<Relation<'a>>, Error> {
    let fault = || Error(text.chars().take(80).collect());
    let is_end = |c: u8| c.is_ascii_whitespace() || matches!(c, b'(' | b'[' | b'<');
    let (name, mut rest) = text.split_at(text.bytes().position(is_end).unwrap_or(text.len()));
    let (name, qualifier) = match name.split_once(':') {
        Some((name, qualifier)) => (name, Some(qualifier)),
        None => (name, None),
    };
    let is_letter = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.' | b'_');
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(is_letter);
    if !is_word(name) || qualifier.is_some_and(|one| !is_word(one)) {
        return Err(fault());
    }
    let (mut version, mut concerns) = (None, true);
    loop {
        rest = rest.trim_ascii_start();
        let Some(first) = rest.bytes().next() else { break };
        let close = match first {
            b'(' => b')',
            b'[' => b']',
            b'<' => b'>',
            _ => return Err(fault()),
        };
        let end = rest.bytes().position(|c| c == close).ok_or_else(fault)?;
        let inside = &rest[1..end];
        match first {
            b'(' => version = Some(constraint(inside).ok_or_else(fault)?),
            b'[' => concerns = concerns && is_among(inside, architecture),
            _ => {}
        }
        rest = &rest[end + 1..];
    }
    Ok(concerns.then_some(Relation { name, qualifier, version }))
}

fn constraint(text: &str) -> Option<(Operator, &str)> {
    let text = text.trim_ascii();
    let (operator, length) = match text.as_bytes() {
        [b'<', b'<', ..] => (Operator::Earlier, 2),
        [b'<', b'=', ..] => (Operator::EarlierEqual, 2),
        [b'>', b'=', ..] => (Operator::LaterEqual, 2),
        [b'>', b'>', ..] => (Operator::Later, 2),
        [b'=', ..] => (Operator::Equal, 1),
        [b'<', ..] => (Operator::EarlierEqual, 1),
        [b'>', ..] => (Operator::LaterEqual, 1),
        _ => (Operator::Equal, 0),
    };
    let version = text[length..].trim_ascii();
    let is_plain = !version.is_empty() && version.bytes().all(|c| c.is_ascii_graphic());
    is_plain.then_some((operator, version))
}

/// Whether a list such as `amd64 arm64` or `!i386` has `architecture`.
fn is_among(list: &str, architecture: &str) -> bool {
    let fits = |name: &str| {
        name == architecture
            || matches!(name, "any" | "linux-any")
            || name.strip_prefix("any-").is_some_and(|cpu| cpu == architecture)
    };
    let mut words = list.split_whitespace().peekable();
    match words.peek() {
        Some(word) if word.starts_with('!') => {
            words.all(|word| !fits(word.strip_prefix('!').unwrap_or(word)))
        }
        _ => words.any(fits),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    fn texts(text: &str) -> Vec<String> {
        let clauses = parse(text, "amd64").expect("relations");
        clauses.iter().map(|clause| clause_text(clause)).collect()
    }

    #[test]
    fn reads_what_packages_say() {
        let text =
            "libc6 (>= 2.36), libssl3(>=3.0.0) | libssl1.1, perl:any (<< 6), a (1.0), b (< 2)";
        assert_eq!(
            texts(text),
            [
                "libc6 (>= 2.36)",
                "libssl3 (>= 3.0.0) | libssl1.1",
                "perl:any (<< 6)",
                "a (= 1.0)",
                "b (<= 2)"
            ]
        );
        assert!(texts("").is_empty());
        assert_eq!(texts("a,, b,"), ["a", "b"]);
    }

    #[test]
    fn architectures_decide_what_concerns_a_machine() {
        assert_eq!(texts("a [amd64], b [arm64], c [!amd64], d [!i386 !armhf]"), ["a", "d"]);
        assert_eq!(texts("a [linux-any] | b [arm64], c [any-amd64] <!nocheck>"), ["a", "c"]);
    }

    #[test]
    fn refuses_what_is_none() {
        for text in ["a b", "a (>= )", "a (>= 1", "(>= 1)", "a [amd64", "a:", "a (= 1 2)", "é"] {
            assert!(parse(text, "amd64").is_err(), "{text:?}");
        }
    }

    #[test]
    fn only_a_versioned_provision_serves_who_asks_for_a_version() {
        let clauses = parse("a (>= 2), b", "amd64").expect("relations");
        let (a, b) = (clauses[0][0], clauses[1][0]);
        assert!(a.takes("2.1") && !a.takes("1.9"));
        assert!(!a.takes_provided(None) && a.takes_provided(Some("2")));
        assert!(!a.takes_provided(Some("1")) && b.takes_provided(None));
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>()) {
            let _ = parse(&text, "amd64");
        }

        #[test]
        fn what_was_read_is_written_alike(text in "[a-c]{1,2}( \\((<<|<=|=|>=|>>) [0-9.]{1,3}\\))?( \\| [d-f])?") {
            let clauses = parse(&text, "amd64").expect("relations");
            assert_eq!(clause_text(&clauses[0]), text);
        }
    }
}
