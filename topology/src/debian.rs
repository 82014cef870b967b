//! What Debian packages say of each other, as dpkg and apt read it.
//!
//! [`version`] compares versions, [`relation`] reads `Depends` and its kin,
//! [`field`] finds a field of a stanza.
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

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn finds_fields_and_their_continuation() {
        let stanza = "Package: a\nDepends: b,\n c (>= 1)\nX: y\n";
        assert_eq!(field(stanza, "depends"), Some("b,\n c (>= 1)"));
        assert_eq!(field(stanza, "Package"), Some("a"));
        assert_eq!(field(stanza, "x"), Some("y"));
        assert_eq!(field(stanza, "Pre-Depends"), None);
    }
}
