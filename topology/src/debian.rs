//! What Debian packages say of each other, as dpkg and apt read it.
//!
//! [`version`] compares versions, [`relation`] reads `Depends` and its kin,
//! [`field`] finds a field of a stanza, [`Relations`] those of an installed package.
//!
//! Format: Debian Policy, chapter 7, and deb-version(7).

pub mod relation;
pub mod version;

/// The value of a field of a stanza, trimmed, with the ends of lines between
/// its continuation lines; `None` where it is not there. Names are compared
/// without case.
#[must_use]
pub fn field<'a>(stanza: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = stanza;
    while !rest.is_empty() {
        let mut end = 0;
        for line in rest.split_inclusive('\n') {
            if end > 0 && !line.starts_with([' ', '\t']) {
                break;
            }
            end += line.len();
        }
        let (field, behind) = rest.split_at(end);
        if let Some((found, value)) = field.split_once(':')
            && found.eq_ignore_ascii_case(name)
        {
            return Some(value.trim());
        }
        rest = behind;
    }
    None
}

/// What an installed package says of others, as written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Relations {
    /// `Pre-Depends` and `Depends` together.
    pub depends: String,
    /// `Breaks` and `Conflicts` together.
    pub negatives: String,
    /// `Provides`.
    pub provides: String,
    /// Whether `Multi-Arch` is `allowed`.
    pub is_allowed: bool,
}

impl Relations {
    /// Those of a stanza of dpkg's.
    #[must_use]
    pub fn of(stanza: &str) -> Self {
        let value = |name| field(stanza, name).unwrap_or_default();
        Self {
            depends: both(value("Pre-Depends"), value("Depends")),
            negatives: both(value("Breaks"), value("Conflicts")),
            provides: value("Provides").to_owned(),
            is_allowed: value("Multi-Arch") == "allowed",
        }
    }
}

/// Two lists of relations as one.
#[must_use]
pub fn both(a: &str, b: &str) -> String {
    match (a, b) {
        ("", one) | (one, "") => one.to_owned(),
        (a, b) => format!("{a}, {b}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Relations, field};

    #[test]
    fn relations_of_a_stanza_stand_together() {
        let stanza =
            "Package: a\nPre-Depends: b\nDepends: c,\n d\nConflicts: e\nMulti-Arch: allowed\n";
        let relations = Relations::of(stanza);
        assert_eq!(relations.depends, "b, c,\n d");
        assert_eq!((relations.negatives.as_str(), relations.is_allowed), ("e", true));
        assert_eq!(relations.provides, "");
    }

    #[test]
    fn finds_fields_and_their_continuation() {
        let stanza = "Package: a\nDepends: b,\n c (>= 1)\nX: y\n";
        assert_eq!(field(stanza, "depends"), Some("b,\n c (>= 1)"));
        assert_eq!(field(stanza, "Package"), Some("a"));
        assert_eq!(field(stanza, "x"), Some("y"));
        assert_eq!(field(stanza, "Pre-Depends"), None);
    }
}
